//! The log as a series in time: the project as of an earlier time, numbers, and following without missing or repeating.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{LONG, lan_or_skip};
use refusals::{Person, clone_with_words};
use serde_json::Value;

/// A project of Ana's with a proposal that landed and one that was rejected.
fn project(ana: &Person<'_>) -> PathBuf {
    let repo = ana.repo("payroll");
    ana.up(&repo);
    ana.git(&repo, &["switch", "-q", "-c", "fix"]);
    ana.commit(&repo, "fix", "1\n");
    ana.proposal(&repo, "ana/fix");
    ana.lansync(&repo, &["show", "ana/fix"]).ok();
    ana.lansync(&repo, &["approve", "ana/fix", "-m", "fine"]).ok();
    ana.git(&repo, &["switch", "-q", "-c", "bad"]);
    ana.commit(&repo, "bad", "2\n");
    ana.proposal(&repo, "ana/bad");
    ana.lansync(&repo, &["show", "ana/bad"]).ok();
    ana.lansync(&repo, &["reject", "ana/bad", "-m", "no"]).ok();
    repo
}

fn at(ana: &Person<'_>, repo: &Path, command: &[&str], event: &Value) -> Value {
    let time = event["at"].as_str().expect("a time");
    let arguments: Vec<&str> = command.iter().copied().chain(["--at", time, "--json"]).collect();
    ana.lansync(repo, &arguments).ok().json()
}

#[test]
fn the_project_as_of_an_earlier_time() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = project(&ana);
    let landed = ana.status(&repo)["branches"][0]["tip"].clone();
    for running in [true, false] {
        // genesis, propose, approve, land, propose, reject
        let log = ana.log(&repo, &[]);
        let list = |event: usize| {
            let found = at(&ana, &repo, &["list", "--closed"], &log[event]);
            let states =
                found.as_array().expect("a list").iter().map(|one| {
                    format!("{} {}", one["name"].as_str().unwrap_or("?"), one["state"].as_str().unwrap_or("?"))
                });
            states.collect::<Vec<_>>()
        };
        assert!(list(0).is_empty());
        assert_eq!(list(1), ["ana/fix open"]);
        assert_eq!(list(3), ["ana/fix landed"]);
        assert_eq!(list(4), ["ana/fix landed", "ana/bad open"]);
        assert_eq!(list(5), ["ana/fix landed", "ana/bad rejected"]);

        let before = at(&ana, &repo, &["status"], &log[1]);
        assert_eq!(before["at"], log[1]["at"]);
        assert_eq!(before["proposals"]["open"], 1);
        assert_eq!(before["log"]["events"], 2);
        assert!(before["branches"][0]["tip"].is_string());
        assert_ne!(before["branches"][0]["tip"], landed, "before it landed");
        let after = at(&ana, &repo, &["status"], &log[3]);
        assert_eq!(after["branches"][0]["tip"], landed);
        let whole = at(&ana, &repo, &["status"], &log[5]);
        assert_eq!(whole["log"], ana.status(&repo)["log"], "the same as now");

        assert_eq!(at(&ana, &repo, &["members"], &log[0])[0]["member"], "ana");
        let time = log[3]["at"].as_str().expect("a time");
        let shown = ana.log(&repo, &["--at", time]);
        assert_eq!(shown, log[..4], "{running}");
        assert_eq!(ana.log(&repo, &["--at", time, "-n", "1"]), log[3..4]);
        assert_eq!(ana.log(&repo, &["--at", time, "--author", "ana", "--kind", "approve"]), log[2..3]);

        let said = ana.lansync(&repo, &["status", "--at", time]).ok().out;
        assert!(said.starts_with("As of 20") && !said.contains("not being shared"), "{said}");
        let said = ana.lansync(&repo, &["list", "--at", "2001-01-01"]).ok().out;
        assert!(said.contains("As of 2001-01-01") && said.contains("No proposal was open"), "{said}");
        let said = ana.lansync(&repo, &["status", "--at", "2001-01-01"]).ok().out;
        assert!(said.contains("The project had not begun"), "{said}");
        ana.lansync(&repo, &["status", "--at", "2999-01-01", "--json"]).failed(2, &["usage"]);
        ana.lansync(&repo, &["log", "-f", "--at", "1h", "--json"]).failed(2, &["usage"]);
        if running {
            ana.down();
        }
    }
}

#[test]
fn the_log_in_numbers() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = project(&ana);
    for running in [true, false] {
        let log = ana.log(&repo, &[]);
        let stats = ana.lansync(&repo, &["log", "--stats", "--json"]).ok().json();
        assert_eq!(stats["events"], 6);
        let sum = |field: &str| -> u64 {
            stats["days"].as_array().into_iter().flatten().filter_map(|day| day[field].as_u64()).sum()
        };
        assert_eq!((sum("events"), sum("proposals"), sum("landings")), (6, 2, 1), "{stats}");
        let took = log[3]["hlc"].as_u64().map(|hlc| hlc >> 16).zip(log[1]["hlc"].as_u64().map(|hlc| hlc >> 16));
        let took = took.map(|(landed, offered)| landed - offered);
        assert_eq!(stats["landing_time"]["count"], 1);
        assert_eq!(stats["landing_time"]["median_ms"].as_u64(), took);
        assert_eq!(stats["landing_time"]["p90_ms"].as_u64(), took);
        let ana_did = &stats["members"][0];
        assert_eq!(ana_did["member"], "ana");
        assert_eq!((&ana_did["events"], &ana_did["proposals"]), (&6.into(), &2.into()));
        assert_eq!((&ana_did["approvals"], &ana_did["landed"]), (&1.into(), &1.into()));

        let from = log[4]["at"].as_str().expect("a time");
        let later = ana.lansync(&repo, &["log", "--stats", "--since", from, "--json"]).ok().json();
        assert_eq!((&later["events"], &later["landing_time"]["median_ms"]), (&2.into(), &Value::Null));
        let earlier = ana.lansync(&repo, &["log", "--stats", "--until", from, "--json"]).ok().json();
        assert_eq!(earlier["events"], 4);
        let said = ana.lansync(&repo, &["log", "--stats"]).ok().out;
        assert!(said.is_ascii() && said.contains('#') && said.contains("From proposal to landing: median"), "{said}");
        let mut command = ana.lansync_command(&repo, &["log", "--stats"]);
        let said = command.env("LC_ALL", "C.UTF-8").output().expect("it runs").stdout;
        assert!(String::from_utf8_lossy(&said).contains('█'));
        assert_eq!(ana.lansync(&repo, &["log", "--stats", "-n", "3"]).code, Some(2));
        if running {
            ana.down();
        }
    }
}

#[test]
fn following_shows_late_events_when_they_come() {
    let Some(lan) = lan_or_skip() else { return };

    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let theirs = clone_with_words(&bo, "payroll", "theirs", &ana, &repo, &[]);
    let mut follow = ana
        .lansync_command(&repo, &["log", "-f", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let out = BufReader::new(follow.stdout.take().expect("piped"));
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let _ = send.send(serde_json::from_str::<Value>(&line).expect("a value a line"));
        }
    });
    let mut seen = Vec::new();
    let mut follow_to = |branch: &str| {
        while seen.last().is_none_or(|event: &Value| event["branch"] != branch) {
            seen.push(lines.recv_timeout(LONG).expect("an event"));
        }
        seen.clone()
    };

    // Both write apart; what Bo wrote first comes last.
    other.cut();
    bo.git(&theirs, &["switch", "-q", "-c", "early"]);
    bo.commit(&theirs, "early", "1\n");
    bo.proposal(&theirs, "bo/early");
    ana.git(&repo, &["switch", "-q", "-c", "late"]);
    ana.commit(&repo, "late", "2\n");
    ana.proposal(&repo, "ana/late");
    let mine = follow_to("late").pop().expect("an event");
    other.restore();
    let seen = follow_to("early");
    assert!(seen.last().expect("an event")["hlc"].as_u64() < mine["hlc"].as_u64(), "it is older");
    let ids = |events: &[Value]| -> BTreeSet<String> { events.iter().map(|event| event["id"].to_string()).collect() };
    assert_eq!(ids(&seen).len(), seen.len(), "each once");
    assert!(ids(&seen).is_subset(&ids(&ana.log(&repo, &[]))));
    let sent = std::process::Command::new("kill").args(["-INT", &follow.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    assert_eq!(follow.wait().expect("it ends").code(), Some(130));
}
