//! What the engine is told to do: plain data, checked and resolved before it comes here.
//!
//! The binary reads it from TOML, the tests write it down directly. Names are Envoy's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::load::{LoadPlan, OriginListener};

/// Index of a port in [`Settings::ports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u8);

/// Index of a listener in [`Settings::listeners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Index of a cluster in [`Settings::clusters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u16);

/// Index of an endpoint in [`Cluster::endpoints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub u16);

/// Everything one worker is configured with. All workers get the same.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Network identity of each port, in the order in which the worker is given them.
    pub ports: Vec<PortSettings>,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Where requests go.
    pub clusters: Vec<Cluster>,
    /// Bounds on what one peer may cost.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Which fields the proxy adds to forwarded heads.
    pub forwarding: Forwarding,
    /// Whether finished exchanges are reported to the worker's owner for an access log.
    pub access_log: bool,
    /// Where requests are answered by this worker itself.
    pub origins: Vec<OriginListener>,
    /// What this worker's load client does, if it has one.
    pub load: Option<LoadPlan>,
}

/// The network identity of a port.
#[derive(Clone, Debug, Default)]
pub struct PortSettings {
    /// Name used in the configuration.
    pub name: String,
    /// Own addresses with their prefix lengths. At most eight.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Next hop for destinations outside every prefix, one for each address family at most.
    pub gateways: Vec<IpAddr>,
    /// Neighbours whose Ethernet address is configured instead of asked for.
    pub neighbors: Vec<(IpAddr, [u8; 6])>,
    /// Further own addresses, as many as one likes: a load client connects from them.
    pub ranges: Vec<AddressRange>,
}

/// Addresses that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// How many there are.
    pub count: u32,
}

impl AddressRange {
    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                address.to_bits().wrapping_sub(first.to_bits()) < self.count
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                address.to_bits().wrapping_sub(first.to_bits()) < u128::from(self.count)
            }
            _ => false,
        }
    }

    /// The `n`th of them, from 0.
    pub fn nth(&self, n: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(n)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(n.into())).into(),
        }
    }
}

/// An address where clients connect, and what is done with their requests.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Name used in the configuration and in logs.
    pub name: String,
    /// The port it listens on.
    pub port: PortId,
    /// Address and TCP port.
    pub address: SocketAddr,
    /// Scheme named in `X-Forwarded-Proto`.
    pub scheme: &'static str,
    /// Routes in order of preference: the first that matches is taken.
    pub routes: Vec<Route>,
}

/// Requests for some hosts and paths, and the cluster they go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Hosts it is for, in lower case and without port: `example.org`, `*.example.org`, or `*`.
    pub hosts: Vec<String>,
    /// What the path must begin with.
    pub prefix: String,
    /// Where the request goes.
    pub cluster: ClusterId,
}

/// A set of interchangeable origins.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name used in the configuration and in logs.
    pub name: String,
    /// The port its endpoints are reached through.
    pub port: PortId,
    /// The origins, used in turn.
    pub endpoints: Vec<SocketAddr>,
    /// Most connections a worker opens to the whole cluster; requests over it wait.
    pub max_connections: u32,
    /// Most requests that wait for a connection at once; those over it get 503.
    pub max_pending: u32,
    /// Most idle connections a worker keeps to each endpoint.
    pub max_idle: u32,
}

/// Bounds on what one peer may cost, for each worker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most TCP connections, client and origin side together.
    pub max_connections: u32,
    /// Most connections in the middle of their handshake.
    pub max_half_open: u32,
    /// Bytes a session holds for each direction before it stops taking more: the receive window
    /// and the unacknowledged bytes of the other side. A power of two.
    pub session_buffer: u32,
    /// Most bytes of a request or response head.
    pub max_head: u32,
    /// Most fields in a head.
    pub max_fields: u16,
    /// Most bytes of a request body; `None`: no bound.
    pub max_request_body: Option<u64>,
    /// Most requests on one client connection before it is closed; `None`: no bound.
    pub max_requests: Option<u32>,
}

/// How long to wait for what, in milliseconds; 0 waits for ever.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For another exchange to end, when its connection is needed.
    pub pending: u32,
    /// For a connection to an endpoint to be established.
    pub connect: u32,
    /// For a whole request head, from its first byte (or from the accept).
    pub request_head: u32,
    /// For the next request on an idle client connection.
    pub idle: u32,
    /// For any progress on a request or response body that is under way.
    pub stream: u32,
    /// For the head of the response, from the end of the request.
    pub response: u32,
    /// For an idle pooled connection to an endpoint.
    pub upstream_idle: u32,
    /// For open exchanges to end after shutdown was asked for.
    pub drain: u32,
}

/// Fields the proxy adds to what it forwards.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// Append the client's address to `X-Forwarded-For`.
    pub x_forwarded_for: bool,
    /// Set `X-Forwarded-Proto`.
    pub x_forwarded_proto: bool,
    /// Append this pseudonym to `Via` (RFC 9110 section 7.6.3), in both directions.
    pub via: Option<String>,
    /// Let `Upgrade` requests through and tunnel after 101.
    pub upgrade: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_half_open: 4_096,
            session_buffer: 128 * 1024,
            max_head: 32 * 1024,
            max_fields: 100,
            max_request_body: None,
            max_requests: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            pending: 10_000,
            connect: 5_000,
            request_head: 10_000,
            idle: 60_000,
            stream: 60_000,
            response: 60_000,
            upstream_idle: 60_000,
            drain: 10_000,
        }
    }
}
