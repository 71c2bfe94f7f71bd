//! Proposals, as `list`, `inbox` and `show` say them.

use serde::{Deserialize, Serialize};

/// One proposal: `list --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its id.
    pub id: String,
    /// `handle/branch`.
    pub name: String,
    /// Handle of its author.
    pub author: String,
    /// The canonical branch it is offered to.
    pub target: String,
    /// The id of its last revision.
    pub revision: String,
    /// That revision's commit.
    pub tip: String,
    /// The first line of its commit.
    pub title: String,
    /// Commits it adds, null while its objects are not here.
    pub commits: Option<u64>,
    /// Lines added and removed, null while its objects are not here.
    pub lines: Option<(u64, u64)>,
    /// `open`, `landed`, `withdrawn` or `rejected`.
    pub state: String,
    /// Approvals of the last revision.
    pub approvals: Vec<Approval>,
    /// What keeps it from landing, as short clauses.
    pub needs: Vec<String>,
    /// Conflicts.
    pub conflicts: Vec<Conflict>,
    /// The proposal whose commits it contains.
    pub builds_on: Option<String>,
    /// It waits for my approval.
    pub my_turn: bool,
    /// When the last revision was offered.
    pub at: String,
    /// Are its objects here?
    pub here: bool,
    /// Why it was rejected.
    pub reason: Option<String>,
}

/// One approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// By whom.
    pub member: String,
    /// Of which commit.
    pub commit: String,
    /// When.
    pub at: String,
    /// What was said with it.
    pub message: Option<String>,
}

/// Files that do not merge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// With a branch or another proposal.
    pub with: String,
    /// Which.
    pub paths: Vec<String>,
}

/// `show --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProposalDetail {
    /// The proposal.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// The commits it adds, newest first (at most 100).
    pub log: Vec<Commit>,
    /// The commit from which `git diff BASE TIP` shows the change.
    pub base: Option<String>,
    /// How many revisions it had.
    pub revisions: u64,
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Its first line.
    pub title: String,
    /// Its author's name.
    pub author: String,
    /// Its author's time.
    pub at: String,
}
