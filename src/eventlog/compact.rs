//! How events lie on disk: without what can be worked out, some of one strand together in a block.
//!
//! The project, the author, the number and the payload's hash are known from elsewhere, an id in `refs` is not repeated in
//! the payload, and within a block `prev` is the id of the event before. A block fills one page of the store, since a page
//! per strand that is half empty would cost more than all that is left out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::FORMAT;
use super::{Body, Event, Kind, Malformed};
use crate::codec::{self, DecodeError};
use crate::hlc::Hlc;
use crate::id::{EventId, PeerId, ProjectId};
use crate::keys::Signature;

/// Bytes of a block at most, unless it is one large event: with its key (12), and what redb adds (8), a page of 4,096.
pub const BLOCK_BYTES: usize = 4_096 - 12 - 8;
/// Start of a BLAKE3 hash over all that follows, and start of the last event's id.
const HEAD: usize = 8 + 8;
/// Bytes of an id.
const ID: usize = 32;

/// What is known of a strand's events from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The project.
    pub project: ProjectId,
    /// Whose feed.
    pub author: PeerId,
}

/// One event in a block.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "nearly all are short, and none is kept")]
enum Entry {
    /// With what is left out.
    Short(Short),
    /// The event's own bytes: of one that is not what was known of it.
    Whole(#[serde(with = "codec::whole")] Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Short {
    /// Absent where it is the event before in the block, and at 0.
    prev: Option<EventId>,
    hlc: Hlc,
    seen: Vec<EventId>,
    refs: Vec<EventId>,
    kind: Kind,
    by_feed: Signature,
    by_identity: Option<Signature>,
    /// Where in the payload which of `refs` stands.
    named: Vec<(u16, u8)>,
    /// The payload without those.
    #[serde(with = "codec::whole")]
    payload: Vec<u8>,
}

impl Entry {
    fn of(event: &Event, known: &Known, seq: u64, follows: bool) -> Self {
        let body = event.body();
        if (body.project, body.author, body.seq) != (known.project, known.author, seq) {
            return Self::Whole(event.bytes().to_vec());
        }
        let (by_feed, by_identity) = event.signatures();
        let (named, payload) = without(event.payload_bytes(), &body.refs);
        Self::Short(Short {
            prev: if follows { None } else { body.prev },
            hlc: body.hlc,
            seen: body.seen.clone(),
            refs: body.refs.clone(),
            kind: body.kind,
            by_feed,
            by_identity,
            named,
            payload,
        })
    }

    fn event(self, known: &Known, seq: u64, before: Option<EventId>) -> Result<Event, Malformed> {
        match self {
            Self::Short(short) => {
                let (by_feed, by_identity) = (short.by_feed, short.by_identity);
                let (body, payload) = short.body(known, seq, before)?;
                Event::assemble(body, by_feed, by_identity, payload)
            }
            Self::Whole(bytes) => Event::decode_stored(&bytes),
        }
    }

    /// The event's id, without the work that the rest of it makes.
    fn id(self, known: &Known, seq: u64, before: Option<EventId>) -> Result<EventId, Malformed> {
        match self {
            Self::Short(short) => Ok(short.body(known, seq, before)?.0.id()),
            Self::Whole(bytes) => Event::decode_stored(&bytes).map(|event| event.id()),
        }
    }
}

impl Short {
    /// The header with what was left out, and the payload.
    fn body(self, known: &Known, seq: u64, before: Option<EventId>) -> Result<(Body, Vec<u8>), Malformed> {
        let payload = with(&self.payload, &self.named, &self.refs)?;
        let body = Body {
            format: FORMAT,
            project: known.project,
            author: known.author,
            seq,
            prev: self.prev.or(before),
            hlc: self.hlc,
            seen: self.seen,
            refs: self.refs,
            kind: self.kind,
            payload_len: u32::try_from(payload.len()).map_err(|_| Malformed::Payload)?,
            payload_hash: *blake3::hash(&payload).as_bytes(),
        };
        Ok((body, payload))
    }
}

/// Takes ids that stand in `refs` out of a payload.
fn without(payload: &[u8], refs: &[EventId]) -> (Vec<(u16, u8)>, Vec<u8>) {
    let (mut named, mut rest) = (Vec::new(), Vec::with_capacity(payload.len()));
    // `rest` has what lies before `from`.
    let (mut at, mut from) = (0, 0);
    while at + ID <= payload.len() {
        let window = &payload[at..at + ID];
        // Most bytes begin no id, which the first of them tells.
        let here = refs.iter().position(|id| id.0[0] == window[0] && id.0 == window);
        match here.and_then(|index| Some((u16::try_from(at).ok()?, u8::try_from(index).ok()?))) {
            Some(place) => {
                named.push(place);
                rest.extend_from_slice(&payload[from..at]);
                at += ID;
                from = at;
            }
            None => at += 1,
        }
    }
    rest.extend_from_slice(&payload[from..]);
    (named, rest)
}

/// Puts them back.
fn with(rest: &[u8], named: &[(u16, u8)], refs: &[EventId]) -> Result<Vec<u8>, Malformed> {
    let mut payload = Vec::with_capacity(rest.len() + named.len() * ID);
    let mut rest = rest;
    for (at, index) in named {
        let literal = usize::from(*at).checked_sub(payload.len()).filter(|len| *len <= rest.len());
        let (literal, after) = rest.split_at(literal.ok_or(Malformed::Payload)?);
        payload.extend_from_slice(literal);
        payload.extend_from_slice(&refs.get(usize::from(*index)).ok_or(Malformed::Payload)?.0);
        rest = after;
    }
    payload.extend_from_slice(rest);
    Ok(payload)
}

/// Successive events of one strand, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The number of the first.
    first: u64,
    /// How many there are.
    len: u64,
    /// Head and entries, each with its length before it.
    bytes: Vec<u8>,
}

impl Block {
    /// A block that begins at `first`, empty.
    pub fn new(first: u64) -> Self {
        Self { first, len: 0, bytes: vec![0; HEAD] }
    }

    /// The block that begins at `first` and has these bytes.
    ///
    /// # Errors
    /// Where a byte of it was changed.
    pub fn read(first: u64, bytes: &[u8]) -> Result<Self, Malformed> {
        let block = Self { first, len: 0, bytes: bytes.to_vec() };
        if bytes.len() < HEAD || bytes[..8] != block.check() {
            return Err(Malformed::Bytes(DecodeError::Malformed));
        }
        let mut rest = &bytes[HEAD..];
        let mut len = 0;
        while !rest.is_empty() {
            rest = split(rest)?.1;
            len += 1;
        }
        Ok(Self { len, ..block })
    }

    fn check(&self) -> [u8; 8] {
        let mut check = [0; 8];
        check.copy_from_slice(&blake3::hash(&self.bytes[8..]).as_bytes()[..8]);
        check
    }

    /// The number that the next event must have.
    pub fn next(&self) -> u64 {
        self.first + self.len
    }

    /// Adds the next event; `false` where it has no room.
    pub fn push(&mut self, known: &Known, event: &Event) -> bool {
        let follows = self.len > 0 && event.body().prev.is_some_and(|prev| prev.0[..8] == self.bytes[8..HEAD]);
        let entry = codec::encode(&Entry::of(event, known, self.next(), follows));
        let room = BLOCK_BYTES.saturating_sub(self.bytes.len());
        if self.len > 0 && entry.len() + 2 > room {
            return false;
        }
        self.bytes.extend_from_slice(&codec::encode(&entry.len()));
        self.bytes.extend_from_slice(&entry);
        self.bytes[8..HEAD].copy_from_slice(&event.id().0[..8]);
        self.len += 1;
        true
    }

    /// Its bytes.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let check = self.check();
        self.bytes[..8].copy_from_slice(&check);
        self.bytes
    }

    /// Its events.
    pub fn events(self, known: Known) -> Events {
        Events { known, at: HEAD, block: self, passed: Vec::new() }
    }
}

/// The first entry's bytes, and what follows it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    postcard::take_from_bytes(bytes).map_err(|_| Malformed::Bytes(DecodeError::Malformed))
}

/// The events of a block, read as far as they were asked for.
#[derive(Debug, Clone)]
pub struct Events {
    known: Known,
    block: Block,
    /// Where the next one begins.
    at: usize,
    passed: Vec<Passed>,
}

/// An event of a block that was asked for, or that comes before such.
#[derive(Debug, Clone)]
struct Passed {
    /// Where it begins.
    at: usize,
    /// What the next one is chained to.
    id: EventId,
    /// If it was asked for itself.
    event: Option<Arc<Event>>,
}

impl Events {
    /// Does `seq` lie in it?
    pub fn holds(&self, seq: u64) -> bool {
        (self.block.first..self.block.next()).contains(&seq)
    }

    /// The event with the number `seq`, if it lies in the block.
    ///
    /// # Errors
    /// [`Malformed`] where an entry is none.
    pub fn get(&mut self, seq: u64) -> Result<Option<Arc<Event>>, Malformed> {
        if !self.holds(seq) {
            return Ok(None);
        }
        let index = usize::try_from(seq - self.block.first).map_err(|_| Malformed::Links)?;
        while self.passed.len() < index {
            let (entry, next) = self.entry(self.at)?;
            let before = self.passed.last().map(|before| before.id);
            let id = entry.id(&self.known, self.block.first + self.passed.len() as u64, before)?;
            self.passed.push(Passed { at: self.at, id, event: None });
            self.at = next;
        }
        if let Some(Passed { event: Some(event), .. }) = self.passed.get(index) {
            return Ok(Some(event.clone()));
        }
        let at = self.passed.get(index).map_or(self.at, |passed| passed.at);
        let before = index.checked_sub(1).and_then(|before| self.passed.get(before)).map(|before| before.id);
        let (entry, next) = self.entry(at)?;
        let event = Arc::new(entry.event(&self.known, seq, before)?);
        match self.passed.get_mut(index) {
            Some(passed) => passed.event = Some(event.clone()),
            None => {
                self.passed.push(Passed { at, id: event.id(), event: Some(event.clone()) });
                self.at = next;
            }
        }
        Ok(Some(event))
    }

    /// The entry that begins at `at`, and where the next one does.
    fn entry(&self, at: usize) -> Result<(Entry, usize), Malformed> {
        let (entry, rest) = split(&self.block.bytes[at..])?;
        // The block's hash was right, so these are the bytes that were written.
        let entry = postcard::from_bytes(entry).map_err(|_| Malformed::Bytes(DecodeError::Malformed))?;
        Ok((entry, self.block.bytes.len() - rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eventlog::golden;
    use crate::eventlog::{Draft, Payload};
    use crate::keys::{FeedKey, IdentityKey, Secret};

    fn known(event: &Event) -> Known {
        Known { project: event.body().project, author: event.body().author }
    }

    fn again(event: &Event, known: Known) -> Event {
        let seq = event.body().seq;
        let mut block = Block::new(seq);
        assert!(block.push(&known, event));
        let block = Block::read(seq, &block.into_bytes()).unwrap();
        let mut events = block.events(known);
        (*events.get(seq).unwrap().unwrap()).clone()
    }

    #[test]
    fn every_kind_has_its_bytes_again() {
        for (name, event) in golden::good() {
            assert_eq!(again(&event, known(&event)), event, "{name}");
            // What is known of the strand is wrong: it is kept whole.
            let other = Known { author: PeerId([3; 32]), ..known(&event) };
            assert_eq!(again(&event, other), event, "{name}");
        }
    }

    /// A chain with links and payloads of any form.
    fn chain(links: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>) -> Vec<Event> {
        let (feed, identity) = (FeedKey(Secret::from_seed([1; 32])), IdentityKey(Secret::from_seed([2; 32])));
        let mut chain: Vec<Event> = Vec::new();
        for (seen, refs, text) in links {
            let ids = |numbers: &[u8]| numbers.iter().map(|n| EventId([*n; 32])).collect::<Vec<_>>();
            // Runs of one byte are ids, so the payload names some of `refs`, some of them twice and overlapping.
            let payload =
                text.iter().flat_map(|byte| std::iter::repeat_n(*byte, usize::from(*byte % 5) * 11)).collect();
            let draft = Draft {
                project: ProjectId([9; 32]),
                seq: chain.len() as u64,
                prev: chain.last().map(Event::id),
                hlc: Hlc::from_bits(chain.len() as u64 * 77),
                seen: ids(&seen),
                refs: ids(&refs),
                payload: Payload::Unknown(Kind(0o7777), payload),
            };
            chain.push(draft.sign(&feed, &identity).unwrap());
        }
        chain
    }

    proptest! {
        #[test]
        fn a_chain_is_read_back_from_its_blocks(
            links in prop::collection::vec(
                (prop::collection::vec(0u8..9, 0..4), prop::collection::vec(0u8..9, 0..6), prop::collection::vec(0u8..9, 0..60)),
                1..40,
            ),
        ) {
            let chain = chain(links);
            let known = known(&chain[0]);
            let mut blocks = vec![Block::new(0)];
            for event in &chain {
                let last = blocks.last_mut().unwrap();
                if !last.push(&known, event) {
                    let mut block = Block::new(event.body().seq);
                    prop_assert!(block.push(&known, event));
                    blocks.push(block);
                }
            }
            for block in blocks {
                let (first, next) = (block.first, block.next());
                let bytes = block.into_bytes();
                prop_assert!(bytes.len() <= BLOCK_BYTES || next == first + 1);
                let mut events = Block::read(first, &bytes).unwrap().events(known);
                for seq in (first..next).rev() {
                    prop_assert_eq!(&*events.get(seq).unwrap().unwrap(), &chain[seq as usize]);
                }
                prop_assert!(events.get(next).unwrap().is_none());
            }
        }
    }

    #[test]
    fn no_byte_of_a_block_is_changed_unseen() {
        let event = golden::good().remove(0).1;
        let mut block = Block::new(0);
        block.push(&known(&event), &event);
        let bytes = block.into_bytes();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Block::read(0, &bytes).is_err(), "byte {at}");
        }
        assert!(Block::read(0, &bytes[..7]).is_err());
    }
}
