//! Many seeds, and faults that must be found.

use super::check::check;
use super::node::Fault;
use super::run::{Scenario, Sim};

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
