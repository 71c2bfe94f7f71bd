//! What the objects of a pack say of others: looked at as each is built, and held against what came when all are.
//!
//! Where nothing is held before, a pack is whole exactly if all that its objects name is in it: then nothing need be read a
//! second time. Else, and where a pack names more than anybody could hold in memory, commits and trees are gone through.

use std::collections::BTreeMap;

use gix::hashtable::HashMap;
use gix::hashtable::hash_map::Entry as Slot;
use gix::objs::Kind;

use super::headers::{check_commit, check_tag};
use super::names::{self, Special};
use super::resolve::wrong_kind;
use super::{BadTree, PackRefused};
use crate::git::from_gix;
use crate::git::objects::{EntryKind, commit_of};
use crate::git::walk::TREE_DEPTH;

/// The mode of a symbolic link.
const LINK: u32 = 0o120_000;

/// Trees in trees that one thread notes at most. Histories of a million commits may have more, and so may a pack that was made
/// to fill memory.
const MOST_SUBTREES: usize = 16 << 20;

/// What some objects name, as one thread has built them.
pub(super) struct Links {
    /// How many objects they may name, all together; `None` where it is not noted what they name.
    room: Option<usize>,
    /// Objects that are named, as what, with a number for each.
    named: HashMap<gix::ObjectId, (u32, Kind)>,
    /// Trees that hold trees: the place, and where in `subtrees` these stand.
    trees: Vec<(u32, std::ops::Range<usize>)>,
    /// Numbers of trees.
    subtrees: Vec<u32>,
    /// Files that git itself reads.
    pub(super) special: BTreeMap<gix::ObjectId, Special>,
}

impl Links {
    /// For objects that may name so many others; `None` where what they name need not be noted.
    pub(super) fn new(room: Option<usize>) -> Self {
        Self { room, named: HashMap::default(), trees: Vec::new(), subtrees: Vec::new(), special: BTreeMap::new() }
    }

    /// Is all noted that they name?
    pub(super) fn are_complete(&self) -> bool {
        self.room.is_some()
    }

    fn give_up(&mut self) {
        self.room = None;
        (self.named, self.trees, self.subtrees) = (HashMap::default(), Vec::new(), Vec::new());
    }

    /// Looks at an object. `base` is what it is built on, of the same kind, which was looked at before.
    pub(super) fn add(
        &mut self,
        at: u32,
        id: &gix::oid,
        kind: Kind,
        data: &[u8],
        base: Option<&[u8]>,
    ) -> Result<(), PackRefused> {
        let bad = |why: String| PackRefused::BadObject { id: from_gix(id), why };
        match kind {
            Kind::Blob => {}
            Kind::Commit => {
                check_commit(data).map_err(bad)?;
                let commit = commit_of(data).ok_or_else(|| bad("its header is malformed".to_owned()))?;
                self.name(&commit.tree, Kind::Tree)?;
                for parent in &commit.parents {
                    self.name(parent, Kind::Commit)?;
                }
            }
            Kind::Tag => {
                let said = check_tag(data).map_err(bad)?;
                let target = gix::objs::TagRef::from_bytes(data, gix::hash::Kind::Sha1).map(|tag| tag.target());
                let target = target.map_err(|error| bad(crate::git::objects::chain(&error)))?;
                self.name(&target, said)?;
            }
            Kind::Tree => self.tree(at, id, data, base)?,
        }
        Ok(())
    }

    fn tree(&mut self, at: u32, id: &gix::oid, data: &[u8], base: Option<&[u8]>) -> Result<(), PackRefused> {
        let start = self.subtrees.len();
        let mut named = Ok(());
        let checked = names::look_at_tree(data, base, |entry, mode, is_fresh| {
            let kind = match entry.kind() {
                EntryKind::Tree => Kind::Tree,
                EntryKind::Blob => Kind::Blob,
                EntryKind::Gitlink => Kind::Commit,
            };
            if is_fresh
                && mode != LINK
                && let Some(special) = names::special(entry.name)
            {
                self.special.insert(entry.id, special);
            }
            // Of another repository.
            if kind == Kind::Commit || (!is_fresh && kind == Kind::Blob) {
                return;
            }
            match self.name(&entry.id, kind) {
                Ok(Some(number)) if kind == Kind::Tree => self.subtrees.push(number),
                Ok(_) => {}
                Err(why) if named.is_ok() => named = Err(why),
                Err(_) => {}
            }
        });
        checked.map_err(|why| PackRefused::BadTree { id: from_gix(id), why })?;
        named?;
        if self.subtrees.len() > MOST_SUBTREES {
            self.give_up();
        }
        if self.subtrees.len() > start {
            // A tree and the next version of it mostly hold the same trees.
            let same = self.trees.last().map(|(_, range)| range.clone());
            let same = same.filter(|range| self.subtrees[range.clone()] == self.subtrees[start..]);
            if same.is_some() {
                self.subtrees.truncate(start);
            }
            self.trees.push((at, same.unwrap_or(start..self.subtrees.len())));
        }
        Ok(())
    }

    /// Notes that an object is named; gives its number.
    fn name(&mut self, id: &gix::oid, kind: Kind) -> Result<Option<u32>, PackRefused> {
        let Some(room) = self.room else { return Ok(None) };
        if self.named.len() > room {
            self.give_up();
            return Ok(None);
        }
        let number = self.named.len() as u32;
        match self.named.entry(id.to_owned()) {
            Slot::Vacant(slot) => {
                slot.insert((number, kind));
                Ok(Some(number))
            }
            Slot::Occupied(slot) if slot.get().1 == kind => Ok(Some(slot.get().0)),
            Slot::Occupied(slot) => Err(wrong_kind(id, slot.get().1, kind)),
        }
    }
}

/// Is all that is named here, as what it is named? Each comes with the place at which the objects of its pack begin, when those of
/// all packs are counted on. `find` gives the place and the kind of an object that came.
pub(super) fn hold(
    all: &[(u32, &Links)],
    places: usize,
    find: impl Fn(&gix::oid) -> Option<(u32, Kind)>,
) -> Result<(), PackRefused> {
    // Of each tree that holds trees: the thread that built it, and where these stand.
    let mut trees: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
    // By place, which of `trees` it is, counted from 1.
    let mut below = vec![0u32; places];
    let mut numbers = Vec::new();
    for (thread, (begin, links)) in all.iter().enumerate() {
        let mut found = vec![u32::MAX; links.named.len()];
        for (id, (number, kind)) in &links.named {
            match find(id) {
                Some((at, is)) if is == *kind => found[*number as usize] = at,
                Some((_, is)) => return Err(wrong_kind(id, is, *kind)),
                // Git knows it without having it.
                None if *kind == Kind::Tree && id.is_empty_tree() => {}
                None => return Err(PackRefused::MissingObject(from_gix(id))),
            }
        }
        numbers.push(found);
        for (at, range) in &links.trees {
            trees.push((thread, range.clone()));
            below[(begin + at) as usize] = trees.len() as u32;
        }
    }
    let subtrees = |at: u32| -> (&[u32], &[u32]) {
        match (below[at as usize] as usize).checked_sub(1).map(|tree| &trees[tree]) {
            Some((thread, range)) => (&all[*thread].1.subtrees[range.clone()], &numbers[*thread]),
            None => (&[], &[]),
        }
    };
    match too_deep(places, subtrees) {
        Some(at) => Err(PackRefused::BadTree { id: name_of(all, &numbers, at), why: BadTree::TooDeep }),
        None => Ok(()),
    }
}

/// The id of a tree that some tree holds.
fn name_of(all: &[(u32, &Links)], numbers: &[Vec<u32>], at: u32) -> crate::id::ObjectId {
    let named = |((_, links), numbers): (&(u32, &Links), &Vec<u32>)| {
        links.named.iter().find(|(_, (number, _))| numbers[*number as usize] == at).map(|(id, _)| from_gix(id))
    };
    all.iter().zip(numbers).find_map(named).unwrap_or(crate::id::ObjectId::Sha1([0; 20]))
}

/// A tree with more trees below it, one in the other, than git reads.
fn too_deep<'a>(places: usize, subtrees: impl Fn(u32) -> (&'a [u32], &'a [u32])) -> Option<u32> {
    // How many trees lie on the longest way down from each, itself among them; 0 where that is not known yet.
    let mut heights = vec![0u16; places];
    let mut way: Vec<(u32, usize)> = Vec::new();
    for start in 0..places as u32 {
        if heights[start as usize] > 0 || subtrees(start).0.is_empty() {
            continue;
        }
        way.push((start, 0));
        while let Some((at, next)) = way.last_mut() {
            let (at, (below, numbers)) = (*at, subtrees(*at));
            let Some(child) = below.get(*next).map(|number| numbers[*number as usize]) else {
                let height = below.iter().map(|number| heights.get(numbers[*number as usize] as usize));
                heights[at as usize] = 1 + height.map(|height| height.copied().unwrap_or(0)).max().unwrap_or(0);
                way.pop();
                continue;
            };
            *next += 1;
            let Some(height) = heights.get_mut(child as usize).filter(|height| **height == 0) else { continue };
            if subtrees(child).0.is_empty() {
                *height = 1;
            } else {
                way.push((child, 0));
            }
            // A tree in itself, which no hash allows, would end here as well.
            if way.len() > TREE_DEPTH as usize {
                return Some(child);
            }
        }
        if u32::from(heights[start as usize]) > TREE_DEPTH {
            return Some(start);
        }
    }
    None
}
