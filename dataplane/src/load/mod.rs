//! The other two ends of an exchange: a client that makes requests as fast, or at the rate, that it is
//! told, and an origin that answers them with bodies of any size. With these a worker loads a proxy, or
//! itself, without a kernel in the path; the binary `minivoy-load` is made of them.
//!
//! They are sessions like the proxy's: the worker, its turn, its flow table, TCP and timers are the same.
//!
//! 1. [`plan`]: what the client is told.
//! 2. `client`: the client's connections, its requests and their [`sample`]s; `connect` opens them.
//! 3. `origin`: the origin's sessions; [`target`] reads the size from a path, `replies` keeps heads.
//! 4. `outgoing` and `incoming`: bodies sent by reference to one [`pattern`], and bodies counted, not read.

mod client;
mod connect;
mod incoming;
mod origin;
mod outgoing;
pub mod pattern;
pub mod plan;
mod replies;
pub mod sample;
mod shared;
pub mod target;

use std::net::SocketAddr;

pub use client::LoadClient;
pub use origin::LoadOrigin;
pub use plan::{LoadPlan, OriginListener};
pub use sample::{Failure, Outcome, Sample};

use crate::port::Frame;
use crate::settings::{PortId, Settings};
use client::Clients;
use pattern::Pattern;
use replies::Replies;

/// What a worker keeps for the load's two ends.
#[derive(Debug)]
pub(crate) struct Load<F> {
    /// Where it is an origin.
    origins: Vec<OriginListener>,
    /// The origin's answers.
    replies: Replies<F>,
    /// The bodies' bytes.
    pattern: Pattern<F>,
    /// The client, if it is one.
    clients: Option<Clients<F>>,
    /// Exchanges that have finished since the owner last asked.
    samples: Vec<Sample>,
}

impl<F: Frame> Load<F> {
    pub fn new(settings: &Settings, now_us: u64) -> Self {
        Self {
            origins: settings.origins.clone(),
            replies: Replies::default(),
            pattern: Pattern::default(),
            clients: settings.load.clone().map(|plan| Clients::new(plan, now_us)),
            samples: Vec::new(),
        }
    }

    /// Whether connections to `local` on `port` are the origin's.
    pub fn is_origin(&self, port: PortId, local: SocketAddr) -> bool {
        self.origins.iter().any(|origin| origin.takes(port, local))
    }

    /// Frames kept for whatever is sent next.
    pub fn frames(&self) -> usize {
        self.replies.frames()
            + self.pattern.frames()
            + self.clients.as_ref().map_or(0, Clients::frames)
    }
}
