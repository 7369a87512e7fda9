//! A software model of the Intel Data Streaming Accelerator.
//!
//! It is for finding faults in drivers, so it does what the specification allows rather than what is
//! convenient: random order inside a batch and across batches, sources read late, lists fetched
//! late, records that come late or never, unused fields full of garbage. All of it follows from a
//! seed. Everything the specification forbids is refused as the device refuses it.
//!
//! Reading order: [`config`] says what can be set; [`gate`] is the queue as who submits sees it,
//! [`engine`] what carries out descriptors ([`check`] refuses them, [`operation`] does one,
//! [`memory`] is where), [`model`] both together, stepped by hand or on a thread.
//!
//! Three ways in: [`portal`] is called by the driver directly; [`trap`] catches the true
//! instructions where the processor does not have them; [`chardev`] stands for `/dev/dsa/wqX.Y` with
//! the kernel's policies, and [`files`] for ordinary files in its place (the preloadable library).

pub mod chardev;
pub mod check;
pub mod config;
pub mod engine;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod files;
pub mod gate;
pub mod memory;
pub mod model;
pub mod operation;
pub mod portal;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod trap;

pub use config::{Config, Faults};
pub use gate::{Gate, Instruction};
pub use memory::Memory;
pub use model::{Model, Runner};
pub use portal::ModelPortal;
