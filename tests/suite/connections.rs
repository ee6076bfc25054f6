//! Containers that come into networks and leave them while they run, and what they are called there.

use std::time::Duration;

use crate::harness::talk::{answers, start_answering};
use crate::harness::{Out, Sandbox};

fn sleeper(s: &Sandbox, name: &str, options: &str) {
    s.ok(&format!("run -d --name {name} {options} busybox sleep 600"));
}

fn inside(s: &Sandbox, container: &str, script: &str) -> Out {
    s.ok(["exec", container, "sh", "-c", script])
}

/// Who is in the network, as `network inspect` says.
fn members(s: &Sandbox, network: &str) -> String {
    let template = "{{range .Containers}}{{.Name}} {{end}}";
    let out = s.ok(["network", "inspect", "-f", template, network]);
    let mut names: Vec<&str> = out.text().split_whitespace().collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn a_running_container_comes_and_leaves() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("network create --ipv6 lab");
    sleeper(&s, "web", "--network shop");
    // Of the default network, and with a line of its own.
    sleeper(&s, "app", "");
    inside(&s, "app", "echo 192.0.2.9 mine >> /etc/hosts");
    s.ok("network connect shop app").silent();
    s.ok("network connect --alias apple lab app").silent();
    let hostname = inside(&s, "app", "hostname").text().to_owned();
    let (shop, lab) = (
        s.field("app", ".NetworkSettings.Networks.shop.IPAddress"),
        s.field("app", ".NetworkSettings.Networks.lab.IPAddress"),
    );
    inside(&s, "app", "cat /etc/hosts; ip route; nslookup apple; ping -c1 -W5 web")
        .has(&format!("{shop}\t{hostname}"))
        .has(&format!("{lab}\t{hostname}"))
        .has("192.0.2.9 mine")
        .has("default via 10.0.2.2 dev eth0")
        .has(&format!("Address: {lab}"));
    inside(&s, "web", "nslookup app; ping -c1 -W5 app").has(&shop);
    assert_eq!((members(&s, "shop"), members(&s, "lab")), ("app web".into(), "app".into()));
    s.ok("ps --filter name=app --format {{.Networks}}").is("slirp,shop,lab");

    s.ok("network disconnect shop app").silent();
    inside(&s, "app", "cat /etc/hosts; ip addr; nslookup web; true")
        .lacks(&shop)
        .has(&lab)
        .has("NXDOMAIN")
        .has("mine");
    inside(&s, "web", "nslookup app; true").has("NXDOMAIN");
    assert_eq!(members(&s, "shop"), "web");
    // So it stays.
    s.ok("stop -t 0 app");
    assert_eq!(members(&s, "lab"), "");
    s.ok("start app");
    inside(&s, "app", "ip addr; nslookup apple; cat /etc/hosts").has(&lab).has(&format!("{lab}\t{hostname}"));
    let events = std::fs::read_to_string(s.store().join("events.log")).unwrap();
    let told = |action: &str| {
        let of =
            |line: &&str| line.contains(&format!("\"{action}\"")) && line.contains("\"Type\":\"network\"");
        events.lines().filter(of).count()
    };
    assert_eq!((told("connect"), told("disconnect")), (2, 1), "{events}");
}

#[test]
fn who_shares_a_network_has_its_hosts() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.231.0.0/24 shop");
    s.ok("network create --subnet 10.232.0.0/24 lab");
    sleeper(&s, "web", "--network shop");
    sleeper(&s, "beside", "--network container:web");
    sleeper(&s, "further", "--network container:beside");
    inside(&s, "beside", "echo 192.0.2.9 mine >> /etc/hosts");
    let hosts = |container: &str| inside(&s, container, "cat /etc/hosts").text().to_owned();
    s.ok("network connect --ip 10.232.0.77 lab web");
    for container in ["web", "beside", "further"] {
        let text = hosts(container);
        assert!(text.contains("10.231.0.") && text.contains("10.232.0.77"), "{container}: {text}");
    }
    s.ok("network disconnect shop web");
    for container in ["web", "beside", "further"] {
        let text = hosts(container);
        assert!(!text.contains("10.231.0.") && text.contains("10.232.0.77"), "{container}: {text}");
    }
    assert!(hosts("beside").contains("192.0.2.9 mine"), "what was written there is kept");
}

#[test]
fn what_cannot_be_connected() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.217.0.0/24 shop");
    sleeper(&s, "web", "--network shop");
    sleeper(&s, "alone", "--network none");
    sleeper(&s, "hosts", "--network host");
    sleeper(&s, "shared", "--network container:web");
    let shared = "container sharing network namespace with another container or host cannot be connected";
    s.exits(1, "network connect shop web").says("endpoint with name web already exists in network shop");
    s.exits(1, "network connect nosuch web").says("network nosuch not found");
    s.exits(1, "network connect shop nosuch").says("no such container: nosuch");
    s.exits(1, "network connect host web")
        .says("cannot be disconnected from host network or connected to host network");
    s.exits(1, "network connect none web").says("private (none) mode");
    s.exits(1, "network connect slirp web").says("chosen when the container is made");
    s.exits(1, "network connect shop alone").says("private (none) mode");
    s.exits(1, "network connect shop hosts").says(shared);
    s.exits(1, "network connect shop shared").says(shared);
    s.exits(1, "network disconnect host hosts").says("cannot be disconnected from host network");
    s.exits(1, "network disconnect bridge web").says("is not connected to network bridge");
    s.exits(1, "network disconnect nosuch web").says("network nosuch not found");
    s.exits(1, "network disconnect -f nosuch web").says("is not connected to the network nosuch");
    s.exits(1, "network connect --ip 10.217.1.1 bridge web").says("10.217.1.1");
    s.exits(1, "network connect --ip x bridge web").says("an IPv4 address is expected");
    s.exits(125, "network connect --driver-opt a=b bridge web").says("driver option");
    s.exits(125, "network connect --link-local-ip 169.254.1.1 bridge web")
        .says("leased to it and from no others");
    s.exits(125, "network connect --gw-priority x bridge web").says("gw-priority");
    s.exits(1, "network connect shop").says("CONTAINER");
    // What was refused has left nothing.
    s.ok("ps --filter name=web --format {{.Networks}}").is("shop");
    s.ok("network create --subnet 10.218.0.0/24 other");
    s.ok("network connect --ip 10.218.0.9 other web");
    s.exits(1, "network connect --ip 10.218.0.9 other alone");
    s.ok("network disconnect none alone");
    s.exits(1, "network connect slirp alone").says("chosen when the container is made");
    s.exits(1, "network connect --ip 10.218.0.9 other alone").says("Address already in use");
    s.ok("network connect other alone");
    inside(&s, "alone", "ping -c1 -W5 web; ip route").has("default via 10.218.0.1");
}

/// The way out is that of the highest priority, then of the first; published ports follow it.
#[test]
fn the_way_out_and_the_ports_follow() {
    let s = Sandbox::new().busybox();
    for (name, subnet) in [("one", 1), ("two", 2), ("three", 3)] {
        s.ok(&format!("network create --subnet 10.219.{subnet}.0/24 {name}"));
    }
    s.ok("network create --internal vault");
    let at = start_answering(&s, "web", "one");
    let route = || inside(&s, "web", "ip route; cat /etc/resolv.conf /etc/hosts");
    assert!(answers(&at));
    s.ok("network connect vault web");
    s.ok("network connect two web");
    route().has("default via 10.219.1.1").has("nameserver 10.219.1.1");
    s.ok("network connect --gw-priority 7 three web");
    route()
        .has("default via 10.219.3.1")
        .has("nameserver 10.219.3.1")
        .has("10.219.3.1\thost.docker.internal");
    s.ok("network disconnect three web");
    route().has("default via 10.219.1.1").lacks("10.219.3");
    s.ok("network disconnect one web");
    route().has("default via 10.219.2.1");
    assert!(answers(&at), "the port has not moved to the next network");
    s.ok("network disconnect two web");
    route().lacks("default");
    assert!(std::net::TcpListener::bind(&at).is_ok(), "nothing leads in, and the port is taken");
    s.ok("network connect one web");
    assert_eq!(s.ok("port web 80").lines().len(), 1);
    s.ok("network disconnect one web");
    s.ok("network disconnect vault web");
    route().lacks("eth").lacks("nameserver 10.219");
    s.exits(1, "network disconnect vault web").says("is not connected to network vault");
}

#[test]
fn the_default_network_may_be_left() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    sleeper(&s, "app", "--read-only");
    s.ok("network connect shop app");
    s.ok("network disconnect slirp app");
    inside(&s, "app", "ip addr; cat /etc/hosts /etc/resolv.conf; nslookup app")
        .lacks("10.0.2.")
        .lacks("eth0");
    s.exits(1, "network connect slirp app").says("cannot come back while the container runs");
    s.ok("stop -t 0 app");
    s.ok("start app");
    inside(&s, "app", "ip addr").lacks("10.0.2.").has("eth0");
    s.ok("stop -t 0 app");
    s.ok("network connect slirp app");
    s.ok("start app");
    inside(&s, "app", "ip addr").has("10.0.2.").has("eth1");
}

#[test]
fn stopped_ones_are_connected_for_their_next_start() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("network create lab");
    s.ok("create --name app --network shop busybox sleep 600");
    s.ok("network connect --alias x lab app");
    s.ok("network connect lab app");
    s.ok("network disconnect shop app");
    s.exits(1, "network disconnect shop app").says("is not connected to the network shop");
    s.ok("start app");
    inside(&s, "app", "nslookup x; ip addr").lacks("eth1");
    s.ok("stop -t 0 app");
    s.ok("network rm lab");
    s.exits(1, "start app").says("network lab not found");
    s.ok("network disconnect -f lab app");
    s.ok("start app");
    assert_eq!(inside(&s, "app", "ip -o link").lines().len(), 1);
}

/// Whenever a command is killed, the next one finds something that it can go on from; of two at once one is late.
#[test]
fn killed_and_at_once() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("network create lab");
    sleeper(&s, "web", "--network shop");
    sleeper(&s, "peer", "--network lab");
    for n in 0..12u64 {
        let verb = if n % 2 == 0 { "connect" } else { "disconnect" };
        let job = s.kelp(&format!("network {verb} lab web")).spawn(false);
        std::thread::sleep(Duration::from_millis(5 * n));
        job.signal(rustix::process::Signal::KILL);
        job.finish(Duration::from_secs(20));
    }
    let code = s.kelp("network connect lab web").run().code;
    assert!([0, 1].contains(&code));
    inside(&s, "peer", "ping -c1 -W5 web");
    s.ok("network disconnect lab web");
    inside(&s, "peer", "nslookup web; true").has("NXDOMAIN");
    assert_eq!(members(&s, "lab"), "peer");
    for verb in ["connect", "disconnect"] {
        let line = format!("network {verb} lab web");
        let jobs: Vec<_> = (0..4).map(|_| s.kelp(&line).spawn(false)).collect();
        let codes = jobs.into_iter().map(|job| job.finish(Duration::from_secs(30)).code);
        assert_eq!(codes.filter(|code| *code == 0).count(), 1, "{verb}");
    }
    s.ok("network connect lab web");
    inside(&s, "peer", "ping -c1 -W5 web");
}

#[test]
fn another_name_holds_at_once() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("network create lab");
    sleeper(&s, "web", "--network shop --network lab");
    sleeper(&s, "peer", "--network lab");
    s.ok("rename web store").silent();
    inside(&s, "peer", "ping -c1 -W5 store; nslookup web; true").has("1 packets received").has("NXDOMAIN");
    s.ok("container rename store web");
    inside(&s, "peer", "ping -c1 -W5 web.lab; nslookup store; true")
        .has("1 packets received")
        .has("NXDOMAIN");
    s.exits(1, "rename web web").says("same name");
    s.exits(1, "rename web peer").says("already in use");
    s.exits(1, "rename web _x").says("invalid container name");
    s.exits(1, "rename web /").says("invalid container name");
    s.exits(1, "rename nosuch x").says("no such container: nosuch");
    s.ok("create --name made busybox true");
    s.ok("rename made done");
    s.ok("rm done");
}

#[test]
fn links_are_the_containers_own() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("network create lab");
    sleeper(&s, "pg", "--network shop");
    s.busybox_sh("--network shop --link pg:db", "ping -c1 -W5 db; nslookup pg").has("1 packets received");
    s.busybox_sh("--network shop", "nslookup db; true").has("NXDOMAIN");
    sleeper(&s, "app", "--network lab");
    s.ok("network connect --link pg:db shop app");
    inside(&s, "app", "ping -c1 -W5 db").has("1 packets received");
    s.ok("network disconnect shop app");
    inside(&s, "app", "nslookup db; true").has("NXDOMAIN");
    s.exits(125, "run --rm --link pg busybox true").says("user-defined networks only");
    s.exits(125, "run --rm --network host --link pg busybox true").says("can't be used with links");
    s.exits(125, "run --rm --network container:pg --link pg busybox true").says("can't be used with links");
    s.exits(125, "run --rm --network shop --link a:b:c busybox true").says("bad format for links: a:b:c");
    s.exits(125, "run --rm --network bridge --link nosuch busybox true")
        .says("could not get container for nosuch");
    s.exits(125, "run --rm --network bridge --link pg busybox true")
        .says("does not belong to the default network");
    sleeper(&s, "old", "--network bridge");
    s.busybox_sh("--network bridge --link old:o", "ping -c1 -W5 o").says("are not set: use the name");
}

#[test]
fn ps_finds_by_network_and_port() {
    let s = Sandbox::new().busybox();
    let id = s.ok("network create shop").text().to_owned();
    sleeper(&s, "one", "--network shop -p 127.0.0.1::80 --expose 9000-9002/udp");
    s.ok("create --name two -p 53:53/udp busybox true");
    sleeper(&s, "three", "--network none");
    let found = |filter: &str| {
        let mut names: Vec<String> = s
            .ok(&format!("ps -a --format {{{{.Names}}}} {filter}"))
            .lines()
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(found("--filter network=shop"), "one");
    assert_eq!(found(&format!("--filter network={}", &id[..12])), "one");
    assert_eq!(found("--filter network=sho"), "");
    assert_eq!(found("--filter network=slirp --filter network=none"), "three two");
    s.ok("network connect shop two");
    assert_eq!(found("--filter network=shop"), "one two");
    assert_eq!(found("--filter publish=80"), "one");
    assert_eq!(found("--filter publish=53/udp"), "two");
    assert_eq!(found("--filter publish=50-60/tcp"), "");
    assert_eq!(found("--filter expose=9001/udp"), "one");
    assert_eq!(found("--filter expose=1-65535/udp"), "one two");
    s.exits(1, "ps --filter publish=80:80").says("should not contain ':'");
    s.exits(1, "ps --filter expose=x").says("invalid port");
}

/// The host's names lead to the gateway, where nobody answers unless the host's loopback was asked for.
#[test]
fn the_host_has_a_name() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        for client in listener.incoming() {
            let _ = client.and_then(|mut c| c.write_all(b"of the host\n"));
        }
    });
    let ask = format!(
        "nslookup host.docker.internal; nc -w 5 host.docker.internal {port} </dev/null 2>&1; echo $?"
    );
    s.busybox_sh("", &ask).has("10.0.2.2").has("Connection refused").lacks("of the host");
    s.busybox_sh("--network shop", &ask).has("Connection refused").lacks("of the host");
    s.busybox_sh("--network slirp:host-loopback=true", &ask).has("of the host");
}

/// Their roots are mounted in user namespaces of their own, over FUSE, and refuse whoever is outside.
#[test]
fn containers_with_ids_of_their_own_come_and_leave() {
    let s = Sandbox::new().busybox();
    for (name, subnet) in [("one", 1), ("two", 2)] {
        s.ok(&format!("network create --subnet 10.217.{subnet}.0/24 {name}"));
    }
    sleeper(&s, "peer", "--network two");
    for (mode, options) in [("keep-id", ""), ("keep-id", "--read-only"), ("nomap", ""), ("host", "")] {
        sleeper(&s, "app", &format!("--userns {mode} -u 0 --network one {options}"));
        let story = |what: &str| format!("--userns {mode} {options}, {what}");
        let files = || inside(&s, "app", "cat /etc/hosts /etc/resolv.conf").stdout;
        let first = s.field("app", ".NetworkSettings.Networks.one.IPAddress");
        inside(&s, "app", "nslookup peer; true").has("NXDOMAIN");

        s.ok("network connect two app");
        let second = s.field("app", ".NetworkSettings.Networks.two.IPAddress");
        let seen = files();
        assert!(seen.contains(&format!("{first}\t")), "{}: {seen}", story("connected"));
        assert!(seen.contains(&format!("{second}\t")), "{}: {seen}", story("connected"));
        assert!(seen.contains("nameserver 10.217.1.1\n"), "{}: {seen}", story("connected"));
        inside(&s, "app", "ping -c1 -W5 peer").has("1 packets received");
        inside(&s, "peer", "ping -c1 -W5 app").has(&second);

        // The way out, and with it who answers for names, is the other network's now.
        s.ok("network disconnect one app");
        let seen = files();
        assert!(!seen.contains("10.217.1."), "{}: {seen}", story("left the first"));
        assert!(seen.contains(&format!("{second}\t")), "{}: {seen}", story("left the first"));
        assert!(seen.contains("nameserver 10.217.2.1\n"), "{}: {seen}", story("left the first"));
        assert!(seen.contains("10.217.2.1\thost.docker.internal"), "{}: {seen}", story("left the first"));
        inside(&s, "app", "nslookup peer; ping -c1 -W5 peer").has("1 packets received");

        s.ok("network disconnect two app");
        let seen = files();
        assert!(!seen.contains("10.217."), "{}: {seen}", story("left both"));
        inside(&s, "peer", "nslookup app; true").has("NXDOMAIN");
        s.ok("rm -f app");
    }
}
