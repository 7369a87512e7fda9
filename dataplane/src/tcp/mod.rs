//! TCP: smoltcp's state machines, shown headers and filler, never payload.

mod ingress;
mod phantom;
mod recovery;
mod stack;

pub use phantom::{Emitted, PhantomDevice};
pub use recovery::Recovery;
pub use stack::{RingSource, Stack};
