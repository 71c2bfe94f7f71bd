//! A base in memory.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use super::key::Key;
use super::{Base, Changed, Layer, Place, Table, merge};
use crate::eventlog::Event;

/// A row in which two states differ: its table, its key, and what it holds, if it is there.
pub type Differs<'a> = (Table, &'a [u8], Option<&'a [u8]>);

/// A base in memory, of its own or over another: for the state of a part of a log, and for simulations.
#[derive(Clone, Default)]
pub struct Memory {
    below: Option<Arc<dyn Base>>,
    /// What is not as it is below.
    rows: [Changed; Table::ALL.len()],
    events: HashMap<Place, Arc<Event>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

impl Memory {
    /// As `below` is, with nothing changed yet.
    pub fn over(below: Arc<dyn Base>) -> Self {
        Self { below: Some(below), ..Self::default() }
    }

    /// Takes in what was appended.
    pub fn append(&mut self, layer: &Layer) {
        for (table, key, value) in layer.rows() {
            let rows = &mut self.rows[table as usize];
            match value {
                Some(value) => rows.insert(key.into(), Some(value.to_vec())),
                None if self.below.is_some() => rows.insert(key.into(), None),
                None => rows.remove(&key.into()),
            };
        }
        self.events.extend(layer.events().map(|(place, event)| (place, event.clone())));
    }

    /// Rows that are set (`Some`), or deleted of those below, by table and key.
    pub fn changed(&self) -> impl Iterator<Item = Differs<'_>> {
        let all = Table::ALL.iter().zip(&self.rows);
        all.flat_map(|(table, rows)| rows.iter().map(|(key, value)| (*table, key.as_slice(), value.as_deref())))
    }

    fn below(&self) -> &dyn Base {
        self.below.as_deref().unwrap_or(&Nothing)
    }

    fn range(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let (from, to) = range;
        let rows = self.rows[table as usize].range((from.map(Key::from), to.map(Key::from)));
        rows.map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

impl Base for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        match self.rows[table as usize].get(&key.into()) {
            Some(changed) => changed.clone(),
            None => self.below().get(table, key),
        }
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let over = self.range(table, (Bound::Included(from), Bound::Unbounded));
        merge::ascend(self.below(), table, from, over, each);
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        merge::descend(self.below(), table, to, self.range(table, (Bound::Unbounded, end)).rev(), each);
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.events.get(&place).cloned().or_else(|| self.below().event(place))
    }

    fn healthy(&self) -> bool {
        self.below().healthy()
    }
}

/// What is below where nothing is.
struct Nothing;

impl Base for Nothing {
    fn get(&self, _: Table, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn scan(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) {}

    fn scan_back(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) {}

    fn event(&self, _: Place) -> Option<Arc<Event>> {
        None
    }

    fn healthy(&self) -> bool {
        true
    }
}
