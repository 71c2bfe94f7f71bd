//! `lansync list`.

use jiff::Timestamp;

use super::context::Context;
use super::error::Failure;
use super::times;
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
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct List {
    /// List landed, withdrawn and rejected ones as well
    #[arg(long)]
    closed: bool,
}

/// Prints the proposals.
pub(super) async fn run(context: &Context, list: List) -> Result<(), Failure> {
    let value = context.read_value(Request::List { all: list.closed }).await?;
    context.print(value, |proposals: Vec<Proposal>| {
        if proposals.is_empty() {
            return vec!["No proposal is open: a commit on any shared branch makes one".to_owned()];
        }
        rows(&proposals, times::now().timestamp())
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
