//! Rows beside the events: what the state keeps of each, in tables that are written in the event's own transaction.
//!
//! The state reads through [`Rows`]: layers of changes that are not durable yet over a [`Base`] that is. One layer is
//! one append. All numbers in keys are big-endian, so that the order of bytes is that of the numbers.

mod event;
mod key;
mod memory;
mod merge;
mod recent;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use event::EventRow;
use key::Key;
pub use memory::{Differs, Memory};
pub(crate) use recent::Kept;
use recent::Recent;

use super::Event;
use crate::id::EventId;

/// A table of the state. The comments give key and value; values are postcard where nothing else is said. Of a hash that is
/// looked up by, keys have the first 8 bytes alone: what is found by them is compared with the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Start of an event's id, hlc (u64), strand (u32) → empty: where its row is.
    Ids,
    /// hlc (u64), strand (u32) → the other 24 bytes of the event's id, then its [`EventRow`] without what is in the key: events
    /// in the order of time.
    Events,
    /// Strand number (u32) → 32 bytes of the feed's key, then `StrandRow`.
    Strands,
    /// Number (u32) of a governance event, in order of arrival → its place.
    Governance,
    /// Number (u32) of a set of governance events → its maximal members, as numbers.
    Pasts,
    /// Proposal number (u32) → `ProposalRow`.
    Proposals,
    /// Proposal number (u32), hlc (u64), strand (u32) → tag and seq: revisions and what was said of them.
    Said,
    /// hlc (u64), proposal number (u32) → empty: proposals that are open.
    Open,
    /// Start of a commit, revision's strand (u32), seq (u64) → proposal number (u32).
    Tips,
    /// Start of a landing id, landing number (u32) → empty.
    Lids,
    /// Landing number (u32), in order of arrival → landing id, then `LandingRow`.
    Landings,
    /// Landing number (u32), number of a landing on it (u32) → empty.
    Above,
    /// Strand (u32) and seq (u64) of an approval, landing number (u32) → empty: landings that name the approval.
    Rests,
    /// hlc (u64) of a landing's first carrier, landing number (u32) → empty: landings to recompute from the objects.
    Unsettled,
    /// Branch number (u8), start of a commit, landing number (u32) → empty: what a landing brought into a canonical branch.
    Landed,
    /// Branch number (u8), commit's bytes → empty: what a canonical branch contains as the objects say.
    Contained,
    /// Feed's strand (u32), other strand (u32) → highest seq (u64) of the first that an event of the second names.
    Named,
    /// One row each, by name: `state`, and `ration` with a member and a day (u32).
    Single,
    /// A tag's name, 0, hlc (u64) and id of the event that tagged it → its place and past, the object, the commit.
    Tags,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Ids,
        Self::Events,
        Self::Strands,
        Self::Governance,
        Self::Pasts,
        Self::Proposals,
        Self::Said,
        Self::Open,
        Self::Tips,
        Self::Lids,
        Self::Landings,
        Self::Above,
        Self::Rests,
        Self::Unsettled,
        Self::Landed,
        Self::Contained,
        Self::Named,
        Self::Single,
        Self::Tags,
    ];
}

/// Bytes of a hash that begin a key.
pub const START: usize = 8;

/// The start of a hash, as it is in keys. Others may have the same, by chance or on purpose.
///
/// # Panics
/// Never: all hashes are longer.
pub fn start(hash: &[u8]) -> [u8; START] {
    *hash.first_chunk().expect("hashes are longer")
}

/// A key of these parts, which have so many bytes together.
///
/// # Panics
/// Where they have more or fewer.
pub fn key<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let (mut key, mut at) = ([0; N], 0);
    for part in parts {
        key[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert_eq!(at, N, "the parts of a key");
    key
}

/// Where an event is held: a strand is a feed, or a branch of one that forked, by a number of this log's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The strand.
    pub strand: u32,
    /// The event's number in its feed.
    pub seq: u64,
}

/// What is durable. Reads cannot fail in their type: a base that could not read says so in [`Base::healthy`], and
/// whatever was worked out since must be thrown away.
pub trait Base: Send + Sync {
    /// One row.
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>>;

    /// Rows from `from` on, ascending, until `each` gives `false`.
    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool);

    /// Rows below `to` (all where it is empty), descending, until `each` gives `false`.
    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool);

    /// One event.
    fn event(&self, place: Place) -> Option<Arc<Event>>;

    /// Was every row read that there is?
    fn healthy(&self) -> bool;
}

/// Changed rows of one table: set (`Some`) or deleted.
type Changed = BTreeMap<Key, Option<Vec<u8>>>;

/// Rows of events, in the order of their keys.
#[derive(Debug, Clone, Default)]
struct Encoded {
    ids: Vec<[u8; START + 12]>,
    events: Vec<([u8; 12], Vec<u8>)>,
}

impl Encoded {
    fn of(places: &HashMap<EventId, EventRow>) -> Self {
        let mut ids: Vec<_> = places.iter().map(|(id, row)| row.id_key(id)).collect();
        let mut events: Vec<_> = places.iter().map(|(id, row)| (row.key(), row.encode(id))).collect();
        ids.sort_unstable();
        events.sort_unstable_by_key(|(key, _)| *key);
        Self { ids, events }
    }
}

/// What one append writes.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// By table, so that a key is looked up as it is.
    rows: [Changed; Table::ALL.len()],
    /// Rows of events, which are asked for most: as they are, and encoded once they are written.
    places: HashMap<EventId, EventRow>,
    encoded: OnceLock<Encoded>,
    events: HashMap<Place, Arc<Event>>,
    order: Vec<Place>,
}

impl Layer {
    /// Rows to set (`Some`) or delete.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        let Encoded { ids, events } = self.encoded.get_or_init(|| Encoded::of(&self.places));
        let ids = ids.iter().map(|key| (Table::Ids, key.as_slice(), Some([].as_slice())));
        let events = events.iter().map(|(key, value)| (Table::Events, key.as_slice(), Some(value.as_slice())));
        let all = Table::ALL.iter().map(move |table| (table, self.of(*table)));
        let others =
            all.flat_map(|(table, rows)| rows.iter().map(|(key, value)| (*table, key.as_slice(), value.as_deref())));
        ids.chain(events).chain(others)
    }

    /// New events with their places, in the order in which they were added.
    pub fn events(&self) -> impl Iterator<Item = (Place, &Arc<Event>)> {
        self.order.iter().filter_map(|place| Some((*place, self.events.get(place)?)))
    }

    /// Does it set the row of this event?
    pub(super) fn has_row_of(&self, id: &EventId) -> bool {
        self.places.contains_key(id)
    }

    /// Nothing to write?
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.places.is_empty() && self.rows.iter().all(BTreeMap::is_empty)
    }

    fn of(&self, table: Table) -> &Changed {
        &self.rows[table as usize]
    }

    fn get(&self, table: Table, key: &Key) -> Option<Option<&[u8]>> {
        self.of(table).get(key).map(Option::as_deref)
    }
}

/// Rows as they are for the state: the base with layers over it. Cheap to clone.
#[derive(Clone)]
pub struct Rows {
    base: Arc<dyn Base>,
    /// Layers on their way to the disk, oldest first.
    under_way: Vec<Arc<Layer>>,
    top: Arc<Layer>,
    /// What became part of the base not long ago: most events speak of recent ones.
    recent: Arc<Recent>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

impl Rows {
    /// Rows over `base`.
    pub fn new(base: Arc<dyn Base>) -> Self {
        Self { base, under_way: Vec::new(), top: Arc::default(), recent: Arc::default() }
    }

    /// Was every row read that there is?
    pub fn healthy(&self) -> bool {
        self.base.healthy()
    }

    fn layers(&self) -> impl Iterator<Item = &Arc<Layer>> {
        std::iter::once(&self.top).chain(self.under_way.iter().rev())
    }

    /// What `read` makes of one row; those of events are asked for by [`EventRow::of`].
    pub fn get<T>(&self, table: Table, key: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let short = Key::from(key);
        for layer in self.layers() {
            if let Some(found) = layer.get(table, &short) {
                return found.and_then(read);
            }
        }
        read(&self.base.get(table, key)?)
    }

    /// Is there such a row?
    pub fn has(&self, table: Table, key: &[u8]) -> bool {
        self.get(table, key, |_| Some(())).is_some()
    }

    fn place(&self, id: &EventId) -> Option<EventRow> {
        self.kept_place(id).or_else(|| EventRow::find_in(&*self.base, id))
    }

    fn kept_place(&self, id: &EventId) -> Option<EventRow> {
        let layered = self.layers().find_map(|layer| layer.places.get(id).copied());
        layered.or_else(|| self.recent.places.get(id))
    }

    /// Sets the row of an event.
    pub fn put_event(&mut self, id: EventId, row: EventRow) {
        let top = Arc::make_mut(&mut self.top);
        top.places.insert(id, row);
        // Another who had this layer may have written it.
        top.encoded.take();
    }

    /// Sets a row, of another table than that of events.
    pub fn put(&mut self, table: Table, key: impl AsRef<[u8]>, value: Vec<u8>) {
        debug_assert!(!matches!(table, Table::Ids | Table::Events), "rows of events are put as they are");
        Arc::make_mut(&mut self.top).rows[table as usize].insert(Key::from(key.as_ref()), Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: Table, key: impl AsRef<[u8]>) {
        Arc::make_mut(&mut self.top).rows[table as usize].insert(Key::from(key.as_ref()), None);
    }

    /// Sets and deletes rows as another layer did, those of events among them.
    #[cfg(test)]
    pub(crate) fn put_again<'a>(&mut self, rows: impl Iterator<Item = Differs<'a>>) {
        let mut starts: HashMap<[u8; 12], [u8; START]> = HashMap::new();
        for (table, key, value) in rows {
            match (table, value) {
                (Table::Ids, _) => {
                    starts.insert(*key.last_chunk().unwrap(), start(key));
                }
                (Table::Events, value) => {
                    let (rest, row) = EventRow::read(key, value.unwrap()).unwrap();
                    let id = [&starts[&row.key()][..], &rest].concat();
                    self.put_event(EventId(id.try_into().unwrap()), row);
                }
                (_, Some(value)) => self.put(table, key, value.to_vec()),
                (_, None) => self.delete(table, key),
            }
        }
    }

    /// Is there anything to append?
    pub fn has_changes(&self) -> bool {
        !self.top.is_empty()
    }

    /// Adds an event.
    pub fn add(&mut self, place: Place, event: Arc<Event>) {
        let top = Arc::make_mut(&mut self.top);
        if top.events.insert(place, event).is_none() {
            top.order.push(place);
        }
    }

    /// The event at a place.
    pub fn event(&self, place: Place) -> Option<Arc<Event>> {
        let layered = self.layers().find_map(|layer| layer.events.get(&place).cloned());
        let kept = layered.or_else(|| self.recent.events.get(&place));
        kept.or_else(|| self.base.event(place))
    }

    /// Rows from `from` on, ascending, until `each` gives `false`.
    pub fn scan(&self, table: Table, from: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) {
        self.ascend(table, from, &[], each);
    }

    /// Rows whose key begins with `prefix`, ascending, until `each` gives `false`.
    pub fn scan_prefix(&self, table: Table, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        self.ascend(table, prefix, &end_of(prefix), |key, value| key.starts_with(prefix) && each(key, value));
    }

    /// Rows below `to` (all where it is empty), descending, until `each` gives `false`.
    pub fn scan_back(&self, table: Table, to: &[u8], each: impl FnMut(&[u8], &[u8]) -> bool) {
        self.descend(table, &[], to, each);
    }

    /// Is there a row whose key begins with `prefix`?
    pub fn has_prefix(&self, table: Table, prefix: &[u8]) -> bool {
        let layered = self.over(table, prefix, &end_of(prefix)).iter().any(|(_, row)| row.is_some());
        let mut found = layered;
        if !layered {
            self.scan_prefix(table, prefix, |_, _| {
                found = true;
                false
            });
        }
        found
    }

    /// Rows whose key begins with `prefix`, descending, until `each` gives `false`.
    pub fn scan_prefix_back(&self, table: Table, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        self.descend(table, prefix, &end_of(prefix), |key, value| key.starts_with(prefix) && each(key, value));
    }

    fn ascend(&self, table: Table, from: &[u8], to: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        merge::ascend(&*self.base, table, from, self.over(table, from, to).into_iter(), &mut each);
    }

    fn descend(&self, table: Table, from: &[u8], to: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) {
        merge::descend(&*self.base, table, to, self.over(table, from, to).into_iter().rev(), &mut each);
    }

    /// What layers changed of one table, from a key on and below another (to the end where that is empty); of two
    /// changes the later counts.
    fn over(&self, table: Table, from: &[u8], to: &[u8]) -> Vec<(&[u8], Option<&[u8]>)> {
        let (from, to) = (Key::from(from), Key::from(to));
        let end = if to.as_slice().is_empty() { Bound::Unbounded } else { Bound::Excluded(&to) };
        let mut over = Vec::new();
        let mut layers = 0;
        // The latest first, so that it is the first of equal keys after sorting.
        for layer in self.layers() {
            let before = over.len();
            let rows = layer.of(table).range((Bound::Included(&from), end));
            over.extend(rows.map(|(key, value)| (key.as_slice(), value.as_deref())));
            layers += usize::from(over.len() > before);
        }
        if layers > 1 {
            over.sort_by_key(|(key, _)| *key);
            over.dedup_by_key(|(key, _)| *key);
        }
        over
    }

    /// Takes what is to be appended; it is read through this still. `None` where there is nothing.
    pub fn begin_append(&mut self) -> Option<Arc<Layer>> {
        if self.top.is_empty() {
            return None;
        }
        let layer = std::mem::take(&mut self.top);
        self.under_way.push(layer.clone());
        Some(layer)
    }

    /// The oldest layer under way is part of `base` now.
    pub fn appended(&mut self, base: Arc<dyn Base>) {
        if !self.under_way.is_empty() {
            let layer = self.under_way.remove(0);
            Arc::make_mut(&mut self.recent).add(&layer);
        }
        self.base = base;
    }
}

/// The first key after all that begin with `prefix`; empty where there is none.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}
