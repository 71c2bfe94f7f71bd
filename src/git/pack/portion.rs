//! A pack of which others send the rest: who has long to wait for one asks all who have it, each for a portion.

use super::Skip;
use crate::limits;

/// What is said of a pack that is a portion, before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// How many objects there are in it and in what others are to send.
    pub objects: u32,
    /// What is in it: the others are to leave that out.
    pub names: Skip,
}

/// A pack is to be divided, if it is large.
pub(in crate::git) struct Divide<'a> {
    /// Into how many portions of about the same size, of which the first is written.
    pub(super) sources: u8,
    /// So many objects can be named.
    pub(super) names: usize,
    /// Told once what is written, where it is a portion.
    pub(super) tell: &'a mut dyn FnMut(Portion),
}

impl Divide<'_> {
    /// How many of the first objects take one of so many equal portions of the bytes, where nothing that follows is built on them
    /// and they can all be named; `None` where that is all of them or not worth it. Of each object its size in bytes is given, and
    /// whether it is built on none before it.
    pub(super) fn first_of(&self, sizes: &[(u64, bool)]) -> Option<usize> {
        let all: u64 = sizes.iter().map(|(size, _)| size).sum();
        if self.sources < 2 || all < limits::SMALL_PACK as u64 {
            return None;
        }
        let (mut bytes, mut first) = (0, None);
        for (number, (size, begins)) in sizes.iter().enumerate().take(self.names.saturating_add(1)) {
            if *begins {
                first = Some(number);
                if bytes >= all / u64::from(self.sources) {
                    break;
                }
            }
            bytes += size;
        }
        first.filter(|first| *first > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_ends_where_nothing_is_built_on_it() {
        const MB: u64 = 1 << 20;
        let first_of =
            |sources, names, sizes: &[(u64, bool)]| Divide { sources, names, tell: &mut |_| {} }.first_of(sizes);
        let sizes = [(MB, true), (MB, true), (MB, true), (MB, true)];
        assert_eq!(first_of(2, 9, &sizes), Some(2));
        assert_eq!(first_of(4, 9, &sizes), Some(1));
        assert_eq!(first_of(3, 9, &sizes), Some(2), "no less than a third");
        assert_eq!(first_of(1, 9, &sizes), None, "nobody else sends any");
        assert_eq!(first_of(2, 9, &[(1_000, true), (1_000, true)]), None, "it is small");
        assert_eq!(first_of(2, 1, &sizes), Some(1), "no more can be named");
        assert_eq!(first_of(2, 0, &sizes), None, "none can be named");
        let sizes = [(MB, true), (MB, false), (MB, false), (MB, true), (MB, false)];
        assert_eq!(first_of(2, 9, &sizes), Some(3));
        assert_eq!(first_of(2, 2, &sizes), None, "not all of the first family can be named");
        assert_eq!(first_of(2, 9, &[(MB, true), (9 * MB, true)]), Some(1), "the rest is more, and cannot be divided");
        assert_eq!(first_of(2, 9, &[(9 * MB, true), (MB, false)]), None, "it is one family");
    }
}
