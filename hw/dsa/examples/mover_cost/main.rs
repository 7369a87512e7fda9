//! What a copy job costs, by size: with the CPU, and with the accelerator's driver.
//!
//! `cargo run --release -p dsa --example mover_cost -- [--rounds N] [--json FILE]`
//!
//! Turns of 32 jobs of one piece each. Times are the core's, for a job; medians over rounds, in each of
//! which everything is measured once:
//!
//! - `mem`: the CPU copies;
//! - `driver`: what the core spends on making descriptors, submitting and harvesting, with a device
//!   that is done at once and copies nothing. It says from which size on an accelerator could spare
//!   the core work; how fast a device copies it does not say;
//! - `model`: elapsed time until a turn's jobs are back from the software model on a thread of its
//!   own, which is for correctness and no claim about hardware.
//!
//! *Hot*: the same 64 frames again and again. *Cold*: frames out of 256 MiB, more than caches hold.
//! *Aligned*: source and target begin at multiples of 64; else at 3 and 7 bytes behind.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // A program that measures time.

mod heap;
mod report;

use std::time::Instant;

use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, JobTag, MemMover, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::Frame;
use dsa::mover::{DsaMover, Settings};
use dsa::portal::{Portal, Submitted};
use dsa::queue::WorkQueue;
use dsa::{Descriptor, Opcode, Status};
use dsa_model::{Config, Memory, Model, ModelPortal, Runner};
use heap::{Heap, LARGEST, ROOM};
use report::{Case, Report};

const JOBS: usize = 32;
const COLD: usize = 256 << 20;

/// Bytes that a hot measurement copies, about.
const HOT_BYTES: usize = 10_000_000;

/// Fewest turns of a measurement.
const FEWEST: usize = 64;

/// A device that is done at once.
struct Instantly;

impl Portal for Instantly {
    fn takes_batches(&self) -> bool {
        true
    }

    fn submit(&mut self, descriptors: &[Descriptor]) -> Submitted {
        for descriptor in descriptors {
            debug_assert_ne!(descriptor.opcode(), Opcode::Drain as u8);
            let status = std::ptr::with_exposed_provenance_mut::<u8>(descriptor.record as usize);
            // SAFETY: the mover's record, whose first byte is an atomic.
            unsafe { status.write(Status::Success.bits()) };
        }
        Submitted {
            taken: descriptors.len(),
            retries: 0,
        }
    }

    fn close(&mut self) {}
}

/// Nanoseconds for a job.
fn measure(case: &Case, frames: &mut [Heap], mover: &mut impl Mover<Heap>) -> f64 {
    let (from, to) = if case.aligned { (0, 0) } else { (3, 7) };
    let turns = if case.hot {
        (HOT_BYTES / (case.size + 2000) / JOBS).max(FEWEST)
    } else {
        frames.len() / 2 / JOBS
    };
    let (mut batch, mut done) = (CopyBatch::default(), Vec::new());
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<Heap>::with_capacity(64);
    let (mut next, mut spent) = (0, 0);
    for _ in 0..turns {
        for _ in 0..JOBS {
            next = (next + 2) % frames.len();
            let mut source = frames[next].clone();
            source.set_len(ROOM);
            let target = std::mem::replace(&mut frames[next + 1], source.clone());
            batch.add_piece(CopyPiece {
                source,
                source_offset: from,
                target_offset: to,
                len: case.size as u32,
            });
            let conn = ConnRef {
                id: ConnId((next + 1) as u32),
                generation: 0,
            };
            let len = case.size as u32 + to;
            let span = queue.push_pending(&mut arena, len);
            batch.finish_job(target, len, JobTag { conn, span });
        }
        let start = Instant::now();
        mover.begin_turn(0);
        mover.submit(&mut batch);
        while mover.in_flight() > 0 {
            mover.harvest(&mut done);
        }
        spent += start.elapsed().as_nanos();
        for job in done.drain(..) {
            frames[job.tag.conn.id.0 as usize] = job.frame;
        }
        queue.reset(&mut arena);
    }
    spent as f64 / (turns * JOBS) as f64
}

fn settings() -> Settings {
    Settings {
        threshold: 0,
        deadline_us: u64::MAX / 2,
        ..Settings::default()
    }
}

fn driver() -> DsaMover<Heap, Instantly> {
    let queue = WorkQueue::new(Instantly, Config::default().info("wq0.0"));
    DsaMover::new(queue, settings())
}

fn modelled(case: &Case, frames: &mut [Heap]) -> f64 {
    let config = Config {
        latency: 0,
        ..Config::default()
    };
    let model = Model::new(config, Memory::direct());
    let _runner = Runner::start(&model).expect("a thread");
    let queue = ModelPortal::queue(&model, "wq0.0");
    measure(case, frames, &mut DsaMover::new(queue, settings()))
}

/// What the command line says: rounds, and where the figures go.
fn arguments() -> (usize, Option<String>) {
    let (mut rounds, mut json) = (7, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        match (&*argument, value) {
            ("--rounds", Some(value)) => rounds = value.parse().expect("a number of rounds"),
            ("--json", Some(value)) => json = Some(value),
            _ => panic!("mover_cost [--rounds N] [--json FILE], not {argument}"),
        }
    }
    (rounds, json)
}

fn main() {
    let (rounds, json) = arguments();
    let frames = |count| (0..count).map(|_| Heap::new()).collect::<Vec<_>>();
    let (mut hot, mut cold) = (frames(2 * JOBS), frames((COLD / ROOM) & !1));
    let mut report = Report::new(JOBS, Settings::default().threshold);
    let (mut mem, mut driver) = (MemMover::default(), driver());
    for _ in 0..rounds {
        for case in Case::all(LARGEST) {
            let frames = if case.hot { &mut hot } else { &mut cold };
            let figures = [
                measure(&case, frames, &mut mem),
                measure(&case, frames, &mut driver),
                modelled(&case, frames),
            ];
            report.add(&case, figures);
        }
    }
    print!("{report}");
    if let Some(path) = json {
        std::fs::write(&path, report.json()).expect("a file to write the figures to");
    }
}
