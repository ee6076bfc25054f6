//! The one place that speaks FUSE: each request of crate `fuser` becomes a call of the logic, each result a reply.
//!
//! What the kernel is told to do by itself is here, too: what it may believe for ever, and which requests it need
//! not send.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FileType, Filesystem, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyBmap,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::attr::{Attr, Change};
use super::company::Company;
use super::counts::{Counts, Operation};
use super::create::Kind;
use super::late::Late;
use super::linger::Lookout;
use super::readdir::Seen;
use super::rename::{At, Target};
use super::seek::Seeker;
use super::syncing::Syncing;
use super::wire::{directory, file_attr, kind_of, maker, nothing, time_asked, unseen};
use super::{Overlay, Result};

/// How long the kernel may believe what it was told: nobody else changes the layers.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);
/// Most bytes in one write.
const MAX_WRITE: u32 = 1 << 20;
/// Most bytes in one read; the kernel asks for no more than its pages of a request hold, 1 MiB.
const MAX_READ: u32 = 1 << 24;
const FIRST_GENERATION: Generation = Generation(0);
const NO_HANDLE: FileHandle = FileHandle(0);

/// The logic as `fuser` wants it.
pub(super) struct Adapter {
    overlay: Arc<Overlay>,
    counts: Arc<Counts>,
    lookout: Lookout,
    company: Arc<Company>,
    seeker: Arc<Seeker>,
    late: Arc<Late>,
    syncing: Syncing,
}

/// A request that is being answered. Must live until the answer is given: the worker looks for the next one then.
#[must_use]
struct On<'a>(&'a Adapter);

impl std::ops::Deref for On<'_> {
    type Target = Overlay;
    fn deref(&self) -> &Overlay {
        &self.0.overlay
    }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        // Who panics has not answered yet, and does so by going on.
        if std::thread::panicking() {
            return;
        }
        if self.0.company.answered() {
            self.0.lookout.look();
        }
    }
}

thread_local! {
    /// What a worker reads into before it replies.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    pub(super) fn new(
        overlay: Arc<Overlay>,
        counts: Arc<Counts>,
        lookout: Lookout,
        company: Arc<Company>,
        seeker: Arc<Seeker>,
        late: Arc<Late>,
    ) -> Self {
        Self { overlay, counts, lookout, company, seeker, late, syncing: Syncing::default() }
    }

    /// The logic, called for one request of this kind.
    fn on(&self, operation: Operation, request: &Request) -> On<'_> {
        self.counts.count(operation);
        self.company.asked(request.pid());
        On(self)
    }
}

fn refuse(e: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(e.raw_os_error())
}

macro_rules! reply {
    ($result:expr, $reply:ident, $value:pat => $answer:expr) => {
        match $result {
            Ok($value) => $answer,
            Err(e) => $reply.error(refuse(e)),
        }
    };
}

fn entry(result: Result<Attr>, reply: ReplyEntry) {
    match result {
        Ok(attr) => reply.entry(&FOR_EVER, &file_attr(&attr), FIRST_GENERATION),
        Err(e) => reply.error(refuse(e)),
    }
}

pub(super) fn empty(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(refuse(e)),
    }
}

fn xattr(result: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match result {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(e) => reply.error(refuse(e)),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each by itself: an older kernel lacks one and has the others.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_WRITEBACK_CACHE,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_HAS_IOCTL_DIR,
        ] {
            let _ = config.add_capabilities(wish);
        }
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.on(Operation::Lookup, req).lookup(parent.0, name.as_bytes()) {
            // That there is nothing may be believed like everything else.
            Err(Errno::NOENT) => reply.entry(&FOR_EVER, &nothing(), FIRST_GENERATION),
            other => entry(other, reply),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        self.counts.count(Operation::Forget);
        self.overlay.forget(ino.0, nlookup);
        // The number may be another file's next.
        let _ = self.late.take(ino.0);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let on = self.on(Operation::GetAttr, req);
        // Who is told attributes by name will not ask by handle before there is another error.
        let late = self.late.take(ino.0).filter(|_| handle.is_some());
        let result = late.map_or_else(|| on.getattr(ino.0), Err);
        reply!(result, reply, attr => reply.attr(&FOR_EVER, &file_attr(&attr)));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change =
            Change { mode, uid, gid, size, atime: atime.map(time_asked), mtime: mtime.map(time_asked) };
        let on = self.on(Operation::SetAttr, req);
        let result = on.setattr(ino.0, &change, req.uid());
        reply!(result, reply, attr => reply.attr(&FOR_EVER, &file_attr(&attr)));
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let on = self.on(Operation::ReadLink, req);
        let result = on.readlink(ino.0);
        reply!(result, reply, target => reply.data(&target));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let maker = maker(req, umask);
        entry(self.on(Operation::MkNod, req).mknod(parent.0, name.as_bytes(), mode, maker), reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let maker = maker(req, umask);
        let overlay = self.on(Operation::MkDir, req);
        entry(overlay.make(parent.0, name.as_bytes(), Kind::Directory, mode, maker), reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.on(Operation::Unlink, req).unlink(parent.0, name.as_bytes()), reply);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.on(Operation::RmDir, req).rmdir(parent.0, name.as_bytes()), reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let kind = Kind::Symlink(target.as_os_str().as_bytes());
        let overlay = self.on(Operation::Symlink, req);
        entry(overlay.make(parent.0, name.as_bytes(), kind, 0o777, maker(req, 0)), reply);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let target = match flags.bits() {
            0 => Ok(Target::Replace),
            libc::RENAME_NOREPLACE => Ok(Target::Refuse),
            libc::RENAME_EXCHANGE => Ok(Target::Exchange),
            _ => Err(Errno::INVAL),
        };
        let from = At { dir: parent.0, name: name.as_bytes() };
        let to = At { dir: newparent.0, name: newname.as_bytes() };
        let overlay = self.on(Operation::Rename, req);
        empty(target.and_then(|target| overlay.rename(from, to, target)), reply);
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        entry(self.on(Operation::Link, req).link(ino.0, newparent.0, newname.as_bytes()), reply);
    }

    /// Never again, says this answer.
    fn open(&self, req: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _on = self.on(Operation::Open, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let overlay = self.on(Operation::Read, req);
        BUFFER.with_borrow_mut(|buffer| {
            let size = size.min(MAX_READ) as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match buffer.get_mut(..size).ok_or(Errno::INVAL).and_then(|b| overlay.read(ino.0, offset, b)) {
                Ok(length) => reply.data(buffer.get(..length).unwrap_or_default()),
                Err(e) => reply.error(refuse(e)),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // The kernel asks whether the writer is root of the machine; root of the container has the power, too.
        let unprivileged = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) && req.uid() != 0;
        let on = self.on(Operation::Write, req);
        // Of what comes from its cache, the kernel takes any answer but an error for all of it.
        let cached = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let privileged =
            write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) && on.has_privileges(ino.0);
        let result = on.write(ino.0, offset, data, unprivileged, cached);
        self.late.ask_anew_if(privileged, ino.0);
        let late = result.err().filter(|_| cached);
        reply!(result, reply, written => reply.written(u32::try_from(written).unwrap_or(u32::MAX)));
        if let Some(error) = late {
            self.late.keep(ino.0, error);
        }
    }

    fn flush(&self, req: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let _on = self.on(Operation::Flush, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, req: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let _on = self.on(Operation::Fsync, req);
        self.syncing.answer(&self.overlay, ino.0, datasync, reply);
    }

    fn opendir(&self, req: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _on = self.on(Operation::OpenDir, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn readdir(&self, req: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.on(Operation::ReadDir, req).list(ino.0, offset, |entry| {
            let (id, kind) = match entry.what {
                Seen::Dot(id) => (id, FileType::Directory),
                Seen::Item(item) => (self.overlay.number_of(item), kind_of(item.kind)),
            };
            Ok(reply.add(INodeNo(id), entry.offset, kind, OsStr::from_bytes(entry.name)))
        }) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(refuse(e)),
        }
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        match self.on(Operation::ReadDirPlus, req).list(ino.0, offset, |entry| {
            let (attr, known, valid) = match entry.what {
                Seen::Dot(id) => (directory(id), None, &FOR_EVER),
                Seen::Item(item) => match self.overlay.look_at(ino.0, item) {
                    Ok(Some(attr)) => (file_attr(&attr), Some(attr.id), &FOR_EVER),
                    // Gone since the listing was made.
                    Ok(None) => return Ok(false),
                    // It has a name all the same. Whoever wants more asks, and is told why not.
                    Err(_) => (unseen(self.overlay.stranger(), item.kind), None, &Duration::ZERO),
                },
            };
            let name = OsStr::from_bytes(entry.name);
            let full = reply.add(attr.ino, entry.offset, name, valid, &attr, FIRST_GENERATION);
            if let Some(id) = known.filter(|_| full) {
                self.overlay.forget(id, 1);
            }
            Ok(full)
        }) {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(refuse(e)),
        }
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, _: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let _on = self.on(Operation::FsyncDir, req);
        self.syncing.answer(&self.overlay, ino.0, datasync, reply);
    }

    fn statfs(&self, req: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply!(self.on(Operation::StatFs, req).statfs(), reply, s => {
            let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            let (size, name, fragment) = (small(s.f_bsize), small(s.f_namemax), small(s.f_frsize));
            reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, size, name, fragment);
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let overlay = self.on(Operation::SetXattr, req);
        empty(overlay.setxattr(ino.0, name.as_bytes(), value, flags.cast_unsigned()), reply);
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        xattr(self.on(Operation::GetXattr, req).getxattr(ino.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        xattr(self.on(Operation::ListXattr, req).listxattr(ino.0), size, reply);
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.on(Operation::RemoveXattr, req).removexattr(ino.0, name.as_bytes()), reply);
    }

    /// The kernel checks permissions itself.
    fn access(&self, req: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        let _on = self.on(Operation::Other, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let on = self.on(Operation::Create, req);
        let result = on.create(parent.0, name.as_bytes(), mode, maker(req, umask));
        reply!(result, reply, attr => {
            let flags = fuser::FopenFlags::FOPEN_KEEP_CACHE;
            reply.created(&FOR_EVER, &file_attr(&attr), FIRST_GENERATION, NO_HANDLE, flags);
        });
    }

    fn bmap(&self, req: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        let _on = self.on(Operation::Other, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let overlay = self.on(Operation::Ioctl, req);
        let result = overlay.ioctl(ino.0, cmd, in_data);
        reply!(result, reply, out => reply.ioctl(0, &out));
    }

    fn poll(
        &self,
        req: &Request,
        _: INodeNo,
        _: FileHandle,
        _: fuser::PollNotifier,
        _: fuser::PollEvents,
        _: fuser::PollFlags,
        reply: ReplyPoll,
    ) {
        let _on = self.on(Operation::Other, req);
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let overlay = self.on(Operation::Fallocate, req);
        let privileged = overlay.has_privileges(ino.0);
        let result = overlay.fallocate(ino.0, offset, length, mode.cast_unsigned());
        self.late.ask_anew_if(privileged, ino.0);
        empty(result, reply);
    }

    fn lseek(&self, req: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let _on = self.on(Operation::Seek, req);
        self.seeker.answer(ino.0, offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        _: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _: FileHandle,
        offset_out: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let overlay = self.on(Operation::CopyRange, req);
        let privileged = overlay.has_privileges(ino_out.0);
        let result = overlay.copy_range((ino_in.0, offset_in), (ino_out.0, offset_out), len);
        self.late.ask_anew_if(privileged, ino_out.0);
        reply!(result, reply, copied => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)));
    }
}
