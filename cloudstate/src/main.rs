//! The `cloudstate` binary.

fn main() {}
