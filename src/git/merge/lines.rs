//! The frozen line merge of `rules` 1: two diffs against the base; changes that touch conflict unless they are equal.
//!
//! Never change what this file computes (docs/rules-1.md, section 6).

use std::collections::HashMap;

use super::diff::{Hunk, Steps, diff};
use super::{Clashing, MAX_BLOB_LINES};

/// How many bytes of a blob decide whether it is binary. Part of `rules` 1.
const BINARY_PROBE: usize = 8_000;

/// Whether `bytes` count as binary: a NUL among the first 8,000.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(BINARY_PROBE)].contains(&0)
}

/// The lines of `bytes`, each with its `\n`; the last may lack it.
pub(crate) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// Gives equal lines equal numbers.
#[derive(Default)]
pub(crate) struct Numbers<'a>(HashMap<&'a [u8], u32>);

impl<'a> Numbers<'a> {
    pub(crate) fn of(&mut self, lines: &[&'a [u8]]) -> Vec<u32> {
        let number = |line: &&'a [u8]| {
            let next = self.0.len() as u32;
            *self.0.entry(line).or_insert(next)
        };
        lines.iter().map(number).collect()
    }
}

/// Merges what `ours` and `theirs` made of `base`. Exchanging the two does not change the outcome.
pub(crate) fn merge(base: &[u8], ours: &[u8], theirs: &[u8], steps: &mut Steps) -> Result<Vec<u8>, Clashing> {
    if [base, ours, theirs].into_iter().any(is_binary) {
        return Err(Clashing::Binary);
    }
    let (base, ours, theirs) = (split(base), split(ours), split(theirs));
    if [&base, &ours, &theirs].into_iter().any(|lines| lines.len() > MAX_BLOB_LINES) {
        return Err(Clashing::TooLarge);
    }
    let mut numbers = Numbers::default();
    let (b, o, t) = (numbers.of(&base), numbers.of(&ours), numbers.of(&theirs));
    let by_us = diff(&b, &o, steps).map_err(|_| Clashing::TooMuchWork)?;
    let by_them = diff(&b, &t, steps).map_err(|_| Clashing::TooMuchWork)?;

    let mut us = Side { hunks: &by_us, shift: 0 };
    let mut them = Side { hunks: &by_them, shift: 0 };
    let mut merged: Vec<&[u8]> = Vec::with_capacity(base.len());
    let mut at = 0;
    while let Some(first) = [us.next_start(), them.next_start()].into_iter().flatten().min() {
        merged.extend(&base[at..first]);
        // Everything that touches: a hunk that starts where another ends belongs to it.
        let (our_start, their_start) = (us.moved(first), them.moved(first));
        let (mut end, mut ours_changed, mut theirs_changed) = (first, false, false);
        loop {
            if us.next_start().is_some_and(|start| start <= end) {
                end = us.take(end);
                ours_changed = true;
            } else if them.next_start().is_some_and(|start| start <= end) {
                end = them.take(end);
                theirs_changed = true;
            } else {
                break;
            }
        }
        let our_lines = &ours[our_start..us.moved(end)];
        let their_lines = &theirs[their_start..them.moved(end)];
        match (ours_changed, theirs_changed) {
            (true, false) => merged.extend(our_lines),
            (false, true) => merged.extend(their_lines),
            _ if our_lines == their_lines => merged.extend(our_lines),
            _ => return Err(Clashing::Lines),
        }
        at = end;
    }
    merged.extend(&base[at..]);
    Ok(merged.concat())
}

/// One side's hunks that are still to come, and how far its lines have moved against the base so far.
struct Side<'a> {
    hunks: &'a [Hunk],
    shift: isize,
}

impl Side<'_> {
    fn next_start(&self) -> Option<usize> {
        self.hunks.first().map(|hunk| hunk.old.start)
    }

    /// Takes the next hunk into a group that ends at `end`; gives the group's new end.
    fn take(&mut self, end: usize) -> usize {
        let (hunk, rest) = self.hunks.split_first().expect("the caller saw its start");
        self.hunks = rest;
        self.shift += hunk.new.len() as isize - hunk.old.len() as isize;
        end.max(hunk.old.end)
    }

    /// Where the base's line `at`, which lies in no hunk that is still to come, stands on this side.
    fn moved(&self, at: usize) -> usize {
        at.checked_add_signed(self.shift).expect("a side has no lines before its first")
    }
}
