//! A log on a simulated disk: it survives a crash, and holds what its node was told is durable.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::eventlog::{Durable, Event, Frontier, Head, Lacking};
use crate::id::{EventId, PeerId};

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

/// The events of one node, in the order in which they became durable.
#[derive(Debug, Default)]
pub(super) struct Log {
    feeds: BTreeMap<PeerId, BTreeMap<u64, Arc<Event>>>,
    order: Vec<Arc<Event>>,
    ids: HashMap<EventId, Arc<Event>>,
}

impl Log {
    pub(super) fn append(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let body = event.body();
            self.feeds.entry(body.author).or_default().insert(body.seq, event.clone());
            self.ids.insert(event.id(), event.clone());
            self.order.push(event.clone());
        }
    }

    pub(super) fn order(&self) -> &[Arc<Event>] {
        &self.order
    }

    pub(super) fn event(&self, id: &EventId) -> Option<&Arc<Event>> {
        self.ids.get(id)
    }

    pub(super) fn has(&self, feed: &PeerId, seq: u64) -> bool {
        self.feeds.get(feed).is_some_and(|feed| feed.contains_key(&seq))
    }

    pub(super) fn feeds(&self) -> impl Iterator<Item = (&PeerId, &BTreeMap<u64, Arc<Event>>)> {
        self.feeds.iter()
    }

    pub(super) fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::default();
        for event in &self.order {
            frontier.advance(event.body().author, Head { seq: event.body().seq, id: event.id() });
        }
        frontier
    }

    /// As the store gives it: in an order that respects causality, and not too much at once.
    pub(super) fn lacking(&self, lacking: &[Lacking], limit: usize) -> Vec<Durable<Event>> {
        let of_feed = |lack: &Lacking| self.feeds.get(&lack.feed).map(|feed| feed.range(lack.from..=lack.to));
        let mut events: Vec<&Arc<Event>> =
            lacking.iter().filter_map(of_feed).flatten().map(|(_, event)| event).collect();
        events.sort_unstable_by_key(|event| event.order());
        let mut bytes = 0;
        let fits = |event: &&Arc<Event>| {
            let first = bytes == 0;
            bytes += event.bytes().len();
            first || bytes <= limit
        };
        let events = events.into_iter().take_while(fits);
        events.map(|event| Durable::pretended(Event::clone(event))).collect()
    }
}
