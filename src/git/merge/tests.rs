//! The frozen merge against real repositories, real git, and random edits.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use gix::objs::Write as _;
use proptest::prelude::*;

use super::diff::Steps;
use super::golden::{Memory, commit_cases};
use super::tree::Objects as _;
use super::{Clashing, MergeError, Merged, by_rules, lines};
use crate::git::Repository;
use crate::id::{BranchName, ObjectId};

/// Runs git without anybody's configuration; gives what it printed, and whether it succeeded.
fn run(dir: &Path, args: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Ana"), ("GIT_AUTHOR_EMAIL", "ana@example.org"), ("HOME", "/nonexistent")])
        .envs([("GIT_COMMITTER_NAME", "Ana"), ("GIT_COMMITTER_EMAIL", "ana@example.org")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let out = child.wait_with_output().expect("git runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, out) = run(dir, args, b"");
    assert!(ok, "git {args:?}: {out}");
    out.trim().to_owned()
}

fn open(dir: &Path) -> Repository {
    Repository::from(gix::open(dir).expect("a repository").into_sync())
}

fn fresh(memory: &Memory) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "."]);
    let repository = open(dir.path());
    let local = repository.local();
    for (kind, bytes) in memory.objects.values() {
        local.objects.write_buf(*kind, bytes).expect("written");
    }
    (dir, repository)
}

fn objects_in(dir: &Path) -> BTreeSet<String> {
    let args = ["cat-file", "--batch-check=%(objectname)", "--batch-all-objects"];
    git(dir, &args).lines().map(str::to_owned).collect()
}

#[test]
fn a_repository_gives_the_golden_commits_and_git_the_same_trees() {
    for mut case in commit_cases() {
        let (dir, repository) = fresh(&case.memory);
        let before = objects_in(dir.path());
        let recomputed = repository.recompute(1, &case.heads, case.tip, &case.branch).expect("all is there");
        assert_eq!(objects_in(dir.path()), before, "{}: recomputing writes nothing", case.name);
        let (merged, adopted) = repository.merge(1, &case.heads, case.tip, &case.branch).expect("all is there");
        assert_eq!(adopted.is_some(), matches!(merged, Merged::Commit(_)), "{}", case.name);
        assert_eq!(merged, recomputed, "{}", case.name);
        let in_memory = by_rules(1, &mut case.memory, &case.heads, case.tip, &case.branch).expect("all is there");
        assert_eq!(merged, in_memory, "{}", case.name);
        assert_eq!(case.show(merged.clone()), case.gives, "{}", case.name);

        let Merged::Commit(id) = merged else { continue };
        git(dir.path(), &["update-ref", "refs/heads/merged", &id.to_string()]);
        // Gitlinks name commits that are nowhere; everything else must be complete.
        git(dir.path(), &["fsck", "--full", "--strict"]);
        let parents = case.memory.commit(id).expect("made").parents;
        if let [ours, theirs] = parents[..] {
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            let args =
                ["merge-tree", "--write-tree", "--allow-unrelated-histories", "-X", "no-renames", &ours, &theirs];
            let (clean, tree) = run(dir.path(), &args, b"");
            assert!(clean, "{}: git finds a conflict", case.name);
            assert_eq!(tree.trim(), git(dir.path(), &["rev-parse", &format!("{id}^{{tree}}")]), "{}", case.name);
        }
    }
}

#[test]
fn configuration_attributes_and_replacements_change_nothing() {
    let case = commit_cases().into_iter().find(|case| case.name == "one file, changes apart").expect("is there");
    let (dir, repository) = fresh(&case.memory);
    let (merged, adopted) = repository.merge(1, &case.heads, case.tip, &case.branch).expect("all is there");
    let Merged::Commit(id) = merged else { panic!("clean") };
    git(dir.path(), &["gc", "--quiet", "--prune=now"]);
    assert!(repository.has(&id), "nothing refers to it, and its pack is kept");
    adopted.expect("made").release();
    git(dir.path(), &["gc", "--quiet", "--prune=now"]);
    assert!(!open(dir.path()).has(&id));

    let (dir_2, _) = fresh(&case.memory);
    let head = case.heads[0].to_string();
    std::fs::write(dir_2.path().join(".git/info/attributes"), "* merge=ours -text binary\n").expect("written");
    for (key, value) in [("merge.ours.driver", "true"), ("merge.renormalize", "true"), ("diff.algorithm", "histogram")]
    {
        git(dir_2.path(), &["config", key, value]);
    }
    git(dir_2.path(), &["update-ref", "refs/heads/a", &head]);
    git(dir_2.path(), &["update-ref", "refs/heads/b", &case.tip.to_string()]);
    git(dir_2.path(), &["commit-graph", "write", "--reachable"]);
    git(dir_2.path(), &["replace", &head, &case.tip.to_string()]);
    let (again, _) = open(dir_2.path()).merge(1, &case.heads, case.tip, &case.branch).expect("all is there");
    assert_eq!(again, Merged::Commit(id));
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    let case = commit_cases().into_iter().find(|case| case.name == "one file, changes apart").expect("is there");
    let (_dir, repository) = fresh(&case.memory);
    let result = repository.merge(2, &case.heads, case.tip, &case.branch);
    assert!(matches!(result, Err(MergeError::UnknownRules(2))));
    let absent = ObjectId::Sha1([7; 20]);
    let result = repository.merge(1, &case.heads, absent, &case.branch);
    assert!(matches!(result, Err(MergeError::Missing(id)) if id == absent));

    let blob = *case.memory.objects.iter().find(|(_, (kind, _))| *kind == gix::objs::Kind::Blob).expect("one").0;
    let mut memory = case.memory;
    memory.objects.remove(&blob);
    let result = by_rules(1, &mut memory, &case.heads, case.tip, &case.branch);
    assert!(matches!(result, Err(MergeError::Missing(id)) if id == blob));
    let tip = memory.objects.get_mut(&case.tip).expect("there");
    tip.1 = b"tree nonsense\n".to_vec();
    let result = by_rules(1, &mut memory, &case.heads, case.tip, &case.branch);
    assert!(matches!(result, Err(MergeError::Malformed(id)) if id == case.tip));
}

#[test]
fn a_ladder_of_crossing_merges_ends_in_a_conflict_and_not_in_a_full_stack() {
    let mut memory = Memory::default();
    let file = |text: &str| [("a".into(), (super::format::Kind::File, text.into()))].into();
    let tree = memory.tree_of(&file("1\n"));
    let root = memory.commit_of("root", tree, 1, &[]);
    let (mut x, mut y) = (memory.commit_of("x", tree, 2, &[root]), memory.commit_of("y", tree, 2, &[root]));
    for rung in 0..2_000 {
        (x, y) = (
            memory.commit_of(&format!("x{rung}"), tree, 3 + rung, &[x, y]),
            memory.commit_of(&format!("y{rung}"), tree, 3 + rung, &[y, x]),
        );
    }
    let branch = BranchName::new("main").expect("a name");
    // Trees that differ on all three sides, else there is nothing to decide.
    let (ours, theirs) = (memory.tree_of(&file("2\n")), memory.tree_of(&file("3\n")));
    let (x, y) = (memory.commit_of("x", ours, 9_000, &[x]), memory.commit_of("y", theirs, 9_000, &[y]));
    let merged = by_rules(1, &mut memory, &[x], y, &branch).expect("all is there");
    let Merged::Conflict(clashes) = merged else { panic!("{merged:?}") };
    assert_eq!(clashes[0].why, Clashing::TooManyBases);
}

#[test]
fn directories_without_end_do_not_fill_the_stack() {
    let mut memory = Memory::default();
    let mut nest = |text: &str| {
        let mut tree = super::format::Tree::new();
        let id = memory.put(gix::objs::Kind::Blob, text.into());
        tree.insert("a".into(), super::format::Entry { kind: super::format::Kind::File, id });
        for _ in 0..5_000 {
            let id = memory.put(gix::objs::Kind::Tree, super::format::write_tree(&tree));
            tree.clear();
            tree.insert("d".into(), super::format::Entry { kind: super::format::Kind::Tree, id });
        }
        memory.put(gix::objs::Kind::Tree, super::format::write_tree(&tree))
    };
    let trees = [nest("1"), nest("2"), nest("3")];
    let base = memory.commit_of("base", trees[0], 1, &[]);
    let (ours, theirs) = (memory.commit_of("o", trees[1], 1, &[base]), memory.commit_of("t", trees[2], 1, &[base]));
    let merged = by_rules(1, &mut memory, &[ours], theirs, &BranchName::new("main").expect("a name"));
    let Ok(Merged::Conflict(clashes)) = merged else { panic!("a conflict") };
    assert_eq!(clashes[0].why, Clashing::TooDeep);
}

/// A text of few different lines, so that they repeat, and two edits of it.
fn edited() -> impl Strategy<Value = [Vec<u8>; 3]> {
    let line = 0u8..12;
    let edit = || prop::collection::vec((0usize..40, 0usize..4, prop::collection::vec(0u8..14, 0..3)), 0..4);
    (prop::collection::vec(line, 0..40), edit(), edit()).prop_map(|(base, ours, theirs)| {
        let apply = |edits: Vec<(usize, usize, Vec<u8>)>| {
            let mut lines = base.clone();
            for (at, removed, added) in edits {
                let from = at.min(lines.len());
                let to = (from + removed).min(lines.len());
                lines.splice(from..to, added);
            }
            lines
        };
        let text = |lines: Vec<u8>| lines.into_iter().flat_map(|line| format!("line {line}\n").into_bytes()).collect();
        [text(base.clone()), text(apply(ours)), text(apply(theirs))]
    })
}

proptest! {
    #[test]
    fn exchanging_the_sides_changes_nothing([base, ours, theirs] in edited()) {
        prop_assert_eq!(
            lines::merge(&base, &ours, &theirs, &mut Steps::new()),
            lines::merge(&base, &theirs, &ours, &mut Steps::new())
        );
    }

    #[test]
    fn one_change_or_the_same_change_is_taken([base, ours, _] in edited()) {
        prop_assert_eq!(lines::merge(&base, &ours, &base, &mut Steps::new()), Ok(ours.clone()));
        prop_assert_eq!(lines::merge(&base, &base, &ours, &mut Steps::new()), Ok(ours.clone()));
        prop_assert_eq!(lines::merge(&base, &ours, &ours, &mut Steps::new()), Ok(ours));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn git_merges_clean_files_alike([base, ours, theirs] in edited()) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in [("base", &base), ("ours", &ours), ("theirs", &theirs)] {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        let (clean, text) = run(dir.path(), &["merge-file", "-p", "ours", "base", "theirs"], b"");
        if let (true, Ok(merged)) = (clean, lines::merge(&base, &ours, &theirs, &mut Steps::new())) {
            prop_assert_eq!(String::from_utf8(merged).expect("text"), text);
        }
    }
}
