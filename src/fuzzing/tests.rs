//! Every input that is kept, given to the same functions that fuzzing calls.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{TARGETS, Target};

/// Above this an input is named, so that somebody looks why.
const SLOW: Duration = Duration::from_millis(100);
/// Above this something is wrong: no frame of a stranger may cost so much.
const TOO_SLOW: Duration = Duration::from_secs(2);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = root().join("corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

#[expect(clippy::print_stderr, reason = "figures are for people")]
fn replay(name: &str) {
    let target: Target = TARGETS.iter().find(|(other, _)| *other == name).expect("it is one of them").1;
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "{name} has inputs");
    for (file, bytes) in inputs {
        let begun = Instant::now();
        target(&bytes);
        let took = begun.elapsed();
        if took > SLOW {
            eprintln!("{name}/{file} took {took:?}");
        }
        assert!(took < TOO_SLOW, "{name}/{file} took {took:?}");
    }
}

macro_rules! replayed {
    ($($target:ident)*) => {
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*
    };
}

replayed! { announcement control event fetch frame hello join name object pack pairing payload sessions text ticket }

#[test]
fn every_target_has_a_program_inputs_and_a_test() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, REPLAYED.iter().map(|name| (*name).to_owned()).collect());
    let found = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(found("fuzz_targets"), names);
    assert_eq!(found("corpus"), names);
}

#[test]
fn corpora_are_small() {
    let sizes: Vec<usize> = TARGETS.iter().flat_map(|(name, _)| inputs(name)).map(|(_, bytes)| bytes.len()).collect();
    let (count, bytes) = (sizes.len(), sizes.iter().sum::<usize>());
    assert!(count <= 600 && bytes <= 1 << 20, "{count} inputs of {bytes} bytes together");
}
