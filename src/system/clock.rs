//! The worker's clock.

use std::time::{Duration, Instant};

/// Nanoseconds since it was started. Never runs back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock at 0.
    #[allow(
        clippy::disallowed_methods,
        reason = "the launch side gives the engine its time"
    )]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time. `CLOCK_MONOTONIC` through the vDSO: no system call, about 20 ns.
    #[inline]
    #[allow(
        clippy::disallowed_methods,
        reason = "the launch side gives the engine its time"
    )]
    pub fn now_ns(self) -> u64 {
        let since = Instant::now().duration_since(self.start);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }

    /// The same in microseconds.
    #[inline]
    pub fn now_us(self) -> u64 {
        self.now_ns() / 1000
    }
}

/// The time of day, in nanoseconds since 1970; 0 for a clock that was never set.
#[allow(
    clippy::disallowed_methods,
    reason = "the access log and `Date` fields have the time of day"
)]
pub fn unix_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since: Duration| since.as_nanos() as u64)
}
