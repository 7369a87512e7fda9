//! Connections that are opened, served and closed through the proxy allocate nothing once the table has
//! been full. Alone in its file: the allocator counts for the whole process.

mod alloc_common;
mod frames;

use std::net::SocketAddr;
use std::sync::Arc;

use alloc_common::{Link, Rings, allocations, wire};
use dataplane::counters::{Counter, Drop, Gauge, LocalReply};
use dataplane::load::schedule::{End, Pace};
use dataplane::load::{LoadPlan, OriginListener, Outcome};
use dataplane::mover::{AnyMover, MemMover, ZeroCopy};
use dataplane::settings::{Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings};
use dataplane::team::Team;
use dataplane::worker::{Parts, Worker};
use frames::{HeapFrame, HeapPool};

/// Slots: TIME-WAIT takes all that are not in use.
const SLOTS: u32 = 128;
const BODY: u64 = 3000;

type Engine = Worker<Link, HeapPool, AnyMover<HeapFrame>>;

/// Load client, proxy and load origin in one worker, with a wire between each and the next.
fn engine(pool: &HeapPool, max_idle: u32, mover: AnyMover<HeapFrame>) -> Engine {
    let [client, near] = wire(0, pool);
    let [far, origin] = wire(2, pool);
    let [_, proxy, _, target]: [SocketAddr; 4] =
        ["10.0.0.1:0", "10.0.0.2:80", "10.1.0.1:0", "10.1.0.2:80"].map(|a| a.parse().unwrap());
    let mut settings = Settings {
        ports: ["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"]
            .map(|address| PortSettings {
                name: address.into(),
                addresses: vec![(address.parse().unwrap(), 24)],
                ..PortSettings::default()
            })
            .into(),
        listeners: vec![Listener {
            name: "clients".into(),
            port: PortId(1),
            address: proxy,
            scheme: "http",
            routes: vec![Route {
                hosts: vec!["*".into()],
                prefix: "/".into(),
                cluster: ClusterId(0),
            }],
        }],
        clusters: vec![Cluster {
            name: "origins".into(),
            port: PortId(2),
            endpoints: vec![target],
            max_connections: 16,
            max_pending: 0,
            max_idle,
        }],
        origins: vec![OriginListener {
            port: PortId(3),
            address: target,
        }],
        load: Some(LoadPlan {
            port: PortId(0),
            target: proxy,
            pace: Pace::new(0.0, 8, End::Never),
            most_connecting: 8,
            opening: format!("GET /{BODY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .into_bytes(),
            body: 0,
            head_only: false,
            keep_alive: false,
            verify: true,
            timeout: 10_000,
        }),
        ..Settings::default()
    };
    settings.limits.max_connections = SLOTS;
    settings.limits.session_buffer = 65_536;
    let parts = Parts {
        settings: Arc::new(settings),
        ports: vec![client, near, far, origin],
        pool: pool.clone(),
        mover,
        rings: Box::new(Rings),
        team: Team::alone(4),
        ticks: || 0,
        seed: 7,
    };
    Worker::new(parts, 0)
}

/// Runs so many turns, 50 µs apart, and returns how many exchanges ended, all of them well.
fn run(worker: &mut Engine, now_us: &mut u64, turns: u32) -> u64 {
    let mut ended = 0;
    for _ in 0..turns {
        *now_us += 50;
        worker.set_time_of_day(*now_us / 1_000_000);
        let _ = worker.turn(*now_us, 0);
        for sample in worker.samples_mut().drain(..) {
            assert_eq!(sample.outcome, Outcome::Status(200));
            assert_eq!(sample.body_bytes, BODY);
            ended += 1;
        }
    }
    ended
}

#[test]
fn short_connections_allocate_nothing() {
    // Connections to the origin are pooled, or closed after each exchange by the proxy.
    for max_idle in [16, 0] {
        for mover in [
            AnyMover::ZeroCopy(ZeroCopy),
            AnyMover::Mem(MemMover::default()),
        ] {
            let what = format!("max_idle {max_idle}, {mover:?}");
            let pool = HeapPool::new(8192, 512);
            let mut worker = engine(&pool, max_idle, mover);
            let mut now_us = 0;
            let warm = run(&mut worker, &mut now_us, 10_000);
            assert!(warm > u64::from(SLOTS) * 2, "{what}: {warm}");
            let evicted = worker.counters()[Counter::TimeWaitsEvicted];
            assert!(evicted > 0, "{what}");
            let before = allocations();
            let ended = run(&mut worker, &mut now_us, 50_000);
            let allocated = allocations() - before;
            assert!(ended > 3000, "{what}: {ended}");
            assert_eq!(allocated, 0, "{what}: {ended} exchanges");
            let counters = worker.counters();
            let evicted = counters[Counter::TimeWaitsEvicted] - evicted;
            assert!(evicted >= ended - 16, "{what}: {evicted} of {ended}");
            assert_eq!(counters[Drop::TcpNoConnectionSlot], 0, "{what}");
            assert_eq!(counters[LocalReply::Overloaded], 0, "{what}");
            assert_eq!(counters[Counter::ResetsSent], 0, "{what}");

            // Everything comes back.
            worker.stop_load();
            let _ = run(&mut worker, &mut now_us, 10_000);
            assert_eq!(worker.exchanges(), 0, "{what}");
            worker.start_drain();
            let _ = run(&mut worker, &mut now_us, 15_000 * 20);
            assert_eq!(worker.connections(), 0, "{what}");
            worker.sample();
            assert_eq!(worker.counters()[Gauge::ClientConnections], 0, "{what}");
            assert_eq!(worker.spans(), 0, "{what}");
            assert_eq!(pool.out(), worker.load_frames(), "{what}");
        }
    }
}
