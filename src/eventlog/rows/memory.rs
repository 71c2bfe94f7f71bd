//! A base in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::{Base, Layer, Place, Table};
use crate::eventlog::Event;

/// A base in memory: for the state of a part of a log, and for simulations.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    rows: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
    events: HashMap<Place, Arc<Event>>,
}

impl Memory {
    /// Takes in what was appended.
    pub fn append(&mut self, layer: &Layer) {
        for (table, key, value) in layer.rows() {
            let rows = &mut self.rows[table as usize];
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        self.events.extend(layer.events().map(|(place, event)| (place, event.clone())));
    }
}

impl Base for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.rows[table as usize].get(key).cloned()
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let mut rows = self.rows[table as usize].range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        let _ = rows.all(|(key, value)| each(key, value));
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let end = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
        let rows = self.rows[table as usize].range::<[u8], _>((Bound::Unbounded, end));
        let _ = rows.rev().all(|(key, value)| each(key, value));
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.events.get(&place).cloned()
    }

    fn healthy(&self) -> bool {
        true
    }
}
