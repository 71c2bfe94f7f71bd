//! Which media files a commit's files stand for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{POINTER_BYTES, read_pointer};
use crate::git::objects::{EntryKind, Objects, Unread, entries};
use crate::git::{Repository, to_gix};
use crate::id::{Media, ObjectId};
use crate::limits;

/// Why the media of a commit cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LfsError {
    /// An object of it is not here, or is broken.
    #[error("object {id} cannot be read: {why}")]
    Unread {
        /// Which.
        id: ObjectId,
        /// Why.
        why: String,
    },
    /// Directories in directories, without end.
    #[error("directories are nested too deep")]
    TooDeep,
}

impl From<Unread> for LfsError {
    fn from(error: Unread) -> Self {
        let (id, why) = match error {
            Unread::Missing(id) => (id, "it is not here".to_owned()),
            Unread::Corrupt(id, why) => (id, why),
        };
        Self::Unread { id: crate::git::from_gix(&id), why }
    }
}

/// Deepest directory that is looked into: path names of this many parts fit no system's limits, and nothing is merged below
/// 200.
const DEPTH: usize = 512;
/// No pointer is shorter, in bytes.
const SHORTEST: u64 = 110;

/// The media of trees that were looked at before: the next commit shares most of them.
#[derive(Default)]
pub struct MediaOfTrees {
    /// Does a `.gitattributes` in this tree speak of LFS?
    uses: HashMap<gix::ObjectId, bool>,
    media: HashMap<gix::ObjectId, Arc<BTreeSet<Media>>>,
    /// How many media all sets together hold.
    kept: usize,
}

impl MediaOfTrees {
    /// The media files that the files of `commit` stand for, largest id last. None where no `.gitattributes` in it speaks
    /// of LFS: then nothing but trees is read.
    ///
    /// # Errors
    /// [`LfsError`] where the commit is not whole here.
    pub fn of(&mut self, repo: &Repository, commit: ObjectId) -> Result<Arc<BTreeSet<Media>>, LfsError> {
        let store = Objects::of(repo);
        let missing = || LfsError::Unread { id: commit, why: "it is not here".to_owned() };
        let id = to_gix(&commit).ok_or_else(missing)?;
        let tree = store.commit(&id, &mut Vec::new())?.tree;
        if self.uses.len() > limits::MEDIA_TREES || self.kept > limits::MEDIA_TREES * 10 {
            *self = Self::default();
        }
        if !self.uses_lfs(&store, tree, 0)? {
            return Ok(Arc::default());
        }
        self.media(&store, tree, 0)
    }

    fn uses_lfs(&mut self, store: &Objects, tree: gix::ObjectId, depth: usize) -> Result<bool, LfsError> {
        if let Some(known) = self.uses.get(&tree) {
            return Ok(*known);
        }
        if depth > DEPTH {
            return Err(LfsError::TooDeep);
        }
        let (mut data, mut blob) = (Vec::new(), Vec::new());
        let mut uses = false;
        for entry in entries(store.tree(&tree, &mut data)?).flatten() {
            match entry.kind() {
                EntryKind::Tree => uses |= self.uses_lfs(store, entry.id, depth + 1)?,
                EntryKind::Blob if entry.name == b".gitattributes" => {
                    let (_, text) = store.read(&entry.id, &mut blob)?;
                    uses |= text.windows(10).any(|window| window == b"filter=lfs");
                }
                EntryKind::Blob | EntryKind::Gitlink => {}
            }
        }
        self.uses.insert(tree, uses);
        Ok(uses)
    }

    fn media(&mut self, store: &Objects, tree: gix::ObjectId, depth: usize) -> Result<Arc<BTreeSet<Media>>, LfsError> {
        if let Some(known) = self.media.get(&tree) {
            return Ok(known.clone());
        }
        if depth > DEPTH {
            return Err(LfsError::TooDeep);
        }
        let (mut data, mut blob) = (Vec::new(), Vec::new());
        let mut found = BTreeSet::new();
        for entry in entries(store.tree(&tree, &mut data)?).flatten() {
            match entry.kind() {
                EntryKind::Tree => found.extend(self.media(store, entry.id, depth + 1)?.iter().copied()),
                // A symbolic link's target is no pointer.
                EntryKind::Blob if entry.mode() & 0o170_000 == 0o100_000 => {
                    if (SHORTEST..=POINTER_BYTES as u64).contains(&store.size(&entry.id)?) {
                        let (_, text) = store.read(&entry.id, &mut blob)?;
                        found.extend(read_pointer(text).filter(|media| media.size > 0));
                    }
                }
                EntryKind::Blob | EntryKind::Gitlink => {}
            }
        }
        self.kept += found.len();
        let found = Arc::new(found);
        self.media.insert(tree, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_pointer;
    use super::*;
    use crate::git::testing::{Fixture, commit_of, tree_of};
    use crate::id::MediaId;

    fn media(n: u8) -> Media {
        Media { id: MediaId([n; 32]), size: u64::from(n) }
    }

    #[test]
    fn the_pointers_of_a_commit_are_found_where_it_uses_lfs() {
        let fixture = Fixture::new();
        let blob = |text: &[u8]| fixture.object("blob", text);
        let pointer = |n| blob(&write_pointer(&media(n)));
        let deep = fixture.object("tree", &tree_of(&[("100644", "b.bin", pointer(2)), ("120000", "link", pointer(3))]));
        let plain = tree_of(&[("100644", "a.bin", pointer(1)), ("40000", "deep", deep), ("100644", "x", blob(b"x"))]);
        let plain = fixture.object("tree", &plain);
        let without = fixture.object("commit", &commit_of(plain, &[]));
        let attributes = blob(b"*.bin filter=lfs diff=lfs merge=lfs -text\n");
        let root = tree_of(&[("100644", ".gitattributes", attributes), ("40000", "sub", plain)]);
        let with = fixture.object("commit", &commit_of(fixture.object("tree", &root), &[]));

        let mut trees = MediaOfTrees::default();
        let repo = fixture.repo();
        assert_eq!(*trees.of(&repo, without).expect("whole"), BTreeSet::new(), "nothing says that these are pointers");
        // Known by their trees now, and still right.
        for _ in 0..2 {
            assert_eq!(*trees.of(&repo, with).expect("whole"), BTreeSet::from([media(1), media(2)]));
        }
        assert!(trees.of(&repo, ObjectId::Sha1([9; 20])).is_err());
    }
}
