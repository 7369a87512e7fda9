//! The Intel Data Streaming Accelerator (DSA) from user space, without DPDK.
//!
//! A device copies what 64-byte *descriptors* tell it and writes 32-byte *completion records*. A
//! descriptor is submitted by one instruction that writes it to a page, the *portal*, of a *work
//! queue*; a BATCH descriptor points to a list of others. Addresses are the process's own: the
//! device goes through the IOMMU with the process's page tables (shared virtual memory).
//!
//! Layouts and numbers are those of `linux/idxd.h`, against which `tests/layout.rs` checks them;
//! rules of behaviour are those of Intel's "Data Streaming Accelerator Architecture Specification".
//!
//! Reading order: [`descriptor`] and [`record`] are what crosses the border; [`sysfs`] finds work
//! queues; [`chardev`], [`portal`] and [`instruction`] are the ways in; [`queue`] counts the slots.
//! [`dma`] is memory that the device reads and writes; [`mover`] puts all of it to use.
//!
//! # Who owns what
//!
//! The device writes to memory while nobody looks. All memory it may write is either
//! [`dma::DmaArray`]s, of atomics, or bytes of which no Rust reference exists meanwhile.

pub mod chardev;
pub mod descriptor;
pub mod dma;
mod error;
pub mod instruction;
pub mod mover;
pub mod portal;
pub mod queue;
pub mod record;
pub mod sysfs;

pub use descriptor::{Descriptor, Flags, Opcode};
pub use error::Error;
pub use mover::DsaMover;
pub use queue::WorkQueue;
pub use record::{CompletionRecord, Status};
