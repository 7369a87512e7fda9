//! Regions of memory.
