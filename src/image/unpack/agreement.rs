//! T-taragree: what this reader accepts, GNU tar, libarchive and Python's tarfile understand the same way.
//!
//! Archives are mutated (seeded) and read by all. Refusing is always right; accepting is only right where every other
//! reader that accepts the archive too finds the same entries with the same content: otherwise what one tool checked
//! is not what another unpacks. `KELP_TAR_MUTATIONS` sets how many are tried, `KELP_TAR_SEED` which.

use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::tests::Archive;
use super::{Entry, Error, Kind, Reader};

const MUTATIONS: usize = 2000;
/// Bytes of a file that is compared.
const LARGEST: u64 = 1 << 24;

/// What a reader makes of an archive; `None` when it refuses it.
type Reading = Option<Vec<Found>>;

/// One entry as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: Vec<u8>,
    /// `f d l h p c`.
    kind: char,
    link: Vec<u8>,
    /// Of what a file holds, holes filled.
    content: Vec<u8>,
}

struct Random(u64);

impl Random {
    /// Knuth's MMIX generator: repeatable, and good enough to choose bytes.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

fn number(name: &str, default: usize) -> usize {
    #[allow(clippy::disallowed_methods, reason = "a knob of this test, not of kelp")]
    let set = std::env::var(name);
    set.ok().map_or(default, |text| text.parse().unwrap())
}

/// Whole archives in every format that writers use.
fn bases() -> Vec<Vec<u8>> {
    let gnu = Archive::default()
        .dir("d/")
        .file("d/f", b"content")
        .pax(&[("path", b"d/pax name"), ("mtime", b"1.5")])
        .file("short", &[b'x'; 700])
        .symlink("d/l", "f")
        .file(&["long"; 30].join("/"), b"")
        .hard_link("h", "d/f");
    let pax = Archive::default()
        .pax(&[("size", b"1030"), ("uid", b"0"), ("SCHILY.xattr.user.x", b"y")])
        .file("sized", &[b'y'; 1030])
        .pax(&[("linkpath", b"far away")])
        .symlink("l", "near")
        .entry(EntryType::Fifo, b"fifo", b"", b"")
        .file("last", b"!");
    let mut bases: Vec<Vec<u8>> = [gnu.0, pax.0].into_iter().map(closed).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("s")).unwrap();
    file.set_len(20_000).unwrap();
    rustix::io::pwrite(&file, b"island", 10_000).unwrap();
    drop(file);
    std::fs::File::create(dir.path().join("z")).unwrap().write_all(b"after").unwrap();
    for options in [
        &["--format=gnu", "--sparse"][..],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=ustar"],
        &["--format=v7"],
    ] {
        let mut tar = Command::new("tar");
        tar.args(["-c", "--numeric-owner", "--owner=0", "--group=0", "-b", "1"]).args(options).arg("-C");
        let out = tar.arg(dir.path()).args(["z", "s"]).output().unwrap();
        assert!(out.status.success(), "{options:?}: {}", String::from_utf8_lossy(&out.stderr));
        bases.push(out.stdout);
    }
    bases
}

fn closed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A few changes to one archive, checksums made right again, so that the damage is judged and not only noticed.
fn mutate(base: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..1 + random.below(3) {
        let blocks = bytes.len() / 512;
        let at = random.below(blocks) * 512;
        match random.below(10) {
            0 => drop(bytes.drain(at..at + 512)),
            1 => {
                let copy = bytes[at..at + 512].to_vec();
                let to = random.below(blocks) * 512;
                bytes.splice(to..to, copy);
            }
            2 => bytes[at..at + 512].fill(0),
            3 => number_field(&mut bytes[at..at + 512], random),
            4 => bytes[at + 156] = b"01234567LKSxgDMNVX\0"[random.below(19)],
            5 => {
                // Within a pax record: digits and separators make the meaning.
                let byte = at + random.below(512);
                bytes[byte] = b"0123456789= \n"[random.below(13)];
            }
            _ => {
                let byte = at + random.below(512);
                bytes[byte] = u8::try_from(random.below(256)).unwrap();
            }
        }
    }
    for block in bytes.chunks_exact_mut(512).filter(|block| looks_like_header(block)) {
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    bytes
}

fn looks_like_header(block: &[u8]) -> bool {
    block[257..262] == *b"ustar" || block[100..107].iter().all(u8::is_ascii_digit) && block[107] == 0
}

/// Size, uid or mode in another notation, or another number.
fn number_field(block: &mut [u8], random: &mut Random) {
    let (at, length) = [(124, 12), (108, 8), (100, 8), (136, 12)][random.below(4)];
    let value = [0u64, 1, 511, 512, 513, 1024, 7 << 30, u64::MAX][random.below(8)];
    let text = match random.below(4) {
        0 => format!("{value:0w$o}\0", w = length - 1),
        1 => format!("{value:o} "),
        2 => format!("  {value:o}\0"),
        _ => format!("-{value:o}\0"),
    };
    let bytes = &text.as_bytes()[text.len().saturating_sub(length)..];
    block[at..at + length].fill(0);
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn ours(bytes: &[u8]) -> Reading {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut found = Vec::new();
    let read = || -> Result<(), Error> {
        while let Some(entry) = reader.next_entry()? {
            let content = content(&entry, &mut reader)?;
            let kind = match entry.kind {
                Kind::File => 'f',
                Kind::Directory => 'd',
                Kind::Symlink => 'l',
                Kind::HardLink => 'h',
                Kind::Fifo => 'p',
                Kind::Device => 'c',
            };
            found.push(Found { name: trimmed(&entry.name), kind, link: entry.link, content });
        }
        Ok(())
    };
    let mut read = read;
    read().ok().map(|()| found)
}

fn content(entry: &Entry, reader: &mut Reader<Cursor<&[u8]>>) -> Result<Vec<u8>, Error> {
    let mut stored = Vec::new();
    loop {
        let piece = reader.content()?;
        if piece.is_empty() {
            break;
        }
        let length = piece.len();
        stored.extend_from_slice(piece);
        reader.consume(length);
    }
    let Some(map) = &entry.sparse else { return Ok(stored) };
    if map.real_size > LARGEST {
        return Err(Error::Malformed("too large to compare".into()));
    }
    let mut whole = vec![0; usize::try_from(map.real_size).unwrap()];
    let mut from = 0;
    for extent in &map.extents {
        let (at, length) = (usize::try_from(extent.offset).unwrap(), usize::try_from(extent.length).unwrap());
        whole[at..at + length].copy_from_slice(&stored[from..from + length]);
        from += length;
    }
    Ok(whole)
}

fn trimmed(name: &[u8]) -> Vec<u8> {
    let end = name.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    name[..end].to_vec()
}

/// Reads archives one after the other, each preceded by its length in eight bytes; answers with a line for each.
const PYTHON: &str = r#"
import hashlib, io, json, sys, tarfile
def kind(m):
    for test, letter in ((m.isreg, "f"), (m.isdir, "d"), (m.issym, "l"), (m.islnk, "h"), (m.isfifo, "p"), (m.isdev, "c")):
        if test(): return letter
    return "?"
def name(text): return text.encode("utf-8", "surrogateescape").hex()
while True:
    length = sys.stdin.buffer.read(8)
    if not length: break
    data = sys.stdin.buffer.read(int.from_bytes(length, "little"))
    try:
        found = []
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for m in tar:
                if m.isreg() and m.size > 1 << 24: raise ValueError
                content = tar.extractfile(m).read() if m.isreg() else b""
                link = name(m.linkname) if m.issym() or m.islnk() else ""
                found.append([name(m.name.rstrip("/")), kind(m), link, hashlib.sha256(content).hexdigest()])
        print(json.dumps(found))
    except Exception:
        print("null")
"#;

/// What Python says of each archive: name, kind, link and digest of the content.
fn python(archives: &[Vec<u8>]) -> Vec<Option<Vec<[String; 4]>>> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-I", "-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("python3: {e}: run tests/setup as root first"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for archive in archives {
                stdin.write_all(&(archive.len() as u64).to_le_bytes()).unwrap();
                stdin.write_all(archive).unwrap();
            }
        });
        child.wait_with_output().unwrap()
    });
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Old GNU headers have times where ustar has the beginning of a long name; Python takes them for one.
fn has_times_of_old_gnu(bytes: &[u8]) -> bool {
    bytes.chunks_exact(512).any(|block| block[257..265] == *b"ustar  \0" && block[345..369] != [0; 24])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Names and the content of all files together, as a program extracts them to its standard output. `None` when it
/// refuses the archive.
fn extracted(program: &str, path: &Path) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").args(["-x", "-v", "-O", "-P"]);
    if program == "tar" {
        command.args(["--quoting-style=literal", "--show-stored-names"]);
    }
    let mut child = command
        .arg("-f")
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e}: run tests/setup as root first"));
    // Gigabytes of holes are cut off: what is accepted here is smaller.
    let mut content = Vec::new();
    child.stdout.take().unwrap().take(LARGEST * 2).read_to_end(&mut content).unwrap();
    let out = child.wait_with_output().unwrap();
    if !out.status.success() && content.len() as u64 <= LARGEST {
        return None;
    }
    // Warnings stand between the names.
    let is_name = |line: &&[u8]| !line.is_empty() && !line.starts_with(format!("{program}: ").as_bytes());
    let lines = out.stderr.split(|&b| b == b'\n').filter(is_name);
    let names = lines.map(|line| trimmed(line.strip_prefix(b"x ").unwrap_or(line)));
    Some((names.filter(|n| !n.is_empty()).collect(), content))
}

/// Whether what a program extracted to a stream is the content of all files. GNU tar leaves a hole at the end of a
/// file out of a stream.
fn is_content(found: &[Found], theirs: &[u8]) -> bool {
    let mine: Vec<&[u8]> = found.iter().map(|f| f.content.as_slice()).collect();
    let whole = mine.concat();
    let Some(missing) = whole.len().checked_sub(theirs.len()) else { return false };
    whole == theirs
        || (0..mine.len()).any(|at| {
            let Some((kept, hole)) =
                mine[at].len().checked_sub(missing).map(|length| mine[at].split_at(length))
            else {
                return false;
            };
            let cut = [mine[..at].concat().as_slice(), kept, mine[at + 1..].concat().as_slice()].concat();
            found[at].kind == 'f' && hole.iter().all(|&b| b == 0) && cut == theirs
        })
}

/// Whether a program prints the names as they are.
fn is_printable(found: &[Found]) -> bool {
    found.iter().all(|f| f.name.iter().all(|b| b.is_ascii_graphic() && *b != b'\\' || *b == b' '))
}

#[test]
fn what_is_accepted_others_understand_the_same_way() {
    let mut random = Random(number("KELP_TAR_SEED", 42) as u64);
    let bases = bases();
    for base in &bases {
        assert!(ours(base).is_some_and(|found| found.len() >= 2), "every base is a good archive");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let (mut accepted, mut compared) = (0, 0);
    let mut disagreements = Vec::new();
    let total = number("KELP_TAR_MUTATIONS", MUTATIONS);
    let mut tried = 0;
    while tried < total {
        let count = 500.min(total - tried);
        tried += count;
        let mutated = (0..count).map(|_| {
            let base = random.below(bases.len());
            mutate(&bases[base], &mut random)
        });
        let (archives, readings): (Vec<_>, Vec<_>) =
            mutated.filter_map(|bytes| ours(&bytes).map(|found| (bytes, found))).unzip();
        accepted += archives.len();
        let answers = python(&archives);
        for ((bytes, found), answer) in archives.iter().zip(&readings).zip(answers) {
            std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
            let mut disagree = |who: &str, what: String| {
                let kept = format!("kelp-disagreement-{}-{who}.tar", disagreements.len());
                let kept = std::env::temp_dir().join(kept);
                std::fs::copy(&path, &kept).unwrap();
                disagreements.push(format!("{who}, {}: {what}", kept.display()));
            };
            // It ends silently at what it does not understand: then it has seen the beginning only.
            if let Some(theirs) = answer.filter(|_| !has_times_of_old_gnu(bytes)) {
                compared += 1;
                let mine: Vec<[String; 4]> = found
                    .iter()
                    .map(|f| {
                        [hex(&f.name), f.kind.to_string(), hex(&f.link), hex(&Sha256::digest(&f.content))]
                    })
                    .collect();
                if !mine.starts_with(&theirs) {
                    disagree("Python", format!("\n{mine:?}\n{theirs:?}"));
                }
            }
            if !is_printable(found) {
                continue;
            }
            let names: Vec<_> = found.iter().map(|f| f.name.clone()).filter(|n| !n.is_empty()).collect();
            for program in ["tar", "bsdtar"] {
                if let Some((their_names, their_content)) = extracted(program, &path) {
                    compared += 1;
                    if names != their_names {
                        disagree(program, format!("\n{names:?}\n{their_names:?}"));
                    } else if !is_content(found, &their_content) {
                        disagree(program, "other content".into());
                    }
                }
            }
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    assert!(accepted * 20 > total, "{accepted} of {total} were still readable");
    assert!(compared > accepted, "{compared} comparisons of {accepted}");
}
