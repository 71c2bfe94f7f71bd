//! Proposals, approvals and landings, and which of them are void.

use super::*;

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
fn a_genesis_landing_has_an_id_of_its_project() {
    let genesis = genesis(&keys(0).1);
    let content: LandingContent = genesis.landing(&branch("main")).unwrap();
    assert_ne!(content.lid(&ProjectId([1; 32])), content.lid(&ProjectId([2; 32])));
}
