//! Reading a tar archive: blocks to entries. The `tar` crate knows the header's fields; this file knows which
//! headers belong together, and refuses what readers of tar are known to read differently.

use std::io::{self, BufRead};

use tar::{EntryType, Header};

use super::error::{Error, printable};
use super::name::MAX_NAME;
use super::pax::{self, Extended};
use super::sparse::{self, Extent, Map};

const BLOCK: usize = 512;
/// Whether a sparse map goes on in the next block: in a GNU header, and in a block of the map.
const MAP_GOES_ON: usize = 482;
const MAP_GOES_ON_AGAIN: usize = 504;
/// Of a GNU header: map, whether more of it follows, and the real size.
const SPARSE_FIELDS: std::ops::Range<usize> = 386..495;
/// Of a ustar header: what goes before the name.
const PREFIX_FIELD: std::ops::Range<usize> = 345..500;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    Directory,
    Fifo,
    /// A character or block device.
    Device,
}

/// One entry: everything but its content, which [`Reader::content`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Of links; empty otherwise.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of content in the archive.
    pub stored_size: u64,
    pub sparse: Option<Map>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Content of the present entry that nobody has read yet, and the padding after it.
    content: u64,
    padding: u64,
}

/// The headers that precede an entry's own.
#[derive(Default)]
struct Prelude {
    extended: Option<Extended>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0 }
    }

    /// The next entry; `None` at the end. What is left of the one before is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        let mut prelude = Prelude::default();
        while let Some(header) = self.header()? {
            let kind = header.entry_type();
            if !matches!(
                kind,
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            ) {
                return self.entry(&header, prelude).map(Some);
            }
            let bytes = self.extension(&header)?;
            let twice = match kind {
                EntryType::XHeader => prelude.extended.replace(pax::parse(&bytes)?).is_some(),
                EntryType::GNULongName => prelude.long_name.replace(c_string(bytes)).is_some(),
                EntryType::GNULongLink => prelude.long_link.replace(c_string(bytes)).is_some(),
                // docker passes over them, others apply them to all that follows. What git writes into them, a
                // comment, makes no difference.
                _ if pax::parse(&bytes)?.changes_entries() => {
                    return Err(Error::Malformed("a global header that changes every entry after it".into()));
                }
                _ => false,
            };
            if twice {
                return Err(Error::Malformed("two extended headers for one entry".into()));
            }
        }
        match prelude {
            Prelude { extended: None, long_name: None, long_link: None } => Ok(None),
            _ => Err(Error::Malformed("it ends after an extended header".into())),
        }
    }

    /// The next piece of the entry's content, empty at its end. [`Reader::consume`] what was used.
    pub fn content(&mut self) -> Result<&[u8], Error> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let piece = self.input.fill_buf().map_err(Error::Read)?;
        if piece.is_empty() {
            return Err(ends_early());
        }
        let usable = usize::try_from(self.content).unwrap_or(usize::MAX).min(piece.len());
        Ok(&piece[..usable])
    }

    pub fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.content -= bytes as u64;
    }

    /// Reads what follows the archive's end.
    pub fn drain(&mut self) -> Result<(), Error> {
        loop {
            match self.input.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(piece) => {
                    let length = piece.len();
                    self.input.consume(length);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Read(e)),
            }
        }
    }

    /// One block; `None` when the input ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ends_early()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::Read(e)),
            }
        }
        Ok(Some(block))
    }

    /// The next header block, its checksum verified; `None` at the end, with or without end blocks.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block.iter().all(|&b| b == 0) {
            return match self.block()? {
                Some(second) if second.iter().any(|&b| b != 0) => {
                    Err(Error::Malformed("content after a lone zero block".into()))
                }
                _ => Ok(None),
            };
        }
        let header = Header::from_byte_slice(&block).clone();
        let stated = header.cksum().map_err(|_| Error::Malformed("a header without checksum".into()))?;
        // The field itself counts as spaces. Historic writers summed signed bytes.
        let rest = || block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { b' ' } else { b });
        let unsigned: u32 = rest().map(u32::from).sum();
        let signed: i32 = rest().map(|b| i32::from(b.cast_signed())).sum();
        if stated != unsigned && i64::from(stated) != i64::from(signed) {
            return Err(Error::Malformed("a header's checksum is wrong".into()));
        }
        Ok(Some(header))
    }

    /// The content of an extension header, whole.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.entry_size().map_err(|_| Error::Malformed("a size that is no number".into()))?;
        if size > pax::MAX_HEADER {
            return Err(Error::Malformed(format!("an extended header of {size} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(size + padding(size)).expect("MAX_HEADER fits")];
        self.input.read_exact(&mut bytes).map_err(read_error)?;
        let after = bytes.split_off(usize::try_from(size).expect("MAX_HEADER fits"));
        let is_name = matches!(header.entry_type(), EntryType::GNULongName | EntryType::GNULongLink);
        if is_name && !bytes.contains(&0) && after.first().is_some_and(|&b| b != 0) {
            // GNU tar reads on to the first NUL.
            return Err(Error::Malformed("a long name that is longer than it says".into()));
        }
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, prelude: Prelude) -> Result<Entry, Error> {
        let extended = prelude.extended.unwrap_or_default();
        let (long, also_long) = (&prelude.long_name, &extended.path);
        let (link, also_link) = (&prelude.long_link, &extended.link);
        if long.is_some() && also_long.is_some() || link.is_some() && also_link.is_some() {
            return Err(Error::Malformed("two long names for one entry".into()));
        }
        let raw_name = header.path_bytes().into_owned();
        let name = extended.path.clone().or(prelude.long_name).unwrap_or_else(|| raw_name.clone());
        let refused = |reason: String| Error::Refused { entry: printable(&name), reason };
        let number = |r: io::Result<u64>| r.map_err(|_| refused("a field of its header is no number".into()));
        let size = match extended.size {
            Some(size) => size,
            None => number(header.entry_size())?,
        };
        let kind = kind_of(header, &name, &raw_name).map_err(refused)?;
        // Whether content follows, readers do not agree.
        if kind != Kind::File && size != 0 {
            return Err(refused(format!("it has {size} bytes of content, which only a file can have")));
        }
        check_leftovers(header).map_err(refused)?;
        let raw_link = || header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default();
        let link = match kind {
            Kind::HardLink | Kind::Symlink => {
                extended.link.clone().or(prelude.long_link).unwrap_or_else(raw_link)
            }
            _ => Vec::new(),
        };
        if matches!(kind, Kind::HardLink | Kind::Symlink)
            && (link.is_empty() || link.len() > MAX_NAME || link.contains(&0))
        {
            return Err(refused("its link target is empty, too long, or contains a NUL byte".into()));
        }
        let mode = header.mode().map_err(|_| refused("its mode is no number".into()))? & 0o7777;
        let uid = extended.uid.map_or_else(|| number(header.uid()), Ok)?;
        let gid = extended.gid.map_or_else(|| number(header.gid()), Ok)?;
        let mtime =
            extended.mtime.map_or_else(|| number(header.mtime()).map(|s| (s.cast_signed(), 0)), Ok)?;
        if kind == Kind::File {
            (self.content, self.padding) = (size, padding(size));
        }
        let entry = Entry {
            name,
            kind,
            link,
            mode,
            uid,
            gid,
            mtime,
            stored_size: self.content,
            sparse: None,
            xattrs: extended.xattrs,
        };
        self.sparse(entry, header, extended.sparse)
    }

    /// Reads the sparse map, wherever it stands.
    fn sparse(
        &mut self,
        mut entry: Entry,
        header: &Header,
        records: pax::SparseRecords,
    ) -> Result<Entry, Error> {
        let bad = |what: &str| Error::Malformed(format!("bad sparse file: {what}"));
        let (extents, real_size) = if header.entry_type() == EntryType::GNUSparse {
            self.old_sparse(header)?
        } else if records == pax::SparseRecords::default() {
            return Ok(entry);
        } else {
            let real_size = records.real_size.ok_or_else(|| bad("no size"))?;
            let extents = match (records.major, records.minor) {
                (Some(1), Some(0)) => self.sparse_1_0()?,
                (None | Some(0), None | Some(0 | 1)) => {
                    if records.blocks.is_some_and(|n| n != records.map.len() as u64) {
                        return Err(bad("a map of another length than it says"));
                    }
                    records.map
                }
                _ => return Err(bad("a version that is not known")),
            };
            (extents, real_size)
        };
        if entry.kind != Kind::File {
            return Err(bad("not a file"));
        }
        if let Some(name) = records.name {
            entry.name = name;
        }
        entry.stored_size = self.content;
        entry.sparse = Some(Map::new(extents, real_size, self.content)?);
        Ok(entry)
    }

    /// GNU's old format: four extents in the header, the rest in blocks after it.
    fn old_sparse(&mut self, header: &Header) -> Result<(Vec<Extent>, u64), Error> {
        let bad = |_| Error::Malformed("bad sparse file: a map that is not numbers".into());
        let gnu =
            header.as_gnu().ok_or_else(|| Error::Malformed("a sparse file without GNU header".into()))?;
        let mut extents = Vec::new();
        let mut push = |raw: &tar::GnuSparseHeader| -> Result<(), Error> {
            if raw.is_empty() {
                return Ok(());
            }
            if extents.len() == sparse::MAX_EXTENTS {
                return Err(Error::Malformed("bad sparse file: too many extents".into()));
            }
            extents.push(Extent { offset: raw.offset().map_err(bad)?, length: raw.length().map_err(bad)? });
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut push)?;
        // Anything but 0 and 1 some take for yes, some for no.
        let flag = |byte: u8| match byte {
            0 | 1 => Ok(byte == 1),
            _ => Err(Error::Malformed("bad sparse file: whether its map goes on".into())),
        };
        let mut more = flag(header.as_bytes()[MAP_GOES_ON])?;
        while more {
            let block = self.block()?.ok_or_else(ends_early)?;
            let mut table = tar::GnuExtSparseHeader::new();
            table.as_mut_bytes().copy_from_slice(&block);
            table.sparse().iter().try_for_each(&mut push)?;
            more = flag(block[MAP_GOES_ON_AGAIN])?;
        }
        Ok((extents, gnu.real_size().map_err(bad)?))
    }

    /// PAX version 1.0: the map is decimal lines at the start of the content, padded to a block.
    fn sparse_1_0(&mut self) -> Result<Vec<Extent>, Error> {
        let mut lines = MapLines { block: [0; BLOCK], used: BLOCK };
        let count = lines.next(self)?;
        if count > sparse::MAX_EXTENTS as u64 {
            return Err(Error::Malformed("bad sparse file: too many extents".into()));
        }
        let mut extents = Vec::new();
        for _ in 0..count {
            extents.push(Extent { offset: lines.next(self)?, length: lines.next(self)? });
        }
        Ok(extents)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        while bytes > 0 {
            let piece = match self.input.fill_buf() {
                Ok([]) => return Err(ends_early()),
                Ok(piece) => piece.len(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::Read(e)),
            };
            let step = usize::try_from(bytes).unwrap_or(usize::MAX).min(piece);
            self.input.consume(step);
            bytes -= step as u64;
        }
        Ok(())
    }
}

/// Fields that the header's format does not have, or that its kind has no use for: some readers look at them all the
/// same.
fn check_leftovers(header: &Header) -> Result<(), String> {
    let holds = |field: std::ops::Range<usize>| header.as_bytes()[field].iter().any(|&b| b != 0);
    if header.as_gnu().is_some() && header.entry_type() != EntryType::GNUSparse && holds(SPARSE_FIELDS) {
        return Err("it has the map of a sparse file and is none".into());
    }
    if header.as_gnu().is_none() && header.as_ustar().is_none() && holds(PREFIX_FIELD) {
        return Err("it has the beginning of a long name in a format without such".into());
    }
    Ok(())
}

/// `name` is the entry's, `raw_name` what its own header says. Or why it is refused.
fn kind_of(header: &Header, name: &[u8], raw_name: &[u8]) -> Result<Kind, String> {
    match header.entry_type() {
        _ if name.is_empty() => Err("its name is empty".into()),
        EntryType::Regular | EntryType::GNUSparse => {
            let oldest = header.as_ustar().is_none() && header.as_gnu().is_none();
            match (name.ends_with(b"/"), raw_name.ends_with(b"/")) {
                (false, false) => Ok(Kind::File),
                // A long name whose beginning ends so.
                (false, true) if header.as_bytes()[156] == b'0' => Ok(Kind::File),
                // So the oldest format wrote directories. In a later one readers disagree.
                (true, true) if oldest => Ok(Kind::Directory),
                _ => Err("it is a file with the name of a directory".into()),
            }
        }
        EntryType::Link => Ok(Kind::HardLink),
        EntryType::Symlink => Ok(Kind::Symlink),
        EntryType::Char | EntryType::Block => Ok(Kind::Device),
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Fifo => Ok(Kind::Fifo),
        other => Err(format!("its type `{}` is not known", other.as_byte().escape_ascii())),
    }
}

/// The numbers of a version 1.0 map.
struct MapLines {
    block: [u8; BLOCK],
    used: usize,
}

impl MapLines {
    fn next<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<u64, Error> {
        let bad = || Error::Malformed("bad sparse file: a map that is not numbers".into());
        let mut digits = Vec::new();
        loop {
            if self.used == BLOCK {
                reader.content = reader.content.checked_sub(BLOCK as u64).ok_or_else(bad)?;
                self.block = reader.block()?.ok_or_else(ends_early)?;
                self.used = 0;
            }
            let byte = self.block[self.used];
            self.used += 1;
            match byte {
                b'\n' => return pax::decimal(&digits).ok_or_else(bad),
                _ if digits.len() == 20 => return Err(bad()),
                _ => digits.push(byte),
            }
        }
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn ends_early() -> Error {
    Error::Malformed("it ends in the middle of an entry".into())
}

fn read_error(e: io::Error) -> Error {
    if e.kind() == io::ErrorKind::UnexpectedEof { ends_early() } else { Error::Read(e) }
}

/// A GNU long name ends at its first NUL.
fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}
