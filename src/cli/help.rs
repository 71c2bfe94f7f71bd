//! `lansync help`.

use std::fmt::Write as _;

use super::context::Context;
use super::error::Failure;

/// Show what the commands do
///
/// Without a command the ten of every day, with `--all` every one.
///
/// Examples:
///   lansync help approve
///   lansync help --all
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Help {
    /// The command to explain
    command: Vec<String>,
    /// List every command
    #[arg(long)]
    all: bool,
}

/// A group of commands: its title, the ones of the first page, and the rest.
type Group = (&'static str, &'static [&'static str], &'static [&'static str]);

const GROUPS: [Group; 4] = [
    ("Start", &["up", "clone"], &["down"]),
    (
        "Every day",
        &["status", "inbox", "show", "approve", "log"],
        &["list", "diff", "propose", "reject", "withdraw", "lfs"],
    ),
    ("People", &["members", "invite"], &["policy", "leave", "whoami", "passphrase"]),
    ("Trouble", &["doctor"], &["verify", "peers", "connect"]),
];

/// Prints help.
pub(super) fn run(context: &Context, help: Help) -> Result<(), Failure> {
    let mut command = super::command();
    if help.command.is_empty() {
        return context.ui.write(page(&command, help.all).as_bytes());
    }
    command.build();
    let mut found = &mut command;
    for name in &help.command {
        found = found.find_subcommand_mut(name).ok_or_else(|| {
            Failure::usage(format!("there is no command `{}`", help.command.join(" ")), "lansync help --all")
        })?;
    }
    let text = found.render_long_help().to_string();
    context.ui.write(text.as_bytes())
}

/// The first page, or with `all` the page of all commands.
pub(super) fn page(command: &clap::Command, all: bool) -> String {
    let about = |name: &str| {
        let found = command.find_subcommand(name);
        found.and_then(|found| found.get_about()).map(ToString::to_string).unwrap_or_default()
    };
    let mut text = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str("\n\nUsage: lansync [OPTIONS] COMMAND\n");
    for (title, first, rest) in GROUPS {
        let _ = write!(text, "\n{title}\n");
        for name in first.iter().chain(if all { rest } else { &[] }) {
            let _ = writeln!(text, "  {name:<9} {}", about(name));
        }
    }
    text.push_str(
        "\nOptions\n  -C DIR         Run as if started in DIR\n      --json         Print JSON, one value or one a line where it \
         streams\n      --yes          Answer questions with yes\n  -h, --help     Print help\n  -V, --version  Print the \
         version\n",
    );
    text.push_str(if all {
        "\n`lansync help COMMAND` says more about one.\n"
    } else {
        "\n`lansync help COMMAND` says more about one, `lansync help --all` lists every command.\n"
    });
    text
}

/// Every page, one after the other.
pub(super) fn all(command: &clap::Command) -> String {
    let mut command = command.clone().term_width(100);
    command.build();
    let mut text = format!("{}\n---\n{}", page(&command, false), page(&command, true));
    for (_, first, rest) in GROUPS {
        for name in first.iter().chain(rest) {
            if let Some(found) = command.find_subcommand_mut(name) {
                let _ = write!(text, "\n--- lansync {name}\n{}", found.render_long_help());
                for inner in found.clone().get_subcommands().filter(|inner| inner.get_name() != "help") {
                    let help = inner.clone().render_long_help();
                    let _ = write!(text, "\n--- lansync {name} {}\n{help}", inner.get_name());
                }
            }
        }
    }
    text
}
