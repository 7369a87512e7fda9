//! A thread's part of the load: its connections, and the loop that keeps them busy.
//!
//! The kernel tells of sockets edge-triggered. A response whose end is known is read with one call as a
//! rule, and a request is one write: two system calls for an exchange, and a part of an `epoll_wait`.

mod course;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use dataplane::load::Heads;
use dataplane::load::sample::{Failure, Outcome};
use dataplane::load::schedule::{Next, Schedule};
use dataplane::timer_wheel::{TimerId, TimerWheel};
use minivoy::signals::Signals;
use minivoy::system::clock::Clock;
use mio::{Events, Interest, Poll, Token};

use super::alarm::Alarm;
use super::connect::Connector;
use super::slot::{Request, Slot, State};
use crate::progress::Board;
use crate::tally::Tally;

/// What is received into: more than most responses, less than the core's second cache.
const BUFFER: usize = 64 * 1024;

/// Most connections of a thread that are being opened at once: listeners have queues of their own.
const OPENING_MOST: u32 = 256;

/// Longest wait: the signals are looked at.
const LOOK_US: u64 = 100_000;

/// A wait shorter than this is not worth the system calls that it takes.
const SPIN_US: u64 = 20;

/// The token of the alarm; those of sockets are their slots' numbers.
const ALARM: Token = Token(usize::MAX - 1);

/// What a client is made of.
pub struct Parts<'a> {
    /// When to begin what; its clock is `clock`.
    pub schedule: Schedule,
    /// For how long from its start responses are not counted.
    pub warmup_us: u64,
    /// Connections.
    pub connections: u32,
    /// What is sent.
    pub request: Request,
    /// Whether connections are kept.
    pub keep_alive: bool,
    /// Longest time for an exchange.
    pub timeout_us: Option<u64>,
    /// Where connections go.
    pub connector: Connector,
    /// The time.
    pub clock: Clock,
    /// What asks it to stop.
    pub signals: Signals,
    /// Where it shows how far it is.
    pub board: &'a Board,
    /// Which place on the board is its own.
    pub index: usize,
}

/// A thread's part of the load.
pub struct Client<'a> {
    parts: Parts<'a>,
    poll: Poll,
    alarm: Option<Alarm>,
    slots: Vec<Slot>,
    /// Slots without a connection, and without an exchange.
    closed: VecDeque<u32>,
    /// Slots with a connection, idle; some may have lost it since.
    open: VecDeque<u32>,
    /// Of [`State::Connecting`].
    opening: u32,
    /// Exchanges under way.
    active: u32,
    timers: TimerWheel,
    fired: Vec<u32>,
    heads: Heads,
    buffer: Box<[u8]>,
    tally: Tally,
    complained: bool,
}

impl<'a> Client<'a> {
    /// Makes the slots, without connections.
    ///
    /// # Errors
    /// When the kernel refuses descriptors.
    pub fn new(parts: Parts<'a>) -> io::Result<Self> {
        let connections = parts.connections;
        let poll = Poll::new()?;
        let alarm = match parts.schedule.is_paced() {
            true => Some(Alarm::new(poll.registry(), ALARM)?),
            false => None,
        };
        Ok(Self {
            poll,
            alarm,
            slots: (0..connections).map(|_| Slot::new()).collect(),
            closed: (0..connections).collect(),
            open: VecDeque::with_capacity(connections as usize),
            opening: 0,
            active: 0,
            timers: TimerWheel::new(connections as usize, parts.clock.now_us() / 1000),
            fired: Vec::new(),
            heads: Heads::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            tally: Tally::new(),
            complained: false,
            parts,
        })
    }

    /// Begins the line of requests at `start_us`, and runs to the end of the last exchange.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn run(mut self, schedule: Schedule, start_us: u64) -> io::Result<Tally> {
        self.tally.from_us = start_us + self.parts.warmup_us;
        self.parts.schedule = schedule;
        let mut events = Events::with_capacity(1024);
        let mut publish_us = self.parts.clock.now_us();
        loop {
            let wait_us = self.begin_due();
            let now_us = self.parts.clock.now_us();
            if now_us >= publish_us {
                self.parts.board.publish(self.parts.index, &self.tally);
                publish_us = now_us + LOOK_US;
                if self.parts.signals.shutdown_requested() && !self.parts.schedule.is_over(now_us) {
                    self.parts.schedule.stop(now_us);
                }
            }
            if self.active == 0 && self.parts.schedule.is_over(now_us) {
                break;
            }
            self.wait(&mut events, wait_us, now_us)?;
            for event in &events {
                if event.token() != ALARM {
                    self.ready(event.token().0 as u32, event);
                }
            }
            self.expire();
        }
        self.tally.missed = self.parts.schedule.missed(self.parts.clock.now_us());
        Ok(self.tally)
    }

    /// Waits for the kernel, until the next request is due (`due_us`, if a slot is free for one) or a
    /// timer fires.
    fn wait(&mut self, events: &mut Events, due_us: Option<u64>, now_us: u64) -> io::Result<()> {
        let timer_us = self.timers.next_visit().map_or(u64::MAX, |ms| ms * 1000);
        let until_us = timer_us.min(now_us + LOOK_US);
        let mut wait_us = until_us.saturating_sub(now_us);
        if let Some(due_us) = due_us {
            let until_due_us = due_us.saturating_sub(now_us);
            if until_due_us <= SPIN_US {
                wait_us = 0;
            } else if until_due_us < wait_us
                && let Some(alarm) = &mut self.alarm
            {
                alarm.set(due_us, now_us)?;
            }
        }
        match self.poll.poll(events, Some(Duration::from_micros(wait_us))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Begins what is due, as far as slots are free. Returns when the next request is due, if it is due
    /// later and a slot is free for it.
    fn begin_due(&mut self) -> Option<u64> {
        loop {
            let may_open = self.opening < OPENING_MOST && !self.closed.is_empty();
            if !may_open && self.open.is_empty() {
                return None;
            }
            let now_us = self.parts.clock.now_us();
            let due_us = match self.parts.schedule.next(now_us) {
                Next::Begin { due_us } => due_us,
                Next::Wait { until_us } => return Some(until_us),
                Next::Over => return None,
            };
            // New ones first: the operator asked for so many.
            let next = if may_open {
                self.closed.pop_front()
            } else {
                self.open.pop_front()
            };
            if let Some(id) = next {
                self.begin(id, due_us, now_us);
            }
        }
    }

    fn begin(&mut self, id: u32, due_us: u64, now_us: u64) {
        let slot = &mut self.slots[id as usize];
        (slot.due_us, slot.started_us) = (due_us, now_us);
        slot.rewind(&self.parts.request);
        self.active += 1;
        if let Some(timeout_us) = self.parts.timeout_us {
            self.timers
                .arm(TimerId(id), (now_us + timeout_us) / 1000 + 1);
        }
        if slot.socket.is_some() {
            slot.reused = true;
            slot.state = State::Exchanging;
            self.send(id);
        } else {
            self.connect(id);
        }
    }

    fn connect(&mut self, id: u32) {
        self.tally.sockets += 1;
        let slot = &mut self.slots[id as usize];
        slot.reused = false;
        let opened = self.parts.connector.open().and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut socket, Token(id as usize), interest)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                slot.socket = Some(socket);
                slot.state = State::Connecting;
                self.opening += 1;
            }
            Err(error) => {
                self.complain(&error);
                self.end(id, Outcome::Failed(Failure::Connect));
            }
        }
    }

    /// Says once what the kernel says of connections that cannot be opened: the report only counts them.
    fn complain(&mut self, error: &io::Error) {
        if !self.complained {
            self.complained = true;
            log::warn!("cannot connect: {error} (said once)");
        }
    }
}
