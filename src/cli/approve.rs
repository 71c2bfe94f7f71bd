//! `lansync approve`.

use super::context::{Context, typed};
use super::error::Failure;
use super::ui::safe;
use super::words::{list, short};
use crate::api::{ApproveDone, Request};

/// Approve a proposal
///
/// Approves the revision that `lansync show` has last shown on this machine,
/// and refuses a newer one. The approval that completes the policy also lands
/// it: the canonical branch moves, for everybody.
///
/// Examples:
///   lansync approve bo/fix
///   lansync approve bo/fix -m "checked on the test data"
///   lansync approve bo/fix --commit 4f2c9e1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Approve {
    /// The proposal, as HANDLE/BRANCH or the beginning of its id
    proposal: String,
    /// Approve exactly this commit: a revision, or one inside it
    #[arg(long, value_name = "OID")]
    commit: Option<String>,
    /// Say why, for the others to read
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Approves.
pub(super) async fn run(context: &Context, approve: Approve) -> Result<(), Failure> {
    let Approve { proposal, commit, message } = approve;
    let value = context.ask_value(Request::Approve { proposal, commit, message }).await?;
    if context.ui.json {
        return context.ui.json(&value);
    }
    let done: ApproveDone = typed(value)?;
    context.ui.out(&line(&done))
}

fn line(done: &ApproveDone) -> String {
    let branch = safe(&done.branch);
    match &done.landed {
        Some(landed) => format!("Landed on {branch}, {}", short(landed)),
        None => {
            let approved = format!("Approved {} at {}", safe(&done.proposal), short(&done.commit));
            if done.needs.is_empty() {
                format!("{approved}; it lands on {branch} shortly")
            } else {
                format!("{approved}; it still needs {}", list(&done.needs))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_whether_it_landed_or_what_it_needs() {
        let mut done = ApproveDone {
            proposal: "bo/fix".to_owned(),
            commit: "5".repeat(40),
            branch: "main".to_owned(),
            landed: Some("4f2c9e1aaaa".to_owned()),
            needs: vec![],
        };
        assert_eq!(line(&done), "Landed on main, 4f2c9e1");
        done.landed = None;
        assert_eq!(line(&done), "Approved bo/fix at 5555555; it lands on main shortly");
        done.needs = vec!["one more approval".to_owned(), "an owner of src".to_owned()];
        assert_eq!(line(&done), "Approved bo/fix at 5555555; it still needs one more approval and an owner of src");
    }
}
