//! Times, sizes, and logs opened with their states.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lansync::approval::State;
use lansync::eventlog::Event;
use lansync::eventlog::store::{Opened, Store};
use lansync::id::Lid;

pub(crate) fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The value below which `part` of all are.
pub(crate) fn part(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

/// How long this thread ran on a core, which other programs on the machine do not lengthen.
pub(crate) fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Memory of this process that is in use now: all of it, and what no file stands behind.
pub(crate) fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("unknown").trim().to_owned()
    };
    format!("{}, of it {} anonymous", line("VmRSS:"), line("RssAnon:"))
}

pub(crate) fn opened(path: &Path) -> Store {
    match Store::open(path).expect("it opens") {
        Opened::Ready(store) => store,
        Opened::NeedsFold(_) => panic!("it was made just now"),
    }
}

/// A log that can be written, beside `path`.
pub(crate) fn copied(path: &Path, name: &str) -> std::path::PathBuf {
    let copy = path.with_extension(name);
    std::fs::copy(path, &copy).expect("copied");
    std::fs::File::open(&copy).and_then(|file| file.sync_all()).expect("synced");
    copy
}

pub(crate) fn state_of(store: &Store) -> State {
    State::open(store.project(), store.base().expect("it is read")).expect("its own rows")
}

/// Takes an event in, and believes its landing at once: the commits are made up.
pub(crate) fn take(state: &mut State, event: Event) {
    let land = landing(state, &event);
    let checked = state.check(&event).expect("it fits").expect("it is new");
    state.apply(&Arc::new(event), checked);
    if let Some(lid) = land {
        state.settle(&lid, true);
    }
}

pub(crate) fn landing(state: &State, event: &Event) -> Option<Lid> {
    match event.payload() {
        lansync::eventlog::Payload::Land(land) => Some(land.content().lid(&state.project())),
        _ => None,
    }
}

/// Appends what was taken in, durably.
pub(crate) fn append(state: &mut State, store: &Store) {
    if let Some(layer) = state.begin_append() {
        store.append(&layer).expect("it is written");
        state.appended(store.base().expect("it is read"));
    }
}
