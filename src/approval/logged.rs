//! Which events are part of the log: those up to where their feed is cut off, by a revocation or a fork, and whatever
//! lies in the past of those. The rest is evidence: kept, not forwarded, in no frontier and no digest.
//!
//! Governance events are part of it wherever they stand: both sides of a mutual revocation must be known to all.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::authority::Strand;
use super::check::At;
use super::{Change, State};
use crate::eventlog::rows::{EventRow, Place, Table, key};
use crate::eventlog::{Event, Frontier, Head, Intake};
use crate::id::{EventId, IdentityId, MemberId, PeerId};

impl State {
    /// Gives an event its place; begins a strand where it needs one.
    pub(super) fn place(&mut self, event: &Event, at: At, member: MemberId, identity: IdentityId) -> Place {
        let body = event.body();
        let strand = match at {
            At::Extends(strand) => strand,
            At::Begins | At::Forks(_) => {
                let parent = if let At::Forks(parent) = at { parent } else { None };
                self.authority.strands.add(Strand {
                    feed: body.author,
                    identity,
                    member,
                    parent,
                    from: body.seq,
                    first: event.id(),
                    seq: body.seq,
                    id: event.id(),
                    hlc: body.hlc.bits(),
                    past: 0,
                    intake: Intake::default(),
                    governs: None,
                    began: body.hlc.bits(),
                    cut: None,
                    logged: None,
                    logged_id: event.id(),
                })
            }
        };
        Place { strand, seq: body.seq }
    }

    /// The event is the head of its strand now.
    pub(super) fn advance(&mut self, event: &Event, row: &EventRow) {
        let (id, body, place) = (event.id(), event.body(), row.place);
        for dep in body.deps() {
            self.tips.remove(dep);
            let Some(at) = self.row(dep).map(|row| row.place).filter(|at| at.strand != place.strand) else { continue };
            let (pair, row) = ((at.strand, place.strand), named_key(at.strand, place.strand));
            let known = self.named.get(&pair).or_else(|| self.rows.get(Table::Named, &row, super::stored::decode));
            if known.is_none_or(|known| known < at.seq) {
                self.rows.put(Table::Named, row, super::stored::encode(&at.seq));
                Arc::make_mut(&mut self.named).put(pair, at.seq);
            }
        }
        self.tips.insert(id);
        self.latest = self.latest.max(body.hlc);
        self.events += 1;
        let strand = self.authority.strands.get_mut(place.strand);
        (strand.seq, strand.id, strand.hlc, strand.past) = (body.seq, id, body.hlc.bits(), row.past);
        strand.intake = strand.intake.add(body.hlc, event.bytes().len());
        if body.kind.governs() {
            strand.governs = Some(body.seq);
        }
        if strand.cut.is_none_or(|cut| body.seq < cut) {
            (strand.logged, strand.logged_id) = (Some(body.seq), id);
        }
        let member = strand.member;
        self.dirty.insert(place.strand);
        self.take_ration(&member, body.hlc, event.bytes().len());
    }

    /// Does it name an event past a cut, or stand on a strand that is cut?
    pub(super) fn builds_on_cut(&self, event: &Event) -> bool {
        let cut = |strand: u32| self.authority.strands.get(strand).cut.is_some();
        self.any_cut && event.body().deps().filter_map(|dep| self.row(dep)).any(|row| cut(row.place.strand))
    }

    /// Works out where feeds are cut and how far they are part of the log.
    pub(super) fn relog(&mut self, changes: &mut Vec<Change>) {
        let before: Vec<Option<u64>> = self.authority.strands.iter().map(|(_, strand)| strand.logged).collect();
        let cuts: Vec<Option<u64>> =
            self.authority.strands.iter().map(|(number, strand)| self.cut_of(number, strand)).collect();
        let mut logged: Vec<Option<u64>> = Vec::with_capacity(cuts.len());
        for ((number, strand), cut) in self.authority.strands.iter().zip(&cuts) {
            logged.push(match cut {
                None => Some(strand.seq),
                Some(cut) => self.logged_by_itself(number, strand, *cut),
            });
        }
        // What is in the log anchors what it names, until nothing more is added.
        let cut: Vec<u32> = (0..).zip(&cuts).filter(|(_, cut)| cut.is_some()).map(|(number, _)| number).collect();
        loop {
            let mut grew = false;
            for strand in &cut {
                let anchor = self.anchor(*strand, &cuts, &logged);
                if anchor > logged[*strand as usize] {
                    logged[*strand as usize] = anchor;
                    grew = true;
                }
            }
            if !grew {
                break;
            }
        }
        let count = self.authority.strands.count();
        for number in 0..count {
            let (cut, logged) = (cuts[number as usize], logged[number as usize]);
            let strand = self.authority.strands.get(number);
            if strand.cut == cut && strand.logged == logged {
                continue;
            }
            let id = match logged {
                Some(seq) if seq == strand.seq => Some(strand.id),
                Some(seq) => self.event_at(Place { strand: number, seq }).map(|event| event.id()),
                None => Some(strand.first),
            };
            let strand = self.authority.strands.get_mut(number);
            (strand.cut, strand.logged) = (cut, logged);
            if let Some(id) = id {
                strand.logged_id = id;
            }
            self.dirty.insert(number);
        }
        self.any_cut = !cut.is_empty();
        let after = self.authority.strands.iter().map(|(_, strand)| strand.logged);
        if !after.take(before.len()).eq(before) && !changes.contains(&Change::LogMoved) {
            changes.push(Change::LogMoved);
        }
    }

    /// The first number that is cut off.
    fn cut_of(&self, number: u32, strand: &Strand) -> Option<u64> {
        let forked = self.authority.strands.doubled(&strand.feed);
        let revoked = self.authority.cut_after(number).map(|pin| pin.map_or(0, |pin| pin + 1));
        forked.into_iter().chain(revoked).min()
    }

    /// How far a cut strand is in the log though nobody else names it: up to the cut, its last governance event, and
    /// the two events that prove a fork.
    fn logged_by_itself(&self, number: u32, strand: &Strand, cut: u64) -> Option<u64> {
        let below = cut.checked_sub(1).filter(|seq| *seq >= strand.from).map(|seq| seq.min(strand.seq));
        below.max(strand.governs).max(self.proof_of(number, strand))
    }

    fn proof_of(&self, number: u32, strand: &Strand) -> Option<u64> {
        let doubled = self.authority.strands.doubled(&strand.feed)?;
        let mine = if strand.from == doubled {
            strand.first
        } else if strand.from < doubled && doubled <= strand.seq {
            self.event_at(Place { strand: number, seq: doubled })?.id()
        } else {
            return None;
        };
        self.proofs_of_fork(&strand.feed).contains(&mine).then_some(doubled)
    }

    /// The two events that prove that a feed forked; none where it did not.
    pub(crate) fn proofs_of_fork(&self, feed: &PeerId) -> Vec<EventId> {
        let strands = &self.authority.strands;
        let Some(doubled) = strands.doubled(feed) else { return Vec::new() };
        let mut proofs: Vec<EventId> = Vec::new();
        for number in strands.of_feed(feed) {
            let strand = strands.get(*number);
            if strand.from == doubled {
                proofs.push(strand.first);
            } else if strand.from < doubled && doubled <= strand.seq {
                let place = strands.on(*number, doubled);
                proofs.extend(place.and_then(|place| self.event_at(place)).map(|event| event.id()));
            }
        }
        proofs.sort_unstable();
        proofs.dedup();
        proofs.truncate(2);
        proofs
    }

    /// The highest number of a cut strand that an event of the log on another strand names.
    fn anchor(&self, strand: u32, cuts: &[Option<u64>], logged: &[Option<u64>]) -> Option<u64> {
        let mut best = logged[strand as usize];
        let mut named: Vec<(u32, u64)> = Vec::new();
        self.rows.scan_prefix(Table::Named, &strand.to_be_bytes(), |key, value| {
            let by = key[4..].try_into().ok().map(u32::from_be_bytes);
            named.extend(by.zip(super::stored::decode::<u64>(value)));
            true
        });
        for (by, seq) in named {
            if best.is_some_and(|best| best >= seq) {
                continue;
            }
            let whole = cuts[by as usize].is_none() || logged[by as usize] == Some(self.authority.strands.get(by).seq);
            if whole {
                best = best.max(Some(seq));
            } else if let Some(to) = logged[by as usize] {
                best = best.max(self.named_up_to(strand, by, to));
            }
        }
        // A branch of it that is in the log has its beginning in the log.
        let branches = self.authority.strands.iter().filter(|(_, branch)| branch.parent == Some(strand));
        for (number, branch) in branches {
            if logged[number as usize].is_some() {
                best = best.max(branch.from.checked_sub(1));
            }
        }
        best
    }

    /// The highest number of `strand` that events of `by` up to `to` name.
    fn named_up_to(&self, strand: u32, by: u32, to: u64) -> Option<u64> {
        let from = self.authority.strands.get(by).from;
        let named = |seq| {
            let event = self.event_at(Place { strand: by, seq })?;
            let places = event.body().deps().filter_map(|dep| self.row(dep)).map(|row| row.place);
            places.filter(|place| place.strand == strand).map(|place| place.seq).max()
        };
        (from..=to).filter_map(named).max()
    }

    /// How far each feed is part of the log.
    pub fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::default();
        for (number, strand) in self.authority.strands.iter() {
            if let Some(seq) = strand.logged {
                frontier.set(number, strand.feed, Head { seq, id: strand.logged_id });
            }
        }
        frontier
    }

    /// Is this event part of the log?
    pub fn is_logged(&self, id: &EventId) -> bool {
        let Some(place) = self.row(id).map(|row| row.place) else { return false };
        self.authority.strands.get(place.strand).logged.is_some_and(|logged| place.seq <= logged)
    }

    /// The place of an event that is held.
    pub fn place_of(&self, id: &EventId) -> Option<Place> {
        self.row(id).map(|row| row.place)
    }

    /// Is `place` in the past of whoever names `deps`? Only what is later than it is walked through.
    pub(super) fn is_before<'a>(&self, place: Place, deps: impl Iterator<Item = &'a EventId>) -> bool {
        let Some(bound) = self.event_at(place).map(|event| event.body().hlc.bits()) else { return false };
        self.walk_back(deps, bound, |row| self.authority.strands.on_chain(place, row.place))
    }

    /// Walks back from `deps` through all that is not before `bound`, until `found`.
    pub(super) fn walk_back<'a>(
        &self,
        deps: impl Iterator<Item = &'a EventId>,
        bound: u64,
        mut found: impl FnMut(&EventRow) -> bool,
    ) -> bool {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<EventId> = deps.copied().collect();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            let Some(row) = self.row(&id).filter(|row| row.hlc >= bound) else { continue };
            if found(&row) {
                return true;
            }
            if let Some(event) = self.event_at(row.place) {
                todo.extend(event.body().deps().copied());
            }
        }
        false
    }
}

fn named_key(strand: u32, by: u32) -> [u8; 8] {
    key(&[&strand.to_be_bytes(), &by.to_be_bytes()])
}
