//! What commands about rights answer.

use serde::{Deserialize, Serialize};

use super::ProjectName;

/// What waits for the votes of maintainers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The event's id.
    pub id: String,
    /// `grant`, `revoke` or `policy`.
    pub kind: String,
    /// Who wants it.
    pub by: String,
    /// What they want, as a short clause.
    pub text: String,
    /// Who agrees.
    pub voted: Vec<String>,
    /// Who could and has not.
    pub can_vote: Vec<String>,
    /// How many more must agree.
    pub needs_votes: u64,
    /// It waits for my vote.
    pub my_turn: bool,
}

/// `members revoke --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeDone {
    /// The revocation's id.
    pub revocation: String,
    /// Who or what is taken off: a handle, or a machine or clone of one.
    pub whom: String,
    /// Whose it is.
    pub member: String,
    /// Does it count?
    pub accepted: bool,
    /// How many more maintainers must agree.
    pub needs_votes: u64,
    /// Who could.
    pub can_vote: Vec<String>,
    /// Members with a machine that is not known to have heard of it.
    pub unheard: Vec<String>,
}

/// `members role --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDone {
    /// The event to vote on, if votes are needed.
    pub id: String,
    /// Whose role.
    pub member: String,
    /// Which.
    pub role: String,
    /// Does it count?
    pub accepted: bool,
    /// How many more maintainers must agree.
    pub needs_votes: u64,
    /// Who could.
    pub can_vote: Vec<String>,
    /// Members with a machine that is not known to have heard of it.
    pub unheard: Vec<String>,
}

/// `members vote --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteDone {
    /// The event voted for.
    pub on: String,
    /// What it wants.
    pub text: String,
    /// Does it count now?
    pub accepted: bool,
    /// How many more maintainers must agree.
    pub needs_votes: u64,
    /// Who could.
    pub can_vote: Vec<String>,
    /// Members with a machine that is not known to have heard of it.
    pub unheard: Vec<String>,
}

/// `leave --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveDone {
    /// The project.
    pub project: ProjectName,
    /// The revocation by which I left.
    pub revocation: String,
    /// Members with a machine that is not known to have heard of it.
    pub unheard: Vec<String>,
    /// Has anybody?
    pub heard: bool,
}

/// `policy --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Approvals by different maintainers that a landing needs.
    pub approvals: u8,
    /// Does an author's own approval count?
    pub own: bool,
    /// Maintainers who must agree to let in, remove and set a policy.
    pub votes: u8,
    /// How many maintainers there are.
    pub maintainers: u64,
    /// What waits for votes.
    pub waiting: Vec<Ballot>,
    /// The policy that was just written, where it waits for votes itself.
    #[serde(default)]
    pub waits: Option<String>,
}

/// `verify --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Equal on all who hold the same log and the objects that it names.
    pub digest: String,
    /// Events of the log.
    pub events: u64,
    /// What does not fit.
    pub problems: Vec<String>,
}
