//! The frozen three-way merge of trees of `rules` 1, over a small trait, so that it can be tested without a repository.
//!
//! Never change what this file computes (docs/rules-1.md, section 4).

use std::collections::BTreeSet;

use gix::bstr::BString;

use super::diff::Steps;
use super::format::{Commit, Entry, Kind, Subject, Tree};
use super::{Clash, Clashing, MAX_TREE_DEPTH, MergeError, lines};
use crate::id::{BranchName, ObjectId};

/// The tree without entries.
pub(crate) const EMPTY_TREE: ObjectId = ObjectId::Sha1([
    0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49,
    0x04,
]);

/// Where a merge reads objects from, and where it keeps those that it makes.
pub(crate) trait Objects {
    fn commit(&mut self, id: ObjectId) -> Result<Commit, MergeError>;
    fn tree(&mut self, id: ObjectId) -> Result<Tree, MergeError>;
    /// The blob, or `None` if it has more than `max` bytes.
    fn blob(&mut self, id: ObjectId, max: usize) -> Result<Option<Vec<u8>>, MergeError>;
    fn put_tree(&mut self, tree: &Tree) -> Result<ObjectId, MergeError>;
    fn put_blob(&mut self, bytes: Vec<u8>) -> Result<ObjectId, MergeError>;
    fn put_commit(&mut self, commit: &Commit, subject: &Subject, branch: &BranchName) -> Result<ObjectId, MergeError>;
}

/// Merges the trees `ours` and `theirs` that grew out of `base`.
///
/// Clashes go to `clashes`; while there are any, the tree that comes back means nothing.
pub(crate) fn merge(
    objects: &mut dyn Objects,
    [base, ours, theirs]: [ObjectId; 3],
    steps: &mut Steps,
    clashes: &mut Vec<Clash>,
) -> Result<ObjectId, MergeError> {
    let mut merge = TreeMerge { objects, steps, clashes, path: Vec::new(), depth: 0 };
    merge.trees([Some(base), Some(ours), Some(theirs)]).map(|tree| tree.unwrap_or(EMPTY_TREE))
}

struct TreeMerge<'a> {
    objects: &'a mut dyn Objects,
    steps: &'a mut Steps,
    clashes: &'a mut Vec<Clash>,
    path: Vec<u8>,
    depth: usize,
}

/// One of three values where two of them decide: sides that agree, or one that changed nothing.
fn decided<T: PartialEq + Copy>([base, ours, theirs]: [T; 3]) -> Option<T> {
    if ours == theirs || base == theirs {
        Some(ours)
    } else if base == ours {
        Some(theirs)
    } else {
        None
    }
}

impl TreeMerge<'_> {
    fn clash(&mut self, why: Clashing) {
        self.clashes.push(Clash { path: self.path.clone().into(), why });
    }

    /// Merges three trees, where none is an empty one. `None`: nothing is left.
    fn trees(&mut self, sides: [Option<ObjectId>; 3]) -> Result<Option<ObjectId>, MergeError> {
        let sides = sides.map(|side| side.filter(|&id| id != EMPTY_TREE));
        if let Some(tree) = decided(sides) {
            return Ok(tree);
        }
        if self.depth == MAX_TREE_DEPTH {
            self.clash(Clashing::TooDeep);
            return Ok(None);
        }
        let mut read = |side: Option<ObjectId>| side.map_or(Ok(Tree::new()), |id| self.objects.tree(id));
        let [base, ours, theirs] = [read(sides[0])?, read(sides[1])?, read(sides[2])?];
        let names: BTreeSet<&BString> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
        let mut merged = Tree::new();
        let length = self.path.len();
        for name in names {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            let entries = [base.get(name), ours.get(name), theirs.get(name)].map(Option::<&Entry>::copied);
            if let Some(entry) = self.name(entries)? {
                merged.insert(name.clone(), entry);
            }
            self.path.truncate(length);
        }
        if merged.is_empty() { Ok(None) } else { self.objects.put_tree(&merged).map(Some) }
    }

    /// Merges what one name stands for: its tree, and whatever else it is, each for itself; it can be only one.
    fn name(&mut self, sides: [Option<Entry>; 3]) -> Result<Option<Entry>, MergeError> {
        let is_tree = |entry: &Entry| entry.kind == Kind::Tree;
        let leaf = self.leaf(sides.map(|side| side.filter(|entry| !is_tree(entry))))?;
        self.depth += 1;
        let tree = self.trees(sides.map(|side| side.filter(is_tree).map(|entry| entry.id)))?;
        self.depth -= 1;
        match (leaf, tree) {
            (Some(_), Some(_)) => {
                self.clash(Clashing::FileAndDirectory);
                Ok(None)
            }
            (leaf, None) => Ok(leaf),
            (None, Some(id)) => Ok(Some(Entry { kind: Kind::Tree, id })),
        }
    }

    fn leaf(&mut self, sides: [Option<Entry>; 3]) -> Result<Option<Entry>, MergeError> {
        if let Some(entry) = decided(sides) {
            return Ok(entry);
        }
        let why = match sides {
            [Some(base), Some(ours), Some(theirs)] => match self.files(base, ours, theirs)? {
                Ok(entry) => return Ok(Some(entry)),
                Err(why) => why,
            },
            [None, _, _] => Clashing::AddedTwice,
            [Some(_), _, _] => Clashing::DeletedAndChanged,
        };
        self.clash(why);
        Ok(None)
    }

    fn files(&mut self, base: Entry, ours: Entry, theirs: Entry) -> Result<Result<Entry, Clashing>, MergeError> {
        let sides = [base, ours, theirs];
        if !sides.iter().all(|side| side.kind.is_file()) {
            return Ok(Err(Clashing::Kind));
        }
        // Of two kinds, two of three are always equal.
        let kind = decided(sides.map(|side| side.kind)).expect("three of two kinds");
        if let Some(id) = decided(sides.map(|side| side.id)) {
            return Ok(Ok(Entry { kind, id }));
        }
        let mut read = |side: Entry| self.objects.blob(side.id, super::MAX_BLOB_BYTES);
        let (Some(base), Some(ours), Some(theirs)) = (read(base)?, read(ours)?, read(theirs)?) else {
            return Ok(Err(Clashing::TooLarge));
        };
        Ok(match lines::merge(&base, &ours, &theirs, self.steps) {
            Ok(bytes) => Ok(Entry { kind, id: self.objects.put_blob(bytes)? }),
            Err(why) => Err(why),
        })
    }
}
