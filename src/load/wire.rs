//! Load and origin without a kernel in the path: sessions of the engine, on ports as the proxy has them.
//!
//! [`run`] is the life of the process once the command line was found good: EAL, packet memory, ports, a
//! worker on each lcore, and what they have counted.

mod ports;
mod setup;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use dataplane::port::FrameClass;
use dataplane::settings::Settings;
use dataplane::team::{PARCELS, Team};
use dpdk::{DeviceConfig, Eal};
use minivoy::eal_args::EalArgs;
use minivoy::signals::Signals;
use minivoy::system::clock::{Clock, unix_ns};
use minivoy::system::rings::Rings;
use minivoy::system::{crew, lcores, ports as devices};

use crate::cli::Options;
use crate::outcome::Finished;
use crate::plan::Plan;
use crate::progress::{Board, Line};
use crate::tally::Tally;
use worker::{Ended, Running};

/// Runs the load of `plan`, the origin, or both. `None`: there was no load.
///
/// # Errors
/// A line that says what is missing.
pub fn run(
    eal_arguments: &[String],
    options: &Options,
    plan: Option<&Plan>,
    signals: &Signals,
) -> Result<Option<Finished>, String> {
    let arguments = &eal_arguments[1..];
    let huge = !EalArgs::parse(arguments).no_huge;
    let start = |error: minivoy::system::StartError| error.to_string();
    let eal = Eal::init(arguments).map_err(|error| start(error.into()))?;
    let lcores = eal.lcores();
    let workers = lcores.len() as u32;
    let config = setup::config(options, plan, workers)?;
    let pools = lcores::make_pools(&eal, &lcores, config.memory).map_err(start)?;
    let opened = devices::open(&eal, &config, &pools, &receive()).map_err(start)?;
    let carrier = config.ports.iter().map(|port| port.device.to_string());
    let carrier = carrier.collect::<Vec<_>>().join(", ");

    let clock = Clock::start();
    let started_unix_ns = unix_ns();
    let board = Arc::new(Board::new(lcores.len()));
    let (ended, results) = bounded(lcores.len());
    let team = Team::of(lcores.len() as u16, opened.steerings, PARCELS);
    let crew = crew::crew(lcores.len(), config.settings.ports.len());
    let mut jobs = Vec::new();
    let places = opened.queues.into_iter().zip(team).zip(crew);
    for (index, ((ports, team), member)) in places.enumerate() {
        let settings = share(&config.settings, index as u32, workers);
        let ring = settings.limits.session_buffer;
        let rings = Rings::new(ring, huge)
            .map_err(|error| start(minivoy::system::StartError::Rings(error)))?;
        let parts = worker::Parts {
            index,
            ports,
            pool: pools[index].clone(),
            rings,
            settings: Arc::new(settings),
            coalesce_us: options.coalesce_us,
            warmup_us: plan.map_or(0, |plan| plan.warmup_us),
            time: options.time.filter(|time| *time > Duration::ZERO),
            seed: lcores::secret(),
            signals: signals.clone(),
            team,
            member,
            clock,
            board: Arc::clone(&board),
            progress_s: options.progress,
        };
        let ended = ended.clone();
        jobs.push((lcores[index], move || {
            let result = Running::start(parts)?.run();
            // There is room for all of them.
            let _sent = ended.send(result);
            Ok(())
        }));
    }
    drop(ended);
    let watcher = plan
        .filter(|_| options.progress > 0)
        .map(|_| Watcher::start(&eal, options.progress, clock, Arc::clone(&board)))
        .transpose()?;
    let outcome = lcores::run(&eal, jobs);
    if let Some(watcher) = watcher {
        watcher.finish();
    }
    let returned = lcores::check_frames(&lcores, &pools);
    outcome.and(returned).map_err(start)?;
    let results: Vec<Ended> = results.iter().collect();
    for line in results.iter().filter_map(Ended::line) {
        log::info!("{line}");
        eprintln!("{line}");
    }
    let Some(plan) = plan else {
        return Ok(None);
    };
    finished(results, workers, carrier, started_unix_ns)
        .map(Some)
        .ok_or_else(|| {
            let target = plan.url.address;
            format!(
                "no connection to {target} was opened, nor refused: is its port's link up, and does \
                 somebody answer ARP there?"
            )
        })
}

/// How devices receive: into large frames. With few packets in a burst, as devices give by default, what was
/// copied into them is still in the core's cache when they are looked at and used again: over vhost-user, with
/// bodies of 16 KiB, both together are worth 15 %.
fn receive() -> DeviceConfig {
    DeviceConfig {
        rx_class: FrameClass::Large,
        ..DeviceConfig::default()
    }
}

/// What all workers have counted; `None` when that is nothing.
fn finished(results: Vec<Ended>, workers: u32, carrier: String, unix_ns: u64) -> Option<Finished> {
    let mut tally = Tally::new();
    let (mut start, mut end) = (u64::MAX, 0);
    for ended in &results {
        tally.add(&ended.tally);
        start = start.min(ended.start_us.unwrap_or(u64::MAX));
        end = end.max(ended.end_us);
    }
    (tally.calls() > 0).then(|| Finished {
        workers,
        carrier,
        elapsed_us: end.saturating_sub(start),
        started_unix_ns: unix_ns + if start == u64::MAX { 0 } else { start * 1000 },
        tally,
    })
}

/// What one of `workers` workers is told: its share of the load.
fn share(settings: &Settings, index: u32, workers: u32) -> Settings {
    let mut own = settings.clone();
    if let Some(load) = &mut own.load {
        load.pace = load.pace.share(index, workers);
        if load.pace.connections == 0 {
            own.load = None;
        }
    }
    own
}

/// The thread that prints lines of progress.
struct Watcher {
    /// Dropped to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watcher {
    /// Runs beside the workers' cores, not on one.
    fn start(eal: &Eal, interval_s: u32, clock: Clock, board: Arc<Board>) -> Result<Self, String> {
        let (stop, stopped) = bounded(0);
        let eal = eal.clone();
        let interval = Duration::from_secs(interval_s.into());
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                eal.leave_lcore();
                drop(eal);
                let (mut calls_before, mut last_us) = (0, clock.now_us());
                while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    let (elapsed_us, tally) = (clock.now_us(), board.sum());
                    let line = Line {
                        elapsed_us,
                        since_us: elapsed_us - last_us,
                        calls_before,
                        tally: &tally,
                    };
                    eprintln!("{line}");
                    (calls_before, last_us) = (tally.calls(), elapsed_us);
                }
            })
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { stop, thread })
    }

    fn finish(self) {
        drop(self.stop);
        let _ended = self.thread.join();
    }
}
