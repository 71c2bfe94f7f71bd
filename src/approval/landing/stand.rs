//! Heads: taken further by new landings, and back by revocations.

use std::collections::{BTreeMap, BTreeSet};

use super::enter::Carried;
use super::{Carrier, LandingRow, State, number_in};
use crate::approval::{Change, RULES, Void, flags};
use crate::eventlog::rows::{EventRow, Place, Table, key};
use crate::eventlog::{Event, Land, Payload};
use crate::id::{BranchName, Lid, ObjectId};

/// The number of a branch that the log does not decide.
const NOT_CANONICAL: u8 = u8::MAX;

impl State {
    /// Takes in an event that carries a landing.
    pub(in crate::approval) fn land(&mut self, event: &Event, land: &Land, row: &mut EventRow) -> Result<Lid, Void> {
        let branch = self.canonical_number(&land.branch).unwrap_or(NOT_CANONICAL);
        let content = land.content();
        let lid = content.lid(&self.project);
        let heads: Vec<(u32, LandingRow)> = land.heads.iter().filter_map(|head| self.numbered_landing(head)).collect();
        let why = if branch == NOT_CANONICAL {
            Some(Void::NotCanonical)
        } else if heads.len() != land.heads.len()
            || heads.iter().any(|(_, head)| head.branch != branch)
            || self.related(&land.heads)
            || !Self::fits_join(land, &heads, self)
        {
            Some(Void::Heads)
        } else {
            None
        };
        let carried = Carried { land, id: event.id(), row: *row };
        let entered = why.is_none() && row.flags & flags::ADMISSIBLE != 0 && self.enters(&carried);
        let clear = why.is_none() && self.is_clear(&carried);
        let ok = why.is_none() && self.is_ok_now(&carried);
        let carrier = Carrier { place: row.place, hlc: row.hlc, entered, ok, clear };
        let here = self.numbered_landing(&lid);
        // What is on it names an event that carries it, so nothing is on one that was not known.
        let is_new = here.is_none();
        let (number, mut known) = match here {
            Some((number, known)) => {
                self.unlist_unsettled(number, known.hlc);
                (number, known)
            }
            None => {
                let number = self.number_landing(&lid);
                for (below, _) in &heads {
                    self.rows.put(Table::Above, key::<8>(&[&below.to_be_bytes(), &number.to_be_bytes()]), Vec::new());
                }
                let sound = heads.iter().any(|(_, head)| head.sound == Some(false)).then_some(false);
                (number, LandingRow { branch, hlc: row.hlc, carriers: Vec::new(), said: None, sound })
            }
        };
        let (was_ok, was_carried) = (known.is_ok(), known.carriers.iter().any(|carrier| carrier.ok));
        known.hlc = known.hlc.min(row.hlc);
        known.carriers.push(carrier);
        known.carriers.sort_unstable_by_key(|carrier| (carrier.hlc, carrier.place));
        self.put_landing(number, &lid, &known);
        self.list_unsettled(number, &known);
        for approval in &land.approvals {
            if let Some(at) = self.row(approval).map(|row| row.place) {
                self.rows.put(Table::Rests, key::<16>(&[&rests_prefix(at), &number.to_be_bytes()]), Vec::new());
            }
        }
        let mut proposals = BTreeSet::new();
        if known.is_ok() && !was_ok {
            self.take_further(&known, &lid, &mut proposals);
        }
        if ok && !was_carried && !is_new {
            // What is on it may stand now.
            let above = self.above(number);
            self.reland(above, &mut proposals, &mut Vec::new());
        }
        for proposal in proposals {
            self.weigh(proposal);
        }
        match why {
            Some(why) => Err(why),
            None if entered => Ok(lid),
            None => Err(Void::Policy),
        }
    }

    fn fits_join(land: &Land, heads: &[(u32, LandingRow)], of: &Self) -> bool {
        if !land.is_join() {
            return true;
        }
        let smallest = heads.first().and_then(|(_, row)| of.content(row));
        heads.len() == 2 && smallest.is_some_and(|content| content.new == land.tip)
    }

    /// Is one of these below another?
    fn related(&self, lids: &[Lid]) -> bool {
        lids.iter().any(|one| lids.iter().any(|other| one != other && self.is_below(one, other)))
    }

    fn list_unsettled(&mut self, number: u32, row: &LandingRow) {
        if row.is_ok() && row.sound.is_none() {
            self.rows.put(Table::Unsettled, unsettled_key(row.hlc, number), Vec::new());
        } else {
            self.unlist_unsettled(number, row.hlc);
        }
    }

    fn unlist_unsettled(&mut self, number: u32, hlc: u64) {
        let key = unsettled_key(hlc, number);
        if self.rows.has(Table::Unsettled, &key) {
            self.rows.delete(Table::Unsettled, key);
        }
    }

    /// The numbers of the landings on one.
    fn above(&self, number: u32) -> BTreeSet<u32> {
        self.numbers_under(Table::Above, &number.to_be_bytes())
    }

    /// The numbers of landings that name an approval.
    pub(in crate::approval) fn resting_on(&self, approval: Place) -> BTreeSet<u32> {
        self.numbers_under(Table::Rests, &rests_prefix(approval))
    }

    /// The numbers at the end of keys that begin with `prefix`.
    fn numbers_under(&self, table: Table, prefix: &[u8]) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        self.rows.scan_prefix(table, prefix, |key, _| {
            numbers.extend(number_in(key));
            true
        });
        numbers
    }

    /// The objects say whether a landing's commit is what its fields give. Returns the branch if a head moved.
    pub fn settle(&mut self, lid: &Lid, sound: bool) -> Option<BranchName> {
        let (number, mut row) = self.numbered_landing(lid).filter(|(_, row)| row.said.is_none())?;
        let content = self.content(&row).filter(|content| content.rules <= RULES)?;
        row.said = Some(sound);
        let settled = self.soundness(&row, &content.heads);
        self.put_landing(number, lid, &row);
        let mut todo: Vec<(Lid, bool)> = settled.map(|sound| (*lid, sound)).into_iter().collect();
        let mut proposals = BTreeSet::new();
        let mut moved = None;
        while let Some((next, sound)) = todo.pop() {
            let known = self.numbered_landing(&next).filter(|(_, row)| row.sound.is_none());
            let Some((number, mut row)) = known else { continue };
            row.sound = Some(sound);
            self.put_landing(number, &next, &row);
            self.list_unsettled(number, &row);
            if sound && self.take_further(&row, &next, &mut proposals) {
                moved = Some(row.branch);
            }
            // What is on it may have waited for it, and is not sound where it is not.
            for above in self.above(number) {
                let Some((above, row)) = self.landing_at(above) else { continue };
                let heads = self.content(&row).map(|content| content.heads).unwrap_or_default();
                todo.extend(self.soundness(&row, &heads).map(|sound| (above, sound)));
            }
        }
        for proposal in proposals {
            self.weigh(proposal);
        }
        moved.and_then(|branch| self.canonical().get(branch as usize)).map(|(name, _)| name.clone())
    }

    /// Is a landing sound, with all that it is on? `None` where that is not known yet.
    fn soundness(&self, row: &LandingRow, heads: &[Lid]) -> Option<bool> {
        let sound = |head: &Lid| self.landing_row(head).and_then(|row| row.sound);
        if row.said == Some(false) || heads.iter().any(|head| sound(head) == Some(false)) {
            return Some(false);
        }
        (row.said == Some(true) && heads.iter().all(|head| sound(head) == Some(true))).then_some(true)
    }

    /// A landing came to hold up its branch: it is a head unless one is above it, and what it is on is none.
    fn take_further(&mut self, row: &LandingRow, lid: &Lid, proposals: &mut BTreeSet<u32>) -> bool {
        if !row.is_good() {
            return false;
        }
        self.land_commits(lid, row, proposals);
        let Some(heads) = self.heads.get(row.branch as usize).cloned() else { return false };
        if heads.contains(lid) || heads.iter().any(|head| self.is_below(lid, head)) {
            return false;
        }
        let kept: BTreeSet<Lid> = heads.into_iter().filter(|head| !self.is_below(head, lid)).collect();
        self.heads[row.branch as usize] = kept;
        self.heads[row.branch as usize].insert(*lid);
        true
    }

    /// What a landing brought in is part of the branch; so is what lies under it.
    fn land_commits(&mut self, lid: &Lid, row: &LandingRow, proposals: &mut BTreeSet<u32>) {
        let mut todo = vec![(*lid, row.clone())];
        while let Some((lid, row)) = todo.pop() {
            let (Some(content), Some(number)) = (self.content(&row), self.landing_number(&lid)) else { continue };
            if self.rows.has(Table::Landed, &super::landed_key(row.branch, &content.new, number)) {
                continue;
            }
            for commit in [content.tip, content.new] {
                self.mark_landed(row.branch, &commit, number);
                proposals.extend(self.proposals_at(&commit));
            }
            todo.extend(content.heads.iter().filter_map(|head| Some((*head, self.landing_row(head)?))));
        }
    }

    /// Judges landings again, and all that is on them, each after what it is on.
    pub(in crate::approval) fn reland(
        &mut self,
        seeds: BTreeSet<u32>,
        proposals: &mut BTreeSet<u32>,
        changes: &mut Vec<Change>,
    ) {
        // By the time of its first carrier a landing comes after all that it is on; what is on one that did not change stays.
        let of = |state: &Self, number: u32| state.landing_at(number).map(|(_, row)| (row.hlc, number));
        let mut todo: BTreeSet<(u64, u32)> = seeds.into_iter().filter_map(|number| of(self, number)).collect();
        let (mut risen, mut fallen): (Vec<Lid>, BTreeSet<Lid>) = (Vec::new(), BTreeSet::new());
        while let Some((_, number)) = todo.pop_first() {
            let Some((lid, mut row)) = self.landing_at(number) else { continue };
            let before = row.clone();
            for carrier in &mut row.carriers {
                let Some(event) = self.event_at(carrier.place) else { continue };
                let (Payload::Land(land), Some(at)) = (event.payload(), self.row_at(&event, carrier.place)) else {
                    continue;
                };
                let well_formed = at.flags >> flags::WHY == 0 || super::super::why_of(at.flags) == Some(Void::Policy);
                carrier.ok = well_formed && self.is_ok_now(&Carried { land, id: event.id(), row: at });
            }
            if row == before {
                continue;
            }
            self.put_landing(number, &lid, &row);
            self.list_unsettled(number, &row);
            match (before.is_good(), row.is_good()) {
                (true, false) => drop(fallen.insert(lid)),
                (false, true) => risen.push(lid),
                _ => {}
            }
            let above = self.above(number);
            todo.extend(above.into_iter().filter_map(|number| of(self, number)));
        }
        if !fallen.is_empty() {
            self.take_back(&fallen, proposals, changes);
        }
        for lid in risen {
            if let Some(row) = self.landing_row(&lid) {
                self.take_further(&row, &lid, proposals);
            }
        }
    }

    /// Heads that fell give way to what they were on.
    fn take_back(&mut self, fallen: &BTreeSet<Lid>, proposals: &mut BTreeSet<u32>, changes: &mut Vec<Change>) {
        for number in 0..self.heads.len() {
            let before = self.heads[number].clone();
            if before.is_disjoint(fallen) {
                continue;
            }
            let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
            let mut todo = Vec::from_iter(before.clone());
            while let Some(lid) = todo.pop() {
                if !seen.insert(lid) {
                    continue;
                }
                let Some(row) = self.landing_row(&lid) else { continue };
                if row.is_good() {
                    found.insert(lid);
                } else if let Some(content) = self.content(&row) {
                    todo.extend(content.heads);
                }
            }
            let heads: BTreeSet<Lid> =
                found.iter().filter(|lid| !found.iter().any(|above| self.is_below(lid, above))).copied().collect();
            self.heads[number] = heads.clone();
            self.forget_landed(number as u8, &before, &heads, proposals);
            if let Some((branch, _)) = self.canonical().get(number) {
                let change = Change::Rewound { branch: branch.clone() };
                changes.push(change);
            }
        }
    }

    /// Landings under `before` and not under `after`. Only what is not under all is walked through.
    fn no_longer_under(&self, before: &BTreeSet<Lid>, after: &BTreeSet<Lid>) -> Vec<Lid> {
        let mut todo: BTreeMap<(u64, Lid), bool> = BTreeMap::new();
        for (lids, stands) in [(before, false), (after, true)] {
            for lid in lids {
                let Some(row) = self.landing_row(lid) else { continue };
                *todo.entry((row.hlc, *lid)).or_default() |= stands;
            }
        }
        let mut gone = Vec::new();
        // Latest first: when one comes up, all above it have been.
        while todo.values().any(|stands| !stands) {
            let Some(((_, lid), stands)) = todo.pop_last() else { break };
            if !stands {
                gone.push(lid);
            }
            let Some(content) = self.landing_row(&lid).and_then(|row| self.content(&row)) else { continue };
            for head in &content.heads {
                if let Some(row) = self.landing_row(head) {
                    *todo.entry((row.hlc, *head)).or_default() |= stands;
                }
            }
        }
        gone
    }

    /// Commits of landings that no head stands on any more have not landed; what the objects said is asked again.
    fn forget_landed(
        &mut self,
        branch: u8,
        before: &BTreeSet<Lid>,
        heads: &BTreeSet<Lid>,
        proposals: &mut BTreeSet<u32>,
    ) {
        let mut gone: Vec<(ObjectId, Lid)> = Vec::new();
        for lid in self.no_longer_under(before, heads) {
            let content = self.landing_row(&lid).and_then(|row| self.content(&row));
            gone.extend(content.into_iter().flat_map(|content| [(content.tip, lid), (content.new, lid)]));
        }
        let mut said = Vec::new();
        self.rows.scan_prefix(Table::Contained, &[branch], |key, _| {
            said.push(key.to_vec());
            true
        });
        for key in said {
            proposals.extend(self.proposals_at_bytes(&key[1..]));
            self.rows.delete(Table::Contained, key);
        }
        for (commit, lid) in gone {
            let Some(number) = self.landing_number(&lid) else { continue };
            self.rows.delete(Table::Landed, super::landed_key(branch, &commit, number));
            proposals.extend(self.proposals_at(&commit));
        }
    }
}

fn unsettled_key(hlc: u64, number: u32) -> [u8; 12] {
    key(&[&hlc.to_be_bytes(), &number.to_be_bytes()])
}

fn rests_prefix(approval: Place) -> [u8; 12] {
    key(&[&approval.strand.to_be_bytes(), &approval.seq.to_be_bytes()])
}
