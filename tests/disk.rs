//! A disk that is full: nothing is written and it is said; what was acknowledged stays; with room it goes on by itself.

#![allow(clippy::print_stdout, reason = "what is skipped is said")]

mod common {
    pub mod hostile;
}

use lansync::approval::State;
use lansync::eventlog::store::{Opened, Store};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use common::hostile::{Clone, git, keys, run, until};
use lansync::api::Request;
use lansync::eventlog::Role;

/// Where the part below finds its small disk.
const DISK: &str = "LANSYNC_TEST_DISK";

/// Runs a part of this file with a disk of its own, in a mount namespace.
fn with_small_disk(part: &str, disk: &Path) -> Result<Output, String> {
    let script = r#"mount -t tmpfs -o size=12m tmpfs "$0" && exec "$@""#;
    let exe = std::env::current_exe().expect("it runs");
    let mut why = String::new();
    for rights in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
        let there =
            Command::new("unshare").args(rights).args(["--", "sh", "-c", script]).arg(disk).arg("true").output();
        match there {
            Ok(output) if output.status.success() => {
                let mut command = Command::new("unshare");
                command.args(rights).args(["--", "sh", "-c", script]).arg(disk).arg(&exe);
                command.args(["--exact", part, "--ignored", "--nocapture"]).env(DISK, disk);
                return Ok(command.output().expect("it ran before"));
            }
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

#[test]
fn a_full_disk_loses_nothing_and_is_got_over() {
    let disk = tempfile::tempdir().expect("a temporary directory");
    match with_small_disk("on_the_small_disk", disk.path()) {
        Err(why) => println!("skipped: no disk can be mounted here: {why}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains("1 passed"), "{said}{err}");
        }
    }
}

fn invite() -> Request {
    Request::Invite { role: None, expires: 60, uses: 1 }
}

/// Writes until nothing fits any more.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("there is room for a name");
    for size in [64 << 10, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[test]
#[ignore = "a part of the test above, which runs it on a disk of its own"]
fn on_the_small_disk() {
    run(async {
        let disk = std::env::var_os(DISK).expect("it is run by the test above");
        let disk = Path::new(&disk);
        let top = tempfile::tempdir_in(disk).expect("there is room");
        let bo = keys("bo", 2);
        let ana = Clone::found_in(top, &keys("ana", 1), &[(&bo, Role::Contributor)], true).await;
        let bo = Clone::join(&bo, &ana).await;
        until("the log is at rest", || async { bo.status().await.log == ana.status().await.log }).await;
        let before = ana.status().await.log.events;

        for round in 0..2u64 {
            let filler = disk.join("filler");
            fill(&filler);
            let mut written = 0;
            let refused = loop {
                match ana.ask(invite()).await {
                    Ok(_) => written += 1,
                    Err(refused) => break refused,
                }
                assert!(written < 20_000, "the disk is full");
            };
            assert_eq!((refused.code.as_str(), refused.hint.as_deref()), ("disk-full", Some("df -h .")), "{refused:?}");
            ana.told("problem", "the disk is full; nothing was written").await;
            println!("{written} events fitted into the log's own room");
            // Still full: it is still refused, and reading goes on.
            for _ in 0..3 {
                assert!(ana.ask(invite()).await.is_err());
            }
            ana.status().await;
            assert_eq!(ana.members().await, ["ana", "bo"]);

            std::fs::remove_file(&filler).expect("it is there");
            let goes_on = || async { ana.ask(invite()).await.is_ok() };
            until("it goes on", goes_on).await;
            // Each that was acknowledged is there, and none that was refused, here and with Bo.
            let events = ana.status().await.log.events;
            let invites = ana.ask(Request::Status).await.expect("it is read");
            assert!(invites["problems"].as_array().is_some_and(Vec::is_empty), "{invites}");
            println!("round {round}: {events} events");
            until("Bo has them all", || async { bo.status().await.log == ana.status().await.log }).await;
            if round == 0 {
                assert_eq!(events, before + written + 1);
            }
        }
        ana.works_with(&bo).await;
        git(&ana.dir, &["status"]);
        // What is on the disk is what was said.
        let said = ana.status().await.log;
        let path = ana.dir.join(".git/lansync/log.redb");
        let project = ana.project();
        ana.node.stop().await;
        let Opened::Ready(store) = Store::open(&path).expect("it is whole") else { panic!("it is of this format") };
        assert_eq!(store.project(), project);
        let state = State::open(project, store.base().expect("it is whole")).expect("it is whole");
        let digest = lansync::id::hex(&state.frontier().digest());
        assert_eq!((state.log_events(), digest), (said.events, said.digest));
    });
}
