//! What must not be pruned: refs hold it, and it is whole when they begin to.
//!
//! What arrives and what is merged here is kept from git's housekeeping by its pack, from before anybody sees it until
//! refs hold it. What the user committed was theirs, and may be gone by the time it is offered: it is looked at before a
//! ref is written, and once more where git kept house meanwhile. What no ref holds any more is not counted on.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use super::moving::{Plan, Report};
use crate::api::Refusal;
use crate::approval::ProposalState;
use crate::eventlog::store::Note;
use crate::git::{Adopted, Reason, Repository, Tracked};
use crate::id::ObjectId;

/// A pack that is kept until refs hold what it brought.
pub(super) struct Arrival {
    /// The pack.
    pub(super) pack: Adopted,
    /// Commits that are whole with it.
    pub(super) tips: Vec<ObjectId>,
}

/// What refs hold, and what is still to be seen to.
#[derive(Default)]
pub(super) struct Keeping {
    /// Packs whose objects no ref holds yet.
    arrived: Vec<Arrival>,
    /// Those of them whose objects the refs that are being written hold.
    being_held: Vec<Arrival>,
    /// Commits that refs of lansync's are at: they and what they reach stay here.
    pub(super) kept: BTreeSet<ObjectId>,
    /// Of these, those that were put there while git kept house: it may have been about to prune them.
    unsure: BTreeSet<ObjectId>,
}

impl Keeping {
    /// A pack arrived, or was made.
    pub(super) fn arrived(&mut self, pack: Adopted, tips: Vec<ObjectId>) {
        self.arrived.push(Arrival { pack, tips });
    }

    /// Commits that are whole and cannot be pruned, as their packs are kept.
    pub(super) fn whole(&self) -> BTreeSet<ObjectId> {
        self.arrived.iter().chain(&self.being_held).flat_map(|arrival| arrival.tips.iter().copied()).collect()
    }

    /// Refs are about to be written: what the plan has to know.
    pub(super) fn begin(&mut self) -> (BTreeSet<ObjectId>, BTreeSet<ObjectId>) {
        self.being_held.append(&mut self.arrived);
        (self.whole(), self.unsure.clone())
    }

    /// Is nothing on its way?
    pub(super) fn is_quiet(&self) -> bool {
        self.arrived.is_empty() && self.being_held.is_empty()
    }

    /// Is there something to look at again?
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// Refs were written: packs whose objects they hold are git's to do with as it likes, and those that nobody wants.
    /// Has any been let go?
    fn written(&mut self, report: &mut Report, awaited: &BTreeSet<ObjectId>) -> bool {
        self.kept = std::mem::take(&mut report.kept);
        self.unsure = std::mem::take(&mut report.unsure);
        let all = report.failed.is_empty();
        let held = |arrival: &Arrival| {
            let unwanted = all && !arrival.tips.iter().any(|tip| awaited.contains(tip));
            unwanted || arrival.tips.iter().all(|tip| self.kept.contains(tip))
        };
        let (held, waits): (Vec<_>, Vec<_>) = std::mem::take(&mut self.being_held).into_iter().partition(held);
        self.arrived.extend(waits);
        let any = !held.is_empty();
        held.into_iter().for_each(|arrival| arrival.pack.release());
        any
    }
}

impl Core {
    /// At the start: what refs hold by now.
    pub(super) fn recall_kept(&mut self) {
        let tracked = self.repo.tracked().unwrap_or_default().into_values();
        let kept = self.repo.kept().unwrap_or_default().into_values();
        self.landing.keeping.kept = tracked.chain(kept).collect();
    }

    /// Commits that are needed beside those at which `lansync/<branch>` and `lansync/@<handle>/<branch>` stand, and why.
    pub(super) fn reasons(&self, shown: &BTreeSet<ObjectId>) -> BTreeMap<ObjectId, Reason> {
        let mut reasons = BTreeMap::new();
        for (branch, _) in self.state.canonical() {
            let heads = self.state.branch(branch).map_or_else(Vec::new, |heads| heads.commits());
            if heads.len() > 1 {
                reasons.extend(heads.into_iter().map(|head| (head, Reason::Head)));
            }
        }
        for proposal in self.state.open_proposals().filter(|one| one.state == ProposalState::Rejected) {
            reasons.entry(proposal.last.tip).or_insert(Reason::Rejected);
        }
        for landing in self.state.unsettled() {
            for commit in [landing.content.tip, landing.content.new] {
                reasons.entry(commit).or_insert(Reason::Landing);
            }
        }
        let landable = self.state.landable().into_iter().map(|landable| landable.tip);
        for approved in landable.chain(self.to_compare()) {
            reasons.entry(approved).or_insert(Reason::Approved);
        }
        reasons.retain(|commit, _| self.holds(commit) && !shown.contains(commit));
        reasons
    }

    /// The refs stand as `report` says: packs, and what is counted on, follow. Has a pack been let go?
    pub(super) fn refs_hold(&mut self, report: &mut Report) -> bool {
        for commit in std::mem::take(&mut report.gone) {
            if self.is_mine(&commit) {
                let text = format!("{} is offered, and git pruned its objects: others may have them", commit.short());
                self.problem(&Refusal::new("objects", text, "lansync status"));
            }
            self.count_on_no_more(&[commit]);
            self.landing.lost.insert(commit);
        }
        let wanted = self.plan_refs().wanted();
        let dropped = std::mem::take(&mut report.dropped);
        let dropped: Vec<_> = dropped.into_iter().filter(|commit| !wanted.contains(commit)).collect();
        self.count_on_no_more(&dropped);
        let awaited = self.awaited();
        self.landing.keeping.written(report, &awaited)
    }

    /// Nothing keeps these any more, or they are gone: where they are needed they are fetched.
    pub(super) fn count_on_no_more(&mut self, commits: &[ObjectId]) {
        let gone: Vec<_> = commits.iter().filter(|commit| self.held.contains(*commit)).collect();
        if gone.is_empty() {
            return;
        }
        let held = std::sync::Arc::make_mut(&mut self.held);
        for commit in &gone {
            held.remove(*commit);
        }
        self.note(Note::Objects, gone.iter().map(|commit| (commit.to_string().into_bytes(), None)).collect());
        self.wants_stale = true;
    }
}

/// Looks, before a ref is written, whether what it would hold is whole.
pub(super) struct Proof<'a> {
    repo: &'a Repository,
    /// What refs of lansync's are at.
    there: BTreeSet<ObjectId>,
    /// What is whole for sure: packs are kept for it.
    whole: BTreeSet<ObjectId>,
    /// What the user's branches are at, once it was asked for.
    branches: Option<BTreeSet<ObjectId>>,
    /// What was found whole and is kept by no pack.
    found: BTreeSet<ObjectId>,
}

/// The user's branches that a look leaves off at, where lansync has no ref yet.
const BRANCHES: usize = 64;

impl<'a> Proof<'a> {
    pub(super) fn new(repo: &'a Repository, there: BTreeSet<ObjectId>, whole: BTreeSet<ObjectId>) -> Self {
        Self { repo, there, whole, branches: None, found: BTreeSet::new() }
    }

    /// Is all of this commit here?
    pub(super) fn is_whole(&mut self, commit: ObjectId) -> Result<bool, String> {
        if self.there.contains(&commit) || self.whole.contains(&commit) {
            return Ok(true);
        }
        if self.branches.is_none() {
            let branches = self.repo.branches().map_err(|error| error.to_string())?.branches;
            self.branches = Some(branches.into_values().collect());
        }
        let branches = self.branches.as_ref();
        let mut whole = branches.is_some_and(|branches| branches.contains(&commit));
        if !whole {
            let haves: Vec<ObjectId> = if self.there.is_empty() {
                branches.into_iter().flatten().take(BRANCHES).copied().collect()
            } else {
                self.there.iter().copied().collect()
            };
            whole = self.repo.connected(&[commit], &haves).map_err(|error| error.to_string())?;
        }
        if whole {
            self.found.insert(commit);
        }
        Ok(whole)
    }

    /// A ref is at this commit.
    pub(super) fn holds(&mut self, commit: ObjectId) {
        self.there.insert(commit);
    }
}

impl Plan {
    /// Looks again at what was written while git kept house: refs at what it pruned are taken back.
    pub(super) fn look_again(&self, repo: &Repository, report: &mut Report) -> Result<(), String> {
        if self.unsure.is_empty() {
            return Ok(());
        }
        if repo.housekeeper().is_some() {
            report.unsure.clone_from(&self.unsure);
            return Ok(());
        }
        let (tracked, kept) = refs(repo)?;
        let all = tracked.values().chain(kept.values()).copied().collect::<BTreeSet<_>>();
        let sure: Vec<ObjectId> = all.difference(&self.unsure).copied().collect();
        for commit in self.unsure.intersection(&all) {
            if repo.connected(&[*commit], &sure).map_err(|error| error.to_string())? {
                continue;
            }
            for (name, _) in tracked.iter().filter(|(_, at)| *at == commit) {
                repo.delete_tracking(name, *commit).map_err(|error| error.to_string())?;
            }
            for ((reason, of), at) in kept.iter().filter(|(_, at)| *at == commit) {
                repo.let_go(*reason, *of, *at).map_err(|error| error.to_string())?;
            }
            report.gone.insert(*commit);
        }
        Ok(())
    }

    /// Keeps what is needed and no other ref shows. To be called before any ref goes.
    pub(super) fn keep(&self, repo: &Repository, proof: &mut Proof<'_>, report: &mut Report) {
        for (commit, reason) in &self.reasons {
            if let Err(why) = keep(repo, *reason, *commit, proof, report) {
                report.failed.push(why);
            }
        }
    }

    /// Lets go of what has no reason any more, and says how everything stands. To be called last.
    pub(super) fn let_go(&self, repo: &Repository, proof: &Proof<'_>, report: &mut Report) -> Result<(), String> {
        for ((reason, commit), at) in &repo.kept().map_err(|error| error.to_string())? {
            if self.reasons.get(commit) != Some(reason) && !report.refused.contains(commit) {
                repo.let_go(*reason, *commit, *at).map_err(|error| error.to_string())?;
                report.dropped.insert(*at);
            }
        }
        let (tracked, kept) = refs(repo)?;
        report.kept = tracked.values().chain(kept.values()).copied().collect();
        // What a canonical branch contains stays, whatever showed it.
        let canonical: Vec<ObjectId> =
            tracked.iter().filter(|(name, _)| matches!(name, Tracked::Canonical(_))).map(|(_, at)| *at).collect();
        let kept = &report.kept;
        report.dropped.retain(|commit| {
            let contained = |tip: &ObjectId| repo.is_ancestor(*commit, *tip).unwrap_or(false);
            !kept.contains(commit) && !canonical.iter().any(contained)
        });
        // Git may have looked at the refs before these were written, and prune after. What was not whole is gone already.
        let fresh: BTreeSet<ObjectId> = proof.found.intersection(&report.kept).copied().collect();
        if !fresh.is_empty() && repo.housekeeper().is_some() {
            report.unsure.extend(fresh);
        }
        Ok(())
    }
}

/// Keeps one commit, if it is whole.
pub(super) fn keep(
    repo: &Repository,
    reason: Reason,
    commit: ObjectId,
    proof: &mut Proof<'_>,
    report: &mut Report,
) -> Result<(), String> {
    if !proof.is_whole(commit)? {
        report.gone.insert(commit);
        return Ok(());
    }
    repo.keep(reason, commit).map_err(|error| error.to_string())?;
    proof.holds(commit);
    Ok(())
}

type Refs = (BTreeMap<Tracked, ObjectId>, BTreeMap<(Reason, ObjectId), ObjectId>);

/// All refs of lansync's.
pub(super) fn refs(repo: &Repository) -> Result<Refs, String> {
    let tracked = repo.tracked().map_err(|error| error.to_string())?;
    Ok((tracked, repo.kept().map_err(|error| error.to_string())?))
}
