//! Everything that touches the user's repository, through gix: open, watch, make and check packs, merge, move refs.

use std::path::{Path, PathBuf};

/// A repository that can be shared: not bare, SHA-1, whole. Cheap to clone and to send to another thread.
#[derive(Clone)]
pub struct Repository {
    inner: gix::ThreadSafeRepository,
}

impl Repository {
    /// The directory that all worktrees share, `.git` of the main one.
    pub fn common_dir(&self) -> &Path {
        self.inner.common_dir.as_deref().unwrap_or_else(|| self.inner.git_dir())
    }

    /// A gix handle for the calling thread.
    pub(crate) fn local(&self) -> gix::Repository {
        self.inner.to_thread_local()
    }

    /// Where per-repository files lie.
    pub fn lansync_dir(&self) -> PathBuf {
        self.common_dir().join("lansync")
    }
}
