//! Writers without a network: real signed events, by keys that are made once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::naive::{Oracle, Refused};
use super::set::Set;
use crate::eventlog::{
    Ack, Approve, Certify, Draft, Event, Extensions, Genesis, Grant, Invite, Land, Link, Payload, Policy, Propose,
    Reject, Revoke, Role, SetPolicy, Tag, Target, Vote, Withdraw,
};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Handle, IdentityId, Lid, MemberId, ObjectId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};

/// Each person has this many identities; the first is what is granted.
pub(super) const IDENTITIES: usize = 3;

static KEYS: LazyLock<Vec<IdentityKey>> = LazyLock::new(|| {
    let seed = |n: u8| std::array::from_fn(|at| if at == 0 { 1 } else { n });
    (0..16 * IDENTITIES as u8).map(|n| IdentityKey(Secret::from_seed(seed(n)))).collect()
});

static FEEDS: LazyLock<Vec<FeedKey>> = LazyLock::new(|| {
    let seed = |n: u8| std::array::from_fn(|at| if at == 0 { 2 } else { n });
    (0..64).map(|n| FeedKey(Secret::from_seed(seed(n)))).collect()
});

/// A clone of a person on one of their machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hand {
    pub(super) person: usize,
    pub(super) machine: usize,
    pub(super) feed: usize,
}

impl Hand {
    /// The first clone of a person.
    pub(super) fn first(person: usize) -> Self {
        Self { person, machine: 0, feed: person }
    }

    fn key(self) -> &'static IdentityKey {
        &KEYS[self.person * IDENTITIES + self.machine]
    }

    pub(super) fn peer(self) -> PeerId {
        FEEDS[self.feed].peer()
    }
}

pub(super) fn identity(person: usize, machine: usize) -> IdentityId {
    KEYS[person * IDENTITIES + machine].identity()
}

pub(super) fn member(person: usize) -> MemberId {
    MemberId::of(&identity(person, 0))
}

pub(super) fn branch(name: &str) -> BranchName {
    BranchName::new(name).unwrap()
}

pub(super) fn commit(n: u8) -> ObjectId {
    ObjectId::Sha1([n; 20])
}

pub(super) fn grant(person: usize, role: Role) -> Payload {
    Payload::Grant(Grant {
        member: member(person),
        identity: identity(person, 0),
        handle: Handle::new(format!("p{person}")).unwrap(),
        name: String::new(),
        role,
        invite: None,
        extensions: Extensions::default(),
    })
}

pub(super) fn revoke(mut targets: Vec<Target>, mut pins: Vec<EventId>) -> Payload {
    targets.sort_unstable();
    targets.dedup();
    pins.sort_unstable();
    pins.dedup();
    Payload::Revoke(Revoke { targets, pins, reason: String::new(), extensions: Extensions::default() })
}

pub(super) fn vote(on: EventId) -> Payload {
    Payload::Vote(Vote { on, message: String::new(), extensions: Extensions::default() })
}

pub(super) fn policy(approvals: u8, own_counts: bool, votes: u8, rules: u16) -> Payload {
    Payload::Policy(SetPolicy { approvals, own_counts, votes, rules, extensions: Extensions::default() })
}

pub(super) fn ack() -> Payload {
    Payload::Ack(Ack { extensions: Extensions::default() })
}

/// One or two tags, of few names.
pub(super) fn tag(n: usize) -> Payload {
    let at = |name: usize| (branch(&format!("v{name}")), commit((n % 200) as u8), commit((n % 7) as u8));
    let tags = if n.is_multiple_of(2) { vec![at(n / 3 % 3)] } else { vec![at(0), at(2)] };
    Payload::Tag(Tag { tags, extensions: Extensions::default() })
}

pub(super) fn invite() -> Payload {
    let (key, role, extensions) = ([7; 32], Role::Reader, Extensions::default());
    Payload::Invite(Invite { key, role, expires: 1, uses: 1, extensions })
}

pub(super) fn propose(name: &str, target: &str, tip: ObjectId, previous: Option<EventId>) -> Payload {
    let (branch, target, title) = (branch(name), branch(target), String::new());
    Payload::Propose(Propose { branch, target, tip, title, previous, extensions: Extensions::default() })
}

pub(super) fn approve(revision: EventId, commit: ObjectId, mut onto: Vec<Lid>) -> Payload {
    onto.sort_unstable();
    onto.dedup();
    Payload::Approve(Approve { revision, commit, onto, message: String::new(), extensions: Extensions::default() })
}

pub(super) fn reject(revision: EventId) -> Payload {
    Payload::Reject(Reject { revision, reason: String::new(), extensions: Extensions::default() })
}

pub(super) fn withdraw(revision: EventId) -> Payload {
    Payload::Withdraw(Withdraw { revision, extensions: Extensions::default() })
}

/// A log: events in a causal order, those that must be refused, and what the objects say of landings.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) project: ProjectId,
    pub(super) events: Vec<Event>,
    pub(super) refused: Vec<Event>,
    pub(super) sound: BTreeMap<Lid, bool>,
}

/// A log that grows, with the oracle beside it.
pub(super) struct World {
    pub(super) oracle: Oracle,
    pub(super) log: Log,
    pub(super) genesis: EventId,
    /// The last event that was written on each feed.
    pub(super) last: BTreeMap<usize, EventId>,
    /// What the writers' clocks show.
    pub(super) now: u64,
}

impl World {
    /// A project of person 0, with branches `main` and `dev`.
    pub(super) fn found(approvals: u8, own_counts: bool) -> Self {
        let founder = Hand::first(0);
        let genesis = Genesis {
            founder: identity(0, 0),
            handle: Handle::new("p0").unwrap(),
            founder_name: String::new(),
            name: "oracle".to_owned(),
            nonce: [0; 16],
            tips: vec![(branch("main"), commit(0)), (branch("dev"), commit(0))],
            roots: vec![commit(0)],
            rules: 1,
            policy: Policy { approvals, own_counts },
            extensions: Extensions::default(),
        };
        let project = genesis.project();
        let log = Log { project, events: Vec::new(), refused: Vec::new(), sound: BTreeMap::new() };
        let oracle = Oracle::new(project, 1);
        let mut world = Self { oracle, log, genesis: EventId([0; 32]), last: BTreeMap::new(), now: 1_000 };
        world.genesis = world.write(founder, None, &[], Set::default(), Payload::Genesis(genesis)).unwrap();
        world
    }

    /// The landing with which a branch began.
    pub(super) fn first_landing(&self, name: &str) -> Lid {
        self.oracle.branches()[&branch(name)]
    }

    /// Writes an event after `prev`. Landings are named by carriers among `known`.
    pub(super) fn write(
        &mut self,
        hand: Hand,
        prev: Option<EventId>,
        seen: &[EventId],
        known: Set,
        payload: Payload,
    ) -> Result<EventId, Refused> {
        let carrier = |lid: &Lid| {
            let carrier = self.oracle.carriers(lid).find(|x| known.has(*x));
            self.oracle.id(carrier.expect("only known landings are named"))
        };
        let refs: Vec<EventId> = match &payload {
            Payload::Propose(propose) => propose.previous.into_iter().collect(),
            Payload::Approve(approve) => {
                [approve.revision].into_iter().chain(approve.onto.iter().map(carrier)).collect()
            }
            Payload::Reject(reject) => vec![reject.revision],
            Payload::Withdraw(withdraw) => vec![withdraw.revision],
            Payload::Land(land) => {
                let named = land.revision.into_iter().chain(land.approvals.iter().copied());
                named.chain(land.heads.iter().map(carrier)).collect()
            }
            Payload::Revoke(revoke) => revoke.pins.clone(),
            Payload::Vote(vote) => vec![vote.on],
            _ => Vec::new(),
        };
        let held = |id: &EventId| &self.oracle.nodes[self.oracle.index[id]].event;
        let deps = || prev.iter().chain(seen).chain(&refs);
        let latest = deps().map(|id| held(id).body().hlc).max().unwrap_or_default();
        let draft = Draft {
            project: self.oracle.project,
            seq: prev.map_or(0, |prev| held(&prev).body().seq + 1),
            prev,
            hlc: latest.next(self.now).max(Hlc::new(1, 0)),
            seen: seen.to_vec(),
            refs,
            payload,
        };
        let event = draft.sign(&FEEDS[hand.feed], hand.key()).expect("writers keep to the bounds");
        match self.oracle.add(&event) {
            Ok(()) => {
                let id = event.id();
                self.log.events.push(event);
                self.last.insert(hand.feed, id);
                Ok(id)
            }
            Err(why) => {
                if why != Refused::Held {
                    self.log.refused.push(event);
                }
                Err(why)
            }
        }
    }

    /// Writes after the last event of that feed, which a certificate begins if nothing does.
    pub(super) fn put(&mut self, hand: Hand, seen: &[EventId], payload: Payload) -> EventId {
        let prev = self.last.get(&hand.feed).copied();
        self.write(hand, prev, seen, self.oracle.all(), payload).unwrap()
    }

    pub(super) fn certificate(&self, hand: Hand) -> Payload {
        let certificate = hand.key().certify(&self.oracle.project, &hand.peer());
        Payload::Certify(Certify { certificate, extensions: Extensions::default() })
    }

    pub(super) fn link(&self, person: usize, to: usize, machine: usize) -> Payload {
        let key = &KEYS[to * IDENTITIES + machine];
        let proof = Link::prove(&self.oracle.project, &member(person), key);
        let (identity, name) = (key.identity(), String::new());
        Payload::Link(Link { identity, proof, name, extensions: Extensions::default() })
    }

    /// A landing of a revision's `tip`. Its commit follows from the rest, so equal ones are one.
    pub(super) fn land(
        &self,
        name: &str,
        mut heads: Vec<Lid>,
        revision: Option<EventId>,
        tip: ObjectId,
        mut approvals: Vec<EventId>,
        rules: u16,
    ) -> Land {
        heads.sort_unstable();
        heads.dedup();
        approvals.sort_unstable();
        approvals.dedup();
        let mut hasher = blake3::Hasher::new();
        heads.iter().for_each(|head| {
            hasher.update(&head.0);
        });
        hasher.update(tip.as_bytes());
        let hash = hasher.finalize();
        let new = ObjectId::Sha1(std::array::from_fn(|at| hash.as_bytes()[at]));
        let extensions = Extensions::default();
        Land { branch: branch(name), heads, revision, tip, approvals, new, rules, extensions }
    }

    /// A join of two heads.
    pub(super) fn join(&self, name: &str, heads: [Lid; 2]) -> Land {
        let smallest = heads[0].min(heads[1]);
        let tip = self.oracle.commit(&smallest).expect("heads are landings");
        self.land(name, heads.to_vec(), None, tip, Vec::new(), 1)
    }

    /// Says that the objects bear a landing out, and gives its id.
    pub(super) fn settle(&mut self, land: &Land, sound: bool) -> Lid {
        let lid = land.content().lid(&self.oracle.project);
        self.oracle.settle(lid, sound);
        self.log.sound.insert(lid, sound);
        lid
    }
}
