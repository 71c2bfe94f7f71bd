//! What members do: offer, approve, reject, take back, admit. One thing at a time, from what their own node shows.

use std::sync::Arc;

use super::node::{GOVERNS, Node, keys};
use super::rng::Rng;
use crate::approval::{Proposal, ProposalState, RULES};
use crate::eventlog::{
    Approve, Event, Extensions, Genesis, Grant, Payload, Policy, Propose, Reject, Revoke, Role, SetPolicy, Target,
    Vote, Withdraw,
};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, MemberId, ObjectId, PeerId};

fn name(text: &str) -> BranchName {
    BranchName::new(text).expect("the name is plain")
}

/// The project that node 0 founds.
pub(super) fn genesis(approvals: u8, own_counts: bool) -> Genesis {
    let start = ObjectId::Sha1([7; 20]);
    Genesis {
        founder: keys(0).1.identity(),
        handle: Handle::new("m0").expect("the handle is plain"),
        founder_name: String::new(),
        name: "simulated".to_owned(),
        nonce: [0; 16],
        tips: vec![(name("main"), start)],
        roots: vec![start],
        rules: RULES,
        policy: Policy { approvals, own_counts },
        extensions: Extensions::default(),
    }
}

/// A role for the person of node `n`.
pub(super) fn grant(n: usize, role: Role) -> Payload {
    let identity = keys(n).1.identity();
    Payload::Grant(Grant {
        member: MemberId::of(&identity),
        identity,
        handle: Handle::new(format!("m{n}")).expect("the handle is plain"),
        name: String::new(),
        role,
        invite: None,
        extensions: Extensions::default(),
    })
}

impl Node {
    fn role(&self) -> Option<Role> {
        let member = self.state.member_of_identity(&self.identity.identity())?;
        self.state.member(&member).map(|member| member.role)
    }

    /// Proposals that wait, by their last revision and its commit.
    fn open(&self, mine: bool) -> Vec<(EventId, ObjectId)> {
        let me = self.state.member_of_identity(&self.identity.identity());
        let fits = |proposal: &Proposal<'_>| {
            proposal.state == ProposalState::Open && (Some(proposal.last.member) == me) == mine
        };
        self.state.proposals().filter(fits).map(|proposal| (proposal.last.id, proposal.last.tip)).collect()
    }

    /// A further event of this node's person.
    pub(super) fn act(&mut self, now: Millis, rng: &mut Rng, newcomers: &[usize]) {
        let Some(role) = self.role() else { return };
        match rng.below(100) {
            0..40 if role.proposes() => self.propose(now, rng),
            40..75 if role.maintains() => {
                let open = self.open(rng.chance(200));
                if let Some((revision, commit)) = rng.pick(&open).copied() {
                    self.approve(now, revision, commit);
                }
            }
            75..80 if role.maintains() => {
                if let Some((revision, _)) = rng.pick(&self.open(false)).copied() {
                    let reject = Reject { revision, reason: "no".to_owned(), extensions: Extensions::default() };
                    self.write(now, Payload::Reject(reject), vec![revision]);
                }
            }
            80..86 => {
                if let Some((revision, _)) = rng.pick(&self.open(true)).copied() {
                    let withdraw = Withdraw { revision, extensions: Extensions::default() };
                    self.write(now, Payload::Withdraw(withdraw), vec![revision]);
                }
            }
            86..92 if GOVERNS => self.govern(now, rng, role),
            86..100 if role.maintains() => {
                let roles = [Role::Maintainer, Role::Contributor, Role::Contributor, Role::Reader, Role::Seed];
                if let (Some(n), Some(role)) = (rng.pick(newcomers).copied(), rng.pick(&roles).copied()) {
                    self.write(now, grant(n, role), Vec::new());
                }
            }
            _ => {}
        }
        self.look(now);
    }

    /// Takes rights away, votes, or asks for more approvals; who is no maintainer can only leave.
    fn govern(&mut self, now: Millis, rng: &mut Rng, role: Role) {
        let me = self.state.member_of_identity(&self.identity.identity());
        let members: Vec<(MemberId, Vec<PeerId>)> =
            self.state.members().map(|member| (member.id, member.peers)).collect();
        let target = if role.maintains() {
            rng.pick(&members).cloned()
        } else {
            members.into_iter().find(|(member, _)| Some(*member) == me)
        };
        let what = if role.maintains() { rng.below(3) } else { 0 };
        match (what, target) {
            (0, Some((member, feeds))) => {
                let mut pins: Vec<EventId> =
                    feeds.iter().filter_map(|feed| self.state.frontier().head(feed)).map(|head| head.id).collect();
                pins.sort_unstable();
                let revoke = Revoke {
                    targets: vec![Target::Member(member)],
                    pins: pins.clone(),
                    reason: String::new(),
                    extensions: Extensions::default(),
                };
                self.write(now, Payload::Revoke(revoke), pins);
            }
            (1, _) => {
                let governs = |event: &&Arc<Event>| event.body().kind.governs();
                let events: Vec<EventId> =
                    self.log.order().iter().rev().filter(governs).take(4).map(|event| event.id()).collect();
                if let Some(on) = rng.pick(&events).copied() {
                    let vote = Vote { on, message: String::new(), extensions: Extensions::default() };
                    self.write(now, Payload::Vote(vote), vec![on]);
                }
            }
            _ => {
                let count = |rng: &mut Rng| u8::try_from(rng.between(1, 3)).unwrap_or(1);
                let policy = SetPolicy {
                    approvals: count(rng),
                    own_counts: rng.chance(500),
                    votes: count(rng),
                    rules: RULES,
                    extensions: Extensions::default(),
                };
                self.write(now, Payload::Policy(policy), Vec::new());
            }
        }
    }

    pub(super) fn propose(&mut self, now: Millis, rng: &mut Rng) {
        let tip = ObjectId::Sha1(rng.bytes20());
        let branch = name(["fix", "feature", "docs"][usize::from(rng.chance(500)) + usize::from(rng.chance(300))]);
        let me = self.state.member_of_identity(&self.identity.identity());
        let earlier = |proposal: &Proposal<'_>| {
            let mine = Some(proposal.last.member) == me && proposal.last.branch == branch;
            mine && proposal.state == ProposalState::Open
        };
        let previous = self.state.proposals().filter(earlier).last().map(|proposal| proposal.last.id);
        let propose = Propose {
            branch: branch.clone(),
            target: name("main"),
            tip,
            title: "a change".to_owned(),
            previous,
            extensions: Extensions::default(),
        };
        self.publish(tip);
        self.write(now, Payload::Propose(propose), previous.into_iter().collect());
    }

    /// Approves, and lands at once what has all that it needs.
    pub(super) fn approve(&mut self, now: Millis, revision: EventId, commit: ObjectId) -> Option<EventId> {
        if !self.held.contains(&commit) {
            return None;
        }
        let onto = self.state.branch(&name("main"))?.lids();
        let mut refs: Vec<EventId> = onto.iter().filter_map(|lid| self.state.carrier(lid)).collect();
        refs.push(revision);
        let approve = Approve { revision, commit, onto, message: String::new(), extensions: Extensions::default() };
        let approval = self.write(now, Payload::Approve(approve), refs)?;
        self.complete(now);
        Some(approval)
    }
}
