//! A worker's clock: the processor's ticks, held to the system's clock.
//!
//! A worker reads it once a turn. Reading ticks takes some 25 cycles where `CLOCK_MONOTONIC` takes
//! 60, and the engine's account of stages wants ticks anyway. The rate is only believed for a
//! millisecond or so: whenever its owner looks at the time of day, and when ticks make a leap (the machine
//! slept, or moved), the system's clock says what time it is.

use super::clock::Clock;

/// More nanoseconds between two readings than a worker lets pass: the system's clock is asked.
const LEAP: u64 = 10_000_000;

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since the clock was started.
    pub ns: u64,
    /// What the tick source said.
    pub ticks: u64,
}

/// Nanoseconds and ticks. Never runs back.
#[derive(Debug)]
pub struct TickClock {
    system: Clock,
    ticks: fn() -> u64,
    /// Nanoseconds of a tick, times 2³².
    scale: u64,
    /// When the system's clock was last asked.
    anchor: Moment,
}

impl TickClock {
    /// A clock at 0. `ticks` counts `per_second` a second.
    pub fn start(ticks: fn() -> u64, per_second: u64) -> Self {
        let system = Clock::start();
        let scale = (1_000_000_000_u128 << 32) / u128::from(per_second.max(1));
        Self {
            scale: u64::try_from(scale).unwrap_or(u64::MAX),
            anchor: Moment {
                ns: system.now_ns(),
                ticks: ticks(),
            },
            system,
            ticks,
        }
    }

    /// The time.
    #[inline]
    pub fn read(&mut self) -> Moment {
        let ticks = (self.ticks)();
        let since = self.since_anchor(ticks);
        if since < LEAP {
            let ns = self.anchor.ns + since;
            return Moment { ns, ticks };
        }
        self.ask(ticks, self.anchor.ns)
    }

    /// The time by the system's clock, which the next readings start from.
    pub fn correct(&mut self) -> Moment {
        let Moment { ns, ticks } = self.read();
        self.ask(ticks, ns)
    }

    /// Nanoseconds from the last correction to `ticks`; the most there are when ticks ran back.
    fn since_anchor(&self, ticks: u64) -> u64 {
        let Some(since) = ticks.checked_sub(self.anchor.ticks) else {
            return u64::MAX;
        };
        let ns = (u128::from(since) * u128::from(self.scale)) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    fn ask(&mut self, ticks: u64, least: u64) -> Moment {
        let ns = self.system.now_ns().max(least);
        self.anchor = Moment { ns, ticks };
        self.anchor
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    thread_local! {
        static TICKS: Cell<u64> = const { Cell::new(0) };
    }

    fn ticks() -> u64 {
        TICKS.get()
    }

    /// Two ticks a nanosecond.
    fn clock() -> TickClock {
        TICKS.set(1 << 63);
        TickClock::start(ticks, 2_000_000_000)
    }

    #[test]
    fn ticks_become_nanoseconds() {
        let mut clock = clock();
        let start = clock.read();
        TICKS.set(TICKS.get() + 2_000_000);
        assert_eq!(clock.read().ns - start.ns, 1_000_000);
        assert_eq!(clock.read().ticks, TICKS.get());
    }

    #[test]
    fn ticks_that_leap_are_not_believed_and_time_never_runs_back() {
        let mut clock = clock();
        let mut last = clock.read().ns;
        for leap in [1 << 40, u64::MAX / 2, 1_u64.wrapping_neg() << 41, 7] {
            TICKS.set(TICKS.get().wrapping_add(leap));
            let now = clock.read().ns;
            assert!(now >= last && now < 60_000_000_000, "{leap}: {now}");
            last = now;
        }
        // Ticks that count too fast are overtaken in the end.
        TICKS.set(TICKS.get() + 2_000_000 * 9);
        let fast = clock.read().ns;
        assert!(clock.correct().ns >= fast);
        assert!(clock.read().ns >= fast);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "waits for the system's clock")]
    fn it_follows_the_systems_clock_though_ticks_stand_still() {
        let mut clock = clock();
        let start = clock.read().ns;
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(clock.read().ns, start);
        assert!(clock.correct().ns - start >= 5_000_000);
    }
}
