//! What the tests share: a pool of heap frames and a network of their own.
#![allow(dead_code)] // Each test file uses its part.

pub mod lab;
pub mod pool;
pub mod wire;
