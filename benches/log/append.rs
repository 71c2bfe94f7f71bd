//! Appending one event at a time, each durable before the next, beside bare fsyncs of the same disk.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::events;
use super::measure::{append as append_taken, copied, figure, ms, on_core, opened, part, resident, state_of, take};

/// Events that are appended one by one.
const ONE_BY_ONE: usize = 3_000;
/// What a page is, of the log and of most disks.
const PAGE: usize = 4_096;

/// Files that are written and synced beside the log, as it could be done and as redb does it.
struct Bare {
    file: File,
    grows: File,
    len: u64,
    random: u64,
}

impl Bare {
    /// Pages of the file: as many as the log of a million events has within some MB.
    const PAGES: u64 = 10_000;

    fn new(beside: &Path) -> Self {
        let mut file = File::create(beside.with_extension("fsync")).expect("a file");
        for _ in 0..Self::PAGES {
            file.write_all(&[1; PAGE]).expect("written");
        }
        file.sync_all().expect("synced");
        let grows = File::create(beside.with_extension("fsync-grows")).expect("a file");
        Self { file, grows, len: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Writes so many pages at random places and syncs them once.
    fn scattered(&mut self, pages: usize) -> Duration {
        let begun = Instant::now();
        for _ in 0..pages {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let at = self.random % Self::PAGES * PAGE as u64;
            self.file.write_all_at(&[self.random as u8; PAGE], at).expect("written");
        }
        self.file.sync_data().expect("synced");
        begun.elapsed()
    }

    /// Writes one page after the last and syncs it.
    fn grown(&mut self) -> Duration {
        let begun = Instant::now();
        self.grows.write_all_at(&[3; PAGE], self.len).expect("written");
        self.grows.sync_data().expect("synced");
        self.len += PAGE as u64;
        begun.elapsed()
    }

    fn remove(beside: &Path) {
        for name in ["fsync", "fsync-grows"] {
            let _ = std::fs::remove_file(beside.with_extension(name));
        }
    }
}

/// Calls that wrote, and bytes that they wrote, of this process until now.
fn written() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    (of("syscw:"), of("wchar:"))
}

/// Appends one by one to the large log.
pub(crate) fn append(log: &Path, count: usize) {
    let copy = copied(log, "appended");
    let store = opened(&copy);
    let mut state = state_of(&store);
    let mut more = events::More::after(&state);
    let mut bare = Bare::new(&copy);
    let (mut appends, mut folds) = (Vec::new(), Vec::new());
    let (mut overwritten, mut grown, mut scattered) = (Vec::new(), Vec::new(), Vec::new());
    let (mut calls, mut bytes, mut events, mut core) = (0, 0, 0, Duration::ZERO);
    for number in 0..ONE_BY_ONE {
        let event = more.event();
        events += event.bytes().len();
        let (before, on_core_before) = (written(), on_core());
        let begun = Instant::now();
        take(&mut state, event);
        folds.push(begun.elapsed());
        append_taken(&mut state, &store);
        appends.push(begun.elapsed());
        core += on_core() - on_core_before;
        let after = written();
        calls += after.0 - before.0;
        bytes += after.1 - before.1;
        // By turns, so that whatever else the disk does meets all of them.
        match number % 3 {
            0 => overwritten.push(bare.scattered(1)),
            1 => grown.push(bare.grown()),
            // As many as an append writes.
            _ => scattered.push(bare.scattered(bytes as usize / (number + 1) / PAGE)),
        }
    }
    let both = |times: &mut [Duration]| (part(times, 0.5), part(times, 0.99));
    let two = |times: &mut [Duration]| format!("{}, {}", ms(part(times, 0.5)), ms(part(times, 0.99)));
    let ((_, p99), (_, bare99)) = (both(&mut appends), both(&mut overwritten));
    let (of, each) = (|number: u64| number as f64 / ONE_BY_ONE as f64, core / ONE_BY_ONE as u32);
    figure(&format!("append to {count} events, durable, p50 and p99"), two(&mut appends));
    figure("fsync of 4 KiB written over, p50 and p99", two(&mut overwritten));
    figure("append p99 in these", format!("{:.2}", p99.as_secs_f64() / bare99.as_secs_f64()));
    figure("fsync of 4 KiB by which a file grows, p50 and p99", two(&mut grown));
    figure("one fsync of as many bytes as an append writes, in pages at random places", two(&mut scattered));
    figure("of an append the fold, p50 and p99", two(&mut folds));
    figure("of it on its core, the mean", ms(each));
    figure(
        "an append writes",
        format!("{:.1} times, {:.0} bytes, for an event of {:.0}", of(calls), of(bytes), of(events as u64)),
    );
    figure("memory after that", resident());
    drop((state, store));
    Bare::remove(&copy);
    std::fs::remove_file(&copy).expect("removed");
}
