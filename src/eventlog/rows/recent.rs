//! What was written not long ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::{EventRow, Place};
use crate::eventlog::Event;
use crate::id::EventId;

/// Events, and places of events, by what they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) events: Kept<Place, Arc<Event>>,
    pub(super) places: Kept<EventId, EventRow>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { events: Kept::of(RECENT_EVENTS), places: Kept::of(RECENT_PLACES) }
    }
}

/// Half of the events kept in memory, some 1.5 KiB each.
const RECENT_EVENTS: usize = 512;
/// Half of the places of events kept in memory, some 100 bytes each.
const RECENT_PLACES: usize = 4_096;

/// Values by key, in two generations: when one is full the one before it is forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Kept<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Copy, V: Clone> Kept<K, V> {
    /// At most twice `half`.
    pub(crate) fn of(half: usize) -> Self {
        Self { half, young: HashMap::new(), old: HashMap::new() }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.look(key).cloned()
    }

    pub(crate) fn look(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn take(&mut self, key: &K) -> Option<V> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
