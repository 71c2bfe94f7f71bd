//! Random logs: people who know different parts of the log and write on, honestly or not.

use super::rng::Rng;
use super::set::Set;
use super::world::{
    Hand, IDENTITIES, Log, World, ack, approve, branch, commit, grant, identity, invite, member, policy, propose,
    reject, revoke, tag, vote, withdraw,
};
use crate::eventlog::{Event, Kind, Payload, Role, Target};
use crate::id::{EventId, Lid};

/// What a log is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    /// Grants, revocations, votes.
    Rights,
    /// Several machines and clones of each member.
    Machines,
    /// Proposals, approvals, landings, joins.
    Landings,
    /// Feeds that fork.
    Forks,
    /// Landings against revocations and policies that came beside them.
    Heists,
    /// Revocations against each other.
    Duels,
    /// Removals of those who were let in again.
    Returns,
    /// Events of kinds that are not known here, under rules that are known or not.
    Versions,
}

impl Style {
    pub(super) const ALL: [Self; 8] = [
        Self::Rights,
        Self::Machines,
        Self::Landings,
        Self::Forks,
        Self::Heists,
        Self::Duels,
        Self::Returns,
        Self::Versions,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rights => "rights",
            Self::Machines => "machines",
            Self::Landings => "landings",
            Self::Forks => "forks",
            Self::Heists => "heists",
            Self::Duels => "duels",
            Self::Returns => "returns",
            Self::Versions => "versions",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.name() == name)
    }

    /// The log of a seed.
    pub(super) fn log(self, seed: u64) -> Log {
        match self {
            Self::Duels => super::duels::log(seed),
            _ => Writers::new(self, seed).run(),
        }
    }

    fn weights(self) -> [usize; ACTIONS.len()] {
        // In the order of `ACTIONS`.
        match self {
            Self::Rights => [6, 22, 16, 10, 9, 2, 2, 4, 6, 0, 3, 3, 3, 1, 1, 0],
            Self::Machines => [6, 16, 8, 6, 2, 14, 14, 8, 3, 2, 3, 3, 3, 1, 1, 0],
            Self::Landings => [2, 5, 3, 2, 4, 1, 1, 1, 1, 0, 14, 26, 26, 12, 4, 0],
            Self::Forks => [6, 8, 4, 4, 1, 2, 2, 2, 2, 22, 8, 10, 10, 3, 1, 0],
            Self::Heists => [2, 16, 10, 1, 7, 0, 0, 1, 2, 2, 3, 26, 26, 16, 1, 0],
            Self::Duels => [1; ACTIONS.len()],
            Self::Returns => [4, 2, 6, 6, 1, 4, 4, 1, 1, 4, 6, 4, 3, 1, 1, 0],
            Self::Versions => [3, 9, 5, 9, 9, 2, 3, 1, 2, 1, 8, 12, 14, 6, 1, 12],
        }
    }
}

/// These events in another order that causality allows.
pub(super) fn shuffled(events: &[Event], rng: &mut Rng) -> Vec<Event> {
    let mut left: Vec<&Event> = events.iter().collect();
    let mut done = std::collections::BTreeSet::new();
    let mut order = Vec::new();
    while !left.is_empty() {
        let free: Vec<usize> =
            (0..left.len()).filter(|at| left[*at].body().deps().all(|dep| done.contains(dep))).collect();
        let next = rng.pick(&free).expect("a log is in causal order");
        let event = left.remove(next);
        done.insert(event.id());
        order.push(event.clone());
    }
    order
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Ack,
    Revoke,
    Vote,
    Grant,
    Policy,
    Link,
    Clone,
    Leave,
    Demote,
    Fork,
    Propose,
    Approve,
    Land,
    Join,
    TakeBack,
    Newer,
}

const ACTIONS: [Action; 16] = [
    Action::Ack,
    Action::Revoke,
    Action::Vote,
    Action::Grant,
    Action::Policy,
    Action::Link,
    Action::Clone,
    Action::Leave,
    Action::Demote,
    Action::Fork,
    Action::Propose,
    Action::Approve,
    Action::Land,
    Action::Join,
    Action::TakeBack,
    Action::Newer,
];

/// One clone, with what it has heard of.
pub(super) struct Writer {
    pub(super) hand: Hand,
    pub(super) known: Set,
    head: Option<usize>,
}

pub(super) struct Writers {
    style: Style,
    pub(super) rng: Rng,
    pub(super) world: World,
    pub(super) writers: Vec<Writer>,
    people: Vec<usize>,
    feeds: usize,
}

/// People who are strangers at first.
const STRANGERS: [usize; 2] = [12, 13];

impl Writers {
    fn new(style: Style, seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(8).wrapping_add(style as u64));
        let world = World::found(if rng.chance(25) { 2 } else { 1 }, rng.chance(70));
        let maintainers = rng.between(if style == Style::Heists { 3 } else { 2 }, 5);
        let contributors = rng.below(4);
        let people: Vec<usize> = (0..maintainers + contributors).collect();
        let founder = Writer { hand: Hand::first(0), known: Set::default().with(0), head: Some(0) };
        let mut all = Self { style, rng, world, writers: vec![founder], people, feeds: 20 };
        for person in 1..all.people.len() {
            let other = if all.rng.chance(85) { Role::Contributor } else { Role::Reader };
            all.write(0, false, |_, _| {
                Some(grant(person, if person < maintainers { Role::Maintainer } else { other }))
            });
        }
        let known = all.writers[0].known;
        let first = |person: &usize| Writer { hand: Hand::first(*person), known, head: None };
        let others: Vec<Writer> = all.people[1..].iter().map(first).collect();
        all.writers.extend(others);
        if style == Style::Heists {
            for n in 1..4 {
                all.write(0, false, |_, _| Some(propose("a", "main", commit(n), None)));
            }
        }
        all
    }

    /// In a heist everybody sees the whole log, or says that they saw it only up to some point.
    fn look_up(&mut self, writer: usize) {
        let all = self.world.oracle.nodes.len();
        let until = if self.rng.chance(60) { all } else { self.rng.between(all / 3, all) };
        let own = self.writers[writer].head.map(|head| self.world.oracle.past(head).with(head)).unwrap_or_default();
        self.writers[writer].known = (0..until).collect::<Set>().union(own);
    }

    fn run(mut self) -> Log {
        let steps = if self.style == Style::Returns { self.rng.between(5, 30) } else { self.rng.between(20, 80) };
        for _ in 0..steps {
            let writer = self.rng.below(self.writers.len());
            if self.style == Style::Heists {
                self.look_up(writer);
            } else if self.rng.chance(45) {
                let other = self.rng.below(self.writers.len());
                self.writers[writer].known = self.writers[writer].known.union(self.writers[other].known);
                continue;
            }
            self.world.now = 1_000 + self.rng.below(60) as u64 * 100;
            let action = ACTIONS[self.rng.weighted(&self.style.weights())];
            self.act(writer, action);
        }
        match self.style {
            Style::Heists => self.heist(),
            Style::Returns => self.returns(),
            _ => {}
        }
        let mut lids: Vec<Lid> = self.world.oracle.carried_by.keys().copied().collect();
        lids.sort_unstable();
        for lid in lids {
            let sound = self.rng.weighted(&[88, 6, 6]);
            if sound < 2 {
                self.world.log.sound.insert(lid, sound == 0);
            }
        }
        self.world.log
    }

    fn act(&mut self, writer: usize, action: Action) {
        let hide = self.style != Style::Heists && self.rng.chance(30);
        match action {
            // One of three acks tags something instead, chosen so that logs made by earlier versions stay as they are.
            Action::Ack => self.write(writer, hide, |all, _| {
                let tags = all.world.log.events.len();
                let ack = if tags.is_multiple_of(3) { tag(tags) } else { ack() };
                Some(if all.rng.chance(80) { ack } else { invite() })
            }),
            Action::Revoke => self.write(writer, hide, Self::revocation),
            Action::Vote => self.write(writer, hide, Self::vote),
            Action::Grant => self.grant(writer, hide),
            Action::Policy => self.write(writer, hide, |all, _| {
                let rules = if all.rng.chance(if all.style == Style::Versions { 60 } else { 25 }) { 2 } else { 1 };
                Some(policy(all.rng.between(1, 2) as u8, all.rng.chance(60), all.rng.between(1, 2) as u8, rules))
            }),
            Action::Link => self.link(writer, hide),
            Action::Clone => {
                let hand = Hand { feed: self.feeds, ..self.writers[writer].hand };
                self.begin(hand, self.writers[writer].known);
                self.write(self.writers.len() - 1, hide, |_, _| Some(ack()))
            }
            Action::Leave => {
                let person = self.writers[writer].hand.person;
                self.write(writer, hide, |all, known| all.leave(person, known));
            }
            Action::Demote => {
                let mut who = None;
                self.write(writer, false, |all, known| {
                    let person = all.rng.pick(&all.people)?;
                    who = Some(person);
                    let targets = vec![Target::Member(member(person))];
                    let pins = all.pins(&targets, known);
                    Some(revoke(targets, pins))
                });
                let role = self.rng.pick(&[Role::Contributor, Role::Reader, Role::Seed, Role::Maintainer]);
                if let (Some(person), Some(role)) = (who, role) {
                    self.write(writer, false, |_, _| Some(grant(person, role)));
                }
            }
            Action::Fork => self.fork(writer),
            Action::Propose => self.write(writer, hide, |all, known| {
                let earlier = all.of_kind(known, |payload| matches!(payload, Payload::Propose(_)));
                let previous = if all.rng.chance(40) { all.rng.pick(&earlier) } else { None };
                let target = if all.rng.chance(85) { "main" } else { "dev" };
                let name = all.rng.pick(&["a", "b"])?;
                Some(propose(name, target, commit(all.rng.between(1, 6) as u8), previous.map(|x| all.id(x))))
            }),
            Action::Approve => self.write(writer, hide, Self::approval),
            Action::Land => self.write(writer, hide, Self::landing),
            Action::Join => self.write(writer, hide, |all, known| {
                let name = if all.rng.chance(85) { "main" } else { "dev" };
                let from = if all.rng.chance(80) { all.tops(known, name) } else { all.lids(known, name) };
                let heads: [Lid; 2] = all.rng.sample(&from, 2).try_into().ok()?;
                Some(Payload::Land(all.world.join(name, heads)))
            }),
            Action::TakeBack => self.write(writer, hide, |all, known| {
                let offers = all.of_kind(known, |payload| matches!(payload, Payload::Propose(_)));
                let offer = all.rng.pick(&offers).map(|x| all.id(x))?;
                Some(if all.rng.chance(70) { withdraw(offer) } else { reject(offer) })
            }),
            Action::Newer => self.write(writer, hide, |all, _| {
                // Of rights, of landings, of neither; and one that is not critical.
                let kind = [0o763, 0o765, 0o761, 0o762][all.rng.weighted(&[60, 20, 10, 10])];
                Some(Payload::Unknown(Kind(kind), b"from later".to_vec()))
            }),
        }
    }

    pub(super) fn id(&self, x: usize) -> EventId {
        self.world.oracle.id(x)
    }

    pub(super) fn of_kind(&self, known: Set, is: impl Fn(&Payload) -> bool) -> Vec<usize> {
        known.iter().filter(|x| is(self.world.oracle.payload(*x))).collect()
    }

    /// Those that no other of them names.
    fn tips(&self, known: Set) -> Vec<usize> {
        let below = known.iter().fold(Set::default(), |below, x| below.union(self.world.oracle.past(x)));
        known.iter().filter(|x| !below.has(*x)).collect()
    }

    /// Writes what `payload` makes of what the author lets be seen of their knowledge.
    pub(super) fn write(&mut self, writer: usize, hide: bool, payload: impl FnOnce(&mut Self, Set) -> Option<Payload>) {
        if self.writers[writer].head.is_none() {
            let certificate = self.world.certificate(self.writers[writer].hand);
            let known = self.writers[writer].known;
            self.write_after(writer, None, self.tips(known), |_, _| Some(certificate));
        }
        let Some(head) = self.writers[writer].head else { return };
        let own = self.world.oracle.past(head).with(head);
        let known = self.writers[writer].known;
        let mut seen = self.tips(known.only(|x| !own.has(x)));
        if hide {
            let few = self.rng.below(2);
            seen = self.rng.sample(&seen, few);
        }
        self.write_after(writer, Some(head), seen, payload);
    }

    fn write_after(
        &mut self,
        writer: usize,
        prev: Option<usize>,
        seen: Vec<usize>,
        payload: impl FnOnce(&mut Self, Set) -> Option<Payload>,
    ) {
        let named = prev.into_iter().chain(seen.iter().copied());
        let known = named.fold(Set::default(), |known, x| known.union(self.world.oracle.past(x)).with(x));
        let Some(payload) = payload(self, known) else { return };
        let ids: Vec<EventId> = seen.iter().map(|x| self.id(*x)).collect();
        let hand = self.writers[writer].hand;
        if self.world.write(hand, prev.map(|prev| self.id(prev)), &ids, known, payload).is_ok() {
            let at = self.world.oracle.nodes.len() - 1;
            let writer = &mut self.writers[writer];
            writer.head = Some(at);
            writer.known = writer.known.union(self.world.oracle.past(at)).with(at);
        }
    }

    fn begin(&mut self, hand: Hand, known: Set) {
        if !self.writers.iter().any(|writer| writer.hand == hand) {
            self.feeds += usize::from(hand.feed == self.feeds);
            self.writers.push(Writer { hand, known, head: None });
        }
    }

    /// The last events of each feed of the targets; now and then lower ones, or not all.
    pub(super) fn pins(&mut self, targets: &[Target], known: Set) -> Vec<EventId> {
        let mut pins = Vec::new();
        let theirs = known.only(|x| self.world.oracle.concerns(targets, x));
        let follows = |x: usize, y: usize| x != y && self.world.oracle.on_chain(x, y);
        let last: Vec<usize> = theirs.iter().filter(|x| !theirs.iter().any(|y| follows(*x, y))).collect();
        let lower = if self.style == Style::Heists { 40 } else { 8 };
        for pin in last {
            match self.rng.weighted(&[85, lower, 7]) {
                0 => pins.push(self.id(pin)),
                1 => pins.extend(self.world.oracle.nodes[pin].event.body().prev),
                _ => {}
            }
        }
        pins
    }

    fn revocation(&mut self, known: Set) -> Option<Payload> {
        let mut people = self.people.clone();
        people.push(STRANGERS[0]);
        let count = self.rng.between(1, 2);
        let machines = self.style == Style::Machines;
        let mut targets = Vec::new();
        for person in self.rng.sample(&people, count) {
            targets.push(match self.rng.weighted(if machines { &[5, 4, 3] } else { &[18, 1, 1] }) {
                0 => Target::Member(member(person)),
                1 => Target::Identity(identity(person, self.rng.below(IDENTITIES))),
                _ => Target::Feed(self.world.oracle.feed(self.rng.pick(&known.iter().collect::<Vec<_>>())?)),
            });
        }
        let pins = self.pins(&targets, known);
        Some(revoke(targets, pins))
    }

    fn vote(&mut self, known: Set) -> Option<Payload> {
        let revocations = self.of_kind(known, |payload| matches!(payload, Payload::Revoke(_)));
        let others = self.of_kind(known, |payload| matches!(payload, Payload::Grant(_) | Payload::Policy(_)));
        let latest = others.len().saturating_sub(3);
        let on = if self.rng.chance(60) { self.rng.pick(&revocations) } else { self.rng.pick(&others[latest..]) };
        Some(vote(self.id(on?)))
    }

    fn grant(&mut self, writer: usize, hide: bool) {
        let person = if self.rng.chance(50) { self.rng.pick(&STRANGERS) } else { self.rng.pick(&self.people) };
        let role = match self.rng.weighted(&[60, 25, 10, 5]) {
            0 => Role::Maintainer,
            1 => Role::Contributor,
            2 => Role::Reader,
            _ => Role::Seed,
        };
        let Some(person) = person else { return };
        self.write(writer, hide, |_, _| Some(grant(person, role)));
        let known = self.writers[writer].known;
        if !self.people.contains(&person) {
            self.people.push(person);
        }
        self.begin(Hand::first(person), known);
    }

    fn link(&mut self, writer: usize, hide: bool) {
        let person = self.writers[writer].hand.person;
        let machine = self.rng.between(1, IDENTITIES - 1);
        let link = self.world.link(person, person, machine);
        self.write(writer, hide, |_, _| Some(link));
        let hand = Hand { person, machine, feed: self.feeds };
        self.begin(hand, self.writers[writer].known);
    }

    fn leave(&mut self, person: usize, known: Set) -> Option<Payload> {
        let targets = match self.rng.weighted(&[5, 3, 2]) {
            0 => vec![Target::Member(member(person))],
            1 => vec![Target::Identity(identity(person, self.rng.below(IDENTITIES)))],
            _ => {
                let own = known.only(|x| self.world.oracle.member(x) == member(person));
                vec![Target::Feed(self.world.oracle.feed(self.rng.pick(&own.iter().collect::<Vec<_>>())?))]
            }
        };
        let pins = self.pins(&targets, known);
        Some(revoke(targets, pins))
    }

    fn fork(&mut self, writer: usize) {
        let feed = self.writers[writer].hand.peer();
        let own: Vec<usize> =
            self.writers[writer].known.iter().filter(|x| self.world.oracle.feed(*x) == feed).collect();
        let Some(prev) = self.rng.pick(&own) else { return };
        let known = self.writers[writer].known;
        let past = self.world.oracle.past(prev).with(prev);
        let mut seen = self.tips(known.only(|x| !past.has(x) && self.world.oracle.feed(x) != feed));
        if self.rng.chance(70) {
            let few = self.rng.below(2);
            seen = self.rng.sample(&seen, few);
        }
        let before = self.writers[writer].head;
        self.write_after(writer, Some(prev), seen, |all, known| match all.rng.weighted(&[4, 3, 2, 2, 2]) {
            0 => Some(grant(STRANGERS[1], Role::Maintainer)),
            1 => all.approval(known),
            2 => all.vote(known),
            3 => all.revocation(known),
            _ => Some(ack()),
        });
        if self.rng.chance(60) {
            self.writers[writer].head = before;
        }
    }

    /// Landings of a branch that are carried by these.
    fn lids(&self, known: Set, name: &str) -> Vec<Lid> {
        let carried = known.iter().flat_map(|x| &self.world.oracle.nodes[x].lids);
        let mut lids: Vec<Lid> = carried.filter(|(on, _)| *on == branch(name)).map(|(_, lid)| *lid).collect();
        lids.sort_unstable();
        lids.dedup();
        lids
    }

    /// Those that none of them is on.
    pub(super) fn tops(&self, known: Set, name: &str) -> Vec<Lid> {
        let lids = self.lids(known, name);
        let below = |lid: &Lid| lids.iter().any(|above| above != lid && self.world.oracle.down(above).contains(lid));
        lids.iter().filter(|lid| !below(lid)).copied().collect()
    }

    pub(super) fn approval(&mut self, known: Set) -> Option<Payload> {
        let offers = self.of_kind(known, |payload| matches!(payload, Payload::Propose(_)));
        let offer = self.rng.pick(&offers)?;
        let Payload::Propose(said) = self.world.oracle.payload(offer).clone() else { return None };
        let name = said.target.as_str();
        let onto = match self.rng.weighted(&[65, 25, 10]) {
            0 => self.tops(known, name),
            1 => self.rng.pick(&self.lids(known, name)).into_iter().collect(),
            _ => Vec::new(),
        };
        let tip = if self.rng.chance(93) { said.tip } else { commit(9) };
        Some(approve(self.id(offer), tip, onto))
    }

    fn landing(&mut self, known: Set) -> Option<Payload> {
        let given = self.of_kind(known, |payload| matches!(payload, Payload::Approve(_)));
        let one = self.rng.pick(&given)?;
        self.landing_of(known, one, None)
    }

    /// A landing by an approval and those that fit it; on these heads, or on any.
    pub(super) fn landing_of(&mut self, known: Set, one: usize, heads: Option<Vec<Lid>>) -> Option<Payload> {
        let given = self.of_kind(known, |payload| matches!(payload, Payload::Approve(_)));
        let Payload::Approve(said) = self.world.oracle.payload(one).clone() else { return None };
        let fits = |x: &usize| match self.world.oracle.payload(*x) {
            Payload::Approve(other) => other.revision == said.revision && other.commit == said.commit,
            _ => false,
        };
        let mut fitting: Vec<usize> = given.iter().copied().filter(fits).collect();
        if self.rng.chance(30) {
            fitting = vec![one];
        }
        let target = match self.world.oracle.payload(self.world.oracle.at(&said.revision)?) {
            Payload::Propose(propose) => propose.target.as_str().to_owned(),
            _ => return None,
        };
        let name = if self.rng.chance(96) { target.as_str() } else { "dev" };
        let any = match self.rng.chance(65) {
            true => self.tops(known, name),
            false => self.rng.pick(&self.lids(known, name)).into_iter().collect(),
        };
        let heads = heads.unwrap_or(any);
        let approvals = fitting.iter().map(|x| self.id(*x)).collect();
        // Mostly those that hold as far as the writer knows.
        let raised = self.of_kind(known, |payload| matches!(payload, Payload::Policy(said) if said.rules > 1));
        let held = if raised.is_empty() { 1 } else { 2 };
        let rules = if self.rng.chance(92) { held } else { 3 - held };
        let heads = heads.into_iter().take(4).collect();
        Some(Payload::Land(self.world.land(name, heads, Some(said.revision), said.commit, approvals, rules)))
    }
}
