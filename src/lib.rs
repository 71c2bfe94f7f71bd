//! lansync: Git without a server.

pub mod api;
pub mod approval;
pub mod cli;
pub mod codec;
pub mod discovery;
pub mod eventlog;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod git;
pub mod hlc;
pub mod id;
pub mod keys;
pub mod limits;
pub mod node;
pub mod quic;
pub mod service;
#[cfg(test)]
mod simulator;
pub mod sync;
