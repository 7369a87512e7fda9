//! What happens to frames on their way in one direction: a pure function of the seed, the frame's
//! number and the time, with no socket in it.

use std::collections::VecDeque;

/// How a link treats its frames. Probabilities lie between 0 and 1, times are nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame is sent twice.
    pub duplicate: f64,
    /// Probability that a frame is held back until between one and [`MAX_OVERTAKERS`] later ones
    /// have passed it (or [`HOLD`] is over).
    pub reorder: f64,
    /// Probability that one bit of a frame is flipped, where a checksum can tell.
    pub corrupt: f64,
    /// Time every frame takes.
    pub delay: u64,
    /// Most additional time a frame takes. Order is kept: only `reorder` changes it.
    pub jitter: u64,
    /// Most frames under way; those that come when it is reached are lost, as in a router's queue.
    pub limit: usize,
}

/// Most frames that overtake one held back. TCP takes three for a loss (RFC 5681 section 3.2), so
/// both mild and fatal reordering occur.
pub const MAX_OVERTAKERS: u64 = 6;

/// Longest time a frame is held back while nothing overtakes it, in nanoseconds.
pub const HOLD: u64 = 5_000_000;

/// What a link has done, in frames but for `bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Frames offered.
    pub frames: u64,
    /// Bytes offered.
    pub bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because too many were under way.
    pub overflowed: u64,
    /// Held back.
    pub reordered: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Changed by one bit.
    pub corrupted: u64,
    /// Let go, duplicates included.
    pub passed: u64,
}

/// What a link needs to know of a frame.
pub trait Cargo: Clone {
    /// Its length in bytes.
    fn len(&self) -> usize;
    /// Flips a bit chosen by `choice`, if a checksum would tell. Returns whether it did.
    fn corrupt(&mut self, choice: u64) -> bool;
}

struct Waiting<F> {
    frame: F,
    due: u64,
    /// How many frames are to overtake it; 0 for a frame that keeps its place.
    overtakers: u64,
}

/// One direction of an impaired link.
pub struct Link<F> {
    impairment: Impairment,
    seed: u64,
    stats: LinkStats,
    /// In order of arrival, and of `due`.
    queue: VecDeque<Waiting<F>>,
    /// Held back; `due` is when their patience ends, `overtakers` how many are still to pass.
    held: Vec<Waiting<F>>,
}

impl<F: Cargo> Link<F> {
    /// A link whose decisions follow from `seed`.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            seed,
            stats: LinkStats::default(),
            queue: VecDeque::new(),
            held: Vec::new(),
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// A frame enters the link.
    pub fn offer(&mut self, now: u64, mut frame: F) {
        let number = self.stats.frames;
        self.stats.frames += 1;
        self.stats.bytes += frame.len() as u64;
        let draw = |purpose: u64| random(self.seed, number * 8 + purpose);
        let happens = |purpose, probability| unit(draw(purpose)) < probability;

        if happens(0, self.impairment.loss) {
            self.stats.lost += 1;
            return;
        }
        if self.queue.len() + self.held.len() >= self.impairment.limit {
            self.stats.overflowed += 1;
            return;
        }
        let jitter = (unit(draw(1)) * self.impairment.jitter as f64) as u64;
        let mut due = now + self.impairment.delay + jitter;
        if let Some(last) = self.queue.back() {
            due = due.max(last.due);
        }
        if happens(2, self.impairment.corrupt) && frame.corrupt(draw(3)) {
            self.stats.corrupted += 1;
        }
        let copy = happens(4, self.impairment.duplicate).then(|| frame.clone());
        let mut overtakers = 0;
        if happens(5, self.impairment.reorder) {
            self.stats.reordered += 1;
            overtakers = 1 + draw(6) % MAX_OVERTAKERS;
        }
        self.queue.push_back(Waiting {
            frame,
            due,
            overtakers,
        });
        if let Some(frame) = copy {
            self.stats.duplicated += 1;
            self.queue.push_back(Waiting {
                frame,
                due,
                overtakers: 0,
            });
        }
    }

    /// The next frame to leave the link now, if any.
    pub fn take(&mut self, now: u64) -> Option<F> {
        let overtaken = |held: &Waiting<F>| held.overtakers == 0 || held.due <= now;
        if let Some(at) = self.held.iter().position(overtaken) {
            self.stats.passed += 1;
            return Some(self.held.remove(at).frame);
        }
        while self.queue.front().is_some_and(|front| front.due <= now) {
            let mut front = self.queue.pop_front()?;
            if front.overtakers > 0 {
                front.due = now + HOLD;
                self.held.push(front);
                continue;
            }
            for held in &mut self.held {
                held.overtakers -= 1;
            }
            self.stats.passed += 1;
            return Some(front.frame);
        }
        None
    }

    /// When [`take`](Self::take) will have something, if nothing else is offered.
    pub fn next_due(&self) -> Option<u64> {
        let held = self.held.iter().map(|held| match held.overtakers {
            0 => 0,
            _ => held.due,
        });
        held.chain(self.queue.front().map(|front| front.due)).min()
    }
}

/// The `number`th draw of a seed: SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014), which needs no state, so one frame's fate depends on no other's.
fn random(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add((number.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A draw as a number from 0 up to, not including, 1.
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cargo for u64 {
        fn len(&self) -> usize {
            1
        }
        fn corrupt(&mut self, _: u64) -> bool {
            *self |= 1 << 63;
            true
        }
    }

    const FRAMES: u64 = 100_000;

    /// Sends [`FRAMES`] frames, a microsecond apart, and returns them in the order of leaving.
    fn run(impairment: Impairment, seed: u64) -> (Vec<u64>, LinkStats) {
        let mut link = Link::new(
            Impairment {
                limit: 10_000,
                ..impairment
            },
            seed,
        );
        let mut out = Vec::new();
        for number in 0..FRAMES {
            let now = number * 1000;
            link.offer(now, number);
            while let Some(frame) = link.take(now) {
                out.push(frame);
            }
        }
        while let Some(due) = link.next_due() {
            while let Some(frame) = link.take(due) {
                out.push(frame);
            }
        }
        (out, link.stats())
    }

    /// Six standard deviations of a binomial count.
    fn assert_share(count: u64, probability: f64) {
        let n = FRAMES as f64;
        let slack = 6.0 * (n * probability * (1.0 - probability)).sqrt();
        assert!(
            (count as f64 - n * probability).abs() < slack,
            "{count} of {FRAMES}, expected a share of {probability}"
        );
    }

    #[test]
    fn without_impairment_all_pass_in_order_at_once() {
        let (out, stats) = run(Impairment::default(), 1);
        assert!(out.iter().copied().eq(0..FRAMES));
        assert_eq!(stats.passed, FRAMES);
    }

    #[test]
    fn delay_and_jitter_keep_order() {
        let mut link = Link::new(
            Impairment {
                delay: 1000,
                jitter: 5000,
                limit: 10,
                ..Impairment::default()
            },
            3,
        );
        link.offer(0, 0);
        link.offer(0, 1);
        assert_eq!(link.take(999), None);
        let (out, _) = run(
            Impairment {
                delay: 10_000,
                jitter: 50_000,
                ..Impairment::default()
            },
            2,
        );
        assert!(out.iter().copied().eq(0..FRAMES));
    }

    #[test]
    fn shares_are_as_asked() {
        let impairment = Impairment {
            loss: 0.02,
            duplicate: 0.01,
            reorder: 0.03,
            corrupt: 0.005,
            ..Impairment::default()
        };
        let (out, stats) = run(impairment, 7);
        assert_share(stats.lost, 0.02);
        assert_share(stats.duplicated, 0.98 * 0.01);
        assert_share(stats.reordered, 0.98 * 0.03);
        assert_share(stats.corrupted, 0.98 * 0.005);
        assert_eq!(stats.passed, out.len() as u64);
        assert_eq!(stats.passed, FRAMES - stats.lost + stats.duplicated);
        let overtaken = out.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(overtaken as u64 > stats.reordered / 2, "{overtaken}");
    }

    #[test]
    fn a_held_frame_leaves_after_its_overtakers_or_its_patience() {
        let always = Impairment {
            reorder: 1.0,
            limit: 10,
            ..Impairment::default()
        };
        let mut link = Link::new(always, 1);
        link.offer(0, 0);
        assert_eq!(link.take(0), None);
        assert_eq!(link.next_due(), Some(HOLD));
        assert_eq!(link.take(HOLD), Some(0));
        assert_eq!(link.next_due(), None);
    }

    #[test]
    fn a_full_link_loses_what_comes() {
        let slow = Impairment {
            delay: 1,
            limit: 2,
            ..Impairment::default()
        };
        let mut link = Link::new(slow, 1);
        for frame in 0..3 {
            link.offer(0, frame);
        }
        assert_eq!(link.stats().overflowed, 1);
        assert_eq!(
            (link.take(1), link.take(1), link.take(1)),
            (Some(0), Some(1), None)
        );
    }

    #[test]
    fn a_seed_repeats_itself_and_differs_from_others() {
        let lossy = Impairment {
            loss: 0.1,
            reorder: 0.1,
            ..Impairment::default()
        };
        assert_eq!(run(lossy, 5).0, run(lossy, 5).0);
        assert_ne!(run(lossy, 5).0, run(lossy, 6).0);
    }
}
