//! `lansync clone`.

use std::path::{Path, PathBuf};

use super::context::{Context, typed};
use super::error::Failure;
use super::joining::{self, Outcome};
use super::start;
use super::ui::{columns, safe};
use super::words::count;
use crate::api::{CloneDone, OpenProject, Request};
use crate::sync::Ticket;

/// Join a project and get a clone of it
///
/// Without PROJECT it lists the projects on this network that are open to
/// joining. Joining shows two words: read them to the member who lets you in.
/// With a ticket nobody is asked.
///
/// Examples:
///   lansync clone
///   lansync clone payroll
///   lansync clone payroll ~/src/payroll
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Clone {
    /// The project's name, or a ticket
    #[arg(value_name = "PROJECT|TICKET")]
    project: Option<String>,
    /// Where to put it [default: the project's name]
    dir: Option<PathBuf>,
    /// Stop sharing once it is there
    #[arg(long)]
    no_up: bool,
}

/// Lists the projects, or joins one.
pub(super) async fn run(context: &Context, clone: Clone) -> Result<(), Failure> {
    start::ensure(&context.home()?).await?;
    let Some(project) = clone.project else {
        let value = context.ask_value(Request::Projects).await?;
        return context.print(value, |projects: Vec<OpenProject>| open_projects(&projects));
    };
    let into = context.dir.join(match clone.dir {
        Some(dir) => dir,
        None => folder(&project)?,
    });
    let shown = if Ticket::looks_like(&project) { "TICKET".to_owned() } else { safe(&project) };
    let mut stream = context.ask(Request::Clone { project, into: into.clone(), up: !clone.no_up }).await?;
    let value = match joining::follow(context, &mut stream).await {
        Ok(Outcome::Done(value)) => value,
        Ok(Outcome::Choose(_)) => return Err(super::context::unfinished()),
        Err(Failure::Interrupted(None)) => return Err(interrupted(&shown, &into)),
        Err(other) => return Err(other),
    };
    if context.ui.json {
        return context.ui.json(&value);
    }
    let done: CloneDone = typed(value)?;
    context.ui.out_all(&lines(&done, clone.no_up, &context.dir))
}

/// The folder that a project gets where none is named.
pub(super) fn folder(project: &str) -> Result<PathBuf, Failure> {
    let name = if Ticket::looks_like(project) {
        let ticket = Ticket::parse(project);
        ticket.map_err(|error| Failure::new("bad-ticket", error.to_string(), "ask for the ticket once more"))?.name
    } else {
        project.to_owned()
    };
    // What others have named must not lead out of here, nor hide.
    let plain = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if plain {
        Ok(PathBuf::from(name))
    } else {
        let message = format!("`{}` is no name for a folder", safe(&name));
        Err(Failure::usage(message, "lansync clone PROJECT DIR"))
    }
}

fn interrupted(project: &str, into: &Path) -> Failure {
    let left = if into.exists() {
        format!("what has arrived in {} is taken away", into.display())
    } else {
        "nothing was made here".to_owned()
    };
    let message = format!("interrupted before {project} was cloned; {left}");
    let hint = format!("lansync clone {project} {}", into.display());
    Failure::Interrupted(Some(crate::api::Refusal::new("interrupted", message, hint)))
}

fn open_projects(projects: &[OpenProject]) -> Vec<String> {
    if projects.is_empty() {
        return vec!["No project on this network is open to joining (lansync doctor says why)".to_owned()];
    }
    let rows: Vec<Vec<String>> = projects
        .iter()
        .map(|one| vec![safe(&one.name), format!("ask {}", safe(&one.member)), safe(&one.addr)])
        .collect();
    columns(&rows)
}

fn lines(done: &CloneDone, no_up: bool, here: &Path) -> Vec<String> {
    let objects = count(done.objects, "object");
    let name = safe(&done.project.name);
    let mut lines = vec![format!("Joined {name} as {}. {objects} in {:.1} s", safe(&done.member), done.seconds)];
    let dir = done.dir.strip_prefix(here).unwrap_or(&done.dir).display();
    lines.push(match (&done.branch, no_up) {
        (None, _) => format!("It lies in {dir} and has no commit yet: your first commit on main starts it"),
        (Some(branch), true) => format!("It lies in {dir}, on {}, and is not shared on: lansync up", safe(branch)),
        (Some(branch), false) => format!("It lies in {dir}, on {}, and is shared on", safe(branch)),
    });
    if done.pointers > 0 {
        let files = count(done.pointers, "LFS file");
        lines.push(format!("Nobody here has the content of {files}: lansync lfs, then git lfs checkout"));
    }
    if done.tags_lacking > 0 {
        let tags = count(done.tags_lacking, "tag");
        lines.push(format!(
            "The objects of {tags} did not come: they follow when somebody here has them, while it is shared"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProjectName;

    #[test]
    fn what_others_have_named_stays_a_plain_folder() {
        for good in ["payroll", "Pay_roll-2.0", "gehälter"] {
            assert_eq!(folder(good).unwrap(), PathBuf::from(good));
        }
        for bad in ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "-rf", ".git", "a\u{1b}b", "a\nb", "lansync1xyz"] {
            assert!(folder(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn joined_says_as_whom_how_much_and_where() {
        let project = ProjectName { id: "1".repeat(64), name: "payroll".to_owned() };
        let (member, dir, branch) = ("bo".to_owned(), "/home/bo/payroll".into(), Some("main".to_owned()));
        let (objects, bytes, seconds) = (41_210, 1, 1.93);
        let mut done =
            CloneDone { project, member, dir, objects, bytes, seconds, branch, pointers: 0, tags_lacking: 0 };
        let said = lines(&done, false, Path::new("/home/bo"));
        assert_eq!(
            said,
            ["Joined payroll as bo. 41,210 objects in 1.9 s", "It lies in payroll, on main, and is shared on"]
        );
        done.tags_lacking = 1;
        assert_eq!(
            lines(&done, true, Path::new("/home/bo"))[2],
            "The objects of 1 tag did not come: they follow when somebody here has them, while it is shared"
        );
    }

    #[test]
    fn interrupted_says_what_became_of_it() {
        let failure = interrupted("payroll", Path::new("/nowhere/payroll"));
        assert_eq!(failure.exit(), 130);
        assert_eq!(failure.lines(false)[0], "error: interrupted before payroll was cloned; nothing was made here");
    }
}
