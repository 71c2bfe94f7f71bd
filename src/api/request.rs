//! What a command asks of the service.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::*;

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
