//! `lansync diff`.

use std::process::Command;

use super::context::{Context, signals, typed};
use super::error::Failure;
use super::ui::safe;
use crate::api::{ProposalDetail, Request};

/// Show what a proposal changes, with your own `git diff`
///
/// Examples:
///   lansync diff bo/fix
///   lansync diff bo/fix -- --stat
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Diff {
    /// The proposal
    proposal: String,
    /// Options for `git diff`
    #[arg(last = true, value_name = "GIT_OPTION")]
    options: Vec<String>,
}

/// Shows the change.
pub(super) async fn run(context: &Context, diff: Diff) -> Result<(), Failure> {
    let value = context.read_value(Request::Show { proposal: diff.proposal }).await?;
    if context.ui.json {
        return context.ui.json(&value);
    }
    show(context, &typed(value)?, &diff.options)
}

/// Runs git, with its pager and colours as the person has set them.
pub(super) fn show(context: &Context, detail: &ProposalDetail, options: &[String]) -> Result<(), Failure> {
    let proposal = &detail.proposal;
    let is_id = |id: &&String| id.len() >= 40 && id.chars().all(|c| c.is_ascii_hexdigit());
    let (Some(base), Some(tip)) = (detail.base.as_ref().filter(is_id), Some(&proposal.tip).filter(is_id)) else {
        let message = format!("the commits of {} are not here yet", safe(&proposal.name));
        return Err(Failure::new("not-here", message, "lansync status"));
    };
    // Ctrl-C is for the pager while it runs.
    let _signals = signals()?;
    let status = Command::new("git").arg("-C").arg(&context.dir).arg("diff").args(options).args([base, tip]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        // `git diff --exit-code` says so where there are differences.
        Ok(status) => Err(Failure::plain("git", format!("git diff ended with {status}"))),
        Err(error) => Err(Failure::plain("git", format!("cannot run git: {error}"))),
    }
}
