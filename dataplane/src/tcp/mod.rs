//! TCP: smoltcp's state machines, shown headers and filler, never payload.

mod congestion;
mod ingress;
mod phantom;
mod recovery;
mod stack;

pub use congestion::Congestion;
pub use phantom::{Emitted, PhantomDevice};
pub use recovery::{Recovery, Resent};
pub use stack::{RingSource, Stack};
