//! Memory that the rest of minivoy stands on, in pages of the size it wants.
//!
//! - [`Region`]: an owned, zeroed block of hugepages (or, when asked, of ordinary pages).
//! - [`FillerRings`]: the ring buffers of smoltcp's sockets, thousands of pairs that all share the
//!   same few physical pages because nothing but zeros is ever stored in them.
//!
//! Linux only: both rest on `mmap(2)`, `memfd_create(2)` and hugetlbfs(5).

mod filler;
mod pages;
mod region;

pub use filler::FillerRings;
pub use pages::{Pages, huge_page_bytes};
pub use region::Region;
