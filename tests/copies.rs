//! A feed is written in one place: a copied, moved, restored or second clone never writes a number twice.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::{LONG, lan_or_skip, wait_for};
use refusals::{Person, clone_with_words};
use serde_json::Value;

#[track_caller]
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

fn peer(who: &Person<'_>, dir: &Path) -> String {
    who.status(dir)["me"]["peer"].as_str().expect("a peer").to_owned()
}

/// No two events of one feed have one number, and each feed is without a gap; how many feeds there are.
#[track_caller]
fn feeds_are_whole(who: &Person<'_>, dir: &Path) -> usize {
    let mut feeds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in who.log(dir, &[]) {
        let author = event["author"].as_str().expect("a peer").to_owned();
        feeds.entry(author).or_default().push(event["seq"].as_u64().expect("a number"));
    }
    for (feed, mut seqs) in feeds.clone() {
        seqs.sort_unstable();
        assert!(seqs.iter().copied().eq(0..seqs.len() as u64), "{feed}: {seqs:?}");
    }
    feeds.len()
}

#[track_caller]
fn all_equal(all: &[(&Person<'_>, &Path)]) {
    wait_for("all logs are equal", LONG, || {
        let logs: Vec<Value> = all.iter().map(|(who, dir)| who.status(dir)["log"].clone()).collect();
        logs.iter().all(|log| *log == logs[0])
    });
}

#[track_caller]
fn offer(who: &Person<'_>, dir: &Path, branch: &str) -> String {
    who.git(dir, &["switch", "-q", "-c", branch, "main"]);
    let tip = who.commit(dir, branch, branch);
    who.git(dir, &["switch", "-q", "main"]);
    tip
}

#[test]
fn a_copied_repository_becomes_a_peer_of_its_own() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let clone = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    let first = peer(&ana, &repo);
    // Copied while it is shared, and both go on at once.
    let twin = ana.dir.join("twin");
    copy(&repo, &twin);
    let up = ana.up(&twin);
    assert_eq!(
        (&up["how"], &up["member"], &up["project"]["name"]),
        (&"resumed".into(), &"ana".into(), &"payroll".into())
    );
    let warnings = up["warnings"].to_string();
    assert!(warnings.contains("got a key of its own"), "{warnings}");
    let second = peer(&ana, &twin);
    assert_ne!(second, first);
    assert_eq!(peer(&ana, &repo), first, "the first stays who it was");
    offer(&ana, &repo, "one");
    offer(&ana, &twin, "two");
    for (who, dir) in [(&ana, &repo), (&ana, &twin), (&bo, &clone)] {
        who.proposal(dir, "ana/one");
        who.proposal(dir, "ana/two");
    }
    all_equal(&[(&ana, &repo), (&ana, &twin), (&bo, &clone)]);
    assert_eq!(feeds_are_whole(&bo, &clone), 3);
    let authors: Vec<String> =
        bo.log(&clone, &["--author", "ana"]).iter().map(|event| event["author"].to_string()).collect();
    for feed in [&first, &second] {
        assert!(authors.contains(&format!("\"{feed}\"")), "both feeds are in the log");
    }
    // After a restart each is who it was, without a word.
    ana.down();
    for (dir, me) in [(&repo, &first), (&twin, &second)] {
        let up = ana.up(dir);
        assert_eq!(up["warnings"].as_array().map(Vec::len), Some(0), "{up}");
        assert_eq!(&peer(&ana, dir), me);
    }
    // The copy may land things like any other clone of a maintainer.
    ana.lansync(&twin, &["show", "ana/one"]).ok();
    ana.lansync(&twin, &["approve", "ana/one"]).ok();
    all_equal(&[(&ana, &repo), (&ana, &twin), (&bo, &clone)]);
    assert_eq!(feeds_are_whole(&ana, &repo), 3);
}

#[test]
fn a_copy_on_another_machine_becomes_somebody_who_asks() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let first = peer(&ana, &repo);
    // Somebody else, with another identity, who got a copy of the directory.
    let theirs = bo.dir.join("payroll");
    copy(&repo, &theirs);
    bo.git(&bo.dir, &["config", "--global", "safe.directory", "*"]);
    bo.up(&theirs);
    let status = bo.status(&theirs);
    assert_ne!(status["me"]["peer"], first.as_str());
    assert!(status["problems"].to_string().contains("not-a-member"), "{}", status["problems"]);
    offer(&bo, &theirs, "x");
    bo.lansync(&theirs, &["propose", "x", "--json"]).refused(&["not-a-member", "role"]);
    offer(&ana, &repo, "y");
    ana.proposal(&repo, "ana/y");
    assert_eq!(feeds_are_whole(&ana, &repo), 1, "nothing of the copy is in the log");
    assert_eq!(peer(&ana, &repo), first);
}

#[test]
fn a_moved_directory_stays_the_same_peer() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let clone = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    let me = peer(&ana, &repo);
    let moved = ana.dir.join("elsewhere");
    ana.down();
    std::fs::rename(&repo, &moved).expect("moved");
    let up = ana.up(&moved);
    assert_eq!(up["warnings"].as_array().map(Vec::len), Some(0), "{up}");
    assert_eq!(peer(&ana, &moved), me);
    offer(&ana, &moved, "one");
    bo.proposal(&clone, "ana/one");
    // Back again, and once more while the service runs.
    ana.down();
    std::fs::rename(&moved, &repo).expect("moved");
    ana.up(&repo);
    assert_eq!(peer(&ana, &repo), me);
    offer(&ana, &repo, "two");
    bo.proposal(&clone, "ana/two");
    std::fs::rename(&repo, &moved).expect("moved");
    ana.down();
    ana.up(&moved);
    assert_eq!(peer(&ana, &moved), me);
    offer(&ana, &moved, "three");
    bo.proposal(&clone, "ana/three");
    assert_eq!(feeds_are_whole(&bo, &clone), 2);
    // What was moved is now shared from where it is, also by a service that starts by itself.
    ana.down();
    let nowhere = ana.dir.join("nowhere");
    std::fs::create_dir(&nowhere).expect("a directory");
    ana.lansync(&nowhere, &["clone", "--json"]).ok();
    wait_for("it is shared again", LONG, || ana.status(&moved)["running"] == true);
}

#[test]
fn a_second_clone_by_the_same_person_needs_no_words() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let first = clone_with_words(&bo, "payroll", "first", &ana, &repo, &[]);
    let done = bo.lansync(&bo.dir, &["clone", "payroll", "second", "--json"]).ok();
    assert!(!done.err.contains("Read these words"), "{done:?}");
    assert_eq!(done.json()["member"], "bo");
    let second = bo.dir.join("second");
    // Ana's own second clone, too, on her machine.
    ana.lansync(&ana.dir, &["clone", "payroll", "mine", "--json"]).ok();
    let mine = ana.dir.join("mine");
    assert_ne!(peer(&bo, &first), peer(&bo, &second));
    assert_ne!(peer(&ana, &repo), peer(&ana, &mine));
    let all: [(&Person<'_>, &Path); 4] = [(&ana, &repo), (&ana, &mine), (&bo, &first), (&bo, &second)];
    for (n, (who, dir)) in all.iter().enumerate() {
        offer(who, dir, &format!("b{n}"));
    }
    for (who, dir) in all {
        for name in ["ana/b0", "ana/b1", "bo/b2", "bo/b3"] {
            who.proposal(dir, name);
        }
    }
    all_equal(&all);
    assert_eq!(feeds_are_whole(&ana, &repo), 4);
    let members = ana.lansync(&repo, &["members", "--json"]).ok().json();
    let clones: Vec<usize> =
        members.as_array().expect("a list").iter().map(|one| one["peers"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(clones, [2, 2], "two members with two clones each: {members}");
}

#[test]
fn a_restored_backup_opens_a_new_feed_by_itself() {
    let Some(lan) = lan_or_skip() else { return };
    let (host, other) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&host, "ana"), Person::new(&other, "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let clone = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    let me = peer(&ana, &repo);
    offer(&ana, &repo, "before");
    bo.proposal(&clone, "ana/before");
    ana.down();
    // In every file of .git the bytes of then, in place: also the inodes are the same.
    let backup = ana.dir.join("backup.tar");
    let tar = |arguments: &[&str]| {
        let done = Command::new("tar").args(arguments).current_dir(&repo).status().expect("tar runs");
        assert!(done.success());
    };
    tar(&["-cf", &backup.display().to_string(), ".git"]);
    // Restored at once: nothing was written since, so it is the same peer.
    ana.up(&repo);
    assert_eq!(peer(&ana, &repo), me);
    offer(&ana, &repo, "lost");
    let lost = bo.proposal(&clone, "ana/lost");
    ana.down();
    tar(&["--overwrite", "-xf", &backup.display().to_string()]);
    let up = ana.up(&repo);
    assert!(up["warnings"].to_string().contains("restored"), "{up}");
    let fresh = peer(&ana, &repo);
    assert_ne!(fresh, me, "numbers that are used up are not used again");
    // What the backup did not have comes back from Bo.
    assert_eq!(ana.proposal(&repo, "ana/lost")["tip"], lost["tip"]);
    offer(&ana, &repo, "after");
    bo.proposal(&clone, "ana/after");
    all_equal(&[(&ana, &repo), (&bo, &clone)]);
    assert_eq!(feeds_are_whole(&bo, &clone), 3);
    // As a directory put in place of the other.
    let old = ana.dir.join("old");
    ana.down();
    copy(&repo.join(".git"), &old);
    ana.up(&repo);
    offer(&ana, &repo, "more");
    bo.proposal(&clone, "ana/more");
    ana.down();
    std::fs::remove_dir_all(repo.join(".git")).expect("removed");
    std::fs::rename(&old, repo.join(".git")).expect("restored");
    ana.up(&repo);
    assert_ne!(peer(&ana, &repo), fresh);
    ana.proposal(&repo, "ana/more");
    offer(&ana, &repo, "last");
    bo.proposal(&clone, "ana/last");
    all_equal(&[(&ana, &repo), (&bo, &clone)]);
    assert_eq!(feeds_are_whole(&bo, &clone), 4);
    assert_eq!(feeds_are_whole(&ana, &repo), 4);
}
