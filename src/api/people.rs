//! What commands say of members, their machines, and who lets whom in.

use serde::{Deserialize, Serialize};

/// One member: `members --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Handle.
    pub member: String,
    /// Name as told when asking, or the handle.
    pub name: String,
    /// Role; null for one who asks.
    pub role: Option<String>,
    /// `active`, `asking` or `revoked`.
    pub state: String,
    /// Words to compare; always null here for one who asks, as the words are to be heard, not read.
    pub words: Option<[String; 2]>,
    /// Their clones.
    pub peers: Vec<MemberPeer>,
    /// Their machines.
    #[serde(default)]
    pub machines: Vec<Machine>,
    /// It is me.
    pub me: bool,
}

/// One machine of a member: one identity key, with all clones on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Its identity key.
    pub identity: String,
    /// What it is called; empty for a member's first machine, which nobody named.
    pub name: String,
    /// It is the one that answers.
    pub this: bool,
    /// How many clones are on it.
    pub clones: u64,
}

/// One clone of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberPeer {
    /// Its key.
    pub peer: String,
    /// Is there a session with it?
    pub connected: bool,
    /// When it was last connected.
    pub last_seen: Option<String>,
}

/// Answer to `Accept`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AcceptDone {
    /// Who was let in.
    pub member: String,
    /// As what.
    pub role: String,
}

/// `invite --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invite {
    /// The ticket.
    pub ticket: String,
    /// What it grants.
    pub role: String,
    /// Until when.
    pub expires_at: String,
    /// How often.
    pub uses: u32,
}

/// Answer to `Link`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkTicket {
    /// The ticket.
    pub ticket: String,
    /// Whose further machine it is for.
    pub member: String,
    /// Until when.
    pub expires_at: String,
}

/// Answer to `Unlink`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnlinkDone {
    /// The machine's identity key.
    pub machine: String,
    /// What it is called.
    pub name: String,
    /// How many clones were on it.
    pub clones: u64,
    /// Members of whom no clone is here now: they hear of it later.
    pub unaware: Vec<String>,
}
