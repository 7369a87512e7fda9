//! The client: its connections, one request at a time on each, and what came of them.

use std::collections::VecDeque;

use super::outgoing::Outgoing;
use super::plan::LoadPlan;
use super::sample::{Failure, Outcome, Sample};
use super::shared::Shared;
use crate::conn::{ConnRef, Ending};
use crate::counters::{Counter, Responses, Timeout};
use crate::flow_table::ConnId;
use crate::http1::framing::{is_persistent, response_framing};
use crate::http1::{BodyFraming, HeadScan, MessageKind, Method, ResponseKind};
use crate::mover::Mover;
use crate::port::{Frame, FrameClass, FramePool, Port};
use crate::proxy::{Body, Role};
use crate::worker::Worker;
use smoltcp::socket::tcp;

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
    /// The status of the response, once its head has come; and bytes of its body so far.
    status: u16,
    received: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The handshake is under way.
    Connecting,
    /// There is no request.
    Idle,
    /// The head of the response is awaited.
    Head { scan: HeadScan },
    /// Its body comes.
    Body { body: Body, persists: bool },
    /// Nothing more is wanted from it; it ends when the peer closes, or by a timer.
    Closing,
}

impl State {
    fn head() -> Self {
        Self::Head {
            scan: HeadScan::new(MessageKind::Response),
        }
    }
}

impl LoadClient {
    pub(super) fn new(now_us: u64) -> Self {
        Self {
            state: State::Connecting,
            due_us: now_us,
            started_us: now_us,
            out: Outgoing { offset: 0, end: 0 },
            status: 0,
            received: 0,
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
    begun_us: u64,
    /// Requests begun.
    begun: u64,
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
    pub fn new(plan: LoadPlan, now_us: u64) -> Self {
        Self {
            unopened: plan.connections,
            ready: VecDeque::with_capacity(plan.connections as usize),
            plan,
            request: None,
            running: true,
            begun_us: now_us,
            begun: 0,
            retries: VecDeque::new(),
            connecting: 0,
            open: 0,
            sockets: 0,
            next_source: 0,
        }
    }

    /// When the next request should begin, if that is now or before. It then counts as begun.
    fn next_due(&mut self, now_us: u64) -> Option<u64> {
        if !self.running || self.plan.requests.is_some_and(|most| self.begun >= most) {
            return None;
        }
        let due = match self.plan.qps {
            None => now_us,
            Some(qps) => self.begun_us + (self.begun as f64 * 1e6 / qps) as u64,
        };
        (due <= now_us).then(|| {
            self.begun += 1;
            due
        })
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
    /// Exchanges under way.
    pub in_flight: u32,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// The client's part of a turn: connections that are wanted, requests that are due.
    pub(crate) fn run_load(&mut self) -> bool {
        let Some(clients) = &self.load.clients else {
            return false;
        };
        if !clients.running {
            return false;
        }
        let mut busy = self.open_load_connections();
        while let Some((id, due)) = self.next_request() {
            busy = true;
            self.begin_request(id, due);
        }
        busy
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
                State::Head { scan } => self.await_load_response(id, scan),
                State::Body { body, persists } => self.await_load_body(id, body, persists),
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
            offset: u64::from(len) - clients.plan.head.len() as u64,
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
        if let Some(client) = self.client_mut(id) {
            *client = LoadClient {
                state: State::head(),
                due_us,
                started_us,
                out,
                status: 0,
                received: 0,
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
        let plan = &clients.plan;
        let whole = plan.body.saturating_add(plan.head.len() as u64);
        let class = if whole <= 2048 {
            FrameClass::Small
        } else {
            FrameClass::Large
        };
        if clients.request.is_none() {
            let mut frame = self.pool.alloc(class)?;
            let len = whole.min(frame.capacity() as u64) as usize;
            let room = frame.room_mut()?;
            room[..plan.head.len()].copy_from_slice(&plan.head);
            self.load
                .pattern
                .table
                .fill(0, &mut room[plan.head.len()..len]);
            frame.set_len(len);
            clients.request = Some((Shared::new(frame), len as u32));
        }
        let (shared, len) = clients.request.as_mut()?;
        Some((shared.share(&mut self.pool, class)?, *len))
    }

    fn await_load_response(&mut self, id: ConnId, mut scan: HeadScan) -> bool {
        self.send_body(id);
        let head_only = self
            .load
            .clients
            .as_ref()
            .is_some_and(|clients| clients.plan.head_only);
        let limits = self.proxy.limits;
        let mut gather = std::mem::take(&mut self.proxy.gather);
        let conn = &self.conns[id];
        let bytes = conn
            .recv
            .contiguous(&self.arena, &mut gather, limits.max_head as usize + 2);
        let found = match scan.find_end(bytes, &limits) {
            Ok(None) => Ok(None),
            Err(error) => Err(error),
            Ok(Some(range)) => {
                let len = range.end as u64;
                let head = &mut self.proxy.head;
                head.parse_response(&bytes[range], &limits)
                    .and_then(|line| {
                        let method = if head_only { Method::Head } else { Method::Get };
                        let kind = response_framing(head, line, method, false)?;
                        let persists = is_persistent(line.version, head.connection());
                        Ok(Some((len, line.status, kind, persists)))
                    })
            }
        };
        self.proxy.gather = gather;
        match found {
            Ok(None) if !self.conns[id].peer_closed() => {
                if let Some(client) = self.client_mut(id) {
                    client.state = State::Head { scan };
                }
                false
            }
            Ok(None) => self.fail_client(id, Failure::Closed),
            Err(_) => self.fail_client(id, Failure::Malformed),
            Ok(Some((len, status, kind, persists))) => {
                self.discard(id, len);
                let keeps = self
                    .load
                    .clients
                    .as_ref()
                    .is_some_and(|c| c.plan.keep_alive);
                if let Some(client) = self.client_mut(id) {
                    match kind {
                        ResponseKind::Final { body } => {
                            client.status = status;
                            client.state = State::Body {
                                body: body.into(),
                                persists: keeps
                                    && persists
                                    && body != BodyFraming::UntilClose
                                    && client.out.is_done(),
                            };
                        }
                        ResponseKind::Interim | ResponseKind::Tunnel => {
                            client.state = State::head();
                        }
                    }
                }
                true
            }
        }
    }

    fn await_load_body(&mut self, id: ConnId, mut body: Body, persists: bool) -> bool {
        let (had, status) = match &self.conns[id].role {
            Role::LoadClient(client) => (client.received, client.status),
            _ => return false,
        };
        let verify = status == 200 && self.load.clients.as_ref().is_some_and(|c| c.plan.verify);
        let Ok(data) = self.take_body(id, &mut body, had, verify) else {
            return self.fail_client(id, Failure::Malformed);
        };
        let received = had + data;
        if let Some(client) = self.client_mut(id) {
            client.received = received;
            client.state = State::Body { body, persists };
        }
        if matches!(body, Body::Done) {
            self.counters[Responses::of(status)] += 1;
            self.finish(id, Outcome::Status(status));
            if persists {
                return self.rest(id);
            }
            self.leave_client(id, false);
            return true;
        }
        if self.conns[id].peer_finished() {
            return self.fail_client(id, Failure::Closed);
        }
        false
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
            body_bytes: client.received,
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
            State::Head { .. } | State::Body { .. } => {
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
                if clients.running {
                    clients.replace_later(now);
                    self.counters[Counter::ConnectFailures] += 1;
                    self.exchanges += 1;
                    self.finish(id, Outcome::Failed(Failure::Connect));
                }
            }
            State::Idle => self.leave_client(id, true),
            State::Head { .. } | State::Body { .. } => {
                self.finish(id, Outcome::Failed(Failure::Closed));
                self.leave_client(id, true);
            }
        }
    }

    /// The end of the load: no further request begins, no further connection is opened. Exchanges under
    /// way may end.
    pub fn stop_load(&mut self) {
        if let Some(clients) = &mut self.load.clients {
            clients.running = false;
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
            State::Head { .. } | State::Body { .. } | State::Closing => {}
        }
    }

    /// How far the client is.
    pub fn load_status(&self) -> LoadStatus {
        let Some(clients) = &self.load.clients else {
            return LoadStatus::default();
        };
        LoadStatus {
            open: clients.open,
            connecting: clients.connecting,
            sockets: clients.sockets,
            begun: clients.begun,
            in_flight: self.exchanges,
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
