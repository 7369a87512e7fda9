//! Logical cores, and running work on them.
//!
//! EAL starts one pinned thread for each lcore of `-l`, except the main lcore, whose thread is the
//! one that called [`Eal::init`]. One worker for each listed lcore therefore means: [`Eal::run_on`]
//! for every other lcore first, and for the main lcore last; that call runs the worker in the
//! calling thread and returns when it ends.
//!
//! EAL's own threads rather than the standard library's, because mempools keep a cache for each
//! lcore: a thread that is none of EAL's allocates and frees without one, several times as slowly.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::DpdkError;

/// A logical core that EAL was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LcoreId(u32);

impl LcoreId {
    /// EAL's number of it.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Work that was started on an lcore. Dropping it waits for the work to end.
#[derive(Debug)]
pub struct Job {
    lcore: LcoreId,
    /// What the work returned, once known: 0, or [`PANICKED`].
    result: Option<i32>,
    /// Keeps EAL, whose thread the work runs on.
    _eal: Eal,
}

const PANICKED: i32 = 1;

type Work = Box<dyn FnOnce() + Send>;

impl Eal {
    /// The lcores EAL was given, the main one first.
    pub fn lcores(&self) -> Vec<LcoreId> {
        let mut lcores = vec![self.main_lcore()];
        let mut lcore = u32::MAX;
        loop {
            // SAFETY: EAL is initialised. It counts up from the number given, skipping the main
            // lcore, and does not wrap.
            lcore = unsafe { sys::rte_get_next_lcore(lcore, 1, 0) };
            if lcore >= sys::RTE_MAX_LCORE {
                return lcores;
            }
            lcores.push(LcoreId(lcore));
        }
    }

    /// The lcore of the thread that initialised EAL.
    pub fn main_lcore(&self) -> LcoreId {
        // SAFETY: EAL is initialised.
        LcoreId(unsafe { sys::rte_get_main_lcore() })
    }

    /// The NUMA socket of an lcore: where its pools should lie.
    pub fn socket_of(&self, lcore: LcoreId) -> u32 {
        // SAFETY: EAL is initialised; the function checks nothing, but the number is EAL's.
        unsafe { sys::rte_lcore_to_socket_id(lcore.0) }
    }

    /// Runs `work` on an lcore: on the main one in the calling thread, before this returns; on any
    /// other in its own thread, while this returns at once.
    ///
    /// # Errors
    /// [`DpdkError::LcoreBusy`] when the lcore runs something already, or when it is the main one
    /// and this is not its thread.
    pub fn run_on(
        &self,
        lcore: LcoreId,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Job, DpdkError> {
        if lcore == self.main_lcore() {
            // SAFETY: reads a thread-local variable.
            if unsafe { sys::rte_lcore_id() } != lcore.0 {
                return Err(DpdkError::LcoreBusy { lcore: lcore.0 });
            }
            let result = call(Box::new(work));
            return Ok(Job {
                lcore,
                result: Some(result),
                _eal: self.clone(),
            });
        }
        let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
        // SAFETY: the lcore is one of EAL's and not the main one. `trampoline` takes back the box,
        // on one thread, once; the work is Send.
        let launched =
            unsafe { sys::rte_eal_remote_launch(Some(trampoline), work.cast::<c_void>(), lcore.0) };
        if launched != 0 {
            // SAFETY: not launched, so the box is still ours.
            drop(unsafe { Box::from_raw(work) });
            return Err(DpdkError::LcoreBusy { lcore: lcore.0 });
        }
        Ok(Job {
            lcore,
            result: None,
            _eal: self.clone(),
        })
    }
}

impl Job {
    /// Waits for the work to end.
    ///
    /// # Errors
    /// [`DpdkError::LcorePanicked`].
    pub fn wait(mut self) -> Result<(), DpdkError> {
        match self.finish() {
            0 => Ok(()),
            _ => Err(DpdkError::LcorePanicked {
                lcore: self.lcore.0,
            }),
        }
    }

    fn finish(&mut self) -> i32 {
        let lcore = self.lcore.0;
        // SAFETY: an lcore of EAL's that this job was launched on, waited for from another thread.
        *self
            .result
            .get_or_insert_with(|| unsafe { sys::rte_eal_wait_lcore(lcore) })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

unsafe extern "C" fn trampoline(work: *mut c_void) -> i32 {
    // SAFETY: `run_on` made this pointer of a box and gave it away.
    call(*unsafe { Box::from_raw(work.cast::<Work>()) })
}

/// Runs the work; a panic must not unwind into EAL's C code.
fn call(work: Work) -> i32 {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => 0,
        Err(_) => PANICKED,
    }
}
