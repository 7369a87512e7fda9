//! `IP_BIND_ADDRESS_NO_PORT`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes `bind` with port 0 leave the port open until `connect`, which chooses it with the destination
/// in view. Otherwise `bind` takes a port of that address from everybody, whatever it will be connected
/// to, and the address is used up after `net.ipv4.ip_local_port_range`.
///
/// ip(7), `IP_BIND_ADDRESS_NO_PORT` (since Linux 4.2). Sockets of IPv6 have the same option.
///
/// # Errors
/// Those of setsockopt(2).
pub fn defer_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is an int that lives until the call returns, and its size is told. The
    // descriptor is open as long as `socket` is borrowed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
