//! Refs as git sees them, also while it works on them.

use std::time::{Duration, Instant};

use super::*;
use crate::git::testing::{Fixture, branch, git_in, say};

fn handle(text: &str) -> Handle {
    Handle::new(text).expect("a good handle")
}

#[test]
fn branches_are_listed_wherever_they_lie() {
    let fixture = Fixture::new();
    assert_eq!(fixture.repo().branches().unwrap(), Branches::default());
    let first = fixture.commit("a", "1\n");
    for name in ["fix/one", "fix/two", "old"] {
        fixture.git(&["branch", name]);
    }
    fixture.git(&["pack-refs", "--all"]);
    let second = fixture.commit("a", "2\n");
    fixture.git(&["branch", "fix/three"]);
    fixture.git(&["branch", "u\u{308}bung"]);
    fixture.git(&["symbolic-ref", "refs/heads/master", "refs/heads/main"]);
    fixture.git(&["branch", "-D", "-q", "old"]);
    std::fs::write(fixture.dir().join(".git/refs/heads/torn"), "").unwrap();
    std::fs::write(fixture.dir().join(".git/refs/heads/main.lock"), "x").unwrap();
    let found = fixture.repo().branches().unwrap();
    let expected = [("fix/one", first), ("fix/three", second), ("fix/two", first), ("main", second)];
    assert_eq!(found.branches, expected.map(|(name, id)| (branch(name), id)).into());
    assert_eq!((found.unnameable.len(), found.broken), (1, vec!["torn".to_owned()]));
}

#[test]
fn a_branch_that_is_packed_meanwhile_is_never_missing() {
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    let repo = fixture.repo();
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            for _ in 0..30 {
                fixture.git(&["update-ref", "refs/heads/side", &tip.to_string()]);
                fixture.git(&["pack-refs", "--all"]);
                // A loose copy beside the packed one, which the next round moves again.
                let (new, main) = (fixture.dir().join(".git/new"), fixture.dir().join(".git/refs/heads/main"));
                std::fs::write(&new, format!("{tip}\n")).unwrap();
                std::fs::create_dir_all(main.parent().unwrap()).unwrap();
                std::fs::rename(&new, &main).unwrap();
            }
        });
        while !packing.is_finished() {
            assert!(repo.branches().unwrap().branches.contains_key(&branch("main")));
        }
    });
}

#[test]
fn head_says_what_the_work_tree_is_on() {
    let fixture = Fixture::new();
    assert_eq!(fixture.repo().head().unwrap(), Head::Unborn(branch("main")));
    let tip = fixture.commit("a", "1\n");
    assert_eq!(fixture.repo().head().unwrap(), Head::Branch(branch("main")));
    fixture.git(&["pack-refs", "--all"]);
    assert_eq!(fixture.repo().head().unwrap(), Head::Branch(branch("main")));
    let linked = fixture.beside("linked");
    fixture.git(&["worktree", "add", "-q", "-b", "fix/x", linked.to_str().unwrap()]);
    let other = Repository::discover(&linked).unwrap();
    assert_eq!(other.head().unwrap(), Head::Branch(branch("fix/x")));
    git_in(&linked, &["checkout", "-q", "--detach"]);
    assert_eq!(other.head().unwrap(), Head::Detached(tip));
    assert_eq!(fixture.repo().head().unwrap(), Head::Branch(branch("main")));
}

#[test]
fn other_remotes_are_looked_at_and_ours_is_not() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.commit("a", "1\n"), fixture.commit("a", "2\n"));
    for (name, id) in [("origin/main", first), ("origin/fix/x", second), ("lansync/main", second)] {
        fixture.git(&["update-ref", &format!("refs/remotes/{name}"), &id.to_string()]);
    }
    fixture.git(&["pack-refs", "--all"]);
    fixture.git(&["update-ref", "refs/remotes/upstream/main", &second.to_string()]);
    let repo = fixture.repo();
    let mut both = vec![first, second];
    both.sort_unstable();
    assert_eq!(repo.remote_tips(&branch("main")).unwrap(), both);
    assert_eq!(repo.remote_tips(&branch("fix/x")).unwrap(), vec![second]);
    assert_eq!(repo.remote_tips(&branch("x")).unwrap(), vec![]);
    fixture.git(&["update-ref", "refs/remotes/origin/main", &second.to_string()]);
    assert_eq!(repo.remote_tips(&branch("main")).unwrap(), vec![second], "the file counts, not what was packed");
}

#[test]
fn tracking_moves_only_from_where_it_is() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.commit("a", "1\n"), fixture.commit("a", "2\n"));
    let (repo, main) = (fixture.repo(), branch("main"));
    repo.set_tracking(&main, None, first, "lansync: landed").unwrap();
    assert_eq!(fixture.rev("lansync/main"), first);
    let moved = repo.set_tracking(&main, None, second, "lansync: landed");
    assert!(matches!(moved, Err(RefError::Moved { found: Some(found), .. }) if found == first));
    let moved = repo.set_tracking(&main, Some(second), first, "lansync: landed");
    assert!(matches!(moved, Err(RefError::Moved { found: Some(found), .. }) if found == first));
    fixture.git(&["pack-refs", "--all"]);
    repo.set_tracking(&main, Some(first), second, "lansync:\nlanded").unwrap();
    assert_eq!(repo.tracking(&main).unwrap(), Some(second));
    let log = fixture.git(&["reflog", "refs/remotes/lansync/main"]);
    assert_eq!(log.lines().filter(|line| line.ends_with("lansync: landed")).count(), 2, "{log}");
    assert_eq!(fixture.rev("lansync/main@{1}"), first);
    fixture.fsck();
    let reserved = repo.set_tracking(&branch("@bo/fix"), None, first, "");
    assert!(matches!(reserved, Err(RefError::Reserved(_))));
}

#[test]
fn no_reflog_is_written_where_git_would_write_none() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.commit("a", "1\n"), fixture.commit("a", "2\n"));
    fixture.git(&["config", "core.logAllRefUpdates", "false"]);
    let (repo, main) = (fixture.repo(), branch("main"));
    repo.set_tracking(&main, None, first, "lansync: landed").unwrap();
    let log = fixture.dir().join(".git/logs/refs/remotes/lansync/main");
    assert!(!log.exists());
    fixture.git(&["config", "core.logAllRefUpdates", "always"]);
    repo.set_tracking(&main, Some(first), second, "lansync: landed").unwrap();
    assert!(log.exists(), "settings are read afresh");
}

#[test]
fn proposals_come_and_go() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.commit("a", "1\n"), fixture.commit("a", "2\n"));
    let (repo, bo) = (fixture.repo(), handle("bo"));
    repo.set_proposal(&bo, &branch("fix"), first).unwrap();
    repo.set_proposal(&bo, &branch("fix"), second).unwrap();
    assert_eq!(fixture.rev("lansync/@bo/fix"), second);
    // `fix` and `fix/x` cannot exist at once, loose or packed.
    for packed in [false, true] {
        if packed {
            fixture.git(&["pack-refs", "--all"]);
        }
        match repo.set_proposal(&bo, &branch("fix/x"), first) {
            Err(RefError::InTheWay { other, .. }) => assert_eq!(other, "refs/remotes/lansync/@bo/fix"),
            result => panic!("{result:?}"),
        }
    }
    let tracked = Tracked::Proposal(bo.clone(), branch("fix"));
    assert!(matches!(repo.delete_tracking(&tracked, first), Err(RefError::Moved { .. })));
    repo.delete_tracking(&tracked, second).unwrap();
    repo.delete_tracking(&tracked, second).unwrap();
    assert!(!fixture.git(&["for-each-ref"]).contains("@bo"));
    for packed in [false, true] {
        repo.set_proposal(&bo, &branch("fix/x"), first).unwrap();
        if packed {
            fixture.git(&["pack-refs", "--all"]);
        }
        match repo.set_proposal(&bo, &branch("fix"), first) {
            Err(RefError::InTheWay { other, .. }) => assert_eq!(other, "refs/remotes/lansync/@bo/fix/x"),
            result => panic!("{result:?}"),
        }
    }
    repo.set_tracking(&branch("main"), None, second, "").unwrap();
    let tracked =
        [(Tracked::Canonical(branch("main")), second), (Tracked::Proposal(bo.clone(), branch("fix/x")), first)];
    assert_eq!(repo.tracked().unwrap(), tracked.clone().into());
    repo.delete_tracking(&tracked[1].0, first).unwrap();
    // Empty directories, which git leaves behind too, are in nobody's way.
    std::fs::create_dir_all(fixture.dir().join(".git/refs/remotes/lansync/@bo/fix/x/y")).unwrap();
    repo.set_proposal(&bo, &branch("fix"), first).unwrap();
    fixture.fsck();
}

#[test]
fn other_refs_survive_a_deletion() {
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    fixture.git(&["tag", "-a", "-m", "One", "one"]);
    fixture.git(&["update-ref", "refs/remotes/lansync/@bo/fix", &tip.to_string()]);
    fixture.git(&["update-ref", "refs/remotes/lansync/@bo/fix2", &tip.to_string()]);
    let before = fixture.git(&["show-ref", "-d"]);
    fixture.git(&["pack-refs", "--all"]);
    let fix = Tracked::Proposal(handle("bo"), branch("fix"));
    fixture.repo().delete_tracking(&fix, tip).unwrap();
    let after: Vec<&str> = before.lines().filter(|line| !line.ends_with("@bo/fix")).collect();
    assert_eq!(fixture.git(&["show-ref", "-d"]), after.join("\n"), "what tags stand for included");
    assert!(fixture.dir().join(".git/packed-refs").exists());
}

#[test]
fn deleting_while_git_packs_refs_loses_nothing_and_brings_nothing_back() {
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    let repo = fixture.repo();
    let bo = handle("bo");
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| {
            for _ in 0..40 {
                // It may find a lock of ours, and then gives up.
                fixture.git_with(&["pack-refs", "--all"], b"");
            }
        });
        let mut round = 0;
        while !packing.is_finished() {
            let (stays, goes) = (branch(&format!("stays{round}")), branch(&format!("goes{round}")));
            repo.set_proposal(&bo, &stays, tip).unwrap();
            repo.set_proposal(&bo, &goes, tip).unwrap();
            repo.delete_tracking(&Tracked::Proposal(bo.clone(), goes), tip).unwrap();
            round += 1;
        }
        let tracked = repo.tracked().unwrap();
        assert_eq!(tracked.len(), round, "one of two stays");
        say(&format!("{round} rounds against 40 runs of git pack-refs"));
    });
    fixture.git(&["pack-refs", "--all"]);
    assert!(!fixture.git(&["for-each-ref"]).contains("goes"));
    assert_eq!(fixture.rev("main"), tip);
}

#[test]
fn a_lock_is_waited_for_and_never_broken() {
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    let (repo, main) = (fixture.repo(), branch("main"));
    let lock = fixture.dir().join(".git/refs/remotes/lansync/main.lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    std::fs::write(&lock, "").unwrap();
    let started = Instant::now();
    let locked = repo.set_tracking(&main, None, tip, "");
    assert!(matches!(locked, Err(RefError::Locked(_))), "{locked:?}");
    assert!(lock.exists() && started.elapsed() > Duration::from_secs(1));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| repo.set_tracking(&main, None, tip, ""));
        std::fs::remove_file(&lock).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(fixture.rev("lansync/main"), tip);
}

#[test]
fn a_lock_that_a_kill_left_is_taken_away_and_no_other() {
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    let (repo, main) = (fixture.repo(), branch("main"));
    let common = fixture.dir().join(".git");
    let paths = ["packed-refs", "refs/remotes/lansync/main"].map(|name| common.join(name));
    let locks = ["packed-refs.lock", "refs/remotes/lansync/main.lock"].map(|name| common.join(name));
    let both = paths.each_ref().map(|path| lock::Lock::take(path, &repo.lansync_dir()).unwrap());
    both.into_iter().for_each(lock::Lock::killed);
    assert!(locks.iter().all(|lock| lock.exists()));
    // One is gone, and its name is somebody else's by now.
    std::fs::remove_file(&locks[0]).unwrap();
    std::fs::write(&locks[0], "git's").unwrap();
    // One is held by somebody who lives.
    let alive = lock::Lock::take(&common.join("refs/remotes/lansync/alive"), &repo.lansync_dir()).unwrap();
    repo.take_left_locks_away().unwrap();
    assert_eq!(std::fs::read_to_string(&locks[0]).unwrap(), "git's");
    assert!(!locks[1].exists() && common.join("refs/remotes/lansync/alive.lock").exists());
    drop(alive);
    std::fs::remove_file(&locks[0]).unwrap();

    // Whoever wants it next takes it away as well.
    lock::Lock::take(&paths[1], &repo.lansync_dir()).unwrap().killed();
    repo.set_tracking(&main, None, tip, "").unwrap();
    lock::Lock::take(&paths[0], &repo.lansync_dir()).unwrap().killed();
    repo.delete_tracking(&Tracked::Canonical(main), tip).unwrap();
    assert_eq!(std::fs::read_dir(repo.lansync_dir().join("locks")).unwrap().count(), 0);
    assert!(locks.iter().all(|lock| !lock.exists()));
    fixture.git(&["pack-refs", "--all"]);
}

#[cfg(unix)]
#[test]
fn no_hook_of_the_users_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    let tip = fixture.commit("a", "1\n");
    let (repo, ran) = (fixture.repo(), fixture.beside("ran"));
    let hook = fixture.dir().join(".git/hooks/reference-transaction");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    repo.set_tracking(&branch("main"), None, tip, "").unwrap();
    repo.delete_tracking(&Tracked::Canonical(branch("main")), tip).unwrap();
    assert!(!ran.exists());
    fixture.git(&["update-ref", "refs/remotes/x/y", &tip.to_string()]);
    assert!(ran.exists(), "git itself runs it");
}

#[test]
fn tags_made_together_are_as_git_packs_them_and_leave_others_alone() {
    for packed_before in [false, true] {
        let fixture = Fixture::new();
        let tip = fixture.commit("a", "1\n");
        fixture.git(&["tag", "-a", "-m", "Mine", "mine"]);
        fixture.git(&["tag", "d"]);
        fixture.git(&["tag", "-a", "-m", "One", "one"]);
        let one = fixture.rev("one");
        fixture.git(&["tag", "-d", "one"]);
        if packed_before {
            fixture.git(&["pack-refs", "--all"]);
        }
        let before: Vec<String> = fixture.git(&["show-ref", "-d"]).lines().map(str::to_owned).collect();
        let tags = ["one", "e/f", "mine", "d/x"].map(|name| (branch(name), if name == "one" { one } else { tip }));
        fixture.repo().set_tags(&tags).unwrap();
        let mut after = before.clone();
        after.extend([
            format!("{tip} refs/tags/e/f"),
            format!("{one} refs/tags/one"),
            format!("{tip} refs/tags/one^{{}}"),
        ]);
        let by_name = |line: &String| line[41..].to_owned();
        after.sort_by_key(by_name);
        let mut said: Vec<String> = fixture.git(&["show-ref", "-d"]).lines().map(str::to_owned).collect();
        said.sort_by_key(by_name);
        assert_eq!(said, after, "one is there, one is in the way, two are made");
        fixture.git(&["pack-refs", "--all"]);
        fixture.fsck();
        let again: Vec<String> = fixture.git(&["show-ref", "-d"]).lines().map(str::to_owned).collect();
        assert_eq!(again.len(), after.len());
    }
}
