//! What a worker keeps for the load's two ends.

use std::net::SocketAddr;

use super::Heads;
use super::client::Clients;
use super::frames::PatternFrames;
use super::plan::OriginListener;
use super::replies::Replies;
use super::sample::Sample;
use crate::port::Frame;
use crate::settings::{PortId, Settings};

/// The state of a load client, of a load origin, or of both.
#[derive(Debug)]
pub(crate) struct Load<F> {
    /// Where it is an origin.
    origins: Vec<OriginListener>,
    /// The origin's answers.
    pub(super) replies: Replies<F>,
    /// The bodies' bytes.
    pub(super) pattern: PatternFrames<F>,
    /// The client, if it is one.
    pub(super) clients: Option<Clients<F>>,
    /// Exchanges that have finished since the owner last asked.
    pub(super) samples: Vec<Sample>,
    /// For reading heads, and gathering those that lie in several frames.
    pub(super) heads: Heads,
    pub(super) gather: Vec<u8>,
}

impl<F: Frame> Load<F> {
    /// As `settings` say.
    pub fn new(settings: &Settings) -> Self {
        Self {
            origins: settings.origins.clone(),
            replies: Replies::default(),
            pattern: PatternFrames::default(),
            clients: settings.load.clone().map(Clients::new),
            samples: Vec::new(),
            heads: Heads::new(),
            gather: Vec::new(),
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
