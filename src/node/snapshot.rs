//! What a reader needs, taken at one moment: cheap to make, so that reading never holds up the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Moves};
use super::reading::Lines;
use crate::api::{NotShared, Notice, Refusal};
use crate::approval::State;
use crate::eventlog::store::Store;
use crate::git::Repository;
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, IdentityId, Lid, ObjectId, PeerId};

/// What is known of a session.
#[derive(Debug, Clone)]
pub(crate) struct SessionInfo {
    pub(crate) addr: SocketAddr,
    pub(crate) rtt: Duration,
    pub(crate) version: String,
    pub(crate) up_to_date: Option<bool>,
    pub(crate) identity: IdentityId,
}

/// What did not merge: the branch, the heads and the commit, with the paths.
pub(crate) type Conflicts = Arc<BTreeMap<(BranchName, Vec<Lid>, ObjectId), Vec<String>>>;

/// Someone who asks to join.
#[derive(Debug, Clone)]
pub(crate) struct AskInfo {
    pub(crate) handle: String,
    pub(crate) name: String,
}

/// One moment of a node, or of a log that no node serves.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// As of when, if not now.
    pub(crate) at: Option<Millis>,
    pub(crate) state: Arc<State>,
    pub(crate) repo: Repository,
    pub(crate) store: Arc<Store>,
    pub(crate) me: PeerId,
    /// My identity, where its key could be read.
    pub(crate) identity: Option<IdentityId>,
    pub(crate) handle: String,
    pub(crate) running: bool,
    pub(crate) sessions: BTreeMap<PeerId, SessionInfo>,
    pub(crate) last_seen: BTreeMap<PeerId, Millis>,
    pub(crate) asks: Vec<AskInfo>,
    pub(crate) held: Arc<BTreeSet<ObjectId>>,
    pub(crate) conflicts: Conflicts,
    /// How many lines proposals change, as far as it was asked for.
    pub(crate) lines: Arc<Lines>,
    pub(crate) moves: Moves,
    pub(crate) not_shared: Vec<NotShared>,
    pub(crate) unsent: u64,
    pub(crate) problems: Vec<Refusal>,
    pub(crate) notices: Vec<Notice>,
}

impl Core {
    pub(super) fn snapshot(&self) -> Snapshot {
        let asks = self.asks.pending().iter().filter(|ask| ask.is_ready());
        Snapshot {
            at: None,
            state: self.state.clone(),
            repo: self.repo.clone(),
            store: self.store.clone(),
            me: self.me,
            identity: Some(self.identity.identity()),
            handle: self.my_handle(),
            running: true,
            sessions: self.session_infos(),
            last_seen: self.known.iter().filter_map(|(peer, known)| Some((*peer, known.last_seen?))).collect(),
            asks: asks.map(|ask| AskInfo { handle: ask.handle.clone(), name: ask.name.clone() }).collect(),
            held: self.held.clone(),
            conflicts: self.landing.conflicts.clone(),
            lines: self.lines.clone(),
            moves: self.moves.clone(),
            not_shared: self.not_shared.clone(),
            unsent: self.unsent(),
            problems: self.problems(),
            notices: self.recent.iter().cloned().collect(),
        }
    }

    /// What is wrong now.
    fn problems(&self) -> Vec<Refusal> {
        let mut problems: Vec<Refusal> = self.log_lost.iter().map(|lost| lost.why.clone()).collect();
        if self.is_alone() {
            problems.extend(self.same_history.clone());
        }
        problems.extend(self.copied_key());
        problems.extend(self.needs_newer());
        problems.extend(self.left_behind());
        problems.extend(self.clock_problems());
        problems.extend(self.tag_problems());
        problems.extend(self.checking.refused.clone());
        if let Some(why) = self.turned_away.as_ref().filter(|_| self.sessions.is_empty()) {
            let message = format!("others of this project turn this clone away: {why}");
            problems.push(Refusal::new("turned-away", message, "lansync members"));
        }
        if self.my_member().is_none() && self.state.genesis().is_some() {
            problems.push(Refusal::new("not-a-member", "you are not a member of this project", "lansync up --new"));
        }
        problems
    }

    /// These revisions were shown to the human here: only they can be approved by name.
    pub(super) fn mark_shown(&mut self, shown: impl IntoIterator<Item = (EventId, EventId)>) {
        let mut rows = Vec::new();
        for (proposal, revision) in shown {
            if self.shown.insert(proposal, revision) != Some(revision) {
                rows.push((proposal.0.to_vec(), Some(revision.0.to_vec())));
            }
        }
        if !rows.is_empty() {
            self.note(crate::eventlog::store::Note::Shown, rows);
        }
    }
}
