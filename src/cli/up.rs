//! `lansync up`.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use super::context::{Context, signals, typed};
use super::error::Failure;
use super::joining::{self, Choice, Outcome};
use super::platform::Stop;
use super::start::Before;
use super::ui::safe;
use super::words::{list, not_shared};
use super::{start, status, view};
use crate::api::{Reply, Request, UpDone};
use crate::service::control;
use crate::service::home::Home;
use crate::service::{self, Options};

/// Share this repository
///
/// Starts the service if none runs. On a terminal it then shows a live view;
/// leaving the view does not end the sharing, `lansync down` does. Branches
/// that are here already stay here until they move.
///
/// Where this history is shared on this network already it asks whether to
/// join; without a terminal say so with --join or --new.
///
/// Examples:
///   lansync up
///   lansync up -d
///   lansync up --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Up {
    /// Share without showing the view
    #[arg(short, long)]
    detach: bool,
    /// Be the service, in this process (for systemd, containers, tests); LANSYNC_LOG sets what is logged
    #[arg(long)]
    foreground: bool,
    /// Join the project NAME, or by a ticket
    #[arg(long, value_name = "NAME|TICKET", conflicts_with = "new")]
    join: Option<String>,
    /// Found a project of its own, whatever this network has
    #[arg(long)]
    new: bool,
    /// Be the service for all repositories, started by a command
    #[arg(long, hide = true, requires = "foreground", conflicts_with_all = ["join", "new", "detach"])]
    service: bool,
}

impl Up {
    /// Is this process the service?
    pub(super) fn is_foreground(&self) -> bool {
        self.foreground
    }
}

/// Shares.
pub(super) async fn run(context: &Context, up: Up) -> Result<(), Failure> {
    if up.foreground {
        return foreground(context, up).await;
    }
    let before = start::ensure(&context.home()?).await?;
    let mut done = share(context, up.join, up.new).await?;
    // A new service takes up by itself what was shared, and may have done so before it was asked.
    if before == Before::Started && done.how == "running" {
        "resumed".clone_into(&mut done.how);
    }
    let running = done.how == "running";
    if context.ui.json {
        return if up.detach { context.ui.json(&done) } else { notices(context).await };
    }
    if !up.detach && context.ui.screen && context.ui.ask {
        context.ui.out_all(&lines(&done))?;
        return view::run(context).await;
    }
    if running {
        return status::print(context, context.read_value(Request::Status).await?);
    }
    context.ui.out_all(&lines(&done))
}

/// Asks the service to share this repository, and the person what must be decided.
async fn share(context: &Context, mut join: Option<String>, mut new: bool) -> Result<UpDone, Failure> {
    loop {
        let mut stream = context.ask(Request::Up { join: join.take(), new }).await?;
        match joining::follow(context, &mut stream).await {
            Ok(Outcome::Done(value)) => {
                let done: UpDone = typed(value)?;
                for warning in &done.warnings {
                    context.ui.warn(warning);
                }
                return Ok(done);
            }
            Ok(Outcome::Choose(projects)) => match joining::choose(context, &projects).await? {
                Choice::Join(name) => join = Some(name),
                Choice::New => new = true,
                Choice::Quit => return Err(Failure::plain("not-chosen", "this repository is not shared")),
            },
            Err(Failure::Interrupted(None)) => {
                let message = "interrupted before this repository was shared";
                return Err(Failure::Interrupted(Some(crate::api::Refusal::new("interrupted", message, "lansync up"))));
            }
            Err(other) => return Err(other),
        }
    }
}

/// Prints what happens, one JSON value a line, until interrupted.
async fn notices(context: &Context) -> Result<(), Failure> {
    let mut stream = context.ask(Request::Watch).await?;
    while let Some(reply) = stream.next().await? {
        if let Reply::Notice(notice) = reply {
            context.ui.json(&notice)?;
        }
    }
    Ok(())
}

fn lines(done: &UpDone) -> Vec<String> {
    let member = safe(&done.member);
    let mut lines = match &done.project {
        Some(project) => vec![format!("Sharing {} as {member}.", safe(&project.name))],
        None => vec![format!("Sharing this repository as {member}: your first commit starts the project.")],
    };
    if !done.canonical.is_empty() {
        let branches = list(&done.canonical);
        lines
            .push(format!("Shared: {branches}, moved by approvals; any other branch is offered with its next commit."));
    }
    for branch in &done.not_shared {
        lines.push(format!("Stays here: {}.", not_shared(branch)));
    }
    if let Some(project) = done.project.as_ref().filter(|_| done.how == "founded") {
        lines.push(format!("Others on this network join with: lansync clone {}", safe(&project.name)));
    }
    lines
}

/// The service in this process. Unless a command started it for all repositories, it also shares this one.
async fn foreground(context: &Context, up: Up) -> Result<(), Failure> {
    let home = context.home()?;
    start_logging();
    let mut signals = signals()?;
    let stopped_by = Cell::new(None);
    let (give_up, given_up) = tokio::sync::oneshot::channel::<()>();
    let stop = async {
        tokio::select! {
            stop = signals.next() => stopped_by.set(Some(stop)),
            _ = given_up => {}
        }
    };
    let mut serving = pin!(service::run(home.clone(), Options { detached: up.service }, stop));
    let shared = async {
        if !up.service {
            ready(&home).await;
            let done = share(context, up.join, up.new).await?;
            if context.ui.json {
                notices(context).await?;
            } else {
                context.ui.out_all(&lines(&done))?;
            }
        }
        // The service ends it.
        std::future::pending::<Result<(), Failure>>().await
    };
    let failed = tokio::select! {
        ended = &mut serving => return end(ended, stopped_by.get()),
        failed = shared => failed,
    };
    // Nobody is at the other end of the channel where the service ends by itself just now.
    let _ = give_up.send(());
    let ended = serving.await;
    match failed {
        Err(Failure::Interrupted(_)) | Ok(()) => end(ended, stopped_by.get()),
        Err(failure) => Err(failure),
    }
}

fn end(ended: Result<(), service::ServiceError>, stopped_by: Option<Stop>) -> Result<(), Failure> {
    ended?;
    match stopped_by {
        Some(Stop::Interrupt) => Err(Failure::Interrupted(None)),
        Some(Stop::Terminate) | None => Ok(()),
    }
}

/// Waits until the service of this very process answers.
async fn ready(home: &Home) {
    let me = std::process::id();
    while !control::ping(home).await.is_ok_and(|pong| pong.pid == me) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("LANSYNC_LOG").unwrap_or_else(|_| EnvFilter::new("warn,lansync=info"));
    // Fails only where a test has set one already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{NotShared, ProjectName};

    fn done() -> UpDone {
        UpDone {
            project: Some(ProjectName { id: "1".repeat(64), name: "payroll".to_owned() }),
            member: "ana".to_owned(),
            how: "founded".to_owned(),
            canonical: vec!["main".to_owned()],
            not_shared: vec![NotShared {
                branch: "old".to_owned(),
                commits: 3,
                why: "it has not moved since the first up".to_owned(),
            }],
            port: 7483,
            warnings: vec![],
        }
    }

    #[test]
    fn it_says_what_is_shared_and_what_stays() {
        insta::assert_snapshot!(lines(&done()).join("\n"), @r"
        Sharing payroll as ana.
        Shared: main, moved by approvals; any other branch is offered with its next commit.
        Stays here: old (3 commits): it has not moved since the first up.
        Others on this network join with: lansync clone payroll
        ");
        let waiting =
            UpDone { project: None, how: "waiting".to_owned(), canonical: vec![], not_shared: vec![], ..done() };
        assert_eq!(lines(&waiting), ["Sharing this repository as ana: your first commit starts the project."]);
    }
}
