//! Payloads that speak of commits: proposals and what is said of them, landings, tags.

use serde::{Deserialize, Serialize};

use super::payload::Extensions;
use crate::codec;
use crate::id::{BranchName, EventId, Lid, ObjectId, ProjectId};
use crate::keys::Context;

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
