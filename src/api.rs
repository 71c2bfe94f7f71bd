//! What the command line and the service say to each other: one JSON value a line over the control socket.
//!
//! The same values are what `--json` prints (docs/json.md), so fields are only ever added. Object ids and
//! peer ids are lower-case hex; times are RFC 3339 UTC with milliseconds; `member` is a handle.

pub mod codes;
mod people;
mod proposals;
mod stats;
mod status;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod rights;

pub use people::{AcceptDone, Invite, LinkTicket, Machine, Member, MemberPeer, UnlinkDone};
pub use proposals::{Approval, Commit, Conflict, Proposal, ProposalDetail};
pub use rights::{Ballot, LeaveDone, Policy, RevokeDone, RoleDone, Verified, VoteDone};
pub use stats::{DayStats, LandingTime, LogStats, MemberStats};
pub use status::{
    BranchStatus, LastLanding, LocalBranch, LogStatus, Me, NotShared, Peer, ProposalCounts, Status, Waiting,
};

/// Raised whenever an older command line could misread what a newer service says, or the reverse.
pub const CONTROL_VERSION: u32 = 1;

/// The first line of a control connection, from the command line: what it speaks and what it wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`CONTROL_VERSION`] of the command line.
    pub v: u32,
    /// Version of the program, for the message when the two differ.
    pub version: String,
    /// The directory that the command was given or started in (absolute).
    pub dir: PathBuf,
    /// What is asked.
    pub request: Request,
}

/// What somebody typed to prove who they are. Wiped from memory when dropped; never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passphrase(String);

impl Passphrase {
    /// This text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// What a command asks of the service. `dir` in the envelope says for which repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Are you there, and of which version? Answered with [`Reply::Done`] of a [`Pong`], whatever `v` is.
    Ping,
    /// Share this repository. Replies: `Saw` where the network has projects with this history and neither
    /// `join` nor `new` decides; pairing replies while joining; then `Done` of an [`UpDone`].
    Up {
        /// Join the project of this name, or by this ticket.
        join: Option<String>,
        /// Found a project of its own whatever the network has.
        new: bool,
    },
    /// Stop sharing this repository, or with `all` end the service. `Done` of a [`DownDone`].
    Down {
        /// End the service itself.
        all: bool,
    },
    /// The projects open to joining on this network. `Done` of a list of [`OpenProject`].
    Projects,
    /// Join a project and clone it into `into`. Pairing and progress replies, then `Done` of a [`CloneDone`].
    Clone {
        /// A project's name, or a ticket.
        project: String,
        /// Where the repository is made (absolute; must not exist or be empty).
        into: PathBuf,
        /// Go on sharing it afterwards.
        up: bool,
    },
    /// The passphrase of the identity key, which is at hand for so long. `Done` of nothing.
    Unlock {
        /// As it was typed.
        passphrase: Passphrase,
        /// For how long, in milliseconds.
        millis: u64,
    },
    /// The identity's file was written anew: look at it. `Done` of nothing.
    KeyChanged,
    /// The answer to [`Reply::Confirm`], sent as a further line (a bare `Request`) on the same connection.
    Answer {
        /// Yes or no.
        yes: bool,
    },
    /// `Done` of a [`Status`].
    Status,
    /// Open proposals (`all`: closed ones too). `Done` of a list of [`Proposal`].
    List {
        /// Landed, withdrawn and rejected ones as well.
        all: bool,
    },
    /// What waits for me, my turn first. `Done` of a list of [`Proposal`].
    Inbox,
    /// One proposal with its commits. Marks the revision as shown. `Done` of a [`ProposalDetail`].
    Show {
        /// `handle/branch`, `@handle/branch`, `lansync/@handle/branch` or an id prefix.
        proposal: String,
    },
    /// Approve. `Done` of an [`ApproveDone`].
    Approve {
        /// As for `Show`.
        proposal: String,
        /// The exact commit, as a full id or unique prefix.
        commit: Option<String>,
        /// Why, for the others to read.
        message: Option<String>,
    },
    /// Reject the revision last shown. `Done` of a [`Proposal`].
    Reject {
        /// As for `Show`.
        proposal: String,
        /// Why, for the others to read.
        message: Option<String>,
    },
    /// Take one's own proposal back. `Done` of a [`Proposal`].
    Withdraw {
        /// As for `Show`.
        proposal: String,
    },
    /// Offer a branch by hand (default: the one checked out). `Done` of a [`Proposal`].
    Propose {
        /// The branch.
        branch: Option<String>,
    },
    /// The events, in time order: `Line` of a [`LogLine`] each, then `Done` of null.
    Log {
        /// Only events at or after this time (milliseconds since 1970).
        since: Option<u64>,
        /// Only events before this time (milliseconds since 1970).
        until: Option<u64>,
        /// Only by this member (handle or peer id prefix).
        author: Option<String>,
        /// Only of this kind.
        kind: Option<String>,
        /// Only the last so many.
        limit: Option<usize>,
        /// Go on with new ones as they come.
        follow: bool,
        /// Only what came after this was answered: the last number shown of each strand. Within the service.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        after: Option<Vec<(u32, u64)>>,
    },
    /// `Done` of a [`LogStats`].
    Stats {
        /// Only events at or after this time (milliseconds since 1970).
        since: Option<u64>,
        /// Only events before this time (milliseconds since 1970).
        until: Option<u64>,
    },
    /// What another request, one that reads, would have answered then.
    At {
        /// When (milliseconds since 1970).
        at: u64,
        /// The request.
        request: Box<Self>,
    },
    /// `Done` of a list of [`Member`], those who ask to join included.
    Members,
    /// Admit who asks to join. `Done` of an [`AcceptDone`].
    Accept {
        /// The words that the asker reads out, two separate words.
        words: Option<[String; 2]>,
        /// Or the handle, where the human has said yes to doing without the words.
        handle: Option<String>,
        /// The role to grant: `contributor` where absent.
        role: Option<String>,
    },
    /// Make a ticket for a further machine of one's own. `Done` of a [`LinkTicket`].
    Link {
        /// Seconds until it expires.
        expires: u64,
    },
    /// Take a machine of one's own off. `Done` of an [`UnlinkDone`].
    Unlink {
        /// Its name, or the start of its id or of the id of a clone on it.
        machine: String,
    },
    /// Take a member, a machine or a clone off. `Done` of a [`RevokeDone`].
    Revoke {
        /// A handle, or the beginning of the id of a clone or an identity.
        whom: String,
        /// Why, for the others to read.
        reason: Option<String>,
    },
    /// Give a member another role. `Done` of a [`RoleDone`].
    SetRole {
        /// A handle.
        member: String,
        /// The role.
        role: String,
    },
    /// Agree to what waits for votes. `Done` of a [`VoteDone`].
    Vote {
        /// The beginning of the id of a grant, a revocation or a policy.
        on: String,
        /// Why, for the others to read.
        message: Option<String>,
    },
    /// Leave the project and stop sharing it. `Done` of a [`LeaveDone`].
    Leave,
    /// What landings and membership need. `Done` of a [`Policy`].
    Policy,
    /// Set that; what is absent stays. `Done` of a [`Policy`].
    SetPolicy {
        /// Approvals that a landing needs.
        approvals: Option<u8>,
        /// Does an author's own approval count?
        own: Option<bool>,
        /// Maintainers who must agree to let in and remove.
        votes: Option<u8>,
    },
    /// Read the whole log and work everything out again. `Done` of a [`Verified`].
    Verify,
    /// Make a ticket. `Done` of an [`Invite`].
    Invite {
        /// The role it grants: `contributor` where absent.
        role: Option<String>,
        /// Seconds until it expires.
        expires: u64,
        /// How many may use it.
        uses: u32,
    },
    /// `Done` of a list of [`Peer`].
    Peers,
    /// Dial an address (`HOST:PORT` or `HOST`). `Done` of a list of [`Peer`] once connected.
    Connect {
        /// The address.
        addr: String,
    },
    /// Fetch the media files of Git LFS to which a commit refers. `Done` of a [`MediaDone`].
    Media {
        /// The commit, in any way that git names one: HEAD where absent.
        commit: Option<String>,
        /// Those of all commits below it as well.
        all: bool,
    },
    /// `Done` of a [`Whoami`].
    Whoami,
    /// `Done` of a [`Doctor`].
    Doctor,
    /// A `Line` of a [`View`] now and after every change, and `Notice` lines between, until hung up.
    Watch,
}

/// What the service answers, one a line; the last is `Done` or `Error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// The end: it went well.
    Done {
        /// The value that the request names.
        value: serde_json::Value,
    },
    /// The end: refused or failed.
    Error(Refusal),
    /// One value of a stream.
    Line {
        /// The value that the request names.
        value: serde_json::Value,
    },
    /// Something happened that a human wants to know.
    Notice(Notice),
    /// `up` without a decision: these projects share this history. The connection ends with an `Error`
    /// of code `choose`.
    Saw {
        /// The projects.
        projects: Vec<OpenProject>,
    },
    /// Joining: read these words to `to`, who types them.
    Words {
        /// The handle of the member asked.
        to: String,
        /// The project's name.
        project: String,
        /// The two words.
        words: [String; 2],
    },
    /// Joining: the other side says it let us in. Wants a [`Request::Answer`].
    Confirm {
        /// Who says so.
        by: String,
    },
    /// Long work goes on.
    Progress(Progress),
}

/// How far a clone is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// `log`, `objects` or `checkout`.
    pub step: String,
    /// Objects received and indexed, or files checked out.
    pub done: u64,
    /// Of how many, 0 while unknown.
    pub total: u64,
    /// Bytes received.
    pub bytes: u64,
}

/// A refusal: what and why in one line, and a command that can be typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable and documented in docs/json.md.
    pub code: String,
    /// What and why, without a full stop after an id.
    pub message: String,
    /// What to type or do next.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal with a hint.
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: Some(hint.into()) }
    }

    /// A refusal for which nothing useful can be typed.
    pub fn plain(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: None }
    }

    /// What it says, with what to type.
    pub fn line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; try: {hint}")).unwrap_or_default();
        format!("{}{hint}", self.message)
    }
}

/// What happened, for a human: a line of `up --json`, and of the live view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// When, RFC 3339.
    pub at: String,
    /// `ready`, `peer-up`, `peer-down`, `asks-to-join`, `joined`, `proposal`, `approved`, `rejected`,
    /// `withdrawn`, `landed`, `pulled`, `not-pulled`, `conflict`, `diverged`, `rewound`, `copied-key`,
    /// `clock`, `problem`, ...
    pub notice: String,
    /// The project's name.
    pub project: String,
    /// Whom it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member: Option<String>,
    /// Which proposal or branch.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
    /// Which commit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<String>,
    /// One sentence, safe to print.
    pub text: String,
}

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
