//! A work queue that is ready: its limits, its slots, and the way in.

use std::io;

use crate::chardev::CharFile;
use crate::portal::{HardwarePortal, Portal, Submitted};
use crate::sysfs::{Mode, QueueInfo};
use crate::{Descriptor, Error};

/// The slots of a queue that nobody else fills.
///
/// The device drops what exceeds a dedicated queue without a word, so every descriptor takes a
/// slot here before it is submitted. It is given back when the completion was seen: the device may
/// have freed it long before, but says so in no other way.
#[derive(Debug)]
pub struct Slots {
    free: u32,
    size: u32,
}

impl Slots {
    /// All of `size` slots free.
    pub fn new(size: u32) -> Self {
        Self { free: size, size }
    }

    /// Slots that can be taken.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Takes `count` slots, if there are so many.
    #[must_use]
    pub fn take(&mut self, count: u32) -> bool {
        match self.free.checked_sub(count) {
            Some(left) => {
                self.free = left;
                true
            }
            None => false,
        }
    }

    /// Gives `count` slots back.
    ///
    /// # Panics
    /// When there would be more than at the start.
    pub fn give(&mut self, count: u32) {
        self.free += count;
        assert!(self.free <= self.size, "a slot was given back twice");
    }
}

/// One queue, and what it bears. Belongs to one worker.
#[derive(Debug)]
pub struct WorkQueue<P> {
    portal: P,
    info: QueueInfo,
    slots: Slots,
    retries: u64,
}

/// A queue of the hardware.
pub type HardwareQueue = WorkQueue<HardwarePortal<CharFile>>;

impl HardwareQueue {
    /// Opens the queue that [`crate::sysfs::Tree`] found.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Denied`], [`Error::NoInstruction`] and others, with their remedies.
    pub fn open(info: QueueInfo) -> Result<Self, Error> {
        let device = CharFile::open(&info.path).map_err(|error| cannot_open(&info, error))?;
        let portal = HardwarePortal::new(device, &info)?;
        Ok(Self::new(portal, info))
    }
}

/// The error for what `open` said.
pub fn cannot_open(info: &QueueInfo, source: io::Error) -> Error {
    let path = info.path.clone();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => Error::NoCharDev {
            path,
            name: info.name.clone(),
        },
        Some(libc::EBUSY) => Error::Busy { path },
        Some(libc::EPERM | libc::EACCES) => Error::Denied { path },
        _ => Error::Open { path, source },
    }
}

impl<P: Portal> WorkQueue<P> {
    /// A queue behind `portal`.
    pub fn new(portal: P, info: QueueInfo) -> Self {
        Self {
            // One slot is kept for the DRAIN that finds out about lost descriptors.
            slots: Slots::new(info.size.saturating_sub(1).max(1)),
            portal,
            info,
            retries: 0,
        }
    }

    /// What it is.
    pub fn info(&self) -> &QueueInfo {
        &self.info
    }

    /// Most descriptors in a batch; 1 when only single ones are taken.
    pub fn max_batch(&self) -> u32 {
        if self.portal.takes_batches() {
            self.info.max_batch.max(1)
        } else {
            1
        }
    }

    /// How many more descriptors (a batch is one) can be submitted now.
    pub fn free_slots(&self) -> u32 {
        self.slots.free()
    }

    /// Submits descriptors in order, and returns how many of them were: fewer when there are no
    /// slots, a shared queue is full, or the kernel takes no more. Each has taken a slot until
    /// [`WorkQueue::give_back`].
    pub fn submit(&mut self, descriptors: &[Descriptor]) -> usize {
        let want = descriptors.len().min(self.slots.free() as usize);
        let Submitted { taken, retries } = self.portal.submit(&descriptors[..want]);
        self.retries += retries;
        let took = self.slots.take(taken as u32);
        debug_assert!(took);
        taken
    }

    /// Submits a descriptor in the slot that is kept for it. There may be one at a time.
    #[must_use]
    pub fn submit_kept(&mut self, descriptor: &Descriptor) -> bool {
        let submitted = self.portal.submit(std::slice::from_ref(descriptor));
        self.retries += submitted.retries;
        submitted.taken == 1
    }

    /// Gives back the slots of `count` descriptors: their completion was seen, or they are known to
    /// be no more.
    pub fn give_back(&mut self, count: u32) {
        self.slots.give(count);
    }

    /// How often a shared queue asked to try again.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Whether the queue is dedicated or shared.
    pub fn mode(&self) -> Mode {
        self.info.mode
    }

    /// Lets go of the queue: see [`Portal::close`].
    pub fn close(&mut self) {
        self.portal.close();
    }
}
