//! ps and inspect: which containers there are, and what is known of one.

use crate::harness::Sandbox;

#[test]
fn ps_tells_who_is_there() {
    let s = Sandbox::new().busybox();
    let a = s.ok("run -d --name a1 -l tier=web busybox sleep 100").text().to_owned();
    s.exits(3, "run --name b1 busybox sh -c 'exit 3'");
    s.ok("create --name c1 busybox true");
    assert!(s.becomes("b1", "exited"));
    let out = s.ok("ps");
    let header = out.lines()[0].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(header, "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES");
    assert_eq!(out.lines().len(), 2);
    out.has(&a[..12]).has("\"sleep 100\"").has("Up ").has("busybox");
    s.ok("ps -a --format '{{.Names}} {{.State}}'").is("c1 created\nb1 exited\na1 running");
    s.ok("ps -a --filter status=exited --format '{{.Names}} {{.Status}}'").has("b1 Exited (3)");
    s.ok("ps -aq --filter name=^a1$").is(&a[..12]);
    s.ok("ps -q --no-trunc").is(&a);
    s.ok("ps -q --format '{{.Names}}'").is(&a[..12]).says("--format is ignored");
    s.ok("ps -aq -n 2").lines().len().eq(&2).then_some(()).unwrap();
    s.ok("ps -l --format '{{.Names}}'").is("c1");
    s.ok("ps -a --filter label=tier=web --format '{{.Label \"tier\"}}'").is("web");
    let first = s.ok("ps --format json");
    assert_eq!(serde_json::from_str::<serde_json::Value>(first.lines()[0]).unwrap()["Names"], "a1");
    let row = s.json(["ps", "--filter", "name=a1", "--format", "{{json .}}"]);
    assert!(row.get("Label").is_none(), "{row}");
    assert!(row["Size"].as_str().unwrap().contains("(virtual "), "{row}");
    for bad in ["nonsense=1", "status=nonsense", "exited=x", "before=nobody"] {
        s.exits(1, &format!("ps --filter {bad}"));
    }
    s.exits(125, "ps --filter nonsense");
    s.exits(1, "ps --format '{{.Nonsense}}'");
}

#[test]
fn inspect_has_dockers_shape() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d --name c1 -e A=b -w /tmp -h box busybox sleep 100").text().to_owned();
    let all = s.json("inspect c1");
    let c = &all[0];
    assert_eq!(c["Id"], id.as_str());
    assert_eq!(c["Name"], "/c1");
    assert_eq!(c["State"]["Status"], "running");
    assert_eq!(c["Config"]["WorkingDir"], "/tmp");
    assert_eq!(c["Config"]["Hostname"], "box");
    assert_eq!(c["Path"], "sleep");
    assert_eq!(c["Args"], serde_json::json!(["100"]));
    assert!(c["Config"]["Env"].as_array().unwrap().contains(&"A=b".into()));
    assert!(c["Created"].as_str().unwrap().contains('T'));
    for key in
        ["HostConfig", "Mounts", "NetworkSettings", "Image", "LogPath", "RestartCount", "Driver", "Platform"]
    {
        assert!(c.get(key).is_some(), "no {key}");
    }
    assert_eq!(c["GraphDriver"]["Name"], Sandbox::snapshotter());
    if Sandbox::snapshotter() != "copy" {
        let upper = s.store().join("containers").join(&id).join("upper");
        assert_eq!(c["GraphDriver"]["Data"]["UpperDir"], upper.display().to_string());
    }
    let optional = "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{json .Config.Healthcheck}} \
        {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}} {{len .HostConfig.PortBindings}} {{.Config.Domainname}}";
    s.ok(["inspect", "-f", optional, "c1"]).is("none null no 0 0");
    s.ok("create --name t1 --tmpfs /t:size=1m,mode=700 busybox true");
    s.ok("inspect -f '{{json .HostConfig.Tmpfs}}' t1").is(r#"{"/t":"size=1048576,mode=700"}"#);
    let out = s.exits(1, "inspect c1 nobody");
    out.says("nobody").has(&id);
}

/// docker's raw form, its answers for what is empty, and its kinds of objects.
#[test]
fn listings_and_inspect_answer_as_dockers() {
    let s = Sandbox::new().busybox();
    let id = s.ok("run -d=true -it=false --name c1 -l a=b busybox sleep 1000").text().to_owned();
    let short = &id[..12];
    let raw = s.ok("ps --format raw").stdout;
    let lines: Vec<&str> = raw.split('\n').collect();
    let [first, image, command, made, state, status, rest @ ..] = lines.as_slice() else { panic!("{raw}") };
    assert_eq!(*first, format!("container_id: {short}"));
    assert_eq!([*image, *command, *state], ["image: busybox", "command: \"sleep 1000\"", "state: running"]);
    assert!(made.starts_with("created_at: 2") && status.starts_with("status: Up "), "{raw}");
    assert_eq!(rest, ["names: c1", "labels: a=b", "ports:", "", ""]);
    s.ok("ps -s --format raw").has("\nports:\nsize: ");
    s.ok("ps -q --format raw").is(&format!("container_id: {short}"));
    let raw = s.ok("images --format raw").stdout;
    assert!(raw.starts_with("repository: busybox\ntag: latest\nimage_id: "), "{raw}");
    assert!(
        raw.contains("\ncreated_at: ") && raw.contains("\nvirtual_size: ") && raw.ends_with("B\n\n"),
        "{raw}"
    );
    s.ok("images --digests --format raw").has("\ndigest: sha256:");
    s.ok("images -q --format raw").has("image_id: ");

    let nulls = "{{.Config.Entrypoint}} {{.State.Health}} {{.Config.Volumes}} {{.HostConfig.PidsLimit}} \
                 {{json .Config.Volumes}} {{len .HostConfig.Devices}}";
    s.ok(["inspect", "-f", nulls, "c1"]).is("[] <nil> map[] <nil> null 0");
    s.exits(126, "exec -u nobodyx c1 true").says("nobodyx");
    s.exits(127, "exec c1 nosuch");
    s.ok("exec -i=false -t=f c1 echo hi").is("hi");
    s.ok("network create shop");
    for line in ["inspect shop", "inspect --type network shop"] {
        s.ok(format!("{line} -f {{{{.Name}}}}{{{{.Internal}}}}").as_str()).is("shopfalse");
    }
    s.exits(1, "inspect --type bogus x").says("unknown type: \"bogus\"");
    s.exits(1, "inspect --type volume x").says("not built yet");
    s.exits(1, "inspect --type image shop");
}

/// docker's order: the user's own first, of each name the last, then what the image adds.
#[test]
fn the_environment_is_listed_as_dockers() {
    let s = Sandbox::new().busybox();
    s.ok("create --name base busybox true");
    s.ok(["commit", "-c", "ENV PATH=/bin X=1", "base", "with-env"]);
    s.ok("create --name c1 -e Y=2 -e Y=3 -e NOWHERE with-env true");
    s.ok("inspect -f '{{.Config.Env}}' c1").is("[Y=3 NOWHERE PATH=/bin X=1]");
    s.ok("create --name c2 -e X=5 with-env true");
    s.ok("inspect -f '{{.Config.Env}}' c2").is("[X=5 PATH=/bin]");
    s.ok(["commit", "c1", "again"]);
    s.ok("image inspect -f '{{.Config.Env}}' again").is("[Y=3 PATH=/bin X=1]");
}
