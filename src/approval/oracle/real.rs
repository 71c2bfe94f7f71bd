//! The state itself, as a fold that is held against the oracle.

use super::compare::{Fold, compare_all, seeds};
use super::logs::Style;
use super::naive::Oracle;
use super::set::Set;
use super::verdict::Verdict;
use crate::approval::{Earlier, State};
use crate::eventlog::rows::{Base, Memory, Place, Rows, Table};
use crate::eventlog::{Checkpoint, Event, Target};
use crate::hlc::Hlc;
use crate::id::{EventId, Lid};
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
        if self.events.len().is_multiple_of(self.reopens) {
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
    let counts = |event: &&Event| state.is_allowed(&event.id());
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
        needs_rules: state.needs_rules(),
        counts: events.iter().copied().filter(counts).map(Event::id).collect(),
        heads,
        standing,
        tags: state.tags().into_iter().map(|tag| (tag.name, tag.object)).collect(),
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
    on_returns Returns,
    on_versions Versions,
}

/// A removal pins the last of what is part of the log, and with it all of that: no evidence comes into the log by it, and what
/// is known of its target stands.
#[test]
fn a_removal_pins_all_that_is_part_of_the_log_and_no_more() {
    for seed in 0..seeds().min(20) {
        for style in [Style::Returns, Style::Forks, Style::Machines] {
            let log = style.log(seed);
            let mut now =
                Real { state: State::new(log.project), events: Vec::new(), reopens: 9, memory: Default::default() };
            let mut oracle = Oracle::new(log.project, 1);
            for (at, event) in log.events.iter().enumerate() {
                now.take(event).unwrap();
                oracle.add(event).unwrap();
                if at % 5 != 0 && at + 1 != log.events.len() {
                    continue;
                }
                let logged = oracle.verdict().log;
                let members = oracle.nodes.iter().map(|node| Target::Member(node.member));
                let feeds = oracle.nodes.iter().map(|node| Target::Feed(node.event.body().author));
                for target in members.chain(feeds).collect::<BTreeSet<Target>>() {
                    let pins: BTreeSet<EventId> = now.state.pins(&[target]).into_iter().collect();
                    let theirs = oracle.all().only(|x| oracle.concerns(&[target], x) && logged.contains(&oracle.id(x)));
                    let last = |x: &usize| !theirs.iter().any(|y| y != *x && oracle.on_chain(*x, y));
                    let expected: BTreeSet<EventId> = theirs.iter().filter(last).map(|x| oracle.id(x)).collect();
                    assert_eq!(pins, expected, "{} {seed}, after event {at}, of {target:?}", style.name());
                }
            }
        }
    }
}

/// At several times: the earlier state, made from the whole log, says what the oracle says that knows no more than that.
#[test]
fn earlier_states_agree_with_the_oracle() {
    for seed in 0..seeds().min(30) {
        for style in super::logs::Style::ALL {
            let log = style.log(seed);
            let mut now =
                Real { state: State::new(log.project), events: Vec::new(), reopens: 9, memory: Default::default() };
            for event in &log.events {
                now.take(event).unwrap();
            }
            for (lid, sound) in &log.sound {
                now.state.settle(lid, *sound);
            }
            let mut events = now.events.clone();
            events.sort_by_key(Event::order);
            for part in 1..=4 {
                let at = events[(events.len() * part).div_ceil(4) - 1].body().hlc;
                let taken: Vec<Event> = events.iter().filter(|event| event.body().hlc <= at).cloned().collect();
                let mut earlier = now.state.earlier();
                let mut oracle = super::naive::Oracle::new(log.project, 1);
                for event in &taken {
                    earlier.take(&Arc::new(event.clone())).unwrap();
                    oracle.take(event).unwrap();
                    let carried: Vec<Lid> = oracle.nodes.last().unwrap().lids.iter().map(|(_, lid)| *lid).collect();
                    for lid in carried {
                        if let Some(sound) = now.state.landing(&lid).and_then(|landing| landing.sound) {
                            Fold::settle(&mut oracle, lid, sound);
                        }
                    }
                }
                let state = earlier.finish(|_, _| false);
                let then = Real { state, events: taken, reopens: 9, memory: Default::default() };
                let differences = Fold::verdict(&oracle).differences(&then.verdict());
                assert!(differences.is_empty(), "{} {seed}, part {part}\n{}", style.name(), differences.join("\n"));
            }
        }
    }
}

/// A stored state, held in memory.
struct Kept {
    checkpoint: Checkpoint,
    rows: Memory,
    log: BTreeMap<Place, Arc<Event>>,
}

impl Base for Kept {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.rows.scan(table, from, each);
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.rows.scan_back(table, to, each);
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.log.get(&self.checkpoint.in_log(place)?).cloned()
    }

    fn healthy(&self) -> bool {
        true
    }
}

impl Kept {
    fn of(now: &Real, earlier: &mut Earlier<'_>, parent: Option<Arc<dyn Base>>) -> Self {
        let (checkpoint, changed) = earlier.to_store();
        let mut rows = Rows::new(Arc::new(Memory::default()));
        rows.put_again(changed);
        let mut memory = parent.map(Memory::over).unwrap_or_default();
        memory.append(&rows.begin_append().unwrap());
        let placed = |event: &Event| (now.state.place_of(&event.id()).unwrap(), Arc::new(event.clone()));
        let log = now.events.iter().map(placed).collect();
        Self { checkpoint: checkpoint.clone(), rows: memory, log }
    }
}

/// While events arrive, early ones late, and what the objects say later still: a state of some of them that is taken further
/// by those that it lacks says what the oracle says of all up to that time.
#[test]
fn stored_states_are_taken_further_by_what_arrived_late() {
    const EACH: usize = 4;
    let (mut folded, mut begun_from, mut late) = (0, 0, 0);
    for seed in 0..seeds().min(12) {
        for style in super::logs::Style::ALL {
            let log = style.log(seed);
            let mut rng = super::rng::Rng::new(seed);
            let mut now =
                Real { state: State::new(log.project), events: Vec::new(), reopens: 9, memory: Default::default() };
            let mut all: Vec<Arc<Kept>> = Vec::new();
            for (at, event) in super::logs::shuffled(&log.events, &mut rng).iter().enumerate() {
                now.take(event).unwrap();
                if at % 6 != 5 && at + 1 != log.events.len() {
                    continue;
                }
                // The objects of some landings come later than others.
                for (lid, sound) in log.sound.iter().filter(|(lid, _)| (usize::from(lid.0[0]) + at) % 3 == 0) {
                    now.state.settle(lid, *sound);
                }
                let mut times: Vec<Hlc> = now.events.iter().map(|event| event.body().hlc).collect();
                times.sort_unstable();
                for part in 1..=3 {
                    let bound = Hlc::from_bits(times[(times.len() * part).div_ceil(3) - 1].bits() + 1);
                    let best = all.iter().filter(|kept| kept.checkpoint.latest < bound);
                    let best = best.max_by_key(|kept| kept.checkpoint.events).cloned();
                    let mut parent = best.clone().map(|kept| -> Arc<dyn Base> { kept });
                    let mut earlier = match &best {
                        Some(kept) => {
                            assert!(now.state.has_reached(&kept.checkpoint));
                            late += usize::from(kept.checkpoint.reached.iter().flatten().any(|reached| {
                                let next = now.state.next_of(&reached.id).and_then(|id| now.state.event(&id));
                                next.is_some_and(|next| next.body().hlc < kept.checkpoint.latest)
                            }));
                            begun_from += 1;
                            // The events of the log as it was then are in their places still.
                            now.state.earlier_from(kept.checkpoint.clone(), kept.clone()).unwrap()
                        }
                        None => now.state.earlier(),
                    };
                    let mut lacking = Vec::new();
                    for span in now.state.lacking(earlier.reached(), bound) {
                        let at = |seq| Place { strand: span.strand, seq };
                        lacking.extend((span.from..=span.to).map(|seq| now.state.event_at(at(seq)).unwrap()));
                    }
                    lacking.sort_by_key(|event| event.order());
                    let upto = times.iter().filter(|time| **time < bound).count();
                    assert_eq!(lacking.len(), upto - best.map_or(0, |kept| kept.checkpoint.events as usize));
                    for (count, event) in (1..).zip(&lacking) {
                        earlier.take(event).unwrap();
                        folded += 1;
                        if count % EACH == 0 {
                            let kept = Arc::new(Kept::of(&now, &mut earlier, parent));
                            parent = Some(kept.clone());
                            earlier.stored(kept.clone());
                            all.push(kept);
                        }
                    }
                    let state = earlier.finish(|_, _| false);
                    let taken: Vec<Event> = now.events.iter().filter(|e| e.body().hlc < bound).cloned().collect();
                    let mut oracle = super::naive::Oracle::new(log.project, 1);
                    for event in &taken {
                        oracle.take(event).unwrap();
                        let carried: Vec<Lid> = oracle.nodes.last().unwrap().lids.iter().map(|(_, lid)| *lid).collect();
                        for lid in carried {
                            if let Some(sound) = now.state.landing(&lid).and_then(|landing| landing.sound) {
                                Fold::settle(&mut oracle, lid, sound);
                            }
                        }
                    }
                    let then = Real { state, events: taken, reopens: 9, memory: Default::default() };
                    let differences = Fold::verdict(&oracle).differences(&then.verdict());
                    let text = differences.join("\n");
                    assert!(differences.is_empty(), "{} {seed}, after {at}, part {part}\n{text}", style.name());
                }
            }
        }
    }
    assert!(begun_from > 0 && late > 0, "{begun_from} {late}");
    assert!(folded > 0);
}

/// What a feed wrote in a range is found without looking at all of it.
#[test]
fn what_a_feed_wrote_in_a_range_is_found() {
    for seed in 0..seeds().min(10) {
        let log = super::logs::Style::ALL[(seed % 2) as usize].log(seed);
        let mut now =
            Real { state: State::new(log.project), events: Vec::new(), reopens: 9, memory: Default::default() };
        for event in &log.events {
            now.take(event).unwrap();
        }
        let mut times: Vec<_> = now.events.iter().map(|event| event.body().hlc).collect();
        times.sort_unstable();
        let range = times[times.len() / 4]..times[times.len() * 3 / 4];
        for feed in now.state.feeds() {
            let spans = now.state.written(&[*feed], &range);
            let mut found = BTreeSet::new();
            for span in spans {
                assert!(now.state.held_to(span.strand) >= Some(span.to));
                let at = |seq| crate::eventlog::rows::Place { strand: span.strand, seq };
                found.extend((span.from..=span.to).filter_map(|seq| now.state.event_at(at(seq))).map(|e| e.id()));
            }
            let wrote = |event: &&Event| event.body().author == *feed && range.contains(&event.body().hlc);
            let expected: BTreeSet<_> = now.events.iter().filter(wrote).map(Event::id).collect();
            assert_eq!(found, expected, "seed {seed}, {feed}");
        }
        assert_eq!(now.state.held_to(u32::MAX), None);
    }
}
