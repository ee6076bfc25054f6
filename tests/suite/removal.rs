//! rmi, untag and the prunes: docker's rules and words, and what happens when several commands want the same image.

use std::fs;
use std::time::Duration;

use crate::harness::{Image, Layer, Sandbox, within};

/// Layers and blobs that are left.
fn content(s: &Sandbox) -> usize {
    let count = |dir: &str| fs::read_dir(s.store().join(dir)).unwrap().count();
    count("layers") + count("blobs/sha256")
}

fn id_of(s: &Sandbox, name: &str) -> String {
    s.ok(["image", "inspect", "-f", "{{.Id}}", name]).text().to_owned()
}

fn short(id: &str) -> &str {
    &id["sha256:".len()..][..12]
}

#[test]
fn a_name_goes_and_with_the_last_one_the_image() {
    let s = Sandbox::new().busybox();
    let id = id_of(&s, "busybox");
    s.ok("tag busybox busybox:2 other.example/x/y");
    s.ok("rmi busybox:2").is("Untagged: busybox:2");
    s.ok("rmi busybox other.example/x/y")
        .has("Untagged: busybox:latest\nUntagged: other.example/x/y:latest\n");
    assert_eq!(content(&s), 0);
    let s = s.busybox();
    s.ok("tag busybox again");
    let id = if id == id_of(&s, "busybox") { id } else { id_of(&s, "busybox") };
    let text = format!(
        "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
        short(&id)
    );
    s.exits(1, &format!("rmi {}", short(&id))).says(&text);
    let out = s.ok(&format!("rmi -f --no-prune {}", short(&id)));
    out.has("Untagged: again:latest").has("Untagged: busybox:latest").has(&format!("Deleted: {id}"));
    assert_eq!(content(&s), 0);
    s.exits(1, &format!("rmi {id}")).says("no such image");
}

#[test]
fn an_image_goes_by_its_digest() {
    let s = Sandbox::new().busybox();
    let digest = s.ok("image inspect -f '{{index .RepoDigests 0}}' busybox").text().to_owned();
    assert!(digest.starts_with("busybox@sha256:"), "{digest}");
    s.ok(&format!("run --rm {digest} true"));
    let wrong = format!("busybox@sha256:{:064x}", 1);
    s.exits(1, &format!("rmi {wrong}")).says(&wrong);
    s.exits(1, &format!("rmi nothing{}", &digest["busybox".len()..])).says("no such image");
    s.ok(&format!("rmi {digest}")).has("Untagged: busybox:latest").has("Deleted: sha256:");
    assert_eq!(content(&s), 0);
}

#[test]
fn all_go_at_once_and_what_is_missing_may_be() {
    let s = Sandbox::new().busybox();
    s.load(&Image::busybox().layer(Layer::default().file("x", 0o644, b"x")), "two:1");
    s.ok("tag two:1 two:2 again:1");
    s.ok("untag busybox");
    s.exits(1, "rmi nothing two:2").says("no such image: nothing:latest").has("Untagged: two:2");
    s.ok("rmi -i nothing").silent().is("");
    s.ok("rmi -f nothing").says("no such image: nothing:latest").is("");
    s.exits(1, "rmi -a two:1").says("--all");
    s.exits(1, "rmi").says("IMAGE");
    s.ok("run --name c1 two:1 true");
    let out = s.exits(1, "rmi -a");
    out.says("image is being used by stopped container").has("Deleted: sha256:").lacks("two:1");
    s.ok("run -d --name c2 two:1 sleep 1000");
    s.exits(1, "rmi -af").says("cannot be forced");
    s.ok("rm -f c2");
    let out = s.ok("rmi -af");
    for name in ["two:1", "again:1"] {
        out.has(&format!("Untagged: {name}\n"));
    }
    s.ok("rmi -a").is("");
    s.ok("rm c1");
    assert_eq!(content(&s), 0);
}

/// A layer is called by its chain-id, topmost first, after the image that stood on it.
#[test]
fn layers_go_under_docker_s_names() {
    let s = Sandbox::new();
    let layer = |name: &str| Layer::default().file(name, 0o644, b"x");
    s.load(&Image::default().layer(layer("a")).layer(layer("b")), "two:1");
    s.load(&Image::default().layer(layer("a")).layer(layer("c")), "other:1");
    let names = |name: &str| -> Vec<String> {
        let layers = s.json(["image", "inspect", "-f", "{{json .RootFS.Layers}}", name]);
        let ids: Vec<_> = layers.as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
        let chain = crate::harness::digest(format!("{} {}", ids[0], ids[1]).as_bytes());
        vec![id_of(&s, name), chain, ids[0].clone()]
    };
    let (two, other) = (names("two:1"), names("other:1"));
    s.ok("rmi two:1").is(&format!("Untagged: two:1\nDeleted: {}\nDeleted: {}", two[0], two[1]));
    let deleted = |word: &str| other.iter().map(|id| format!("{word}: {id}\n")).collect::<String>();
    let dry = s.ok("image prune -a --dry-run");
    dry.has(&format!("untagged: other:1\n{}\n", deleted("deleted")));
    assert_eq!(
        dry.stdout.replace("Images that would be deleted", "Deleted Images"),
        s.ok("image prune -af").stdout
    );
}

#[test]
fn docker_s_conflicts_in_docker_s_words() {
    let s = Sandbox::new().busybox();
    let id = id_of(&s, "busybox");
    let short = short(&id);
    let c = s.ok("create busybox true").text().to_owned();
    let text = format!(
        "conflict: unable to remove repository reference \"busybox\" (must force) - container {} is using its \
         referenced image {short}",
        &c[..12]
    );
    s.exits(1, "rmi busybox").says(&text);
    let text = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
        &c[..12]
    );
    s.exits(1, &format!("rmi {short}")).says(&text);
    s.ok(&format!("rm {c}"));

    let c = s.ok("run -d --name c1 busybox sleep 1000").text().to_owned();
    let text = format!(
        "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
        &c[..12]
    );
    s.exits(1, &format!("rmi -f {short}")).says(&text);
    s.exits(1, "rmi busybox").says("(must force)");
    // By name and by force, the name goes and the image stays, as with docker.
    s.ok("rmi -f busybox").is("Untagged: busybox:latest");
    s.ok("images --format '{{.Repository}} {{.ID}}'").is(&format!("<none> {short}"));
    s.ok("exec c1 true");
    s.ok("rm -f c1");
    s.ok("image prune -f").has(&format!("deleted: {id}"));
    assert_eq!(content(&s), 0);
}

#[test]
fn what_a_container_stands_on_goes_with_the_container() {
    let s = Sandbox::new().busybox();
    s.ok("create --name c1 busybox true");
    s.ok("rmi -f busybox").has("Deleted: sha256:");
    assert_eq!(s.ok("images -aq").text(), "");
    assert_eq!(content(&s), 1, "its layer");
    s.ok("start -a c1");
    s.ok("rm c1");
    assert_eq!(content(&s), 0);
}

#[test]
fn untag_takes_names_and_keeps_the_image() {
    let s = Sandbox::new().busybox();
    let id = id_of(&s, "busybox");
    s.ok("tag busybox a b:1 c");
    s.ok("untag a b:1").is("");
    s.exits(1, "untag a b:1").says("b:1");
    s.ok("image untag a");
    s.ok("images --format '{{.Repository}}:{{.Tag}}'").is("<none>:<none>");
    s.ok(&format!("tag {} back", short(&id)));
    assert_eq!(id_of(&s, "back"), id);
    s.exits(1, &format!("tag back x@sha256:{:064x}", 1))
        .says("refusing to create a tag with a digest reference");
    s.exits(1, "tag nothing x").says("no such image: nothing:latest");
    s.exits(1, "tag back UPPER").says("must be lowercase");
}

#[test]
fn prune_takes_what_nothing_uses() {
    let s = Sandbox::new().busybox();
    let tar = s.busybox_tar();
    for (label, name) in [("keep", "kept:1"), ("go", "gone:1"), ("dangle", "x")] {
        s.ok(&format!("import -c 'LABEL {label}=1' {} {name}", tar.display()));
    }
    s.ok("untag x");
    s.ok("create --name c1 busybox true");
    s.ok("image prune --dry-run").has("Images that would be deleted:\ndeleted: sha256:");
    let names = "images --format '{{.Repository}}'";
    assert_eq!(s.ok(names).lines().len(), 4, "a dry run deletes nothing");
    let asked = s.kelp("image prune").stdin("n\n").exits(0);
    asked.has("WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ");
    assert_eq!(s.ok(names).lines().len(), 4);
    s.kelp("image prune")
        .stdin("y\n")
        .exits(0)
        .has("Deleted Images:\ndeleted: sha256:")
        .has("\n\nTotal reclaimed space: ");
    assert_eq!(s.ok(names).lines().len(), 3);
    s.ok("image prune -af --filter until=1h").is("Total reclaimed space: 0B");
    s.ok("image prune -af --filter label!=keep").has("untagged: gone:1").lacks("kept:1").lacks("busybox");
    s.ok("image prune -af --filter label=keep=1").has("untagged: kept:1");
    s.ok(names).is("busybox");
    s.exits(1, "image prune -f --filter nonsense=1").says("nonsense").says("label");

    s.ok("run -d --name c2 busybox sleep 1000");
    s.ok("container prune --dry-run").has("Containers that would be deleted:");
    let id = s.field("c1", ".Id");
    s.ok("container prune -f").has(&format!("Deleted Containers:\n{id}\n"));
    s.ok("ps -a --format '{{.Names}}'").is("c2");
    s.ok("rm -f c2");
    s.ok("run --name c3 busybox true");
    let dry = s.ok("system prune -a --dry-run");
    dry.has("Containers that would be deleted:").has("untagged: busybox:latest");
    let done = s.ok("system prune -af");
    done.has("Deleted Containers:").has("untagged: busybox:latest");
    assert_eq!(dry.lines().last(), done.lines().last(), "what was promised was reclaimed");
    assert_eq!(content(&s), 0);
}

/// Two rmi of one image, rmi beside run, load and tag: each succeeds or says why not, and nothing is left.
#[test]
fn removers_do_not_get_into_each_other_s_way() {
    let s = Sandbox::new();
    let archive =
        Image::busybox().layer(Layer::default().file("f", 0o644, &[7; 100_000])).docker_archive("a:1");
    for round in 0..12 {
        s.kelp("load").stdin(archive.clone()).exits(0);
        s.ok("tag a:1 a:2");
        let jobs = [
            s.kelp("rmi a:1").spawn(false),
            s.kelp("rmi a:2").spawn(false),
            s.kelp("run --rm --pull never a:1 true").spawn(false),
            s.kelp("load").stdin(archive.clone()).spawn(false),
            s.kelp("rmi -f a:1").spawn(false),
            s.kelp("tag a:2 a:3").spawn(false),
            s.kelp("save -o /dev/null a:1").spawn(false),
        ];
        for job in jobs {
            let out = job.finish(Duration::from_secs(60));
            let fine = out.code == 0
                || ["no such image", "conflict:"].iter().any(|why| out.stderr.to_lowercase().contains(why));
            assert!(fine, "round {round}: {}", out.story());
        }
        s.ok("system check");
        // The shim of `run --rm` removes its container after the command has returned.
        let gone = within(Duration::from_secs(10), || s.ok("ps -aq").text().is_empty());
        assert!(gone, "round {round}: the container is left");
        s.ok("image prune -af");
        assert_eq!(content(&s), 0, "round {round}: nothing is left");
        assert_eq!(s.ok("images -aq").text(), "");
    }
}
