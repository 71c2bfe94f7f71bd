//! How a project stands, as `status` says it.

use serde::{Deserialize, Serialize};

use super::{Ballot, Member, ProjectName, Proposal, Refusal};

/// `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// As of when, if not now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<String>,
    /// The project.
    pub project: ProjectName,
    /// Me.
    pub me: Me,
    /// Does a service share this repository now?
    pub running: bool,
    /// The log.
    pub log: LogStatus,
    /// The canonical branches.
    pub branches: Vec<BranchStatus>,
    /// Peers other than me.
    pub peers: Vec<Peer>,
    /// How many proposals.
    pub proposals: ProposalCounts,
    /// What others have still to receive from here.
    pub waiting: Waiting,
    /// Local branches with commits that are not offered.
    pub not_shared: Vec<NotShared>,
    /// What is wrong.
    pub problems: Vec<Refusal>,
    /// The last landing, for the first line on a screen.
    pub last_landing: Option<LastLanding>,
    /// The open proposals, as `list` gives them.
    pub open: Vec<Proposal>,
    /// Who asks to join.
    pub asking: Vec<Member>,
    /// What waits for votes.
    #[serde(default)]
    pub votes: Vec<Ballot>,
}

/// Who I am.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Me {
    /// This clone's key.
    pub peer: String,
    /// My handle.
    pub member: String,
    /// My role.
    pub role: String,
}

/// The log in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Events held.
    pub events: u64,
    /// Feeds held.
    pub feeds: u64,
    /// Equal on two peers = same log.
    pub digest: String,
}

/// One canonical branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BranchStatus {
    /// Its name.
    pub name: String,
    /// The commit that the log decides; null while it has several heads or none.
    pub tip: Option<String>,
    /// `ok`, `joining`, `diverged`, `catching-up` or `needs-upgrade`.
    pub state: String,
    /// The commits of all heads.
    pub heads: Vec<String>,
    /// Where `refs/remotes/lansync/<name>` stands on this machine.
    #[serde(rename = "ref")]
    pub tracking: Option<String>,
    /// A revocation moved it back.
    pub rewound: bool,
    /// The local branch of that name.
    pub local: Option<LocalBranch>,
    /// When the tip was landed.
    pub moved_at: Option<String>,
    /// Why the local branch did not follow, if it did not.
    pub not_pulled: Option<String>,
}

/// A local branch beside its canonical one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocalBranch {
    /// Its commit.
    pub tip: String,
    /// Commits it has and the canonical branch has not.
    pub ahead: u64,
    /// Commits the canonical branch has and it has not.
    pub behind: u64,
}

/// One other peer: `peers --json`, and `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key.
    pub peer: String,
    /// Whose it is.
    pub member: String,
    /// Is there a session with it?
    pub connected: bool,
    /// `lan`, `direct` or `relay`.
    pub path: Option<String>,
    /// Round trip.
    pub rtt_ms: Option<f64>,
    /// The program version it told.
    pub version: Option<String>,
    /// Its address.
    pub addr: Option<String>,
    /// When it was last connected.
    pub last_seen: Option<String>,
    /// Does it hold all that I hold, as far as I know?
    pub up_to_date: Option<bool>,
}

/// How many proposals are open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProposalCounts {
    /// All.
    pub open: u64,
    /// My own.
    pub mine: u64,
    /// That wait for my approval.
    pub my_turn: u64,
}

/// What others have still to receive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Events.
    pub events: u64,
    /// Tips whose objects some member lacks.
    pub objects: u64,
    /// Members.
    pub members: u64,
    /// Own events that nobody else holds yet.
    #[serde(default)]
    pub unsent: u64,
}

/// A branch that is not offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotShared {
    /// The branch.
    pub branch: String,
    /// Commits that only it has.
    pub commits: u64,
    /// Why, as a short clause.
    pub why: String,
}

/// A landing, for the first line of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastLanding {
    /// The branch that moved.
    pub branch: String,
    /// To which commit.
    pub commit: String,
    /// When, RFC 3339: when this machine's ref moved, else the event's time.
    pub at: String,
    /// `bo/fix`; null for a join.
    pub proposal: Option<String>,
    /// Who approved.
    pub approved_by: Vec<String>,
}
