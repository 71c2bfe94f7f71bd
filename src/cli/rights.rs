//! `lansync members revoke`, `role` and `vote`.

use super::context::Context;
use super::error::Failure;
use super::ui::safe;
use super::words::list;
use crate::api::{Ballot, Request, RevokeDone, RoleDone, VoteDone};

/// Take a member, or one machine or clone, off the project
///
/// A maintainer removes anyone who is no maintainer, and maintainers who were
/// let in after them. Anyone else goes by a vote of more than half of the
/// maintainers. What was approved and landed before stays; what the removed
/// machines already have stays there.
///
/// Examples:
///   lansync members revoke bo --reason "left the company"
///   lansync members revoke 3fa9c2d1 --reason "lost laptop"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Revoke {
    /// A handle, or the beginning of the id of a clone or machine
    #[arg(value_name = "MEMBER|PEER-ID")]
    whom: String,
    /// Say why, for the others to read
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Give a member another role
///
/// A smaller role takes effect as a removal does, and what was done before
/// stays.
///
/// Examples:
///   lansync members role bo maintainer
///   lansync members role bo reader
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Role {
    /// A handle
    member: String,
    /// What they may do from now on
    #[arg(value_parser = super::roles())]
    role: String,
}

/// Agree to what waits for votes
///
/// `lansync members` lists what waits. A vote for a removal that holds already
/// makes it stronger.
///
/// Examples:
///   lansync members vote 3fa9c2d1
///   lansync members vote 3fa9c2d1 -m "talked to them"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Vote {
    /// The beginning of the id of a grant, a removal or a policy
    id: String,
    /// Say why, for the others to read
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Removes.
pub(super) async fn revoke(context: &Context, revoke: Revoke) -> Result<(), Failure> {
    let Revoke { whom, reason } = revoke;
    if !context.ui.confirm(&format!("Remove {} from this project?", safe(&whom)), false)? {
        return Err(Failure::plain("not-chosen", "nothing was done"));
    }
    let value = context.ask_value(Request::Revoke { whom, reason }).await?;
    context.print(value, |done: RevokeDone| revoked(&done))
}

/// Changes a role.
pub(super) async fn role(context: &Context, role: Role) -> Result<(), Failure> {
    let Role { member, role } = role;
    let value = context.ask_value(Request::SetRole { member, role }).await?;
    context.print(value, |done: RoleDone| {
        let first = format!("{} is a {} now", safe(&done.member), safe(&done.role));
        let waits = format!("{} is not a {} yet", safe(&done.member), safe(&done.role));
        outcome(&done.id, first, waits, done.accepted, (done.needs_votes, &done.can_vote), &done.unheard)
    })
}

/// Votes.
pub(super) async fn vote(context: &Context, vote: Vote) -> Result<(), Failure> {
    let Vote { id, message } = vote;
    let value = context.ask_value(Request::Vote { on: id, message }).await?;
    context.print(value, |done: VoteDone| {
        let first = format!("You agreed, and it holds: {}", safe(&done.text));
        let waits = format!("You agreed: {}", safe(&done.text));
        outcome(&done.on, first, waits, done.accepted, (done.needs_votes, &done.can_vote), &done.unheard)
    })
}

fn revoked(done: &RevokeDone) -> Vec<String> {
    let (whom, member) = (safe(&done.whom), safe(&done.member));
    let there = if whom == member {
        format!("What {member}'s machines already have stays there.")
    } else {
        "What it already has stays there.".to_owned()
    };
    let first = format!("{whom} was removed. {there}");
    let waits = format!("{whom} is not removed yet");
    outcome(&done.revocation, first, waits, done.accepted, (done.needs_votes, &done.can_vote), &done.unheard)
}

/// What came of something for which votes may be needed.
pub(super) fn outcome(
    id: &str,
    holds: String,
    waits: String,
    accepted: bool,
    (needs, can_vote): (u64, &[String]),
    unheard: &[String],
) -> Vec<String> {
    let mut lines = if accepted { vec![holds] } else { vec![waits] };
    if !accepted {
        lines.push(if needs > 0 { must_agree(needs, id, can_vote) } else { "It does not count".to_owned() });
    }
    if !unheard.is_empty() {
        lines.push(format!("Still to hear of it: {}", names(unheard).join(", ")));
    }
    lines
}

fn must_agree(needs: u64, id: &str, can_vote: &[String]) -> String {
    let short: String = id.chars().take(8).collect();
    let who = match can_vote {
        [] => "nobody else can".to_owned(),
        some => format!("{} can", list(&names(some))),
    };
    let maintainers = if needs == 1 { "maintainer" } else { "maintainers" };
    format!("{needs} more {maintainers} must agree ({who}): lansync members vote {short}")
}

fn names(members: &[String]) -> Vec<String> {
    members.iter().map(|member| safe(member)).collect()
}

/// What waits for votes, a line each.
pub(super) fn ballots(waiting: &[Ballot]) -> Vec<String> {
    let line = |one: &Ballot| {
        format!(
            "{} wants to {}; {}",
            safe(&one.by),
            safe(&one.text),
            must_agree(one.needs_votes, &one.id, &one.can_vote)
        )
    };
    waiting.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(accepted: bool) -> RevokeDone {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        RevokeDone {
            revocation: "ab12cd34ef".to_owned(),
            whom: "bo".to_owned(),
            member: "bo".to_owned(),
            accepted,
            needs_votes: if accepted { 0 } else { 2 },
            can_vote: if accepted { vec![] } else { names(&["cleo", "dan", "eve"]) },
            unheard: names(&["cleo", "dan"]),
        }
    }

    #[test]
    fn a_removal_says_what_stays_and_who_has_still_to_hear() {
        assert_eq!(
            revoked(&done(true)),
            ["bo was removed. What bo's machines already have stays there.", "Still to hear of it: cleo, dan"]
        );
    }

    #[test]
    fn a_removal_that_needs_votes_says_how_many_and_whose() {
        assert_eq!(
            revoked(&done(false))[..2],
            [
                "bo is not removed yet",
                "2 more maintainers must agree (cleo, dan and eve can): lansync members vote ab12cd34"
            ]
        );
    }
}
