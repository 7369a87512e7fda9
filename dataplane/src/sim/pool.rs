//! Frames on the heap, in fixed numbers, that know their way home.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::port::{Frame, FrameClass, FramePool, PoolLevel};

/// Bytes of a small frame.
pub const SMALL: usize = 2048;
/// Bytes of a large frame.
pub const LARGE: usize = 16 * 1024;

/// Owners that a frame can count, far fewer than elsewhere.
const MOST_OWNERS: usize = 300;

/// What a freed frame is filled with, so that whoever sends bytes it never wrote is found out.
const STALE: u8 = 0xdb;

/// The free frames of one class.
#[derive(Debug, Default)]
struct Shelf {
    total: u32,
    free: Vec<Box<[u8]>>,
    /// Fewest that have ever been free.
    lowest: u32,
}

#[derive(Debug)]
struct Stock {
    shelves: [RefCell<Shelf>; 2],
}

impl Stock {
    fn shelf(&self, class: FrameClass) -> &RefCell<Shelf> {
        match class {
            FrameClass::Small => &self.shelves[0],
            FrameClass::Large => &self.shelves[1],
        }
    }
}

/// A pool of a fixed number of frames of both classes. `clone` makes another handle of the same
/// pool: the worker has one, and so has each of its ports.
#[derive(Clone, Debug)]
pub struct SimPool(Rc<Stock>);

impl SimPool {
    /// A pool of `small` and `large` frames.
    pub fn new(small: u32, large: u32) -> Self {
        let shelf = |count: u32, size: usize| {
            RefCell::new(Shelf {
                total: count,
                free: (0..count)
                    .map(|_| vec![STALE; size].into_boxed_slice())
                    .collect(),
                lowest: count,
            })
        };
        Self(Rc::new(Stock {
            shelves: [shelf(small, SMALL), shelf(large, LARGE)],
        }))
    }

    /// Frames of `class` that are somewhere outside of the pool.
    pub fn used(&self, class: FrameClass) -> u32 {
        let level = self.level(class);
        level.total - level.free
    }

    /// Most frames of `class` that have ever been outside of the pool at once.
    pub fn most_used(&self, class: FrameClass) -> u32 {
        let shelf = self.0.shelf(class).borrow();
        shelf.total - shelf.lowest
    }

    /// Starts [`SimPool::most_used`] again from what is used now.
    pub fn reset_most_used(&self) {
        for shelf in &self.0.shelves {
            let mut shelf = shelf.borrow_mut();
            shelf.lowest = shelf.free.len() as u32;
        }
    }
}

impl FramePool for SimPool {
    type Frame = SimFrame;

    fn alloc(&mut self, class: FrameClass) -> Option<SimFrame> {
        let mut shelf = self.0.shelf(class).borrow_mut();
        let room = shelf.free.pop()?;
        shelf.lowest = shelf.lowest.min(shelf.free.len() as u32);
        drop(shelf);
        Some(SimFrame(Rc::new(Buffer {
            room,
            len: Cell::new(0),
            class,
            home: self.0.clone(),
        })))
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        let shelf = self.0.shelf(class).borrow();
        PoolLevel {
            total: shelf.total,
            free: shelf.free.len() as u32,
        }
    }
}

#[derive(Debug)]
struct Buffer {
    room: Box<[u8]>,
    /// Shared by all owners, like the length of an mbuf.
    len: Cell<usize>,
    class: FrameClass,
    home: Rc<Stock>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut room = std::mem::take(&mut self.room);
        let used = self.len.get();
        room[..used].fill(STALE);
        self.home.shelf(self.class).borrow_mut().free.push(room);
    }
}

/// A frame of a [`SimPool`].
#[derive(Clone, Debug)]
pub struct SimFrame(Rc<Buffer>);

impl Frame for SimFrame {
    fn data(&self) -> &[u8] {
        &self.0.room[..self.0.len.get()]
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        Rc::get_mut(&mut self.0).map(|buffer| &mut buffer.room[..])
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.0.room.len(), "a length beyond the room");
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        self.0.room.len()
    }

    fn try_clone(&self) -> Option<Self> {
        (Rc::strong_count(&self.0) < MOST_OWNERS).then(|| self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_when_their_last_owner_lets_go() {
        let mut pool = SimPool::new(2, 1);
        let a = pool.alloc(FrameClass::Small).unwrap();
        let b = a.clone();
        assert_eq!(pool.used(FrameClass::Small), 1);
        drop(a);
        assert_eq!(pool.used(FrameClass::Small), 1);
        drop(b);
        assert_eq!(pool.used(FrameClass::Small), 0);
        assert_eq!(pool.most_used(FrameClass::Small), 1);
    }

    #[test]
    fn an_empty_pool_gives_nothing_and_the_classes_are_apart() {
        let mut pool = SimPool::new(1, 1);
        let large = pool.alloc(FrameClass::Large).unwrap();
        assert!(pool.alloc(FrameClass::Large).is_none());
        assert_eq!(large.capacity(), LARGE);
        assert!(pool.alloc(FrameClass::Small).is_some());
    }

    #[test]
    fn a_shared_frame_cannot_be_written() {
        let mut pool = SimPool::new(1, 0);
        let mut a = pool.alloc(FrameClass::Small).unwrap();
        a.room_mut().unwrap()[..3].copy_from_slice(b"abc");
        a.set_len(3);
        let b = a.clone();
        assert!(a.room_mut().is_none());
        assert_eq!(b.data(), b"abc");
        drop(b);
        assert!(a.room_mut().is_some());
    }
}
