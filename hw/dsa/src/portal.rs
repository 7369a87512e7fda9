//! Ways from memory into a queue.

use std::ptr::NonNull;

use crate::chardev::{CharDev, PORTAL};
use crate::instruction::{self, Accepted};
use crate::sysfs::Mode;
use crate::{Descriptor, Error, sysfs::QueueInfo};

/// Times ENQCMD is tried before the queue counts as full. Each costs about a quarter of a
/// microsecond; the CPU copies some KiB in sixteen of them.
const TRIES: u32 = 16;

/// What became of descriptors that were to be submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submitted {
    /// The first so many were submitted (into a dedicated queue that was full: and lost).
    pub taken: usize,
    /// How often a shared queue asked to try again.
    pub retries: u64,
}

/// A way into a queue.
pub trait Portal {
    /// Whether BATCH descriptors may go this way.
    fn takes_batches(&self) -> bool;

    /// Submits the descriptors in order. All that memory they lead to must hold until their records
    /// are written, or until [`Portal::close`] has returned.
    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted;

    /// Lets go of the queue. When this returns, the device does nothing any more that was submitted
    /// here. Later submissions are not taken.
    fn close(&mut self);
}

/// The page through which user space submits by itself.
struct Page {
    first: NonNull<u8>,
    /// The slot that is used next: 64 of them, one after another, so that several writes can be
    /// under way.
    slot: usize,
}

impl Page {
    fn next(&mut self) -> *mut u8 {
        self.slot = (self.slot + size_of::<Descriptor>()) % PORTAL;
        self.first.as_ptr().wrapping_add(self.slot)
    }
}

enum Way<C> {
    /// By instruction. The device is kept open: the kernel takes the queue back at its end.
    Page {
        page: Page,
        mode: Mode,
        device: C,
    },
    /// By system call.
    Write {
        device: C,
    },
    Closed,
}

/// The hardware's portal, or that of whoever handles the instructions' traps.
pub struct HardwarePortal<C: CharDev> {
    way: Way<C>,
}

// SAFETY: the page is a place to write to from any thread, one at a time (`&mut self`).
unsafe impl<C: CharDev + Send> Send for HardwarePortal<C> {}

impl<C: CharDev> std::fmt::Debug for HardwarePortal<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.way {
            Way::Page { .. } => "HardwarePortal(page)",
            Way::Write { .. } => "HardwarePortal(write)",
            Way::Closed => "HardwarePortal(closed)",
        })
    }
}

impl<C: CharDev> HardwarePortal<C> {
    /// Maps the portal of an open queue, or falls back to `write()` where the kernel does not let
    /// it be mapped.
    ///
    /// # Errors
    /// [`Error::NoInstruction`], or [`Error::Map`].
    pub fn new(device: C, queue: &QueueInfo) -> Result<Self, Error> {
        let first = match device.map() {
            Ok(first) => first,
            // Since Linux 6.10 (and in stable releases from May 2024) devices of the first
            // generation are mapped for CAP_SYS_RAWIO only.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => {
                return Ok(Self {
                    way: Way::Write { device },
                });
            }
            Err(source) => {
                let path = queue.path.clone();
                return Err(Error::Map { path, source });
            }
        };
        let (has, name) = match queue.mode {
            Mode::Dedicated => (instruction::has_movdir64b(), "MOVDIR64B"),
            Mode::Shared => (instruction::has_enqcmd(), "ENQCMD"),
        };
        if !has && !instruction::sigill_is_handled() {
            // SAFETY: it was mapped above.
            unsafe { device.unmap(first) };
            return Err(Error::NoInstruction {
                instruction: name,
                mode: queue.mode.name(),
            });
        }
        Ok(Self {
            way: Way::Page {
                page: Page { first, slot: 0 },
                mode: queue.mode,
                device,
            },
        })
    }
}

impl<C: CharDev> Portal for HardwarePortal<C> {
    fn takes_batches(&self) -> bool {
        matches!(self.way, Way::Page { .. })
    }

    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted {
        instruction::store_fence();
        match &mut self.way {
            Way::Page { page, mode, .. } => match mode {
                Mode::Dedicated => move_all(page, descriptors),
                Mode::Shared => enqueue_all(page, descriptors),
            },
            Way::Write { device } => {
                // Whatever kept the kernel from it, what it did not submit is the caller's.
                let taken = device.write(descriptors).unwrap_or(0);
                Submitted {
                    taken: taken.min(descriptors.len()),
                    retries: 0,
                }
            }
            Way::Closed => Submitted::default(),
        }
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.way, Way::Closed) {
            // The last reference to the file goes with the mapping and the descriptor, and the
            // kernel's `release` drains the queue before `close` returns.
            Way::Page { page, device, .. } => {
                // SAFETY: mapped in `new`, and the way to it is gone.
                unsafe { device.unmap(page.first) };
                drop(device);
            }
            Way::Write { device } => drop(device),
            Way::Closed => {}
        }
    }
}

fn move_all(page: &mut Page, descriptors: &[Descriptor]) -> Submitted {
    for descriptor in descriptors {
        // SAFETY: the page is mapped and its slots are multiples of 64; `new` looked for the
        // instruction.
        unsafe { instruction::movdir64b(page.next(), descriptor) };
    }
    Submitted {
        taken: descriptors.len(),
        retries: 0,
    }
}

fn enqueue_all(page: &mut Page, descriptors: &[Descriptor]) -> Submitted {
    let mut submitted = Submitted::default();
    for descriptor in descriptors {
        let mut tries = TRIES;
        // SAFETY: as above.
        while unsafe { instruction::enqcmd(page.next(), descriptor) } == Accepted::Retry {
            submitted.retries += 1;
            tries -= 1;
            if tries == 0 {
                return submitted;
            }
            std::hint::spin_loop();
        }
        submitted.taken += 1;
    }
    submitted
}

impl<C: CharDev> Drop for HardwarePortal<C> {
    fn drop(&mut self) {
        self.close();
    }
}
