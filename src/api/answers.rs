//! What commands that ask for one thing get, and what the live view shows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::CONTROL_VERSION;
use super::{Me, NotShared, Notice, Status};

/// Answer to `Ping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// [`CONTROL_VERSION`] of the service.
    pub v: u32,
    /// Its program version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The UDP port it listens on.
    pub port: u16,
    /// The repositories it serves.
    pub repositories: Vec<PathBuf>,
}

/// Answer to `Up`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpDone {
    /// The project, or null while the repository has no commit yet.
    pub project: Option<ProjectName>,
    /// Who I am in it.
    pub member: String,
    /// `founded`, `joined`, `resumed` (it was shared before), `running` (it was up already) or `waiting`
    /// (for the first commit).
    pub how: String,
    /// The branches that the log decides.
    pub canonical: Vec<String>,
    /// Branches that stay here, and why.
    pub not_shared: Vec<NotShared>,
    /// The UDP port.
    pub port: u16,
    /// Things to know: another port than asked for, a copied key, ...
    pub warnings: Vec<String>,
}

/// A project's id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectName {
    /// Hex.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Answer to `Down`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DownDone {
    /// Was it shared at all?
    pub was_up: bool,
    /// Has the service ended, as this was the last repository or `all` was asked?
    pub ended: bool,
    /// Own events that nobody else holds yet.
    pub unsent: u64,
}

/// A project that can be joined on this network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenProject {
    /// Its name.
    pub name: String,
    /// The member who would be asked.
    pub member: String,
    /// Where: the first of its addresses.
    pub addr: String,
    /// It has the same root commits as the repository that is asked for.
    pub same_history: bool,
}

/// Answer to `Clone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloneDone {
    /// The project.
    pub project: ProjectName,
    /// My handle in it.
    pub member: String,
    /// Where the repository is.
    pub dir: PathBuf,
    /// Objects received.
    pub objects: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Seconds that the objects took.
    pub seconds: f64,
    /// The branch checked out, if the project has a commit.
    pub branch: Option<String>,
    /// Files that are pointers of Git LFS, as nobody who was here had their content.
    #[serde(default)]
    pub pointers: u64,
    /// Tags of the project whose objects did not come, mostly as nobody had them who was here.
    #[serde(default)]
    pub tags_lacking: u64,
}

/// `approve --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApproveDone {
    /// `handle/branch`.
    pub proposal: String,
    /// The commit approved.
    pub commit: String,
    /// The canonical branch.
    pub branch: String,
    /// The canonical branch's new commit, if it landed.
    pub landed: Option<String>,
    /// What it still needs, if not.
    pub needs: Vec<String>,
}

/// `lfs --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaDone {
    /// Media files that the commits refer to.
    pub files: u64,
    /// Those that came now.
    pub fetched: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that nobody who is here has.
    pub missing: u64,
}

/// One event: `log --json`. Fields of its kind are beside these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Event id.
    pub id: String,
    /// The peer that wrote it.
    pub author: String,
    /// Its member's handle.
    pub member: String,
    /// Number in its feed.
    pub seq: u64,
    /// Time.
    pub at: String,
    /// Hybrid logical clock, raw.
    pub hlc: u64,
    /// Kind, by name; `kind-N` where unknown.
    pub kind: String,
    /// Why it does not count.
    pub void: Option<serde_json::Value>,
    /// One sentence for people. Left out of `--json`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub text: String,
    /// Fields of its kind.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// `whoami --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Whoami {
    /// The identity key of this person on this machine.
    pub identity: String,
    /// Where it lies.
    pub home: PathBuf,
    /// The project, in a repository that is shared.
    pub project: Option<ProjectName>,
    /// Me in it.
    pub me: Option<Me>,
}

/// `doctor --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doctor {
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One thing that `doctor` looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Is it as it should be?
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What the live view shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The status.
    pub status: Status,
    /// The last notices, oldest first.
    pub notices: Vec<Notice>,
}
