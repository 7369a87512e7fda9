//! Raw bindings to the system's DPDK (22.11 or later, found by `pkg-config`), made by bindgen while
//! building. Names and meanings are those of DPDK's own headers; nothing is added. What minivoy
//! uses is listed in `build.rs`. Inline functions are called through C wrappers.
//!
//! Use the `dpdk` crate, the only one that depends on this.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "written by a generator after C's habits"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
