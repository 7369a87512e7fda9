//! minivoy.
fn main() {}
