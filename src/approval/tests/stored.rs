//! What is never stored, and what is stored though this version does not know what it means.

use super::*;

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
