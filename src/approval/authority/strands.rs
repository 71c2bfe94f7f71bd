//! Feeds as they are held: a strand is a feed, or a branch of one that forked, by a number of this log's own.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::eventlog::rows::Place;
use crate::eventlog::{Head, Intake};
use crate::hlc::Hlc;
use crate::id::{EventId, IdentityId, MemberId, PeerId};
use crate::keys::{BadSignature, PublicKey};

/// One strand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::approval) struct Strand {
    /// Whose feed. The first 32 bytes of its row.
    pub(in crate::approval) feed: PeerId,
    /// Who certified it.
    pub(in crate::approval) identity: IdentityId,
    /// Whose identity that was in the eyes of the certificate.
    pub(in crate::approval) member: MemberId,
    /// The strand that it branched off, and its first number.
    pub(in crate::approval) parent: Option<u32>,
    pub(in crate::approval) from: u64,
    /// The id of its event `from`.
    pub(in crate::approval) first: EventId,
    /// The last event held.
    pub(in crate::approval) seq: u64,
    pub(in crate::approval) id: EventId,
    pub(in crate::approval) hlc: u64,
    /// The set of governance events at its head, by number.
    pub(in crate::approval) past: u32,
    /// How much of what its author may write in a day is used up.
    pub(in crate::approval) intake: Intake,
    /// The last governance event on it.
    pub(in crate::approval) governs: Option<u64>,
    /// Its time at its beginning, for what is bounded by time.
    pub(in crate::approval) began: u64,
    /// The first number that is cut off, by a revocation or a fork.
    pub(in crate::approval) cut: Option<u64>,
    /// The last number that is part of the log; `None` where nothing of it is.
    pub(in crate::approval) logged: Option<u64>,
    /// The id of that event.
    pub(in crate::approval) logged_id: EventId,
}

impl Strand {
    pub(in crate::approval) fn head(&self) -> Head {
        Head { seq: self.seq, id: self.id }
    }

    pub(in crate::approval) fn latest(&self) -> Hlc {
        Hlc::from_bits(self.hlc)
    }
}

/// All strands.
#[derive(Debug, Clone, Default)]
pub(in crate::approval) struct Strands {
    all: Vec<Strand>,
    /// The key of each one's identity, once a signature by it was verified.
    keys: Vec<OnceLock<PublicKey>>,
    by_feed: BTreeMap<PeerId, Vec<u32>>,
}

impl Strands {
    pub(in crate::approval) fn add(&mut self, strand: Strand) -> u32 {
        let number = self.all.len() as u32;
        self.by_feed.entry(strand.feed).or_default().push(number);
        self.all.push(strand);
        self.keys.push(OnceLock::new());
        number
    }

    pub(in crate::approval) fn get(&self, number: u32) -> &Strand {
        &self.all[number as usize]
    }

    pub(in crate::approval) fn get_mut(&mut self, number: u32) -> &mut Strand {
        &mut self.all[number as usize]
    }

    /// The key of the identity that certified a strand's feed.
    pub(in crate::approval) fn key(&self, number: u32) -> Result<PublicKey, BadSignature> {
        let (key, identity) = (&self.keys[number as usize], &self.get(number).identity);
        match key.get() {
            Some(key) => Ok(*key),
            None => PublicKey::read(&identity.0).inspect(|read| {
                // One that is there already is the same.
                let _ = key.set(*read);
            }),
        }
    }

    pub(in crate::approval) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    pub(in crate::approval) fn iter(&self) -> impl Iterator<Item = (u32, &Strand)> {
        (0..).zip(&self.all)
    }

    /// The strands of a feed, the one held first in front.
    pub(in crate::approval) fn of_feed(&self, feed: &PeerId) -> &[u32] {
        self.by_feed.get(feed).map_or(&[], Vec::as_slice)
    }

    pub(in crate::approval) fn any_forked(&self) -> bool {
        self.by_feed.len() < self.all.len()
    }

    pub(in crate::approval) fn feeds(&self) -> impl Iterator<Item = &PeerId> {
        self.by_feed.keys()
    }

    /// Is `place` at or below `above` on its own feed?
    pub(in crate::approval) fn on_chain(&self, place: Place, above: Place) -> bool {
        let mut at = above;
        while at.strand != place.strand {
            let strand = self.get(at.strand);
            let Some(parent) = strand.parent else { return false };
            let Some(seq) = strand.from.checked_sub(1) else { return false };
            at = Place { strand: parent, seq: seq.min(at.seq) };
        }
        place.seq <= at.seq
    }

    /// The highest number of a strand that is at or below `above` on its feed.
    pub(in crate::approval) fn reach(&self, number: u32, above: Place) -> Option<u64> {
        let mut at = above;
        while at.strand != number {
            let strand = self.get(at.strand);
            at = Place { strand: strand.parent?, seq: strand.from.checked_sub(1)?.min(at.seq) };
        }
        (at.seq >= self.get(number).from).then_some(at.seq)
    }

    /// The strand that holds number `seq` of the chain that ends on `strand`, if that chain is so long.
    pub(in crate::approval) fn on(&self, strand: u32, seq: u64) -> Option<Place> {
        let mut at = strand;
        if seq > self.get(at).seq {
            return None;
        }
        while seq < self.get(at).from {
            at = self.get(at).parent?;
        }
        Some(Place { strand: at, seq })
    }

    /// The lowest number of a feed that two events have.
    pub(in crate::approval) fn doubled(&self, feed: &PeerId) -> Option<u64> {
        let strands = self.of_feed(feed);
        (strands.len() > 1).then(|| strands[1..].iter().map(|number| self.get(*number).from).min())?
    }
}
