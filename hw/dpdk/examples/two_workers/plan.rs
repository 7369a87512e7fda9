//! What is measured in which order, and what both lcores share while it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use dataplane::sim::bed::Network;
use dataplane::steering::Steering;
use dataplane::team::{PARCELS, Team};

use crate::report::{Figures, Report};

/// Client connections of each worker.
pub const CONNECTIONS: usize = 1000;

/// Bodies, and exchanges under way at once with each: as few as keep a worker busy, so that what waits
/// in a mailbox is always less than it holds, however long its owner is interrupted.
pub const BODIES: [(usize, usize); 2] = [(1024, 64), (16 * 1024, 24)];

/// What the two lcores do in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// One worker, the other core idle.
    Alone {
        /// Which of the two.
        worker: usize,
    },
    /// One worker, while the other core makes packets as the hosts do, for no worker.
    BesideLoad {
        /// Which of the two.
        worker: usize,
    },
    /// Two workers, each of which gets its own packets.
    Steered,
    /// Two workers, each of which gets half of the other's packets and hands them over.
    Strays,
    /// A loop that shares nothing, on one core.
    LoopAlone {
        /// Which of the two.
        worker: usize,
    },
    /// The same on both: what the machine gives at best.
    LoopTwice,
}

impl Variant {
    pub const ALL: [Self; 9] = [
        Self::Alone { worker: 0 },
        Self::Steered,
        Self::Alone { worker: 1 },
        Self::Strays,
        Self::BesideLoad { worker: 0 },
        Self::BesideLoad { worker: 1 },
        Self::LoopAlone { worker: 0 },
        Self::LoopTwice,
        Self::LoopAlone { worker: 1 },
    ];

    /// What the lcore `index` has to do.
    pub fn task(self, index: usize) -> Task {
        match self {
            Self::Alone { worker } if worker == index => Task::Work(Kind::Alone),
            Self::BesideLoad { worker } if worker == index => Task::Work(Kind::Alone),
            Self::BesideLoad { .. } => Task::Waste,
            Self::Steered => Task::Work(Kind::Steered),
            Self::Strays => Task::Work(Kind::Strays),
            Self::LoopAlone { worker } if worker == index => Task::Loop,
            Self::LoopTwice => Task::Loop,
            Self::Alone { .. } | Self::LoopAlone { .. } => Task::Rest,
        }
    }
}

/// What one lcore does in a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Sleeps.
    Rest,
    /// Is a worker, of this kind, with its hosts.
    Work(Kind),
    /// Makes packets for nobody.
    Waste,
    /// Runs the loop that shares nothing.
    Loop,
}

/// Kinds of workers: each lcore has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The only one.
    Alone,
    /// One of two, whose port brings it its own packets.
    Steered,
    /// One of two, whose port does not look whose packets are.
    Strays,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Alone, Self::Steered, Self::Strays];
}

/// A flag and a number that have their cache lines to themselves.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// The plan, and what both lcores have of each other.
#[derive(Debug)]
pub struct Plan {
    pub options: Options,
    pub hz: u64,
    barrier: Barrier,
    /// Lcores that have come to the end of their measurement.
    finished: Apart<AtomicUsize>,
    /// The one that is measured has: the other need not go on.
    over: Apart<AtomicBool>,
    /// For each body, the two workers' places: with steering, without, and the network between them.
    teams: Vec<[Vec<Team>; 2]>,
    networks: Vec<Network>,
    report: Mutex<Report>,
}

impl Plan {
    pub fn new(options: Options, hz: u64) -> Self {
        let team = |steering: Steering| Team::of(2, vec![steering; 2], PARCELS);
        let teams = BODIES.map(|_| {
            [
                team(Steering::Fanout { workers: 2 }),
                team(Steering::Software { workers: 2 }),
            ]
        });
        Self {
            report: Mutex::new(Report::new(&options, hz)),
            options,
            hz,
            barrier: Barrier::new(2),
            finished: Apart::default(),
            over: Apart::default(),
            teams: teams.into(),
            networks: BODIES.map(|_| Network::new(2)).into(),
        }
    }

    /// The place of a worker of this kind, and what its hosts are connected by.
    pub fn place(&self, kind: Kind, body: usize, index: usize) -> (Team, Option<Network>) {
        match kind {
            Kind::Alone => (Team::alone(2), None),
            Kind::Steered => (self.teams[body][0][index].clone(), None),
            Kind::Strays => (
                self.teams[body][1][index].clone(),
                Some(self.networks[body].clone()),
            ),
        }
    }

    /// Waits, asleep, until both lcores are here.
    pub fn meet(&self) {
        if self.barrier.wait().is_leader() {
            self.finished.0.store(0, Ordering::Relaxed);
            self.over.0.store(false, Ordering::Relaxed);
        }
        let _ = self.barrier.wait();
    }

    /// This lcore has nothing more to do in this step, once and for all.
    pub fn finish(&self) {
        let _ = self.finished.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether both have said so.
    pub fn all_finished(&self) -> bool {
        self.finished.0.load(Ordering::Acquire) == 2
    }

    /// The measurement is over for who accompanies it.
    pub fn set_over(&self) {
        self.over.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_over(&self) -> bool {
        self.over.0.load(Ordering::Relaxed)
    }

    /// Notes what was measured.
    pub fn note(&self, body: usize, variant: Variant, worker: usize, figures: Figures) {
        let mut report = self.report.lock().expect("nobody panics with it");
        report.add(body, variant, worker, figures);
    }

    /// All that was noted.
    pub fn report(&self) -> Report {
        self.report.lock().expect("nobody panics with it").clone()
    }
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    pub cpus: String,
    pub rounds: usize,
    /// Length of a measurement.
    pub ms: u64,
    pub eal: String,
    pub zero_copy: bool,
    pub json: Option<String>,
}

impl Options {
    pub fn read() -> Self {
        let mut options = Self {
            cpus: "0,1".into(),
            rounds: 40,
            ms: 25,
            eal: "--no-huge -m 256".into(),
            zero_copy: true,
            json: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let value = arguments.next();
            match (&*argument, value) {
                ("--cpus", Some(value)) => options.cpus = value,
                ("--rounds", Some(value)) => options.rounds = value.parse().expect("a number"),
                ("--ms", Some(value)) => options.ms = value.parse().expect("milliseconds"),
                ("--eal", Some(value)) => options.eal = value,
                ("--mover", Some(value)) => options.zero_copy = value != "mem",
                ("--json", Some(value)) => options.json = Some(value),
                _ => panic!(
                    "two_workers [--mover mem] [--cpus A,B] [--rounds N] [--ms N] [--eal OPTIONS] [--json FILE], not \
                     {argument}"
                ),
            }
        }
        options
    }
}
