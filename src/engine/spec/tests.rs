//! From request and image to spec, and on to the plan.

use std::collections::BTreeSet;

use super::files::{hosts_file, resolv_conf};
use super::*;
use crate::engine::request::{MountRequest, Propagation};
use crate::runtime::from_spec::Facts;
use crate::runtime::plan::{MountSource, Namespace, Plan, Rootfs, Tmpfs};

fn image(json: &str) -> Config {
    serde_json::from_str(json).unwrap()
}

fn place() -> Place {
    Place { id: "0123456789abcdef".repeat(4), host_name: "box".into(), ..Place::default() }
}

fn request(command: &[&str]) -> CreateRequest {
    CreateRequest { command: command.iter().map(|w| (*w).to_owned()).collect(), ..CreateRequest::default() }
}

fn plan(spec: &Spec) -> Plan {
    let facts = Facts { rootfs: Rootfs::Directory { path: "/r".into() }, tty_gid: 5, seccomp: None };
    Plan::from_spec(spec, facts).unwrap().plan
}

#[test]
fn command_merges_as_dockers() {
    let image = image(r#"{"Entrypoint":["/e"],"Cmd":["c"]}"#);
    let merged = |request: &CreateRequest| command(request, Some(&image)).unwrap().join(" ");
    assert_eq!(merged(&request(&[])), "/e c");
    assert_eq!(merged(&request(&["x", "y"])), "/e x y");
    let mut own = request(&[]);
    own.entrypoint = Some(vec!["/n".into()]);
    assert_eq!(merged(&own), "/n");
    own.entrypoint = Some(Vec::new());
    assert_eq!(command(&own, Some(&image)).unwrap_err().to_string(), "no command specified");
    own.command = vec!["z".into()];
    assert_eq!(merged(&own), "z");
    assert!(command(&request(&[]), None).is_err());
}

#[test]
fn environment_is_dockers() {
    let image = image(r#"{"Env":["PATH=/i","A=image","B=image","GONE=1","=x"]}"#);
    let mut request = request(&["x"]);
    request.env = vec!["A=user".into(), "GONE".into(), "C=1".into(), "C=2".into()];
    request.tty = true;
    let env = environment(&request, Some(&image), &place());
    assert_eq!(env, ["PATH=/i", "HOSTNAME=0123456789ab", "TERM=xterm", "A=user", "C=2", "B=image"]);
}

#[test]
fn labels_reach_the_record_only() {
    let request = request(&["x"]);
    let plain = build(&request, Some(&image(r#"{"User":"web"}"#)), &place()).unwrap();
    let words =
        ["io.podman.annotations.privileged", "kelp.user", "run.oci.handler", "kelp.init", "a", "\0", ""];
    for round in 0..200 {
        let id = crate::store::id::ContainerId::random().unwrap();
        let seed = id.as_str().as_bytes();
        let labels: HashMap<String, String> = (0..round % 9)
            .map(|i| (format!("{}{i}", words[usize::from(seed[i % 8]) % words.len()]), format!("{seed:?}")))
            .chain(words.iter().map(|w| ((*w).to_owned(), "true".to_owned())))
            .collect();
        let rich = serde_json::json!({"User": "web", "Labels": labels, "Volumes": {"/proc": {}, "/x": {}},
            "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGKILL"});
        let config: Config = serde_json::from_value(rich).unwrap();
        let spec = build(&request, Some(&config), &place()).unwrap();
        assert_eq!(spec, plain);
        assert_eq!(super::labels(&request, Some(&config)).len(), labels.len());
    }
}

#[test]
fn defaults_become_a_plan() {
    let mut request = request(&["sh", "-c", "x"]);
    request.user = Some("web:5".into());
    request.group_add = vec!["a,b".into()];
    request.init = true;
    let spec = build(&request, None, &place()).unwrap();
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec, "what is stored says the same");
    let plan = plan(&again);
    assert_eq!(plan.hostname.as_deref(), Some("0123456789ab"));
    assert_eq!(plan.process.user, "web:5");
    assert_eq!(plan.process.additional_groups, ["a,b"]);
    assert_eq!(plan.process.cwd, Path::new("/"));
    assert!(plan.init && plan.process.create_cwd && !plan.rootfs_read_only);
    assert_eq!(plan.process.capabilities.bounding, capabilities::DEFAULT);
    assert_eq!(plan.process.capabilities.permitted, capabilities::DEFAULT);
    assert_eq!(plan.namespaces.network, Namespace::New);
    assert_eq!(plan.sysctls, [("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())]);
    let targets: Vec<_> = plan.mounts.iter().map(|m| m.target.to_str().unwrap()).collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/hosts",
            "/etc/hostname",
            "/etc/resolv.conf"
        ]
    );
    assert!(plan.mounts[3].flags.read_only && plan.mounts[4].flags.read_only);
    assert_eq!(plan.mounts[1].source, MountSource::Dev);
    assert_eq!(
        plan.mounts[6].source,
        MountSource::Tmpfs(Tmpfs { size: Some(64 << 20), mode: 0o1777, ..Tmpfs::default() })
    );
    assert_eq!((plan.masked_paths.len(), plan.readonly_paths.len()), (12, 5));
}

#[test]
fn privileged_and_shared() {
    let mut request = request(&["x"]);
    request.privileged = true;
    request.network = NetworkMode::Host;
    request.ipc = NamespaceMode::Host;
    request.pid = NamespaceMode::Container("other".into());
    assert!(build(&request, None, &place()).is_err(), "nothing was joined");
    let place = Place { join_pid: Some("/proc/1/ns/pid".into()), ..place() };
    let plan = plan(&build(&request, None, &place).unwrap());
    assert!(plan.masked_paths.is_empty() && plan.readonly_paths.is_empty() && plan.sysctls.is_empty());
    assert_eq!(plan.process.capabilities.permitted, capabilities::all());
    assert_eq!((plan.namespaces.network, plan.namespaces.ipc), (Namespace::Host, Namespace::Host));
    assert_eq!(plan.namespaces.pid, Namespace::Joined);
    assert_eq!(plan.hostname.as_deref(), Some("box"));
    assert!(plan.mounts.iter().any(|m| m.target == Path::new("/sys/fs/cgroup") && m.flags.read_only));
}

fn bind(target: &str) -> MountRequest {
    MountRequest::Bind {
        source: "/s".into(),
        target: target.into(),
        read_only: true,
        recursive: true,
        writable_submounts: false,
        propagation: Propagation::RPrivate,
        create_source: true,
    }
}

#[test]
fn users_mounts() {
    let mut request = request(&["x"]);
    request.mounts = vec![bind("/a/b/c"), bind("/a/"), bind("/dev/shm"), bind("/etc/hosts")];
    let plan = plan(&build(&request, None, &place()).unwrap());
    let targets: Vec<_> = plan.mounts.iter().map(|m| m.target.to_str().unwrap()).collect();
    assert_eq!(targets[6..], ["/a", "/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/a/b/c"]);
    assert!(plan.mounts[6].flags.read_only && plan.mounts[6].flags.recursive);
    let unique: BTreeSet<_> = targets.iter().collect();
    assert_eq!(unique.len(), targets.len());
    for bad in [vec![bind("/")], vec![bind("/proc")], vec![bind("/sys/")], vec![bind("/x"), bind("/x/")]] {
        request.mounts = bad;
        assert!(build(&request, None, &place()).is_err());
    }
    request.mounts = vec![bind("/proc/self")];
    let spec = build(&request, None, &place()).unwrap();
    let facts = Facts { rootfs: Rootfs::Directory { path: "/r".into() }, tty_gid: 5, seccomp: None };
    assert!(Plan::from_spec(&spec, facts).unwrap_err().to_string().contains("/proc"));
}

fn addresses() -> Addresses {
    use crate::store::container::network::Link;
    let ip = |last: u8| std::net::Ipv4Addr::new(10, 0, 2, last);
    Addresses { ipv4: Link { address: ip(100), prefix: 24, gateway: ip(2), dns: ip(3) }, ipv6: None }
}

fn resolver_of(request: &CreateRequest, host: &str, addresses: Option<Addresses>) -> String {
    resolv_conf(request, &Place { host_resolv_conf: host.to_owned(), addresses, ..place() })
}

#[test]
fn files_of_etc() {
    let mut request = request(&["x"]);
    request.network = NetworkMode::None;
    request.add_hosts = vec![("db".into(), "10.0.0.9".into()), ("out".into(), "host-gateway".into())];
    let hosts = hosts_file(&request, &Place { host_hosts: "ignored\n".into(), ..place() });
    assert!(hosts.starts_with("127.0.0.1\tlocalhost\n") && hosts.ends_with("10.0.0.9\tdb\n"));
    let host = "# c\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver ::1\nsearch a b\noptions edns0\n";
    assert_eq!(resolver_of(&request, host, None), "nameserver 9.9.9.9\nsearch a b\noptions edns0\n");
    request.dns = vec!["127.0.0.1".into()];
    request.dns_search = vec![".".into()];
    assert_eq!(resolver_of(&request, host, None), "nameserver 127.0.0.1\noptions edns0\n");
    let shared = CreateRequest { network: NetworkMode::Host, ..CreateRequest::default() };
    assert_eq!(resolver_of(&shared, host, None), host);
    let hosts = hosts_file(&shared, &Place { host_hosts: "1.1.1.1 x".into(), ..place() });
    assert_eq!(hosts, "1.1.1.1 x\n127.0.0.1\thost.docker.internal host.containers.internal\n");
}

#[test]
fn files_of_the_default_network() {
    let mut request = request(&["x"]);
    let at = Place { addresses: Some(addresses()), ..place() };
    request.add_hosts =
        vec![("db".into(), "10.0.0.9".into()), ("host.docker.internal".into(), "host-gateway".into())];
    let hosts = hosts_file(&request, &at);
    let own = "10.0.2.2\thost.containers.internal\n10.0.0.9\tdb\n10.0.2.2\thost.docker.internal\n\
               10.0.2.100\t0123456789ab\n";
    assert!(hosts.ends_with(own), "{hosts}");
    let host = "nameserver 127.0.0.53\ndomain corp.example\noptions edns0 trust-ad\n";
    let text = resolver_of(&request, host, Some(addresses()));
    assert_eq!(text, "nameserver 10.0.2.3\nsearch corp.example\noptions edns0 trust-ad\n");
    request.dns = vec!["9.9.9.9".into()];
    assert_eq!(resolver_of(&request, host, Some(addresses())), text, "it is kelp's resolver that asks them");
    // Whom only the container reaches it asks itself: its own loopback, and a neighbour.
    for own in ["127.0.0.53", "::1", "10.0.2.7"] {
        request.dns = vec!["9.9.9.9".into(), own.into()];
        let named = format!("nameserver 9.9.9.9\nnameserver {own}\nsearch");
        assert!(resolver_of(&request, host, Some(addresses())).starts_with(&named), "{own}");
    }
    let slirp = crate::shim::network::Slirp { host_loopback: true, ..Default::default() };
    request.network = NetworkMode::Slirp(slirp);
    request.dns = vec!["127.0.0.53".into()];
    assert_eq!(resolver_of(&request, host, Some(addresses())), text, "the host's loopback");
}

/// As docker has it, where there are neighbours.
#[test]
fn names_of_neighbours_are_asked_for_as_they_are() {
    let mut request = request(&["x"]);
    let join = crate::engine::request::Join { network: "shop".into(), ..Default::default() };
    request.network = NetworkMode::Networks(vec![join]);
    let host = "nameserver 127.0.0.53\nsearch corp.example\noptions edns0 ndots:2\n";
    let options = |request: &CreateRequest| {
        let text = resolver_of(request, host, Some(addresses()));
        text.lines().find_map(|line| line.strip_prefix("options ")).map(str::to_owned)
    };
    assert_eq!(options(&request).as_deref(), Some("edns0 ndots:0"));
    request.dns_options = vec!["timeout:1".into()];
    assert_eq!(options(&request).as_deref(), Some("timeout:1 ndots:0"));
    request.dns_options = vec!["ndots:3".into()];
    assert_eq!(options(&request).as_deref(), Some("ndots:3"), "the user's own");
    request.dns_options = Vec::new();
    request.dns = vec!["10.0.2.7".into()];
    assert_eq!(options(&request).as_deref(), Some("edns0 ndots:2"), "another's resolver");
}

#[test]
fn files_of_a_shared_network_are_the_other_ones() {
    let mut request = request(&["x"]);
    request.network = NetworkMode::Container("other".into());
    let shared = Shared { hostname: "web".into(), hosts: "h\n".into(), resolv_conf: "r\n".into() };
    let at = Place { join_network: Some("/proc/1/ns/net".into()), shared: Some(shared), ..place() };
    let plan = plan(&build(&request, None, &at).unwrap());
    assert_eq!((plan.namespaces.network, plan.hostname.as_deref()), (Namespace::Joined, Some("web")));
    assert!(plan.sysctls.is_empty());
    for (path, text) in texts(&request, &at) {
        let has = |m: &crate::runtime::plan::Mount| {
            m.target == Path::new(path) && m.source == MountSource::Text(text.clone())
        };
        assert!(plan.mounts.iter().any(has), "{path}");
    }
}

#[test]
fn what_an_image_cannot_say() {
    let config = image(r#"{"WorkingDir":"app/../../x","StopSignal":"rm -rf","User":"0"}"#);
    let spec = build(&request(&["x"]), Some(&config), &place()).unwrap();
    assert_eq!(plan(&spec).process.cwd, Path::new("/x"));
    assert_eq!(stop_signal(&request(&[]), Some(&config)).unwrap(), 15);
    let mut own = request(&["x"]);
    own.annotations.insert("kelp.user".into(), "0".into());
    assert!(build(&own, None, &place()).is_err());
}
