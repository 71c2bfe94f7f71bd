//! `lansync members link` and `unlink`: further machines of one's own.

use super::context::{Context, typed};
use super::error::Failure;
use super::times::parse_length;
use super::ui::{columns, safe};
use super::words::{count, list, local, short};
use crate::api::{LinkTicket, Member, Request, UnlinkDone};

/// Make a ticket for a further machine of your own
///
/// On the new machine it makes you the same member as here, with the same
/// role; nobody is asked. It is good once, and as long as this repository is
/// shared here without a break. Hand it over as you would a key.
///
/// Examples:
///   lansync members link
///   lansync members link --expires 10m
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Link {
    /// How long it is good for: 90s, 30m, 24h, 7d or 2w
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_length)]
    expires: u64,
}

/// Take a machine of your own off, a lost one say
///
/// What was done on it up to now stands, what it does from now on counts no
/// more, and it gets nothing new. What it has stays there. Type it on another
/// machine of yours.
///
/// Examples:
///   lansync members unlink laptop
///   lansync members unlink 3f9c2b1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Unlink {
    /// Its name, or the start of its id or of the id of a clone on it
    #[arg(value_name = "MACHINE")]
    machine: String,
}

/// Makes a ticket.
pub(super) async fn link(context: &Context, link: Link) -> Result<(), Failure> {
    let value = context.ask_value(Request::Link { expires: link.expires }).await?;
    if context.ui.json {
        return context.ui.json(&value);
    }
    let made: LinkTicket = typed(value)?;
    context.ui.out(&safe(&made.ticket))?;
    let (member, until) = (safe(&made.member), local(&made.expires_at));
    context.ui.say(&format!("Good for one further machine of {member}, until {until}. On that machine you type:"));
    context.ui.say("  lansync clone TICKET");
    Ok(())
}

/// Takes a machine off.
pub(super) async fn unlink(context: &Context, unlink: Unlink) -> Result<(), Failure> {
    let value = context.ask_value(Request::Unlink { machine: unlink.machine }).await?;
    context.print(value, |done: UnlinkDone| said(&done))
}

fn said(done: &UnlinkDone) -> Vec<String> {
    let name = if done.name.is_empty() { short(&done.machine) } else { safe(&done.name) };
    let mut lines = vec![
        format!("{name} ({}) is none of your machines any more", count(done.clones, "clone")),
        "What it has stays there; what it does from now on counts no more, and it gets nothing new".to_owned(),
    ];
    if !done.unaware.is_empty() {
        lines.push(format!("Not here now, so they hear of it later: {}", list(&done.unaware)));
    }
    lines
}

/// The machines of those who have several.
pub(super) fn lines(members: &[Member]) -> Vec<String> {
    let several = members.iter().filter(|member| member.machines.len() > 1);
    let rows: Vec<Vec<String>> = several
        .flat_map(|member| {
            member.machines.iter().map(|machine| {
                let name = if machine.name.is_empty() { "first machine".to_owned() } else { safe(&machine.name) };
                let this = if machine.this { "this one".to_owned() } else { String::new() };
                vec![safe(&member.member), short(&machine.identity), name, count(machine.clones, "clone"), this]
            })
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "Machines:".to_owned()];
    lines.extend(columns(&rows).into_iter().map(|row| format!("  {row}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::member;
    use super::*;
    use crate::api::Machine;

    #[test]
    fn machines_are_listed_where_somebody_has_several() {
        let machine = |identity: &str, name: &str, this| Machine {
            identity: identity.repeat(9),
            name: name.to_owned(),
            this,
            clones: 1,
        };
        let mut ana = member("ana", "active");
        ana.machines = vec![machine("3f9c2b10", "", true), machine("77aa0c1d", "lap\u{1b}top", false)];
        let mut bo = member("bo", "active");
        bo.machines = vec![machine("0102030a", "", false)];
        insta::assert_snapshot!(lines(&[ana, bo.clone()]).join("\n"), @r"

        Machines:
          ana  3f9c2b1  first machine  1 clone  this one
          ana  77aa0c1  laptop         1 clone
        ");
        assert!(lines(&[bo]).is_empty());
    }

    #[test]
    fn unlinking_says_what_it_means() {
        let unaware = vec!["bo".to_owned(), "cy".to_owned()];
        let done = UnlinkDone { machine: "3f9c2b10".repeat(8), name: String::new(), clones: 2, unaware };
        insta::assert_snapshot!(said(&done).join("\n"), @r"
        3f9c2b1 (2 clones) is none of your machines any more
        What it has stays there; what it does from now on counts no more, and it gets nothing new
        Not here now, so they hear of it later: bo and cy
        ");
    }
}
