//! Ring buffers for sockets whose payload lies elsewhere.
//!
//! smoltcp is shown filler instead of payload: every byte it copies into or out of a socket's ring
//! is zero. It still wants a ring of its own for each socket and direction, a quarter of a mebibyte
//! each. Here all those rings are made of the same physical pages: one memory file, as long as a
//! pair of rings (or as a hugepage, which holds several pairs), is mapped again and again, each
//! time at an address of its own. A connection then costs no memory of its own but its share of
//! the page table, and the filler stays in the core's cache whichever connection is served.
//!
//! # Why handing out `&'static mut [u8]` is sound
//!
//! Two mappings of one file are two names of the same physical byte, while Rust takes two disjoint
//! `&mut [u8]` for different bytes. The difference could be seen only by reading through one
//! mapping a value that was written through another and that this one does not already hold. The
//! file begins as zeros, and whoever makes a [`FillerRings`] promises that only zeros are ever
//! written through its rings. So a read yields 0, which is just what private zeroed memory would
//! yield, and no sequence of reads and writes tells the two apart: each mapping behaves as the
//! private allocation that the abstract machine takes it for. The mappings are never undone, so
//! `'static` holds. Two threads that write to two pairs never write to the same *address*; that the
//! hardware sees equal stores to the same line is harmless, but slow: make one `FillerRings` for
//! each worker.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use crate::pages::{ORDINARY_PAGE, round_up};

/// Bytes of the hugepages that rings are made of: asked for by size, because where the default is
/// 1 GiB, one such page would be a thousand times what is needed.
const HUGE_PAGE: usize = 2 << 20;

/// Where pairs of ring buffers come from that hold nothing but zeros.
///
/// Dropping it does not take the pairs back: they live as long as the process. Sockets, and the
/// pairs with them, are meant to be pooled and used again.
#[derive(Debug)]
pub struct FillerRings {
    file: OwnedFd,
    /// Bytes of the file and of each mapping of it.
    mapping_bytes: usize,
    ring_bytes: usize,
    huge: bool,
    /// The part of the newest mapping that was not handed out yet.
    next: NonNull<u8>,
    left: usize,
}

// SAFETY: `next` points into a mapping that nobody else knows; it is not tied to a thread.
unsafe impl Send for FillerRings {}

impl FillerRings {
    /// Prepares rings of `ring_bytes` bytes each (not 0).
    ///
    /// With `huge`, they are made of hugepages if the machine has one to spare, which makes them
    /// cheaper by far (no page table for each connection); see [`is_huge`](Self::is_huge).
    ///
    /// # Safety
    /// Through the slices that [`pair`](Self::pair) returns, nothing but zeros may ever be written:
    /// all of them are the same physical memory.
    ///
    /// # Errors
    /// `InvalidInput` for a senseless length, else what the kernel says.
    pub unsafe fn new(ring_bytes: usize, huge: bool) -> io::Result<Self> {
        let pair_bytes = ring_bytes
            .checked_mul(2)
            .filter(|&bytes| bytes > 0)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("rings of {ring_bytes} bytes"),
                )
            })?;
        // There may be no free hugepage: then ordinary pages serve as well.
        if huge
            && let Ok(rings) = Self::with_pages(ring_bytes, round_up(pair_bytes, HUGE_PAGE)?, true)
        {
            return Ok(rings);
        }
        Self::with_pages(ring_bytes, round_up(pair_bytes, ORDINARY_PAGE)?, false)
    }

    fn with_pages(ring_bytes: usize, mapping_bytes: usize, huge: bool) -> io::Result<Self> {
        let file = memory_file(mapping_bytes, huge)?;
        // Mapping once now finds out whether the pages exist.
        let next = map(&file, mapping_bytes)?;
        Ok(Self {
            file,
            mapping_bytes,
            ring_bytes,
            huge,
            next,
            left: mapping_bytes,
        })
    }

    /// A receive and a transmit ring, both `ring_bytes` zeros, at addresses nobody else has.
    ///
    /// # Errors
    /// What `mmap(2)` says; `ENOMEM` is explained with the setting to raise.
    pub fn pair(&mut self) -> io::Result<(&'static mut [u8], &'static mut [u8])> {
        if self.left < 2 * self.ring_bytes {
            self.next = map(&self.file, self.mapping_bytes)?;
            self.left = self.mapping_bytes;
        }
        let rx = self.next.as_ptr();
        // SAFETY: a mapping holds at least a pair, and `left` says that this one still does: both
        // ends lie in it or one past its end. The mapping is never undone, is initialised, and no
        // address of it is handed out twice because `next` moves past it. That other mappings show
        // the same pages cannot be observed, as `new`'s contract and the module's doc say.
        unsafe {
            let tx = rx.add(self.ring_bytes);
            self.next = NonNull::new_unchecked(tx.add(self.ring_bytes));
            self.left -= 2 * self.ring_bytes;
            Ok((
                std::slice::from_raw_parts_mut(rx, self.ring_bytes),
                std::slice::from_raw_parts_mut(tx, self.ring_bytes),
            ))
        }
    }

    /// Whether the rings are made of hugepages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// How many pairs one memory mapping holds: `vm.max_map_count` mappings are the kernel's bound
    /// for the whole process.
    pub fn pairs_per_mapping(&self) -> usize {
        self.mapping_bytes / (2 * self.ring_bytes)
    }
}

/// An anonymous file of `bytes` zeros in pages of the wanted size.
fn memory_file(bytes: usize, huge: bool) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC
        | if huge {
            libc::MFD_HUGETLB | libc::MFD_HUGE_2MB
        } else {
            0
        };
    // SAFETY: the name is a terminated string that outlives the call.
    let fd = unsafe { libc::memfd_create(c"minivoy filler".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fd was just opened and belongs to nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let length =
        libc::off_t::try_from(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    // Allocated now, so that a lack of pages is an error here and not a SIGBUS at the first touch.
    // SAFETY: plain call on a descriptor we own.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Maps the whole file at a new address, with its page table filled in: that costs less now than
/// a page fault for each page would later, in the middle of a packet.
fn map(file: &OwnedFd, bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: the kernel chooses an unused address, so no memory in use is touched.
    let address = unsafe {
        libc::mmap(
            null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if address != libc::MAP_FAILED {
        return Ok(NonNull::new(address.cast()).expect("mmap(2) never maps address 0 unasked"));
    }
    let error = io::Error::last_os_error();
    Err(if error.raw_os_error() == Some(libc::ENOMEM) {
        out_of_mappings(&error)
    } else {
        error
    })
}

fn out_of_mappings(cause: &io::Error) -> io::Error {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "mapping filler rings: {cause}; the process may have reached vm.max_map_count ({}): \
             raise it, or lower the number of connections",
            limit.trim()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Rings for tests, which write nothing but zeros.
    fn rings(ring_bytes: usize, huge: bool) -> FillerRings {
        // SAFETY: the tests below write only zeros.
        unsafe { FillerRings::new(ring_bytes, huge) }.unwrap()
    }

    fn status_kilobytes(field: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(field)).unwrap();
        line.trim_start_matches(':')
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The physical memory behind the file, in bytes (`st_blocks` counts 512-byte units).
    fn file_bytes(rings: &FillerRings) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::File::from(rings.file.try_clone().unwrap());
        file.metadata().unwrap().blocks() * 512
    }

    fn check(ring_bytes: usize, huge: bool) {
        let mut rings = rings(ring_bytes, huge);
        let before = file_bytes(&rings);
        let mut addresses = HashSet::new();
        for _ in 0..100 {
            let (rx, tx) = rings.pair().unwrap();
            for ring in [rx, tx] {
                assert_eq!(ring.len(), ring_bytes);
                ring.fill(0);
                assert!(ring.iter().all(|&b| b == 0));
                for address in ring.as_ptr_range().start as usize..ring.as_ptr_range().end as usize
                {
                    assert!(addresses.insert(address), "an address was handed out twice");
                }
            }
        }
        assert_eq!(file_bytes(&rings), before, "pairs must not cost memory");
        assert!(before >= 2 * ring_bytes as u64);
    }

    #[test]
    fn pairs_are_distinct_zeroed_and_share_their_pages() {
        check(8 * 1024, false);
        check(8 * 1024, true);
        // A length that is no multiple of a page.
        check(5_000, false);
    }

    #[test]
    fn a_hugepage_holds_several_pairs() {
        let rings = rings(256 * 1024, true);
        if rings.is_huge() {
            assert_eq!(rings.pairs_per_mapping(), HUGE_PAGE / (512 * 1024));
        } else {
            assert_eq!(rings.pairs_per_mapping(), 1);
        }
    }

    #[test]
    fn page_tables_stay_small() {
        let mut rings = rings(256 * 1024, false);
        let before = status_kilobytes("VmPTE");
        for _ in 0..1000 {
            let (rx, tx) = rings.pair().unwrap();
            rx.fill(0);
            tx.fill(0);
        }
        let each = (status_kilobytes("VmPTE") - before) * 1024 / 1000;
        assert!(each <= 2048, "{each} bytes of page table for each pair");
    }

    #[test]
    fn senseless_lengths() {
        for bytes in [0, usize::MAX, usize::MAX / 2] {
            // SAFETY: no ring is made.
            assert!(unsafe { FillerRings::new(bytes, false) }.is_err());
        }
    }

    #[test]
    fn the_bound_of_the_kernel_is_named() {
        let error = out_of_mappings(&io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    }
}
