//! Every kind of event: its number, and what that tells also a version which does not know the kind.
//!
//! A kind is a number with opaque bytes, never an enum on the wire: a node stores, forwards and chains kinds
//! that it does not know. Number = `n << 3 | area << 1 | critical`: `area` 0 other, 1 rights, 2 landings;
//! a node that meets an unknown kind with `critical` set must not decide what that area governs.

use serde::{Deserialize, Serialize};

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
