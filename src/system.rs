//! The composition of EAL, pools, ports, movers and workers, and the order in which they end.
//!
//! [`run`] is to be read from top to bottom: it is the life of the process once the command line
//! and the configuration were found good. What it makes first it takes down last.

pub mod any_port;
pub mod clock;
pub mod crew;
pub mod error;
mod idle;
pub mod lcores;
mod movers;
pub mod pacer;
pub mod ports;
mod record;
pub mod rings;
mod stats;
mod tick_clock;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use dataplane::counters::SharedCounters;
use dataplane::team::{PARCELS, Team};
use dpdk::{DeviceConfig, Eal};

use crate::access_log::AccessLog;
use crate::cli::{AcceleratorOptions, Idle, Mover};
use crate::config::Config;
use crate::eal_args::EalArgs;
use crate::signals::Signals;
use rings::Rings;
use stats::{Farewell, Stats};
use worker::Plan;

pub use error::StartError;

/// What the launch side hands over: read, checked, and ready to be run.
#[derive(Debug)]
pub struct Launch {
    /// EAL's arguments, the program's name first.
    pub eal: Vec<String>,
    /// The configuration. `settings.access_log` says whether there is an access log.
    pub config: Config,
    /// How payload is moved.
    pub mover: Mover,
    /// How the accelerator is used, if it is.
    pub accelerator: AcceleratorOptions,
    /// Time between two summary lines; `None`: none.
    pub stats_interval: Option<Duration>,
    /// Least time between the beginnings of two turns under load, in µs.
    pub coalesce_us: u32,
    /// What workers do while no packet comes; `None`: what suits their ports.
    pub idle: Option<Idle>,
    /// The access log, running since before EAL.
    pub access_log: Option<AccessLog>,
    /// SIGTERM, SIGINT and SIGHUP.
    pub signals: Signals,
}

/// Runs minivoy until shutdown is asked for and everything under way has ended.
///
/// # Errors
/// [`StartError`] when something could not be started, or when frames are missing at the end.
pub fn run(launch: Launch) -> Result<(), StartError> {
    let arguments = &launch.eal[1..];
    let eal = Eal::init(arguments)?;
    let lcores = eal.lcores();
    let pools = lcores::make_pools(&eal, &lcores, launch.config.memory)?;
    let ports = ports::open(&eal, &launch.config, &pools, &DeviceConfig::default())?;

    let movers = movers::plan(&eal, &lcores, launch.mover, &launch.accelerator)?;

    let settings = Arc::new(launch.config.settings);
    let huge = !EalArgs::parse(arguments).no_huge;
    let team = Team::of(lcores.len() as u16, ports.steerings, PARCELS);
    let crew = crew::crew(lcores.len(), settings.ports.len());
    let mut counters = Vec::new();
    let mut plans = Vec::new();
    let workers = ports.queues.into_iter().zip(team).zip(crew).zip(movers);
    for (index, (((ports, team), member), mover)) in workers.enumerate() {
        let shared = Arc::new(SharedCounters::default());
        counters.push(Arc::clone(&shared));
        plans.push(Plan {
            index,
            lcore: lcores[index],
            ports,
            pool: pools[index].clone(),
            settings: Arc::clone(&settings),
            mover,
            coalesce_us: launch.coalesce_us,
            idle: launch.idle.unwrap_or(Idle::Spin),
            rings: Rings::new(settings.limits.session_buffer, huge).map_err(StartError::Rings)?,
            seed: lcores::secret(),
            access_log: launch.access_log.as_ref().map(AccessLog::sender),
            signals: launch.signals.clone(),
            team,
            member,
            counters: shared,
            ticks_per_second: eal.ticks_per_second(),
            alone: lcores.len() == 1,
        });
    }
    let stats = launch
        .stats_interval
        .map(|interval| Stats::start(&eal, interval, counters.clone()))
        .transpose()?;

    let jobs = plans
        .into_iter()
        .map(|plan| (plan.lcore, move || plan.run()));
    let outcome = lcores::run(&eal, jobs.collect());

    if let Some(stats) = stats {
        stats.finish();
    }
    if let Some(access_log) = launch.access_log {
        let totals = access_log.finish();
        log::info!(
            "access log: {} lines written, {} dropped, {} failed",
            totals.written,
            totals.dropped,
            totals.failed
        );
    }
    log::info!("{}", Farewell(stats::total(&counters)));
    for line in stats::shares(&counters) {
        log::info!("{line}");
    }
    let returned = lcores::check_frames(&lcores, &pools);
    outcome.and(returned)
}
