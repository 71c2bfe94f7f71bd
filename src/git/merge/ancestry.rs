//! Who descends from whom: walks over parents alone. Times order the walk and so its cost, never its answer;
//! no commit-graph file, replacement or graft is looked at.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::MergeError;
use super::format::Commit;
use crate::id::ObjectId;

/// Reachable from the left side.
const LEFT: u8 = 1;
/// Reachable from the right side.
const RIGHT: u8 = 2;
/// An ancestor of a common one.
const STALE: u8 = 4;
/// Was met while common and not stale.
const FOUND: u8 = 8;
const BOTH: u8 = LEFT | RIGHT;

/// The history as far as it was looked at. Commits are read once.
pub(crate) struct Ancestry<'a> {
    read: &'a mut dyn FnMut(ObjectId) -> Result<Commit, MergeError>,
    seen: HashMap<ObjectId, Commit>,
}

/// Commits that only one of two sides reaches.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    /// Newest first.
    pub(crate) left: Vec<ObjectId>,
    pub(crate) right: usize,
}

#[derive(Default)]
struct Paint {
    flags: HashMap<ObjectId, u8>,
    queue: BinaryHeap<(u64, Reverse<ObjectId>)>,
    queued: HashMap<ObjectId, ()>,
    /// How many in the queue are not stale.
    live: usize,
}

impl Paint {
    fn flags(&self, id: ObjectId) -> u8 {
        self.flags.get(&id).copied().unwrap_or(0)
    }

    fn add(&mut self, id: ObjectId, seconds: u64, flags: u8) {
        let before = self.flags(id);
        if before & flags == flags {
            return;
        }
        let now = before | flags;
        self.flags.insert(id, now);
        if self.queued.insert(id, ()).is_none() {
            self.queue.push((seconds, Reverse(id)));
            self.live += usize::from(now & STALE == 0);
        } else if before & STALE == 0 && now & STALE != 0 {
            self.live -= 1;
        }
    }

    fn pop(&mut self) -> Option<(ObjectId, u8, u64)> {
        let (seconds, Reverse(id)) = self.queue.pop()?;
        self.queued.remove(&id);
        let flags = self.flags(id);
        self.live -= usize::from(flags & STALE == 0);
        Some((id, flags, seconds))
    }
}

impl<'a> Ancestry<'a> {
    pub(crate) fn new(read: &'a mut dyn FnMut(ObjectId) -> Result<Commit, MergeError>) -> Self {
        Self { read, seen: HashMap::new() }
    }

    /// The commit `id`.
    pub(crate) fn commit(&mut self, id: ObjectId) -> Result<&Commit, MergeError> {
        if !self.seen.contains_key(&id) {
            let commit = (self.read)(id)?;
            self.seen.insert(id, commit);
        }
        Ok(&self.seen[&id])
    }

    fn add(&mut self, paint: &mut Paint, id: ObjectId, flags: u8) -> Result<(), MergeError> {
        if paint.flags(id) & flags != flags {
            let seconds = self.commit(id)?.seconds;
            paint.add(id, seconds, flags);
        }
        Ok(())
    }

    /// The common ancestors of `right` and of any of `left` that are no ancestors of each other, by id.
    pub(crate) fn merge_bases(&mut self, left: &[ObjectId], right: ObjectId) -> Result<Vec<ObjectId>, MergeError> {
        let found = self.common(left, right)?;
        let mut bases = self.maximal(&found)?;
        bases.sort_unstable();
        Ok(bases)
    }

    /// A superset of the merge bases, all of them common ancestors.
    ///
    /// A common ancestor that no walk has called stale is found before the queue holds nothing but stale ones:
    /// what is reached from one side only keeps the walk going. So all bases are among them, whatever the times say.
    fn common(&mut self, left: &[ObjectId], right: ObjectId) -> Result<Vec<ObjectId>, MergeError> {
        let mut paint = Paint::default();
        for &id in left {
            self.add(&mut paint, id, LEFT)?;
        }
        self.add(&mut paint, right, RIGHT)?;
        let mut found = Vec::new();
        while paint.live > 0 {
            let Some((id, mut flags, _)) = paint.pop() else { break };
            if flags & (BOTH | STALE) == BOTH {
                if flags & FOUND == 0 {
                    paint.flags.insert(id, flags | FOUND);
                    found.push(id);
                }
                flags |= STALE;
            }
            for parent in self.commit(id)?.parents.clone() {
                self.add(&mut paint, parent, flags & (BOTH | STALE))?;
            }
        }
        found.retain(|&id| paint.flags(id) & STALE == 0);
        Ok(found)
    }

    /// Those of `ids` that are no ancestors of another of them, each once, in the order given.
    pub(crate) fn maximal(&mut self, ids: &[ObjectId]) -> Result<Vec<ObjectId>, MergeError> {
        let mut kept: Vec<ObjectId> = Vec::new();
        'ids: for &id in ids {
            for &other in &kept {
                if self.is_ancestor(id, other)? {
                    continue 'ids;
                }
            }
            let mut left = Vec::new();
            for other in kept {
                if !self.is_ancestor(other, id)? {
                    left.push(other);
                }
            }
            left.push(id);
            kept = left;
        }
        Ok(kept)
    }

    /// Whether `descendant` reaches `ancestor`. A commit reaches itself.
    pub(crate) fn is_ancestor(&mut self, ancestor: ObjectId, descendant: ObjectId) -> Result<bool, MergeError> {
        if ancestor == descendant {
            return Ok(true);
        }
        let mut paint = Paint::default();
        self.add(&mut paint, ancestor, LEFT)?;
        self.add(&mut paint, descendant, RIGHT)?;
        // As in `common`; what both reach is of no more interest, except `ancestor` itself.
        while paint.live > 0 {
            let Some((id, mut flags, _)) = paint.pop() else { break };
            if flags & BOTH == BOTH {
                flags |= STALE;
            }
            for parent in self.commit(id)?.parents.clone() {
                if parent == ancestor && flags & RIGHT != 0 {
                    return Ok(true);
                }
                self.add(&mut paint, parent, flags & (BOTH | STALE))?;
            }
        }
        Ok(false)
    }

    /// What only `left` and only `right` reach. For display: where times run backwards over several commits, a
    /// common one may be counted.
    pub(crate) fn sides(&mut self, left: &[ObjectId], right: &[ObjectId]) -> Result<Sides, MergeError> {
        let mut paint = Paint::default();
        for &id in left {
            self.add(&mut paint, id, LEFT)?;
        }
        for &id in right {
            self.add(&mut paint, id, RIGHT)?;
        }
        let mut order: Vec<ObjectId> = Vec::new();
        let mut oldest = u64::MAX;
        while let Some((id, mut flags, seconds)) = paint.pop() {
            if flags & BOTH == BOTH {
                flags |= STALE;
            } else {
                oldest = oldest.min(seconds);
                order.push(id);
            }
            for parent in self.commit(id)?.parents.clone() {
                self.add(&mut paint, parent, flags & (BOTH | STALE))?;
            }
            if paint.live == 0 && paint.queue.peek().is_none_or(|(next, _)| *next < oldest) {
                break;
            }
        }
        let mut sides = Sides::default();
        let mut counted = HashMap::new();
        for id in order {
            if counted.insert(id, ()).is_none() {
                match paint.flags(id) & BOTH {
                    LEFT => sides.left.push(id),
                    RIGHT => sides.right += 1,
                    _ => {}
                }
            }
        }
        Ok(sides)
    }
}
