//! A feed is written in one place: a copied, moved, restored or second clone never writes a number twice.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::netns::Host;
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

/// A cloned disk: home and repository of `of`, on a machine of its own, where path and inode are what they were. Here
/// both have a place of their own, so what is noted of it is made to fit.
fn cloned_disk<'a>(host: &'a Host<'a>, of: &Person<'_>, repo: &Path) -> (Person<'a>, PathBuf) {
    let twin = Person::new(host, "ana");
    copy(&of.home(), &twin.home());
    let dir = twin.dir.join(repo.file_name().expect("a name"));
    copy(repo, &dir);
    // It shares nothing by itself: what was listed lies on the first machine.
    for list in refusals::tree(&twin.home()).into_keys().filter(|path| path.ends_with("registry")) {
        std::fs::remove_file(list).expect("removed");
    }
    let place = dir.join(".git/lansync");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&place).expect("it is there"));
    let noted = |path: &PathBuf| {
        path.parent().is_some_and(|parent| parent.ends_with("feeds")) || path.ends_with("lansync/place.json")
    };
    let notes: Vec<PathBuf> = [&twin.home(), &dir].iter().flat_map(|top| refusals::tree(top).into_keys()).collect();
    for path in notes.into_iter().filter(noted) {
        let mut note: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        note["path"] = place.canonicalize().expect("it is there").display().to_string().into();
        note["inode"] = inode.into();
        std::fs::write(&path, serde_json::to_vec(&note).expect("JSON")).expect("a file");
    }
    (twin, dir)
}

#[track_caller]
fn reads_of_the_copied_key(who: &Person<'_>, dir: &Path) {
    wait_for("the copied key is a problem", LONG, || {
        let problems = who.status(dir)["problems"].as_array().expect("a list").clone();
        problems
            .iter()
            .any(|problem| problem["code"] == "copied-key" && problem["hint"] == "lansync down && lansync up")
    });
}

#[track_caller]
fn starts_anew(who: &Person<'_>, dir: &Path, old: &str) -> String {
    who.down();
    let up = who.up(dir);
    assert!(up["warnings"].to_string().contains("got a key of its own"), "{up}");
    let fresh = peer(who, dir);
    assert_ne!(fresh, old);
    fresh
}

#[test]
fn a_cloned_disk_that_wrote_apart_is_frozen_and_both_go_on_with_keys_of_their_own() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "twin", "bo"].map(|name| lan.host(name));
    let (ana, bo) = (Person::new(&hosts[0], "ana"), Person::new(&hosts[2], "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let clone = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &["--role", "maintainer"]);
    let old = peer(&ana, &repo);
    wait_for("bo is in", LONG, || ana.status(&repo)["log"] == bo.status(&clone)["log"]);
    ana.down();
    let (twin, theirs) = cloned_disk(&hosts[1], &ana, &repo);

    // Apart: first one writes and is gone, then the other. On the first one's work Bo has built.
    ana.up(&repo);
    let built_on = offer(&ana, &repo, "built-on");
    bo.proposal(&clone, "ana/built-on");
    bo.lansync(&clone, &["show", "ana/built-on"]).ok();
    let approved = bo.lansync(&clone, &["approve", "ana/built-on", "--json"]).ok().json();
    assert_eq!(approved["landed"], built_on.as_str(), "{approved}");
    wait_for("ana has it", LONG, || ana.status(&repo)["log"] == bo.status(&clone)["log"]);
    ana.down();
    bo.down();
    let up = twin.up(&theirs);
    assert_eq!(up["warnings"].as_array().map(Vec::len), Some(0), "nothing can be seen yet: {up}");
    assert_eq!(peer(&twin, &theirs), old);
    offer(&twin, &theirs, "apart");
    twin.proposal(&theirs, "ana/apart");

    // They meet at Bo's.
    bo.up(&clone);
    reads_of_the_copied_key(&twin, &theirs);
    twin.lansync(&theirs, &["invite", "--json"]).refused(&["copied-key"]);
    let second = starts_anew(&twin, &theirs, &old);
    let offered = twin.proposal(&theirs, "ana/apart");
    assert_eq!(bo.proposal(&clone, "ana/apart")["tip"], offered["tip"], "its branch is offered again");
    ana.up(&repo);
    reads_of_the_copied_key(&ana, &repo);
    let first = starts_anew(&ana, &repo, &old);
    assert_ne!(first, second);
    let all: [(&Person<'_>, &Path); 3] = [(&ana, &repo), (&twin, &theirs), (&bo, &clone)];
    all_equal(&all);
    for (who, dir) in all {
        // What Bo had built on stands.
        wait_for("the landing stands", LONG, || who.status(dir)["branches"][0]["tip"] == built_on.as_str());
        who.proposal(dir, "ana/apart");
        // Both events of one number are kept.
        let mut seqs: Vec<u64> = who
            .log(dir, &[])
            .iter()
            .filter(|event| event["author"] == old.as_str())
            .filter_map(|event| event["seq"].as_u64())
            .collect();
        seqs.sort_unstable();
        assert!(seqs.windows(2).any(|pair| pair[0] == pair[1]), "{seqs:?}");
    }
    // And both write.
    offer(&ana, &repo, "after-one");
    offer(&twin, &theirs, "after-two");
    bo.proposal(&clone, "ana/after-one");
    bo.proposal(&clone, "ana/after-two");
    all_equal(&all);
}

#[test]
fn two_clones_with_one_key_that_meet_say_so_and_write_no_more_until_each_has_its_own() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "twin"].map(|name| lan.host(name));
    let ana = Person::new(&hosts[0], "ana");
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let old = peer(&ana, &repo);
    ana.down();
    let (twin, theirs) = cloned_disk(&hosts[1], &ana, &repo);
    ana.up(&repo);
    twin.up(&theirs);
    for (who, dir) in [(&ana, &repo), (&twin, &theirs)] {
        reads_of_the_copied_key(who, dir);
        who.lansync(dir, &["invite", "--json"]).refused(&["copied-key"]);
    }
    let first = starts_anew(&ana, &repo, &old);
    let second = starts_anew(&twin, &theirs, &old);
    assert_ne!(first, second);
    offer(&ana, &repo, "one");
    offer(&twin, &theirs, "two");
    for (who, dir) in [(&ana, &repo), (&twin, &theirs)] {
        who.proposal(dir, "ana/one");
        who.proposal(dir, "ana/two");
    }
    all_equal(&[(&ana, &repo), (&twin, &theirs)]);
    feeds_are_whole(&ana, &repo);
}
