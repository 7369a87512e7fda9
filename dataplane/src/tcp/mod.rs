//! TCP: smoltcp's state machines, shown headers and filler, never payload.

mod ingress;
mod phantom;
mod stack;

pub use phantom::{Emitted, PhantomDevice};
pub use stack::{RingSource, Stack};
