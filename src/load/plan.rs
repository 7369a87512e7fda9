//! What a run is to do, whatever carries it.

use dataplane::load::pattern;
use dataplane::load::request::RequestHead;
use dataplane::load::schedule::Pace;

use crate::url::Url;

/// A run against one URL.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How many connections, how fast, until when.
    pub pace: Pace,
    /// For how long before that responses are not counted.
    pub warmup_us: u64,
    /// What is fetched.
    pub url: Url,
    /// With which method.
    pub method: String,
    /// Fields that the operator gave.
    pub fields: Vec<(String, String)>,
    /// The body of each request.
    pub payload: Option<Payload>,
    /// Whether connections carry more than one request.
    pub keep_alive: bool,
    /// Longest time for one exchange; `None`: no bound.
    pub timeout_us: Option<u64>,
    /// Whether every byte of a response's body is compared with [`pattern`].
    pub verify: bool,
}

/// The body of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// These bytes.
    Text(Vec<u8>),
    /// So many bytes of [`pattern`].
    Pattern(u64),
}

impl Payload {
    /// Bytes of it.
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Pattern(len) => *len,
        }
    }

    /// The bytes from `offset` on, some or all of those that are left.
    pub fn run(&self, offset: u64) -> &[u8] {
        match self {
            Self::Text(text) => &text[offset as usize..],
            Self::Pattern(len) => pattern::run(offset, len - offset),
        }
    }
}

impl Plan {
    /// The head of every request.
    pub fn request_head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        RequestHead {
            method: &self.method,
            target: &self.url.target,
            host: &self.url.host,
            fields: &self.fields,
            body: self.payload.as_ref().map(Payload::len),
            keep_alive: self.keep_alive,
        }
        .write(&mut head);
        head
    }

    /// Whether responses have no body, whatever their heads say.
    pub fn head_only(&self) -> bool {
        self.method == "HEAD"
    }
}
