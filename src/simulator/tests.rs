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
        (Fault::TellsTooSoon, 0),
        (Fault::ForgetsToForward, 7),
        (Fault::SaysItHolds, 2),
        (Fault::TimeGoesBack, 0),
        (Fault::TakesGaps, 10),
        (Fault::TakesUnsound, 72),
        (Fault::ForgetsHeld, 18),
        (Fault::LoadsForAnySession, 10),
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

#[test]
#[ignore = "debug"]
fn debug() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let (sim, wrong) = run(Scenario::of(seed));
    for w in wrong.iter().take(3) {
        println!("W {w}");
    }
    for n in 0..sim.nodes.len() {
        println!(
            "N {n} {:?} {:?} lies={}",
            crate::id::MemberId::of(&sim.nodes[n].identity.identity()),
            sim.nodes[n].peer,
            sim.lies.contains_key(&n)
        );
    }
    let at: usize = std::env::var("AT").ok().and_then(|a| a.parse().ok()).unwrap_or(0);
    for event in sim.nodes[at].log.order() {
        let b = event.body();
        let n = sim.nodes.iter().position(|n| n.peer == b.author);
        let text = format!("{:?}", event.payload());
        println!(
            "E {} by {:?} #{} hlc {} logged={} void={:?} seen={:?} refs={:?} {}",
            event.id().short(),
            n,
            b.seq,
            b.hlc.bits(),
            sim.nodes[at].state.is_logged(&event.id()),
            sim.nodes[at].state.void(&event.id()),
            b.seen.iter().map(|i| i.short()).collect::<Vec<_>>(),
            b.refs.iter().map(|i| i.short()).collect::<Vec<_>>(),
            text.chars().take(420).collect::<String>()
        );
    }
    println!(
        "PROPS {:#?}",
        sim.nodes[at]
            .state
            .proposals()
            .map(|p| format!("{} {} {:?} {:?}", p.id.short(), p.last.id.short(), p.state, p.approvals))
            .collect::<Vec<_>>()
    );
}
