//! A pool of heap frames that knows how many are out.

use std::cell::RefCell;
use std::rc::Rc;

use dataplane::port::{Frame, FrameClass, FramePool, PoolLevel};

/// Bytes of a small and of a large frame, as in production.
pub const SMALL: usize = 2048;
pub const LARGE: usize = 16 * 1024;

#[derive(Debug)]
struct Buffer {
    room: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Rc<Buffer>>,
    total: u32,
}

/// A handle to the pool: clones share it.
#[derive(Clone, Debug)]
pub struct HeapPool(Rc<RefCell<[Shelf; 2]>>);

fn shelf(class: FrameClass) -> usize {
    match class {
        FrameClass::Small => 0,
        FrameClass::Large => 1,
    }
}

impl HeapPool {
    pub fn new(small: u32, large: u32) -> Self {
        let make = |count: u32, size: usize| Shelf {
            free: (0..count)
                .map(|_| {
                    Rc::new(Buffer {
                        room: vec![0xEE; size].into(),
                    })
                })
                .collect(),
            total: count,
        };
        Self(Rc::new(RefCell::new([
            make(small, SMALL),
            make(large, LARGE),
        ])))
    }

    /// Buffers that are not in the pool.
    pub fn outstanding(&self) -> usize {
        let shelves = self.0.borrow();
        shelves
            .iter()
            .map(|s| s.total as usize - s.free.len())
            .sum()
    }

    /// A frame of `class` that holds `bytes`.
    pub fn filled(&mut self, class: FrameClass, bytes: &[u8]) -> HeapFrame {
        let mut frame = self.alloc(class).expect("pool is not empty");
        frame.room_mut().expect("sole owner")[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        frame
    }
}

impl FramePool for HeapPool {
    type Frame = HeapFrame;

    fn alloc(&mut self, class: FrameClass) -> Option<HeapFrame> {
        let buffer = self.0.borrow_mut()[shelf(class)].free.pop()?;
        Some(HeapFrame {
            buffer: Some(buffer),
            len: 0,
            home: self.clone(),
            class,
        })
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        let shelf = &self.0.borrow()[shelf(class)];
        PoolLevel {
            total: shelf.total,
            free: shelf.free.len() as u32,
        }
    }
}

#[derive(Clone, Debug)]
pub struct HeapFrame {
    /// Present until the frame is dropped.
    buffer: Option<Rc<Buffer>>,
    len: usize,
    home: HeapPool,
    class: FrameClass,
}

impl Frame for HeapFrame {
    fn data(&self) -> &[u8] {
        let buffer = self.buffer.as_ref().expect("not dropped");
        &buffer.room[..self.len]
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        let buffer = self.buffer.as_mut().expect("not dropped");
        Some(&mut Rc::get_mut(buffer)?.room)
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity());
        self.len = len;
    }

    fn capacity(&self) -> usize {
        self.buffer.as_ref().expect("not dropped").room.len()
    }
}

impl Drop for HeapFrame {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take()
            && Rc::strong_count(&buffer) == 1
        {
            self.home.0.borrow_mut()[shelf(self.class)]
                .free
                .push(buffer);
        }
    }
}
