//! A revocation by one who was away: it pins an event far back, so ten thousand later ones no longer count.

use std::path::Path;
use std::time::{Duration, Instant};

use lansync::eventlog::rows::{Base, Place};

use super::events::{self, BUSY};
use super::measure::{append, copied, figure, ms, on_core, opened, resident, state_of};

/// Events that fall.
const FALL: u64 = 10_000;
/// How often.
const TIMES: usize = 3;

/// Folds a revocation of one who proposes, and of one who approves and lands.
pub(crate) fn revoke(log: &Path) {
    for (what, who) in [("a contributor", BUSY), ("a maintainer", 7)] {
        let mut times: Vec<(Duration, Duration, Duration)> = Vec::new();
        let mut fell = 0;
        for _ in 0..TIMES {
            let copy = copied(log, "revoked");
            let store = opened(&copy);
            let mut state = state_of(&store);
            let head = state.feed_head(&events::peer(who)).expect("it has begun");
            let strand = state.strand_of(&events::peer(who)).expect("it has begun");
            fell = FALL.min(head.seq);
            let base = store.base().expect("it is read");
            let pin = base.event(Place { strand, seq: head.seq - fell }).expect("it is there").id();
            drop(base);
            let event = events::More::after(&state).revoke(who, pin);
            let id = event.id();
            let (begun, core) = (Instant::now(), on_core());
            state.take(event).expect("it fits").expect("it is new");
            let (folded, core) = (begun.elapsed(), on_core() - core);
            append(&mut state, &store);
            times.push((folded, begun.elapsed(), core));
            assert!(state.revocations().iter().any(|(revocation, _)| *revocation == id), "it counts");
            assert!(state.is_counting(&pin) && !state.is_counting(&head.id), "what it names falls");
            drop((state, store));
            std::fs::remove_file(&copy).expect("removed");
        }
        times.sort_unstable();
        let (folded, durable, core) = times[times.len() / 2];
        let all: Vec<String> = times.iter().map(|(folded, ..)| ms(*folded)).collect();
        figure(
            &format!("revocation of {what}, {fell} events fall, folded"),
            format!("{} ({}), on a core {}", ms(folded), all.join(", "), ms(core)),
        );
        figure(&format!("revocation of {what}, durable"), ms(durable));
    }
    figure("memory after that", resident());
}
