//! What was written not long ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::{EventRow, Layer, Place};
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

impl Recent {
    /// A layer became part of the base: what came last is kept, and what was kept is as the layer has it.
    pub(super) fn add(&mut self, layer: &Layer) {
        let count = layer.order.len();
        for place in &layer.order[count.saturating_sub(2 * RECENT_EVENTS)..] {
            if let Some(event) = layer.events.get(place) {
                self.events.put(*place, event.clone());
            }
        }
        if layer.places.len() > count {
            // Rows of earlier events changed.
            for (id, row) in &layer.places {
                self.places.put(*id, *row);
            }
        }
        for place in &layer.order[count.saturating_sub(2 * RECENT_PLACES)..] {
            let id = layer.events.get(place).map(|event| event.id());
            if let Some((id, row)) = id.and_then(|id| Some((id, layer.places.get(&id)?))) {
                self.places.put(id, *row);
            }
        }
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
