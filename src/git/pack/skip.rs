//! What somebody has of a pack already, without knowing what that reaches: a clone that was cut goes on with it.
//!
//! Objects come in an order that differs from one sender to the next, so what came cannot be named by a place in it,
//! nor by commits, since what came of these is not whole. Each is named by the first bytes of its id, in order, as the
//! distance from the one before: five bytes for each of some ten thousand. That two objects of one history begin
//! alike is unlikely (one history in ten thousand of 200,000 objects, cut at its half), and then one is missing at the
//! end, and the clone begins again.

use std::collections::HashSet;

/// Bytes of an id that name an object here.
const START: usize = 6;

/// Objects that are not to be sent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Skip {
    starts: HashSet<u64>,
}

fn start(id: &gix::oid) -> u64 {
    id.as_bytes()[..START].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Skip {
    /// These objects, of which `bytes` can be encoded at most: what is over is sent again.
    pub(in crate::git) fn of(ids: impl Iterator<Item = gix::ObjectId>, bytes: usize) -> Self {
        Self { starts: ids.map(|id| start(&id)).take(Self::most(bytes)).collect() }
    }

    /// How many objects can be named in so many bytes, whatever their ids are.
    pub(super) fn most(bytes: usize) -> usize {
        // No distance takes more than seven bytes.
        bytes / 7
    }

    /// How many are named.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Names these too.
    pub fn extend(&mut self, other: &Self) {
        self.starts.extend(&other.starts);
    }

    /// Is this one of those that are named? Two may begin alike.
    pub(in crate::git) fn holds(&self, id: &gix::oid) -> bool {
        !self.starts.is_empty() && self.starts.contains(&start(id))
    }

    /// Is each that is named one of these?
    pub(in crate::git) fn is_within(&self, ids: impl Iterator<Item = gix::ObjectId>) -> bool {
        self.starts.is_subset(&Self::of(ids, usize::MAX).starts)
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut starts: Vec<u64> = self.starts.iter().copied().collect();
        starts.sort_unstable();
        let (mut out, mut before) = (Vec::with_capacity(starts.len() * 5), 0);
        for start in starts {
            let mut distance = start - before;
            before = start;
            while distance > 0x7f {
                out.push(distance as u8 | 0x80);
                distance >>= 7;
            }
            out.push(distance as u8);
        }
        out
    }

    /// Reads its bytes; `None` where they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut starts, mut before, mut distance, mut shift) = (HashSet::new(), 0u64, 0u64, 0);
        for byte in bytes {
            distance |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                before = before.checked_add(distance).filter(|start| *start < 1 << (8 * START))?;
                starts.insert(before);
                (distance, shift) = (0, 0);
            } else if shift > 49 {
                return None;
            }
        }
        (shift == 0).then_some(Self { starts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_and_takes_few_bytes() {
        let id = |number: u32| {
            let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
            hash.update(&number.to_le_bytes());
            hash.try_finalize().expect("no collision")
        };
        let skip = Skip::of((0..45_000).map(id), usize::MAX);
        let bytes = skip.encode();
        assert!(bytes.len() <= 45_000 * 5, "{}", bytes.len());
        assert_eq!(Skip::decode(&bytes).as_ref(), Some(&skip));
        assert!((0..45_000).all(|number| skip.holds(&id(number))));
        assert!(!(45_000..90_000).any(|number| skip.holds(&id(number))));
        assert_eq!(Skip::decode(b""), Some(Skip::default()));
        assert!(Skip::of((0..1_000).map(id), 700).encode().len() <= 700);
        for bad in [&bytes[..bytes.len() - 1], &[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], &[0x80]] {
            assert_eq!(Skip::decode(bad), None);
        }
    }
}
