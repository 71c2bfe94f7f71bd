//! Rows beside the events: what the state keeps of each, in tables that are written in the event's own transaction.
//!
//! The state reads through [`Rows`]: layers of changes that are not durable yet over a [`Base`] that is. One layer is
//! one append. All numbers in keys are big-endian, so that the order of bytes is that of the numbers.

mod memory;
mod merge;
mod recent;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use memory::{Differs, Memory};
pub(crate) use recent::Kept;
use recent::Recent;

use super::Event;
use crate::id::EventId;

/// A table of the state. The comments give key and value; values are postcard where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Event id → `EventRow`: where it is, and what it knew.
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
    /// Commit's bytes, revision's strand (u32), seq (u64) → proposal number.
    Tips,
    /// Landing id → `LandingRow`.
    Landings,
    /// Landing id, id of a landing on it → empty.
    Above,
    /// First 16 bytes of an approval's id, landing id → empty: landings that name the approval.
    Rests,
    /// hlc (u64) of a landing's first carrier, landing id → empty: landings to recompute from the objects.
    Unsettled,
    /// Branch number (u8), commit's bytes, first 16 bytes of a landing's id (zeros: the objects say so) → empty: what a
    /// canonical branch contains.
    Landed,
    /// Feed's strand (u32), other strand (u32) → highest seq (u64) of the first that an event of the second names.
    Named,
    /// One row each, by name: `state`, and `ration` with a member and a day (u32).
    Single,
    /// A tag's name, 0, hlc (u64) and id of the event that tagged it → its place and past, the object, the commit.
    Tags,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Events,
        Self::Strands,
        Self::Governance,
        Self::Pasts,
        Self::Proposals,
        Self::Said,
        Self::Open,
        Self::Tips,
        Self::Landings,
        Self::Above,
        Self::Rests,
        Self::Unsettled,
        Self::Landed,
        Self::Named,
        Self::Single,
        Self::Tags,
    ];
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
type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What one append writes.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// By table, so that a key is looked up as it is.
    rows: [Changed; Table::ALL.len()],
    /// Rows of events, which are asked for most: as they are, and encoded once they are written.
    places: HashMap<EventId, EventRow>,
    encoded: OnceLock<Changed>,
    events: HashMap<Place, Arc<Event>>,
    order: Vec<Place>,
}

impl Layer {
    /// Rows to set (`Some`) or delete.
    pub fn rows(&self) -> impl Iterator<Item = (Table, &[u8], Option<&[u8]>)> {
        let of = |table: Table| if table == Table::Events { self.encoded() } else { self.of(table) };
        let all = Table::ALL.iter().map(move |table| (table, of(*table)));
        all.flat_map(|(table, rows)| rows.iter().map(|(key, value)| (*table, key.as_slice(), value.as_deref())))
    }

    /// New events with their places, in the order in which they were added.
    pub fn events(&self) -> impl Iterator<Item = (Place, &Arc<Event>)> {
        self.order.iter().filter_map(|place| Some((*place, self.events.get(place)?)))
    }

    /// Nothing to write?
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.places.is_empty() && self.rows.iter().all(BTreeMap::is_empty)
    }

    fn encoded(&self) -> &Changed {
        let encode = |(id, row): (&EventId, &EventRow)| (id.0.to_vec(), Some(crate::codec::encode(row)));
        self.encoded.get_or_init(|| self.places.iter().map(encode).collect())
    }

    fn of(&self, table: Table) -> &Changed {
        &self.rows[table as usize]
    }

    fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
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
        for layer in self.layers() {
            if let Some(found) = layer.get(table, key) {
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
        let layered = self.layers().find_map(|layer| layer.places.get(id).copied());
        let kept = layered.or_else(|| self.recent.places.get(id));
        kept.or_else(|| postcard::from_bytes(&self.base.get(Table::Events, &id.0)?).ok())
    }

    /// Sets the row of an event.
    pub fn put_event(&mut self, id: EventId, row: EventRow) {
        Arc::make_mut(&mut self.top).places.insert(id, row);
    }

    /// Sets a row, of another table than that of events.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        debug_assert_ne!(table, Table::Events, "its rows are put as they are");
        Arc::make_mut(&mut self.top).rows[table as usize].insert(key, Some(value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        Arc::make_mut(&mut self.top).rows[table as usize].insert(key, None);
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
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let mut over = Vec::new();
        let mut layers = 0;
        // The latest first, so that it is the first of equal keys after sorting.
        for layer in self.layers() {
            let before = over.len();
            let rows = layer.of(table).range::<[u8], _>((Bound::Included(from), end));
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
            let recent = Arc::make_mut(&mut self.recent);
            for (id, row) in &layer.places {
                recent.places.put(*id, *row);
            }
            for (place, event) in layer.events() {
                recent.events.put(place, event.clone());
            }
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

/// What is kept of every event: where it is, and what its author knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Where it is held.
    pub place: Place,
    /// Its time, as bits.
    pub hlc: u64,
    /// Its kind's number.
    pub kind: u16,
    /// The number of the set of governance events in its past, itself included if it is one.
    pub past: u32,
    /// Bits: see `approval`.
    pub flags: u8,
    /// The proposal that it speaks of, by number; 0 where it speaks of none.
    pub about: u32,
    /// What it has seen of feeds that forked, by number; 0 is nothing.
    pub sight: u32,
}

impl EventRow {
    /// The row of an event, if it is held.
    pub fn of(rows: &Rows, id: &EventId) -> Option<Self> {
        rows.place(id)
    }
}
