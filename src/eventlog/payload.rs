//! A payload of any kind: read from its bytes within its bounds, and written.

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::people::{Certify, Genesis, Grant, Invite};
use super::rights::{Ack, Link, Revoke, SetPolicy, Vote};
use super::work::{Approve, Land, Propose, Reject, Tag, Withdraw};
use crate::codec::{self, DecodeError};
use crate::limits;

/// Tagged values after a payload's fields, tags ascending: a later version adds here, an earlier one skips.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extensions(pub Vec<(u16, Vec<u8>)>);

/// A payload of a kind that this version knows, or the bytes of one that it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// [`Kind::GENESIS`]
    Genesis(Genesis),
    /// [`Kind::CERTIFICATE`]
    Certify(Certify),
    /// [`Kind::GRANT`]
    Grant(Grant),
    /// [`Kind::INVITE`]
    Invite(Invite),
    /// [`Kind::PROPOSE`]
    Propose(Propose),
    /// [`Kind::APPROVE`]
    Approve(Approve),
    /// [`Kind::REJECT`]
    Reject(Reject),
    /// [`Kind::WITHDRAW`]
    Withdraw(Withdraw),
    /// [`Kind::LAND`]
    Land(Land),
    /// [`Kind::REVOKE`]
    Revoke(Revoke),
    /// [`Kind::VOTE`]
    Vote(Vote),
    /// [`Kind::POLICY`]
    Policy(SetPolicy),
    /// [`Kind::LINK`]
    Link(Link),
    /// [`Kind::ACK`]
    Ack(Ack),
    /// [`Kind::TAG`]
    Tag(Tag),
    /// Any other kind.
    Unknown(Kind, Vec<u8>),
}

impl Payload {
    /// Reads the payload of `kind`.
    ///
    /// # Errors
    /// Where the bytes are not the canonical form of that kind, or break one of its bounds.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
        const LIMIT: usize = limits::EVENT_BYTES;
        let payload = match kind {
            Kind::GENESIS => Self::Genesis(codec::decode(bytes, LIMIT)?),
            Kind::CERTIFICATE => Self::Certify(codec::decode(bytes, LIMIT)?),
            Kind::GRANT => Self::Grant(codec::decode(bytes, LIMIT)?),
            Kind::INVITE => Self::Invite(codec::decode(bytes, LIMIT)?),
            Kind::PROPOSE => Self::Propose(codec::decode(bytes, LIMIT)?),
            Kind::APPROVE => Self::Approve(codec::decode(bytes, LIMIT)?),
            Kind::REJECT => Self::Reject(codec::decode(bytes, LIMIT)?),
            Kind::WITHDRAW => Self::Withdraw(codec::decode(bytes, LIMIT)?),
            Kind::LAND => Self::Land(codec::decode(bytes, LIMIT)?),
            Kind::REVOKE => Self::Revoke(codec::decode(bytes, LIMIT)?),
            Kind::VOTE => Self::Vote(codec::decode(bytes, LIMIT)?),
            Kind::POLICY => Self::Policy(codec::decode(bytes, LIMIT)?),
            Kind::LINK => Self::Link(codec::decode(bytes, LIMIT)?),
            Kind::ACK => Self::Ack(codec::decode(bytes, LIMIT)?),
            Kind::TAG => Self::Tag(codec::decode(bytes, LIMIT)?),
            kind => Self::Unknown(kind, bytes.to_vec()),
        };
        if payload.within_bounds() { Ok(payload) } else { Err(DecodeError::Malformed) }
    }

    /// Its kind and canonical bytes.
    pub fn encode(&self) -> (Kind, Vec<u8>) {
        match self {
            Self::Genesis(payload) => (Kind::GENESIS, codec::encode(payload)),
            Self::Certify(payload) => (Kind::CERTIFICATE, codec::encode(payload)),
            Self::Grant(payload) => (Kind::GRANT, codec::encode(payload)),
            Self::Invite(payload) => (Kind::INVITE, codec::encode(payload)),
            Self::Propose(payload) => (Kind::PROPOSE, codec::encode(payload)),
            Self::Approve(payload) => (Kind::APPROVE, codec::encode(payload)),
            Self::Reject(payload) => (Kind::REJECT, codec::encode(payload)),
            Self::Withdraw(payload) => (Kind::WITHDRAW, codec::encode(payload)),
            Self::Land(payload) => (Kind::LAND, codec::encode(payload)),
            Self::Revoke(payload) => (Kind::REVOKE, codec::encode(payload)),
            Self::Vote(payload) => (Kind::VOTE, codec::encode(payload)),
            Self::Policy(payload) => (Kind::POLICY, codec::encode(payload)),
            Self::Link(payload) => (Kind::LINK, codec::encode(payload)),
            Self::Ack(payload) => (Kind::ACK, codec::encode(payload)),
            Self::Tag(payload) => (Kind::TAG, codec::encode(payload)),
            Self::Unknown(kind, bytes) => (*kind, bytes.clone()),
        }
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(match self {
            Self::Genesis(payload) => &payload.extensions,
            Self::Certify(payload) => &payload.extensions,
            Self::Grant(payload) => &payload.extensions,
            Self::Invite(payload) => &payload.extensions,
            Self::Propose(payload) => &payload.extensions,
            Self::Approve(payload) => &payload.extensions,
            Self::Reject(payload) => &payload.extensions,
            Self::Withdraw(payload) => &payload.extensions,
            Self::Land(payload) => &payload.extensions,
            Self::Revoke(payload) => &payload.extensions,
            Self::Vote(payload) => &payload.extensions,
            Self::Policy(payload) => &payload.extensions,
            Self::Link(payload) => &payload.extensions,
            Self::Ack(payload) => &payload.extensions,
            Self::Tag(payload) => &payload.extensions,
            Self::Unknown(..) => return None,
        })
    }

    /// Lists sorted and without doubles where order means nothing, texts within their bounds.
    fn within_bounds(&self) -> bool {
        let fields = match self {
            Self::Genesis(genesis) => {
                let names: std::collections::BTreeSet<_> = genesis.tips.iter().map(|(name, _)| name).collect();
                (1..=16).contains(&genesis.tips.len())
                    && names.len() == genesis.tips.len()
                    && (1..=limits::ROOTS).contains(&genesis.roots.len())
                    && ascending(&genesis.roots)
                    && fits(&genesis.name, limits::TITLE_BYTES)
                    && fits(&genesis.founder_name, limits::TITLE_BYTES)
                    && !genesis.name.is_empty()
                    && genesis.policy.approvals > 0
            }
            Self::Grant(grant) => fits(&grant.name, limits::TITLE_BYTES),
            Self::Invite(invite) => invite.uses > 0,
            Self::Propose(propose) => fits(&propose.title, limits::TITLE_BYTES),
            Self::Approve(approve) => {
                approve.onto.len() <= 16 && ascending(&approve.onto) && fits(&approve.message, limits::TEXT_BYTES)
            }
            Self::Reject(reject) => fits(&reject.reason, limits::TEXT_BYTES),
            Self::Land(land) => {
                (1..=16).contains(&land.heads.len())
                    && ascending(&land.heads)
                    && ascending(&land.approvals)
                    && land.approvals.len() <= 32
                    && (land.revision.is_some() || (land.approvals.is_empty() && land.heads.len() > 1))
            }
            Self::Revoke(revoke) => {
                (1..=limits::REVOKE_TARGETS).contains(&revoke.targets.len())
                    && ascending(&revoke.targets)
                    && revoke.pins.len() <= limits::EVENT_LINKS
                    && ascending(&revoke.pins)
                    && fits(&revoke.reason, limits::TEXT_BYTES)
            }
            Self::Vote(vote) => fits(&vote.message, limits::TEXT_BYTES),
            Self::Policy(policy) => policy.approvals > 0 && policy.votes > 0 && policy.rules > 0,
            Self::Link(link) => fits(&link.name, limits::TITLE_BYTES),
            Self::Tag(tag) => {
                (1..=limits::TAGS).contains(&tag.tags.len()) && tag.tags.is_sorted_by(|(a, ..), (b, ..)| a < b)
            }
            Self::Certify(_) | Self::Withdraw(_) | Self::Ack(_) | Self::Unknown(..) => true,
        };
        fields && self.extensions().is_none_or(|extensions| extensions.0.is_sorted_by(|a, b| a.0 < b.0))
    }
}

fn ascending<T: Ord>(list: &[T]) -> bool {
    list.is_sorted_by(|a, b| a < b)
}

fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit
}
