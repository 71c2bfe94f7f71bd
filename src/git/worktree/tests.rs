//! Moves of real work trees, looked at with real git.

mod killed;
mod left;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LocalMove, NotClean, WorktreeError};
use crate::git::Repository;
use crate::id::{BranchName, ObjectId};

/// A repository with a commit on `main` and another one ahead of it, not checked out.
struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
    from: ObjectId,
    to: ObjectId,
}

fn try_git(dir: &Path, args: &[&str]) -> (bool, String) {
    let out = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("HOME", "/nonexistent")])
        .envs([("GIT_AUTHOR_NAME", "Ana"), ("GIT_AUTHOR_EMAIL", "ana@example.org"), ("GIT_EDITOR", "true")])
        .envs([("GIT_COMMITTER_NAME", "Ana"), ("GIT_COMMITTER_EMAIL", "ana@example.org")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .output()
        .expect("git is installed");
    let said = if out.status.success() { out.stdout } else { out.stderr };
    (out.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned())
}

fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, out) = try_git(dir, args);
    assert!(ok, "git {args:?}: {out}");
    out
}

/// The files that differ from the index by what is noted of them, without a look into them: git takes one when they are as
/// new as the index, by seconds.
fn differing(root: &Path) -> String {
    let index = fs::File::options().append(true).open(root.join(".git/index")).expect("there");
    let written = index.metadata().and_then(|data| data.modified()).expect("known");
    index.set_modified(written + std::time::Duration::from_secs(2)).expect("ours");
    git(root, &["diff-files", "--name-only"])
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("has one")).expect("made");
    fs::write(path, content).expect("written");
}

fn open(dir: &Path) -> Repository {
    Repository::from(gix::open_opts(dir, gix::open::Options::isolated()).expect("a repository").into_sync())
}

/// Without the settings of whoever runs the tests.
fn forward(repository: &Repository, branch: &BranchName, to: ObjectId) -> Result<LocalMove, WorktreeError> {
    repository.forward(branch, to, gix::open::Permissions::isolated())
}

fn main() -> BranchName {
    BranchName::new("main").expect("a name")
}

fn commit(root: &Path) -> ObjectId {
    git(root, &["add", "-A"]);
    git(root, &["commit", "-q", "--allow-empty", "-m", "commit"]);
    git(root, &["rev-parse", "HEAD"]).parse().expect("an id")
}

impl Fixture {
    fn new(before: impl Fn(&Path), after: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("work");
        fs::create_dir(&root).expect("made");
        git(&root, &["init", "-q", "-b", "main", "."]);
        before(&root);
        let from = commit(&root);
        git(&root, &["checkout", "-q", "-b", "ahead"]);
        after(&root);
        let to = commit(&root);
        git(&root, &["checkout", "-q", "main"]);
        git(&root, &["branch", "-q", "-D", "ahead"]);
        Self { _dir: dir, root, from, to }
    }

    fn usual() -> Self {
        let before = |root: &Path| {
            for path in ["a", "dir/b", "gone", "old/deep/c", "same"] {
                write(root, path, &format!("{path}\n"));
            }
        };
        let after = |root: &Path| {
            write(root, "a", "changed\n");
            write(root, "new/deep/d", "new\n");
            fs::remove_file(root.join("gone")).expect("there");
            fs::remove_dir_all(root.join("old")).expect("there");
        };
        Self::new(before, after)
    }

    fn forward(&self) -> LocalMove {
        forward(&open(&self.root), &main(), self.to).expect("git works")
    }

    fn assert_moved(&self) {
        assert_eq!(self.forward(), LocalMove::Moved { from: self.from });
        self.assert_at_to();
    }

    /// Git must see nothing to do, whether it trusts its stat data or not.
    fn assert_at_to(&self) {
        assert_eq!(git(&self.root, &["rev-parse", "refs/heads/main"]), self.to.to_string());
        assert_eq!(git(&self.root, &["diff-files", "--name-only"]), "", "stat data must be right");
        assert_eq!(git(&self.root, &["status", "--porcelain"]), "");
        git(&self.root, &["rm", "-q", "-r", "--cached", "."]);
        git(&self.root, &["reset", "-q", "--mixed"]);
        assert_eq!(git(&self.root, &["status", "--porcelain"]), "");
        self.assert_no_locks();
    }

    fn assert_stayed(&self) {
        assert_eq!(git(&self.root, &["rev-parse", "refs/heads/main"]), self.from.to_string());
        self.assert_no_locks();
    }

    fn assert_no_locks(&self) {
        let left = ["index.lock", "HEAD.lock", "refs/heads/main.lock"];
        assert!(left.iter().all(|lock| !self.root.join(".git").join(lock).exists()));
    }

    fn assert_not_clean(&self, expected: NotClean) {
        let status = git(&self.root, &["status", "--porcelain", "--ignored"]);
        assert_eq!(self.forward(), LocalMove::NotClean { what: expected });
        self.assert_stayed();
        assert_eq!(git(&self.root, &["status", "--porcelain", "--ignored"]), status, "nothing was touched");
    }
}

#[test]
fn a_clean_work_tree_moves_with_its_files() {
    let fixture = Fixture::usual();
    write(&fixture.root, "mine", "untracked\n");
    assert_eq!(fixture.forward(), LocalMove::Moved { from: fixture.from });
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), "?? mine");
    fs::remove_file(fixture.root.join("mine")).expect("kept");
    assert!(!fixture.root.join("old").exists() && !fixture.root.join("gone").exists());
    for reference in ["HEAD", "main"] {
        let log = git(&fixture.root, &["reflog", "-1", "--format=%gs", reference]);
        assert_eq!(log, "lansync: landed", "{reference}");
    }
    git(&fixture.root, &["fsck", "--strict"]);
    assert_eq!(fixture.forward(), LocalMove::UpToDate);
    fixture.assert_at_to();
}

#[test]
fn links_and_executable_bits_move() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let before = |root: &Path| {
        write(root, "run", "1\n");
        write(root, "becomes-link", "1\n");
        symlink("run", root.join("link")).expect("made");
        symlink("run", root.join("becomes-file")).expect("made");
    };
    let after = |root: &Path| {
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).expect("set");
        for path in ["becomes-link", "becomes-file", "link"] {
            fs::remove_file(root.join(path)).expect("there");
        }
        symlink("nowhere", root.join("link")).expect("made");
        symlink("run", root.join("becomes-link")).expect("made");
        write(root, "becomes-file", "file\n");
    };
    Fixture::new(before, after).assert_moved();
}

#[test]
fn files_and_directories_change_places() {
    let before = |root: &Path| {
        write(root, "file", "1\n");
        write(root, "directory/a/b", "1\n");
        write(root, "directory/c", "1\n");
    };
    let after = |root: &Path| {
        fs::remove_file(root.join("file")).expect("there");
        write(root, "file/now/below", "1\n");
        fs::remove_dir_all(root.join("directory")).expect("there");
        write(root, "directory", "file\n");
    };
    Fixture::new(before, after).assert_moved();
    let fixture = Fixture::new(before, after);
    write(&fixture.root, "directory/a/mine", "mine\n");
    fixture.assert_not_clean(NotClean::Untracked("directory/a/mine".into()));
}

#[test]
fn line_ends_and_attributes_are_the_new_commits() {
    let before = |root: &Path| {
        write(root, "a.txt", "1\n2\n");
        write(root, "b.txt", "1\n");
    };
    let after = |root: &Path| {
        write(root, ".gitattributes", "*.txt text eol=crlf\n");
        write(root, "a.txt", "1\r\n2\r\n3\r\n");
        write(root, "sub/new.txt", "1\r\n");
    };
    let fixture = Fixture::new(before, after);
    fixture.assert_moved();
    assert_eq!(fs::read(fixture.root.join("a.txt")).expect("there"), b"1\r\n2\r\n3\r\n");
    assert_eq!(fs::read(fixture.root.join("sub/new.txt")).expect("there"), b"1\r\n");
}

#[test]
fn filters_of_the_user_run() {
    let before = |root: &Path| {
        git(root, &["config", "filter.shout.smudge", "tr a-z A-Z"]);
        git(root, &["config", "filter.shout.clean", "tr A-Z a-z"]);
        write(root, ".gitattributes", "*.shout filter=shout\n");
        write(root, "x.shout", "HELLO\n");
    };
    let fixture = Fixture::new(before, |root| write(root, "x.shout", "HELLO WORLD\n"));
    fixture.assert_moved();
    assert_eq!(fs::read(fixture.root.join("x.shout")).expect("there"), b"HELLO WORLD\n");
    assert_eq!(git(&fixture.root, &["show", "HEAD:x.shout"]), "hello world");
}

/// A repository set up for LFS by a program that must not run, and what the pointer of `b.bin` names.
fn with_lfs(program: &str) -> (Fixture, crate::id::Media, Vec<u8>) {
    let content = b"a picture".repeat(1_000);
    let apart = tempfile::tempdir().expect("a directory");
    fs::write(apart.path().join("b"), &content).expect("written");
    let file = fs::File::open(apart.path().join("b")).expect("there");
    let media = crate::git::lfs::media_of_file(file).expect("readable");
    let pointer = crate::git::lfs::write_pointer(&media);
    let fixture = Fixture::new(
        |root| write(root, ".gitattributes", "*.bin filter=lfs -text\n"),
        |root| {
            fs::write(root.join("b.bin"), &pointer).expect("written");
            write(root, "plain", "text\n");
        },
    );
    let run = format!("touch {}; false git-lfs {program}", fixture.root.join("ran").display());
    for key in ["filter.lfs.smudge", "filter.lfs.clean"] {
        git(&fixture.root, &["config", key, &run]);
    }
    git(&fixture.root, &["config", "filter.lfs.required", "true"]);
    (fixture, media, content)
}

#[test]
fn files_of_lfs_get_their_content_without_its_program() {
    let (fixture, media, content) = with_lfs("smudge -- %f");
    let root = &fixture.root;
    let missing = NotClean::MediaMissing { first: "b.bin".into(), count: 1 };
    assert_eq!(fixture.forward(), LocalMove::NotClean { what: missing });
    assert!(!root.join("b.bin").exists() && !root.join("plain").exists());

    let repository = open(root);
    repository.media_store().receive(&media, 0, &mut &*content, &mut |_| ()).expect("whole");
    assert_eq!(fixture.forward(), LocalMove::Moved { from: fixture.from });
    assert_eq!(fs::read(root.join("b.bin")).expect("there"), content);
    assert_eq!(fs::read(root.join("plain")).expect("there"), b"text\n");
    assert_eq!(differing(root), "", "stat data must be right");

    // A commit that leaves it alone. Touched, it is seen by its hash to be what git has; changed, nothing moves.
    let blob = git(root, &["hash-object", "-w", ".gitattributes"]);
    git(root, &["read-tree", "--index-output=.git/other", "main"]);
    let apart = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(root).env("GIT_INDEX_FILE", ".git/other").output();
        let output = output.expect("git is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    apart(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},more")]);
    let tree = apart(&["write-tree"]);
    let more = git(root, &["commit-tree", &tree, "-p", "main", "-m", "more"]).parse().expect("an id");
    write(root, "b.bin", "mine\n");
    let moved = forward(&repository, &main(), more).expect("git works");
    assert_eq!(moved, LocalMove::NotClean { what: NotClean::ChangedFiles { first: "b.bin".into(), count: 1 } });
    fs::write(root.join("b.bin"), &content).expect("written");
    let moved = forward(&repository, &main(), more).expect("git works");
    assert!(matches!(moved, LocalMove::Moved { .. }), "{moved:?}");
    assert!(!root.join("ran").exists(), "the program ran");
}

#[test]
fn who_skips_the_content_of_lfs_files_gets_pointers() {
    let (fixture, media, _) = with_lfs("smudge --skip -- %f");
    assert_eq!(fixture.forward(), LocalMove::Moved { from: fixture.from });
    let found = fs::read(fixture.root.join("b.bin")).expect("there");
    assert_eq!(crate::git::lfs::read_pointer(&found), Some(media));
    assert!(!fixture.root.join("ran").exists(), "the program ran");
}

#[test]
fn a_first_checkout_has_the_content_that_is_here() {
    let (fixture, media, content) = with_lfs("smudge -- %f");
    let repository = open(&fixture.root);
    let again = |name: &str| {
        fs::remove_file(fixture.root.join(".git/index")).expect("there");
        for path in [".gitattributes", "b.bin", "plain"] {
            drop(fs::remove_file(fixture.root.join(path)));
        }
        let name = BranchName::new(name).expect("a name");
        repository.checkout_as(&name, fixture.to, &|_, _| (), gix::open::Permissions::isolated()).expect("git works")
    };
    assert_eq!(again("pointers"), 1, "one file is left as a pointer");
    let found = fs::read(fixture.root.join("b.bin")).expect("there");
    assert_eq!(crate::git::lfs::read_pointer(&found), Some(media));
    repository.media_store().receive(&media, 0, &mut &*content, &mut |_| ()).expect("whole");
    assert_eq!(again("content"), 0);
    assert_eq!(fs::read(fixture.root.join("b.bin")).expect("there"), content);
    assert_eq!(differing(&fixture.root), "", "stat data must be right");
    assert!(!fixture.root.join("ran").exists(), "the program ran");
}

#[test]
fn submodules_move_in_the_index_only() {
    let entry = |id: char| format!("160000,{},sub", id.to_string().repeat(40));
    let fixture = Fixture::new(|root| write(root, "a", "1\n"), |root| write(root, "a", "2\n"));
    let root = &fixture.root;
    git(root, &["update-index", "--add", "--cacheinfo", &entry('1')]);
    fs::create_dir(root.join("sub")).expect("made");
    git(root, &["commit", "-q", "-m", "submodule"]);
    git(root, &["checkout", "-q", "-b", "ahead"]);
    git(root, &["update-index", "--cacheinfo", &entry('2')]);
    write(root, "a", "3\n");
    git(root, &["update-index", "a"]);
    git(root, &["commit", "-q", "-m", "moved"]);
    let to = git(root, &["rev-parse", "HEAD"]).parse().expect("an id");
    git(root, &["checkout", "-q", "-f", "main"]);
    let moved = forward(&open(root), &main(), to).expect("git works");
    assert!(matches!(moved, LocalMove::Moved { .. }), "{moved:?}");
    assert_eq!(git(root, &["ls-files", "-s", "sub"]).split_whitespace().nth(1), Some("2".repeat(40).as_str()));
    assert_eq!(git(root, &["diff-index", "--cached", "--name-only", "HEAD"]), "");
}

#[test]
fn a_branch_that_is_not_checked_out_moves_alone() {
    let fixture = Fixture::usual();
    git(&fixture.root, &["checkout", "-q", "--detach"]);
    write(&fixture.root, "a", "being edited\n");
    assert_eq!(fixture.forward(), LocalMove::Moved { from: fixture.from });
    assert_eq!(git(&fixture.root, &["rev-parse", "main"]), fixture.to.to_string());
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), " M a");
    assert_eq!(git(&fixture.root, &["reflog", "-1", "--format=%gs", "main"]), "lansync: landed");
}

#[test]
fn a_packed_branch_moves() {
    let fixture = Fixture::usual();
    git(&fixture.root, &["pack-refs", "--all"]);
    fixture.assert_moved();
}

#[test]
fn a_linked_work_tree_moves() {
    let fixture = Fixture::usual();
    git(&fixture.root, &["checkout", "-q", "-b", "other"]);
    let linked = fixture.root.parent().expect("has one").join("linked");
    git(&fixture.root, &["worktree", "add", "-q", "../linked", "main"]);
    write(&linked, "a", "mine\n");
    let what = NotClean::ChangedFiles { first: "a".into(), count: 1 };
    assert_eq!(fixture.forward(), LocalMove::NotClean { what });
    write(&linked, "a", "a\n");
    // From the main work tree as from the linked one.
    let moved = forward(&open(&linked), &main(), fixture.to).expect("git works");
    assert_eq!(moved, LocalMove::Moved { from: fixture.from });
    assert_eq!(git(&linked, &["status", "--porcelain"]), "");
    assert_eq!(git(&linked, &["reflog", "-1", "--format=%gs", "HEAD"]), "lansync: landed");
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), "");
    assert_eq!(fs::read(linked.join("a")).expect("there"), b"changed\n");
}

#[test]
fn a_linked_work_tree_that_is_away_keeps_its_branch() {
    let fixture = Fixture::usual();
    git(&fixture.root, &["checkout", "-q", "-b", "other"]);
    git(&fixture.root, &["worktree", "add", "-q", "../linked", "main"]);
    fs::remove_dir_all(fixture.root.parent().expect("has one").join("linked")).expect("there");
    assert!(matches!(fixture.forward(), LocalMove::NotClean { what: NotClean::WorktreeMissing(_) }));
    fixture.assert_stayed();
}

#[test]
fn branches_that_cannot_move_are_left() {
    let fixture = Fixture::usual();
    let repository = open(&fixture.root);
    let other = BranchName::new("other").expect("a name");
    assert_eq!(forward(&repository, &other, fixture.to).expect("works"), LocalMove::NoSuchBranch);
    assert_eq!(forward(&repository, &main(), fixture.from).expect("works"), LocalMove::UpToDate);
    write(&fixture.root, "a", "mine\n");
    let mine = commit(&fixture.root);
    assert_eq!(fixture.forward(), LocalMove::Ahead { ahead: 1, behind: 1 });
    let moved = forward(&repository, &main(), fixture.from).expect("works");
    assert_eq!(moved, LocalMove::Ahead { ahead: 1, behind: 0 });
    assert_eq!(git(&fixture.root, &["rev-parse", "main"]), mine.to_string());
    let absent = ObjectId::Sha1([7; 20]);
    assert!(matches!(forward(&repository, &main(), absent), Err(WorktreeError::History(_))));
}

#[test]
fn locks_of_others_are_waited_for_and_never_broken() {
    let fixture = Fixture::usual();
    let lock = fixture.root.join(".git/index.lock");
    fs::write(&lock, "").expect("written");
    assert_eq!(fixture.forward(), LocalMove::NotClean { what: NotClean::IndexLocked });
    assert!(lock.exists());
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| fixture.forward());
        fs::remove_file(&lock).expect("kept");
        assert_eq!(moving.join().expect("no panic"), LocalMove::Moved { from: fixture.from });
    });
    fixture.assert_at_to();

    let fixture = Fixture::usual();
    let lock = fixture.root.join(".git/refs/heads/main.lock");
    fs::write(&lock, "").expect("written");
    let result = forward(&open(&fixture.root), &main(), fixture.to);
    assert!(matches!(result, Err(WorktreeError::Busy { .. })), "{result:?}");
    assert!(lock.exists());
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), "");
}

#[test]
fn a_file_saved_in_between_stops_the_move_and_undoes_it() {
    let fixture = Fixture::usual();
    let repository = open(&fixture.root);
    let local = repository.local();
    let changes = super::Changes::between(&local, fixture.from, fixture.to).expect("both are there");
    let scratch = fixture.root.join(".git/scratch");
    fs::create_dir(&scratch).expect("made");
    let mut placer = super::Placer::new(&local, &fixture.root, &scratch, &changes, None).expect("works");
    let (_, standing) = super::look(&local, &fixture.root, &changes, false, &mut placer).ok().expect("clean");
    write(&fixture.root, "new/deep/d", "mine\n");
    let stopped = placer.place_all(&changes, &standing);
    assert!(matches!(stopped, Err(super::Stop::NotClean(NotClean::Untracked(path))) if path == "new/deep/d"));
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), "?? new/");
    assert_eq!(fs::read(fixture.root.join("new/deep/d")).expect("there"), b"mine\n");

    fs::remove_dir_all(fixture.root.join("new")).expect("there");
    let (_, standing) = super::look(&local, &fixture.root, &changes, false, &mut placer).ok().expect("clean");
    write(&fixture.root, "gone", "mine\n");
    let stopped = placer.place_all(&changes, &standing);
    assert!(matches!(stopped, Err(super::Stop::NotClean(NotClean::ChangedFiles { first, .. })) if first == "gone"));
    assert_eq!(git(&fixture.root, &["status", "--porcelain"]), " M gone");
}

#[test]
fn hooks_do_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::usual();
    for hook in ["post-checkout", "post-merge", "reference-transaction", "post-index-change"] {
        let path = fixture.root.join(".git/hooks").join(hook);
        write(&fixture.root, &format!(".git/hooks/{hook}"), "#!/bin/sh\ntouch \"$GIT_DIR/ran\" ran\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    assert_eq!(fixture.forward(), LocalMove::Moved { from: fixture.from });
    assert!(!fixture.root.join(".git/ran").exists() && !fixture.root.join("ran").exists());
}

#[test]
fn a_first_checkout_is_what_git_would_make() {
    let fixture = Fixture::usual();
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "-q", "-b", "trunk", "."]);
    git(dir.path(), &["fetch", "-q", &fixture.root.to_string_lossy(), &fixture.to.to_string()]);
    fs::remove_file(dir.path().join(".git/FETCH_HEAD")).expect("there");
    let told = std::cell::Cell::new((0, 0));
    let repository = open(dir.path());
    repository
        .checkout_as(&main(), fixture.to, &|done, total| told.set((done, total)), gix::open::Permissions::isolated())
        .expect("empty");
    assert_eq!(told.get(), (4, 4));
    assert_eq!(git(dir.path(), &["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(git(dir.path(), &["rev-parse", "HEAD"]), fixture.to.to_string());
    assert_eq!(git(dir.path(), &["diff-files", "--name-only"]), "");
    assert_eq!(git(dir.path(), &["status", "--porcelain"]), "");
    let again = repository.checkout_as(&main(), fixture.to, &|_, _| {}, gix::open::Permissions::isolated());
    assert!(matches!(again, Err(WorktreeError::NotEmpty(_))));
}
