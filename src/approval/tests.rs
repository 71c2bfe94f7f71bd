//! Random projects of a few peers: whatever order the events come in, the state is the same.

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

#[test]
fn an_approved_revision_lands_and_the_landing_is_known_by_its_content() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    let mut bo = Hand::joiner(1, &ana);
    ana.merge(&bo);
    let revision = bo.propose("fix", oid(7));
    bo.approve(revision);
    ana.merge(&bo);
    let landable = ana.state.landable();
    assert_eq!(landable.len(), 1);
    ana.land(landable[0].clone());
    bo.land(landable[0].clone());
    ana.merge(&bo);
    bo.merge(&ana);
    assert_eq!(ana.main_tip(), Some(merged(&[oid(0)], oid(7))));
    assert_eq!(summary(&ana.state), summary(&bo.state), "two events, one landing");
    assert_eq!(ana.state.proposals().next().unwrap().state, ProposalState::Landed);
    assert!(ana.state.landable().is_empty());
}

#[test]
fn two_landings_made_apart_are_two_heads_until_they_are_joined() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    let mut bo = Hand::joiner(1, &ana);
    ana.merge(&bo);
    for (hand, name, tip) in [(&mut ana, "a", oid(1)), (&mut bo, "b", oid(2))] {
        let revision = hand.propose(name, tip);
        hand.approve(revision);
        let landable = hand.state.landable();
        hand.land(landable[0].clone());
    }
    ana.merge(&bo);
    bo.merge(&ana);
    assert_eq!((ana.main_tip(), bo.main_tip()), (None, None));
    assert_eq!(ana.state.joinable(), bo.state.joinable());
    let join = ana.state.joinable().remove(0);
    ana.land(join.clone());
    bo.land(join);
    ana.merge(&bo);
    bo.merge(&ana);
    assert!(ana.main_tip().is_some());
    assert_eq!(ana.main_tip(), bo.main_tip());
}

#[test]
fn a_contributors_approval_a_readers_proposal_and_an_unapproved_landing_are_void() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Contributor);
    ana.grant(2, Role::Reader);
    let (mut bo, mut carl) = (Hand::joiner(1, &ana), Hand::joiner(2, &ana));
    let revision = bo.propose("fix", oid(7));
    let approval = bo.approve(revision);
    assert_eq!(bo.state.void(&approval), Some(Void::Role));
    let offered = carl.propose("fix", oid(8));
    assert_eq!(carl.state.void(&offered), Some(Void::Role));
    let granted = bo.grant(4, Role::Maintainer);
    assert_eq!(bo.state.void(&granted), Some(Void::Role));
    let heads = bo.state.branch(&branch("main")).unwrap();
    let landable = Landable {
        branch: branch("main"),
        heads: heads.lids(),
        head_commits: heads.commits(),
        revision: Some(revision),
        tip: oid(7),
        approvals: vec![],
    };
    let landing = bo.land(landable);
    assert_eq!(bo.state.void(&landing), Some(Void::Policy));
    ana.merge(&bo);
    assert_eq!(ana.main_tip(), Some(oid(0)));
}

#[test]
fn a_landing_whose_commit_is_not_what_its_fields_give_moves_nothing() {
    let mut ana = Hand::founder();
    let revision = ana.propose("fix", oid(7));
    let approval = ana.approve(revision);
    let heads = ana.state.branch(&branch("main")).unwrap().lids();
    let mut refs: Vec<EventId> = heads.iter().filter_map(|lid| ana.state.carrier(lid)).collect();
    refs.extend([revision, approval]);
    let land = Land {
        branch: branch("main"),
        heads: heads.clone(),
        revision: Some(revision),
        tip: oid(7),
        approvals: vec![approval],
        new: oid(66),
        rules: RULES,
        extensions: Extensions::default(),
    };
    ana.write(Payload::Land(land), refs);
    assert_eq!(ana.main_tip(), Some(oid(0)));
    assert_eq!(ana.state.branch(&branch("main")).unwrap().lids(), heads);
}

#[test]
fn what_does_not_rest_on_its_own_past_is_never_stored() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Contributor);
    let mut bo = Hand::joiner(1, &ana);
    let first = bo.propose("fix", oid(1));
    bo.propose("fix", oid(2));
    let [certificate, propose, again] = [2, 3, 4].map(|at| bo.log[at].clone());
    assert_eq!(propose.id(), first);
    assert_eq!(ana.state.check(&propose).unwrap_err(), Rejected::Gap, "its feed has not begun here");
    assert!(ana.state.take(certificate.clone()).unwrap().is_some());
    assert!(ana.state.check(&certificate).unwrap().is_none());
    assert_eq!(ana.state.check(&again).unwrap_err(), Rejected::Gap);
    assert_eq!(State::new(ProjectId([1; 32])).check(&propose).unwrap_err(), Rejected::WrongProject);

    // A stranger certifies itself; a member's copy writes a second event of one number.
    let (feed, identity) = keys(9);
    let certificate = identity.certify(&ana.state.project(), &feed.peer());
    let certify = Payload::Certify(Certify { certificate, extensions: Extensions::default() });
    let event = ana.state.pen(&feed.peer()).write(2_000, certify, vec![], &feed, &identity).unwrap();
    assert_eq!(ana.state.check(&event).unwrap_err(), Rejected::NotAMember);
    let mut copy = Hand::joiner(1, &ana);
    copy.log.retain(|event| event.body().author != copy.feed.peer());
    copy.state = replay(&copy.log, ana.state.project());
    let fork = copy.state.pen(&copy.feed.peer());
    let certificate = copy.identity.certify(&ana.state.project(), &copy.feed.peer());
    let certify = Payload::Certify(Certify { certificate, extensions: Extensions::default() });
    let event = fork.clone().write(9_000, certify, vec![], &copy.feed, &copy.identity).unwrap();
    assert!(ana.state.check(&event).unwrap().unwrap().forks());

    // The identity's signature is by another key.
    let invite = Payload::Invite(Invite {
        key: [1; 32],
        role: Role::Reader,
        expires: 0,
        uses: 1,
        extensions: Extensions::default(),
    });
    let event = ana.state.pen(&ana.feed.peer()).write(9_000, invite, vec![], &ana.feed, &identity).unwrap();
    assert_eq!(ana.state.check(&event).unwrap_err(), Rejected::Signature);

    // A payload that speaks of an event which its links do not name.
    let revision = ana.state.genesis().map(|(id, _)| *id).unwrap();
    let said = Payload::Withdraw(Withdraw { revision, extensions: Extensions::default() });
    let event = ana.state.pen(&ana.feed.peer()).write(9_000, said, vec![revision], &ana.feed, &ana.identity).unwrap();
    assert_eq!(ana.state.check(&event).unwrap_err(), Rejected::Links);
}

#[test]
fn a_handle_stays_with_the_member_who_had_it_first() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    let mut bo = Hand::joiner(1, &ana);
    let same_handle = |n: u8| {
        let identity = keys(n).1.identity();
        Payload::Grant(Grant {
            member: MemberId::of(&identity),
            identity,
            handle: Handle::new("carl").unwrap(),
            name: String::new(),
            role: Role::Reader,
            invite: None,
            extensions: Extensions::default(),
        })
    };
    bo.now += 50;
    bo.write(same_handle(5), vec![]);
    ana.write(same_handle(6), vec![]);
    ana.merge(&bo);
    let named = ana.state.member_named("carl").unwrap();
    assert_eq!(named.id, MemberId::of(&keys(6).1.identity()));
    let other = ana.state.handle(&MemberId::of(&keys(5).1.identity()));
    assert!(other.starts_with("carl-") && other.len() == 9, "{other}");
}

#[test]
fn a_genesis_landing_has_an_id_of_its_project() {
    let genesis = genesis(&keys(0).1);
    let content: LandingContent = genesis.landing(&branch("main")).unwrap();
    assert_ne!(content.lid(&ProjectId([1; 32])), content.lid(&ProjectId([2; 32])));
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

#[test]
fn a_removal_that_needs_votes_says_how_many_and_whose() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    let mut bo = Hand::joiner(1, &ana);
    bo.grant(2, Role::Maintainer);
    let mut cleo = Hand::joiner(2, &bo);
    // Cleo came after Bo, so Bo goes only by a vote of two of the three.
    let bos = MemberId::of(&keys(1).1.identity());
    let mut pins = cleo.state.pins(&[Target::Member(bos)]);
    pins.sort_unstable();
    let revoke = crate::eventlog::Revoke {
        targets: vec![Target::Member(bos)],
        pins: pins.clone(),
        reason: String::new(),
        extensions: Extensions::default(),
    };
    let removal = cleo.write(Payload::Revoke(revoke), pins);
    ana.merge(&cleo);
    let ballots = ana.state.ballots();
    let anas = MemberId::of(&keys(0).1.identity());
    assert_eq!(ballots.len(), 1);
    assert_eq!((ballots[0].on, ballots[0].needs), (removal, 1));
    assert_eq!(ballots[0].can_vote, [anas].into());
    assert_ne!(ana.state.role(&bos), None);
    let vote = crate::eventlog::Vote { on: removal, message: String::new(), extensions: Extensions::default() };
    ana.write(Payload::Vote(vote), vec![removal]);
    assert_eq!(ana.state.ballots(), []);
    assert_eq!(ana.state.role(&bos), None);
    let feed = keys(1).0.peer();
    assert_eq!(ana.state.removal(&keys(1).1.identity(), &feed), Some(removal));
    // The digest is that of the events, whatever the order, and another without the vote.
    assert_eq!(replay(&ana.log, ana.state.project()).digest(), ana.state.digest());
    assert_ne!(cleo.state.digest(), ana.state.digest());
}

#[test]
fn a_second_removal_does_not_bring_in_what_the_first_cut_off() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Contributor);
    let mut bo = Hand::joiner(1, &ana);
    ana.merge(&bo);
    let mut cleo = ana.clone();
    let feed = keys(1).0.peer();
    let remove = |by: &mut Hand, target: Target| {
        let mut pins = by.state.pins(&[target]);
        pins.sort_unstable();
        let revoke = crate::eventlog::Revoke {
            targets: vec![target],
            pins: pins.clone(),
            reason: String::new(),
            extensions: Extensions::default(),
        };
        by.write(Payload::Revoke(revoke), pins)
    };
    // The clone is taken off; what it wrote meanwhile comes to Ana alone.
    remove(&mut ana, Target::Feed(feed));
    cleo.merge(&ana);
    let late = bo.propose("late", oid(7));
    ana.merge(&bo);
    assert!(ana.state.holds(&late) && !ana.state.is_logged(&late));
    // Bo goes, comes back with another clone, and goes again. Cleo follows without ever needing what was cut off.
    for _ in 0..2 {
        remove(&mut ana, Target::Member(MemberId::of(&keys(1).1.identity())));
        ana.grant(1, Role::Contributor);
    }
    assert!(!ana.state.is_logged(&late));
    ana.log.retain(|event| event.id() != late);
    cleo.merge(&ana);
    assert_eq!(cleo.state.digest(), ana.state.digest());
}

fn policy(rules: u16) -> Payload {
    let (approvals, own_counts, votes, extensions) = (1, true, 1, Extensions::default());
    Payload::Policy(crate::eventlog::SetPolicy { approvals, own_counts, votes, rules, extensions })
}

/// Of rights, critical, and of no version that there is.
const LATER: Kind = Kind(0o763);

#[test]
fn what_a_later_version_decides_is_not_decided_here() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Contributor);
    ana.write(policy(2), vec![]);
    assert_eq!(ana.state.needs_rules(), Some(2));
    let bos = MemberId::of(&keys(1).1.identity());
    let apart = ana.clone();
    let later = ana.write(Payload::Unknown(LATER, vec![1]), vec![]);
    // What rests on it is stored, whoever wrote it, and changes nothing here.
    let role = ana.grant(1, Role::Maintainer);
    let stranger = ana.grant(2, Role::Contributor);
    for id in [later, role, stranger] {
        assert_eq!(ana.state.void(&id), Some(Void::Newer(2)));
    }
    let mut cleo = Hand::joiner(2, &ana);
    let offer = cleo.propose("work", oid(3));
    ana.merge(&cleo);
    assert_eq!((ana.state.role(&bos), ana.state.members().len()), (Some(Role::Contributor), 2));
    assert_eq!(ana.state.void(&offer), Some(Void::Newer(2)));
    assert_eq!(ana.state.open_proposals().count(), 0);
    assert!(ana.state.branch(&branch("main")).unwrap().needs_upgrade);
    // What was decided without knowing of it holds.
    let bo = Hand::joiner(1, &apart);
    ana.merge(&bo);
    assert_eq!(ana.state.void(&bo.log.last().unwrap().id()), None);
    assert_eq!(replay(&ana.log, ana.state.project()).digest(), ana.state.digest());
}

#[test]
fn a_kind_that_the_rules_do_not_have_means_nothing() {
    let mut ana = Hand::founder();
    let nothing = ana.write(Payload::Unknown(LATER, vec![1]), vec![]);
    let other = ana.write(Payload::Unknown(Kind(0o761), vec![1]), vec![]);
    let harmless = ana.write(Payload::Unknown(Kind(0o762), vec![1]), vec![]);
    ana.grant(1, Role::Contributor);
    assert_eq!(ana.state.void(&nothing), Some(Void::Kind));
    assert_eq!(ana.state.void(&other), Some(Void::Kind));
    assert_eq!(ana.state.void(&harmless), None);
    assert_eq!((ana.state.needs_rules(), ana.state.members().len()), (None, 2));
}

#[test]
fn what_comes_to_hold_by_a_vote_is_told_with_that_vote() {
    let mut ana = Hand::founder();
    ana.grant(1, Role::Maintainer);
    let two = crate::eventlog::SetPolicy {
        approvals: 1,
        own_counts: true,
        votes: 2,
        rules: 1,
        extensions: Extensions::default(),
    };
    ana.write(Payload::Policy(two), vec![]);
    let mut bo = Hand::joiner(1, &ana);
    let grant = ana.grant(2, Role::Contributor);
    assert_eq!((ana.state.void(&grant), ana.state.members().len()), (Some(Void::Votes), 2));
    bo.merge(&ana);
    let vote = crate::eventlog::Vote { on: grant, message: String::new(), extensions: Extensions::default() };
    bo.write(Payload::Vote(vote), vec![grant]);
    let mut changes = Vec::new();
    for event in bo.log.iter().filter(|event| event.body().author == bo.feed.peer()) {
        changes.extend(ana.state.take(event.clone()).unwrap().unwrap_or_default());
    }
    assert!(changes.contains(&Change::Seconded { on: grant }), "{changes:?}");
    assert_eq!(ana.state.members().len(), 3);
}
