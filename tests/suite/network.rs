//! The default network: packets of a container become sockets of the host, and what is closed stays closed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::laptop::{LAPTOP, NEIGHBOUR, NEIGHBOUR6, bracketed};
use crate::harness::talk::{NameServer, give, name_sockets, noise, sha256, take};
use crate::harness::{Laptop, Sandbox, needs_root, within};

/// Bytes of a transfer: several windows' worth.
const LONG: usize = 20_000_000;

#[test]
fn a_container_has_an_address_a_way_out_and_the_files_that_say_so() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let ip = s.field("c1", ".NetworkSettings.IPAddress");
    let gateway = s.field("c1", ".NetworkSettings.Gateway");
    assert_eq!(s.field("c1", "range .NetworkSettings.Networks}}{{.IPAddress}}{{end"), ip);
    assert_eq!(s.field("c1", ".HostConfig.NetworkMode"), "slirp");
    s.ok("exec c1 ip -4 -o addr show eth0").has(&format!("inet {ip}/24"));
    s.ok("exec c1 ip route").has(&format!("default via {gateway} dev eth0"));
    let name = s.field("c1", ".Config.Hostname");
    s.ok("exec c1 cat /etc/hosts")
        .has(&format!("{gateway}\thost.docker.internal host.containers.internal\n"))
        .has(&format!("{ip}\t{name}\n"));
    let dns = gateway.strip_suffix(".2").unwrap().to_owned() + ".3";
    s.ok("exec c1 cat /etc/resolv.conf").has(&format!("nameserver {dns}\n"));
    s.ok(&format!("exec c1 ping -c1 -W5 {gateway}")).has("1 packets received");
    s.ok("exec -u 1000 c1 sh -c 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'").is("0");
    s.ok("restart -t 0 c1");
    s.ok(&format!("exec c1 ping -c1 -W5 {gateway}")).has("1 packets received");
    s.ok("stop -t 0 c1");
    assert_eq!(s.field("c1", ".NetworkSettings.IPAddress"), "");
    s.busybox_sh("--add-host out:host-gateway", "cat /etc/hosts").has(&format!("{gateway}\tout\n"));
}

/// What the host has a route to would be hidden, by whatever name the network goes.
#[test]
fn addresses_that_the_host_has_a_route_to_are_refused() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("addresses_that_the_host_has_a_route_to_are_refused");
    };
    let words =
        "the host has a route to a part of the subnet, 198.51.100.0/24, which its containers could not reach";
    for block in ["198.51.100.0/24", "198.51.100.128/25", "198.51.0.0/16"] {
        let run = format!("run --rm --network slirp:cidr={block} busybox true");
        laptop.kelp(&s, &run).exits(125).says(words);
        laptop.kelp(&s, &format!("network create --subnet {block} x")).exits(1).says(words);
    }
    laptop.kelp(&s, "run --rm --network slirp:cidr=198.51.101.0/24 busybox true").exits(0);
}

/// Sends datagrams of these lengths, each to a connected socket of its own, and says what comes back of the first.
const DATAGRAMS: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
static char bytes[65536];
int main(int argc, char **argv) {
    struct sockaddr_in to = {AF_INET};
    struct timeval limit = {5, 0};
    to.sin_port = htons(7007);
    inet_pton(AF_INET, argv[1], &to.sin_addr);
    for (int i = 2; i < argc; i++) {
        int s = socket(AF_INET, SOCK_DGRAM, 0);
        setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        connect(s, (void *)&to, sizeof to);
        int n = send(s, bytes, atoi(argv[i]), 0);
        n = n < 0 ? n : recv(s, bytes, sizeof bytes, 0);
        printf("%s: %d %s\n", argv[i], n, n < 0 ? strerror(errno) : "");
    }
    return 0;
}
"#;

/// What a longer link lets the container send in one piece is cut up for shorter ones outside, as with an ordinary link.
#[test]
fn datagrams_of_any_length_pass_whatever_the_link_takes() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("datagrams_of_any_length_pass_whatever_the_link_takes");
    };
    s.write("datagrams.c", DATAGRAMS);
    s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "datagrams", "datagrams.c"]).exits(0);
    let volume = format!("{}:/datagrams:ro", s.work().join("datagrams").display());
    let socket = laptop.elsewhere(|| UdpSocket::bind((NEIGHBOUR, 7007))).unwrap();
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
    let send = |network: &str, lengths: &[&str]| {
        let words = ["run", "--rm", "--network", network, "-v", &volume, "busybox", "/datagrams", NEIGHBOUR];
        laptop.kelp(&s, &[&words[..], lengths].concat()[..]).exits(0)
    };
    // The kernel remembers for a destination what it was told: the largest one has a container to itself.
    for network in ["slirp", "slirp:mtu=9000", "slirp:mtu=65535", "slirp:mtu=65535,ipv6=false"] {
        send(network, &["8", "8900"]).is("8: 8 \n8900: 8900");
        send(network, &["8", "65507"]).is("8: 8 \n65507: 65507");
    }
    // Of a path that is shorter than ordinary ones the container hears.
    laptop.run("ip link set up0 mtu 1400");
    laptop.beyond("ip link set up0 mtu 1400");
    for network in ["slirp", "slirp:mtu=65535"] {
        send(network, &["8", "1450"]).has("1450: -1 Message too long");
        send(network, &["8", "65507"]).has("65507: 65507");
    }
}

#[test]
fn both_commands_tell_the_same_of_an_endpoint() {
    let s = Sandbox::new().busybox();
    let ipv6 = |name: &str| {
        s.ok(&format!("network ls --filter name={name} --format {{{{.IPv6}}}}")).text().to_owned()
    };
    assert_eq!(
        (ipv6("slirp"), ipv6("host"), ipv6("bridge")),
        ("true".into(), "false".into(), "false".into())
    );
    s.ok("network inspect -f {{.EnableIPv6}} slirp").is("true");
    s.ok("run -d --name web --network bridge busybox sleep 600");
    let told = s.ok("network inspect -f '{{range .Containers}}{{.EndpointID}}{{end}}' bridge");
    let told = told.text();
    assert!(!told.is_empty());
    assert_eq!(s.field("web", ".NetworkSettings.Networks.bridge.EndpointID"), told);
    assert_eq!(s.field("web", ".NetworkSettings.EndpointID"), told);
    s.ok("stop -t 0 web");
    assert_eq!(s.field("web", ".NetworkSettings.EndpointID"), "");
}

#[test]
fn options_of_the_network_are_carried_out() {
    let s = Sandbox::new().busybox();
    let options = "--network slirp:cidr=192.168.77.0/24,mtu=1400,ipv6=false";
    let out = s.busybox_sh(options, "ip addr show eth0; ls /proc/sys/net/ipv6/conf; cat /etc/resolv.conf");
    out.has("inet 192.168.77.100/24").has("mtu 1400").has("nameserver 192.168.77.3").lacks("inet6");
    let podmans = "--network slirp4netns:cidr=10.99.0.0/16,enable_ipv6=false";
    s.busybox_sh(podmans, "ip addr show eth0").has("inet 10.99.0.100/16");
    for (bad, why) in [
        ("slirp:mtu=100", "1280"),
        ("slirp:x=1", "cidr"),
        ("slirp:cidr=10.0.0.0/30", "25"),
        ("mine", "network mine not found"),
        ("none:x=y", "it has no options"),
    ] {
        s.exits(125, &format!("run --rm --network {bad} busybox true")).says(why);
    }
    s.exits(125, "run --rm --mac-address 02:42:ac:11:00:02 busybox true").says("Ethernet");
}

/// T-v6off: no address, and nobody who offers one is believed.
#[test]
fn without_ipv6_there_is_none() {
    let s = Sandbox::new().busybox();
    let script = "grep -c eth0 /proc/net/if_inet6; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    s.busybox_sh("--network slirp:ipv6=false", script).is("0\n1");
    let script = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra; grep eth0 /proc/net/if_inet6 | grep -c ^fe80";
    s.busybox_sh("", &format!("{script}; true")).is("0\n0");
}

#[test]
fn bytes_travel_both_ways_unchanged() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("bytes_travel_both_ways_unchanged") };
    let bytes = noise(LONG);
    for ip in [NEIGHBOUR, NEIGHBOUR6] {
        let (from, to) = laptop.elsewhere(|| {
            (
                TcpListener::bind(format!("{}:7001", bracketed(ip))),
                TcpListener::bind(format!("{}:7002", bracketed(ip))),
            )
        });
        give(from.unwrap(), bytes.clone());
        take(to.unwrap());
        let script = format!(
            "nc {ip} 7001 < /dev/null | sha256sum; head -c 5000000 /dev/urandom > /tmp/f; sha256sum < /tmp/f; \
             nc {ip} 7002 < /tmp/f"
        );
        let out = laptop.kelp(&s, ["run", "--rm", "busybox", "sh", "-c", &script]).exits(0);
        let lines = out.lines();
        assert_eq!(lines[0], format!("{}  -", sha256(&bytes)), "{}", out.story());
        assert_eq!(lines[1], format!("{}  -", lines[2]), "{}", out.story());
    }
}

#[test]
fn what_is_refused_or_unreachable_is_said_so_at_once() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("what_is_refused_or_unreachable_is_said_so_at_once");
    };
    let script = format!("nc -w 20 {NEIGHBOUR} 7009 </dev/null; ping -c1 -W5 {NEIGHBOUR}");
    let start = Instant::now();
    let out = laptop.kelp(&s, ["run", "--rm", "busybox", "sh", "-c", &script]).run();
    out.says("refused");
    assert!(start.elapsed() < Duration::from_secs(10), "{}", out.story());
}

/// T-loopback: services of the host's loopback are nobody's in a container, unless it was asked for.
#[test]
fn the_hosts_loopback_is_closed_unless_asked_for() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("the_hosts_loopback_is_closed_unless_asked_for");
    };
    let secret = laptop.on(|| TcpListener::bind("127.0.0.1:7003")).unwrap();
    let seen = give(secret, b"secret".to_vec());
    let script = "for ip in 10.0.2.2 10.0.2.3 127.0.0.1 0.0.0.0; do nc -w 2 $ip 7003 </dev/null; done; true";
    laptop.kelp(&s, ["run", "--rm", "busybox", "sh", "-c", script]).exits(0).lacks("secret");
    assert!(seen.lock().unwrap().is_empty());
    let words = ["run", "--rm", "--network", "slirp:host-loopback=true", "busybox", "sh", "-c"];
    let open = [&words[..], &["nc -w 5 10.0.2.2 7003 </dev/null"]].concat();
    laptop.kelp(&s, &open[..]).exits(0).is("secret");
}

#[test]
fn a_network_that_the_host_has_a_way_to_is_not_taken() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("a_network_that_the_host_has_a_way_to_is_not_taken");
    };
    let address = || laptop.kelp(&s, "run --rm busybox ip -4 -o addr show eth0").exits(0).stdout;
    assert!(address().contains("10.0.2.100"));
    laptop.run(&format!("ip route add 10.0.0.0/8 via {NEIGHBOUR}"));
    let other = address();
    assert!(other.contains("172.29.2.100"), "{other}");
    assert_eq!(address(), other, "the same choice each time");
}

#[test]
fn another_containers_network_is_shared_with_its_files() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name web -h front --add-host db:10.9.9.9 busybox httpd -f -p 80 -h /etc");
    let own = "readlink /proc/self/ns/net; cat /etc/hosts /etc/resolv.conf; hostname";
    let theirs = s.ok(["exec", "web", "sh", "-c", own]).stdout;
    s.busybox_sh("--network container:web", own).is(&theirs);
    s.busybox_sh("--network container:web", "wget -q -O- http://127.0.0.1/passwd").has("root:");
    for (options, why) in [
        ("-p 80", "port publishing and the container type network mode"),
        ("-h x", "hostname and the network mode"),
        ("--dns 9.9.9.9", "dns and the network mode"),
    ] {
        s.exits(125, &format!("run --rm --network container:web {options} busybox true")).says(why);
    }
    s.ok("run -d --name second --network container:web busybox sleep 1000");
    s.ok("stop -t 0 web");
    s.exits(125, "run --rm --network container:web busybox true").says("non running container");
    s.ok("stop -t 0 second");
    s.exits(1, "start second").says("non running container");
}

#[test]
fn without_a_tun_device_the_error_names_it_and_the_ways_on() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("without_a_tun_device_the_error_names_it_and_the_ways_on");
    };
    laptop.run("mount -t tmpfs none /dev/net");
    let out = laptop.kelp(&s, "run --rm busybox true").exits(125);
    out.says("/dev/net/tun").says("--network none").says("--network host");
    laptop.kelp(&s, "run --rm --network none busybox true").exits(0);
    laptop.kelp(&s, "run --rm --network host busybox true").exits(0);
}

/// The laptop goes to another network: other addresses, another default route, another name server; and back.
#[test]
fn a_container_follows_the_host_into_another_network() {
    follows("a_container_follows_the_host_into_another_network", "");
}

#[test]
fn a_user_defined_network_follows_the_host_too() {
    follows("a_user_defined_network_follows_the_host_too", "--network lan");
}

fn follows(test: &str, options: &str) {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root(test) };
    let serve = |ip: &str, text: &str| {
        let at: std::net::IpAddr = ip.parse().unwrap();
        let (web, (udp, tcp)) =
            laptop.elsewhere(|| (TcpListener::bind((at, 7004)).unwrap(), name_sockets(at)));
        give(web, text.as_bytes().to_vec());
        NameServer::start(udp, tcp, Some(ip.parse::<Ipv4Addr>().unwrap()), false)
    };
    serve(NEIGHBOUR, "first");
    laptop.set_resolv_conf(&format!("nameserver {NEIGHBOUR}\n"));
    laptop.kelp(&s, "network create lan").exits(0);
    laptop.kelp(&s, &format!("run -d --name c1 {options} busybox sleep 1000")).exits(0);
    let pid = s.pid_of("c1");
    // A new lookup and a new connection.
    let expect = |ip: &str, text: &str| {
        let script = format!(
            "nslookup -type=a the.place $(sed -n 's/nameserver //p' /etc/resolv.conf) | tail -n +3; \
             nc -w 2 {ip} 7004 </dev/null"
        );
        let start = Instant::now();
        let out = s.ok(["exec", "c1", "sh", "-c", &script]);
        out.has(&format!("Address: {ip}")).has(text);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    };
    expect(NEIGHBOUR, "first");

    laptop.run("ip link set up0 down; ip addr flush dev up0");
    laptop.wire("up1", &[("203.0.113.2", "203.0.113.1", 24)]);
    laptop.run("ip route add default via 203.0.113.1");
    serve("203.0.113.1", "second");
    laptop.set_resolv_conf("nameserver 203.0.113.1\n");
    expect("203.0.113.1", "second");

    laptop.run(&format!(
        "ip link set up1 down; ip link set up0 up; ip addr add {LAPTOP}/24 dev up0; ip route replace default via {NEIGHBOUR}"
    ));
    laptop.set_resolv_conf(&format!("nameserver {NEIGHBOUR}\n"));
    expect(NEIGHBOUR, "first");
    assert_eq!(s.pid_of("c1"), pid, "nothing was started again");
}

#[test]
fn whoever_carries_the_packets_is_replaced_when_it_dies() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name c1 busybox sleep 1000");
    let gateway = s.field("c1", ".NetworkSettings.Gateway");
    let carrier = || {
        let all = s.processes();
        all.iter()
            .find(|p| fs::read_to_string(format!("/proc/{}/comm", p.pid)).is_ok_and(|c| c == "kelp-net\n"))
            .map(|p| p.pid)
    };
    let first = carrier().unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(within(Duration::from_secs(5), || carrier().is_some_and(|pid| pid != first)));
    s.ok(&format!("exec c1 ping -c3 -W5 {gateway}")).has("64 bytes from");
    assert_eq!(s.field("c1", ".State.Status"), "running");
    s.ok("rm -f c1");
    assert!(within(Duration::from_secs(5), || carrier().is_none()));
}

#[test]
fn fifty_start_at_once() {
    let s = Sandbox::new().busybox();
    let jobs: Vec<_> = (0..50)
        .map(|n| s.kelp(&format!("run --rm --name many{n} busybox ping -c1 -W20 10.0.2.2")).spawn(false))
        .collect();
    for job in jobs {
        job.finish(Duration::from_secs(60)).expect_code(0).has("1 packets received");
    }
}
