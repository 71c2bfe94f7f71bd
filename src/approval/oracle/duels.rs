//! Revocations against each other, which random logs almost never hold: concurrent, mutual, in circles, seconded, beyond what
//! was seen, with votes of those who are revoked, members who leave or come back beside them.

use super::rng::Rng;
use super::set::Set;
use super::world::{Hand, Log, World, ack, grant, identity, member, policy, revoke, vote};
use crate::eventlog::{Payload, Role, Target};
use crate::id::EventId;

struct Duel {
    rng: Rng,
    world: World,
    people: usize,
    /// Each person's clones, the first before the others.
    hands: Vec<Vec<Hand>>,
    /// The last event of each clone before the fight began.
    pins: Vec<(Hand, EventId)>,
}

pub(super) fn log(seed: u64) -> Log {
    let mut duel = Duel::new(seed);
    let revocations = duel.rng.between(2, 4);
    // All see the peace before it; of each other's blows they see few.
    let peace: Vec<EventId> = duel.pins.iter().map(|(_, id)| *id).collect();
    let mut blows = Vec::new();
    for _ in 0..revocations {
        duel.blow(&peace, &mut blows);
    }
    if duel.rng.chance(30) {
        duel.come_back(&blows);
    }
    if duel.rng.chance(20) {
        duel.demoted_strikes(&peace);
    }
    duel.world.log
}

impl Duel {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(8).wrapping_add(7));
        let world = World::found(1, true);
        let people = rng.between(2, 6);
        let hands = (0..people).map(|person| vec![Hand::first(person)]).collect();
        let mut duel = Self { rng, world, people, hands, pins: Vec::new() };
        let mut last = duel.world.genesis;
        for person in 1..people {
            // Now and then somebody else than the founder admits: then seniority is partial.
            let by = if duel.rng.chance(25) { Hand::first(duel.rng.below(person)) } else { Hand::first(0) };
            let role = if duel.rng.chance(92) { Role::Maintainer } else { Role::Contributor };
            duel.begin(by, last);
            let seen: Vec<EventId> = if duel.rng.chance(60) { vec![last] } else { Vec::new() };
            if let Some(id) = duel.put(by, &seen, grant(person, role)) {
                last = id;
            }
        }
        let votes = duel.rng.chance(20);
        if votes {
            duel.put(Hand::first(0), &[last], policy(1, true, 2, 1));
        }
        let founding = duel.world.last.values().copied().collect::<Vec<_>>();
        for person in 0..people {
            for seen in founding.clone() {
                duel.begin(Hand::first(person), seen);
            }
            if duel.rng.chance(30) {
                duel.second_machine(person);
            }
        }
        let hands: Vec<Hand> = duel.hands.iter().flatten().copied().collect();
        for hand in hands {
            if let Some(id) = duel.world.last.get(&hand.feed) {
                duel.pins.push((hand, *id));
            }
        }
        duel
    }

    fn begin(&mut self, hand: Hand, seen: EventId) {
        if !self.world.last.contains_key(&hand.feed) {
            let certificate = self.world.certificate(hand);
            self.put(hand, &[seen], certificate);
        }
    }

    fn put(&mut self, hand: Hand, seen: &[EventId], payload: Payload) -> Option<EventId> {
        let prev = self.world.last.get(&hand.feed).copied();
        let all = self.world.oracle.all();
        self.world.write(hand, prev, seen, all, payload).ok()
    }

    fn second_machine(&mut self, person: usize) {
        let link = self.world.link(person, person, 1);
        if let Some(linked) = self.put(Hand::first(person), &[], link) {
            let hand = Hand { person, machine: 1, feed: 30 + person };
            self.begin(hand, linked);
            self.hands[person].push(hand);
        }
    }

    fn any_hand(&mut self, person: usize) -> Hand {
        let hands = self.hands[person].clone();
        self.rng.pick(&hands).expect("everybody has one")
    }

    fn blow(&mut self, peace: &[EventId], blows: &mut Vec<EventId>) {
        let by = self.rng.below(self.people);
        let hand = self.any_hand(by);
        let others: Vec<usize> = (0..self.people).filter(|person| *person != by).collect();
        let count = self.rng.between(1, 2);
        let mut whom = self.rng.sample(&others, count);
        let leaves = self.rng.chance(15);
        if leaves {
            whom = vec![by];
        }
        let mut targets = Vec::new();
        for person in &whom {
            targets.push(match self.rng.weighted(&[80, 13, 7]) {
                0 => Target::Member(member(*person)),
                1 => Target::Identity(identity(
                    *person,
                    usize::from(self.hands[*person].len() > 1 && self.rng.chance(60)),
                )),
                _ => Target::Feed(self.any_hand(*person).peer()),
            });
        }
        // One machine of a member against another of the same.
        if leaves && self.hands[by].len() > 1 && self.rng.chance(70) {
            targets = vec![Target::Identity(identity(by, 1 - hand.machine))];
        }
        let pins = self.pinned(&targets);
        let mut seen = peace.to_vec();
        if let Some(blow) = self.rng.pick(blows)
            && self.rng.chance(20)
        {
            seen.push(blow);
        }
        let Some(blow) = self.put(hand, &seen, revoke(targets, pins)) else { return };
        blows.push(blow);
        let voters = self.rng.below(self.people);
        for voter in self.rng.sample(&others, voters) {
            if whom.contains(&voter) && self.rng.chance(80) {
                continue;
            }
            let hand = self.any_hand(voter);
            self.put(hand, &[], vote(blow));
        }
        if self.rng.chance(10) {
            let branch_of = self.any_hand(by);
            self.fork(branch_of);
        }
    }

    fn pinned(&mut self, targets: &[Target]) -> Vec<EventId> {
        let mut pins = Vec::new();
        for (hand, id) in self.pins.clone() {
            let at = self.world.oracle.index[&id];
            if !self.world.oracle.concerns(targets, at) {
                continue;
            }
            match self.rng.weighted(&[84, 8, 4, 4]) {
                0 => pins.push(id),
                1 => pins.extend(self.world.oracle.nodes[at].event.body().prev),
                2 => pins.extend(self.world.last.get(&hand.feed)),
                _ => {}
            }
        }
        pins
    }

    /// A second event after the same one.
    fn fork(&mut self, hand: Hand) {
        let Some((_, pin)) = self.pins.iter().find(|(other, _)| *other == hand).copied() else { return };
        let last = self.world.last.get(&hand.feed).copied();
        let _ = self.world.write(hand, Some(pin), &[], Set::default(), ack());
        if let Some(last) = last {
            self.world.last.insert(hand.feed, last);
        }
    }

    /// Somebody is granted again, with or without the revocations in sight.
    fn come_back(&mut self, blows: &[EventId]) {
        let (by, whom) = (self.rng.below(self.people), self.rng.below(self.people));
        let seen = if self.rng.chance(60) { blows.to_vec() } else { Vec::new() };
        let role = if self.rng.chance(60) { Role::Maintainer } else { Role::Contributor };
        let hand = self.any_hand(by);
        if let Some(granted) = self.put(hand, &seen, grant(whom, role)) {
            let hand = self.any_hand(whom);
            self.put(hand, &[granted], ack());
        }
    }

    /// One who was demoted writes as if they were not, and then the demotion falls.
    fn demoted_strikes(&mut self, peace: &[EventId]) {
        let people: Vec<usize> = (1..self.people).collect();
        let [by, whom, then] = self.rng.sample(&people, 3)[..] else { return };
        let hands = [by, whom, then, 0].map(Hand::first);
        let pinned = |duel: &mut Self, person: usize| {
            let targets = vec![Target::Member(member(person))];
            let pins = duel.pinned(&targets);
            revoke(targets, pins)
        };
        let demotion = pinned(self, whom);
        self.put(hands[0], peace, demotion);
        let Some(lower) = self.put(hands[0], &[], grant(whom, Role::Contributor)) else { return };
        let strike = pinned(self, then);
        self.put(hands[1], &[lower], strike);
        let fall = pinned(self, by);
        self.put(hands[3], peace, fall);
    }
}
