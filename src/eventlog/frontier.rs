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

/// How far each strand is part of the log: a strand is a feed, or a branch of one that forked, by the number that it
/// has in this log alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    heads: BTreeMap<u32, (PeerId, Head)>,
}

/// Events of one strand that the other side lacks: from `from` on, up to and including `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// The strand.
    pub strand: u32,
    /// First number lacking; where the strand begins later than that, its first.
    pub from: u64,
    /// Last number held here.
    pub to: u64,
}

/// Where the heads that a neighbour told stand here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// Strand to last number: what it surely has.
    pub heads: Vec<(u32, u64)>,
    /// Those of the heads that are on our chains, with their strands.
    pub on: Vec<(u32, FrontierEntry)>,
    /// Feeds with a head that is on none of our chains, though ours go as far.
    pub parted: Vec<PeerId>,
    /// Heads that are further than ours go. Whether they are on the same chain is known when those events come.
    pub ahead: Vec<FrontierEntry>,
}

impl FrontierEntry {
    /// An event, as a frontier speaks of it.
    pub fn of(event: &super::Event) -> Self {
        Self { feed: event.body().author, seq: event.body().seq, id: short(&event.id()) }
    }
}

impl Frontier {
    /// The head of a strand.
    pub fn head(&self, strand: u32) -> Option<Head> {
        self.heads.get(&strand).map(|(_, head)| *head)
    }

    /// Strands with their feeds and heads, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &PeerId, &Head)> {
        self.heads.iter().map(|(strand, (feed, head))| (*strand, feed, head))
    }

    /// How many feeds.
    pub fn feeds(&self) -> usize {
        let feeds: std::collections::BTreeSet<&PeerId> = self.heads.values().map(|(feed, _)| feed).collect();
        feeds.len()
    }

    /// Sets how far a strand goes.
    pub fn set(&mut self, strand: u32, feed: PeerId, head: Head) {
        self.heads.insert(strand, (feed, head));
    }

    /// As far as both go.
    pub fn within(mut self, other: &Self) -> Self {
        self.heads.retain(|strand, (_, head)| match other.head(*strand) {
            Some(other) => {
                *head = other.min(*head);
                true
            }
            None => false,
        });
        self
    }

    /// Equal on two peers = same log.
    pub fn digest(&self) -> [u8; 32] {
        let mut heads: Vec<&(PeerId, Head)> = self.heads.values().collect();
        heads.sort_unstable();
        let mut bytes = Vec::with_capacity(heads.len() * 72);
        for (feed, head) in heads {
            bytes.extend_from_slice(&feed.0);
            bytes.extend_from_slice(&head.seq.to_be_bytes());
            bytes.extend_from_slice(&head.id.0);
        }
        Context::Frontier.hash_whole(&bytes)
    }

    /// The form in which it is sent: a feed that forked has an entry for each branch.
    pub fn entries(&self) -> Vec<FrontierEntry> {
        let mut entries: Vec<FrontierEntry> = self.heads.keys().filter_map(|strand| self.entry(*strand)).collect();
        entries.sort_unstable();
        entries
    }

    /// One strand of it.
    pub fn entry(&self, strand: u32) -> Option<FrontierEntry> {
        let (feed, head) = self.heads.get(&strand)?;
        Some(FrontierEntry { feed: *feed, seq: head.seq, id: short(&head.id) })
    }

    /// What a peer that has `theirs` (strand to last number) lacks of this.
    pub fn lacking(&self, theirs: &BTreeMap<u32, u64>) -> Vec<Lacking> {
        let lacks = |(strand, (_, head)): (&u32, &(PeerId, Head))| {
            let from = theirs.get(strand).map_or(0, |seq| seq.saturating_add(1));
            (from <= head.seq).then_some(Lacking { strand: *strand, from, to: head.seq })
        };
        self.heads.iter().filter_map(lacks).collect()
    }
}

/// The start of an id, as a frontier entry carries it.
pub(crate) fn short(id: &EventId) -> [u8; 8] {
    id.0[..8].try_into().expect("8 of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frontier(heads: &BTreeMap<u8, u64>) -> Frontier {
        let mut frontier = Frontier::default();
        for (feed, seq) in heads {
            let head = Head { seq: *seq, id: EventId([*seq as u8; 32]) };
            frontier.set(u32::from(*feed), PeerId([*feed; 32]), head);
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
            let told = |of: &Frontier| of.iter().map(|(strand, _, head)| (strand, head.seq)).collect::<BTreeMap<_, _>>();
            let (to_right, to_left) = (left.lacking(&told(&right)), right.lacking(&told(&left)));
            for lacking in &to_right {
                prop_assert!(right.head(lacking.strand).is_none_or(|head| head.seq + 1 == lacking.from));
                right.set(lacking.strand, PeerId([lacking.strand as u8; 32]), left.head(lacking.strand).unwrap());
            }
            for lacking in &to_left {
                left.set(lacking.strand, PeerId([lacking.strand as u8; 32]), right.head(lacking.strand).unwrap());
            }
            prop_assert_eq!(left.digest(), right.digest());
            prop_assert!(left.lacking(&told(&right)).is_empty());
        }
    }
}
