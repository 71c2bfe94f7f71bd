//! Is a landing allowed: by its own past, for ever, and under a set of accepted revocations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Carrier, LandingRow, State};
use crate::approval::authority::{Demands, Judge, Past, Set, View};
use crate::eventlog::rows::{EventRow, Place};
use crate::eventlog::{Approve, Land, Payload};
use crate::id::{EventId, Lid, MemberId};

/// Answers of one judge about landing events, kept while it is asked.
type Known = BTreeMap<Place, bool>;

/// A landing event with what its author knew.
pub(super) struct Carried<'a> {
    pub(super) land: &'a Land,
    pub(super) refs: &'a [EventId],
    pub(super) row: EventRow,
}

impl State {
    /// Does its own past allow it? Never changes.
    pub(super) fn enters(&self, carried: &Carried<'_>) -> bool {
        let view = self.authority.view(Past(carried.row.past));
        let judge = self.authority.judge_of(&view.accepted);
        // Only a policy raises the rules: nobody alone can land what the others cannot judge.
        carried.land.rules == view.demands.rules
            && self.is_ok_under(carried, &judge)
            && self.guard(&carried.land.heads, carried.land.is_join(), &view)
    }

    /// Would it be ok if there were no revocations? Never changes.
    pub(super) fn is_clear(&self, carried: &Carried<'_>) -> bool {
        let judge = self.authority.judge_of(&Set::default());
        self.is_ok_with(carried, &judge, |carrier| carrier.clear)
    }

    /// Is it ok under what holds now, what it is on being known?
    pub(super) fn is_ok_now(&self, carried: &Carried<'_>) -> bool {
        self.is_ok_with(carried, self.authority.judge(), |carrier| carrier.ok)
    }

    /// `ok(L, acc)`: it is allowed, and each landing that it is on is ok too, or was shown to those who approved.
    fn is_ok_with(&self, carried: &Carried<'_>, judge: &Judge, ok: impl Fn(&Carrier) -> bool) -> bool {
        self.base(carried, judge)
            && carried.land.heads.iter().all(|head| {
                self.named(carried, head).iter().any(&ok)
                    || (!carried.land.is_join() && self.is_met(carried, judge, Some(head)))
            })
    }

    /// The events that carry `head`, of those that a landing names.
    fn named(&self, carried: &Carried<'_>, head: &Lid) -> Vec<Carrier> {
        let Some(row) = self.landing_row(head) else { return Vec::new() };
        if let [only] = row.carriers.as_slice() {
            return vec![*only];
        }
        let places = carried.refs.iter().filter_map(|id| self.place_of(id));
        places.filter_map(|place| row.carrier_at(place).copied()).collect()
    }

    /// `base(L, acc)`: its author may, and its approvals fulfil the policy that it knew. Revocations that its author
    /// had seen do not count: whoever saw it landed reverts it.
    fn base(&self, carried: &Carried<'_>, judge: &Judge) -> bool {
        let past = self.authority.pasts.set(Past(carried.row.past));
        let unseen = self.authority.unseen(judge, past);
        let live = unseen.live(&self.authority, &self.deed(&carried.row));
        live && (carried.land.is_join() || self.is_met(carried, judge, None))
    }

    fn is_met(&self, carried: &Carried<'_>, judge: &Judge, head: Option<&Lid>) -> bool {
        let view = self.authority.view(Past(carried.row.past));
        self.is_met_by(carried, judge, head, &view, view.demands)
    }

    /// `met(L, P, acc, h)`: approvals of its tip, by maintainers in its own view, live under revocations that it had
    /// not seen, fulfil `demands`.
    fn is_met_by(
        &self,
        carried: &Carried<'_>,
        judge: &Judge,
        head: Option<&Lid>,
        view: &View,
        demands: Demands,
    ) -> bool {
        let Some(revision) = carried.land.revision.and_then(|id| self.event(&id)) else { return false };
        let Payload::Propose(propose) = revision.payload() else { return false };
        if propose.target != carried.land.branch {
            return false;
        }
        let owner = self.row(&revision.id()).map(|row| self.authority.strands.get(row.place.strand).member);
        let past = self.authority.pasts.set(Past(carried.row.past));
        let unseen = self.authority.unseen(judge, past);
        let mut members: BTreeSet<MemberId> = BTreeSet::new();
        for id in &carried.land.approvals {
            let (Some(row), Some(event)) = (self.row(id), self.event(id)) else { return false };
            let Payload::Approve(approve) = event.payload() else { return false };
            let member = self.authority.strands.get(row.place.strand).member;
            let counts = row.flags & crate::approval::flags::ADMISSIBLE != 0
                && Some(approve.revision) == carried.land.revision
                && approve.commit == carried.land.tip
                && (demands.own_counts || Some(member) != owner)
                && view.is_maintainer(&self.authority, &member)
                && unseen.live(&self.authority, &self.deed(&row))
                && head.is_none_or(|head| self.covers(approve, head));
            if counts {
                members.insert(member);
            }
        }
        members.len() >= demands.approvals_of(view.maintainers(&self.authority))
    }

    /// Was the approver shown this landing, or one above it?
    fn covers(&self, approve: &Approve, head: &Lid) -> bool {
        approve.onto.iter().any(|shown| shown == head || self.is_below(head, shown))
    }

    /// `ok(L, acc)` for revocations that need not be those that hold now.
    fn is_ok_under(&self, carried: &Carried<'_>, judge: &Judge) -> bool {
        if self.authority.is_now(judge) {
            return self.is_ok_now(carried);
        }
        let bound = self.authority.reaches_back_to(judge);
        let mut known = Known::new();
        // Depth first without recursion: a branch may have any number of landings.
        let mut todo = self.below(carried);
        while let Some(next) = todo.last().copied() {
            if known.contains_key(&next.place) {
                todo.pop();
                continue;
            }
            // No revocation reaches back to it, or to anything in its past.
            let event = self.event_at(next.place).filter(|_| next.hlc > bound);
            let land = event.as_ref().and_then(|event| match event.payload() {
                Payload::Land(land) => Some((land, &event.body().refs, self.row(&event.id())?)),
                _ => None,
            });
            let Some((land, refs, row)) = land else {
                known.insert(next.place, next.clear);
                continue;
            };
            let carried = Carried { land, refs, row };
            let unknown: Vec<Carrier> =
                self.below(&carried).into_iter().filter(|below| !known.contains_key(&below.place)).collect();
            if unknown.is_empty() {
                let ok = self.is_ok_with(&carried, judge, |below| known.get(&below.place) == Some(&true));
                known.insert(next.place, ok);
            } else {
                todo.extend(unknown);
            }
        }
        self.is_ok_with(carried, judge, |below| known.get(&below.place) == Some(&true))
    }

    fn below(&self, carried: &Carried<'_>) -> Vec<Carrier> {
        carried.land.heads.iter().flat_map(|head| self.named(carried, head)).collect()
    }

    /// Does `holds` for one of the events that carry it?
    fn each_carrier(&self, row: &LandingRow, holds: impl Fn(&Carried<'_>) -> bool) -> bool {
        row.carriers.iter().any(|carrier| {
            let Some(event) = self.event_at(carrier.place) else { return false };
            match event.payload() {
                Payload::Genesis(_) => true,
                Payload::Land(land) => {
                    let row = self.row(&event.id());
                    row.is_some_and(|row| holds(&Carried { land, refs: &event.body().refs, row }))
                }
                _ => false,
            }
        })
    }

    /// `guard(L)`: what a join brings in fulfils the policy that the join knew.
    fn guard(&self, heads: &[Lid], is_join: bool, view: &View) -> bool {
        if !is_join {
            return true;
        }
        let judge = self.authority.judge_of(&view.accepted);
        self.brought_in(heads).iter().all(|lid| {
            let Some(row) = self.landing_row(lid) else { return false };
            self.each_carrier(&row, |carried| {
                let own = self.authority.view(Past(carried.row.past));
                carried.land.is_join() || self.is_met_by(carried, &judge, None, &own, view.demands)
            })
        })
    }

    /// Landings under some of the heads and not under all, without joins.
    fn brought_in(&self, heads: &[Lid]) -> BTreeSet<Lid> {
        let mut under: BTreeMap<(u64, Lid), BTreeSet<usize>> = BTreeMap::new();
        for (at, head) in heads.iter().enumerate() {
            if let Some(row) = self.landing_row(head) {
                under.entry((row.hlc, *head)).or_default().insert(at);
            }
        }
        let mut partly = BTreeSet::new();
        // Latest first: when one comes up, all above it have been.
        while let Some(((_, lid), by)) = under.pop_last() {
            if by.len() == heads.len() {
                // All below is under all heads too; what remains may be under some only.
                if under.values().all(|by| by.len() == heads.len()) {
                    break;
                }
            } else {
                partly.insert(lid);
            }
            let Some(content) = self.landing_row(&lid).and_then(|row| self.content(&row)) else { continue };
            for head in &content.heads {
                if let Some(row) = self.landing_row(head) {
                    under.entry((row.hlc, *head)).or_default().extend(&by);
                }
            }
        }
        partly
    }

    /// May these heads be joined by what holds now?
    pub(super) fn may_join(&self, heads: &[Lid]) -> bool {
        self.guard(heads, true, self.authority.now())
    }

    /// Is `lid` below `above`? Only landings that are not earlier than it are walked through.
    pub(super) fn is_below(&self, lid: &Lid, above: &Lid) -> bool {
        let Some(bound) = self.landing_row(lid).map(|row| row.hlc) else { return false };
        let mut seen = BTreeSet::new();
        let mut todo = vec![*above];
        while let Some(next) = todo.pop() {
            let Some(row) = self.landing_row(&next).filter(|row| row.hlc >= bound) else { continue };
            let Some(content) = self.content(&row) else { continue };
            for head in content.heads {
                if head == *lid {
                    return true;
                }
                if seen.insert(head) {
                    todo.push(head);
                }
            }
        }
        false
    }
}
