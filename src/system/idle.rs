//! What a worker does with its core while no packet comes: spin, or after a while sleep.
//!
//! Nobody sleeps who has anything to do or may soon have: [`Napper::nap`] is asked after turns in
//! which there was nothing, and says for how long only when that has lasted for [`PATIENCE`]. Under load
//! it costs a comparison a turn.
//!
//! Where all ports are sockets the worker waits for them, and the kernel wakes it with the first
//! packet. Devices of DPDK cannot be waited for here (their receive interrupts need a descriptor and a
//! driver for each queue; `rte_power_monitor` needs a processor that a guest seldom is given): their
//! workers take short naps, and a packet waits for as long as one takes.

use std::time::Duration;

use packet::Waiter;

use super::any_port::AnyPort;
use crate::cli::Idle;

/// How long nothing has come before a worker sleeps, in ns: longer than a peer on the same link takes
/// to answer, so that nobody sleeps in the middle of an exchange with a quick one.
const PATIENCE: u64 = 200_000;

/// How long the first nap is where no descriptor wakes, in ns; each is twice as long as the one before.
const FIRST_NAP: u64 = 50_000;

/// The longest nap where no descriptor wakes, and where other workers hand packets over, which no
/// descriptor tells of, in ns.
const LONGEST_NAP: u64 = 1_000_000;

/// The longest wait for sockets, in ns: so late a signal is noticed at most.
const LONGEST_WAIT: u64 = 10_000_000;

/// How a worker sleeps.
#[derive(Debug)]
enum Bed {
    /// Until a socket has a packet.
    Sockets(Waiter),
    /// For a while.
    Nap,
}

/// Decides when a worker sleeps, and for how long.
#[derive(Debug)]
pub struct Napper {
    /// `None`: it spins.
    bed: Option<Bed>,
    /// The longest sleep, in ns.
    longest: u64,
    /// When there last was something to do, in ns.
    active: u64,
    /// The next nap, in ns.
    next: u64,
}

impl Napper {
    /// A worker with these ports, the only one or not. Falls back to naps when its sockets cannot be
    /// waited for.
    pub fn new(idle: Idle, ports: &[AnyPort], alone: bool) -> Self {
        let bed = (idle == Idle::Adaptive).then(|| {
            let sockets: Option<Vec<_>> = ports.iter().map(AnyPort::socket).collect();
            match sockets.map(|sockets| Waiter::new(sockets.into_iter())) {
                Some(Ok(waiter)) => Bed::Sockets(waiter),
                Some(Err(error)) => {
                    log::warn!("an idle worker cannot wait for its sockets ({error}): it naps");
                    Bed::Nap
                }
                None => Bed::Nap,
            }
        });
        let waits = matches!(bed, Some(Bed::Sockets(_)));
        Self::with(
            bed,
            if waits && alone {
                LONGEST_WAIT
            } else {
                LONGEST_NAP
            },
        )
    }

    fn with(bed: Option<Bed>, longest: u64) -> Self {
        Self {
            bed,
            longest,
            active: 0,
            next: FIRST_NAP,
        }
    }

    /// After a turn that ended at `now` (ns) and was `busy` or not: for how long to sleep.
    /// `deadline` says, in ns, when there is something to do without a packet; it is asked only when
    /// the worker would sleep.
    #[inline]
    pub fn nap(
        &mut self,
        now: u64,
        busy: bool,
        deadline: impl FnOnce() -> Option<u64>,
    ) -> Option<Duration> {
        let bed = self.bed.as_ref()?;
        if busy {
            self.active = now;
            self.next = FIRST_NAP;
            return None;
        }
        if now.saturating_sub(self.active) < PATIENCE {
            return None;
        }
        let most = match bed {
            Bed::Sockets(_) => self.longest,
            Bed::Nap => self.next.min(self.longest),
        };
        let until = deadline().map_or(most, |deadline| deadline.saturating_sub(now));
        if until == 0 {
            return None;
        }
        self.next = (self.next * 2).min(LONGEST_NAP);
        Some(Duration::from_nanos(most.min(until)))
    }

    /// Sleeps.
    #[allow(
        clippy::disallowed_methods,
        reason = "a worker on the launch side has its thread to itself"
    )]
    pub fn sleep(&mut self, most: Duration) {
        match &mut self.bed {
            Some(Bed::Sockets(waiter)) => {
                // Whatever woke it: the next turn looks.
                let _packet = waiter.wait(most);
            }
            Some(Bed::Nap) => std::thread::sleep(most),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn napper() -> Napper {
        Napper::with(Some(Bed::Nap), LONGEST_NAP)
    }

    fn micros(nap: Option<Duration>) -> Option<u64> {
        nap.map(|nap| nap.as_micros() as u64)
    }

    #[test]
    fn one_who_spins_never_sleeps() {
        let mut napper = Napper::with(None, LONGEST_NAP);
        let asked = || panic!("nobody needs to know");
        assert_eq!(napper.nap(1 << 40, false, asked), None);
    }

    #[test]
    fn nobody_sleeps_under_load_or_soon_after() {
        let mut napper = napper();
        let asked = || panic!("nobody needs to know");
        // Turns of 5 µs, one in twenty finds something.
        for turn in 0..10_000 {
            assert_eq!(napper.nap(turn * 5 * US, turn % 20 == 0, asked), None);
        }
    }

    #[test]
    fn naps_grow_until_something_comes() {
        let mut napper = napper();
        let _ = napper.nap(0, true, || None);
        assert_eq!(napper.nap(PATIENCE - 1, false, || None), None);
        let mut now = PATIENCE;
        let mut naps = Vec::new();
        for _ in 0..7 {
            let nap = micros(napper.nap(now, false, || None)).unwrap();
            naps.push(nap);
            now += nap * US;
        }
        assert_eq!(naps, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(napper.nap(now, true, || None), None);
        assert_eq!(napper.nap(now + 10 * US, false, || None), None);
        now += PATIENCE;
        assert_eq!(micros(napper.nap(now, false, || None)), Some(50));
    }

    #[test]
    fn nobody_sleeps_past_a_deadline() {
        let mut napper = napper();
        let now = 1_000 * US;
        for (deadline, nap) in [(now + 20 * US, Some(20)), (now, None), (0, None)] {
            assert_eq!(micros(napper.nap(now, false, || Some(deadline))), nap);
        }
    }
}
