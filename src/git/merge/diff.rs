//! The frozen line diff of `rules` 1: Myers' greedy O(ND) with fixed ties, then groups slid as far down as they go.
//!
//! Never change what this file computes: every peer's merge commits depend on it (docs/rules-1.md, section 5).

use std::collections::HashSet;
use std::ops::Range;

/// Steps that one diff may take. Part of `rules` 1.
pub(super) const DIFF_STEPS: u64 = 50_000_000;
/// Steps that all diffs of one merge may take together. Part of `rules` 1.
pub(super) const MERGE_STEPS: u64 = 1_000_000_000;

/// The steps that are left: counted, never timed, so that a slow machine decides like a fast one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    merge: u64,
    diff: u64,
}

/// The steps are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

impl Steps {
    /// What one merge may spend.
    pub(crate) fn new() -> Self {
        Self::of(MERGE_STEPS, DIFF_STEPS)
    }

    /// `merge` steps for all diffs, `diff` for each.
    pub(crate) fn of(merge: u64, diff: u64) -> Self {
        Self { merge, diff }
    }

    fn one_diff(&mut self) -> OneDiff<'_> {
        let left = self.diff.min(self.merge);
        OneDiff { total: self, left }
    }
}

struct OneDiff<'a> {
    total: &'a mut Steps,
    left: u64,
}

impl OneDiff<'_> {
    fn spend(&mut self, steps: u64) -> Result<(), Spent> {
        if steps > self.left {
            self.total.merge = self.total.merge.saturating_sub(steps);
            return Err(Spent);
        }
        self.left -= steps;
        self.total.merge -= steps;
        Ok(())
    }
}

/// Lines `old` were replaced by lines `new`; either may be empty, not both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunk {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// What turns `a` into `b`, in order; two hunks are at least one unchanged line apart.
pub(crate) fn diff(a: &[u32], b: &[u32], steps: &mut Steps) -> Result<Vec<Hunk>, Spent> {
    let mut steps = steps.one_diff();
    let mut old = vec![false; a.len()];
    let mut new = vec![false; b.len()];
    mark(a, b, &mut old, &mut new, &mut steps)?;
    slide(a, &mut old, &new, &mut steps)?;
    slide(b, &mut new, &old, &mut steps)?;
    Ok(hunks(&old, &new))
}

/// Marks a least number of lines as removed from `a` and added in `b`.
fn mark(a: &[u32], b: &[u32], old: &mut [bool], new: &mut [bool], steps: &mut OneDiff<'_>) -> Result<(), Spent> {
    let front = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let back = a[front..].iter().rev().zip(b[front..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a_mid, b_mid) = (front..a.len() - back, front..b.len() - back);

    // Lines that the other side does not have can never be kept.
    let in_a: HashSet<u32> = a[a_mid.clone()].iter().copied().collect();
    let in_b: HashSet<u32> = b[b_mid.clone()].iter().copied().collect();
    let keep = |range: Range<usize>, lines: &[u32], other: &HashSet<u32>, changed: &mut [bool]| {
        let mut kept = Vec::new();
        for at in range {
            if other.contains(&lines[at]) {
                kept.push(at);
            } else {
                changed[at] = true;
            }
        }
        kept
    };
    let a_kept = keep(a_mid, a, &in_b, old);
    let b_kept = keep(b_mid, b, &in_a, new);
    let x: Vec<u32> = a_kept.iter().map(|&at| a[at]).collect();
    let y: Vec<u32> = b_kept.iter().map(|&at| b[at]).collect();
    for step in myers(&x, &y, steps)? {
        match step {
            Step::Remove(at) => old[a_kept[at]] = true,
            Step::Add(at) => new[b_kept[at]] = true,
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Remove(usize),
    Add(usize),
}

/// One bit for each diagonal of one round: did its furthest path come by adding a line?
struct Round {
    low: isize,
    adds: Vec<u64>,
}

impl Round {
    fn add(&self, k: isize) -> bool {
        let bit = ((k - self.low) / 2) as usize;
        self.adds[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// Myers' greedy algorithm, forwards. On a diagonal `k = x - y` that both neighbours reach, the path comes from
/// `k + 1` (by adding a line) where that one is strictly further, else from `k - 1` (by removing one).
///
/// Only the choices are kept, one bit each; the path is then walked again from the start, where it takes every
/// equal line that it can, as it did before.
fn myers(a: &[u32], b: &[u32], steps: &mut OneDiff<'_>) -> Result<Vec<Step>, Spent> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    if n == 0 || m == 0 {
        return Ok((0..a.len()).map(Step::Remove).chain((0..b.len()).map(Step::Add)).collect());
    }
    // furthest[k + m + 1]: the furthest x on diagonal k; -1 where no path is.
    let mut furthest = vec![-1isize; (n + m + 3) as usize];
    let at = |k: isize| (k + m + 1) as usize;
    let mut rounds: Vec<Round> = Vec::new();
    for d in 0..=n + m {
        let low = if d <= m { -d } else { -m + (d - m) % 2 };
        let high = if d <= n { d } else { n - (d - n) % 2 };
        let mut round = Round { low, adds: vec![0; ((high - low) / 2) as usize / 64 + 1] };
        let mut k = low;
        while k <= high {
            let (removed, added) = (furthest[at(k - 1)], furthest[at(k + 1)]);
            let mut x = if d == 0 {
                0
            } else if removed < added {
                let bit = ((k - low) / 2) as usize;
                round.adds[bit / 64] |= 1 << (bit % 64);
                added
            } else {
                removed + 1
            };
            let start = x;
            while x < n && x - k < m && a[x as usize] == b[(x - k) as usize] {
                x += 1;
            }
            furthest[at(k)] = x;
            steps.spend(1 + (x - start) as u64)?;
            if x >= n && x - k >= m {
                rounds.push(round);
                return Ok(walk_again(a, b, &rounds));
            }
            k += 2;
        }
        rounds.push(round);
    }
    unreachable!("after n + m rounds a path has removed all and added all")
}

fn walk_again(a: &[u32], b: &[u32], rounds: &[Round]) -> Vec<Step> {
    let mut k = a.len() as isize - b.len() as isize;
    let mut adds = Vec::with_capacity(rounds.len());
    for round in rounds[1..].iter().rev() {
        let add = round.add(k);
        adds.push(add);
        k += if add { 1 } else { -1 };
    }
    let (mut x, mut y) = (0, 0);
    let mut path = Vec::with_capacity(adds.len());
    for add in adds.into_iter().rev() {
        while x < a.len() && y < b.len() && a[x] == b[y] {
            x += 1;
            y += 1;
        }
        if add {
            path.push(Step::Add(y));
            y += 1;
        } else {
            path.push(Step::Remove(x));
            x += 1;
        }
    }
    path
}

/// A run of changed lines, `start..end`, or the empty run before an unchanged line.
#[derive(Clone, Copy)]
struct Group {
    start: usize,
    end: usize,
}

impl Group {
    fn first(changed: &[bool]) -> Self {
        let mut group = Self { start: 0, end: 0 };
        group.grow_down(changed);
        group
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }

    fn grow_down(&mut self, changed: &[bool]) {
        while changed.get(self.end) == Some(&true) {
            self.end += 1;
        }
    }

    fn next(&mut self, changed: &[bool]) -> bool {
        if self.end == changed.len() {
            return false;
        }
        *self = Self { start: self.end + 1, end: self.end + 1 };
        self.grow_down(changed);
        true
    }

    fn previous(&mut self, changed: &[bool]) -> bool {
        if self.start == 0 {
            return false;
        }
        *self = Self { start: self.start - 1, end: self.start - 1 };
        while self.start > 0 && changed[self.start - 1] {
            self.start -= 1;
        }
        true
    }

    fn slide_down(&mut self, lines: &[u32], changed: &mut [bool]) -> bool {
        if self.end < lines.len() && lines[self.start] == lines[self.end] {
            changed[self.start] = false;
            changed[self.end] = true;
            self.start += 1;
            self.end += 1;
            self.grow_down(changed);
            return true;
        }
        false
    }

    fn slide_up(&mut self, lines: &[u32], changed: &mut [bool]) -> bool {
        if self.start > 0 && lines[self.start - 1] == lines[self.end - 1] {
            self.start -= 1;
            self.end -= 1;
            changed[self.start] = true;
            changed[self.end] = false;
            while self.start > 0 && changed[self.start - 1] {
                self.start -= 1;
            }
            return true;
        }
        false
    }
}

/// Slides every group of changed lines up, joining those that it meets, then down as far as it goes; then back up
/// to the lowest place where the other side has a change as well, if there is one.
fn slide(lines: &[u32], changed: &mut [bool], other: &[bool], steps: &mut OneDiff<'_>) -> Result<(), Spent> {
    const PAIRED: &str = "both sides have the same unchanged lines, so their groups pair up";
    let mut group = Group::first(changed);
    let mut beside = Group::first(other);
    loop {
        if !group.is_empty() {
            let mut both;
            let mut highest;
            loop {
                let size = group.end - group.start;
                both = false;
                while group.slide_up(lines, changed) {
                    steps.spend(1)?;
                    assert!(beside.previous(other), "{PAIRED}");
                }
                highest = group.end;
                both |= !beside.is_empty();
                while group.slide_down(lines, changed) {
                    steps.spend(1)?;
                    assert!(beside.next(other), "{PAIRED}");
                    both |= !beside.is_empty();
                }
                if group.end - group.start == size {
                    break;
                }
            }
            if group.end != highest && both {
                while beside.is_empty() {
                    steps.spend(1)?;
                    assert!(group.slide_up(lines, changed) && beside.previous(other), "{PAIRED}");
                }
            }
        }
        if !group.next(changed) {
            return Ok(());
        }
        assert!(beside.next(other), "{PAIRED}");
    }
}

fn hunks(old: &[bool], new: &[bool]) -> Vec<Hunk> {
    let mut hunks = Vec::new();
    let (mut x, mut y) = (0, 0);
    while x < old.len() || y < new.len() {
        let (from_x, from_y) = (x, y);
        while old.get(x) == Some(&true) {
            x += 1;
        }
        while new.get(y) == Some(&true) {
            y += 1;
        }
        if (x, y) != (from_x, from_y) {
            hunks.push(Hunk { old: from_x..x, new: from_y..y });
        }
        x += 1;
        y += 1;
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn apply(a: &[u32], b: &[u32], hunks: &[Hunk]) -> Vec<u32> {
        let (mut out, mut at) = (Vec::new(), 0);
        for hunk in hunks {
            out.extend(&a[at..hunk.old.start]);
            out.extend(&b[hunk.new.clone()]);
            at = hunk.old.end;
        }
        out.extend(&a[at..]);
        out
    }

    fn longest_common(a: &[u32], b: &[u32]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut left_above = 0;
            for (at, y) in b.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if x == y { left_above + 1 } else { above.max(row[at]) };
                left_above = above;
            }
        }
        row[b.len()]
    }

    #[test]
    fn groups_slide_down() {
        let hunks = diff(&lines("ab}cd"), &lines("ab}xb}cd"), &mut Steps::new()).expect("cheap");
        assert_eq!(hunks, [Hunk { old: 3..3, new: 3..6 }]);
        let hunks = diff(&lines("aab"), &lines("aaab"), &mut Steps::new()).expect("cheap");
        assert_eq!(hunks, [Hunk { old: 2..2, new: 2..3 }]);
    }

    #[test]
    fn steps_are_a_limit() {
        let a: Vec<u32> = (0..4_000).collect();
        let b: Vec<u32> = (0..4_000).rev().collect();
        assert_eq!(diff(&a, &b, &mut Steps::of(1_000_000, 1_000_000)), Err(Spent));
        let mut steps = Steps::of(2_000, 1_000);
        assert_eq!(diff(&a, &b, &mut steps), Err(Spent));
        assert!(diff(&a[..5], &b[..5], &mut steps).is_ok());
    }

    proptest! {
        #[test]
        fn it_turns_a_into_b_with_the_fewest_lines(
            a in prop::collection::vec(0u32..6, 0..40), b in prop::collection::vec(0u32..8, 0..40),
        ) {
            let hunks = diff(&a, &b, &mut Steps::new()).expect("cheap");
            prop_assert_eq!(apply(&a, &b, &hunks), b.clone());
            let kept = a.len() - hunks.iter().map(|hunk| hunk.old.len()).sum::<usize>();
            prop_assert_eq!(kept, longest_common(&a, &b));
            prop_assert!(hunks.windows(2).all(|pair| pair[0].old.end < pair[1].old.start));
        }
    }
}
