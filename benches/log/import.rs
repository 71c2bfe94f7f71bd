//! Importing the whole log, as a sync with one neighbour does: signatures are verified beside the loop that folds, message by
//! message, and what was folded is appended beside both, as much together as the service would.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lansync::approval::State;
use lansync::eventlog::rows::{Base, Layer, Table};
use lansync::eventlog::store::Store;
use lansync::eventlog::{Event, Gather};
use lansync::keys::{self, Signature, Verifier};
use lansync::limits;

use super::events;
use super::measure::{figure, landing, ms, on_core, resident};

/// How many events are verified alone, to compare with.
const VERIFIED: usize = 100_000;

/// What verification alone costs, on two threads: of all signatures that the events carry, and of the feeds' only.
struct Bare {
    /// Events per second, all signatures.
    speed: f64,
    /// Time on cores per event, all signatures.
    all: Duration,
    /// Time on cores per event, feeds' signatures.
    feeds: Duration,
}

/// How a signature is verified.
type Verify = fn(&[u8; 32], &[u8; 32], &Signature) -> bool;

/// As the library does, strictly, from the bytes.
fn by_library(key: &[u8; 32], hash: &[u8; 32], signature: &Signature) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).expect("it is a key");
    key.verify_strict(hash, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
}

/// As lansync does one that stands alone.
fn by_lansync(key: &[u8; 32], hash: &[u8; 32], signature: &Signature) -> bool {
    keys::verify(key, hash, signature).is_ok()
}

/// Verifies signatures of events that were decoded before, and does nothing else.
fn verify(source: &Path, count: usize, by: Verify) -> Bare {
    let events = events::Reader::open(source).take(VERIFIED.min(count));
    let identities = events::identities();
    let feeds = |events: &[Event]| {
        let core = on_core();
        for event in events {
            assert!(by(&event.body().author.0, &event.id().0, &event.signatures().0), "it was signed");
        }
        on_core() - core
    };
    let second = |events: &[Event]| {
        let core = on_core();
        for event in events {
            if let Some(signature) = event.signatures().1 {
                assert!(by(&identities[&event.body().author].0, &event.id().0, &signature), "it was signed");
            }
        }
        on_core() - core
    };
    let both = |events: &[Event]| (feeds(events), second(events));
    let begun = Instant::now();
    let (one, other) = events.split_at(events.len() / 2);
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| both(one));
        let other = both(other);
        (one.join().expect("it does not panic"), other)
    });
    let speed = events.len() as f64 / begun.elapsed().as_secs_f64();
    let count = events.len() as u32;
    let feeds = (one.0 + other.0) / count;
    Bare { speed, feeds, all: feeds + (one.1 + other.1) / count }
}

#[derive(Default)]
struct Stages {
    checked: Duration,
    applied: Duration,
    settled: Duration,
    begun: Duration,
    appended: Duration,
    waited: Duration,
    /// Rows written, and bytes of them, by table.
    rows: [(usize, usize); Table::ALL.len()],
    /// Appends, and the most events in one.
    appends: usize,
    most: usize,
}

/// An append under way: gives the base after it, and what it took on its core.
type Writing = JoinHandle<(Arc<dyn Base>, Duration, Arc<Layer>)>;

/// The loop that folds, with what it appends.
struct Import {
    store: Arc<Store>,
    state: State,
    gather: Gather,
    begun: Instant,
    writing: Option<Writing>,
    /// Time on cores in appends.
    written: Duration,
    stages: Stages,
}

impl Import {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).expect("it is short")
    }

    fn take(&mut self, event: Event) {
        let land = landing(&self.state, &event);
        let at = Instant::now();
        self.gather.take(self.now(), &event);
        let checked = self.state.check(&event).expect("it fits").expect("it is new");
        let then = Instant::now();
        self.state.apply(&Arc::new(event), checked);
        let after = Instant::now();
        if let Some(lid) = land {
            self.state.settle(&lid, true);
            self.stages.settled += after.elapsed();
        }
        self.stages.checked += then - at;
        self.stages.applied += after - then;
    }

    /// Begins an append if it is time, as the service does after each message: not while one is under way.
    fn flush(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.settle();
        if self.gather.is_due(self.now()) {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.gather.begun();
        let at = Instant::now();
        let Some(layer) = self.state.begin_append() else { return };
        self.stages.begun += at.elapsed();
        let to = self.store.clone();
        self.writing = Some(std::thread::spawn(move || {
            let core = on_core();
            to.append(&layer).expect("it is written");
            let base: Arc<dyn Base> = to.base().expect("it is read");
            (base, on_core() - core, layer)
        }));
    }

    /// Waits for the append under way.
    fn settle(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let at = Instant::now();
        let (base, core, layer) = writing.join().expect("it is written");
        self.stages.waited += at.elapsed();
        let at = Instant::now();
        self.state.appended(base);
        self.stages.appended += at.elapsed();
        self.written += core;
        self.stages.appends += 1;
        self.stages.most = self.stages.most.max(layer.events().count());
        // Beside the loop, as counting is no part of an import.
        let counted = std::thread::spawn(move || {
            let mut rows = [(0, 0); Table::ALL.len()];
            for (table, key, value) in layer.rows() {
                let (count, bytes) = &mut rows[table as usize];
                *count += 1;
                *bytes += key.len() + value.map_or(0, <[u8]>::len);
            }
            rows
        });
        for (all, (count, bytes)) in self.stages.rows.iter_mut().zip(counted.join().expect("it counts")) {
            *all = (all.0 + count, all.1 + bytes);
        }
    }
}

/// Imports `count` events into a new log.
pub(crate) fn import(source: &Path, log: &Path, count: usize) {
    let before = verify(source, count, by_library);
    let _ = std::fs::remove_file(log);
    let store = Arc::new(Store::create(log, &events::project()).expect("it is made"));
    let state = State::open(store.project(), store.base().expect("it is read")).expect("it is empty");
    let (to_loop, verified) = mpsc::sync_channel(1);
    let mut bytes = 0;
    let begun = Instant::now();
    let verifier = std::thread::spawn({
        let source = source.to_owned();
        move || {
            let (mut reader, mut verifier) = (events::Reader::open(&source), Verifier::default());
            let core = on_core();
            let mut done = 0;
            while done < count {
                let batch = reader.take_message(count - done, limits::BATCH_BYTES);
                done += batch.len();
                let events: Vec<Event> =
                    batch.iter().map(|event| Event::decode_by(event, &mut verifier).expect("it was signed")).collect();
                if to_loop.send(events).is_err() {
                    break;
                }
            }
            on_core() - core
        }
    });
    let mut import = Import {
        store,
        state,
        gather: Gather::default(),
        begun,
        writing: None,
        written: Duration::ZERO,
        stages: Stages::default(),
    };
    let (mut last, mut done, core) = (Instant::now(), 0, on_core());
    loop {
        // As the service does: it wakes when what has gathered is due though nothing came.
        let due = import.gather.due().filter(|_| import.writing.is_none());
        let events = match due.map(|due| Duration::from_millis(due.saturating_sub(import.now()))) {
            Some(wait) => verified.recv_timeout(wait),
            None => verified.recv().map_err(RecvTimeoutError::from),
        };
        if events == Err(RecvTimeoutError::Disconnected) {
            break;
        }
        for event in events.unwrap_or_default() {
            bytes += event.bytes().len() as u64;
            import.take(event);
            done += 1;
        }
        import.flush();
        if last.elapsed() > Duration::from_secs(10) {
            eprintln!("{done} events imported in {:.0} s", begun.elapsed().as_secs_f64());
            last = Instant::now();
        }
    }
    import.settle();
    import.begin();
    import.settle();
    let Import { store, state, written, stages, .. } = import;
    let speed = count as f64 / begun.elapsed().as_secs_f64();
    let folded = on_core() - core;
    let verified = verifier.join().expect("it does not panic");
    let after = verify(source, count, by_library);
    let ours = verify(source, count, by_lansync);
    let bare = (before.speed + after.speed) / 2.0;
    let (all, feeds) = ((before.all + after.all) / 2, (before.feeds + after.feeds) / 2);
    let on_cores = (folded + verified + written) / count as u32;
    let of = |part: Duration| part.as_secs_f64() / on_cores.as_secs_f64();
    figure("events", count);
    figure(
        "verification of all signatures alone, two threads",
        format!("{bare:.0} events/s ({:.0}, {:.0})", before.speed, after.speed),
    );
    figure("import", format!("{speed:.0} events/s, {:.2} of verification", speed / bare));
    figure("the same by time on cores", format!("{:.2} of verification", of(all)));
    figure("by time on cores, of verification of feeds' signatures only", format!("{:.2}", of(feeds)));
    figure("by time on cores, of lansync's own verification of all signatures alone", format!("{:.2}", of(ours.all)));
    let part = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6 / count as f64);
    let us = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6);
    figure("time on cores per event, signatures verified alone, feeds' only", format!("{}, {}", us(all), us(feeds)));
    figure("the same by lansync's own verification", format!("{}, {}", us(ours.all), us(ours.feeds)));
    figure(
        "time on cores per event in the import: decoded and feeds' signatures verified, folded with identities', appended",
        format!("{}, {}, {}", part(verified), part(folded), part(written)),
    );
    figure(
        "by the clock per event: check, apply, settle, begin, appended, wait",
        [stages.checked, stages.applied, stages.settled, stages.begun, stages.appended, stages.waited]
            .map(part)
            .join(", "),
    );
    figure("appends, and the most events in one", format!("{}, {}", stages.appends, stages.most));
    for table in Table::ALL {
        let (rows, bytes) = stages.rows[table as usize];
        let of = |number: usize| number as f64 / count as f64;
        figure(&format!("rows written per event, {table:?}"), format!("{:.3}, {:.1} bytes", of(rows), of(bytes)));
    }
    figure("memory at the end of the import", resident());
    drop(state);
    let mut store = Arc::into_inner(store).expect("nobody else has it");
    size("imported", log, bytes);
    let begun = Instant::now();
    store.compact().expect("it is made smaller");
    figure("made smaller in", ms(begun.elapsed()));
    size("made smaller", log, bytes);
    let begun = Instant::now();
    store.close().expect("it closes");
    figure("closed in", ms(begun.elapsed()));
    size("closed", log, bytes);
}

fn size(what: &str, path: &Path, bytes: u64) {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).expect("it is there");
    let blocks = meta.blocks() * 512;
    let ratio = |size: u64| size as f64 / bytes as f64;
    figure(&format!("{what}, bytes of its events"), bytes);
    figure(&format!("{what}, file"), format!("{} ({:.3} of its events)", meta.len(), ratio(meta.len())));
    figure(&format!("{what}, on disk"), format!("{blocks} ({:.3} of its events)", ratio(blocks)));
}
