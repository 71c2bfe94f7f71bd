//! House rules as a test: layers, file lengths, words, and documents that tell the truth.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join(dir), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "{dir} has files");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The module right below `src`, `eventlog/store` being one of its own.
fn module(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap();
    if inner.starts_with("eventlog/store") {
        return "store";
    }
    inner.split(['/', '.']).next().unwrap()
}

const WORDS: [&str; 6] = ["id", "keys", "hlc", "codec", "limits", "api"];

/// What each module may import, besides itself.
fn may_import(module: &str) -> Vec<&'static str> {
    let with = |more: &[&'static str]| WORDS.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    match module {
        "id" | "hlc" | "codec" | "limits" | "api" | "keys" => with(&[]),
        "eventlog" => with(&["store"]),
        "approval" | "sync" => with(&["eventlog"]),
        "store" => with(&["eventlog"]),
        "git" | "quic" | "discovery" => with(&[]),
        "node" => with(&["eventlog", "store", "approval", "sync", "git", "quic", "discovery"]),
        "service" => with(&["eventlog", "store", "approval", "sync", "git", "quic", "discovery", "node"]),
        "simulator" => with(&["eventlog", "approval", "sync"]),
        "cli" => with(&["service", "node", "sync"]),
        // Not in a normal build: it calls whatever is given bytes of strangers.
        "fuzzing" => with(&["eventlog", "sync", "git", "quic", "discovery", "service", "cli"]),
        "lib" | "main" => with(&["cli"]),
        other => panic!("src/{other} has no layer: give it one in ARCHITECTURE.md and here"),
    }
}

/// The parts of a file that are not its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap()
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs")
        || file.contains("/tests/")
        || file.contains("/oracle/")
        || file.ends_with("golden.rs")
        || file.ends_with("testing.rs")
        || file.starts_with("src/simulator/")
}

#[test]
fn the_layers_hold() {
    let mut broken = Vec::new();
    for (file, text) in rust_files("src") {
        if is_test(&file) {
            continue;
        }
        let me = module(&file);
        let allowed = may_import(me);
        for line in code(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let mut target = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if rest.starts_with("eventlog::store") {
                    target = "store";
                }
                if !target.is_empty() && target != me && !allowed.contains(&target) {
                    broken.push(format!("{file}: {me} imports {target}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Layers 0 to 2 take time and randomness as arguments and touch no file, socket, task or lock.
#[test]
fn the_core_is_pure() {
    let banned = [
        "tokio",
        "std::fs",
        "std::net::Udp",
        "std::net::Tcp",
        "std::io::",
        "SystemTime",
        "Instant",
        "getrandom",
        "Mutex",
        "RwLock",
        "mpsc",
        "thread::",
        "std::env",
    ];
    let mut broken = Vec::new();
    for (file, text) in rust_files("src") {
        let pure = ["id", "keys", "hlc", "codec", "limits", "api", "eventlog", "approval", "sync"];
        if !pure.contains(&module(&file)) || is_test(&file) {
            continue;
        }
        for line in code(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{file}: {word}: {}", line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn only_one_place_reads_the_wall_clock() {
    for (file, text) in rust_files("src") {
        if file != "src/node/clock.rs" {
            assert!(!code(&text).contains("SystemTime::now"), "{file}");
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for (file, text) in rust_files("src") {
        assert!(text.lines().count() <= 800, "{file} is long: does it still hold one idea?");
        if !is_test(&file) {
            assert!(text.starts_with("//!"), "{file} begins with what it is for");
        }
    }
}

#[test]
fn one_word_for_each_idea() {
    // The left word is ours; the right ones are other people's for the same idea.
    let banned = ["daemon", "gossip", "lamport", "whitelist", "blacklist", "repo_manager", "helper"];
    for (file, text) in rust_files("src") {
        // A library's own names.
        let lower = text.replace("ServiceDaemon", "").replace("DaemonShutdown", "").to_lowercase();
        for word in banned {
            assert!(!lower.contains(word), "{file} says {word}");
        }
        for unfinished in ["todo!", "unimplemented!", "FIXME"] {
            assert!(!text.contains(unfinished), "{file} has {unfinished}");
        }
    }
}

#[test]
fn documents_point_at_things_that_exist() {
    let mut missing = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/format.md", "docs/threats.md"] {
        let Ok(text) = fs::read_to_string(root().join(document)) else {
            missing.push(format!("{document} is missing"));
            continue;
        };
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            let base = root().join(document);
            if !target.is_empty() && !target.contains("://") && !base.parent().unwrap().join(target).exists() {
                missing.push(format!("{document} -> {target}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
