//! A thread's part of the load: its connections, and the loop that keeps them busy.
//!
//! The kernel tells of sockets edge-triggered. A response whose end is known is read with one call as a
//! rule, and a request is one write: two system calls for an exchange, and a part of an `epoll_wait`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use dataplane::load::Heads;
use dataplane::load::sample::{Failure, Outcome, Sample};
use dataplane::load::schedule::{Next, Schedule};
use dataplane::timer_wheel::{TimerId, TimerWheel};
use minivoy::signals::Signals;
use minivoy::system::clock::Clock;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token};

use super::alarm::Alarm;
use super::connect::Connector;
use super::slot::{Progress, Request, Slot, State};
use crate::progress::Board;
use crate::tally::Tally;

/// What is received into: more than most responses, less than the core's second cache.
const BUFFER: usize = 64 * 1024;

/// Most connections of a thread that are being opened at once: listeners have queues of their own.
const OPENING_MOST: u32 = 256;

/// After an attempt to connect that failed, its slot waits this long.
const REST_MS: u64 = 100;

/// How long the peer gets to close after it said that it would.
const ENDING_MS: u64 = 1000;

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
    pub fn run(mut self, schedule: Schedule) -> io::Result<Tally> {
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

    /// The kernel has something to say of a socket.
    fn ready(&mut self, id: u32, event: &Event) {
        let slot = &mut self.slots[id as usize];
        match slot.state {
            // The first write tells whether it is open.
            State::Connecting if event.is_writable() || event.is_error() => self.send(id),
            State::Exchanging => {
                if event.is_writable() && !slot.is_sent(&self.parts.request) {
                    self.send(id);
                }
                if event.is_readable() || event.is_read_closed() {
                    self.receive(id, event.is_read_closed());
                }
            }
            State::Idle if !slot.is_quiet() => {
                slot.socket = None;
                slot.state = State::Closed;
            }
            State::Ending if !slot.is_quiet() => self.close(id),
            State::Closed | State::Resting | State::Connecting | State::Idle | State::Ending => {}
        }
    }

    fn send(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        let was_opening = slot.state == State::Connecting;
        match slot.send(&self.parts.request) {
            // A connection that is not open yet takes nothing.
            Ok(()) if was_opening && slot.has_sent() => {
                self.opening -= 1;
                slot.state = State::Exchanging;
            }
            Ok(()) => {}
            Err(error) if was_opening => {
                self.complain(&error);
                self.fail(id, Failure::Connect);
            }
            Err(_) => self.fail(id, Failure::Closed),
        }
    }

    fn receive(&mut self, id: u32, closed: bool) {
        let slot = &mut self.slots[id as usize];
        if slot.state != State::Exchanging {
            return;
        }
        match slot.receive(
            &self.parts.request,
            &mut self.heads,
            &mut self.buffer,
            closed,
        ) {
            Progress::Wait => {}
            Progress::Done => {
                let status = slot.reader.status().unwrap_or(0);
                self.end(id, Outcome::Status(status));
                let _later = self.begin_due();
            }
            Progress::Failed(failure) => self.fail(id, failure),
        }
    }

    /// The exchange has failed, or is tried again over a new connection.
    fn fail(&mut self, id: u32, failure: Failure) {
        let slot = &mut self.slots[id as usize];
        if failure == Failure::Closed && slot.may_retry() {
            slot.rewind(&self.parts.request);
            slot.socket = None;
            self.connect(id);
            return;
        }
        self.end(id, Outcome::Failed(failure));
    }

    /// The exchange has ended: counts it, and frees the slot.
    fn end(&mut self, id: u32, outcome: Outcome) {
        let now_us = self.parts.clock.now_us();
        let slot = &mut self.slots[id as usize];
        self.tally.record(&Sample {
            due_us: slot.due_us,
            started_us: slot.started_us,
            ended_us: now_us,
            outcome,
            head_bytes: slot.reader.head_bytes(),
            body_bytes: slot.reader.body_bytes(),
        });
        self.active -= 1;
        if slot.state == State::Connecting {
            self.opening -= 1;
        }
        let sent = slot.is_sent(&self.parts.request);
        match outcome {
            Outcome::Status(_) if self.parts.keep_alive && slot.reader.keep_alive() && sent => {
                slot.state = State::Idle;
                self.open.push_back(id);
                self.timers.disarm(TimerId(id));
            }
            Outcome::Status(_) if sent && slot.is_quiet() => {
                slot.state = State::Ending;
                self.timers.arm(TimerId(id), now_us / 1000 + ENDING_MS);
            }
            Outcome::Failed(Failure::Connect) => {
                slot.socket = None;
                slot.state = State::Resting;
                self.timers.arm(TimerId(id), now_us / 1000 + REST_MS);
            }
            Outcome::Status(_) | Outcome::Failed(_) => self.close(id),
        }
    }

    /// Closes a connection without an exchange; its slot is free.
    fn close(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        slot.socket = None;
        slot.state = State::Closed;
        self.timers.disarm(TimerId(id));
        self.closed.push_back(id);
    }

    /// Ends what has taken too long.
    fn expire(&mut self) {
        let now_ms = self.parts.clock.now_us() / 1000;
        let fired = &mut self.fired;
        let _progress = self
            .timers
            .expire(now_ms, usize::MAX, |id| fired.push(id.0));
        while let Some(id) = self.fired.pop() {
            match self.slots[id as usize].state {
                State::Connecting | State::Exchanging => {
                    self.end(id, Outcome::Failed(Failure::Timeout));
                }
                State::Resting | State::Ending => self.close(id),
                State::Closed | State::Idle => {}
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
