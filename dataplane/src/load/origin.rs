//! The origin: every request is read to its end, and answered with as many bytes as its path asks for.

use super::outgoing::Outgoing;
use super::replies::Answer;
use super::target::body_size;
use crate::conn::Ending;
use crate::counters::{Counter, Responses, Timeout};
use crate::flow_table::ConnId;
use crate::http1::framing::{is_persistent, request_framing};
use crate::http1::{Head, HeadError, HeadLimits, HeadScan, MessageKind, Method, Target};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::proxy::{Body, Role};
use crate::worker::Worker;
use smoltcp::socket::tcp;

/// How long a connection that we have closed may take to end, in ms.
const LINGER: u32 = 10_000;

/// The session of a connection to the origin.
#[derive(Debug)]
pub struct LoadOrigin {
    state: State,
    /// The handshake is complete.
    pub(crate) established: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A request's head is awaited.
    Head { scan: HeadScan },
    /// Its body comes, and is thrown away.
    Request { body: Body, todo: Todo },
    /// The answer is due.
    Answer { todo: Todo },
    /// The answer's body is queued as there is room.
    Response { out: Outgoing, close: bool },
    /// Our side is closed; what still comes is thrown away.
    Lingering,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
struct Todo {
    answer: Answer,
    head_only: bool,
    /// It waits for 100 (Continue).
    expects: bool,
}

impl LoadOrigin {
    pub(crate) fn new() -> Self {
        Self {
            state: State::head(),
            established: false,
        }
    }

    /// Whether it waits for a request.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }
}

impl State {
    fn head() -> Self {
        Self::Head {
            scan: HeadScan::new(MessageKind::Request),
        }
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Runs an origin's session until it waits for something.
    pub(crate) fn run_load_origin(&mut self, id: ConnId) {
        let state = self.conns[id].socket().state();
        if self.leaves_half_open(id) && state != tcp::State::Closed {
            if let Role::LoadOrigin(origin) = &mut self.conns[id].role {
                origin.established = true;
            }
            self.clients += 1;
            self.counters[Counter::Accepted] += 1;
        }
        if state == tcp::State::Closed {
            self.list_egress(id);
            return;
        }
        // Whatever it was that came: the connection is alive.
        if !self.conns[id].half_open {
            self.arm_session(id, self.settings.timeouts.idle);
        }
        while let Role::LoadOrigin(LoadOrigin { state, .. }) = &self.conns[id].role {
            let before = *state;
            let Some(after) = self.origin_step(id, before) else {
                break;
            };
            if let Role::LoadOrigin(origin) = &mut self.conns[id].role {
                origin.state = after;
            }
        }
    }

    /// The next state; `None` when it waits for something.
    fn origin_step(&mut self, id: ConnId, state: State) -> Option<State> {
        match state {
            State::Head { scan } => self.await_load_request(id, scan),
            State::Request { mut body, todo } => {
                if self.take_body(id, &mut body, 0, false).is_err() {
                    return Some(State::Answer { todo: refused() });
                }
                if matches!(body, Body::Done) {
                    return Some(State::Answer { todo });
                }
                if self.conns[id].peer_finished() {
                    self.abort(id);
                } else {
                    self.keep_origin(id, State::Request { body, todo });
                }
                None
            }
            State::Answer { todo } => self.answer(id, todo),
            State::Response { mut out, close } => {
                self.push_body(id, &mut out);
                if !out.is_done() {
                    self.keep_origin(id, State::Response { out, close });
                    return None;
                }
                Some(if close {
                    self.close_origin(id)
                } else {
                    State::head()
                })
            }
            State::Lingering => {
                let n = self.conns[id].recv.available();
                if n > 0 {
                    self.discard(id, n);
                }
                None
            }
        }
    }

    fn keep_origin(&mut self, id: ConnId, state: State) {
        if let Role::LoadOrigin(origin) = &mut self.conns[id].role {
            origin.state = state;
        }
    }

    fn await_load_request(&mut self, id: ConnId, mut scan: HeadScan) -> Option<State> {
        let conn = &self.conns[id];
        // A client that sends requests without taking in answers waits.
        if conn.send.outstanding() >= u64::from(self.settings.limits.session_buffer) {
            return None;
        }
        let limits = self.proxy.limits;
        let mut gather = std::mem::take(&mut self.proxy.gather);
        let bytes = conn
            .recv
            .contiguous(&self.arena, &mut gather, limits.max_head as usize + 2);
        let any = !bytes.is_empty();
        let read = match scan.find_end(bytes, &limits) {
            Ok(Some(range)) => {
                let end = range.end as u64;
                read(&mut self.proxy.head, &bytes[range], &limits).map(|read| Some((read, end)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.proxy.gather = gather;
        match read {
            Ok(Some(((todo, body), len))) => {
                self.counters[Counter::Requests] += 1;
                self.discard(id, len);
                if matches!(body, Body::Done) {
                    return Some(State::Answer { todo });
                }
                if todo.expects && self.conns[id].recv.available() == 0 {
                    let _ = self.push_bytes(id, b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                Some(State::Request { body, todo })
            }
            Ok(None) => {
                let conn = &self.conns[id];
                if conn.peer_finished() || (!any && self.draining.is_some()) {
                    return Some(self.close_origin(id));
                }
                if conn.peer_closed() {
                    // A head that will never be whole.
                    self.abort(id);
                } else {
                    self.keep_origin(id, State::Head { scan });
                }
                None
            }
            Err(_) => {
                self.counters[Counter::Requests] += 1;
                Some(State::Answer { todo: refused() })
            }
        }
    }

    /// Queues the head of the answer, with the first part of its body.
    fn answer(&mut self, id: ConnId, todo: Todo) -> Option<State> {
        let Todo {
            mut answer,
            head_only,
            ..
        } = todo;
        answer.close |= self.draining.is_some();
        let got = self.load.replies.get(
            &mut self.pool,
            &self.load.pattern.table,
            answer,
            self.proxy.date.text(),
        );
        let Some((frame, head, inline)) = got else {
            self.list_starved(id);
            self.keep_origin(id, State::Answer { todo });
            return None;
        };
        let (len, out) = if head_only {
            (head, Outgoing { offset: 0, end: 0 })
        } else {
            let out = Outgoing {
                offset: u64::from(inline),
                end: answer.size,
            };
            (head + inline, out)
        };
        self.conns[id].send.push(&mut self.arena, frame, 0, len);
        self.list_egress(id);
        self.counters[Responses::of(answer.status)] += 1;
        Some(State::Response {
            out,
            close: answer.close,
        })
    }

    fn close_origin(&mut self, id: ConnId) -> State {
        let conn = &mut self.conns[id];
        if conn.ending == Ending::Open {
            conn.ending = Ending::AfterFlush;
        }
        self.arm_session(id, LINGER);
        self.list_egress(id);
        State::Lingering
    }

    /// Nothing has come from a client for too long.
    pub(crate) fn load_origin_expired(&mut self, id: ConnId) {
        self.counters[Timeout::Idle] += 1;
        self.abort(id);
    }
}

/// What a request asks for, and the body that it has.
fn read(head: &mut Head, bytes: &[u8], limits: &HeadLimits) -> Result<(Todo, Body), HeadError> {
    let line = head.parse_request(bytes, limits)?;
    let target = match line.target {
        Target::Origin { path } | Target::Absolute { path, .. } => path.of(bytes),
        Target::Asterisk => b"*",
    };
    let size = body_size(target);
    let answer = Answer {
        status: if size.is_some() { 200 } else { 404 },
        size: size.unwrap_or(0),
        close: !is_persistent(line.version, head.connection()),
    };
    let todo = Todo {
        answer,
        head_only: line.method == Method::Head,
        expects: head.expects_continue(),
    };
    Ok((todo, request_framing(head).into()))
}

/// The answer to what is no request.
fn refused() -> Todo {
    Todo {
        answer: Answer {
            status: 400,
            size: 0,
            close: true,
        },
        head_only: false,
        expects: false,
    }
}
