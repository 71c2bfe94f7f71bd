//! Proposals, their revisions, and what maintainers said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::said::{ProposalRow, Said, Tag};
use super::{BranchHeads, Demands, Landable, State};
use crate::eventlog::rows::Place;
use crate::eventlog::{Event, Payload};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Lid, MemberId, ObjectId, PeerId};

/// One tip of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its event.
    pub id: EventId,
    /// The event that began its proposal.
    pub proposal: EventId,
    /// Whose it is.
    pub member: MemberId,
    /// From which clone.
    pub peer: PeerId,
    /// The author's branch.
    pub branch: BranchName,
    /// The canonical branch it is offered to.
    pub target: BranchName,
    /// Its commit.
    pub tip: ObjectId,
    /// First line of that commit's message.
    pub title: String,
    /// When.
    pub hlc: Hlc,
}

/// One approval that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its event.
    pub id: EventId,
    /// Who approved.
    pub member: MemberId,
    /// Which revision.
    pub revision: EventId,
    /// Exactly which commit.
    pub commit: ObjectId,
    /// The heads that were shown.
    pub onto: Vec<Lid>,
    /// When.
    pub hlc: Hlc,
    /// Why.
    pub message: String,
}

/// One rejection that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its event.
    pub id: EventId,
    /// Who rejected.
    pub member: MemberId,
    /// When.
    pub hlc: Hlc,
    /// Why.
    pub reason: String,
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalState {
    /// It waits.
    Open,
    /// Its last revision is part of its canonical branch.
    Landed,
    /// Its author took it back.
    Withdrawn,
    /// A maintainer rejected its last revision, and no later approval of it says otherwise.
    Rejected,
}

/// One proposal, as it stands.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The event that began it.
    pub id: EventId,
    /// Its last revision.
    pub last: Revision,
    /// How many revisions there are.
    pub revisions: usize,
    /// Approvals of the last revision, oldest first.
    pub approvals: Vec<Approval>,
    /// Rejections of the last revision, oldest first.
    pub rejections: Vec<Rejection>,
    /// Where it stands.
    pub state: ProposalState,
}

impl ProposalState {
    /// May something still become of it?
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Rejected)
    }
}

impl Proposal {
    /// May something still become of it?
    pub fn is_open(&self) -> bool {
        self.state.is_open()
    }
}

/// What counts of what was said of a proposal: its last revision, and approvals and rejections since.
pub(super) struct Told {
    said: Said,
    event: Arc<Event>,
    revisions: usize,
    /// Newest first.
    spoken: Vec<(Said, Arc<Event>)>,
}

impl Told {
    /// Was its last revision approved by anybody?
    pub(super) fn is_approved(&self) -> bool {
        self.spoken.iter().any(|(said, _)| said.tag == Tag::Approve)
    }
}

impl State {
    fn revision_at(&self, place: Place, proposal: EventId) -> Option<Revision> {
        let event = self.event_at(place)?;
        let Payload::Propose(propose) = event.payload() else { return None };
        let strand = self.authority.strands.get(place.strand);
        Some(Revision {
            id: event.id(),
            proposal,
            member: strand.member,
            peer: strand.feed,
            branch: propose.branch.clone(),
            target: propose.target.clone(),
            tip: propose.tip,
            title: propose.title.clone(),
            hlc: event.body().hlc,
        })
    }

    /// A proposal as it stands; `None` where no revision of it counts.
    pub(super) fn describe_proposal(&self, number: u32, row: &ProposalRow) -> Option<Proposal> {
        self.describe_told(number, row, &self.told(number, self.last_revision(number)?))
    }

    /// The last revision of a proposal that counts, and how many there are.
    pub(super) fn last_revision(&self, number: u32) -> Option<(Said, Arc<Event>, usize)> {
        let (mut last, mut revisions): (Option<(Said, Arc<Event>)>, usize) = (None, 0);
        self.each_said(number, |said| {
            if said.tag != Tag::Propose {
                return true;
            }
            revisions += 1;
            // Of two revisions of one time the one with the larger id is the later.
            if last.as_ref().is_none_or(|(last, _)| last.hlc == said.hlc)
                && let Some(event) = self.event_at(said.place)
                && last.as_ref().is_none_or(|(_, last)| last.id() < event.id())
            {
                last = Some((*said, event));
            }
            true
        });
        last.map(|(said, event)| (said, event, revisions))
    }

    /// Has this revision landed?
    pub(super) fn is_landed(&self, revision: &Event) -> bool {
        matches!(revision.payload(), Payload::Propose(last) if self.has_landed(&last.target, &last.tip))
    }

    /// What was said of a proposal since its last revision.
    pub(super) fn told(&self, number: u32, last: (Said, Arc<Event>, usize)) -> Told {
        let (last, event, revisions) = last;
        let (id, mut spoken) = (event.id(), Vec::new());
        self.each_said(number, |said| {
            if said.hlc < last.hlc {
                return false;
            }
            let event = if said.tag == Tag::Propose { None } else { self.event_at(said.place) };
            spoken.extend(event.map(|event| (*said, event)));
            true
        });
        spoken.retain(|(_, event)| match event.payload() {
            Payload::Approve(said) => said.revision == id,
            Payload::Reject(said) => said.revision == id,
            _ => false,
        });
        Told { said: last, event, revisions, spoken }
    }

    /// Where a proposal stands.
    fn stands(&self, number: u32, told: &Told) -> ProposalState {
        if self.is_landed(&told.event) { ProposalState::Landed } else { self.stands_unlanded(number, told) }
    }

    /// Where a proposal stands whose last revision has not landed.
    pub(super) fn stands_unlanded(&self, number: u32, told: &Told) -> ProposalState {
        let latest = |tag| {
            let of_tag = told.spoken.iter().filter(|(said, _)| said.tag == tag);
            of_tag.map(|(said, event)| (said.hlc, event.id())).max()
        };
        if self.is_withdrawn(number) {
            ProposalState::Withdrawn
        } else if latest(Tag::Reject) > latest(Tag::Approve) {
            ProposalState::Rejected
        } else {
            ProposalState::Open
        }
    }

    /// A proposal of which that was said.
    pub(super) fn describe_told(&self, number: u32, row: &ProposalRow, told: &Told) -> Option<Proposal> {
        let last = self.revision_at(told.said.place, row.id)?;
        let (mut approvals, mut rejections) = (Vec::new(), Vec::new());
        for (said, spoken) in told.spoken.iter().rev() {
            let (id, hlc) = (spoken.id(), spoken.body().hlc);
            let member = self.authority.strands.get(said.place.strand).member;
            match spoken.payload() {
                Payload::Approve(said) => approvals.push(Approval {
                    id,
                    member,
                    revision: said.revision,
                    commit: said.commit,
                    onto: said.onto.clone(),
                    hlc,
                    message: said.message.clone(),
                }),
                Payload::Reject(said) => {
                    rejections.push(Rejection { id, member, hlc, reason: said.reason.clone() });
                }
                _ => {}
            }
        }
        approvals.sort_by_key(|approval| (approval.hlc, approval.id));
        rejections.sort_by_key(|rejection| (rejection.hlc, rejection.id));
        let state = self.stands(number, told);
        Some(Proposal { id: row.id, last, revisions: told.revisions, approvals, rejections, state })
    }

    /// What the member of this clone last said of a proposal, if that is an approval, by this clone, of an earlier revision than
    /// its last, and of that revision's tip.
    pub fn approved_before(&self, proposal: &Proposal, feed: &PeerId) -> Option<Approval> {
        let number = self.row(&proposal.id).map(|row| row.about).filter(|number| *number > 0)?;
        let strand = |said: &Said| self.authority.strands.get(said.place.strand);
        let me = self.member_of_feed(feed)?;
        let mut last = None;
        self.each_said(number, |said| {
            if said.tag == Tag::Propose || strand(said).member != me {
                return true;
            }
            last = Some(*said);
            false
        });
        let said = last.filter(|said| said.tag == Tag::Approve && strand(said).feed == *feed)?;
        let event = self.event_at(said.place)?;
        let Payload::Approve(approve) = event.payload() else { return None };
        let revision = self.revision(&approve.revision)?;
        let earlier = revision.id != proposal.last.id && revision.tip == approve.commit;
        earlier.then(|| Approval {
            id: event.id(),
            member: me,
            revision: approve.revision,
            commit: approve.commit,
            onto: approve.onto.clone(),
            hlc: event.body().hlc,
            message: approve.message.clone(),
        })
    }

    /// All proposals that count, oldest first as they came here.
    pub fn proposals(&self) -> impl Iterator<Item = Proposal> + '_ {
        (1..=self.proposals).filter_map(|number| self.describe_proposal(number, &self.proposal_row(number)?))
    }

    /// All proposals that count, the last that came here first.
    pub fn proposals_back(&self) -> impl Iterator<Item = Proposal> + '_ {
        let numbers = (1..=self.proposals).rev();
        numbers.filter_map(|number| self.describe_proposal(number, &self.proposal_row(number)?))
    }

    /// When a proposal began, and its id, for an order that is the same everywhere.
    pub fn began(&self, proposal: &EventId) -> (u64, EventId) {
        (self.row(proposal).map_or(0, |row| row.hlc), *proposal)
    }

    /// Did this clone offer this commit?
    pub fn offered_by(&self, commit: &ObjectId, feed: &PeerId) -> bool {
        let strands = self.authority.strands.of_feed(feed);
        strands.iter().any(|strand| self.is_tip_of(commit, *strand))
    }

    /// Proposals of which something may still become, oldest first.
    pub fn open_proposals(&self) -> impl Iterator<Item = Proposal> + '_ {
        let numbers = self.open_numbers().into_iter();
        numbers.filter_map(|number| self.describe_proposal(number, &self.proposal_row(number)?))
    }

    /// How many proposals are open.
    pub fn open_count(&self) -> usize {
        self.open_numbers().len()
    }

    /// One proposal, by the event that began it or by a revision.
    pub fn proposal(&self, id: &EventId) -> Option<Proposal> {
        let number = self.row(id).map(|row| row.about).filter(|number| *number > 0)?;
        self.describe_proposal(number, &self.proposal_row(number)?)
    }

    /// The revision of an id, whether it counts or not.
    pub fn revision(&self, id: &EventId) -> Option<Revision> {
        let row = self.row(id).filter(|row| row.about > 0)?;
        self.revision_at(row.place, self.proposal_row(row.about)?.id)
    }

    /// All revisions of a proposal that count, oldest first.
    pub fn revisions(&self, proposal: &EventId) -> Vec<Revision> {
        let Some(number) = self.row(proposal).map(|row| row.about).filter(|number| *number > 0) else {
            return Vec::new();
        };
        let mut places = Vec::new();
        self.each_said(number, |said| {
            if said.tag == Tag::Propose {
                places.push(said.place);
            }
            true
        });
        let first = self.proposal_row(number).map_or(*proposal, |row| row.id);
        let mut found: Vec<Revision> = places.into_iter().filter_map(|place| self.revision_at(place, first)).collect();
        found.sort_by_key(|revision| (revision.hlc, revision.id));
        found
    }

    /// The members whose approvals of `commit` count under the demands that hold now.
    fn approvers(&self, proposal: &Proposal, commit: &ObjectId, demands: Demands) -> BTreeSet<MemberId> {
        let now = self.authority.now();
        let on_commit = proposal.approvals.iter().filter(|approval| approval.commit == *commit);
        on_commit
            .map(|approval| approval.member)
            .filter(|member| demands.own_counts || *member != proposal.last.member)
            .filter(|member| now.is_maintainer(&self.authority, member))
            .collect()
    }

    /// Approvals by different maintainers that `commit` of a proposal's last revision still needs, were `also` to
    /// approve it too.
    pub fn approvals_missing(&self, proposal: &Proposal, commit: &ObjectId, also: Option<MemberId>) -> usize {
        let demands = self.demands();
        let mut have = self.approvers(proposal, commit, demands);
        have.extend(also.filter(|member| demands.own_counts || *member != proposal.last.member));
        demands.approvals_of(self.maintainers()).saturating_sub(have.len())
    }

    /// Commits of the proposal's last revision whose approvals fulfil the policy, each with the approvals, sorted.
    pub(super) fn approved(&self, proposal: &Proposal) -> Vec<(ObjectId, Vec<EventId>)> {
        let commits: BTreeSet<ObjectId> = proposal.approvals.iter().map(|approval| approval.commit).collect();
        let fulfilled = |commit: &ObjectId| self.approvals_missing(proposal, commit, None) == 0;
        let with_approvals = |commit: ObjectId| {
            let on_commit = proposal.approvals.iter().filter(|approval| approval.commit == commit);
            let mut ids: Vec<EventId> = on_commit.map(|approval| approval.id).take(32).collect();
            ids.sort_unstable();
            (commit, ids)
        };
        commits.into_iter().filter(fulfilled).map(with_approvals).collect()
    }

    /// Approved commits that have not landed: what any member's node may complete.
    pub fn landable(&self) -> Vec<Landable> {
        let mut found = Vec::new();
        // While a clone catches up with thousands of landings each of them is here.
        let mut branches: BTreeMap<BranchName, Option<BranchHeads>> = BTreeMap::new();
        for number in &self.ready {
            let row = self.proposal_row(*number);
            let Some(proposal) = row.and_then(|row| self.describe_proposal(*number, &row)) else { continue };
            for (commit, approvals) in self.approved(&proposal) {
                let target = &proposal.last.target;
                if self.has_landed(target, &commit) {
                    continue;
                }
                let branch = branches.entry(target.clone()).or_insert_with(|| self.branch(target));
                let Some(branch) = branch else { continue };
                found.push(Landable {
                    branch: target.clone(),
                    heads: branch.lids(),
                    head_commits: branch.commits(),
                    revision: Some(proposal.last.id),
                    tip: commit,
                    approvals,
                });
            }
        }
        // In an order that is the same everywhere.
        found.sort_by_key(|landable| (landable.revision, landable.tip));
        found
    }
}
