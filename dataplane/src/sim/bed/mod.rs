//! What the engine is measured in: a worker between hosts that cost nothing that is counted.
//!
//! Unlike in the rest of `sim` there is no wire, no loss and no other TCP stack, so ten thousand
//! connections are set up in a second, and what happens in [`counted_turn`] is the engine and the little
//! that its frames and ports do. `benches/instructions.rs` counts the instructions of that;
//! `hw/dpdk/examples/two_workers` times it, on real packet memory and several cores.

mod frames;
mod network;
mod peers;
mod port;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::counters::Counters;
use crate::flow_table::FlowKey;
use crate::mover::{AnyMover, MemMover, ZeroCopy};
use crate::port::FramePool;
use crate::settings::{Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings};
use crate::tcp::RingSource;
use crate::team::Team;
use crate::worker::{Parts, Ticks, Turn, Worker};

pub use frames::{BedFrame, BedPool};
pub use network::Network;
use peers::{Address, Hosts};
pub use port::{BedPort, Device, Sent};

/// The worker of a bed with this pool.
pub type BedWorker<L> =
    Worker<BedPort<<L as FramePool>::Frame>, L, AnyMover<<L as FramePool>::Frame>>;

/// Virtual µs between the beginnings of two turns.
const TURN_US: u64 = 20;
/// Exchanges under way at once, if nobody says otherwise.
const UNDER_WAY: usize = 100;
/// Bytes of a socket's ring.
pub const RING: usize = 64 * 1024;

const PORTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 1, 1]];
const HOSTS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 1, 2]];
const LISTENER: Address = ([10, 0, 0, 1], 80);
const ORIGIN: Address = ([10, 1, 0, 2], 8080);

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

/// What a bed is made of.
pub struct Setup<L> {
    /// Client connections that are open all the time.
    pub connections: usize,
    /// Bytes of a response's body.
    pub body: usize,
    /// Payload is sent from the frames it came in, else copied by the CPU.
    pub zero_copy: bool,
    /// Responses arrive in packets of up to 64 KiB, not segment by segment.
    pub merged: bool,
    /// Exchanges under way at once.
    pub under_way: usize,
    /// Frames, of 2 KiB and 16 KiB, for worker and hosts: at least 8192 and 1024.
    pub pool: L,
    /// Rings of [`RING`] bytes, for 256 connections more than `connections`.
    pub rings: Box<dyn RingSource>,
    /// The worker's place among others, over two ports.
    pub team: Team,
    /// Among several workers, what their hosts are connected by: packets come to whichever worker.
    /// `None`: they come to their owner.
    pub network: Option<Network>,
    /// For the worker's account.
    pub ticks: Ticks,
    /// What time it is in µs. `None`: 20 µs pass from turn to turn.
    pub micros: Option<fn() -> u64>,
    /// Decides the worker's sequence numbers and hashes.
    pub seed: u64,
}

impl<L> std::fmt::Debug for Setup<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("connections", &self.connections)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A worker, its clients and its origin.
#[derive(Debug)]
pub struct Bed<L: FramePool = BedPool> {
    worker: BedWorker<L>,
    devices: [Rc<RefCell<Device<L::Frame>>>; 2],
    hosts: [Hosts; 2],
    pool: L,
    team: Team,
    network: Option<Network>,
    micros: Option<fn() -> u64>,
    under_way: usize,
    now: u64,
    started: u64,
    counted: bool,
}

/// A turn that is counted.
#[inline(never)]
pub fn counted_turn<L: FramePool>(worker: &mut BedWorker<L>, now: u64, ticks: u64) -> Turn {
    worker.turn(now, ticks)
}

/// A turn of the preparations.
#[inline(never)]
fn other_turn<L: FramePool>(worker: &mut BedWorker<L>, now: u64, ticks: u64) -> Turn {
    // Not the same code, or the linker would make one function of both.
    worker.turn(std::hint::black_box(now), ticks)
}

impl Bed<BedPool> {
    /// A worker that is alone, with so many open client connections, each of which has been used:
    /// congestion windows and tables have their size. Time is virtual, and nothing costs what it need not:
    /// for counting instructions.
    pub fn alone(connections: usize, body: usize, zero_copy: bool, merged: bool) -> Self {
        let mut bed = Self::new(Setup {
            connections,
            body,
            zero_copy,
            merged,
            under_way: UNDER_WAY,
            pool: BedPool::new(8192, 4096),
            rings: Box::new(Rings(vec![0; 2 * RING * (connections + 256)].leak())),
            team: Team::alone(2),
            network: None,
            ticks: || 0,
            micros: None,
            seed: 7,
        });
        bed.open(connections);
        bed
    }
}

impl<L: FramePool + Clone> Bed<L> {
    /// A worker without connections.
    pub fn new(setup: Setup<L>) -> Self {
        let settings = settings(setup.connections);
        let body = setup.body;
        let ports: Vec<BedPort<L::Frame>> = PORTS.map(BedPort::new).into();
        let devices = [ports[0].device(), ports[1].device()];
        let parts = Parts {
            settings: Arc::new(settings),
            ports,
            pool: setup.pool.clone(),
            mover: match setup.zero_copy {
                true => AnyMover::ZeroCopy(ZeroCopy),
                false => AnyMover::Mem(MemMover::default()),
            },
            rings: setup.rings,
            team: setup.team.clone(),
            ticks: setup.ticks,
            seed: setup.seed,
        };
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nServer: bed\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n\r\n"
        )
        .into_bytes();
        response.resize(response.len() + body, b'x');
        let now = setup.micros.map_or(0, |micros| micros());
        Self {
            worker: Worker::new(parts, now),
            devices,
            hosts: [
                Hosts::new(HOSTS[0], PORTS[0], Vec::new(), setup.merged),
                Hosts::new(HOSTS[1], PORTS[1], response, setup.merged),
            ],
            pool: setup.pool,
            team: setup.team,
            network: setup.network,
            micros: setup.micros,
            under_way: setup.under_way,
            now,
            started: 0,
            counted: false,
        }
    }

    /// Opens so many client connections and uses each of them. Of several workers on one network all
    /// have to do this at once, and to go on with [`step`](Self::step) until the last is done.
    pub fn open(&mut self, connections: usize) {
        let addresses: Vec<Address> = self.addresses().take(connections).collect();
        for (i, part) in addresses.chunks(64).enumerate() {
            for &here in part {
                let mut device = self.devices[0].borrow_mut();
                self.hosts[0].connect(here, LISTENER, &mut device, &mut self.pool);
            }
            let whole = i * 64 + part.len();
            while self.hosts[0].idle.len() < whole {
                let _ = self.step();
            }
        }
        self.exchanges(connections.max(2 * self.under_way) as u64);
        self.counted = true;
    }

    /// Where clients connect from. The worker owns all of them, unless there is a network.
    fn addresses(&self) -> impl Iterator<Item = Address> + use<L> {
        let (seat, me) = (self.team.seats[0].clone(), self.team.me);
        let spread = self.network.is_some();
        let bed = if spread { usize::from(me.0) } else { 0 };
        let all = (0..).map(move |n: usize| {
            let address = [10, 0, Network::octet(bed), (n / 50_000) as u8];
            (address, 1024 + (n % 50_000) as u16)
        });
        all.filter(move |&here| {
            let flow = FlowKey::new(PortId(0), LISTENER.into(), here.into());
            spread || flow.is_some_and(|flow| seat.owner(&flow) == me)
        })
    }

    /// One turn of the worker.
    pub fn turn(&mut self, ticks: u64) -> Turn {
        self.now = match self.micros {
            Some(micros) => micros(),
            None => self.now + TURN_US,
        };
        if self.counted {
            counted_turn(&mut self.worker, self.now, ticks)
        } else {
            other_turn(&mut self.worker, self.now, ticks)
        }
    }

    /// What the hosts say to it.
    pub fn answer(&mut self) {
        let me = usize::from(self.team.me.0);
        for (side, (hosts, device)) in self.hosts.iter_mut().zip(&self.devices).enumerate() {
            let elsewhere = self.network.as_ref().map(|network| (network, me, side));
            hosts.answer(elsewhere, &mut device.borrow_mut(), &mut self.pool);
        }
        if let Some(network) = &self.network {
            while let Some(passing) = network.take(me) {
                let mut device = self.devices[passing.side].borrow_mut();
                self.hosts[passing.side].arrive(&passing, &mut device, &mut self.pool);
            }
        }
    }

    /// One turn and what the hosts say to it.
    pub fn step(&mut self) -> Turn {
        let turn = self.turn(0);
        self.answer();
        turn
    }

    /// Clients without an exchange send requests until as many are under way as may be.
    pub fn request(&mut self) {
        self.request_until(u64::MAX);
    }

    fn request_until(&mut self, end: u64) {
        while self.started < end && self.open_exchanges() < self.under_way {
            let Some(flow) = self.hosts[0].idle.pop_front() else {
                break;
            };
            self.started += 1;
            let mut device = self.devices[0].borrow_mut();
            self.hosts[0].request(flow, REQUEST, &mut device, &mut self.pool);
        }
    }

    /// Exchanges of this bed's clients that are under way.
    pub fn open_exchanges(&self) -> usize {
        (self.started - self.hosts[0].done) as usize
    }

    /// Runs so many exchanges, over one connection after the other.
    pub fn exchanges(&mut self, count: u64) {
        let end = self.started + count;
        let mut silent = 0;
        while self.hosts[0].done < end {
            let before = self.hosts[0].done;
            self.request_until(end);
            let _ = self.step();
            silent = if self.hosts[0].done == before {
                silent + 1
            } else {
                0
            };
            assert!(
                silent < 100_000 && self.repeats() == 0 || self.network.is_some(),
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
            let _ = self.step();
        }
    }

    /// So many turns with nothing to do.
    pub fn idle_turns(&mut self, count: usize) {
        for _ in 0..count {
            let _ = self.step();
        }
    }

    /// What the hosts do for an exchange, without the worker: packets are made and thrown away.
    pub fn waste(&mut self) {
        for hosts in &self.hosts {
            hosts.waste(REQUEST, &mut self.pool);
        }
    }

    /// Segments that the worker sent twice. Nothing is lost here; but a worker may think so whose
    /// fellow, which is to hand over what was answered, stood still for long.
    pub fn repeats(&self) -> u64 {
        self.hosts.iter().map(|hosts| hosts.repeats).sum()
    }

    /// What the worker has counted.
    pub fn counters(&self) -> &Counters {
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
        max_pending: 1024,
        max_idle: 256,
    }];
    settings
}
