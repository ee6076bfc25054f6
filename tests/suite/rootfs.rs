//! `--rootfs`: a directory of the host as the root, `/` included.

use std::fs;

use crate::harness::Sandbox;

/// The words that run a command in the machine's own root.
fn over(options: &str, command: &str) -> String {
    format!("run {options} {} --rootfs / {command}", Sandbox::over_the_host())
}

#[test]
fn a_directory_is_run_and_left_as_it_was() {
    let s = Sandbox::new();
    let dir = s.busybox_dir("root");
    let root = dir.to_str().unwrap();
    s.ok(["run", "--rm", "--rootfs", root, "sh", "-c", "echo new > /etc/new; rm /etc/passwd; cat /etc/new"])
        .is("new");
    assert!(!dir.join("etc/new").exists() && dir.join("etc/passwd").exists());
    let names: Vec<_> = fs::read_dir(dir.join("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing was put in: {names:?}");
}

#[test]
fn rw_writes_through() {
    let s = Sandbox::new();
    let dir = s.busybox_dir("root");
    s.ok(["run", "--rm", "--rootfs", &format!("{}:rw", dir.display()), "touch", "/written"]);
    assert!(dir.join("written").exists());
    s.exits(125, "run --rm --rootfs /:rw true").says("/");
}

/// The sandbox of the machine itself.
#[test]
fn the_hosts_root_is_a_sandbox() {
    let s = Sandbox::new();
    let before = fs::metadata("/usr/bin").unwrap().modified().unwrap();
    // What holds the store is read-only, so what is broken here lies elsewhere.
    let script = "id -u && hostname && touch /usr/new /new && ls /usr/bin/yes >/dev/null";
    s.ok(&over("--rm -h inside", &format!("sh -c '{script}'"))).is("0\ninside");
    assert!(
        fs::exists("/usr/bin/yes").unwrap()
            && !fs::exists("/usr/new").unwrap()
            && !fs::exists("/new").unwrap()
    );
    assert_eq!(fs::metadata("/usr/bin").unwrap().modified().unwrap(), before);
}

#[test]
fn the_store_is_not_in_the_sandbox() {
    let s = Sandbox::new().busybox();
    let store = s.store();
    let out = s.kelp(&over("--rm", &format!("ls -A {}", store.display()))).run();
    assert_eq!(out.text(), "", "{}", out.story());
}

#[test]
fn submounts_of_the_host_appear() {
    let s = Sandbox::new();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let seen = mounts.lines().filter_map(|l| l.split(' ').nth(1)).find(|m| {
        let apart = ["/proc", "/sys", "/dev"].iter().all(|p| !m.starts_with(p));
        // Whoever else is busy on this machine may have mounts that the account may not look into.
        apart && *m != "/" && !s.program_call("ls").args(["-A", *m]).run().stdout.is_empty()
    });
    // Where the host has none but the kernel's own, `/dev/shm` and `/proc` below are all there is to see.
    if let Some(mount) = seen {
        let out = s.ok(&over("--rm", &format!("ls -A '{mount}'")));
        assert_ne!(out.text(), "", "{mount} is empty inside");
    }
    s.ok(&over("--rm", "sh -c 'test -d /proc/1 && test -c /dev/null && test -d /sys/class'"));
}

#[test]
fn proc_inside_shows_the_container_alone() {
    let s = Sandbox::new();
    let out = s.ok(&over("--rm", "sh -c 'ls -d /proc/[0-9]* | wc -l'"));
    assert!(out.text().parse::<u32>().unwrap() < 6, "{}", out.story());
}

#[test]
fn changes_live_as_long_as_the_container() {
    let s = Sandbox::new();
    s.ok(&over("--name c1", "sh -c 'echo x >> /usr/kept; wc -l < /usr/kept'")).is("1");
    s.ok("start -a c1").is("2");
    assert!(!fs::exists("/usr/kept").unwrap());
}

#[test]
fn a_root_that_cannot_be_used_is_named() {
    let s = Sandbox::new();
    s.exits(125, "run --rm --rootfs /no/such/dir true").says("/no/such/dir");
    let file = s.write("file", "x");
    s.exits(125, &format!("run --rm --rootfs {} true", file.display())).says("file");
    let locked = s.dir("locked");
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let out = s.kelp(["run", "--rm", "--rootfs", locked.to_str().unwrap(), "true"]).run();
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!([125, 127].contains(&out.code), "{}", out.story());
    assert_eq!(s.ok("ps -aq").text(), "");
}
