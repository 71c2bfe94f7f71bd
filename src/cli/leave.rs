//! `lansync leave`.

use super::context::{Context, typed};
use super::error::Failure;
use super::ui::safe;
use crate::api::{LeaveDone, Request};

/// Leave this project
///
/// You are no member from then on, and this repository is not shared any more.
/// It stays as it is, with all that is in it. The last maintainer cannot leave.
///
/// Examples:
///   lansync leave
///   lansync leave --yes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Leave {}

/// Leaves.
pub(super) async fn run(context: &Context, _: Leave) -> Result<(), Failure> {
    if !context.ui.confirm("Leave this project? To come back somebody must let you in again.", false)? {
        return Err(Failure::plain("not-chosen", "nothing was done"));
    }
    let value = context.ask_value(Request::Leave).await?;
    let done: LeaveDone = typed(value.clone())?;
    if !done.heard {
        context.ui.warn("nobody was here to hear of it: run `lansync up` once more when others are near");
    }
    context.print(value, |done: LeaveDone| {
        let mut lines = vec![format!("You left {}. This repository stays as it is", safe(&done.project.name))];
        if !done.unheard.is_empty() {
            let names: Vec<String> = done.unheard.iter().map(|member| safe(member)).collect();
            lines.push(format!("Still to hear of it: {}", names.join(", ")));
        }
        lines
    })
}
