//! Waking up at a microsecond, which `epoll_wait` and its milliseconds cannot.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer of the kernel's that a poll waits for like for a socket.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
    /// The time that it is set to, of the caller's clock.
    set_us: u64,
}

impl Alarm {
    /// A timer that is not set, and that wakes `registry`'s poll with `token`.
    ///
    /// # Errors
    /// When the kernel refuses another descriptor.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Edge-triggered, as mio has it: each expiry wakes, without being read.
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer, set_us: 0 })
    }

    /// Wakes the poll at `at_us`; it is `now_us`. A system call, unless it is set to that already.
    ///
    /// # Errors
    /// Those of timerfd_settime(2).
    pub fn set(&mut self, at_us: u64, now_us: u64) -> io::Result<()> {
        if self.set_us == at_us {
            return Ok(());
        }
        self.set_us = at_us;
        // 0 would turn it off.
        let wait_us = at_us.saturating_sub(now_us).max(1);
        let value = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: (wait_us / 1_000_000) as i64,
                tv_nsec: (wait_us % 1_000_000 * 1000) as i64,
            },
        };
        let _old = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        Ok(())
    }
}
