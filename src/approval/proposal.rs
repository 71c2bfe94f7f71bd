//! Proposals, their revisions, and what maintainers said of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::eventlog::{Approve, Land, Policy, Propose, Reject, Withdraw};
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
pub struct Proposal<'a> {
    /// The event that began it.
    pub id: EventId,
    /// Its last revision.
    pub last: &'a Revision,
    /// All revisions, oldest first.
    pub revisions: Vec<&'a Revision>,
    /// Approvals of the last revision, oldest first.
    pub approvals: Vec<&'a Approval>,
    /// Rejections of the last revision, oldest first.
    pub rejections: Vec<&'a Rejection>,
    /// Where it stands.
    pub state: ProposalState,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Proposals {
    /// Proposal to its revisions and whether it was withdrawn.
    all: BTreeMap<EventId, (BTreeSet<(Hlc, EventId)>, bool)>,
    /// Proposals in order of time.
    order: BTreeSet<(Hlc, EventId)>,
    revisions: BTreeMap<EventId, Revision>,
    tips: BTreeSet<ObjectId>,
    /// By revision, in order of time.
    approvals: BTreeMap<EventId, BTreeMap<(Hlc, EventId), Approval>>,
    approval_revision: BTreeMap<EventId, EventId>,
    rejections: BTreeMap<EventId, BTreeMap<(Hlc, EventId), Rejection>>,
}

impl Proposals {
    pub(super) fn propose(&mut self, id: EventId, peer: PeerId, member: MemberId, hlc: Hlc, said: &Propose) -> EventId {
        let earlier = said.previous.and_then(|previous| self.revisions.get(&previous));
        let earlier = earlier.filter(|earlier| earlier.member == member && earlier.branch == said.branch);
        let proposal = earlier.map_or(id, |earlier| earlier.proposal);
        if proposal == id {
            self.order.insert((hlc, id));
        }
        self.all.entry(proposal).or_default().0.insert((hlc, id));
        self.tips.insert(said.tip);
        let revision = Revision {
            id,
            proposal,
            member,
            peer,
            branch: said.branch.clone(),
            target: said.target.clone(),
            tip: said.tip,
            title: said.title.clone(),
            hlc,
        };
        self.revisions.insert(id, revision);
        proposal
    }

    pub(super) fn approve(&mut self, id: EventId, member: MemberId, hlc: Hlc, said: &Approve) -> Option<EventId> {
        let proposal = self.revisions.get(&said.revision)?.proposal;
        let approval = Approval {
            id,
            member,
            revision: said.revision,
            commit: said.commit,
            onto: said.onto.clone(),
            hlc,
            message: said.message.clone(),
        };
        self.approvals.entry(said.revision).or_default().insert((hlc, id), approval);
        self.approval_revision.insert(id, said.revision);
        Some(proposal)
    }

    pub(super) fn reject(&mut self, id: EventId, member: MemberId, hlc: Hlc, said: &Reject) -> Option<EventId> {
        let proposal = self.revisions.get(&said.revision)?.proposal;
        let rejection = Rejection { id, member, hlc, reason: said.reason.clone() };
        self.rejections.entry(said.revision).or_default().insert((hlc, id), rejection);
        Some(proposal)
    }

    pub(super) fn withdraw(&mut self, member: &MemberId, said: &Withdraw) -> Option<EventId> {
        let revision = self.revisions.get(&said.revision).filter(|revision| revision.member == *member)?;
        self.all.get_mut(&revision.proposal)?.1 = true;
        Some(revision.proposal)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &EventId> {
        self.order.iter().map(|(_, id)| id)
    }

    pub(super) fn revision(&self, id: &EventId) -> Option<&Revision> {
        self.revisions.get(id)
    }

    pub(super) fn is_revision(&self, commit: &ObjectId) -> bool {
        self.tips.contains(commit)
    }

    pub(super) fn proposal(
        &self,
        id: &EventId,
        landed: impl Fn(&BranchName, &ObjectId) -> bool,
    ) -> Option<Proposal<'_>> {
        let (revisions, withdrawn) = self.all.get(id)?;
        let revisions: Vec<&Revision> = revisions.iter().filter_map(|(_, id)| self.revisions.get(id)).collect();
        let last = *revisions.last()?;
        let approvals: Vec<&Approval> = self.approvals.get(&last.id).into_iter().flat_map(BTreeMap::values).collect();
        let rejections: Vec<&Rejection> =
            self.rejections.get(&last.id).into_iter().flat_map(BTreeMap::values).collect();
        let said_no = rejections.last().map(|rejection| (rejection.hlc, rejection.id));
        let said_yes = approvals.last().map(|approval| (approval.hlc, approval.id));
        let state = if landed(&last.target, &last.tip) {
            ProposalState::Landed
        } else if *withdrawn {
            ProposalState::Withdrawn
        } else if said_no > said_yes {
            ProposalState::Rejected
        } else {
            ProposalState::Open
        };
        Some(Proposal { id: *id, last, revisions, approvals, rejections, state })
    }

    /// The members whose approvals of `commit` in `revision` count under the policy.
    fn approvers<'a>(
        revision: &'a Revision,
        commit: &'a ObjectId,
        policy: &'a Policy,
        approvals: impl Iterator<Item = &'a Approval>,
    ) -> BTreeSet<MemberId> {
        approvals
            .filter(|approval| approval.commit == *commit && approval.revision == revision.id)
            .map(|approval| approval.member)
            .filter(|member| policy.own_counts || *member != revision.member)
            .collect()
    }

    fn needed(policy: &Policy, maintainers: usize) -> usize {
        usize::from(policy.approvals).min(maintainers).max(1)
    }

    pub(super) fn missing(&self, revision: &Revision, commit: &ObjectId, policy: &Policy, maintainers: usize) -> usize {
        let approvals = self.approvals.get(&revision.id).into_iter().flat_map(BTreeMap::values);
        let have = Self::approvers(revision, commit, policy, approvals).len();
        Self::needed(policy, maintainers).saturating_sub(have)
    }

    /// Does a landing's own list of approvals fulfil the policy?
    pub(super) fn met(&self, land: &Land, policy: &Policy, maintainers: usize) -> bool {
        let Some(revision) = land.revision.and_then(|id| self.revisions.get(&id)) else { return false };
        let find = |id: &EventId| {
            let by_revision = self.approvals.get(self.approval_revision.get(id)?)?;
            by_revision.values().find(|approval| approval.id == *id)
        };
        let approvals: Vec<&Approval> = land.approvals.iter().filter_map(find).collect();
        revision.target == land.branch
            && approvals.len() == land.approvals.len()
            && Self::approvers(revision, &land.tip, policy, approvals.into_iter()).len()
                >= Self::needed(policy, maintainers)
    }

    /// Commits of the proposal's last revision whose approvals fulfil the policy, each with the revision and
    /// the approvals, sorted.
    pub(super) fn approved(
        &self,
        proposal: &Proposal<'_>,
        policy: &Policy,
        maintainers: usize,
    ) -> Vec<(ObjectId, (EventId, Vec<EventId>))> {
        let commits: BTreeSet<ObjectId> = proposal.approvals.iter().map(|approval| approval.commit).collect();
        let fulfilled = |commit: &ObjectId| self.missing(proposal.last, commit, policy, maintainers) == 0;
        let with_approvals = |commit: ObjectId| {
            let on_commit = proposal.approvals.iter().filter(|approval| approval.commit == commit);
            let mut ids: Vec<EventId> = on_commit.map(|approval| approval.id).take(32).collect();
            ids.sort_unstable();
            (commit, (proposal.last.id, ids))
        };
        commits.into_iter().filter(fulfilled).map(with_approvals).collect()
    }
}
