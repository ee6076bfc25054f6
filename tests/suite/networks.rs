//! User-defined networks: what containers in one reach, by what names, and what they do not.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::harness::laptop::NEIGHBOUR;
use crate::harness::talk::{NameServer, answers, give, name_sockets, start_answering};
use crate::harness::{Laptop, Sandbox, needs_root, within};

/// More than anything here takes.
const LIMIT: Duration = Duration::from_secs(10);

fn eventually(condition: impl FnMut() -> bool) -> bool {
    within(LIMIT, condition)
}

fn sleeper(s: &Sandbox, name: &str, options: &str) {
    s.ok(&format!("run -d --name {name} {options} busybox sleep 600"));
}

/// Pids of the sandbox's network processes.
fn hubs(s: &Sandbox) -> Vec<i32> {
    s.processes().into_iter().filter(|p| p.line.contains("kelp-network")).map(|p| p.pid).collect()
}

#[test]
fn created_listed_inspected_removed() {
    let s = Sandbox::new().busybox();
    let id = s
        .ok("network create --label a=b --subnet 10.213.0.0/24 --ip-range 10.213.0.64/26 shop")
        .text()
        .to_owned();
    s.ok("network ls").has("NETWORK ID").has("shop").has("bridge").has("slirp").has("null");
    s.ok("network ls -q --no-trunc --filter type=custom").is(&id);
    s.ok("network ls --filter label=a=b --format {{.Name}}/{{.Driver}}/{{.Scope}}").is("shop/bridge/local");
    let shown = &s.json("network inspect shop")[0];
    assert_eq!(shown["IPAM"]["Config"][0]["Subnet"], "10.213.0.0/24");
    assert_eq!(shown["IPAM"]["Config"][0]["Gateway"], "10.213.0.1");
    s.exits(1, "network create shop").says("network with name shop already exists");
    s.exits(1, "network create --subnet 10.213.0.128/25 two").says("Pool overlaps with other one");
    s.exits(1, "network create -d macvlan two").says("only root may");
    s.exits(1, "network create -o com.docker.network.bridge.name=x two").says("network option");
    s.exits(1, "network reload shop").says("not built yet");
    s.exits(1, "network rm bridge").says("bridge is a pre-defined network and cannot be removed");
    s.exits(1, "network rm nosuch").says("network nosuch not found");
    s.ok("network rm -f nosuch");
    s.ok("network exists shop").silent();
    s.exits(1, "network exists nosuch").silent();

    sleeper(&s, "one", "--network shop");
    s.exits(1, "network rm shop").says("error while removing network: network shop has active endpoints");
    s.ok("network prune -f").silent();
    assert!(s.field("one", ".NetworkSettings.Networks.shop.IPAddress").starts_with("10.213.0.64"));
    assert_eq!(s.field("one", ".HostConfig.NetworkMode"), "shop");
    s.ok("network inspect -f '{{range .Containers}}{{.Name}}{{end}}' shop").is("one");
    s.ok("rm -f one");
    s.ok("network prune -f").has("Deleted Networks:").has("shop");
    s.exits(125, "run --rm --network shop busybox true").says("network shop not found");
}

#[test]
fn neighbours_have_names_and_addresses() {
    let s = Sandbox::new().busybox();
    s.ok("network create --ipv6 shop");
    let serve = "while true; do echo answered | nc -l -p 80; done";
    let words = ["run", "-d", "--name", "web", "--network", "shop:alias=store", "busybox", "sh", "-c", serve];
    s.ok(words.map(str::to_owned).to_vec());
    let (four, six) = (
        s.field("web", ".NetworkSettings.Networks.shop.IPAddress"),
        s.field("web", ".NetworkSettings.Networks.shop.GlobalIPv6Address"),
    );
    for name in ["web", "WEB", "store", "web.shop", &four] {
        s.busybox_sh("--network shop", &format!("ping -c1 -W5 {name} && nc -w 5 {name} 80 </dev/null"))
            .has("answered");
    }
    s.busybox_sh("--network shop", &format!("ping -6 -c1 -W5 {six} && nslookup web")).has(&six);
    // Nobody else is believed to be him.
    sleeper(&s, "eve", "--network shop");
    s.ok("exec web ip neigh show").has("PERMANENT").lacks("REACHABLE");
    s.ok("rm -f eve");
    // Nobody is known who is not there, and another network's container is not.
    s.ok("network create other");
    let script = format!("nslookup web; nc -w 1 {four} 80 </dev/null; true");
    s.busybox_sh("--network other", &script).has("NXDOMAIN").lacks("answered");
    s.ok("rm -f web");
    s.busybox_sh("--network shop", "nslookup web; true").has("NXDOMAIN");
}

#[test]
fn addresses_as_wanted() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.214.0.0/24 --ipv6 --subnet fd14::/64 lab");
    let options =
        "--network lab --ip 10.214.0.9 --ip6 fd14::9 --mac-address 02:42:00:00:00:09 --network-alias nine";
    sleeper(&s, "nine-1", options);
    s.ok("exec nine-1 ip addr show eth0").has("10.214.0.9/24").has("fd14::9/64").has("02:42:00:00:00:09");
    assert_eq!(s.field("nine-1", ".NetworkSettings.Networks.lab.Aliases"), "[nine]");
    s.exits(125, &format!("run --rm {options} busybox true")).says("Address already in use");
    s.exits(125, "run --rm --network lab --ip 10.214.1.9 busybox true").says("10.214.1.9");
    s.exits(125, "run --rm --ip 10.214.0.10 busybox true").says("user defined networks only");
    s.exits(125, "run --rm --network lab --network none busybox true").says("conflicting options");
    // It keeps what it had.
    s.ok("stop -t 0 nine-1");
    s.ok("start nine-1");
    s.ok("exec nine-1 ip addr show eth0").has("10.214.0.9/24");
    s.busybox_sh("--network lab --network bridge", "ip addr").has("eth0").has("eth1");
}

#[test]
fn addresses_are_free_as_soon_as_their_container_has_ended() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.215.0.0/29 small");
    for _ in 0..6 {
        s.ok("run --rm --network small --ip 10.215.0.4 --mac-address 02:42:00:00:00:04 busybox true");
    }
    // Five are for containers.
    for _ in 0..12 {
        s.ok("run --rm --network small busybox true");
    }
    // Nothing is kept of what never was.
    s.exits(125, "run --network small:ip=10.215.0.5 --network bridge:ip=1.2.3.4 busybox true")
        .says("1.2.3.4");
    s.ok("run --rm --network small --ip 10.215.0.5 busybox true");
}

/// As with docker, where a stopped container has no address.
#[test]
fn a_stopped_container_gives_its_address_up_where_nothing_else_is_free() {
    let s = Sandbox::new().busybox();
    let address = |name: &str| s.field(name, ".NetworkSettings.Networks.small.IPAddress");
    s.ok("network create --subnet 10.219.0.0/29 small");
    // Five are for containers, .2 to .6.
    sleeper(&s, "asked", "--network small --ip 10.219.0.2");
    s.ok("stop -t 0 asked");
    for name in ["aa", "bb", "cc"] {
        s.ok(&format!("run --name {name} --network small busybox true"));
    }
    s.ok("create --name dd --network small busybox sleep 600");
    // Nothing is free. The one that ended first gives way, then the next one.
    sleeper(&s, "one", "--network small");
    sleeper(&s, "two", "--network small");
    assert_eq!((address("one"), address("two")), ("10.219.0.3".into(), "10.219.0.4".into()));
    // Or the one that has what is wanted.
    sleeper(&s, "three", "--network small --ip 10.219.0.6");
    s.exits(125, "run --rm --network small --ip 10.219.0.2 busybox true").says("Address already in use");
    // Whoever gave way starts with another one as long as there is one, and has it in its files.
    s.ok("start dd");
    assert_eq!(address("dd"), "10.219.0.5");
    s.ok("exec dd ip addr show eth0").has("10.219.0.5/29");
    s.ok("exec dd cat /etc/hosts").has("10.219.0.5").lacks("10.219.0.6");
    s.ok("exec one ping -c1 -W5 dd");
    let full = "no available IPv4 addresses on this network's address pools: small";
    s.exits(125, "run --rm --network small busybox true").says(full);
    s.exits(1, "start aa").says(full);
    s.ok("start asked");
    assert_eq!(address("asked"), "10.219.0.2");
    s.ok("stop -t 0 two");
    s.ok("start -a aa");
    sleeper(&s, "last", "--network small");
    s.exits(1, "start two").says(full);
}

/// Three times twenty-eight in a network of 29 addresses: none is refused, and no two have the same.
#[test]
fn many_at_once_in_a_network_that_others_have_filled() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.219.1.0/27 medium");
    for round in 0..3 {
        let jobs: Vec<_> = (0..28)
            .map(|n| {
                let run = format!("run -d --name r{round}-{n} --network medium busybox sleep 600");
                s.kelp(&run).spawn(false)
            })
            .collect();
        for job in jobs {
            job.finish(Duration::from_secs(120)).expect_code(0);
        }
        let addresses: BTreeSet<String> = (0..28)
            .map(|n| s.field(&format!("r{round}-{n}"), ".NetworkSettings.Networks.medium.IPAddress"))
            .collect();
        assert_eq!(addresses.len(), 28, "{addresses:?}");
        s.ok(&(0..28).fold("kill".to_owned(), |line, n| format!("{line} r{round}-{n}")));
    }
    s.ok("start r0-0");
}

#[test]
fn addresses_that_nobody_is_given() {
    let s = Sandbox::new().busybox();
    let create = "network create --ipam-driver default --ipv4 --attachable --ipv6 --subnet 10.219.2.0/29 --subnet fd19::/64";
    s.ok(&format!("{create} --aux-address printer=10.219.2.2 --aux-address door=10.219.2.4 --aux-address six=fd19::2 lab"));
    let aux = "{{range .IPAM.Config}}{{range $name, $ip := .AuxiliaryAddresses}}{{$name}}={{$ip}} {{end}}{{end}}{{.Attachable}}";
    let shown = s.kelp(["network", "inspect", "-v", "-f", aux, "lab"]).run();
    shown.expect_code(0).has("door=10.219.2.4 printer=10.219.2.2 six=fd19::2 true");
    s.ok("network inspect bridge").has("\"Attachable\": false").lacks("AuxiliaryAddresses");
    for address in ["10.219.2.3", "10.219.2.5", "10.219.2.6"] {
        let name = format!("c{}", &address[9..]);
        sleeper(&s, &name, "--network lab");
        assert_eq!(s.field(&name, ".NetworkSettings.Networks.lab.IPAddress"), address);
    }
    s.ok("exec c3 ip -6 addr show eth0").has("fd19::3/64");
    s.exits(125, "run --rm --network lab busybox true").says("no available IPv4 addresses");
    s.ok("rm -f c3");
    s.exits(125, "run --rm --network lab --ip 10.219.2.2 busybox true").says("Address already in use");
    s.exits(125, "run --rm --network lab --ip6 fd19::2 busybox true").says("Address already in use");
    for (flags, words) in [
        (
            "--subnet 10.219.3.0/24 --aux-address a=10.219.4.5",
            "no matching subnet for aux-address 10.219.4.5",
        ),
        ("--aux-address a=10.219.4.5", "no matching subnet for aux-address 10.219.4.5"),
        (
            "--subnet 10.219.3.0/24 --aux-address a=10.219.3.1",
            "failed to allocate secondary ip address (a:10.219.3.1): Address already in use",
        ),
        ("--ipam-driver null", "invalid IPAM driver"),
        ("--ipam-driver acme", "no plugins"),
    ] {
        s.exits(1, &format!("network create {flags} x")).says(words);
    }
    s.exits(125, "network create --ipv4=false x").says("always have IPv4");
    s.exits(125, "network connect --link-local-ip 169.254.3.3 lab c5").says("link-local");
}

#[test]
fn networks_that_cannot_be() {
    let s = Sandbox::new().busybox();
    for name in ["default", "slirp4netns", "private", "none"] {
        s.exits(1, &format!("network create {name}")).says("predefined");
    }
    for subnet in ["127.0.0.0/8", "224.0.0.0/24", "0.0.0.0/8", "240.0.0.0/24"] {
        s.exits(1, &format!("network create --subnet {subnet} x")).says("no network can be there");
        s.exits(125, &format!("run --rm --network slirp:cidr={subnet} busybox true"))
            .says("no network can be");
    }
    s.exits(1, "network create --ipv6 --subnet fe80::/64 x").says("no network can be there");
    s.exits(125, "run --rm --network slirp:outbound-addr=192.0.2.77 busybox true")
        .says("no address of this host");
    for address in ["127.0.0.1", "::1"] {
        s.exits(125, &format!("run --rm --network slirp:outbound-addr={address} busybox true"))
            .says("nothing gets off this host from its loopback");
    }
}

#[test]
fn twenty_at_once() {
    let s = Sandbox::new().busybox();
    s.ok("network create crowd");
    let jobs: Vec<_> = (0..20)
        .map(|n| s.kelp(&format!("run -d --name c{n} --network crowd busybox sleep 600")).spawn(false))
        .collect();
    for job in jobs {
        job.finish(Duration::from_secs(60)).expect_code(0);
    }
    let address = |n: usize| s.field(&format!("c{n}"), ".NetworkSettings.Networks.crowd.IPAddress");
    let addresses: BTreeSet<String> = (0..20).map(address).collect();
    assert_eq!(addresses.len(), 20, "{addresses:?}");
    let pings: Vec<String> =
        (0..20).map(|n| format!("ping -c1 -W5 c{n} >/dev/null || echo lost c{n}")).collect();
    s.busybox_sh("--network crowd", &pings.join("; ")).silent();
    assert_eq!(hubs(&s).len(), 1);
    s.ok(&(0..20).fold("rm -f".to_owned(), |line, n| format!("{line} c{n}")));
    assert!(eventually(|| hubs(&s).is_empty()), "the network's process outlives its containers");
}

/// A lost network process is replaced, and nobody who runs loses his network.
#[test]
fn the_process_may_be_killed() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    sleeper(&s, "one", "--network shop");
    sleeper(&s, "two", "--network shop");
    for _ in 0..2 {
        let killed = hubs(&s);
        assert_eq!(killed.len(), 1);
        let pid = rustix::process::Pid::from_raw(killed[0]).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        s.ok("exec one ping -c1 -W5 two");
        assert!(eventually(|| hubs(&s).first().is_some_and(|new| *new != killed[0])));
        assert!(eventually(|| s.kelp("exec two ping -c1 -W1 one").run().code == 0));
        // The gateway is the new process.
        s.ok("exec two sh -c 'ping -c1 -W5 $(ip route | sed -n s/^default.via.//p | cut -d\" \" -f1)'");
        s.busybox_sh("--network shop", "ping -c1 -W5 one && ping -c1 -W5 two");
    }
}

/// A container that comes before the others have noticed starts the new process: it is not told that they are not there.
#[test]
fn whoever_comes_after_a_kill_finds_the_others() {
    use rustix::process::{Pid, Signal, kill_process};
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    sleeper(&s, "one", "--network shop");
    sleeper(&s, "two", "--network shop");
    let send = |pids: &[i32], signal| {
        for pid in pids {
            kill_process(Pid::from_raw(*pid).unwrap(), signal).unwrap();
        }
    };
    let shims: Vec<_> =
        s.processes().into_iter().filter(|p| p.line.contains(") kelp-shim ")).map(|p| p.pid).collect();
    let killed = hubs(&s);
    assert_eq!((killed.len(), shims.len()), (1, 2));
    send(&shims, Signal::STOP);
    send(&killed, Signal::KILL);
    let late =
        s.kelp("run --rm --network shop busybox sh -c 'nslookup one && ping -c1 -W5 two'").spawn(false);
    let replaced = eventually(|| hubs(&s).iter().any(|pid| *pid != killed[0]));
    send(&shims, Signal::CONT);
    assert!(replaced, "nobody started another process");
    late.finish(LIMIT).expect_code(0).has("1 packets received");
}

/// What a kernel counts, by the counter's name; both of `/proc/net/snmp` and `snmp6`.
fn counter(s: &Sandbox, container: &str, name: &str) -> u64 {
    let all = s.ok(&format!("exec {container} cat /proc/net/snmp /proc/net/snmp6"));
    let lines = all.lines();
    if let Some(line) = lines.iter().find(|line| line.split_whitespace().next() == Some(name)) {
        return line.split_whitespace().nth(1).unwrap().parse().unwrap();
    }
    let at = lines.iter().position(|line| line.split(' ').any(|word| word == name)).unwrap();
    let column = lines[at].split(' ').position(|word| word == name).unwrap();
    lines[at + 1].split(' ').nth(column).unwrap().parse().unwrap()
}

fn received(s: &Sandbox, container: &str) -> u64 {
    s.ok(&format!("exec {container} cat /sys/class/net/eth0/statistics/rx_packets")).text().parse().unwrap()
}

/// Nobody is heard under a neighbour's address, whatever he may do to his own interface.
#[test]
fn nobody_sends_as_somebody_else() {
    let s = Sandbox::new().busybox();
    s.ok("network create --ipv6 shop");
    assert_eq!(s.json("network inspect shop")[0].get("Warnings"), None, "this kernel cannot guard a bridge");
    sleeper(&s, "web", "--network shop");
    sleeper(&s, "friend", "--network shop");
    sleeper(&s, "eve", "--network shop:alias=store --cap-add NET_ADMIN --cap-add NET_RAW");
    let of = |name: &str, field: &str| s.field(name, &format!(".NetworkSettings.Networks.shop.{field}"));
    let (web, web6) = (of("web", "IPAddress"), of("web", "GlobalIPv6Address"));
    let (friend, friend6) = (of("friend", "IPAddress"), of("friend", "GlobalIPv6Address"));
    let (mac, own_mac) = (of("friend", "MacAddress"), of("eve", "MacAddress"));
    let eve = |script: &str| s.ok(["exec", "eve", "sh", "-c", script]);
    let echoes = || (counter(&s, "web", "InEchos"), counter(&s, "web", "Icmp6InEchos"));
    let before = echoes();
    // The bridge itself says something now and then: in one of several rounds it does not.
    let nothing_comes_of = |script: &str| {
        let quiet = eventually(|| {
            let before = received(&s, "web");
            eve(&format!("{script}; true"));
            received(&s, "web") == before
        });
        assert!(quiet, "{script}");
    };

    // The address alone.
    eve(&format!("ip addr add {friend}/32 dev eth0; ip -6 addr add {friend6}/128 dev eth0; sleep 2"));
    nothing_comes_of(&format!("ping -c2 -W1 -I {friend} {web}"));
    nothing_comes_of(&format!("ping -6 -c2 -W1 -I {friend6} {web6}"));
    nothing_comes_of(&format!("arping -c2 -w2 -s {friend} -I eth0 {web}"));
    nothing_comes_of(&format!("arping -U -c2 -w2 -s {friend} -I eth0 {friend}"));
    // An address that nobody has.
    let nobody = web.rsplit_once('.').unwrap().0.to_owned() + ".200";
    eve(&format!("ip addr add {nobody}/32 dev eth0"));
    nothing_comes_of(&format!("ping -c2 -W1 -I {nobody} {web}"));
    // With the Ethernet address that goes with it.
    let as_mac = |mac: &str| {
        format!(
            "ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up; ip addr show eth0"
        )
    };
    eve(&as_mac(&mac)).has(&mac);
    nothing_comes_of(&format!("ping -c2 -W1 -I {friend} {web}"));
    nothing_comes_of(&format!("arping -c2 -w2 -s {friend} -I eth0 {web}"));
    assert_eq!(echoes(), before, "something arrived that was not its sender's own");

    // As himself he is heard as before, by all of them at once too.
    eve(&as_mac(&own_mac)).has(&own_mac);
    let own = of("eve", "IPAddress");
    let heard = counter(&s, "web", "InEchos");
    eve(&format!(
        "ip addr del {friend}/32 dev eth0; ip addr del {nobody}/32 dev eth0; ping -c2 -W5 -I {own} {web}"
    ));
    assert_eq!(counter(&s, "web", "InEchos"), heard + 2);
    let all = web.rsplit_once('.').unwrap().0.to_owned() + ".255";
    eve(&format!("arping -c1 -w5 -s {own} -I eth0 {web}")).has("Received 1 response");
    eve(&format!("ping -c2 -W1 {all}; true"));
    assert_eq!(counter(&s, "web", "InEchos"), heard + 4, "{all}");
    // Down and up again, it has lost its IPv6 addresses, as interfaces do.
    for line in ["exec friend ping -4 -c1 -W5 store", "exec web ping -c1 -W5 friend"] {
        s.ok(line);
    }
    let heard = counter(&s, "web", "Icmp6InEchos");
    s.ok(&format!("exec friend ping -6 -c2 -W5 {web6}"));
    assert_eq!(counter(&s, "web", "Icmp6InEchos"), heard + 2);
    // Who comes later may do the same, and who has gone leaves nothing open.
    s.ok("rm -f friend");
    s.busybox_sh(&format!("--network shop:ip={friend}"), "ping -c1 -W5 web");
}

/// T-internal: not a packet, and no name.
#[test]
fn an_internal_network_lets_nothing_out() {
    let s = Sandbox::new().busybox();
    s.ok("network create --internal vault");
    sleeper(&s, "one", "--network vault");
    let out = s.busybox_sh(
        "--network vault",
        "ping -c1 -W5 one >/dev/null && echo neighbour; ip route; nslookup example.com; nslookup localhost.example; \
         nc -w 1 192.0.2.1 80 </dev/null; gw=$(sed -n 's/nameserver //p' /etc/resolv.conf); \
         ip route add default via $gw 2>/dev/null; nc -w 1 $gw 80 </dev/null; echo end",
    );
    out.has("neighbour").has("end").has("SERVFAIL").lacks("default");
    s.ok("network inspect -f {{.Internal}} vault").is("true");
}

/// T-internal, seen from the host's name server and from a machine on its network.
#[test]
fn nobody_outside_hears_of_an_internal_network() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("nobody_outside_hears_of_an_internal_network");
    };
    let (udp, tcp) = laptop.on(|| name_sockets("127.0.0.53".parse().unwrap()));
    let stub = NameServer::start(udp, tcp, Some([192, 0, 2, 7].into()), false);
    laptop.set_resolv_conf("nameserver 127.0.0.53\n");
    let listener = laptop.elsewhere(|| std::net::TcpListener::bind((NEIGHBOUR, 7005))).unwrap();
    let seen = give(listener, b"reached".to_vec());
    let script = format!(
        "nslookup www.example.com; nc -w 1 {NEIGHBOUR} 7005 </dev/null; ping -c1 -W1 {NEIGHBOUR}; true"
    );
    for (network, options) in [("vault", "--internal"), ("open", "")] {
        laptop.kelp(&s, &format!("network create {options} {network}")).exits(0);
        let out =
            laptop.kelp(&s, ["run", "--rm", "--network", network, "busybox", "sh", "-c", &script]).exits(0);
        let outside = (stub.names().len(), seen.lock().unwrap().len());
        match network {
            "vault" => {
                out.has("SERVFAIL").lacks("reached").lacks("1 packets received");
                assert_eq!(outside, (0, 0), "{}", out.story());
            }
            // The same can be done where it is allowed.
            _ => {
                out.has("192.0.2.7").has("reached").has("1 packets received");
                assert_eq!(outside, (1, 1), "{}", out.story());
            }
        }
    }
}

#[test]
fn ports_are_published_from_a_network() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    let at = start_answering(&s, "web", "shop");
    assert!(answers(&at));
    s.ok("rm -f web");
    assert!(std::net::TcpListener::bind(&at).is_ok(), "the port outlives its container");
}

/// T-v6off.
#[test]
fn router_advertisements_are_not_believed() {
    let s = Sandbox::new().busybox();
    s.ok("network create plain");
    s.ok("network create --ipv6 six");
    s.busybox_sh("--network six", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra; ip -6 addr show dev eth0")
        .has("0\n")
        .lacks("fe80");
    s.busybox_sh("--network plain", "ip addr show dev eth0").lacks("inet6");
    assert!(fs::exists(s.store()).unwrap());
}

/// Says that it is the router, to all that are on the link, from an address that routers have: once nobody
/// has claimed it, which the kernel waits up to two seconds for, and more on a busy machine.
const ROUTER: &str = r#"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <unistd.h>
int main(void) {
    unsigned char said[16] = {ND_ROUTER_ADVERT, 0, 0, 0, 64, 0, 7, 8};
    int hops = 255, s = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    struct sockaddr_in6 own = {AF_INET6}, all = {AF_INET6};
    inet_pton(AF_INET6, "fe80::bad", &own.sin6_addr);
    inet_pton(AF_INET6, "ff02::1", &all.sin6_addr);
    own.sin6_scope_id = all.sin6_scope_id = if_nametoindex("eth0");
    setsockopt(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
    for (int tries = 0; bind(s, (void *)&own, sizeof own); usleep(100000))
        if (++tries == 300) return 2;
    return sendto(s, said, 16, 0, (void *)&all, sizeof all) != 16;
}
"#;

/// T-v6off: one container's advertisements do not get to another, whatever that one would believe.
#[test]
fn router_advertisements_do_not_pass_the_bridge() {
    let s = Sandbox::new().busybox();
    s.ok("network create --ipv6 shop");
    s.write("router.c", ROUTER);
    s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "router", "router.c"]).exits(0);
    let volume = format!("-v {}:/router:ro", s.work().join("router").display());
    sleeper(&s, "web", "--privileged --network shop");
    sleeper(&s, "eve", &format!("{volume} --network shop --cap-add NET_ADMIN --cap-add NET_RAW"));
    let believes =
        "cd /proc/sys/net/ipv6/conf/eth0; echo 0 >forwarding; echo 2 >accept_ra; echo 1 >accept_ra_defrtr";
    s.ok(["exec", "web", "sh", "-c", believes]);
    s.ok(["exec", "eve", "sh", "-c", "ip -6 addr add fe80::bad/64 dev eth0; /router && /router"]);
    assert_eq!(counter(&s, "eve", "Icmp6OutType134"), 2, "nothing was sent");
    // What was sent after them has arrived: they would have, too.
    let web6 = s.field("web", ".NetworkSettings.Networks.shop.GlobalIPv6Address");
    s.ok(&format!("exec eve ping -6 -c1 -W5 {web6}"));
    assert_eq!(counter(&s, "web", "Icmp6InRouterAdvertisements"), 0);
    s.ok("exec web ip -6 route").lacks("fe80::bad");
}
