//! Sets of governance events, interned: nearly all events share theirs with an event that they name.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of a governance event, in order of arrival here.
pub(in crate::approval) type Gov = u32;

/// A set of governance events, as bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub(in crate::approval) struct Set(Vec<u64>);

impl Set {
    pub(in crate::approval) fn has(&self, gov: Gov) -> bool {
        self.0.get(gov as usize / 64).is_some_and(|word| word >> (gov % 64) & 1 == 1)
    }

    pub(in crate::approval) fn insert(&mut self, gov: Gov) {
        let word = gov as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (gov % 64);
    }

    pub(in crate::approval) fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub(in crate::approval) fn contains(&self, other: &Self) -> bool {
        other.0.iter().enumerate().all(|(at, word)| word & !self.0.get(at).copied().unwrap_or(0) == 0)
    }

    pub(in crate::approval) fn iter(&self) -> impl Iterator<Item = Gov> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros();
                    rest &= rest - 1;
                    at as u32 * 64 + bit
                })
            })
        })
    }

    pub(in crate::approval) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(in crate::approval) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl FromIterator<Gov> for Set {
    fn from_iter<I: IntoIterator<Item = Gov>>(govs: I) -> Self {
        let mut set = Self::default();
        for gov in govs {
            set.insert(gov);
        }
        set
    }
}

/// An interned set. Number 0 is the empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::approval) struct Past(pub(in crate::approval) u32);

/// All sets that an event has as its past.
#[derive(Debug, Clone)]
pub(in crate::approval) struct Pasts {
    sets: Vec<Arc<Set>>,
    numbers: HashMap<Arc<Set>, Past>,
}

impl Default for Pasts {
    fn default() -> Self {
        let empty = Arc::new(Set::default());
        Self { sets: vec![empty.clone()], numbers: HashMap::from([(empty, Past(0))]) }
    }
}

impl Pasts {
    pub(in crate::approval) fn set(&self, past: Past) -> &Set {
        &self.sets[past.0 as usize]
    }

    pub(in crate::approval) fn count(&self) -> u32 {
        self.sets.len() as u32
    }

    /// The union of several: the number where it is one that is known, else the set.
    pub(in crate::approval) fn union(&self, pasts: impl Iterator<Item = Past>) -> Result<Past, Set> {
        let mut distinct: Vec<Past> = pasts.collect();
        distinct.sort_unstable();
        distinct.dedup();
        let Some((first, rest)) = distinct.split_last() else { return Ok(Past(0)) };
        // The newest mostly holds the others.
        if rest.iter().all(|past| self.set(*first).contains(self.set(*past))) {
            return Ok(*first);
        }
        let mut union = self.set(*first).clone();
        for past in rest {
            union.extend(self.set(*past));
        }
        self.numbers.get(&union).copied().ok_or(union)
    }

    /// The number of a set; `true` where it is new.
    pub(in crate::approval) fn intern(&mut self, set: Set) -> (Past, bool) {
        if let Some(past) = self.numbers.get(&set) {
            return (*past, false);
        }
        let past = Past(self.count());
        let set = Arc::new(set);
        self.sets.push(set.clone());
        self.numbers.insert(set, past);
        (past, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_was_put_in() {
        let set: Set = [3, 64, 200].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 64, 200]);
        assert!(set.has(64) && !set.has(65) && !set.has(9_999));
        let mut other: Set = [64].into_iter().collect();
        assert!(set.contains(&other) && !other.contains(&set));
        other.extend(&set);
        assert_eq!((other, set.len()), (set, 3));
    }

    #[test]
    fn equal_sets_have_one_number() {
        let mut pasts = Pasts::default();
        let (a, new) = pasts.intern([1, 2].into_iter().collect());
        assert!(new);
        let (b, _) = pasts.intern([2, 3].into_iter().collect());
        assert_eq!(pasts.union([a, a, Past(0)].into_iter()), Ok(a));
        let union = pasts.union([a, b].into_iter()).unwrap_err();
        let (both, _) = pasts.intern(union);
        assert_eq!(pasts.union([b, a].into_iter()), Ok(both));
        assert_eq!(pasts.union([both, b].into_iter()), Ok(both));
    }
}
