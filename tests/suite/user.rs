//! Who the process is: `-u` in every form, the image's `USER`, groups, `HOME`.

use crate::harness::{Image, Layer, Sandbox};

/// T-userparse: what docker makes of each value with the passwd and group of the busybox image. `None`: refused.
const USERS: &[(&str, Option<&str>)] = &[
    ("", Some("0 0")),
    ("0", Some("0 0")),
    ("1", Some("1 1")),
    ("01", Some("1 1")),
    ("app", Some("1000 1000")),
    ("1000", Some("1000 1000")),
    ("app:33", Some("1000 33")),
    ("app:www-data", Some("1000 33")),
    ("1234", Some("1234 0")),
    ("1234:4321", Some("1234 4321")),
    ("33:", Some("33 33")),
    (":33", Some("0 33")),
    ("0:extra", Some("0 44")),
    ("65000", Some("65000 0")),
    ("root1", None),
    ("app:nogroup1", None),
    ("-1", None),
    ("0x1", None),
    ("4294967295", None),
    ("4294967296", None),
    ("18446744073709551616", None),
    ("\u{0661}", None),
    ("1 ", None),
];

#[test]
fn every_form_of_user_means_what_docker_says() {
    let s = Sandbox::new().busybox();
    for (user, ids) in USERS {
        let words = ["run", "--rm", "-u", user, "busybox", "sh", "-c", "echo $(id -u) $(id -g)"];
        let out = s.kelp(words).run();
        match ids {
            Some(ids) => assert_eq!(out.expect_code(0).text(), *ids, "-u {user:?}"),
            None => {
                assert!((125..=126).contains(&out.code), "-u {user:?} has to be refused:\n{}", out.story())
            }
        }
    }
}

#[test]
fn an_id_beyond_32_bits_is_never_a_name() {
    let s = Sandbox::new();
    let passwd = "root:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/root:/bin/sh\n4294967295:x:0:0::/:/bin/sh\n";
    let image = Image::busybox()
        .layer(Layer::default().file("etc/passwd", 0o644, passwd.as_bytes()))
        .set("User", "4294967296".into());
    s.load(&image, "evil");
    for option in ["", "-u 4294967296", "-u 4294967295", "-u 4294967296:0"] {
        let out = s.kelp(&format!("run --rm {option} evil id -u")).run();
        assert!((125..=126).contains(&out.code) && out.text() != "0", "{option}:\n{}", out.story());
    }
}

/// T-groups: the image's files for a name or a listed id, `--group-add` on top, nothing of the caller's.
#[test]
fn supplementary_groups_are_the_images_and_the_asked_for() {
    let s = Sandbox::new().busybox();
    for (options, groups) in [
        ("", "0"),
        ("-u app", "1000 4 44"),
        ("-u 1000", "1000 4 44"),
        ("-u www-data", "33 44"),
        ("-u 1234", "0"),
        ("-u app:33", "33"),
        ("--group-add 77", "0 77"),
        ("--group-add extra --group-add 5", "0 5 44"),
        ("-u app --group-add daemon", "1000 1 4 44"),
    ] {
        let out = s.ok(&format!("run --rm {options} busybox id -G"));
        let sorted = |text: &str| {
            let mut ids: Vec<u32> = text.split_whitespace().map(|g| g.parse().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(out.text()), sorted(groups), "{options}");
    }
    assert_ne!(s.kelp("run --rm --group-add nosuch busybox id").run().code, 0);
}

#[test]
fn the_images_user_is_the_default() {
    let s = Sandbox::new();
    s.load(&Image::busybox().set("User", "app".into()), "i");
    s.ok("run --rm i sh -c 'id -un; echo $HOME'").is("app\n/home/app");
    s.ok("run --rm -u root i id -un").is("root");
}

#[test]
fn home_comes_from_the_images_passwd() {
    let s = Sandbox::new().busybox();
    s.busybox_sh("-u app", "echo $HOME").is("/home/app");
    s.busybox_sh("-u 4242", "echo $HOME").is("/");
    s.busybox_sh("-u app -e HOME=/mine", "echo $HOME").is("/mine");
}

/// T-caps-user: without being root inside, there is nothing to be effective.
#[test]
fn a_user_other_than_root_has_no_capabilities() {
    let s = Sandbox::new().busybox();
    let out = s.busybox_sh("-u app", "grep ^Cap /proc/self/status");
    for line in out.lines().iter().filter(|l| !l.starts_with("CapBnd")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    s.exits(1, "run --rm -u app busybox sh -c 'cat /proc/1/environ >/dev/null; touch /etc/x'");
}

/// T-bigmeta: what the image says about its users is read bounded and from regular files only.
#[test]
fn hostile_passwd_files_neither_hang_nor_fill_memory() {
    let s = Sandbox::new();
    let huge = vec![b'x'; 48 << 20];
    let layers = [
        ("huge", Layer::default().file("etc/passwd", 0o644, &huge)),
        ("zero", Layer::default().symlink("etc/passwd", "/dev/zero")),
        ("fifo", Layer::default().entry(tar::EntryType::Fifo, "etc/passwd", "", 0o644, &[])),
        ("dir", Layer::default().entry(tar::EntryType::Symlink, "etc/passwd", "/etc", 0o777, &[])),
        ("loop", Layer::default().symlink("etc/passwd", "passwd")),
    ];
    for (tag, layer) in layers {
        s.load(&Image::busybox().layer(layer), tag);
        let by_name = s.kelp(["run", "--rm", "-u", "app", tag, "id", "-u"]);
        let out = by_name.limit(std::time::Duration::from_secs(20)).run();
        assert!(out.code != 0, "{tag}: a name cannot be known:\n{}", out.story());
        // Not id(1): that reads the file itself, without end.
        let by_id = s.kelp(["run", "--rm", "-u", "7:7", tag, "stat", "-c", "%u", "/proc/self/status"]);
        let out = by_id.limit(std::time::Duration::from_secs(20)).run();
        assert!(out.code != 0 || out.text() == "7", "{tag}:\n{}", out.story());
    }
}

#[test]
fn passwd_as_a_link_is_read_inside_the_root() {
    let s = Sandbox::new();
    let layer = Layer::default().symlink("etc/passwd", "/alt/passwd").dir("alt", 0o755).file(
        "alt/passwd",
        0o644,
        b"inside:x:77:77::/:/bin/sh\n",
    );
    s.load(&Image::busybox().layer(layer), "i");
    let out = s.kelp("run --rm -u inside i id -u").run();
    assert!(out.code != 0 || out.text() == "77", "{}", out.story());
    assert_ne!(s.kelp("run --rm -u kelptest0 i id -u").run().code, 0, "the host's passwd was read");
}
