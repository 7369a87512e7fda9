//! An exchange: one request to an endpoint, and its response back.

use std::net::SocketAddr;

use super::client::Step;
use super::pending::Ticket;
use super::plan::Plan;
use super::pump::Pumped;
use super::response::{BodyStep, HeadStep};
use super::saved::SavedId;
use super::{Client, ClientState, Phase, Role};
use crate::conn::{ConnRef, Ending};
use crate::counters::{Counter, LocalReply};
use crate::flow_table::ConnId;
use crate::http1::{BodyFraming, ChunkedDecoder, HeadScan, MessageKind, Version};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::settings::ClusterId;
use crate::worker::Worker;
use smoltcp::socket::tcp;

/// A body that is under way.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// All of it has gone over, or there is none.
    Done,
    /// So many bytes are still to come.
    Length {
        /// Bytes.
        left: u64,
    },
    /// Chunks.
    Chunked {
        /// Where in them we are.
        decoder: ChunkedDecoder,
    },
    /// Everything until the sender closes.
    UntilClose,
    /// Another protocol's bytes, until both sides have closed.
    Tunnel,
}

impl From<BodyFraming> for Body {
    fn from(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None | BodyFraming::Length(0) => Self::Done,
            BodyFraming::Length(left) => Self::Length { left },
            BodyFraming::Chunked => Self::Chunked {
                decoder: ChunkedDecoder::new(),
            },
            BodyFraming::UntilClose => Self::UntilClose,
        }
    }
}

/// How far the response is.
#[derive(Clone, Copy, Debug)]
pub enum ReplyState {
    /// Its head is awaited.
    Head {
        /// How far it was looked at.
        scan: HeadScan,
    },
    /// Its body is under way.
    Body {
        /// The body as the endpoint sends it.
        body: Body,
        /// The client gets the data without the chunks around it.
        dechunk: bool,
    },
    /// All of it is queued for the client.
    Done,
}

/// One request and its response.
#[derive(Debug)]
pub struct Exchange {
    /// Where it goes.
    pub cluster: ClusterId,
    /// The connection to the endpoint.
    pub upstream: Option<ConnRef>,
    /// Its place among those that wait for a connection.
    pub pending: Option<Ticket>,
    /// What of the request's body is to come.
    pub request: Body,
    /// How far the response is.
    pub response: ReplyState,
    /// The client's connection stays open after the response.
    pub client_persists: bool,
    /// The endpoint's connection stays open after the response.
    pub upstream_persists: bool,
    /// The client's version.
    pub version: Version,
    /// The request is HEAD: its response has no body.
    pub head_only: bool,
    /// The request may be sent again.
    pub repeatable: bool,
    /// The request asked to switch protocols, and may.
    pub upgrade: bool,
    /// Its head, for sending it again.
    pub saved: Option<SavedId>,
    /// Connections that were tried.
    pub attempts: u16,
    /// Any byte of the response has come.
    pub answered: bool,
    /// The response's status.
    pub status: u16,
    /// Stream offset of the client's send queue where the response began.
    pub sent_from: u64,
    /// When its head was complete, in µs.
    pub started_us: u64,
    /// For the access log: method, target and version as they came.
    pub request_line: Option<SavedId>,
    /// The endpoint, for the access log.
    pub endpoint: Option<SocketAddr>,
}

/// A finished exchange, for an access log.
#[derive(Clone, Debug)]
pub struct AccessEntry {
    /// Who asked.
    pub client: SocketAddr,
    /// Who answered; `None`: the proxy itself, without asking anybody.
    pub upstream: Option<SocketAddr>,
    /// Where the request was routed.
    pub cluster: Option<ClusterId>,
    /// Method, target and version as they came; what stood in their place if the head was malformed,
    /// nothing if it did not come in time.
    pub request: Vec<u8>,
    /// Status of the response; 0 when none was sent.
    pub status: u16,
    /// Bytes put on their way to the client, head and body.
    pub bytes: u64,
    /// From the end of the request's head until the response's last byte was put on its way, in µs.
    pub duration_us: u64,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Carries out a plan for the request whose head is the first `len` bytes the client sent.
    pub(super) fn start_exchange(&mut self, id: ConnId, plan: Plan, len: u64) -> Step {
        self.discard(id, len);
        self.counters[Counter::Requests] += 1;
        match plan {
            Plan::Reply {
                status,
                cause,
                counter,
                version,
                head_only,
                persists,
                request_line,
            } => {
                let persists = persists && self.draining.is_none();
                let sent_from = self.conns[id].send.end();
                self.local_reply(id, status, cause, counter, version, !persists, head_only);
                self.log_reply(id, request_line, status, sent_from);
                if let Role::Client(client) = &mut self.conns[id].role {
                    client.requests = client.requests.saturating_add(1);
                    client.state = ClientState::Head {
                        scan: HeadScan::new(MessageKind::Request),
                    };
                }
                if !persists {
                    self.close_client(id);
                }
                Step::Again
            }
            Plan::Forward(mut exchange) => {
                exchange.sent_from = self.conns[id].send.end();
                let out = std::mem::take(&mut self.proxy.out);
                if let Role::Client(client) = &mut self.conns[id].role {
                    client.requests = client.requests.saturating_add(1);
                    client.state = ClientState::Exchange(exchange);
                    self.exchanges += 1;
                }
                self.send_request(id, &out);
                self.proxy.out = out;
                Step::Again
            }
        }
    }

    /// Runs an exchange as far as it gets.
    pub(super) fn run_exchange(&mut self, id: ConnId) -> Step {
        let Role::Client(client) = &mut self.conns[id].role else {
            return Step::Wait;
        };
        let ClientState::Exchange(exchange) = &mut client.state else {
            return Step::Wait;
        };
        let Some(upstream) = exchange.upstream else {
            return Step::Wait;
        };
        if self.conns.resolve(upstream).is_none() {
            return self.upstream_lost(id);
        }
        let upstream = upstream.id;
        let mut progress = self.pump_request(id, upstream);
        if !self.is_exchange(id) {
            return Step::Again;
        }
        loop {
            let Role::Client(client) = &self.conns[id].role else {
                return Step::Wait;
            };
            let ClientState::Exchange(exchange) = &client.state else {
                return Step::Again;
            };
            match exchange.response {
                ReplyState::Head { .. } => match self.await_response(id, upstream) {
                    HeadStep::Wait => break,
                    HeadStep::Again => progress = true,
                    HeadStep::Over => return Step::Again,
                },
                ReplyState::Body { body, dechunk } => {
                    match self.pump_response(id, upstream, body, dechunk) {
                        BodyStep::Wait { moved } => {
                            progress |= moved;
                            break;
                        }
                        BodyStep::Over => return Step::Again,
                        BodyStep::Complete => {
                            if let Some(exchange) = self.exchange_mut(id) {
                                exchange.response = ReplyState::Done;
                            }
                        }
                    }
                }
                ReplyState::Done => return self.finish_exchange(id),
            }
        }
        self.watch(id, upstream, progress);
        Step::Wait
    }

    /// Arms the timer for what the exchange waits for.
    fn watch(&mut self, id: ConnId, upstream: ConnId, progress: bool) {
        let established = !matches!(
            self.conns[upstream].socket().state(),
            tcp::State::SynSent | tcp::State::SynReceived
        );
        let Some(exchange) = self.exchange_mut(id) else {
            return;
        };
        let sent_all = matches!(exchange.request, Body::Done);
        let phase = match (&exchange.request, &exchange.response) {
            _ if !established => Phase::Connect,
            (_, ReplyState::Body { .. }) => Phase::Stream,
            (Body::Done, _) => Phase::Response,
            _ => Phase::Request,
        };
        if sent_all {
            self.conns[id].ack_with_next(self.now);
        }
        self.set_phase(id, phase, progress);
    }

    /// Moves the request's body on. True when something moved.
    fn pump_request(&mut self, id: ConnId, upstream: ConnId) -> bool {
        let Some(exchange) = self.exchange_mut(id) else {
            return false;
        };
        let mut body = exchange.request;
        if matches!(body, Body::Done) {
            return false;
        }
        if self.conns[upstream].ending != Ending::Open {
            // The endpoint's connection is closing for what we send: the tunnel's client has ended.
            return false;
        }
        let pumped = self.pump(id, upstream, &mut body, false);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.request = body;
        }
        match pumped {
            Pumped::Complete => true,
            Pumped::Malformed(error) => {
                self.fail(id, error.status(), error.cause(), LocalReply::BadRequest);
                true
            }
            Pumped::More(moved) => {
                if let (Body::Chunked { decoder }, Some(most)) =
                    (&body, self.settings.limits.max_request_body)
                    && decoder.data_total() > most
                {
                    self.fail(id, 413, "body too large", LocalReply::BodyTooLarge);
                    return true;
                }
                if self.conns[id].peer_finished() {
                    if matches!(body, Body::Tunnel) {
                        self.half_close(id, upstream);
                    } else {
                        // The rest of the request will never come.
                        self.end_exchange(id);
                        self.abort(id);
                    }
                }
                moved > 0
            }
        }
    }

    /// Passes a tunnel's FIN on.
    fn half_close(&mut self, from: ConnId, to: ConnId) {
        let conn = &mut self.conns[to];
        if conn.ending == Ending::Open {
            conn.ending = Ending::AfterFlush;
            self.list_egress(to);
        }
        let done = |conn: &crate::conn::Conn| conn.ending != Ending::Open;
        if done(&self.conns[from])
            && done(&self.conns[to])
            && let Some(exchange) = self.exchange_mut(from)
        {
            exchange.request = Body::Done;
        }
    }

    pub(super) fn exchange_mut(&mut self, id: ConnId) -> Option<&mut Exchange> {
        match &mut self.conns[id].role {
            Role::Client(Client {
                state: ClientState::Exchange(exchange),
                ..
            }) => Some(exchange),
            _ => None,
        }
    }

    fn is_exchange(&mut self, id: ConnId) -> bool {
        self.exchange_mut(id).is_some()
    }
}
