//! The naive fold, as an oracle for the incremental one: slow, and near enough to the protocol's text to be read beside it.
//!
//! `naive` holds events and their pasts, `authority` who may do what, `landings` what stands, `verdict` what is compared.
//! `world`, `logs`, `duels`, `heists` and `returns` write logs of real signed events, `mutants` breaks the oracle on purpose to show that those logs
//! exercise each rule, and `compare` holds another fold against it.

mod authority;
mod compare;
mod duels;
mod hearings;
mod heists;
mod landings;
mod logs;
#[expect(clippy::print_stdout, reason = "a test prints figures")]
mod mutants;
mod naive;
mod real;
mod returns;
mod rng;
mod scenarios;
mod set;
mod verdict;
mod world;

use std::collections::BTreeMap;

use crate::eventlog::Event;
use crate::id::{Lid, ProjectId};

pub(crate) use real::differences;

/// A log: its name, the project, the events in an order in which they may arrive, and which landings' commits are what their
/// fields give.
pub(crate) type Arriving = (String, ProjectId, Vec<Event>, BTreeMap<Lid, bool>);

/// A log of each style of a seed.
pub(crate) fn arriving(seed: u64) -> Vec<Arriving> {
    let one = |style: logs::Style| {
        let log = style.log(seed);
        let events = logs::shuffled(&log.events, &mut rng::Rng::new(seed));
        (format!("{} {seed}", style.name()), log.project, events, log.sound)
    };
    logs::Style::ALL.map(one).into()
}
