//! The processor's tick counter: the cheapest clock there is.

use dpdk_sys as sys;

use crate::eal::Eal;

/// The count now (`rte_rdtsc`; on x86 the time stamp counter, some 25 cycles). It counts at a fixed
/// rate on every processor of the last fifteen years, whatever the core's frequency. Nothing orders it
/// with the instructions around it, so it is off by some ten cycles.
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: reads a register of the processor.
    unsafe { sys::rte_rdtsc() }
}

impl Eal {
    /// Ticks a second, as EAL has found out.
    pub fn ticks_per_second(&self) -> u64 {
        // SAFETY: EAL is initialised.
        unsafe { sys::rte_get_tsc_hz() }
    }
}
