//! `lansync propose`.

use super::context::Context;
use super::error::Failure;
use super::ui::safe;
use super::words::size;
use crate::api::{Proposal, Request};

/// Offer a branch by hand
///
/// A commit on a shared branch offers it by itself. This is for branches that
/// existed before the first `lansync up` and have not moved since.
///
/// Examples:
///   lansync propose
///   lansync propose old-idea
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Propose {
    /// The branch [default: the one checked out]
    branch: Option<String>,
}

/// Proposes.
pub(super) async fn run(context: &Context, propose: Propose) -> Result<(), Failure> {
    let value = context.ask_value(Request::Propose { branch: propose.branch }).await?;
    context.print(value, |proposal: Proposal| vec![line(&proposal)])
}

fn line(proposal: &Proposal) -> String {
    let offered = format!("Offered {} for {}: {}", safe(&proposal.name), safe(&proposal.target), safe(&proposal.title));
    match size(proposal) {
        size if size.is_empty() => offered,
        size => format!("{offered} ({size})"),
    }
}
