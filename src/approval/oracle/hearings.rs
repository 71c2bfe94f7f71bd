//! What bears on somebody decides about them: whoever holds just that says the same of them as whoever holds all.

use super::compare::seeds;
use super::logs::Style;
use super::world::Log;
use crate::approval::State;
use crate::eventlog::Event;
use crate::id::ProjectId;

/// The state of these events.
fn state_of<'a>(project: ProjectId, events: impl Iterator<Item = &'a Event>) -> State {
    let mut state = State::new(project);
    for event in events {
        state.take(event.clone()).expect("its past is there");
    }
    state
}

/// How many clones of a log were asked about, and about which the answers differed.
fn disagreements(log: &Log) -> (usize, Vec<String>) {
    let all = state_of(log.project, log.events.iter());
    let mut wrong = Vec::new();
    let feeds: Vec<_> = all.feeds().copied().collect();
    for feed in &feeds {
        let identity = all.identity_of_feed(feed).expect("it has begun");
        let past = all.past_of(&all.bearing_on(&[(identity, *feed)])).expect("it can be read");
        let bears = |event: &&Event| {
            let place = all.place_of(&event.id()).expect("it is held");
            past.head(place.strand).is_some_and(|head| place.seq <= head.seq)
        };
        let cut = state_of(log.project, log.events.iter().filter(bears));
        if cut.is_welcome(&identity, feed) != all.is_welcome(&identity, feed) {
            wrong.push(format!("{}, by {} of {} events", feed.short(), cut.events(), all.events()));
        }
    }
    (feeds.len(), wrong)
}

#[test]
#[expect(clippy::print_stdout, reason = "it prints figures")]
fn what_bears_on_a_clone_decides_about_it() {
    let (mut clones, mut forked, mut differ) = (0, 0, 0);
    for style in [Style::Rights, Style::Machines, Style::Duels, Style::Heists, Style::Forks] {
        for seed in 0..seeds() / 20 {
            let log = style.log(seed);
            let (asked, wrong) = disagreements(&log);
            let forks = state_of(log.project, log.events.iter()).forked_feeds().next().is_some();
            // Who built on a feed before it forked may be unknown to one who holds just this: docs/authority.md.
            assert!(forks || wrong.is_empty(), "{} {seed}: {wrong:#?}", style.name());
            clones += asked;
            if forks {
                forked += asked;
                differ += wrong.len();
            }
        }
    }
    println!("hearings_clones: {clones}, {forked} of them where a feed forked, of which {differ} differ");
    assert!(forked > 0 && differ * 20 < forked, "with forks {differ} of {forked} differ");
}
