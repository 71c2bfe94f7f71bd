//! The answers against those of real git.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Distance, HistoryError};
use crate::git::Repository;
use crate::id::ObjectId;

const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

fn try_git(dir: &Path, args: &[&str], input: &[u8]) -> (bool, String) {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("HOME", "/nonexistent")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git is installed");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let out = child.wait_with_output().expect("git runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, out) = try_git(dir, args, b"");
    assert!(ok, "git {args:?}: {out}");
    out
}

/// A repository out of a stream of `git fast-import`, with every commit at `refs/heads/<mark>`.
fn import(stream: &str) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "."]);
    let (ok, _) = try_git(dir.path(), &["fast-import", "--quiet"], stream.as_bytes());
    assert!(ok, "git fast-import");
    let repository = gix::open_opts(dir.path(), gix::open::Options::isolated()).expect("a repository");
    (dir, Repository::from(repository.into_sync()))
}

/// Adds commit `number`, whose file `f<number % 5>` says its number, to a stream.
fn commit(stream: &mut String, number: usize, seconds: u64, parents: &[usize]) {
    let message = format!("commit {number}\n\nbody\n");
    write!(stream, "commit refs/heads/c{number}\nmark :{number}\n").expect("memory");
    writeln!(stream, "author Bo <bo@example.org> {seconds} +0200").expect("memory");
    writeln!(stream, "committer Ana <ana@example.org> {seconds} +0000").expect("memory");
    write!(stream, "data {}\n{message}", message.len()).expect("memory");
    for (at, parent) in parents.iter().enumerate() {
        writeln!(stream, "{} :{parent}", if at == 0 { "from" } else { "merge" }).expect("memory");
    }
    let text = (0..=number % 9).map(|line| format!("{line} {}\n", number / 9)).collect::<String>();
    write!(stream, "M 644 inline dir/f{}\ndata {}\n{text}\n", number % 5, text.len()).expect("memory");
}

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

fn id(dir: &Path, number: usize) -> ObjectId {
    git(dir, &["rev-parse", &format!("refs/heads/c{number}")]).parse().expect("an id")
}

/// Forty commits with merges and several roots; `skew`: times that run every way.
fn tangle(seed: u64, skew: bool) -> (tempfile::TempDir, Repository, Vec<ObjectId>) {
    let mut numbers = Numbers(seed);
    let mut stream = String::new();
    for number in 1..=40 {
        let mut parents: Vec<usize> = Vec::new();
        if number > 2 && numbers.below(15) > 0 {
            for _ in 0..=usize::from(numbers.below(3) == 0) {
                let parent = number - 1 - numbers.below((number - 1).min(6));
                if !parents.contains(&parent) {
                    parents.push(parent);
                }
            }
        }
        let seconds = if skew { 1_000 + numbers.below(100) as u64 } else { 1_000 + number as u64 };
        commit(&mut stream, number, seconds, &parents);
    }
    let (dir, repository) = import(&stream);
    let refs = git(dir.path(), &["for-each-ref", "--sort=version:refname", "--format=%(objectname)"]);
    let ids: Vec<ObjectId> = refs.lines().map(|id| id.parse().expect("an id")).collect();
    assert_eq!(ids.len(), 40);
    (dir, repository, ids)
}

#[test]
fn ancestors_and_merge_bases_are_those_of_git_whatever_the_times() {
    for (seed, skew) in [(1, false), (2, true), (3, true)] {
        let (dir, repository, ids) = tangle(seed, skew);
        for (at, &one) in ids.iter().enumerate() {
            for &other in ids.iter().skip(at % 13).step_by(13) {
                let (one_hex, other_hex) = (one.to_string(), other.to_string());
                let (is, _) = try_git(dir.path(), &["merge-base", "--is-ancestor", &one_hex, &other_hex], b"");
                assert_eq!(repository.is_ancestor(one, other).expect("all is here"), is);
                let (_, bases) = try_git(dir.path(), &["merge-base", "--all", &one_hex, &other_hex], b"");
                let least = bases.lines().min().map(|base| base.parse().expect("an id"));
                assert_eq!(repository.merge_base(one, other).expect("all is here"), least);
            }
        }
    }
}

#[test]
fn distances_commits_and_roots_are_those_of_git() {
    let (dir, repository, ids) = tangle(4, false);
    for (at, &one) in ids.iter().enumerate() {
        for &other in ids.iter().skip(at % 9).step_by(9) {
            let range = format!("{one}...{other}");
            let counts = git(dir.path(), &["rev-list", "--left-right", "--count", &range]);
            let Distance { ahead, behind } = repository.ahead_behind(one, other).expect("all is here");
            assert_eq!(format!("{ahead}\t{behind}"), counts);
        }
        let roots = git(dir.path(), &["rev-list", "--max-parents=0", &one.to_string()]);
        let mut roots: Vec<ObjectId> = roots.lines().map(|id| id.parse().expect("an id")).collect();
        roots.sort_unstable();
        assert_eq!(repository.root_commits(one).expect("all is here"), roots);
    }
    let (tip, bases) = (ids[39], [ids[20], ids[25]]);
    let (commits, count) = repository.commits_between(&bases, tip, 5).expect("all is here");
    let range = [tip.to_string(), format!("^{}", bases[0]), format!("^{}", bases[1])];
    let expected = git(dir.path(), &["rev-list", &range[0], &range[1], &range[2]]);
    assert_eq!(count, expected.lines().count());
    assert_eq!(commits.len(), count.min(5));
    for ((id, summary), line) in commits.iter().zip(expected.lines()) {
        assert_eq!(id.to_string(), line);
        let shown = git(dir.path(), &["show", "-s", "--format=%s|%an|%at000|%P", line]);
        let parents: Vec<String> = summary.parents.iter().map(ToString::to_string).collect();
        let parents = parents.join(" ");
        assert_eq!(format!("{}|{}|{}|{parents}", summary.title, summary.author, summary.at_millis), shown);
    }
}

#[test]
fn lines_are_counted_as_git_does() {
    let (dir, repository, ids) = tangle(5, false);
    let figure = |text: &str, word: &str| -> u64 {
        let part = text.split(", ").find(|part| part.contains(word)).unwrap_or("0");
        part.trim().split(' ').next().expect("a figure").parse().expect("a figure")
    };
    for (&one, &other) in ids.iter().step_by(3).zip(ids.iter().skip(7)) {
        let range = format!("{one}...{other}");
        let (ok, text) = try_git(dir.path(), &["diff", "--shortstat", "--minimal", &range], b"");
        if ok {
            let base = repository.merge_base(one, other).expect("all is here");
            let branched = repository.branched(&[(vec![one], other)], &BTreeSet::new())[0].expect("all is here");
            assert_eq!(branched.base, base);
            assert_eq!(branched.commits, repository.commits_between(&[one], other, 0).expect("all is here").1);
            let stats = repository.line_stats(base, other).expect("all is here");
            let expected = (figure(&text, "insertion"), figure(&text, "deletion"), figure(&text, "changed"), true);
            assert_eq!((stats.added, stats.removed, stats.files, stats.whole), expected);
        }
    }
    let all = git(dir.path(), &["diff", "--shortstat", EMPTY_TREE, &ids[39].to_string()]);
    let stats = repository.line_stats(None, ids[39]).expect("all is here");
    assert_eq!(stats.added, figure(&all, "insertion"));
}

#[test]
fn what_tips_reach_is_found_in_one_walk_as_one_by_one() {
    for (seed, skew) in [(1, false), (2, true), (3, true)] {
        let (_dir, repository, ids) = tangle(seed, skew);
        let absent = ObjectId::Sha1([7; 20]);
        for tips in ids.chunks(2) {
            let reached = repository.reached(tips, ids.iter().copied().chain([absent]).collect());
            for id in &ids {
                let alone = tips.iter().any(|tip| repository.is_ancestor(*id, *tip).expect("all is here"));
                assert_eq!(reached.contains(id), alone, "{id} of {tips:?}");
                assert_eq!(repository.reached(tips, [*id].into()).contains(id), alone);
            }
            assert!(!reached.contains(&absent));
        }
    }
}

#[test]
fn what_only_moved_is_not_counted_and_binary_files_have_no_lines() {
    let stream = "commit refs/heads/c1\nmark :1\ncommitter A <a@b> 1 +0000\ndata 1\nx\n\
                  M 644 inline old\ndata 4\n1\n2\n\nM 644 inline b\ndata 3\na\0b\n\
                  commit refs/heads/c2\nmark :2\ncommitter A <a@b> 2 +0000\ndata 1\nx\nfrom :1\n\
                  R old new/name\nM 644 inline b\ndata 3\na\0c\n";
    let (dir, repository) = import(stream);
    let stats = repository.line_stats(Some(id(dir.path(), 1)), id(dir.path(), 2)).expect("all is here");
    assert_eq!((stats.added, stats.removed, stats.files, stats.whole), (0, 0, 2, true));
}

#[test]
fn titles_are_cut_and_bytes_replaced() {
    let long = "é".repeat(150);
    let message = format!("{long}\nbody\n").into_bytes();
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "."]);
    let mut object = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor Bo \xff <b@c> -5 +0000\n".to_vec();
    object.extend(b"committer A <a@b> 1 +0000\n\n");
    object.extend(&message);
    let args = ["hash-object", "-t", "commit", "--literally", "-w", "--stdin"];
    let (ok, id) = try_git(dir.path(), &args, &object);
    assert!(ok);
    let repository = gix::open_opts(dir.path(), gix::open::Options::isolated()).expect("a repository");
    let summary = Repository::from(repository.into_sync()).summary(id.parse().expect("an id")).expect("here");
    assert_eq!(summary.title, "é".repeat(100));
    assert_eq!((summary.author.as_str(), summary.at_millis), ("Bo \u{fffd}", -5_000));
}

#[test]
fn missing_commits_are_said() {
    let (_dir, repository, ids) = tangle(6, false);
    let absent = ObjectId::Sha1([7; 20]);
    assert!(matches!(repository.is_ancestor(absent, ids[3]), Err(HistoryError::Missing(id)) if id == absent));
    assert!(matches!(repository.summary(absent), Err(HistoryError::Missing(_))));
}

/// A long history must not be walked where a few commits tell.
#[test]
fn a_step_forward_in_a_long_history_is_short() {
    let mut stream = String::new();
    for number in 1..=5_000 {
        let parent = [number - 1];
        let parents = if number == 1 { &[][..] } else { &parent };
        let (kind, name) = (if number > 4_990 { "c" } else { "x" }, if number > 4_990 { number } else { 0 });
        let mut one = String::new();
        commit(&mut one, number, 1_000 + number as u64 / 3, parents);
        stream += &one.replacen(&format!("refs/heads/c{number}\n"), &format!("refs/heads/{kind}{name}\n"), 1);
    }
    let (dir, repository) = import(&stream);
    let (old, new) = (id(dir.path(), 4_991), id(dir.path(), 4_999));
    let mut read = 0;
    {
        let mut store = crate::git::merge::Store::new(repository.local());
        let mut reader = |id| {
            read += 1;
            store.read_commit(id)
        };
        let mut history = crate::git::merge::Ancestry::new(&mut reader);
        assert!(history.is_ancestor(old, new).expect("all is here"));
        assert!(!history.is_ancestor(new, old).expect("all is here"));
        assert_eq!(history.sides(&[old], &[new]).expect("all is here").right, 8);
    }
    assert!(read < 40, "{read} commits were read");
    assert!(repository.is_ancestor(old, new).expect("all is here"));
}

#[test]
fn a_change_is_the_same_whatever_it_is_based_on_and_another_with_another_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path();
    git(at, &["init", "-q", "-b", "main", "."]);
    git(at, &["config", "user.name", "Ana"]);
    git(at, &["config", "user.email", "ana@example.org"]);
    let commit = |path: &str, text: &str, title: &str| -> ObjectId {
        let file = at.join(path);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("it is made");
        std::fs::write(&file, text).expect("it is written");
        git(at, &["add", "-A"]);
        git(at, &["commit", "-q", "-m", title]);
        git(at, &["rev-parse", "HEAD"]).parse().expect("an id")
    };
    let first = commit("src/a", "1\n", "First");
    git(at, &["switch", "-q", "-c", "fix"]);
    let fix = commit("src/b", "2\n", "Fix");
    git(at, &["switch", "-q", "main"]);
    let main = commit("c", "3\n", "Beside it");
    git(at, &["switch", "-q", "fix"]);
    git(at, &["rebase", "-q", "main"]);
    let rebased: ObjectId = git(at, &["rev-parse", "HEAD"]).parse().expect("an id");
    git(at, &["commit", "-q", "--amend", "-m", "The same by another name"]);
    let renamed: ObjectId = git(at, &["rev-parse", "HEAD"]).parse().expect("an id");
    let other = commit("src/b", "4\n", "Another");
    let repository = gix::open_opts(at, gix::open::Options::isolated()).expect("a repository");
    let repository = Repository::from(repository.into_sync());
    let change = |tip| repository.raw_change(&[main], tip).expect("all is here");
    let what = change(fix).expect("one file");
    assert_eq!(what.keys().map(ToString::to_string).collect::<Vec<_>>(), ["src/b"]);
    assert_eq!((change(rebased), change(renamed)), (Some(what.clone()), Some(what.clone())));
    assert!(change(other).is_some_and(|other| other != what));
    // Nothing is changed, or it left the branch nowhere.
    assert_eq!((change(first), change(main)), (None, None));
    assert_eq!(repository.raw_change(&[], fix).expect("no question"), None);
}
