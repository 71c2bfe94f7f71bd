//! The command line: parse, ask the service (or look into the repository where none runs), print.
//!
//! One file for each command: an arguments struct whose doc comment is the help, then one function. What was
//! asked for goes to stdout, all else to stderr; `error` is the only place that makes words of errors.

mod approve;
mod clone;
mod connect;
mod context;
mod diff;
mod doctor;
mod down;
mod earlier;
mod error;
mod help;
mod inbox;
mod invite;
mod joining;
mod leave;
mod lfs;
mod list;
mod log;
mod machines;
mod members;
mod passphrase;
mod peers;
mod platform;
mod plot;
mod policy;
mod propose;
mod reject;
mod rights;
mod secret;
mod show;
mod start;
mod status;
mod summary;
mod times;
mod ui;
mod up;
mod verify;
mod view;
mod whoami;
mod withdraw;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use context::Context;
use error::Failure;
use ui::Ui;

/// Git without a server: commits, approvals and branches that move by themselves
#[derive(Debug, Parser)]
#[command(name = "lansync", version, disable_help_subcommand = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Run as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true, help_heading = "Global options")]
    start_dir: Option<PathBuf>,
    /// Print JSON, one value or one a line where it streams
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Answer questions with yes
    #[arg(long, global = true, help_heading = "Global options")]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Clone(clone::Clone),
    Status(status::Status),
    Inbox(inbox::Inbox),
    Show(show::Show),
    Approve(approve::Approve),
    Log(log::Log),
    Members(members::Members),
    Invite(invite::Invite),
    Doctor(doctor::Doctor),
    Down(down::Down),
    Leave(leave::Leave),
    Policy(policy::Policy),
    Passphrase(passphrase::Passphrase),
    Verify(verify::Verify),
    Propose(propose::Propose),
    List(list::List),
    Diff(diff::Diff),
    Reject(reject::Reject),
    Withdraw(withdraw::Withdraw),
    Lfs(lfs::Lfs),
    Peers(peers::Peers),
    Connect(connect::Connect),
    Whoami(whoami::Whoami),
    Help(help::Help),
}

/// The roles that can be granted.
fn roles() -> PossibleValuesParser {
    PossibleValuesParser::new(["maintainer", "contributor", "reader", "seed"])
}

/// The command line as clap knows it, with the first page of help.
fn command() -> clap::Command {
    let command = Arguments::command();
    let page = help::page(&command, false);
    command.override_help(page)
}

/// Runs one command line, the program's name first, and gives the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let matches = command().try_get_matches_from(&arguments);
    let parsed = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, json),
    };
    let ui = Ui::new(parsed.global.json, parsed.global.yes);
    let ended = directory(parsed.global.start_dir).and_then(|dir| execute(&Context { ui, dir }, parsed.command));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&ui),
    }
}

/// What clap says about arguments that it does not understand, or help that was asked for.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let ui = Ui::new(json, false);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = ui.write(error.to_string().as_bytes());
            printed.map_or_else(|failure| failure.report(&ui), |()| ExitCode::SUCCESS)
        }
        _ => {
            ui.say(error.to_string().trim_end());
            if json {
                let message = error.to_string();
                let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                if let Some(value) = Failure::usage(message, "lansync --help").lines(true).pop() {
                    ui.say(&value);
                }
            }
            ExitCode::from(2)
        }
    }
}

/// The directory that a command is about.
fn directory(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new("no-directory", format!("there is no current directory: {error}"), "cd ~"))?;
    let Some(given) = given else { return Ok(here) };
    let dir = here.join(given);
    if dir.is_dir() {
        Ok(dir)
    } else {
        Err(Failure::new("no-directory", format!("{} is no directory", dir.display()), "lansync -C DIR ..."))
    }
}

fn execute(context: &Context, command: Command) -> Result<(), Failure> {
    let mut builder = match &command {
        Command::Up(up) if up.is_foreground() => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime =
        builder.enable_all().build().map_err(|error| Failure::plain("runtime", format!("cannot start: {error}")))?;
    let ended = runtime.block_on(dispatch(context, command));
    // A question that nobody has answered does not keep the program.
    runtime.shutdown_background();
    ended
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(up) => up::run(context, up).await,
        Command::Clone(clone) => clone::run(context, clone).await,
        Command::Status(status) => status::run(context, status).await,
        Command::Inbox(inbox) => inbox::run(context, inbox).await,
        Command::Show(show) => show::run(context, show).await,
        Command::Approve(approve) => approve::run(context, approve).await,
        Command::Log(log) => log::run(context, log).await,
        Command::Members(members) => members::run(context, members).await,
        Command::Invite(invite) => invite::run(context, invite).await,
        Command::Doctor(doctor) => doctor::run(context, doctor).await,
        Command::Leave(leave) => leave::run(context, leave).await,
        Command::Policy(policy) => policy::run(context, policy).await,
        Command::Passphrase(passphrase) => passphrase::run(context, passphrase).await,
        Command::Verify(verify) => verify::run(context, verify).await,
        Command::Down(down) => down::run(context, down).await,
        Command::Propose(propose) => propose::run(context, propose).await,
        Command::List(list) => list::run(context, list).await,
        Command::Diff(diff) => diff::run(context, diff).await,
        Command::Reject(reject) => reject::run(context, reject).await,
        Command::Withdraw(withdraw) => withdraw::run(context, withdraw).await,
        Command::Lfs(lfs) => lfs::run(context, lfs).await,
        Command::Peers(peers) => peers::run(context, peers).await,
        Command::Connect(connect) => connect::run(context, connect).await,
        Command::Whoami(whoami) => whoami::run(context, whoami).await,
        Command::Help(help) => help::run(context, help),
    }
}

/// Every page of help, for a test that reviews them together.
pub fn all_help() -> String {
    help::all(&Arguments::command())
}

/// What makes something of a stranger's text, for `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use std::path::PathBuf;

    use super::{clone, ui};

    /// The text as it is shown.
    pub(crate) fn safe(text: &str) -> String {
        ui::safe(text)
    }

    /// The text cut to so many cells, and how many it takes.
    pub(crate) fn fit(text: &str, cells: usize) -> (String, usize) {
        let cut = ui::fit(text, cells);
        let width = ui::width(&cut);
        (cut, width)
    }

    /// The folder that a project of this name, or of this ticket, is cloned into.
    pub(crate) fn folder(project: &str) -> Option<PathBuf> {
        clone::folder(project).ok()
    }
}

#[cfg(test)]
mod tests;
