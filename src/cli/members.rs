//! `lansync members`.

use jiff::Timestamp;

use super::context::{Context, typed};
use super::earlier::At;
use super::error::Failure;
use super::machines::{self, Link, Unlink};
use super::rights;
use super::ui::{columns, safe};
use super::words::{ago, count};
use crate::api::{AcceptDone, Member, Policy, Request};

/// List the members, let people in, change roles, remove, and link machines of your own
///
/// Examples:
///   lansync members
///   lansync members --at 30d
///   lansync members accept maple river
///   lansync members accept maple-river --role reader
///   lansync members link
///   lansync members unlink laptop
///   lansync members role bo maintainer
///   lansync members revoke bo --reason "left the company"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
pub(super) struct Members {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Accept(Accept),
    Link(Link),
    Unlink(Unlink),
    Role(rights::Role),
    Revoke(rights::Revoke),
    Vote(rights::Vote),
}

/// Let someone in who asks to join
///
/// Type the two words that they read to you from their screen. Comparing them
/// is what keeps a stranger out, so they are not shown here. With `--yes` their
/// handle does, without the words.
///
/// Examples:
///   lansync members accept maple river
///   lansync members accept cy --yes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
struct Accept {
    /// The two words, as `maple river` or `maple-river`
    #[arg(required = true, num_args = 1..=2)]
    words: Vec<String>,
    /// What they may do [default: contributor]
    #[arg(long, value_parser = super::roles())]
    role: Option<String>,
}

/// Lists or accepts.
pub(super) async fn run(context: &Context, members: Members) -> Result<(), Failure> {
    match members.action {
        Some(Action::Accept(accept)) => run_accept(context, accept).await,
        Some(Action::Link(link)) => machines::link(context, link).await,
        Some(Action::Unlink(unlink)) => machines::unlink(context, unlink).await,
        Some(Action::Role(role)) => rights::role(context, role).await,
        Some(Action::Revoke(revoke)) => rights::revoke(context, revoke).await,
        Some(Action::Vote(vote)) => rights::vote(context, vote).await,
        None => {
            let then = members.at.then()?;
            let value = context.read_value(then.ask(Request::Members)).await?;
            if context.ui.json {
                return context.ui.json(&value);
            }
            let mut all = lines(&typed::<Vec<Member>>(value)?, then.timestamp(), !then.is_earlier());
            if !then.is_earlier() {
                let policy: Policy = typed(context.read_value(Request::Policy).await?)?;
                all.extend(rights::ballots(&policy.waiting).into_iter().map(|line| format!("waits for votes: {line}")));
            }
            context.ui.out_all(&then.headed(all))
        }
    }
}

async fn run_accept(context: &Context, accept: Accept) -> Result<(), Failure> {
    let (words, handle) = match whom(&accept.words) {
        Whom::Words(words) => (Some(words), None),
        Whom::Handle(handle) => (None, Some(without_words(context, handle)?)),
        Whom::Either(words, handle) => {
            // A handle with a dash in it looks like two words; with --yes it is one if somebody of that name asks.
            let asks = context.ui.yes && asking(context).await?.contains(&handle);
            if asks { (None, Some(handle)) } else { (Some(words), None) }
        }
    };
    let value = context.ask_value(Request::Accept { words, handle, role: accept.role }).await?;
    context.print(value, |done: AcceptDone| vec![format!("{} is in, as {}", safe(&done.member), safe(&done.role))])
}

#[derive(Debug, PartialEq, Eq)]
enum Whom {
    Words([String; 2]),
    Handle(String),
    Either([String; 2], String),
}

fn whom(arguments: &[String]) -> Whom {
    let lower = |word: &str| word.trim().to_lowercase();
    match arguments {
        [first, second] => Whom::Words([lower(first), lower(second)]),
        [one, ..] => {
            let parts: Vec<&str> = one.split(['-', ' ']).filter(|part| !part.is_empty()).collect();
            match parts[..] {
                [first, second] => Whom::Either([lower(first), lower(second)], lower(one)),
                _ => Whom::Handle(lower(one)),
            }
        }
        [] => Whom::Handle(String::new()),
    }
}

fn without_words(context: &Context, handle: String) -> Result<String, Failure> {
    if context.ui.yes {
        return Ok(handle);
    }
    let message = format!("`{}` is one word: type the two that are read to you", safe(&handle));
    if !context.ui.ask {
        return Err(Failure::new("needs-words", message, format!("lansync members accept {} --yes", safe(&handle))));
    }
    let question = format!("Let {} in without comparing the words?", safe(&handle));
    if context.ui.confirm(&question, false)? {
        Ok(handle)
    } else {
        Err(Failure::new("needs-words", message, "lansync members accept WORD WORD"))
    }
}

async fn asking(context: &Context) -> Result<Vec<String>, Failure> {
    let members: Vec<Member> = typed(context.ask_value(Request::Members).await?)?;
    Ok(members.into_iter().filter(|member| member.state == "asking").map(|member| member.member).collect())
}

/// `present`: who is here is known, as it is of now only.
fn lines(members: &[Member], now: Timestamp, present: bool) -> Vec<String> {
    let mut lines = rows(members, now, present);
    lines.extend(machines::lines(members));
    lines
}

fn rows(members: &[Member], now: Timestamp, present: bool) -> Vec<String> {
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            let mut handle = safe(&member.member);
            if member.me {
                handle.push_str(" (you)");
            }
            let name = if member.name == member.member { String::new() } else { safe(&member.name) };
            let role = member.role.as_deref().map(safe).unwrap_or_default();
            let state = match member.state.as_str() {
                "asking" => "asks to join: lansync members accept WORDS".to_owned(),
                "active" if present => presence(member, now),
                "active" => count(member.peers.len() as u64, "clone"),
                state => safe(state),
            };
            vec![handle, name, role, state]
        })
        .collect();
    columns(&rows)
}

fn presence(member: &Member, now: Timestamp) -> String {
    let connected = member.peers.iter().filter(|peer| peer.connected).count() as u64;
    let clones = member.peers.len() as u64;
    let last = member.peers.iter().filter_map(|peer| peer.last_seen.as_deref()).max();
    let where_ = match (member.me, connected, last) {
        (true, ..) => "here".to_owned(),
        (_, 1.., _) => "here".to_owned(),
        (_, 0, Some(at)) => format!("away, here {}", ago(at, now)),
        (_, 0, None) => "away".to_owned(),
    };
    if clones > 1 { format!("{where_}, {}", count(clones, "clone")) } else { where_ }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{member, now};
    use super::*;
    use crate::api::MemberPeer;

    #[test]
    fn words_and_handles_are_told_apart() {
        let of = |arguments: &[&str]| whom(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        let words = || ["maple".to_owned(), "river".to_owned()];
        assert_eq!(of(&["Maple", "RIVER"]), Whom::Words(words()));
        assert_eq!(of(&["maple-river"]), Whom::Either(words(), "maple-river".to_owned()));
        assert_eq!(of(&["maple river"]), Whom::Either(words(), "maple river".to_owned()));
        assert_eq!(of(&["cy"]), Whom::Handle("cy".to_owned()));
        assert_eq!(of(&["a-b-c"]), Whom::Handle("a-b-c".to_owned()));
    }

    #[test]
    fn the_list_says_who_is_here_and_who_asks() {
        let mut ana = member("ana", "active");
        (ana.me, ana.role) = (true, Some("maintainer".to_owned()));
        let mut bo = member("bo", "active");
        (bo.name, bo.role) = ("Bo Berg".to_owned(), Some("contributor".to_owned()));
        let peer = |last_seen: Option<&str>| MemberPeer {
            peer: "p".to_owned(),
            connected: false,
            last_seen: last_seen.map(str::to_owned),
        };
        bo.peers = vec![peer(Some("2026-11-24T10:00:00.000Z")), peer(None)];
        let said = lines(&[ana, bo, member("cy", "asking")], now(), true).join("\n");
        insta::assert_snapshot!(said, @r"
        ana (you)           maintainer   here
        bo         Bo Berg  contributor  away, here 2 h ago, 2 clones
        cy                               asks to join: lansync members accept WORDS
        ");
    }
}
