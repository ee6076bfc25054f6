//! Names of entries: which place in the layer they mean, and which of them mean a whiteout.

use super::error::{Error, printable};

/// The longest name or link target, in bytes.
pub(super) const MAX_NAME: usize = 4095;
const WHITEOUT: &[u8] = b".wh.";
/// What aufs kept for itself.
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a name asks for. Paths are components joined by `/`, without `.`, `..` or empty ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The layer's own directory.
    Root,
    Entry(Place),
    /// `.wh.x`: the lower layers' `x` is gone.
    Whiteout(Place),
    /// `.wh..wh..opq`: of the directory, the lower layers show nothing.
    Opaque(Vec<u8>),
    /// Another program's bookkeeping.
    Ignored,
}

/// A directory (empty for the root) and a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub parent: Vec<u8>,
    pub name: Vec<u8>,
}

impl Place {
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            return self.name.clone();
        }
        [self.parent.as_slice(), &self.name].join(&b'/')
    }
}

/// Normalises a name. Leading slashes go, as with GNU tar: a name is one in the layer either way, and ko writes such names
/// into images that people run (`/ko-app/…`, `/var/run/ko/…`). `..` is refused, because what it means depends on what was
/// unpacked before.
fn components(name: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let refused = |reason: &str| Error::Refused { entry: printable(name), reason: reason.into() };
    if name.len() > MAX_NAME {
        return Err(refused("its name is too long"));
    }
    if name.contains(&0) {
        return Err(refused("its name contains a NUL byte"));
    }
    let parts: Vec<&[u8]> =
        name.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(refused("its name contains `..`"));
    }
    if parts.iter().any(|part| part.len() > 255) {
        return Err(refused("a part of its name is longer than 255 bytes"));
    }
    Ok(parts)
}

/// The place that `name` means, `None` for the root.
pub(super) fn place(name: &[u8]) -> Result<Option<Place>, Error> {
    let parts = components(name)?;
    Ok(parts.split_last().map(|(last, parents)| Place { parent: parents.join(&b'/'), name: last.to_vec() }))
}

/// What an entry called `name` asks for.
pub(super) fn meaning(name: &[u8]) -> Result<Meaning, Error> {
    let Some(place) = place(name)? else { return Ok(Meaning::Root) };
    if place.parent.split(|&b| b == b'/').any(|part| part.starts_with(META)) {
        return Ok(Meaning::Ignored);
    }
    if place.name == OPAQUE {
        return Ok(Meaning::Opaque(place.parent));
    }
    if place.name.starts_with(META) {
        return Ok(Meaning::Ignored);
    }
    match place.name.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => {
            Err(Error::Refused { entry: printable(name), reason: "it is a whiteout of nothing".into() })
        }
        Some(hidden) => Ok(Meaning::Whiteout(Place { name: hidden.to_vec(), parent: place.parent })),
        None => Ok(Meaning::Entry(place)),
    }
}

/// Whether the link text `target`, in the directory `parent`, stays below the root by its words. docker refuses
/// the others too.
pub(super) fn link_stays_inside(parent: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = parent.split(|&b| b == b'/').filter(|part| !part.is_empty()).count();
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(parent: &str, name: &str) -> Place {
        Place { parent: parent.into(), name: name.into() }
    }

    #[test]
    fn meanings() {
        for (name, expected) in [
            ("./", Meaning::Root),
            ("/", Meaning::Root),
            (".", Meaning::Root),
            ("etc/passwd", Meaning::Entry(at("etc", "passwd"))),
            ("/./etc//x/", Meaning::Entry(at("etc", "x"))),
            ("a/.wh.b", Meaning::Whiteout(at("a", "b"))),
            (".wh.b", Meaning::Whiteout(at("", "b"))),
            ("a/.wh..wh..opq", Meaning::Opaque(b"a".to_vec())),
            (".wh..wh..opq", Meaning::Opaque(Vec::new())),
            (".wh..wh.plnk/1.2", Meaning::Ignored),
            ("a/.wh..wh.aufs", Meaning::Ignored),
            ("a/.wh...", Meaning::Ignored),
        ] {
            // `.wh...` hides `..`: refused, not ignored.
            let result = meaning(name.as_bytes());
            if name == "a/.wh..." {
                assert!(result.is_err())
            } else {
                assert_eq!(result.unwrap(), expected, "{name}")
            }
        }
    }

    #[test]
    fn refusals() {
        let long = "x/".repeat(2100);
        let part = "x".repeat(256);
        for bad in ["..", "../x", "a/../b", "a/..", "/..", "./../x", "a\0b", ".wh.", "a/.wh..", &long, &part]
        {
            assert!(meaning(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_by_their_words() {
        assert!(link_stays_inside(b"usr/lib", b"../../etc"));
        assert!(!link_stays_inside(b"usr/lib", b"../../../etc"));
        assert!(link_stays_inside(b"", b"/etc/../../x"));
        assert!(!link_stays_inside(b"", b".."));
    }
}
