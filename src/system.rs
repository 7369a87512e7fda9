//! The composition of EAL, pools, ports, movers and workers, and the order in which they end.

use std::time::Duration;

use crate::access_log::AccessLog;
use crate::cli::Mover;
use crate::config::Config;
use crate::signals::Signals;

/// What the launch side hands over: read, checked, and ready to be run.
#[derive(Debug)]
pub struct Launch {
    /// EAL's arguments, the program's name first.
    pub eal: Vec<String>,
    /// The configuration. `settings.access_log` says whether there is an access log.
    pub config: Config,
    /// How payload is moved.
    pub mover: Mover,
    /// Time between two summary lines; `None`: none.
    pub stats_interval: Option<Duration>,
    /// The access log, running since before EAL. Give each worker a sender, and finish it when
    /// they have ended.
    pub access_log: Option<AccessLog>,
    /// SIGTERM, SIGINT and SIGHUP.
    pub signals: Signals,
}

/// Why minivoy did not start, or did not end well. Each is one line with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The workers are not part of this build.
    #[error("this build has no workers yet: only --check and --validate work")]
    NotBuilt,
}

/// Runs minivoy until shutdown is asked for and everything under way has ended.
///
/// # Errors
/// [`StartError`] when something could not be started.
pub fn run(launch: Launch) -> Result<(), StartError> {
    let Launch {
        eal,
        config,
        mover,
        stats_interval,
        access_log,
        signals,
    } = launch;
    log::debug!(
        "EAL arguments {eal:?}, {} ports, {mover:?}, summary every {stats_interval:?}, shutdown asked for: {}",
        config.ports.len(),
        signals.shutdown_requested(),
    );
    if let Some(log) = access_log {
        log::debug!("access log: {:?}", log.finish());
    }
    Err(StartError::NotBuilt)
}
