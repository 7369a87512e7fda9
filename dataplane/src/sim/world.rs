//! A worker, or several, between two links: clients at one, origins at the other, run from event to event.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::client::{Client, Outcome, Plan};
use super::host::{Host, Program};
use super::origin::Origin;
use super::pool::{SimFrame, SimPool};
use super::port::{PortOptions, SimPort};
use super::rng::Rng;
use super::spread::{Queues, Spread};
use super::wire::{Clock, End, Faults, Wire};
use crate::mover::Mover;
use crate::port::FrameClass;
use crate::settings::{Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings};
use crate::steering::Steering;
use crate::tcp::RingSource;
use crate::team::{PARCELS, Team};
use crate::worker::{Parts, Ticks, Worker};

/// TCP port of the worker's listeners.
pub const LISTEN: u16 = 80;
/// TCP port of origins.
pub const ORIGIN: u16 = 8080;
/// Least time between two turns, in µs: what a busy worker takes for one.
const TURN_US: u64 = 20;
/// Most time between two turns, in µs: an idle worker looks at its timers as often.
const IDLE_TURN_US: u64 = 1000;

/// The time of day when virtual time begins, in seconds since 1970: the example of RFC 9110 section
/// 5.6.7.
const EPOCH: u64 = 784_111_777;

/// The side of the worker's port that clients are on.
pub const CLIENTS: usize = 0;
/// The side of the worker's port that origins are on.
pub const ORIGINS: usize = 1;

/// Rings on the heap. They are never freed: a ring belongs to its connection slot for good.
#[derive(Debug)]
pub(super) struct LeakedRings(pub usize);

impl RingSource for LeakedRings {
    fn pair(&mut self) -> Option<(&'static mut [u8], &'static mut [u8])> {
        Some((vec![0; self.0].leak(), vec![0; self.0].leak()))
    }
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Decides everything random.
    pub seed: u64,
    /// Connect to IPv6 addresses, on both sides.
    pub ipv6: bool,
    /// The device on both sides; name and address are filled in.
    pub port: PortOptions,
    /// What the clients' link does.
    pub client_faults: Faults,
    /// What the origins' link does.
    pub origin_faults: Faults,
    /// Small frames.
    pub small: u32,
    /// Large frames.
    pub large: u32,
    /// Limits and timeouts; ports, listeners and clusters are filled in.
    pub settings: Settings,
    /// Origins in the cluster.
    pub origins: usize,
    /// Bytes of the rings of an origin's sockets.
    pub origin_buffer: usize,
    /// MTU of hosts.
    pub host_mtu: usize,
    /// Most connections of the cluster.
    pub cluster_connections: u32,
    /// Idle connections kept for each endpoint.
    pub max_idle: u32,
    /// Most requests that wait for one.
    pub max_pending: u32,
    /// How both ports are believed to spread packets over workers.
    pub steering: Steering,
    /// How they do.
    pub spread: Spread,
    /// Parcels of each mailbox.
    pub parcels: usize,
    /// The prefix of the paths that are routed to the origins.
    pub prefix: &'static str,
    /// What workers measure their stages with.
    pub ticks: Ticks,
    /// An idle worker has its next turn at its deadline, or when a packet comes; else every millisecond.
    /// For a single worker.
    pub sleeps: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let wire = Faults {
            delay_us: 100,
            ..Faults::default()
        };
        let mut settings = Settings::default();
        settings.limits.max_connections = 1024;
        settings.limits.session_buffer = 64 * 1024;
        Self {
            seed: 1,
            ipv6: false,
            port: PortOptions::default(),
            client_faults: wire,
            origin_faults: wire,
            small: 4096,
            large: 4096,
            settings,
            origins: 1,
            origin_buffer: 64 * 1024,
            host_mtu: 1500,
            cluster_connections: 1024,
            max_pending: 1024,
            max_idle: 64,
            steering: Steering::Single,
            spread: Spread::First,
            parcels: PARCELS,
            prefix: "/",
            ticks: || 0,
            sleeps: false,
        }
    }
}

/// A worker or several, their links and the hosts at them.
pub struct World<M: Mover<SimFrame>> {
    /// Virtual time.
    pub clock: Clock,
    /// The worker under test, the first of all.
    pub worker: Worker<SimPort, SimPool, M>,
    /// The other workers.
    pub others: Vec<Worker<SimPort, SimPool, M>>,
    /// The frames of the first worker.
    pub pool: SimPool,
    /// The frames of the others.
    pub other_pools: Vec<SimPool>,
    /// The frames all ports keep posted.
    pub posted: Vec<SimPool>,
    /// The clients' link and the origins' link.
    pub wires: [Wire; 2],
    /// All hosts; the origins come first.
    pub hosts: Vec<Host>,
    /// Where clients connect.
    pub target: SocketAddr,
    /// What workers measure their stages with.
    ticks: Ticks,
    sleeps: bool,
    /// A clock to measure the worker's turns with, if somebody wants to know.
    pub meter: Option<fn() -> u64>,
    /// What the worker's turns took by that clock.
    pub metered: u64,
    rng: Rng,
    ipv6: bool,
    host_mtu: usize,
    next_turn: u64,
    last_turn: u64,
    packets: Vec<Vec<u8>>,
}

impl<M: Mover<SimFrame>> std::fmt::Debug for World<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.clock.now())
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// The addresses of the `n`th host on a side; 1 is the worker's port.
fn addresses(side: usize, n: u16) -> [(IpAddr, u8); 2] {
    let [high, low] = n.to_be_bytes();
    let v4 = Ipv4Addr::new(10, side as u8, high, low);
    let v6 = Ipv6Addr::new(0xfd00, side as u16, 0, 0, 0, 0, 0, n);
    [(v4.into(), 16), (v6.into(), 64)]
}

fn mac(side: usize, n: u16) -> [u8; 6] {
    let [high, low] = n.to_be_bytes();
    [2, 0, 0, side as u8, high, low]
}

impl<M: Mover<SimFrame>> World<M> {
    /// A worker with `mover` and its origins; clients are added with [`World::add_client`].
    pub fn new(setup: Setup, mover: M) -> Self {
        Self::with_workers(setup, vec![mover])
    }

    /// A worker with each of `movers`, at least one, on queues of the same devices.
    pub fn with_workers(setup: Setup, movers: Vec<M>) -> Self {
        let mut rng = Rng::new(setup.seed);
        let clock = Clock::default();
        let wires = [
            Wire::new(rng.next_u64(), setup.client_faults),
            Wire::new(rng.next_u64(), setup.origin_faults),
        ];
        let pick = |side, n| SocketAddr::new(addresses(side, n)[usize::from(setup.ipv6)].0, 0);
        let with_port = |mut address: SocketAddr, port| {
            address.set_port(port);
            address
        };
        let target = with_port(pick(CLIENTS, 1), LISTEN);
        let mut settings = setup.settings;
        settings.ports = (0..2)
            .map(|side| PortSettings {
                name: format!("sim{side}"),
                addresses: addresses(side, 1).to_vec(),
                ..PortSettings::default()
            })
            .collect();
        settings.listeners = vec![Listener {
            name: "clients".into(),
            port: PortId(CLIENTS as u8),
            address: target,
            scheme: "http",
            routes: vec![Route {
                hosts: vec!["*".into()],
                prefix: setup.prefix.into(),
                cluster: ClusterId(0),
            }],
        }];
        settings.clusters = vec![Cluster {
            name: "origins".into(),
            port: PortId(ORIGINS as u8),
            endpoints: (0..setup.origins as u16)
                .map(|n| with_port(pick(ORIGINS, 2 + n), ORIGIN))
                .collect(),
            max_connections: setup.cluster_connections,
            max_pending: setup.max_pending,
            max_idle: setup.max_idle,
        }];
        let ring = settings.limits.session_buffer as usize;
        let settings = Arc::new(settings);
        let workers = movers.len();
        let devices: Vec<Queues> = wires
            .iter()
            .map(|wire| {
                let (wire, spread, seed) = (wire.clone(), setup.spread.clone(), setup.seed);
                Queues::new((wire, End::Port), clock.clone(), workers, spread, seed)
            })
            .collect();
        let steerings = vec![setup.steering.clone(); 2];
        let team = Team::of(workers as u16, steerings, setup.parcels);
        let (mut all, mut pools, mut posted) = (Vec::new(), Vec::new(), Vec::new());
        for (mover, team) in movers.into_iter().zip(team) {
            let pool = SimPool::new(setup.small, setup.large);
            let ports: Vec<SimPort> = (0..2)
                .map(|side| {
                    let options = PortOptions {
                        name: format!("sim{side}"),
                        mac: mac(side, 1),
                        ..setup.port.clone()
                    };
                    let (wire, queues) = (wires[side].clone(), devices[side].clone());
                    let number = usize::from(team.me.0);
                    SimPort::queue(options, wire, clock.clone(), pool.clone(), queues, number)
                })
                .collect();
            posted.extend(ports.iter().map(SimPort::posted));
            pools.push(pool.clone());
            let parts = Parts {
                settings: Arc::clone(&settings),
                ports,
                pool,
                mover,
                rings: Box::new(LeakedRings(ring)),
                team,
                ticks: setup.ticks,
                seed: rng.next_u64(),
            };
            all.push(Worker::new(parts, 0));
        }
        let mut world = Self {
            worker: all.remove(0),
            others: all,
            clock,
            pool: pools.remove(0),
            other_pools: pools,
            posted,
            wires,
            hosts: Vec::new(),
            target,
            ticks: setup.ticks,
            sleeps: setup.sleeps,
            meter: None,
            metered: 0,
            rng,
            ipv6: setup.ipv6,
            host_mtu: setup.host_mtu,
            next_turn: 0,
            last_turn: 0,
            packets: Vec::new(),
        };
        for _ in 0..setup.origins {
            let origin = Origin::new(ORIGIN, setup.origin_buffer);
            let _ = world.add_host(ORIGINS, Program::Origin(origin));
        }
        world
    }

    /// Adds a client host whose connections follow `plans`. Returns its index in `hosts`.
    pub fn add_client(&mut self, buffer: usize, plans: Vec<Plan>) -> usize {
        let client = Client::new(self.target, buffer, plans);
        self.add_host(CLIENTS, Program::Client(client))
    }

    fn add_host(&mut self, side: usize, program: Program) -> usize {
        let n = 2 + self.hosts.iter().filter(|host| host.wire == side).count() as u16;
        // One family each, so that the host picks its source address by the target's.
        let address = addresses(side, n)[usize::from(self.ipv6)];
        let seed = self.rng.next_u64();
        let mac = mac(side, n);
        let host = Host::new(side, mac, &[address], self.host_mtu, seed, program);
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// All workers.
    pub fn workers(&self) -> impl Iterator<Item = &Worker<SimPort, SimPool, M>> {
        std::iter::once(&self.worker).chain(&self.others)
    }

    /// The client programs.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.hosts.iter().filter_map(Host::client)
    }

    /// The origin programs.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.hosts.iter().filter_map(Host::origin)
    }

    /// What came of all connections of all clients.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.clients().flat_map(Client::outcomes)
    }

    /// True when every client connection has its outcome.
    pub fn finished(&self) -> bool {
        self.clients().all(Client::finished)
    }

    /// Runs until `done` says so or until `deadline`, in µs. Returns whether `done` said so.
    pub fn run_until(&mut self, deadline: u64, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let next = self.next_event();
            if next > deadline {
                self.clock.advance(deadline.max(self.clock.now()));
                return false;
            }
            self.clock.advance(next.max(self.clock.now()));
            self.step();
        }
    }

    /// Runs for `us` more.
    pub fn run_for(&mut self, us: u64) {
        let _ = self.run_until(self.clock.now() + us, |_| false);
    }

    /// When the worker has its next turn: at the next packet, but not before a turn's time is over.
    fn turn_at(&self) -> u64 {
        let packets = self
            .wires
            .iter()
            .filter_map(|wire| wire.next_arrival(End::Port));
        let wanted = packets
            .min()
            .map_or(self.next_turn, |at| at.min(self.next_turn));
        wanted.max(self.last_turn + TURN_US)
    }

    fn next_event(&self) -> u64 {
        let arrivals = self
            .wires
            .iter()
            .filter_map(|wire| wire.next_arrival(End::Hosts));
        let hosts = self.hosts.iter().map(Host::next_at);
        arrivals
            .chain(hosts)
            .chain([self.turn_at()])
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Everything that is due now.
    fn step(&mut self) {
        let now = self.clock.now();
        for (side, wire) in self.wires.iter().enumerate() {
            while let Some(packet) = wire.receive(End::Hosts, now) {
                for host in self.hosts.iter_mut().filter(|host| host.wire == side) {
                    host.receive(&packet);
                }
            }
        }
        for host in self.hosts.iter_mut().filter(|host| host.next_at() <= now) {
            host.run(now, &mut self.packets);
            for packet in self.packets.drain(..) {
                self.wires[host.wire].send(End::Hosts, now, packet);
            }
        }
        if self.turn_at() <= now {
            let before = self.meter.map(|clock| clock());
            let time_of_day = EPOCH + now / 1_000_000;
            self.worker.set_time_of_day(time_of_day);
            let mut busy = self.worker.turn(now, (self.ticks)()).busy;
            for other in &mut self.others {
                other.set_time_of_day(time_of_day);
                busy |= other.turn(now, (self.ticks)()).busy;
            }
            if let (Some(clock), Some(before)) = (self.meter, before) {
                self.metered += clock() - before;
            }
            self.last_turn = now;
            self.next_turn = if busy {
                now + TURN_US * 2
            } else if self.sleeps {
                let deadline = self.worker.next_deadline();
                deadline.map_or(u64::MAX, |ms| (ms * 1000).max(now + TURN_US))
            } else {
                now + IDLE_TURN_US
            };
        }
    }

    /// Lets everything come to its end — idle upstream connections, TIME-WAIT — and checks that no
    /// worker has kept anything: no connection, no span, no frame.
    ///
    /// # Errors
    /// Says what was kept.
    pub fn settle(&mut self) -> Result<(), String> {
        self.worker.start_drain();
        self.others.iter_mut().for_each(Worker::start_drain);
        let connections = |world: &Self| world.workers().map(Worker::connections).sum::<usize>();
        // TIME-WAIT is 10 s in smoltcp; a lost FIN may cost a few retransmissions.
        let limit = self.clock.now() + 120_000_000;
        let _ = self.run_until(limit, |world| connections(world) == 0);
        // The devices let go of what they have sent.
        self.run_for(10_000);
        let own = || self.other_pools.iter().chain([&self.pool]);
        let pools = || self.posted.iter().chain(own());
        let load: usize = self.workers().map(Worker::load_frames).sum();
        let kept = [FrameClass::Small, FrameClass::Large]
            .map(|class| pools().map(|pool| pool.used(class)).sum::<u32>());
        let spans: usize = self.workers().map(Worker::spans).sum();
        if connections(self) == 0 && spans == 0 && (kept[0] + kept[1]) as usize == load {
            return Ok(());
        }
        Err(format!(
            "{} connections, {spans} spans, {kept:?} small and large frames are left",
            connections(self),
        ))
    }
}
