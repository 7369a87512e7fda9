//! Signals, turned into flags that the main thread and the access log look at.
//!
//! SIGTERM and SIGINT ask for shutdown: minivoy drains and exits with 0. A second one means "now":
//! the process ends at once with 128 plus the signal's number, as shells count it. SIGHUP asks for
//! the access log to be reopened, and never ends the process, whether there is a log or not: log
//! rotation must not stop a proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What signals have asked for. Clones share the flags.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    shutdown: Arc<AtomicBool>,
    reopen_logs: Arc<AtomicBool>,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP for the rest of the process's life.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGTERM, SIGINT] {
            // In this order: the flag is set only after it was found unset, so that only a second
            // signal, of either kind, ends the process.
            let _id = flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&signals.shutdown),
            )?;
            let _id = flag::register(signal, Arc::clone(&signals.shutdown))?;
        }
        let _id = flag::register(SIGHUP, Arc::clone(&signals.reopen_logs))?;
        Ok(signals)
    }

    /// Whether shutdown was asked for. Stays true.
    pub fn shutdown_requested(&self) -> bool {
        self.shutdown.load(Ordering::Relaxed)
    }

    /// The flag SIGHUP sets; whoever reopens the log clears it.
    pub fn reopen_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen_logs)
    }
}
