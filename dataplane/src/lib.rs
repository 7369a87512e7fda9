//! minivoy's engine.
//!
//! The modules stand in the order in which a byte meets them.
#![forbid(unsafe_code)]

pub mod counters;
pub mod flow_table;
pub mod neighbor;
pub mod port;
pub mod rss;
pub mod settings;
#[cfg(feature = "sim")]
pub mod sim;
pub mod timer_wheel;
