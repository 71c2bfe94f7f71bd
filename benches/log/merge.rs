//! Two logs of one project that differ by a thousand events become equal, message by message.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lansync::approval::State;
use lansync::eventlog::store::Store;
use lansync::eventlog::{Durable, Event};
use lansync::id::PeerId;
use lansync::limits;
use lansync::sync::{Input, Message, Output, Sync};

use super::events;
use super::measure::{append, copied, figure, ms, opened, state_of, take};

/// Events by which the two differ, half on each side.
const DIFFER: usize = 1_000;
/// The size of the smaller logs.
const SMALL: usize = 1_000;
/// How often.
const TIMES: usize = 5;

/// One peer of a project, without a network.
struct Side {
    path: PathBuf,
    me: PeerId,
    store: Store,
    state: State,
    sync: Sync,
}

impl Side {
    /// A copy of `log` with some further events by members of its own.
    fn new(log: &Path, name: &str, authors: std::ops::Range<usize>) -> (Self, u64) {
        let path = copied(log, name);
        let store = opened(&path);
        let mut state = state_of(&store);
        let me = events::peer(authors.start);
        let mut more = events::More::after(&state);
        let mut bytes = 0;
        for _ in 0..DIFFER / 2 {
            let event = more.by(authors.clone());
            bytes += event.bytes().len() as u64;
            take(&mut state, event);
        }
        append(&mut state, &store);
        let sync = Sync::new(state.frontier(), state.heads());
        (Self { path, me, store, state, sync }, bytes)
    }

    /// Carries out what the session wants, and gives what it says.
    fn drain(&mut self, to: PeerId) -> Vec<(Vec<u8>, bool)> {
        let mut said = Vec::new();
        while let Some(output) = self.sync.poll() {
            match output {
                Output::Send { message, flush, .. } => said.push((message.encode(), flush)),
                Output::Load { lacking, load, .. } => {
                    let lacking = self.state.clip(lacking);
                    let events = self.store.read(&lacking, limits::BATCH_BYTES).expect("it is read");
                    self.sync.handle(0, Input::Loaded { peer: to, load, events });
                }
                Output::Serves { .. } => {}
                Output::Drop { why, .. } => panic!("it was dropped: {why}"),
            }
        }
        said
    }

    /// Hears a message.
    fn hear(&mut self, from: PeerId, bytes: &[u8]) {
        let peer = from;
        match Message::decode(bytes).expect("it is a message") {
            Message::Frontier { entries, last } => {
                let located = self.state.locate(&entries);
                assert!(located.parted.is_empty(), "nothing forked");
                self.sync.handle(0, Input::Frontier { peer, located, entries: entries.len(), last });
            }
            Message::Held(entries) => {
                let heads = self.state.locate(&entries).heads;
                self.sync.handle(0, Input::Has { peer, heads });
            }
            Message::Answered => self.sync.handle(0, Input::Answered(peer)),
            Message::Events(batch) => {
                let mut heads = Vec::new();
                for bytes in batch {
                    let event = Event::decode(&bytes).expect("it was signed");
                    let id = event.id();
                    if let Some(checked) = self.state.check(&event).expect("it fits") {
                        self.state.apply(&Arc::new(event), checked);
                    }
                    heads.extend(self.state.place_of(&id).map(|place| (place.strand, place.seq)));
                }
                self.sync.handle(0, Input::Told { peer, heads });
                let Some(layer) = self.state.begin_append() else { return };
                let events: Vec<(u32, Durable<Arc<Event>>)> = self.store.append(&layer).expect("it is written");
                self.state.appended(self.store.base().expect("it is read"));
                self.sync.handle(0, Input::Stored { events, logged: self.state.frontier() });
            }
            other => panic!("nothing else is said: {other:?}"),
        }
    }
}

/// Merges two logs that grew from `log`; gives the time, the bytes sent and the bytes of the events lacking.
fn once(log: &Path) -> (Duration, u64, u64) {
    let (mut one, lacking) = Side::new(log, "one", 1..41);
    let (mut other, more) = Side::new(log, "other", 51..91);
    let (a, b) = (one.me, other.me);
    let mut sent = 0;
    let begun = Instant::now();
    let (of_a, of_b) = (one.sync.digest(), other.sync.digest());
    one.sync.handle(0, Input::PeerUp { peer: b, digest: of_b });
    other.sync.handle(0, Input::PeerUp { peer: a, digest: of_a });
    let mut way: VecDeque<(bool, Vec<u8>, bool)> = VecDeque::new();
    loop {
        way.extend(one.drain(b).into_iter().map(|(bytes, flush)| (true, bytes, flush)));
        way.extend(other.drain(a).into_iter().map(|(bytes, flush)| (false, bytes, flush)));
        let Some((to_other, bytes, flush)) = way.pop_front() else { break };
        // Each frame has its length before it.
        sent += bytes.len() as u64 + 4;
        let (from, to) = if to_other { (&mut one, &mut other) } else { (&mut other, &mut one) };
        to.hear(from.me, &bytes);
        if flush {
            from.sync.handle(0, Input::Flushed(to.me));
        }
    }
    let time = begun.elapsed();
    assert_eq!(one.sync.digest(), other.sync.digest(), "both hold the same");
    assert_eq!(one.sync.up_to_date(&b), Some(true), "and know it");
    for side in [one, other] {
        let path = side.path.clone();
        drop(side);
        std::fs::remove_file(path).expect("removed");
    }
    (time, sent, lacking + more)
}

fn several(log: &Path) -> (Duration, u64, u64) {
    let mut all: Vec<_> = (0..TIMES).map(|_| once(log)).collect();
    all.sort_unstable();
    all[TIMES / 2]
}

/// Merges two large logs, and two small ones.
pub(crate) fn merge(dir: &Path, log: &Path, count: usize) {
    let small = dir.join(format!("history-{SMALL}.redb"));
    let _ = std::fs::remove_file(&small);
    let store = Store::create(&small, &events::project()).expect("it is made");
    let mut state = state_of(&store);
    for event in events::Reader::open(&events::made(dir, SMALL)).take(SMALL) {
        take(&mut state, event);
    }
    append(&mut state, &store);
    drop(state);
    store.close().expect("it closes");
    let (brief, ..) = several(&small);
    let (time, sent, lacking) = several(log);
    figure(&format!("merge of two logs of {SMALL} that differ by {DIFFER}"), ms(brief));
    figure(&format!("merge of two logs of {count} that differ by {DIFFER}"), ms(time));
    figure("time of the large by that of the small", format!("{:.2}", time.as_secs_f64() / brief.as_secs_f64()));
    figure("bytes sent, and bytes of the events lacking", format!("{sent}, {lacking}"));
    figure("bytes sent by bytes lacking", format!("{:.3}", sent as f64 / lacking as f64));
}
