//! What a load generator and its origin are made of, whatever carries the bytes.
//!
//! `minivoy-load` has two halves: one on minivoy's own ports and stack, without a kernel, and one on
//! kernel sockets. What they share is here, all of it sans-io like the rest of the engine:
//!
//! 1. [`schedule`] says when the next request should begin and when the run is over.
//! 2. [`request`] writes a request, once for a whole run, and follows one to its end at the origin.
//! 3. [`target`] reads how long a body the origin is asked for, [`reply`] writes the head before it,
//!    and [`pattern`] is the bytes of it.
//! 4. [`response`] follows a response to its end.
//! 5. [`sample`] is what is known of an exchange when it has ended.
//!
//! The half without a kernel is the engine itself: a worker whose sessions are, in the place of the
//! proxy's, those of a client or of an origin.
//!
//! 6. [`plan`] is what it is told.
//! 7. `client` makes requests and notes what comes of them, on connections that `connect` opens.
//! 8. `origin` answers requests, from the answers that `replies` keeps.
//! 9. `outgoing` queues bodies as references to `frames`; `incoming` counts them and throws them away.
//!
//! Messages are read with the parsers of [`crate::http1`]; [`body`] puts their ways to find the end of a
//! body under one roof.

mod client;
mod connect;
mod frames;
mod incoming;
mod origin;
mod outgoing;
mod replies;
mod state;

pub mod body;
pub mod pattern;
pub mod plan;
pub mod reply;
pub mod request;
pub mod response;
pub mod sample;
pub mod schedule;
pub mod target;

pub use client::{LoadClient, LoadStatus};
pub use origin::LoadOrigin;
pub use plan::{LoadPlan, OriginListener};
pub use sample::{Failure, Outcome, Sample};
pub(crate) use state::Load;

use crate::http1::{ChunkError, Head, HeadError, HeadLimits};

/// What reading heads needs: bounds, and storage that every message uses again. One for a worker.
#[derive(Clone, Debug)]
pub struct Heads {
    head: Head,
    limits: HeadLimits,
}

impl Heads {
    /// Storage for heads of up to 64 KiB and 256 fields; the only place that allocates.
    pub fn new() -> Self {
        let limits = HeadLimits {
            max_head: 64 * 1024,
            max_request_line: 32 * 1024,
            max_fields: 256,
            max_body: None,
        };
        Self {
            head: Head::new(&limits),
            limits,
        }
    }
}

impl Default for Heads {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a message cannot be followed any further. Nothing after it on the connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Its head.
    Head(HeadError),
    /// Its chunked body.
    Chunk(ChunkError),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Chunk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Malformed {}

/// The next run of bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The head has not come in whole: nothing was taken. Ask again with these bytes and more.
    Incomplete,
    /// So many bytes of head (and, before a request, of an empty line), ended now.
    Head {
        /// How many bytes.
        len: usize,
    },
    /// So many bytes of chunked framing.
    Framing {
        /// How many bytes.
        len: usize,
    },
    /// So many bytes of body.
    Data {
        /// How many bytes.
        len: usize,
    },
}
