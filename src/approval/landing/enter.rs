//! Is a landing allowed: by its own past, for ever, and under a set of accepted revocations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Carrier, LandingRow, State};
use crate::approval::authority::{Demands, Judge, Past, Set, View};
use crate::approval::flags::ADMISSIBLE;
use crate::eventlog::rows::{EventRow, Place};
use crate::eventlog::{Approve, Land, Payload};
use crate::id::{EventId, Lid, MemberId};

/// Answers of one judge about landing events, kept while it is asked.
type Known = BTreeMap<Place, bool>;

/// A landing event with what its author knew.
pub(super) struct Carried<'a> {
    pub(super) land: &'a Land,
    pub(super) id: EventId,
    pub(super) row: EventRow,
}

impl State {
    /// Does its own past allow it? Never changes.
    pub(super) fn enters(&self, carried: &Carried<'_>) -> bool {
        let view = self.authority.view(Past(carried.row.past));
        let judge = self.authority.judge_of(&view.accepted);
        // Else a landing on top of a join that did not enter would bring in what its guard kept out.
        let head_entered = |head: &Lid| {
            self.known_carriers(carried, head).iter().any(|carrier| carrier.entered)
                || (!carried.land.is_join() && self.is_met(carried, &judge, Some(head)))
        };
        // Only a policy raises the rules: nobody alone can land what the others cannot judge.
        carried.land.rules == view.demands.rules
            && view.landings_frozen.is_none()
            && self.is_ok_under(carried, &judge)
            && self.guard(&carried.land.heads, carried.land.is_join(), &view, |carrier| self.knows(carried, carrier))
            && carried.land.heads.iter().all(head_entered)
    }

    /// Would it be ok if there were no revocations? Never changes.
    pub(super) fn is_clear(&self, carried: &Carried<'_>) -> bool {
        let judge = self.authority.judge_of(&Set::default());
        let clear = |head: &Lid| self.known_carriers(carried, head).iter().any(|carrier| carrier.clear);
        self.is_ok_with(carried, &judge, clear)
    }

    /// Is it ok under what holds now, what it is on being known?
    pub(super) fn is_ok_now(&self, carried: &Carried<'_>) -> bool {
        let ok = |head: &Lid| self.landing_row(head).is_some_and(|row| row.carriers.iter().any(|carrier| carrier.ok));
        self.is_ok_with(carried, self.authority.judge(), ok)
    }

    /// `ok(L, acc)`: it is allowed, and each landing that it is on is ok too, or was shown to those who approved.
    fn is_ok_with(&self, carried: &Carried<'_>, judge: &Judge, ok: impl Fn(&Lid) -> bool) -> bool {
        let rescued = |head: &Lid| !carried.land.is_join() && self.is_met(carried, judge, Some(head));
        self.base(carried, judge) && carried.land.heads.iter().all(|head| ok(head) || rescued(head))
    }

    /// The events that carry `head`, of those in the past of a landing.
    fn known_carriers(&self, carried: &Carried<'_>, head: &Lid) -> Vec<Carrier> {
        let Some(row) = self.landing_row(head) else { return Vec::new() };
        if let [only] = row.carriers.as_slice() {
            return vec![*only];
        }
        row.carriers.iter().filter(|carrier| self.knows(carried, carrier)).copied().collect()
    }

    fn knows(&self, carried: &Carried<'_>, carrier: &Carrier) -> bool {
        carrier.hlc < carried.row.hlc && self.is_before(carrier.place, std::iter::once(&carried.id))
    }

    /// `base(L, acc)`: its author may, and its approvals fulfil the policy that it knew. Revocations by those who had seen
    /// it do not count: whoever saw it landed reverts it.
    fn base(&self, carried: &Carried<'_>, judge: &Judge) -> bool {
        // With fewer revocations more is live: only where something is missing does it matter who had seen it.
        let live = |judge: &Judge| self.is_live_by(judge, &carried.row);
        (live(judge) || live(&self.unseen(judge, carried)))
            && (carried.land.is_join() || self.is_met(carried, judge, None))
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
        let row = self.row(&revision.id()).filter(|row| row.flags & ADMISSIBLE != 0);
        let Some(row) = row.filter(|_| propose.target == carried.land.branch) else { return false };
        let owner = Some(self.authority.strands.get(row.place.strand).member);
        let need = demands.approvals_of(view.maintainers(&self.authority));
        self.approvers_of(carried, judge, head, view, demands, owner).len() >= need
            || self.approvers_of(carried, &self.unseen(judge, carried), head, view, demands, owner).len() >= need
    }

    /// `unseen(L, acc)`: a judge by the revocations whose authors had not seen a landing.
    fn unseen(&self, judge: &Judge, carried: &Carried<'_>) -> Judge {
        judge.without(|revocation| self.had_seen(revocation, carried.row.place, carried.row.hlc))
    }

    fn approvers_of(
        &self,
        carried: &Carried<'_>,
        judge: &Judge,
        head: Option<&Lid>,
        view: &View,
        demands: Demands,
        owner: Option<MemberId>,
    ) -> BTreeSet<MemberId> {
        let mut members: BTreeSet<MemberId> = BTreeSet::new();
        for id in &carried.land.approvals {
            let (Some(row), Some(event)) = (self.row(id), self.event(id)) else { continue };
            let Payload::Approve(approve) = event.payload() else { continue };
            let member = self.authority.strands.get(row.place.strand).member;
            let counts = row.flags & ADMISSIBLE != 0
                && Some(approve.revision) == carried.land.revision
                && approve.commit == carried.land.tip
                && (demands.own_counts || Some(member) != owner)
                && view.is_maintainer(&self.authority, &member)
                && self.is_live_by(judge, &row)
                && head.is_none_or(|head| self.covers(approve, head));
            if counts {
                members.insert(member);
            }
        }
        members
    }

    /// Was the approver shown this landing, or one above it?
    fn covers(&self, approve: &Approve, head: &Lid) -> bool {
        approve.onto.iter().any(|shown| shown == head || self.is_below(head, shown))
    }

    /// `ok(L, acc)` for revocations that need not be those that hold now.
    fn is_ok_under(&self, carried: &Carried<'_>, judge: &Judge) -> bool {
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
                Payload::Land(land) => Some((land, event.id(), self.row_at(event, next.place)?)),
                _ => None,
            });
            let Some((land, id, row)) = land else {
                known.insert(next.place, next.clear);
                continue;
            };
            let carried = Carried { land, id, row };
            let unknown: Vec<Carrier> =
                self.below(&carried).into_iter().filter(|below| !known.contains_key(&below.place)).collect();
            if unknown.is_empty() {
                let ok = self.is_ok_by(&carried, judge, &known);
                known.insert(next.place, ok);
            } else {
                todo.extend(unknown);
            }
        }
        self.is_ok_by(carried, judge, &known)
    }

    fn is_ok_by(&self, carried: &Carried<'_>, judge: &Judge, known: &Known) -> bool {
        let ok = |carrier: &Carrier| known.get(&carrier.place) == Some(&true);
        self.is_ok_with(carried, judge, |head| self.known_carriers(carried, head).iter().any(ok))
    }

    fn below(&self, carried: &Carried<'_>) -> Vec<Carrier> {
        carried.land.heads.iter().flat_map(|head| self.known_carriers(carried, head)).collect()
    }

    /// Does it hold for one of the events that carry a landing, of those that `knows` knows?
    fn each_carrier(
        &self,
        row: &LandingRow,
        knows: impl Fn(&Carrier) -> bool,
        holds: impl Fn(&Carried<'_>) -> bool,
    ) -> bool {
        row.carriers.iter().filter(|carrier| row.carriers.len() == 1 || knows(carrier)).any(|carrier| {
            let Some(event) = self.event_at(carrier.place) else { return false };
            match event.payload() {
                Payload::Genesis(_) => true,
                Payload::Land(land) => {
                    let row = self.row_at(&event, carrier.place);
                    row.is_some_and(|row| holds(&Carried { land, id: event.id(), row }))
                }
                _ => false,
            }
        })
    }

    /// `guard(L)`: what a join brings in fulfils the policy that the join knew.
    fn guard(&self, heads: &[Lid], is_join: bool, view: &View, knows: impl Fn(&Carrier) -> bool) -> bool {
        if !is_join {
            return true;
        }
        let judge = self.authority.judge_of(&view.accepted);
        self.brought_in(heads).iter().all(|lid| {
            let Some(row) = self.landing_row(lid) else { return false };
            self.each_carrier(&row, &knows, |carried| {
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
        self.guard(heads, true, self.authority.now(), |_| true)
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
