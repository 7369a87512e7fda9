//! Where the true bytes of a stream are.
//!
//! smoltcp keeps the *numbers* of a TCP stream; the bytes stay in frames. A [`SpanArena`] holds the
//! list nodes of a whole worker, a [`RecvQueue`] maps what a peer has sent to the frames it lies
//! in, and a [`SendQueue`] does the same for what a peer has not acknowledged yet. Both count in
//! 64-bit stream offsets: byte 0 is the first byte after SYN.

mod recv_queue;
mod send_queue;
mod span;

pub use recv_queue::{Insert, RecvQueue};
pub use send_queue::SendQueue;
pub use span::{SpanArena, SpanId, SpanList};
