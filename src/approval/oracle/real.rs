//! The state itself, as a fold that is held against the oracle.

use super::compare::{Fold, compare_all, seeds};
use super::logs::Style;
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
        let state = &self.state;
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
            counts: self.events.iter().filter(counts).map(Event::id).collect(),
            heads,
            standing,
            open: state.open_proposals().map(|proposal| proposal.id).collect(),
            log: self.events.iter().map(Event::id).filter(|id| state.is_logged(id)).collect(),
        }
    }
}

fn agree(style: Style) {
    compare_all(&[style], seeds(), |log| Real {
        state: State::new(log.project),
        events: Vec::new(),
        reopens: 9,
        memory: crate::eventlog::rows::Memory::default(),
    });
}

/// Event by event, in several orders, written to rows and opened again in between, the state says what the oracle says.
macro_rules! agree {
    ($($name:ident $style:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                agree(Style::$style);
            }
        )+
    };
}

agree! {
    on_rights Rights,
    on_machines Machines,
    on_landings Landings,
    on_forks Forks,
    on_heists Heists,
    on_duels Duels,
}
