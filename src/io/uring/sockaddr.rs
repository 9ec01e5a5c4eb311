//! Socket addresses as the kernel writes them.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;

/// An IPv4 or IPv6 address in kernel form.
pub(super) struct SockAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

impl SockAddr {
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub fn len(&self) -> libc::socklen_t {
        self.len
    }

    fn empty() -> SockAddr {
        // SAFETY: all zeroes is a valid sockaddr_storage.
        let storage = unsafe { mem::zeroed() };
        SockAddr { storage, len: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// The address that `call` (getsockname or getpeername) gives for a socket.
    fn asked(fd: RawFd, call: AddressCall) -> io::Result<SocketAddr> {
        let mut addr = SockAddr::empty();
        // SAFETY: `storage` is writable and as long as `len` says.
        let result = unsafe { call(fd, (&raw mut addr.storage).cast(), &mut addr.len) };
        match result {
            0 => addr.to_std(),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn to_std(&self) -> io::Result<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in; the storage is large and aligned enough.
                let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for sockaddr_in6.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> SockAddr {
        let mut kernel = SockAddr::empty();
        match addr {
            SocketAddr::V4(addr) => {
                // SAFETY: the storage is large and aligned enough for every kind of address.
                let v4 = unsafe { &mut *(&raw mut kernel.storage).cast::<libc::sockaddr_in>() };
                v4.sin_family = libc::AF_INET as libc::sa_family_t;
                v4.sin_port = addr.port().to_be();
                v4.sin_addr.s_addr = u32::from(*addr.ip()).to_be();
                kernel.len = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(addr) => {
                // SAFETY: as above.
                let v6 = unsafe { &mut *(&raw mut kernel.storage).cast::<libc::sockaddr_in6>() };
                v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                v6.sin6_port = addr.port().to_be();
                v6.sin6_addr.s6_addr = addr.ip().octets();
                v6.sin6_flowinfo = addr.flowinfo();
                v6.sin6_scope_id = addr.scope_id();
                kernel.len = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        kernel
    }
}

/// The address that a socket is bound to.
pub(in crate::io) fn local_addr(fd: RawFd) -> io::Result<SocketAddr> {
    SockAddr::asked(fd, libc::getsockname)
}

/// The address at the other end of a connected socket; fails when that end is gone already.
pub(super) fn peer_addr(fd: RawFd) -> io::Result<SocketAddr> {
    SockAddr::asked(fd, libc::getpeername)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_to_kernel_form_and_back() {
        for text in ["127.0.0.1:3030", "0.0.0.0:0", "255.1.2.3:65535", "[::1]:80", "[fe80::1%7]:443"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SockAddr::from(addr).to_std().unwrap(), addr);
        }
    }
}
