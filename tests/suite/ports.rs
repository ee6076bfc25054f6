//! Published ports: who may come, whom the container sees, and who is told that a port is taken.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::laptop::{LAPTOP, LAPTOP6, NEIGHBOUR, NEIGHBOUR6};
use crate::harness::talk::{noise, sha256};
use crate::harness::{Image, Laptop, Sandbox, needs_root, split, within};

const LIMIT: Duration = Duration::from_secs(10);

/// Tells everybody where they come from, then sends back what they send: TCP 80, and where they come from at UDP 81.
const ECHO: &str = r#"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int open_at(const char *ip, int port, int kind) {
    struct sockaddr_in6 six = {AF_INET6, htons(port)};
    struct sockaddr_in four = {AF_INET, htons(port)};
    int one = 1, v6 = inet_pton(AF_INET6, ip, &six.sin6_addr) == 1;
    int s = socket(v6 ? AF_INET6 : AF_INET, kind, 0);
    if (!v6) inet_pton(AF_INET, ip, &four.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (v6 ? bind(s, (void *)&six, sizeof six) : bind(s, (void *)&four, sizeof four)) { perror("bind"); _exit(1); }
    if (kind == SOCK_STREAM) listen(s, 100);
    return s;
}
static int tell(char *text, struct sockaddr_storage *from) {
    char ip[100];
    int v6 = from->ss_family == AF_INET6;
    struct sockaddr_in6 *six = (void *)from;
    struct sockaddr_in *four = (void *)from;
    inet_ntop(from->ss_family, v6 ? (void *)&six->sin6_addr : (void *)&four->sin_addr, ip, sizeof ip);
    return sprintf(text, "%s\n", ip);
}
int main(int argc, char **argv) {
    static char text[200], bytes[65536];
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    signal(SIGCHLD, SIG_IGN);
    int tcp = open_at(argv[1], 80, SOCK_STREAM), udp = open_at(argv[1], 81, SOCK_DGRAM);
    if (fork() == 0)
        for (;; length = sizeof from) {
            if (recvfrom(udp, bytes, sizeof bytes, 0, (void *)&from, &length) >= 0)
                sendto(udp, text, tell(text, &from), 0, (void *)&from, length);
        }
    for (;; length = sizeof from) {
        int s = accept(tcp, (void *)&from, &length), n;
        if (s >= 0 && fork() == 0) {
            n = tell(text, &from);
            write(s, text, n);
            while ((n = read(s, bytes, sizeof bytes)) > 0)
                for (int at = 0, w; at < n; at += w)
                    if ((w = write(s, bytes + at, n - at)) <= 0) _exit(1);
            _exit(0);
        }
        close(s);
    }
}
"#;

/// A container with it, listening at every address of both families.
fn echo(s: &Sandbox, options: &str) -> Vec<String> {
    echo_at(s, options, "::")
}

fn echo_at(s: &Sandbox, options: &str, ip: &str) -> Vec<String> {
    let program = s.work().join("echo");
    if !program.exists() {
        s.write("echo.c", ECHO);
        s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "echo", "echo.c"]).exits(0);
    }
    let volume = format!("{}:/echo:ro", program.display());
    split(&format!("run -d --name web {options} -v {volume} busybox /echo {ip}"))
}

fn port(s: &Sandbox, private: &str, at: usize) -> u16 {
    s.ok(&format!("port web {private}")).lines()[at].rsplit(':').next().unwrap().parse().unwrap()
}

/// What the container says about where a TCP client comes from, and `bytes` back.
fn call(to: SocketAddr, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = writer.write_all(bytes);
            let _ = writer.shutdown(std::net::Shutdown::Write);
        });
        stream.read_to_end(&mut all).ok()
    })?;
    let line = all.iter().position(|b| *b == b'\n')?;
    Some((String::from_utf8_lossy(&all[..line]).into_owned(), all[line + 1..].to_vec()))
}

fn call_udp(to: SocketAddr) -> Option<String> {
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0".parse().unwrap() } else { "[::]:0".parse().unwrap() };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 200];
    for _ in 0..5 {
        let _ = socket.send(b"x");
        if let Ok(n) = socket.recv(&mut buffer) {
            return Some(String::from_utf8_lossy(&buffer[..n]).trim().to_owned());
        }
    }
    None
}

fn address(said: &str) -> IpAddr {
    said.parse::<IpAddr>().unwrap_or_else(|_| panic!("{said}")).to_canonical()
}

/// T-srcip: the server sees the client's own address, and the host as the gateway, never as 127.0.0.1.
#[test]
fn a_server_sees_its_clients_own_addresses() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("a_server_sees_its_clients_own_addresses") };
    laptop.kelp(&s, echo(&s, "-p 80 -p 81/udp")).exits(0);
    let (tcp, udp) = (port(&s, "80", 0), port(&s, "81/udp", 0));
    let gateways = [".NetworkSettings.Gateway", ".NetworkSettings.IPv6Gateway"]
        .map(|field| s.field("web", field).parse::<IpAddr>().unwrap());
    let bytes = noise(3_000_000);
    let ready = || laptop.on(|| call(([127, 0, 0, 1], tcp).into(), b"")).is_some();
    assert!(within(LIMIT, ready));
    for (client, server) in [(NEIGHBOUR, LAPTOP), (NEIGHBOUR6, LAPTOP6)] {
        let to = SocketAddr::new(server.parse().unwrap(), tcp);
        let (said, back) = laptop.elsewhere(|| call(to, &bytes)).unwrap();
        assert_eq!(address(&said), client.parse::<IpAddr>().unwrap());
        assert_eq!(sha256(&back), sha256(&bytes));
        let said = laptop.elsewhere(|| call_udp(SocketAddr::new(to.ip(), udp))).unwrap();
        assert_eq!(address(&said), client.parse::<IpAddr>().unwrap());
    }
    for server in ["127.0.0.1", LAPTOP, "::1", LAPTOP6] {
        let to = SocketAddr::new(server.parse().unwrap(), tcp);
        let (said, back) = laptop.on(|| call(to, &bytes)).unwrap_or_else(|| panic!("{server}"));
        assert_eq!(address(&said), gateways[usize::from(to.is_ipv6())], "{server}");
        assert_eq!(sha256(&back), sha256(&bytes));
        let said = laptop.on(|| call_udp(SocketAddr::new(to.ip(), udp))).unwrap();
        assert_eq!(address(&said), gateways[usize::from(to.is_ipv6())], "{server}");
    }
}

/// T-pubaddr: what is published on loopback is nobody's on the network.
#[test]
fn a_port_on_loopback_is_the_hosts_alone() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("a_port_on_loopback_is_the_hosts_alone") };
    laptop.kelp(&s, echo(&s, "-p 127.0.0.1::80 -p 127.0.0.1::81/udp")).exits(0);
    let (tcp, udp) = (port(&s, "80", 0), port(&s, "81/udp", 0));
    assert!(within(LIMIT, || laptop.on(|| call(([127, 0, 0, 1], tcp).into(), b"x")).is_some()));
    assert!(laptop.on(|| call_udp(([127, 0, 0, 1], udp).into())).is_some());
    let to = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    // Also for those who route the host's loopback to it.
    laptop.beyond(&format!("ip route add 127.0.0.5/32 via {LAPTOP} table local 2>/dev/null; true"));
    for ip in [LAPTOP, LAPTOP6] {
        assert!(laptop.elsewhere(|| TcpStream::connect_timeout(&to(ip, tcp), LIMIT)).is_err());
    }
    assert!(laptop.elsewhere(|| call_udp(to(LAPTOP, udp))).is_none());
}

/// A server for one family answers a local client of the other: `localhost` is both.
#[test]
fn a_local_client_finds_a_server_of_the_other_family() {
    let s = Sandbox::new().busybox();
    s.ok(echo_at(&s, "-p 80", "0.0.0.0"));
    let (v4, v6) = (port(&s, "80", 0), port(&s, "80", 1));
    assert_eq!(v4, v6);
    for to in [SocketAddr::from(([127, 0, 0, 1], v4)), SocketAddr::new("::1".parse().unwrap(), v6)] {
        assert!(within(LIMIT, || call(to, b"").is_some()), "{to}");
    }
}

#[test]
fn ports_are_listed_as_docker_does() {
    let s = Sandbox::new().busybox();
    let image = Image::busybox().set("ExposedPorts", serde_json::json!({"80/tcp": {}, "90/udp": {}}));
    s.load(&image, "served:1");
    s.ok("run -d --name all -P served:1 sleep 1000");
    let all = s.ok("port all");
    assert_eq!(all.lines().len(), 4, "{}", all.story());
    all.has("80/tcp -> 0.0.0.0:").has("80/tcp -> [::]:").has("90/udp -> 0.0.0.0:");
    s.ok("run -d --name some -p 127.0.0.1::80 --expose 100-102 served:1 sleep 1000");
    let at = s.ok("port some 80").text().to_owned();
    s.ok("ps --filter name=some --format {{.Ports}}").is(&format!("90/udp, 100-102/tcp, {at}->80/tcp"));
    assert_eq!(s.field("some", "json (index .NetworkSettings.Ports \"90/udp\")"), "null");
    s.exits(1, "port some 81").says("no public port '81/tcp' published for some");
    s.ok("stop -t 0 some");
    s.ok("port some").is("");
    s.ok("ps -a --filter name=some --format {{.Ports}}").is("");
    assert_eq!(
        s.field("some", "json .HostConfig.PortBindings"),
        r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#
    );
    for (spec, why) in [
        ("80/sctp", "SCTP"),
        ("x:80", "invalid hostPort: x"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("80-81:90-99", "invalid ranges specified for container and host Ports"),
        ("203.0.113.77:8080:80", "no such address"),
    ] {
        s.exits(125, &format!("run --rm -p {spec} busybox true")).says(why);
    }
    s.ok("run --rm --network host -p 80:80 busybox true").says("published ports are discarded");
}

#[test]
fn a_taken_port_is_named_with_its_holder_and_comes_free_again() {
    let s = Sandbox::new().busybox();
    s.ok(echo(&s, "-p 127.0.0.1::80"));
    let at = s.ok("port web 80").text().to_owned();
    let other = format!("run --rm -p {at}:80 busybox true");
    s.exits(125, &other).says("the port is already allocated by container web").says(&at);
    // A range goes on to the next one that is free.
    let number = port(&s, "80", 0);
    let range = format!("127.0.0.1:{number}-{}:80", number.saturating_add(20));
    s.ok(&format!("run -d --name next -p {range} busybox sleep 1000"));
    assert_ne!(s.ok("port next 80").text(), at);
    s.ok("rm -f next");
    s.ok("rm -f web");
    s.ok(&other);
    // A crashed shim has none.
    s.ok(echo(&s, &format!("-p {at}:80")));
    let shim = rustix::process::Pid::from_raw(s.shim_of("web")).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let address: SocketAddr = at.parse().unwrap();
    assert!(within(LIMIT, || TcpListener::bind(address).is_ok()));
    s.ok("rm -f web");
    let held = TcpListener::bind(address).unwrap();
    s.exits(125, &other).says("the port is already allocated");
    drop(held);
    s.exits(125, "run --rm -p 127.0.0.1:79:79 busybox true")
        .says("privileged")
        .says("8079:79")
        .says("ip_unprivileged_port_start=79")
        .says("proxy");
}

#[test]
fn a_container_that_starts_again_has_its_ports_again() {
    let s = Sandbox::new().busybox();
    s.ok(echo(&s, "-p 127.0.0.1::80"));
    for _ in 0..5 {
        s.ok("restart -t 0 web");
        let to = s.ok("port web 80").text().parse::<SocketAddr>().unwrap();
        assert!(within(LIMIT, || call(to, b"again").is_some_and(|(_, back)| back == b"again")));
    }
}

#[test]
fn many_local_clients_at_once() {
    let s = Sandbox::new().busybox();
    s.ok(echo(&s, "-p 127.0.0.1::80"));
    let to = s.ok("port web 80").text().parse::<SocketAddr>().unwrap();
    assert!(within(LIMIT, || call(to, b"").is_some()));
    let bytes = noise(200_000);
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            (0..25).map(|_| scope.spawn(|| call(to, &bytes).map(|(_, back)| back == bytes))).collect();
        for done in calls {
            assert_eq!(done.join().unwrap(), Some(true));
        }
    });
}
