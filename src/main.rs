//! The `lansync` program.

fn main() {}
