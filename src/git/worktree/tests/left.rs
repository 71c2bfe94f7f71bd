//! What is somebody's own is left as it is.

use std::fs;

use super::{Fixture, commit, forward, git, main, open, try_git, write};
use crate::git::worktree::{LocalMove, NotClean, Operation};

#[test]
fn changed_files_are_left() {
    let change = |path: &str, content: &str| {
        let fixture = Fixture::usual();
        write(&fixture.root, path, content);
        fixture.assert_not_clean(NotClean::ChangedFiles { first: path.into(), count: 1 });
    };
    change("a", "mine\n");
    change("same", "mine\n");
    change("gone", "mine\n");
    // The same length, in the same second.
    change("same", "SAME\n");

    let fixture = Fixture::usual();
    write(&fixture.root, "same", "mine\n");
    write(&fixture.root, "dir/b", "mine\n");
    git(&fixture.root, &["add", "-A"]);
    fixture.assert_not_clean(NotClean::ChangedFiles { first: "dir/b".into(), count: 2 });

    let fixture = Fixture::usual();
    fs::remove_file(fixture.root.join("same")).expect("there");
    fixture.assert_not_clean(NotClean::ChangedFiles { first: "same".into(), count: 1 });

    let fixture = Fixture::usual();
    git(&fixture.root, &["rm", "-q", "--cached", "same"]);
    fixture.assert_not_clean(NotClean::ChangedFiles { first: "same".into(), count: 1 });

    let fixture = Fixture::usual();
    write(&fixture.root, "mine", "mine\n");
    git(&fixture.root, &["add", "-N", "mine"]);
    fixture.assert_not_clean(NotClean::ChangedFiles { first: "mine".into(), count: 1 });

    // Git was told not to look at it; it would be overwritten all the same.
    let fixture = Fixture::usual();
    git(&fixture.root, &["update-index", "--assume-unchanged", "a"]);
    write(&fixture.root, "a", "mine\n");
    assert!(matches!(fixture.forward(), LocalMove::NotClean { what: NotClean::ChangedFiles { .. } }));
    assert_eq!(fs::read(fixture.root.join("a")).expect("there"), b"mine\n");
}

/// As with `git status`: what differs from the commit is somebody's, though it be what is to come.
#[test]
fn changes_that_are_what_is_to_come_are_somebodys_all_the_same() {
    let changed = |first: &str, count| NotClean::ChangedFiles { first: first.into(), count };
    // `git reset --soft HEAD~1` after the commit landed.
    let fixture = Fixture::usual();
    git(&fixture.root, &["read-tree", "-m", "-u", "main", &fixture.to.to_string()]);
    fixture.assert_not_clean(changed("a", 4));
    // Not staged, or only taken away.
    let fixture = Fixture::usual();
    write(&fixture.root, "a", "changed\n");
    fixture.assert_not_clean(changed("a", 1));
    let fixture = Fixture::usual();
    fs::remove_file(fixture.root.join("gone")).expect("there");
    fixture.assert_not_clean(changed("gone", 1));
    // Not tracked.
    let fixture = Fixture::usual();
    write(&fixture.root, "new/deep/d", "new\n");
    fixture.assert_not_clean(NotClean::Untracked("new/deep/d".into()));
}

#[test]
fn untracked_and_ignored_files_are_never_overwritten() {
    let fixture = Fixture::usual();
    write(&fixture.root, "new/deep/d", "mine\n");
    fixture.assert_not_clean(NotClean::Untracked("new/deep/d".into()));

    let fixture = Fixture::usual();
    write(&fixture.root, ".git/info/exclude", "new\n");
    write(&fixture.root, "new/deep/d", "mine\n");
    fixture.assert_not_clean(NotClean::Untracked("new/deep/d".into()));

    let fixture = Fixture::usual();
    write(&fixture.root, "new", "mine\n");
    fixture.assert_not_clean(NotClean::Untracked("new".into()));

    // Never through a link.
    let fixture = Fixture::usual();
    let outside = fixture.root.parent().expect("has one").join("outside");
    fs::create_dir(&outside).expect("made");
    std::os::unix::fs::symlink(&outside, fixture.root.join("new")).expect("made");
    fixture.assert_not_clean(NotClean::Untracked("new".into()));
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 0);
}

#[test]
fn unfinished_work_is_left() {
    let conflicting = || {
        let fixture = Fixture::usual();
        git(&fixture.root, &["checkout", "-q", "-b", "side"]);
        write(&fixture.root, "a", "side\n");
        commit(&fixture.root);
        git(&fixture.root, &["checkout", "-q", "main"]);
        fixture
    };
    let fixture = conflicting();
    git(&fixture.root, &["checkout", "-q", "-b", "topic", "main"]);
    write(&fixture.root, "a", "topic\n");
    commit(&fixture.root);
    git(&fixture.root, &["branch", "-q", "-f", "main"]);
    git(&fixture.root, &["checkout", "-q", "main"]);
    let ahead = git(&fixture.root, &["commit-tree", "-p", "main", "-m", "x", "side^{tree}"]).parse().expect("an id");
    for (command, operation) in
        [("merge", Operation::Merge), ("cherry-pick", Operation::CherryPick), ("rebase", Operation::Rebase)]
    {
        assert!(!try_git(&fixture.root, &[command, "side"]).0, "a conflict");
        let moved = forward(&open(&fixture.root), &main(), ahead).expect("git works");
        assert_eq!(moved, LocalMove::NotClean { what: NotClean::InProgress(operation) });
        git(&fixture.root, &[command, "--abort"]);
    }
    assert!(!try_git(&fixture.root, &["merge", "side"]).0, "a conflict");
    fs::remove_file(fixture.root.join(".git/MERGE_HEAD")).expect("there");
    let moved = forward(&open(&fixture.root), &main(), ahead).expect("git works");
    assert_eq!(moved, LocalMove::NotClean { what: NotClean::Unmerged });

    let fixture = Fixture::usual();
    git(&fixture.root, &["bisect", "start"]);
    fixture.assert_not_clean(NotClean::InProgress(Operation::Bisect));
}

#[test]
fn part_of_a_checkout_is_left() {
    let fixture = Fixture::usual();
    git(&fixture.root, &["sparse-checkout", "set", "dir"]);
    assert_eq!(fixture.forward(), LocalMove::NotClean { what: NotClean::Sparse });
    fixture.assert_stayed();
}
