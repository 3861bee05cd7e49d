//! Memory: the shared segment, and the private page by which a process notices that it is a forked
//! child. Both are made before any fork and unmapped on drop.

use super::{Errno, Fd, Result, retry};
use crate::sync::{AtomicU64, Ordering};
use core::ptr::{self, NonNull};
use std::ffi::CString;

/// Zeroed memory that every child forked later shares. Pages are made when first touched.
#[derive(Debug)]
pub struct SharedMap {
    base: NonNull<u8>,
    len: usize,
    /// Kept, so that /proc/PID/fd shows the memory to whoever looks from outside. None: not made here.
    memory: Option<Fd>,
}

// SAFETY: the mapping belongs to the process, not to a thread. What lies in it is accessed through
// `as_ptr` alone, and `shm` answers for those accesses.
unsafe impl Send for SharedMap {}
// SAFETY: as above; `&SharedMap` gives out only the address and the length.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// `name` is what /proc/PID/maps shows. A memfd rather than anonymous memory, because its size
    /// can be sealed: nobody who opens it through /proc can truncate it and make every
    /// participant's next access a SIGBUS.
    pub fn new(name: &str, len: usize) -> Result<SharedMap> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        if cfg!(miri) {
            // It runs one process and knows no memfd.
            let base = map(len, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
            return Ok(SharedMap {
                base,
                len,
                memory: None,
            });
        }
        let size = libc::off_t::try_from(len).map_err(|_| Errno::EOVERFLOW)?;
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        // The kernel would not only refuse it, but end the process by SIGXFSZ.
        if len as u64 > super::process::file_limit() {
            return Err(Errno::EFBIG);
        }
        let memory = memfd(&name)?;
        // SAFETY: no pointers.
        retry(|| unsafe { libc::ftruncate(memory.as_raw(), size) })?;
        let base = map(len, protection, libc::MAP_SHARED, memory.as_raw())?;
        let made = SharedMap {
            base,
            len,
            memory: Some(memory),
        };
        // Who has it mapped already, and who is forked from there, goes on writing; who opens it through
        // /proc can but read. A kernel before 5.1 does not know this seal.
        made.seal(libc::F_SEAL_FUTURE_WRITE)
            .or_else(|_| made.seal(0))?;
        Ok(made)
    }

    fn seal(&self, more: libc::c_int) -> Result<()> {
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL | more;
        let fd = self.memory.as_ref().map_or(-1, Fd::as_raw);
        // SAFETY: F_ADD_SEALS takes an int.
        retry(|| unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }).map(drop)
    }

    /// The memory of another process, to read: `fd` is an open memfd, and stays the caller's. EPERM: its
    /// size is not sealed, so that a read could end in SIGBUS.
    ///
    /// A write to it would be a SIGSEGV. Loads of at most eight bytes, of any ordering, are plain load
    /// instructions on the 64-bit machines that the library runs on.
    pub fn view(fd: super::RawFd) -> Result<SharedMap> {
        // SAFETY: F_GET_SEALS takes no argument.
        let seals = retry(|| unsafe { libc::fcntl(fd, libc::F_GET_SEALS) })?;
        if seals & libc::F_SEAL_SHRINK == 0 {
            return Err(Errno::EPERM);
        }
        // SAFETY: plain integers, for which zero is a value.
        let mut about: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: `about` is valid to write.
        retry(|| unsafe { libc::fstat(fd, &raw mut about) })?;
        let len = usize::try_from(about.st_size).map_err(|_| Errno::EOVERFLOW)?;
        let base = map(len, libc::PROT_READ, libc::MAP_SHARED, fd)?;
        Ok(SharedMap {
            base,
            len,
            memory: None,
        })
    }

    #[cfg(test)]
    pub fn fd(&self) -> Option<super::RawFd> {
        self.memory.as_ref().map(Fd::as_raw)
    }

    /// Page aligned.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: mmap refuses an empty mapping.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        unmap(self.base, self.len);
    }
}

/// One word that a child reads as 0 after fork, whoever forked it and however (MADV_WIPEONFORK).
/// A pid comparison would cost a system call and is fooled when numbers are used again.
#[derive(Debug)]
pub struct IdentityPage {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the page is only ever accessed as one AtomicU64.
unsafe impl Send for IdentityPage {}
// SAFETY: as above.
unsafe impl Sync for IdentityPage {}

impl IdentityPage {
    /// Holds 0. EINVAL from a kernel older than 4.14.
    pub fn new() -> Result<IdentityPage> {
        // The advice needs whole pages; sysconf does not fail for this name.
        // SAFETY: no pointers.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let len = usize::try_from(page_bytes).map_err(|_| Errno::EINVAL)?;
        let base = map(
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
        )?;
        let page = IdentityPage { base, len };
        // SAFETY: the range is the mapping made above.
        retry(|| unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_WIPEONFORK) })?;
        Ok(page)
    }

    pub fn get(&self) -> u64 {
        self.word().load(Ordering::Acquire)
    }

    /// One atomic step from the present word to what `change` makes of it; `None`: stays. Returns the
    /// word as it was, `Err` when it stayed.
    pub fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> core::result::Result<u64, u64> {
        self.word()
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped while `self` lives, aligned, starts as zeroes (a valid
        // AtomicU64), and nothing accesses it in another way.
        unsafe { self.base.cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for IdentityPage {
    fn drop(&mut self) {
        unmap(self.base, self.len);
    }
}

fn memfd(name: &CString) -> Result<Fd> {
    let create = |flags: libc::c_uint| {
        // SAFETY: `name` is NUL-terminated and lives over the call.
        retry(|| unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_CLOEXEC) })
            .map(Fd::from_raw)
    };
    // A hardened kernel (vm.memfd_noexec=2) refuses one that could be executed; a kernel before 6.3
    // does not know the flag. It implies ALLOW_SEALING.
    match create(libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => create(libc::MFD_ALLOW_SEALING),
        made => made,
    }
}

fn map(len: usize, protection: i32, flags: i32, fd: i32) -> Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address the kernel chooses touches no existing memory.
    let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd, 0) };
    if base == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(base.cast()).ok_or(Errno::ENOMEM)
}

fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: called once, from drop, for exactly the mapping that `map` returned.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}
