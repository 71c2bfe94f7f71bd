//! Many seeds, and faults that must be found.

use super::check::check;
use super::node::Fault;
use super::run::{Scenario, Sim};
use crate::eventlog::Target;
use crate::id::MemberId;

/// Seeds that are run where `LANSYNC_SEEDS` says nothing.
const SEEDS: u64 = 100;

fn seeds() -> u64 {
    std::env::var("LANSYNC_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// Seeds that failed once.
fn kept() -> Vec<u64> {
    let lines = include_str!("../../tests/data/sim-seeds.txt").lines();
    lines.filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect()
}

fn run(scenario: Scenario) -> (Sim, Vec<String>) {
    let mut sim = Sim::new(scenario);
    sim.run();
    let wrong = check(&sim);
    (sim, wrong)
}

#[test]
fn honest_nodes_agree() {
    let mut failed = Vec::new();
    let (mut events, mut steps) = (0, 0);
    for seed in kept().into_iter().chain(0..seeds()) {
        let (sim, wrong) = run(Scenario::of(seed));
        events += sim.nodes[0].log.order().len();
        steps += sim.steps;
        if !wrong.is_empty() {
            println!("seed {seed}: {wrong:#?}");
            failed.push(seed);
        }
    }
    println!("sim_seeds: {}", seeds());
    println!("sim_events: {events}");
    println!("sim_steps: {steps}");
    assert!(failed.is_empty(), "add to tests/data/sim-seeds.txt: {failed:?}");
}

#[test]
fn a_seed_says_everything() {
    for seed in [3, 8] {
        let ends = || {
            let (sim, _) = run(Scenario::of(seed));
            (sim.steps, sim.net.messages, sim.net.bytes, sim.nodes[0].state.frontier().digest())
        };
        assert_eq!(ends(), ends());
    }
}

/// A node that does something wrong is found out, by at least one of a few seeds.
#[test]
fn every_fault_is_caught() {
    // With a seed that is known to show it, so that the search is short; it goes on from there.
    let faults = [
        (Fault::TellsTooSoon, 1),
        (Fault::ForgetsToForward, 15),
        (Fault::SaysItHolds, 58),
        (Fault::TimeGoesBack, 0),
        (Fault::TakesGaps, 10),
        (Fault::TakesUnsound, 158),
        (Fault::ForgetsHeld, 44),
        (Fault::LoadsForAnySession, 13),
        (Fault::ForgetsFailedLoads, 0),
        (Fault::TellsTheRemoved, 0),
        (Fault::HearsNobody, 0),
        (Fault::ForgetsOwnHead, 0),
    ];
    for (fault, first) in faults {
        let caught = (first..first + 400).find_map(|seed| {
            let scenario = Scenario::of(seed);
            let hostile = if fault == Fault::TakesUnsound { 1 } else { scenario.hostile };
            let (_, wrong) = run(Scenario { fault, hostile, acts: scenario.acts + 40, ..scenario });
            wrong.into_iter().next().map(|wrong| (seed, wrong))
        });
        println!("mutant {fault:?}: {caught:?}");
        assert!(caught.is_some(), "{fault:?} is not noticed");
    }
}

/// A project at rest, whose members 0, 1 and 3 are maintainers and 2 is a contributor; 4 was not let in.
const MEMBERS: usize = 4;

fn team() -> Sim {
    let scenario = Scenario::of(1);
    let mut sim = Sim::new(Scenario { nodes: 5, hostile: 0, acts: 0, troubles: 0, duels: false, ..scenario });
    sim.rest();
    sim
}

fn member(sim: &Sim, n: usize) -> MemberId {
    MemberId::of(&sim.nodes[n].identity.identity())
}

/// Who is a member, as each node says.
fn welcome(sim: &Sim, of: usize) -> Vec<bool> {
    sim.nodes[..MEMBERS].iter().map(|node| node.greets(&sim.nodes[of])).collect()
}

fn digests(sim: &Sim) -> Vec<[u8; 32]> {
    sim.nodes[..MEMBERS].iter().map(|node| node.sync.digest()).collect()
}

/// The founder removes 1, who with 3 removes the founder: three maintainers, so two of them are the majority.
fn duel(sim: &mut Sim) {
    let (founder, one) = (member(sim, 0), member(sim, 1));
    sim.part(vec![0, 1, 1, 1, 1]);
    sim.rest();
    sim.each(&[0], |node, now| {
        node.revoke(now, Target::Member(one), true);
    });
    sim.each(&[1, 3], |node, now| {
        node.revoke(now, Target::Member(founder), true);
    });
    let removal = sim.nodes[1].state.ballots()[0].on;
    sim.each(&[3], |node, now| node.second(now, removal));
}

#[test]
fn two_who_removed_each_other_while_apart_hear_each_other_and_agree() {
    let mut sim = team();
    duel(&mut sim);
    assert_eq!((welcome(&sim, 0), welcome(&sim, 1)), (vec![true, false, false, false], vec![false, true, true, true]));
    let differ = digests(&sim);
    assert_ne!(differ[0], differ[1]);
    // Only the two meet: each takes the other for removed.
    sim.part(vec![0, 0, 1, 1, 1]);
    sim.meet(0, 1);
    sim.rest();
    assert_eq!(
        (welcome(&sim, 0)[0], welcome(&sim, 1)[0]),
        (false, true),
        "the majority counts, for the removed as well"
    );
    sim.heal(1);
    assert_eq!((welcome(&sim, 0), welcome(&sim, 1)), (vec![false; MEMBERS], vec![true; MEMBERS]));
    let agree = digests(&sim);
    assert!(agree.iter().all(|digest| *digest == agree[0]));
    assert_eq!(check(&sim), Vec::<String>::new());
}

#[test]
fn one_who_was_removed_hears_of_it_and_of_nothing_that_came_after() {
    let mut sim = team();
    let one = member(&sim, 1);
    sim.part(vec![0, 1, 0, 0, 0]);
    sim.rest();
    // By alone 1 cannot remove who came before: that waits for votes, and 1 goes on.
    let founder = member(&sim, 0);
    sim.each(&[1], |node, now| {
        node.revoke(now, Target::Member(founder), true);
    });
    sim.each(&[0], |node, now| {
        node.revoke(now, Target::Member(one), true);
    });
    let mut rng = super::rng::Rng::new(5);
    let now = sim.nodes[0].state.latest().millis();
    sim.nodes[0].propose(now, &mut rng);
    sim.each(&[0], |_, _| {});
    let (before, written) = (sim.nodes[1].log.order().len(), sim.nodes[0].state.feed_head(&sim.nodes[0].peer).unwrap());
    sim.heal(2);
    assert_eq!(welcome(&sim, 1), vec![false; MEMBERS]);
    let log = sim.nodes[1].log.order();
    assert!(log.len() > before && log.iter().all(|event| event.id() != written.id), "the removal and not the proposal");
    assert!(sim.nodes[2].log.order().iter().any(|event| event.id() == written.id));
    // What it handed in is held by all who stayed, and counts nowhere.
    let own = sim.nodes[1].state.feed_head(&sim.nodes[1].peer).unwrap();
    assert!([0, 2, 3].iter().all(|n| sim.nodes[*n].state.is_logged(&own.id)));
    assert_eq!(check(&sim), Vec::<String>::new());
}
