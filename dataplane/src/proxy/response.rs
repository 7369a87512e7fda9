//! The second half of an exchange: the head of the response, and its body.

use super::exchange::{Body, ReplyState};
use super::pump::Pumped;
use super::{ClientState, Role};
use crate::conn::Ending;
use crate::counters::{LocalReply, Responses};
use crate::flow_table::ConnId;
use crate::http1::framing::{is_persistent, response_framing};
use crate::http1::rewrite::write_response;
use crate::http1::{
    BodyFraming, HeadScan, MessageKind, Method, ResponseKind, ResponseRewrite, Version,
};
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::worker::Worker;
use smoltcp::socket::tcp;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Looks whether the response's head has come, and sends it on.
    pub(super) fn await_response(&mut self, id: ConnId, upstream: ConnId) -> HeadStep {
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
        let most = limits.max_head as usize + 2;
        let look = |bytes: &[u8]| scan.find_end(bytes, &limits).transpose();
        let (bytes, found) = conn.recv.search(&self.arena, &mut gather, most, look);
        exchange.answered |= !bytes.is_empty();
        let mut out = std::mem::take(&mut self.proxy.out);
        let found = match found.transpose() {
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
                                    forwarding: &self.settings.forwarding,
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
    pub(super) fn pump_response(
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
}

/// What looking for the response's head came to.
pub(super) enum HeadStep {
    Wait,
    Again,
    /// The exchange has ended.
    Over,
}

/// What moving the response's body came to.
pub(super) enum BodyStep {
    Wait {
        moved: bool,
    },
    Complete,
    /// The exchange has ended.
    Over,
}
