//! From commits to a merge commit: which sides there are, what they grew out of, and one tree after the other.
//!
//! Never change what this file computes (docs/rules-1.md, sections 2, 3 and 7).

use super::ancestry::Ancestry;
use super::diff::Steps;
use super::format::{Commit, Subject, Tree};
use super::tree::{EMPTY_TREE, Objects};
use super::{Clash, Clashing, MAX_BASE_DEPTH, MAX_BASES, MAX_TREE_MERGES, MergeError, Merged, tree};
use crate::id::{BranchName, ObjectId};

/// Why a fold ended early.
enum Stop {
    Clashes(Vec<Clash>),
    Error(MergeError),
}

impl From<MergeError> for Stop {
    fn from(error: MergeError) -> Self {
        Self::Error(error)
    }
}

/// `rules` 1.
pub(super) fn merge(
    objects: &mut dyn Objects,
    heads: &[ObjectId],
    tip: ObjectId,
    branch: &BranchName,
) -> Result<Merged, MergeError> {
    let mut heads = heads.to_vec();
    heads.sort_unstable();
    let (sides, has_tip) = sides(objects, &heads, tip)?;
    if let [only] = sides[..] {
        return Ok(Merged::FastForward(only));
    }
    let mut fold = Fold { objects, steps: Steps::new(), merges: 0 };
    let tree = match fold.trees(&sides, 0) {
        Ok(tree) => tree,
        Err(Stop::Clashes(clashes)) => return Ok(Merged::Conflict(clashes)),
        Err(Stop::Error(error)) => return Err(error),
    };
    if tree == EMPTY_TREE {
        // Git knows it without having it; those who check what they receive may not.
        objects.put_tree(&Tree::new())?;
    }
    let mut seconds = 0;
    for &side in &sides {
        seconds = seconds.max(objects.commit(side)?.seconds);
    }
    let subject = if has_tip { Subject::Merge(tip) } else { Subject::Join(sides.len()) };
    let commit = Commit { tree, parents: sides, seconds };
    Ok(Merged::Commit(objects.put_commit(&commit, &subject, branch)?))
}

/// The heads by id, then the tip, without those that another one contains; and whether the tip is still among them.
fn sides(objects: &mut dyn Objects, heads: &[ObjectId], tip: ObjectId) -> Result<(Vec<ObjectId>, bool), MergeError> {
    let mut read = |id| objects.commit(id);
    let mut ancestry = Ancestry::new(&mut read);
    let heads = ancestry.maximal(heads)?;
    let mut sides = Vec::new();
    for &head in &heads {
        if ancestry.is_ancestor(tip, head)? {
            return Ok((heads, false));
        }
        if !ancestry.is_ancestor(head, tip)? {
            sides.push(head);
        }
    }
    sides.push(tip);
    Ok((sides, true))
}

struct Fold<'a> {
    objects: &'a mut dyn Objects,
    steps: Steps,
    merges: usize,
}

impl Fold<'_> {
    /// The tree of all `commits` together, merged from left to right.
    fn trees(&mut self, commits: &[ObjectId], depth: usize) -> Result<ObjectId, Stop> {
        let Some((&first, rest)) = commits.split_first() else { return Ok(EMPTY_TREE) };
        if (depth > 0 && commits.len() > MAX_BASES) || depth > MAX_BASE_DEPTH {
            return Err(too_many_bases());
        }
        let mut merged = self.objects.commit(first)?.tree;
        for (at, &next) in rest.iter().enumerate() {
            let bases = {
                let mut read = |id| self.objects.commit(id);
                Ancestry::new(&mut read).merge_bases(&commits[..=at], next)?
            };
            let base = self.trees(&bases, depth + 1)?;
            self.merges += 1;
            if self.merges > MAX_TREE_MERGES {
                return Err(too_many_bases());
            }
            let next = self.objects.commit(next)?.tree;
            let mut clashes = Vec::new();
            merged = tree::merge(self.objects, [base, merged, next], &mut self.steps, &mut clashes)?;
            if !clashes.is_empty() {
                return Err(Stop::Clashes(clashes));
            }
        }
        Ok(merged)
    }
}

fn too_many_bases() -> Stop {
    Stop::Clashes(vec![Clash { path: "".into(), why: Clashing::TooManyBases }])
}
