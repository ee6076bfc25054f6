//! Independent witnesses: what kelp saves, docker, podman, skopeo and umoci read; what docker, buildah and umoci make,
//! kelp loads and runs with the same configuration.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Format, Image, Layer, Others, Packing, Registry, Sandbox, needs_root, within};

/// An image of two layers with everything in its configuration that a container takes from it.
fn image() -> Image {
    Image::busybox()
        .layer(Layer::default().owner(33, 44).file("note", 0o4751, b"second layer"))
        .set("User", "app".into())
        .set("Env", json!(["PATH=/bin", "WORDS=two words"]))
        .set("Entrypoint", json!(["/bin/sh", "-c"]))
        .set("Cmd", json!(["cat /note"]))
        .set("WorkingDir", "/srv/www".into())
        .set("Volumes", json!({ "/data": {} }))
        .set("ExposedPorts", json!({ "80/tcp": {} }))
        .set("StopSignal", "SIGINT".into())
        .set("Labels", json!({ "a": "b" }))
        .set("Healthcheck", json!({ "Test": ["CMD", "true"], "Interval": 5_000_000_000_i64 }))
}

/// Every form in which kelp saves an image: options and file.
const FORMS: &[(&str, &str)] = &[
    ("", "docker.tar"),
    ("--compress", "docker-gzip.tar"),
    ("--uncompressed", "docker-plain.tar"),
    ("--format oci-archive", "oci.tar"),
    ("--format oci-archive --compress", "oci-gzip.tar"),
    ("--format oci-archive --uncompressed", "oci-plain.tar"),
];

/// A sandbox with `image:1`, two of whose layers are stored uncompressed, and `zipped:1`, whose layer is stored
/// as zstd.
fn stocked() -> Sandbox {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    let tar = s.busybox_tar();
    s.ok(&format!("import -c 'CMD [\"echo\",\"zipped\"]' {} zipped:1", tar.display()));
    s
}

/// The value of `docker image inspect`'s `Config`, of what matters to a container.
fn effective(config: &Value) -> Value {
    let keys = ["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Volumes", "StopSignal", "Healthcheck"];
    keys.iter().map(|key| ((*key).to_owned(), config[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn config_of(s: &Sandbox, name: &str) -> Value {
    effective(&s.json(["image", "inspect", name])[0]["Config"])
}

#[test]
fn docker_loads_what_is_saved_and_the_reverse() {
    let s = stocked();
    let test = "docker_loads_what_is_saved_and_the_reverse";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    let Some(docker) = others.docker() else { return };
    let ids = |name: &str| s.ok(["image", "inspect", "-f", "{{.Id}}", name]).text().to_owned();
    let mut deleted = String::new();
    for (options, file) in FORMS.iter().filter(|(options, _)| !options.contains("oci")) {
        s.ok(&format!("save {options} -o {file} image:1 zipped:1"));
        let path = s.work().join(file);
        docker.call("load -i").args([&path]).exits(0).has("image:1").has("zipped:1");
        for name in ["image:1", "zipped:1"] {
            docker.call(&format!("image inspect -f {{{{.Id}}}} {name}")).exits(0).is(&ids(name));
        }
        let theirs = docker.call("image inspect image:1").exits(0);
        let theirs: Value = serde_json::from_str(theirs.text()).unwrap();
        assert_eq!(effective(&theirs[0]["Config"]), config_of(&s, "image:1"), "{file}");
        deleted = docker.call("rmi image:1 zipped:1").exits(0).stdout;
    }
    // And back: what docker itself writes.
    docker.call("load -i").args([s.work().join("docker.tar")]).exits(0);
    docker.call("tag image:1 image:2").exits(0);
    docker.call("save -o back.tar image:1 image:2 zipped:1").exits(0);
    s.give(&others.dir().join("back.tar"));
    let (id, zipped) = (ids("image:1"), ids("zipped:1"));
    let config = config_of(&s, "image:1");
    s.ok("rmi image:1 zipped:1").is(&deleted);
    let out = s.kelp("load -i").args([others.dir().join("back.tar")]).exits(0);
    out.has("Loaded image: image:1").has("Loaded image: image:2").has("Loaded image: zipped:1");
    assert_eq!((ids("image:2"), ids("zipped:1")), (id, zipped));
    assert_eq!(config_of(&s, "image:2"), config);
    s.ok("run --rm image:2").is("second layer");
    s.ok("run --rm zipped:1").is("zipped");
}

#[test]
fn podman_and_skopeo_read_what_is_saved_and_the_reverse() {
    let s = stocked();
    let test = "podman_and_skopeo_read_what_is_saved_and_the_reverse";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    // A gzip layer over a zstd one.
    s.ok("run --name box zipped:1 touch /new");
    s.ok("commit box committed:1");
    s.ok("rm box");
    let id = s.ok("image inspect -f {{.Id}} image:1").text().to_owned();
    for (options, file) in FORMS {
        for name in ["image:1", "zipped:1", "committed:1"] {
            s.ok(&format!("save {options} -o {file} {name}"));
            let path = s.work().join(file).display().to_string();
            others.podman("load -i").args([&path]).exits(0).has(name);
            let kind = if file.starts_with("oci") { "oci-archive" } else { "docker-archive" };
            others.skopeo(&format!("inspect --config {kind}:{path}")).exits(0).has("\"rootfs\"");
            // It reads every layer and compares digests and diff-ids.
            others.skopeo(&format!("copy {kind}:{path} dir:{file}-{name}.copy")).exits(0);
            others.skopeo(&format!("copy {kind}:{path} docker-archive:{file}-{name}.docker")).exits(0);
        }
        others.podman("image inspect -f sha256:{{.Id}} image:1").exits(0).is(&id);
        others.podman("rmi -a -f").exits(0);
    }
    s.ok("save -o docker.tar image:1");
    others.podman("load -i").args([s.work().join("docker.tar")]).exits(0);
    let config = config_of(&s, "image:1");
    s.ok("rmi image:1");
    for format in ["docker-archive", "oci-archive"] {
        let file = others.dir().join(format!("podman-{format}.tar"));
        others.podman(&format!("save --format {format} -o {} image:1", file.display())).exits(0);
        s.give(&file);
        let out = s.kelp("load -i").args([file]).exits(0);
        // podman may have put a domain before it.
        let name = out.text().strip_prefix("Loaded image: ").unwrap();
        assert!(name.ends_with("image:1"), "{}", out.story());
        if format == "docker-archive" {
            assert_eq!(config_of(&s, name), config);
        }
        s.ok(&format!("run --rm {name}")).is("second layer");
        s.ok(&format!("rmi {name}"));
    }
}

/// What a registry knows by its digest has that digest in an OCI layout, whatever its layers are compressed with.
#[test]
fn a_pulled_image_is_saved_with_its_digest() {
    let s = Sandbox::new();
    let Some(others) = Others::beside(&s) else {
        return needs_root("a_pulled_image_is_saved_with_its_digest");
    };
    let registry = Registry::new();
    for (tag, format, packing) in [
        ("gzip", Format::Oci, Packing::Gzip),
        ("zstd", Format::Oci, Packing::Zstd),
        ("docker", Format::Docker, Packing::Gzip),
    ] {
        let pushed = registry.push_as("app", tag, &image(), format, packing);
        let name = format!("{}/app:{tag}", registry.host());
        s.ok(["pull", "-q", &name]);
        s.ok(["save", "--format", "oci-archive", "-o", "pulled.tar", &name]);
        let path = s.work().join("pulled.tar").display().to_string();
        others.skopeo(&format!("inspect -f {{{{.Digest}}}} oci-archive:{path}")).exits(0).is(&pushed.digest);
        others.skopeo(&format!("copy oci-archive:{path} dir:{tag}.copy")).exits(0);
        // And as docker takes it.
        s.ok(["save", "-o", "pulled.tar", &name]);
        others.skopeo(&format!("copy docker-archive:{path} docker-archive:{tag}.docker")).exits(0);
        // The next has the same id, and would have the same digests.
        s.ok(["rmi", &name]);
    }
}

#[test]
fn umoci_unpacks_what_is_saved() {
    let s = stocked();
    let Some(others) = Others::beside(&s) else { return needs_root("umoci_unpacks_what_is_saved") };
    for options in ["--compress", "--uncompressed"] {
        s.ok(&format!("save --format oci-archive {options} -o oci.tar image:1"));
        let layout = s.dir(&format!("layout{options}"));
        others.call("/bin/tar", "-xf").args([s.work().join("oci.tar")]).args(["-C"]).args([&layout]).exits(0);
        let bundle = others.dir().join(format!("bundle{options}"));
        let image = format!("{}:docker.io/library/image:1", layout.display());
        others.umoci(&format!("unpack --image {image} {}", bundle.display())).exits(0);
        assert_eq!(fs::read(bundle.join("rootfs/note")).unwrap(), b"second layer");
        let spec: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        assert_eq!(spec["process"]["args"], json!(["/bin/sh", "-c", "cat /note"]));
        assert_eq!(spec["process"]["cwd"], "/srv/www");
    }
}

#[test]
fn what_buildah_makes_runs_with_the_same_configuration() {
    let s = Sandbox::new();
    let test = "what_buildah_makes_runs_with_the_same_configuration";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    let container = others.buildah("from scratch").exits(0).text().to_owned();
    others.buildah(&format!("copy {container} {BUSYBOX} /bin/busybox")).exits(0);
    let settings = "--env A=1 --env 'B=two words' --user 1000:44 --entrypoint '[\"/bin/busybox\",\"sh\",\"-c\"]' \
                    --workingdir /srv --volume /data --stop-signal SIGINT --port 80/tcp --label x=y \
                    --healthcheck 'CMD /bin/true' --healthcheck-interval 5s --author somebody";
    others.buildah(&format!("config {settings} {container}")).exits(0);
    let command = "--cmd '[\"echo $A $B; /bin/busybox id -u; /bin/busybox pwd\"]'";
    others.buildah(&format!("config {command} {container}")).exits(0);
    for (format, archive) in [("docker", "docker-archive"), ("oci", "oci-archive")] {
        let file = others.dir().join(format!("{format}.tar"));
        others
            .buildah(&format!(
                "commit --format {format} {container} {archive}:{}:built:{format}",
                file.display()
            ))
            .exits(0);
        s.give(&file);
        s.kelp("load -i").args([file]).exits(0).has(&format!("built:{format}"));
        let image = &s.json(["image", "inspect", &format!("built:{format}")])[0];
        let config = &image["Config"];
        assert_eq!(config["User"], "1000:44");
        assert_eq!(config["Env"], json!(["A=1", "B=two words"]));
        assert_eq!(config["Entrypoint"], json!(["/bin/busybox", "sh", "-c"]));
        assert_eq!(config["WorkingDir"], "/srv");
        assert_eq!(config["Volumes"], json!({ "/data": {} }));
        assert_eq!(config["StopSignal"], "SIGINT");
        assert_eq!(config["ExposedPorts"], json!({ "80/tcp": {} }));
        assert_eq!(config["Labels"]["x"], "y");
        assert_eq!(image["Author"], "somebody");
        if format == "docker" {
            // The OCI format has no health check.
            assert_eq!(config["Healthcheck"]["Test"], json!(["CMD", "/bin/true"]));
            assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_i64);
        }
        let out = s.ok(&format!("run --rm built:{format}"));
        assert_eq!(out.lines(), ["1 two words", "1000", "/srv"], "{}", out.story());
        let waits = "trap \"exit 7\" INT; echo ready; while :; do /bin/busybox sleep 0.05; done";
        s.ok(&format!("run -d --name c1 built:{format} '{waits}'"));
        assert!(within(Duration::from_secs(20), || s.ok("logs c1").stdout.contains("ready")));
        s.ok("stop -t 30 c1");
        assert_eq!(s.field("c1", ".State.ExitCode"), "7", "it got the image's stop signal");
        s.ok("rm c1");
    }
}

#[test]
fn what_umoci_makes_runs_with_the_same_configuration() {
    let s = Sandbox::new();
    let test = "what_umoci_makes_runs_with_the_same_configuration";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    for line in ["init --layout layout", "new --image layout:one", "unpack --image layout:one bundle"] {
        others.umoci(line).exits(0);
    }
    fs::create_dir_all(others.dir().join("bundle/rootfs/bin")).unwrap();
    fs::copy(BUSYBOX, others.dir().join("bundle/rootfs/bin/busybox")).unwrap();
    others.umoci("repack --image layout:one bundle").exits(0);
    let settings = "--config.user 5 --config.env C=3 --config.entrypoint /bin/busybox --config.cmd sh --config.cmd -c \
                    --config.cmd 'echo $C; /bin/busybox id -u; /bin/busybox pwd' --config.workingdir /w \
                    --config.volume /v --config.stopsignal SIGQUIT --config.label k=v";
    others.umoci(&format!("config --image layout:one {settings}")).exits(0);
    let tar = others.dir().join("layout.tar");
    others.call("/bin/tar", "-C layout -cf layout.tar .").exits(0);
    s.give(&tar);
    s.kelp("load -i").args([tar]).exits(0).has("Loaded image: one:latest");
    let config = config_of(&s, "one");
    assert_eq!(config["User"], "5");
    assert_eq!(config["Volumes"], json!({ "/v": {} }));
    assert_eq!(config["StopSignal"], "SIGQUIT");
    let out = s.ok("run --rm one");
    assert_eq!(out.lines(), ["3", "5", "/w"], "{}", out.story());
}
