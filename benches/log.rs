//! What a large log costs: its size, appending, reading a part of it, opening it. Each figure is printed as `name: value`,
//! with what it is compared with measured in the same run.
//!
//! `cargo bench --bench log` measures all; `cargo bench --bench log -- import open` chooses. `LANSYNC_EVENTS` is how many
//! events there are. They are made once, truly signed, and kept under `target/`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

#[path = "log/events.rs"]
mod events;
#[path = "log/fold.rs"]
mod fold;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lansync::eventlog::Lacking;
use lansync::eventlog::rows::Base;
use lansync::eventlog::store::{Opened, Store};
use lansync::hlc::Hlc;

/// Events that are appended together when a log is imported, where `LANSYNC_TOGETHER` does not say: what a frame holds.
const TOGETHER: usize = 500;
/// Events that are appended one by one.
const ONE_BY_ONE: usize = 50_000;
/// How often a short thing is timed.
const TIMES: usize = 30;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let number = |name, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (count, together) = (number("LANSYNC_EVENTS", 1_000_000), number("LANSYNC_TOGETHER", TOGETHER));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = events::made(&dir, count);
    let log = dir.join(format!("log-{count}.redb"));
    verify(&source);
    if wanted("import") || !log.exists() {
        import(&source, &log, count, together);
    }
    if wanted("open") {
        open(&log);
    }
    if wanted("range") {
        range(&log);
    }
    if wanted("append") {
        append(&source, &log, count);
    }
    if wanted("grow") {
        grow(&source, &dir.join("log-grown.redb"), ONE_BY_ONE.min(count));
    }
}

fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The value below which `part` of all are.
fn part(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

/// How long this thread ran on a core, which other programs on the machine do not lengthen.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Memory of this process that is in use now.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn opened(path: &Path) -> Store {
    match Store::open(path).expect("it opens") {
        Opened::Ready(store) => store,
        Opened::NeedsFold(_) => panic!("it was made just now"),
    }
}

fn size(what: &str, path: &Path, bytes: u64) {
    let meta = std::fs::metadata(path).expect("it is there");
    let blocks = meta.blocks() * 512;
    let ratio = |size: u64| size as f64 / bytes as f64;
    figure(&format!("{what}, bytes of its events"), bytes);
    figure(&format!("{what}, file"), format!("{} ({:.3} of its events)", meta.len(), ratio(meta.len())));
    figure(&format!("{what}, on disk"), format!("{blocks} ({:.3} of its events)", ratio(blocks)));
}

/// How fast events are decoded and their feeds' signatures verified, on one core.
fn verify(source: &Path) {
    let events = events::Reader::open(source).take(3_000);
    let begun = on_core();
    for event in &events {
        lansync::eventlog::Event::decode(event.bytes()).expect("it was signed");
    }
    let each = (on_core() - begun) / events.len() as u32;
    figure("decode and verify, by time on a core", format!("{:.0} events/s", 1.0 / each.as_secs_f64()));
}

/// Imports the whole log, as a sync would.
fn import(source: &Path, log: &Path, count: usize, together: usize) {
    let _ = std::fs::remove_file(log);
    let mut events = events::Reader::open(source);
    let mut store = Store::create(log, &events::project()).expect("it is made");
    let mut fold = fold::Fold::default();
    let (mut bytes, mut written, mut worked, mut rows) = (0, Duration::ZERO, Duration::ZERO, 0);
    let mut last = Instant::now();
    for done in (0..count).step_by(together) {
        let batch = events.take(together.min(count - done));
        bytes += batch.iter().map(|event| event.bytes().len() as u64).sum::<u64>();
        let layer = fold.layer(batch);
        rows += layer.rows().count();
        let (begun, core) = (Instant::now(), on_core());
        store.append(&layer).expect("it is written");
        written += begun.elapsed();
        worked += on_core() - core;
        if last.elapsed() > Duration::from_secs(20) {
            eprintln!("{done} events imported in {:.0} s", written.as_secs_f64());
            last = Instant::now();
        }
    }
    figure("import, store only", format!("{:.0} events/s", count as f64 / written.as_secs_f64()));
    figure("import, store only, by time on a core", format!("{:.0} events/s", count as f64 / worked.as_secs_f64()));
    figure("import, rows per event", format!("{:.2}", rows as f64 / count as f64));
    figure("import, memory at its end", resident());
    size("imported, still open", log, bytes);
    if std::env::var_os("LANSYNC_COMPACT").is_some() {
        let begun = Instant::now();
        store.compact().expect("it is made smaller");
        figure("imported, made smaller in", ms(begun.elapsed()));
        size("imported, made smaller", log, bytes);
    }
    let begun = Instant::now();
    store.close().expect("it closes");
    figure("imported, closed in", ms(begun.elapsed()));
    size("imported", log, bytes);
    std::fs::write(log.with_extension("bytes"), bytes.to_string()).expect("written");
}

/// Opens it in several ways.
fn open(log: &Path) {
    let before = resident();
    let mut times: Vec<_> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            let Ok(Opened::Ready(store)) = Store::open_to_read(log) else { panic!("it opens") };
            let base = store.base().expect("it is read");
            assert!(base.healthy());
            begun.elapsed()
        })
        .collect();
    figure("open to read, median", ms(part(&mut times, 0.5)));
    let mut latest: Vec<_> = (0..TIMES)
        .map(|_| {
            let Ok(Opened::Ready(store)) = Store::open_to_read(log) else { panic!("it opens") };
            let begun = Instant::now();
            let mut count = 0;
            let all = Hlc::default()..Hlc::from_bits(u64::MAX);
            store
                .in_time_back(all, |_| {
                    count += 1;
                    count < 20
                })
                .expect("it is read");
            begun.elapsed()
        })
        .collect();
    figure("the latest 20 events, median", ms(part(&mut latest, 0.5)));
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let store = opened(log);
            let time = begun.elapsed();
            drop(store);
            time
        })
        .collect();
    figure("open to write, median", ms(part(&mut times, 0.5)));
    let store = opened(log);
    let base = store.base().expect("it is read");
    figure("memory before opening, and while it is open", format!("{before}, {}", resident()));
    drop((base, store));
    // As after a power cut: a copy of it while it is open.
    let torn = log.with_extension("torn");
    let store = opened(log);
    std::fs::copy(log, &torn).expect("copied");
    drop(store);
    let begun = Instant::now();
    drop(opened(&torn));
    figure("open and close after a crash", ms(begun.elapsed()));
    std::fs::remove_file(&torn).expect("removed");
}

/// Reads ranges of time.
fn range(log: &Path) {
    let Ok(Opened::Ready(store)) = Store::open_to_read(log) else { panic!("it opens") };
    for hours in [1, 10, 100] {
        let mut per_event = Vec::new();
        let mut count = 0;
        for time in 0..TIMES as u64 {
            let start = events::START + (50 + time * 23) * events::HOUR;
            let range = Hlc::new(start, 0)..Hlc::new(start + hours * events::HOUR, 0);
            let begun = on_core();
            count = 0;
            store
                .in_time(range, |_| {
                    count += 1;
                    true
                })
                .expect("it is read");
            if count > 0 {
                per_event.push((on_core() - begun) / count);
            }
        }
        if !per_event.is_empty() {
            figure(
                &format!("range of {hours} h, {count} events"),
                format!("{} ns/event on a core", part(&mut per_event, 0.5).as_nanos()),
            );
        }
    }
    let heads = store.heads().expect("it is read");
    let spans: Vec<_> = heads
        .iter()
        .map(|(strand, (_, head))| Lacking { strand: *strand, from: head.seq.saturating_sub(9), to: head.seq })
        .collect();
    let begun = on_core();
    let read = store.read(&spans, usize::MAX).expect("it is read").len();
    let each = (on_core() - begun).as_nanos() / read as u128;
    figure(
        &format!("what a peer lacks, {read} events of {} strands", spans.len()),
        format!("{each} ns/event on a core"),
    );
}

/// Times of appends, and of bare fsyncs between them.
struct Race {
    appends: Vec<Duration>,
    fsyncs: Vec<Duration>,
    bare: File,
}

impl Race {
    fn new(beside: &Path) -> Self {
        let mut bare = File::create(beside.with_extension("fsync")).expect("a file");
        bare.write_all(&vec![1; 1 << 20]).expect("written");
        bare.sync_all().expect("synced");
        Self { appends: Vec::new(), fsyncs: Vec::new(), bare }
    }

    fn append(&mut self, store: &Store, layer: &lansync::eventlog::rows::Layer) {
        let begun = Instant::now();
        store.append(layer).expect("it is written");
        self.appends.push(begun.elapsed());
        if self.appends.len().is_multiple_of(5) {
            let page = [self.appends.len() as u8; 4096];
            let at = (self.appends.len() as u64 * 4096) % (1 << 20);
            let begun = Instant::now();
            self.bare.write_all_at(&page, at).expect("written");
            self.bare.sync_data().expect("synced");
            self.fsyncs.push(begun.elapsed());
        }
    }

    fn figures(mut self, what: &str) {
        let (appends, fsyncs) = (&mut self.appends, &mut self.fsyncs);
        let (p50, p99) = (part(appends, 0.5), part(appends, 0.99));
        let (bare50, bare99) = (part(fsyncs, 0.5), part(fsyncs, 0.99));
        figure(&format!("{what}, append p50 and p99"), format!("{}, {}", ms(p50), ms(p99)));
        figure(&format!("{what}, bare fsync p50 and p99"), format!("{}, {}", ms(bare50), ms(bare99)));
        figure(&format!("{what}, append p99 in fsyncs"), format!("{:.2}", p99.as_secs_f64() / bare99.as_secs_f64()));
    }
}

/// Appends one by one to the large log.
fn append(source: &Path, log: &Path, count: usize) {
    let copy = log.with_extension("appended");
    std::fs::copy(log, &copy).expect("copied");
    File::open(&copy).and_then(|file| file.sync_all()).expect("synced");
    let store = opened(&copy);
    let mut fold = fold::Fold::default();
    let mut events = events::Reader::open(source);
    // What the rows are is known from the events; nothing of it is written.
    for done in (0..count).step_by(TOGETHER) {
        fold.layer(events.take(TOGETHER.min(count - done)));
    }
    let mut more = events::More::after(source, count);
    let mut race = Race::new(&copy);
    for _ in 0..2_000 {
        let layer = fold.layer(vec![more.event()]);
        race.append(&store, &layer);
    }
    race.figures(&format!("{count} events"));
    figure("memory after 2,000 appends", resident());
    store.close().expect("it closes");
    std::fs::remove_file(&copy).expect("removed");
}

/// A log that grew one event at a time.
fn grow(source: &Path, log: &Path, count: usize) {
    let _ = std::fs::remove_file(log);
    let mut events = events::Reader::open(source);
    let store = Store::create(log, &events::project()).expect("it is made");
    let mut fold = fold::Fold::default();
    let mut race = Race::new(log);
    let mut bytes = 0;
    for _ in 0..count {
        let batch = events.take(1);
        bytes += batch[0].bytes().len() as u64;
        race.append(&store, &fold.layer(batch));
    }
    race.figures("grown");
    size("grown, still open", log, bytes);
    store.close().expect("it closes");
    size("grown", log, bytes);
}
