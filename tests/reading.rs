//! Reading works while nothing runs: after `down`, from any directory of a repository, without the key. And while
//! something runs, several commands read at once and follow what happens.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{LONG, lan_or_skip, wait_for};
use refusals::Person;
use serde_json::Value;

/// A project of Ana's with an open proposal, a landed one and a rejected one.
fn project(ana: &Person<'_>) -> std::path::PathBuf {
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
    ana.git(&repo, &["switch", "-q", "main"]);
    ana.git(&repo, &["switch", "-q", "-c", "open"]);
    ana.commit(&repo, "open", "3\n");
    ana.proposal(&repo, "ana/open");
    repo
}

#[test]
fn everything_can_be_read_while_nothing_runs() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let mut ana = Person::new(&host, "ana");
    let repo = project(&ana);
    let all: [&[&str]; 9] = [
        &["status", "--json"],
        &["list", "--json"],
        &["list", "--closed", "--json"],
        &["inbox", "--json"],
        &["show", "ana/open", "--json"],
        &["log", "--json"],
        &["members", "--json"],
        &["peers", "--json"],
        &["whoami", "--json"],
    ];
    let read = |dir: &std::path::Path| -> Vec<Vec<Value>> {
        all.iter().map(|arguments| ana.lansync(dir, arguments).ok().lines()).collect()
    };
    let live = read(&repo);
    assert_eq!(live[0][0]["running"], true);
    assert_eq!(live[1][0].as_array().map(Vec::len), Some(2), "open and rejected: {:?}", live[1]);
    ana.down();
    assert_eq!(ana.pid(), None);

    let still = read(&repo);
    assert_eq!(still[0][0]["running"], false);
    assert_eq!(still[0][0]["log"], live[0][0]["log"], "the same log");
    for at in [1, 2, 3, 4, 5] {
        assert_eq!(still[at], live[at], "{:?}", all[at]);
    }
    assert_eq!(still[8], live[8], "whoami");
    assert_eq!(still[0][0]["me"], live[0][0]["me"]);
    assert_eq!(still[6][0][0]["member"], "ana");

    // From a directory below, from a linked worktree, and by -C from elsewhere.
    let below = repo.join("a/b");
    std::fs::create_dir_all(&below).expect("directories");
    ana.git(&repo, &["worktree", "add", "-q", "../linked", "main"]);
    for dir in [below, ana.dir.join("linked")] {
        assert_eq!(read(&dir)[..6], still[..6], "{}", dir.display());
    }
    let mut relative = ana.command(env!("CARGO_BIN_EXE_lansync"));
    relative.args(["-C", "payroll/a", "list", "--json"]).current_dir(&ana.dir);
    let relative = relative.output().expect("it runs");
    assert_eq!(serde_json::from_slice::<Value>(&relative.stdout).ok(), Some(still[1][0].clone()));
    ana.lansync(&ana.dir.join("nowhere"), &["status", "--json"]).refused(&["no-directory"]);

    // Plain text says that it is not being shared.
    let said = ana.lansync(&repo, &["status"]).ok().out;
    assert!(said.contains("not being shared now: lansync up"), "{said}");
    // What cannot work says so.
    ana.lansync(&repo, &["log", "-f", "--json"]).refused(&["not-running"]);
    ana.lansync(&repo, &["approve", "ana/open", "--json"]).refused(&["not-running"]);

    // Without the key, and without a home.
    let key = ana.home().join("identity.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("chmod");
    ana.plain = true;
    let read = |dir: &std::path::Path| -> Vec<Vec<Value>> {
        all.iter().map(|arguments| ana.lansync(dir, arguments).ok().lines()).collect()
    };
    assert_eq!(read(&repo), still, "without the key");
    let aside = ana.dir.join("aside");
    std::fs::rename(ana.home(), &aside).expect("moved");
    assert_eq!(read(&repo)[..6], still[..6], "without a home");
    assert!(!ana.home().exists(), "reading makes nothing");
    std::fs::rename(&aside, ana.home()).expect("moved back");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
}

#[test]
fn the_log_is_cut_by_time_author_kind_and_number() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = project(&ana);
    let ids = |events: &[Value]| -> Vec<String> { events.iter().map(|event| event["id"].to_string()).collect() };
    for running in [true, false] {
        let all = ana.log(&repo, &[]);
        let kinds: Vec<&str> = all.iter().filter_map(|event| event["kind"].as_str()).collect();
        assert_eq!(kinds, ["genesis", "propose", "approve", "land", "propose", "reject", "propose"], "{running}");
        assert!(all.iter().all(|event| event["member"] == "ana" && event["void"].is_null()));
        assert!(all.is_sorted_by_key(|event| event["hlc"].as_u64()));
        assert_eq!(ids(&ana.log(&repo, &["-n", "2"])), ids(&all[5..]));
        assert_eq!(ids(&ana.log(&repo, &["-n", "0"])), ids(&[]));
        assert_eq!(ana.log(&repo, &["--kind", "propose"]).len(), 3);
        assert_eq!(ids(&ana.log(&repo, &["--kind", "propose", "-n", "1"])), ids(&all[6..]));
        assert_eq!(ana.log(&repo, &["--author", "ana"]).len(), 7);
        let peer = all[0]["author"].as_str().expect("a peer");
        assert_eq!(ana.log(&repo, &["--author", &peer[..8]]).len(), 7);
        let at = all[4]["at"].as_str().expect("a time");
        assert_eq!(ids(&ana.log(&repo, &["--since", at])), ids(&all[4..]), "at or after");
        assert_eq!(ids(&ana.log(&repo, &["--until", at])), ids(&all[..4]), "before");
        assert_eq!(ana.log(&repo, &["--since", "1h"]).len(), 7);
        assert!(ana.log(&repo, &["--until", "yesterday"]).is_empty());
        ana.lansync(&repo, &["log", "--author", "nobody", "--json"]).refused(&["unknown-member"]);
        ana.lansync(&repo, &["log", "--since", "soon", "--json"]).failed(2, &["usage"]);
        if running {
            ana.down();
        }
    }
}

#[test]
fn following_shows_each_event_once_as_it_comes() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = project(&ana);
    let mut follow =
        ana.lansync_command(&repo, &["log", "-f", "--json"]).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut notices =
        ana.lansync_command(&repo, &["up", "--json"]).stdout(Stdio::piped()).spawn().expect("the program runs");
    let (send, lines) = std::sync::mpsc::channel();
    let (tell, told) = std::sync::mpsc::channel();
    for (child, to) in [(&mut follow, send), (&mut notices, tell)] {
        let out = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = to.send(serde_json::from_str::<Value>(&line).expect("a value a line"));
            }
        });
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut take = |upto: usize| {
        while seen.len() < upto {
            seen.push(lines.recv_timeout(LONG).expect("an event"));
        }
        seen.clone()
    };
    assert_eq!(take(7).len(), 7);
    ana.commit(&repo, "open", "4\n");
    ana.lansync(&repo, &["invite"]).ok();
    assert_eq!(take(9).len(), 9);
    ana.git(&repo, &["switch", "-q", "-c", "more"]);
    ana.commit(&repo, "more", "5\n");
    let seen = take(10);
    assert_eq!(seen, ana.log(&repo, &[]), "each once, in order");

    // `up --json` says the same in notices.
    let mut subjects = Vec::new();
    wait_for("notices of the proposals", LONG, || {
        subjects.extend(told.try_iter().map(|notice: Value| (notice["notice"].clone(), notice["subject"].clone())));
        subjects.contains(&("proposal".into(), "ana/more".into()))
    });
    for mut child in [follow, notices] {
        let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
    }
    assert!(lines.recv().is_err(), "nothing more came");
}

#[test]
fn several_commands_read_at_once() {
    let Some(lan) = lan_or_skip() else { return };

    let host = lan.host("ana");
    let ana = Person::new(&host, "ana");
    let repo = project(&ana);
    for running in [true, false] {
        let start = |arguments: &[&str]| {
            let mut command = ana.lansync_command(&repo, arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
        };
        let commands: [&[&str]; 4] =
            [&["status", "--json"], &["list", "--json"], &["log", "--json"], &["show", "ana/open", "--json"]];
        let children: Vec<_> = commands.iter().cycle().take(16).map(|arguments| start(arguments)).collect();
        let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().expect("it ends")).collect();
        for (at, output) in outputs.iter().enumerate() {
            assert!(output.status.success(), "{running}: {at}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.stdout, outputs[at % 4].stdout, "{running}: {at}");
        }
        if running {
            ana.down();
        }
    }
}
