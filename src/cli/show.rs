//! `lansync show`.

use jiff::Timestamp;

use super::context::{Context, typed};
use super::error::Failure;
use super::ui::{columns, safe};
use super::words::{ago, count, list, short, size};
use super::{diff, times};
use crate::api::{ProposalDetail, Request};

/// Show a proposal: its commits, its approvals and what keeps it from landing
///
/// `lansync approve` approves the revision that was last shown here, and
/// refuses a newer one. A PROPOSAL is named HANDLE/BRANCH, or by the beginning
/// of its id.
///
/// Examples:
///   lansync show bo/fix
///   lansync show bo/fix --diff
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Show {
    /// The proposal
    proposal: String,
    /// Show the change as well, with your own `git diff`
    #[arg(long, conflicts_with = "json")]
    diff: bool,
}

/// Prints a proposal.
pub(super) async fn run(context: &Context, show: Show) -> Result<(), Failure> {
    let value = context.read_value(Request::Show { proposal: show.proposal }).await?;
    if context.ui.json {
        return context.ui.json(&value);
    }
    let detail: ProposalDetail = typed(value)?;
    context.ui.out_all(&lines(&detail, show.diff, times::now().timestamp()))?;
    if show.diff {
        context.ui.out("")?;
        diff::show(context, &detail, &[])?;
    }
    Ok(())
}

fn lines(detail: &ProposalDetail, with_diff: bool, now: Timestamp) -> Vec<String> {
    let proposal = &detail.proposal;
    let name = safe(&proposal.name);
    let mut lines = vec![format!("{name}: {}", safe(&proposal.title))];
    let mut about = format!("{} for {}, by {}", safe(&proposal.state), safe(&proposal.target), safe(&proposal.author));
    if detail.revisions > 1 {
        about.push_str(&format!(", revision {}", detail.revisions));
    }
    about.push_str(&format!(", offered {}", ago(&proposal.at, now)));
    match size(proposal) {
        size if size.is_empty() => {}
        size => about.push_str(&format!(", {size}")),
    }
    lines.push(about);
    if !detail.log.is_empty() {
        lines.push(String::new());
        let commits: Vec<Vec<String>> = detail
            .log
            .iter()
            .map(|commit| vec![short(&commit.id), safe(&commit.title), safe(&commit.author), ago(&commit.at, now)])
            .collect();
        lines.extend(columns(&commits));
        let more = proposal.commits.unwrap_or(0).saturating_sub(detail.log.len() as u64);
        if more > 0 {
            lines.push(format!("and {} before these", count(more, "commit")));
        }
    }
    let mut rows = Vec::new();
    if let Some(base) = &proposal.builds_on {
        rows.push(vec!["builds on".to_owned(), safe(base)]);
    }
    for approval in &proposal.approvals {
        let mut text = format!("by {}, {}", safe(&approval.member), ago(&approval.at, now));
        if approval.commit != proposal.tip {
            text.push_str(&format!(", of {}", short(&approval.commit)));
        }
        if let Some(message) = approval.message.as_ref().filter(|message| !message.is_empty()) {
            text.push_str(&format!(": {}", safe(message)));
        }
        rows.push(vec!["approved".to_owned(), text]);
    }
    for conflict in &proposal.conflicts {
        rows.push(vec!["conflicts".to_owned(), format!("with {} in {}", safe(&conflict.with), list(&conflict.paths))]);
    }
    if !proposal.needs.is_empty() {
        rows.push(vec!["needs".to_owned(), list(&proposal.needs)]);
    }
    if let Some(reason) = &proposal.reason {
        rows.push(vec!["rejected".to_owned(), safe(reason)]);
    }
    if !rows.is_empty() {
        lines.push(String::new());
        lines.extend(columns(&rows));
    }
    if proposal.state == "open" {
        let look = (!with_diff && proposal.here).then(|| format!("lansync show {name} --diff"));
        let approve = proposal.my_turn.then(|| format!("lansync approve {name}"));
        let next: Vec<String> = look.into_iter().chain(approve).collect();
        if !next.is_empty() {
            lines.extend([String::new(), format!("Next: {}", next.join("   or   "))]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::{now, proposal};
    use super::*;
    use crate::api::{Approval, Commit, Conflict};

    #[test]
    fn a_proposal_on_one_screen() {
        let mut proposal = proposal("bo", "fix", "Round totals half up");
        proposal.my_turn = true;
        proposal.needs = vec!["one more approval".to_owned()];
        proposal.conflicts = vec![Conflict { with: "cy/parser".to_owned(), paths: vec!["src/a.rs".to_owned()] }];
        proposal.approvals = vec![Approval {
            member: "cy".to_owned(),
            commit: proposal.tip.clone(),
            at: "2026-11-24T11:58:00.000Z".to_owned(),
            message: Some("looks right\u{1b}[2J".to_owned()),
        }];
        let commit = |id: &str, title: &str| Commit {
            id: id.to_owned(),
            title: title.to_owned(),
            author: "Bo".to_owned(),
            at: "2026-11-24T11:00:00.000Z".to_owned(),
        };
        let log = vec![commit("5151515151", "Round totals half up"), commit("0101010101", "Test it\u{202e}")];
        let detail = ProposalDetail { proposal, log, base: Some("a".repeat(40)), revisions: 2 };
        insta::assert_snapshot!(lines(&detail, false, now()).join("\n"), @r"
        bo/fix: Round totals half up
        open for main, by bo, revision 2, offered 4 m ago, 2 commits, +12 -3

        5151515  Round totals half up  Bo  1 h ago
        0101010  Test it               Bo  1 h ago

        approved   by cy, 2 m ago: looks right[2J
        conflicts  with cy/parser in src/a.rs
        needs      one more approval

        Next: lansync show bo/fix --diff   or   lansync approve bo/fix
        ");
    }
}
