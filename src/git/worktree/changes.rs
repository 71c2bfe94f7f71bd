//! The paths that differ between two commits, and how they change an index.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;

use gix::bstr::{BStr, BString};
use gix::index::entry::{Flags, Mode, Stat};

use super::{WorktreeError, io_at};
use crate::git::history::HistoryError;
use crate::git::merge::{MergeError, Store, to_gix};
use crate::id::ObjectId;

/// What stands at a path, as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) mode: Mode,
    pub(super) id: gix::ObjectId,
}

/// A path before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Option<Item>,
    pub(super) new: Option<Item>,
}

/// What leads from one commit to another.
pub(super) struct Changes {
    pub(super) paths: BTreeMap<BString, Change>,
    /// The first commit's files, and the second's.
    pub(super) old: gix::index::File,
    pub(super) new: gix::index::File,
}

impl Changes {
    /// Refuses commits with paths that git would not check out.
    pub(super) fn between(repo: &gix::Repository, from: ObjectId, to: ObjectId) -> Result<Self, WorktreeError> {
        let mut store = Store::new(repo.clone());
        let mut tree = |id| store.read_commit(id).map(|commit| to_gix(commit.tree)).map_err(HistoryError::from);
        let missing = |id| HistoryError::from(MergeError::Missing(id));
        let (old, new) = (tree(from)?.ok_or_else(|| missing(from))?, tree(to)?.ok_or_else(|| missing(to))?);
        let (old, new) = (repo.index_from_tree(&old)?, repo.index_from_tree(&new)?);

        Ok(Self { paths: differences(&old, &new), old, new })
    }

    /// Makes `index` that of the second commit, with what stat says of the files that are there now.
    pub(super) fn put_into(&self, index: &mut gix::index::File, root: &Path) -> Result<(), WorktreeError> {
        index.remove_entries(|_, path, _| self.paths.contains_key(path));
        for (path, change) in &self.paths {
            let Some(item) = change.new else { continue };
            let stat = if item.mode == Mode::COMMIT { Stat::default() } else { stat(&at(root, path.as_ref())?)? };
            index.dangerously_push_entry(stat, item.id, Flags::empty(), item.mode, path.as_ref());
        }
        index.sort_entries();
        // Both speak of the old files; git makes them anew.
        index.remove_tree();
        index.remove_resolve_undo();
        Ok(())
    }
}

fn differences(old: &gix::index::File, new: &gix::index::File) -> BTreeMap<BString, Change> {
    let mut paths = BTreeMap::new();
    let (mut left, mut right) = (items(old).peekable(), items(new).peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { left.next() } else { None };
        let new = if order.is_ge() { right.next() } else { None };
        let Some(path) = old.or(new).map(|(path, _)| path) else { break };
        let change = Change { old: old.map(|(_, item)| item), new: new.map(|(_, item)| item) };
        if change.old != change.new {
            paths.insert(path.to_owned(), change);
        }
    }
    paths
}

/// The paths of an index with what stands there, in order.
pub(super) fn items(index: &gix::index::File) -> impl Iterator<Item = (&BStr, Item)> {
    index.entries().iter().map(|entry| (entry.path(index), Item { mode: entry.mode, id: entry.id }))
}

/// Where a path of the repository lies on the disk.
pub(super) fn at(root: &Path, path: &BStr) -> Result<std::path::PathBuf, WorktreeError> {
    Ok(root.join(gix::path::from_bstr(path)?))
}

/// What git remembers of a file to know that it has not changed.
pub(super) fn stat(path: &Path) -> Result<Stat, WorktreeError> {
    let metadata = gix::index::fs::Metadata::from_path_no_follow(path).map_err(io_at(path))?;
    Stat::from_fs(&metadata).map_err(|error| io_at(path)(io::Error::other(error)))
}

/// Writes `index` into the file that will be it.
pub(super) fn write_index(index: &gix::index::File, file: &mut std::fs::File) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(64 * 1024, file);
    index.write_to(&mut out, gix::index::write::Options::default()).map_err(io::Error::other)?;
    out.flush()
}
