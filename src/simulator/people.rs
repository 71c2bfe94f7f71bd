//! What members do: offer, approve, reject, take back, admit. One thing at a time, from what their own node shows.

use super::node::{Node, keys};
use super::rng::Rng;
use crate::approval::{Proposal, ProposalState, RULES};
use crate::eventlog::{
    Approve, Extensions, Genesis, Grant, Kind, Link, Payload, Policy, Propose, Reject, Revoke, Role, SetPolicy, Target,
    Vote, Withdraw,
};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, MemberId, ObjectId};
use crate::limits;

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
        self.state.role(&member)
    }

    /// Proposals that wait, by their last revision and its commit.
    fn open(&self, mine: bool) -> Vec<(EventId, ObjectId)> {
        let me = self.state.member_of_identity(&self.identity.identity());
        let fits =
            |proposal: &Proposal| proposal.state == ProposalState::Open && (Some(proposal.last.member) == me) == mine;
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
            86..94 => self.govern(now, rng, role, newcomers),
            94..100 if role.maintains() => {
                let roles = [Role::Maintainer, Role::Contributor, Role::Contributor, Role::Reader, Role::Seed];
                if let (Some(n), Some(role)) = (rng.pick(newcomers).copied(), rng.pick(&roles).copied()) {
                    self.write(now, grant(n, role), Vec::new());
                }
            }
            _ => {}
        }
        self.look(now);
    }

    /// Takes rights away, votes, links a machine, or asks for more approvals; who is no maintainer can only leave, and
    /// see to the own machines.
    fn govern(&mut self, now: Millis, rng: &mut Rng, role: Role, newcomers: &[usize]) {
        let Some(me) = self.state.member_of_identity(&self.identity.identity()) else { return };
        match rng.below(if role.maintains() { 10 } else { 3 }) {
            0 => {
                if let Some(n) = rng.pick(newcomers).copied() {
                    let key = keys(n).1;
                    let proof = Link::prove(&self.state.project(), &me, &key);
                    let (identity, extensions) = (key.identity(), Extensions::default());
                    self.write(
                        now,
                        Payload::Link(Link { identity, proof, name: String::new(), extensions }),
                        Vec::new(),
                    );
                }
            }
            // A machine of one's own, perhaps this one.
            1 => {
                let own: Vec<Target> = self
                    .state
                    .members()
                    .into_iter()
                    .filter(|member| member.id == me)
                    .flat_map(|member| {
                        let feeds = member.peers.into_iter().map(Target::Feed);
                        member.identities.into_iter().map(Target::Identity).chain(feeds).collect::<Vec<_>>()
                    })
                    .collect();
                if let Some(target) = rng.pick(&own).copied().filter(|_| own.len() > 2) {
                    self.revoke(now, target, true);
                }
            }
            2 if rng.chance(200) => {
                self.revoke(now, Target::Member(me), true);
            }
            3 => self.set_policy(now, rng),
            4..8 => self.vote(now, rng),
            8 => self.take_again(now, rng),
            9 => {
                let members: Vec<MemberId> = self.state.members().into_iter().map(|member| member.id).collect();
                if let Some(member) = rng.pick(&members).copied().filter(|member| *member != me) {
                    let knows = rng.chance(800);
                    self.revoke(now, Target::Member(member), knows);
                }
            }
            _ => {}
        }
    }

    /// Takes rights away; what counts of the feeds is all that is known, or nothing.
    pub(super) fn revoke(&mut self, now: Millis, target: Target, up_to_here: bool) -> Option<EventId> {
        let mut pins = if up_to_here { self.state.pins(&[target]) } else { Vec::new() };
        pins.sort_unstable();
        pins.truncate(limits::EVENT_LINKS);
        let revoke = Revoke {
            targets: vec![target],
            pins: pins.clone(),
            reason: String::new(),
            extensions: Extensions::default(),
        };
        self.write(now, Payload::Revoke(revoke), pins)
    }

    /// Seconds one of the last things that may need votes.
    fn vote(&mut self, now: Millis, rng: &mut Rng) {
        let votable = |kind: Kind| matches!(kind, Kind::GRANT | Kind::REVOKE | Kind::POLICY);
        let latest = self.log.order().iter().rev().filter(|event| votable(event.body().kind));
        let events: Vec<EventId> = latest.take(4).map(|event| event.id()).collect();
        if let Some(on) = rng.pick(&events).copied() {
            self.second(now, on);
        }
    }

    pub(super) fn second(&mut self, now: Millis, on: EventId) {
        let vote = Vote { on, message: String::new(), extensions: Extensions::default() };
        self.write(now, Payload::Vote(vote), vec![on]);
    }

    /// Lets somebody in again who was removed, or gives a lower role by a revocation and a grant.
    fn take_again(&mut self, now: Millis, rng: &mut Rng) {
        let roles = [Role::Maintainer, Role::Contributor, Role::Reader];
        let n = usize::try_from(rng.below(8)).unwrap_or(0);
        let member = MemberId::of(&keys(n).1.identity());
        let Some(role) = rng.pick(&roles).copied() else { return };
        if self.state.member(&member).is_none() || rng.chance(500) {
            if self.state.role(&member).is_some() {
                self.revoke(now, Target::Member(member), true);
            }
            self.write(now, grant(n, role), Vec::new());
        }
    }

    fn set_policy(&mut self, now: Millis, rng: &mut Rng) {
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

    pub(super) fn propose(&mut self, now: Millis, rng: &mut Rng) {
        let tip = ObjectId::Sha1(rng.bytes20());
        let branch = name(["fix", "feature", "docs"][usize::from(rng.chance(500)) + usize::from(rng.chance(300))]);
        let me = self.state.member_of_identity(&self.identity.identity());
        let earlier = |proposal: &Proposal| {
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
        let mut refs = self.state.carriers_of(&onto);
        refs.push(revision);
        let approve = Approve { revision, commit, onto, message: String::new(), extensions: Extensions::default() };
        let approval = self.write(now, Payload::Approve(approve), refs)?;
        self.complete(now);
        Some(approval)
    }
}
