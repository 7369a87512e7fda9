//! A frame with many owners.

use crate::port::{Frame, FrameClass, FramePool};

/// Bytes that are sent again and again, by reference.
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
