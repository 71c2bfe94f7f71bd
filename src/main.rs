//! The `lansync` program.

use std::process::ExitCode;

/// Gives memory back to the system once a large transfer is over, which the C library does not: it keeps what several threads have
/// freed among what lives on (docs/figures.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lansync::cli::run(std::env::args_os())
}
