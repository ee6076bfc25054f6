//! Images of very many layers, and layers that somebody took away.

use std::fs;
use std::time::Duration;

use crate::harness::{Image, Layer, Sandbox, digest, within};

const DRIVERS: [&str; 3] = ["overlay", "fuse", "copy"];

/// Busybox, and above it so many layers: each with a file of its own, one that hides that of the layer before, and a
/// version of what all have.
fn stack(layers: usize) -> Image {
    (1..layers).fold(Image::busybox(), |image, n| {
        let layer = Layer::default().dir("srv", 0o755).file(&format!("srv/{n}"), 0o644, b"");
        let layer = layer.file("srv/all", 0o644, n.to_string().as_bytes());
        let hidden = format!("srv/.wh.{}", n - 1);
        image.layer(if n % 2 == 0 { layer.file(&hidden, 0o644, b"") } else { layer })
    })
}

/// The kernel's overlay takes 500 directories, of which one is kelp's own; with more, ours is chosen, unless somebody
/// insists.
#[test]
fn five_hundred_layers() {
    let s = Sandbox::new();
    let mount = "if grep -q ' / .* - overlay ' /proc/self/mountinfo; then echo kernel; \
        elif grep -q 'fuse.kelp' /proc/self/mountinfo; then echo ours; else echo neither; fi";
    let script = format!("cat /srv/all; echo; ls /srv | wc -l; echo x > /srv/new; rm /srv/2; {mount}");
    let drivers = ["auto", "overlay", "fuse", "copy"];
    for (layers, by) in
        [(499, ["kernel", "kernel", "ours", "neither"]), (500, ["ours", "", "ours", "neither"])]
    {
        let archive = stack(layers).docker_archive("many");
        s.kelp("load").stdin(archive).limit(Duration::from_secs(240)).exits(0);
        for (driver, by) in drivers.into_iter().zip(by) {
            if by.is_empty() {
                let refused = s.exits(125, &format!("run --snapshotter {driver} many true"));
                refused.says("the image has 500 different layers, and the kernel's overlay takes 499");
                refused.says("--snapshotter fuse takes any number");
                s.ok("ps -aq").is("");
                continue;
            }
            let run = ["run", "--name", driver, "--snapshotter", driver, "many", "sh", "-c", &script];
            let out = s.kelp(run.map(str::to_owned).to_vec()).limit(Duration::from_secs(120)).exits(0);
            // Of the files with odd numbers, all but the last one of an odd stack are hidden.
            let shown = (layers - 1) / 2 + (layers - 1) % 2 + 1;
            let shown = shown.to_string();
            assert_eq!(out.lines(), [&(layers - 1).to_string(), &shown, by], "{driver}, {layers} layers");
            s.ok(&format!("diff {driver}")).is("C /srv\nD /srv/2\nA /srv/new");
            s.ok(&format!("rm {driver}"));
        }
    }
}

#[test]
fn a_layer_that_is_gone() {
    let s = Sandbox::new();
    let image = Image::busybox().layer(Layer::default().file("above", 0o644, b"content"));
    let archive = image.docker_archive("image:1");
    s.kelp("load").stdin(archive.clone()).exits(0);
    for driver in DRIVERS {
        s.ok(&format!("create --name {driver} --snapshotter {driver} image:1 cat /above"));
    }
    let lost = digest(&image.layers()[1]);
    let dir = s.store().join("layers").join(lost.trim_start_matches("sha256:"));
    fs::remove_dir_all(&dir).unwrap();
    for driver in ["overlay", "fuse"] {
        let out = s.exits(1, &format!("start -a {driver}"));
        out.says(&lost).says("not in the store").says("load, import or pull the image again");
        assert!(within(Duration::from_secs(10), || s.processes().is_empty()), "{:#?}", s.processes());
        assert_eq!(s.field(driver, ".State.Status"), "created");
    }
    // A copy has what it needs, but for what it began with.
    s.ok("start -a copy").is("content");
    for line in ["diff overlay", "export overlay", "diff copy", "commit copy new"] {
        s.exits(1, line).says(&lost);
    }
    for driver in DRIVERS {
        s.exits(125, &format!("run --rm --snapshotter {driver} image:1 true"))
            .says(&lost)
            .says("pull the image again");
    }
    assert_eq!(s.ok("ps -aq").lines().len(), 3);
    s.exits(1, "system check").says("");
    // The way out that was told.
    s.kelp("load").stdin(archive).exits(0);
    s.ok("system check");
    for driver in DRIVERS {
        s.ok(&format!("start -a {driver}")).is("content");
        s.ok(&format!("diff {driver}")).is("");
    }
}
