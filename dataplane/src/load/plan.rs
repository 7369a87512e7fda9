//! What the load's two ends are told: plain data, as the proxy's settings are.

use std::net::SocketAddr;

use super::schedule::Pace;
use crate::settings::PortId;

/// An address where this worker is an origin: it answers every request itself, with a body of as many
/// bytes as the path says ([`super::target`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginListener {
    /// The port it listens on.
    pub port: PortId,
    /// Address and TCP port; an unspecified address takes all of the port's.
    pub address: SocketAddr,
}

impl OriginListener {
    /// Whether a connection to `local` on `port` is for it.
    pub fn takes(&self, port: PortId, local: SocketAddr) -> bool {
        let own = self.address;
        self.port == port
            && own.port() == local.port()
            && (own.ip() == local.ip()
                || own.ip().is_unspecified() && own.is_ipv4() == local.is_ipv4())
    }
}

/// What a worker's load client does. It connects from the addresses of its port: from those of
/// [`ranges`](crate::settings::PortSettings::ranges) if there are any, in turn.
///
/// The run begins, with the first request, when all connections are open that are to be kept, or one has
/// failed; where connections are not kept, when the first is open. Otherwise those that are open would
/// keep the target too busy to accept the others.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    /// The port that the target is reached through.
    pub port: PortId,
    /// Where to connect.
    pub target: SocketAddr,
    /// How many connections, how fast, until when: this worker's share.
    pub pace: Pace,
    /// Most connections in the middle of their handshake.
    pub most_connecting: u32,
    /// What every request begins with: its head, with the empty line, and such a body as is not the
    /// pattern. At most [`LONGEST_OPENING`] bytes.
    pub opening: Vec<u8>,
    /// Bytes of the [`super::pattern`] that follow.
    pub body: u64,
    /// The request is `HEAD`: no response has a body.
    pub head_only: bool,
    /// Send the next request on the same connection, if the response allows it.
    pub keep_alive: bool,
    /// Look at every byte of 200 responses: whether it is the [`super::pattern`]'s.
    pub verify: bool,
    /// How long a response may take, from request to last byte, and a handshake, in ms; 0: for ever.
    pub timeout: u32,
}

/// Most bytes of [`LoadPlan::opening`]: what a large frame surely holds.
pub const LONGEST_OPENING: usize = 16_000;
