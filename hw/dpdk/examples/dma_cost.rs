//! What the mover on DMA devices costs the core, by size, over `dma_skeleton`: DPDK's device without
//! hardware, which copies on a thread of its own.
//!
//! `cargo run --release -p dpdk --example dma_cost -- [--rounds N] [--json FILE]`
//!
//! Turns of 32 jobs of one piece each. Timed is what the core does: queueing and submitting, and taking the
//! reports once the device is done with all; not the time in between, which is that of the other thread.
//! Turns in which the device was not done when it was looked at are not counted.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // A program that measures time.

use std::time::{Duration, Instant};

use dataplane::conn::ConnRef;
use dataplane::flow_table::ConnId;
use dataplane::mover::{CopyBatch, CopyPiece, Done, JobTag, Mover};
use dataplane::payload::{SendQueue, SpanArena};
use dataplane::port::{Frame, FrameClass, FramePool};
use dpdk::{ClassConfig, DmaDevice, DmaMover, DmaSettings, Eal, Mbuf, MbufPool, PoolConfig};
use serde_json::json;

const JOBS: usize = 32;
const TURNS: usize = 200;
const LARGEST: usize = 16 * 1024;

/// Long enough for the device to copy a turn's jobs.
const PAUSE: Duration = Duration::from_micros(300);

/// Nanoseconds for a job of `size` bytes, in the median of many turns.
fn measure(pool: &mut MbufPool, mover: &mut DmaMover, size: usize) -> f64 {
    let (mut batch, mut done) = (CopyBatch::default(), Vec::<Done<Mbuf>>::with_capacity(JOBS));
    let mut queue = SendQueue::default();
    let mut arena = SpanArena::<Mbuf>::with_capacity(64);
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        for job in 0..JOBS {
            let mut alloc = || pool.alloc(FrameClass::Large).expect("a frame");
            let mut source = alloc();
            source.set_len(size);
            batch.add_piece(CopyPiece {
                source,
                source_offset: 0,
                target_offset: 0,
                len: size as u32,
            });
            let conn = ConnRef {
                id: ConnId(job as u32),
                generation: 0,
            };
            let span = queue.push_pending(&mut arena, size as u32);
            batch.finish_job(alloc(), size as u32, JobTag { conn, span });
        }
        let start = Instant::now();
        mover.begin_turn(0);
        mover.submit(&mut batch);
        let submitted = start.elapsed();
        while start.elapsed() < submitted + PAUSE {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        mover.harvest(&mut done);
        let harvested = start.elapsed();
        if done.len() == JOBS {
            turns.push((submitted + harvested).as_nanos());
        }
        while mover.in_flight() > 0 {
            std::thread::yield_now();
            mover.harvest(&mut done);
        }
        done.clear();
        queue.reset(&mut arena);
    }
    turns.sort_unstable();
    let median = turns.get(turns.len() / 2);
    *median.expect("the device was done in time at least once") as f64 / JOBS as f64
}

fn main() {
    let (mut rounds, mut path) = (7, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (&*argument, arguments.next()) {
            ("--rounds", Some(value)) => rounds = value.parse().expect("a number of rounds"),
            ("--json", Some(value)) => path = Some(value),
            _ => panic!("dma_cost [--rounds N] [--json FILE], not {argument}"),
        }
    }
    let args = "--no-huge -m 256 --no-pci --no-telemetry --no-shconf --file-prefix dma-cost -l 0 \
                --vdev dma_skeleton";
    let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    let eal = Eal::init(&args).expect("EAL");
    let class = |count, room| ClassConfig { count, room };
    let config = PoolConfig {
        small: class(127, 2_048),
        large: class(511, LARGEST as u16),
        cache: 64,
    };
    let mut pool = MbufPool::new(&eal, "cost", 0, &config).expect("a pool");
    let device = DmaDevice::open(&eal, "dma_skeleton").expect("the device");
    let settings = DmaSettings {
        threshold: 0,
        deadline_us: u64::MAX / 2,
    };
    let mut mover = DmaMover::new(device, settings);
    let sizes: Vec<usize> = (8..=14).map(|power| 1 << power).collect();
    let mut figures = vec![Vec::new(); sizes.len()];
    for _ in 0..rounds {
        for (size, figures) in sizes.iter().zip(&mut figures) {
            figures.push(measure(&mut pool, &mut mover, *size));
        }
    }
    println!("ns a job, median (least to most)");
    let mut rows = Vec::new();
    for (size, mut figures) in sizes.iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (figures[0], figures[figures.len() - 1]);
        let median = figures[figures.len() / 2];
        println!("{size:>6} {median:>6.0} ({least:.0} to {most:.0})");
        let [median, least, most] = [median, least, most].map(|ns: f64| (ns * 10.0).round() / 10.0);
        let spread = json!({ "median": median, "least": least, "most": most });
        rows.push(json!({ "size": size, "dmadev": spread }));
    }
    if let Some(path) = path {
        let all =
            json!({ "unit": "ns a job", "jobs_a_turn": JOBS, "rounds": rounds, "rows": rows });
        std::fs::write(path, format!("{all:#}\n")).expect("a file to write the figures to");
    }
}
