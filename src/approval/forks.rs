//! Forks of feeds: who built on which branch before knowing.
//!
//! A fork freezes a key and voids nothing that others built on: an event at or after the first doubled number counts if
//! another member's event has it in its past and knew of one branch only. With each event is kept, by number, how far it
//! had seen each strand of a forked feed past that number; such sets are few, as a frozen feed grows no more.

use std::collections::{BTreeMap, HashMap};

use super::State;
use crate::eventlog::Event;
use crate::eventlog::rows::{EventRow, Place};
use crate::id::{EventId, PeerId};

/// Strand of a forked feed to the highest number on it that an event has in its past, itself included.
pub(super) type Seen = BTreeMap<u32, u64>;

/// All that events have seen of forked feeds, by number; 0 is nothing.
#[derive(Debug, Clone)]
pub(super) struct Sights {
    all: Vec<Seen>,
    numbers: HashMap<Seen, u32>,
}

impl Default for Sights {
    fn default() -> Self {
        Self::open(vec![Seen::new()])
    }
}

impl Sights {
    pub(super) fn open(all: Vec<Seen>) -> Self {
        let numbers = (0..).zip(&all).map(|(number, seen)| (seen.clone(), number)).collect();
        Self { all, numbers }
    }

    pub(super) fn all(&self) -> &[Seen] {
        &self.all
    }

    fn get(&self, number: u32) -> &Seen {
        &self.all[number as usize]
    }

    fn intern(&mut self, seen: Seen) -> u32 {
        if let Some(number) = self.numbers.get(&seen) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.numbers.insert(seen.clone(), number);
        self.all.push(seen);
        number
    }
}

impl State {
    pub(super) fn is_forked(&self, feed: &PeerId) -> bool {
        self.authority.strands.of_feed(feed).len() > 1
    }

    /// What an event has seen of forked feeds, itself left aside.
    fn seen_by(&self, event: &Event) -> Seen {
        let mut seen = Seen::new();
        for row in event.body().deps().filter_map(|dep| self.row(dep)).filter(|row| row.sight > 0) {
            for (strand, seq) in self.sights.get(row.sight) {
                let top = seen.entry(*strand).or_insert(*seq);
                *top = (*seq).max(*top);
            }
        }
        seen
    }

    /// Takes note of what a new event has seen of forked feeds. `true` where more of them counts for it.
    pub(super) fn sight(&mut self, event: &Event, row: &mut EventRow) -> bool {
        if !self.authority.strands.any_forked() {
            return false;
        }
        let seen = self.seen_by(event);
        let more = self.witness(row.place, &seen);
        row.sight = self.sight_of(row.place, seen);
        more
    }

    fn sight_of(&mut self, place: Place, mut seen: Seen) -> u32 {
        let strands = &self.authority.strands;
        let doubled = strands.doubled(&strands.get(place.strand).feed);
        if doubled.is_some_and(|doubled| place.seq >= doubled) {
            seen.insert(place.strand, place.seq);
        }
        self.sights.intern(seen)
    }

    /// What an event at `place` saw of forked feeds of other members counts, where it knew of one branch only.
    fn witness(&mut self, place: Place, seen: &Seen) -> bool {
        let strands = &self.authority.strands;
        let by = strands.get(place.strand);
        if strands.doubled(&by.feed).is_some_and(|own| place.seq >= own) {
            // Its own feed forked: anybody may have made it.
            return false;
        }
        let mut by_feed: BTreeMap<PeerId, Seen> = BTreeMap::new();
        for (strand, seq) in seen.iter().filter(|(strand, _)| strands.get(**strand).member != by.member) {
            by_feed.entry(strands.get(*strand).feed).or_default().insert(*strand, *seq);
        }
        let mut more = false;
        let witnessed: Vec<Seen> = by_feed.into_values().filter(|tops| self.is_one_chain(tops)).collect();
        for (strand, seq) in witnessed.into_iter().flatten() {
            let known = self.authority.witnessed.entry(strand).or_insert(0);
            more |= *known < seq;
            *known = seq.max(*known);
        }
        more
    }

    /// Are all these on one chain? Who knew two events of one number is no witness of what came after.
    fn is_one_chain(&self, tops: &Seen) -> bool {
        let strands = &self.authority.strands;
        let places: Vec<Place> = tops.iter().map(|(strand, seq)| Place { strand: *strand, seq: *seq }).collect();
        let related = |a: &Place, b: &Place| strands.on_chain(*a, *b) || strands.on_chain(*b, *a);
        places.iter().all(|a| places.iter().all(|b| related(a, b)))
    }

    /// After a fork was found: works out anew what all events since have seen, and what others built on.
    pub(super) fn rewitness(&mut self) {
        self.authority.witnessed.clear();
        self.sights = Sights::default();
        let strands = &self.authority.strands;
        let forked: Vec<PeerId> = strands.feeds().filter(|feed| self.is_forked(feed)).copied().collect();
        let first = |feed: &PeerId| {
            let doubled = strands.doubled(feed)?;
            let events = strands.of_feed(feed).iter().filter_map(|strand| self.event_at(strands.on(*strand, doubled)?));
            events.map(|event| event.body().hlc.bits()).min()
        };
        let Some(bound) = forked.iter().filter_map(first).min() else { return };
        let mut later: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
        self.walk_back(self.tips.iter(), bound, |row| {
            later.entry(row.hlc).or_default().push(row.place);
            false
        });
        // Forward in time: each event after those that it names.
        for place in later.into_values().flatten() {
            let Some(event) = self.event_at(place) else { continue };
            let id: EventId = event.id();
            let Some(mut row) = self.row(&id) else { continue };
            let seen = self.seen_by(&event);
            self.witness(place, &seen);
            row.sight = self.sight_of(place, seen);
            self.rows.put_event(id, row);
        }
    }
}
