//! The composition of EAL, pools, ports, movers and workers, and the order in which they end.
//!
//! [`run`] is to be read from top to bottom: it is the life of the process once the command line
//! and the configuration were found good. What it makes first it takes down last.

mod any_port;
mod clock;
mod crew;
mod error;
mod idle;
mod movers;
mod pacer;
mod ports;
mod record;
mod rings;
mod stats;
mod tick_clock;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use dataplane::counters::SharedCounters;
use dataplane::port::{FrameClass, FramePool, PoolLevel};
use dataplane::team::{PARCELS, Team};
use dpdk::{ClassConfig, Eal, Job, LcoreId, MbufPool, PoolConfig};

use crate::access_log::AccessLog;
use crate::cli::{AcceleratorOptions, Idle, Mover};
use crate::config::{Config, MemorySettings};
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
    let pools = make_pools(&eal, &lcores, launch.config.memory)?;
    let ports = ports::open(&eal, &launch.config, &pools)?;

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
            seed: secret(),
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

    let outcome = run_workers(&eal, plans);

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
    let returned = check_frames(&lcores, &pools);
    outcome.and(returned)
}

/// A pool for each worker, on the NUMA node of its lcore.
fn make_pools(
    eal: &Eal,
    lcores: &[LcoreId],
    memory: MemorySettings,
) -> Result<Vec<MbufPool>, StartError> {
    let sizes = PoolConfig::default();
    let sizes = PoolConfig {
        small: ClassConfig {
            count: memory.small_frames,
            ..sizes.small
        },
        large: ClassConfig {
            count: memory.large_frames,
            ..sizes.large
        },
        ..sizes
    };
    let pools = lcores.iter().enumerate().map(|(index, &lcore)| {
        let name = format!("worker{index}");
        MbufPool::new(eal, &name, eal.socket_of(lcore), &sizes)
    });
    Ok(pools.collect::<Result<_, _>>()?)
}

/// Runs each worker on its lcore and waits until all have ended. The first plan is that of the main
/// lcore, whose thread is this one: it comes last.
fn run_workers(eal: &Eal, plans: Vec<Plan>) -> Result<(), StartError> {
    let (outcomes, ended) = bounded(plans.len());
    let mut jobs = Vec::with_capacity(plans.len());
    for plan in plans.into_iter().rev() {
        let outcomes = outcomes.clone();
        jobs.push(eal.run_on(plan.lcore, move || {
            // There is room for all of them.
            let _sent = outcomes.send(plan.run());
        })?);
    }
    drop(outcomes);
    // All are waited for, whatever became of the first.
    let waited: Vec<_> = jobs.into_iter().map(Job::wait).collect();
    let outcomes: Vec<_> = ended.iter().collect();
    outcomes.into_iter().collect::<Result<(), _>>()?;
    waited.into_iter().collect::<Result<(), _>>()?;
    Ok(())
}

/// Says for each worker whether its frames are all back. Nothing that could hold one is left: ports
/// and devices have been closed with the workers.
fn check_frames(lcores: &[LcoreId], pools: &[MbufPool]) -> Result<(), StartError> {
    let mut missing = 0;
    for (index, (lcore, pool)) in lcores.iter().zip(pools).enumerate() {
        let levels = [FrameClass::Small, FrameClass::Large].map(|class| pool.level(class));
        let [small, large] = levels;
        let line = format!(
            "worker {index} (lcore {}): ended; frames returned: small {} of {}, large {} of {}",
            lcore.number(),
            small.free,
            small.total,
            large.free,
            large.total,
        );
        let lost: u32 = levels.iter().map(lost).sum();
        if lost == 0 {
            log::info!("{line}");
        } else {
            log::error!("{line}: {lost} missing");
        }
        missing += lost;
    }
    if missing == 0 {
        Ok(())
    } else {
        Err(StartError::FramesLost { missing })
    }
}

fn lost(level: &PoolLevel) -> u32 {
    level.total.saturating_sub(level.free)
}

/// A number nobody can guess: a keyed hash whose key comes from the system's random numbers.
fn secret() -> u64 {
    RandomState::new().hash_one(0)
}
