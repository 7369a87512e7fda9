//! The course of exchanges: what the kernel tells of their sockets, and how they end.

use dataplane::load::sample::{Failure, Outcome, Sample};
use dataplane::timer_wheel::TimerId;
use mio::event::Event;

use super::Client;
use crate::kernel::slot::{Progress, State};

/// After an attempt to connect that failed, its slot waits this long.
const REST_MS: u64 = 100;

/// How long the peer gets to close after it said that it would.
const ENDING_MS: u64 = 1000;

impl Client<'_> {
    /// The kernel has something to say of a socket.
    pub(super) fn ready(&mut self, id: u32, event: &Event) {
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

    pub(super) fn send(&mut self, id: u32) {
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
    pub(super) fn end(&mut self, id: u32, outcome: Outcome) {
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
    pub(super) fn expire(&mut self) {
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
}
