//! Between `Addr` and the kernel's socket addresses.

use super::{Errno, RawFd, Result, retry};
use crate::pure::addr::Addr;
use core::mem::size_of;

/// The two families we speak; every field starts with the family.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union SockAddr {
    pub(super) family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl SockAddr {
    /// The address and its length for the kernel; EAFNOSUPPORT for no address.
    pub(super) fn new(addr: &Addr) -> Result<(SockAddr, libc::socklen_t)> {
        let mut raw = SockAddr::zeroed();
        match addr.family {
            4 => {
                let [a, b, c, d, ..] = addr.ip;
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port.to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes([a, b, c, d]),
                    },
                    sin_zero: [0; 8],
                };
                Ok((raw, size_of::<libc::sockaddr_in>() as libc::socklen_t))
            }
            6 => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: addr.port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: addr.ip },
                    sin6_scope_id: addr.scope_id,
                };
                Ok((raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t))
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// `Addr::none()` for another family.
    fn to_addr(self) -> Addr {
        // SAFETY: `zeroed` and the kernel initialise every byte we read; all bit patterns of all
        // three fields are valid.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET => Addr::v4(
                    self.v4.sin_addr.s_addr.to_ne_bytes(),
                    u16::from_be(self.v4.sin_port),
                ),
                libc::AF_INET6 => Addr::v6(
                    self.v6.sin6_addr.s6_addr,
                    u16::from_be(self.v6.sin6_port),
                    self.v6.sin6_scope_id,
                ),
                _ => Addr::none(),
            }
        }
    }

    fn zeroed() -> SockAddr {
        // SAFETY: all zeroes is valid for all three fields.
        unsafe { core::mem::zeroed() }
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const *self).cast()
    }
}

pub(super) fn domain(addr: &Addr) -> Result<libc::c_int> {
    match addr.family {
        4 => Ok(libc::AF_INET),
        6 => Ok(libc::AF_INET6),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Runs a call that fills in a socket address (accept4, getsockname, getpeername).
pub(super) fn ask(
    mut call: impl FnMut(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
) -> Result<(RawFd, Addr)> {
    let mut raw = SockAddr::zeroed();
    let result = retry(|| {
        // A longer address is cut to this length; its family then maps to none.
        let mut len = size_of::<SockAddr>() as libc::socklen_t;
        call((&raw mut raw).cast(), &raw mut len)
    })?;
    Ok((result, raw.to_addr()))
}
