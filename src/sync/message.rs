//! Everything that peers say to each other: a type byte and canonical bytes.
//!
//! A message of an unknown type is skipped, so that later versions can add some.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::eventlog::FrontierEntry;
use crate::hlc::Millis;
use crate::id::{EventId, IdentityId, ObjectId, PackId, PeerId, ProjectId};
use crate::keys::{Certificate, Signature};
use crate::limits;
use crate::sync::PieceSet;

/// The version of these messages.
pub const VERSION: u16 = 1;

/// The bit of [`Hello::features`] by which a session is a hearing: one of the two takes the other for removed.
/// [`MEDIA`](super::MEDIA) is the bit before it.
const HEARING: u64 = 1 << 1;

/// The first message of a session, in both directions; the dialled side sends its own only once it has found
/// the other to be a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`]. Peers speak the lower of the two.
    pub version: u16,
    /// Bits for what both must support to use.
    pub features: u64,
    /// The program's version, for people.
    pub program: String,
    /// The sender's wall clock.
    pub clock: Millis,
    /// Whose clone it is.
    pub certificate: Certificate,
    /// Digest of what it holds.
    pub digest: [u8; 32],
}

/// What is said on a control stream after the hellos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What the sender holds, in parts: asks for all that it lacks.
    Frontier {
        /// A part of it.
        entries: Vec<FrontierEntry>,
        /// The last part.
        last: bool,
    },
    /// Events, in an order that respects causality.
    Events(Vec<Vec<u8>>),
    /// The sender holds these feeds so far, durably.
    Held(Vec<FrontierEntry>),
    /// The sender has verified the objects of these commits and serves them.
    Objects(Vec<ObjectId>),
    /// What the sender's wall clock shows, after it was set.
    Clock(Millis),
    /// Samples of one feed's chain, ascending: where do ours part?
    Chain(Vec<FrontierEntry>),
    /// The sender got what it was just sent from others before: it need only be told what is held from now on, and
    /// sent later what it still lacks then.
    Enough,
    /// The sender has said, with [`Message::Held`] or samples, what it holds of all the feeds that it was told a frontier of.
    Answered,
    /// In a hearing: the sender has said all that decides about either, or has heard all of the other's.
    Over {
        /// The other's.
        heard: bool,
    },
    /// The sender takes part in a shared pack.
    Pieces {
        /// Which.
        pack: PackId,
        /// What it has of it.
        here: PieceSet,
        /// It does not know yet what the other has of it.
        asks: bool,
    },
    /// A type that this version does not know.
    Unknown(u8),
}

/// Why bytes are no message. The session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message is {0}")]
pub struct MessageError(#[from] pub(super) DecodeError);

pub(super) fn tagged<T: Serialize>(tag: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(codec::encode(value));
    bytes
}

impl Hello {
    /// What `features` says where this is to be a hearing, or not.
    pub fn features(hearing: bool) -> u64 {
        if hearing { HEARING } else { super::MEDIA }
    }

    /// Is this to be a hearing?
    pub fn is_hearing(&self) -> bool {
        self.features & HEARING != 0
    }

    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(1, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no hello.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [1, rest @ ..] => Ok(codec::decode(rest, limits::STRANGER_FRAME_BYTES)?),
            _ => Err(MessageError(DecodeError::Malformed)),
        }
    }
}

impl Message {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Frontier { entries, last } => tagged(2, &(entries, last)),
            Self::Events(events) => tagged(3, events),
            Self::Held(entries) => tagged(4, entries),
            Self::Objects(commits) => tagged(5, commits),
            Self::Clock(clock) => tagged(6, clock),
            Self::Chain(samples) => tagged(7, samples),
            Self::Enough => vec![8],
            Self::Over { heard } => tagged(9, heard),
            Self::Answered => vec![10],
            Self::Pieces { pack, here, asks } => tagged(11, &(pack, here, asks)),
            Self::Unknown(tag) => vec![*tag],
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where a known type does not decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        const LIMIT: usize = limits::FRAME_BYTES;
        Ok(match bytes {
            [] => return Err(MessageError(DecodeError::Malformed)),
            [2, rest @ ..] => {
                let (entries, last) = codec::decode(rest, LIMIT)?;
                Self::Frontier { entries, last }
            }
            [3, rest @ ..] => Self::Events(codec::decode(rest, LIMIT)?),
            [4, rest @ ..] => Self::Held(codec::decode(rest, LIMIT)?),
            [5, rest @ ..] => Self::Objects(codec::decode(rest, LIMIT)?),
            [6, rest @ ..] => Self::Clock(codec::decode(rest, LIMIT)?),
            [7, rest @ ..] => Self::Chain(codec::decode(rest, LIMIT)?),
            [8] => Self::Enough,
            [9, rest @ ..] => Self::Over { heard: codec::decode(rest, LIMIT)? },
            [10] => Self::Answered,
            [11, rest @ ..] => {
                let (pack, here, asks) = codec::decode(rest, limits::STRANGER_FRAME_BYTES)?;
                Self::Pieces { pack, here, asks }
            }
            [tag, ..] => Self::Unknown(*tag),
        })
    }
}

/// Asks for objects, as the first frame of a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Commits wanted with all that they reach.
    pub want: Vec<ObjectId>,
    /// Commits held with all that they reach.
    pub have: Vec<ObjectId>,
    /// Tags that are to come with the rest, as far as they are served.
    pub also: Vec<ObjectId>,
    /// The pack was cut: how it begins, which need not be sent if it is the same still.
    pub prefix: Option<PackPrefix>,
    /// How many bytes follow that name objects which came before a cut or come from others, in frames. They are sent once a pack is
    /// promised.
    pub skip: u32,
    /// How many neighbours have what is wanted, if more than one is to send it: the pack may then hold a portion of it, and a
    /// [`PackPortion`] comes before it.
    pub sources: u8,
}

/// How a pack begins: whole entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackPrefix {
    /// How many bytes of the plain pack.
    pub bytes: u64,
    /// Their SHA-1.
    pub sha1: [u8; 20],
}

/// What a pack holds of all that is wanted and not skipped, said before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackPortion {
    /// How many objects that is in all; 0 where the pack holds them all.
    pub objects: u32,
    /// How many bytes follow that name those which the pack holds, in frames. The others are asked for elsewhere.
    pub names: u32,
}

/// What is said before the pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchReply {
    /// A pack follows.
    Pack,
    /// It is not here, or not to be served.
    NotHere,
    /// Too much is being sent: ask another, or again.
    Busy {
        /// Who said that they serve it, at most [`limits::BUSY_PEERS`].
        others: Vec<PeerId>,
    },
    /// It is made once for several: the hashes of its pieces follow in one frame, and the pieces can be had from
    /// everybody who takes part.
    Shared {
        /// Which shared pack.
        pack: PackId,
        /// Its length in bytes.
        bytes: u64,
    },
    /// What follows the prefix of the pack follows.
    Rest,
}

impl FetchRequest {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(16, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no request or asks for too much at once.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request: Self = match bytes {
            [16, rest @ ..] => codec::decode(rest, limits::FRAME_BYTES)?,
            _ => return Err(MessageError(DecodeError::Malformed)),
        };
        let most = request.want.len().max(request.have.len()).max(request.also.len());
        if most > limits::FETCH_TIPS {
            return Err(MessageError(DecodeError::TooLarge { len: most, limit: limits::FETCH_TIPS }));
        }
        if request.skip > limits::SKIP_BYTES {
            let (len, limit) = (request.skip as usize, limits::SKIP_BYTES as usize);
            return Err(MessageError(DecodeError::TooLarge { len, limit }));
        }
        Ok(request)
    }
}

impl PackPortion {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(22, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is none or says too much.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let portion: Self = match bytes {
            [22, rest @ ..] => codec::decode(rest, limits::STRANGER_FRAME_BYTES)?,
            _ => return Err(MessageError(DecodeError::Malformed)),
        };
        if portion.names > limits::SKIP_BYTES || portion.objects > limits::PACK_OBJECTS {
            let (len, limit) = (portion.names.max(portion.objects) as usize, limits::SKIP_BYTES as usize);
            return Err(MessageError(DecodeError::TooLarge { len, limit }));
        }
        Ok(portion)
    }
}

impl FetchReply {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(17, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no reply.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [17, rest @ ..] => match codec::decode(rest, limits::STRANGER_FRAME_BYTES)? {
                Self::Busy { others } if others.len() > limits::BUSY_PEERS => {
                    let (len, limit) = (others.len(), limits::BUSY_PEERS);
                    Err(MessageError(DecodeError::TooLarge { len, limit }))
                }
                reply => Ok(reply),
            },
            _ => Err(MessageError(DecodeError::Malformed)),
        }
    }
}

/// What is said while a stranger asks to join; everything else is closed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinMessage {
    /// Asker: who I am, and a commitment to my nonce.
    Ask {
        /// The identity key.
        identity: IdentityId,
        /// The handle I would like.
        handle: String,
        /// My name.
        name: String,
        /// By the identity, over this connection.
        proof: Signature,
        /// To my nonce and keys.
        commitment: [u8; 32],
    },
    /// Greeter: my nonce, and whom you talk to.
    Nonce {
        /// The nonce.
        nonce: [u8; 16],
        /// The greeter's handle.
        member: String,
        /// The project's name.
        project: String,
    },
    /// Asker: the nonce that I committed to.
    Reveal {
        /// The nonce.
        nonce: [u8; 16],
    },
    /// Asker: I redeem a ticket.
    Redeem {
        /// The identity key.
        identity: IdentityId,
        /// The handle I would like.
        handle: String,
        /// My name.
        name: String,
        /// By the identity, over this connection.
        proof: Signature,
        /// The invite.
        invite: EventId,
        /// By the ticket's key, over project, invite, my keys and this connection.
        signature: Signature,
    },
    /// Greeter: you are in.
    Admitted {
        /// The project.
        project: ProjectId,
        /// The handle you got.
        handle: String,
    },
    /// Greeter: no.
    Refused {
        /// Why.
        why: JoinRefusal,
    },
    /// Asker: I redeem a ticket for a further machine of the greeter's member.
    RedeemLink {
        /// The identity key of the further machine.
        identity: IdentityId,
        /// What the machine is called.
        name: String,
        /// By the identity, over this connection.
        proof: Signature,
        /// The ticket's public key.
        ticket: EventId,
        /// By that key, over project, ticket, my keys and this connection.
        signature: Signature,
        /// By the identity, over project and member: the `proof` of the `link` event.
        link: Signature,
    },
}

/// Why an ask to join is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// A human said no, or the words that were typed are not these.
    #[error("the words did not match, or you were turned away")]
    TurnedAway,
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    TimedOut,
    /// Too many ask at once.
    #[error("too many ask at once; try again in a minute")]
    Busy,
    /// The handle belongs to another member.
    #[error("the handle is taken by another member")]
    HandleTaken,
    /// No such ticket.
    #[error("the ticket is not one of this project and machine, or is damaged")]
    TicketUnknown,
    /// Its time is over.
    #[error("the ticket has expired")]
    TicketExpired,
    /// It was used as often as it may be.
    #[error("the ticket has been used up")]
    TicketSpent,
    /// Joining is not open.
    #[error("joining is not open")]
    Closed,
    /// The asker's proof does not hold.
    #[error("the proof of the identity key does not hold")]
    BadProof,
    /// The identity to be linked was another member's.
    #[error("this machine's identity is another member's in this project, so it cannot be a further one of yours")]
    OtherMember,
}

impl JoinMessage {
    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(32, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [32, rest @ ..] => Ok(codec::decode(rest, limits::STRANGER_FRAME_BYTES)?),
            _ => Err(MessageError(DecodeError::Malformed)),
        }
    }
}

/// What an asker's identity signs: this connection (by its TLS exporter) and the asker's clone.
pub(crate) fn join_proof(exporter: &[u8; 32], identity: &IdentityId, asker: &PeerId) -> [u8; 32] {
    crate::keys::Context::JoinProof.hash(&[exporter, &identity.0, &asker.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_unknown_ones_are_skipped() {
        let entry = FrontierEntry { feed: PeerId([1; 32]), seq: 3, id: [2; 8] };
        for message in [
            Message::Frontier { entries: vec![entry], last: true },
            Message::Events(vec![vec![1, 2], vec![]]),
            Message::Held(vec![entry]),
            Message::Objects(vec![ObjectId::Sha1([4; 20])]),
            Message::Clock(1_793_491_200_000),
            Message::Chain(vec![entry]),
            Message::Enough,
            Message::Answered,
            Message::Over { heard: false },
            Message::Over { heard: true },
            Message::Pieces { pack: PackId([5; 32]), here: PieceSet::all(9), asks: true },
        ] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
        assert_eq!(Message::decode(&[200, 1, 2]), Ok(Message::Unknown(200)));
        assert!(Message::decode(&[]).is_err());
        assert!(Message::decode(&[3, 0xff]).is_err());
        assert!(Hello::decode(&[2]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_or_read_but_never_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Message::decode(&bytes);
            let _ = Hello::decode(&bytes);
            let _ = FetchRequest::decode(&bytes);
            let _ = FetchReply::decode(&bytes);
            let _ = PackPortion::decode(&bytes);
            let _ = crate::sync::PieceRequest::decode(&bytes);
            let _ = crate::sync::PieceReply::decode(&bytes);
            let _ = JoinMessage::decode(&bytes);
            let _ = crate::eventlog::Event::decode(&bytes);
        }
    }
}
