//! What one who was removed may still hand in, and is told: the events that decide about it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::eventlog::rows::Place;
use crate::eventlog::{Frontier, Head, Target};
use crate::id::{EventId, IdentityId, PeerId};

impl State {
    /// Was this clone a member's, and is it none any more by a revocation that counts? Such a one is given a hearing.
    pub fn is_removed(&self, identity: &IdentityId, feed: &PeerId) -> bool {
        !self.is_welcome(identity, feed) && self.removal(identity, feed).is_some()
    }

    /// The events that decide whether these clones are members': what gave them rights and what takes them, the votes on
    /// that, whatever revocation cuts one of these off, and the proofs where a feed that wrote one of them forked.
    pub fn bearing_on(&self, clones: &[(IdentityId, PeerId)]) -> Vec<EventId> {
        let of = |(identity, feed): &(IdentityId, PeerId)| {
            let owner = self.owner_of_identity(identity).map(Target::Member);
            owner.into_iter().chain([Target::Identity(*identity), Target::Feed(*feed)])
        };
        let targets: Vec<Target> = clones.iter().flat_map(of).collect();
        let deciding = self.authority.deciding(&targets, clones);
        let bearing: Vec<_> = deciding.iter().map(|gov| self.authority.get(gov)).collect();
        let forked = bearing.iter().filter(|entry| !self.authority.counts(entry.place));
        let feeds: BTreeSet<PeerId> = forked.map(|entry| entry.feed).collect();
        let proofs = feeds.iter().flat_map(|feed| self.proofs_of_fork(feed));
        bearing.iter().map(|entry| entry.id).chain(proofs).collect()
    }

    /// These events with all that is in their past, as far along each strand. Reads each event of it: to be asked beside
    /// the loop. `None` where the log cannot be read.
    pub fn past_of(&self, events: &[EventId]) -> Option<Frontier> {
        let strands = &self.authority.strands;
        // How far each strand is needed, and up to where its events were looked at.
        let mut needed: BTreeMap<u32, u64> = BTreeMap::new();
        let mut looked: BTreeMap<u32, u64> = BTreeMap::new();
        let mut todo = Vec::new();
        let need = |place: Place, needed: &mut BTreeMap<u32, u64>, todo: &mut Vec<u32>| {
            let to = needed.get(&place.strand).copied();
            if to.is_none_or(|to| to < place.seq) {
                needed.insert(place.strand, place.seq);
                todo.push(place.strand);
            }
        };
        for id in events {
            need(self.row(id)?.place, &mut needed, &mut todo);
        }
        while let Some(number) = todo.pop() {
            let strand = strands.get(number);
            let from = looked.get(&number).map_or(strand.from, |seq| seq + 1);
            let to = needed[&number];
            for seq in from..=to {
                let event = self.event_at(Place { strand: number, seq })?;
                for dep in event.body().deps() {
                    need(self.row(dep)?.place, &mut needed, &mut todo);
                }
            }
            looked.insert(number, to.max(from.saturating_sub(1)));
        }
        let mut past = Frontier::default();
        for (number, seq) in needed {
            let id = self.event_at(Place { strand: number, seq })?.id();
            past.set(number, strands.get(number).feed, Head { seq, id });
        }
        Some(past)
    }
}
