//! The flags of an inode, as chattr(1) and what XFS added to them: the four ioctls that there are here.

use std::os::fd::OwnedFd;

use rustix::fs::{IFlags, OFlags};
use rustix::io::Errno;

use super::file::errno;
use super::{Overlay, Result};
use crate::sys::flags::{self, GET, GET_EXTENDED, SET, SET_EXTENDED};

impl Overlay {
    /// What the ioctl `request` answers, whose argument is `argument`.
    pub(super) fn ioctl(&self, id: u64, request: u32, argument: &[u8]) -> Result<Vec<u8>> {
        match request {
            GET => {
                let flags = rustix::fs::ioctl_getflags(self.to_ask(id)?)?;
                Ok(flags.bits().to_ne_bytes().to_vec())
            }
            SET => {
                let bits = u32::from_ne_bytes(*argument.first_chunk().ok_or(Errno::INVAL)?);
                rustix::fs::ioctl_setflags(self.to_change(id)?, IFlags::from_bits_retain(bits))?;
                Ok(Vec::new())
            }
            GET_EXTENDED => Ok(flags::get_extended(self.to_ask(id)?).map_err(errno)?.to_vec()),
            SET_EXTENDED => {
                let value = argument.first_chunk().ok_or(Errno::INVAL)?;
                flags::set_extended(self.to_change(id)?, value).map_err(errno)?;
                Ok(Vec::new())
            }
            _ => Err(Errno::NOTTY),
        }
    }

    fn to_ask(&self, id: u64) -> Result<OwnedFd> {
        let (_, place, _) = self.reach(id)?;
        place.open(OFlags::RDONLY)
    }

    fn to_change(&self, id: u64) -> Result<OwnedFd> {
        self.copy_up(id)?;
        self.to_ask(id)
    }
}
