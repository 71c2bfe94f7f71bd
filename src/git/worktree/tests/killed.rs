//! Moves by another process, and moves that were killed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Fixture, forward, git, main, open, try_git, write};
use crate::git::worktree::guard::Guard;
use crate::git::worktree::lock::IndexLock;
use crate::git::worktree::{LocalMove, NotClean, WorktreeError, prepare};

/// Every state that a kill can leave, made by hand, heals by running again.
#[test]
fn a_killed_move_heals() {
    // What it noted before it touched anything.
    let killed = || {
        let fixture = Fixture::usual();
        let git_dir = fixture.root.join(".git");
        let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
        guard.begins(fixture.from, fixture.to).ok().expect("noted");
        guard.killed();
        fixture
    };
    let some_files = |fixture: &Fixture| {
        write(&fixture.root, "a", "changed\n");
        fs::remove_file(fixture.root.join("gone")).expect("there");
        write(&fixture.root, "new/deep/d", "new\n");
    };
    // Some files are written.
    let fixture = killed();
    some_files(&fixture);
    fixture.assert_moved();

    // The index is written, some files are, the ref is not.
    let fixture = killed();
    git(&fixture.root, &["read-tree", &fixture.to.to_string()]);
    write(&fixture.root, "a", "changed\n");
    try_git(&fixture.root, &["update-index", "-q", "--refresh"]);
    fixture.assert_moved();

    // Something of somebody's among it, which they take back later.
    let fixture = killed();
    git(&fixture.root, &["read-tree", &fixture.to.to_string()]);
    write(&fixture.root, "a", "mine\n");
    assert!(matches!(fixture.forward(), LocalMove::NotClean { what: NotClean::ChangedFiles { .. } }));
    assert_eq!(fs::read(fixture.root.join("a")).expect("there"), b"mine\n");
    write(&fixture.root, "a", "changed\n");
    try_git(&fixture.root, &["update-index", "-q", "--refresh"]);
    fixture.assert_moved();

    // The branch is to go further by now.
    let mut fixture = killed();
    some_files(&fixture);
    let tree = git(&fixture.root, &["rev-parse", "main^{tree}"]);
    let half = fixture.to.to_string();
    fixture.to = git(&fixture.root, &["commit-tree", "-p", &half, "-m", "x", &tree]).parse().expect("an id");
    fixture.assert_moved();

    // It moved since: what is changed now is somebody's.
    let fixture = killed();
    git(&fixture.root, &["commit", "-q", "--allow-empty", "-m", "mine"]);
    let ahead = format!("{}^{{tree}}", fixture.to);
    let ahead = git(&fixture.root, &["commit-tree", "-p", "main", "-m", "x", &ahead]).parse().expect("an id");
    git(&fixture.root, &["read-tree", "-m", "-u", "main", &format!("{ahead}")]);
    let moved = forward(&open(&fixture.root), &main(), ahead).expect("git works");
    assert!(matches!(moved, LocalMove::NotClean { what: NotClean::ChangedFiles { .. } }), "{moved:?}");
}

#[test]
fn locks_that_a_killed_move_left_are_taken_away() {
    let fixture = Fixture::usual();
    let git_dir = fixture.root.join(".git");
    let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
    let lock = IndexLock::take(git_dir.join("index"), &mut guard).ok().expect("free");
    assert!(git_dir.join("index.lock").exists());
    // As long as it lives nobody else moves.
    assert_eq!(fixture.forward(), LocalMove::NotClean { what: NotClean::IndexLocked });
    std::mem::forget(lock);
    guard.killed();
    fixture.assert_moved();

    // Those of refs, as gix makes them.
    git(&fixture.root, &["update-ref", "refs/heads/main", &fixture.from.to_string()]);
    git(&fixture.root, &["reset", "-q", "--hard"]);
    let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
    let locks = [git_dir.join("refs/heads/main.lock"), git_dir.join("HEAD.lock")];
    guard.will_move(&locks, fixture.to).ok().expect("noted");
    let local = open(&fixture.root).local();
    std::mem::forget(prepare(&local, "HEAD", fixture.from, fixture.to).expect("free"));
    assert!(locks.iter().all(|lock| lock.exists()));
    guard.killed();
    fixture.assert_moved();

    // Also where the branch is there already.
    let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
    guard.will_move(&locks, fixture.to).ok().expect("noted");
    fs::write(&locks[1], "").expect("written");
    guard.killed();
    assert_eq!(fixture.forward(), LocalMove::UpToDate);
    fixture.assert_at_to();

    // A ref's that was made for another move.
    git(&fixture.root, &["update-ref", "refs/heads/main", &fixture.from.to_string()]);
    git(&fixture.root, &["reset", "-q", "--hard"]);
    let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
    guard.will_move(&locks, fixture.to).ok().expect("noted");
    fs::write(&locks[0], format!("{}\n", fixture.from)).expect("written");
    guard.killed();
    let result = forward(&open(&fixture.root), &main(), fixture.to);
    assert!(matches!(result, Err(WorktreeError::Busy { .. })), "{result:?}");
    fs::remove_file(&locks[0]).expect("kept");

    // A later one of git's is not ours.
    let mut guard = Guard::new(&git_dir.join("lansync"), &git_dir).ok().expect("free");
    let lock = IndexLock::take(git_dir.join("index"), &mut guard).ok().expect("free");
    drop(lock);
    guard.killed();
    fs::write(git_dir.join("index.lock"), "").expect("written");
    git(&fixture.root, &["update-ref", "refs/heads/main", &fixture.from.to_string()]);
    assert_eq!(fixture.forward(), LocalMove::NotClean { what: NotClean::IndexLocked });
    assert!(git_dir.join("index.lock").exists());
}

/// Another process that moves `main`, with settings of a user whose home is `home`.
fn mover(fixture: &Fixture, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "git::worktree::tests::killed::moved_by_another_process"])
        .envs([("LANSYNC_TEST_ROOT", fixture.root.as_os_str()), ("HOME", home.as_os_str())])
        .env("LANSYNC_TEST_TO", fixture.to.to_string())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("GIT_CONFIG_GLOBAL")
        .stdout(std::process::Stdio::null());
    command
}

/// Moves `main` of the repository that the environment names: a process for `a_move_killed_anywhere_heals` to kill.
#[test]
fn moved_by_another_process() {
    let (Some(root), Some(to)) = (std::env::var_os("LANSYNC_TEST_ROOT"), std::env::var("LANSYNC_TEST_TO").ok()) else {
        return;
    };
    open(Path::new(&root)).fast_forward(&main(), to.parse().expect("an id")).expect("git works");
}

#[test]
fn a_move_killed_anywhere_heals() {
    const FILES: usize = 150;
    let path = |number: usize| format!("d{}/f{number:03}", number % 7);
    let fixture = Fixture::new(
        |root| (0..FILES).for_each(|number| write(root, &path(number), "before\n")),
        |root| (0..FILES).for_each(|number| write(root, &path(number), "after\n")),
    );
    let git_dir = fixture.root.join(".git");
    // Once the lock is there, once some files are written, once the index is.
    let index = fs::read(git_dir.join("index")).expect("there");
    let written = |number: usize| fs::read(fixture.root.join(path(number))).is_ok_and(|text| text == b"after\n");
    let mut reached: Vec<Box<dyn Fn() -> bool + '_>> = vec![
        Box::new(|| git_dir.join("lansync/moving/main").exists()),
        Box::new(|| git_dir.join("index.lock").exists()),
        Box::new(|| git_dir.join("index.lansync").exists()),
    ];
    for number in [0, 7, 70, 1, 3, 6, 148] {
        let written = &written;
        reached.push(Box::new(move || written(number)));
    }
    reached.push(Box::new(|| fs::read(git_dir.join("index")).is_ok_and(|now| now != index)));
    let mut killed = 0;
    for reached in reached {
        git(&fixture.root, &["reset", "-q", "--hard", &fixture.from.to_string()]);
        let mut child = mover(&fixture, &fixture.root).spawn().expect("started");
        while !reached() && child.try_wait().expect("ours").is_none() {
            std::hint::spin_loop();
        }
        child.kill().expect("ours");
        killed += usize::from(!child.wait().expect("ours").success());
        let moved = fixture.forward();
        assert!(matches!(moved, LocalMove::Moved { .. } | LocalMove::UpToDate), "{moved:?}");
        assert_eq!(git(&fixture.root, &["status", "--porcelain"]), "");
        fixture.assert_at_to();
    }
    assert!(killed > 4, "{killed} were killed in time");
}

#[test]
fn settings_of_the_user_count() {
    let fixture = Fixture::new(|root| write(root, "a", "1\n"), |root| write(root, "new", "1\n2\n"));
    let home = tempfile::tempdir().expect("a directory");
    write(home.path(), ".gitconfig", "[core]\n\tautocrlf = true\n[user]\n\tname = Bo\n\temail = bo@example.org\n");
    assert!(mover(&fixture, home.path()).status().expect("started").success());
    assert_eq!(fs::read(fixture.root.join("new")).expect("there"), b"1\r\n2\r\n");
    assert_eq!(git(&fixture.root, &["reflog", "-1", "--format=%gn %gs"]), "Bo lansync: landed");
    assert_eq!(git(&fixture.root, &["rev-parse", "HEAD"]), fixture.to.to_string());
}
