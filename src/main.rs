//! The `lansync` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lansync::cli::run(std::env::args_os())
}
