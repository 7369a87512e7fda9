//! What the proxy does with a request: which listener, which route, which endpoint, over which
//! connection; and the session that carries it there and the answer back.

mod client;
mod plan;
mod router;
mod exchange;
mod connect;
mod pending;
mod pump;
mod response;
mod outcome;
mod saved;
mod timeouts;

pub use client::{Client, ClientState, Phase};
pub use exchange::{AccessEntry, Body, Exchange, ReplyState};

use std::net::SocketAddr;

use crate::conn::ConnRef;
use crate::flow_table::ConnId;
use crate::http1::{Head, HeadLimits, HttpDate};
use crate::load::{LoadClient, LoadOrigin};
use crate::settings::{ClusterId, EndpointId, ListenerId, PortId, Settings};
use pending::Line;
use saved::Saved;

/// Whose a connection is.
#[derive(Debug)]
pub enum Role {
    /// Nobody's: the slot is free, or what is in it only waits out TIME-WAIT.
    Free,
    /// A client's.
    Client(Client),
    /// To an endpoint.
    Upstream(Upstream),
    /// The load client's.
    LoadClient(LoadClient),
    /// Somebody's to the load origin.
    LoadOrigin(LoadOrigin),
}

/// A connection to an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// The cluster.
    pub cluster: ClusterId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The client connection whose exchange it carries; `None` while it waits in the pool.
    pub client: Option<ConnRef>,
    /// Its place among the idle connections of its endpoint.
    pub idle_at: Option<u32>,
    /// The handshake is complete.
    pub established: bool,
    /// Requests that it has carried before the present one.
    pub served: u32,
}

/// Requests on their way, for which a client, cluster, endpoint and connection are chosen here.
#[derive(Debug)]
pub struct Proxy {
    listeners: Vec<(PortId, SocketAddr, ListenerId)>,
    clusters: Vec<ClusterState>,
    /// The parsed head of the message that is looked at.
    pub(crate) head: Head,
    pub(crate) limits: HeadLimits,
    /// Gathers a head that lies in several frames.
    pub(crate) gather: Vec<u8>,
    /// The head that is being written.
    pub(crate) out: Vec<u8>,
    pub(crate) saved: Saved,
    /// The time of day, for responses that lack it.
    pub(crate) date: HttpDate,
    /// Finished exchanges for the access log.
    pub(crate) finished: Vec<AccessEntry>,
}

#[derive(Debug)]
struct ClusterState {
    /// The endpoint whose turn it is.
    next: u16,
    /// Connections to all endpoints, idle or not.
    open: u32,
    endpoints: Vec<EndpointState>,
    /// Requests that wait for a connection.
    line: Line,
}

#[derive(Debug)]
struct EndpointState {
    address: SocketAddr,
    /// `Host` for requests that name none.
    host: String,
    /// Idle connections, the one used last at the end.
    idle: Vec<ConnId>,
}

impl Proxy {
    /// The proxy that `settings` describe.
    pub fn new(settings: &Settings) -> Self {
        let limits = HeadLimits::from(&settings.limits);
        let listeners = settings.listeners.iter().enumerate();
        Self {
            listeners: listeners
                .map(|(id, l)| (l.port, l.address, ListenerId(id as u16)))
                .collect(),
            clusters: settings
                .clusters
                .iter()
                .map(|cluster| ClusterState {
                    next: 0,
                    open: 0,
                    line: Line::new(settings.ports.len(), cluster.max_pending),
                    endpoints: cluster
                        .endpoints
                        .iter()
                        .map(|address| EndpointState {
                            address: *address,
                            host: address.to_string(),
                            idle: Vec::with_capacity(cluster.max_idle.min(4096) as usize),
                        })
                        .collect(),
                })
                .collect(),
            head: Head::new(&limits),
            gather: Vec::with_capacity(limits.max_head as usize),
            out: Vec::with_capacity(limits.max_head as usize + 2048),
            limits,
            saved: Saved::default(),
            date: HttpDate::default(),
            finished: Vec::new(),
        }
    }

    /// The listener for connections to `local` on `port`.
    pub fn listener_for(&self, port: PortId, local: SocketAddr) -> Option<ListenerId> {
        self.listeners
            .iter()
            .find(|(on, address, _)| {
                *on == port
                    && address.port() == local.port()
                    && (address.ip() == local.ip()
                        || (address.ip().is_unspecified() && address.is_ipv4() == local.is_ipv4()))
            })
            .map(|(_, _, id)| *id)
    }
}
