//! The commits reachable from some tips and not from others.
//!
//! Both sets are walked together, newest commit first, until nothing that is left can be new. Committer times only
//! decide how far the walk goes: with wrong clocks it visits more, and may call a commit new that is not, but it
//! never takes a new one for old.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::hashtable::{HashMap, HashSet};
use gix::objs::Kind;

use super::Ended;
use crate::git::objects::{Objects, Unread};

/// A commit that is new, with what its trees are compared with.
pub(in crate::git) struct NewCommit {
    pub(in crate::git) id: gix::ObjectId,
    pub(in crate::git) tree: gix::ObjectId,
    /// Its parents, and whether each is new too.
    pub(in crate::git) parents: Vec<(gix::ObjectId, bool)>,
    /// The trees of its parents, and whether that parent is new too.
    pub(in crate::git) bases: Vec<(gix::ObjectId, bool)>,
}

/// What is reachable from some tips and not from others.
#[derive(Default)]
pub(in crate::git) struct Span {
    /// Parents before their children, as far as clocks were right.
    pub(in crate::git) commits: Vec<NewCommit>,
    /// The commits among the tips, and those that tags among them stand for.
    pub(in crate::git) tips: Vec<gix::ObjectId>,
    /// Annotated tags on the way from the tips.
    pub(in crate::git) tags: Vec<gix::ObjectId>,
    /// Trees and files that tags stand for.
    pub(in crate::git) others: Vec<(gix::ObjectId, Kind)>,
    /// Is any commit known to both sides?
    pub(in crate::git) common: bool,
}

struct Node {
    id: gix::ObjectId,
    tree: gix::ObjectId,
    parents: Vec<gix::ObjectId>,
    time: i64,
    wanted: bool,
    old: bool,
    queued: bool,
}

impl Node {
    fn is_new(&self) -> bool {
        self.wanted && !self.old
    }

    /// Does it have to be visited before the walk can end?
    fn matters(&self) -> bool {
        self.queued && self.wanted
    }
}

/// How far apart the clocks of two people may be, in seconds, before a commit is visited, and sent, needlessly.
const SKEW: i64 = 600;

struct Painter {
    nodes: Vec<Node>,
    by_id: HashMap<gix::ObjectId, usize>,
    queue: BinaryHeap<(i64, usize)>,
    /// How many queued commits matter.
    open: usize,
    /// How many commits are taken for new so far, and the oldest time that any of them had.
    new: usize,
    oldest: i64,
    buf: Vec<u8>,
}

impl Painter {
    fn new() -> Self {
        Self {
            nodes: Vec::new(),
            by_id: HashMap::default(),
            queue: BinaryHeap::new(),
            open: 0,
            new: 0,
            oldest: i64::MAX,
            buf: Vec::new(),
        }
    }

    /// Marks a commit, and queues it if that says anything new.
    fn paint(&mut self, objects: &Objects, id: gix::ObjectId, wanted: bool, old: bool) -> Result<usize, Unread> {
        let at = match self.by_id.get(&id) {
            Some(at) => *at,
            None => {
                let commit = objects.commit(&id, &mut self.buf)?;
                let node = Node {
                    id,
                    tree: commit.tree,
                    parents: commit.parents,
                    time: commit.time,
                    wanted: false,
                    old: false,
                    queued: false,
                };
                self.nodes.push(node);
                self.by_id.insert(id, self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        let node = &mut self.nodes[at];
        if (node.wanted || !wanted) && (node.old || !old) {
            return Ok(at);
        }
        let (before, was_new) = (node.matters(), node.is_new());
        node.wanted |= wanted;
        node.old |= old;
        self.new = self.new + usize::from(node.is_new()) - usize::from(was_new);
        if node.is_new() {
            self.oldest = self.oldest.min(node.time);
        }
        if !node.queued {
            node.queued = true;
            self.queue.push((node.time, at));
        }
        self.open += usize::from(node.matters() && !before);
        Ok(at)
    }

    fn pop(&mut self) -> Option<usize> {
        let newest_left = self.queue.peek()?.0;
        // What is left is old. It may still reach what was taken for new, unless all of that is newer.
        if self.open == 0 && (self.new == 0 || newest_left.saturating_add(SKEW) < self.oldest) {
            return None;
        }
        let (_, at) = self.queue.pop()?;
        self.open -= usize::from(self.nodes[at].matters());
        self.nodes[at].queued = false;
        Some(at)
    }
}

impl Span {
    /// What `wants` reach and `haves` do not. Haves that are not here, or no commits, are passed over.
    pub(in crate::git) fn new<E>(
        objects: &Objects,
        wants: &[gix::ObjectId],
        haves: &[gix::ObjectId],
        stop: &AtomicBool,
    ) -> Result<Self, Ended<E>> {
        let (mut span, mut painter, mut buf) = (Self::default(), Painter::new(), Vec::new());
        for have in haves {
            if let Ok((_, id, Kind::Commit)) = objects.peel(have, &mut buf) {
                span.common |= painter.paint(objects, id, false, true).is_ok();
            }
        }
        for want in wants {
            let (tags, id, kind) = objects.peel(want, &mut buf).map_err(Ended::New)?;
            span.tags.extend(tags);
            if kind == Kind::Commit {
                painter.paint(objects, id, true, false).map_err(Ended::New)?;
                span.tips.push(id);
            } else {
                span.others.push((id, kind));
            }
        }
        span.tags.sort_unstable();
        span.tags.dedup();
        while let Some(at) = painter.pop() {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Stopped);
            }
            // Below what is old everything is old, so only that is handed down.
            let (old, parents) = (painter.nodes[at].old, painter.nodes[at].parents.clone());
            for parent in parents {
                match painter.paint(objects, parent, !old, old) {
                    Ok(_) => {}
                    Err(unread) if old => drop(unread),
                    Err(unread) => return Err(Ended::New(unread)),
                }
            }
        }
        for node in painter.nodes.iter().rev().filter(|node| node.is_new()) {
            let known = |parent: &gix::ObjectId| Some(&painter.nodes[*painter.by_id.get(parent)?]);
            let parents = node.parents.iter().filter_map(known);
            let bases = parents.clone().map(|parent| (parent.tree, parent.is_new())).collect();
            let parents = parents.map(|parent| (parent.id, parent.is_new())).collect();
            span.commits.push(NewCommit { id: node.id, tree: node.tree, parents, bases });
        }
        let time = |id: &gix::ObjectId| painter.by_id.get(id).map_or(0, |at| painter.nodes[*at].time);
        span.commits.sort_by_key(|commit| time(&commit.id));
        Ok(span)
    }

    /// What `wants` reach and is not `known`, where all is known that something known reaches. Gives as well the commits that are
    /// known and reached from nothing else that is.
    pub(in crate::git) fn beyond<E>(
        objects: &Objects,
        wants: &[gix::ObjectId],
        known: impl Fn(&gix::oid) -> bool,
        stop: &AtomicBool,
    ) -> Result<(Self, HashSet<gix::ObjectId>), Ended<E>> {
        let (mut span, mut buf, mut next) = (Self::default(), Vec::new(), Vec::new());
        for want in wants {
            let (tags, id, kind) = objects.peel(want, &mut buf).map_err(Ended::New)?;
            span.tags.extend(tags);
            if kind == Kind::Commit {
                span.tips.push(id);
            } else {
                span.others.push((id, kind));
            }
        }
        span.tags.sort_unstable();
        span.tags.dedup();
        next.extend_from_slice(&span.tips);
        let (mut met, mut border, mut times) = (HashSet::default(), HashSet::default(), HashMap::default());
        while let Some(id) = next.pop() {
            if stop.load(Ordering::Relaxed) {
                return Err(Ended::Stopped);
            }
            if known(&id) {
                border.insert(id);
            } else if met.insert(id) {
                let commit = objects.commit(&id, &mut buf).map_err(Ended::New)?;
                next.extend_from_slice(&commit.parents);
                times.insert(id, commit.time);
                let parents = commit.parents.into_iter().map(|parent| (parent, false)).collect();
                span.commits.push(NewCommit { id, tree: commit.tree, parents, bases: Vec::new() });
            }
        }
        span.commits.sort_by_key(|commit| times.get(&commit.id).copied());
        Ok((span, border))
    }
}
