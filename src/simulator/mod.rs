//! Whole pure nodes, many in one process and in virtual time, from a seed: what holds whatever the network, the disks,
//! the clocks and some of the members do.
//!
//! `LANSYNC_SEEDS=10000 cargo test --release --lib simulator::tests::honest_nodes_agree` runs that many seeds. A seed
//! that fails is printed; a line with it in `tests/data/sim-seeds.txt` has it replayed first from then on.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests print figures and fail at once")]

mod check;
mod hostile;
mod log;
mod net;
mod node;
mod people;
mod rng;
mod run;
mod scale;
mod tests;
