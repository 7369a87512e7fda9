//! minivoy's engine.
//!
//! The modules stand in the order in which a byte meets them.
#![forbid(unsafe_code)]

pub mod http1;
pub mod port;
pub mod settings;
