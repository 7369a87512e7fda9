//! An owned block of memory in pages of a chosen size.

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;

use crate::pages::{ORDINARY_PAGE, Pages, huge_page_bytes, no_huge_pages, round_up};

/// A zeroed block of memory, whole pages of it, given back when dropped.
///
/// It begins at a page boundary. Its length is what was asked for, rounded up to whole pages.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    /// What the block was allocated with. Its size is rounded up *before* the allocation, so that
    /// the same layout describes exactly the mapping that is undone later: `munmap(2)` of a hugetlb
    /// mapping refuses any other length.
    layout: Layout,
    huge: bool,
}

// SAFETY: a Region owns its memory alone, as a Box<[u8]> would; nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Region {}

impl Region {
    /// Allocates at least `bytes` bytes (not 0) of zeroed memory.
    ///
    /// # Errors
    /// `InvalidInput` for a length of 0 or beyond the address space, `OutOfMemory` when there is
    /// no such memory; the text says which setting to raise.
    pub fn new(bytes: usize, pages: Pages) -> io::Result<Self> {
        if bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a region of 0 bytes",
            ));
        }
        match pages {
            Pages::Huge => Self::huge(bytes),
            Pages::Ordinary => Self::ordinary(bytes),
            Pages::HugeIfAvailable => Self::huge(bytes).or_else(|_| Self::ordinary(bytes)),
        }
    }

    fn huge(bytes: usize) -> io::Result<Self> {
        let page = huge_page_bytes().ok_or_else(|| no_huge_pages(bytes))?;
        let layout = page_layout(bytes, page)?;
        // SAFETY: the layout's size is not 0. Fresh anonymous pages are zeroed by the kernel.
        let start = unsafe { hugepage_rs::alloc(layout) };
        let start = NonNull::new(start).ok_or_else(|| no_huge_pages(layout.size()))?;
        Ok(Self {
            start,
            layout,
            huge: true,
        })
    }

    fn ordinary(bytes: usize) -> io::Result<Self> {
        let layout = page_layout(bytes, ORDINARY_PAGE)?;
        // SAFETY: the layout's size is not 0.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("no {} bytes of memory", layout.size()),
            )
        })?;
        Ok(Self {
            start,
            layout,
            huge: false,
        })
    }

    /// Whether the block lies in hugepages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: start points at layout.size() initialised bytes owned by self, and the result
        // borrows self.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in as_slice, and self is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.huge {
            // SAFETY: allocated by hugepage_rs::alloc with this very layout.
            unsafe { hugepage_rs::dealloc(self.start.as_ptr(), self.layout) }
        } else {
            // SAFETY: allocated by alloc_zeroed with this very layout.
            unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
        }
    }
}

fn page_layout(bytes: usize, page: usize) -> io::Result<Layout> {
    Layout::from_size_align(round_up(bytes, page)?, page)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut region: Region, page: usize) {
        assert_eq!(region.as_slice().len(), 3 * page);
        assert_eq!(region.as_slice().as_ptr() as usize % page, 0);
        assert!(region.as_slice().iter().all(|&b| b == 0));
        region.as_mut_slice()[3 * page - 1] = 7;
        assert_eq!(region.as_slice()[3 * page - 1], 7);
    }

    #[test]
    fn ordinary_pages() {
        let region = Region::new(2 * ORDINARY_PAGE + 1, Pages::Ordinary).unwrap();
        assert!(!region.is_huge());
        check(region, ORDINARY_PAGE);
    }

    /// Takes and gives back more in all than any machine has: a leak would make it fail. Holds on
    /// machines without hugepages too, where the fallback is taken.
    #[test]
    fn huge_pages_come_back() {
        let page = huge_page_bytes().unwrap_or(ORDINARY_PAGE);
        let first = Region::new(2 * page + 1, Pages::HugeIfAvailable).unwrap();
        if !first.is_huge() {
            let error = Region::new(1 << 46, Pages::Huge).unwrap_err();
            assert!(error.to_string().contains("hugepage"), "{error}");
            return;
        }
        check(first, page);
        for _ in 0..20_000 {
            drop(Region::new(2 * page + 1, Pages::Huge).unwrap());
        }
    }

    #[test]
    fn senseless_lengths() {
        assert_eq!(
            Region::new(0, Pages::Ordinary).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(Region::new(usize::MAX, Pages::HugeIfAvailable).is_err());
    }

    #[test]
    fn missing_hugepages_name_the_remedy() {
        let error = Region::new(1 << 46, Pages::Huge).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        if huge_page_bytes().is_some() {
            assert!(error.to_string().contains("nr_hugepages"), "{error}");
        }
    }
}
