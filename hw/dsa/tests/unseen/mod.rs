//! Frames in memory that is mapped twice, for the core and for the device (and for whoever looks at what
//! came of it). What the core must not touch is unreadable in its mapping: touching it ends the process.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod guard;
pub mod lab;
pub mod port;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dataplane::port::{Frame, FrameClass, FramePool, PoolLevel};

/// Bytes that are protected together.
pub const PAGE: usize = 4096;

/// Bytes of a large frame that the core cannot reach.
pub const HIDDEN: usize = 16 * 1024;

/// Room of a small frame.
const SMALL: usize = 2048;

/// The memory of a pool.
///
/// A small frame is a page that the core reads and writes, until it is hidden. A large frame has one
/// such page, behind which its hidden bytes begin: headers end there, payload begins there.
struct Memory {
    core: *mut u8,
    device: *mut u8,
    counts: [usize; 2],
    free: [RefCell<Vec<usize>>; 2],
}

impl Memory {
    fn len(&self) -> usize {
        self.counts[0] * PAGE + self.counts[1] * (PAGE + HIDDEN)
    }

    /// Where a frame's memory begins.
    fn offset(&self, class: FrameClass, index: usize) -> usize {
        match class {
            FrameClass::Small => index * PAGE,
            FrameClass::Large => self.counts[0] * PAGE + index * (PAGE + HIDDEN),
        }
    }

    fn protect(&self, offset: usize, len: usize, access: libc::c_int) {
        assert!(offset + len <= self.len());
        // SAFETY: whole pages of the core's mapping, which is ours; that accesses end the process is the
        // point.
        let done = unsafe { libc::mprotect(self.core.add(offset).cast(), len, access) };
        assert_eq!(done, 0);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for mapping in [self.core, self.device] {
            // SAFETY: mapped by `Pool::new`; frames own the memory, so there are none.
            let unmapped = unsafe { libc::munmap(mapping.cast(), self.len()) };
            assert_eq!(unmapped, 0);
        }
    }
}

/// A pool of such frames. Clones are handles on the same.
#[derive(Clone)]
pub struct Pool(Rc<Memory>);

impl Pool {
    /// A pool of `small` and `large` frames.
    pub fn new(small: usize, large: usize) -> Self {
        let len = small * PAGE + large * (PAGE + HIDDEN);
        // SAFETY: a file of our own, mapped at addresses of the kernel's choice.
        let [core, device] = unsafe {
            let file = libc::memfd_create(c"frames".as_ptr(), 0);
            assert!(file >= 0);
            assert_eq!(libc::ftruncate(file, len as i64), 0);
            let both = libc::PROT_READ | libc::PROT_WRITE;
            let mappings = [(); 2].map(|()| {
                let at = libc::mmap(std::ptr::null_mut(), len, both, libc::MAP_SHARED, file, 0);
                assert_ne!(at, libc::MAP_FAILED);
                at.cast::<u8>()
            });
            assert_eq!(libc::close(file), 0);
            mappings
        };
        let memory = Memory {
            core,
            device,
            counts: [small, large],
            free: [small, large].map(|count| RefCell::new((0..count).collect())),
        };
        for index in 0..large {
            let offset = memory.offset(FrameClass::Large, index) + PAGE;
            memory.protect(offset, HIDDEN, libc::PROT_NONE);
        }
        guard::watch(core.addr(), len);
        Self(Rc::new(memory))
    }

    /// The memory as a modelled device finds it, under the core's addresses.
    pub fn for_device(&self) -> dsa_model::Memory {
        let mut memory = dsa_model::Memory::direct();
        let (from, to) = (self.0.core as u64, self.0.device as u64);
        memory.map(from, self.0.len() as u64, to);
        memory
    }

    /// A frame as a device leaves it that has received `open`, which the core may read, and `hidden`,
    /// which it may not.
    pub fn received(&mut self, open: &[u8], hidden: &[u8]) -> Option<Unseen> {
        let class = if hidden.is_empty() {
            FrameClass::Small
        } else {
            FrameClass::Large
        };
        let mut frame = self.alloc(class)?;
        assert!(open.len() <= PAGE && hidden.len() <= HIDDEN);
        let place = Rc::get_mut(&mut frame.0).expect("a new frame has one owner");
        if class == FrameClass::Large {
            place.start = PAGE - open.len();
        }
        let len = open.len() + hidden.len();
        frame.set_len(len);
        let (first, rest) = frame.seen_by_device().split_at_mut(open.len());
        first.copy_from_slice(open);
        rest[..hidden.len()].copy_from_slice(hidden);
        Some(frame)
    }

    /// Frames outside of the pool.
    pub fn out(&self) -> usize {
        let free = self.0.free.each_ref().map(|free| free.borrow().len());
        self.0.counts[0] + self.0.counts[1] - free[0] - free[1]
    }
}

impl FramePool for Pool {
    type Frame = Unseen;

    /// A small frame, which the core may read and write, or a large one, of which it may not a byte.
    fn alloc(&mut self, class: FrameClass) -> Option<Unseen> {
        let index = self.0.free[class as usize].borrow_mut().pop()?;
        let start = match class {
            FrameClass::Small => 0,
            FrameClass::Large => PAGE,
        };
        Some(Unseen(Rc::new(Place {
            home: Rc::clone(&self.0),
            class,
            index,
            start,
            len: Cell::new(0),
            hidden: Cell::new(false),
        })))
    }

    fn level(&self, class: FrameClass) -> PoolLevel {
        PoolLevel {
            total: self.0.counts[class as usize] as u32,
            free: self.0.free[class as usize].borrow().len() as u32,
        }
    }
}

struct Place {
    home: Rc<Memory>,
    class: FrameClass,
    index: usize,
    /// Where its data begins.
    start: usize,
    len: Cell<usize>,
    /// A small frame that the core cannot reach any more.
    hidden: Cell<bool>,
}

impl Place {
    fn offset(&self) -> usize {
        self.home.offset(self.class, self.index) + self.start
    }

    fn capacity(&self) -> usize {
        match self.class {
            FrameClass::Small => SMALL,
            FrameClass::Large => PAGE + HIDDEN - self.start,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.hidden.get() {
            let page = self.home.offset(self.class, self.index);
            let both = libc::PROT_READ | libc::PROT_WRITE;
            self.home.protect(page, PAGE, both);
        }
        self.home.free[self.class as usize]
            .borrow_mut()
            .push(self.index);
    }
}

/// A frame of a [`Pool`].
#[derive(Clone)]
pub struct Unseen(Rc<Place>);

impl Unseen {
    /// From now on the core cannot reach a byte of it, until it is freed.
    pub fn hide(&self) {
        if self.0.class == FrameClass::Small && !self.0.hidden.replace(true) {
            let page = self.0.home.offset(self.0.class, self.0.index);
            self.0.home.protect(page, PAGE, libc::PROT_NONE);
        }
    }

    /// Its room as the device sees it.
    pub fn seen_by_device(&mut self) -> &mut [u8] {
        // SAFETY: a frame of the device's mapping; the model is not stepped meanwhile.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.0.home.device.add(self.0.offset()),
                self.0.capacity(),
            )
        }
    }

    /// Appends bytes of its data, as the device sees them.
    pub fn gather(&self, offset: usize, len: usize, out: &mut Vec<u8>) {
        assert!(offset + len <= self.0.len.get(), "a piece beyond its frame");
        // SAFETY: as above.
        out.extend_from_slice(unsafe {
            std::slice::from_raw_parts(self.0.home.device.add(self.0.offset() + offset), len)
        });
    }
}

impl Frame for Unseen {
    fn data(&self) -> &[u8] {
        // SAFETY: a frame of the core's mapping. Where nobody may read nobody does, or the test fails.
        unsafe {
            std::slice::from_raw_parts(self.0.home.core.add(self.0.offset()), self.0.len.get())
        }
    }

    fn room_mut(&mut self) -> Option<&mut [u8]> {
        let place = Rc::get_mut(&mut self.0)?;
        // SAFETY: as above; there is one owner.
        Some(unsafe {
            std::slice::from_raw_parts_mut(place.home.core.add(place.offset()), place.capacity())
        })
    }

    fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a length beyond the room");
        self.0.len.set(len);
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
