//! The modelled accelerator under a program that knows nothing of it:
//!
//! ```text
//! DSA_DEV_PATH=… DSA_SYSFS_PATH=… LD_PRELOAD=libdsa_preload.so PROGRAM
//! ```
//!
//! The program maps an ordinary file `wqX.Y` in `DSA_DEV_PATH` as if it were a portal and submits to
//! it with MOVDIR64B or ENQCMD; [`dsa_model::trap`] catches these and [`dsa_model::files`] knows
//! whose they are. minivoy is run so (`--mover dsa`), and DPDK's own driver (`scripts/dmadev.sh`).
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use dsa_model::{files, trap};

/// Bytes of a portal.
const PORTAL: usize = 4096;

/// Run by the dynamic loader before the program's `main`.
#[used]
// SAFETY: the section holds pointers to functions without arguments that matter, and this is one.
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    files::remember_cpus();
    trap::set_resolver(files::resolve);
    // Without it the program ends with SIGILL at its first submission, which says enough.
    let _installed = trap::install();
}

/// In the place of the C library's: when a portal is unmapped, its queue first comes to an end with
/// everything, as it does in the kernel when the file is closed. Programs free afterwards what the
/// device was writing to.
///
/// # Safety
/// As for munmap(2).
// SAFETY: the symbol is meant to take the place of the C library's, with the same meaning.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn munmap(address: *mut libc::c_void, len: usize) -> libc::c_int {
    if len == PORTAL
        && let Some(model) = trap::forget(address as usize)
    {
        model.quiesce();
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_munmap, address, len) as libc::c_int }
}
