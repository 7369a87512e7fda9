//! DPDK as minivoy sees it: the only crate that names `dpdk-sys`.
//!
//! One file for each of DPDK's concepts:
//! - [`Eal`] (`eal`, `eal_log`, `lcore`, `ticks`): the environment, its log, its cores, their clock;
//! - [`MbufPool`] (`mempool`): packet memory in two sizes, a [`dataplane::port::FramePool`];
//! - [`Mbuf`] (`mbuf`): one buffer of it, a [`dataplane::port::Frame`];
//! - [`DpdkDevice`] (`device`, `rss`): an ethdev, configured and started once;
//! - [`DpdkPort`] (`port`, `tx`): one of its queue pairs, a [`dataplane::port::Port`];
//! - [`DmaDevice`] (`dma`): a dmadev, whichever, as a [`DmaChannel`]; [`DmaMover`] (`dma_mover`): a
//!   [`dataplane::mover::Mover`] on one;
//! - [`DpdkError`] (`error`).
//!
//! # What keeps what alive
//! EAL unmaps all packet memory when it is cleaned up, and a mempool's memory is gone with it. So
//! every handle holds the ones it rests on: ports hold their device, devices and pools hold the
//! `Eal`. A pool that is dropped while buffers of it are still out is leaked, and EAL with it,
//! rather than pulled from under them (and this is logged as the fault it is).

mod device;
mod dma;
mod dma_mover;
mod eal;
mod eal_log;
mod error;
mod lcore;
mod mbuf;
mod mempool;
mod port;
mod rss;
mod ticks;
mod tx;

pub use device::{DeviceConfig, DpdkDevice};
pub use dma::{CopyEnd, DmaChannel, DmaDevice};
pub use dma_mover::{DmaMover, DmaSettings};
pub use eal::Eal;
pub use error::{DpdkError, Errno};
pub use lcore::{Job, LcoreId};
pub use mbuf::Mbuf;
pub use mempool::{ClassConfig, MbufPool, PoolConfig};
pub use port::{BURST, DpdkPort};
pub use rss::Rss;
pub use ticks::ticks;
