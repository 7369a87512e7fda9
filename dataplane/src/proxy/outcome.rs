//! How an exchange ends that does not simply come to its end, and what is told of every one.

use super::client::Step;
use super::exchange::{Body, Exchange, ReplyState};
use super::saved::SavedId;
use super::{AccessEntry, ClientState, Role};
use crate::counters::{Counter, LocalReply};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::worker::Worker;

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
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
        self.leave_if_waiting(&exchange);
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
