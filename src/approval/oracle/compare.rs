//! Holds another fold against the oracle, event by event, in several orders.
//!
//! `LANSYNC_SEEDS` says how many logs there are (500; `scripts/seeds` takes 10,000). Seeds that failed once are kept in
//! `tests/data/seeds.txt` and come first for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::logs::{Style, shuffled};
use super::mutants::Fault;
use super::naive::Oracle;
use super::rng::Rng;
use super::verdict::Verdict;
use super::world::{IDENTITIES, Log, identity};
use crate::eventlog::{Event, Payload, Target};
use crate::id::{EventId, Lid, MemberId};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/seeds.txt");
/// In how many orders each log is taken in.
const ORDERS: u64 = 3;
/// In the orders after the first the verdicts are compared after so many events.
const EVERY: usize = 7;

/// A fold that is to agree with the oracle.
pub(super) trait Fold {
    /// Takes in an event, or refuses to store it.
    fn take(&mut self, event: &Event) -> Result<(), String>;
    /// Is the commit of a landing what its fields give? The landing is held.
    fn settle(&mut self, lid: Lid, sound: bool);
    /// What it makes of all that it holds.
    fn verdict(&self) -> Verdict;
}

impl Fold for Oracle {
    fn take(&mut self, event: &Event) -> Result<(), String> {
        self.add(event).map_err(|why| format!("{why:?}"))
    }

    fn settle(&mut self, lid: Lid, sound: bool) {
        Self::settle(self, lid, sound);
    }

    fn verdict(&self) -> Verdict {
        Self::verdict(self)
    }
}

/// Takes the log of a seed into both, in several orders. The failure says all that is needed to look into it.
pub(super) fn compare<F: Fold>(style: Style, seed: u64, make: impl Fn(&Log) -> F) -> Result<(), String> {
    let log = style.log(seed);
    for order in 0..ORDERS {
        let mut rng = Rng::new(seed.wrapping_mul(ORDERS).wrapping_add(order));
        let events = if order == 0 { log.events.clone() } else { shuffled(&log.events, &mut rng) };
        let every = if order == 0 { 1 } else { EVERY };
        let failure = |at: usize, what: &str| {
            let taken = &events[..(at + 1).min(events.len())];
            format!("seed: {} {seed}, order {order}, after event {at}\n{what}\n{}", style.name(), listed(taken))
        };
        let (mut oracle, mut fold) = (Oracle::new(log.project, 1), make(&log));
        let mut unsettled: Vec<(Lid, bool)> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let (ours, theirs) = (oracle.take(event), fold.take(event));
            if ours.is_ok() != theirs.is_ok() {
                return Err(failure(at, &format!("taken by the oracle: {ours:?}, by the fold: {theirs:?}")));
            }
            let carried = oracle.nodes.last().map_or(&[][..], |node| &node.lids);
            unsettled.extend(carried.iter().filter_map(|(_, lid)| Some((*lid, *log.sound.get(lid)?))));
            // What the objects say comes with the landing, or later.
            unsettled.retain(|(lid, sound)| {
                let later = at + 1 < events.len() && rng.chance(40);
                if !later {
                    Fold::settle(&mut oracle, *lid, *sound);
                    fold.settle(*lid, *sound);
                }
                later
            });
            if at % every == 0 || at + 1 == events.len() {
                let differences = oracle.verdict().differences(&fold.verdict());
                if !differences.is_empty() {
                    return Err(failure(at, &differences.join("\n")));
                }
            }
        }
        for event in &log.refused {
            let (ours, theirs) = (oracle.take(event), fold.take(event));
            if ours.is_ok() || theirs.is_ok() {
                let what = format!("{}\n  {ours:?}, by the fold: {theirs:?}", listed(std::slice::from_ref(event)));
                return Err(failure(events.len(), &format!("to be refused, by the oracle: {what}")));
            }
        }
    }
    Ok(())
}

/// How many logs are asked for.
pub(super) fn seeds() -> u64 {
    std::env::var("LANSYNC_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

/// Compares on all seeds that were kept, and then on so many further ones, of each style alike. New failures are kept.
pub(super) fn compare_all<F: Fold>(of: &[Style], count: u64, make: impl Fn(&Log) -> F) {
    let kept: Vec<(Style, u64)> = kept().into_iter().filter(|(style, _)| of.contains(style)).collect();
    let styles = Style::ALL.len() as u64;
    let fresh = (0..count).map(|n| (Style::ALL[(n % styles) as usize], n / styles));
    let fresh = fresh.filter(|(style, _)| of.contains(style));
    let mut failures = Vec::new();
    for (style, seed) in kept.clone().into_iter().chain(fresh) {
        if let Err(failure) = compare(style, seed, &make) {
            if !kept.contains(&(style, seed)) {
                keep(style, seed);
            }
            failures.push(failure);
            if failures.len() == 3 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn kept() -> Vec<(Style, u64)> {
    let text = std::fs::read_to_string(KEPT).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let read = |line: &str| {
        let (style, seed) = line.split_once(' ')?;
        Some((Style::from_name(style)?, seed.parse().ok()?))
    };
    lines.map(|line| read(line).unwrap_or_else(|| panic!("not a seed: {line}"))).collect()
}

fn keep(style: Style, seed: u64) {
    let mut text = std::fs::read_to_string(KEPT).unwrap();
    writeln!(text, "{} {seed}", style.name()).unwrap();
    std::fs::write(KEPT, text).unwrap();
}

/// Events in short form, one a line: number, id, who, place in the feed, what, and what it names.
fn listed(events: &[Event]) -> String {
    let number: BTreeMap<EventId, usize> = events.iter().enumerate().map(|(at, event)| (event.id(), at)).collect();
    let named = |id: &EventId| number.get(id).map_or_else(|| id.short(), |at| format!("#{at}"));
    let mut feeds: BTreeMap<crate::id::PeerId, String> = BTreeMap::new();
    let mut text = String::new();
    for (at, event) in events.iter().enumerate() {
        let body = event.body();
        match event.payload() {
            Payload::Genesis(_) => drop(feeds.insert(body.author, machine(&crate::id::IdentityId([0; 32])))),
            Payload::Certify(said) => drop(feeds.insert(body.author, machine(&said.certificate.identity))),
            _ => {}
        }
        let who = feeds.get(&body.author).cloned().unwrap_or_default();
        let what = match event.payload() {
            Payload::Grant(said) => format!("{} {}", person(&said.member), said.role.name()),
            Payload::Link(said) => machine(&said.identity),
            Payload::Revoke(said) => {
                let targets: Vec<String> = said.targets.iter().map(target).collect();
                format!("{} pins {}", targets.join("+"), said.pins.iter().map(named).collect::<Vec<_>>().join(" "))
            }
            Payload::Vote(said) => named(&said.on),
            Payload::Policy(said) => {
                format!(
                    "approvals {} own {} votes {} rules {}",
                    said.approvals, said.own_counts, said.votes, said.rules
                )
            }
            Payload::Propose(said) => format!("{} to {}", said.tip.short(), said.target),
            Payload::Approve(said) => {
                let onto: Vec<String> = said.onto.iter().map(Lid::short).collect();
                format!("{} {} onto {}", named(&said.revision), said.commit.short(), onto.join(" "))
            }
            Payload::Land(said) => {
                let heads: Vec<String> = said.heads.iter().map(Lid::short).collect();
                let lid = said.content().lid(&body.project).short();
                let given: Vec<String> = said.approvals.iter().map(named).collect();
                format!("{lid} {} on {} by {} rules {}", said.branch, heads.join(" "), given.join(" "), said.rules)
            }
            _ => String::new(),
        };
        let kind = body.kind.name().unwrap_or("unknown");
        let prev = body.prev.as_ref().map_or_else(|| "-".to_owned(), named);
        let seen: Vec<String> = body.seen.iter().chain(&body.refs).map(named).collect();
        let place = format!("{who}/{}:{}", body.author.short(), body.seq);
        let _ = writeln!(text, "  #{at} {} {place} {kind} {what} [{prev}; {}]", event.id().short(), seen.join(" "));
    }
    text
}

fn machine(of: &crate::id::IdentityId) -> String {
    let all = (0..16).flat_map(|person| (0..IDENTITIES).map(move |machine| (person, machine)));
    let found = all.into_iter().find(|(person, machine)| identity(*person, *machine) == *of);
    found.map_or_else(|| "founder".to_owned(), |(person, machine)| format!("p{person}.{machine}"))
}

fn person(member: &MemberId) -> String {
    let found = (0..16).find(|person| MemberId::of(&identity(*person, 0)) == *member);
    found.map_or_else(|| member.short(), |person| format!("p{person}"))
}

fn target(target: &Target) -> String {
    match target {
        Target::Member(member) => person(member),
        Target::Identity(identity) => machine(identity),
        Target::Feed(feed) => feed.short(),
    }
}

#[test]
fn the_oracle_agrees_with_itself_and_a_broken_one_is_found_out() {
    compare_all(&Style::ALL, seeds().min(12), |log| Oracle::new(log.project, 1));
    let broken = |log: &Log| Oracle::new(log.project, 1).with_fault(Fault::PinsIgnored);
    let failure = (0..20).find_map(|seed| compare(Style::Rights, seed, broken).err()).unwrap();
    assert!(failure.contains("seed: rights") && failure.contains("genesis"), "{failure}");
}

#[test]
fn seeds_that_failed_once_are_readable() {
    kept();
}
