//! What the bench of the union file system measures, and the material for it.
//!
//! A row is a shell script in the fresh tree. Rows that have a directory of their own prepare it unmeasured, so that
//! each is itself whatever came before.

/// What is measured.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// Done before, and not counted.
    pub before: &'static str,
    pub script: &'static str,
}

const fn row(name: &'static str, script: &'static str) -> Row {
    Row { name, before: "", script }
}

const fn after(before: &'static str, name: &'static str, script: &'static str) -> Row {
    Row { name, before, script }
}

/// In this order: a mount begins cold.
pub const ROWS: &[Row] = &[
    row("find, cold", "find usr -printf %s"),
    row("find, second", "find usr -printf %s"),
    row("find, third", "find usr -printf %s"),
    row("grep -r, cold", "grep -r nothing usr/share || true"),
    row("grep -r, warm", "grep -r nothing usr/share || true"),
    row("tar through a pipe", "tar -cf - usr | cat"),
    row("untar of 6,000", "tar -xf ../tree.tar"),
    row("chmod -R", "chmod -R g+w usr/share"),
    row("rm -r", "rm -r tree"),
    row("2,000 small files", "mkdir s; cd s; i=0; while [ $i -lt 2000 ]; do echo $i > $i; i=$((i+1)); done"),
    row("write 512 MB", "dd if=/dev/zero of=big bs=1M count=512"),
    row("read 512 MB", "dd if=big of=/dev/null bs=1M"),
    row("write by 4 KB", "dd if=/dev/zero of=big2 bs=4k count=25000"),
    row("rewrite 4 KB at random", RANDOM_WRITES),
    // Of what lies below, and of a mount that has it in no cache of its own.
    row("mmap, at random, cold", RANDOM_READS),
    row("mmap, at random, warm", RANDOM_READS),
    row("git status, cold", "git -C checkout status --porcelain"),
    row("git status, warm", "git -C checkout status --porcelain"),
    row(
        "git status, all new",
        "find checkout -name '*.txt' -exec touch {} +; git -C checkout status --porcelain",
    ),
    after("mkdir -p debs; cp ../debs/*.deb debs", "apt-get install", APT),
    after(
        "cp -r ../crate .",
        "cargo build",
        "cd crate; PATH=$PWD/../../toolchain/bin:$PATH CARGO_HOME=$PWD/home cargo build --offline",
    ),
    row(
        "8 at once",
        "for n in 1 2 3 4 5 6 7 8; do (mkdir p$n; cp -r etc p$n; find p$n; rm -r p$n) & done; wait",
    ),
];

const RANDOM_READS: &str = "python3 -c \"import mmap,random; random.seed(1); f=open('random.bin','rb'); \
    m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ); m.madvise(mmap.MADV_RANDOM); \
    print(sum(m[random.randrange(len(m))] for _ in range(20000)))\"";
const RANDOM_WRITES: &str = "python3 -c \"import os,random; random.seed(2); f=os.open('big2',os.O_WRONLY); \
    [os.pwrite(f,bytes(4096),random.randrange(25000)*4096) for _ in range(20000)]; os.close(f)\"";
/// In the tree as its root: what a container does. Nobody's user is there to drop privileges to.
const APT: &str = "chroot . sh -ec 'export DEBIAN_FRONTEND=noninteractive; \
    apt-get -o APT::Sandbox::User=root -o Dir::Etc::sourcelist=/dev/null install -q -y --no-install-recommends \
    /debs/*.deb'";

/// Made once, below what is mounted: a checkout of 10,000 files and a file to read at random. Beside it: an archive of
/// 6,000 objects, some packages that need no others, and a crate that has a few modules.
pub const MATERIAL: &[&str] = &[
    "mkdir lower; tar -C lower --exclude=./dev -xf root.tar; mkdir lower/dev; : > lower/dev/null; chmod 666 lower/dev/null",
    "head -c 128M /dev/urandom > lower/random.bin",
    "mkdir lower/checkout; cd lower/checkout; git init -q -b main .; for d in $(seq 100); do mkdir d$d; for f in $(seq 100); do \
     echo $d $f > d$d/f$f.txt; done; done; git add .; git -c user.name=a -c user.email=a commit -qm all",
    "mkdir -p src/tree; cd src/tree; for d in $(seq 60); do mkdir $d; for f in $(seq 90); do \
     head -c $((f*37)) /dev/zero > $d/f$f; done; for l in 1 2 3 4 5 6 7 8 9; do ln -s f1 $d/l$l; done; done; \
     cd ..; tar -cf ../tree.tar tree; rm -r tree",
    "mkdir debs; cd debs; tar -xf ../packages.tar --wildcards 'bc_*' 'ed_*' 'tree_*' 'unzip_*' 'libreadline8_*' \
     'readline-common_*' 'zip_*' 'patch_*' 'libbz2*' 'bzip2_*' 2>/dev/null || test -n \"$(ls)\"",
    "mkdir -p crate/src; cd crate; printf '[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n' > Cargo.toml; \
     for n in $(seq 40); do printf 'pub fn f%s(x: u64) -> String { (0..x).map(|n| format!(\"{n}\")).collect() }\n' $n \
     > src/m$n.rs; echo \"pub mod m$n;\"; done > src/lib.rs; echo 'fn main() { println!(\"{}\", small::m1::f1(3)) }' > src/main.rs",
];
