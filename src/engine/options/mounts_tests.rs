//! What `-v`, `--mount` and `--tmpfs` read and refuse.

use super::*;

fn cwd() -> &'static Path {
    Path::new("/home/u/w")
}

fn plain(source: &str, target: &str) -> (PathBuf, PathBuf, bool, bool, bool, Propagation, bool) {
    (source.into(), target.into(), false, true, false, Propagation::RPrivate, true)
}

fn parts(mount: MountRequest) -> (PathBuf, PathBuf, bool, bool, bool, Propagation, bool) {
    match mount {
        MountRequest::Bind {
            source,
            target,
            read_only,
            recursive,
            writable_submounts,
            propagation,
            create_source,
        } => (source, target, read_only, recursive, writable_submounts, propagation, create_source),
        MountRequest::Tmpfs { .. } => panic!("a tmpfs"),
    }
}

#[test]
fn short_syntax() {
    assert_eq!(parts(volume("/a:/b", cwd()).unwrap()), plain("/a", "/b"));
    assert_eq!(parts(volume("./x:/b", cwd()).unwrap()), plain("/home/u/w/x", "/b"));
    assert_eq!(parts(volume("../x:/b:rw", cwd()).unwrap()), plain("/home/u/x", "/b"));
    assert_eq!(parts(volume("/a:/b/./../c//d/", cwd()).unwrap()), plain("/a", "/c/d"));
    assert_eq!(parts(volume("/a:/../../c", cwd()).unwrap()), plain("/a", "/c"));
    assert_eq!(parts(volume(".:/b:cached", cwd()).unwrap()), plain("/home/u/w", "/b"));
    let mut expected = plain("/a", "/b");
    (expected.2, expected.5) = (true, Propagation::RSlave);
    assert_eq!(parts(volume("/a:/b:ro,rslave", cwd()).unwrap()), expected);
}

#[test]
fn short_syntax_refuses() {
    for (bad, says) in [
        ("/b", "anonymous volumes are not built yet"),
        ("data:/b", "named volume"),
        ("a/b:/c", "named volume"),
        ("/a:b", "must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b/../..", "destination can't be '/'"),
        ("/a:/b:nocopy", "not built yet"),
        ("/a:/b:ro,rw", "invalid mode"),
        ("/a:/b:shared,slave", "invalid mode"),
        ("/a:/b:xyz", "invalid mode"),
        ("/a:/b:", "invalid mode"),
        (":/b", "SOURCE:TARGET"),
    ] {
        let error = volume(bad, cwd()).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

#[test]
fn long_syntax() {
    let mount = |spec: &str| mount(spec, cwd()).map_err(|e| e.to_string());
    let mut expected = plain("/a", "/b");
    expected.6 = false;
    assert_eq!(parts(mount("type=bind,source=/a,target=/b").unwrap()), expected);
    expected.2 = true;
    assert_eq!(parts(mount("type=bind,src=/a,dst=/b,ro").unwrap()), expected);
    assert_eq!(parts(mount("type=BIND,src=/a,destination=/b,readonly=true").unwrap()), expected);
    expected.4 = true;
    assert_eq!(parts(mount("type=bind,src=/a,dst=/b,ro,bind-recursive=writable").unwrap()), expected);
    assert_eq!(parts(mount("type=bind,\"src=/a,\"\"b\",dst=/b").unwrap()).0, Path::new("/a,\"b"));
    let tmpfs = MountRequest::Tmpfs {
        target: "/t".into(),
        size: Some(1 << 20),
        mode: Some(0o700),
        uid: None,
        gid: None,
        inodes: None,
        read_only: false,
        exec: false,
        suid: false,
        dev: false,
        data: Vec::new(),
    };
    assert_eq!(mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700").unwrap(), tmpfs);
}

#[test]
fn long_syntax_refuses() {
    for (bad, says) in [
        ("source=/a,target=/b", "not built yet"),
        ("type=volume,src=x,dst=/b", "not built yet"),
        ("type=bind,src=/a,dst=/b,foo=1", "unexpected key 'foo'"),
        ("type=bind,src=/a,dst=/b,foo", "unexpected key 'foo'"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,dst=/b", "source is required"),
        ("type=bind,src=a,dst=/b", "must be absolute"),
        ("type=bind,src=/a,dst=/b,ro=maybe", "invalid value for ro"),
        ("type=bind,src=/a,dst=/b,tmpfs-size=1m", "cannot mix"),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly", "requires 'readonly'"),
        ("type=bind,src=/a,dst=/b,bind-propagation=up", "invalid propagation"),
        ("type=tmpfs,src=/a,dst=/b", "source is not allowed"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "octal"),
        ("type=floppy,dst=/b", "unknown type"),
        ("\"type=bind", "quote"),
    ] {
        let error = mount(bad, cwd()).unwrap_err().to_string();
        assert!(error.contains(says), "{bad}: {error}");
    }
}

#[test]
fn tmpfs_flag() {
    let expected = MountRequest::Tmpfs {
        target: "/t".into(),
        size: Some(64 << 20),
        mode: Some(0o1770),
        uid: Some(5),
        gid: Some(6),
        inodes: Some(100),
        read_only: false,
        exec: true,
        suid: false,
        dev: false,
        data: Vec::new(),
    };
    assert_eq!(tmpfs("/t:size=64m,mode=1770,uid=5,gid=6,nr_inodes=100,exec").unwrap(), expected);
    for bad in [
        "t",
        "/",
        "/t:uid=x",
        "/t:gid=-1",
        "/t:nr_inodes=",
        "/t:size=x",
        "/t:size=x%",
        "/t:size=%",
        "/t:nr_blocks=x",
        "/t:mpol=",
        "/t:noatime",
        "/t:wat",
    ] {
        assert!(tmpfs(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_only_the_kernel_understands_of_a_tmpfs_goes_to_it() {
    let data = |spec: &str| match tmpfs(spec).unwrap() {
        MountRequest::Tmpfs { data, size, .. } => (data, size),
        MountRequest::Bind { .. } => panic!("a bind"),
    };
    let given = ["size=50%", "nr_blocks=1k", "mpol=interleave:0-1"].map(str::to_owned).to_vec();
    assert_eq!(data("/t:size=50%,nr_blocks=1k,mpol=interleave:0-1"), (given, None));
    assert_eq!(data("/t:size=50%,size=1k"), (Vec::new(), Some(1024)), "the last one wins");
    assert_eq!(data("/t:size=1k,size=50%"), (vec!["size=50%".to_owned()], None));
}
