//! The state itself, as a fold that is held against the oracle.

use super::compare::{Fold, compare_all, seeds};
use super::naive::Oracle;
use super::set::Set;
use super::verdict::Verdict;
use crate::approval::State;
use crate::eventlog::Event;
use crate::id::Lid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state, with what it holds in the order in which it came.
struct Real {
    state: State,
    events: Vec<Event>,
    /// Each so many events the state is written to its rows and opened again.
    reopens: usize,
    memory: crate::eventlog::rows::Memory,
}

impl Real {
    fn append(&mut self) {
        if let Some(layer) = self.state.begin_append() {
            self.memory.append(&layer);
            self.state.appended(Arc::new(self.memory.clone()));
        }
        if self.events.len() % self.reopens == 0 {
            self.state = State::open(self.state.project(), Arc::new(self.memory.clone())).expect("its own rows");
        }
    }
}

impl Fold for Real {
    fn take(&mut self, event: &Event) -> Result<(), String> {
        match self.state.take(event.clone()) {
            Ok(Some(_)) => {
                self.events.push(event.clone());
                self.append();
                Ok(())
            }
            Ok(None) => Err("it is held".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }

    fn settle(&mut self, lid: Lid, sound: bool) {
        self.state.settle(&lid, sound);
    }

    fn verdict(&self) -> Verdict {
        verdict(&self.state, &self.events.iter().collect::<Vec<_>>())
    }
}

/// What the state makes of all that it holds.
fn verdict(state: &State, events: &[&Event]) -> Verdict {
    let members: BTreeMap<_, _> =
        state.members().into_iter().filter_map(|member| Some((member.id, member.role?))).collect();
    let maintainers = members.iter().filter(|(_, role)| role.maintains()).map(|(member, _)| *member).collect();
    let demands = state.demands();
    // By the oracle's word an event of governance counts if its author may, whatever votes it still needs.
    let counts = |event: &&Event| state.is_live(&event.id());
    let heads: BTreeMap<_, BTreeSet<Lid>> = state
        .canonical()
        .iter()
        .filter_map(|(branch, _)| Some((branch.clone(), state.branch(branch)?.lids().into_iter().collect())))
        .collect();
    let mut standing: BTreeSet<Lid> = BTreeSet::new();
    let mut todo: Vec<Lid> = heads.values().flatten().copied().collect();
    while let Some(lid) = todo.pop() {
        if standing.insert(lid) {
            todo.extend(state.landing(&lid).map(|landing| landing.content.heads).unwrap_or_default());
        }
    }
    Verdict {
        accepted: state.revocations().into_iter().map(|(id, _)| id).collect(),
        members,
        maintainers,
        identities: state.identities(),
        policy: (demands.approvals, demands.own_counts, demands.votes, demands.rules),
        counts: events.iter().copied().filter(counts).map(Event::id).collect(),
        heads,
        standing,
        open: state.open_proposals().map(|proposal| proposal.id).collect(),
        log: events.iter().map(|event| event.id()).filter(|id| state.is_logged(id)).collect(),
    }
}
/// In what the state differs from the oracle, by all events that it holds; `None` where they are too many for the
/// oracle. Of the objects both know the same.
pub(crate) fn differences(state: &State, events: &[Arc<Event>]) -> Option<Vec<String>> {
    if events.len() > Set::CAPACITY {
        return None;
    }
    let mut oracle = Oracle::new(state.project(), 1);
    for event in events {
        if let Err(why) = oracle.add(event) {
            return Some(vec![format!("the oracle refuses event {}: {why:?}", event.id().short())]);
        }
        let carried: Vec<Lid> =
            oracle.nodes.last().map_or(&[][..], |node| &node.lids).iter().map(|(_, lid)| *lid).collect();
        for (lid, sound) in carried.into_iter().filter_map(|lid| Some((lid, state.landing(&lid)?.sound?))) {
            oracle.settle(lid, sound);
        }
    }
    let events: Vec<&Event> = events.iter().map(Arc::as_ref).collect();
    Some(oracle.verdict().differences(&verdict(state, &events)))
}

/// Event by event, in several orders, written to rows and opened again in between: the state says what the oracle says.
#[test]
fn the_state_agrees_with_the_oracle() {
    compare_all(seeds(), |log| Real {
        state: State::new(log.project),
        events: Vec::new(),
        reopens: 9,
        memory: crate::eventlog::rows::Memory::default(),
    });
}
