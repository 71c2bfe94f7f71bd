//! One digest of all that the log says: equal on all who hold the same events and the objects that they name.

use serde::Serialize;

use super::State;
use crate::codec;
use crate::eventlog::Role;
use crate::id::{BranchName, EventId, IdentityId, Lid, MemberId};
use crate::keys::Context;

/// What goes into the digest, in this order. The bytes are in docs/format.md.
#[derive(Serialize)]
struct Summary {
    log: [u8; 32],
    members: Vec<(MemberId, Role, Vec<IdentityId>)>,
    approvals: u8,
    own_counts: bool,
    votes: u8,
    rules: u16,
    branches: Vec<(BranchName, Vec<Lid>)>,
    open: Vec<(EventId, EventId)>,
}

impl State {
    /// The digest of the log and of what it says: members, policy, heads and proposals that are not closed.
    pub fn digest(&self) -> [u8; 32] {
        let demands = self.demands();
        let members = self.members();
        let heads = |branch: &BranchName| self.branch(branch).map_or_else(Vec::new, |heads| heads.lids());
        let summary = Summary {
            log: self.frontier().digest(),
            members: members.into_iter().filter_map(|one| Some((one.id, one.role?, one.identities))).collect(),
            approvals: demands.approvals,
            own_counts: demands.own_counts,
            votes: demands.votes,
            rules: demands.rules,
            branches: self.canonical().iter().map(|(branch, _)| (branch.clone(), heads(branch))).collect(),
            open: self.still_open(),
        };
        Context::State.hash_whole(&codec::encode(&summary))
    }

    /// Proposals that are not closed, each with its last revision, by id.
    pub fn still_open(&self) -> Vec<(EventId, EventId)> {
        let mut open: Vec<(EventId, EventId)> =
            self.open_proposals().filter(|one| one.is_open()).map(|one| (one.id, one.last.id)).collect();
        open.sort_unstable();
        open
    }
}
