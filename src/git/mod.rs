//! Everything that touches the user's repository, through gix: open, watch, make and check packs, merge, move refs.
//!
//! *Architecture Invariant:* knows nothing of the log, of peers or of rights: it takes and gives object ids, branch
//! names, bytes and paths. Only `refs` moves refs, only `quarantine` adds objects that others sent, only `lfs` media. No
//! hook or credential prompt is ever run from here, and of the user's filters only those that write the files of a work
//! tree; that of Git LFS is done here, without its program and its network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::id::ObjectId;

mod history;
mod housekeeping;
mod lfs;
mod merge;
mod objects;
mod open;
mod pack;
mod quarantine;
mod refs;
#[cfg(test)]
pub(crate) mod testing;
mod walk;
mod watch;
mod worktree;

pub use history::{Branched, CommitSummary, Distance, HistoryError, LineStats};
pub use housekeeping::{Consolidated, HousekeepingError};
pub use lfs::{LfsError, MediaOfTrees, MediaRefused, MediaStore};
pub use merge::{Clash, Clashing, MergeError, Merged, RULES};
pub use open::{OpenError, ReadFailed, global_config};
pub use pack::{Form, PackError, PackStats, Part, Portion, Prefix, Skip};
#[cfg(any(test, fuzzing))]
pub(crate) use quarantine::fuzzing;
pub use quarantine::{
    Adopted, Blame, Gathering, Interrupted, Kept, Manifest, NotShared, PackLimits, PackPieces, PackProgress,
    PackRefused, PieceRefused, Quarantined,
};
pub use refs::{Branches, Head, Reason, RefError, Tracked};
pub use watch::{Watch, WatchError};
pub use worktree::{LfsFilter, LocalMove, NotClean, Operation, WorktreeError};

/// A repository that can be shared: not bare, SHA-1, whole. Cheap to clone and to send to another thread.
#[derive(Clone)]
pub struct Repository {
    git_dir: PathBuf,
    common_dir: PathBuf,
    work_tree: Option<PathBuf>,
    /// The packs that were read stay mapped in it, for all clones of this value.
    inner: Arc<RwLock<gix::ThreadSafeRepository>>,
}

impl From<gix::ThreadSafeRepository> for Repository {
    fn from(inner: gix::ThreadSafeRepository) -> Self {
        let git_dir = inner.git_dir().to_owned();
        let common_dir = inner.common_dir.clone().unwrap_or_else(|| git_dir.clone());
        Self { git_dir, common_dir, work_tree: inner.work_tree.clone(), inner: Arc::new(RwLock::new(inner)) }
    }
}

impl Repository {
    /// The directory that all worktrees share, `.git` of the main one.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The git directory of this very worktree: where its HEAD and its index lie.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// A gix handle for the calling thread.
    pub(crate) fn local(&self) -> gix::Repository {
        // It is replaced in one step.
        self.inner.read().unwrap_or_else(PoisonError::into_inner).to_thread_local()
    }

    /// Lets go of the packs that were mapped to be read, once nobody reads them any more: they are opened again when they are needed.
    /// For when nothing was read for a while. Where that fails they stay open.
    pub fn let_packs_go(&self) {
        let objects = self.inner.read().unwrap_or_else(PoisonError::into_inner).objects.clone();
        let open = objects.metrics();
        if open.open_reachable_packs + open.open_reachable_indices == 0 {
            return;
        }
        match open::again(self.git_dir()) {
            Ok(fresh) => *self.inner.write().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(why) => tracing::debug!(why, "packs stay open"),
        }
    }

    /// Where per-repository files lie.
    pub fn lansync_dir(&self) -> PathBuf {
        self.common_dir().join("lansync")
    }
}

/// The id as gix takes it; `None` for a SHA-256 one, which no repository that can be opened here contains.
fn to_gix(id: &ObjectId) -> Option<gix::ObjectId> {
    match id {
        ObjectId::Sha1(bytes) => Some(gix::ObjectId::Sha1(*bytes)),
        ObjectId::Sha256(_) => None,
    }
}

/// The id as the rest of lansync takes it.
fn from_gix(id: &gix::oid) -> ObjectId {
    let bytes: [u8; 20] = id.as_bytes().try_into().expect("only SHA-1 repositories are opened");
    ObjectId::Sha1(bytes)
}
