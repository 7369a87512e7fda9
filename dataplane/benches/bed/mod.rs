//! What the engine is counted in: a worker between hosts that cost nothing that is counted.
//!
//! Unlike `dataplane::sim` there is no wire, no loss and no other TCP stack, so ten thousand
//! connections are set up in a second, and what is counted in [`counted_turn`] is the engine and the little
//! that its frames and ports do.
#![allow(dead_code, unreachable_pub, reason = "each program uses its part")]

mod frames;
mod peers;
mod port;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use dataplane::mover::{AnyMover, MemMover, ZeroCopy};
use dataplane::settings::{Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings};
use dataplane::tcp::RingSource;
use dataplane::team::Team;
use dataplane::worker::{Parts, Turn, Worker};

pub use frames::{BedFrame, BedPool};
use peers::Hosts;
use port::{BedPort, Device};

type BedWorker = Worker<BedPort, BedPool, AnyMover<BedFrame>>;

/// Virtual µs between the beginnings of two turns.
const TURN_US: u64 = 20;
/// Exchanges under way at once.
const UNDER_WAY: usize = 100;
/// Bytes of a socket's ring.
const RING: usize = 64 * 1024;

const PORTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 1, 1]];
const HOSTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 1, 2]];
const LISTENER: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
const ORIGIN: ([u8; 4], u16) = ([10, 1, 0, 2], 8080);

/// What a client asks.
const REQUEST: &[u8] =
    b"GET /16k HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: bed/1\r\nAccept: */*\r\n\r\n";

/// Rings out of one allocation, whose pages are zero without anybody writing to them.
struct Rings(&'static mut [u8]);

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        let (rx, rest) = std::mem::take(&mut self.0).split_at_mut_checked(RING)?;
        let (tx, rest) = rest.split_at_mut_checked(RING)?;
        self.0 = rest;
        Some((rx, tx))
    }
}

/// A worker, its clients and its origin.
pub struct Bed {
    worker: BedWorker,
    devices: [Rc<RefCell<Device>>; 2],
    hosts: [Hosts; 2],
    pool: BedPool,
    now: u64,
    started: u64,
    counted: bool,
}

/// A turn that is counted.
#[inline(never)]
pub fn counted_turn(worker: &mut BedWorker, now: u64) -> Turn {
    worker.turn(now, 0)
}

/// A turn of the preparations.
#[inline(never)]
fn other_turn(worker: &mut BedWorker, now: u64) -> Turn {
    // Not the same code, or the linker would make one function of both.
    worker.turn(std::hint::black_box(now), 0)
}

impl Bed {
    /// A worker with so many open client connections, each of which has been used: congestion
    /// windows and tables have their size. Responses have a body of `body` bytes and arrive segment by segment, or
    /// `merged`.
    pub fn new(connections: usize, body: usize, zero_copy: bool, merged: bool) -> Self {
        let settings = settings(connections);
        let pool = BedPool::new(8192, 4096);
        let ports: Vec<BedPort> = PORTS.map(BedPort::new).into();
        let devices = [ports[0].device(), ports[1].device()];
        let parts = Parts {
            settings: Arc::new(settings),
            ports,
            pool: pool.clone(),
            mover: match zero_copy {
                true => AnyMover::ZeroCopy(ZeroCopy),
                false => AnyMover::Mem(MemMover::default()),
            },
            rings: Box::new(Rings(vec![0; 2 * RING * (connections + 256)].leak())),
            team: Team::alone(2),
            ticks: || 0,
            seed: 7,
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nServer: bed\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n\r\n"
        )
        .into_bytes();
        response.resize(response.len() + body, b'x');
        let mut bed = Self {
            worker: Worker::new(parts, 0),
            devices,
            hosts: [
                Hosts::new(HOSTS[0], PORTS[0], Vec::new(), merged),
                Hosts::new(HOSTS[1], PORTS[1], response, merged),
            ],
            pool,
            now: 0,
            started: 0,
            counted: false,
        };
        for (i, part) in (0..connections).collect::<Vec<_>>().chunks(64).enumerate() {
            for &n in part {
                let here = ([10, 0, 1, (n / 50_000) as u8], 1024 + (n % 50_000) as u16);
                let mut device = bed.devices[0].borrow_mut();
                bed.hosts[0].connect(here, LISTENER, &mut device, &mut bed.pool);
            }
            let whole = i * 64 + part.len();
            while bed.hosts[0].idle.len() < whole {
                bed.turn();
            }
        }
        bed.exchanges(connections.max(2 * UNDER_WAY) as u64);
        bed.counted = true;
        bed
    }

    /// One turn and what the hosts say to it.
    fn turn(&mut self) {
        self.now += TURN_US;
        let _ = if self.counted {
            counted_turn(&mut self.worker, self.now)
        } else {
            other_turn(&mut self.worker, self.now)
        };
        for (hosts, device) in self.hosts.iter_mut().zip(&self.devices) {
            hosts.answer(&mut device.borrow_mut(), &mut self.pool);
        }
    }

    /// Runs so many exchanges, over one connection after the other, a hundred at a time.
    pub fn exchanges(&mut self, count: u64) {
        let end = self.started + count;
        let mut silent = 0;
        while self.hosts[0].done < end {
            let before = self.hosts[0].done;
            while self.started < end && ((self.started - self.hosts[0].done) as usize) < UNDER_WAY {
                let Some(flow) = self.hosts[0].idle.pop_front() else {
                    break;
                };
                self.started += 1;
                let mut device = self.devices[0].borrow_mut();
                self.hosts[0].request(flow, REQUEST, &mut device, &mut self.pool);
            }
            self.turn();
            silent = if self.hosts[0].done == before {
                silent + 1
            } else {
                0
            };
            assert!(
                silent < 100_000,
                "{:?} {:?}",
                self.worker.counters(),
                self.hosts[0].unfinished(),
            );
        }
    }

    /// Lets an acknowledgement that says nothing new come in over each of so many connections.
    pub fn acknowledgements(&mut self, count: usize) {
        let idle: Vec<usize> = self.hosts[0]
            .idle
            .iter()
            .copied()
            .cycle()
            .take(count)
            .collect();
        for part in idle.chunks(32) {
            for &flow in part {
                let mut device = self.devices[0].borrow_mut();
                self.hosts[0].acknowledge(flow, &mut device, &mut self.pool);
            }
            self.turn();
        }
    }

    /// So many turns with nothing to do.
    pub fn idle_turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// What the worker has counted.
    pub fn counters(&self) -> &dataplane::counters::Counters {
        self.worker.counters()
    }
}

fn settings(connections: usize) -> Settings {
    let mut settings = Settings::default();
    settings.limits.max_connections = connections as u32 + 512;
    settings.limits.session_buffer = RING as u32;
    let port = |side: u8, neighbors| PortSettings {
        name: format!("bed{side}"),
        addresses: vec![([10, side, 0, 1].into(), 16)],
        neighbors,
        ..PortSettings::default()
    };
    settings.ports = vec![
        port(0, Vec::new()),
        port(1, vec![(ORIGIN.0.into(), HOSTS[1])]),
    ];
    settings.listeners = vec![Listener {
        name: "clients".into(),
        port: PortId(0),
        address: LISTENER.into(),
        scheme: "http",
        routes: vec![Route {
            hosts: vec!["*".into()],
            prefix: "/".into(),
            cluster: ClusterId(0),
        }],
    }];
    settings.clusters = vec![Cluster {
        name: "origins".into(),
        port: PortId(1),
        endpoints: vec![ORIGIN.into()],
        max_connections: 256,
        max_pending: 0,
        max_idle: 256,
    }];
    settings
}
