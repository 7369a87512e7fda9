//! Load client and origin allocate nothing once they have been as busy as they get, whether connections
//! are kept or not. Alone in its file: the allocator counts for the whole process.

mod alloc_common;
mod frames;

use std::net::SocketAddr;
use std::sync::Arc;

use alloc_common::{Link, Rings, allocations, wire};
use dataplane::load::schedule::{End, Pace};
use dataplane::load::{LoadPlan, OriginListener, Outcome};
use dataplane::mover::ZeroCopy;
use dataplane::settings::{PortId, PortSettings, Settings};
use dataplane::team::Team;
use dataplane::worker::{Parts, Worker};
use frames::HeapPool;

fn worker(keep_alive: bool, connections: u32) -> Worker<Link, HeapPool, ZeroCopy> {
    let pool = HeapPool::new(8192, 64);
    let ports = wire(0, &pool);
    let target: SocketAddr = "10.0.0.2:80".parse().unwrap();
    let close = if keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let mut settings = Settings {
        ports: ["10.0.0.1", "10.0.0.2"]
            .map(|address| PortSettings {
                name: address.into(),
                addresses: vec![(address.parse().unwrap(), 24)],
                ..PortSettings::default()
            })
            .into(),
        origins: vec![OriginListener {
            port: PortId(1),
            address: target,
        }],
        load: Some(LoadPlan {
            port: PortId(0),
            target,
            pace: Pace::new(0.0, connections, End::Never),
            most_connecting: 50,
            opening: format!("GET /20k HTTP/1.1\r\nHost: x\r\n{close}\r\n").into_bytes(),
            body: 0,
            head_only: false,
            keep_alive,
            verify: true,
            timeout: 10_000,
        }),
        ..Settings::default()
    };
    settings.limits.max_connections = 4096;
    settings.limits.session_buffer = 65_536;
    let parts = Parts {
        settings: Arc::new(settings),
        ports: ports.into(),
        pool,
        mover: ZeroCopy,
        rings: Box::new(Rings),
        team: Team::alone(2),
        ticks: || 0,
        seed: 7,
    };
    Worker::new(parts, 0)
}

/// Runs so many turns, so many µs apart, and returns how many exchanges ended, all of them well.
fn run(
    worker: &mut Worker<Link, HeapPool, ZeroCopy>,
    now_us: &mut u64,
    (turns, apart_us): (u32, u64),
) -> u64 {
    let mut ended = 0;
    for _ in 0..turns {
        *now_us += apart_us;
        worker.set_time_of_day(*now_us / 1_000_000);
        let _ = worker.turn(*now_us, 0);
        for sample in worker.samples_mut().drain(..) {
            assert_eq!(sample.outcome, Outcome::Status(200));
            assert_eq!(sample.body_bytes, 20 * 1024);
            ended += 1;
        }
    }
    ended
}

#[test]
fn a_steady_load_allocates_nothing() {
    // Slots wait out TIME-WAIT for ten seconds before they are used again.
    for (keep_alive, connections, apart_us) in [(true, 50, 50), (false, 5, 5000)] {
        let mut worker = worker(keep_alive, connections);
        let mut now_us = 0;
        let warm = run(&mut worker, &mut now_us, (10_000, apart_us));
        assert!(warm > 1000, "{warm}");
        let before = allocations();
        let ended = run(&mut worker, &mut now_us, (10_000, apart_us));
        let allocations = allocations() - before;
        assert!(ended > 1000, "{ended}");
        assert_eq!(allocations, 0, "keep_alive {keep_alive}, {ended} exchanges");
    }
}
