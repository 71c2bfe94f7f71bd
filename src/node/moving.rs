//! Moving refs: what is canonical, what is proposed, and local branches that are clean.

use std::collections::BTreeMap;

use super::clock;
use super::core::Core;
use super::sessions::millis;
use super::tags::TagReport;
use crate::api::Refusal;
use crate::approval::{CanonicalTag, ProposalState};
use crate::git::{LocalMove, NotClean, Repository, Tracked};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, Handle, ObjectId};
use crate::limits;

/// Where refs should stand, worked out from the state.
pub(super) struct Plan {
    /// Canonical branches with one head whose objects are here.
    canonical: Vec<(BranchName, ObjectId)>,
    /// Handle and branch of open proposals whose objects are here.
    proposals: BTreeMap<(Handle, BranchName), ObjectId>,
    /// Open proposals, to see which the canonical branch contains.
    open: Vec<(EventId, BranchName, ObjectId)>,
    /// Canonical tags that are not here yet.
    tags: Vec<CanonicalTag>,
}

/// What was done.
#[derive(Default)]
pub(super) struct Report {
    /// Canonical branch, where its tracking ref stands, and whether it moved just now.
    tracking: Vec<(BranchName, ObjectId, bool)>,
    local: Vec<(BranchName, ObjectId, Result<LocalMove, String>)>,
    contained: Vec<(BranchName, ObjectId)>,
    failed: Vec<String>,
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
            if self.holds(&last.tip) {
                if let Ok(handle) = Handle::new(self.state.handle(&last.member)) {
                    proposals.insert((handle, last.branch.clone()), last.tip);
                }
                open.push((proposal.id, last.target.clone(), last.tip));
            }
        }
        Plan {
            canonical: self.state.canonical().iter().filter_map(tip).collect(),
            proposals,
            open,
            tags: self.tags_to_make(),
        }
    }

    pub(super) fn refs_moved(&mut self, now: Millis, report: Report) {
        // Refs hold the objects now; git's housekeeping may have the packs.
        for adopted in std::mem::take(&mut self.landing.adopted) {
            adopted.release();
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
    /// Moves what can be moved; the rest is reported.
    pub(super) fn carry_out(self, repo: &Repository) -> Report {
        let mut report = Report::default();
        if let Err(error) = repo.take_left_locks_away() {
            report.failed.push(error.to_string());
        }
        for (branch, commit) in &self.canonical {
            match move_tracking(repo, branch, *commit) {
                Ok(moved) => report.tracking.push((branch.clone(), *commit, moved)),
                Err(why) => {
                    report.failed.push(why);
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
        self.move_proposals(repo, &mut report);
        if !self.tags.is_empty() {
            let tips: Vec<ObjectId> = report.tracking.iter().map(|(_, commit, _)| *commit).collect();
            report.tags = super::tags::make(repo, self.tags.clone(), &tips);
        }
        report
    }

    fn move_proposals(&self, repo: &Repository, report: &mut Report) {
        let there = match repo.tracked() {
            Ok(there) => there,
            Err(error) => return report.failed.push(error.to_string()),
        };
        // Deleted first: `@bo/fix` makes room for `@bo/fix/more`.
        for (tracked, at) in &there {
            let Tracked::Proposal(handle, branch) = tracked else { continue };
            if !self.proposals.contains_key(&(handle.clone(), branch.clone()))
                && let Err(error) = repo.delete_tracking(tracked, *at)
            {
                report.failed.push(error.to_string());
            }
        }
        for ((handle, branch), tip) in &self.proposals {
            if there.get(&Tracked::Proposal(handle.clone(), branch.clone())) == Some(tip) {
                continue;
            }
            if let Err(error) = repo.set_proposal(handle, branch, *tip) {
                report.failed.push(error.to_string());
            }
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

/// A canonical ref only ever fast-forwards.
fn move_tracking(repo: &Repository, branch: &BranchName, to: ObjectId) -> Result<bool, String> {
    let old = repo.tracking(branch).map_err(|error| error.to_string())?;
    if old == Some(to) {
        return Ok(false);
    }
    if let Some(old) = old
        && repo.has(&old)
        && !repo.is_ancestor(old, to).map_err(|error| error.to_string())?
    {
        return Err(format!("lansync/{branch} at {} would not move forward to {}", old.short(), to.short()));
    }
    let message = format!("lansync: landed at {}", clock::rfc3339(clock::now()));
    repo.set_tracking(branch, old, to, &message).map_err(|error| error.to_string())?;
    Ok(true)
}
