//! Names: asked for where the host asks, and never told to strangers.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::laptop::{LAPTOP, NEIGHBOUR};
use crate::harness::talk::{NameServer, name_sockets};
use crate::harness::{Laptop, Out, Sandbox, needs_root, within};

const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// What distributions with systemd-resolved have.
const STUB: &str = "127.0.0.53";

fn server(laptop: &Laptop, ip: &str, answer: Option<Ipv4Addr>, truncates: bool) -> NameServer {
    let ip = ip.parse().unwrap();
    let (udp, tcp) = laptop.on(|| name_sockets(ip));
    NameServer::start(udp, tcp, answer, truncates)
}

fn look_up(laptop: &Laptop, s: &Sandbox, options: &[&str], script: &str) -> Out {
    let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    laptop.kelp(s, &words[..]).limit(Duration::from_secs(90)).run()
}

#[test]
fn names_are_asked_for_where_the_host_asks() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("names_are_asked_for_where_the_host_asks") };
    let stub = server(&laptop, STUB, Some(ANSWER), false);
    laptop.set_resolv_conf(&format!("nameserver {STUB}\nsearch corp.example\noptions edns0 ndots:1\n"));
    let script = "cat /etc/resolv.conf; nslookup www.example.com; nslookup host.docker.internal; nslookup $(hostname).";
    let out = look_up(&laptop, &s, &[], script);
    out.has("nameserver 10.0.2.3\nsearch corp.example\noptions edns0 ndots:1\n")
        .has("Address: 192.0.2.7")
        .has("Address: 10.0.2.2")
        .has("Address: 10.0.2.100");
    assert_eq!(stub.names(), ["www.example.com"], "what is known here is nobody else's business");
    let own = look_up(
        &laptop,
        &s,
        &["--dns", "192.0.2.53", "--dns-search", "own.example", "--dns-option", "ndots:3"],
        "cat /etc/resolv.conf",
    );
    own.is("nameserver 10.0.2.3\nsearch own.example\noptions ndots:3");
}

/// T-search: a neighbour's name is not for the host's resolvers.
#[test]
fn unknown_names_of_one_label_never_leave() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("unknown_names_of_one_label_never_leave") };
    let stub = server(&laptop, STUB, Some(ANSWER), false);
    laptop.set_resolv_conf(&format!("nameserver {STUB}\n"));
    let out = look_up(&laptop, &s, &[], "nslookup db; nslookup DB. 10.0.2.3; nslookup localhost; true");
    out.has("NXDOMAIN").has("Address: 127.0.0.1");
    assert!(stub.names().is_empty(), "{:?}", stub.names());
}

#[test]
fn the_next_server_is_asked_when_one_is_silent_or_gone() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("the_next_server_is_asked_when_one_is_silent_or_gone");
    };
    let silent = server(&laptop, "127.0.0.61", None, false);
    server(&laptop, STUB, Some(ANSWER), false);
    // Nobody is at the first one.
    laptop.set_resolv_conf(&format!(
        "nameserver 127.0.0.60\nnameserver 127.0.0.61\nnameserver {STUB}\noptions timeout:1\n"
    ));
    look_up(&laptop, &s, &[], "nslookup -type=a www.example.com").has("Address: 192.0.2.7");
    assert!(silent.asked("www.example.com", "udp") > 0);
    laptop.set_resolv_conf("nameserver 127.0.0.60\n");
    look_up(&laptop, &s, &[], "nslookup -type=a www.example.com; true").has("SERVFAIL");
}

/// A name server at the neighbour's.
fn neighbours_server(laptop: &Laptop, answer: Ipv4Addr) -> NameServer {
    let (udp, tcp) = laptop.elsewhere(|| name_sockets(NEIGHBOUR.parse().unwrap()));
    NameServer::start(udp, tcp, Some(answer), false)
}

/// `--dns` says whom kelp's resolver asks, in the place of the host's.
#[test]
fn given_servers_are_asked_instead_of_the_hosts() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("given_servers_are_asked_instead_of_the_hosts");
    };
    let stub = server(&laptop, STUB, Some(ANSWER), false);
    let given = neighbours_server(&laptop, Ipv4Addr::new(192, 0, 2, 8));
    laptop.set_resolv_conf(&format!("nameserver {STUB}\n"));
    let script = "cat /etc/resolv.conf; nslookup -type=a www.example.com; nslookup host.docker.internal; nslookup db; true";
    let out = look_up(&laptop, &s, &["--dns", NEIGHBOUR, "-v", &client(&s)], &format!("{script}; /client 0"));
    out.has("nameserver 10.0.2.3\n").has("Address: 192.0.2.8").has("Address: 10.0.2.2").has("NXDOMAIN");
    out.has("tcp id 1234 cut 0 answers 1 last 8");
    assert!(given.names().iter().all(|name| name == "www.example.com"), "{:?}", given.names());
    // The host's loopback is not the container's, unless that was asked for.
    look_up(&laptop, &s, &["--dns", STUB], script).has(&format!("nameserver {STUB}\n")).lacks("192.0.2.7");
    assert!(stub.names().is_empty(), "{:?}", stub.names());
    let open = ["--dns", STUB, "--network", "slirp:host-loopback=true"];
    look_up(&laptop, &s, &open, script).has("nameserver 10.0.2.3\n").has("Address: 192.0.2.7");
    assert_eq!(stub.names(), ["www.example.com"]);
    // They are asked from the address that everything leaves from.
    laptop.run("ip addr add 198.51.100.9/24 dev up0");
    laptop.beyond(&format!("ip route add blackhole {LAPTOP}/32"));
    let bound = ["--dns", NEIGHBOUR, "--network", "slirp:outbound-addr=198.51.100.9"];
    look_up(&laptop, &s, &bound, script).has("Address: 192.0.2.8");
}

/// Each member of a network has its own servers, and knows its neighbours all the same.
#[test]
fn given_servers_are_each_members_own() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("given_servers_are_each_members_own") };
    let stub = server(&laptop, STUB, Some(ANSWER), false);
    let given = neighbours_server(&laptop, Ipv4Addr::new(192, 0, 2, 8));
    laptop.set_resolv_conf(&format!("nameserver {STUB}\n"));
    let kelp = |line: &str| laptop.kelp(&s, line).exits(0);
    kelp("network create --subnet 10.221.0.0/24 shop");
    kelp("run -d --name one --network shop busybox sleep 600");
    kelp(&format!("run -d --name two --network shop --dns {NEIGHBOUR} busybox sleep 600"));
    let ask = |container: &str, name: &str| {
        let line = format!("exec {container} sh -c 'cat /etc/resolv.conf; nslookup -type=a {name}; true'");
        laptop.kelp(&s, &line).exits(0)
    };
    let each_has_its_own = |name: &str| {
        ask("one", name).has("nameserver 10.221.0.1\n").has("Address: 192.0.2.7");
        ask("two", name).has("nameserver 10.221.0.1\n").has("Address: 192.0.2.8");
        ask("one", "two").has("Address: 10.221.0.");
        ask("two", "one").has("Address: 10.221.0.");
        ask("two", "nobody").has("NXDOMAIN");
    };
    each_has_its_own("a.example.com");
    let hub = || s.processes().into_iter().find(|p| p.line.contains("kelp-network")).map(|p| p.pid);
    let killed = hub().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(killed).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(within(Duration::from_secs(10), || hub().is_some_and(|new| new != killed)));
    each_has_its_own("b.example.com");
    assert_eq!((stub.names(), given.names()), two(&["a.example.com", "b.example.com"]));

    // A server that is a neighbour is asked by the container itself.
    let line = "run --rm --network shop --dns 10.221.0.77 busybox cat /etc/resolv.conf";
    kelp(line).has("nameserver 10.221.0.77").lacks("10.221.0.1\n");
    // In another network it is nobody's, and then it is somebody's.
    kelp("network create --subnet 10.222.0.0/24 other");
    kelp("run -d --name three --network shop --dns 10.222.0.77 busybox sleep 600");
    kelp("exec three cat /etc/resolv.conf").has("nameserver 10.221.0.1");
    kelp("network connect other three");
    kelp("exec three cat /etc/resolv.conf").has("nameserver 10.222.0.77");
    kelp("network disconnect other three");
    kelp("exec three cat /etc/resolv.conf").has("nameserver 10.221.0.1");

    // What leaves nothing leaves nothing.
    kelp("network create --internal vault");
    kelp("run -d --name peer --network vault busybox sleep 600");
    let line = format!(
        "run --rm --network vault --dns {NEIGHBOUR} busybox sh -c 'nslookup peer; nslookup c.example.com; true'"
    );
    kelp(&line).has("Address: 10.").has("SERVFAIL").lacks("192.0.2.");
    assert_eq!((stub.names(), given.names()), two(&["a.example.com", "b.example.com"]));
}

/// Of a neighbour nobody outside hears, whatever domains are searched.
#[test]
fn neighbours_are_not_looked_for_in_search_domains() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("neighbours_are_not_looked_for_in_search_domains");
    };
    let stub = server(&laptop, STUB, Some(ANSWER), false);
    laptop.set_resolv_conf(&format!("nameserver {STUB}\nsearch corp.example\noptions ndots:1\n"));
    laptop.kelp(&s, "network create shop").exits(0);
    laptop.kelp(&s, "run -d --name web --network shop busybox sleep 600").exits(0);
    let script = "cat /etc/resolv.conf; ping -c1 -W5 web";
    let out = look_up(&laptop, &s, &["--network", "shop"], script);
    out.has("search corp.example\noptions ndots:0\n").has("1 packets received");
    assert!(stub.names().is_empty(), "{:?}", stub.names());
    // One that comes into such a network while it runs, and leaves it.
    laptop.kelp(&s, "run -d --name late busybox sleep 600").exits(0);
    let options = || laptop.kelp(&s, "exec late cat /etc/resolv.conf").exits(0);
    options().has("ndots:1");
    laptop.kelp(&s, "network connect shop late").exits(0);
    options().has("ndots:0").lacks("ndots:1");
    laptop.kelp(&s, "network disconnect shop late").exits(0);
    options().has("ndots:1").lacks("ndots:0");
}

fn two(names: &[&str]) -> (Vec<String>, Vec<String>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (names.clone(), names)
}

/// Asks over TCP, or over UDP and TCP while many connections stand open and say nothing.
const CLIENT: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static unsigned char q[] = "\0\x1d\x12\x34\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1";
static struct sockaddr_in at = {AF_INET};
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static int dial(int kind) {
    int s = socket(AF_INET, kind, 0);
    struct timeval limit = {20, 0};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(s, (void *)&at, sizeof at)) { perror("connect"); exit(1); }
    return s;
}
static void show(const char *how, const unsigned char *m, int n, double t) {
    if (n < 12) { printf("%s nothing\n", how); exit(1); }
    printf("%s id %02x%02x cut %d answers %d last %d %s\n", how, m[0], m[1], (m[2] & 2) / 2, m[7], m[n - 1],
        t < 0.1 ? "soon" : "late");
}
int main(int argc, char **argv) {
    unsigned char m[4096];
    at.sin_port = htons(53);
    inet_pton(AF_INET, "10.0.2.3", &at.sin_addr);
    q[1] = sizeof q - 3;
    for (int i = atoi(argv[1]); i > 0; i--) {
        int s = dial(SOCK_STREAM);
        if (i % 2) write(s, q, 1);
    }
    for (int i = 0; i < 2; i++) {
        double t = now();
        int s = dial(SOCK_DGRAM);
        write(s, q + 2, sizeof q - 3);
        show("udp", m, read(s, m, sizeof m), i ? now() - t : 0);
        t = now();
        s = dial(SOCK_STREAM);
        write(s, q, sizeof q - 1);
        int n = 0, r;
        while (n < 2 || n < 2 + m[0] * 256 + m[1]) {
            if ((r = read(s, m + n, sizeof m - n)) <= 0) break;
            n += r;
        }
        show("tcp", m + 2, n - 2, i ? now() - t : 0);
    }
    return 0;
}
"#;

fn client(s: &Sandbox) -> String {
    s.write("client.c", CLIENT);
    s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "client", "client.c"]).exits(0);
    format!("{}:/client:ro", s.work().join("client").display())
}

#[test]
fn an_answer_that_was_cut_short_is_asked_for_by_tcp() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("an_answer_that_was_cut_short_is_asked_for_by_tcp");
    };
    let stub = server(&laptop, STUB, Some(ANSWER), true);
    laptop.set_resolv_conf(&format!("nameserver {STUB}\n"));
    let out = look_up(&laptop, &s, &["-v", &client(&s)], "/client 0");
    let lines = out.lines();
    assert!(lines[2].starts_with("udp id 1234 cut 1 answers 0"), "{}", out.story());
    assert!(lines[3].starts_with("tcp id 1234 cut 0 answers 1 last 7"), "{}", out.story());
    assert_eq!((stub.asked("www.example.com", "udp"), stub.asked("www.example.com", "tcp")), (2, 2));
}

/// T-dnstcp: connections that say nothing, or half of something, hold up nobody.
#[test]
fn a_thousand_idle_connections_hold_up_nobody() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("a_thousand_idle_connections_hold_up_nobody");
    };
    server(&laptop, STUB, Some(ANSWER), false);
    laptop.set_resolv_conf(&format!("nameserver {STUB}\n"));
    let options = ["--ulimit", "nofile=4096:4096", "-v", &client(&s)];
    let out = look_up(&laptop, &s, &options, "/client 1000");
    let lines = out.lines();
    assert!(lines[2].starts_with("udp") && lines[2].ends_with("last 7 soon"), "{}", out.story());
    assert!(lines[3].starts_with("tcp") && lines[3].ends_with("last 7 soon"), "{}", out.story());
}
