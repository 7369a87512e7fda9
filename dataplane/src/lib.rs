//! minivoy's engine: packets in, HTTP proxied, packets out.
//!
//! No device, no clock, no thread: frames and time come in as arguments, so that everything runs
//! in the simulator from a seed. The modules stand in the order in which a byte meets them; read
//! them in that order and you have followed it from wire to wire.
#![forbid(unsafe_code)]

pub mod port;
pub mod settings;

pub mod worker;

pub mod classify;
pub mod flow_table;
pub mod conn;
pub mod tcp;
pub mod payload;
pub mod http1;
pub mod proxy;
pub mod load;
pub mod mover;
pub mod emit;

pub mod checksum;
pub mod counters;
pub mod mailbox;
pub mod neighbor;
pub mod rss;
pub mod steering;
pub mod team;
#[cfg(feature = "sim")]
pub mod sim;
pub mod timer_wheel;
