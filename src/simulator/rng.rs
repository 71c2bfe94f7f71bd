//! The one source of chance of a run: splitmix64, so that a seed says everything.

/// A stream of numbers from a seed.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of 0 up to and without `end`; 0 where that is none.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// One of `from` up to and without `to`.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True `of_1000` times in a thousand.
    pub(super) fn chance(&mut self, of_1000: u64) -> bool {
        self.below(1_000) < of_1000
    }

    /// One of a list.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(list.len() as u64)).unwrap_or(0);
        list.get(at)
    }

    /// A name for something that nothing else is called.
    pub(super) fn bytes20(&mut self) -> [u8; 20] {
        let mut bytes = [0; 20];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes()[..part.len()]);
        }
        bytes
    }
}
