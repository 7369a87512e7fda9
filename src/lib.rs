//! What the programs of this workspace share: minivoy itself (`src/main.rs`) and its load generator
//! (`src/load/main.rs`). Either is a thin launch side over these modules and `dataplane`.

pub mod access_log;
pub mod cli;
pub mod config;
pub mod eal_args;
pub mod halves;
pub mod preflight;
pub mod signals;
pub mod system;
