//! `lansync withdraw`.

use super::context::Context;
use super::error::Failure;
use super::ui::safe;
use crate::api::{Proposal, Request};

/// Take back a proposal of yours
///
/// The branch stays as it is; its next commit offers it again.
///
/// Examples:
///   lansync withdraw ana/experiment
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Withdraw {
    /// The proposal, as HANDLE/BRANCH or the beginning of its id
    proposal: String,
}

/// Withdraws.
pub(super) async fn run(context: &Context, withdraw: Withdraw) -> Result<(), Failure> {
    let value = context.ask_value(Request::Withdraw { proposal: withdraw.proposal }).await?;
    context.print(value, |proposal: Proposal| vec![format!("Withdrew {}", safe(&proposal.name))])
}
