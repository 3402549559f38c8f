//! A regular file or a block device of this machine: opening, locking and identifying it, and its system calls.
//!
//! What only Linux has (`preadv2`, `fallocate`, direct I/O alignment) is behind `cfg`; elsewhere the portable call or
//! `EOPNOTSUPP` takes its place, and the layer above falls back.

use std::{
    io::{IoSlice, IoSliceMut},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::{
    fs::{FileType, FlockOperation, Mode, OFlags, SeekFrom},
    io::Errno,
};

use super::{
    FileIo, FileOptions,
    disk::{Disk, Wait, Way},
    ring::available,
};
use crate::backend::{Identity, OpenError};

/// An open file or block device.
pub(super) struct OsFile {
    file: OwnedFd,
    regular: bool,
    /// Reads and writes are memory copies: nothing is gained by asking them not to wait (and tmpfs cannot be asked).
    in_memory: bool,
    direct: bool,
    alignment: usize,
    pub(super) bytes: u64,
    /// Whether rings of threads may be used.
    ring: bool,
    /// Whether holes can be punched.
    pub(super) punches: bool,
    pub(super) identity: Identity,
}

fn kind(path: &Path, mode: rustix::fs::RawMode) -> Result<FileType, OpenError> {
    match FileType::from_raw_mode(mode) {
        kind @ (FileType::RegularFile | FileType::BlockDevice) => Ok(kind),
        _ => Err(OpenError::NotStorage { path: path.into() }),
    }
}

impl OsFile {
    pub(super) fn open(options: &FileOptions) -> Result<Self, OpenError> {
        let path = options.path.as_path();
        let system = |action| {
            move |errno: Errno| OpenError::System { path: path.into(), action, source: errno.into() }
        };
        let in_use = || OpenError::InUse { path: path.into() };

        // Looked at before it is opened: opening a terminal, a tape or a FIFO has effects.
        let expected = kind(path, rustix::fs::stat(path).map_err(system("cannot open"))?.st_mode)?;
        let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY;
        flags |= if options.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        if expected == FileType::BlockDevice && !options.read_only {
            // Without O_CREAT this means: not while it is mounted, nor open by another who asked the same (open(2), Linux).
            flags |= OFlags::EXCL;
        }
        let action = match (options.direct, options.read_only) {
            (true, _) => "cannot open for direct I/O",
            (false, true) => "cannot open for reading",
            (false, false) => "cannot open for writing",
        };
        if options.direct {
            flags |= direct_flag().map_err(system(action))?;
        }
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::BUSY => in_use(),
            errno => system(action)(errno),
        })?;
        let lock = if options.read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        rustix::fs::flock(&file, lock).map_err(|errno| match errno {
            Errno::WOULDBLOCK => in_use(),
            errno => system("cannot lock")(errno),
        })?;

        let stat = rustix::fs::fstat(&file).map_err(system("cannot inspect"))?;
        let regular = kind(path, stat.st_mode)? == FileType::RegularFile;
        let bytes = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(system("cannot find the size of"))?;
        let alignment = if options.direct { direct_alignment(&file, regular) } else { 1 };
        let block_size = options.block_size.bytes();
        if !block_size.is_multiple_of(alignment) {
            return Err(OpenError::Alignment { path: path.into(), needed: alignment, block_size });
        }
        Ok(Self {
            regular,
            in_memory: in_memory(&file),
            direct: options.direct,
            ring: false,
            alignment: alignment as usize,
            bytes,
            punches: regular && !options.read_only && can_punch(&file, bytes),
            identity: options.identity.unwrap_or_else(|| identity(path, &file, &stat, regular)),
            file,
        })
    }

    /// Chooses who carries out reads, writes and syncs; in words for people.
    pub(super) fn choose(&mut self, options: &FileOptions) -> Result<String, OpenError> {
        let why = match (options.io, available()) {
            (FileIo::Threads, _) => "as configured".into(),
            (FileIo::Auto, _) if self.in_memory => {
                return Ok("in memory".into());
            }
            (_, Ok(())) => {
                self.ring = true;
                return Ok("io_uring".into());
            }
            (FileIo::Ring, Err(why)) => {
                return Err(OpenError::NoRing { path: options.path.clone(), why });
            }
            (FileIo::Auto, Err(why)) => why,
        };
        Ok(format!("worker threads: {why}"))
    }

    /// How to ask a call not to wait, if that makes sense here. `Err` if it cannot be asked.
    fn no_wait(&self, wait: Wait) -> Result<bool, Errno> {
        match wait {
            Wait::Allowed => Ok(false),
            Wait::Never if self.in_memory => Ok(false),
            // A direct transfer waits for the device whatever it is asked.
            Wait::Never if self.direct => Err(Errno::OPNOTSUPP),
            Wait::Never => Ok(true),
        }
    }
}

impl Disk for OsFile {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64, wait: Wait) -> Result<usize, Errno> {
        if self.no_wait(wait)? {
            #[cfg(target_os = "linux")]
            return rustix::io::preadv2(&self.file, into, offset, rustix::io::ReadWriteFlags::NOWAIT);
            #[cfg(not(target_os = "linux"))]
            return Err(Errno::OPNOTSUPP);
        }
        rustix::io::preadv(&self.file, into, offset)
    }

    fn write(&self, from: &[IoSlice<'_>], offset: u64, wait: Wait) -> Result<usize, Errno> {
        if self.no_wait(wait)? {
            #[cfg(target_os = "linux")]
            return rustix::io::pwritev2(&self.file, from, offset, rustix::io::ReadWriteFlags::NOWAIT);
            #[cfg(not(target_os = "linux"))]
            return Err(Errno::OPNOTSUPP);
        }
        rustix::io::pwritev(&self.file, from, offset)
    }

    fn sync(&self) -> Result<(), Errno> {
        #[cfg(not(target_vendor = "apple"))]
        return rustix::fs::fdatasync(&self.file);
        // There fsync leaves the data in the drive's cache.
        #[cfg(target_vendor = "apple")]
        return rustix::fs::fcntl_fullfsync(&self.file);
    }

    #[cfg(target_os = "linux")]
    fn punch(&self, offset: u64, len: u64) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags;
        rustix::fs::fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
    }

    #[cfg(target_os = "linux")]
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        use rustix::fs::FallocateFlags;
        rustix::fs::fallocate(&self.file, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE, offset, len)
    }

    #[cfg(not(target_os = "linux"))]
    fn punch(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    #[cfg(not(target_os = "linux"))]
    fn zero(&self, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::OPNOTSUPP)
    }

    fn covers(&self, bytes: u64) -> bool {
        // What cannot be inspected fails by itself soon.
        !self.regular || rustix::fs::fstat(&self.file).map_or(true, |stat| stat.st_size as u64 >= bytes)
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn way(&self) -> Way<'_> {
        #[cfg(target_os = "linux")]
        if self.ring {
            return Way::File(std::os::fd::AsFd::as_fd(&self.file));
        }
        Way::Calls
    }
}

#[cfg(target_os = "linux")]
fn direct_flag() -> Result<OFlags, Errno> {
    Ok(OFlags::DIRECT)
}

#[cfg(not(target_os = "linux"))]
fn direct_flag() -> Result<OFlags, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// What direct I/O must be aligned to; the page size where the system does not say.
#[cfg(target_os = "linux")]
fn direct_alignment(file: &OwnedFd, regular: bool) -> u32 {
    use rustix::fs::{AtFlags, StatxFlags};
    if !regular {
        return rustix::fs::ioctl_blksszget(file).unwrap_or(4096);
    }
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) {
        Ok(stat) if stat.stx_dio_offset_align > 0 => stat.stx_dio_offset_align.max(stat.stx_dio_mem_align),
        _ => 4096,
    }
}

#[cfg(not(target_os = "linux"))]
fn direct_alignment(_: &OwnedFd, _: bool) -> u32 {
    4096
}

#[cfg(target_os = "linux")]
fn in_memory(file: &OwnedFd) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|fs| fs.f_type as u64 == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn in_memory(_: &OwnedFd) -> bool {
    false
}

/// Asks by punching beyond the end, where there is nothing to lose.
#[cfg(target_os = "linux")]
fn can_punch(file: &OwnedFd, bytes: u64) -> bool {
    use rustix::fs::FallocateFlags;
    let beyond = bytes.next_multiple_of(4096);
    rustix::fs::fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, beyond, 4096).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn can_punch(_: &OwnedFd, _: u64) -> bool {
    false
}

/// The same for the same file on every start, and different from every other: made of this machine, the file system, the file's
/// number and its birth; of a device, of this machine and the name it was given by (which `/dev/disk/by-id` keeps stable).
fn identity(path: &Path, file: &OwnedFd, stat: &rustix::fs::Stat, regular: bool) -> Identity {
    let mut hash = Fnv::new();
    hash.add(b"nvmf file backend 1");
    hash.add(&std::fs::read("/etc/machine-id").unwrap_or_default());
    if regular {
        hash.add(&rustix::fs::fstatvfs(file).map_or(0, |fs| fs.f_fsid).to_le_bytes());
        hash.add(&stat.st_ino.to_le_bytes());
        let (seconds, nanoseconds) = birth(file);
        hash.add(&seconds.to_le_bytes());
        hash.add(&nanoseconds.to_le_bytes());
    } else {
        hash.add(path.as_os_str().as_bytes());
    }
    Identity(uuid::Builder::from_custom_bytes(hash.0.to_be_bytes()).into_uuid().into_bytes())
}

#[cfg(target_os = "linux")]
fn birth(file: &OwnedFd) -> (i64, u32) {
    use rustix::fs::{AtFlags, StatxFlags};
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) {
        Ok(stat) if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME) => {
            (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)
        }
        _ => (0, 0),
    }
}

#[cfg(not(target_os = "linux"))]
fn birth(_: &OwnedFd) -> (i64, u32) {
    (0, 0)
}

/// FNV-1a with 128 bits: stable across versions and machines, which the standard library's hashers do not promise.
struct Fnv(u128);

impl Fnv {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Adds a field; its length keeps neighbours apart.
    fn add(&mut self, field: &[u8]) {
        for byte in (field.len() as u64).to_le_bytes().iter().chain(field) {
            self.0 ^= u128::from(*byte);
            self.0 = self.0.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
