//! Receive moderation: under load a worker waits a little for more packets before it turns again.
//!
//! A turn costs some system calls however few packets it finds on a `packet:` port, and the pieces
//! of a response that arrive a few microseconds apart leave as one packet when one turn sees them
//! together. NICs do the same to their interrupts. With few packets about, or few exchanges, nobody
//! waits: their next packet comes only after ours has left; nor does anybody while more packets wait than a
//! turn takes.

use dataplane::worker::Turn;

/// Packets in [`WINDOW`] from which on a worker waits.
const DENSE: u32 = 20;
/// Exchanges under way from which on a worker waits. Measured: 4 connections lose by waiting what 16
/// win.
const MANY: u32 = 10;
/// Over which packets are counted, in ns.
const WINDOW: u64 = 1_000_000;

/// Decides how long a turn lasts at least.
#[derive(Debug)]
pub struct Pacer {
    /// Least time from the beginning of one turn to that of the next under load, in ns; 0: none.
    least: u64,
    window_end: u64,
    packets: u32,
    dense: bool,
}

impl Pacer {
    /// Turns of at least `least_us` microseconds under load.
    pub fn new(least_us: u32) -> Self {
        Self {
            least: u64::from(least_us) * 1000,
            window_end: 0,
            packets: 0,
            dense: false,
        }
    }

    /// When the turn after `turn`, which began at `start` and ended at `end`, is to begin, if not at
    /// once. Times are in ns.
    pub fn next(&mut self, start: u64, end: u64, turn: Turn) -> Option<u64> {
        self.packets += turn.packets;
        if end >= self.window_end {
            self.dense = self.packets >= DENSE;
            self.packets = 0;
            self.window_end = end + WINDOW;
        }
        let until = start + self.least;
        let waits = self.dense && turn.exchanges >= MANY && !turn.more;
        (waits && until > end).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1000;

    fn turn(packets: u32) -> Turn {
        Turn {
            busy: true,
            packets,
            more: false,
            exchanges: MANY,
            charged: 0,
        }
    }

    #[test]
    fn waits_only_while_packets_are_dense() {
        let mut pacer = Pacer::new(100);
        let (mut now, mut waits) = (0, 0);
        // 40 packets a millisecond, each in a turn of 5 µs.
        for _ in 0..400 {
            let end = now + 5 * US;
            now = match pacer.next(now, end, turn(1)) {
                Some(until) => {
                    assert_eq!(until, now + 100 * US);
                    waits += 1;
                    until
                }
                None => end + 20 * US,
            };
        }
        assert!(waits > 10, "{waits}");
        // One a millisecond: after the window in which that shows, nobody waits.
        let waits = (0..20)
            .filter(|_| {
                let waited = pacer.next(now, now + 5 * US, turn(1)).is_some();
                now += 1000 * US;
                waited
            })
            .count();
        assert!(waits <= 1, "{waits}");
    }

    #[test]
    fn never_prolongs_a_long_turn_and_can_be_off() {
        let mut pacer = Pacer::new(100);
        let _ = pacer.next(0, 1, turn(100));
        assert_eq!(pacer.next(0, 200 * US, turn(100)), None);
        assert_eq!(pacer.next(0, 100 * US, turn(100)), None);
        assert_eq!(pacer.next(0, 99 * US, turn(100)), Some(100 * US));
        let few = Turn {
            exchanges: MANY - 1,
            ..turn(100)
        };
        assert_eq!(pacer.next(0, 99 * US, few), None);
        let more = Turn {
            more: true,
            ..turn(100)
        };
        assert_eq!(pacer.next(0, 99 * US, more), None);
        let mut off = Pacer::new(0);
        let _ = off.next(0, 1, turn(100));
        assert_eq!(off.next(0, 1, turn(100)), None);
    }
}
