//! history, image tree, inspect, the filters of images, system df: what is told of images.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Image, Layer, Sandbox};

fn image() -> Image {
    Image::busybox()
        .layer(Layer::default().file("note", 0o644, &[7; 2000]))
        .set("Labels", json!({ "kind": "two" }))
        .set("Cmd", json!(["cat", "/note"]))
}

#[test]
fn df_says_what_du_says() {
    let s = Sandbox::new();
    s.ok("images");
    s.df_is_du("an empty store");
    let s = s.busybox();
    s.df_is_du("one image");
    s.load(&image(), "two:1");
    s.ok("tag two:1 two:2");
    s.ok("run --name c1 busybox sh -c 'mkdir -p /a/b; cat /bin/busybox > /a/b/big; ln /a/b/big /a/again; seq 100000'");
    s.ok("run -d --name c2 two:1 sh -c 'cat /dev/urandom | head -c 3000000 > /x; sleep 1000'");
    std::thread::sleep(Duration::from_millis(300));
    s.df_is_du("two images, two containers");
    s.ok("rmi two:2");
    s.ok("rm c1");
    s.ok("rmi busybox");
    s.df_is_du("after removals");
}

#[test]
fn df_counts_what_is_in_use() {
    let s = Sandbox::new().busybox();
    s.load(&image(), "two:1");
    s.ok("create --name c1 busybox true");
    let out = s.ok("system df");
    assert_eq!(
        out.lines()[0].split_whitespace().collect::<Vec<_>>(),
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    );
    let row = |table: &str, name: &str| -> Vec<String> {
        let line = table.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row(&out.stdout, "Images")[..2], ["2", "1"]);
    assert!(row(&out.stdout, "Images")[4].ends_with("%)"), "{}", out.story());
    assert_eq!(row(&out.stdout, "Containers")[..2], ["1", "0"]);
    for kind in ["Local Volumes", "Build Cache"] {
        assert_eq!(row(&out.stdout, kind), ["0", "0", "0B", "0B"]);
    }
    s.ok("run -d --name c2 busybox sleep 1000");
    assert_eq!(row(&s.ok("system df").stdout, "Containers")[..2], ["2", "1"]);
    let df = s.json("system df -v --format json");
    assert_eq!(df["Images"].as_array().unwrap().len(), 2);
    let containers = |name: &str| {
        let images = df["Images"].as_array().unwrap();
        images.iter().find(|i| i["Repository"] == name).unwrap()["Containers"].clone()
    };
    assert_eq!((containers("busybox"), containers("two")), ("2".into(), "0".into()));
    assert_eq!(df["Containers"].as_array().unwrap().len(), 2);
    let verbose = s.ok("system df -v");
    for heading in ["Images space usage:", "Containers space usage:", "SHARED SIZE", "UNIQUE SIZE"] {
        verbose.has(heading);
    }
    for line in s.ok("system df --format json").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row.as_object().unwrap().len(), 5);
    }
}

#[test]
fn history_tells_the_steps() {
    let s = Sandbox::new();
    let tar = s.busybox_tar();
    s.ok(&format!("import -m 'a comment' {} one", tar.display()));
    let out = s.ok("history one");
    let header = out.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "IMAGE CREATED CREATED BY SIZE COMMENT");
    out.has("a comment").has(" ago");
    let id = s.ok("images -q --no-trunc one").text().to_owned();
    s.ok("history -q one").is(&id[7..19]);
    s.ok("history -q --no-trunc one").is(&id);
    let size = s.ok("image inspect -f {{.Size}} one").text().to_owned();
    s.ok("history -H=false --format '{{.Size}} {{.Comment}}' one").is(&format!("{size} a comment"));
    let exact = s.ok("history --human=false one");
    exact.has("CREATED AT").lacks(" ago");
    // A configuration that tells nothing of its layers.
    s.load(&image(), "two:1");
    assert_eq!(s.ok("image history -q two:1").lines()[1], "<missing>");
    assert_eq!(s.ok("history --format '{{.Size}}' two:1").lines()[0], "2kB");
    for line in s.ok("history --format json two:1").lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["CreatedBy"].is_string());
    }
    s.exits(1, "history nothing").says("no such image: nothing:latest");
    s.exits(1, "history").says("IMAGE");
}

#[test]
fn tree_and_exists() {
    let s = Sandbox::new();
    s.load(&Image::busybox(), "base:1");
    s.load(&image(), "two:1");
    let out = s.ok("image tree two:1");
    out.has("Tags:     [two:1]\n").has("├── ID: ").has("Top Layer of: [base:1]").has("└── ID: ");
    assert!(out.lines().last().unwrap().ends_with("Size: 2kB Top Layer of: [two:1]"), "{}", out.story());
    s.ok("image tree --whatrequires base:1").has("Tags:     [two:1]").lacks("Tags:     [base:1]");
    s.ok("image tree --whatrequires two:1").is("");
    s.ok("image exists two:1").silent();
    s.exits(1, "image exists nothing").silent();
}

#[test]
fn inspect_has_docker_s_shape() {
    let s = Sandbox::new();
    s.load(&image(), "two:1");
    s.ok("tag two:1 reg.example:5000/x/y:2");
    let out = s.ok("image inspect two:1");
    let order = [
        "Id",
        "RepoTags",
        "RepoDigests",
        "Parent",
        "Comment",
        "Created",
        "DockerVersion",
        "Author",
        "Config",
        "Architecture",
        "Os",
        "Size",
        "GraphDriver",
        "RootFS",
        "Metadata",
    ];
    let mut at = 0;
    for key in order.iter().filter(|key| **key != "Created") {
        let found = out.stdout[at..].find(&format!("\n        \"{key}\":"));
        at += found.unwrap_or_else(|| panic!("{key} is missing or out of order:\n{}", out.story()));
    }
    let image = &s.json("inspect --type image two:1")[0];
    assert_eq!(image["RepoTags"], json!(["two:1", "reg.example:5000/x/y:2"]));
    assert_eq!(image["RepoDigests"].as_array().unwrap().len(), 2);
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(image["Config"]["Cmd"], json!(["cat", "/note"]));
    assert_eq!(image["Config"]["Entrypoint"], Value::Null);
    assert!(std::path::Path::new(image["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap()).is_dir());
    assert!(image["Metadata"]["LastTagTime"].as_str().unwrap() > "2020");
    s.exits(1, "image inspect nothing").says("no such image: nothing:latest");
}

#[test]
fn images_are_filtered_and_shown_as_docker_does() {
    let s = Sandbox::new().busybox();
    s.load(&image(), "two:1");
    s.ok("tag two:1 two:2 reg.example/x/y");
    let names = |options: &str| {
        let out = s.ok(&format!("images {options} --format '{{{{.Repository}}}}:{{{{.Tag}}}}'"));
        let mut names: Vec<String> = out.lines().iter().map(|l| (*l).to_owned()).collect();
        names.sort();
        names
    };
    let all = ["busybox:latest", "reg.example/x/y:latest", "two:1", "two:2"];
    assert_eq!(names(""), all);
    assert_eq!(names("-a"), all);
    assert_eq!(names("two"), all[2..]);
    assert_eq!(names("--filter reference=*:2"), ["two:2"]);
    assert_eq!(names("--filter label=kind"), all[1..]);
    assert_eq!(names("--filter label=kind=three"), [""; 0]);
    assert_eq!(names("--filter dangling=true"), [""; 0]);
    assert_eq!(names("--filter until=1h"), names("--filter before=busybox"), "the loaded image has no date");
    assert_eq!(names("--filter since=two:1"), ["busybox:latest"]);
    s.ok("untag busybox");
    assert_eq!(names("--filter dangling=true"), ["<none>:<none>"]);
    s.exits(1, "images --filter nonsense=1").says("nonsense");
    s.exits(1, "images --filter dangling=perhaps").says("true or false");
    let header = s.ok("images --digests").lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "REPOSITORY TAG DIGEST IMAGE ID CREATED SIZE");
    s.ok("images --digests two:1").has("sha256:");
    for line in s.ok("image ls --format json").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["Containers"], "N/A");
    }
}
