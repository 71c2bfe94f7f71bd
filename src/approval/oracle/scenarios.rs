//! Each case that the protocol speaks of by name, with what must come of it.

use std::collections::BTreeMap;

use super::world::{
    Hand, Log, World, ack, approve, branch, commit, grant, identity, member, policy, propose, revoke, vote,
};
use crate::eventlog::{Land, Payload, Role, Target};
use crate::id::{EventId, Lid};

/// A world whose people have one letter each: the founder, maintainers in capitals, contributors in small letters.
struct Team {
    world: World,
    people: BTreeMap<char, usize>,
    /// The first event of each person: their certificate.
    hi: BTreeMap<char, EventId>,
    /// The last grant of the founding.
    last: EventId,
}

impl Team {
    fn new(names: &str) -> Self {
        Self::with_policy(names, 1, true)
    }

    fn with_policy(names: &str, approvals: u8, own_counts: bool) -> Self {
        let world = World::found(approvals, own_counts);
        let last = world.genesis;
        let mut team = Self { world, people: BTreeMap::new(), hi: BTreeMap::new(), last };
        for (person, name) in names.chars().enumerate() {
            team.people.insert(name, person);
            if person > 0 {
                let role = if name.is_uppercase() { Role::Maintainer } else { Role::Contributor };
                team.last = team.world.put(Hand::first(0), &[], grant(person, role));
            }
        }
        for (name, person) in team.people.clone().into_iter().filter(|(_, person)| *person > 0) {
            let certificate = team.world.certificate(Hand::first(person));
            let hi = team.world.put(Hand::first(person), &[team.last], certificate);
            team.hi.insert(name, hi);
        }
        team.hi.insert(names.chars().next().unwrap(), team.last);
        team
    }

    fn hand(&self, name: char) -> Hand {
        Hand::first(self.people[&name])
    }

    fn target(&self, name: char) -> Target {
        Target::Member(member(self.people[&name]))
    }

    fn put(&mut self, name: char, seen: &[EventId], payload: Payload) -> EventId {
        self.world.put(self.hand(name), seen, payload)
    }

    fn his(&self, names: &str) -> Vec<EventId> {
        names.chars().map(|name| self.hi[&name]).collect()
    }

    /// A revocation of some, pinned at their first events.
    fn revoke(&mut self, by: char, targets: &str, seen: &[EventId]) -> EventId {
        let pins = self.his(targets);
        self.revoke_at(by, targets, pins, seen)
    }

    fn revoke_at(&mut self, by: char, targets: &str, pins: Vec<EventId>, seen: &[EventId]) -> EventId {
        let targets = targets.chars().map(|name| self.target(name)).collect();
        self.put(by, seen, revoke(targets, pins))
    }

    fn vote(&mut self, by: &str, on: EventId) {
        by.chars().for_each(|name| {
            self.put(name, &[], vote(on));
        });
    }

    /// Who maintains now, and how many revocations are accepted.
    fn maintain(&self) -> (String, usize) {
        let verdict = self.world.oracle.verdict();
        let name = |(name, person): (&char, &usize)| verdict.maintainers.contains(&member(*person)).then_some(*name);
        (self.people.iter().filter_map(name).collect(), verdict.accepted.len())
    }

    fn begin(&self) -> Lid {
        self.world.first_landing("main")
    }

    fn propose(&mut self, name: char, n: u8) -> EventId {
        self.put(name, &[], propose("work", "main", commit(n), None))
    }

    fn land(&mut self, by: char, heads: &[Lid], revision: EventId, n: u8, approvals: &[EventId]) -> Lid {
        let land = self.world.land("main", heads.to_vec(), Some(revision), commit(n), approvals.to_vec(), 1);
        self.carry(by, land)
    }

    fn carry(&mut self, by: char, land: Land) -> Lid {
        let lid = self.world.settle(&land, true);
        self.put(by, &[], Payload::Land(land));
        lid
    }

    /// Proposed, approved and landed by one, on top of `head`.
    fn land_alone(&mut self, by: char, head: Lid, n: u8) -> Lid {
        let revision = self.propose(by, n);
        let approval = self.put(by, &[], approve(revision, commit(n), vec![head]));
        self.land(by, &[head], revision, n, &[approval])
    }

    fn heads(&self) -> Vec<Lid> {
        self.world.oracle.verdict().heads[&branch("main")].iter().copied().collect()
    }

    fn last_of(&self, name: char) -> EventId {
        self.world.last[&self.hand(name).feed]
    }
}

#[test]
fn s1_of_two_who_remove_each_other_the_senior_stays() {
    let mut team = Team::new("FABCDxyz");
    team.revoke('A', "B", &[]);
    team.revoke('B', "A", &[]);
    assert_eq!(team.maintain(), ("ACDF".to_owned(), 1));
}

#[test]
fn s2_a_founder_removed_by_vote_does_not_come_back_by_back_dating() {
    let mut team = Team::new("FABCDxyz");
    let his = team.his("ABCD");
    let removal = team.revoke('A', "F", &his);
    team.vote("BC", removal);
    let his = team.his("ABCD");
    team.revoke('F', "ABCD", &his);
    assert_eq!(team.maintain(), ("ABCD".to_owned(), 1));
}

#[test]
fn s3_a_former_majority_wins_where_nobody_seconded() {
    // Left over, and documented: what was not seconded can be rewritten by those who were many then.
    let mut team = Team::new("FABCxyz");
    for name in ["A", "B", "C"] {
        team.revoke('F', name, &[]);
    }
    team.people.insert('G', 12);
    let new = team.people[&'G'];
    team.put('F', &[], grant(new, Role::Maintainer));
    let his = team.his("BC");
    let removal = team.revoke('A', "F", &his);
    team.vote("BC", removal);
    assert_eq!(team.maintain(), ("ABC".to_owned(), 1));
}

#[test]
fn s4_what_the_removed_had_under_way_is_void() {
    let mut team = Team::new("FABCDxyz");
    team.revoke('B', "C", &[]);
    team.revoke('A', "B", &[]);
    assert_eq!(team.maintain(), ("ACDF".to_owned(), 1));
}

#[test]
fn s5_a_majority_comes_before_one_alone() {
    let mut team = Team::new("FABCD");
    let his = team.his("ABCD");
    team.revoke('A', "CD", &his);
    let his = team.his("FABC");
    let removal = team.revoke('D', "FA", &his);
    team.vote("CB", removal);
    assert_eq!(team.maintain(), ("BCD".to_owned(), 1));
}

#[test]
fn s6_grants_beyond_the_pin_are_void_transitively_and_s7_a_later_grant_brings_back() {
    let mut team = Team::new("FABCDxyz");
    let (q, r) = (12, 13);
    team.people.extend([('q', q), ('r', r)]);
    let granted = team.put('B', &[], grant(q, Role::Maintainer));
    let certificate = team.world.certificate(Hand::first(q));
    team.put('q', &[granted], certificate);
    team.put('q', &[], grant(r, Role::Maintainer));
    let removal = team.revoke('A', "B", &[]);
    assert_eq!(team.maintain(), ("ACDF".to_owned(), 1));
    let b = team.people[&'B'];
    team.put('A', &[removal], grant(b, Role::Maintainer));
    assert_eq!(team.maintain(), ("ABCDF".to_owned(), 1));
}

#[test]
fn s8_a_friends_grant_beside_the_revocation_does_not_save() {
    let mut team = Team::new("FABCDxyz");
    let c = team.people[&'C'];
    team.put('B', &[], grant(c, Role::Maintainer));
    team.revoke('A', "C", &[]);
    assert_eq!(team.maintain(), ("ABDF".to_owned(), 1));
}

#[test]
fn s9_a_removal_that_was_seconded_stands_against_a_former_majority() {
    for seconded in [false, true] {
        let mut team = Team::new("FABCxyz");
        let his = team.his("ABC");
        let removal = team.revoke('F', "A", &his);
        if seconded {
            team.vote("BC", removal);
        }
        let (b, c) = (team.last_of('B'), team.last_of('C'));
        team.revoke_at('F', "B", vec![b], &[b, c]);
        team.revoke_at('F', "C", vec![c], &[]);
        let his = team.his("BC");
        let back = team.revoke('A', "F", &his);
        team.vote("BC", back);
        let expected = if seconded { ("F".to_owned(), 3) } else { ("ABC".to_owned(), 1) };
        assert_eq!(team.maintain(), expected, "seconded {seconded}");
    }
}

#[test]
fn z_of_two_maintainers_who_leave_at_once_one_stays() {
    let mut team = Team::new("FA");
    team.revoke('F', "F", &[]);
    team.revoke('A', "A", &[]);
    let (left, accepted) = team.maintain();
    assert_eq!((left.len(), accepted), (1, 1));
}

#[test]
fn l1_only_who_was_shown_a_void_head_rescues_it() {
    for shown in [false, true] {
        let mut team = Team::new("FABCDxyz");
        let begin = team.begin();
        let revision = team.propose('x', 2);
        let early = (!shown).then(|| team.put('D', &[], approve(revision, commit(2), vec![begin])));
        let stolen = team.land_alone('B', begin, 1);
        let approval = early.unwrap_or_else(|| team.put('D', &[], approve(revision, commit(2), vec![stolen])));
        let second = team.land('x', &[stolen], revision, 2, &[approval]);
        assert_eq!(team.heads(), [second]);
        team.revoke('A', "B", &[]);
        assert_eq!(team.heads(), [if shown { second } else { begin }], "shown {shown}");
    }
}

#[test]
fn l3_an_accomplice_cannot_join_what_the_removed_landed() {
    let mut team = Team::new("FABCDxyz");
    let begin = team.begin();
    let good = team.land_alone('D', begin, 2);
    let seen = team.last_of('D');
    let hi = team.hi[&'B'];
    team.revoke('A', "B", &[hi, seen]);
    let stolen = team.land_alone('B', begin, 1);
    let join = team.world.join("main", [good, stolen]);
    team.carry('x', join);
    assert_eq!(team.heads(), [good]);
}

#[test]
fn l4_what_the_revoker_saw_landed_stands() {
    let mut team = Team::new("FABCDxyz");
    let begin = team.begin();
    let landed = team.land_alone('B', begin, 1);
    let seen = team.last_of('B');
    let removal = team.revoke('A', "B", &[seen]);
    // Its pin lies below what its author had seen: that needs the majority.
    assert_eq!((team.heads(), team.maintain()), (vec![landed], ("ABCDF".to_owned(), 0)));
    team.vote("CF", removal);
    assert_eq!((team.heads(), team.maintain()), (vec![landed], ("ACDF".to_owned(), 1)));
}

#[test]
fn f1_a_fork_voids_nothing_that_others_built_on_and_f2_what_nobody_saw() {
    for built_on in [true, false] {
        let mut team = Team::new("FABCDxyz");
        let begin = team.begin();
        let hi = team.hi[&'B'];
        let first = team.land_alone('B', begin, 1);
        let top = if built_on { team.land_alone('D', first, 2) } else { begin };
        let hand = team.hand('B');
        team.world.write(hand, Some(hi), &[], team.world.oracle.all(), ack()).unwrap();
        assert_eq!(team.heads(), [top], "built on {built_on}");
    }
}

#[test]
fn a_linked_machine_has_its_members_role_until_it_is_unlinked() {
    let mut team = Team::new("FAx");
    let laptop = Hand { person: 1, machine: 1, feed: 20 };
    let link = team.world.link(1, 1, 1);
    let linked = team.put('A', &[], link);
    let certificate = team.world.certificate(laptop);
    let began = team.world.put(laptop, &[linked], certificate);
    let granted = team.world.put(laptop, &[], grant(9, Role::Contributor));
    let verdict = team.world.oracle.verdict();
    assert_eq!(verdict.identities[&identity(1, 1)], member(1));
    assert!(verdict.members.contains_key(&member(9)));
    // Lost: revoked from the other machine, alone, with what was seen of it pinned.
    team.put('A', &[granted], revoke(vec![Target::Identity(identity(1, 1))], vec![granted]));
    let after = team.world.put(laptop, &[], grant(10, Role::Contributor));
    let verdict = team.world.oracle.verdict();
    assert!(!verdict.identities.contains_key(&identity(1, 1)));
    assert!(verdict.members.contains_key(&member(9)) && !verdict.members.contains_key(&member(10)));
    assert!(verdict.counts.contains(&began) && !verdict.counts.contains(&after));
    assert!(verdict.log.contains(&after), "governance is never evidence only");
    // Linked again, it is back.
    let removal = team.last_of('A');
    let link = team.world.link(1, 1, 1);
    team.put('A', &[removal], link);
    assert_eq!(team.world.oracle.verdict().identities[&identity(1, 1)], member(1));
}

#[test]
fn of_two_machines_of_one_member_that_revoke_each_other_the_elder_stays() {
    let mut team = Team::new("FA");
    let laptop = Hand { person: 1, machine: 1, feed: 20 };
    let link = team.world.link(1, 1, 1);
    let linked = team.put('A', &[], link);
    let certificate = team.world.certificate(laptop);
    let began = team.world.put(laptop, &[linked], certificate);
    team.world.put(laptop, &[], revoke(vec![Target::Identity(identity(1, 0))], vec![linked]));
    team.put('A', &[began], revoke(vec![Target::Identity(identity(1, 1))], vec![began]));
    let verdict = team.world.oracle.verdict();
    assert_eq!(verdict.accepted.len(), 1);
    assert!(verdict.identities.contains_key(&identity(1, 0)) && !verdict.identities.contains_key(&identity(1, 1)));
}

#[test]
fn a_clone_nobody_knew_is_not_revoked_by_one_alone() {
    let mut team = Team::new("FAB");
    let clone = Hand { person: 0, machine: 0, feed: 20 };
    let certificate = team.world.certificate(clone);
    team.world.put(clone, &[team.last], certificate);
    team.put('B', &[], revoke(vec![Target::Feed(clone.peer())], vec![]));
    assert_eq!(team.maintain(), ("ABF".to_owned(), 0));
}

#[test]
fn two_votes_are_needed_where_the_policy_says_so_and_the_strictest_of_two_counts() {
    let mut team = Team::new("FABC");
    let strict = team.put('F', &[], policy(2, true, 2, 1));
    team.put('A', &[], policy(1, false, 1, 1));
    assert_eq!(team.world.oracle.verdict().policy, (2, false, 2, 1));
    let granted = team.put('F', &[], grant(9, Role::Reader));
    assert!(!team.world.oracle.verdict().members.contains_key(&member(9)));
    team.put('B', &[granted], vote(granted));
    assert!(team.world.oracle.verdict().members.contains_key(&member(9)));
    let late = team.put('C', &[strict], policy(1, true, 1, 1));
    team.vote("B", late);
    assert_eq!(team.world.oracle.verdict().policy, (1, false, 1, 1), "it follows one of the two only");
}

#[test]
fn a_landing_by_unknown_rules_waits_and_an_unsound_one_falls() {
    let mut team = Team::new("FA");
    let begin = team.begin();
    let revision = team.propose('A', 1);
    let approval = team.put('A', &[], approve(revision, commit(1), vec![begin]));
    let land = team.world.land("main", vec![begin], Some(revision), commit(1), vec![approval], 2);
    team.carry('A', land);
    assert_eq!(team.heads(), [begin]);
    assert!(team.world.oracle.verdict().open.contains(&revision));
    let landed = team.land('A', &[begin], revision, 1, &[approval]);
    assert_eq!(team.heads(), [landed]);
    assert!(!team.world.oracle.verdict().open.contains(&revision));
    team.world.oracle.settle(landed, false);
    assert_eq!(team.heads(), [begin]);
}

/// A join that did not enter, and a landing on it whose approvers were not shown it: the team, the join and the revision.
fn smuggled() -> (Team, Lid, EventId) {
    let mut team = Team::new("FABx");
    let begin = team.begin();
    let old = team.land_alone('B', begin, 1);
    let other = team.land_alone('A', begin, 2);
    let strict = team.put('F', &[], policy(2, true, 1, 1));
    let join = team.world.join("main", [old, other]);
    team.put('x', &[strict], ack());
    let joined = team.carry('x', join);
    assert_eq!(team.heads().len(), 2, "it did not enter");
    // Nor does it come in below another landing whose approvers were not shown it.
    let revision = team.propose('x', 3);
    let by_a = team.put('A', &[], approve(revision, commit(3), vec![begin]));
    let by_b = team.put('B', &[], approve(revision, commit(3), vec![begin]));
    team.land('x', &[joined], revision, 3, &[by_a, by_b]);
    (team, joined, revision)
}

/// That log.
pub(super) fn smuggling() -> Log {
    smuggled().0.world.log
}

#[test]
fn a_join_brings_in_nothing_that_the_policy_of_its_past_forbids() {
    let (mut team, joined, revision) = smuggled();
    assert_eq!(team.heads().len(), 2);
    // Shown it, they bring it in.
    let by_a = team.put('A', &[], approve(revision, commit(3), vec![joined]));
    let by_b = team.put('B', &[], approve(revision, commit(3), vec![joined]));
    let healed = team.land('A', &[joined], revision, 3, &[by_a, by_b]);
    assert_eq!(team.heads(), [healed]);
}
