//! What the command line and the service say to each other: one JSON value a line over the control socket.
//!
//! The same values are what `--json` prints (docs/json.md), so fields are only ever added. Object ids and
//! peer ids are lower-case hex; times are RFC 3339 UTC with milliseconds; `member` is a handle.

mod answers;
pub mod codes;
mod people;
mod proposals;
mod request;
mod rights;
mod stats;
mod status;

use serde::{Deserialize, Serialize};

pub use answers::{
    ApproveDone, Check, CloneDone, Doctor, DownDone, LogLine, MediaDone, OpenProject, Pong, ProjectName, UpDone, View,
    Whoami,
};
pub use people::{AcceptDone, Invite, LinkTicket, Machine, Member, MemberPeer, UnlinkDone};
pub use proposals::{Approval, Commit, Conflict, Proposal, ProposalDetail};
pub use request::{Envelope, Passphrase, Request};
pub use rights::{Ballot, LeaveDone, Policy, RevokeDone, RoleDone, Verified, VoteDone};
pub use stats::{DayStats, LandingTime, LogStats, MemberStats};
pub use status::{
    BranchStatus, LastLanding, LocalBranch, LogStatus, Me, NotShared, Peer, ProposalCounts, Status, Waiting,
};

/// Raised whenever an older command line could misread what a newer service says, or the reverse.
pub const CONTROL_VERSION: u32 = 1;

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
