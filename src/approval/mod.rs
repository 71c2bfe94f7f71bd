//! What the set of events *means*: who is a member, what is proposed, approved and landed.
//!
//! A pure fold. [`State::check`] says once, from an event's own causal past, whether it may be stored;
//! [`State::apply`] takes it in. The state is a function of the *set* of events applied (and of what
//! [`State::settle`] was told of the objects that they name): any order that respects causality gives the same.

mod authority;
mod landing;
mod pen;
mod proposal;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use authority::{Member, Void};
pub use landing::{BranchHeads, Landable, Landing, Unsettled};
pub use pen::Pen;
pub use proposal::{Approval, Proposal, ProposalState, Rejection, Revision};

use crate::eventlog::{Event, Frontier, Genesis, Head, Kind, Payload, Role};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, IdentityId, Lid, MemberId, ObjectId, PeerId, ProjectId};
use authority::{Authority, Past};
use landing::Landings;
use proposal::Proposals;

/// The rules of fold, merge and objects that this version knows.
pub const RULES: u16 = 1;

/// Why an event is never stored. Always the fault of whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It belongs to another project.
    #[error("it belongs to another project")]
    WrongProject,
    /// Events before it in its feed are not here.
    #[error("events before it in its feed were not sent")]
    Gap,
    /// An event that it names is not here.
    #[error("event {} in its past was not sent", .0.short())]
    MissingPast(EventId),
    /// Another event has its number in its feed.
    #[error("its feed has another event of the same number")]
    Forked,
    /// Its time is not above that of all it names.
    #[error("its time is not after its past")]
    Time,
    /// In its own past its author is no member.
    #[error("its author is no member in its own past")]
    NotAMember,
    /// Its payload names an event that its links do not, or one that is of another kind.
    #[error("its payload and its links do not agree")]
    Links,
    /// The identity's signature is wrong.
    #[error("the identity's signature does not hold")]
    Signature,
}

/// What became of the state with one event: values, for the node to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The project began.
    Founded,
    /// An identity got a role, as a new member or as one known.
    Granted {
        /// Which member.
        member: MemberId,
        /// By which feed.
        by: PeerId,
    },
    /// A member's feed began.
    FeedBegan {
        /// Which.
        feed: PeerId,
    },
    /// A branch was offered, or a new revision of one.
    Proposed {
        /// The proposal.
        proposal: EventId,
        /// The revision.
        revision: EventId,
    },
    /// A revision got an approval.
    Approved {
        /// The proposal.
        proposal: EventId,
        /// The approval.
        approval: EventId,
    },
    /// A revision was rejected.
    WasRejected {
        /// The proposal.
        proposal: EventId,
    },
    /// A proposal was taken back.
    Withdrawn {
        /// The proposal.
        proposal: EventId,
    },
    /// A landing became known.
    LandingKnown {
        /// Which.
        lid: Lid,
    },
    /// The event is stored and does not count.
    Void {
        /// Which.
        event: EventId,
        /// Why.
        why: Void,
    },
}

/// What is kept of every event held.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hlc: Hlc,
    kind: Kind,
    /// The grants in its past, itself included if it is one.
    closure: Past,
}

/// The state of one project.
#[derive(Debug, Clone)]
pub struct State {
    project: ProjectId,
    genesis: Option<(EventId, Genesis)>,
    events: HashMap<EventId, Entry>,
    frontier: Frontier,
    feed_hlc: BTreeMap<PeerId, Hlc>,
    /// Events that no other event held names.
    tips: BTreeSet<EventId>,
    latest: Hlc,
    authority: Authority,
    proposals: Proposals,
    landings: Landings,
    void: BTreeMap<EventId, Void>,
}

impl State {
    /// The state of no events.
    pub fn new(project: ProjectId) -> Self {
        Self {
            project,
            genesis: None,
            events: HashMap::new(),
            frontier: Frontier::default(),
            feed_hlc: BTreeMap::new(),
            tips: BTreeSet::new(),
            latest: Hlc::default(),
            authority: Authority::default(),
            proposals: Proposals::default(),
            landings: Landings::default(),
            void: BTreeMap::new(),
        }
    }

    /// May `event` be stored? `Ok(false)` where it is held already.
    ///
    /// # Errors
    /// [`Rejected`], the same on every peer that holds the event's past.
    pub fn check(&self, event: &Event) -> Result<bool, Rejected> {
        let body = event.body();
        if body.project != self.project {
            return Err(Rejected::WrongProject);
        }
        if self.events.contains_key(&event.id()) {
            return Ok(false);
        }
        let head = self.frontier.head(&body.author);
        match head {
            Some(head) if body.seq <= head.seq => return Err(Rejected::Forked),
            Some(head) if body.seq > head.seq + 1 => return Err(Rejected::Gap),
            None if body.seq > 0 => return Err(Rejected::Gap),
            Some(head) if body.prev != Some(head.id) => return Err(Rejected::Forked),
            Some(_) | None => {}
        }
        for dep in body.deps() {
            let entry = self.events.get(dep).ok_or(Rejected::MissingPast(*dep))?;
            if entry.hlc >= body.hlc {
                return Err(Rejected::Time);
            }
        }
        let identity = self.author_identity(event)?;
        event.verify_identity(&identity).map_err(|_| Rejected::Signature)?;
        self.check_links(event)?;
        Ok(true)
    }

    /// Whose feed it is, from the feed's first event.
    fn author_identity(&self, event: &Event) -> Result<IdentityId, Rejected> {
        let body = event.body();
        if let Some(identity) = self.authority.feed_identity(&body.author) {
            return Ok(identity);
        }
        match event.payload() {
            Payload::Genesis(genesis) if self.genesis.is_none() => {
                let names_nothing = body.seen.is_empty() && body.refs.is_empty();
                if genesis.project() != self.project || !names_nothing {
                    return Err(Rejected::WrongProject);
                }
                Ok(genesis.founder)
            }
            Payload::Certify(certify) => {
                let identity = certify.certificate.identity;
                certify.certificate.verify(&self.project, &body.author).map_err(|_| Rejected::Signature)?;
                let past = self.past_of(event);
                let member = self.authority.member_in(past.as_ref(), &identity);
                member.map(|_| identity).ok_or(Rejected::NotAMember)
            }
            _ => Err(Rejected::NotAMember),
        }
    }

    /// Every event that a payload names must be among its links, and be of the right kind.
    fn check_links(&self, event: &Event) -> Result<(), Rejected> {
        let body = event.body();
        let linked = |id: &EventId, kind: Kind| {
            let held = self.events.get(id).is_some_and(|entry| entry.kind == kind);
            let named = body.refs.binary_search(id).is_ok();
            if held && named { Ok(()) } else { Err(Rejected::Links) }
        };
        let carried = |lid: &Lid| {
            let carriers = self.landings.carriers(lid);
            let named = carriers.iter().any(|carrier| body.refs.binary_search(carrier).is_ok());
            if named { Ok(()) } else { Err(Rejected::Links) }
        };
        match event.payload() {
            Payload::Genesis(_) => (body.seq == 0).then_some(()).ok_or(Rejected::Links),
            Payload::Certify(_) => (body.seq == 0).then_some(()).ok_or(Rejected::Links),
            Payload::Grant(grant) => grant.invite.iter().try_for_each(|invite| linked(invite, Kind::INVITE)),
            Payload::Propose(propose) => propose.previous.iter().try_for_each(|id| linked(id, Kind::PROPOSE)),
            Payload::Approve(approve) => {
                linked(&approve.revision, Kind::PROPOSE)?;
                approve.onto.iter().try_for_each(carried)
            }
            Payload::Reject(reject) => linked(&reject.revision, Kind::PROPOSE),
            Payload::Withdraw(withdraw) => linked(&withdraw.revision, Kind::PROPOSE),
            Payload::Land(land) => {
                land.revision.iter().try_for_each(|id| linked(id, Kind::PROPOSE))?;
                land.approvals.iter().try_for_each(|id| linked(id, Kind::APPROVE))?;
                land.heads.iter().try_for_each(carried)
            }
            Payload::Vote(vote) => self.holds(&vote.on).then_some(()).ok_or(Rejected::Links),
            Payload::Invite(_)
            | Payload::Revoke(_)
            | Payload::Policy(_)
            | Payload::Link(_)
            | Payload::Ack(_)
            | Payload::Unknown(..) => Ok(()),
        }
    }

    /// The grants in the strict past of `event`, all of whose links are held.
    fn past_of(&self, event: &Event) -> std::borrow::Cow<'_, BTreeSet<EventId>> {
        let closures = event.body().deps().filter_map(|dep| self.events.get(dep)).map(|entry| entry.closure);
        self.authority.union(closures)
    }

    /// Takes in an event that [`State::check`] found new, and says what changed.
    pub fn apply(&mut self, event: &Event) -> Vec<Change> {
        let (id, body) = (event.id(), event.body());
        let past = self.past_of(event).into_owned();
        let mut changes = Vec::new();
        match event.payload() {
            Payload::Genesis(genesis) => {
                self.authority.found(id, body.author, genesis);
                self.landings.found(&self.project, id, body.hlc, genesis);
                self.genesis = Some((id, genesis.clone()));
                changes.push(Change::Founded);
            }
            Payload::Certify(certify) => {
                self.authority.begin_feed(body.author, certify.certificate.identity);
                changes.push(Change::FeedBegan { feed: body.author });
            }
            _ => {}
        }
        match self.meaning(event, &past) {
            Ok(more) => changes.extend(more),
            Err(why) => {
                self.void.insert(id, why);
                changes.push(Change::Void { event: id, why });
            }
        }
        let mut closure = past;
        if matches!(body.kind, Kind::GENESIS | Kind::GRANT) {
            closure.insert(id);
        }
        let closure = self.authority.intern(closure);
        for dep in body.deps() {
            self.tips.remove(dep);
        }
        self.tips.insert(id);
        self.events.insert(id, Entry { hlc: body.hlc, kind: body.kind, closure });
        self.frontier.advance(body.author, Head { seq: body.seq, id });
        self.feed_hlc.insert(body.author, body.hlc);
        self.latest = self.latest.max(body.hlc);
        changes
    }

    /// What an event does, or why it does not count.
    fn meaning(&mut self, event: &Event, past: &BTreeSet<EventId>) -> Result<Vec<Change>, Void> {
        let (id, body) = (event.id(), event.body());
        let Some(genesis) = self.genesis.as_ref().map(|(_, genesis)| genesis) else { return Ok(Vec::new()) };
        let policy = genesis.policy;
        let member = self.authority.feed_member(&body.author);
        let role = self.authority.role_in(past, &member);
        let need = |fits: fn(Role) -> bool| match role {
            Some(role) if fits(role) => Ok(()),
            Some(_) | None => Err(Void::Role),
        };
        let change = match event.payload() {
            Payload::Grant(grant) => {
                need(Role::maintains)?;
                self.authority.grant(id, body.hlc, grant)?;
                Change::Granted { member: grant.member, by: body.author }
            }
            Payload::Propose(propose) => {
                need(Role::proposes)?;
                if !self.landings.is_canonical(&propose.target) {
                    return Err(Void::NotCanonical);
                }
                let proposal = self.proposals.propose(id, body.author, member, body.hlc, propose);
                Change::Proposed { proposal, revision: id }
            }
            Payload::Approve(approve) => {
                need(Role::maintains)?;
                let proposal = self.proposals.approve(id, member, body.hlc, approve).ok_or(Void::Target)?;
                Change::Approved { proposal, approval: id }
            }
            Payload::Reject(reject) => {
                need(Role::maintains)?;
                let proposal = self.proposals.reject(id, member, body.hlc, reject).ok_or(Void::Target)?;
                Change::WasRejected { proposal }
            }
            Payload::Withdraw(withdraw) => {
                let proposal = self.proposals.withdraw(&member, withdraw).ok_or(Void::Target)?;
                Change::Withdrawn { proposal }
            }
            Payload::Land(land) => {
                need(|_| true)?;
                let maintainers = self.authority.maintainers_in(past);
                let met = |land: &crate::eventlog::Land| self.proposals.met(land, &policy, maintainers);
                let lid = self.landings.land(&self.project, id, body.hlc, land, met)?;
                Change::LandingKnown { lid }
            }
            Payload::Invite(_) => {
                need(Role::maintains)?;
                return Ok(Vec::new());
            }
            Payload::Genesis(_)
            | Payload::Certify(_)
            | Payload::Revoke(_)
            | Payload::Vote(_)
            | Payload::Policy(_)
            | Payload::Link(_)
            | Payload::Ack(_)
            | Payload::Unknown(..) => return Ok(Vec::new()),
        };
        Ok(vec![change])
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Its first event's id and content, once it is here.
    pub fn genesis(&self) -> Option<(&EventId, &Genesis)> {
        self.genesis.as_ref().map(|(id, genesis)| (id, genesis))
    }

    /// How far each feed is held.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The time of the latest event held.
    pub fn latest(&self) -> Hlc {
        self.latest
    }

    /// Is this event held?
    pub fn holds(&self, id: &EventId) -> bool {
        self.events.contains_key(id)
    }

    /// Why an event does not count; `None` where it does.
    pub fn void(&self, id: &EventId) -> Option<Void> {
        self.void.get(id).copied()
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.authority.members()
    }

    /// One member.
    pub fn member(&self, id: &MemberId) -> Option<Member<'_>> {
        self.authority.member(id)
    }

    /// The member of this handle, as shown.
    pub fn member_named(&self, handle: &str) -> Option<Member<'_>> {
        self.members().find(|member| member.handle == handle)
    }

    /// The member to whom an identity belongs.
    pub fn member_of_identity(&self, identity: &IdentityId) -> Option<MemberId> {
        self.authority.identity_member(identity)
    }

    /// The identity that certified a feed.
    pub fn identity_of_feed(&self, feed: &PeerId) -> Option<IdentityId> {
        self.authority.feed_identity(feed)
    }

    /// The member to whom a feed belongs.
    pub fn member_of_feed(&self, feed: &PeerId) -> Option<MemberId> {
        self.authority.feed_identity(feed).and_then(|identity| self.authority.identity_member(&identity))
    }

    /// How many grants rest on an invite.
    pub fn grants_on(&self, invite: &EventId) -> u64 {
        self.authority.grants_on(invite)
    }

    /// All feeds that have begun.
    pub fn feeds(&self) -> impl Iterator<Item = &PeerId> {
        self.authority.feeds()
    }

    /// The name under which a member is shown: the handle, longer where another had it first.
    pub fn handle(&self, id: &MemberId) -> String {
        self.member(id).map_or_else(|| id.short(), |member| member.handle)
    }

    /// Canonical branches, the default one first.
    pub fn canonical(&self) -> &[(BranchName, ObjectId)] {
        self.genesis.as_ref().map_or(&[], |(_, genesis)| &genesis.tips)
    }

    /// All proposals, oldest first.
    pub fn proposals(&self) -> impl Iterator<Item = Proposal<'_>> {
        self.proposals.all().map(|id| self.proposal(id).expect("the key of a proposal"))
    }

    /// One proposal.
    pub fn proposal(&self, id: &EventId) -> Option<Proposal<'_>> {
        let landed = |branch: &BranchName, commit: &ObjectId| self.landings.has_landed(branch, commit);
        self.proposals.proposal(id, landed)
    }

    /// The revision of an id.
    pub fn revision(&self, id: &EventId) -> Option<&Revision> {
        self.proposals.revision(id)
    }

    /// Is this commit somebody's revision?
    pub fn is_revision(&self, commit: &ObjectId) -> bool {
        self.proposals.is_revision(commit)
    }

    /// Approvals by different members that a proposal's last revision still needs, 0 where it has them.
    pub fn approvals_missing(&self, proposal: &Proposal<'_>) -> usize {
        let Some((_, genesis)) = self.genesis() else { return usize::MAX };
        let maintainers = self.members().filter(|member| member.role.maintains()).count();
        self.proposals.missing(proposal.last, &proposal.last.tip, &genesis.policy, maintainers)
    }

    /// The heads of a canonical branch.
    pub fn branch(&self, name: &BranchName) -> Option<BranchHeads<'_>> {
        self.landings.branch(name)
    }

    /// A landing.
    pub fn landing(&self, lid: &Lid) -> Option<&Landing> {
        self.landings.landing(lid)
    }

    /// An event that carries a landing, for `refs`.
    pub fn carrier(&self, lid: &Lid) -> Option<EventId> {
        self.landings.carriers(lid).first().copied()
    }

    /// Commits of the landings that no other known one is on, those to `without` left aside: with their objects,
    /// all below can be recomputed.
    pub fn newest(&self, without: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        self.landings.newest(without)
    }

    /// All events that carry a landing.
    pub fn carriers(&self, lid: &Lid) -> &[EventId] {
        self.landings.carriers(lid)
    }

    /// Landings whose commit is still to be recomputed from the objects, each after those that it is on.
    pub fn unsettled(&self) -> Vec<Unsettled> {
        self.landings.unsettled()
    }

    /// The objects say whether a landing's commit is what its fields give. Returns the branch if a head moved.
    pub fn settle(&mut self, lid: &Lid, sound: bool) -> Option<BranchName> {
        self.landings.settle(lid, sound)
    }

    /// The objects say that a commit is part of the canonical branch.
    pub fn contained(&mut self, branch: &BranchName, commit: ObjectId) {
        self.landings.contained(branch, commit);
    }

    /// Approved commits that have not landed: what any member's node may complete.
    pub fn landable(&self) -> Vec<Landable> {
        let Some((_, genesis)) = self.genesis() else { return Vec::new() };
        let maintainers = self.members().filter(|member| member.role.maintains()).count();
        let mut found = Vec::new();
        for proposal in self.proposals().filter(|proposal| proposal.state == ProposalState::Open) {
            for (commit, approvals) in self.proposals.approved(&proposal, &genesis.policy, maintainers) {
                let target = &proposal.last.target;
                let Some(branch) = self.branch(target).filter(|_| !self.landings.has_landed(target, &commit)) else {
                    continue;
                };
                found.push(Landable {
                    branch: target.clone(),
                    heads: branch.lids(),
                    head_commits: branch.commits(),
                    revision: Some(approvals.0),
                    tip: commit,
                    approvals: approvals.1,
                });
            }
        }
        found
    }

    /// Of several heads of a branch the two with the smallest ids: what any member's node may join.
    pub fn joinable(&self) -> Vec<Landable> {
        self.landings.joinable()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod oracle;
