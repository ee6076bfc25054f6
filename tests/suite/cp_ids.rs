//! `kelp cp -a`: whose the files are afterwards, into and out of containers whose user namespace gives ids other
//! numbers.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use crate::harness::{Image, Layer, Sandbox, needs_root};

const STATES: [&str; 3] = ["never", "ended", "runs"];

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// A container of `mode` in each state, with these further options.
fn make(s: &Sandbox, mode: &str, options: &str) {
    let line = |verb: &str, name: &str| format!("{verb} --name {name} --userns {mode} -u 0 {options} i");
    s.ok(&format!("{} sleep 1000", line("create", "never")));
    s.ok(&format!("{} true", line("run", "ended")));
    s.ok(&format!("{} sleep 1000", line("run -d", "runs")));
}

fn unmake(s: &Sandbox) {
    s.ok("rm -f never ended runs");
}

/// Who has the file `name` inside the container `name` of `archive`, by the words of tar.
fn listed(s: &Sandbox, what: &str) -> String {
    let script = format!("{} cp {what} - | tar --numeric-owner -tvf -", s.program().display());
    s.program_call("sh").args(["-c", &script]).exits(0).text().to_owned()
}

/// What root, 33:44 and the user's own number inside are on the host, by mode.
struct Case {
    mode: String,
    own: (u32, u32),
    root: (u32, u32),
    other: (u32, u32),
    /// What the user's own files are inside.
    inside: (u32, u32),
}

fn cases(s: &Sandbox) -> Vec<Case> {
    let me = (s.account.uid, s.account.gid);
    let (first, _) = s.account.range.unwrap();
    let shifted = |mode: &str, inside| Case {
        mode: mode.into(),
        own: me,
        root: (first, first),
        other: (first + 33, first + 44),
        inside,
    };
    let nobody = Case { own: (first + me.0, first + me.1), ..shifted("nomap", (0, 0)) };
    let host = Case {
        mode: "host".into(),
        own: (first + me.0 - 1, first + me.1 - 1),
        root: me,
        other: (first + 32, first + 43),
        inside: (0, 0),
    };
    vec![shifted("keep-id", me), shifted("keep-id:uid=50,gid=60", (50, 60)), nobody, host]
}

#[test]
fn out_of_a_container_each_file_is_whose_it_was() {
    let s = Sandbox::new();
    for case in cases(&s) {
        let (uid, gid) = match case.mode.as_str() {
            "keep-id:uid=50,gid=60" => (50, 60),
            _ => (s.account.uid, s.account.gid),
        };
        let layer = Layer::default().dir("srv", 0o755).file("srv/root", 0o644, b"r");
        let layer = layer.owner(33, 44).file("srv/other", 0o644, b"o");
        let layer =
            layer.owner(uid.into(), gid.into()).file("srv/own", 0o644, b"m").symlink("srv/link", "own");
        s.load(&Image::busybox().layer(layer), "i");
        make(&s, &case.mode, "");
        for state in STATES {
            let out = format!("out-{}-{state}", case.mode.replace([':', '=', ','], "-"));
            s.ok(["cp", "-a", &format!("{state}:/srv"), &out]);
            let of = |name: &str| owner(&s.work().join(&out).join(name));
            let story = format!("{} {state}", case.mode);
            assert_eq!(of("own"), case.own, "{story}: own");
            assert_eq!(of("link"), case.own, "{story}: link");
            assert_eq!(of("root"), case.root, "{story}: root");
            assert_eq!(of("other"), case.other, "{story}: other");
            // An archive has the container's own numbers.
            let told = listed(&s, &format!("-a {state}:/srv"));
            assert!(told.contains(&format!(" {uid}/{gid} ")) && told.contains(" 33/44 "), "{story}:\n{told}");
            s.ok(["cp", &format!("{state}:/srv/other"), "plain"]);
            assert_eq!(owner(&s.work().join("plain")), (s.account.uid, s.account.gid), "{story}");
        }
        unmake(&s);
        s.ok("rmi i");
    }
}

#[test]
fn into_a_container_each_file_is_whose_it_was() {
    if !rustix::process::geteuid().is_root() {
        return needs_root("into_a_container_each_file_is_whose_it_was");
    }
    let s = Sandbox::new();
    s.load(&Image::busybox().layer(Layer::default().dir("srv", 0o755)), "i");
    s.write("in/own", "m");
    for case in cases(&s) {
        let other = s.write("in/other", "o");
        chown(&other, Some(case.other.0), Some(case.other.1)).unwrap();
        let bound = s.dir("bound");
        make(&s, &case.mode, &format!("-v {}:/bound", bound.display()));
        for state in STATES {
            s.ok(["cp", "-a", "in/.", &format!("{state}:/srv")]);
            s.ok(["cp", "in/own", &format!("{state}:/srv/plain")]);
            let told = listed(&s, &format!("{state}:/srv"));
            let has = |name: &str, (uid, gid): (u32, u32)| {
                let found = told.lines().any(|l| l.contains(&format!(" {uid}/{gid} ")) && l.ends_with(name));
                assert!(found, "{} {state}: {name} is not {uid}:{gid}:\n{told}", case.mode);
            };
            has("srv/own", case.inside);
            has("srv/other", (33, 44));
            has("srv/plain", (0, 0));
        }
        s.ok("start never");
        for state in ["never", "runs"] {
            let line = format!("exec {state} stat -c %u:%g /srv/own /srv/other /srv/plain");
            s.ok(&line).is(&format!("{}:{}\n33:44\n0:0", case.inside.0, case.inside.1));
        }
        unmake(&s);
    }
}

#[test]
fn what_is_bound_stays_ones_own() {
    let s = Sandbox::new();
    s.load(&Image::busybox(), "i");
    let me = (s.account.uid, s.account.gid);
    let bound = s.dir("bound");
    s.write("bound/mine", "x");
    s.write("file", "y");
    for mode in ["keep-id", "keep-id:uid=50,gid=60"] {
        make(&s, mode, &format!("-v {}:/bound", bound.display()));
        for state in STATES {
            s.ok(["cp", "-a", "file", &format!("{state}:/bound/{state}")]);
            assert_eq!(owner(&bound.join(state)), me, "{mode} {state}");
            s.ok(["cp", "-a", &format!("{state}:/bound/mine"), &format!("mine-{state}")]);
            assert_eq!(owner(&s.work().join(format!("mine-{state}"))), me, "{mode} {state}");
            fs::remove_file(bound.join(state)).unwrap();
        }
        unmake(&s);
    }
}

/// A directory of the host as root, nothing laid over it: on a driver that gives no ids other numbers.
#[test]
fn a_directory_that_is_written_through_stays_ones_own() {
    let s = Sandbox::new();
    let root = s.busybox_dir("root");
    s.write("file", "y");
    for mode in ["keep-id", "nomap"] {
        let line = format!("create --name c1 --userns {mode} -u 0 --rootfs {}:rw true", root.display());
        s.ok(&line);
        if mode == "keep-id" {
            s.ok("cp -a file c1:/new");
            assert_eq!(owner(&root.join("new")), (s.account.uid, s.account.gid));
        }
        s.ok("cp -a c1:/etc/passwd out");
        s.ok("rm c1");
        fs::remove_file(s.work().join("out")).unwrap();
    }
}

#[test]
fn with_one_id_all_is_ones_own() {
    let Some(s) = Sandbox::single() else { return needs_root("with_one_id_all_is_ones_own") };
    s.load(&Image::busybox().layer(Layer::default().owner(33, 44).file("srv/other", 0o644, b"o")), "i");
    let me = (s.account.uid, s.account.gid);
    s.write("file", "y");
    for driver in ["overlay", "fuse", "copy"] {
        let options = format!("--userns keep-id --snapshotter {driver}");
        s.ok(&format!("create --name never {options} i sleep 1000"));
        s.ok(&format!("run --name ended {options} i sh -c 'echo x > /made'"));
        s.ok(&format!("run -d --name runs {options} i sh -c 'echo x > /made; exec sleep 1000'"));
        for state in STATES {
            s.ok(["cp", "-a", "file", &format!("{state}:/srv/in")]);
            let told = listed(&s, &format!("{state}:/srv/in"));
            assert!(told.contains(&format!(" {}/{} ", me.0, me.1)), "{driver} {state}: {told}");
            let made = if state == "never" { "/srv/in" } else { "/made" };
            s.ok(["cp", "-a", &format!("{state}:{made}"), "out"]);
            let out = s.work().join("out");
            assert_eq!(owner(&out), me, "{driver} {state}");
            let kept = rustix::fs::getxattr(&out, "user.containers.override_stat", &mut [0u8; 64]);
            assert!(kept.is_err(), "{driver} {state}: one's own file is called another's");
            fs::remove_file(out).unwrap();
        }
        s.ok("start never");
        s.ok("exec never cat /srv/in").is("y");
        unmake(&s);
    }
}

/// There is nobody else to own it, and it is not refused for that.
#[test]
fn with_one_id_anothers_file_goes_in() {
    let Some(s) = Sandbox::single() else { return needs_root("with_one_id_anothers_file_goes_in") };
    s.load(&Image::busybox(), "i");
    let archive = Layer::default().owner(33, 44).file("other", 0o640, b"o").bytes();
    for driver in ["overlay", "fuse", "copy"] {
        for mode in ["host", "keep-id"] {
            let options = format!("--userns {mode} --snapshotter {driver}");
            s.ok(&format!("create --name never {options} i sleep 1000"));
            s.ok(&format!("run --name ended {options} i true"));
            s.ok(&format!("run -d --name runs {options} i sleep 1000"));
            for state in STATES {
                s.kelp(["cp", "-", &format!("{state}:/")]).stdin(archive.clone()).exits(0);
                s.ok(["cp", &format!("{state}:/other"), "out"]);
                assert_eq!(fs::read(s.work().join("out")).unwrap(), b"o", "{driver} {mode} {state}");
            }
            unmake(&s);
        }
    }
}
