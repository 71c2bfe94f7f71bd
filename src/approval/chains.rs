//! Comparing a feed with a neighbour's: where it stands on ours, and where two of them part.
//!
//! Frontiers carry the start of each head's id. One that is on none of our chains shows a fork; the first number at
//! which the chains differ is found by telling each other samples, 64 at a time; from there on each sends its own chain, in
//! causal order as everything else.

use super::State;
use crate::eventlog::rows::Place;
use crate::eventlog::{FrontierEntry, Located, short};
use crate::id::PeerId;
use crate::limits;

/// What to answer to samples of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainAnswer {
    /// Both chains are one as far as both go.
    Same,
    /// Tell these samples of ours.
    Samples(Vec<FrontierEntry>),
    /// The chains part: from this number on theirs is not this strand of ours. Tell the samples, so that they see it too.
    Parts {
        /// Our strand.
        strand: u32,
        /// The first number at which the chains differ.
        from: u64,
        /// Of ours, there.
        around: Vec<FrontierEntry>,
    },
}

impl State {
    /// Where the heads that a neighbour told stand here.
    pub fn locate(&self, entries: &[FrontierEntry]) -> Located {
        let mut located = Located::default();
        for entry in entries {
            let strands = self.authority.strands.of_feed(&entry.feed);
            let on = strands.iter().find_map(|strand| {
                let place = self.authority.strands.on(*strand, entry.seq)?;
                (self.short_at(place)? == entry.id).then_some(place)
            });
            match on {
                Some(place) => {
                    self.with_ancestors(place, &mut located.heads);
                    located.on.push((place.strand, *entry));
                }
                None => {
                    let longest = strands.iter().map(|strand| self.authority.strands.get(*strand).seq).max();
                    if longest.is_some_and(|longest| entry.seq <= longest) {
                        located.parted.push(entry.feed);
                    } else {
                        located.ahead.push(*entry);
                    }
                }
            }
        }
        located
    }

    /// Strands of a forked feed that begin before the fork, each with the number of the fork. Whoever was taken to go
    /// further than ours on one of them may hold another branch.
    pub fn past_fork(&self, feed: &PeerId) -> Vec<(u32, u64)> {
        let Some(doubled) = self.forked_at(feed) else { return Vec::new() };
        let strands = self.authority.strands.of_feed(feed).iter();
        strands
            .filter(|strand| self.authority.strands.get(**strand).from < doubled)
            .map(|strand| (*strand, doubled))
            .collect()
    }

    fn with_ancestors(&self, place: Place, found: &mut Vec<(u32, u64)>) {
        let mut at = place;
        loop {
            found.push((at.strand, at.seq));
            let strand = self.authority.strands.get(at.strand);
            let (Some(parent), Some(seq)) = (strand.parent, strand.from.checked_sub(1)) else { return };
            at = Place { strand: parent, seq };
        }
    }

    fn short_at(&self, place: Place) -> Option<[u8; 8]> {
        let strand = self.authority.strands.get(place.strand);
        if place.seq == strand.seq {
            return Some(short(&strand.id));
        }
        self.event_at(place).map(|event| short(&event.id()))
    }

    /// Samples of the chain that a feed was held on first, for a neighbour whose chain is another.
    pub fn samples(&self, feed: &PeerId) -> Vec<FrontierEntry> {
        let Some(first) = self.authority.strands.of_feed(feed).first() else { return Vec::new() };
        self.samples_between(feed, *first, 0, self.authority.strands.get(*first).seq)
    }

    fn samples_between(&self, feed: &PeerId, strand: u32, from: u64, to: u64) -> Vec<FrontierEntry> {
        let count = (to - from + 1).min(limits::CHAIN_SAMPLES);
        let entry = |at: u64| {
            // Spread evenly, both ends among them.
            let seq = if count < 2 { to } else { from + (to - from) * at / (count - 1) };
            let place = self.authority.strands.on(strand, seq)?;
            Some(FrontierEntry { feed: *feed, seq, id: self.short_at(place)? })
        };
        (0..count).filter_map(entry).collect()
    }

    /// What to say to a neighbour's samples of one feed's chain, ascending.
    pub fn answer_chain(&self, samples: &[FrontierEntry]) -> ChainAnswer {
        let Some(feed) = samples.first().map(|sample| sample.feed) else { return ChainAnswer::Same };
        let strands = self.authority.strands.of_feed(&feed);
        let equal = |strand: u32, sample: &FrontierEntry| {
            let place = self.authority.strands.on(strand, sample.seq);
            place.and_then(|place| self.short_at(place)) == Some(sample.id)
        };
        // The chain of ours that agrees longest.
        let agrees = |strand: u32| samples.iter().rposition(|sample| equal(strand, sample));
        let Some(strand) = strands.iter().copied().max_by_key(|strand| (agrees(*strand), std::cmp::Reverse(*strand)))
        else {
            return ChainAnswer::Same;
        };
        let at = agrees(strand);
        let next = at.map_or(0, |at| at + 1);
        let Some(differs) = samples.get(next) else { return ChainAnswer::Same };
        let ours = self.authority.strands.get(strand).seq;
        let low = at.map_or(0, |at| samples[at].seq + 1);
        let high = differs.seq.min(ours);
        if low > ours {
            // Theirs only goes further.
            return ChainAnswer::Same;
        }
        if low == differs.seq {
            let around = self.samples_between(&feed, strand, low.saturating_sub(1), low);
            return ChainAnswer::Parts { strand, from: low, around };
        }
        ChainAnswer::Samples(self.samples_between(&feed, strand, low.saturating_sub(1), high))
    }
}
