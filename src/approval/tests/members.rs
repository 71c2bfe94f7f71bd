//! Handles, removals and votes.

use super::*;

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
