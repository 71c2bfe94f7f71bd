//! What is noticed, and how soon.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::git::testing::{Fixture, git_in, say};

/// Waits for a call that comes after the ref is as `done` wants it.
fn seen(calls: &Receiver<Instant>, what: &str, done: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    loop {
        let call = calls.recv_timeout(Duration::from_secs(5));
        let call = call.unwrap_or_else(|_| panic!("{what} was not noticed"));
        if done() {
            return call.saturating_duration_since(started);
        }
    }
}

fn watched(fixture: &Fixture) -> (Watch, Receiver<Instant>) {
    let (send, calls) = channel();
    let call = move || {
        // The receiver may be gone while the watch ends.
        let _ = send.send(Instant::now());
    };
    let watch = Watch::start(&fixture.repo(), call).expect("it can be watched");
    (watch, calls)
}

#[test]
fn whatever_moves_a_ref_is_noticed() {
    let fixture = Fixture::new();
    fixture.commit("a", "1\n");
    let linked = fixture.beside("linked");
    fixture.git(&["worktree", "add", "-q", "-b", "work", linked.to_str().unwrap()]);
    let (_watch, calls) = watched(&fixture);
    let repo = fixture.repo();
    let has = |name: &str| {
        let branches = repo.branches().unwrap().branches;
        branches.contains_key(&crate::git::testing::branch(name))
    };
    let tip = |name: &str| repo.branches().unwrap().branches.get(&crate::git::testing::branch(name)).copied();
    let main = tip("main");
    fixture.commit("a", "2\n");
    say(&format!("a commit: {:?}", seen(&calls, "a commit", || tip("main") != main)));
    let work = tip("work");
    git_in(&linked, &["commit", "-q", "--allow-empty", "-m", "Work"]);
    say(&format!("in a linked worktree: {:?}", seen(&calls, "a linked worktree's commit", || tip("work") != work)));
    fixture.git(&["branch", "new/dir/one"]);
    say(&format!("in new directories: {:?}", seen(&calls, "a branch in new directories", || has("new/dir/one"))));
    fixture.git(&["branch", "new/dir/two"]);
    seen(&calls, "a branch in directories that are no longer new", || has("new/dir/two"));
    fixture.git(&["pack-refs", "--all"]);
    seen(&calls, "packing", || fixture.dir().join(".git/packed-refs").exists());
    let main = tip("main");
    fixture.commit("a", "3\n");
    seen(&calls, "a commit after packing", || tip("main") != main);
    fixture.git(&["branch", "-D", "-q", "new/dir/one"]);
    seen(&calls, "a deletion", || !has("new/dir/one"));
    fixture.git(&["checkout", "-q", "-b", "other"]);
    seen(&calls, "a checkout", || {
        repo.head().unwrap() == crate::git::Head::Branch(crate::git::testing::branch("other"))
    });
    git_in(&linked, &["checkout", "-q", "--detach"]);
    seen(&calls, "a checkout in a linked worktree", || true);
}

#[test]
fn moves_that_come_together_are_told_once() {
    let (signs, told) = channel();
    let (send, calls) = channel();
    for _ in 0..100 {
        signs.send(Sign::Moved).unwrap();
    }
    let thread = std::thread::spawn(move || run(&told, &move || send.send(()).unwrap()));
    calls.recv().unwrap();
    drop(signs);
    thread.join().unwrap();
    assert_eq!(calls.iter().count(), 0);
    // After a new directory it looks again, and again.
    let (signs, told) = channel();
    let (send, calls) = channel();
    signs.send(Sign::NewDir).unwrap();
    let thread = std::thread::spawn(move || run(&told, &move || send.send(()).unwrap()));
    for _ in 0..3 {
        calls.recv_timeout(Duration::from_secs(5)).unwrap();
    }
    drop(signs);
    thread.join().unwrap();
    assert_eq!(calls.iter().count(), 0);
}

#[test]
fn dropping_ends_it_also_from_within() {
    let fixture = Fixture::new();
    fixture.commit("a", "1\n");
    let (watch, calls) = watched(&fixture);
    drop(watch);
    fixture.commit("a", "2\n");
    assert!(calls.recv().is_err(), "the caller's function is gone");
}

#[test]
fn only_refs_count() {
    let filter = Filter { common: PathBuf::from("/r/.git") };
    for path in ["HEAD", "packed-refs", "refs/heads/main", "refs", "refs/remotes/origin/x", "worktrees/w/HEAD"] {
        assert!(filter.is_ref(&Path::new("/r/.git").join(path)), "{path}");
    }
    for path in [
        "index",
        "config",
        "HEAD.lock",
        "refs/heads/main.lock",
        "objects/ab/cd",
        "lansync/log",
        "worktrees/w/index",
        "logs/HEAD",
    ] {
        assert!(!filter.is_ref(&Path::new("/r/.git").join(path)), "{path}");
    }
    assert!(!filter.is_ref(Path::new("/elsewhere/refs/heads/main")));
}
