//! One entry's headers, as bytes.

use std::fmt::Write as _;

use tar::{EntryType, Header};

/// What the octal fields of a ustar header hold.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
const MAX_NAME: usize = 100;

/// All that an entry says, but its content.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub path: Vec<u8>,
    pub kind: EntryType,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    /// Bytes that follow.
    pub size: u64,
    pub device: Option<(u32, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The length of a sparse file, holes included.
    pub sparse: Option<u64>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            path: Vec::new(),
            kind: EntryType::Regular,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size: 0,
            device: None,
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

impl Head {
    /// Whole blocks: the extended header where one is needed, and the entry's own.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let records = self.records();
        let mut bytes = Vec::with_capacity(1536);
        if !records.is_empty() {
            let extended = Self {
                path: b"././@PaxHeader".to_vec(),
                kind: EntryType::XHeader,
                mode: 0o644,
                size: records.len() as u64,
                ..Self::default()
            };
            bytes.extend_from_slice(extended.block().as_bytes());
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(self.block().as_bytes());
        bytes
    }

    fn block(&self) -> Header {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        // A cut name is what readers that know no extended headers see.
        let name = &self.path[..self.path.len().min(MAX_NAME)];
        old.name[..name.len()].copy_from_slice(name);
        let link = &self.link[..self.link.len().min(MAX_NAME)];
        old.linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(u64::from(if self.uid > MAX_ID { 0 } else { self.uid }));
        header.set_gid(u64::from(if self.gid > MAX_ID { 0 } else { self.gid }));
        header.set_size(if self.size > MAX_SIZE { 0 } else { self.size });
        header.set_mtime(u64::try_from(self.mtime.0).ok().filter(|s| *s <= MAX_SIZE).unwrap_or(0));
        if let Some((major, minor)) = self.device {
            // Only a header without such fields refuses them.
            let set = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
            debug_assert!(set.is_ok());
        }
        header.set_cksum();
        header
    }

    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let long = |text: &[u8]| text.len() > MAX_NAME || !text.is_ascii();
        if let Some(real) = self.sparse {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &self.path);
            record(&mut records, b"GNU.sparse.realsize", real.to_string().as_bytes());
        }
        if long(&self.path) {
            record(&mut records, b"path", &self.path);
        }
        if long(&self.link) {
            record(&mut records, b"linkpath", &self.link);
        }
        if self.uid > MAX_ID {
            record(&mut records, b"uid", self.uid.to_string().as_bytes());
        }
        if self.gid > MAX_ID {
            record(&mut records, b"gid", self.gid.to_string().as_bytes());
        }
        if self.size > MAX_SIZE {
            record(&mut records, b"size", self.size.to_string().as_bytes());
        }
        let (seconds, nanoseconds) = self.mtime;
        if nanoseconds != 0 || u64::try_from(seconds).map_or(true, |s| s > MAX_SIZE) {
            record(&mut records, b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &self.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        records
    }
}

/// Seconds with nine decimals. Before 1970 the fraction counts backwards, as the number does.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let mut text = String::new();
    let written = if seconds < 0 && nanoseconds > 0 {
        let whole = (seconds + 1).unsigned_abs();
        write!(text, "-{whole}.{:09}", 1_000_000_000 - nanoseconds)
    } else {
        write!(text, "{seconds}.{nanoseconds:09}")
    };
    debug_assert!(written.is_ok());
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for length in 0..1200 {
            let mut records = Vec::new();
            record(&mut records, b"key", &vec![b'x'; length]);
            let said: usize = String::from_utf8_lossy(&records).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.len(), "{length}");
        }
    }

    #[test]
    fn times_before_the_epoch() {
        assert_eq!(time(1, 500_000_000), "1.5");
        assert_eq!(time(100, 0), "100");
        assert_eq!(time(-1, 0), "-1");
        assert_eq!(time(-2, 250_000_000), "-1.75");
        assert_eq!(time(-1, 750_000_000), "-0.25");
    }
}
