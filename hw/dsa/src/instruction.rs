//! The two instructions that submit, and whether there are any here.
//!
//! MOVDIR64B writes 64 bytes as one and is *posted*: whatever becomes of them, the processor goes on.
//! ENQCMD writes them and waits for the device's answer, which comes in the zero flag: set, the queue
//! was full. Both are in Intel's "Software Developer's Manual", volume 2.

use crate::Descriptor;

/// What ENQCMD found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The device has the descriptor.
    Yes,
    /// It has no room now.
    Retry,
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _mm_sfence};

    use super::Accepted;
    use crate::Descriptor;

    /// What was written before is visible to the device before what is submitted after.
    #[inline]
    pub fn store_fence() {
        // SAFETY: SSE is part of x86-64.
        unsafe { _mm_sfence() };
    }

    /// Submits to a dedicated queue.
    ///
    /// # Safety
    /// `slot` is a multiple of 64 in a mapped portal page, and the processor has MOVDIR64B (or
    /// whoever handles SIGILL does).
    #[inline]
    pub unsafe fn movdir64b(slot: *mut u8, descriptor: &Descriptor) {
        // SAFETY: the caller's promise; it reads 64 bytes at `descriptor`, and others that the
        // descriptor leads to are memory for the compiler too (no `nomem`).
        unsafe {
            asm!(
                "movdir64b {slot}, [{descriptor}]",
                slot = in(reg) slot,
                descriptor = in(reg) descriptor,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Submits to a shared queue.
    ///
    /// # Safety
    /// As for [`movdir64b`], with ENQCMD.
    #[inline]
    pub unsafe fn enqcmd(slot: *mut u8, descriptor: &Descriptor) -> Accepted {
        let full: u8;
        // SAFETY: as above.
        unsafe {
            asm!(
                "enqcmd {slot}, [{descriptor}]",
                "setz {full}",
                slot = in(reg) slot,
                descriptor = in(reg) descriptor,
                full = out(reg_byte) full,
                options(nostack),
            );
        }
        if full == 0 {
            Accepted::Yes
        } else {
            Accepted::Retry
        }
    }

    /// CPUID leaf 7, register ECX: bit 28 MOVDIR64B, bit 29 ENQCMD.
    fn features() -> u32 {
        if __cpuid(0).eax < 7 {
            return 0;
        }
        __cpuid_count(7, 0).ecx
    }

    /// Whether the processor has MOVDIR64B.
    pub fn has_movdir64b() -> bool {
        features() & 1 << 28 != 0
    }

    /// Whether the processor has ENQCMD.
    pub fn has_enqcmd() -> bool {
        features() & 1 << 29 != 0
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use super::Accepted;
    use crate::Descriptor;

    /// Nothing is submitted here.
    pub fn store_fence() {}

    /// Does nothing.
    ///
    /// # Safety
    /// None is needed.
    pub unsafe fn movdir64b(_slot: *mut u8, _descriptor: &Descriptor) {}

    /// Does nothing.
    ///
    /// # Safety
    /// None is needed.
    pub unsafe fn enqcmd(_slot: *mut u8, _descriptor: &Descriptor) -> Accepted {
        Accepted::Retry
    }

    /// No.
    pub fn has_movdir64b() -> bool {
        false
    }

    /// No.
    pub fn has_enqcmd() -> bool {
        false
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use none::{enqcmd, has_enqcmd, has_movdir64b, movdir64b, store_fence};
#[cfg(target_arch = "x86_64")]
pub use x86::{enqcmd, has_enqcmd, has_movdir64b, movdir64b, store_fence};

/// Whether somebody handles the signal that an unknown instruction raises: a model of the device,
/// preloaded or installed by a test.
pub fn sigill_is_handled() -> bool {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: it only asks, and writes to `action`.
    let asked = unsafe { libc::sigaction(libc::SIGILL, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN
}

const _: () = assert!(size_of::<Descriptor>() == 64 && align_of::<Descriptor>() == 64);
