//! Hints to the processor's cache.

#![no_std]

/// Bytes of a cache line, on all machines that minivoy is for.
pub const LINE: usize = 64;

/// Begins to load everything a reference refers to (not what that refers to in turn), to be read soon.
/// Costs an instruction for each line, and never waits.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    let first = core::ptr::from_ref(value).cast::<u8>();
    let bytes = first.addr() % LINE + size_of_val(value);
    for line in 0..bytes.div_ceil(LINE) {
        prefetch_line(first.wrapping_add(line * LINE));
    }
}

/// Begins to load the line of an address, whatever lies there.
#[inline]
pub fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect but on the cache (Intel SDM volume 2,
    // PREFETCHh).
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing can be seen of a hint but that it does no harm.
    #[test]
    fn anything_can_be_hinted_at() {
        prefetch(&());
        prefetch::<[u8]>(&[]);
        prefetch(&[0u8; 1000][3..999]);
        prefetch_line(core::ptr::null());
    }
}
