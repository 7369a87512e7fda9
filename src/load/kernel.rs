//! Load and origin over kernel sockets: `--kernel`.
//!
//! Each thread has its part of the connections and its own epoll; nothing is shared but the time, the
//! signals, and a place each where it shows how far it is.

mod alarm;
mod client;
mod connect;
mod files;
mod origin;
mod slot;
mod visitor;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Barrier, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use dataplane::load::schedule::Schedule;
use minivoy::signals::Signals;
use minivoy::system::clock::{Clock, unix_ns};

use crate::cli::Options;
use crate::outcome::Finished;
use crate::plan::Plan;
use crate::progress::{Board, Line};
use crate::tally::Tally;
use client::{Client, Parts};
use connect::Connector;
use origin::Origin;
use slot::Request;
use visitor::Served;

/// Loads the URL of `plan`.
///
/// # Errors
/// A line that says what is missing.
pub fn load(options: &Options, plan: &Plan, signals: &Signals) -> Result<Finished, String> {
    files::make_room(plan.pace.connections.into())?;
    let threads = options.threads.min(plan.pace.connections);
    let clock = Clock::start();
    let board = Board::new(threads as usize);
    let (start, ready) = (OnceLock::new(), Barrier::new(threads as usize));
    let started_unix_ns = unix_ns();
    let (done, ended) = channel::<()>();
    let one = |index: u32| {
        let pace = plan.pace.longer_by(plan.warmup_us).share(index, threads);
        let connector = Connector::new(
            plan.url.address,
            &options.sources,
            index,
            threads,
            plan.payload.is_some(),
        );
        let client = Client::new(Parts {
            schedule: Schedule::new(&pace, 0),
            warmup_us: plan.warmup_us,
            connections: pace.connections,
            request: Request {
                head: plan.request_head(),
                payload: plan.payload.clone(),
                head_only: plan.head_only(),
                verify: plan.verify,
            },
            keep_alive: plan.keep_alive,
            timeout_us: plan.timeout_us,
            connector,
            clock,
            signals: signals.clone(),
            board: &board,
            index: index as usize,
        });
        // All begin together, when the slowest has made its slots, or failed to.
        let _leader = ready.wait();
        let start_us = *start.get_or_init(|| clock.now_us());
        client?.run(Schedule::new(&pace, start_us), start_us)
    };
    let results: Vec<io::Result<Tally>> = thread::scope(|scope| {
        let one = &one;
        let running: Vec<_> = (0..threads)
            .map(|index| {
                let done = done.clone();
                scope.spawn(move || {
                    let result = one(index);
                    drop(done);
                    result
                })
            })
            .collect();
        drop(done);
        watch(&ended, options.progress, clock, &board);
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<Tally>>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    });
    let mut tally = Tally::new();
    for result in results {
        tally.add(&result.map_err(|error| format!("cannot wait for sockets: {error}"))?);
    }
    let start_us = start.get().copied().unwrap_or_default() + plan.warmup_us;
    Ok(Finished {
        workers: threads,
        carrier: "kernel sockets".to_owned(),
        elapsed_us: clock.now_us().saturating_sub(start_us),
        started_unix_ns,
        tally,
    })
}

/// Prints lines of progress until all threads have ended.
fn watch(ended: &Receiver<()>, interval_s: u32, clock: Clock, board: &Board) {
    let interval = match interval_s {
        0 => Duration::from_secs(3600),
        seconds => Duration::from_secs(seconds.into()),
    };
    let (mut calls_before, mut last_us) = (0, 0);
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let (elapsed_us, tally) = (clock.now_us(), board.sum());
        let line = Line {
            elapsed_us,
            since_us: elapsed_us - last_us,
            calls_before,
            tally: &tally,
        };
        if interval_s > 0 {
            eprintln!("{line}");
        }
        (calls_before, last_us) = (tally.calls(), elapsed_us);
    }
}

/// Serves bodies at `address` until a signal comes, or until `time` is over.
///
/// # Errors
/// A line that says what is missing.
pub fn serve(
    options: &Options,
    address: SocketAddr,
    time: Option<Duration>,
    signals: &Signals,
) -> Result<(), String> {
    // How many will come is not known.
    if files::make_room(1 << 20).is_err() {
        let _limit = files::make_room(0);
    }
    let clock = Clock::start();
    let end_us = time.map(|time| time.as_micros() as u64);
    let mut origins = Vec::new();
    for _ in 0..options.threads {
        let opened = origin::listen(address).and_then(Origin::new);
        origins.push(opened.map_err(|error| format!("cannot listen at {address}: {error}"))?);
    }
    let places: Vec<Mutex<Served>> = origins.iter().map(|_| Mutex::default()).collect();
    let (done, ended) = channel::<()>();
    let results: Vec<io::Result<()>> = thread::scope(|scope| {
        let running: Vec<_> = origins
            .into_iter()
            .zip(&places)
            .map(|(origin, place)| {
                let done = done.clone();
                scope.spawn(move || {
                    let result = origin.run(signals, clock, end_us, place);
                    drop(done);
                    result
                })
            })
            .collect();
        drop(done);
        eprintln!("serving at {address}");
        watch_origin(&ended, options.progress, &places);
        let join = |thread: thread::ScopedJoinHandle<'_, io::Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    });
    for result in results {
        result.map_err(|error| format!("cannot wait for sockets: {error}"))?;
    }
    let served = sum(&places);
    eprintln!(
        "served {} requests ({} without a length, {} malformed), {} bytes of body, {} connections",
        served.requests, served.not_found, served.malformed, served.body_bytes, served.connections
    );
    Ok(())
}

/// Prints lines of progress while there is any, until all threads have ended.
fn watch_origin(ended: &Receiver<()>, interval_s: u32, places: &[Mutex<Served>]) {
    let interval = Duration::from_secs(interval_s.max(1).into());
    let mut before = Served::default();
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let served = sum(places);
        if interval_s > 0 && served != before {
            eprintln!(
                "{} requests, {:.1} qps, {} connections open, {} malformed",
                served.requests,
                (served.requests - before.requests) as f64 / f64::from(interval_s),
                served.connections - served.closed,
                served.malformed
            );
        }
        before = served;
    }
}

fn sum(places: &[Mutex<Served>]) -> Served {
    let mut sum = Served::default();
    for place in places {
        let served = *place.lock().unwrap_or_else(PoisonError::into_inner);
        sum.requests += served.requests;
        sum.not_found += served.not_found;
        sum.malformed += served.malformed;
        sum.body_bytes += served.body_bytes;
        sum.connections += served.connections;
        sum.closed += served.closed;
    }
    sum
}
