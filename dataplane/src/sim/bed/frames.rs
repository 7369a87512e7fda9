//! Frames that cost next to nothing: a handle with a count, and a shelf it goes back to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::port::{Frame, FrameClass, FramePool, PoolLevel};

/// A frame of any pool that holds `bytes`.
pub(super) fn filled<L: FramePool>(pool: &mut L, class: FrameClass, bytes: &[u8]) -> L::Frame {
    let mut frame = pool.alloc(class).expect("the pool has frames enough");
    let room = frame.room_mut().expect("a new frame has one owner");
    room[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    frame
}

/// Bytes of a small frame.
pub const SMALL: usize = 2048;
/// Bytes of a large frame.
pub const LARGE: usize = 16 * 1024;

#[derive(Debug)]
struct Shelf {
    free: RefCell<Vec<Rc<Buffer>>>,
    total: u32,
}

#[derive(Debug)]
struct Buffer {
    room: Box<[u8]>,
    len: Cell<usize>,
    home: Rc<Shelf>,
}

/// A frame of a [`BedPool`].
#[derive(Clone, Debug)]
pub struct BedFrame(Rc<Buffer>);

impl Drop for BedFrame {
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) == 1 {
            self.0.len.set(0);
            self.0.home.free.borrow_mut().push(Rc::clone(&self.0));
        }
    }
}

impl Frame for BedFrame {
    fn data(&self) -> &[u8] {
        &self.0.room[..self.0.len.get()]
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        Rc::get_mut(&mut self.0).map(|buffer| &mut buffer.room[..])
    }

    fn set_len(&mut self, len: usize) {
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        self.0.room.len()
    }
}

/// Frames of both classes. A clone is a handle of the same pool.
#[derive(Clone, Debug)]
pub struct BedPool([Rc<Shelf>; 2]);

impl BedPool {
    /// A pool of so many frames of each class.
    pub fn new(small: u32, large: u32) -> Self {
        let shelf = |count: u32, size: usize| {
            let shelf = Rc::new(Shelf {
                free: RefCell::new(Vec::with_capacity(count as usize)),
                total: count,
            });
            let buffer = |_| {
                Rc::new(Buffer {
                    room: vec![0; size].into(),
                    len: Cell::new(0),
                    home: Rc::clone(&shelf),
                })
            };
            shelf.free.borrow_mut().extend((0..count).map(buffer));
            shelf
        };
        Self([shelf(small, SMALL), shelf(large, LARGE)])
    }

    fn shelf(&self, class: FrameClass) -> &Shelf {
        match class {
            FrameClass::Small => &self.0[0],
            FrameClass::Large => &self.0[1],
        }
    }
}

impl FramePool for BedPool {
    type Frame = BedFrame;

    fn alloc(&mut self, class: FrameClass) -> Option<BedFrame> {
        self.shelf(class).free.borrow_mut().pop().map(BedFrame)
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        let shelf = self.shelf(class);
        PoolLevel {
            total: shelf.total,
            free: shelf.free.borrow().len() as u32,
        }
    }
}
