//! `lansync connect`.

use super::context::Context;
use super::error::Failure;
use super::{peers, times};
use crate::api::{Peer, Request};

/// Reach a clone by its address
///
/// For networks on which the others are not found by themselves. The address is
/// remembered.
///
/// Examples:
///   lansync connect 10.0.0.2
///   lansync connect build.example:7483
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Connect {
    /// The address, as HOST or HOST:PORT [default port: 7483]
    addr: String,
}

/// Connects.
pub(super) async fn run(context: &Context, connect: Connect) -> Result<(), Failure> {
    let value = context.ask_value(Request::Connect { addr: connect.addr }).await?;
    context.print(value, |peers: Vec<Peer>| peers::lines(&peers, times::now().timestamp()))
}
