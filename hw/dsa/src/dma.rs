//! Memory that the device reads or writes at an address that does not change.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// A fixed number of `T`s at addresses of their own alignment, written once at the start, so that
/// their pages are there.
///
/// It is no `Box<[T]>`: a box promises that nobody else reads or writes what it owns, and the
/// device does both.
#[derive(Debug)]
pub struct DmaArray<T> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its memory as a box does; what the device does there does not depend on threads.
unsafe impl<T: Send> Send for DmaArray<T> {}

impl<T> DmaArray<T> {
    /// `len` values that `make` makes.
    ///
    /// # Panics
    /// When `len` is 0 or the size overflows.
    pub fn new(len: usize, mut make: impl FnMut() -> T) -> Self {
        assert!(len > 0 && size_of::<T>() > 0);
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not 0.
        let Some(first) = NonNull::new(unsafe { alloc(layout) }.cast::<T>()) else {
            handle_alloc_error(layout);
        };
        for index in 0..len {
            // SAFETY: within the allocation, which is aligned for T.
            unsafe { first.add(index).write(make()) };
        }
        Self { first, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<T>(len).expect("sizes of a few pages do not overflow")
    }

    fn at(&self, index: usize) -> NonNull<T> {
        assert!(index < self.len, "{index} of {}", self.len);
        // SAFETY: within the allocation.
        unsafe { self.first.add(index) }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What the device is told.
    #[inline]
    pub fn address(&self, index: usize) -> u64 {
        self.at(index).as_ptr().expose_provenance() as u64
    }
}

impl<T: Copy> DmaArray<T> {
    /// Writes one value. The device must not be reading it: what it was given before must be done.
    #[inline]
    pub fn write(&mut self, index: usize, value: T) {
        // SAFETY: `at` checks the bounds.
        unsafe { self.at(index).write(value) };
    }

    /// Reads one value back.
    #[inline]
    pub fn read(&self, index: usize) -> T {
        // SAFETY: `at` checks the bounds, and every value was written at the start.
        unsafe { self.at(index).read() }
    }

    /// The first `count` of them, which the device may read meanwhile.
    #[inline]
    pub fn first(&self, count: usize) -> &[T] {
        assert!(count <= self.len);
        // SAFETY: within the allocation and initialised; only `write` changes them, which borrows
        // the array mutably.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), count) }
    }
}

impl DmaArray<crate::CompletionRecord> {
    /// One record. The device may be writing it: all its fields are atomic.
    #[inline]
    pub fn record(&self, index: usize) -> &crate::CompletionRecord {
        // SAFETY: initialised and live as long as self; the type has interior mutability throughout.
        unsafe { self.at(index).as_ref() }
    }
}

impl<T> Drop for DmaArray<T> {
    fn drop(&mut self) {
        for index in 0..self.len {
            // SAFETY: initialised, and dropped once.
            unsafe { self.first.add(index).drop_in_place() };
        }
        // SAFETY: it was allocated with this layout.
        unsafe { dealloc(self.first.as_ptr().cast(), Self::layout(self.len)) };
    }
}

/// Does with the CPU what a MEMMOVE descriptor says.
///
/// # Safety
/// As for the device: `size` bytes at `source` are readable, those at `target` writable, both by
/// addresses whose provenance was exposed, and no Rust reference is used to the latter meanwhile.
#[inline]
pub unsafe fn copy(descriptor: &crate::Descriptor) {
    let source = std::ptr::with_exposed_provenance::<u8>(descriptor.source as usize);
    let target = std::ptr::with_exposed_provenance_mut::<u8>(descriptor.target as usize);
    // SAFETY: the caller's promise. `copy` allows overlap, as MEMMOVE does.
    unsafe { std::ptr::copy(source, target, descriptor.size as usize) };
}
