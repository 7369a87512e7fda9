//! Connections to endpoints: which endpoint, a pooled connection or a new one, and back to the pool.
//! When there can be none now the request waits ([`super::pending`]).

use super::{ClusterState, Exchange, Role, Upstream};
use crate::conn::{ConnRef, Ending};
use crate::counters::{Counter, Drop, LocalReply};
use crate::flow_table::ConnId;
use crate::mover::Mover;
use crate::port::{FramePool, Port};
use crate::settings::{ClusterId, EndpointId};
use crate::worker::Worker;
use smoltcp::socket::tcp;

/// How long no connection is opened after there was no slot or port for one, in ms, while others wait.
const RETRY: u64 = 10;

/// What came of looking for a connection.
pub(super) enum Found {
    /// This one, which nobody else uses.
    Upstream(ConnId),
    /// None can be had before another exchange has ended.
    Full,
    /// None can be had; the client has been answered.
    Failed,
}

impl<P: Port, L: FramePool<Frame = P::Frame>, M: Mover<P::Frame>> Worker<P, L, M> {
    /// Sends the head of the exchange's request over a pooled connection, or a new one, or lets it wait
    /// behind those that wait already. Where that fails the client is answered.
    pub(super) fn send_request(&mut self, id: ConnId, head: &[u8]) {
        let Some(cluster) = self.exchange_mut(id).map(|exchange| exchange.cluster) else {
            return;
        };
        let found = match self.proxy.clusters[usize::from(cluster.0)].line.waiting() {
            0 => self.find_upstream(id, cluster, true),
            _ => Found::Full,
        };
        self.send_over(id, cluster, found, head);
    }

    /// The same over a new connection, for a request that is sent again.
    pub(super) fn send_request_fresh(&mut self, id: ConnId, head: &[u8]) {
        let Some(cluster) = self.exchange_mut(id).map(|exchange| exchange.cluster) else {
            return;
        };
        let endpoint = self.next_endpoint(cluster);
        let found = self.connect(id, cluster, endpoint);
        self.send_over(id, cluster, found, head);
    }

    fn send_over(&mut self, id: ConnId, cluster: ClusterId, found: Found, head: &[u8]) {
        match found {
            Found::Upstream(upstream) => self.start_upstream(id, upstream, head),
            Found::Full => self.wait_in_line(id, cluster, head),
            Found::Failed => {}
        }
    }

    /// A connection to the endpoint whose turn it is, pooled or new; when no new one can be opened, a
    /// pooled one to any. None while frames are few: what comes would be dropped, and its sender would wait
    /// for a time-out before it sends it again. Nor while the client's port is behind: what comes would
    /// only lie there, cold by the time it is sent.
    pub(super) fn find_upstream(
        &mut self,
        id: ConnId,
        cluster: ClusterId,
        may_open: bool,
    ) -> Found {
        let port = self.conns[id].port;
        if self.crowded || self.lanes[usize::from(port.0)].is_backlogged() {
            return Found::Full;
        }
        let endpoint = self.next_endpoint(cluster);
        if let Some(upstream) = self.take_idle(cluster, endpoint) {
            return Found::Upstream(upstream);
        }
        let found = match may_open {
            true => self.connect(id, cluster, endpoint),
            false => Found::Full,
        };
        if matches!(found, Found::Full) {
            let endpoints = self.proxy.clusters[usize::from(cluster.0)].endpoints.len();
            for other in (0..endpoints as u16).map(EndpointId) {
                if let Some(upstream) = self.take_idle(cluster, other) {
                    return Found::Upstream(upstream);
                }
            }
        }
        found
    }

    pub(super) fn start_upstream(&mut self, id: ConnId, upstream: ConnId, head: &[u8]) {
        let client = self.conns.reference(id);
        if let Role::Upstream(role) = &mut self.conns[upstream].role {
            role.client = Some(client);
        }
        let reference = self.conns.reference(upstream);
        let endpoint = self.conns[upstream].key.map(|key| key.remote());
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.upstream = Some(reference);
            exchange.attempts += 1;
            exchange.endpoint = endpoint;
        }
        if !self.push_bytes(upstream, head) {
            self.counters[Drop::NoFrame] += 1;
            self.fail(id, 503, "out of buffers", LocalReply::Overloaded);
            return;
        }
        self.list_egress(upstream);
    }

    /// The endpoint whose turn it is.
    fn next_endpoint(&mut self, cluster: ClusterId) -> EndpointId {
        let state = &mut self.proxy.clusters[usize::from(cluster.0)];
        let endpoint = EndpointId(state.next);
        state.next = (state.next + 1) % state.endpoints.len() as u16;
        endpoint
    }

    /// A pooled connection that is still good. The one used last is the likeliest to be.
    fn take_idle(&mut self, cluster: ClusterId, endpoint: EndpointId) -> Option<ConnId> {
        loop {
            let idle = &mut self.proxy.clusters[usize::from(cluster.0)].endpoints
                [usize::from(endpoint.0)]
            .idle;
            let id = idle.pop()?;
            self.idle -= 1;
            let conn = &mut self.conns[id];
            let good = conn.socket().state() == tcp::State::Established
                && conn.recv.available() == 0
                && conn.ending == Ending::Open;
            if let Role::Upstream(upstream) = &mut conn.role {
                upstream.idle_at = None;
                upstream.served += 1;
            }
            self.timers.disarm(crate::worker::session_timer(id));
            if good {
                self.counters[Counter::UpstreamReused] += 1;
                return Some(id);
            }
            self.close_upstream(id);
        }
    }

    /// Opens a connection. Answers the client where there is no way to the endpoint.
    fn connect(&mut self, client: ConnId, cluster: ClusterId, endpoint: EndpointId) -> Found {
        let config = &self.settings.clusters[usize::from(cluster.0)];
        let port = config.port;
        let state = &self.proxy.clusters[usize::from(cluster.0)];
        if state.open >= config.max_connections {
            return Found::Full;
        }
        let remote = state.endpoints[usize::from(endpoint.0)].address;
        let lane = &mut self.lanes[usize::from(port.0)];
        let source = lane.stack.source_for(remote.ip());
        let next_hop = lane.neighbors.next_hop(remote.ip());
        let (Some(source), Some(next_hop)) = (source, next_hop) else {
            self.counters[Drop::NoRoute] += 1;
            self.fail(
                client,
                502,
                "no route to the endpoint",
                LocalReply::ConnectFailed,
            );
            return Found::Failed;
        };
        let mac = lane.neighbors.lookup(next_hop);
        if mac.is_none() {
            lane.neighbors.want(next_hop, self.now);
        }
        let role = Role::Upstream(Upstream {
            cluster,
            endpoint,
            client: None,
            idle_at: None,
            established: false,
            served: 0,
        });
        let Some(id) = self.open_connection(port, source, remote, mac, role) else {
            self.counters[Drop::TcpNoConnectionSlot] += 1;
            let state = &mut self.proxy.clusters[usize::from(cluster.0)];
            if state.open > 0 {
                // One that ends is there for the next, or leaves its slot and port.
                state.line.retry_at = self.now + RETRY;
                return Found::Full;
            }
            self.fail(
                client,
                503,
                "no free connection or port",
                LocalReply::Overloaded,
            );
            return Found::Failed;
        };
        self.proxy.clusters[usize::from(cluster.0)].open += 1;
        self.upstreams += 1;
        if mac.is_none() {
            self.lanes[usize::from(port.0)].waiting.push(id);
        }
        Found::Upstream(id)
    }

    /// An exchange is over: its connection goes to the pool, or is closed.
    pub(super) fn release_upstream(&mut self, exchange: &Exchange, whole: bool) {
        let Some(reference) = exchange.upstream else {
            return;
        };
        let Some(conn) = self.conns.resolve(reference) else {
            return;
        };
        let reusable = whole
            && exchange.upstream_persists
            && conn.socket().state() == tcp::State::Established
            && conn.recv.available() == 0
            && conn.ending == Ending::Open;
        // The endpoint has said that it closes: it may go first, so that TIME-WAIT is its to hold.
        let parts = !exchange.upstream_persists
            && conn.socket().state() == tcp::State::Established
            && conn.ending == Ending::Open;
        let id = reference.id;
        let Role::Upstream(upstream) = &mut conn.role else {
            return;
        };
        upstream.client = None;
        let (cluster, endpoint) = (upstream.cluster, upstream.endpoint);
        let most = self.settings.clusters[usize::from(cluster.0)].max_idle as usize;
        let ClusterState {
            endpoints, line, ..
        } = &mut self.proxy.clusters[usize::from(cluster.0)];
        let idle = &mut endpoints[usize::from(endpoint.0)].idle;
        // At the end nobody else will need it but those that wait already.
        let wanted = self.draining.is_none() || line.waiting() > 0;
        if reusable && wanted && idle.len() < most {
            upstream.idle_at = Some(idle.len() as u32);
            idle.push(id);
            self.idle += 1;
            self.restore_window(id);
            self.arm_session(id, self.settings.timeouts.upstream_idle);
        } else if whole && parts {
            self.arm_session(id, super::timeouts::PARTING);
            self.list_session(id);
        } else if whole {
            self.close_upstream(id);
        } else {
            self.drop_upstream(reference);
        }
    }

    /// Looks at a pooled connection that something has happened to: whatever it is, it ends.
    pub(super) fn run_idle_upstream(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        if conn.ending != Ending::Open {
            let n = conn.recv.available();
            if n > 0 {
                self.discard(id, n);
            }
            return;
        }
        if conn.recv.available() > 0 || conn.peer_closed() {
            self.close_upstream(id);
        }
    }

    /// Closes a connection that no exchange uses.
    pub(crate) fn close_upstream(&mut self, id: ConnId) {
        self.leave_pool(id);
        let conn = &mut self.conns[id];
        if conn.ending == Ending::Open {
            conn.ending = Ending::AfterFlush;
        }
        self.arm_session(id, super::timeouts::LINGER);
        self.list_egress(id);
        self.list_session(id);
    }

    /// Ends a connection in the middle of an exchange: nothing it brings is wanted any more.
    pub(super) fn drop_upstream(&mut self, reference: ConnRef) {
        let Some(conn) = self.conns.resolve(reference) else {
            return;
        };
        if let Role::Upstream(upstream) = &mut conn.role {
            upstream.client = None;
        }
        self.abort(reference.id);
    }

    /// Takes a connection out of the pool, if it is there.
    pub(super) fn leave_pool(&mut self, id: ConnId) {
        let Role::Upstream(upstream) = &mut self.conns[id].role else {
            return;
        };
        let Some(at) = upstream.idle_at.take() else {
            return;
        };
        let (cluster, endpoint) = (upstream.cluster, upstream.endpoint);
        let idle = &mut self.proxy.clusters[usize::from(cluster.0)].endpoints
            [usize::from(endpoint.0)]
        .idle;
        let _ = idle.swap_remove(at as usize);
        self.idle -= 1;
        if let Some(&moved) = idle.get(at as usize)
            && let Role::Upstream(upstream) = &mut self.conns[moved].role
        {
            upstream.idle_at = Some(at);
        }
    }

    /// A connection is about to be forgotten: whoever still counts on it must know.
    pub(crate) fn session_ended(&mut self, id: ConnId) {
        match &mut self.conns[id].role {
            Role::Free => {}
            Role::LoadClient(_) => self.load_client_ended(id),
            Role::LoadOrigin(origin) => self.clients -= u64::from(origin.established),
            Role::Client(client) => {
                self.clients -= u64::from(client.established);
                self.end_exchange(id);
            }
            Role::Upstream(_) => {
                self.leave_pool(id);
                let Role::Upstream(upstream) = &mut self.conns[id].role else {
                    return;
                };
                let (cluster, client) = (upstream.cluster, upstream.client);
                self.proxy.clusters[usize::from(cluster.0)].open -= 1;
                self.upstreams -= 1;
                if let Some(client) = client
                    && self.conns.resolve(client).is_some()
                {
                    self.list_session(client.id);
                }
            }
        }
    }
}
