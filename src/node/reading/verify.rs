//! `verify`: the whole log is read, every signature checked, and everything worked out again from the beginning.

use std::sync::Arc;

use crate::api::{Refusal, Verified};
use crate::approval::State;
use crate::eventlog::Event;
use crate::hlc::Hlc;
use crate::id::{Lid, hex};
use crate::keys::Verifier;
use crate::node::snapshot::Snapshot;

/// More problems than this are not listed: the log is damaged.
const MOST: usize = 20;

impl Snapshot {
    pub(super) fn verify(&self) -> Result<Verified, Refusal> {
        let stored =
            crate::node::opening::open_state(&self.store).map_err(|error| crate::node::refusals::store(&error))?;
        let mut problems = Vec::new();
        let (mut again, mut verifier) = (State::new(stored.project()), Verifier::default());
        let all = Hlc::default()..Hlc::from_bits(u64::MAX);
        let read = self.store.in_time(all, |event| {
            // What was appended since belongs to the next time.
            if !stored.holds(&event.id()) && self.running {
                return true;
            }
            // From the bytes, with the feed's signature; taking it in checks the identity's, and its place in its past.
            let taken = match Event::decode_by(event.bytes(), &mut verifier) {
                Ok(decoded) => again.take_again(&Arc::new(decoded)).map(drop).map_err(|why| why.to_string()),
                Err(why) => Err(why.to_string()),
            };
            if let Err(why) = taken {
                problems.push(format!("event {}: {why}", event.id().short()));
            }
            problems.len() < MOST
        });
        if let Err(error) = read {
            problems.push(format!("the log cannot be read: {error}"));
        }
        settle(&mut again, &stored);
        compare(&again, &stored, &mut problems);
        Ok(Verified { digest: hex(&again.digest()), events: again.log_events(), problems })
    }
}

/// What the objects say of landings is taken over: it was worked out when they came.
fn settle(again: &mut State, stored: &State) {
    loop {
        let known = |lid: Lid| Some((lid, stored.landing(&lid)?.sound?));
        let next: Vec<(Lid, bool)> = again.unsettled().iter().filter_map(|landing| known(landing.lid)).collect();
        if next.is_empty() {
            break;
        }
        for (lid, sound) in next {
            again.settle(&lid, sound);
        }
    }
    let open: Vec<_> = again.open_proposals().map(|one| (one.last.target, one.last.tip)).collect();
    for (target, tip) in open.into_iter().filter(|(target, tip)| stored.has_landed(target, tip)) {
        again.contained(&target, tip);
    }
}

fn compare(again: &State, stored: &State, problems: &mut Vec<String>) {
    let mut differ = |what: &str, same: bool| {
        if !same {
            problems.push(format!("{what} worked out again from the log differ from those that are kept"));
        }
    };
    differ("the events", again.events() == stored.events());
    differ("the ends of the feeds", again.frontier().digest() == stored.frontier().digest());
    differ("the members", again.members() == stored.members());
    differ("the demands of the policy", again.demands() == stored.demands());
    for (branch, _) in stored.canonical() {
        let heads = |state: &State| state.branch(branch).map(|heads| heads.lids());
        differ(&format!("the heads of {branch}"), heads(again) == heads(stored));
    }
    differ("the open proposals", again.still_open() == stored.still_open());
}
