//! The objects that come with new commits.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicBool, AtomicUsize};

use gix::hashtable::{HashMap, HashSet};

use super::span::NewCommit;
use super::{Ended, Span, TREE_DEPTH};
use crate::git::objects::{Entry, EntryKind, Known as KnownBytes, Objects, Unread, entries, split_entry};

/// An object that is met for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::git) enum Found {
    Tag,
    Commit,
    Tree,
    Blob,
}

/// Who looks on while [`objects`] goes through trees.
pub(in crate::git) trait Visit {
    /// Why it may end the walk.
    type Error;

    /// A new object, once each. Trees and commits are read after it. `bases` are a commit's parents, or what of its
    /// kind stood at the path of the object in their trees, as far as a comparison was needed, with whether that
    /// parent is new too.
    fn object(&mut self, id: &gix::oid, found: Found, bases: &[(gix::ObjectId, bool)]) -> Result<(), Self::Error>;

    /// Is this object new for sure, so that a comparison with the parents' trees is not needed?
    fn is_new(&self, _id: &gix::oid) -> bool {
        false
    }

    /// Is this object no news, as is all that it reaches?
    fn is_known(&self, _id: &gix::oid) -> bool {
        false
    }

    /// Is a comparison with the parents' trees needed for what it finds at the same path, though an object is new?
    fn wants_bases(&self) -> bool {
        false
    }
}

/// A tree to go through, and those at the same path in the parents.
struct Frame {
    tree: gix::ObjectId,
    /// With whether the parent is new too.
    bases: Vec<(gix::ObjectId, bool)>,
    depth: u32,
}

/// An entry that was not met before.
struct Fresh {
    name: (usize, usize),
    id: gix::ObjectId,
    is_tree: bool,
    known: Known,
    /// What of its kind has this name in the parents.
    bases: Vec<(gix::ObjectId, bool)>,
}

/// Does an entry stand like this in a parent's tree?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    /// In that of a parent that is new too, which brings the object whenever its turn comes.
    Parent,
    /// In that of one that is not, so it is not new.
    Old,
}

/// Shows `visit` each object of `span` that is not in a parent's tree at the same path.
pub(in crate::git) fn objects<V: Visit>(
    store: &Objects,
    span: &Span,
    visit: &mut V,
    stop: &AtomicBool,
) -> Result<(), Ended<V::Error>> {
    let mut walk = Walk::new(store, visit);
    walk.tips(span, stop)?;
    if span.common {
        for commit in &span.commits {
            walk.commit(commit, commit.bases.clone(), stop)?;
        }
    } else {
        // With no common commit every object is new, and what was met is in `seen`. git packs the old as deltas against the
        // new, so that way round each is read with one more of them.
        walk.newest_first(&span.commits, stop)?;
    }
    Ok(())
}

/// Commits that a thread takes at once: with fewer it would read more that another has read.
const TAKEN: usize = 1_024;

/// Is a span worth more than one thread?
pub(in crate::git) fn is_large(span: &Span) -> bool {
    !span.common && span.commits.len() > 2 * TAKEN
}

/// The same for a span that is large, with a thread for each of those who look on. Each is shown an object once, but what
/// stands in commits of several of them is shown to each.
pub(in crate::git) fn objects_by_threads<V: Visit<Error: Send> + Send>(
    store: &Objects,
    span: &Span,
    visits: &mut [V],
    stop: &AtomicBool,
) -> Result<(), Ended<V::Error>> {
    let next = AtomicUsize::new(0);
    // One that fails ends the others.
    let failed = AtomicBool::new(false);
    let work = |at: usize, store: &Objects, visit: &mut V| {
        let mut walk = Walk::new(store, visit);
        let mut run = || {
            if at == 0 {
                walk.tips(span, stop)?;
            }
            while !failed.load(atomic::Ordering::Relaxed) {
                let taken = next.fetch_add(TAKEN, atomic::Ordering::Relaxed);
                let Some(until) = span.commits.len().checked_sub(taken).filter(|until| *until > 0) else { break };
                walk.newest_first(&span.commits[until.saturating_sub(TAKEN)..until], stop)?;
            }
            Ok(())
        };
        let done = run();
        failed.fetch_or(done.is_err(), atomic::Ordering::Relaxed);
        done
    };
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = visits
            .iter_mut()
            .enumerate()
            .map(|(at, visit)| (at, visit, store.beside()))
            .map(|(at, visit, store)| scope.spawn(move || work(at, &store, visit)))
            .collect();
        let ended = started.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// All trees and files in the trees that new commits of `span` are based on, and that are not new themselves.
pub(in crate::git) fn based_on(
    store: &Objects,
    span: &Span,
    stop: &AtomicBool,
) -> Result<HashSet<gix::ObjectId>, Unread> {
    let is_old = |(tree, is_new): &(gix::ObjectId, bool)| (!is_new).then_some(*tree);
    let mut trees: Vec<gix::ObjectId> = Vec::new();
    trees.extend(span.commits.iter().flat_map(|commit| commit.bases.iter().filter_map(is_old)));
    let mut all = HashSet::default();
    let mut buf = Vec::new();
    while let Some(tree) = trees.pop() {
        if stop.load(atomic::Ordering::Relaxed) {
            break;
        }
        if !all.insert(tree) {
            continue;
        }
        for entry in entries(store.tree(&tree, &mut buf)?).flatten() {
            match entry.kind() {
                EntryKind::Tree => trees.push(entry.id),
                EntryKind::Blob => drop(all.insert(entry.id)),
                EntryKind::Gitlink => {}
            }
        }
    }
    Ok(all)
}

/// Was this object not met before? It must not be a directory here and a file there.
fn is_fresh<V: Visit>(
    visit: &V,
    seen: &HashMap<gix::ObjectId, bool>,
    id: &gix::oid,
    is_tree: bool,
) -> Result<bool, Ended<V::Error>> {
    match seen.get(id) {
        None => Ok(!visit.is_known(id)),
        Some(before) if *before == is_tree => Ok(false),
        Some(_) => {
            let why = "it stands as a directory here and as a file there".to_owned();
            Err(Ended::New(Unread::Corrupt(id.to_owned(), why)))
        }
    }
}

struct Walk<'a, V> {
    store: &'a Objects,
    visit: &'a mut V,
    /// What was met, and whether it stood there as a tree.
    seen: HashMap<gix::ObjectId, bool>,
    frames: Vec<Frame>,
    tree: Vec<u8>,
    base: Vec<u8>,
    /// The last tree of each depth that was compared with nothing, so that all that is in it was met: the next is mostly
    /// another version of it.
    last: [Vec<u8>; LAST],
}

/// Depths for which the last tree is kept.
const LAST: usize = 6;

impl<'a, V: Visit> Walk<'a, V> {
    fn new(store: &'a Objects, visit: &'a mut V) -> Self {
        Self {
            store,
            visit,
            seen: HashMap::default(),
            frames: Vec::new(),
            tree: Vec::new(),
            base: Vec::new(),
            last: Default::default(),
        }
    }

    /// What tags stand for, and they themselves.
    fn tips(&mut self, span: &Span, stop: &AtomicBool) -> Result<(), Ended<V::Error>> {
        for tag in &span.tags {
            self.visit.object(tag, Found::Tag, &[]).map_err(Ended::Visitor)?;
        }
        for (id, kind) in &span.others {
            let found = if *kind == gix::objs::Kind::Tree { Found::Tree } else { Found::Blob };
            self.start(*id, found, Vec::new())?;
            self.run(stop)?;
        }
        Ok(())
    }

    fn newest_first(&mut self, commits: &[NewCommit], stop: &AtomicBool) -> Result<(), Ended<V::Error>> {
        commits.iter().rev().try_for_each(|commit| self.commit(commit, Vec::new(), stop))
    }

    fn start(
        &mut self,
        id: gix::ObjectId,
        found: Found,
        bases: Vec<(gix::ObjectId, bool)>,
    ) -> Result<(), Ended<V::Error>> {
        let is_tree = found == Found::Tree;
        if is_fresh(self.visit, &self.seen, &id, is_tree)? {
            self.seen.insert(id, is_tree);
            self.visit.object(&id, found, &bases).map_err(Ended::Visitor)?;
            if is_tree {
                self.frames.push(Frame { tree: id, bases, depth: 1 });
            }
        }
        Ok(())
    }

    /// A commit, and what of its tree does not stand in `bases`.
    fn commit(
        &mut self,
        commit: &NewCommit,
        bases: Vec<(gix::ObjectId, bool)>,
        stop: &AtomicBool,
    ) -> Result<(), Ended<V::Error>> {
        self.visit.object(&commit.id, Found::Commit, &commit.parents).map_err(Ended::Visitor)?;
        if bases.iter().any(|(tree, _)| *tree == commit.tree) {
            return Ok(());
        }
        self.start(commit.tree, Found::Tree, bases)?;
        self.run(stop)
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<(), Ended<V::Error>> {
        while let Some(frame) = self.frames.pop() {
            if stop.load(atomic::Ordering::Relaxed) {
                return Err(Ended::Stopped);
            }
            if frame.depth > TREE_DEPTH {
                return Err(Ended::Deep(frame.tree));
            }
            self.frame(&frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), Ended<V::Error>> {
        let data = self.store.tree(&frame.tree, &mut self.tree).map_err(Ended::New)?;
        let mut fresh = Vec::new();
        let mut compare = self.visit.wants_bases();
        let last = self.last.get_mut(frame.depth as usize - 1).filter(|_| frame.bases.is_empty());
        let mut met = KnownBytes::of(data, last.as_ref().map_or(&[], |last| last.as_slice()));
        let mut rest = data;
        while !rest.is_empty() {
            let Some((entry, after)) = split_entry(rest) else {
                return Err(Ended::New(Unread::Corrupt(frame.tree, "an entry of it is cut short".to_owned())));
            };
            let (from, to) = (data.len() - rest.len(), data.len() - after.len());
            rest = after;
            if met.holds(from, to) {
                if met.holds_the_rest(from) {
                    break;
                }
                continue;
            }
            let kind = entry.kind();
            let is_tree = kind == EntryKind::Tree;
            if kind == EntryKind::Gitlink || !is_fresh(self.visit, &self.seen, &entry.id, is_tree)? {
                continue;
            }
            let start = entry.name.as_ptr() as usize - data.as_ptr() as usize;
            compare |= is_tree || !self.visit.is_new(&entry.id);
            fresh.push(Fresh {
                name: (start, start + entry.name.len()),
                id: entry.id,
                is_tree,
                known: Known::No,
                bases: Vec::new(),
            });
        }
        if compare && !fresh.is_empty() {
            for (base, is_new) in &frame.bases {
                let ended = if *is_new { Ended::New } else { Ended::Old };
                let base_data = self.store.tree(base, &mut self.base).map_err(ended)?;
                join(&mut fresh, data, base_data, *is_new);
            }
        }
        if let Some(last) = last {
            last.clear();
            last.extend_from_slice(data);
        }
        for entry in fresh {
            if entry.known == Known::Parent || !is_fresh(self.visit, &self.seen, &entry.id, entry.is_tree)? {
                continue;
            }
            self.seen.insert(entry.id, entry.is_tree);
            if entry.known == Known::Old {
                continue;
            }
            let found = if entry.is_tree { Found::Tree } else { Found::Blob };
            self.visit.object(&entry.id, found, &entry.bases).map_err(Ended::Visitor)?;
            if entry.is_tree {
                self.frames.push(Frame { tree: entry.id, bases: entry.bases, depth: frame.depth + 1 });
            }
        }
        Ok(())
    }
}

/// Finds each fresh entry in a parent's tree. Both are in git's order; where they are not, less is found.
fn join(fresh: &mut [Fresh], data: &[u8], base: &[u8], base_is_new: bool) {
    let mut fresh = fresh.iter_mut().peekable();
    for entry in entries(base) {
        let Some(entry) = entry else { return };
        let is_tree = entry.kind() == EntryKind::Tree;
        while let Some(next) = fresh.peek_mut() {
            let name = &data[next.name.0..next.name.1];
            match order((name, next.is_tree), (entry.name, is_tree)) {
                Ordering::Less => drop(fresh.next()),
                Ordering::Greater => break,
                Ordering::Equal => {
                    note(next, &entry, base_is_new);
                    break;
                }
            }
        }
    }
}

fn note(fresh: &mut Fresh, entry: &Entry<'_>, base_is_new: bool) {
    if entry.kind() == EntryKind::Gitlink {
        return;
    }
    if fresh.id == entry.id {
        if !base_is_new {
            fresh.known = Known::Old;
        } else if fresh.known == Known::No {
            fresh.known = Known::Parent;
        }
    } else {
        fresh.bases.push((entry.id, base_is_new));
    }
}

/// Does the first stand before the second in a tree, as git orders them?
pub(in crate::git) fn is_ordered(a: (&[u8], bool), b: (&[u8], bool)) -> bool {
    order(a, b) == Ordering::Less
}

/// How git orders the entries of a tree: a directory's name as if it ended in a slash.
fn order(a: (&[u8], bool), b: (&[u8], bool)) -> Ordering {
    let common = a.0.len().min(b.0.len());
    let next = |name: (&[u8], bool)| name.0.get(common).copied().or(name.1.then_some(b'/'));
    a.0[..common].cmp(&b.0[..common]).then_with(|| next(a).cmp(&next(b))).then_with(|| a.0.len().cmp(&b.0.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_ordered_as_with_a_slash() {
        assert_eq!(order((b"a", false), (b"a.c", false)), Ordering::Less);
        assert_eq!(order((b"a", true), (b"a.c", false)), Ordering::Greater);
        assert_eq!(order((b"a", true), (b"a0", false)), Ordering::Less);
        assert_eq!(order((b"a", false), (b"a", true)), Ordering::Less);
        assert_eq!(order((b"a", true), (b"a", true)), Ordering::Equal);
    }
}
