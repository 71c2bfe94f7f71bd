//! `lansync verify`.

use super::context::{Context, typed};
use super::error::Failure;
use super::ui::safe;
use super::words::count;
use crate::api::{Request, Verified};

/// Work everything out again from the log
///
/// Reads every event, checks its signatures, and folds all of them from the
/// first. The digest is equal on all machines that hold the same log and the
/// objects that it names: read it to each other.
///
/// Examples:
///   lansync verify
///   lansync verify --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Verify {}

/// Verifies.
pub(super) async fn run(context: &Context, _: Verify) -> Result<(), Failure> {
    let value = context.read_value(Request::Verify).await?;
    let done: Verified = typed(value.clone())?;
    context.print(value, |done: Verified| {
        let mut lines = vec![safe(&done.digest), count(done.events, "event")];
        lines.extend(done.problems.iter().map(|problem| safe(problem)));
        lines
    })?;
    if done.problems.is_empty() {
        return Ok(());
    }
    let message = format!("the log does not fit together: {}", count(done.problems.len() as u64, "problem"));
    Err(Failure::plain("verify", message))
}
