//! What two workers do beside what one does, with the load out of the way.
//!
//! `cargo run --release -p dpdk --example two_workers -- [--mover mem] [--cpus 0,1] [--rounds N] [--ms N] [--eal OPTIONS]
//! [--json FILE]`
//!
//! On each of two lcores runs a complete engine with packet memory of its own, and between its turns, on
//! the same core, its clients and its origin (`dataplane::sim::bed`). Only the turns are timed, by the
//! processor's ticks: so two cores are enough for two workers. In each round everything is measured once,
//! one after the other ([`plan::Variant`]). A figure of a round is the median over slices of some
//! ten exchanges, so that interruptions count for little. Ticks of turns that found nothing to do are
//! left out; how many there were is told.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod lane;
mod plan;
mod report;

use std::sync::Arc;

use dpdk::{ClassConfig, Eal, MbufPool, PoolConfig};

use lane::Lane;
use plan::{Options, Plan};

fn main() {
    let options = Options::read();
    let mut args: Vec<String> = options.eal.split_whitespace().map(str::to_owned).collect();
    args.extend(
        [
            "--no-pci",
            "--no-telemetry",
            "--no-shconf",
            "-l",
            &options.cpus,
        ]
        .map(str::to_owned),
    );
    let eal = Eal::init(&args).expect("EAL");
    let lcores = eal.lcores();
    assert_eq!(lcores.len(), 2, "--cpus wants two of them, e.g. 0,1");
    let config = PoolConfig {
        small: ClassConfig {
            count: 16_383,
            room: 2_048,
        },
        large: ClassConfig {
            count: 2_047,
            room: 16_384,
        },
        cache: 256,
    };
    let pools: Vec<MbufPool> = (0..2)
        .map(|n| MbufPool::new(&eal, &format!("worker{n}"), 0, &config).expect("a pool"))
        .collect();

    let plan = Arc::new(Plan::new(options, eal.ticks_per_second()));
    let mut jobs = Vec::new();
    // The main lcore is this thread's: it comes last.
    for (index, lcore) in lcores.into_iter().enumerate().rev() {
        let (plan, pool) = (Arc::clone(&plan), pools[index].clone());
        let work = move || Lane::new(index, plan, pool).run();
        jobs.push(eal.run_on(lcore, work).expect("an idle lcore"));
    }
    for job in jobs {
        job.wait().expect("a worker that comes to its end");
    }
    for (index, pool) in pools.iter().enumerate() {
        let missing = report::missing(pool);
        assert_eq!(missing, 0, "frames of worker {index} are missing");
    }
    let report = plan.report();
    print!("{report}");
    if let Some(path) = &plan.options.json {
        std::fs::write(path, report.json()).expect("a file to write the figures to");
    }
}
