//! The system calls on sockets that never wait, and so need no ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use super::sockaddr::{SockAddr, local_addr};

/// Connections that the kernel completes before anybody accepts them; it takes the smaller of this and
/// the sysctl net.core.somaxconn.
const BACKLOG: libc::c_int = 4096;

/// A listener rests this long when the process has no descriptor or memory for another connection:
/// the connection stays in the backlog, and asking again at once would fail at once.
pub(in crate::io) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a listener does after an accept that failed.
pub(in crate::io) enum AfterFailure {
    Again,
    /// Again after [`ACCEPT_REST`].
    Rest,
    End,
}

pub(in crate::io) fn after_failed_accept(error: &io::Error) -> AfterFailure {
    match error.raw_os_error().unwrap_or(0) {
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => AfterFailure::Rest,
        // The connection failed before it was accepted; the listener is well.
        libc::ECONNABORTED
        | libc::EPROTO
        | libc::ENOPROTOOPT
        | libc::EPERM
        | libc::EINTR
        | libc::EAGAIN
        | libc::ENETDOWN
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::EHOSTUNREACH
        | libc::ENONET => AfterFailure::Again,
        _ => AfterFailure::End,
    }
}

/// Checks that nobody listens at `addr`, and chooses a port when it has none. The address is released
/// again, for the cores to share it.
pub fn reserve_address(addr: SocketAddr) -> io::Result<SocketAddr> {
    let socket = tcp_socket(addr)?;
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    bind(socket.as_raw_fd(), addr)?;
    local_addr(socket.as_raw_fd())
}

/// A socket that listens at `addr` beside those of other cores, and the address with its port.
pub(in crate::io) fn listen(addr: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = tcp_socket(addr)?;
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
    bind(fd, addr)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::listen(fd, BACKLOG) })?;
    let addr = local_addr(fd)?;
    Ok((socket, addr))
}

/// A socket that was open when the process began, once it is seen to be one that listens for TCP. Called once for each.
pub fn inherited_listener(fd: RawFd) -> io::Result<OwnedFd> {
    let is = |name, wanted| option(fd, name).map(|value| value == wanted);
    let listens = is(libc::SO_ACCEPTCONN, 1)?
        && is(libc::SO_TYPE, libc::SOCK_STREAM)?
        && (is(libc::SO_DOMAIN, libc::AF_INET)? || is(libc::SO_DOMAIN, libc::AF_INET6)?);
    if !listens {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no listening TCP socket"));
    }
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    // SAFETY: it is open, and belongs to whoever was told of it, once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket that sends without delay. Sockets accepted from a listening one inherit that on Linux.
pub(super) fn tcp_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    Ok(socket)
}

/// Ends both directions.
pub(in crate::io) fn shutdown(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) }).map(drop)
}

/// Receives what is there; `WouldBlock` when nothing is.
///
/// # Safety
/// `ptr` must be writable for `len` bytes, and nobody else may look at them.
pub(super) unsafe fn receive_now(fd: RawFd, ptr: NonNull<u8>, len: usize) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    let count = unsafe { libc::recv(fd, ptr.as_ptr().cast(), len, libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn bind(fd: RawFd, addr: SocketAddr) -> io::Result<()> {
    let addr = SockAddr::from(addr);
    // SAFETY: the address is valid for the whole call and as long as said.
    check(unsafe { libc::bind(fd, addr.as_ptr(), addr.len()) }).map(drop)
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is valid for the whole call and as long as said.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), len) }).map(drop)
}

/// A number among the options of the socket's own level.
fn option(fd: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is writable and as long as said.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_a_listening_socket_is_taken_over() {
        let (listener, _) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(inherited_listener(listener.into_raw_fd()).is_ok());
        let idle = tcp_socket("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(inherited_listener(idle.as_raw_fd()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(inherited_listener(file.as_raw_fd()).is_err());
    }

    #[test]
    fn a_reserved_address_is_free_and_a_taken_one_is_refused() {
        let free = reserve_address("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(free.port(), 0);
        let (first, addr) = listen(free).unwrap();
        assert_eq!(addr, free);
        let (_second, _) = listen(free).expect("cores share an address");
        assert_eq!(reserve_address(free).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = reserve_address(other.local_addr().unwrap());
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_sockets_send_without_delay() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let Ok((listener, addr)) = listen(addr.parse().unwrap()) else { continue };
            let _client = TcpStream::connect(addr).unwrap();
            let (accepted, _) = TcpListener::from(listener).accept().unwrap();
            assert!(accepted.nodelay().unwrap());
        }
    }
}
