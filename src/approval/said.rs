//! What was said of each proposal, as rows: revisions, approvals, rejections, withdrawals.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::proposal::Told;
use super::stored::{decode, encode};
use super::{ProposalState, State, Void};
use crate::eventlog::rows::{EventRow, Kept, Place, Table, key, start};
use crate::eventlog::{Event, Kind, Payload, Propose};
use crate::id::{BranchName, EventId, MemberId, ObjectId};

/// What an event says of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Tag {
    Withdraw,
    Propose,
    Approve,
    Reject,
}

impl Tag {
    fn kind(self) -> Kind {
        match self {
            Self::Withdraw => Kind::WITHDRAW,
            Self::Propose => Kind::PROPOSE,
            Self::Approve => Kind::APPROVE,
            Self::Reject => Kind::REJECT,
        }
    }
}

/// A proposal, apart from what was said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProposalRow {
    /// The event that began it.
    pub(super) id: EventId,
    pub(super) member: MemberId,
    pub(super) branch: BranchName,
    pub(super) hlc: u64,
    pub(super) open: bool,
}

/// One thing said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) tag: Tag,
    pub(super) place: Place,
    pub(super) hlc: u64,
    past: u32,
    flags: u8,
}

impl Said {
    /// The order of the rows.
    fn order(&self) -> (bool, u64, u32) {
        (self.tag != Tag::Withdraw, self.hlc, self.place.strand)
    }
}

/// What was said of the proposals that were spoken of last, in the order of the rows: most is said of recent ones.
#[derive(Debug, Clone)]
pub(super) struct Recent(Arc<Kept<u32, Vec<Said>>>);

/// Half of the proposals that are kept.
const RECENT: usize = 512;
/// A proposal of which more was said is not kept, so that memory has a bound.
const SAID_OF_RECENT: usize = 64;

impl Default for Recent {
    fn default() -> Self {
        Self(Arc::new(Kept::of(RECENT)))
    }
}

impl Recent {
    fn put(&mut self, number: u32, said: Vec<Said>) {
        if said.len() <= SAID_OF_RECENT {
            Arc::make_mut(&mut self.0).put(number, said);
        }
    }

    fn add(&mut self, number: u32, said: Said) {
        if self.0.look(&number).is_none() {
            return;
        }
        let mut all = Arc::make_mut(&mut self.0).take(&number).unwrap_or_default();
        match all.binary_search_by_key(&said.order(), Said::order) {
            Ok(at) => all[at] = said,
            Err(at) => all.insert(at, said),
        }
        self.put(number, all);
    }
}

impl State {
    pub(super) fn proposal_row(&self, number: u32) -> Option<ProposalRow> {
        self.rows.get(Table::Proposals, &number.to_be_bytes(), decode)
    }

    /// A branch is offered, or a new revision of one.
    pub(super) fn propose(
        &mut self,
        id: EventId,
        member: MemberId,
        said: &Propose,
        row: &mut EventRow,
    ) -> Result<EventId, Void> {
        let earlier = said.previous.and_then(|previous| self.row(&previous));
        let earlier = earlier.filter(|row| row.flags & super::flags::ADMISSIBLE != 0).map(|row| row.about);
        let earlier = earlier.and_then(|number| Some((number, self.proposal_row(number)?)));
        let earlier = earlier.filter(|(_, earlier)| earlier.member == member && earlier.branch == said.branch);
        let (number, proposal) = match earlier {
            Some((number, earlier)) => (number, earlier.id),
            None => {
                self.proposals += 1;
                let begun = ProposalRow { id, member, branch: said.branch.clone(), hlc: row.hlc, open: false };
                self.rows.put(Table::Proposals, self.proposals.to_be_bytes(), encode(&begun));
                self.recent.put(self.proposals, Vec::new());
                (self.proposals, id)
            }
        };
        row.about = number;
        self.rows.put(Table::Tips, tip_key(&said.tip, row.place), number.to_be_bytes().to_vec());
        self.put_said(Tag::Propose, row);
        self.weigh(number);
        Ok(proposal)
    }

    /// Something is said of a revision. Only its owner takes it back.
    pub(super) fn say(
        &mut self,
        tag: Tag,
        revision: &EventId,
        member: MemberId,
        row: &mut EventRow,
    ) -> Result<EventId, Void> {
        let number = self.row(revision).map(|row| row.about).filter(|number| *number > 0).ok_or(Void::Target)?;
        let proposal = self.proposal_row(number).ok_or(Void::Target)?;
        if tag == Tag::Withdraw && proposal.member != member {
            return Err(Void::Target);
        }
        row.about = number;
        self.put_said(tag, row);
        self.weigh_again(number, proposal.open);
        Ok(proposal.id)
    }

    fn put_said(&mut self, tag: Tag, row: &EventRow) {
        let EventRow { place, hlc, past, flags, .. } = *row;
        self.recent.add(row.about, Said { tag, place, hlc, past, flags });
        let value = encode(&(tag, row.place.seq, row.past, row.flags));
        self.rows.put(Table::Said, said_key(row.about, tag, row.hlc, row.place.strand), value);
    }

    fn read_said(key: &[u8], value: &[u8]) -> Option<Said> {
        let (tag, seq, past, flags) = decode(value)?;
        let hlc = u64::from_be_bytes(key.get(5..13)?.try_into().ok()?);
        let strand = u32::from_be_bytes(key.get(13..17)?.try_into().ok()?);
        Some(Said { tag, place: Place { strand, seq }, hlc, past, flags })
    }

    /// Does it count now?
    pub(super) fn said_counts(&self, said: &Said) -> bool {
        let row = EventRow {
            place: said.place,
            hlc: said.hlc,
            kind: said.tag.kind().0,
            past: said.past,
            flags: said.flags,
            about: 0,
            sight: 0,
        };
        self.counts(&row)
    }

    /// All that was said of a proposal, whether it counts or not, in the order of the rows.
    fn all_said(&self, number: u32) -> Cow<'_, [Said]> {
        if let Some(known) = self.recent.0.look(&number) {
            return Cow::Borrowed(known);
        }
        let mut all = Vec::new();
        self.rows.scan_prefix(Table::Said, &number.to_be_bytes(), |key, value| {
            all.extend(Self::read_said(key, value));
            true
        });
        Cow::Owned(all)
    }

    /// What counts of what was said of a proposal, newest first, until `each` gives `false`. Withdrawals stand apart.
    pub(super) fn each_said(&self, number: u32, each: impl FnMut(&Said) -> bool) {
        let all = self.all_said(number);
        let spoken = all.iter().rev().filter(|said| said.tag != Tag::Withdraw);
        let _ = spoken.filter(|said| self.said_counts(said)).all(each);
    }

    /// Was it taken back?
    pub(super) fn is_withdrawn(&self, number: u32) -> bool {
        let all = self.all_said(number);
        all.iter().filter(|said| said.tag == Tag::Withdraw).any(|said| self.said_counts(said))
    }

    /// Proposals that have, or had, this commit as a revision's tip.
    pub(super) fn proposals_at(&self, commit: &ObjectId) -> BTreeSet<u32> {
        self.proposals_at_bytes(commit.as_bytes())
    }

    pub(super) fn proposals_at_bytes(&self, commit: &[u8]) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        self.each_tip(commit, |_, number| {
            found.insert(number);
            true
        });
        found
    }

    /// Is this commit somebody's revision? What a fork has voided is none: it may be offered again.
    pub fn is_revision(&self, commit: &ObjectId) -> bool {
        let mut found = false;
        self.each_tip(commit.as_bytes(), |place, _| {
            found = self.authority.counts(place);
            !found
        });
        found
    }

    /// Is this commit the tip of a revision on this strand?
    pub(super) fn is_tip_of(&self, commit: &ObjectId, strand: u32) -> bool {
        let mut found = false;
        self.each_tip(commit.as_bytes(), |place, _| {
            found = place.strand == strand;
            !found
        });
        found
    }

    /// Revisions with this commit, each with its proposal's number, until `each` gives `false`.
    fn each_tip(&self, commit: &[u8], mut each: impl FnMut(Place, u32) -> bool) {
        let mut tips = Vec::new();
        self.rows.scan_prefix(Table::Tips, &start(commit), |key, value| {
            tips.extend(tip_place(key).zip(value.try_into().ok().map(u32::from_be_bytes)));
            true
        });
        for (place, number) in tips {
            let event = self.event_at(place);
            let is = |event: &Event| matches!(event.payload(), Payload::Propose(said) if said.tip.as_bytes() == commit);
            if event.is_some_and(|event| is(&event)) && !each(place, number) {
                return;
            }
        }
    }

    /// Looks whether a proposal is open, and whether a commit of it may land.
    pub(super) fn weigh(&mut self, number: u32) {
        self.weigh_again(number, false);
    }

    /// The same; `unlanded` where nothing was said since by a revision or a landing, and its last revision had not landed.
    fn weigh_again(&mut self, number: u32, unlanded: bool) {
        let Some(mut row) = self.proposal_row(number) else { return };
        if self.recent.0.look(&number).is_none() {
            let all = self.all_said(number).into_owned();
            self.recent.put(number, all);
        }
        // Most are landed, and stay so whatever was said of them.
        let last = self.last_revision(number).filter(|(_, last, _)| unlanded || !self.is_landed(last));
        let told = last.map(|last| self.told(number, last));
        let stands = told.as_ref().map(|told| self.stands_unlanded(number, told));
        let open = stands.is_some_and(ProposalState::is_open);
        let is_approved = |told: &Told| {
            told.is_approved() && {
                let proposal = self.describe_told(number, &row, told);
                proposal.is_some_and(|proposal| !self.approved(&proposal).is_empty())
            }
        };
        let ready = stands == Some(ProposalState::Open) && told.as_ref().is_some_and(is_approved);
        if ready {
            self.ready.insert(number);
        } else {
            self.ready.remove(&number);
        }
        if open != row.open {
            row.open = open;
            let key: [u8; 12] = key(&[&row.hlc.to_be_bytes(), &number.to_be_bytes()]);
            if open {
                self.rows.put(Table::Open, key, Vec::new());
            } else {
                self.rows.delete(Table::Open, key);
            }
            self.rows.put(Table::Proposals, number.to_be_bytes(), encode(&row));
        }
    }

    /// Looks again at all that are open.
    pub(super) fn weigh_open(&mut self) {
        for number in self.open_numbers() {
            self.weigh(number);
        }
    }

    pub(super) fn open_numbers(&self) -> Vec<u32> {
        let mut found = Vec::new();
        self.rows.scan(Table::Open, &[], |key, _| {
            found.extend(key[8..].try_into().ok().map(u32::from_be_bytes));
            true
        });
        found
    }
}

/// Withdrawals stand apart: there are few, and any one counts.
fn said_key(number: u32, tag: Tag, hlc: u64, strand: u32) -> [u8; 17] {
    let class = u8::from(tag != Tag::Withdraw);
    key(&[&number.to_be_bytes(), &[class], &hlc.to_be_bytes(), &strand.to_be_bytes()])
}

fn tip_key(tip: &ObjectId, place: Place) -> [u8; 20] {
    key(&[&start(tip.as_bytes()), &place.strand.to_be_bytes(), &place.seq.to_be_bytes()])
}

/// The place at the end of a tip's key.
fn tip_place(key: &[u8]) -> Option<Place> {
    let (rest, seq) = key.split_last_chunk()?;
    let (_, strand) = rest.split_last_chunk()?;
    Some(Place { strand: u32::from_be_bytes(*strand), seq: u64::from_be_bytes(*seq) })
}
