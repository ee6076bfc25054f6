//! docker's forms against honest and hostile files.

use super::*;
use std::fs::File;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\n\nweb:x:33:33:www:/var/www:/bin/false\n\
    dup:x:33:44::/dup:\nnohome:x:50:50:::\n4294967296:x:0:0::/evil:\nwrap:x:4294967296:4294967296::/w:\n\
    neg:x:-1:-1::/n:\n1000:x:0:0::/evil:\nshort:x\nplus:x:+0:+0::/p:\n";
const GROUP: &[u8] = b"root:x:0:\nwww:x:33:\nadm:x:4:web,root\naudio:x:29:web\nbig:x:4294967296:web\n\
    again:x:29:web\n77:x:0:\n";

fn who(user: &str, groups: &[&str]) -> Result<Identity> {
    let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
    identify(PASSWD, GROUP, user, &groups)
}

fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Identity {
    Identity { uid, gid, groups: groups.to_vec(), home: home.into() }
}

#[test]
fn dockers_forms() {
    assert_eq!(who("", &[]).unwrap(), identity(0, 0, &[0, 4], "/root"));
    assert_eq!(who("root", &[]).unwrap(), identity(0, 0, &[0, 4], "/root"));
    assert_eq!(who("web", &[]).unwrap(), identity(33, 33, &[33, 4, 29], "/var/www"));
    assert_eq!(who("33", &[]).unwrap(), identity(33, 33, &[33, 4, 29], "/var/www"));
    assert_eq!(who("033", &[]).unwrap().uid, 33);
    assert_eq!(who("+33", &[]).unwrap().uid, 33);
    assert_eq!(who("web:audio", &[]).unwrap(), identity(33, 29, &[29], "/var/www"));
    assert_eq!(who("web:5", &[]).unwrap(), identity(33, 5, &[5], "/var/www"));
    assert_eq!(who("1:", &[]).unwrap(), identity(1, 0, &[0], "/"));
    assert_eq!(who(":5", &[]).unwrap(), identity(0, 5, &[5], "/root"));
    assert_eq!(who("nohome", &[]).unwrap().home, "/");
    assert_eq!(who("2147483647:2147483647", &[]).unwrap().uid, 2_147_483_647);
}

#[test]
fn numbers_never_wrap_nor_become_names() {
    for bad in
        ["4294967296", "4294967295", "2147483648", "-1", "99999999999999999999", "0:4294967296", "0:-5"]
    {
        assert!(matches!(who(bad, &[]), Err(Error::OutOfRange(_))), "{bad}");
    }
    assert_eq!(
        who("1000", &[]).unwrap(),
        identity(1000, 0, &[0], "/"),
        "the line named 1000 is not user 1000"
    );
    assert_eq!(who("1:77", &[]).unwrap().gid, 77, "the group named 77 is not group 77");
    for absent in ["root1", "0x1", "٣", "wrap", "neg", "plus", "short", " root", "1e3"] {
        assert!(matches!(who(absent, &[]), Err(Error::NoSuchUser(_))), "{absent}");
    }
}

#[test]
fn additional_groups() {
    assert_eq!(who("web", &["audio", "7", "root"]).unwrap().groups, [33, 4, 29, 7, 0]);
    assert_eq!(who("web:5", &["audio"]).unwrap().groups, [5, 29]);
    let error = who("web", &["video"]).unwrap_err().to_string();
    assert_eq!(error, "unable to find group video: no matching entries in group file");
    let error = who("nobody", &[]).unwrap_err().to_string();
    assert_eq!(error, "unable to find user nobody: no matching entries in passwd file");
    assert!(who("web", &["big"]).is_err());
}

fn root() -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    let handle = File::open(dir.path()).unwrap();
    (dir, handle)
}

fn put(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) {
    use std::io::Write as _;
    File::create(dir.path().join(name)).unwrap().write_all(bytes).unwrap();
}

#[test]
fn files_are_read_inside_the_root() {
    let (dir, handle) = root();
    assert_eq!(resolve(&handle, "5", &[]).unwrap(), identity(5, 0, &[0], "/"), "no files at all");
    put(&dir, "real", PASSWD);
    std::os::unix::fs::symlink("/real", dir.path().join("etc/passwd")).unwrap();
    assert_eq!(resolve(&handle, "web", &[]).unwrap().uid, 33, "an absolute link stays inside");
    std::os::unix::fs::symlink("../../../../../../../../etc/group", dir.path().join("etc/group")).unwrap();
    assert!(
        matches!(resolve(&handle, "web:root", &[]), Err(Error::File { .. })),
        "a link to itself, not the host's"
    );
}

#[test]
fn hostile_files_end_in_errors() {
    let refused = |dir: &tempfile::TempDir, handle: &File, says: &str| {
        let error = resolve(handle, "web", &[]).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd") && error.contains(says), "{error}");
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
    };
    let (dir, handle) = root();
    let path = dir.path().join("etc/passwd");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&dir, &handle, "not a regular file");
    let huge = File::create(&path).unwrap();
    huge.set_len(1 << 30).unwrap();
    refused(&dir, &handle, "more than");
    std::os::unix::fs::symlink("passwd", &path).unwrap();
    refused(&dir, &handle, "symbolic links");
}
