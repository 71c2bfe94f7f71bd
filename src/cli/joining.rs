//! The conversation while joining: the words to read out, the question at the end, the progress of what arrives.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::context::{Context, Stream, unfinished};
use super::error::Failure;
use super::ui::safe;
use super::words::{list, progress};
use crate::api::{OpenProject, Progress, Refusal, Reply, codes};

/// How it ended.
pub(super) enum Outcome {
    /// With this value.
    Done(Value),
    /// It needs a decision between these projects, or for a new one.
    Choose(Vec<OpenProject>),
}

/// Listens until the end, talks on stderr, asks what must be asked.
///
/// # Errors
/// A refusal of the service or of the others, or that nobody could be asked.
pub(super) async fn follow(context: &Context, stream: &mut Stream) -> Result<Outcome, Failure> {
    let mut bar = Bar::default();
    let mut saw = None;
    loop {
        let reply = match stream.next().await {
            Ok(reply) => reply.ok_or_else(unfinished)?,
            Err(Failure::Refused(refusal)) if refusal.code == codes::CHOOSE => {
                return saw.map(Outcome::Choose).ok_or(Failure::Refused(refusal));
            }
            Err(other) => return Err(other),
        };
        match reply {
            Reply::Done { value } => return Ok(Outcome::Done(value)),
            Reply::Error(refusal) => return Err(refusal.into()),
            Reply::Saw { projects } => saw = Some(projects),
            Reply::Words { to, project: _, words } => {
                let (to, words) = (safe(&to), safe(&words.join(" ")));
                context.ui.say(&format!("Asking {to} to let you in. Read these words to {to}: {words}"));
                context.ui.say(&format!("{to} types: lansync members accept {words}"));
            }
            Reply::Confirm { by } => {
                let yes = confirm(context, stream, &by).await?;
                stream.answer(yes).await?;
                if !yes {
                    let message = format!("you were not let in by {}: somebody else may have answered", safe(&by));
                    return Err(Failure::new("not-confirmed", message, "try again, and compare the words once more"));
                }
            }
            Reply::Progress(progress) => bar.show(context, &progress),
            Reply::Notice(notice) => context.ui.say(&safe(&notice.text)),
            Reply::Line { .. } => {}
        }
    }
}

/// Asks whether the other side has really said yes, while listening for the end of the matter.
async fn confirm(context: &Context, stream: &mut Stream, by: &str) -> Result<bool, Failure> {
    let ui = context.ui;
    let question = format!("{} says you are in. Is that so?", safe(by));
    let asked = tokio::task::spawn_blocking(move || ui.confirm(&question, true));
    tokio::select! {
        answer = asked => answer.unwrap_or(Err(Failure::Interrupted(None))),
        ended = stream.next() => {
            context.ui.say("");
            Err(match ended { Err(failure) => failure, Ok(_) => unfinished() })
        }
    }
}

/// What is asked where the history of this repository is shared already.
///
/// # Errors
/// A refusal that names what was seen, where nobody can be asked; interrupted where the answer is to quit.
pub(super) async fn choose(context: &Context, projects: &[OpenProject]) -> Result<Choice, Failure> {
    let seen: Vec<String> =
        projects.iter().map(|one| format!("{} (ask {})", safe(&one.name), safe(&one.member))).collect();
    if !context.ui.ask {
        let message = format!("this history is shared on this network already: {}", list(&seen));
        let name = projects.first().map_or_else(|| "NAME".to_owned(), |one| safe(&one.name));
        let hint = format!("lansync up --join {name}   or   lansync up --new");
        return Err(Refusal::new(codes::CHOOSE, message, hint).into());
    }
    context.ui.say("This history is shared on this network already:");
    for (at, (one, seen)) in projects.iter().zip(&seen).enumerate() {
        context.ui.say(&format!("  {}  {seen} at {}", at + 1, safe(&one.addr)));
    }
    let ui = context.ui;
    let prompt = if projects.len() == 1 {
        "Join it (1), start a new project (n), or quit (q)? "
    } else {
        "Join one (its number), start a new project (n), or quit (q)? "
    };
    loop {
        let answer = tokio::task::spawn_blocking(move || ui.question(prompt)).await;
        let answer = answer.unwrap_or(Err(Failure::Interrupted(None)))?;
        if let Some(choice) = choice(&answer, projects) {
            return Ok(choice);
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Join the project of this name.
    Join(String),
    /// Found a new one.
    New,
    /// Neither.
    Quit,
}

fn choice(answer: &str, projects: &[OpenProject]) -> Option<Choice> {
    match answer.to_lowercase().as_str() {
        "n" | "new" => return Some(Choice::New),
        "q" | "quit" => return Some(Choice::Quit),
        "j" | "join" | "y" | "yes" if projects.len() == 1 => return Some(Choice::Join(projects[0].name.clone())),
        _ => {}
    }
    let number: Option<usize> = answer.parse().ok();
    let by_number = number.and_then(|number| projects.get(number.checked_sub(1)?));
    let found = by_number.or_else(|| projects.iter().find(|one| one.name == answer))?;
    Some(Choice::Join(found.name.clone()))
}

/// A line on stderr that is written over, where that is a terminal.
#[derive(Default)]
struct Bar {
    shown: Option<(ProgressBar, String, Instant)>,
}

impl Bar {
    fn show(&mut self, context: &Context, now: &Progress) {
        if !context.ui.talk {
            return;
        }
        // Each step has its own clock: the rate of the last says nothing about this one.
        if self.shown.as_ref().is_none_or(|(_, step, _)| *step != now.step) {
            let bar = match self.shown.take() {
                Some((bar, ..)) => bar,
                None => {
                    let bar = ProgressBar::new_spinner()
                        .with_style(ProgressStyle::with_template("{wide_msg}").expect("one field"));
                    bar.enable_steady_tick(Duration::from_secs(1));
                    bar
                }
            };
            self.shown = Some((bar, now.step.clone(), Instant::now()));
        }
        if let Some((bar, _, since)) = &self.shown {
            bar.set_message(progress(now, since.elapsed().as_secs_f64()));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((bar, ..)) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str) -> OpenProject {
        let (member, addr) = ("ana".to_owned(), "10.0.0.1:7483".to_owned());
        OpenProject { name: name.to_owned(), member, addr, same_history: true }
    }

    #[test]
    fn an_answer_is_a_number_a_name_or_a_letter() {
        let two = [project("payroll"), project("payroll-old")];
        assert_eq!(choice("2", &two), Some(Choice::Join("payroll-old".to_owned())));
        assert_eq!(choice("payroll", &two), Some(Choice::Join("payroll".to_owned())));
        assert_eq!(choice("N", &two), Some(Choice::New));
        assert_eq!(choice("q", &two), Some(Choice::Quit));
        for nothing in ["", "0", "3", "y", "join"] {
            assert_eq!(choice(nothing, &two), None, "{nothing}");
        }
        assert_eq!(choice("y", &two[..1]), Some(Choice::Join("payroll".to_owned())));
    }

    #[tokio::test]
    async fn without_a_terminal_it_says_what_it_saw() {
        let ui = super::super::tests::quiet();
        let context = Context { ui, dir: "/".into() };
        let failure = choose(&context, &[project("payroll")]).await.unwrap_err();
        assert_eq!(
            failure.lines(false),
            [
                "error: this history is shared on this network already: payroll (ask ana)",
                "hint: lansync up --join payroll   or   lansync up --new",
            ]
        );
    }
}
