//! A link between two ends that loses, repeats, delays, reorders and damages packets, from a seed.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use super::rng::Rng;

/// Virtual time in µs, shared by everything in a world.
#[derive(Clone, Debug, Default)]
pub struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// Now.
    pub fn now(&self) -> u64 {
        self.0.get()
    }

    /// Moves on to `at`; time never goes back.
    pub fn advance(&self, at: u64) {
        debug_assert!(at >= self.now(), "time went back");
        self.0.set(at);
    }
}

/// What a link does to packets, each packet by itself. Chances are in parts of a million.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Chance that a packet vanishes.
    pub loss: u32,
    /// Chance that a packet arrives twice.
    pub duplicate: u32,
    /// Chance that a packet is held back for up to [`Faults::reorder_us`] and overtaken.
    pub reorder: u32,
    /// Chance that one bit behind the Ethernet header is flipped.
    pub damage: u32,
    /// Least time on the way, in µs.
    pub delay_us: u64,
    /// Most that is added to the delay of each packet, in µs. Does not reorder by itself.
    pub jitter_us: u64,
    /// How long a reordered packet is held back at most, in µs.
    pub reorder_us: u64,
    /// Bits per second; 0: no limit.
    pub bandwidth: u64,
}

/// One of the two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end the worker's port is at.
    Port,
    /// The end the hosts are at.
    Hosts,
}

/// What a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    /// Packets sent into it.
    pub sent: u64,
    /// Packets that vanished.
    pub lost: u64,
    /// Packets that came out twice.
    pub duplicated: u64,
    /// Packets held back.
    pub reordered: u64,
    /// Packets with a flipped bit.
    pub damaged: u64,
}

/// A packet under way. Ordered by arrival, then by the order in which they were sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: u64,
    number: u64,
    bytes: Vec<u8>,
}

/// One direction of the link.
#[derive(Debug)]
struct Lane {
    rng: Rng,
    faults: Faults,
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
    /// Arrival of the last packet that was not held back: jitter must not overtake it.
    last: u64,
    /// When the transmitter is free again.
    idle_at: u64,
    stats: WireStats,
}

impl Lane {
    fn new(rng: Rng, faults: Faults) -> Self {
        Self {
            rng,
            faults,
            flying: BinaryHeap::new(),
            number: 0,
            last: 0,
            idle_at: 0,
            stats: WireStats::default(),
        }
    }

    fn launch(&mut self, at: u64, bytes: Vec<u8>) {
        self.number += 1;
        self.flying.push(Reverse(Flying {
            at,
            number: self.number,
            bytes,
        }));
    }

    fn send(&mut self, now: u64, mut bytes: Vec<u8>) {
        let faults = self.faults;
        self.stats.sent += 1;
        self.idle_at = self.idle_at.max(now);
        // 24 bytes of every Ethernet frame are preamble, checksum and gap (IEEE 802.3).
        let bits = (bytes.len() as u64 + 24) * 8;
        self.idle_at += (bits * 1_000_000)
            .checked_div(faults.bandwidth)
            .unwrap_or(0);
        if self.rng.chance(faults.loss) {
            self.stats.lost += 1;
            return;
        }
        if self.rng.chance(faults.damage) && bytes.len() > 14 {
            self.stats.damaged += 1;
            let bit = self.rng.below((bytes.len() as u64 - 14) * 8);
            bytes[14 + bit as usize / 8] ^= 1 << (bit % 8);
        }
        let jitter = self.rng.below(faults.jitter_us + 1);
        let mut at = (self.idle_at + faults.delay_us + jitter).max(self.last);
        if self.rng.chance(faults.reorder) {
            self.stats.reordered += 1;
            at += self.rng.below(faults.reorder_us + 1);
        } else {
            self.last = at;
        }
        if self.rng.chance(faults.duplicate) {
            self.stats.duplicated += 1;
            let again = at + self.rng.below(faults.reorder_us + 1);
            self.launch(again, bytes.clone());
        }
        self.launch(at, bytes);
    }
}

/// A link. `clone` makes another handle of the same link.
#[derive(Clone, Debug)]
pub struct Wire(Rc<RefCell<[Lane; 2]>>);

impl Wire {
    /// A link with the same faults, each by itself, in both directions.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        Self(Rc::new(RefCell::new([
            Lane::new(rng.fork(), faults),
            Lane::new(rng.fork(), faults),
        ])))
    }

    /// Changes what the link does to packets sent from now on.
    pub fn set_faults(&self, faults: Faults) {
        for lane in self.0.borrow_mut().iter_mut() {
            lane.faults = faults;
        }
    }

    /// Sends a packet from `end` to the other one.
    pub fn send(&self, end: End, now: u64, bytes: Vec<u8>) {
        self.0.borrow_mut()[end as usize].send(now, bytes);
    }

    /// The next packet that has arrived at `end` by `now`.
    pub fn receive(&self, end: End, now: u64) -> Option<Vec<u8>> {
        let lane = &mut self.0.borrow_mut()[1 - end as usize];
        if lane.flying.peek()?.0.at > now {
            return None;
        }
        lane.flying.pop().map(|flying| flying.0.bytes)
    }

    /// When the next packet arrives at `end`.
    pub fn next_arrival(&self, end: End) -> Option<u64> {
        let lane = &self.0.borrow()[1 - end as usize];
        lane.flying.peek().map(|flying| flying.0.at)
    }

    /// Packets sent from `end` that have not been received.
    pub fn flying(&self, end: End) -> usize {
        self.0.borrow()[end as usize].flying.len()
    }

    /// When the transmitter at `end` has sent all that was given to it.
    pub fn idle_at(&self, end: End) -> u64 {
        self.0.borrow()[end as usize].idle_at
    }

    /// What happened to the packets sent from `end`.
    pub fn stats(&self, end: End) -> WireStats {
        self.0.borrow()[end as usize].stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seed: u64, faults: Faults) -> Vec<(u64, u8)> {
        let wire = Wire::new(seed, faults);
        for i in 0..100 {
            wire.send(End::Hosts, u64::from(i) * 10, vec![i; 60]);
        }
        let mut seen = Vec::new();
        while let Some(at) = wire.next_arrival(End::Port) {
            seen.push((at, wire.receive(End::Port, at).unwrap()[0]));
        }
        seen
    }

    #[test]
    fn a_clean_wire_keeps_order_even_with_jitter() {
        let seen = arrivals(
            1,
            Faults {
                delay_us: 50,
                jitter_us: 200,
                ..Faults::default()
            },
        );
        assert_eq!(seen.len(), 100);
        assert!(seen.is_sorted());
        assert!(
            seen.iter()
                .enumerate()
                .all(|(i, (_, tag))| *tag as usize == i)
        );
    }

    #[test]
    fn faults_follow_from_the_seed() {
        let faults = Faults {
            loss: 100_000,
            duplicate: 100_000,
            reorder: 100_000,
            reorder_us: 500,
            delay_us: 10,
            ..Faults::default()
        };
        let seen = arrivals(7, faults);
        assert_eq!(seen, arrivals(7, faults));
        assert_ne!(seen, arrivals(8, faults));
        let tags: Vec<u8> = seen.iter().map(|(_, tag)| *tag).collect();
        assert!(!tags.is_sorted(), "nothing was overtaken");
    }

    #[test]
    fn bandwidth_spaces_packets() {
        // 60 + 24 bytes at 6.72 Mbit/s take 100 µs.
        let seen = arrivals(
            1,
            Faults {
                bandwidth: 6_720_000,
                ..Faults::default()
            },
        );
        assert_eq!(seen[0].0, 100);
        assert_eq!(seen[99].0, 10_000);
    }
}
