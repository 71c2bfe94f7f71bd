//! `lansync reject`.

use super::context::Context;
use super::error::Failure;
use super::ui::safe;
use crate::api::{Proposal, Request};

/// Reject a proposal
///
/// Rejects the revision that `lansync show` has last shown on this machine. A
/// newer revision is open again.
///
/// Examples:
///   lansync reject bo/fix -m "rounds the wrong way"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Reject {
    /// The proposal, as HANDLE/BRANCH or the beginning of its id
    proposal: String,
    /// Say why, for the others to read
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Rejects.
pub(super) async fn run(context: &Context, reject: Reject) -> Result<(), Failure> {
    let Reject { proposal, message } = reject;
    let value = context.ask_value(Request::Reject { proposal, message }).await?;
    context.print(value, |proposal: Proposal| vec![format!("Rejected {}", safe(&proposal.name))])
}
