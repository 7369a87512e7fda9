//! Memory as the device sees it: the process's own, by address.
//!
//! The true device goes through the IOMMU and finds out there that a page is missing. Here there are
//! two ways. *Direct* access trusts addresses, as is fast; only the first page counts as missing.
//! *Probed* access asks the kernel to copy (process_vm_readv(2)), which says where a page is missing.

use std::sync::atomic::{AtomicU8, Ordering};

/// A page is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first address that could not be reached.
    pub address: u64,
    /// Whether it was to be written.
    pub write: bool,
    /// Bytes done before.
    pub done: usize,
}

/// A range of addresses that the device finds somewhere else, as an IOMMU may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    from: u64,
    len: u64,
    to: u64,
}

/// Bytes copied by the kernel at a time.
const CHUNK: usize = 16 * 1024;

/// Bytes copied at a time where addresses are trusted.
const PART: usize = 2048;

/// What the device can reach.
#[derive(Debug, Default)]
pub struct Memory {
    windows: Vec<Window>,
    probed: bool,
    bounce: Vec<u8>,
}

// A device writes where the driver says, and the driver promised that it may: that promise, made by
// who submits (`Portal::submit`, the instructions), is what every block below rests on.
impl Memory {
    /// All of the process's memory, trusting addresses.
    pub fn direct() -> Self {
        Self::default()
    }

    /// All of the process's memory; pages that are missing are found to be.
    pub fn probed() -> Self {
        Self {
            probed: true,
            bounce: vec![0; CHUNK],
            ..Self::default()
        }
    }

    /// Has the device find `len` bytes at `from` in `to`.
    pub fn map(&mut self, from: u64, len: u64, to: u64) {
        self.windows.push(Window { from, len, to });
    }

    fn translate(&self, address: u64) -> u64 {
        let inside = |window: &&Window| address.wrapping_sub(window.from) < window.len;
        match self.windows.iter().find(inside) {
            Some(window) => window.to + (address - window.from),
            None => address,
        }
    }

    /// Reads `bytes.len()` bytes.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Missing> {
        let missing = |done: usize| Missing {
            address: address + done as u64,
            write: false,
            done,
        };
        if address < 4096 {
            return Err(missing(0));
        }
        let from = self.translate(address);
        if self.probed {
            let done = kernel_copy(Way::Read, from, bytes.as_mut_ptr(), bytes.len());
            return if done == bytes.len() {
                Ok(())
            } else {
                Err(missing(done))
            };
        }
        let from = std::ptr::with_exposed_provenance::<u8>(from as usize);
        // SAFETY: see above.
        unsafe { std::ptr::copy(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Writes `bytes`.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Missing> {
        let missing = |done: usize| Missing {
            address: address + done as u64,
            write: true,
            done,
        };
        if address < 4096 {
            return Err(missing(0));
        }
        let to = self.translate(address);
        if self.probed {
            let done = kernel_copy(Way::Write, to, bytes.as_ptr().cast_mut(), bytes.len());
            return if done == bytes.len() {
                Ok(())
            } else {
                Err(missing(done))
            };
        }
        let to = std::ptr::with_exposed_provenance_mut::<u8>(to as usize);
        // SAFETY: see above.
        unsafe { std::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Copies, from the start on, or as if at once where the ranges overlap.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn copy(&mut self, source: u64, target: u64, len: usize) -> Result<(), Missing> {
        if source < 4096 || target < 4096 {
            let write = source >= 4096;
            let address = if write { target } else { source };
            return Err(Missing {
                address,
                write,
                done: 0,
            });
        }
        if !self.probed {
            let from = self.translate(source) as usize;
            let to = self.translate(target) as usize;
            let from = std::ptr::with_exposed_provenance::<u8>(from);
            let to = std::ptr::with_exposed_provenance_mut::<u8>(to);
            if from.addr().abs_diff(to.addr()) < len {
                // SAFETY: see above.
                unsafe { std::ptr::copy(from, to, len) };
                return Ok(());
            }
            // In parts: long unaligned copies are slow on some processors.
            for at in (0..len).step_by(PART) {
                // SAFETY: see above.
                unsafe { std::ptr::copy(from.add(at), to.add(at), PART.min(len - at)) };
            }
            return Ok(());
        }
        let mut bounce = std::mem::take(&mut self.bounce);
        if source.abs_diff(target) < len as u64 {
            bounce.resize(len.max(CHUNK), 0);
        }
        let chunk = bounce.len();
        let mut done = 0;
        let mut outcome = Ok(());
        while done < len && outcome.is_ok() {
            let now = (len - done).min(chunk);
            let bytes = &mut bounce[..now];
            let at = done as u64;
            let read = self.read(source + at, bytes);
            let have = read.map_or_else(|missing| missing.done, |()| now);
            let written = self.write(target + at, &bytes[..have]);
            outcome = written.and(read).map_err(|missing| Missing {
                done: done + missing.done,
                ..missing
            });
            done += now;
        }
        bounce.truncate(CHUNK);
        self.bounce = bounce;
        outcome
    }

    /// Whether a record can be written there.
    pub fn can_write_record(&self, address: u64) -> bool {
        let mut first = [0];
        self.read(address, &mut first).is_ok()
            && (!self.probed || self.write(address, &first).is_ok())
    }

    /// Writes a record: its status last, so that who sees it sees everything else.
    pub fn write_record(&self, address: u64, record: &[u8; 32]) {
        let rest = self.write(address + 1, &record[1..]);
        if rest.is_err() {
            return;
        }
        if self.probed {
            std::sync::atomic::fence(Ordering::Release);
            let _written = self.write(address, &record[..1]);
            return;
        }
        let status = std::ptr::with_exposed_provenance_mut::<u8>(self.translate(address) as usize);
        // SAFETY: see above; who waits for it reads it as an atomic.
        unsafe { AtomicU8::from_ptr(status) }.store(record[0], Ordering::Release);
    }
}

enum Way {
    Read,
    Write,
}

/// Has the kernel copy between `remote`, which may be missing, and `local`. Returns how much it did.
fn kernel_copy(way: Way, remote: u64, local: *mut u8, len: usize) -> usize {
    let local = libc::iovec {
        iov_base: local.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(remote as usize),
        iov_len: len,
    };
    let call = match way {
        Way::Read => libc::process_vm_readv,
        Way::Write => libc::process_vm_writev,
    };
    // SAFETY: `local` is a slice of the caller's; `remote` is checked by the kernel, and what is
    // written there is what the driver asked for.
    let done = unsafe { call(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(done).unwrap_or(0)
}

/// Copies what can be read at `address` and returns how much that is.
pub(crate) fn peek(address: u64, bytes: &mut [u8]) -> usize {
    kernel_copy(Way::Read, address, bytes.as_mut_ptr(), bytes.len())
}
