//! Frames that are sent again and again, by reference.

use super::pattern::{self, PERIOD};
use crate::port::{Frame, FrameClass, FramePool};

/// A frame with many owners.
#[derive(Debug)]
pub(super) struct Shared<F> {
    frame: F,
}

impl<F: Frame> Shared<F> {
    /// `frame` holds the bytes.
    pub fn new(frame: F) -> Self {
        Self { frame }
    }

    /// One more owner of the bytes. A frame can count only so many: before it has more, a copy takes its
    /// place, and it goes back to its pool when the last of its owners is done. `None` when there is no
    /// frame for that.
    pub fn share<L: FramePool<Frame = F>>(&mut self, pool: &mut L, class: FrameClass) -> Option<F> {
        if let Some(frame) = self.frame.try_clone() {
            return Some(frame);
        }
        let mut copy = pool.alloc(class)?;
        let bytes = self.frame.data();
        copy.room_mut()?[..bytes.len()].copy_from_slice(bytes);
        copy.set_len(bytes.len());
        self.frame = copy;
        self.frame.try_clone()
    }
}

/// The class of frames that `bytes` bytes fit into, if any.
pub(super) fn class_for(bytes: u64) -> FrameClass {
    if bytes <= 2048 {
        FrameClass::Small
    } else {
        FrameClass::Large
    }
}

/// Writes the pattern from `offset` on into `room`.
pub(super) fn fill(mut offset: u64, mut room: &mut [u8]) {
    while !room.is_empty() {
        let run = pattern::run(offset, room.len() as u64);
        let (now, later) = room.split_at_mut(run.len());
        now.copy_from_slice(run);
        offset += now.len() as u64;
        room = later;
    }
}

/// The pattern of bodies in one frame, made when it is first needed. It repeats often enough that a long
/// run from any place of a body is in it.
#[derive(Debug)]
pub(super) struct PatternFrames<F> {
    frame: Option<Shared<F>>,
}

impl<F> Default for PatternFrames<F> {
    fn default() -> Self {
        Self { frame: None }
    }
}

impl<F: Frame> PatternFrames<F> {
    /// A frame that holds the byte at `offset` of a body, where in it that lies, and how many follow.
    /// `None` when there is no memory.
    pub fn piece<L: FramePool<Frame = F>>(
        &mut self,
        pool: &mut L,
        offset: u64,
    ) -> Option<(F, u32, u32)> {
        if self.frame.is_none() {
            let mut frame = pool.alloc(FrameClass::Large)?;
            let len = frame.capacity();
            fill(0, frame.room_mut()?);
            frame.set_len(len);
            self.frame = Some(Shared::new(frame));
        }
        let frame = self.frame.as_mut()?.share(pool, FrameClass::Large)?;
        let from = (offset % PERIOD as u64) as u32;
        let len = frame.data().len() as u32 - from;
        Some((frame, from, len))
    }

    /// Frames kept.
    pub fn frames(&self) -> usize {
        usize::from(self.frame.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimPool;

    #[test]
    fn pieces_are_the_pattern_and_long() {
        let mut pool = SimPool::new(0, 1);
        let mut pattern = PatternFrames::default();
        let mut at = (1 << 33) - 100_000;
        while at < (1 << 33) + 100_000 {
            let (frame, from, len) = pattern.piece(&mut pool, at).unwrap();
            assert!(len > 11_000);
            let bytes = &frame.data()[from as usize..(from + len) as usize];
            assert_eq!(pattern::first_wrong(at, bytes), None);
            at += u64::from(len);
        }
    }

    /// More owners than a frame can count cost a copy, and that comes back.
    #[test]
    fn any_number_of_owners() {
        let mut pool = SimPool::new(10, 0);
        let mut frame = pool.alloc(FrameClass::Small).unwrap();
        fill(7, &mut frame.room_mut().unwrap()[..100]);
        frame.set_len(100);
        let mut shared = Shared::new(frame);
        let owners: Vec<_> = (0..2000)
            .map(|_| shared.share(&mut pool, FrameClass::Small).unwrap())
            .collect();
        assert!(pool.used(FrameClass::Small) > 1);
        for owner in owners {
            assert_eq!(pattern::first_wrong(7, owner.data()), None);
        }
        assert_eq!(pool.used(FrameClass::Small), 1);
    }
}
