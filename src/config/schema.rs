//! The configuration file as it is written: one struct for each table, one field for each key.
//!
//! Unknown keys are refused. Text that means more than itself (addresses, names of other tables)
//! stays text with its place in the file, so that [`super::resolve`] can report everything that
//! is wrong with it at once. Defaults are the engine's own wherever it has them.

use dataplane::settings::{Forwarding, Limits, Timeouts};
use serde::Deserialize;
use toml::Spanned;

use super::units::{Bytes, Millis};
use super::{DEFAULT_LARGE_FRAMES, DEFAULT_SMALL_FRAMES};

/// Text and where it stands.
pub type Text = Spanned<String>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    pub port: Vec<Spanned<Port>>,
    #[serde(default)]
    pub listener: Vec<Spanned<Listener>>,
    #[serde(default)]
    pub cluster: Vec<Spanned<Cluster>>,
    #[serde(default)]
    pub limits: LimitsTable,
    #[serde(default)]
    pub timeouts: TimeoutsTable,
    #[serde(default)]
    pub forwarding: ForwardingTable,
    #[serde(default)]
    pub memory: MemoryTable,
}

/// `[[port]]`: a NIC and its network identity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub name: Text,
    pub device: Text,
    pub addresses: Vec<Text>,
    #[serde(default)]
    pub gateways: Vec<Text>,
    #[serde(default)]
    pub neighbors: Vec<Neighbor>,
    pub mtu: Option<Spanned<u16>>,
    pub rx_frames: Option<Spanned<RxFrames>>,
}

/// Frames that a device receives into.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RxFrames {
    Small,
    Large,
}

/// `neighbors = [{ address = "…", mac = "…" }]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    pub address: Text,
    pub mac: Text,
}

/// `[[listener]]`: where clients connect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub name: Text,
    pub port: Text,
    pub address: Text,
    #[serde(default)]
    pub scheme: Scheme,
    #[serde(default)]
    pub route: Vec<Spanned<Route>>,
}

/// Scheme named in `X-Forwarded-Proto`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

/// `[[listener.route]]`: which requests go to which cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub hosts: Option<Spanned<Vec<Text>>>,
    pub prefix: Option<Text>,
    pub cluster: Text,
}

/// `[[cluster]]`: a set of interchangeable origins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: Text,
    pub port: Text,
    #[serde(default = "default_cluster_connections")]
    pub max_connections: Spanned<u32>,
    #[serde(default = "default_cluster_idle")]
    pub max_idle: u32,
    /// As many as there can be clients, if nothing else is written.
    #[serde(default)]
    pub max_pending: Option<u32>,
    #[serde(default)]
    pub endpoint: Vec<Endpoint>,
}

/// Half of `limits.max_connections`: each exchange needs one connection on either side.
fn default_cluster_connections() -> Spanned<u32> {
    Spanned::new(0..0, Limits::default().max_connections / 2)
}

/// Enough that a few thousand clients at once do not make the pool close what it needs next.
fn default_cluster_idle() -> u32 {
    4_096
}

/// `[[cluster.endpoint]]`: one origin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub address: Text,
}

/// `[limits]`: bounds on what one peer may cost, for each worker.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table: write [limits] and its keys below"
)]
pub struct LimitsTable {
    pub max_connections: Spanned<u32>,
    pub max_half_open: Spanned<u32>,
    pub session_buffer: Spanned<Bytes>,
    pub max_head: Spanned<Bytes>,
    pub max_fields: Spanned<u16>,
    pub max_request_body: Option<Bytes>,
    pub max_requests: Option<Spanned<u32>>,
}

impl Default for LimitsTable {
    fn default() -> Self {
        let Limits {
            max_connections,
            max_half_open,
            session_buffer,
            max_head,
            max_fields,
            max_request_body,
            max_requests,
        } = Limits::default();
        Self {
            max_connections: unwritten(max_connections),
            max_half_open: unwritten(max_half_open),
            session_buffer: unwritten(Bytes(session_buffer.into())),
            max_head: unwritten(Bytes(max_head.into())),
            max_fields: unwritten(max_fields),
            max_request_body: max_request_body.map(Bytes),
            max_requests: max_requests.map(unwritten),
        }
    }
}

/// A default: a value that stands nowhere in the file.
fn unwritten<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// `[timeouts]`: how long to wait for what; `"0s"` waits for ever.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table: write [timeouts] and its keys below"
)]
pub struct TimeoutsTable {
    pub pending: Millis,
    pub connect: Millis,
    pub request_head: Millis,
    pub idle: Millis,
    pub stream: Millis,
    pub response: Millis,
    pub upstream_idle: Millis,
    pub drain: Millis,
}

impl Default for TimeoutsTable {
    fn default() -> Self {
        let Timeouts {
            pending,
            connect,
            request_head,
            idle,
            stream,
            response,
            upstream_idle,
            drain,
        } = Timeouts::default();
        Self {
            pending: Millis(pending),
            connect: Millis(connect),
            request_head: Millis(request_head),
            idle: Millis(idle),
            stream: Millis(stream),
            response: Millis(response),
            upstream_idle: Millis(upstream_idle),
            drain: Millis(drain),
        }
    }
}

/// `[forwarding]`: fields the proxy adds to what it forwards.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table: write [forwarding] and its keys below"
)]
pub struct ForwardingTable {
    pub x_forwarded_for: bool,
    pub x_forwarded_proto: bool,
    pub via: Option<Text>,
    pub upgrade: bool,
}

impl Default for ForwardingTable {
    fn default() -> Self {
        let Forwarding {
            x_forwarded_for,
            x_forwarded_proto,
            via,
            upgrade,
        } = Forwarding::default();
        Self {
            x_forwarded_for,
            x_forwarded_proto,
            via: via.map(unwritten),
            upgrade,
        }
    }
}

/// `[memory]`: frames for each worker.
#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table: write [memory] and its keys below"
)]
pub struct MemoryTable {
    pub small_frames: Spanned<u32>,
    pub large_frames: Spanned<u32>,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self {
            small_frames: unwritten(DEFAULT_SMALL_FRAMES),
            large_frames: unwritten(DEFAULT_LARGE_FRAMES),
        }
    }
}
