//! `/dev/dsa/wqX.Y` of a modelled queue, with the kernel's policies (`drivers/dma/idxd/cdev.c`).

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dsa::chardev::{CharDev, PORTAL};
use dsa::instruction::Accepted;
use dsa::sysfs::Mode;
use dsa::{Descriptor, Opcode};

use crate::operation::happens;
use crate::{Instruction, Model};

/// The file.
#[derive(Clone, Debug)]
pub struct ModelFile {
    model: Model,
    open: Arc<AtomicBool>,
    /// Whether its user has CAP_SYS_RAWIO: else mapping the portal is refused.
    privileged: bool,
}

impl ModelFile {
    /// The file of a queue.
    pub fn new(model: &Model, privileged: bool) -> Self {
        Self {
            model: model.clone(),
            open: Arc::default(),
            privileged,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `EBUSY` when a dedicated queue has a user already.
    pub fn open(&self) -> io::Result<OpenModelFile> {
        let dedicated = self.model.config().mode == Mode::Dedicated;
        if self.open.swap(true, Ordering::AcqRel) && dedicated {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let seed = self.model.config().seed;
        Ok(OpenModelFile {
            file: self.clone(),
            random: std::cell::RefCell::new(fastrand::Rng::with_seed(seed ^ 0x6669_6c65)),
        })
    }
}

/// The open file. Closing it drains the queue, as the kernel does.
#[derive(Debug)]
pub struct OpenModelFile {
    file: ModelFile,
    random: std::cell::RefCell<fastrand::Rng>,
}

impl OpenModelFile {
    fn submit(&self, descriptor: &Descriptor) -> io::Result<()> {
        if descriptor.opcode() == Opcode::Batch as u8 || !descriptor.record.is_multiple_of(32) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let gate = self.file.model.gate();
        let instruction = match gate.mode() {
            Mode::Dedicated => Instruction::Movdir64b,
            Mode::Shared => Instruction::Enqcmd,
        };
        match gate.submit(instruction, *descriptor) {
            Accepted::Yes => Ok(()),
            Accepted::Retry => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        }
    }
}

impl CharDev for OpenModelFile {
    fn map(&self) -> io::Result<NonNull<u8>> {
        if !self.file.privileged {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        // A page that may be written to as the portal may; what is written is lost, unless it comes
        // by an instruction that traps.
        // SAFETY: a new mapping at an address of the kernel's choice harms nobody.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PORTAL,
                libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        crate::trap::register(page as usize, self.file.model.clone());
        NonNull::new(page.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    unsafe fn unmap(&self, page: NonNull<u8>) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        let _model = crate::trap::forget(page.as_ptr() as usize);
        // SAFETY: the caller's promise.
        let _unmapped = unsafe { libc::munmap(page.as_ptr().cast(), PORTAL) };
    }

    fn write(&self, descriptors: &[Descriptor]) -> io::Result<usize> {
        let rate = self.file.model.config().faults.short_write;
        for (done, descriptor) in descriptors.iter().enumerate() {
            let short = done > 0 && happens(&mut self.random.borrow_mut(), rate);
            let submitted = if short {
                Err(io::Error::from_raw_os_error(libc::EINTR))
            } else {
                self.submit(descriptor)
            };
            match submitted {
                Ok(()) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
        Ok(descriptors.len())
    }
}

impl Drop for OpenModelFile {
    fn drop(&mut self) {
        self.file.model.quiesce();
        self.file.open.store(false, Ordering::Release);
    }
}
