//! Payloads by which a project begins and people come into it, and the roles they have there.

use serde::{Deserialize, Serialize};

use super::payload::Extensions;
use super::work::LandingContent;
use crate::codec;
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, IdentityId, MemberId, ObjectId, ProjectId};
use crate::keys::{Certificate, Context};

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
    /// Root commits of the default branch, sorted, at most [`crate::limits::ROOTS`].
    pub roots: Vec<ObjectId>,
    /// Rules of fold, merge and objects.
    pub rules: u16,
    /// What a landing needs.
    pub policy: Policy,
    /// Later additions.
    pub extensions: Extensions,
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
