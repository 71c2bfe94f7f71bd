//! Git objects: what is wanted, and fetching it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::Core;
use super::fetching::{FetchFailure, FetchJob, Fetched, Source};
use super::run::{self, Wake};
use crate::api::Refusal;
use crate::approval::{Proposal, ProposalState};
use crate::eventlog::store::Note;
use crate::git::{Kept, Repository};
use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};
use crate::limits;
use crate::sync::{Fetch, FetchRequest};

impl Core {
    /// Objects of these commits are here, whole: published by this clone, or verified.
    pub(super) fn hold(&mut self, commits: &[ObjectId]) {
        let fresh: Vec<ObjectId> = commits.iter().filter(|commit| !self.held.contains(*commit)).copied().collect();
        if fresh.is_empty() {
            return;
        }
        self.landing.absent.objects_came();
        self.media.stale = true;
        let held = Arc::make_mut(&mut self.held);
        for commit in &fresh {
            held.insert(*commit);
            self.landing.lost.remove(commit);
            self.fetches.done(commit);
        }
        self.note(
            Note::Objects,
            fresh.iter().map(|commit| (commit.to_string().into_bytes(), Some(Vec::new()))).collect(),
        );
        self.say_served(&fresh);
    }

    /// Works out which objects are lacking: a look at open proposals and at unsettled landings.
    pub(super) fn refresh_wants(&mut self) {
        self.media.stale = true;
        let first = self.state.canonical().iter().any(|(branch, _)| !self.moves.tracking.contains_key(branch));
        if first {
            self.check_haves();
            // A first clone: with the newest commits of the canonical branches all below them is here, in one
            // fetch. Proposals come after that, as the few objects that they add.
            // What nobody has keeps nothing back: then what is below it.
            let newest: Vec<ObjectId> = self.state.newest(&self.fetches.nowhere());
            let lacking: Vec<ObjectId> = newest.into_iter().filter(|commit| !self.held.contains(commit)).collect();
            if !lacking.is_empty() {
                for commit in lacking {
                    self.fetches.want(commit, self.me);
                }
                return;
            }
        }
        let mut wants: Vec<(ObjectId, PeerId)> = Vec::new();
        for proposal in self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open) {
            wants.push((proposal.last.tip, proposal.last.peer));
        }
        for landing in self.state.unsettled().into_iter().filter(|landing| self.landing.absent.has(&landing.lid)) {
            let revision = landing.revision.and_then(|revision| self.state.revision(&revision));
            wants.push((landing.content.tip, revision.map_or(self.me, |revision| revision.peer)));
        }
        for (tip, peer) in wants {
            // What this very clone published is here, or nowhere; unless git pruned it after others had it.
            let mine = peer == self.me && self.is_mine(&tip) && !self.landing.lost.contains(&tip);
            if !self.held.contains(&tip) && !mine {
                self.fetches.want(tip, peer);
            }
        }
    }

    /// A repository that joined with its history may contain the canonical commits already.
    fn check_haves(&mut self) {
        if std::mem::replace(&mut self.haves_checked, true) || self.held.is_empty() {
            return;
        }
        let newest = self.state.newest(&BTreeSet::new());
        let contained = |commit: &ObjectId| {
            let in_held = |held: &ObjectId| self.repo.is_ancestor(*commit, *held).unwrap_or(false);
            self.repo.has(commit) && self.held.iter().any(in_held)
        };
        let here: Vec<ObjectId> = newest.into_iter().filter(contained).collect();
        self.hold(&here);
    }

    /// Was this commit published by this very clone?
    pub(super) fn is_mine(&self, tip: &ObjectId) -> bool {
        self.state.offered_by(tip, &self.me)
    }

    pub(super) fn drive_fetches(&mut self, now: Millis) {
        for fetch in self.fetches.next(now) {
            let Some(session) = self.sessions.get(&fetch.from) else {
                self.fetches.failed(now, &fetch);
                continue;
            };
            tracing::debug!(from = %fetch.from.short(), tips = ?fetch.tips, "fetching objects");
            let have = self.haves(&fetch.tips);
            let kept = self.kept.take_if(|kept| kept.haves() == have);
            // Asked for afterwards, tags would have both sides walk through the history once more.
            let also = if have.is_empty() { self.tag_objects() } else { Vec::new() };
            let request = FetchRequest { want: fetch.tips.clone(), have, also, prefix: None, skip: 0, sources: 1 };
            let source = Source { peer: fetch.from, connection: session.connection.clone() };
            let parts = (self.repo.clone(), self.progress.clone(), self.wake.clone());
            let job = FetchJob::new(fetch, request, kept, parts);
            let wake = self.wake.clone();
            tokio::spawn(async move {
                let _ = wake.send(Wake::Fetched(Box::new(job.run(source).await))).await;
            });
        }
    }

    /// Who all has what is fetched, for one who has long to wait for it.
    pub(super) fn sources(&self, fetch: &Fetch) -> Vec<Source> {
        let peers = self.fetches.sources(self.clock.steady(), fetch).into_iter();
        let source = |peer| Some(Source { peer, connection: self.sessions.get(&peer)?.connection.clone() });
        peers.filter_map(source).collect()
    }

    /// Commits from which others may leave off, what is nearest to what is wanted first: what is canonical, what the
    /// same branches had before, and what else is open. Each is named in every request, so they are few.
    fn haves(&self, wants: &[ObjectId]) -> Vec<ObjectId> {
        let mut haves: Vec<ObjectId> = Vec::new();
        for (branch, first) in self.state.canonical() {
            let heads = self.state.branch(branch).map_or_else(Vec::new, |heads| heads.commits());
            let tracking = self.moves.tracking.get(branch).map(|(commit, _)| *commit);
            let held = |commit: &ObjectId| self.held.contains(commit);
            let before = haves.len();
            haves.extend(heads.into_iter().filter(held));
            haves.extend(tracking.filter(held));
            if haves.len() == before {
                haves.extend(Some(*first).filter(held));
            }
        }
        let mut open: Vec<Proposal> = self.state.open_proposals().collect();
        open.retain(|proposal| proposal.state == ProposalState::Open);
        open.sort_by_key(|proposal| (!wants.contains(&proposal.last.tip), Reverse(proposal.last.hlc)));
        for proposal in open {
            let revisions = self.state.revisions(&proposal.id);
            // Others leave out what these reach, so it must not be pruned.
            let kept = |tip: &ObjectId| self.held.contains(tip) && self.landing.keeping.kept.contains(tip);
            haves.extend(revisions.iter().rev().map(|revision| revision.tip).filter(kept).take(2));
            if haves.len() >= limits::FETCH_HAVES {
                break;
            }
        }
        if haves.is_empty() {
            // It joined with a history of its own.
            haves.extend(self.held.iter().take(limits::FETCH_TIPS));
        }
        let mut seen = BTreeSet::new();
        haves.retain(|have| seen.insert(*have));
        haves
    }

    pub(super) fn fetched(&mut self, now: Millis, fetched: Fetched) {
        let Fetched { fetch, outcome, kept } = fetched;
        self.packs_are_read(now);
        // Of several that were cut the one with most is worth most.
        if let Some(kept) = kept {
            self.keep_most(kept);
        }
        match outcome {
            Ok(adopted) => {
                // Git's own housekeeping leaves the pack alone until refs hold its objects.
                self.landing.keeping.arrived(adopted, fetch.tips.clone());
                self.hold(&fetch.tips);
                self.landing.absent.objects_came();
                if self.fetches.is_empty() {
                    // What was cut is not wanted any more.
                    self.discard_kept();
                }
                self.landing.refs_wanted = true;
                self.wants_stale = true;
            }
            Err(FetchFailure::Elsewhere(why)) => {
                tracing::debug!(from = %fetch.from.short(), why, "objects did not come");
                self.fetches.failed(now, &fetch);
                self.wants_stale = true;
            }
            Err(FetchFailure::DoNotFit(why)) => {
                tracing::info!(%why, "what came from several does not fit together");
                self.fetches.did_not_fit(&fetch);
            }
            Err(FetchFailure::Busy(others)) => {
                tracing::debug!(from = %fetch.from.short(), others = others.len(), "it has no room to send objects");
                self.fetches.busy(now, &fetch, &others);
            }
            Err(FetchFailure::Refused(why)) => {
                self.fetches.failed(now, &fetch);
                let who = self.peer_name(&fetch.from);
                if why.is_peers_fault() {
                    let refusal = Refusal::plain("objects", format!("objects from {who} were refused: {why}"));
                    self.problem(&refusal);
                    self.drop_peer(now, fetch.from, &format!("its pack was refused: {why}"));
                } else {
                    let refusal = Refusal::new("objects", format!("objects cannot be stored: {why}"), "df -h .");
                    self.problem(&refusal);
                }
            }
        }
    }

    /// Keeps what came before a cut, unless there is more of another fetch.
    fn keep_most(&mut self, kept: Kept) {
        if self.kept.as_ref().is_some_and(|most| most.bytes() >= kept.bytes()) {
            return kept.discard();
        }
        self.discard_kept();
        self.kept = Some(kept);
    }

    fn discard_kept(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.discard();
        }
    }

    /// Commits that a neighbour may want and can have here, told when its session begins.
    pub(super) fn served_now(&self) -> Vec<ObjectId> {
        let mut served: Vec<ObjectId> = self.state.newest(&BTreeSet::new());
        let open = self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open);
        served.extend(open.map(|proposal| proposal.last.tip));
        served.retain(|commit| self.held.contains(commit));
        served
    }
}

/// Runs a job of the repository beside the loop.
pub(super) fn with_repo<T: Send + 'static>(
    core: &Core,
    job: impl FnOnce(&Repository) -> T + Send + 'static,
    then: impl FnOnce(T) -> Wake + Send + 'static,
) {
    let repo = core.repo.clone();
    run::work(&core.wake, move || job(&repo), then);
}
