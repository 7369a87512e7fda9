//! An exchange: one request to an endpoint, and its response back.

use std::net::SocketAddr;

use super::client::Step;
use super::pump::Pumped;
use super::router::route;
use super::saved::SavedId;
use super::{Client, ClientState, Phase, Proxy, Role};
use crate::conn::{ConnRef, Ending};
use crate::counters::{Counter, LocalReply, Responses};
use crate::flow_table::ConnId;
use crate::http1::framing::{is_persistent, request_framing, response_framing};
use crate::http1::rewrite::{write_request, write_response};
use crate::http1::{
    BodyFraming, ChunkedDecoder, HeadScan, MessageKind, Method, RequestLine, RequestRewrite,
    ResponseKind, ResponseRewrite, Version,
};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::settings::{ClusterId, Settings};
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

/// What is to be done with a request.
pub(super) enum Plan {
    /// Send it on; its new head is in [`Proxy::out`].
    Forward(Exchange),
    /// Answer it here.
    Reply {
        status: u16,
        cause: &'static str,
        counter: LocalReply,
        version: Version,
        head_only: bool,
        /// The connection goes on: the client says so, and no body is on its way.
        persists: bool,
        /// For the access log.
        request_line: Option<SavedId>,
    },
}

impl Proxy {
    /// Decides what to do with the request whose head has just been parsed, and writes the head
    /// that is sent on.
    pub(super) fn plan(
        &mut self,
        settings: &Settings,
        client: &Client,
        head: &[u8],
        line: RequestLine,
        peer: Option<SocketAddr>,
        now_us: u64,
    ) -> Plan {
        let listener = &settings.listeners[usize::from(client.listener.0)];
        let head_only = line.method == Method::Head;
        let framing = request_framing(&self.head);
        let most = settings.limits.max_requests.unwrap_or(u32::MAX);
        let persists =
            is_persistent(line.version, self.head.connection()) && client.requests + 1 < most;
        let request_line = settings
            .access_log
            .then(|| self.saved.keep(first_line(head)));
        let reply = |status, cause, counter| Plan::Reply {
            status,
            cause,
            counter,
            version: line.version,
            head_only,
            persists: persists && matches!(Body::from(framing), Body::Done),
            request_line,
        };
        let parsed = &self.head;
        if parsed.max_forwards() == Some(0) {
            return reply(501, "Max-Forwards reached", LocalReply::NotImplemented);
        }
        let authority = parsed.authority().map_or(&b""[..], |part| part.of(head));
        let Some(cluster) = route(&listener.routes, authority, line.path(head)) else {
            return reply(404, "no route matches", LocalReply::NoRoute);
        };
        let state = &mut self.clusters[usize::from(cluster.0)];
        let endpoint = &state.endpoints[usize::from(state.next)];
        let upgrade = settings.forwarding.upgrade && parsed.upgrade().is_some();
        let Some(peer) = peer else {
            return reply(400, "connection without peer", LocalReply::BadRequest);
        };
        self.out.clear();
        write_request(
            &mut self.out,
            head,
            parsed,
            line,
            &RequestRewrite {
                forwarding: &settings.forwarding,
                client: peer.ip(),
                scheme: listener.scheme,
                default_host: &endpoint.host,
                body: framing,
                upgrade,
            },
        );
        let request = Body::from(framing);
        let bodyless = matches!(request, Body::Done);
        let saved = bodyless.then(|| self.saved.keep(&self.out));
        Plan::Forward(Exchange {
            cluster,
            upstream: None,
            request,
            response: ReplyState::Head {
                scan: HeadScan::new(MessageKind::Response),
            },
            client_persists: persists,
            upstream_persists: true,
            version: line.version,
            head_only,
            repeatable: bodyless && line.method.is_idempotent(),
            upgrade,
            saved,
            attempts: 0,
            answered: false,
            status: 0,
            sent_from: 0,
            started_us: now_us,
            request_line,
            endpoint: None,
        })
    }
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

    /// Looks whether the response's head has come, and sends it on.
    fn await_response(&mut self, id: ConnId, upstream: ConnId) -> HeadStep {
        let settings = self.settings.clone();
        let limits = self.proxy.limits;
        let (client_conn, conn) = self.conns.pair(id, upstream);
        let Role::Client(client) = &mut client_conn.role else {
            return HeadStep::Wait;
        };
        let ClientState::Exchange(exchange) = &mut client.state else {
            return HeadStep::Over;
        };
        let ReplyState::Head { scan } = &mut exchange.response else {
            return HeadStep::Over;
        };
        let mut gather = std::mem::take(&mut self.proxy.gather);
        let bytes = conn
            .recv
            .contiguous(&self.arena, &mut gather, limits.max_head as usize + 2);
        exchange.answered |= !bytes.is_empty();
        let mut out = std::mem::take(&mut self.proxy.out);
        let found = match scan.find_end(bytes, &limits) {
            Ok(None) => Ok(None),
            Err(error) => Err(error),
            Ok(Some(range)) => {
                let end = range.end;
                let head = &bytes[range];
                self.proxy
                    .head
                    .parse_response(head, &limits)
                    .and_then(|line| {
                        let method = if exchange.head_only {
                            Method::Head
                        } else {
                            Method::Get
                        };
                        let parsed = &self.proxy.head;
                        let kind = response_framing(parsed, line, method, exchange.upgrade)?;
                        let (body, dechunk) = match kind {
                            ResponseKind::Final { body } => {
                                let dechunk = body == BodyFraming::Chunked
                                    && exchange.version == Version::Http10;
                                (body, dechunk)
                            }
                            ResponseKind::Interim | ResponseKind::Tunnel => {
                                (BodyFraming::None, false)
                            }
                        };
                        if let ResponseKind::Final { body } = kind {
                            exchange.upstream_persists = body != BodyFraming::UntilClose
                                && is_persistent(line.version, parsed.connection());
                            exchange.client_persists &= body != BodyFraming::UntilClose
                                && !dechunk
                                && matches!(exchange.request, Body::Done)
                                && self.draining.is_none();
                        }
                        out.clear();
                        let skipped =
                            kind == ResponseKind::Interim && exchange.version == Version::Http10;
                        if !skipped {
                            write_response(
                                &mut out,
                                head,
                                parsed,
                                line,
                                &ResponseRewrite {
                                    forwarding: &settings.forwarding,
                                    client_version: exchange.version,
                                    body: if dechunk {
                                        BodyFraming::UntilClose
                                    } else {
                                        body
                                    },
                                    close: !exchange.client_persists,
                                    tunnel: kind == ResponseKind::Tunnel,
                                    date: self.proxy.date.text(),
                                },
                            );
                        }
                        Ok(Some((end, line.status, kind, dechunk)))
                    })
            }
        };
        self.proxy.gather = gather;
        let step = match found {
            Ok(None) => {
                if self.conns[upstream].peer_closed() {
                    let _ = self.upstream_lost(id);
                    HeadStep::Over
                } else {
                    HeadStep::Wait
                }
            }
            Err(error) => {
                self.fail(id, 502, error.cause(), LocalReply::BadResponse);
                HeadStep::Over
            }
            Ok(Some((len, status, kind, dechunk))) => {
                if !out.is_empty() && !self.push_bytes(id, &out) {
                    // Short of frames: the head stays where it is and is looked at again.
                    if let Some(exchange) = self.exchange_mut(id) {
                        exchange.response = ReplyState::Head {
                            scan: HeadScan::new(MessageKind::Response),
                        };
                    }
                    self.list_starved(id);
                    self.proxy.out = out;
                    return HeadStep::Wait;
                }
                self.discard(upstream, len as u64);
                self.counters[Responses::of(status)] += 1;
                self.begin_body(id, status, kind, dechunk);
                HeadStep::Again
            }
        };
        self.proxy.out = out;
        step
    }

    /// The response's head has gone over: what follows it?
    fn begin_body(&mut self, id: ConnId, status: u16, kind: ResponseKind, dechunk: bool) {
        let Some(exchange) = self.exchange_mut(id) else {
            return;
        };
        exchange.status = status;
        exchange.response = match kind {
            ResponseKind::Interim => ReplyState::Head {
                scan: HeadScan::new(MessageKind::Response),
            },
            ResponseKind::Final { body } => ReplyState::Body {
                body: body.into(),
                dechunk,
            },
            ResponseKind::Tunnel => {
                exchange.request = Body::Tunnel;
                exchange.client_persists = false;
                exchange.upstream_persists = false;
                ReplyState::Body {
                    body: Body::Tunnel,
                    dechunk: false,
                }
            }
        };
        let saved = exchange.saved.take();
        if let Some(saved) = saved {
            self.proxy.saved.forget(saved);
        }
    }

    /// Moves the response's body on.
    fn pump_response(
        &mut self,
        id: ConnId,
        upstream: ConnId,
        mut body: Body,
        dechunk: bool,
    ) -> BodyStep {
        let pumped = self.pump(upstream, id, &mut body, dechunk);
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.response = ReplyState::Body { body, dechunk };
        }
        let moved = match pumped {
            Pumped::Complete => return BodyStep::Complete,
            Pumped::Malformed(error) => {
                self.fail(id, 502, error.cause(), LocalReply::BadResponse);
                return BodyStep::Over;
            }
            Pumped::More(moved) => moved,
        };
        let conn = &self.conns[upstream];
        if conn.recv.available() > 0 || !conn.peer_closed() {
            return BodyStep::Wait { moved: moved > 0 };
        }
        let reset = conn.socket().state() == tcp::State::Closed;
        match body {
            Body::UntilClose if !reset => BodyStep::Complete,
            Body::Tunnel if !reset => {
                self.half_close_from_upstream(id, upstream);
                match self.exchange_mut(id).map(|e| e.request) {
                    Some(Body::Done) => BodyStep::Complete,
                    _ => BodyStep::Wait { moved: moved > 0 },
                }
            }
            _ => {
                // The client cannot be told otherwise that its response is not whole.
                self.counters[LocalReply::UpstreamClosed] += 1;
                self.end_exchange(id);
                self.abort(id);
                BodyStep::Over
            }
        }
    }

    /// Passes the FIN of a tunnel's endpoint on to the client.
    fn half_close_from_upstream(&mut self, id: ConnId, upstream: ConnId) {
        let conn = &mut self.conns[id];
        if conn.ending == Ending::Open {
            conn.ending = Ending::AfterFlush;
            self.list_egress(id);
        }
        if self.conns[upstream].ending != Ending::Open
            && let Some(exchange) = self.exchange_mut(id)
        {
            exchange.request = Body::Done;
        }
    }

    /// The exchange cannot go on: answers the client, or resets it when a part of the response is
    /// already on its way.
    pub(super) fn fail(&mut self, id: ConnId, status: u16, cause: &str, counter: LocalReply) {
        let draining = self.draining.is_some();
        let Some(exchange) = self.exchange_mut(id) else {
            return;
        };
        if !matches!(exchange.response, ReplyState::Head { .. }) {
            self.end_exchange(id);
            self.counters[counter] += 1;
            self.abort(id);
            return;
        }
        let persists =
            exchange.client_persists && matches!(exchange.request, Body::Done) && !draining;
        let (version, head_only) = (exchange.version, exchange.head_only);
        exchange.client_persists = persists;
        exchange.status = status;
        exchange.response = ReplyState::Done;
        if let Some(upstream) = exchange.upstream.take() {
            self.drop_upstream(upstream);
        }
        self.local_reply(id, status, cause, counter, version, !persists, head_only);
        let _ = self.finish_exchange(id);
        self.list_session(id);
    }

    /// The endpoint's connection has ended before a response: try once more where that is safe, or
    /// answer for it.
    pub(super) fn upstream_lost(&mut self, id: ConnId) -> Step {
        let clusters = &self.settings.clusters;
        let Role::Client(client) = &mut self.conns[id].role else {
            return Step::Wait;
        };
        let ClientState::Exchange(exchange) = &mut client.state else {
            return Step::Again;
        };
        let endpoints = clusters[usize::from(exchange.cluster.0)].endpoints.len() as u16;
        let (answered, attempts, saved) = (exchange.answered, exchange.attempts, exchange.saved);
        let repeatable = exchange.repeatable;
        let lost = exchange.upstream.take();
        // Whether the endpoint can have seen the request, and whether the connection was one from
        // the pool that may just have died of age.
        let (established, pooled) = match lost.and_then(|conn| self.conns.resolve(conn)) {
            Some(conn) => match &conn.role {
                Role::Upstream(upstream) => (upstream.established, upstream.served > 0),
                _ => (true, false),
            },
            None => (true, false),
        };
        if let Some(lost) = lost {
            self.drop_upstream(lost);
        }
        if !established {
            self.counters[Counter::ConnectFailures] += 1;
        }
        let again = !answered
            && saved.is_some()
            && if established {
                pooled && repeatable && attempts <= 1
            } else {
                attempts < endpoints
            };
        if let (true, Some(saved)) = (again, saved) {
            self.counters[Counter::Retries] += 1;
            let bytes = self.proxy.saved.bytes(saved).to_vec();
            self.send_request_fresh(id, &bytes);
            return Step::Again;
        }
        if established {
            self.fail(
                id,
                502,
                "the endpoint closed the connection before it answered",
                LocalReply::UpstreamClosed,
            );
        } else {
            self.fail(
                id,
                502,
                "the endpoint refused the connection",
                LocalReply::ConnectFailed,
            );
        }
        Step::Again
    }

    /// Ends an exchange that was not completed: the endpoint's connection cannot be used again.
    pub(super) fn end_exchange(&mut self, id: ConnId) {
        let Role::Client(client) = &mut self.conns[id].role else {
            return;
        };
        if !matches!(client.state, ClientState::Exchange(_)) {
            return;
        }
        let ClientState::Exchange(exchange) =
            std::mem::replace(&mut client.state, ClientState::Lingering)
        else {
            return;
        };
        self.exchanges -= 1;
        self.log_exchange(&exchange, id);
        self.release_upstream(&exchange, false);
        self.forget_saved(&exchange);
    }

    /// Forgets what was kept of an exchange's request.
    pub(super) fn forget_saved(&mut self, exchange: &Exchange) {
        for saved in [exchange.saved, exchange.request_line]
            .into_iter()
            .flatten()
        {
            self.proxy.saved.forget(saved);
        }
    }

    /// Reports a finished exchange to the access log.
    pub(super) fn log_exchange(&mut self, exchange: &Exchange, id: ConnId) {
        let (Some(line), Some(key)) = (exchange.request_line, self.conns[id].key) else {
            return;
        };
        self.proxy.finished.push(AccessEntry {
            client: key.remote(),
            upstream: exchange.endpoint,
            cluster: Some(exchange.cluster),
            request: self.proxy.saved.bytes(line).to_vec(),
            status: exchange.status,
            bytes: self.conns[id].send.end() - exchange.sent_from,
            duration_us: self.now_us - exchange.started_us,
        });
    }

    /// Reports to the access log a request that was answered here without an exchange, and forgets its
    /// line. The answer begins at `sent_from` of the client's stream.
    pub(super) fn log_reply(
        &mut self,
        id: ConnId,
        request_line: Option<SavedId>,
        status: u16,
        sent_from: u64,
    ) {
        let Some(line) = request_line else { return };
        if let Some(key) = self.conns[id].key {
            let bytes = self.conns[id].send.end() - sent_from;
            self.proxy.finished.push(AccessEntry {
                client: key.remote(),
                upstream: None,
                cluster: None,
                request: self.proxy.saved.bytes(line).to_vec(),
                status: if bytes > 0 { status } else { 0 },
                bytes,
                duration_us: 0,
            });
        }
        self.proxy.saved.forget(line);
    }

    /// Hands out the exchanges that have finished since the last call, and forgets them.
    pub fn take_access(&mut self, mut f: impl FnMut(&AccessEntry)) {
        for entry in self.proxy.finished.drain(..) {
            f(&entry);
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

/// The first line of a head, well-formed or not, without its end; as much of it as an access log
/// can want.
pub(super) fn first_line(head: &[u8]) -> &[u8] {
    const MOST: usize = 1024;
    let start = head
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(head.len());
    let line = &head[start..head.len().min(start + MOST)];
    let end = memchr::memchr2(b'\r', b'\n', line).unwrap_or(line.len());
    &line[..end]
}

/// What looking for the response's head came to.
enum HeadStep {
    Wait,
    Again,
    /// The exchange has ended.
    Over,
}

/// What moving the response's body came to.
enum BodyStep {
    Wait {
        moved: bool,
    },
    Complete,
    /// The exchange has ended.
    Over,
}
