//! One worker on its lcore, from its ports to its last packet.
//!
//! The engine's worker is not `Send`: it is built here, on the thread that will run it, from parts
//! that are.

use std::sync::Arc;

use dataplane::counters::{Counter, Drop, SharedCounters, Stage};
use dataplane::port::Port;
use dataplane::settings::{PortId, Settings};
use dataplane::team::Team;
use dataplane::worker::{Parts, Worker};
use dpdk::{LcoreId, MbufPool};

use super::any_port::AnyPort;
use super::clock::unix_ns;
use super::crew::Member;
use super::error::StartError;
use super::idle::Napper;
use super::movers::{AnyMover, Planned};
use super::pacer::Pacer;
use super::ports::OpenPort;
use super::record::record;
use super::rings::Rings;
use super::tick_clock::{Moment, TickClock};
use crate::access_log::AccessLogSender;
use crate::cli::Idle;
use crate::signals::Signals;

const MS: u64 = 1_000_000;

/// Time between two looks at the signals and the time of day, in ns.
const LOOK: u64 = MS;

/// Time between two publications of the counters, in ns.
const PUBLISH: u64 = 100 * MS;

/// How long a drained worker goes on, in ns: its last segments leave, and a device that frees sent
/// frames only when it is polled gets polled.
const PARTING: u64 = 20 * MS;

/// What the engine gets beyond `timeouts.drain` to end by itself, in ns.
const GRACE: u64 = 1_000 * MS;

/// Everything a worker is made of, on its way to its thread.
#[derive(Debug)]
pub struct Plan {
    /// Number of the worker, from 0.
    pub index: usize,
    /// Where it runs.
    pub lcore: LcoreId,
    /// A queue of each port.
    pub ports: Vec<OpenPort>,
    /// Its packet memory.
    pub pool: MbufPool,
    /// What it is told.
    pub settings: Arc<Settings>,
    /// How it moves payload.
    pub mover: Planned,
    /// Least time between the beginnings of two turns under load, in µs.
    pub coalesce_us: u32,
    /// What it does while no packet comes.
    pub idle: Idle,
    /// Rings for its sockets.
    pub rings: Rings,
    /// Secret of its sequence numbers and hashes.
    pub seed: u64,
    /// Where finished exchanges go.
    pub access_log: Option<AccessLogSender>,
    /// Asks for shutdown.
    pub signals: Signals,
    /// Its place among the workers, for packets.
    pub team: Team,
    /// The same, for its beginning and end.
    pub member: Member,
    /// Where it publishes its counters.
    pub counters: Arc<SharedCounters>,
    /// The rate of the processor's ticks.
    pub ticks_per_second: u64,
    /// There are no other workers.
    pub alone: bool,
}

impl Plan {
    /// Builds the worker and runs it until it is drained. All its frames are back when this returns.
    ///
    /// # Errors
    /// When a port cannot be made.
    pub fn run(mut self) -> Result<(), StartError> {
        let ports = std::mem::take(&mut self.ports).into_iter();
        let ports: Result<Vec<AnyPort>, StartError> =
            ports.map(|port| port.into_port(&self.pool)).collect();
        Running::new(self, ports?).run();
        Ok(())
    }

    fn say_hello(&self, ports: &[AnyPort]) {
        let names: Vec<&str> = ports.iter().map(|port| port.caps().name.as_str()).collect();
        log::info!(
            "worker {} on lcore {}: ports {}, mover {}",
            self.index,
            self.lcore.number(),
            names.join(", "),
            self.mover,
        );
        if self.index == 0 {
            for listener in &self.settings.listeners {
                log::info!("listening on {} ({})", listener.address, listener.name);
            }
        }
    }
}

/// Where a worker is in its life. Times are the clock's, in ns.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Serving,
    /// Until open exchanges have ended; `until` is when patience ends.
    Draining {
        until: Option<u64>,
    },
    /// Until the other workers have come as far.
    Waiting,
    /// Until the last packets have left.
    Parting {
        until: u64,
    },
    Over,
}

struct Running {
    worker: Worker<AnyPort, MbufPool, AnyMover>,
    clock: TickClock,
    pacer: Pacer,
    napper: Napper,
    phase: Phase,
    index: usize,
    /// Time given to open exchanges, in ms; 0: as long as they take.
    drain_ms: u32,
    access_log: Option<AccessLogSender>,
    signals: Signals,
    member: Member,
    /// The ports' names.
    ports: Vec<String>,
    counters: Arc<SharedCounters>,
}

impl Running {
    fn new(plan: Plan, ports: Vec<AnyPort>) -> Self {
        plan.say_hello(&ports);
        let mut clock = TickClock::start(dpdk::ticks, plan.ticks_per_second);
        let drain_ms = plan.settings.timeouts.drain;
        let napper = Napper::new(plan.idle, &ports, plan.alone);
        let names = ports.iter().map(|port| port.caps().name.clone()).collect();
        let parts = Parts {
            settings: plan.settings,
            ports,
            pool: plan.pool,
            mover: plan.mover.into(),
            rings: Box::new(plan.rings),
            team: plan.team,
            ticks: dpdk::ticks,
            seed: plan.seed,
        };
        Self {
            worker: Worker::new(parts, clock.read().ns / 1000),
            clock,
            pacer: Pacer::new(plan.coalesce_us),
            napper,
            phase: Phase::Serving,
            index: plan.index,
            drain_ms,
            access_log: plan.access_log,
            signals: plan.signals,
            member: plan.member,
            ports: names,
            counters: plan.counters,
        }
    }

    /// Turn after turn. The clock is read once for each: the end of one is the beginning of the
    /// next.
    fn run(mut self) {
        let mut now = self.clock.read();
        self.worker.set_time_of_day(unix_ns() / 1_000_000_000);
        let (mut next_look, mut next_publish) = (now.ns, now.ns);
        loop {
            let turn = self.worker.turn(now.ns / 1000, now.ticks);
            self.log_exchanges();
            let before = std::mem::replace(&mut now, self.clock.read());
            let (time, stage) = if turn.busy {
                (Counter::BusyNanos, Stage::Rest)
            } else {
                (Counter::IdleNanos, Stage::Idle)
            };
            let counters = self.worker.counters_mut();
            counters[time] += now.ns - before.ns;
            counters[stage] += now.ticks.saturating_sub(turn.charged);
            if let Some(until) = self.pacer.next(before.ns, now.ns, turn) {
                let end = now;
                while now.ns < until {
                    std::hint::spin_loop();
                    now = self.clock.read();
                }
                let counters = self.worker.counters_mut();
                counters[Counter::IdleNanos] += now.ns - end.ns;
                counters[Stage::Idle] += now.ticks.saturating_sub(end.ticks);
            }

            now = self.nap(now, turn.busy);

            if now.ns >= next_look {
                now = self.clock.correct();
                next_look = now.ns + LOOK;
                self.worker.set_time_of_day(unix_ns() / 1_000_000_000);
                self.phase = self.next_phase(now.ns);
                if matches!(self.phase, Phase::Over) {
                    break;
                }
            }
            if now.ns >= next_publish {
                next_publish = now.ns + PUBLISH;
                self.publish();
            }
        }
        self.publish();
    }

    /// Sleeps if it is time to. Returns what time it is.
    fn nap(&mut self, now: Moment, busy: bool) -> Moment {
        if !matches!(self.phase, Phase::Serving) {
            return now;
        }
        let worker = &self.worker;
        let deadline = || worker.next_deadline().map(|ms| ms.saturating_mul(MS));
        let Some(most) = self.napper.nap(now.ns, busy, deadline) else {
            return now;
        };
        self.napper.sleep(most);
        let woken = self.clock.correct();
        let counters = self.worker.counters_mut();
        counters[Counter::IdleNanos] += woken.ns - now.ns;
        counters[Stage::Asleep] += woken.ticks.saturating_sub(now.ticks);
        woken
    }

    fn next_phase(&mut self, now: u64) -> Phase {
        match self.phase {
            Phase::Serving if self.signals.shutdown_requested() || self.member.any_failed() => {
                log::info!("worker {}: draining", self.index);
                self.worker.start_drain();
                let patience = u64::from(self.drain_ms) * MS + GRACE;
                let until = (self.drain_ms > 0).then_some(now + patience);
                Phase::Draining { until }
            }
            Phase::Draining { .. } if self.worker.drained() => self.wait(),
            Phase::Draining { until: Some(until) } if now >= until => {
                log::warn!(
                    "worker {}: exchanges are still open, their connections are reset",
                    self.index
                );
                self.worker.abort_all();
                self.wait()
            }
            Phase::Waiting if self.member.all_done() => Phase::Parting {
                until: now + PARTING,
            },
            Phase::Parting { until } if now >= until => Phase::Over,
            phase => phase,
        }
    }

    fn wait(&mut self) -> Phase {
        self.member.done();
        Phase::Waiting
    }

    /// Says once for each port if it does not bring packets where RSS or fanout should. While workers
    /// end, their queues close and packets go elsewhere.
    fn look_for_strays(&self) {
        if !matches!(self.phase, Phase::Serving) {
            return;
        }
        for (index, name) in self.ports.iter().enumerate() {
            let strays = self.worker.strays(PortId(index as u8));
            if strays > 0 && self.member.first_to_tell(index) {
                log::warn!(
                    "{name}: TCP packets come to other workers than its key and table, or its fanout \
                     program, say ({strays} so far): they are handed over, which costs; if this is a \
                     NIC look for newer firmware or driver, or use one worker (-l N)"
                );
            }
        }
    }

    /// Hands what the engine reported to the access log.
    fn log_exchanges(&mut self) {
        let Some(log) = &self.access_log else { return };
        let mut refused = 0;
        self.worker.take_access(|entry| {
            refused += u64::from(!log.send(record(entry, unix_ns())));
        });
        self.worker.counters_mut()[Drop::AccessLogFull] += refused;
    }

    fn publish(&mut self) {
        self.look_for_strays();
        self.worker.sample();
        self.worker.counters().publish(&self.counters);
    }
}
