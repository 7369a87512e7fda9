//! A worker between clients and an origin of the simulator, with frames it cannot see into and a modelled
//! device that moves them.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use dataplane::mover::{AcceleratorStats, CopyBatch, Done, MoveMode, Mover, MoverStats};
use dataplane::settings::{Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings};
use dataplane::sim::client::{Answer, Client, Exchange, Method, Plan};
use dataplane::sim::host::{Host, Program};
use dataplane::sim::origin::Origin;
use dataplane::sim::{Clock, End, Faults, Rng, Wire};
use dataplane::tcp::RingSource;
use dataplane::team::Team;
use dataplane::worker::{Parts, Worker};
use dsa::mover::DsaMover;
use dsa_model::engine::EngineStats;
use dsa_model::gate::GateStats;
use dsa_model::{Config, Model, ModelPortal};

use super::port::{Device, Layout, UnseenPort};
use super::{Pool, Unseen};

/// Rings of hosts and windows of the worker: more than a connection carries, so that no segment is cut
/// short where a ring or a window ends.
const RING: usize = 1 << 20;
/// Payload of a full segment.
const MSS: u64 = 1460;
const CLIENTS: usize = 6;
const TURN_US: u64 = 20;
const CLIENT_SIDE: usize = 0;
const ORIGIN_SIDE: usize = 1;

/// What a lab is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub layout: Layout,
    pub verifies: bool,
    pub completes: bool,
    pub cuts: bool,
    pub faults: Faults,
    pub movers: dsa::mover::Settings,
}

impl Default for Options {
    /// Everything that reads or copies is left to a device.
    fn default() -> Self {
        Self {
            layout: Layout::Behind,
            verifies: true,
            completes: true,
            cuts: false,
            faults: Faults {
                delay_us: 100,
                ..Faults::default()
            },
            movers: dsa::mover::Settings {
                threshold: 0,
                ..dsa::mover::Settings::default()
            },
        }
    }
}

/// Hides what is copied as soon as it is the mover's.
struct Hiding {
    mover: DsaMover<Unseen, ModelPortal>,
    batch: CopyBatch<Unseen>,
    /// What it has counted, for who has no mover any more.
    counted: Rc<Cell<AcceleratorStats>>,
}

impl Mover<Unseen> for Hiding {
    fn mode(&self) -> MoveMode {
        self.mover.mode()
    }

    fn begin_turn(&mut self, now_us: u64) {
        self.mover.begin_turn(now_us);
    }

    fn submit(&mut self, batch: &mut CopyBatch<Unseen>) {
        let hidden = &mut self.batch;
        batch.take_jobs(|job, pieces| {
            job.target.hide();
            pieces.for_each(|piece| hidden.add_piece(piece));
            hidden.finish_job(job.target, job.len, job.tag);
        });
        self.mover.submit(hidden);
    }

    fn harvest(&mut self, done: &mut Vec<Done<Unseen>>) {
        self.mover.harvest(done);
        self.counted.set(self.mover.accelerator());
    }

    fn in_flight(&self) -> usize {
        self.mover.in_flight()
    }

    fn quarantined(&self) -> usize {
        self.mover.quarantined()
    }

    fn stats(&self) -> MoverStats {
        self.mover.stats()
    }

    fn accelerator(&self) -> AcceleratorStats {
        self.mover.accelerator()
    }
}

/// Rings on the heap, never freed.
#[derive(Debug)]
struct Rings;

impl RingSource for Rings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        Some((vec![0; RING].leak(), vec![0; RING].leak()))
    }
}

/// All of it.
pub struct Lab {
    clock: Clock,
    rng: Rng,
    pool: Pool,
    worker: Worker<UnseenPort, Pool, Hiding>,
    model: Model,
    wires: [Wire; 2],
    hosts: Vec<Host>,
    /// Bytes of all bodies, requests' and responses'.
    bodies: u64,
    counted: Rc<Cell<AcceleratorStats>>,
}

fn address(side: usize, host: u8) -> IpAddr {
    Ipv4Addr::new(10, side as u8, 0, host).into()
}

fn mac(side: usize, host: u8) -> [u8; 6] {
    [2, 0, 0, 0, side as u8, host]
}

/// The least length from `least` on with which a body, behind a head whose length follows from it, fills
/// whole segments or ends with one that is large enough to be kept as it is.
fn fit(least: u64, head: impl Fn(u64) -> usize) -> u64 {
    (least..)
        .find(|&len| {
            let last = (head(len) as u64 + len) % MSS;
            last == 0 || last > 600
        })
        .expect("one of these")
}

/// An exchange whose bodies have at least so many bytes; without a request body if that is 0.
fn exchange(request: u64, response: u64, tag: u64) -> Exchange {
    let answer =
        |len: u64| format!("HTTP/1.1 200 OK\r\nServer: sim\r\nContent-Length: {len}\r\n\r\n");
    let response = fit(response, |len| answer(len).len());
    let get = Exchange {
        tag,
        ..Exchange::get(response)
    };
    if request == 0 {
        return get;
    }
    let post = |len: u64| Exchange {
        method: Method::Post {
            len,
            chunked: false,
        },
        answer: Answer::Length(response),
        ..get
    };
    let head = |len: u64| {
        let path = post(len).path();
        format!("POST {path} HTTP/1.1\r\nHost: sim.test\r\nContent-Length: {len}\r\n\r\n").len()
    };
    post(fit(request, head))
}

impl Lab {
    pub fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let (clock, pool) = (Clock::default(), Pool::new(512, 2048));
        let wires = [(); 2].map(|()| Wire::new(rng.next_u64(), options.faults));
        let device = Device {
            layout: options.layout,
            verifies: options.verifies,
            completes: options.completes,
            cuts: options.cuts,
        };
        let ports = (0..2)
            .map(|side| {
                let (wire, clock) = (wires[side].clone(), clock.clone());
                let name = format!("unseen{side}");
                UnseenPort::new(&name, mac(side, 1), device, wire, clock, pool.clone())
            })
            .collect();
        let target = SocketAddr::new(address(CLIENT_SIDE, 1), 80);
        let config = Config {
            seed,
            ..Config::default()
        };
        let model = Model::new(config, pool.for_device());
        let queue = ModelPortal::queue(&model, "wq0.0");
        let counted = Rc::default();
        let parts = Parts {
            settings: Arc::new(settings(target)),
            ports,
            pool: pool.clone(),
            mover: Hiding {
                mover: DsaMover::new(queue, options.movers),
                batch: CopyBatch::default(),
                counted: Rc::clone(&counted),
            },
            rings: Box::new(Rings),
            team: Team::alone(2),
            seed: rng.next_u64(),
            ticks: || 0,
        };
        let mut hosts = vec![host(
            ORIGIN_SIDE,
            2,
            rng.next_u64(),
            Program::Origin(Origin::new(8080, RING)),
        )];
        let mut bodies = 0;
        for number in 0..CLIENTS {
            let exchanges: Vec<_> = (0..4)
                .map(|tag| {
                    // The window of a SYN, which is not scaled, must not cut a segment short.
                    let large = if tag == 0 { 50_000 } else { 100_000 };
                    let request = [0, 2_000, large][rng.below(3) as usize];
                    let response = [1_000, 16_384, 100_000][rng.below(3) as usize];
                    exchange(request, response + rng.below(5_000), tag)
                })
                .collect();
            for exchange in &exchanges {
                if let Answer::Length(len) = exchange.answer {
                    bodies += len;
                }
                if let Method::Post { len, .. } = exchange.method {
                    bodies += len;
                }
            }
            let plan = Plan {
                start_us: rng.below(2_000),
                exchanges,
                ..Plan::default()
            };
            let program = Program::Client(Client::new(target, RING, vec![plan]));
            hosts.push(host(CLIENT_SIDE, 2 + number as u8, rng.next_u64(), program));
        }
        Self {
            worker: Worker::new(parts, 0),
            clock,
            rng,
            pool,
            model,
            wires,
            hosts,
            bodies,
            counted,
        }
    }

    /// Everything that happens within `us`, with one turn at its end.
    fn step(&mut self, us: u64) {
        let now = self.clock.now() + us;
        self.clock.advance(now);
        for (side, wire) in self.wires.iter().enumerate() {
            while let Some(packet) = wire.receive(End::Hosts, now) {
                let there = self.hosts.iter_mut().filter(|host| host.wire == side);
                there.for_each(|host| host.receive(&packet));
            }
        }
        let mut packets = Vec::new();
        for host in self.hosts.iter_mut().filter(|host| host.next_at() <= now) {
            host.run(now, &mut packets);
            for packet in packets.drain(..) {
                self.wires[host.wire].send(End::Hosts, now, packet);
            }
        }
        let _turn = self.worker.turn(now, 0);
        for _ in 0..self.rng.below(200) {
            let _busy = self.model.step();
        }
    }

    /// Runs until every byte of every body was compared and every frame is home. Returns how many bytes
    /// bodies had.
    pub fn run(&mut self) -> u64 {
        let finished = |lab: &Self| {
            lab.hosts
                .iter()
                .filter_map(Host::client)
                .all(Client::finished)
        };
        while !finished(self) {
            self.step(TURN_US);
            assert!(self.clock.now() < 60_000_000, "clients wait: {self:?}");
        }
        for outcome in self
            .hosts
            .iter()
            .filter_map(Host::client)
            .flat_map(Client::outcomes)
        {
            assert!(outcome.whole(), "{outcome:?}");
        }
        let origin = self.hosts[0]
            .origin()
            .expect("the first host is the origin");
        assert!(origin.complaints.is_empty(), "{:?}", origin.complaints);
        self.worker.start_drain();
        while self.worker.connections() > 0 || self.pool.out() > 0 {
            self.step(50 * TURN_US);
            assert!(self.clock.now() < 120_000_000, "frames are kept: {self:?}");
        }
        self.bodies
    }

    /// What mover, gate and engine counted.
    pub fn seen(&self) -> (AcceleratorStats, GateStats, EngineStats) {
        let (gate, engine) = self.model.stats();
        (self.counted.get(), gate, engine)
    }
}

impl std::fmt::Debug for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab")
            .field("now", &self.clock.now())
            .field("out", &self.pool.out())
            .field("counters", self.worker.counters())
            .field(
                "hosts",
                &self.hosts.iter().map(Host::standing).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

fn host(side: usize, number: u8, seed: u64, program: Program) -> Host {
    let addresses = [(address(side, number), 24)];
    let mut host = Host::new(side, mac(side, number), &addresses, 1500, seed, program);
    host.congestion_control = false;
    host
}

fn settings(target: SocketAddr) -> Settings {
    let mut settings = Settings::default();
    settings.limits.max_connections = 64;
    settings.limits.session_buffer = RING as u32;
    settings.ports = (0..2)
        .map(|side| PortSettings {
            name: format!("unseen{side}"),
            addresses: vec![(address(side, 1), 24)],
            ..PortSettings::default()
        })
        .collect();
    settings.listeners = vec![Listener {
        name: "clients".into(),
        port: PortId(CLIENT_SIDE as u8),
        address: target,
        scheme: "http",
        routes: vec![Route {
            hosts: vec!["*".into()],
            prefix: "/".into(),
            cluster: ClusterId(0),
        }],
    }];
    settings.clusters = vec![Cluster {
        name: "origin".into(),
        port: PortId(ORIGIN_SIDE as u8),
        endpoints: vec![SocketAddr::new(address(ORIGIN_SIDE, 2), 8080)],
        max_connections: 64,
        max_pending: 1024,
        max_idle: 64,
    }];
    settings
}
