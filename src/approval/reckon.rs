//! What changes when authority does: only governance, votes on it and proofs of forks reach back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::authority::{Gov, Past, Pin, Seen, Set};
use super::{Change, State};
use crate::eventlog::rows::Place;
use crate::eventlog::{Event, Kind, Payload, Target};
use crate::id::{EventId, PeerId};

impl State {
    /// Takes in a governance event.
    pub(super) fn govern(&mut self, event: &Event, place: Place, past: Past) -> Gov {
        let (mut pins, mut seen) = (Vec::new(), Seen::default());
        if let Payload::Revoke(revoke) = event.payload() {
            let pin = |id: &EventId| self.row(id).map(|row| Pin { place: row.place, hlc: row.hlc });
            pins = revoke.pins.iter().filter_map(pin).collect();
            seen.complete = self.is_complete(event, &revoke.targets, &pins);
            seen.from = self.reaches_back_to(&revoke.targets, &pins);
            let mut tops: BTreeMap<u32, u64> = BTreeMap::new();
            self.walk_back(event.body().deps(), seen.from, |row| {
                let top = tops.entry(row.place.strand).or_insert(row.place.seq);
                *top = row.place.seq.max(*top);
                false
            });
            seen.tops = tops.into_iter().map(|(strand, seq)| Place { strand, seq }).collect();
            seen.known = revoke.targets.iter().all(|target| self.is_known(event, target));
        }
        let gov = self.authority.add(event, place, past, pins.clone(), seen.clone());
        self.put_governance(gov, place, past, pins, seen);
        gov
    }

    /// The time of the earliest pin of a revocation, or before the beginning of a feed that it does not pin.
    fn reaches_back_to(&self, targets: &[Target], pins: &[Pin]) -> u64 {
        let mut earliest = u64::MAX;
        for (number, strand) in self.authority.strands.iter() {
            let own = [Target::Member(strand.member), Target::Identity(strand.identity), Target::Feed(strand.feed)];
            if own.iter().any(|target| targets.contains(target)) {
                let pin = pins.iter().find(|pin| pin.place.strand == number).map(|pin| pin.hlc);
                earliest = earliest.min(pin.unwrap_or(strand.began));
            }
        }
        earliest
    }

    /// Had the author of a revocation seen an event?
    pub(super) fn had_seen(&self, revocation: Gov, place: Place, hlc: u64) -> bool {
        let Some((seen, id)) = self.authority.seen(revocation) else { return false };
        if hlc >= seen.from {
            return seen.tops.iter().any(|top| self.authority.strands.on_chain(place, *top));
        }
        self.event(&id).is_some_and(|event| self.is_before(place, event.body().deps()))
    }

    /// Had a feed that is a target begun, as far as a revocation's author had seen?
    fn is_known(&self, event: &Event, target: &Target) -> bool {
        let Target::Feed(feed) = target else { return true };
        let first = self.authority.strands.of_feed(feed).first();
        first.is_some_and(|strand| self.is_before(Place { strand: *strand, seq: 0 }, event.body().deps()))
    }

    /// Is every event of the targets' feeds in the past of a revocation a pin of it, or below one?
    fn is_complete(&self, event: &Event, targets: &[Target], pins: &[Pin]) -> bool {
        let strands = &self.authority.strands;
        let is_target = |number: u32| {
            let strand = strands.get(number);
            targets.iter().any(|target| match target {
                Target::Member(member) => strand.member == *member,
                Target::Identity(identity) => strand.identity == *identity,
                Target::Feed(feed) => strand.feed == *feed,
            })
        };
        (0..strands.count()).filter(|number| is_target(*number)).all(|number| {
            let strand = strands.get(number);
            let pinned = pins.iter().filter_map(|pin| strands.reach(number, pin.place)).max();
            let next = pinned.map_or(strand.from, |pinned| pinned + 1);
            next > strand.seq || !self.is_before(Place { strand: number, seq: next }, event.body().deps())
        })
    }

    /// Works out what holds now, and what that changes: after a governance event, a fork that was found, or (`forks`)
    /// more of a forked feed that others built on.
    pub(super) fn reckon(&mut self, forked: Option<PeerId>, forks: bool, changes: &mut Vec<Change>) {
        let before = self.held.clone();
        if let Some(feed) = forked {
            self.rewitness();
            changes.push(Change::Forked { feed });
        }
        self.authority.renew();
        self.name_all();
        self.held = Arc::new(Held::of(self));
        let after = self.held.clone();
        if before.accepted != after.accepted {
            let ids = |a: &Set, b: &Set| -> Vec<EventId> {
                a.iter().filter(|gov| !b.has(*gov)).map(|gov| self.authority.get(gov).id).collect()
            };
            changes.push(Change::Revoked {
                accepted: ids(&after.accepted, &before.accepted),
                undone: ids(&before.accepted, &after.accepted),
            });
        }
        let forks = forks || forked.is_some();
        let strands = 0..self.authority.strands.count();
        let known = 0..self.authority.count();
        let reaches_back = forks
            || strands.into_iter().any(|strand| before.cut(strand) != after.cut(strand))
            || known.into_iter().any(|gov| before.is_effective(gov) != after.is_effective(gov));
        if reaches_back {
            self.relog(changes);
            self.reweigh(&before, &after, forks, changes);
        }
        if reaches_back || before.demands != after.demands || before.maintainers != after.maintainers {
            self.weigh_open();
        }
    }

    /// Looks again at all that lies past a cut which moved: proposals, what was said of them, landings and what is on
    /// them.
    fn reweigh(&mut self, before: &Held, after: &Held, forks: bool, changes: &mut Vec<Change>) {
        let mut proposals: BTreeSet<u32> = BTreeSet::new();
        let mut landings: BTreeSet<u32> = BTreeSet::new();
        let only = |these: &Set, others: &Set| these.iter().filter(|gov| !others.has(*gov)).collect::<Vec<Gov>>();
        let turned = [only(&before.accepted, &after.accepted), only(&after.accepted, &before.accepted)].concat();
        for number in 0..self.authority.strands.count() {
            let strand = self.authority.strands.get(number);
            // What is given back to its author later does not bring back what they wrote before: each revocation that
            // turned counts here, whatever else cuts the strand off.
            let moved = turned.iter().filter_map(|gov| self.authority.first_hit(*gov, number)).min();
            let doubled = if forks { self.authority.strands.doubled(&strand.feed) } else { None };
            let mut from = moved.into_iter().chain(doubled).min();
            // Rights may rest on a grant that fell, or stood up again.
            let fell = |gov: Gov| before.is_effective(gov) != after.is_effective(gov);
            if from.is_none() && self.authority.gave(&strand.member, &strand.identity).any(fell) {
                from = Some(strand.from);
            }
            let Some(from) = from.map(|from| from.max(strand.from)) else { continue };
            for seq in from..=strand.seq {
                self.affected(Place { strand: number, seq }, &mut proposals, &mut landings);
            }
        }
        self.reland(landings, &mut proposals, changes);
        for proposal in proposals {
            self.weigh(proposal);
        }
    }

    /// What an event may change if it counts, or no longer does.
    fn affected(&self, place: Place, proposals: &mut BTreeSet<u32>, landings: &mut BTreeSet<u32>) {
        let Some(event) = self.event_at(place) else { return };
        match event.body().kind {
            Kind::LAND => {
                if let Payload::Land(land) = event.payload() {
                    landings.extend(self.landing_number(&land.content().lid(&self.project)));
                }
            }
            Kind::APPROVE | Kind::PROPOSE | Kind::REJECT | Kind::WITHDRAW => {
                if let Some(row) = self.row_at(&event, place).filter(|row| row.about > 0) {
                    proposals.insert(row.about);
                }
                if event.body().kind == Kind::APPROVE {
                    landings.extend(self.resting_on(place));
                }
            }
            _ => {}
        }
    }
}

/// What held at one moment, to see what changed.
#[derive(Debug, Default)]
pub(super) struct Held {
    accepted: Set,
    demands: super::Demands,
    maintainers: usize,
    /// How far each strand counts under revocations.
    cuts: Vec<Option<Option<u64>>>,
    /// Does each governance event have an effect? Empty where nothing was ever revoked or forked.
    effective: Vec<bool>,
}

impl Held {
    pub(super) fn of(state: &State) -> Self {
        let authority = &state.authority;
        let now = authority.now();
        let calm = now.accepted.is_empty() && !authority.strands.any_forked();
        let strands = 0..if calm { 0 } else { authority.strands.count() };
        let all = 0..if calm { 0 } else { authority.count() };
        Self {
            accepted: now.accepted.clone(),
            demands: now.demands,
            maintainers: now.maintainers(authority),
            cuts: strands.map(|number| authority.cut_after(number)).collect(),
            effective: all.map(|gov| authority.judge().effective(authority, gov)).collect(),
        }
    }

    fn cut(&self, strand: u32) -> Option<Option<u64>> {
        self.cuts.get(strand as usize).copied().flatten()
    }

    fn is_effective(&self, gov: Gov) -> bool {
        self.effective.get(gov as usize).copied().unwrap_or(true)
    }
}
