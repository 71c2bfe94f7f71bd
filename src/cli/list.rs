//! `lansync list`.

use jiff::Timestamp;

use super::context::Context;
use super::earlier::At;
use super::error::Failure;
use super::ui::{columns, safe};
use super::words::{ago, needs, short, size};
use crate::api::{Proposal, Request};

/// List the open proposals
///
/// A proposal is a member's branch that is offered to a canonical one. It is
/// named HANDLE/BRANCH.
///
/// Examples:
///   lansync list
///   lansync list --closed
///   lansync list --at yesterday
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct List {
    /// List landed, withdrawn and rejected ones as well
    #[arg(long)]
    closed: bool,
    #[command(flatten)]
    at: At,
}

/// Prints the proposals.
pub(super) async fn run(context: &Context, list: List) -> Result<(), Failure> {
    let then = list.at.then()?;
    let value = context.read_value(then.ask(Request::List { all: list.closed })).await?;
    context.print(value, |proposals: Vec<Proposal>| {
        if proposals.is_empty() && then.is_earlier() {
            return then.headed(vec!["No proposal was open".to_owned()]);
        }
        if proposals.is_empty() {
            return vec!["No proposal is open: a commit on any shared branch makes one".to_owned()];
        }
        then.headed(rows(&proposals, then.timestamp()))
    })
}

/// One line for each.
pub(super) fn rows(proposals: &[Proposal], now: Timestamp) -> Vec<String> {
    let rows: Vec<Vec<String>> = proposals
        .iter()
        .map(|proposal| {
            let state = match (proposal.state.as_str(), proposal.my_turn) {
                ("open", true) => "your turn".to_owned(),
                ("open", false) => needs(proposal),
                (state, _) => safe(state),
            };
            vec![
                safe(&proposal.name),
                short(&proposal.tip),
                safe(&proposal.title),
                size(proposal),
                ago(&proposal.at, now),
                state,
            ]
        })
        .collect();
    columns(&rows)
}
