//! Page sizes, and the errors a failed mapping is reported with.

use std::io;
use std::sync::LazyLock;

/// Bytes of an ordinary page on x86-64.
pub(crate) const ORDINARY_PAGE: usize = 4096;

/// Which pages memory is wanted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Hugepages; an error when there are not enough of them.
    Huge,
    /// Hugepages when there are enough of them, else ordinary pages.
    HugeIfAvailable,
    /// Ordinary pages.
    Ordinary,
}

/// Bytes of the kernel's default hugepage (`Hugepagesize` in proc_meminfo(5)), or `None` on a
/// kernel without hugetlbfs.
pub fn huge_page_bytes() -> Option<usize> {
    static BYTES: LazyLock<Option<usize>> = LazyLock::new(|| {
        let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
        parse_huge_page_bytes(&meminfo)
    });
    *BYTES
}

/// Reads the `Hugepagesize:` line, which counts in kB.
fn parse_huge_page_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("Hugepagesize:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes
        .checked_mul(1024)
        .filter(|bytes| bytes.is_power_of_two())
}

/// `bytes` rounded up to whole pages of `page` bytes, or an error if that is no `usize`.
pub(crate) fn round_up(bytes: usize, page: usize) -> io::Result<usize> {
    bytes.checked_next_multiple_of(page).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{bytes} bytes do not fit the address space"),
        )
    })
}

/// The error for hugepages that are not there, with what mends it.
pub(crate) fn no_huge_pages(bytes: usize) -> io::Error {
    let remedy = match huge_page_bytes() {
        Some(page) => format!(
            "{} free hugepages of {} kB are needed: raise /proc/sys/vm/nr_hugepages",
            bytes.div_ceil(page),
            page / 1024
        ),
        None => "this kernel has no hugetlbfs".to_owned(),
    };
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!("no {bytes} bytes of hugepage memory; {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines() {
        let text = "MemTotal:  24682868 kB\nHugepagesize:       2048 kB\nHugetlb: 0 kB\n";
        assert_eq!(parse_huge_page_bytes(text), Some(2 << 20));
        assert_eq!(
            parse_huge_page_bytes("Hugepagesize: 1048576 kB"),
            Some(1 << 30)
        );
        assert_eq!(parse_huge_page_bytes("MemTotal: 1 kB"), None);
        assert_eq!(parse_huge_page_bytes("Hugepagesize: many kB"), None);
        assert_eq!(parse_huge_page_bytes("Hugepagesize: 3 kB"), None);
    }

    #[test]
    fn rounding() {
        assert_eq!(round_up(1, 4096).unwrap(), 4096);
        assert_eq!(round_up(4096, 4096).unwrap(), 4096);
        assert!(round_up(usize::MAX, 4096).is_err());
    }
}
