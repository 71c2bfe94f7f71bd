//! Deltas as Git's packs hold them: a list of what is copied from a base and what is inserted.
//!
//! The base is cut into blocks, which are looked for at every place of the target; a block that is found grows in both
//! directions as far as the two agree. Blocks are as long as git's own, so an entry of a tree that did not change is
//! found.

/// Bytes in a block of the base.
const BLOCK: usize = 16;
/// Blocks of one hash that are looked at: a file of equal lines must not make this quadratic.
const TRIES: usize = 16;
/// A match this long is taken without looking for a longer one.
const LONG: usize = 4_096;
/// Most bytes that one instruction copies, and inserts.
const COPY: usize = 0x1_0000;
const INSERT: usize = 0x7f;

/// A base, ready to be compared with any number of targets.
pub(super) struct Index<'a> {
    base: &'a [u8],
    /// By hash, the first block that has it, counted from 1.
    first: Vec<u32>,
    /// For each block, the next one of the same hash, counted from 1.
    next: Vec<u32>,
    shift: u32,
}

impl<'a> Index<'a> {
    /// `None` where nothing can be found in the base: it has less than a block, or more bytes than can be counted.
    pub(super) fn new(base: &'a [u8]) -> Option<Self> {
        let blocks = u32::try_from(base.len()).ok()? / BLOCK as u32;
        if blocks == 0 {
            return None;
        }
        let bits = (u32::BITS - blocks.leading_zeros()).max(4);
        let shift = u64::BITS - bits;
        let mut index = Self { base, first: vec![0; 1 << bits], next: vec![0; blocks as usize], shift };
        // From the last to the first, so that the first is found first.
        for block in (0..blocks).rev() {
            let at = block as usize * BLOCK;
            let hash = index.hash(&base[at..at + BLOCK]);
            let after = index.first[hash];
            // Of a run of equal blocks the first stands for all: a match grows over the others.
            let is_run = after == block + 2 && base[at..at + BLOCK] == base[at + BLOCK..at + 2 * BLOCK];
            index.next[block as usize] = if is_run { index.next[after as usize - 1] } else { after };
            index.first[hash] = block + 1;
        }
        Some(index)
    }

    fn hash(&self, block: &[u8]) -> usize {
        let half = |at: usize| block[at..at + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let mixed = half(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ half(8).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        // The product's upper bits depend on all of the lower ones.
        ((mixed ^ mixed >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd) >> self.shift) as usize
    }

    /// The delta that makes `target` of the base; `None` where it would have more than `most` bytes.
    pub(super) fn delta(&self, target: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        size(&mut out, self.base.len());
        size(&mut out, target.len());
        let (mut at, mut literal) = (0, 0);
        while at + BLOCK <= target.len() {
            let Some(found) = self.find(target, at, literal) else {
                at += 1;
                continue;
            };
            insert(&mut out, &target[literal..found.start]);
            copy(&mut out, found.from, found.len);
            if out.len() > most {
                return None;
            }
            at = found.start + found.len;
            literal = at;
        }
        insert(&mut out, &target[literal..]);
        (out.len() <= most).then_some(out)
    }

    /// The longest match that holds the block at `at` of the target and begins at or after `literal`.
    fn find(&self, target: &[u8], at: usize, literal: usize) -> Option<Match> {
        let block = &target[at..at + BLOCK];
        let mut best: Option<Match> = None;
        let mut candidate = self.first[self.hash(block)];
        for _ in 0..TRIES {
            let Some(number) = candidate.checked_sub(1) else { break };
            let from = number as usize * BLOCK;
            candidate = self.next[number as usize];
            if self.base[from..from + BLOCK] != *block {
                continue;
            }
            let after = common(&self.base[from + BLOCK..], &target[at + BLOCK..]);
            let room = from.min(at - literal);
            let same = |back: &usize| self.base[from - back] == target[at - back];
            let before = (1..=room).take_while(same).count();
            let len = before + BLOCK + after;
            if best.as_ref().is_none_or(|best| len > best.len) {
                best = Some(Match { from: from - before, start: at - before, len });
            }
            if len >= LONG {
                break;
            }
        }
        best
    }
}

struct Match {
    /// Where it begins in the base, and in the target.
    from: usize,
    start: usize,
    len: usize,
}

/// How many bytes two texts have in common at their start.
fn common(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 32;
    let whole = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count() * STEP;
    whole + a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b).count()
}

/// A size, seven bits to a byte, the lowest first.
fn size(out: &mut Vec<u8>, mut size: usize) {
    while size > 0x7f {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
}

fn insert(out: &mut Vec<u8>, literal: &[u8]) {
    for part in literal.chunks(INSERT) {
        out.push(part.len() as u8);
        out.extend_from_slice(part);
    }
}

/// An instruction says which bytes of the offset and the size follow; those that are zero are left out.
fn copy(out: &mut Vec<u8>, mut from: usize, mut len: usize) {
    while len > 0 {
        let part = len.min(COPY);
        let instruction = out.len();
        out.push(0x80);
        // The largest size is written as none.
        for (bit, byte) in (from as u32).to_le_bytes().into_iter().chain([part as u8, (part >> 8) as u8]).enumerate() {
            if byte != 0 {
                out[instruction] |= 1 << bit;
                out.push(byte);
            }
        }
        from += part;
        len -= part;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a delta makes of a base, written from the description of the format and not from the code above.
    fn apply(base: &[u8], mut delta: &[u8]) -> Vec<u8> {
        fn byte(delta: &mut &[u8]) -> usize {
            let (first, rest) = delta.split_first().expect("it goes on");
            *delta = rest;
            usize::from(*first)
        }
        fn size(delta: &mut &[u8]) -> usize {
            let (mut size, mut shift) = (0, 0);
            loop {
                let next = byte(delta);
                size |= (next & 0x7f) << shift;
                shift += 7;
                if next < 0x80 {
                    return size;
                }
            }
        }
        assert_eq!(size(&mut delta), base.len());
        let len = size(&mut delta);
        let mut out = Vec::new();
        while !delta.is_empty() {
            let instruction = byte(&mut delta);
            assert_ne!(instruction, 0, "reserved");
            if instruction < 0x80 {
                out.extend_from_slice(&delta[..instruction]);
                delta = &delta[instruction..];
                continue;
            }
            let mut number = |bits: std::ops::Range<usize>| {
                let first = bits.start;
                bits.filter(|bit| instruction & 1 << bit != 0)
                    .map(|bit| byte(&mut delta) << (8 * (bit - first)))
                    .sum::<usize>()
            };
            let (from, size) = (number(0..4), number(4..7));
            let size = if size == 0 { 0x1_0000 } else { size };
            out.extend_from_slice(&base[from..from + size]);
        }
        assert_eq!(out.len(), len);
        out
    }

    fn made(base: &[u8], target: &[u8]) -> Vec<u8> {
        let delta = Index::new(base).and_then(|index| index.delta(target, usize::MAX)).expect("a delta");
        assert_eq!(apply(base, &delta), target);
        delta
    }

    fn lines(count: usize) -> Vec<u8> {
        (0..count).flat_map(|line| format!("line {} of {line}\n", line * 7919 % 1_000).into_bytes()).collect()
    }

    #[test]
    fn a_change_costs_what_changed() {
        let base = lines(2_000);
        let mut target = base.clone();
        target.splice(10_000..10_010, *b"something else");
        assert!(made(&base, &target).len() < 60);
        assert!(made(&base, &base).len() < 16);
        assert!(made(&base, &base[..20_000]).len() < 16, "the end is gone");
        assert!(made(&base, &base[20_000..]).len() < 30, "the start is gone");
        let swapped = [&base[20_000..], &base[..20_000]].concat();
        assert!(made(&base, &swapped).len() < 60);
    }

    #[test]
    fn copies_longer_than_an_instruction_and_equal_blocks_are_right() {
        let zeros = vec![0; 300_000];
        let mut target = zeros.clone();
        target[150_001] = 7;
        assert!(made(&zeros, &target).len() < 60);
        assert!(made(&zeros, &zeros[..65_536]).len() < 16);
        let long = lines(40_000);
        assert!(made(&long, &long).len() < 200);
    }

    #[test]
    fn what_does_not_pay_is_not_made() {
        let (base, target) = (lines(100), vec![b'x'; 5_000]);
        assert!(Index::new(&base).and_then(|index| index.delta(&target, 4_000)).is_none());
        assert!(Index::new(b"short").is_none());
        // An empty target, and one shorter than a block.
        made(&base, b"");
        made(&base, b"abc");
    }

    proptest! {
        #[test]
        fn every_delta_makes_its_target(
            base in proptest::collection::vec(0u8..4, 16..600),
            cuts in proptest::collection::vec((0usize..600, 0usize..600, proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
        ) {
            let mut target = Vec::new();
            for (from, to, literal) in &cuts {
                let (from, to) = ((*from).min(base.len()), (*to).min(base.len()));
                target.extend_from_slice(&base[from.min(to)..from.max(to)]);
                target.extend_from_slice(literal);
            }
            let delta = Index::new(&base).and_then(|index| index.delta(&target, usize::MAX)).expect("a delta");
            prop_assert_eq!(apply(&base, &delta), target);
        }
    }
}
