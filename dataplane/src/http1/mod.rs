//! HTTP/1.x on the wire: what a message's head says, where its body ends, and how both are passed on.
//!
//! Everything here is pure: bytes and small state in, decisions and bytes out. Nothing allocates
//! once its buffers exist, and nothing touches payload. A byte meets the modules in this order:
//!
//! 1. [`scan`] finds the end of a head in bytes that may still be arriving.
//! 2. [`head`] parses it: the start line ([`mod@line`], [`authority`]), then the fields ([`field`]),
//!    and settles what they mean together. A [`head::Head`] that parsed is unambiguous.
//! 3. [`framing`] says where the body ends and whether the connection outlives the exchange.
//! 4. [`rewrite`] appends the head that is sent on to the other side.
//! 5. [`chunked`] follows a chunked body from chunk to chunk without reading its data.
//! 6. [`reply`] writes the small responses that the proxy makes itself.
//!
//! [`error`] names every reason to refuse a head and [`token`] holds the classes of bytes.
//!
//! # Strictness
//!
//! A proxy and its origin must agree on where each message ends. Where RFC 9112 lets a recipient
//! either repair a message or refuse it, these modules refuse: request smuggling lives in the
//! difference between two repairs. The rules are those of RFC 9110 and RFC 9112; the places where
//! a choice was made are marked in the modules.

pub mod authority;
pub mod chunked;
pub mod date;
pub mod error;
pub mod field;
pub mod framing;
pub mod head;
pub mod line;
pub mod reply;
pub mod rewrite;
pub mod scan;
pub mod token;

pub use chunked::{ChunkError, ChunkPiece, ChunkedDecoder};
pub use date::HttpDate;
pub use error::HeadError;
pub use field::KnownField;
pub use framing::{BodyFraming, ConnectionOptions, ResponseKind};
pub use head::{Field, Head, HeadLimits};
pub use line::{Method, RequestLine, StatusLine, Target, Version};
pub use reply::Reply;
pub use rewrite::{RequestRewrite, ResponseRewrite};
pub use scan::{HeadScan, MessageKind};
pub use token::Part;
