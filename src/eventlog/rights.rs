//! Payloads by which rights are taken away, shared between machines, and decided on together.

use serde::{Deserialize, Serialize};

use super::payload::Extensions;
use crate::id::{EventId, IdentityId, MemberId, PeerId, ProjectId};
use crate::keys::{BadSignature, Context, IdentityKey, Signature, verify};

/// Whom a revocation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A member, with all identities and feeds.
    Member(MemberId),
    /// One identity: one machine of a member, with all clones on it.
    Identity(IdentityId),
    /// One clone.
    Feed(PeerId),
}

/// Takes rights away. Leaving is a revocation of oneself; a demotion is one with a smaller grant after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    /// Whom, ascending, 1 to [`crate::limits::REVOKE_TARGETS`].
    pub targets: Vec<Target>,
    /// The last event that counts of each feed of the targets, ascending; of a feed that forked one for each
    /// branch. In `refs` too. A complete list: of a feed that is not named nothing counts.
    pub pins: Vec<EventId>,
    /// Why, for people.
    pub reason: String,
    /// Later additions.
    pub extensions: Extensions,
}

/// A maintainer's yes to a grant, a revocation or a policy that needs several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The event voted for; in `refs` too.
    pub on: EventId,
    /// Why.
    pub message: String,
    /// Later additions.
    pub extensions: Extensions,
}

/// What landings and governance need from now on. Of concurrent ones each field counts at its strictest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPolicy {
    /// Approvals by different maintainers that a landing needs, at least 1.
    pub approvals: u8,
    /// Does the author's own approval count?
    pub own_counts: bool,
    /// Maintainers who must agree to a grant, a revocation or a policy, at least 1.
    pub votes: u8,
    /// The least number of `rules` that a landing may have: only ever raised.
    pub rules: u16,
    /// Later additions.
    pub extensions: Extensions,
}

/// Gives the author's member a further identity, with the role of the member and no vote of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The further identity.
    pub identity: IdentityId,
    /// By that identity, over project and member: it wants this.
    pub proof: Signature,
    /// What the machine is called, for people.
    pub name: String,
    /// Later additions.
    pub extensions: Extensions,
}

/// Names in `seen` what was seen, nothing else: for one who has more to name than one event can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Later additions.
    pub extensions: Extensions,
}

impl Link {
    /// The proof that `key` wants to be an identity of `member`.
    pub fn prove(project: &ProjectId, member: &MemberId, key: &IdentityKey) -> Signature {
        key.0.sign(&Self::said(project, member, &key.identity()))
    }

    /// Checks the proof.
    ///
    /// # Errors
    /// [`BadSignature`] where it is not by the identity, or over something else.
    pub fn verify(&self, project: &ProjectId, member: &MemberId) -> Result<(), BadSignature> {
        verify(&self.identity.0, &Self::said(project, member, &self.identity), &self.proof)
    }

    fn said(project: &ProjectId, member: &MemberId, identity: &IdentityId) -> [u8; 32] {
        Context::Link.hash(&[&project.0, &member.0, &identity.0])
    }
}
