//! Moving refs: what is canonical, what is proposed, and local branches that are clean.

use std::collections::{BTreeMap, BTreeSet};

use super::clock;
use super::core::Core;
use super::keeping::{Proof, keep, refs};
use super::sessions::millis;
use super::tags::TagReport;
use crate::api::Refusal;
use crate::approval::{CanonicalTag, ProposalState};
use crate::git::{LocalMove, NotClean, Reason, Repository, Tracked};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, ObjectId};
use crate::limits;

/// Where refs should stand, worked out from the state.
pub(super) struct Plan {
    /// Canonical branches with one head whose objects are here.
    canonical: Vec<(BranchName, ObjectId)>,
    /// Handle and branch of open proposals, and the last revision whose objects are here.
    proposals: BTreeMap<(Handle, BranchName), ObjectId>,
    /// Open proposals, to see which the canonical branch contains.
    open: Vec<(EventId, BranchName, ObjectId)>,
    /// Canonical tags that are not here yet.
    tags: Vec<CanonicalTag>,
    /// What is needed beside these, and why.
    pub(super) reasons: BTreeMap<ObjectId, Reason>,
    /// What is whole for sure.
    pub(super) whole: BTreeSet<ObjectId>,
    /// What is to be looked at again.
    pub(super) unsure: BTreeSet<ObjectId>,
}

/// What was done.
#[derive(Default)]
pub(super) struct Report {
    /// Canonical branch, where its tracking ref stands, and whether it moved just now.
    tracking: Vec<(BranchName, ObjectId, bool)>,
    local: Vec<(BranchName, ObjectId, Result<LocalMove, String>)>,
    contained: Vec<(BranchName, ObjectId)>,
    pub(super) failed: Vec<String>,
    /// Commits that were to be held and are not here, or not whole.
    pub(super) gone: BTreeSet<ObjectId>,
    /// Commits at which no ref stands any more, and that no canonical branch contains.
    pub(super) dropped: BTreeSet<ObjectId>,
    /// Heads that `lansync/<branch>` could not be moved to.
    pub(super) refused: BTreeSet<ObjectId>,
    /// What all refs of lansync's are at now.
    pub(super) kept: BTreeSet<ObjectId>,
    /// Of these, those to look at again.
    pub(super) unsure: BTreeSet<ObjectId>,
    tags: TagReport,
}

impl Core {
    pub(super) fn plan_refs(&self) -> Plan {
        let tip = |(branch, _): &(BranchName, ObjectId)| {
            let commit = self.state.branch(branch)?.tip().filter(|commit| self.holds(commit))?;
            Some((branch.clone(), commit))
        };
        let mut proposals = BTreeMap::new();
        let mut open = Vec::new();
        for proposal in self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open) {
            let last = proposal.last;
            // Until its objects are here the one before it stays: they are told from what that has.
            let before = || self.state.revisions(&proposal.id).into_iter().rev().map(|revision| revision.tip);
            let tip = if self.holds(&last.tip) { Some(last.tip) } else { before().find(|tip| self.holds(tip)) };
            if let (Some(tip), Ok(handle)) = (tip, Handle::new(self.state.handle(&last.member))) {
                proposals.insert((handle, last.branch.clone()), tip);
            }
            if self.holds(&last.tip) {
                open.push((proposal.id, last.target.clone(), last.tip));
            }
        }
        let canonical: Vec<_> = self.state.canonical().iter().filter_map(tip).collect();
        let shown = proposals.values().copied().chain(canonical.iter().map(|(_, commit)| *commit)).collect();
        let reasons = self.reasons(&shown);
        let (whole, unsure) = (BTreeSet::new(), BTreeSet::new());
        Plan { canonical, proposals, open, reasons, whole, unsure, tags: self.tags_to_make() }
    }

    pub(super) fn refs_moved(&mut self, now: Millis, mut report: Report) {
        if self.refs_hold(&mut report) {
            self.house_wants_keeping(now);
        }
        if report.tracking.iter().any(|(.., moved)| *moved) {
            self.packs_are_read(now);
        }
        // A tag may stand for what only now is canonical.
        self.look_again |= report.tracking.iter().any(|(.., moved)| *moved);
        for (branch, commit, moved) in report.tracking {
            let at = if moved { self.clock.wall() } else { self.moves.tracking.get(&branch).map_or(0, |(_, at)| *at) };
            self.hold(&[commit]);
            self.moves.tracking.insert(branch, (commit, at));
        }
        let mut contained = false;
        for (branch, commit) in report.contained {
            std::sync::Arc::make_mut(&mut self.state).contained(&branch, commit);
            contained = true;
        }
        // The refs of what has landed go in a second round.
        self.landing.refs_wanted |= contained;
        self.media.stale = true;
        self.tags_made(report.tags);
        self.landing.local_behind = false;
        for (branch, to, outcome) in report.local {
            self.local_moved(branch, to, outcome);
        }
        for why in report.failed {
            let hint = "git fsck";
            self.problem(&Refusal::new("refs", format!("a ref cannot be moved: {why}"), hint));
            self.landing.local_behind = true;
        }
        // To be looked at again once git has done.
        self.landing.local_behind |= self.landing.keeping.is_unsure();
        if self.landing.local_behind {
            self.next_look = self.next_look.min(now + millis(limits::BEHIND_LOOK));
        }
    }

    fn local_moved(&mut self, branch: BranchName, to: ObjectId, outcome: Result<LocalMove, String>) {
        let name = branch.to_string();
        let why = match outcome {
            Ok(LocalMove::Moved { .. }) => {
                let text = format!("{name} moved to {}", to.short());
                self.moves.not_pulled.remove(&branch);
                self.notice("pulled", None, Some(name), Some(to), text);
                return;
            }
            Ok(LocalMove::UpToDate | LocalMove::NoSuchBranch) => {
                self.moves.not_pulled.remove(&branch);
                return;
            }
            Ok(LocalMove::Ahead { behind: 0, .. }) => {
                self.moves.not_pulled.remove(&branch);
                return;
            }
            Ok(LocalMove::Ahead { ahead, behind }) => {
                format!("it has {ahead} commit{} of its own and lacks {behind}", if ahead == 1 { "" } else { "s" })
            }
            // Its content is on its way: nothing to tell of yet.
            Ok(LocalMove::NotClean { what: what @ NotClean::MediaMissing { .. } }) if self.media.is_busy(&to) => {
                self.landing.local_behind = true;
                self.moves.not_pulled.insert(branch, not_clean(&what));
                return;
            }
            Ok(LocalMove::NotClean { what }) => not_clean(&what),
            Err(why) => why,
        };
        self.landing.local_behind = true;
        if self.moves.not_pulled.get(&branch) != Some(&why) {
            let text = format!("{name} stays where it is: {why}");
            self.moves.not_pulled.insert(branch, why);
            self.notice("not-pulled", None, Some(name), Some(to), text);
        }
    }
}

impl Plan {
    /// All commits that refs are to be at.
    pub(super) fn wanted(&self) -> BTreeSet<ObjectId> {
        let canonical = self.canonical.iter().map(|(_, commit)| *commit);
        canonical.chain(self.proposals.values().copied()).chain(self.reasons.keys().copied()).collect()
    }

    /// Moves what can be moved; the rest is reported.
    pub(super) fn carry_out(self, repo: &Repository) -> Report {
        let mut report = Report::default();
        if let Err(error) = repo.take_left_locks_away() {
            report.failed.push(error.to_string());
        }
        if let Err(why) = self.write(repo, &mut report) {
            report.failed.push(why);
        }
        report
    }

    fn write(&self, repo: &Repository, report: &mut Report) -> Result<(), String> {
        self.look_again(repo, report)?;
        let (tracked, kept) = refs(repo)?;
        let there = tracked.values().chain(kept.values()).copied().collect();
        let mut proof = Proof::new(repo, there, self.whole.clone());
        for (branch, commit) in &self.canonical {
            match move_tracking(repo, branch, *commit, &mut proof) {
                Ok(Some(moved)) => report.tracking.push((branch.clone(), *commit, moved)),
                Ok(None) => {
                    report.gone.insert(*commit);
                    continue;
                }
                Err(why) => {
                    report.failed.push(why);
                    report.refused.insert(*commit);
                    if let Err(why) = keep(repo, Reason::Head, *commit, &mut proof, report) {
                        report.failed.push(why);
                    }
                    continue;
                }
            }
            let local = repo.fast_forward(branch, *commit).map_err(|error| error.to_string());
            report.local.push((branch.clone(), *commit, local));
        }
        for (_, target, tip) in &self.open {
            let canonical = self.canonical.iter().find(|(branch, _)| branch == target);
            if let Some((branch, commit)) = canonical
                && repo.is_ancestor(*tip, *commit).unwrap_or(false)
            {
                report.contained.push((branch.clone(), *tip));
            }
        }
        self.keep(repo, &mut proof, report);
        self.move_proposals(repo, &tracked, &mut proof, report);
        if !self.tags.is_empty() {
            let tips: Vec<ObjectId> = report.tracking.iter().map(|(_, commit, _)| *commit).collect();
            report.tags = super::tags::make(repo, self.tags.clone(), &tips);
        }
        self.let_go(repo, &proof, report)
    }

    fn move_proposals(
        &self,
        repo: &Repository,
        there: &BTreeMap<Tracked, ObjectId>,
        proof: &mut Proof<'_>,
        report: &mut Report,
    ) {
        // Deleted first: `@bo/fix` makes room for `@bo/fix/more`.
        for (tracked, at) in there {
            let Tracked::Proposal(handle, branch) = tracked else { continue };
            if !self.proposals.contains_key(&(handle.clone(), branch.clone())) {
                match repo.delete_tracking(tracked, *at) {
                    Ok(()) => drop(report.dropped.insert(*at)),
                    Err(error) => report.failed.push(error.to_string()),
                }
            }
        }
        for ((handle, branch), tip) in &self.proposals {
            let old = there.get(&Tracked::Proposal(handle.clone(), branch.clone()));
            if old == Some(tip) {
                continue;
            }
            let set = proof.is_whole(*tip).and_then(|whole| {
                if !whole {
                    report.gone.insert(*tip);
                    return Ok(());
                }
                repo.set_proposal(handle, branch, *tip).map_err(|error| error.to_string())?;
                proof.holds(*tip);
                report.dropped.extend(old);
                Ok(())
            });
            report.failed.extend(set.err());
        }
    }
}

/// Why a local branch stays where it is, as a clause.
fn not_clean(what: &NotClean) -> String {
    match what {
        NotClean::ChangedFiles { first, count: 1 } => format!("{first} is changed and not committed"),
        NotClean::ChangedFiles { first, count } => {
            format!("{first} and {} more are changed and not committed", count - 1)
        }
        NotClean::Untracked(path) => format!("{path} is not tracked and would be overwritten"),
        NotClean::Unmerged => "a merge there has conflicts".to_owned(),
        NotClean::InProgress(operation) => format!("a {} is not finished", operation.as_str()),
        NotClean::IndexLocked => "another git command holds the index".to_owned(),
        NotClean::Sparse => "only part of the files is checked out".to_owned(),
        NotClean::SeveralWorktrees => "several work trees have it checked out".to_owned(),
        NotClean::WorktreeMissing(path) => format!("its work tree {} is not there", path.display()),
        NotClean::MediaMissing { first, count: 1 } => format!("the LFS file of {first} is not here yet"),
        NotClean::MediaMissing { first, count } => {
            format!("the LFS files of {first} and {} more are not here yet", count - 1)
        }
        NotClean::Symbolic => "it is a symbolic ref".to_owned(),
    }
}

/// A canonical ref only ever fast-forwards. Whether it moved; `None` where the commit is not here, or not whole.
fn move_tracking(
    repo: &Repository,
    branch: &BranchName,
    to: ObjectId,
    proof: &mut Proof<'_>,
) -> Result<Option<bool>, String> {
    let old = repo.tracking(branch).map_err(|error| error.to_string())?;
    if old == Some(to) {
        return Ok(Some(false));
    }
    if !proof.is_whole(to)? {
        return Ok(None);
    }
    if let Some(old) = old
        && repo.has(&old)
        && !repo.is_ancestor(old, to).map_err(|error| error.to_string())?
    {
        return Err(format!("lansync/{branch} at {} would not move forward to {}", old.short(), to.short()));
    }
    let message = format!("lansync: landed at {}", clock::rfc3339(clock::now()));
    repo.set_tracking(branch, old, to, &message).map_err(|error| error.to_string())?;
    proof.holds(to);
    Ok(Some(true))
}
