//! `lansync status`.

use jiff::Timestamp;
use serde_json::Value;

use super::context::{Context, typed};
use super::earlier::At;
use super::error::Failure;
use super::{summary, times};
use crate::api::{self, Reply, Request, View};

/// Show how the project stands
///
/// Who is here, what waits for you and for others, how far the branches are,
/// and what is not shared yet and why.
///
/// Examples:
///   lansync status
///   lansync status --watch
///   lansync status --at yesterday
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Status {
    /// Show it again after every change, until Ctrl-C
    #[arg(long, conflicts_with = "at")]
    watch: bool,
    #[command(flatten)]
    at: At,
}

/// Prints the status.
pub(super) async fn run(context: &Context, status: Status) -> Result<(), Failure> {
    if status.watch {
        return watch(context).await;
    }
    let then = status.at.then()?;
    let value = context.read_value(then.ask(Request::Status)).await?;
    print(context, value)
}

/// Prints a status that has been asked for.
pub(super) fn print(context: &Context, value: Value) -> Result<(), Failure> {
    let ui = context.ui;
    context.print(value, |status: api::Status| {
        let then = status.at.as_ref().and_then(|at| at.parse().ok());
        lines(&status, then.unwrap_or_else(|| times::now().timestamp()), &|label| ui.bold(label))
    })
}

async fn watch(context: &Context) -> Result<(), Failure> {
    let ui = context.ui;
    let mut stream = context.ask(Request::Watch).await?;
    let mut first = true;
    while let Some(reply) = stream.next().await? {
        let Reply::Line { mut value } = reply else { continue };
        if ui.json {
            ui.json(&value["status"].take())?;
            continue;
        }
        let view: View = typed(value)?;
        let lines = lines(&view.status, times::now().timestamp(), &|label| ui.bold(label));
        match (ui.screen, first) {
            // Home, and clear what is below.
            (true, _) => ui.write(b"\x1b[H\x1b[2J")?,
            (false, true) => {}
            (false, false) => ui.out("")?,
        }
        ui.out_all(&lines)?;
        first = false;
    }
    Ok(())
}

/// The lines for a screen.
fn lines(status: &api::Status, now: Timestamp, bold: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut lines = summary::head(status, now);
    let sections = summary::sections(status, now);
    if !sections.is_empty() {
        lines.push(String::new());
    }
    let wide = sections.iter().map(|section| section.label.len()).max().unwrap_or(0);
    for section in &sections {
        for (at, line) in section.lines.iter().enumerate() {
            let label = if at == 0 { section.label } else { "" };
            let space = " ".repeat(wide - label.len() + 2);
            let label = if label.is_empty() { String::new() } else { bold(label) };
            lines.push(format!("{label}{space}{line}"));
        }
    }
    if let Some(next) = summary::next(status) {
        lines.extend([String::new(), format!("Next: {next}")]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::{now, status};
    use super::*;

    fn said(status: &api::Status) -> String {
        lines(status, now(), &str::to_owned).join("\n")
    }

    #[test]
    fn a_busy_project_on_one_screen() {
        insta::assert_snapshot!(said(&status()), @r"
        main 4f2c9e1, moved 0.1 s ago: bo/fix-2 landed, approved by ana
        your main is 2 commits behind, and was left: the work tree has uncommitted changes
        next has 2 heads: aaaaaaa and bbbbbbb
        next is diverged: its heads conflict and wait for a merge by a person
        payroll, you are ana (maintainer)

        here        bo (0.3 ms)
        away        cy (3 h ago)
        asks        dee asks to join: lansync members accept WORDS
        my turn     bo/fix: Round totals half up (2 commits, +12 -3, 4 m ago)
        mine        ana/parser: Read dates of two digits, needs one approval
        others      cy/docs: Say how to install[31m, conflicts with main in README.md
        waiting     3 events and 1 commit for 1 member
                    2 events of yours nobody else has yet
        stays here  old (3 commits): it has not moved since the first up
        problem     your clock is 12 minutes ahead
                      timedatectl set-ntp true

        Next: lansync members accept WORDS   (the two words that dee reads to you)
        ");
    }

    #[test]
    fn a_project_of_one_says_how_others_come() {
        let mut status = status();
        (status.peers, status.open, status.asking) = (vec![], vec![], vec![]);
        (status.not_shared, status.problems, status.last_landing) = (vec![], vec![], None);
        status.waiting = api::Waiting { events: 0, objects: 0, members: 0, unsent: 0 };
        status.branches.truncate(1);
        status.branches[0].moved_at = None;
        insta::assert_snapshot!(said(&status), @r"
        main 4f2c9e1
        your main is 2 commits behind, and was left: the work tree has uncommitted changes
        payroll, you are ana (maintainer)

        here  only you so far; others join with: lansync clone
        ");
    }

    #[test]
    fn without_a_service_it_says_so_first() {
        let mut status = status();
        status.running = false;
        for peer in &mut status.peers {
            peer.connected = false;
        }
        let said = said(&status);
        assert!(said.contains("payroll, you are ana (maintainer); not being shared now: lansync up"), "{said}");
        assert!(!said.contains("\nhere "), "{said}");
    }

    #[test]
    fn an_earlier_time_is_named_first() {
        let mut status = status();
        (status.running, status.at) = (false, Some("2026-11-24T12:00:00.000Z".to_owned()));
        let all = said(&status);
        assert!(all.starts_with("As of 2026-11-2") && !all.contains("not being shared"), "{all}");
        status.branches.clear();
        assert!(said(&status).contains("\nThe project had not begun\n"));
    }

    #[test]
    fn before_the_first_commit() {
        let mut status = status();
        status.branches.clear();
        assert!(said(&status).starts_with("No commit yet: your first commit starts the project\n"));
    }
}
