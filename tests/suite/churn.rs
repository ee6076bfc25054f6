//! Names among a hundred containers, of which some come, go, and are renamed all the time: whoever lives is found.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Sandbox;

const CONTAINERS: usize = 100;
/// Those that change; the others stay, and are asked for without a pause.
const RESTLESS: usize = 20;
/// Commands that change names at a time.
const HANDS: usize = 4;
const CHURN: Duration = Duration::from_secs(20);

/// Asks for each name of its arguments by UDP and TCP, round and round, until it is told to end; in between for those
/// that come over a socket, and answers whether they are known. Prints how often it asked, and what was not known.
const CLIENT: &str = r#"
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
static struct sockaddr_in at = {AF_INET};
static int query(unsigned char *m, const char *name) {
    static unsigned short id;
    int n = 12;
    memset(m, 0, 12);
    id++; m[0] = id >> 8; m[1] = id; m[2] = 1; m[5] = 1;
    m[n++] = strlen(name); memcpy(m + n, name, strlen(name)); n += strlen(name);
    memcpy(m + n, "\0\0\1\0\1", 5);
    return n + 5;
}
/* 0: one answer. */
static int ask(const char *name, int tcp) {
    unsigned char q[512], m[4096];
    int n = query(q + 2, name), s = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0), r, have = 0;
    struct timeval limit = {5, 0};
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(s, (void *)&at, sizeof at)) { perror("connect"); close(s); return 1; }
    q[0] = n >> 8; q[1] = n;
    if (write(s, tcp ? q : q + 2, tcp ? n + 2 : n) < 0) { perror("write"); close(s); return 1; }
    while ((r = read(s, m + have, sizeof m - have)) > 0) {
        have += r;
        if (!tcp || (have > 2 && have >= 2 + m[0] * 256 + m[1])) break;
    }
    close(s);
    unsigned char *a = tcp ? m + 2 : m;
    if (have < 12) { printf("%s %s: nothing\n", name, tcp ? "tcp" : "udp"); return 1; }
    if ((a[3] & 15) || a[7] != 1) { printf("%s %s: code %d, %d answers\n", name, tcp ? "tcp" : "udp", a[3] & 15, a[7]); return 1; }
    return 0;
}
int main(int argc, char **argv) {
    struct sockaddr_un own = {AF_UNIX, "/ask/sock"}, peer;
    int in = socket(AF_UNIX, SOCK_DGRAM, 0);
    long asked = 0, lost = 0;
    at.sin_port = htons(53);
    inet_pton(AF_INET, argv[1], &at.sin_addr);
    if (bind(in, (void *)&own, sizeof own)) { perror("bind"); return 1; }
    chmod("/ask/sock", 0666);
    for (int i = 2;; i = i + 1 < argc ? i + 1 : 2) {
        struct pollfd p = {in, POLLIN};
        while (poll(&p, 1, 0) > 0) {
            char name[128];
            socklen_t length = sizeof peer;
            int n = recvfrom(in, name, sizeof name - 1, 0, (void *)&peer, &length);
            if (n <= 0) { printf("asked %ld lost %ld\n", asked, lost); fflush(stdout); return lost != 0; }
            name[n] = 0;
            char bad = ask(name, 0) + ask(name, 1);
            asked += 2; lost += bad;
            /* Its path is the host's. */
            char back[100], *base = strrchr(peer.sun_path, '/');
            snprintf(back, sizeof back, "/ask%s", base ? base : "");
            strcpy(peer.sun_path, back);
            sendto(in, &bad, 1, 0, (void *)&peer, sizeof peer);
        }
        lost += ask(argv[i], 0) + ask(argv[i], 1);
        asked += 2;
    }
}
"#;

fn compile(s: &Sandbox) {
    s.write("client.c", CLIENT);
    s.program_call("gcc").args(["-static", "-O1", "-w", "-o", "client", "client.c"]).exits(0);
}

/// In the host's view, through the bind mount.
struct Asker(UnixDatagram, std::path::PathBuf);

impl Asker {
    fn new(s: &Sandbox, number: usize) -> Self {
        let own = s.work().join(format!("ask/own{number}"));
        let socket = UnixDatagram::bind(&own).unwrap();
        std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket, s.work().join("ask/sock"))
    }

    /// Nothing is lost meanwhile.
    fn knows(&self, name: &str) -> bool {
        self.0.send_to(name.as_bytes(), &self.1).unwrap();
        let mut bad = [9];
        self.0.recv(&mut bad).unwrap();
        bad == [0]
    }
}

/// One of the restless: each step ends with a name that lives, which must be known.
fn turn(s: &Sandbox, asker: &Asker, n: usize, step: usize) -> usize {
    let (plain, other) = (format!("c{n}"), format!("x{n}"));
    let (commands, name): (Vec<String>, &str) = match step % 3 {
        0 => (
            vec![format!("network disconnect crowd {plain}"), format!("network connect crowd {plain}")],
            &plain,
        ),
        1 => (vec![format!("rename {plain} {other}"), format!("rename {other} {plain}")], &plain),
        _ => (vec![format!("stop -t 0 {plain}"), format!("start {plain}")], &plain),
    };
    for (at, command) in commands.iter().enumerate() {
        s.ok(command);
        if step % 3 == 1 && at == 0 {
            assert!(asker.knows(&other), "{other} is not known after {command}");
        }
    }
    assert!(asker.knows(name), "{name} is not known after {commands:?}");
    commands.len()
}

#[test]
fn a_live_name_is_always_known() {
    let s = Sandbox::new().busybox();
    s.ok("network create --subnet 10.223.0.0/24 crowd");
    compile(&s);
    let ask = s.dir("ask");
    std::fs::set_permissions(&ask, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                while let n @ 0..CONTAINERS = next.fetch_add(1, Ordering::Relaxed) {
                    s.ok(&format!("run -d --name c{n} --network crowd busybox sleep 600"));
                }
            });
        }
    });
    let started = begun.elapsed();
    let stable: Vec<String> = (RESTLESS..CONTAINERS).map(|n| format!("c{n}")).collect();
    let work = s.work();
    let words = format!(
        "run --name client --network crowd -v {0}/client:/client:ro -v {0}/ask:/ask busybox /client 10.223.0.1 {1}",
        work.display(),
        stable.join(" ")
    );
    let client = s.kelp(&words).limit(Duration::from_secs(300)).spawn(false);
    assert!(crate::harness::within(Duration::from_secs(20), || ask.join("sock").exists()));
    let (ended, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let (s, ended, changes) = (&s, &ended, &changes);
            scope.spawn(move || {
                let asker = Asker::new(s, hand);
                let own: Vec<usize> = (0..RESTLESS).filter(|n| n % HANDS == hand).collect();
                let mut step = hand;
                while !ended.load(Ordering::Relaxed) {
                    let n = own[step / 3 % own.len()];
                    changes.fetch_add(turn(s, &asker, n, step), Ordering::Relaxed);
                    step += 1;
                }
            });
        }
        std::thread::sleep(CHURN);
        ended.store(true, Ordering::Relaxed);
    });
    let rate = changes.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    UnixDatagram::unbound().unwrap().send_to(b"", ask.join("sock")).unwrap();
    let out = client.finish(Duration::from_secs(30));
    eprintln!("{CONTAINERS} containers in {started:.1?}, {rate:.0} changes a second: {}", out.text());
    assert!(out.text().contains(" lost 0") && out.lines().len() == 1, "{}", out.story());
    let all: Vec<String> = (0..CONTAINERS).map(|n| format!("c{n}")).collect();
    s.kelp("rm -f client").args(all).limit(Duration::from_secs(120)).exits(0);
}
