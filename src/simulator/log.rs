//! A log on a simulated disk: it survives a crash, and holds what its node was told is durable.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, RwLock};

use crate::eventlog::rows::{Base, Layer, Memory, Place, Table};
use crate::eventlog::{Durable, Event, FrontierEntry, Lacking};

/// Bytes to the event that they are, if they are one.
type Read = HashMap<Vec<u8>, Option<Arc<Event>>>;

/// What bytes were found to be, for all nodes of a run together: each is decoded and verified once.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire(Rc<RefCell<Read>>);

impl Wire {
    /// The event that these bytes are, if they are one.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Arc<Event>> {
        if let Some(known) = self.0.borrow().get(bytes) {
            return known.clone();
        }
        let event = Event::decode(bytes).ok().map(Arc::new);
        self.0.borrow_mut().insert(bytes.to_vec(), event.clone());
        event
    }

    /// An event that was just signed.
    pub(super) fn wrote(&self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        self.0.borrow_mut().insert(event.bytes().to_vec(), Some(event.clone()));
        event
    }
}

/// What is on the disk of one node: events in the order in which they became durable, and the state's rows.
#[derive(Debug, Default)]
pub(super) struct Log {
    strands: BTreeMap<u32, BTreeMap<u64, Arc<Event>>>,
    order: Vec<Arc<Event>>,
    told: BTreeSet<FrontierEntry>,
    rows: Arc<Disk>,
}

/// Rows that change in place: what a layer says is the same before it is durable and after.
#[derive(Debug, Default)]
pub(super) struct Disk(RwLock<Memory>);

impl Disk {
    fn memory(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        self.0.read().unwrap()
    }
}

impl Base for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.memory().get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.memory().scan(table, from, each);
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.memory().scan_back(table, to, each);
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.memory().event(place)
    }

    fn healthy(&self) -> bool {
        true
    }
}

impl Log {
    /// What the state wrote is durable: gives the events, with their strands.
    pub(super) fn append(&mut self, layer: &Layer) -> Vec<(u32, Arc<Event>)> {
        self.rows.0.write().unwrap().append(layer);
        let events: Vec<_> = layer.events().map(|(place, event)| (place.strand, event.clone())).collect();
        self.add(&events);
        events
    }

    /// Holds events without a state.
    pub(super) fn add(&mut self, events: &[(u32, Arc<Event>)]) {
        for (strand, event) in events {
            self.strands.entry(*strand).or_default().insert(event.body().seq, event.clone());
            self.told.insert(FrontierEntry::of(event));
            self.order.push(event.clone());
        }
    }

    pub(super) fn rows(&self) -> Arc<Disk> {
        self.rows.clone()
    }

    pub(super) fn order(&self) -> &[Arc<Event>] {
        &self.order
    }

    /// Is this event durable?
    pub(super) fn has(&self, entry: &FrontierEntry) -> bool {
        self.told.contains(entry)
    }

    /// As the store gives it: in an order that respects causality, and not too much at once.
    pub(super) fn lacking(&self, lacking: &[Lacking], limit: usize) -> Vec<(u32, Durable<Arc<Event>>)> {
        let of_strand = |lack: &Lacking| {
            let strand = self.strands.get(&lack.strand)?;
            Some(strand.range(lack.from..=lack.to).map(|(_, event)| (lack.strand, event)).collect::<Vec<_>>())
        };
        let mut events: Vec<(u32, &Arc<Event>)> = lacking.iter().filter_map(of_strand).flatten().collect();
        events.sort_unstable_by_key(|(_, event)| event.order());
        let mut bytes = 0;
        let fits = |(_, event): &(u32, &Arc<Event>)| {
            let first = bytes == 0;
            bytes += event.bytes().len();
            first || bytes <= limit
        };
        let events = events.into_iter().take_while(fits);
        events.map(|(strand, event)| (strand, Durable::pretended(event.clone()))).collect()
    }
}
