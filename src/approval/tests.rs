//! Random projects of a few peers: whatever order the events come in, the state is the same.

mod landings;
mod members;
mod stored;

use proptest::prelude::*;

use super::*;
use crate::eventlog::{
    Approve, Certify, Extensions, Grant, Invite, Land, LandingContent, Policy, Propose, Reject, Role, Target, Withdraw,
};
use crate::id::Handle;
use crate::keys::{FeedKey, IdentityKey, Secret};

/// One peer of a project without a network: it has its keys and the events it holds.
#[derive(Clone)]
struct Hand {
    feed: FeedKey,
    identity: IdentityKey,
    state: State,
    log: Vec<Event>,
    now: u64,
}

fn keys(n: u8) -> (FeedKey, IdentityKey) {
    (FeedKey(Secret::from_seed([n; 32])), IdentityKey(Secret::from_seed([n + 100; 32])))
}

fn oid(n: u8) -> ObjectId {
    ObjectId::Sha1([n; 20])
}

fn branch(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

fn genesis(identity: &IdentityKey) -> Genesis {
    Genesis {
        founder: identity.identity(),
        handle: Handle::new("ana").unwrap(),
        founder_name: "Ana".to_owned(),
        name: "payroll".to_owned(),
        nonce: [0; 16],
        tips: vec![(branch("main"), oid(0))],
        roots: vec![oid(0)],
        rules: RULES,
        policy: Policy { approvals: 1, own_counts: true },
        extensions: Extensions::default(),
    }
}

impl Hand {
    fn founder() -> Self {
        let (feed, identity) = keys(0);
        let genesis = genesis(&identity);
        let mut hand = Self { feed, identity, state: State::new(genesis.project()), log: vec![], now: 1_000 };
        hand.write(Payload::Genesis(genesis), vec![]);
        hand
    }

    fn joiner(n: u8, from: &Self) -> Self {
        let (feed, identity) = keys(n);
        let mut hand = Self { feed, identity, state: State::new(from.state.project()), log: vec![], now: from.now };
        hand.merge(from);
        let certificate = hand.identity.certify(&hand.state.project(), &hand.feed.peer());
        hand.write(Payload::Certify(Certify { certificate, extensions: Extensions::default() }), vec![]);
        hand
    }

    fn write(&mut self, payload: Payload, refs: Vec<EventId>) -> EventId {
        self.now += 1;
        let mut pen = self.state.pen(&self.feed.peer());
        let event = pen.write(self.now, payload, refs, &self.feed, &self.identity).unwrap();
        let event = Event::decode(event.bytes()).unwrap();
        assert!(self.state.take(event.clone()).unwrap().is_some());
        self.settle();
        self.log.push(event.clone());
        event.id()
    }

    fn merge(&mut self, other: &Self) {
        let mut missing: Vec<&Event> = other.log.iter().filter(|event| !self.state.holds(&event.id())).collect();
        missing.sort_by_key(|event| event.order());
        for event in missing {
            assert!(self.state.take(event.clone()).unwrap().is_some());
            self.log.push(event.clone());
        }
        self.settle();
    }

    /// Every landing's commit is what these tests make of its fields.
    fn settle(&mut self) {
        while let Some(next) = self.state.unsettled().into_iter().find(|next| next.waits_for.is_empty()) {
            let sound = next.content.new == merged(&next.heads, next.content.tip);
            self.state.settle(&next.lid, sound);
        }
    }

    fn grant(&mut self, n: u8, role: Role) -> EventId {
        let identity = keys(n).1.identity();
        let grant = Grant {
            member: MemberId::of(&identity),
            identity,
            handle: Handle::new(format!("m{n}")).unwrap(),
            name: String::new(),
            role,
            invite: None,
            extensions: Extensions::default(),
        };
        self.write(Payload::Grant(grant), vec![])
    }

    fn propose(&mut self, name: &str, tip: ObjectId) -> EventId {
        let mine = self.state.member_of_feed(&self.feed.peer()).unwrap();
        let open = |p: &Proposal| p.last.member == mine && p.last.branch.as_str() == name;
        let previous = self.state.proposals().filter(open).last().map(|proposal| proposal.last.id);
        let propose = Propose {
            branch: branch(name),
            target: branch("main"),
            tip,
            title: "t".to_owned(),
            previous,
            extensions: Extensions::default(),
        };
        self.write(Payload::Propose(propose), previous.into_iter().collect())
    }

    fn approve(&mut self, revision: EventId) -> EventId {
        let commit = self.state.revision(&revision).unwrap().tip;
        let onto = self.state.branch(&branch("main")).unwrap().lids();
        let mut refs: Vec<EventId> = onto.iter().filter_map(|lid| self.state.carrier(lid)).collect();
        refs.push(revision);
        let said = Approve { revision, commit, onto, message: String::new(), extensions: Extensions::default() };
        self.write(Payload::Approve(said), refs)
    }

    fn land(&mut self, landable: Landable) -> EventId {
        let new = merged(&landable.head_commits, landable.tip);
        let mut refs: Vec<EventId> = landable.heads.iter().filter_map(|lid| self.state.carrier(lid)).collect();
        refs.extend(landable.revision);
        refs.extend(&landable.approvals);
        let land = Land {
            branch: landable.branch,
            heads: landable.heads,
            revision: landable.revision,
            tip: landable.tip,
            approvals: landable.approvals,
            new,
            rules: RULES,
            extensions: Extensions::default(),
        };
        self.write(Payload::Land(land), refs)
    }

    fn main_tip(&self) -> Option<ObjectId> {
        self.state.branch(&branch("main")).unwrap().tip()
    }
}

/// Stands for the frozen merge: some commit that follows from the sides.
fn merged(heads: &[ObjectId], tip: ObjectId) -> ObjectId {
    let mut hasher = blake3::Hasher::new();
    heads.iter().for_each(|head| {
        hasher.update(head.as_bytes());
    });
    hasher.update(tip.as_bytes());
    ObjectId::Sha1(hasher.finalize().as_bytes()[..20].try_into().unwrap())
}

/// All that a state says, as text.
fn summary(state: &State) -> String {
    let members: Vec<_> = state.members();
    let mut proposals: Vec<_> =
        state.proposals().map(|p| (p.id, p.last.id, p.state, p.revisions, p.approvals.len())).collect();
    proposals.sort_by_key(|proposal| proposal.0);
    let main = state.branch(&branch("main"));
    let digest = state.frontier().digest();
    format!("{members:?}\n{proposals:?}\n{main:?}\n{:?}\n{digest:?}", state.landable())
}

/// The events in another order that respects causality, chosen by `choices`.
fn reordered(log: &[Event], choices: &[u16]) -> Vec<Event> {
    let mut left: Vec<&Event> = log.iter().collect();
    let mut done: BTreeSet<EventId> = BTreeSet::new();
    let mut out = Vec::new();
    for turn in 0.. {
        let ready: Vec<usize> =
            (0..left.len()).filter(|at| left[*at].body().deps().all(|dep| done.contains(dep))).collect();
        let Some(pick) = ready.get(choices[turn % choices.len()] as usize % ready.len().max(1)) else { break };
        let event = left.remove(*pick);
        done.insert(event.id());
        out.push(event.clone());
    }
    assert_eq!(out.len(), log.len());
    out
}

fn replay(log: &[Event], project: ProjectId) -> State {
    let mut hand = Hand::founder();
    hand.state = State::new(project);
    for event in log {
        assert!(hand.state.take(event.clone()).unwrap().is_some());
        hand.settle();
    }
    hand.state
}

/// Plays `steps` by four peers, each of whom hears of the others only now and then.
fn play(steps: &[(u8, u8, u8)]) -> Hand {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    ana.grant(2, Role::Contributor);
    ana.grant(3, Role::Reader);
    let mut hands: Vec<Hand> = vec![ana.clone()];
    hands.extend((1..4).map(|n| Hand::joiner(n, &ana)));
    for (who, what, which) in steps {
        let who = usize::from(*who) % hands.len();
        let other = hands[usize::from(*which) % hands.len()].clone();
        let hand = &mut hands[who];
        let revisions: Vec<EventId> = hand.state.proposals().map(|proposal| proposal.last.id).collect();
        let revision = (!revisions.is_empty()).then(|| revisions[usize::from(*which) % revisions.len()]);
        match (what % 9, revision) {
            (0 | 1, _) => hand.merge(&other),
            (2, _) => drop(hand.propose(["fix", "feature"][usize::from(which % 2)], oid(*which))),
            (3 | 4, Some(revision)) => drop(hand.approve(revision)),
            (5, Some(revision)) => {
                let said = Reject { revision, reason: String::new(), extensions: Extensions::default() };
                hand.write(Payload::Reject(said), vec![revision]);
            }
            (6, Some(revision)) => {
                let said = Withdraw { revision, extensions: Extensions::default() };
                hand.write(Payload::Withdraw(said), vec![revision]);
            }
            (7, _) => drop(hand.grant(which % 6, [Role::Contributor, Role::Maintainer][usize::from(which % 2)])),
            _ => {
                let mut could = hand.state.landable();
                could.extend(hand.state.joinable());
                if !could.is_empty() {
                    hand.land(could.swap_remove(usize::from(*which) % could.len()));
                }
            }
        }
    }
    let mut all = hands.remove(0);
    hands.iter().for_each(|hand| all.merge(hand));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_that_respects_causality_gives_the_same_state(
        steps in prop::collection::vec((0u8..4, 0u8..9, 0u8..40), 1..60),
        choices in prop::collection::vec(any::<u16>(), 16..64),
    ) {
        let all = play(&steps);
        let again = replay(&reordered(&all.log, &choices), all.state.project());
        prop_assert_eq!(summary(&again), summary(&all.state));
        prop_assert_eq!(again.digest(), all.state.digest());
    }
}

/// What it costs to fold a log again: printed, by hand. `cargo test --lib what_an_earlier -- --ignored --nocapture`
#[test]
#[ignore = "it measures, and takes a minute"]
#[expect(clippy::print_stdout, reason = "it prints figures")]
fn what_an_earlier_time_costs() {
    let mut ana = Hand::founder();
    let mut memory: Arc<crate::eventlog::rows::Memory> = Arc::default();
    for n in 0..1_000_u32 {
        let tip = ObjectId::Sha1(blake3::hash(&n.to_be_bytes()).as_bytes()[..20].try_into().unwrap());
        let revision = ana.propose(&format!("b{n}"), tip);
        ana.approve(revision);
        if n % 2 == 0 {
            let landable = ana.state.landable().pop().unwrap();
            ana.land(landable);
        }
        let layer = ana.state.begin_append().unwrap();
        ana.state.appended(Arc::new(crate::eventlog::rows::Memory::default()));
        Arc::make_mut(&mut memory).append(&layer);
        ana.state.appended(memory.clone());
    }
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
    };
    let events: Vec<Arc<Event>> = ana.log.drain(..).map(Arc::new).collect();
    let (before, begun) = (resident(), std::time::Instant::now());
    let mut earlier = ana.state.earlier();
    for event in &events {
        earlier.take(event).unwrap();
    }
    let then = earlier.finish(|_, _| false);
    let (each, count) = (begun.elapsed() / events.len() as u32, events.len() as u64);
    println!("{count} events: {each:?} and {} bytes each, beside the event itself", (resident() - before) / count);
    assert_eq!(summary(&then), summary(&ana.state));
}
