//! What people do with a network, with the programs they do it with: curl, git, apt, h2load, ab, psql, redis-cli, ping
//! and traceroute, between containers and a neighbour's nginx, or the other way round through published ports.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::laptop::{LAPTOP, LAPTOP6, NEIGHBOUR, NEIGHBOUR6, Served};
use crate::harness::talk::{noise, sha256};
use crate::harness::{Laptop, Out, Release, Sandbox, needs_root, within};

/// For what moves a lot on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// An nginx with this directory: what is in `www` at port 8080, also with HTTP/2 at 8081; what is put there below
/// `/put/`; and git repositories of `git` below `/git/`, when somebody answers at `git.sock`.
fn nginx_config(addresses: &[&str]) -> String {
    let mut listen = String::new();
    for address in addresses {
        let _ =
            write!(listen, "listen {address}:8080 backlog=4096; listen {address}:8081 http2 backlog=4096;");
    }
    format!(
        r#"
daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path body; http2_max_concurrent_streams 1000;
  proxy_temp_path t1; fastcgi_temp_path t2; uwsgi_temp_path t3; scgi_temp_path t4;
  server {{
    {listen}
    root www;
    location /put/ {{ root .; dav_methods PUT; }}
    location ~ ^/git(/.*) {{
      fastcgi_pass unix:git.sock;
      fastcgi_param SCRIPT_FILENAME {git}/git-http-backend;
      fastcgi_param GIT_PROJECT_ROOT $document_root/../git;
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param PATH_INFO $1;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
    }}
  }}
}}
"#,
        git = sh("git --exec-path").trim()
    )
}

/// A directory of this name for nginx with some pages.
fn site(s: &Sandbox, name: &str, addresses: &[&str]) -> PathBuf {
    let dir = s.dir(name);
    for part in ["www", "put", "git"] {
        s.dir(&format!("{name}/{part}"));
    }
    s.write(&format!("{name}/nginx.conf"), nginx_config(addresses));
    s.write(&format!("{name}/www/page"), noise(1000));
    s.write(&format!("{name}/www/picture"), noise(30_000));
    dir
}

/// The neighbour has one; what it serves lies in the sandbox's `site`.
fn nginx(s: &Sandbox, laptop: &Laptop) -> Served {
    let dir = site(s, "site", &[NEIGHBOUR, &format!("[{NEIGHBOUR6}]")]);
    let here = format!("{}/", dir.display());
    let served = laptop.serves(&dir, "nginx", &["-p", &here, "-c", "nginx.conf"]);
    let answers =
        || laptop.beyond(&format!("curl -s -o /dev/null http://{NEIGHBOUR}:8080/page && echo yes; true"));
    assert!(within(LIMIT, || answers() == "yes\n"), "{:?}", fs::read_to_string(dir.join("nginx.log")));
    served
}

/// A command of root's on the machine itself.
#[track_caller]
fn sh(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Runs a script on the laptop in a container that has the machine's own programs.
#[track_caller]
fn own(s: &Sandbox, laptop: &Laptop, options: &str, script: &str) -> Out {
    let line = format!("run --rm {options} {} --rootfs / sh -ec", Sandbox::over_the_host());
    let mut words = crate::harness::split(&line);
    words.push(script.to_owned());
    laptop.kelp(s, words).limit(LIMIT).exits(0)
}

/// The same in the background under the name `server`, with ports; it has a directory that everybody may write to.
#[track_caller]
fn server(s: &Sandbox, laptop: &Laptop, options: &str, script: &str) {
    let line = format!(
        "run -d --name server --tmpfs /data:mode=1777,size=500m {options} {} --rootfs / sh -ec",
        Sandbox::over_the_host()
    );
    let mut words = crate::harness::split(&line);
    words.push(script.to_owned());
    laptop.kelp(s, words).exits(0);
}

/// The host's port for one of the container's.
fn port(s: &Sandbox, private: u16) -> u16 {
    let all = s.ok(&format!("port server {private}"));
    all.lines()[0].rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn curl_moves_a_gigabyte_each_way() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("curl_moves_a_gigabyte_each_way") };
    let _nginx = nginx(&s, &laptop);
    let site = s.work().join("site");
    let made = "openssl enc -aes-128-ctr -K 0 -iv 0 -in /dev/zero 2>/dev/null | head -c 1073741824";
    let sum = sh(&format!("cd {}; {made} | tee www/big | sha256sum", site.display()));
    let part = sh(&format!("cd {}; head -c 134217728 www/big | sha256sum", site.display()));
    let script = format!(
        "curl -sS http://{NEIGHBOUR}:8080/big | sha256sum; curl -sS -T /www/big http://{NEIGHBOUR}:8080/put/big; \
         curl -sS -r 0-134217727 http://[{NEIGHBOUR6}]:8080/big | sha256sum; \
         head -c 134217728 /www/big | curl -sS -T - http://[{NEIGHBOUR6}]:8080/put/part"
    );
    let out = own(&s, &laptop, &format!("-v {}/www:/www:ro", site.display()), &script);
    out.is(&format!("{sum}{part}"));
    assert_eq!(sh(&format!("sha256sum < {}/put/big", site.display())), sum);
    assert_eq!(sh(&format!("sha256sum < {}/put/part", site.display())), part);
}

/// What h2load says when all went well.
#[track_caller]
fn all_succeeded(said: &str, requests: usize) {
    let line = format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_thousand_streams_of_http2_share_a_connection() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else {
        return needs_root("a_thousand_streams_of_http2_share_a_connection");
    };
    let _nginx = nginx(&s, &laptop);
    let load = |base: &str| {
        format!(
            "h2load -n 1000 -c 1 -m 1000 http://{base}/picture; h2load -n 10000 -c 10 -m 1000 http://{base}/page"
        )
    };
    for base in [format!("{NEIGHBOUR}:8081"), format!("[{NEIGHBOUR6}]:8081")] {
        let out = own(&s, &laptop, "", &load(&base));
        all_succeeded(&out.stdout, 1000);
        all_succeeded(&out.stdout, 10_000);
    }
    let base = serve_pages(&s, &laptop);
    let said = laptop.beyond(&load(&format!("{LAPTOP}:{}", base.1)));
    all_succeeded(&said, 1000);
    all_succeeded(&said, 10_000);
}

/// nginx in the container `server`; the host's ports of its HTTP/1 and HTTP/2.
fn serve_pages(s: &Sandbox, laptop: &Laptop) -> (u16, u16) {
    let dir = site(s, "inside", &["0.0.0.0", "[::]"]);
    let volume = format!("-v {}:/site -p 8080 -p 8081", dir.display());
    server(s, laptop, &volume, "exec nginx -p /site/ -c nginx.conf");
    let ports = (port(s, 8080), port(s, 8081));
    let answers = format!("curl -s -o /dev/null http://127.0.0.1:{}/page && echo yes; true", ports.0);
    assert!(within(LIMIT, || laptop.run(&answers) == "yes\n"), "{}", s.kelp("logs server").run().story());
    ports
}

#[test]
fn ten_thousand_short_connections() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("ten_thousand_short_connections") };
    let nginx = nginx(&s, &laptop);
    let load = |count: usize, to: &str| format!("ab -q -r -n {count} -c 50 http://{to}/page");
    let check = |said: &str, count: usize| {
        let fine = said.contains(&format!("Complete requests:      {count}\nFailed requests:        0\n"));
        assert!(fine && !said.contains("Write errors") && !said.contains("Non-2xx"), "{said}");
    };
    for (count, to) in [(10_000, format!("{NEIGHBOUR}:8080")), (2000, format!("[{NEIGHBOUR6}]:8080"))] {
        check(&own(&s, &laptop, "", &load(count, &to)).stdout, count);
    }
    drop(nginx);
    let (port, _) = serve_pages(&s, &laptop);
    check(&laptop.beyond(&load(10_000, &format!("{LAPTOP}:{port}"))), 10_000);
    check(&laptop.beyond(&load(2000, &format!("[{LAPTOP6}]:{port}"))), 2000);
    // The host's own clients, by the fast path.
    check(&laptop.run(&load(10_000, &format!("127.0.0.1:{port}"))), 10_000);
}

#[test]
fn git_clones_over_http() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("git_clones_over_http") };
    let _nginx = nginx(&s, &laptop);
    let site = s.work().join("site");
    let _git = laptop.serves(&site, "fcgiwrap", &["-s", &format!("unix:{}/git.sock", site.display())]);
    let head = sh(&format!(
        "cd {}/git; export HOME=$PWD; git config --global user.email a@b; git config --global user.name a; \
         git config --global safe.directory '*'; git init -q -b main src; cd src; cp ../../www/picture .; \
         openssl enc -aes-128-ctr -K 0 -iv 1 -in /dev/zero 2>/dev/null | head -c 20000000 > large; \
         mkdir d; for i in $(seq 1000); do echo $i > d/$i; done; git add -A; git commit -qm one; \
         for i in $(seq 20); do echo $i >> picture; git commit -qam $i; done; \
         git rev-parse HEAD; git clone -q --bare . ../repo.git",
        site.display()
    ));
    for (at, base) in [("four", NEIGHBOUR.to_owned()), ("six", format!("[{NEIGHBOUR6}]"))] {
        let script = format!(
            "cd /data; git clone -q http://{base}:8080/git/repo.git {at}; cd {at}; git fsck --full 2>/dev/null; \
             git rev-parse HEAD; git status --short; cmp d/1000 - <<X\n1000\nX"
        );
        own(&s, &laptop, "--tmpfs /data -e HOME=/data", &script).is(&head);
    }
}

/// A package with one file, which may need another package.
fn package(s: &Sandbox, name: &str, needs: &str, content: &[u8]) -> String {
    let root = format!("packages/{name}");
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a test\n{needs}"
    );
    s.write(&format!("{root}/DEBIAN/control"), control);
    s.write(&format!("{root}/usr/share/{name}"), content);
    let deb = s.work().join(format!("site/www/debian/{name}.deb"));
    let work = s.work();
    sh(&format!(
        "dpkg-deb --root-owner-group -Zgzip -b {}/{root} {} >/dev/null",
        work.display(),
        deb.display()
    ));
    let bytes = fs::read(&deb).unwrap();
    let about = sh(&format!("dpkg-deb -f {}", deb.display()));
    format!("{about}Filename: ./{name}.deb\nSize: {}\nSHA256: {}\n\n", bytes.len(), sha256(&bytes))
}

#[test]
fn apt_updates_and_installs_from_a_mirror() {
    let s = Sandbox::new().debian(Release::Bookworm);
    let Some(laptop) = Laptop::new(&s) else { return needs_root("apt_updates_and_installs_from_a_mirror") };
    let _nginx = nginx(&s, &laptop);
    s.dir("site/www/debian");
    let content = noise(8_000_000);
    let list =
        package(&s, "kelp-leaf", "Depends: kelp-root\n", b"leaf") + &package(&s, "kelp-root", "", &content);
    s.write("site/www/debian/Packages", &list);
    let release = format!("Suite: stable\nSHA256:\n {} {} Packages\n", sha256(list.as_bytes()), list.len());
    s.write("site/www/debian/Release", release);
    for base in [NEIGHBOUR.to_owned(), format!("[{NEIGHBOUR6}]")] {
        let script = format!(
            "rm -rf /etc/apt/sources.list*; echo 'deb [trusted=yes] http://{base}:8080/debian ./' > /etc/apt/sources.list; \
             apt-get update -q && apt-get install -q -y kelp-leaf && cat /usr/share/kelp-leaf && sha256sum < /usr/share/kelp-root"
        );
        let out = laptop.kelp(&s, ["run", "--rm", "debian", "sh", "-ec", &script]).limit(LIMIT).exits(0);
        out.has("Setting up kelp-leaf (1.0)").has("\nleaf").has(&sha256(&content)).lacks("Err:");
    }
}

#[test]
fn databases_behind_published_ports() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("databases_behind_published_ports") };
    let script = "cd /data; PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH; initdb -D pg -U kelp -A trust -N >/dev/null; \
         echo 'host all all all trust' >> pg/pg_hba.conf; redis-server --bind '*' '-::*' --protected-mode no --daemonize yes; \
         exec postgres -D /data/pg -h '*' -k /data -c fsync=off";
    server(&s, &laptop, "-u nobody -p 5432 -p 6379", script);
    let (pg, redis) = (port(&s, 5432), port(&s, 6379));
    let psql = |host: &str, sql: &str| {
        format!(
            "$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/psql -h {host} -p {pg} -U kelp -d postgres -AtqX -c \"{sql}\""
        )
    };
    let up = format!("{} 2>/dev/null || true", psql("127.0.0.1", "select 1"));
    assert!(within(LIMIT, || laptop.run(&up) == "1\n"), "{}", s.kelp("logs server").run().story());

    laptop.beyond(&psql(
        LAPTOP,
        "create table t as select n, repeat(md5(n::text), 20) as text from generate_series(1, 50000) n",
    ));
    // 32 MB out and in again; the client is who it is, and the host the gateway.
    laptop.beyond(&format!(
        "{} | {}",
        psql(LAPTOP, "copy t to stdout"),
        psql(LAPTOP6, "create table u (like t); copy u from stdin")
    ));
    let same = "select count(*) from t join u using (n, text)";
    assert_eq!(laptop.beyond(&psql(LAPTOP, same)), "50000\n");
    let who = "select host(inet_client_addr())";
    assert_eq!(laptop.beyond(&psql(LAPTOP, who)), format!("{NEIGHBOUR}\n"));
    assert_eq!(laptop.beyond(&psql(LAPTOP6, who)), format!("{NEIGHBOUR6}\n"));
    let gateway = s.field("server", ".NetworkSettings.Gateway");
    assert_eq!(laptop.run(&psql("127.0.0.1", who)), format!("{gateway}\n"));

    for (at, hosts) in [(true, ["127.0.0.1", "::1"]), (false, [LAPTOP, LAPTOP6])] {
        let go = |script: &str| if at { laptop.run(script) } else { laptop.beyond(script) };
        for host in hosts {
            let redis_cli = format!("redis-cli -h {host} -p {redis}");
            assert_eq!(go(&format!("{redis_cli} set k {host}; {redis_cli} get k")), format!("OK\n{host}\n"));
        }
        let said =
            go(&format!("redis-benchmark -h {} -p {redis} -n 20000 -c 50 -P 4 -t set,get -q 2>&1", hosts[0]));
        assert!(said.matches("requests per second").count() >= 2 && !said.contains("rror"), "{said}");
    }
}

#[test]
fn pings_and_traces_find_their_way() {
    let s = Sandbox::new();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("pings_and_traces_find_their_way") };
    let _nginx = nginx(&s, &laptop);
    for (six, to, gateway) in [("-4", NEIGHBOUR, "10.0.2.2"), ("-6", NEIGHBOUR6, "fd00::2")] {
        let ping =
            format!("ping {six} -n -c 3 -i 0.2 -W 5 {to}; ping {six} -n -c 2 -i 0.2 -s 4000 -W 5 {to}");
        let out = own(&s, &laptop, "", &ping);
        out.has("3 received, 0% packet loss").has("2 received, 0% packet loss");
        for method in ["", "-I", "-T -p 8080"] {
            let out = own(&s, &laptop, "", &format!("traceroute {six} -n -q 1 -w 3 -m 5 {method} {to}"));
            let hops: Vec<_> =
                out.lines()[1..].iter().map(|l| l.split_whitespace().nth(1).unwrap().to_owned()).collect();
            assert_eq!(hops, [gateway, to], "{method}: {}", out.story());
        }
        own(&s, &laptop, "", &format!("tracepath {six} -n -m 5 {to}")).has(&format!("{to} ")).has("reached");
    }
}

/// Sends queries for names that nobody knows, from ever other ports, as fast as it can, for so many seconds.
const FLOOD: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    static unsigned char q[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\10AAAAAAAA\7example\3com\0\0\1\0\1";
    struct sockaddr_in at = {AF_INET, htons(53)};
    inet_pton(AF_INET, "10.0.2.3", &at.sin_addr);
    time_t end = time(NULL) + atoi(argv[1]);
    unsigned long sent = 0;
    while (time(NULL) < end) {
        int s = socket(AF_INET, SOCK_DGRAM, 0);
        for (int i = 0; i < 50; i++, sent++) {
            for (int k = 0; k < 8; k++) q[13 + k] = 'a' + (sent >> (3 * k)) % 8;
            sendto(s, q, sizeof q - 1, 0, (void *)&at, sizeof at);
        }
        close(s);
    }
    printf("%lu\n", sent);
}
"#;

/// T-netdos: a container that floods the resolver stops neither other traffic nor the names that are known here, and
/// takes no more memory for it. A connection that was idle meanwhile goes on.
#[test]
fn a_flood_of_queries_stops_nothing_else() {
    let s = Sandbox::new().busybox();
    let Some(laptop) = Laptop::new(&s) else { return needs_root("a_flood_of_queries_stops_nothing_else") };
    let _nginx = nginx(&s, &laptop);
    // Name servers that say nothing are the worst.
    let silent = laptop.on(|| std::net::UdpSocket::bind("127.0.0.53:53").unwrap());
    laptop.set_resolv_conf("nameserver 127.0.0.53\n");
    s.write("flood.c", FLOOD);
    s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "flood", "flood.c"]).exits(0);
    let volume = format!("{}:/flood:ro", s.work().join("flood").display());
    laptop.kelp(&s, ["run", "-d", "--name", "server", "-v", &volume, "busybox", "sleep", "1000"]).exits(0);
    let resident = || {
        let all = s.processes();
        let net = all.iter().find(|p| p.line.contains("(kelp-net,")).unwrap_or_else(|| panic!("{all:#?}"));
        let field = crate::harness::status_field(net.pid, "VmRSS").unwrap();
        field.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    let get =
        "echo -e 'GET /picture HTTP/1.0\\r\\n\\r' | nc -w 20 198.51.100.1 8080 | tail -c 30000 | sha256sum";
    let fetch = || s.ok(["exec", "server", "sh", "-c", get]).text().to_owned();
    let before = (fetch(), resident());
    assert_eq!(before.0, format!("{}  -", sha256(&noise(30_000))));
    let idle =
        "(sleep 9; echo -e 'GET /page HTTP/1.0\\r\\n\\r') | nc 198.51.100.1 8080 | tail -c 1000 | sha256sum";
    let idle = s.kelp(["exec", "server", "sh", "-c", idle]).spawn(false);
    let floods: Vec<_> = (0..2).map(|_| s.kelp("exec server /flood 5").spawn(false)).collect();
    std::thread::sleep(Duration::from_secs(1));
    let mut most = 0;
    for _ in 0..5 {
        assert_eq!(fetch(), before.0);
        most = most.max(resident());
    }
    let sent: u64 =
        floods.into_iter().map(|f| f.finish(LIMIT).expect_code(0).text().parse::<u64>().unwrap()).sum();
    most = most.max(resident());
    assert!(sent > 20_000, "{sent} queries are no flood");
    assert!(most < before.1 + (32 << 10), "{} KiB became {most}", before.1);
    s.ok(["exec", "server", "nslookup", "host.docker.internal", "10.0.2.3"]).has("10.0.2.2");
    idle.finish(LIMIT).expect_code(0).is(&format!("{}  -", sha256(&noise(1000))));
    drop(silent);
    // Whoever asks is answered again.
    let (udp, tcp) = laptop.on(|| crate::harness::talk::name_sockets("127.0.0.53".parse().unwrap()));
    crate::harness::talk::NameServer::start(udp, tcp, Some([192, 0, 2, 7].into()), false);
    let looked = || s.kelp("exec server nslookup -type=a www.example.com").run().stdout.contains("192.0.2.7");
    assert!(within(LIMIT, looked));
}
