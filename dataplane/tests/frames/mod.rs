//! Frames on the heap for the tests of everything that holds frames.
//!
//! A pool has a fixed number of frames and knows how many are out; what comes back is filled with
//! stale bytes, so that whoever reads a frame it no longer owns is found out. Neither taking nor
//! giving back allocates.

#![allow(dead_code)]

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use dataplane::port::{Frame, FrameClass, FramePool, PoolLevel};

/// Bytes of a small frame.
pub const SMALL: usize = 2048;
/// Bytes of a large frame.
pub const LARGE: usize = 16 * 1024;

const STALE: u8 = 0xdb;

type Shelf = RefCell<Vec<Rc<Buffer>>>;

#[derive(Debug)]
struct Buffer {
    room: Vec<u8>,
    /// Shared by all owners, like the length of an mbuf.
    len: Cell<usize>,
    home: Weak<Shelf>,
}

/// A handle on a buffer of a [`HeapPool`].
#[derive(Clone, Debug)]
pub struct HeapFrame(Rc<Buffer>);

impl Drop for HeapFrame {
    fn drop(&mut self) {
        if let Some(buffer) = Rc::get_mut(&mut self.0) {
            buffer.room[..buffer.len.get()].fill(STALE);
            buffer.len.set(0);
            if let Some(home) = self.0.home.upgrade() {
                home.borrow_mut().push(self.0.clone());
            }
        }
    }
}

impl Frame for HeapFrame {
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
}

/// A fixed number of frames of both classes. A clone is another handle of the same pool.
#[derive(Clone, Debug)]
pub struct HeapPool {
    shelves: [Rc<Shelf>; 2],
    totals: [usize; 2],
}

impl HeapPool {
    /// A pool of `small` and `large` frames.
    pub fn new(small: usize, large: usize) -> Self {
        let shelf = |count: usize, size: usize| {
            Rc::new_cyclic(|home| {
                RefCell::new(
                    (0..count)
                        .map(|_| {
                            Rc::new(Buffer {
                                room: vec![STALE; size],
                                len: Cell::new(0),
                                home: home.clone(),
                            })
                        })
                        .collect(),
                )
            })
        };
        Self {
            shelves: [shelf(small, SMALL), shelf(large, LARGE)],
            totals: [small, large],
        }
    }

    /// Frames that are somewhere outside of the pool.
    pub fn out(&self) -> usize {
        let total: usize = self.totals.iter().sum();
        total - self.shelves.iter().map(|s| s.borrow().len()).sum::<usize>()
    }

    /// A frame that holds `bytes` and nothing else.
    pub fn filled(&mut self, bytes: &[u8]) -> HeapFrame {
        let class = if bytes.len() <= SMALL {
            FrameClass::Small
        } else {
            FrameClass::Large
        };
        let mut frame = self.alloc(class).expect("the test's pool is large enough");
        let room = frame.room_mut().expect("a fresh frame has one owner");
        room[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        frame
    }
}

impl FramePool for HeapPool {
    type Frame = HeapFrame;

    fn alloc(&mut self, class: FrameClass) -> Option<HeapFrame> {
        let buffer = self.shelves[class as usize].borrow_mut().pop()?;
        Some(HeapFrame(buffer))
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        PoolLevel {
            total: self.totals[class as usize] as u32,
            free: self.shelves[class as usize].borrow().len() as u32,
        }
    }
}
