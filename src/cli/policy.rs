//! `lansync policy`.

use super::context::{Context, typed};
use super::error::Failure;
use super::rights::ballots;
use super::words::count;
use crate::api::{self, Request};

/// Show or set what landings and membership need
///
/// With two votes or more, one stolen key of a maintainer cannot let in, remove
/// or set the policy. A maintainer sets it; where several votes are needed, the
/// others agree with `lansync members vote`.
///
/// Examples:
///   lansync policy
///   lansync policy --approvals 2 --own no
///   lansync policy --votes 2
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Policy {
    /// How many maintainers must approve what lands
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    approvals: Option<u8>,
    /// Whether a maintainer's approval of their own work counts
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"])]
    own: Option<String>,
    /// How many maintainers must agree to let in, remove and set the policy
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..))]
    votes: Option<u8>,
}

/// Shows or sets it.
pub(super) async fn run(context: &Context, policy: Policy) -> Result<(), Failure> {
    let Policy { approvals, own, votes } = policy;
    let value = if approvals.is_none() && own.is_none() && votes.is_none() {
        context.read_value(Request::Policy).await?
    } else {
        let own = own.map(|own| own == "yes");
        context.ask_value(Request::SetPolicy { approvals, own, votes }).await?
    };
    let done: api::Policy = typed(value.clone())?;
    if done.waits.is_some() {
        context.ui.warn("the new policy waits for votes; what is shown holds until then");
    }
    context.print(value, |policy: api::Policy| lines(&policy))
}

fn lines(policy: &api::Policy) -> Vec<String> {
    let own = if policy.own { "one's own counts" } else { "one's own does not count" };
    let (approvals, votes) = (count(policy.approvals.into(), "approval"), count(policy.votes.into(), "vote"));
    let mut lines = vec![
        format!("to land             {approvals}, {own}"),
        format!("to let in, remove   {votes} of {}", count(policy.maintainers, "maintainer")),
    ];
    if policy.votes == 1 && policy.maintainers >= 3 {
        lines.push("lansync policy --votes 2 keeps one stolen key from owning the project".to_owned());
    }
    lines.extend(ballots(&policy.waiting).into_iter().map(|line| format!("waits for votes: {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_two_lines_and_some_advice() {
        let mut policy =
            api::Policy { approvals: 2, own: false, votes: 1, maintainers: 3, waiting: vec![], waits: None };
        insta::assert_snapshot!(lines(&policy).join("\n"), @r"
        to land             2 approvals, one's own does not count
        to let in, remove   1 vote of 3 maintainers
        lansync policy --votes 2 keeps one stolen key from owning the project
        ");
        policy.votes = 2;
        assert_eq!(lines(&policy).len(), 2);
    }
}
