//! A client connection: waiting for a request, carrying an exchange, or at its end.

use super::exchange::Exchange;
use super::outcome::first_line;
use super::saved::SavedId;
use super::{Body, ReplyState, Role};
use crate::conn::Ending;
use crate::counters::{Counter, Drop, LocalReply, Responses, Stage};
use crate::flow_table::ConnId;
use crate::http1::{HeadError, HeadScan, MessageKind, Reply, Version};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::settings::ListenerId;
use crate::worker::Worker;
use smoltcp::socket::tcp;

/// The session of a client connection.
#[derive(Debug)]
pub struct Client {
    /// Stream offset up to which the client had acknowledged when that was last looked at: while
    /// a closing connection gets on it is left alone.
    pub acked: u64,
    /// Where it came in.
    pub listener: ListenerId,
    /// What it is doing.
    pub state: ClientState,
    /// What its timer waits for.
    pub phase: Phase,
    /// Requests so far.
    pub requests: u32,
    /// The handshake is complete.
    pub established: bool,
}

/// What a client connection is doing.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation for each request; the size is bounded by a test"
)]
pub enum ClientState {
    /// Waiting for a request head, of which `scan` has seen a part.
    Head {
        /// How far it was looked at.
        scan: HeadScan,
    },
    /// A request is being answered.
    Exchange(Exchange),
    /// Our side is closed (or will be when its last byte is sent). What the client still sends is
    /// thrown away, so that it reads our last words before it sees a reset (RFC 9112 section 9.6).
    Lingering,
}

/// What the timer of a client connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client's handshake.
    Handshake,
    /// The first byte of the next request.
    Idle,
    /// The rest of a request head.
    Head,
    /// Another exchange's end, to use its connection.
    Pending,
    /// A connection to an endpoint.
    Connect,
    /// More of the request's body, and room for it at the endpoint.
    Request,
    /// The response's head.
    Response,
    /// More of the response's body, and room for it at the client.
    Stream,
    /// The client's FIN.
    Linger,
}

impl Client {
    /// A connection whose first request is awaited.
    pub fn new(listener: ListenerId) -> Self {
        Self {
            acked: 0,
            listener,
            state: ClientState::Head {
                scan: HeadScan::new(MessageKind::Request),
            },
            phase: Phase::Handshake,
            requests: 0,
            established: false,
        }
    }
}

/// What a step of a session came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Something changed: look again.
    Again,
    /// Nothing more to do until something arrives.
    Wait,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Runs the sessions that changed in this turn.
    pub(crate) fn run_sessions(&mut self) {
        // Even when the pool is low: what these sessions hold is what makes it low, and the reserve
        // is there so that it can get out.
        if !self.starved.is_empty() {
            let mut starved = std::mem::take(&mut self.starved);
            for id in starved.drain(..) {
                self.conns[id].starved = false;
                self.list_session(id);
            }
            self.starved = starved;
        }
        if self.sessions.is_empty() {
            return;
        }
        self.found();
        let spare = std::mem::take(&mut self.spare);
        let mut listed = std::mem::replace(&mut self.sessions, spare);
        self.look_ahead_of_sessions(&listed);
        for &id in &listed {
            self.conns[id].session_listed = false;
            self.run_session(id);
        }
        // Sessions that were listed meanwhile run in the next turn.
        listed.clear();
        self.spare = listed;
        self.close(Stage::Http);
    }

    fn run_session(&mut self, id: ConnId) {
        match &self.conns[id].role {
            Role::Free => {}
            Role::Client(_) => self.run_client(id),
            Role::Upstream(upstream) => match upstream.client {
                Some(client) => {
                    if self.conns.resolve(client).is_some() {
                        self.run_client(client.id);
                    }
                }
                None => self.run_idle_upstream(id),
            },
            Role::LoadClient(_) => self.run_load_client(id),
            Role::LoadOrigin(_) => self.run_load_origin(id),
        }
    }

    /// Runs a client's session until it waits for something.
    pub(super) fn run_client(&mut self, id: ConnId) {
        if self.leaves_half_open(id)
            && self.conns[id].socket().state() != tcp::State::Closed
            && let Role::Client(client) = &mut self.conns[id].role
        {
            client.established = true;
            self.clients += 1;
            self.counters[Counter::Accepted] += 1;
        }
        loop {
            let conn = &self.conns[id];
            if conn.socket().state() == tcp::State::Closed {
                // Reset by the peer, or all over: the connection is ended when it is next asked
                // for something to send.
                self.list_egress(id);
                return;
            }
            let Role::Client(client) = &conn.role else {
                return;
            };
            let step = match client.state {
                ClientState::Head { .. } => self.await_head(id),
                ClientState::Exchange(_) => self.run_exchange(id),
                ClientState::Lingering => {
                    let n = conn.recv.available();
                    let acked = conn.send.acked();
                    let progress = acked > client.acked;
                    if progress {
                        if let Role::Client(client) = &mut self.conns[id].role {
                            client.acked = acked;
                        }
                        self.set_phase(id, Phase::Linger, true);
                    }
                    if n > 0 {
                        self.discard(id, n);
                    }
                    Step::Wait
                }
            };
            if step == Step::Wait {
                break;
            }
        }
    }

    /// Looks whether a whole request head has come.
    fn await_head(&mut self, id: ConnId) -> Step {
        let conn = &mut self.conns[id];
        let Role::Client(client) = &mut conn.role else {
            return Step::Wait;
        };
        let ClientState::Head { scan } = &mut client.state else {
            return Step::Wait;
        };
        let mut gather = std::mem::take(&mut self.proxy.gather);
        let limits = self.proxy.limits;
        let most = limits.max_head as usize + 2;
        let look = |bytes: &[u8]| scan.find_end(bytes, &limits).transpose();
        let (bytes, found) = conn.recv.search(&self.arena, &mut gather, most, look);
        let step = match found.transpose() {
            Ok(Some(range)) => {
                let skip = range.start;
                let end = range.end;
                let parsed = self.proxy.head.parse_request(&bytes[range], &limits);
                match parsed {
                    Ok(line) => {
                        let plan = self.proxy.plan(
                            &self.settings,
                            client,
                            &bytes[skip..end],
                            line,
                            conn.key.map(|key| key.remote()),
                            self.now_us,
                        );
                        Ok(Some((plan, end)))
                    }
                    Err(error) => Err(error),
                }
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let refused_line = (step.is_err() && self.settings.access_log)
            .then(|| self.proxy.saved.keep(first_line(bytes)));
        let any = !bytes.is_empty();
        self.proxy.gather = gather;
        match step {
            Ok(Some((plan, len))) => self.start_exchange(id, plan, len as u64),
            Ok(None) => {
                if self.conns[id].peer_finished() || (!any && self.draining.is_some()) {
                    self.close_client(id);
                } else if self.conns[id].recv.available() > 0 && self.conns[id].peer_closed() {
                    // A head that will never be whole.
                    self.abort(id);
                } else {
                    self.set_phase(
                        id,
                        if any {
                            Phase::Head
                        } else {
                            self.idle_phase(id)
                        },
                        false,
                    );
                }
                Step::Wait
            }
            Err(error) => {
                self.counters[Counter::Requests] += 1;
                let (status, cause) = (error.status(), error.cause());
                self.reply_and_close(id, status, cause, cause_of(error), refused_line);
                Step::Again
            }
        }
    }

    fn idle_phase(&self, id: ConnId) -> Phase {
        match &self.conns[id].role {
            Role::Client(client) if !client.established => Phase::Handshake,
            Role::Client(client) if client.requests == 0 => Phase::Head,
            _ => Phase::Idle,
        }
    }

    /// Answers with a small reply of the proxy's own and closes. `request_line` is for the access log.
    pub(super) fn reply_and_close(
        &mut self,
        id: ConnId,
        status: u16,
        cause: &str,
        counter: LocalReply,
        request_line: Option<SavedId>,
    ) {
        let sent_from = self.conns[id].send.end();
        self.local_reply(id, status, cause, counter, Version::Http11, true, false);
        self.log_reply(id, request_line, status, sent_from);
        self.close_client(id);
    }

    /// Queues a small reply of the proxy's own.
    #[expect(clippy::too_many_arguments, reason = "they are the reply's own fields")]
    pub(super) fn local_reply(
        &mut self,
        id: ConnId,
        status: u16,
        cause: &str,
        counter: LocalReply,
        client_version: Version,
        close: bool,
        head_only: bool,
    ) {
        self.counters[counter] += 1;
        self.counters[Responses::of(status)] += 1;
        let mut out = std::mem::take(&mut self.proxy.out);
        out.clear();
        Reply {
            status,
            cause,
            client_version,
            close,
            head_only,
            date: self.proxy.date.text(),
        }
        .write(&mut out);
        // Many at once, a time-out's, must not take the frames that the answers to them are received into.
        let queued = !self.is_short_of_frames() && self.push_bytes(id, &out);
        self.proxy.out = out;
        if !queued {
            self.counters[Drop::NoFrame] += 1;
            self.abort(id);
        }
    }

    /// Closes our side of a client connection behind the last queued byte.
    pub(super) fn close_client(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        if conn.ending == Ending::Open {
            conn.ending = Ending::AfterFlush;
        }
        if let Role::Client(client) = &mut conn.role {
            client.state = ClientState::Lingering;
        }
        self.set_phase(id, Phase::Linger, true);
        self.list_egress(id);
        self.list_session(id);
    }

    /// Ends a connection with a reset.
    pub(crate) fn abort(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        conn.socket_mut().abort();
        conn.ending = Ending::Closed;
        self.counters[Counter::ResetsSent] += 1;
        self.list_egress(id);
    }

    /// After a response: on to the next request, or to the end.
    pub(super) fn finish_exchange(&mut self, id: ConnId) -> Step {
        let Role::Client(client) = &mut self.conns[id].role else {
            return Step::Wait;
        };
        let next = ClientState::Head {
            scan: HeadScan::new(MessageKind::Request),
        };
        let ClientState::Exchange(exchange) = std::mem::replace(&mut client.state, next) else {
            return Step::Wait;
        };
        self.exchanges -= 1;
        let whole =
            matches!(exchange.request, Body::Done) && matches!(exchange.response, ReplyState::Done);
        self.log_exchange(&exchange, id);
        self.leave_if_waiting(&exchange);
        self.release_upstream(&exchange, whole);
        self.forget_saved(&exchange);
        if whole && exchange.client_persists && self.draining.is_none() {
            self.set_phase(id, Phase::Idle, true);
            Step::Again
        } else {
            self.close_client(id);
            Step::Again
        }
    }
}

/// Which counter a refused head goes to.
fn cause_of(error: HeadError) -> LocalReply {
    match error.status() {
        413 => LocalReply::BodyTooLarge,
        414 => LocalReply::TargetTooLong,
        431 => LocalReply::HeadTooLarge,
        501 => LocalReply::NotImplemented,
        505 => LocalReply::BadVersion,
        _ => LocalReply::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    /// Beside its two sockets, what a session keeps while it is idle.
    #[test]
    fn sessions_are_small() {
        assert!(size_of::<crate::conn::Conn>() + size_of::<crate::proxy::Role>() <= 1024);
    }
}
