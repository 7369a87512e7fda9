//! The environment abstraction layer: memory, cores and devices of the whole process.

use std::ffi::{CString, c_char};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use crate::eal_log;
use crate::error::{DpdkError, Errno};

/// DPDK's environment, initialised. Clones are handles of the one environment; it is cleaned up
/// (`rte_eal_cleanup`) when the last of them and of the pools and devices that rest on it is gone.
#[derive(Clone, Debug)]
pub struct Eal {
    environment: Arc<Environment>,
}

#[derive(Debug)]
struct Environment {
    /// The CPUs the process could run on before EAL pinned the calling thread to one.
    cpus: libc::cpu_set_t,
}

impl Drop for Environment {
    fn drop(&mut self) {
        // SAFETY: EAL was initialised, and nothing that rests on it is left: all of it holds an Eal.
        if unsafe { sys::rte_eal_cleanup() } != 0 {
            log::warn!("EAL could not be cleaned up");
        }
    }
}

impl Eal {
    /// Initialises EAL with its own arguments (`-l`, `-a`, `--vdev`, …; no program name). The
    /// calling thread becomes that of the main lcore and is pinned to its CPU; threads it starts
    /// from then on inherit that, see [`leave_lcore`](Self::leave_lcore).
    ///
    /// EAL logs to the `log` crate, target `dpdk`.
    ///
    /// # Errors
    /// [`DpdkError::EalTwice`] for every call after the first, [`DpdkError::NoHugepages`] where
    /// they are what is missing, else [`DpdkError::Eal`] with what EAL said.
    pub fn init(args: &[String]) -> Result<Self, DpdkError> {
        let mut argv = Vec::with_capacity(args.len() + 2);
        for argument in ["minivoy"]
            .into_iter()
            .chain(args.iter().map(String::as_str))
        {
            let argument = CString::new(argument).map_err(|_| DpdkError::Argument {
                argument: argument.to_owned(),
            })?;
            argv.push(argument);
        }

        static CALLED: AtomicBool = AtomicBool::new(false);
        if CALLED.swap(true, Ordering::SeqCst) {
            return Err(DpdkError::EalTwice);
        }

        let cpus = affinity();
        let count = i32::try_from(argv.len()).expect("fewer arguments than 2^31");
        // EAL keeps pointers into its arguments, so they are leaked, once in a process. An array of
        // arguments ends with a null pointer.
        let mut argv: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
        argv.push(std::ptr::null_mut());
        let argv = argv.leak();
        eal_log::install();
        // SAFETY: `count` terminated strings that are never freed; the one call in this process.
        let parsed = unsafe { sys::rte_eal_init(count, argv.as_mut_ptr()) };
        let errno = Errno::last();
        let said = eal_log::take_kept();
        if parsed < 0 {
            return Err(if lacks_hugepages(args) {
                DpdkError::NoHugepages { said }
            } else {
                DpdkError::Eal { errno, said }
            });
        }
        Ok(Self {
            environment: Arc::new(Environment { cpus }),
        })
    }

    /// Lets the calling thread run on every CPU the process had before EAL pinned its main thread.
    /// For threads that are not workers (the admin server, log writers), which would else inherit
    /// the one CPU that a worker keeps busy.
    pub fn leave_lcore(&self) {
        let cpus = &self.environment.cpus;
        // SAFETY: a set of the size told, read only. Thread 0 is the calling one.
        let _ = unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus) };
    }
}

fn affinity() -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers, for which zeros are a value: the empty set.
    let mut cpus: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: a set of the size told, written by the kernel.
    let _ = unsafe { libc::sched_getaffinity(0, size_of_val(&cpus), &mut cpus) };
    cpus
}

/// Whether a lack of hugepages explains that EAL did not initialise.
fn lacks_hugepages(args: &[String]) -> bool {
    !args.iter().any(|argument| argument == "--no-huge") && free_hugepages() == Some(0)
}

/// `HugePages_Free` of proc_meminfo(5): pages of the default size only.
fn free_hugepages() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Free:"))?;
    line.trim().parse().ok()
}
