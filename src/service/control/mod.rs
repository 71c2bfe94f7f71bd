//! The control socket: how commands talk to the service of the same person. One JSON value a line.
//!
//! Only the transport is here; what the values mean is in [`crate::api`]. The command line uses [`Control`], the
//! service [`Server`]. A connection carries one request and its replies, and further lines of the command line
//! where a reply asks something; hanging up ends what was asked.

mod client;
mod lines;
mod platform;
mod server;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use client::{Control, ControlError, Replies, ping};
#[cfg(any(test, fuzzing))]
pub(crate) use server::read_envelope;
pub use server::{BindError, HungUp, Server, Session};

/// Longest line of a command: paths, a message of some KiB.
const REQUEST_BYTES: usize = 64 * 1024;
/// Longest line of the service: the list of a few ten thousand proposals.
const REPLY_BYTES: usize = 16 * 1024 * 1024;
/// A command writes its request at once; who connects and says nothing is not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A command that reads nothing for this long (a stopped terminal) is hung up on.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a service may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that wait for the service to take them.
const WAITING: usize = 32;
