//! Reading: opening, `status` without a service, ranges of time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lansync::api::Request;
use lansync::eventlog::Lacking;
use lansync::eventlog::store::{Opened, Store};
use lansync::hlc::Hlc;

use super::events;
use super::measure::{figure, ms, on_core, opened, part, resident, state_of};

/// How often a short thing is timed.
const TIMES: usize = 30;

/// Opens the log, and its state, as a service does.
pub(crate) fn open(log: &Path) {
    let before = resident();
    let begun = Instant::now();
    let store = opened(log);
    let state = state_of(&store);
    figure("open to write with its state, first", ms(begun.elapsed()));
    figure("events", state.events());
    figure("open proposals", state.open_count());
    figure("memory before opening", before);
    figure("memory with the log and its state open", resident());
    drop(state);
    drop(store);
    let mut times: Vec<_> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            let Ok(Opened::Ready(store)) = Store::open_to_read(log) else { panic!("it opens") };
            let state = state_of(&store);
            assert!(state.healthy());
            begun.elapsed()
        })
        .collect();
    figure("open to read with its state, median", ms(part(&mut times, 0.5)));
}

/// `status`, the way the command goes where no service runs.
pub(crate) fn status(log: &Path, dir: &Path) {
    let repo = dir.join("status");
    let _ = std::fs::remove_dir_all(&repo);
    let git = Command::new("git").args(["init", "--quiet"]).arg(&repo).status().expect("git runs");
    assert!(git.success(), "a repository is made");
    let home = repo.join(".git").join("lansync");
    std::fs::create_dir_all(&home).expect("made");
    let path = home.join("log.redb");
    std::fs::hard_link(log, &path).expect("linked");
    // The pages of the file leave the system's cache.
    let dropped = Command::new("dd")
        .arg(format!("of={}", log.display()))
        .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"])
        .status();
    let is_cold = dropped.is_ok_and(|status| status.success());
    let status = || {
        let (begun, core) = (Instant::now(), on_core());
        let mut replies = 0;
        let mut count = |_| {
            replies += 1;
            true
        };
        lansync::node::offline(&repo, &Request::Status, &mut count).expect("it is read");
        assert!(replies > 0, "it says something");
        (begun.elapsed(), on_core() - core)
    };
    let (first, _) = status();
    figure(if is_cold { "status, cold cache" } else { "status, first" }, ms(first));
    let (mut times, mut cores): (Vec<Duration>, Vec<Duration>) = (0..TIMES).map(|_| status()).unzip();
    figure("status, median and longest", format!("{}, {}", ms(part(&mut times, 0.5)), ms(part(&mut times, 1.0))));
    figure("the same on its core", ms(part(&mut cores, 0.5)));
    figure("memory after that", resident());
    std::fs::remove_dir_all(&repo).expect("removed");
}

/// Reads ranges of time.
pub(crate) fn range(log: &Path, count: usize) {
    let Ok(Opened::Ready(store)) = Store::open_to_read(log) else { panic!("it opens") };
    let hours = count as u64 * events::STEP / events::HOUR;
    for long in [1, 10, 100].into_iter().filter(|long| *long < hours) {
        let mut per_event = Vec::new();
        let mut found = 0;
        for time in 0..TIMES as u64 {
            let start = events::START + time * (hours - long) / TIMES as u64 * events::HOUR;
            let range = Hlc::new(start, 0)..Hlc::new(start + long * events::HOUR, 0);
            let begun = on_core();
            found = 0;
            store
                .in_time(range, |_| {
                    found += 1;
                    true
                })
                .expect("it is read");
            if found > 0 {
                per_event.push((on_core() - begun) / found);
            }
        }
        if !per_event.is_empty() {
            let each = part(&mut per_event, 0.5).as_nanos();
            figure(&format!("range of {long} h, {found} events"), format!("{each} ns/event on a core"));
        }
    }
    let heads = store.heads().expect("it is read");
    let lacks = |(strand, (_, head)): (&u32, &(_, lansync::eventlog::Head))| Lacking {
        strand: *strand,
        from: head.seq.saturating_sub(9),
        to: head.seq,
    };
    let spans: Vec<_> = heads.iter().map(lacks).collect();
    let begun = on_core();
    let read = store.read(&spans, usize::MAX).expect("it is read").len();
    let each = (on_core() - begun).as_nanos() / read as u128;
    figure(
        &format!("what a peer lacks, {read} events of {} strands", spans.len()),
        format!("{each} ns/event on a core"),
    );
}
