//! Every kind of event: its number and its payload.
//!
//! A kind is a number with opaque bytes, never an enum on the wire: a node stores, forwards and chains kinds
//! that it does not know. Number = `n << 3 | area << 1 | critical`: `area` 0 other, 1 rights, 2 landings;
//! a node that meets an unknown kind with `critical` set must not decide what that area governs.

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, IdentityId, Lid, MemberId, ObjectId, ProjectId};
use crate::keys::{Certificate, Context};
use crate::limits;

pub use super::rights::{Ack, Link, Revoke, SetPolicy, Target, Vote};

/// A kind's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind(pub u16);

impl Kind {
    /// The first event of a project; certifies its founder's first feed as well.
    pub const GENESIS: Self = Self(0o03);
    /// Event 0 of every other feed: whose it is.
    pub const CERTIFICATE: Self = Self(0o13);
    /// Gives an identity a role.
    pub const GRANT: Self = Self(0o23);
    /// The public key of a ticket. Without effect on the state: its writer's node admits on it.
    pub const INVITE: Self = Self(0o32);
    /// Offers a branch, or a new revision of one.
    pub const PROPOSE: Self = Self(0o41);
    /// A yes to one exact commit.
    pub const APPROVE: Self = Self(0o55);
    /// A no to one revision.
    pub const REJECT: Self = Self(0o65);
    /// Takes back one's own proposal.
    pub const WITHDRAW: Self = Self(0o71);
    /// Moves a canonical branch.
    pub const LAND: Self = Self(0o105);
    /// Takes rights away: from a member, an identity or a feed.
    pub const REVOKE: Self = Self(0o113);
    /// A maintainer's yes to a grant, a revocation or a policy.
    pub const VOTE: Self = Self(0o123);
    /// What landings and governance need from now on.
    pub const POLICY: Self = Self(0o133);
    /// Gives a member a further identity: another machine of theirs.
    pub const LINK: Self = Self(0o143);
    /// Names what was seen, nothing else.
    pub const ACK: Self = Self(0o150);
    /// Names commits for ever: a maintainer's tags.
    pub const TAG: Self = Self(0o244);
    // Reserved from day one, so that nothing else takes their numbers: Epoch 0o163, Attachment 0o170,
    // Redact 0o200, KeyHash 0o210, Migrate 0o223, Objection 0o230.

    /// Must a node that does not know this kind stop deciding what it governs?
    pub fn is_critical(self) -> bool {
        self.0 & 1 == 1
    }

    /// Is it of a later version, and does something follow from it that this one cannot work out?
    pub fn is_newer(self) -> bool {
        self.is_critical() && self.name().is_none()
    }

    /// Does an event of this kind use rights, and so carry a second signature by the identity key? Of later kinds all do from
    /// which rights follow.
    pub fn uses_rights(self) -> bool {
        let known = matches!(
            self,
            Self::GENESIS
                | Self::GRANT
                | Self::REVOKE
                | Self::VOTE
                | Self::POLICY
                | Self::LINK
                | Self::INVITE
                | Self::APPROVE
                | Self::TAG
        );
        known || (self.is_newer() && self.area() == Area::Rights)
    }

    /// Is it one of the events from which authority follows? Of later kinds also those on which landings depend: who has such
    /// an event in their past must be known, and that is kept of governance events.
    pub fn governs(self) -> bool {
        let known = matches!(self, Self::GENESIS | Self::GRANT | Self::REVOKE | Self::VOTE | Self::POLICY | Self::LINK);
        known || (self.is_newer() && self.area() != Area::Other)
    }

    /// What an event of this kind is about.
    pub fn area(self) -> Area {
        match self.0 >> 1 & 3 {
            1 => Area::Rights,
            2 => Area::Landings,
            _ => Area::Other,
        }
    }

    /// Its name in `log`; `None` where this version does not know it.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::GENESIS => "genesis",
            Self::CERTIFICATE => "certificate",
            Self::GRANT => "grant",
            Self::INVITE => "invite",
            Self::PROPOSE => "propose",
            Self::APPROVE => "approve",
            Self::REJECT => "reject",
            Self::WITHDRAW => "withdraw",
            Self::LAND => "land",
            Self::REVOKE => "revoke",
            Self::VOTE => "vote",
            Self::POLICY => "policy",
            Self::LINK => "link",
            Self::ACK => "ack",
            Self::TAG => "tag",
            _ => return None,
        })
    }

    /// The kind of a name, for `log --kind`.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::GENESIS,
            Self::CERTIFICATE,
            Self::GRANT,
            Self::INVITE,
            Self::PROPOSE,
            Self::APPROVE,
            Self::REJECT,
            Self::WITHDRAW,
            Self::LAND,
            Self::REVOKE,
            Self::VOTE,
            Self::POLICY,
            Self::LINK,
            Self::ACK,
            Self::TAG,
        ]
        .into_iter()
        .find(|kind| kind.name() == Some(name))
    }
}

/// What a kind governs, told by its number so that also versions which do not know the kind can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Nothing that others are decided by.
    Other,
    /// Who may do what.
    Rights,
    /// What canonical branches are.
    Landings,
}

/// What a member may do, from most to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Approves, admits, and all below.
    Maintainer,
    /// Proposes.
    Contributor,
    /// Receives everything.
    Reader,
    /// An always-on clone that keeps everything for the others; neither proposes nor approves.
    Seed,
}

impl Role {
    /// May it propose?
    pub fn proposes(self) -> bool {
        matches!(self, Self::Maintainer | Self::Contributor)
    }

    /// May it approve, reject and admit?
    pub fn maintains(self) -> bool {
        self == Self::Maintainer
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Maintainer => "maintainer",
            Self::Contributor => "contributor",
            Self::Reader => "reader",
            Self::Seed => "seed",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Maintainer, Self::Contributor, Self::Reader, Self::Seed].into_iter().find(|role| role.name() == name)
    }

    /// Of two grants to one member the larger counts: grants add up, only a revocation lowers.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let rank = |role| match role {
            Self::Maintainer => 3,
            Self::Contributor => 2,
            Self::Reader => 1,
            Self::Seed => 0,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// Tagged values after a payload's fields, tags ascending: a later version adds here, an earlier one skips.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extensions(pub Vec<(u16, Vec<u8>)>);

/// How many approvals a landing needs, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Approvals by different maintainers (`min(approvals, maintainers)` is asked for, so none is locked out).
    pub approvals: u8,
    /// Does the author's own approval count?
    pub own_counts: bool,
}

/// Founds a project. Holds no clock, so the project's id does not either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Who founds it and is its first maintainer.
    pub founder: IdentityId,
    /// The founder's handle.
    pub handle: Handle,
    /// The founder's name, as git knows it.
    pub founder_name: String,
    /// The project's name.
    pub name: String,
    /// Makes two projects with all else equal different.
    pub nonce: [u8; 16],
    /// The canonical branches with their first tips, by name; the first is the default one.
    pub tips: Vec<(BranchName, ObjectId)>,
    /// Root commits of the default branch, sorted, at most [`limits::ROOTS`].
    pub roots: Vec<ObjectId>,
    /// Rules of fold, merge and objects.
    pub rules: u16,
    /// What a landing needs.
    pub policy: Policy,
    /// Later additions.
    pub extensions: Extensions,
}

/// Event 0 of a feed that did not found the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certify {
    /// The identity's statement.
    pub certificate: Certificate,
    /// Later additions.
    pub extensions: Extensions,
}

/// Gives an identity a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The member: new (`MemberId::of(identity)`) or one who gets another role.
    pub member: MemberId,
    /// The identity.
    pub identity: IdentityId,
    /// The member's handle.
    pub handle: Handle,
    /// The member's name, as told when asking.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The invite whose ticket was redeemed, if one was.
    pub invite: Option<EventId>,
    /// Later additions.
    pub extensions: Extensions,
}

/// The public half of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The ticket's public key.
    pub key: [u8; 32],
    /// The role that it grants.
    pub role: Role,
    /// Until when, by the clock of the node that admits on it.
    pub expires: Millis,
    /// How often it may be used.
    pub uses: u32,
    /// Later additions.
    pub extensions: Extensions,
}

/// Offers a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// The author's branch.
    pub branch: BranchName,
    /// The canonical branch it is offered to.
    pub target: BranchName,
    /// Its tip.
    pub tip: ObjectId,
    /// First line of the tip's message, for those who have not its objects yet.
    pub title: String,
    /// The revision it replaces; in `refs` too. `None` begins a new proposal.
    pub previous: Option<EventId>,
    /// Later additions.
    pub extensions: Extensions,
}

/// A yes to one exact commit, on top of certain landings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approve {
    /// The revision (a `Propose` event); in `refs` too.
    pub revision: EventId,
    /// The commit: the revision's tip, or an inner commit.
    pub commit: ObjectId,
    /// The landings that the approver was shown as heads, sorted. An event that carries each is in `refs`.
    pub onto: Vec<Lid>,
    /// Why.
    pub message: String,
    /// Later additions.
    pub extensions: Extensions,
}

/// A no to one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The revision; in `refs` too.
    pub revision: EventId,
    /// Why.
    pub reason: String,
    /// Later additions.
    pub extensions: Extensions,
}

/// Takes back one's own proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The revision; in `refs` too.
    pub revision: EventId,
    /// Later additions.
    pub extensions: Extensions,
}

/// Moves a canonical branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Land {
    /// Which.
    pub branch: BranchName,
    /// The landings it stands on, sorted, pairwise unrelated. An event that carries each is in `refs`.
    pub heads: Vec<Lid>,
    /// The revision that lands; `None` for a join of heads. In `refs` too.
    pub revision: Option<EventId>,
    /// The commit that was approved; for a join that of the head with the smallest id.
    pub tip: ObjectId,
    /// The approvals it rests on, sorted; in `refs` too.
    pub approvals: Vec<EventId>,
    /// The commit to which the branch moves.
    pub new: ObjectId,
    /// The rules by which `new` follows from the rest.
    pub rules: u16,
    /// Later additions.
    pub extensions: Extensions,
}

/// Makes tags canonical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// By name, ascending: what the ref is at (a tag object, or the commit itself), and the commit that this stands for.
    /// A tag's name follows the rules of a branch's.
    pub tags: Vec<(BranchName, ObjectId, ObjectId)>,
    /// Later additions.
    pub extensions: Extensions,
}

/// The part of a landing that says what it does: equal content is one landing, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandingContent {
    /// Which branch.
    pub branch: BranchName,
    /// On which landings, sorted.
    pub heads: Vec<Lid>,
    /// What was approved.
    pub tip: ObjectId,
    /// What the branch becomes.
    pub new: ObjectId,
    /// By which rules.
    pub rules: u16,
}

impl LandingContent {
    /// The landing's id.
    pub fn lid(&self, project: &ProjectId) -> Lid {
        Lid(Context::Landing.hash(&[&project.0, &codec::encode(self)]))
    }
}

impl Land {
    /// Its content.
    pub fn content(&self) -> LandingContent {
        LandingContent {
            branch: self.branch.clone(),
            heads: self.heads.clone(),
            tip: self.tip,
            new: self.new,
            rules: self.rules,
        }
    }

    /// Does it only join heads?
    pub fn is_join(&self) -> bool {
        self.revision.is_none()
    }
}

impl Genesis {
    /// The landing with which `branch` begins.
    pub fn landing(&self, branch: &BranchName) -> Option<LandingContent> {
        let (branch, tip) = self.tips.iter().find(|(name, _)| name == branch)?;
        Some(LandingContent { branch: branch.clone(), heads: Vec::new(), tip: *tip, new: *tip, rules: self.rules })
    }

    /// The id of the project that this founds.
    pub fn project(&self) -> ProjectId {
        ProjectId(Context::Project.hash_whole(&codec::encode(self)))
    }
}

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
