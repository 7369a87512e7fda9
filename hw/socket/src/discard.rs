//! `recv(2)` with `MSG_TRUNC`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Receives up to `len` bytes of a TCP socket and throws them away: they are taken from its queue, and
/// acknowledged, but not copied. Never waits. Returns how many there were; 0 when the peer has closed (or
/// `len` is 0).
///
/// tcp(7): "Since version 2.4, Linux supports the use of MSG_TRUNC in the flags argument of recv(2)
/// (and recvmsg(2)). This flag causes the received bytes of data to be discarded, rather than passed
/// back in a caller-supplied buffer."
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when nothing is there, and those of recv(2).
pub fn discard(socket: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC the kernel writes nothing to the buffer of a TCP socket (tcp_recvmsg_locked
    // in net/ipv4/tcp.c copies only without it), and of sockets of other kinds, which would write, it
    // finds null and returns EFAULT. The descriptor is open as long as `socket` is borrowed.
    let received = unsafe { libc::recv(socket.as_raw_fd(), ptr::null_mut(), len, flags) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}
