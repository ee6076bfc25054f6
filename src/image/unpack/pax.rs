//! Extended headers: `LENGTH KEY=VALUE\n`, values of any bytes. The `tar` crate splits at newlines, which
//! attributes may contain.

use super::error::Error;
use super::sparse::{self, Extent};

/// Bytes of one extended header.
pub(super) const MAX_HEADER: u64 = 1 << 20;
/// Extended attributes of one entry.
const MAX_XATTRS: usize = 256;
/// The kernel's own bound on one attribute's value.
const MAX_XATTR: usize = 64 << 10;

/// What an extended header says about the entry after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: SparseRecords,
}

/// The `GNU.sparse.*` records, of all three versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub real_size: Option<u64>,
    pub name: Option<Vec<u8>>,
    pub map: Vec<Extent>,
    pub blocks: Option<u64>,
    offset: Option<u64>,
}

fn malformed(what: &str) -> Error {
    Error::Malformed(format!("bad extended header: {what}"))
}

/// Reads all records of one header.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Extended, Error> {
    let mut extended = Extended::default();
    while !bytes.is_empty() {
        // Some writers fill the block with NULs and count them in.
        if bytes.iter().all(|&b| b == 0) {
            break;
        }
        let space = bytes.iter().take(20).position(|&b| b == b' ').ok_or_else(|| malformed("no length"))?;
        let length = decimal(&bytes[..space]).and_then(|n| usize::try_from(n).ok());
        let length = length.ok_or_else(|| malformed("no length"))?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(malformed("a length that does not fit"));
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|&b| b == b'=').ok_or_else(|| malformed("no `=`"))?;
        extended.set(&record[..equals], &record[equals + 1..])?;
        bytes = &bytes[length..];
    }
    if extended.sparse.offset.is_some() {
        return Err(malformed("a sparse offset without length"));
    }
    Ok(extended)
}

impl Extended {
    /// Whether it says more of an entry than its time.
    pub(super) fn changes_entries(&self) -> bool {
        Self { mtime: None, ..self.clone() } != Self::default()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let number = || decimal(value).ok_or_else(|| malformed("not a number"));
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.set_xattr(name, value);
        }
        if key.iter().any(u8::is_ascii_control) {
            return Err(malformed("a keyword that cannot be printed"));
        }
        if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.set(name, value);
        }
        match key {
            // It takes back what a global header has said, and no such is accepted. Others make an empty name of it.
            b"path" | b"linkpath" | b"size" if value.is_empty() => return Err(malformed("an empty record")),
            _ if value.is_empty() => {}
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(|| malformed("not a time"))?),
            // Times of access and change, names of owners, comments: not kept, as with docker.
            _ => {}
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(malformed("an attribute name that the kernel does not know"));
        }
        if value.len() > MAX_XATTR {
            return Err(malformed("an attribute larger than 64 KiB"));
        }
        if self.xattrs.len() == MAX_XATTRS {
            return Err(malformed("more than 256 attributes"));
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

impl SparseRecords {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let number = || decimal(value).ok_or_else(|| malformed("not a number"));
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"size" | b"realsize" => self.real_size = Some(number()?),
            b"name" => self.name = Some(value.to_vec()),
            b"numblocks" => self.blocks = Some(number()?),
            b"offset" => {
                if self.offset.replace(number()?).is_some() {
                    return Err(malformed("a sparse offset without length"));
                }
            }
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(|| malformed("a sparse length without offset"))?;
                self.push(Extent { offset, length: number()? })?;
            }
            b"map" => {
                let numbers: Option<Vec<u64>> = value.split(|&b| b == b',').map(decimal).collect();
                let numbers = numbers.ok_or_else(|| malformed("a sparse map that is not numbers"))?;
                if !numbers.len().is_multiple_of(2) {
                    return Err(malformed("a sparse map of odd length"));
                }
                for pair in numbers.chunks_exact(2) {
                    self.push(Extent { offset: pair[0], length: pair[1] })?;
                }
            }
            _ => return Err(malformed("an unknown GNU.sparse record")),
        }
        Ok(())
    }

    fn push(&mut self, extent: Extent) -> Result<(), Error> {
        if self.map.len() == sparse::MAX_EXTENTS {
            return Err(malformed("too many sparse extents"));
        }
        self.map.push(extent);
        Ok(())
    }
}

/// Digits only.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 20 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `1700000000.123456789`, also negative: seconds rounded down, and nanoseconds.
fn time(bytes: &[u8]) -> Option<(i64, u32)> {
    let (negative, bytes) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let mut parts = bytes.splitn(2, |&b| b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos: u32 = 0;
    if let Some(fraction) = parts.next() {
        if fraction.len() > 40 || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for place in 0..9 {
            nanos = nanos * 10 + fraction.get(place).map_or(0, |b| u32::from(b - b'0'));
        }
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length += 1;
        }
        [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
    }

    #[test]
    fn values_may_hold_newlines_and_nuls() {
        let bytes = [record("SCHILY.xattr.user.x", b"a\n\0b"), record("path", b"p/q")].concat();
        let parsed = parse(&bytes).unwrap();
        assert_eq!(parsed.xattrs, [(b"user.x".to_vec(), b"a\n\0b".to_vec())]);
        assert_eq!(parsed.path.unwrap(), b"p/q");
    }

    #[test]
    fn times() {
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1e3"), None);
    }

    #[test]
    fn bad_records_are_refused() {
        for bad in [
            b"5 a=b\n".as_slice(),
            b"7 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"6 a=b ",
            b"6 aab\n",
            b"x a=b\n",
            b"4 a\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&record("size", b"-1")).is_err());
        assert!(parse(&record("GNU.sparse.map", b"0,1,2")).is_err());
        assert!(parse(&record("SCHILY.xattr.user.big", &vec![0; (64 << 10) + 1])).is_err());
    }
}
