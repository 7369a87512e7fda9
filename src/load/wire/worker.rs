//! One worker on its lcore, from its ports to its last packet.

use std::sync::Arc;
use std::time::Duration;

use dataplane::counters::{Counter, Counters};
use dataplane::load::LoadStatus;
use dataplane::mover::ZeroCopy;
use dataplane::settings::Settings;
use dataplane::team::Team;
use dataplane::worker::{Parts as EngineParts, Worker};
use dpdk::MbufPool;
use minivoy::signals::Signals;
use minivoy::system::StartError;
use minivoy::system::any_port::AnyPort;
use minivoy::system::clock::{Clock, unix_ns};
use minivoy::system::crew::Member;
use minivoy::system::pacer::Pacer;
use minivoy::system::ports::OpenPort;
use minivoy::system::rings::Rings;

use crate::progress::Board;
use crate::tally::Tally;

const MS: u64 = 1_000_000;
/// Time between two looks at the signals, the time of day and the end of the load, in ns.
const LOOK: u64 = MS;
/// How long the first connection may take to open beyond the time of the run, and every further one, in ns:
/// whoever is to be loaded may be started later.
const PATIENCE: u64 = 20_000 * MS;
/// How long connections may take to close when the load is over, in ns.
const CLOSING: u64 = 1_000 * MS;
/// How long a worker goes on when all is over, in ns: its last segments leave.
const PARTING: u64 = 20 * MS;

/// Everything a worker is made of, on its way to its thread.
pub struct Parts {
    pub index: usize,
    pub ports: Vec<OpenPort>,
    pub pool: MbufPool,
    pub settings: Arc<Settings>,
    pub rings: Rings,
    /// Least time between the beginnings of two turns under load, in µs.
    pub coalesce_us: u32,
    /// For how long from the first request responses are not counted, in µs.
    pub warmup_us: u64,
    /// How long an origin serves; `None`: until a signal.
    pub time: Option<Duration>,
    pub seed: u64,
    pub signals: Signals,
    pub team: Team,
    pub member: Member,
    pub clock: Clock,
    pub board: Arc<Board>,
    /// Seconds between two looks of others at the board; 0: nobody looks.
    pub progress_s: u32,
}

/// What came of a worker.
#[derive(Debug)]
pub struct Ended {
    pub tally: Tally,
    /// When the first request that counts was due, and when its last exchange had ended, in µs.
    pub start_us: Option<u64>,
    pub end_us: u64,
    index: usize,
    /// What its engine counted while there was load.
    counted: Counters,
    /// What its thread spent meanwhile, in ns.
    cpu_ns: u64,
}

impl Ended {
    /// What the worker's core did; `None` when it had nothing to do. An exchange that it was both ends of
    /// counts twice.
    pub fn line(&self) -> Option<String> {
        let counted = &self.counted;
        let (busy, idle) = (counted[Counter::BusyNanos], counted[Counter::IdleNanos]);
        let exchanges = self.tally.calls() + counted[Counter::Requests];
        (busy + idle > 0 && exchanges > 0).then(|| {
            let share = busy as f64 / (busy + idle) as f64;
            let cost = share * self.cpu_ns as f64 / 1000.0 / exchanges as f64;
            format!(
                "worker {}: core {:.0} % busy, {cost:.2} µs of it for an exchange on either side; {} requests \
                 made, {} answered, {} segments sent again",
                self.index,
                100.0 * share,
                self.tally.calls(),
                counted[Counter::Requests],
                counted[Counter::Retransmissions],
            )
        })
    }
}

/// Where a worker is in its life. Times are the clock's, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are awaited; `open` were so far.
    Starting {
        until: u64,
        open: u32,
    },
    /// Requests are made that do not count.
    Warming {
        until: u64,
    },
    /// Requests are made, or answered.
    Loading {
        until: u64,
    },
    /// Exchanges under way may end.
    Finishing {
        until: u64,
    },
    /// Nothing is under way here, but the origin may still be needed by other workers.
    Waiting,
    /// Connections are closed.
    Closing {
        until: u64,
    },
    Parting {
        until: u64,
    },
    Over,
}

/// A worker that runs.
pub struct Running {
    worker: Worker<AnyPort, MbufPool, ZeroCopy>,
    clock: Clock,
    pacer: Pacer,
    phase: Phase,
    index: usize,
    /// Requests are made here, not only answered.
    is_client: bool,
    /// How long an exchange may take, in ns.
    patience: u64,
    /// For how long responses are not counted, in µs.
    warmup_us: u64,
    /// How long an origin serves, in ns.
    serves: u64,
    signals: Signals,
    member: Member,
    board: Arc<Board>,
    progress: u64,
    tally: Tally,
    end_us: u64,
    /// The engine's counters when the load began, and what they grew by until it was over.
    before: Counters,
    counted: Counters,
    /// The same of the thread's CPU time, in ns.
    cpu_before: u64,
    cpu_ns: u64,
}

impl Running {
    /// Builds the worker.
    ///
    /// # Errors
    /// When a port cannot be made.
    pub fn start(parts: Parts) -> Result<Self, StartError> {
        let ports: Result<Vec<AnyPort>, StartError> = parts
            .ports
            .into_iter()
            .map(|port| port.into_port(&parts.pool))
            .collect();
        let load = parts.settings.load.as_ref();
        let patience = load.map_or(0, |load| u64::from(load.timeout) * MS);
        let wanted = load.and_then(|load| match load.pace.end {
            dataplane::load::schedule::End::AfterUs(us) => Some(us * 1000),
            _ => None,
        });
        let now = parts.clock.now_ns();
        let is_client = load.is_some();
        let mut tally = Tally::new();
        if parts.warmup_us > 0 {
            // Known when it begins.
            tally.from_us = u64::MAX;
        }
        let engine = EngineParts {
            settings: parts.settings,
            ports: ports?,
            pool: parts.pool,
            mover: ZeroCopy,
            rings: Box::new(parts.rings),
            team: parts.team,
            seed: parts.seed,
            ticks: dpdk::ticks,
        };
        Ok(Self {
            worker: Worker::new(engine, now / 1000),
            clock: parts.clock,
            pacer: Pacer::new(parts.coalesce_us),
            phase: Phase::Starting {
                until: now + wanted.unwrap_or(0) + PATIENCE,
                open: 0,
            },
            warmup_us: parts.warmup_us,
            index: parts.index,
            is_client,
            patience,
            serves: parts
                .time
                .map_or(u64::MAX / 2, |time| time.as_nanos() as u64),
            signals: parts.signals,
            member: parts.member,
            board: parts.board,
            progress: u64::from(parts.progress_s) * 1000 * MS,
            tally,
            end_us: 0,
            before: Counters::default(),
            counted: Counters::default(),
            cpu_before: 0,
            cpu_ns: 0,
        })
    }

    /// Turn after turn. The clock is read once for each: the end of one is the beginning of the next.
    pub fn run(mut self) -> Ended {
        let mut now = self.clock.now_ns();
        self.worker.set_time_of_day(unix_ns() / 1_000_000_000);
        let (mut next_look, mut next_publish) = (now, now + self.progress);
        loop {
            let turn = self.worker.turn(now / 1000, dpdk::ticks());
            for sample in self.worker.samples_mut().drain(..) {
                self.end_us = sample.ended_us;
                self.tally.record(&sample);
            }
            let before = std::mem::replace(&mut now, self.clock.now_ns());
            let time = if turn.busy {
                Counter::BusyNanos
            } else {
                Counter::IdleNanos
            };
            self.worker.counters_mut()[time] += now - before;
            if let Some(until) = self.pacer.next(before, now, turn) {
                let end = now;
                while now < until {
                    std::hint::spin_loop();
                    now = self.clock.now_ns();
                }
                self.worker.counters_mut()[Counter::IdleNanos] += now - end;
            }
            if now >= next_look {
                next_look = now + LOOK;
                self.worker.set_time_of_day(unix_ns() / 1_000_000_000);
                let status = self.worker.load_status();
                (self.tally.sockets, self.tally.missed) = (status.sockets, status.missed);
                self.phase = self.next_phase(&status, now);
                if self.phase == Phase::Over {
                    break;
                }
            }
            if self.progress > 0 && now >= next_publish {
                next_publish = now + self.progress;
                self.board.publish(self.index, &self.tally);
            }
        }
        let start = self.worker.load_status().start_us;
        Ended {
            start_us: start.map(|us| us + self.warmup_us),
            end_us: self.end_us,
            tally: self.tally,
            index: self.index,
            counted: self.counted,
            cpu_ns: self.cpu_ns,
        }
    }

    fn begin(&mut self) {
        self.before = self.worker.counters().clone();
        self.cpu_before = thread_cpu_ns();
    }

    fn next_phase(&mut self, status: &LoadStatus, now: u64) -> Phase {
        let asked = self.signals.shutdown_requested() || self.member.any_failed();
        match self.phase {
            Phase::Starting { .. } | Phase::Warming { .. } | Phase::Loading { .. } if asked => {
                self.stop(now)
            }
            // Without requests to make, the others' end is this worker's.
            Phase::Starting { .. } if !self.is_client => {
                self.begin();
                let until = now + self.serves;
                Phase::Loading { until }
            }
            Phase::Starting { until, open } => {
                if let Some(start_us) = status.start_us {
                    self.tally.from_us = start_us + self.warmup_us;
                    let until = self.tally.from_us * 1000;
                    Phase::Warming { until }
                } else if status.open > open {
                    let (until, open) = (until.max(now + PATIENCE), status.open);
                    Phase::Starting { until, open }
                } else if now >= until {
                    self.stop(now)
                } else {
                    self.phase
                }
            }
            Phase::Warming { until } if now >= until => {
                self.begin();
                Phase::Loading { until: u64::MAX }
            }
            Phase::Warming { .. } if status.over => self.stop(now),
            Phase::Loading { until } if now >= until => self.stop(now),
            Phase::Loading { .. } if status.over => self.stop(now),
            Phase::Finishing { until } if status.in_flight == 0 || now >= until => {
                self.member.done();
                Phase::Waiting
            }
            Phase::Waiting if self.member.all_done() => {
                self.worker.start_drain();
                Phase::Closing {
                    until: now + CLOSING,
                }
            }
            Phase::Closing { until } if self.worker.drained() || now >= until => {
                self.worker.abort_all();
                Phase::Parting {
                    until: now + PARTING,
                }
            }
            Phase::Parting { until } if now >= until => Phase::Over,
            phase => phase,
        }
    }

    /// The end of the load.
    fn stop(&mut self, now: u64) -> Phase {
        self.worker.stop_load();
        self.counted = self.worker.counters().since(&self.before);
        self.cpu_ns = thread_cpu_ns() - self.cpu_before;
        Phase::Finishing {
            until: now + self.patience,
        }
    }
}

/// What this thread has spent of a CPU's time, in ns. Other programs on its core do not count.
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
