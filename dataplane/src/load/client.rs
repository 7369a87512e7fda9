//! The client: its connections, one request at a time on each, and what came of them.

use std::collections::VecDeque;

use super::frames::{Shared, class_for, fill};
use super::incoming::Wrong;
use super::outgoing::Outgoing;
use super::plan::LoadPlan;
use super::response::ResponseReader;
use super::sample::{Failure, Outcome, Sample};
use super::schedule::{Next, Schedule};
use crate::conn::{ConnRef, Ending};
use crate::counters::{Counter, Responses, Timeout};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{Frame, FramePool, Port};
use crate::proxy::Role;
use crate::worker::Worker;
use smoltcp::socket::tcp;

/// Most requests begun in a turn on connections that waited for one.
const MOST_BEGUN: usize = 256;
/// How long a connection that is over may take to end, in ms.
const LINGER: u32 = 2_000;

/// The session of one of the client's connections.
#[derive(Debug)]
pub struct LoadClient {
    state: State,
    /// When the present exchange should have begun, and when it did.
    due_us: u64,
    started_us: u64,
    /// The part of the request's body that is not queued yet.
    out: Outgoing,
    /// Follows the response.
    reader: ResponseReader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The handshake is under way.
    Connecting,
    /// There is no request.
    Idle,
    /// The response is awaited, or comes.
    Response,
    /// Nothing more is wanted from it; it ends when the peer closes, or by a timer.
    Closing,
}

impl LoadClient {
    /// Nothing more is wanted from it.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    pub(super) fn new(now_us: u64) -> Self {
        Self {
            state: State::Connecting,
            due_us: now_us,
            started_us: now_us,
            out: Outgoing { offset: 0, end: 0 },
            reader: ResponseReader::new(false),
        }
    }
}

/// What the client of a worker knows beyond its connections.
#[derive(Debug)]
pub(super) struct Clients<F> {
    pub plan: LoadPlan,
    /// Head and the first part of the body of every request, and how long they are.
    request: Option<(Shared<F>, u32)>,
    running: bool,
    /// The line of requests, from when it began.
    schedule: Option<Schedule>,
    start_us: u64,
    /// It may begin though not all connections are open: one of them has failed.
    incomplete: bool,
    /// Connections that are wanted and can be opened at once.
    pub unopened: u32,
    /// When further ones may be opened, in ms, in order.
    pub retries: VecDeque<u64>,
    /// In the middle of their handshake.
    pub connecting: u32,
    /// Established, and good for requests.
    open: u32,
    /// Connections ever opened.
    pub sockets: u64,
    /// Connections that wait for a request, in the order in which they get one.
    ready: VecDeque<ConnRef>,
    pub next_source: u32,
}

impl<F: Frame> Clients<F> {
    pub fn new(plan: LoadPlan) -> Self {
        Self {
            unopened: plan.pace.connections,
            ready: VecDeque::with_capacity(plan.pace.connections as usize),
            plan,
            request: None,
            running: true,
            schedule: None,
            start_us: 0,
            incomplete: false,
            retries: VecDeque::new(),
            connecting: 0,
            open: 0,
            sockets: 0,
            next_source: 0,
        }
    }

    /// When the next request should begin, if that is now or before. It then counts as begun.
    fn next_due(&mut self, now_us: u64) -> Option<u64> {
        if self.schedule.is_none() && !self.is_assembled() {
            return None;
        }
        let (pace, start_us) = (&self.plan.pace, &mut self.start_us);
        let schedule = self.schedule.get_or_insert_with(|| {
            *start_us = now_us;
            Schedule::new(pace, now_us)
        });
        match schedule.next(now_us) {
            Next::Begin { due_us } => Some(due_us),
            Next::Wait { .. } | Next::Over => None,
        }
    }

    /// One of the connections cannot be opened: the others need not wait for it.
    pub fn begin_short(&mut self) {
        self.incomplete |= self.open > 0;
    }

    /// Whether the first request may begin.
    fn is_assembled(&self) -> bool {
        !self.plan.keep_alive || self.incomplete || self.open >= self.plan.pace.connections
    }
}

/// How far the client of a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadStatus {
    /// Connections that are established and good for requests.
    pub open: u32,
    /// Connections in the middle of their handshake.
    pub connecting: u32,
    /// Connections ever opened.
    pub sockets: u64,
    /// Requests begun.
    pub begun: u64,
    /// Requests that were due and have not begun, for want of a connection.
    pub missed: u64,
    /// Exchanges under way.
    pub in_flight: u32,
    /// When the first request was due, in µs; `None` while connections are opened before it.
    pub start_us: Option<u64>,
    /// No request begins any more.
    pub over: bool,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// The client's part of a turn: connections that are wanted, requests that are due.
    pub(crate) fn run_load(&mut self) {
        if !self
            .load
            .clients
            .as_ref()
            .is_some_and(|clients| clients.running)
        {
            return;
        }
        let mut busy = self.open_load_connections();
        // When the run begins every connection waits for a request.
        for _ in 0..MOST_BEGUN {
            let Some((id, due)) = self.next_request() else {
                break;
            };
            busy = true;
            self.begin_request(id, due);
        }
        if busy {
            self.found();
        }
    }

    /// A connection that waits for a request, and a request that is due.
    fn next_request(&mut self) -> Option<(ConnId, u64)> {
        let clients = self.load.clients.as_mut()?;
        loop {
            let &reference = clients.ready.front()?;
            if !is_idle(&mut self.conns, reference) {
                let _ = clients.ready.pop_front();
                continue;
            }
            let due = clients.next_due(self.now_us)?;
            let _ = clients.ready.pop_front();
            return Some((reference.id, due));
        }
    }

    /// Runs a client's session until it waits for something.
    pub(crate) fn run_load_client(&mut self, id: ConnId) {
        loop {
            let conn = &self.conns[id];
            if conn.socket().state() == tcp::State::Closed {
                // Reset, or all over: it is ended when it is next asked for something to send.
                self.list_egress(id);
                return;
            }
            let Role::LoadClient(client) = &conn.role else {
                return;
            };
            let again = match client.state {
                State::Connecting => self.await_handshake(id),
                State::Idle => {
                    if conn.recv.available() > 0 || conn.peer_closed() {
                        // The peer has closed it, or says what nobody asked.
                        self.leave_client(id, true);
                    }
                    false
                }
                State::Response => self.await_load_response(id),
                State::Closing => {
                    let n = conn.recv.available();
                    if n > 0 {
                        self.discard(id, n);
                    }
                    let conn = &mut self.conns[id];
                    if conn.peer_closed() && conn.ending == Ending::Open {
                        conn.ending = Ending::AfterFlush;
                        self.list_egress(id);
                    }
                    false
                }
            };
            if !again {
                break;
            }
        }
    }

    fn client_mut(&mut self, id: ConnId) -> Option<&mut LoadClient> {
        match &mut self.conns[id].role {
            Role::LoadClient(client) => Some(client),
            _ => None,
        }
    }

    fn await_handshake(&mut self, id: ConnId) -> bool {
        if self.conns[id].socket().state() == tcp::State::SynSent {
            return false;
        }
        self.counters[Counter::Connected] += 1;
        if let Some(clients) = &mut self.load.clients {
            clients.connecting -= 1;
            clients.open += 1;
        }
        self.rest(id)
    }

    /// A connection has nothing to do: it begins the next request, or waits for one. Returns whether it
    /// has begun one.
    fn rest(&mut self, id: ConnId) -> bool {
        let reference = self.conns.reference(id);
        self.restore_window(id);
        if let Some(client) = self.client_mut(id) {
            client.state = State::Idle;
        }
        if self.draining.is_some() {
            self.drain_load_client(id);
            return false;
        }
        let Some(clients) = &mut self.load.clients else {
            return false;
        };
        // Those that wait longer come first. What has ended meanwhile is forgotten here too.
        while let Some(&first) = clients.ready.front()
            && !is_idle(&mut self.conns, first)
        {
            let _ = clients.ready.pop_front();
        }
        if clients.ready.is_empty()
            && let Some(due) = clients.next_due(self.now_us)
        {
            self.begin_request(id, due);
            return true;
        }
        clients.ready.push_back(reference);
        false
    }

    fn begin_request(&mut self, id: ConnId, due_us: u64) {
        let now_us = self.now_us;
        self.exchanges += 1;
        let Some((frame, len)) = self.request_frame() else {
            // Without a frame nothing could be said at all: it ends as one that was lost.
            self.start(id, due_us, Outgoing { offset: 0, end: 0 });
            self.finish(id, Outcome::Failed(Failure::Closed));
            self.abort(id);
            return;
        };
        let Some(clients) = &self.load.clients else {
            return;
        };
        let timeout = clients.plan.timeout;
        let out = Outgoing {
            offset: u64::from(len) - clients.plan.opening.len() as u64,
            end: clients.plan.body,
        };
        debug_assert!(due_us <= now_us);
        self.start(id, due_us, out);
        self.conns[id].send.push(&mut self.arena, frame, 0, len);
        self.list_egress(id);
        self.arm_session(id, timeout);
        self.send_body(id);
    }

    fn start(&mut self, id: ConnId, due_us: u64, out: Outgoing) {
        let started_us = self.now_us;
        let head_only = self.load.clients.as_ref().is_some_and(|c| c.plan.head_only);
        if let Some(client) = self.client_mut(id) {
            *client = LoadClient {
                state: State::Response,
                due_us,
                started_us,
                out,
                reader: ResponseReader::new(head_only),
            };
        }
    }

    /// Queues more of the request's body.
    fn send_body(&mut self, id: ConnId) {
        let Some(client) = self.client_mut(id) else {
            return;
        };
        let mut out = client.out;
        if !out.is_done() {
            self.push_body(id, &mut out);
            if let Some(client) = self.client_mut(id) {
                client.out = out;
            }
        }
    }

    /// The frame that every request begins with, and its length.
    fn request_frame(&mut self) -> Option<(P::Frame, u32)> {
        let clients = self.load.clients.as_mut()?;
        let opening = &clients.plan.opening;
        let whole = clients.plan.body.saturating_add(opening.len() as u64);
        let class = class_for(whole);
        if clients.request.is_none() {
            let mut frame = self.pool.alloc(class)?;
            let len = whole.min(frame.capacity() as u64) as usize;
            let room = frame.room_mut()?;
            room[..opening.len()].copy_from_slice(opening);
            fill(0, &mut room[opening.len()..len]);
            frame.set_len(len);
            clients.request = Some((Shared::new(frame), len as u32));
        }
        let (shared, len) = clients.request.as_mut()?;
        Some((shared.share(&mut self.pool, class)?, *len))
    }

    /// Takes in what has come of the response. Returns whether there is more to do.
    fn await_load_response(&mut self, id: ConnId) -> bool {
        self.send_body(id);
        let plan = self.load.clients.as_ref().map(|clients| &clients.plan);
        let (verify, keep_alive) = plan.map_or((false, false), |p| (p.verify, p.keep_alive));
        let Role::LoadClient(client) = &self.conns[id].role else {
            return false;
        };
        let mut reader = client.reader;
        let read = self.read_message(id, &mut reader, |load| &mut load.responses, verify);
        let conn = &mut self.conns[id];
        let ended = conn.peer_finished();
        let cut = conn.peer_closed() && conn.recv.available() > 0;
        let Role::LoadClient(client) = &mut conn.role else {
            return false;
        };
        if ended {
            let _ = reader.close();
        }
        client.reader = reader;
        match read {
            Err(Wrong::Malformed(_)) => self.fail_client(id, Failure::Malformed),
            Err(Wrong::Corrupt) => self.fail_client(id, Failure::Corrupt),
            Ok(()) if reader.is_done() => {
                let persists = keep_alive && reader.keep_alive() && client.out.is_done();
                let status = reader.status().unwrap_or_default();
                self.counters[Responses::of(status)] += 1;
                self.finish(id, Outcome::Status(status));
                if persists {
                    return self.rest(id);
                }
                self.leave_client(id, false);
                true
            }
            Ok(()) if ended || cut => self.fail_client(id, Failure::Closed),
            Ok(()) => false,
        }
    }

    /// Notes what came of the present exchange.
    fn finish(&mut self, id: ConnId, outcome: Outcome) {
        let ended_us = self.now_us;
        let Some(client) = self.client_mut(id) else {
            return;
        };
        let sample = Sample {
            due_us: client.due_us,
            started_us: client.started_us,
            ended_us,
            outcome,
            head_bytes: client.reader.head_bytes(),
            body_bytes: client.reader.body_bytes(),
        };
        self.load.samples.push(sample);
        self.exchanges -= 1;
    }

    /// The present exchange fails, and its connection with it.
    fn fail_client(&mut self, id: ConnId, failure: Failure) -> bool {
        self.finish(id, Outcome::Failed(failure));
        self.leave_client(id, true);
        self.abort(id);
        false
    }

    /// A connection is good for no further request: another one takes its place. After a proper end the
    /// peer is expected to close first, as it said, so that it is the one that waits out TIME-WAIT.
    fn leave_client(&mut self, id: ConnId, failed: bool) {
        if let Some(client) = self.client_mut(id) {
            client.state = State::Closing;
        }
        let now = self.now;
        if let Some(clients) = &mut self.load.clients {
            clients.open -= 1;
            if failed {
                clients.incomplete = true;
                clients.replace_later(now);
            } else {
                clients.replace();
            }
        }
        self.arm_session(id, LINGER);
        self.list_session(id);
    }

    /// The time of a connection is up.
    pub(crate) fn load_client_expired(&mut self, id: ConnId) {
        let Role::LoadClient(client) = &self.conns[id].role else {
            return;
        };
        match client.state {
            // The timer is of a request that is over.
            State::Idle => {}
            State::Response => {
                self.counters[Timeout::Response] += 1;
                let _ = self.fail_client(id, Failure::Timeout);
            }
            State::Connecting => {
                self.counters[Timeout::Connect] += 1;
                self.abort(id);
            }
            State::Closing => {
                let conn = &mut self.conns[id];
                if conn.ending == Ending::Open {
                    conn.ending = Ending::AfterFlush;
                    self.arm_session(id, LINGER);
                    self.list_egress(id);
                } else {
                    self.abort(id);
                }
            }
        }
    }

    /// A connection is about to be forgotten.
    pub(crate) fn load_client_ended(&mut self, id: ConnId) {
        let Role::LoadClient(client) = &self.conns[id].role else {
            return;
        };
        let now = self.now;
        match client.state {
            State::Closing => {}
            State::Connecting => {
                let Some(clients) = &mut self.load.clients else {
                    return;
                };
                clients.connecting -= 1;
                clients.begin_short();
                if clients.running {
                    clients.replace_later(now);
                    self.counters[Counter::ConnectFailures] += 1;
                    self.exchanges += 1;
                    self.finish(id, Outcome::Failed(Failure::Connect));
                }
            }
            State::Idle => self.leave_client(id, true),
            State::Response => {
                self.finish(id, Outcome::Failed(Failure::Closed));
                self.leave_client(id, true);
            }
        }
    }

    /// The end of the load: no further request begins, no further connection is opened. Exchanges under
    /// way may end.
    pub fn stop_load(&mut self) {
        let now_us = self.now_us;
        if let Some(clients) = &mut self.load.clients {
            clients.running = false;
            if let Some(schedule) = &mut clients.schedule
                && !schedule.is_over(now_us)
            {
                schedule.stop(now_us);
            }
        }
    }

    /// Closes a connection that has nothing to do.
    pub(crate) fn drain_load_client(&mut self, id: ConnId) {
        let Role::LoadClient(client) = &self.conns[id].role else {
            return;
        };
        match client.state {
            State::Connecting => self.abort(id),
            State::Idle => {
                self.leave_client(id, false);
                self.conns[id].ending = Ending::AfterFlush;
                self.list_egress(id);
            }
            State::Response | State::Closing => {}
        }
    }

    /// How far the client is.
    pub fn load_status(&self) -> LoadStatus {
        let Some(clients) = &self.load.clients else {
            return LoadStatus::default();
        };
        let schedule = clients.schedule.as_ref();
        LoadStatus {
            open: clients.open,
            connecting: clients.connecting,
            sockets: clients.sockets,
            begun: schedule.map_or(0, Schedule::begun),
            missed: schedule.map_or(0, |schedule| schedule.missed(self.now_us)),
            in_flight: self.exchanges,
            start_us: schedule.map(|_| clients.start_us),
            over: !clients.running
                || schedule.is_some_and(|schedule| schedule.is_over(self.now_us)),
        }
    }

    /// What came of the exchanges that have finished since this was last emptied, for the owner to read
    /// and to clear after each turn.
    pub fn samples_mut(&mut self) -> &mut Vec<Sample> {
        &mut self.load.samples
    }
}

impl<F> Clients<F> {
    /// Frames kept for whatever is sent next.
    pub fn frames(&self) -> usize {
        usize::from(self.request.is_some())
    }
}

fn is_idle(conns: &mut crate::conn::ConnTable, reference: ConnRef) -> bool {
    conns.resolve(reference).is_some_and(|conn| {
        matches!(
            conn.role,
            Role::LoadClient(LoadClient {
                state: State::Idle,
                ..
            })
        ) && conn.recv.available() == 0
            && conn.ending == Ending::Open
    })
}
