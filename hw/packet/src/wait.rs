//! Waiting until a packet comes, for a worker that has nothing to do.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crate::socket::PacketSocket;

/// Descriptors of packet sockets, to wait on all of them at once. They are the waiter's own, of the
/// same sockets: ports may end before it.
#[derive(Debug)]
pub struct Waiter {
    sockets: Vec<OwnedFd>,
    polled: Vec<libc::pollfd>,
}

impl Waiter {
    /// Waits on these sockets.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new<'s>(sockets: impl Iterator<Item = &'s PacketSocket>) -> io::Result<Self> {
        let sockets = sockets.map(|socket| socket.as_fd().try_clone_to_owned());
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        let polled = sockets.iter().map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        Ok(Self {
            polled: polled.collect(),
            sockets,
        })
    }

    /// Sleeps until a socket has a packet or something else to say (its interface went down), a signal
    /// comes, or `most` is over: ppoll(2). A packet that is there already, or that comes on the way to sleep,
    /// ends it at once.
    ///
    /// Returns whether a socket has something.
    pub fn wait(&mut self, most: Duration) -> bool {
        debug_assert_eq!(self.polled.len(), self.sockets.len());
        let most = libc::timespec {
            tv_sec: most.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(most.subsec_nanos() as i32),
        };
        // SAFETY: the array is live and as long as is said, its descriptors are `sockets`, the time is
        // only read, and no signal mask is given.
        let ready = unsafe {
            libc::ppoll(
                self.polled.as_mut_ptr(),
                self.polled.len() as libc::nfds_t,
                &raw const most,
                std::ptr::null(),
            )
        };
        ready > 0
    }
}
