//! The merge of canonical branches, `rules` 1: frozen, so that every peer gets the same commit, byte for byte, on every
//! machine and in every version. docs/rules-1.md is its text; tests/data/rules-1/ holds what it must give.
//!
//! It knows trees, modes and blobs alone: no configuration, attributes, drivers, replacements, commit-graph files,
//! renames or clocks. Whatever is not clean is a conflict, to be merged by a person. It is never changed, only
//! followed by `rules` 2.

mod ancestry;
mod diff;
mod fold;
mod format;
#[cfg(test)]
mod golden;
mod lines;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use gix::bstr::BString;

pub(super) use self::ancestry::Ancestry;
pub(super) use self::diff::{Steps, diff};
pub(super) use self::format::{Entry, Kind, Tree};
pub(super) use self::lines::{Numbers, is_binary, split};
pub(super) use self::store::{Store, from_gix, to_gix};
pub(super) use self::tree::{EMPTY_TREE, Objects};
use super::{Adopted, PackRefused, Repository};
use crate::id::{BranchName, ObjectId};
use crate::limits;

/// The newest rules that this version knows.
pub const RULES: u16 = 1;

/// Larger blobs merge only as wholes. Part of `rules` 1.
const MAX_BLOB_BYTES: usize = limits::MERGE_BLOB_BYTES;
/// Longer blobs merge only as wholes. Part of `rules` 1.
const MAX_BLOB_LINES: usize = limits::MERGE_BLOB_LINES;
/// Directories below each other that a merge enters: paths of 4,096 bytes have fewer in practice, and the stack is
/// finite. Part of `rules` 1.
const MAX_TREE_DEPTH: usize = 200;
/// Merge bases of one step; ordinary histories have one, criss-cross ones two. Part of `rules` 1.
const MAX_BASES: usize = 16;
/// Virtual bases of virtual bases: a ladder of criss-cross merges has as many as it has rungs. Part of `rules` 1.
const MAX_BASE_DEPTH: usize = 32;
/// Three-way merges of whole trees in one merge. Part of `rules` 1.
const MAX_TREE_MERGES: usize = 1_000;

/// What a landing's commits become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// One of the commits contains all others: it is the branch's new tip as it is.
    FastForward(ObjectId),
    /// A merge commit, whose every byte follows from the landing.
    Commit(ObjectId),
    /// Not clean; what a person has to look at, in order of path. Never empty.
    Conflict(Vec<Clash>),
}

/// One path that does not merge by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// From the root of the tree, with slashes, in bytes as git has them. Empty where `why` is about the history.
    pub path: BString,
    /// What is wrong there.
    pub why: Clashing,
}

/// Why a path does not merge by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clashing {
    /// Both changed the same or neighbouring lines.
    Lines,
    /// Both changed a file that is not text.
    Binary,
    /// Both changed a file that is too large to merge by lines.
    TooLarge,
    /// Both changed a file so much that comparing it costs too many steps.
    TooMuchWork,
    /// Both added it, differently.
    AddedTwice,
    /// One deleted what the other changed.
    DeletedAndChanged,
    /// A file on one side, a directory on the other.
    FileAndDirectory,
    /// Both changed it, and it is a symbolic link or a submodule on some side.
    Kind,
    /// Both changed something below too many directories.
    TooDeep,
    /// The histories have crossed too often to find what they grew out of.
    TooManyBases,
}

impl fmt::Display for Clashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "both changed the same lines",
            Self::Binary => "both changed a binary file",
            Self::TooLarge => "both changed a file too large to merge by lines",
            Self::TooMuchWork => "both changed too much of it",
            Self::AddedTwice => "both added it, differently",
            Self::DeletedAndChanged => "one deleted it, the other changed it",
            Self::FileAndDirectory => "a file on one side, a directory on the other",
            Self::Kind => "both changed a symbolic link or a submodule",
            Self::TooDeep => "too many directories deep",
            Self::TooManyBases => "the histories have crossed too often",
        })
    }
}

/// Why a merge could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A newer lansync is needed. Nothing can be said of the merge.
    #[error("rules {0} of merging are unknown here: needs a newer lansync")]
    UnknownRules(u16),
    /// An object that it needs is not here yet, or is no commit, tree or blob where it should be one.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// An object is not what git writes. It is so on every machine: the landing is never sound.
    #[error("object {0} is malformed")]
    Malformed(ObjectId),
    /// What was merged is an attack on SHA-1. It is so on every machine: the landing is never sound.
    #[error("the merge would make two objects with one id")]
    Collision,
    /// The object store could not be read or written.
    #[error("the object store failed")]
    Store(#[source] gix::Error),
    /// The merge's objects could not be made durable.
    #[error("the object store failed")]
    Io(#[from] std::io::Error),
    /// Or not be stored.
    #[error("what was merged cannot be stored: {0}")]
    Storing(#[from] PackRefused),
}

impl Repository {
    /// Merges `tip` into a branch of which `heads` are the head commits (usually one; several are joined), by `rules`.
    ///
    /// The commit and what it needs are in the object store and durable when this returns, and are kept from git's
    /// housekeeping until they are released: no ref moves.
    ///
    /// # Errors
    /// [`MergeError`] where nothing can be said yet; a conflict is none.
    pub fn merge(
        &self,
        rules: u16,
        heads: &[ObjectId],
        tip: ObjectId,
        branch: &BranchName,
    ) -> Result<(Merged, Option<Adopted>), MergeError> {
        let mut store = Store::new(self.local());
        let merged = by_rules(rules, &mut store, heads, tip, branch)?;
        let adopted = match merged {
            Merged::Commit(id) => Some(store.keep(self, id)?),
            Merged::FastForward(_) | Merged::Conflict(_) => None,
        };
        Ok((merged, adopted))
    }

    /// What [`Self::merge`] gives, without writing anything.
    ///
    /// # Errors
    /// As there.
    pub fn recompute(
        &self,
        rules: u16,
        heads: &[ObjectId],
        tip: ObjectId,
        branch: &BranchName,
    ) -> Result<Merged, MergeError> {
        by_rules(rules, &mut Store::new(self.local()), heads, tip, branch)
    }
}

fn by_rules(
    rules: u16,
    store: &mut dyn tree::Objects,
    heads: &[ObjectId],
    tip: ObjectId,
    branch: &BranchName,
) -> Result<Merged, MergeError> {
    match rules {
        1 => fold::merge(store, heads, tip, branch),
        unknown => Err(MergeError::UnknownRules(unknown)),
    }
}
