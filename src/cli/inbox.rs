//! `lansync inbox`.

use super::context::Context;
use super::error::Failure;
use super::{list, times};
use crate::api::{Proposal, Request};

/// List what waits for you
///
/// Proposals that need your approval come first, then your own that cannot land
/// yet.
///
/// Examples:
///   lansync inbox
///   lansync inbox --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Inbox {}

/// Prints the inbox.
pub(super) async fn run(context: &Context, _: Inbox) -> Result<(), Failure> {
    let value = context.read_value(Request::Inbox).await?;
    context.print(value, |proposals: Vec<Proposal>| {
        if proposals.is_empty() {
            return vec!["Nothing waits for you".to_owned()];
        }
        list::rows(&proposals, times::now().timestamp())
    })
}
