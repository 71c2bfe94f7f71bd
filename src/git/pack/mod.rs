//! Making packs of what somebody lacks.
//!
//! Only what is reachable from what was asked for is ever sent, never a pack as it lies here: that may hold what was
//! never meant for others. Which objects these are is found by `walk`; few are written one by one, with deltas made for
//! them, many with the deltas that they have in the packs here.

mod copied;
mod delta;
mod few;
mod form;
mod inventory;
mod portion;
mod skip;

use form::How;
pub use form::{Form, Prefix};
pub(super) use form::{ZLIB, form_of};
pub(super) use inventory::Inventory;
use portion::Divide;
pub use portion::Portion;
pub use skip::Skip;

use std::io::Write;
use std::sync::atomic::AtomicBool;

pub(super) use self::copied::write as write_copied;
use gix::hashtable::{HashMap, HashSet};

use super::objects::{Objects, Unread};
use super::walk::{self, Ended, Found, Span, Visit};
use super::{Repository, from_gix, to_gix};
use crate::id::ObjectId;
use crate::limits;

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackStats {
    /// How many objects.
    pub objects: u64,
    /// Its size in bytes when plain.
    pub bytes: u64,
}

/// What of a pack is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// A pack without objects that the other side received before it was cut. No delta is against them.
    Without(Skip),
    /// What follows a prefix that the other side received: for the same wants and haves, and as long as the packs here stay the same,
    /// the pack is the same.
    After(Prefix),
}

/// Why a pack was not written to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// An object that it needs is not here.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// An object that it needs cannot be read.
    #[error("object {id} cannot be read: {why}")]
    Unreadable {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        why: String,
    },
    /// The packs here changed or broke while objects were copied from them.
    #[error("objects cannot be copied: {0}")]
    Copying(String),
    /// More objects than a pack can count.
    #[error("too many objects for one pack: {0}")]
    TooMany(usize),
    /// Nobody takes its bytes.
    #[error("the pack cannot be written: {0}")]
    Write(#[source] std::io::Error),
    /// It does not begin with the prefix that is to be left out.
    #[error("the pack has changed since")]
    Differs,
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Up to this many objects are written one by one: starting threads and sorting by pack costs more.
const FEW: usize = 256;

/// The same where the other side has something already: the deltas that are made against that are worth some time.
const FEW_MORE: usize = 2_000;

/// With more objects than this, a directory may have been moved: what it holds is looked for in the whole of the trees
/// that the other side has, which costs a look at each directory there.
const MOVED: usize = 1_000;

/// Threads that go through a large history. More would take the machine away from its user.
const THREADS: usize = 2;

/// Trees kept decoded while commits are compared with their parents, in bytes.
const TREE_CACHE: usize = 32 << 20;

/// What deltas are against that is kept in memory while a history is gone through, in bytes.
const BASE_CACHE: usize = 16 << 20;

impl Repository {
    /// Writes one pack of the objects reachable from `want` and not from those of `have` that are here.
    ///
    /// `want` may name annotated tags; haves that are unknown here are ignored. The pack may be thin: a delta's base is
    /// earlier in it, or is part of what a have reaches, and then the base is named by its id. An object that a have
    /// reaches may be in the pack too where it was brought back.
    ///
    /// # Errors
    /// [`PackError`]; what was written by then is no pack.
    pub fn write_pack(
        &self,
        want: &[ObjectId],
        have: &[ObjectId],
        out: &mut dyn Write,
        stop: &AtomicBool,
    ) -> Result<PackStats, PackError> {
        self.write_part(want, have, &Part::Whole, out, Form::Plain, stop)
    }

    /// The same in this form, or a part of it.
    ///
    /// # Errors
    /// [`PackError`]; what was written by then is no pack. With [`PackError::Differs`] nothing was written.
    pub fn write_part(
        &self,
        want: &[ObjectId],
        have: &[ObjectId],
        part: &Part,
        out: &mut dyn Write,
        form: Form,
        stop: &AtomicBool,
    ) -> Result<PackStats, PackError> {
        self.write_divided(want, have, part, None, out, form, stop)
    }

    /// The pack without these objects, or, where it is large, one of so many portions of it: `tell` is called before anything is
    /// written if it is a portion.
    ///
    /// # Errors
    /// [`PackError`]; what was written by then is no pack.
    #[expect(clippy::too_many_arguments, reason = "as `write_part`, and into how many portions")]
    pub fn write_portion(
        &self,
        want: &[ObjectId],
        have: &[ObjectId],
        skip: Skip,
        sources: u8,
        tell: &mut dyn FnMut(Portion),
        out: &mut dyn Write,
        form: Form,
        stop: &AtomicBool,
    ) -> Result<PackStats, PackError> {
        let names = Skip::most(limits::SKIP_BYTES as usize).saturating_sub(skip.len());
        let divide = Divide { sources, names, tell };
        self.write_divided(want, have, &Part::Without(skip), Some(divide), out, form, stop)
    }

    #[expect(clippy::too_many_arguments, reason = "as `write_part`, and into how many portions")]
    fn write_divided(
        &self,
        want: &[ObjectId],
        have: &[ObjectId],
        part: &Part,
        divide: Option<Divide<'_>>,
        out: &mut dyn Write,
        form: Form,
        stop: &AtomicBool,
    ) -> Result<PackStats, PackError> {
        let nothing = Skip::default();
        let (skip, after) = match part {
            Part::Whole => (&nothing, None),
            Part::Without(skip) => (skip, None),
            Part::After(prefix) => (&nothing, Some(*prefix)),
        };
        let how = How { form, after };
        let wants = want.iter().map(|id| to_gix(id).ok_or(PackError::Missing(*id))).collect::<Result<Vec<_>, _>>()?;
        let haves: Vec<gix::ObjectId> = have.iter().filter_map(to_gix).collect();
        let objects = if haves.is_empty() {
            let apart = Objects::apart(self).map_err(|error| PackError::Copying(error.to_string()))?;
            apart.with_bases(BASE_CACHE)
        } else {
            Objects::of(self)
        };
        let (objects, few, List { mut ids, mut bases }) = if haves.is_empty() {
            let list = self.all_of(&objects, &wants, stop)?;
            (objects, FEW, list)
        } else {
            beyond_haves(objects, &wants, &haves, stop)?
        };
        if !skip.is_empty() {
            ids.retain(|id| !skip.holds(id));
            bases.values_mut().for_each(|bases| bases.retain(|base| !skip.holds(base)));
        }
        // Git knows the empty tree without having it, and so does whoever receives this.
        ids.retain(|id| !id.is_empty_tree() || objects.has(id));
        let count = u32::try_from(ids.len()).map_err(|_| PackError::TooMany(ids.len()))?;
        let (count, bytes) = if ids.len() <= few {
            let item = |id: gix::ObjectId| few::Item { id, bases: bases.remove(&id).unwrap_or_default() };
            let mut items: Vec<few::Item> = ids.into_iter().map(item).collect();
            if let Some(divide) = divide {
                // What they are built on is found out only as they are written.
                let sizes = items.iter().map(|item| (objects.size(&item.id).unwrap_or(0), true));
                if let Some(first) = divide.first_of(&sizes.collect::<Vec<_>>()) {
                    let others: HashSet<gix::ObjectId> = items.drain(first..).map(|item| item.id).collect();
                    items.iter_mut().for_each(|item| item.bases.retain(|base| !others.contains(base)));
                    let ids = items.iter().map(|item| item.id);
                    (divide.tell)(Portion { objects: count, names: Skip::of(ids, usize::MAX) });
                }
            }
            let count = items.len() as u32;
            (count, few::write(&objects, &items, count, out, how, stop)?)
        } else {
            copied::write(objects, ids, divide, out, how, stop)?
        };
        out.flush().map_err(PackError::Write)?;
        Ok(PackStats { objects: u64::from(count), bytes })
    }
}

/// The ids of all objects of a pack, and what stood at their paths in the parents while they are few.
#[derive(Default)]
struct List {
    ids: Vec<gix::ObjectId>,
    bases: HashMap<gix::ObjectId, Vec<gix::ObjectId>>,
}

/// Nothing of what is read here ends a walk.
enum Never {}

impl Visit for List {
    type Error = Never;

    fn object(&mut self, id: &gix::oid, _found: Found, bases: &[(gix::ObjectId, bool)]) -> Result<(), Never> {
        self.ids.push(id.to_owned());
        if !bases.is_empty() && self.ids.len() <= FEW_MORE {
            self.bases.insert(id.to_owned(), bases.iter().map(|(base, _)| *base).collect());
        }
        Ok(())
    }
}

/// What is to be sent where the other side has something, and how much of that counts as few.
fn beyond_haves(
    objects: Objects,
    wants: &[gix::ObjectId],
    haves: &[gix::ObjectId],
    stop: &AtomicBool,
) -> Result<(Objects, usize, List), PackError> {
    let span = Span::new(&objects, wants, haves, stop)?;
    if !span.common {
        let list = all_in(&objects, &span, None, stop)?;
        return Ok((objects, FEW, list));
    }
    let (objects, mut list) = (objects.with_cache(TREE_CACHE), List::default());
    walk::objects(&objects, &span, &mut list, stop)?;
    if list.ids.len() > MOVED {
        let old = walk::based_on(&objects, &span, stop)?;
        list.ids.retain(|id| !old.contains(id));
    }
    Ok((objects, FEW_MORE, list))
}

/// A list without what is known.
struct Beyond<'a> {
    list: List,
    known: Option<&'a Inventory>,
}

impl Visit for Beyond<'_> {
    type Error = Never;

    fn object(&mut self, id: &gix::oid, found: Found, bases: &[(gix::ObjectId, bool)]) -> Result<(), Never> {
        self.list.object(id, found, bases)
    }

    fn is_known(&self, id: &gix::oid) -> bool {
        self.known.is_some_and(|known| known.holds(id))
    }
}

/// The objects of a span with nothing to compare them with, in order, but for those that are known.
fn all_in(objects: &Objects, span: &Span, known: Option<&Inventory>, stop: &AtomicBool) -> Result<List, PackError> {
    let mut lists: [Beyond<'_>; THREADS] = std::array::from_fn(|_| Beyond { list: List::default(), known });
    if walk::is_large(span) {
        walk::objects_by_threads(objects, span, &mut lists, stop)?;
    } else {
        walk::objects(objects, span, &mut lists[0], stop)?;
    }
    let mut all = List::default();
    for Beyond { list, .. } in lists {
        all.ids.extend(list.ids);
        all.bases.extend(list.bases);
    }
    all.ids.sort_unstable();
    all.ids.dedup();
    Ok(all)
}

impl Repository {
    /// All that these reach, in order; what was written down of it is not looked for again.
    fn all_of(&self, objects: &Objects, wants: &[gix::ObjectId], stop: &AtomicBool) -> Result<List, PackError> {
        if let Some(known) = Inventory::load(self) {
            let (span, border) = Span::beyond(objects, wants, |id| known.holds(id), stop)?;
            // Else it holds more than is reached.
            if known.heads().iter().all(|head| border.contains(head)) {
                let mut list = all_in(objects, &span, Some(&known), stop)?;
                let is_outgrown = known.is_outgrown(list.ids.len());
                list.ids.extend(known.ids());
                list.ids.sort_unstable();
                if is_outgrown {
                    Inventory::note(self, &span, &border, &list.ids);
                }
                return Ok(list);
            }
        }
        let span = Span::new(objects, wants, &[], stop)?;
        let list = all_in(objects, &span, None, stop)?;
        Inventory::note(self, &span, &HashSet::default(), &list.ids);
        Ok(list)
    }
}

impl From<Unread> for PackError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Missing(id) => Self::Missing(from_gix(&id)),
            Unread::Corrupt(id, why) => Self::Unreadable { id: from_gix(&id), why },
        }
    }
}

impl From<Ended<Never>> for PackError {
    fn from(ended: Ended<Never>) -> Self {
        match ended {
            Ended::New(unread) | Ended::Old(unread) => unread.into(),
            Ended::Deep(id) => {
                Self::Unreadable { id: from_gix(&id), why: "directories are nested too deep".to_owned() }
            }
            Ended::Visitor(never) => match never {},
            Ended::Stopped => Self::Stopped,
        }
    }
}

#[cfg(test)]
mod tests;
