//! Appending one event at a time, each durable before the next, beside bare fsyncs of the same disk.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::events;
use super::measure::{append as append_taken, copied, figure, ms, opened, part, resident, state_of, take};

/// Events that are appended one by one.
const ONE_BY_ONE: usize = 3_000;

/// Appends one by one to the large log.
pub(crate) fn append(log: &Path, count: usize) {
    let copy = copied(log, "appended");
    let store = opened(&copy);
    let mut state = state_of(&store);
    let mut more = events::More::after(&state);
    let mut bare = File::create(copy.with_extension("fsync")).expect("a file");
    bare.write_all(&vec![1; 1 << 20]).expect("written");
    bare.sync_all().expect("synced");
    let (mut appends, mut fsyncs, mut folds) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ONE_BY_ONE {
        let event = more.event();
        let begun = Instant::now();
        take(&mut state, event);
        folds.push(begun.elapsed());
        append_taken(&mut state, &store);
        appends.push(begun.elapsed());
        if number % 3 == 0 {
            let page = [number as u8; 4096];
            let begun = Instant::now();
            bare.write_all_at(&page, (number as u64 * 4096) % (1 << 20)).expect("written");
            bare.sync_data().expect("synced");
            fsyncs.push(begun.elapsed());
        }
    }
    let both = |times: &mut [Duration]| (part(times, 0.5), part(times, 0.99));
    let ((p50, p99), (bare50, bare99)) = (both(&mut appends), both(&mut fsyncs));
    figure(&format!("append to {count} events, durable, p50 and p99"), format!("{}, {}", ms(p50), ms(p99)));
    figure("bare fsync p50 and p99", format!("{}, {}", ms(bare50), ms(bare99)));
    figure("append p99 in fsyncs", format!("{:.2}", p99.as_secs_f64() / bare99.as_secs_f64()));
    let (fold50, fold99) = both(&mut folds);
    figure("of it the fold, p50 and p99", format!("{}, {}", ms(fold50), ms(fold99)));
    figure("memory after that", resident());
    drop((state, store));
    let _ = std::fs::remove_file(copy.with_extension("fsync"));
    std::fs::remove_file(&copy).expect("removed");
}
