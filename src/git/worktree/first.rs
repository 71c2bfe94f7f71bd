//! The first checkout of a repository that was just made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gix::open::Permissions;
use gix::progress::Count;
use gix::refs::Target;
use gix::refs::transaction::{PreviousValue, RefEdit};

use super::{PATIENCE, REFLOG, WorktreeError, committer, io_at, media, platform, users_settings};
use crate::git::Repository;
use crate::git::history::HistoryError;
use crate::git::merge::{MergeError, Store, to_gix};
use crate::id::{BranchName, ObjectId};

/// Threads that write files.
const THREADS: usize = 2;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(50);

/// A counter that gix adds to.
#[derive(Default)]
struct Counter(Arc<AtomicUsize>);

impl Count for Counter {
    fn set(&self, step: usize) {
        self.0.store(step, Ordering::Relaxed);
    }
    fn step(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
    fn inc_by(&self, step: usize) {
        self.0.fetch_add(step, Ordering::Relaxed);
    }
    fn counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0)
    }
}

impl Repository {
    /// Checks `commit` out as `branch` in a repository without commits and files: files, index, the branch, HEAD.
    ///
    /// `progress` hears how many files are written, of how many. Tells how many files are left as pointers of Git LFS,
    /// as their media is not here.
    ///
    /// # Errors
    /// [`WorktreeError::NotEmpty`] where something is there already; others where git's files or the disk fail.
    pub fn checkout_new(
        &self,
        branch: &BranchName,
        commit: ObjectId,
        progress: &dyn Fn(usize, usize),
    ) -> Result<usize, WorktreeError> {
        self.checkout_as(branch, commit, progress, users_settings())
    }

    pub(super) fn checkout_as(
        &self,
        branch: &BranchName,
        commit: ObjectId,
        progress: &dyn Fn(usize, usize),
        settings: Permissions,
    ) -> Result<usize, WorktreeError> {
        let mut repo = self.reopen(settings)?;
        let filter = media::take_filter(&mut repo)?;
        let Some(root) = repo.workdir() else { return Err(WorktreeError::NotEmpty(repo.git_dir().to_owned())) };
        if repo.index_path().exists() || !is_empty(root)? {
            return Err(WorktreeError::NotEmpty(root.to_owned()));
        }
        let missing = |id| HistoryError::from(MergeError::Missing(id));
        let tree = Store::new(repo.clone()).read_commit(commit).map_err(HistoryError::from)?.tree;
        let tree = to_gix(tree).ok_or_else(|| missing(tree))?;
        let id = to_gix(commit).ok_or_else(|| missing(commit))?;
        let mut index = repo.index_from_tree(&tree)?;
        write_files(&repo, root, &mut index, progress)?;
        let missing = media::fill_in(&repo, root, &mut index, self.media_store(), filter)?;
        index.write(gix::index::write::Options::default())?;
        platform::sync(&repo.index_path());

        let name = format!("refs/heads/{}", branch.as_str());
        let name = gix::refs::FullName::try_from(name.as_str()).expect("a branch name makes a ref name");
        let head = gix::refs::FullName::try_from("HEAD").expect("it is one");
        let patience = gix::lock::acquire::Fail::AfterDurationWithBackoff(PATIENCE);
        // HEAD first: its reflog tells of the branch's first commit.
        for edit in [
            RefEdit::update(head.clone(), Target::Symbolic(name), PreviousValue::Any, ""),
            RefEdit::update(head, id, PreviousValue::Any, REFLOG).with_deref(true),
        ] {
            let transaction = repo.refs.transaction().prepare([edit], patience, patience);
            transaction
                .and_then(|transaction| transaction.commit(committer(&repo).to_ref(&mut Default::default())))
                .map_err(|source| WorktreeError::Busy { branch: branch.clone(), source: Some(source) })?;
        }
        platform::sync(&self.common_dir().join(format!("refs/heads/{}", branch.as_str())));
        Ok(missing)
    }
}

fn is_empty(root: &Path) -> Result<bool, WorktreeError> {
    for entry in fs::read_dir(root).map_err(io_at(root))? {
        if entry.map_err(io_at(root))?.file_name() != ".git" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_files(
    repo: &gix::Repository,
    root: &Path,
    index: &mut gix::index::File,
    progress: &dyn Fn(usize, usize),
) -> Result<(), WorktreeError> {
    let mut options = repo.checkout_options(gix::worktree::stack::state::attributes::Source::IdMapping)?;
    options.destination_is_initially_empty = true;
    options.thread_limit = Some(THREADS);
    let objects = repo.objects.clone().into_arc().map_err(io_at(repo.git_dir()))?;
    let total = index.entries().len();
    let (files, bytes) = (Counter::default(), Counter::default());
    let done = files.counter();
    let never = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        scope.spawn(move || {
            let outcome = gix::worktree::state::checkout(index, root, objects, &files, &bytes, &never, options);
            // The other end waits for it.
            drop(send.send(outcome));
        });
        loop {
            match receive.recv_timeout(PROGRESS) {
                Ok(outcome) => break Some(outcome),
                Err(mpsc::RecvTimeoutError::Timeout) => progress(done.load(Ordering::Relaxed), total),
                Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            }
        }
    });
    let outcome = outcome.expect("a panic in the thread has ended this one as well")?;
    let collisions: BTreeSet<_> = outcome.collisions.into_iter().map(|collision| collision.path).collect();
    if let Some(path) = collisions.into_iter().next() {
        return Err(WorktreeError::Collision(path));
    }
    if let Some(record) = outcome.errors.into_iter().next() {
        return Err(WorktreeError::Git(record.error));
    }
    progress(total, total);
    Ok(())
}
