//! The naive fold, as an oracle for the incremental one: slow, and near enough to the protocol's text to be read beside it.
//!
//! `naive` holds events and their pasts, `authority` who may do what, `landings` what stands, `verdict` what is compared.
//! `world`, `logs` and `duels` write logs of real signed events, `mutants` breaks the oracle on purpose to show that those logs
//! exercise each rule, and `compare` holds another fold against it.

mod authority;
mod compare;
mod duels;
mod hearings;
mod heists;
mod landings;
mod logs;
#[expect(clippy::print_stdout, reason = "a test prints figures")]
mod mutants;
mod naive;
mod real;
mod rng;
mod scenarios;
mod set;
mod verdict;
mod world;

pub(crate) use real::differences;
