//! The bytes of bodies: a function of their place, so that whoever receives them can check each one,
//! whatever sent them.

use super::shared::Shared;
use crate::port::{Frame, FrameClass, FramePool};

/// The pattern repeats after so many bytes. Bytes that come twice, or a run that is left out, are noticed
/// unless their length is a multiple of it; it is 17 times 16 KiB, far beyond segments and frames, and
/// not a power of two.
pub const PERIOD: u64 = 17 * 16 * 1024;

/// The byte at `offset` of every body.
pub fn byte(offset: u64) -> u8 {
    let at = offset % PERIOD;
    (mix(at / 8) >> (8 * (at % 8))) as u8
}

/// SplitMix64 (Steele, Lea, Flood 2014): one word from another.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One period of the pattern.
#[derive(Debug)]
pub struct Table(Box<[u8]>);

impl Default for Table {
    fn default() -> Self {
        Self((0..PERIOD).map(byte).collect())
    }
}

impl Table {
    /// The bytes from `offset` on, as far as they lie together.
    pub fn from(&self, offset: u64) -> &[u8] {
        &self.0[(offset % PERIOD) as usize..]
    }

    /// Writes the bytes from `offset` on into `room`.
    pub fn fill(&self, mut offset: u64, mut room: &mut [u8]) {
        while !room.is_empty() {
            let bytes = self.from(offset);
            let (now, later) = room.split_at_mut(room.len().min(bytes.len()));
            now.copy_from_slice(&bytes[..now.len()]);
            offset += now.len() as u64;
            room = later;
        }
    }

    /// Whether `bytes` are those from `offset` on.
    pub fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let right = self.from(offset);
            let (now, later) = bytes.split_at(bytes.len().min(right.len()));
            if now != &right[..now.len()] {
                return false;
            }
            offset += now.len() as u64;
            bytes = later;
        }
        true
    }
}

/// The pattern in frames, which are made when they are first needed and sent by reference ever after.
#[derive(Debug)]
pub(super) struct Pattern<F> {
    pub table: Table,
    frames: Vec<Shared<F>>,
    /// Bytes in each of the frames but the last.
    each: u64,
}

impl<F> Default for Pattern<F> {
    fn default() -> Self {
        Self {
            table: Table::default(),
            frames: Vec::new(),
            each: 1,
        }
    }
}

impl<F: Frame> Pattern<F> {
    /// A frame that holds the byte at `offset` of a body, where in it that lies, and how many follow.
    /// `None` when there is no memory.
    pub fn piece<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        offset: u64,
    ) -> Option<(F, u32, u32)> {
        let at = offset % PERIOD;
        if self.frames.is_empty() {
            self.each = pool.alloc(FrameClass::Large)?.capacity() as u64;
        }
        while self.frames.len() as u64 * self.each <= at {
            let start = self.frames.len() as u64 * self.each;
            let mut frame = pool.alloc(FrameClass::Large)?;
            let len = self.each.min(PERIOD - start) as usize;
            self.table.fill(start, &mut frame.room_mut()?[..len]);
            frame.set_len(len);
            self.frames.push(Shared::new(frame));
        }
        let shared = &mut self.frames[(at / self.each) as usize];
        let frame = shared.share(pool, FrameClass::Large)?;
        let from = (at % self.each) as u32;
        let len = frame.data().len() as u32 - from;
        Some((frame, from, len))
    }

    /// Frames kept.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPool;

    #[test]
    fn a_table_holds_what_the_function_says() {
        let table = Table::default();
        let mut bytes = vec![0; 100_000];
        for start in [0, 1, PERIOD - 7, 3 * PERIOD - 1, 5_000_000_001] {
            table.fill(start, &mut bytes);
            assert!((start..).zip(&bytes).all(|(at, &found)| byte(at) == found));
            assert!(table.matches(start, &bytes));
            for wrong in [0, 50_000, 99_999] {
                bytes[wrong] ^= 1;
                assert!(!table.matches(start, &bytes), "{wrong}");
                bytes[wrong] ^= 1;
            }
            for shift in [1, 1448, 1460, 4096, 16_384, 65_536] {
                assert!(!table.matches(start + shift, &bytes), "{shift}");
            }
        }
    }

    #[test]
    fn pieces_of_frames_are_the_pattern_and_cost_no_frame_twice() {
        let mut pool = SimPool::new(0, 40);
        let mut pattern = Pattern::default();
        let mut at = PERIOD - 100_000;
        while at < 2 * PERIOD + 100_000 {
            let (frame, from, len) = pattern.piece(&mut pool, at).unwrap();
            let bytes = &frame.data()[from as usize..(from + len) as usize];
            assert!(pattern.table.matches(at, bytes));
            at += u64::from(len);
        }
        assert_eq!(
            u64::from(pool.used(FrameClass::Large)),
            PERIOD.div_ceil(16_384)
        );
    }
}
