//! What was said of each proposal, as rows: revisions, approvals, rejections, withdrawals.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::stored::{decode, encode};
use super::{State, Void};
use crate::eventlog::rows::{EventRow, Place, Table};
use crate::eventlog::{Kind, Propose};
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

impl State {
    pub(super) fn proposal_row(&self, number: u32) -> Option<ProposalRow> {
        decode(&self.rows.get(Table::Proposals, &number.to_be_bytes())?)
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
                self.rows.put(Table::Proposals, self.proposals.to_be_bytes().to_vec(), encode(&begun));
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
        self.weigh(number);
        Ok(proposal.id)
    }

    fn put_said(&mut self, tag: Tag, row: &EventRow) {
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

    /// What counts of what was said of a proposal, newest first, until `each` gives `false`. Withdrawals stand apart.
    pub(super) fn each_said(&self, number: u32, mut each: impl FnMut(&Said) -> bool) {
        let mut prefix = number.to_be_bytes().to_vec();
        // All but withdrawals.
        prefix.push(1);
        self.rows.scan_prefix_back(Table::Said, &prefix, |key, value| match Self::read_said(key, value) {
            Some(said) if self.said_counts(&said) => each(&said),
            _ => true,
        });
    }

    /// Was it taken back?
    pub(super) fn is_withdrawn(&self, number: u32) -> bool {
        let mut prefix = number.to_be_bytes().to_vec();
        prefix.push(0);
        let mut found = false;
        self.rows.scan_prefix(Table::Said, &prefix, |key, value| {
            found = Self::read_said(key, value).is_some_and(|said| self.said_counts(&said));
            !found
        });
        found
    }

    /// Proposals that have, or had, this commit as a revision's tip.
    pub(super) fn proposals_at(&self, commit: &ObjectId) -> BTreeSet<u32> {
        self.proposals_at_bytes(commit.as_bytes())
    }

    pub(super) fn proposals_at_bytes(&self, commit: &[u8]) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        self.rows.scan_prefix(Table::Tips, commit, |_, value| {
            found.extend(value.try_into().ok().map(u32::from_be_bytes));
            true
        });
        found
    }

    /// Is this commit somebody's revision? What a fork has voided is none: it may be offered again.
    pub fn is_revision(&self, commit: &ObjectId) -> bool {
        let mut found = false;
        self.rows.scan_prefix(Table::Tips, commit.as_bytes(), |key, _| {
            found = tip_place(key).is_none_or(|place| self.authority.counts(place));
            !found
        });
        found
    }

    /// Is this commit the tip of a revision on this strand?
    pub(super) fn is_tip_of(&self, commit: &ObjectId, strand: u32) -> bool {
        let prefix = [commit.as_bytes(), &strand.to_be_bytes()].concat();
        let mut found = false;
        self.rows.scan_prefix(Table::Tips, &prefix, |_, _| {
            found = true;
            false
        });
        found
    }

    /// Looks whether a proposal is open, and whether a commit of it may land.
    pub(super) fn weigh(&mut self, number: u32) {
        let Some(mut row) = self.proposal_row(number) else { return };
        let proposal = self.describe_proposal(number, &row);
        let open = proposal.as_ref().is_some_and(super::Proposal::is_open);
        let ready = proposal.is_some_and(|proposal| {
            proposal.state == super::ProposalState::Open && !self.approved(&proposal).is_empty()
        });
        if ready {
            self.ready.insert(number);
        } else {
            self.ready.remove(&number);
        }
        if open != row.open {
            row.open = open;
            let key = [&row.hlc.to_be_bytes()[..], &number.to_be_bytes()].concat();
            if open {
                self.rows.put(Table::Open, key, Vec::new());
            } else {
                self.rows.delete(Table::Open, key);
            }
            self.rows.put(Table::Proposals, number.to_be_bytes().to_vec(), encode(&row));
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
fn said_key(number: u32, tag: Tag, hlc: u64, strand: u32) -> Vec<u8> {
    let class = u8::from(tag != Tag::Withdraw);
    [&number.to_be_bytes()[..], &[class], &hlc.to_be_bytes(), &strand.to_be_bytes()].concat()
}

fn tip_key(tip: &ObjectId, place: Place) -> Vec<u8> {
    [tip.as_bytes(), &place.strand.to_be_bytes(), &place.seq.to_be_bytes()].concat()
}

/// The place at the end of a tip's key.
fn tip_place(key: &[u8]) -> Option<Place> {
    let (rest, seq) = key.split_last_chunk()?;
    let (_, strand) = rest.split_last_chunk()?;
    Some(Place { strand: u32::from_be_bytes(*strand), seq: u64::from_be_bytes(*seq) })
}
