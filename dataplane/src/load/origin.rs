//! The origin: every request is read to its end, and answered with as many bytes as its path asks for.

use super::incoming::Wrong;
use super::outgoing::Outgoing;
use super::reply::{Answer, CONTINUE};
use super::request::{Asked, RequestReader};
use crate::conn::Ending;
use crate::counters::{Counter, Responses, Timeout};
use crate::flow_table::ConnId;
use crate::http1::Version;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::proxy::Role;
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
    /// A request is awaited, or comes.
    Request { reader: RequestReader },
    /// Its answer is due.
    Answer { asked: Asked, answer: Answer },
    /// The answer's body is queued as there is room.
    Response { out: Outgoing, close: bool },
    /// Our side is closed; what still comes is thrown away.
    Lingering,
}

impl State {
    fn request() -> Self {
        Self::Request {
            reader: RequestReader::new(),
        }
    }
}

impl LoadOrigin {
    pub(crate) fn new() -> Self {
        Self {
            state: State::request(),
            established: false,
        }
    }

    /// Whether it has said all it had to say.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self.state, State::Lingering)
    }

    /// Whether it waits for a request.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(&self.state, State::Request { reader } if reader.asked().is_none())
    }
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Runs an origin's session until it waits for something.
    pub(crate) fn run_load_origin(&mut self, id: ConnId) {
        let state = self.conns[id].socket().state();
        if self.leaves_half_open(id)
            && state != tcp::State::Closed
            && let Role::LoadOrigin(origin) = &mut self.conns[id].role
        {
            origin.established = true;
            self.clients += 1;
            self.counters[Counter::Accepted] += 1;
        }
        if state == tcp::State::Closed {
            self.list_egress(id);
            return;
        }
        let lingers = matches!(&self.conns[id].role, Role::LoadOrigin(origin) if matches!(origin.state, State::Lingering));
        if !lingers && !self.conns[id].half_open {
            // Whatever it was that came: the connection is alive.
            self.arm_session(id, self.settings.timeouts.idle);
        }
        while let Role::LoadOrigin(LoadOrigin { state, .. }) = &self.conns[id].role {
            let before = *state;
            let Some(after) = self.origin_step(id, before) else {
                break;
            };
            self.set_origin(id, after);
        }
    }

    fn set_origin(&mut self, id: ConnId, state: State) {
        if let Role::LoadOrigin(origin) = &mut self.conns[id].role {
            origin.state = state;
        }
    }

    /// The next state; `None` when it waits for something.
    fn origin_step(&mut self, id: ConnId, state: State) -> Option<State> {
        match state {
            State::Request { reader } => self.await_load_request(id, reader),
            State::Answer { asked, answer } => self.answer(id, asked, answer),
            State::Response { mut out, close } => {
                self.push_body(id, &mut out);
                if !out.is_done() {
                    self.set_origin(id, State::Response { out, close });
                    return None;
                }
                Some(if close {
                    self.close_origin(id)
                } else {
                    State::request()
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

    fn await_load_request(&mut self, id: ConnId, mut reader: RequestReader) -> Option<State> {
        // A client that sends requests without taking in answers waits.
        let limit = u64::from(self.settings.limits.session_buffer);
        if self.conns[id].send.outstanding() >= limit {
            return None;
        }
        let knew = reader.asked().is_some();
        if let Err(wrong) = self.read_message(id, &mut reader, |load| &mut load.requests, false) {
            self.counters[Counter::Requests] += u64::from(!knew);
            return Some(refused(wrong));
        }
        let Some(&asked) = reader.asked() else {
            let conn = &self.conns[id];
            let any = conn.recv.available() > 0;
            if conn.peer_finished() || (!any && self.draining.is_some()) {
                return Some(self.close_origin(id));
            }
            if conn.peer_closed() {
                // A head that will never be whole.
                self.abort(id);
            }
            self.set_origin(id, State::Request { reader });
            return None;
        };
        self.counters[Counter::Requests] += u64::from(!knew);
        if reader.is_done() {
            let answer = Answer::to(&asked, self.draining.is_some());
            return Some(State::Answer { asked, answer });
        }
        if !knew && asked.expects_continue {
            let _ = self.push_bytes(id, CONTINUE);
        }
        if self.conns[id].peer_finished() {
            self.abort(id);
        }
        self.set_origin(id, State::Request { reader });
        None
    }

    /// Queues the head of the answer, with the first part of its body.
    fn answer(&mut self, id: ConnId, asked: Asked, answer: Answer) -> Option<State> {
        let date = self.proxy.date.text();
        let replies = &mut self.load.replies;
        let Some((frame, len, inline)) = replies.get(&mut self.pool, &asked, answer, date) else {
            self.list_starved(id);
            self.set_origin(id, State::Answer { asked, answer });
            return None;
        };
        self.conns[id].send.push(&mut self.arena, frame, 0, len);
        self.list_egress(id);
        self.counters[Responses::of(answer.status)] += 1;
        Some(State::Response {
            out: Outgoing {
                offset: u64::from(inline),
                end: answer.sent,
            },
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

/// The answer to what is no request.
fn refused(wrong: Wrong) -> State {
    let status = match wrong {
        Wrong::Malformed(super::Malformed::Head(error)) => error.status(),
        Wrong::Malformed(super::Malformed::Chunk(error)) => error.status(),
        Wrong::Corrupt => 400,
    };
    State::Answer {
        asked: Asked {
            length: None,
            head_only: false,
            keep_alive: false,
            expects_continue: false,
            version: Version::Http11,
        },
        answer: Answer {
            status,
            length: 0,
            sent: 0,
            close: true,
        },
    }
}
