//! One entry of the log: a signed header, its payload beside it, and the canonical bytes of both.

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::payload::Payload;
use crate::codec::{self, DecodeError};
use crate::hlc::Hlc;
use crate::id::{EventId, IdentityId, PeerId, ProjectId};
use crate::keys::{BadSignature, Context, FeedKey, IdentityKey, PublicKey, Signature, Verifier};
use crate::limits;

/// The version of these bytes.
pub(super) const FORMAT: u8 = 1;

/// The signed header. Every event names its whole causal past by hash: `prev`, `seen`, `refs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The version of these bytes, 1.
    pub format: u8,
    /// The project.
    pub project: ProjectId,
    /// Whose feed.
    pub author: PeerId,
    /// Its number in that feed, from 0.
    pub seq: u64,
    /// The event before it in that feed; `None` at 0.
    pub prev: Option<EventId>,
    /// Above that of everything in its past.
    pub hlc: Hlc,
    /// The maximal events not in the past of `prev`, sorted.
    pub seen: Vec<EventId>,
    /// The events that the payload speaks of, sorted. They count as seen.
    pub refs: Vec<EventId>,
    /// What the payload is.
    pub kind: Kind,
    /// Its length in bytes.
    pub payload_len: u32,
    /// Its BLAKE3 hash: a payload can be forgotten later and the chain still verifies.
    pub payload_hash: [u8; 32],
}

impl Body {
    /// The id of the event that it heads.
    pub(super) fn id(&self) -> EventId {
        EventId(Context::Event.hash_whole(&codec::encode(self)))
    }

    fn check_links(&self) -> Result<(), Malformed> {
        let sorted = |ids: &[EventId]| ids.len() <= limits::EVENT_LINKS && ids.is_sorted_by(|a, b| a < b);
        let first = self.prev.is_none() == (self.seq == 0);
        if first && sorted(&self.seen) && sorted(&self.refs) { Ok(()) } else { Err(Malformed::Links) }
    }

    /// Everything that it names: its direct causes.
    pub fn deps(&self) -> impl Iterator<Item = &EventId> {
        self.prev.iter().chain(&self.seen).chain(&self.refs)
    }
}

/// What travels and is stored.
#[derive(Serialize, Deserialize)]
struct Wire {
    body: Body,
    by_feed: Signature,
    by_identity: Option<Signature>,
    #[serde(with = "codec::whole")]
    payload: Vec<u8>,
}

/// Bytes of the encoding of a number: seven bits in each.
fn varint_len(number: u32) -> usize {
    (u32::BITS - number.leading_zeros()).max(1).div_ceil(7) as usize
}

/// Why bytes are no event. A peer that sends such is at fault; the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not the canonical bytes of an event, or too large.
    #[error("its bytes are {0}")]
    Bytes(#[from] DecodeError),
    /// Written in a format that this version does not know.
    #[error("it has format {0}, which needs a newer lansync")]
    Format(u8),
    /// `seq`, `prev`, `seen` or `refs` are not as they must be.
    #[error("its links are not in order")]
    Links,
    /// The payload is not the one that was signed, or not of its kind.
    #[error("its payload is not what was signed")]
    Payload,
    /// A signature is missing, superfluous or wrong.
    #[error("{0}")]
    Signature(#[from] BadSignature),
}

/// An event whose form and feed signature hold. Immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    id: EventId,
    body: Body,
    payload: Payload,
    by_feed: Signature,
    by_identity: Option<Signature>,
    bytes: Vec<u8>,
}

impl Event {
    /// Reads and checks one event: canonical, of a known format, links in order, payload as signed, and the
    /// feed's signature. The identity's signature is checked against its key by [`Event::verify_identity`].
    ///
    /// # Errors
    /// [`Malformed`]: it is never stored.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::decode_by(bytes, &mut Verifier::default())
    }

    /// As [`Event::decode`], of many events by few feeds.
    ///
    /// # Errors
    /// [`Malformed`]: it is never stored.
    pub fn decode_by(bytes: &[u8], verifier: &mut Verifier) -> Result<Self, Malformed> {
        let event = Self::decode_stored(bytes)?;
        verifier.verify(&event.body.author.0, &event.id.0, &event.by_feed)?;
        Ok(event)
    }

    /// As [`Event::decode`] without the signature, for bytes that were checked before they were stored.
    ///
    /// # Errors
    /// [`Malformed`] where the stored bytes are damaged.
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, Malformed> {
        if let Some(&format) = bytes.first()
            && format != FORMAT
        {
            return Err(Malformed::Format(format));
        }
        let Wire { body, by_feed, by_identity, payload } = codec::decode(bytes, limits::EVENT_BYTES)?;
        body.check_links()?;
        if body.payload_len as usize != payload.len() || *blake3::hash(&payload).as_bytes() != body.payload_hash {
            return Err(Malformed::Payload);
        }
        Self::checked(body, by_feed, by_identity, &payload, bytes.to_vec())
    }

    /// The event of these parts. Its payload's length and hash in `body` are right.
    pub(super) fn assemble(
        body: Body,
        by_feed: Signature,
        by_identity: Option<Signature>,
        payload: Vec<u8>,
    ) -> Result<Self, Malformed> {
        body.check_links()?;
        let wire = Wire { body, by_feed, by_identity, payload };
        let bytes = codec::encode(&wire);
        Self::checked(wire.body, by_feed, by_identity, &wire.payload, bytes)
    }

    fn checked(
        body: Body,
        by_feed: Signature,
        by_identity: Option<Signature>,
        payload: &[u8],
        bytes: Vec<u8>,
    ) -> Result<Self, Malformed> {
        let payload = Payload::decode(body.kind, payload).map_err(|_| Malformed::Payload)?;
        let is_told = body.kind.name().is_some() || body.kind.uses_rights();
        if is_told && body.kind.uses_rights() != by_identity.is_some() {
            return Err(Malformed::Signature(BadSignature));
        }
        // The body comes first, so it need not be encoded again for its id.
        let signatures = 64 + 1 + if by_identity.is_some() { 64 } else { 0 };
        let after = signatures + varint_len(body.payload_len) + body.payload_len as usize;
        let id = EventId(Context::Event.hash_whole(&bytes[..bytes.len() - after]));
        Ok(Self { id, body, payload, by_feed, by_identity, bytes })
    }

    /// The feed's signature, and the identity's if its kind carries one.
    pub fn signatures(&self) -> (Signature, Option<Signature>) {
        (self.by_feed, self.by_identity)
    }

    /// Its payload's bytes, which come last.
    pub(super) fn payload_bytes(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - self.body.payload_len as usize..]
    }

    /// Checks the second signature, if its kind carries one, by the identity that owns the feed.
    ///
    /// # Errors
    /// [`BadSignature`] where it is by another key.
    pub fn verify_identity(&self, identity: &IdentityId) -> Result<(), BadSignature> {
        self.verify_identity_by(|| PublicKey::read(&identity.0))
    }

    /// As [`Event::verify_identity`], by a key that is asked for only where there is such a signature.
    ///
    /// # Errors
    /// [`BadSignature`] where it is by another key; those of `key`.
    pub fn verify_identity_by(
        &self,
        key: impl FnOnce() -> Result<PublicKey, BadSignature>,
    ) -> Result<(), BadSignature> {
        match &self.by_identity {
            Some(signature) => key()?.verify(&self.id.0, signature),
            None => Ok(()),
        }
    }

    /// Its id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Its header.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Its canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The order in which events are sent and shown; it extends causality.
    pub fn order(&self) -> (Hlc, PeerId, u64) {
        (self.body.hlc, self.body.author, self.body.seq)
    }
}

/// An event to be: everything but signatures.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub seq: u64,
    /// The event before it in its feed.
    pub prev: Option<EventId>,
    /// Its time.
    pub hlc: Hlc,
    /// Maximal events not in the past of `prev`; any order.
    pub seen: Vec<EventId>,
    /// Events that the payload speaks of; any order.
    pub refs: Vec<EventId>,
    /// What it says.
    pub payload: Payload,
}

impl Draft {
    /// Signs it: by the feed, and by the identity where its kind uses rights.
    ///
    /// # Errors
    /// [`Malformed`] where it would break a bound (an over-long text, too many links), so that nobody ever
    /// writes what others refuse.
    pub fn sign<'k>(self, feed: &FeedKey, identity: impl Into<Option<&'k IdentityKey>>) -> Result<Event, Malformed> {
        let (kind, payload) = self.payload.encode();
        let sorted = |mut ids: Vec<EventId>| {
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let refs = sorted(self.refs);
        let mut seen = sorted(self.seen);
        seen.retain(|id| refs.binary_search(id).is_err());
        let body = Body {
            format: FORMAT,
            project: self.project,
            author: feed.peer(),
            seq: self.seq,
            prev: self.prev,
            hlc: self.hlc,
            seen,
            refs,
            kind,
            payload_len: u32::try_from(payload.len()).map_err(|_| Malformed::Payload)?,
            payload_hash: *blake3::hash(&payload).as_bytes(),
        };
        let id = body.id();
        let by_identity = identity.into().filter(|_| kind.uses_rights()).map(|identity| identity.0.sign(&id.0));
        let by_feed = feed.0.sign(&id.0);
        let bytes = codec::encode(&Wire { body, by_feed, by_identity, payload });
        Event::decode_stored(&bytes)
    }
}
