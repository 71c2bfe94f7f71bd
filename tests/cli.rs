//! The real program against a service that plays a part: what is on stdout, what on stderr, and how it exits.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lansync::api::{CloneDone, Envelope, OpenProject, Pong, Progress, ProjectName, Refusal, Reply, Request, codes};
use lansync::service::control::{HungUp, Server, Session};
use lansync::service::home::Home;
use serde_json::{Value, json};

/// A home with the service that plays.
struct Stage {
    dir: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Home::at(&dir.path().join("home")).expect("a short path");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let mut server = runtime.block_on(Server::bind(&home)).expect("nobody else is here");
        runtime.spawn(async move {
            loop {
                let (envelope, session) = server.accept().await;
                tokio::spawn(async move { play(envelope, &session).await });
            }
        });
        Self { dir, _runtime: runtime }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        lansync(self.dir.path(), arguments).output().expect("the program runs")
    }
}

/// The program in a world of its own: no terminal, a home in `dir`, nothing of this machine's settings.
fn lansync(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lansync"));
    command.args(arguments).current_dir(dir).env_clear().env("LANSYNC_HOME", dir.join("home"));
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

async fn play(envelope: Envelope, session: &Session) -> Result<(), HungUp> {
    match envelope.request {
        Request::Ping => {
            let repositories = vec![];
            session.done(&Pong { v: envelope.v, version: "0".to_owned(), pid: 7, port: 7483, repositories }).await
        }
        Request::Up { join: None, new: false } => {
            let (name, member, addr) = ("payroll".to_owned(), "ana".to_owned(), "10.0.0.1:7483".to_owned());
            session.send(Reply::Saw { projects: vec![OpenProject { name, member, addr, same_history: true }] }).await?;
            session.refuse(Refusal::plain(codes::CHOOSE, "a choice is needed")).await
        }
        Request::Clone { project, into, .. } => {
            let words = ["maple".to_owned(), "river".to_owned()];
            session.send(Reply::Words { to: "ana".to_owned(), project: project.clone(), words }).await?;
            session.send(Reply::Confirm { by: "ana".to_owned() }).await?;
            if session.answer().await != Some(true) {
                return Ok(());
            }
            let step = Progress { step: "objects".to_owned(), done: 1, total: 2, bytes: 3 };
            session.send(Reply::Progress(step)).await?;
            let project = ProjectName { id: "1".repeat(64), name: project };
            let (member, branch) = ("bo".to_owned(), Some("main".to_owned()));
            session
                .done(&CloneDone {
                    project,
                    member,
                    dir: into,
                    objects: 41_210,
                    bytes: 9,
                    seconds: 1.9,
                    branch,
                    pointers: 0,
                    tags_lacking: 0,
                })
                .await
        }
        Request::Log { follow, .. } => {
            for seq in 0..3_u64 {
                let value = json!({ "id": "e".repeat(64), "author": "p", "member": "bo\u{1b}", "seq": seq, "at": "soon",
                    "hlc": seq, "kind": "propose", "void": null, "text": "offered bo/fix", "more": 1 });
                session.send(Reply::Line { value }).await?;
            }
            if follow {
                session.closed().await;
            }
            session.done(&Value::Null).await
        }
        Request::Approve { proposal, .. } => {
            let value = json!({ "proposal": proposal, "commit": "5".repeat(40), "branch": "main",
                "landed": "4f2c9e1".repeat(6)[..40], "needs": [] });
            session.done(&value).await
        }
        Request::Members => session.done(&json!([])).await,
        Request::Status => session.refuse(Refusal::new(codes::NOT_UP, "not shared now", "lansync up")).await,
        // What is not in the play: the service hangs up.
        _ => Ok(()),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only text is printed")
}

#[test]
fn what_was_asked_for_is_on_stdout_and_talk_on_stderr() {
    let stage = Stage::new();
    let done = stage.run(&["approve", "bo/fix"]);
    assert_eq!((text(&done.stdout), text(&done.stderr)), ("Landed on main, 4f2c9e1\n", ""));
    assert!(done.status.success());
    let done = stage.run(&["--json", "approve", "bo/fix"]);
    let value: Value = serde_json::from_slice(&done.stdout).expect("one value");
    assert_eq!(value["proposal"], "bo/fix");
}

#[test]
fn cloning_reads_out_two_words_and_needs_a_yes() {
    let stage = Stage::new();
    let refused = stage.run(&["clone", "payroll"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("error: nobody can be asked here: ana says you are in. Is that so?"));

    let done = stage.run(&["clone", "payroll", "--yes"]);
    assert_eq!(
        text(&done.stderr),
        "Asking ana to let you in. Read these words to ana: maple river\nana types: lansync members accept maple river\n"
    );
    assert_eq!(
        text(&done.stdout),
        "Joined payroll as bo. 41,210 objects in 1.9 s\nIt lies in payroll, on main, and is shared on\n"
    );
}

#[test]
fn a_history_that_is_shared_already_is_not_joined_in_silence() {
    let stage = Stage::new();
    for arguments in [&["up", "-d"][..], &["up", "-d", "--yes"]] {
        let refused = stage.run(arguments);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(
            text(&refused.stderr),
            "error: this history is shared on this network already: payroll (ask ana)\n\
             hint: lansync up --join payroll   or   lansync up --new\n"
        );
    }
}

#[test]
fn the_log_is_lines_and_others_names_are_washed() {
    let stage = Stage::new();
    let plain = stage.run(&["log"]);
    assert_eq!(text(&plain.stdout).lines().count(), 3);
    assert!(
        text(&plain.stdout).starts_with("soon  eeeeeeee  bo  propose  offered bo/fix\n"),
        "{}",
        text(&plain.stdout)
    );
    let lines = stage.run(&["log", "--json"]);
    let values: Vec<Value> =
        text(&lines.stdout).lines().map(|line| serde_json::from_str(line).expect("a value a line")).collect();
    assert_eq!((values.len(), &values[2]["seq"], &values[2]["more"]), (3, &json!(2), &json!(1)));
    assert!(values[0].get("text").is_none());
    let wrong = stage.run(&["log", "--since", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn following_ends_with_130_when_interrupted_and_quietly_when_nobody_reads() {
    let stage = Stage::new();
    let mut child = lansync(stage.dir.path(), &["log", "-f"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    for _ in 0..3 {
        out.read_line(&mut String::new()).expect("three lines come");
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(interrupt.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("text");
    assert_eq!(said, "");

    let mut child = lansync(stage.dir.path(), &["help", "--all"]).stdout(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_service_that_hangs_up_and_one_that_is_missing_are_told_apart() {
    let stage = Stage::new();
    let refused = stage.run(&["peers", "--json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let last = text(&refused.stderr).lines().last().expect("there are lines");
    let value: Value = serde_json::from_str(last).expect("the last line is a value");
    assert_eq!(value["error"]["code"], "service-stopped");

    let empty = tempfile::tempdir().expect("a temporary directory");
    let refused = lansync(empty.path(), &["approve", "bo/fix"]).output().expect("the program runs");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "error: nothing is being shared now: no service runs\nhint: lansync up\n");
    assert!(!empty.path().join("home").exists(), "asking makes nothing");
    let down = lansync(empty.path(), &["down", "--all"]).output().expect("the program runs");
    assert_eq!((down.status.code(), text(&down.stdout)), (Some(0), "No service was running\n"));
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    let code = |arguments: &[&str]| {
        let output = lansync(empty.path(), arguments).output().expect("the program runs");
        (output.status.code(), output.stdout.is_empty())
    };
    assert_eq!(code(&["fly"]), (Some(2), true));
    assert_eq!(code(&[]), (Some(2), true));
    assert_eq!(code(&["help", "fly"]), (Some(2), true));
    for help in [&["--help"][..], &["help"], &["help", "--all"], &["help", "members", "accept"], &["up", "-h"], &["-V"]]
    {
        assert_eq!(code(help), (Some(0), false), "{help:?}");
    }
}
