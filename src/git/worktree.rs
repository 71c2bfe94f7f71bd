//! Moving a local branch forward, with the files of whoever has it checked out; never over anything of theirs.
//!
//! The order, so that a kill at any point leaves what a person understands and running again heals: lock the index,
//! look at everything, replace files one by one (each looked at once more just before), write the index, lock the ref,
//! put the index in its place, move the ref. Until the last step `git status` shows changes, all of them the branch's; files that already are
//! as they shall be are left as they are by the next run. Git's hooks do not run.

mod changes;
mod first;
mod guard;
mod lock;
mod look;
mod media;
mod place;
mod platform;
#[cfg(all(test, unix))]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::bstr::BString;
use gix::lock::acquire::Fail;
use gix::open::{Permissions, permissions};
use gix::refs::transaction::{PreviousValue, RefEdit};

use self::changes::Changes;
use self::guard::Guard;
use self::lock::IndexLock;
use self::look::look;
use self::media::Lfs;
pub use self::media::LfsFilter;
use self::place::Placer;
use super::Repository;
use super::history::HistoryError;
use super::merge::{from_gix, to_gix};
use super::refs::RefError;
use crate::id::{BranchName, ObjectId};

/// How long a lock of git's is waited for: git itself holds one for as long as a command writes.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a lock is looked at again.
const RETRY: Duration = Duration::from_millis(20);
/// What the reflog says of a move.
const REFLOG: &str = "lansync: landed";

/// What became of a local branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalMove {
    /// It was moved, with the files where it is checked out.
    Moved {
        /// Where it stood.
        from: ObjectId,
    },
    /// It stands there already.
    UpToDate,
    /// There is no such local branch, or it has no commit yet.
    NoSuchBranch,
    /// It has commits of its own, so it was left.
    Ahead {
        /// Commits that only the branch has.
        ahead: usize,
        /// Commits that only the target has.
        behind: usize,
    },
    /// It is checked out, and moving it would touch somebody's work, so it was left.
    NotClean {
        /// What is in the way.
        what: NotClean,
    },
}

/// Why a checked out branch cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotClean {
    /// Tracked files are changed, in the work tree or in the index.
    ChangedFiles {
        /// One of them.
        first: BString,
        /// How many there are.
        count: usize,
    },
    /// An untracked or ignored file would be overwritten.
    Untracked(BString),
    /// A merge left conflicts in the index.
    Unmerged,
    /// A rebase, merge or the like is not finished.
    InProgress(Operation),
    /// Another git command is at work, or was killed and left its lock.
    IndexLocked,
    /// Only part of the files is checked out (sparse checkout).
    Sparse,
    /// More than one work tree has the branch checked out.
    SeveralWorktrees,
    /// The work tree that has it checked out is not there, on a disk that is not mounted for instance.
    WorktreeMissing(PathBuf),
    /// The branch is a symbolic ref to another.
    Symbolic,
    /// Git LFS keeps files of the new commit, and the content of some is not here.
    MediaMissing {
        /// One of them.
        first: BString,
        /// How many there are.
        count: usize,
    },
}

/// What somebody has begun in a work tree and not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `git am`.
    Apply,
    /// `git bisect`.
    Bisect,
    /// `git cherry-pick`.
    CherryPick,
    /// `git merge`.
    Merge,
    /// `git rebase`.
    Rebase,
    /// `git revert`.
    Revert,
}

impl Operation {
    /// Its git command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "am",
            Self::Bisect => "bisect",
            Self::CherryPick => "cherry-pick",
            Self::Merge => "merge",
            Self::Rebase => "rebase",
            Self::Revert => "revert",
        }
    }
}

/// Why a branch could not be moved at all. Nothing of anybody's is lost; files that were replaced were put back
/// as far as that was possible.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// The history between the two commits cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The branch moved at the same time, or its lock is held.
    #[error("branch {branch} is being moved by somebody else")]
    Busy {
        /// The branch.
        branch: BranchName,
        #[source]
        source: Option<gix::Error>,
    },
    /// The repository has no work tree, or something stands in it already.
    #[error("{0} is not an empty work tree")]
    NotEmpty(PathBuf),
    /// Two paths of the commit are the same file on this file system.
    #[error("{0} cannot be written beside another file of the commit")]
    Collision(BString),
    /// A file could not be read, written or removed.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Git's files could not be read or written; unsafe paths in the commit are among the reasons.
    #[error("the repository failed")]
    Git(#[from] gix::Error),
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> WorktreeError {
    let path = path.to_owned();
    move |source| WorktreeError::Io { path, source }
}

/// Ends a move before its end.
enum Stop {
    NotClean(NotClean),
    Error(WorktreeError),
}

impl<E: Into<WorktreeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Files are written as git would write them for this user: line ends, filters and attributes of the system's and
/// the user's configuration count.
fn users_settings() -> Permissions {
    let allow = gix::sec::Permission::Allow;
    let isolated = Permissions::isolated();
    Permissions {
        // Git for Windows keeps its own settings beside its program.
        config: permissions::Config {
            git_binary: cfg!(windows),
            system: true,
            git: true,
            user: true,
            includes: true,
            env: false,
        },
        attributes: permissions::Attributes { git_binary: cfg!(windows), system: true, git: true },
        env: permissions::Environment { home: allow, xdg_config_home: allow, git_prefix: allow, ..isolated.env },
    }
}

impl Repository {
    /// Moves the local branch to `to` if that is ahead of it, with the files and the index of the work tree that has
    /// it checked out, if those are clean.
    ///
    /// # Errors
    /// [`WorktreeError`] where git's files or the disk fail. A branch that is left as it is is no error.
    pub fn fast_forward(&self, branch: &BranchName, to: ObjectId) -> Result<LocalMove, WorktreeError> {
        self.forward(branch, to, users_settings())
    }

    fn forward(&self, branch: &BranchName, to: ObjectId, settings: Permissions) -> Result<LocalMove, WorktreeError> {
        let repo = self.reopen(settings)?;
        let name = format!("refs/heads/{}", branch.as_str());
        match Guard::heal(&self.lansync_dir()) {
            Ok(()) | Err(Stop::NotClean(_)) => {}
            Err(Stop::Error(error)) => return Err(error),
        }
        let Some(reference) = repo.try_find_reference(name.as_str())? else { return Ok(LocalMove::NoSuchBranch) };
        let Some(from) = reference.target().try_id().map(from_gix) else {
            return Ok(LocalMove::NotClean { what: NotClean::Symbolic });
        };
        if from == to {
            return Ok(LocalMove::UpToDate);
        }
        if !self.is_ancestor(from, to)? {
            let distance = self.ahead_behind(from, to)?;
            return Ok(LocalMove::Ahead { ahead: distance.ahead, behind: distance.behind });
        }
        let moved = match look::who_has(&repo, &name)? {
            look::Whose::Nobodys => self.move_ref(branch, &name, from, to).map_err(Stop::Error),
            look::Whose::One(worktree) => self.move_worktree(*worktree, branch, &name, from, to),
            look::Whose::NotClean(what) => Err(Stop::NotClean(what)),
        };
        match moved {
            Ok(()) => Ok(LocalMove::Moved { from }),
            Err(Stop::NotClean(what)) => Ok(LocalMove::NotClean { what }),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// The repository as it is now, with more settings than the rest of lansync looks at.
    fn reopen(&self, settings: Permissions) -> Result<gix::Repository, WorktreeError> {
        let path = self.work_dir().unwrap_or_else(|| self.git_dir());
        Ok(gix::open_opts(path, gix::open::Options::default().permissions(settings).with(gix::sec::Trust::Full))?)
    }

    fn move_ref(&self, branch: &BranchName, name: &str, from: ObjectId, to: ObjectId) -> Result<(), WorktreeError> {
        self.set_ref(name, Some(from), to, REFLOG).map_err(|error| match error {
            RefError::Io { source, .. } => io_at(&self.common_dir().join(name))(source),
            _ => WorktreeError::Busy { branch: branch.clone(), source: None },
        })
    }

    fn move_worktree(
        &self,
        mut worktree: gix::Repository,
        branch: &BranchName,
        name: &str,
        from: ObjectId,
        to: ObjectId,
    ) -> Result<(), Stop> {
        let Some(root) = worktree.workdir().map(Path::to_owned) else {
            return Err(Stop::NotClean(NotClean::WorktreeMissing(worktree.git_dir().to_owned())));
        };
        if !root.is_dir() {
            return Err(Stop::NotClean(NotClean::WorktreeMissing(root)));
        }
        if let Some(operation) = look::operation(&worktree) {
            return Err(Stop::NotClean(NotClean::InProgress(operation)));
        }
        let as_opened = worktree.clone();
        let filter = media::take_filter(&mut worktree)?;
        let mut guard = Guard::new(&self.lansync_dir(), worktree.git_dir())?;
        let mut lock = IndexLock::take(worktree.index_path(), &mut guard)?;
        // Nobody can switch the branch any more; did somebody, just before?
        if worktree.head_name()?.is_none_or(|head| head.as_bstr() != name) {
            return Err(Stop::NotClean(NotClean::IndexLocked));
        }
        // The refs are locked last and for a moment only; here it is just seen whether that will do.
        let locks = [self.common_dir().join(format!("{name}.lock")), worktree.git_dir().join("HEAD.lock")];
        wait_until_gone(&locks).map_err(|()| WorktreeError::Busy { branch: branch.clone(), source: None })?;
        let now = worktree.try_find_reference(name)?.and_then(|found| found.target().try_id().map(from_gix));
        if now != Some(from) {
            return Err(WorktreeError::Busy { branch: branch.clone(), source: None }.into());
        }

        // One that was killed goes to its end first, which is where its files are as they shall be.
        let half = guard.half_way(from);
        if let Some(half) = half
            && half != to
            && self.is_ancestor(half, to)?
        {
            drop(lock);
            drop(guard);
            self.move_worktree(as_opened.clone(), branch, name, from, half)?;
            return self.move_worktree(as_opened, branch, name, half, to);
        }
        let changes = Changes::between(&worktree, from, to)?;
        let lfs = Lfs::new(&worktree, &changes.new, self.media_store(), filter)?;
        let scratch = guard.scratch().to_owned();
        let mut placer = Placer::new(&worktree, &root, &scratch, &changes, lfs)?;
        let (mut index, standing) = look(&worktree, &root, &changes, half == Some(to), &mut placer)?;
        placer.has_media(&changes)?;
        guard.begins(from, to)?;
        placer.place_all(&changes, &standing)?;
        changes.put_into(&mut index, &root)?;
        changes::write_index(&index, &mut lock.file).map_err(io_at(&worktree.index_path()))?;
        guard.will_move(&locks, to)?;
        let transaction = prepare(&worktree, "HEAD", from, to)
            .map_err(|source| WorktreeError::Busy { branch: branch.clone(), source: Some(source) })?;
        // From the first file to the ref some lock of git's is held, so that whoever heeds them sees no half move.
        lock.commit()?;
        transaction.commit(committer(&worktree).to_ref(&mut Default::default()))?;
        guard.done();
        platform::sync(&self.common_dir().join(name));
        Ok(())
    }
}

fn wait_until_gone(locks: &[PathBuf]) -> Result<(), ()> {
    let mut waited = Duration::ZERO;
    while locks.iter().any(|lock| lock.exists()) {
        if waited >= PATIENCE {
            return Err(());
        }
        std::thread::sleep(RETRY);
        waited += RETRY;
    }
    Ok(())
}

/// Locks `name` and what it points to, which must be at `from`.
fn prepare<'a>(
    repo: &'a gix::Repository,
    name: &str,
    from: ObjectId,
    to: ObjectId,
) -> gix::Result<gix::refs::file::Transaction<'a, 'a>> {
    let id = |id| to_gix(id).expect("both were read from this SHA-1 repository");
    let expected = PreviousValue::MustExistAndMatch(id(from).into());
    let name = gix::refs::FullName::try_from(name).expect("a branch name makes a ref name");
    let edit = RefEdit::update(name, id(to), expected, REFLOG).with_deref(true);
    let patience = Fail::AfterDurationWithBackoff(PATIENCE);
    repo.refs.transaction().prepare([edit], patience, patience)
}

/// Who moves the branch, for the reflog: the user, if git knows who that is.
fn committer(repo: &gix::Repository) -> gix::actor::Signature {
    match repo.committer() {
        Some(Ok(signature)) => signature.to_owned().unwrap_or_else(|_| nobody()),
        Some(Err(_)) | None => nobody(),
    }
}

fn nobody() -> gix::actor::Signature {
    gix::actor::Signature {
        name: "lansync".into(),
        email: "lansync@localhost.invalid".into(),
        time: gix::date::Time::now_local_or_utc(),
    }
}
