//! What safe crates lack of the kernel's TCP sockets, for programs that load others over them.
//!
//! [`mod@discard`] receives bytes without copying them anywhere; [`defer_port`] lets sockets with the same
//! source address have as many connections as there are destinations.

mod defer_port;
mod discard;

pub use defer_port::defer_port;
pub use discard::discard;
