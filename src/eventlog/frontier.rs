//! How far each feed is held, and what one frontier lacks of another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{EventId, PeerId};
use crate::keys::Context;

/// The last event of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
}

/// One feed of a frontier on the wire: the start of the id is enough to notice a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrontierEntry {
    /// The feed.
    pub feed: PeerId,
    /// Its last event's number.
    pub seq: u64,
    /// The first 8 bytes of its last event's id.
    pub id: [u8; 8],
}

/// The heads of all feeds held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    heads: BTreeMap<PeerId, Head>,
}

/// Events of one feed that the other side lacks: from `from` on, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The feed.
    pub feed: PeerId,
    /// First number lacking.
    pub from: u64,
    /// Last number held here.
    pub to: u64,
}

impl Frontier {
    /// The head of a feed.
    pub fn head(&self, feed: &PeerId) -> Option<Head> {
        self.heads.get(feed).copied()
    }

    /// Feeds and heads in order.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Head)> {
        self.heads.iter()
    }

    /// How many feeds.
    pub fn feeds(&self) -> usize {
        self.heads.len()
    }

    /// How many events: every feed is held from 0 on.
    pub fn events(&self) -> u64 {
        self.heads.values().map(|head| head.seq + 1).sum()
    }

    /// A further event of `feed`. Lower numbers than the one held change nothing.
    pub fn advance(&mut self, feed: PeerId, head: Head) {
        let held = self.heads.entry(feed).or_insert(head);
        if head.seq > held.seq {
            *held = head;
        }
    }

    /// Equal on two peers = same log.
    pub fn digest(&self) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(self.heads.len() * 72);
        for (feed, head) in &self.heads {
            bytes.extend_from_slice(&feed.0);
            bytes.extend_from_slice(&head.seq.to_be_bytes());
            bytes.extend_from_slice(&head.id.0);
        }
        Context::Frontier.hash_whole(&bytes)
    }

    /// The form in which it is sent.
    pub fn entries(&self) -> Vec<FrontierEntry> {
        self.heads.keys().filter_map(|feed| self.entry(feed)).collect()
    }

    /// One feed of it.
    pub fn entry(&self, feed: &PeerId) -> Option<FrontierEntry> {
        self.head(feed).map(|head| FrontierEntry { feed: *feed, seq: head.seq, id: short(&head.id) })
    }

    /// What a peer that told `theirs` (feed to last number) lacks of this.
    pub fn lacking(&self, theirs: &BTreeMap<PeerId, u64>) -> Vec<Lacking> {
        let lacks = |(feed, head): (&PeerId, &Head)| {
            let from = theirs.get(feed).map_or(0, |seq| seq.saturating_add(1));
            (from <= head.seq).then_some(Lacking { feed: *feed, from, to: head.seq })
        };
        self.heads.iter().filter_map(lacks).collect()
    }
}

/// The start of an id, as a frontier entry carries it.
fn short(id: &EventId) -> [u8; 8] {
    id.0[..8].try_into().expect("8 of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frontier(heads: &BTreeMap<u8, u64>) -> Frontier {
        let mut frontier = Frontier::default();
        for (feed, seq) in heads {
            frontier.advance(PeerId([*feed; 32]), Head { seq: *seq, id: EventId([*seq as u8; 32]) });
        }
        frontier
    }

    proptest! {
        /// Sending what the other lacks, both ways, ends in equal frontiers, and nothing held is sent.
        #[test]
        fn exchanging_what_is_lacking_makes_frontiers_equal(
            a in prop::collection::btree_map(0u8..8, 0u64..50, 0..8),
            b in prop::collection::btree_map(0u8..8, 0u64..50, 0..8),
        ) {
            let (mut left, mut right) = (frontier(&a), frontier(&b));
            let told = |frontier: &Frontier| frontier.iter().map(|(feed, head)| (*feed, head.seq)).collect::<BTreeMap<_, _>>();
            let (to_right, to_left) = (left.lacking(&told(&right)), right.lacking(&told(&left)));
            for lacking in &to_right {
                prop_assert!(right.head(&lacking.feed).is_none_or(|head| head.seq + 1 == lacking.from));
                right.advance(lacking.feed, left.head(&lacking.feed).unwrap());
            }
            for lacking in &to_left {
                left.advance(lacking.feed, right.head(&lacking.feed).unwrap());
            }
            prop_assert_eq!(left.digest(), right.digest());
            prop_assert!(left.lacking(&told(&right)).is_empty());
        }
    }
}
