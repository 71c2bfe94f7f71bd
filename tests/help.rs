//! All pages of help are one reviewed file. To renew it: `UPDATE_HELP=1 cargo test --test help`, then read the diff.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

use std::fs;
use std::path::Path;

#[test]
fn the_help_is_what_was_reviewed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/help.txt");
    let help: String = lansync::cli::all_help().lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("UPDATE_HELP").is_some() {
        fs::write(&path, &help).expect("the file can be written");
    }
    let reviewed = fs::read_to_string(&path).expect("tests/data/help.txt is there");
    assert!(help == reviewed, "the help has changed; see the top of tests/help.rs\n{help}");
}
