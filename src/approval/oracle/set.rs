//! A set of events, by their order of arrival.

/// At most [`Set::CAPACITY`] events: an oracle is for short logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Set([u64; 4]);

impl Set {
    pub(super) const CAPACITY: usize = 256;

    pub(super) fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    pub(super) fn insert(&mut self, at: usize) {
        assert!(at < Self::CAPACITY, "the oracle is for short logs");
        self.0[at / 64] |= 1 << (at % 64);
    }

    #[must_use]
    pub(super) fn with(mut self, at: usize) -> Self {
        self.insert(at);
        self
    }

    #[must_use]
    pub(super) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    #[must_use]
    pub(super) fn only(self, keep: impl Fn(usize) -> bool) -> Self {
        self.iter().filter(|at| keep(*at)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..4).flat_map(move |word| {
            let mut left = self.0[word];
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(events: I) -> Self {
        let mut set = Self::default();
        events.into_iter().for_each(|at| set.insert(at));
        set
    }
}
