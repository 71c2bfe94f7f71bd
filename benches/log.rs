//! What a log of a million events costs, with the state that the program keeps: importing, appending, reading, `status`,
//! a revocation, a merge, memory and size. Each figure is printed as `name: value`, with what it is compared with measured
//! in the same run.
//!
//! `cargo bench --bench log` measures all; `cargo bench --bench log -- import status` chooses. `LANSYNC_EVENTS` is how many
//! events there are. They are made once, truly signed, and kept under `target/`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

#[path = "log/append.rs"]
mod append;
#[path = "log/events.rs"]
mod events;
#[path = "log/import.rs"]
mod import;
#[path = "log/measure.rs"]
mod measure;
#[path = "log/merge.rs"]
mod merge;
#[path = "log/reading.rs"]
mod reading;
#[path = "log/revoke.rs"]
mod revoke;

use std::path::PathBuf;
use std::process::Command;

/// All there is to measure; each in a process of its own, so that memory is that of one.
const ALL: [&str; 7] = ["import", "open", "status", "range", "append", "revoke", "merge"];

fn main() {
    let mut chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let count = std::env::var("LANSYNC_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = events::made(&dir, count);
    let log = dir.join(format!("history-{count}.redb"));
    if chosen.is_empty() {
        chosen = ALL.map(str::to_owned).to_vec();
    }
    if !log.exists() && !chosen.iter().any(|one| one == "import") {
        chosen.insert(0, "import".to_owned());
    }
    if let [one] = chosen.as_slice() {
        match one.as_str() {
            "import" => import::import(&source, &log, count),
            "open" => reading::open(&log),
            "status" => reading::status(&log, &dir),
            "range" => reading::range(&log, count),
            "append" => append::append(&log, count),
            "revoke" => revoke::revoke(&log),
            "merge" => merge::merge(&dir, &log, count),
            other => panic!("there is no figure of that name: {other}"),
        }
        return;
    }
    let this = std::env::current_exe().expect("it runs");
    for one in chosen {
        println!("# {one}");
        let done = Command::new(&this).arg(&one).status().expect("it starts");
        assert!(done.success(), "{one} ended with {done}");
    }
}
