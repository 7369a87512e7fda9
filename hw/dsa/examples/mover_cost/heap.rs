//! Frames of 64 KiB and a little on the heap.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::rc::Rc;

use dataplane::port::Frame;

/// Bytes of the largest job.
pub const LARGEST: usize = 64 * 1024;

/// Room of a frame: the largest job's at any alignment.
pub const ROOM: usize = LARGEST + 64;

/// A frame with room for the largest job, at a multiple of 64.
#[derive(Clone)]
pub struct Heap(Rc<Buffer>);

struct Buffer {
    first: *mut u8,
    len: Cell<usize>,
}

impl Buffer {
    const LAYOUT: Layout = match Layout::from_size_align(ROOM, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };
}

impl Heap {
    /// A frame whose pages are there.
    pub fn new() -> Self {
        // SAFETY: the size is not zero.
        let first = unsafe { alloc_zeroed(Buffer::LAYOUT) };
        assert!(!first.is_null());
        // SAFETY: just allocated. Touched, so that its pages are there.
        unsafe { first.write_bytes(1, ROOM) };
        Self(Rc::new(Buffer {
            first,
            len: Cell::new(ROOM),
        }))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.first, Self::LAYOUT) };
    }
}

impl Frame for Heap {
    fn data(&self) -> &[u8] {
        // SAFETY: initialised at the start, and not written while there are readers.
        unsafe { std::slice::from_raw_parts(self.0.first, self.0.len.get()) }
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        let buffer = Rc::get_mut(&mut self.0)?;
        // SAFETY: the only owner.
        Some(unsafe { std::slice::from_raw_parts_mut(buffer.first, ROOM) })
    }

    fn set_len(&mut self, len: usize) {
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        ROOM
    }
}
