//! The character device of a queue: `/dev/dsa/wqX.Y`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

use crate::Descriptor;

/// Bytes of a portal.
pub const PORTAL: usize = 4096;

/// What the kernel offers for an open queue. Tests put a model in its place.
pub trait CharDev {
    /// Maps the portal page for writing. It stays mapped until [`CharDev::unmap`].
    ///
    /// # Errors
    /// `EPERM` on kernels that keep the portal from unprivileged processes.
    fn map(&self) -> io::Result<NonNull<u8>>;

    /// Takes the mapping back.
    ///
    /// # Safety
    /// `page` came from [`CharDev::map`] of this device and is used no more.
    unsafe fn unmap(&self, page: NonNull<u8>);

    /// Has the kernel submit the descriptors, in order, and returns how many it did. Only single
    /// ones: batches are refused.
    ///
    /// # Errors
    /// When it submitted none.
    fn write(&self, descriptors: &[Descriptor]) -> io::Result<usize>;
}

/// The real one.
#[derive(Debug)]
pub struct CharFile(File);

impl CharFile {
    /// Opens it for writing.
    ///
    /// # Errors
    /// As `open` has them: `EBUSY` when a dedicated queue has a user already.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self(file))
    }
}

impl CharDev for CharFile {
    fn map(&self) -> io::Result<NonNull<u8>> {
        // SAFETY: a new mapping at an address of the kernel's choice harms nobody.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PORTAL,
                libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                self.0.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    unsafe fn unmap(&self, page: NonNull<u8>) {
        // SAFETY: the caller's promise.
        let _unmapped = unsafe { libc::munmap(page.as_ptr().cast(), PORTAL) };
    }

    fn write(&self, descriptors: &[Descriptor]) -> io::Result<usize> {
        let bytes = size_of_val(descriptors);
        // SAFETY: a descriptor is plain bytes without padding.
        let bytes = unsafe { std::slice::from_raw_parts(descriptors.as_ptr().cast::<u8>(), bytes) };
        let written = (&self.0).write(bytes)?;
        Ok(written / size_of::<Descriptor>())
    }
}
