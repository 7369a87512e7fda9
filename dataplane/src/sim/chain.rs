//! Engines at both ends of every wire: a load client, a proxy or none, and a load origin.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::pool::{SimFrame, SimPool};
use super::port::{PortOptions, SimPort};
use super::rng::Rng;
use super::wire::{Clock, End, Faults, Wire};
use super::world::LeakedRings;
use crate::load::schedule::{End as LoadEnd, Pace};
use crate::load::{LoadPlan, OriginListener, Sample};
use crate::mover::Mover;
use crate::port::FrameClass;
use crate::settings::{
    AddressRange, Cluster, ClusterId, Listener, PortId, PortSettings, Route, Settings,
};
use crate::team::Team;
use crate::worker::{Parts, Worker};

/// Time from one turn to the next while there is something to do, and while there is not, in µs.
const BUSY_US: u64 = 40;
const IDLE_US: u64 = 1000;

/// TCP port of the proxy and of the origin.
const SERVICE: u16 = 80;

/// What a chain is made of.
#[derive(Clone, Debug)]
pub struct ChainSetup {
    /// Decides everything random.
    pub seed: u64,
    /// What wires do.
    pub faults: Faults,
    /// The devices.
    pub port: PortOptions,
    /// Limits and timeouts of all engines.
    pub settings: Settings,
    /// What the client does; port and target are filled in.
    pub plan: LoadPlan,
    /// Further addresses of the client, from 10.0.128.0 on.
    pub sources: u32,
    /// The origin listens.
    pub listens: bool,
    /// Frames of each class of each engine.
    pub frames: u32,
}

impl ChainSetup {
    /// A chain on a clean wire whose client sends `head`.
    pub fn new(head: &str, connections: u32, requests: Option<u64>) -> Self {
        let mut settings = Settings::default();
        settings.limits.max_connections = 1024;
        settings.limits.session_buffer = 64 * 1024;
        settings.timeouts.idle = 0;
        Self {
            seed: 1,
            faults: Faults {
                delay_us: 100,
                ..Faults::default()
            },
            port: PortOptions::default(),
            settings,
            plan: LoadPlan {
                port: PortId(0),
                target: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
                pace: Pace::new(
                    0.0,
                    connections,
                    requests.map_or(LoadEnd::Never, LoadEnd::Requests),
                ),
                most_connecting: 64,
                opening: head.as_bytes().to_vec(),
                body: 0,
                head_only: head.starts_with("HEAD"),
                keep_alive: true,
                verify: true,
                timeout: 30_000,
            },
            sources: 0,
            listens: true,
            frames: 4096,
        }
    }
}

/// A request's head for `path`.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: sim\r\nUser-Agent: chain\r\n\r\n")
}

/// One engine.
#[derive(Debug)]
struct Node<M: Mover<SimFrame>> {
    worker: Worker<SimPort, SimPool, M>,
    pool: SimPool,
    posted: Vec<SimPool>,
}

/// The engines and the wires between them.
#[derive(Debug)]
pub struct Chain<M: Mover<SimFrame>> {
    /// Virtual time.
    pub clock: Clock,
    /// From the client on.
    pub wires: Vec<Wire>,
    /// What came of the client's exchanges.
    pub samples: Vec<Sample>,
    nodes: Vec<Node<M>>,
}

/// The address of a port: wires are numbered from the client's on, and have two ends.
fn address(wire: usize, end: End) -> IpAddr {
    Ipv4Addr::new(10, wire as u8, 0, 1 + end as u8).into()
}

impl<M: Mover<SimFrame>> Chain<M> {
    /// Client and origin are ports of one engine, with a wire between them.
    pub fn direct(setup: &ChainSetup, mover: M) -> Self {
        let mut chain = Self::new();
        let wire = chain.wire(setup);
        let ports = [(0, End::Port), (0, End::Hosts)];
        let mut settings = chain.settings(setup, &ports);
        chain.add_client(setup, &mut settings, 0);
        chain.add_origin(setup, &mut settings, 1, address(wire, End::Hosts));
        chain.add(setup, settings, &ports, mover);
        chain
    }

    /// Client, proxy and origin are engines of their own.
    pub fn proxied(setup: &ChainSetup, mut mover: impl FnMut() -> M) -> Self {
        let mut chain = Self::new();
        let (near, far) = (chain.wire(setup), chain.wire(setup));
        let ports = [(near, End::Port)];
        let mut settings = chain.settings(setup, &ports);
        chain.add_client(setup, &mut settings, 0);
        chain.add(setup, settings, &ports, mover());

        let ports = [(near, End::Hosts), (far, End::Port)];
        let mut settings = chain.settings(setup, &ports);
        settings.listeners = vec![Listener {
            name: "clients".into(),
            port: PortId(0),
            address: SocketAddr::new(address(near, End::Hosts), SERVICE),
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
            endpoints: vec![SocketAddr::new(address(far, End::Hosts), SERVICE)],
            max_connections: 1024,
            max_pending: 1024,
            max_idle: 1024,
        }];
        chain.add(setup, settings, &ports, mover());

        let ports = [(far, End::Hosts)];
        let mut settings = chain.settings(setup, &ports);
        chain.add_origin(setup, &mut settings, 0, address(far, End::Hosts));
        chain.add(setup, settings, &ports, mover());
        chain
    }

    fn new() -> Self {
        Self {
            clock: Clock::default(),
            wires: Vec::new(),
            samples: Vec::new(),
            nodes: Vec::new(),
        }
    }

    fn wire(&mut self, setup: &ChainSetup) -> usize {
        let number = self.wires.len();
        let seed = Rng::new(setup.seed + number as u64).next_u64();
        self.wires.push(Wire::new(seed, setup.faults));
        number
    }

    fn settings(&self, setup: &ChainSetup, ports: &[(usize, End)]) -> Settings {
        let mut settings = setup.settings.clone();
        settings.ports = ports
            .iter()
            .map(|&(wire, end)| PortSettings {
                name: format!("{wire}{end:?}"),
                addresses: vec![(address(wire, end), 16)],
                ..PortSettings::default()
            })
            .collect();
        settings
    }

    fn add_client(&self, setup: &ChainSetup, settings: &mut Settings, port: usize) {
        if setup.sources > 0 {
            settings.ports[port].ranges = vec![AddressRange {
                first: Ipv4Addr::new(10, 0, 128, 0).into(),
                count: setup.sources,
            }];
        }
        settings.load = Some(LoadPlan {
            port: PortId(port as u8),
            target: SocketAddr::new(address(0, End::Hosts), SERVICE),
            ..setup.plan.clone()
        });
    }

    fn add_origin(&self, setup: &ChainSetup, settings: &mut Settings, port: u8, at: IpAddr) {
        if setup.listens {
            settings.origins = vec![OriginListener {
                port: PortId(port),
                address: SocketAddr::new(at, SERVICE),
            }];
        }
    }

    fn add(&mut self, setup: &ChainSetup, settings: Settings, ports: &[(usize, End)], mover: M) {
        let pool = SimPool::new(setup.frames, setup.frames);
        let number = self.nodes.len() as u64;
        let ports: Vec<SimPort> = ports
            .iter()
            .map(|&(wire, end)| {
                let options = PortOptions {
                    name: format!("{wire}{end:?}"),
                    end,
                    mac: [2, 0, 0, 0, wire as u8, end as u8],
                    ..setup.port.clone()
                };
                let wire = self.wires[wire].clone();
                SimPort::new(options, wire, self.clock.clone(), pool.clone())
            })
            .collect();
        let posted = ports.iter().map(SimPort::posted).collect();
        let ring = settings.limits.session_buffer as usize;
        let parts = Parts {
            team: Team::alone(ports.len()),
            settings: Arc::new(settings),
            ports,
            pool: pool.clone(),
            mover,
            rings: Box::new(LeakedRings(ring)),
            seed: Rng::new(!setup.seed ^ number).next_u64(),
            ticks: || 0,
        };
        self.nodes.push(Node {
            worker: Worker::new(parts, 0),
            pool,
            posted,
        });
    }

    /// The engine that is the client.
    pub fn client(&self) -> &Worker<SimPort, SimPool, M> {
        &self.nodes[0].worker
    }

    /// The engine that is the client.
    pub fn client_mut(&mut self) -> &mut Worker<SimPort, SimPool, M> {
        &mut self.nodes[0].worker
    }

    /// The engine that is the origin.
    pub fn origin(&self) -> &Worker<SimPort, SimPool, M> {
        &self.nodes[self.nodes.len() - 1].worker
    }

    /// Runs until `done` says so or until `deadline`, in µs. Returns whether `done` said so.
    pub fn run_until(&mut self, deadline: u64, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            let now = self.clock.now();
            if now >= deadline {
                return false;
            }
            let mut busy = false;
            for node in &mut self.nodes {
                node.worker.set_time_of_day(784_111_777 + now / 1_000_000);
                busy |= node.worker.turn(now, 0).busy;
                self.samples.append(node.worker.samples_mut());
            }
            let arrivals = self.wires.iter().flat_map(|wire| {
                [End::Port, End::Hosts]
                    .into_iter()
                    .filter_map(|end| wire.next_arrival(end))
            });
            let next = if busy { now + BUSY_US } else { now + IDLE_US };
            let next = arrivals.fold(next, u64::min).max(now + BUSY_US);
            self.clock.advance(next);
        }
        true
    }

    /// Runs for `us` more.
    pub fn run_for(&mut self, us: u64) {
        let _ = self.run_until(self.clock.now() + us, |_| false);
    }

    /// Ends the load, lets everything come to its end, and checks that no engine has kept anything.
    ///
    /// # Errors
    /// Says what was kept.
    pub fn settle(&mut self) -> Result<(), String> {
        self.client_mut().stop_load();
        let limit = self.clock.now() + 60_000_000;
        let _ = self.run_until(limit, |chain| chain.client().exchanges() == 0);
        for node in &mut self.nodes {
            node.worker.start_drain();
        }
        let connections = |chain: &Self| {
            chain
                .nodes
                .iter()
                .map(|n| n.worker.connections())
                .sum::<usize>()
        };
        let limit = self.clock.now() + 120_000_000;
        let _ = self.run_until(limit, |chain| connections(chain) == 0);
        self.run_for(10_000);
        let open = connections(self);
        let spans: usize = self.nodes.iter().map(|n| n.worker.spans()).sum();
        let pools = || {
            self.nodes
                .iter()
                .flat_map(|n| n.posted.iter().chain([&n.pool]))
        };
        let used = [FrameClass::Small, FrameClass::Large]
            .map(|class| pools().map(|pool| pool.used(class)).sum::<u32>());
        let kept: usize = self.nodes.iter().map(|n| n.worker.load_frames()).sum();
        if open == 0 && spans == 0 && (used[0] + used[1]) as usize == kept {
            return Ok(());
        }
        Err(format!(
            "{open} connections, {spans} spans, {used:?} small and large frames are left, of which \
             {kept} may be"
        ))
    }
}
