//! A network that exists only in memory: the engine's tests run against it, from a seed.
//!
//! Everything here happens in virtual time, counted in microseconds by a [`Clock`], and everything
//! random comes from a [`Rng`] with a seed: a run that failed fails again in the same way. A packet
//! meets the modules in this order:
//!
//! 1. [`host`]: peers made of stock smoltcp with real ring buffers and Ethernet of their own. On
//!    them run [`client`] and [`origin`], which check every byte against [`pattern`].
//! 2. [`wire`]: the link, which loses, repeats, delays and damages packets.
//! 3. [`mod@port`]: the device between the wire and the engine, with frames from [`pool`]; [`spread`]
//!    when it has several queues.
//! 4. [`world`]: the worker (or several), its ports and the hosts, run from event to event. Or
//!    [`chain`]: engines alone, a load client, a proxy and a load origin.
//!
//! [`bed`] is not part of that: hosts that cost next to nothing, for measuring the engine.

pub mod bed;
pub mod chain;
pub mod client;
pub mod host;
pub mod message;
pub mod origin;
pub mod pattern;
pub mod pool;
pub mod port;
pub mod rng;
pub mod segment;
pub mod spread;
pub mod wire;
pub mod world;

pub use chain::Chain;
pub use pool::{SimFrame, SimPool};
pub use port::{PortOptions, SimPort, Split};
pub use rng::Rng;
pub use spread::Spread;
pub use wire::{Clock, End, Faults, Wire};
pub use world::{Setup, World};
