//! Landings meet Git: recompute what others landed, merge what is approved, move refs and clean branches.
//!
//! One job at a time touches the repository's refs, so nothing here races with itself.

mod approving;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(super) use self::approving::Approving;
use self::approving::{Landed, answer};
pub(super) use self::work::Verdict;
use self::work::{merge, paths, settle};
use super::absent::Absent;
use super::core::Core;
use super::keeping::Keeping;
use super::run::Wake;
use super::sessions::millis;
use crate::approval::{Landable, RULES, Unsettled};
use crate::git::{Adopted, Merged, Repository};
use crate::hlc::Millis;
use crate::id::{BranchName, Lid, ObjectId};
use crate::limits;

// The merge that is written into landings is the one that is recomputed.
const _: () = assert!(crate::git::RULES == RULES);

/// What a landing would be: its branch, the heads it is on, and the commit.
type Key = (BranchName, Vec<Lid>, ObjectId);

/// What is under way.
#[derive(Default)]
pub(super) struct LandingState {
    /// A job that may write to the repository is running.
    busy: bool,
    /// Refs may have to move.
    pub(super) refs_wanted: bool,
    /// A local branch could not follow yet.
    pub(super) local_behind: bool,
    /// What keeps objects from being pruned.
    pub(super) keeping: Keeping,
    /// Commits of this very clone that git pruned: others may have them.
    pub(super) lost: BTreeSet<ObjectId>,
    /// Landings whose objects are not here.
    pub(super) absent: Absent,
    /// When this node completes or joins landings that nobody else did.
    due: BTreeMap<Key, Millis>,
    /// What did not merge, with the paths.
    pub(super) conflicts: Arc<BTreeMap<Key, Vec<String>>>,
    approving: VecDeque<Approving>,
    /// Answers that say "landed", to be given when the refs and the local branch say so too.
    landed: Vec<Landed>,
}

/// A finished job.
pub(super) enum LandingWork {
    /// Landings that were recomputed.
    Settled(Vec<(Unsettled, Verdict, Option<Adopted>)>),
    /// A landing that nobody wrote yet was merged.
    Merged { landable: Landable, merged: Result<(Merged, Option<Adopted>), String> },
    /// The same for an `approve`.
    Approved { approving: Approving, landable: Landable, merged: Result<(Merged, Option<Adopted>), String> },
    /// Is the change of a revision the one that was approved before?
    Compared { carried: super::carrying::Carried, same: bool },
    /// Refs were moved.
    Refs(super::moving::Report),
}

impl LandingState {
    /// Is a job under way that writes to the repository?
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    pub(super) fn next_wake(&self) -> Option<Millis> {
        let landed = self.landed.iter().map(|one| one.until);
        if self.busy { None } else { self.due.values().copied().chain(landed).min() }
    }

    pub(super) fn approve(&mut self, approving: Approving) {
        self.approving.push_back(approving);
    }

    /// The paths in which a commit does not merge into these heads.
    pub(super) fn conflict(&self, key: &Key) -> Option<&Vec<String>> {
        self.conflicts.get(key)
    }

    fn remember_conflict(&mut self, key: Key, paths: Vec<String>) {
        let conflicts = Arc::make_mut(&mut self.conflicts);
        // Bounded: what is over is found out again when it is asked for.
        if conflicts.len() >= limits::CONFLICTS {
            conflicts.clear();
        }
        conflicts.insert(key, paths);
    }
}

fn key(landable: &Landable) -> Key {
    (landable.branch.clone(), landable.heads.clone(), landable.tip)
}

impl Core {
    /// Starts the next job, the most urgent first.
    pub(super) fn drive_landing(&mut self, now: Millis) {
        if self.landing.busy || self.state.genesis().is_none() {
            return;
        }
        self.plan_completions(now);
        if let Some(approving) = self.landing.approving.pop_front() {
            return self.start_approve(approving);
        }
        // Nothing moves for a landing that a crash could still take back.
        let mut unsettled = self.state.unsettled();
        unsettled.retain(|next| self.state.carriers(&next.lid).iter().any(|id| !self.pending.has(id)));
        if unsettled.iter().any(|next| !self.landing.absent.has(&next.lid) && next.waits_for.is_empty()) {
            return self.start_settle(unsettled);
        }
        if self.landing.refs_wanted {
            self.landing.refs_wanted = false;
            self.landing.busy = true;
            let mut plan = self.plan_refs();
            (plan.whole, plan.unsure) = self.landing.keeping.begin();
            let then = |report| Wake::Landing(Box::new(LandingWork::Refs(report)));
            return super::objects::with_repo(self, move |repo| plan.carry_out(repo), then);
        }
        let waits = |one: &Landed| now < one.until && unsettled.iter().any(|next| next.content.new == one.new);
        let (waiting, ready) = std::mem::take(&mut self.landing.landed).into_iter().partition(waits);
        self.landing.landed = waiting;
        ready.into_iter().for_each(|Landed { done, reply, .. }| answer(&done, reply));
        if self.start_carrying() {
            self.landing.busy = true;
            return;
        }
        let ready = self.landing.due.iter().find(|(_, at)| **at <= now).map(|(key, _)| key.clone());
        if let Some(ready) = ready {
            self.landing.due.remove(&ready);
            if let Some(landable) = self.completable().into_iter().find(|landable| key(landable) == ready) {
                self.landing.busy = true;
                let job = landable.clone();
                let then = |merged| Wake::Landing(Box::new(LandingWork::Merged { landable, merged }));
                super::objects::with_repo(self, move |repo| merge(repo, &job), then);
            }
        }
    }

    /// What any member's node may write now: approved commits that have not landed, and joins of heads.
    fn completable(&self) -> Vec<Landable> {
        if !self.has_begun() || self.state.needs_rules().is_some() {
            return Vec::new();
        }
        let mut all = self.state.landable();
        all.extend(self.state.joinable());
        all.retain(|landable| {
            let here = landable.revision.is_none() || self.holds(&landable.tip);
            here && self.landing.conflict(&key(landable)).is_none()
        });
        all
    }

    /// Sets when this node completes what others left: after a quiet time, by rank among those who are here.
    fn plan_completions(&mut self, now: Millis) {
        let possible: BTreeMap<Key, ()> = self.completable().iter().map(|landable| (key(landable), ())).collect();
        self.landing.due.retain(|key, _| possible.contains_key(key));
        for (key, ()) in possible {
            if self.landing.due.contains_key(&key) {
                continue;
            }
            let turn = |peer: &crate::id::PeerId| {
                let mut hasher = blake3::Hasher::new();
                key.1.iter().for_each(|lid| {
                    hasher.update(&lid.0);
                });
                hasher.update(key.2.as_bytes()).update(&peer.0);
                *hasher.finalize().as_bytes()
            };
            let mine = turn(&self.me);
            let before = self.sessions.keys().filter(|peer| turn(peer) < mine).count() as u64;
            let at = now + millis(limits::LANDING_QUIET) + before * millis(limits::LANDING_RANK_STEP);
            self.landing.due.insert(key, at);
        }
    }

    /// Commits from which those of these landings may be reached: what is canonical, and what was offered since in the same
    /// proposals.
    fn near(&self, unsettled: &[Unsettled]) -> Vec<ObjectId> {
        let mut near = self.state.newest(&BTreeSet::new());
        for revision in unsettled.iter().filter_map(|landing| self.state.revision(&landing.revision?)) {
            near.extend(self.state.revisions(&revision.proposal).iter().map(|revision| revision.tip));
        }
        near
    }

    fn start_settle(&mut self, unsettled: Vec<Unsettled>) {
        self.landing.busy = true;
        self.landing.absent.look();
        let held = self.held.clone();
        let newest: Vec<ObjectId> =
            self.near(&unsettled).into_iter().filter(|commit| self.held.contains(commit)).collect();
        let kept = self.landing.keeping.whole();
        let job = move |repo: &Repository| {
            let commits = unsettled.iter().flat_map(|next| [next.content.tip, next.content.new]);
            let others = commits.filter(|commit| !held.contains(commit) && repo.has(commit)).collect();
            let reached = repo.reached(&newest, others);
            let whole = |commit: &ObjectId| [&kept, &reached, &*held].iter().any(|whole| whole.contains(commit));
            settle(repo, unsettled, whole, &held)
        };
        super::objects::with_repo(self, job, |done| Wake::Landing(Box::new(LandingWork::Settled(done))));
    }

    pub(super) fn landing_done(&mut self, now: Millis, work: LandingWork) {
        self.landing.busy = false;
        match work {
            LandingWork::Settled(done) => self.settled(done),
            LandingWork::Merged { landable, merged } => {
                let (merged, new) = self.keep_merged(merged);
                self.complete(now, landable, merged);
                self.keep_no_longer(new);
            }
            LandingWork::Approved { approving, landable, merged } => {
                let (merged, new) = self.keep_merged(merged);
                let now_heads = self.state.branch(&landable.branch).map_or_else(Vec::new, |heads| heads.lids());
                if now_heads == landable.heads {
                    self.write_approval(now, approving, landable, merged);
                } else {
                    // Something landed in the meantime: once more, on top of it.
                    self.landing.approving.push_front(approving);
                }
                self.keep_no_longer(new);
            }
            LandingWork::Compared { carried, same } => {
                self.compared(now, &carried, same);
                // What was compared is kept for that no longer.
                self.landing.refs_wanted = true;
            }
            LandingWork::Refs(report) => self.refs_moved(now, report),
        }
    }

    /// What was merged is kept until a ref holds it, or nobody wants it.
    fn keep_merged(
        &mut self,
        merged: Result<(Merged, Option<Adopted>), String>,
    ) -> (Result<Merged, String>, Option<ObjectId>) {
        let (merged, adopted) = match merged {
            Ok(merged) => merged,
            Err(why) => return (Err(why), None),
        };
        let new = match (&merged, adopted) {
            (Merged::Commit(new), Some(adopted)) => {
                self.landing.keeping.arrived(adopted, vec![*new]);
                Some(*new)
            }
            _ => None,
        };
        (Ok(merged), new)
    }

    /// A merge that did not become a landing is let go of with the next refs.
    fn keep_no_longer(&mut self, new: Option<ObjectId>) {
        self.landing.refs_wanted |= new.is_some_and(|new| !self.awaited().contains(&new));
    }

    /// Commits of landings that are not recomputed yet.
    pub(super) fn awaited(&self) -> BTreeSet<ObjectId> {
        self.state.unsettled().into_iter().map(|landing| landing.content.new).collect()
    }

    fn settled(&mut self, done: Vec<(Unsettled, Verdict, Option<Adopted>)>) {
        for (landing, verdict, adopted) in done {
            if let Some(adopted) = adopted {
                self.landing.keeping.arrived(adopted, vec![landing.content.new]);
                self.landing.refs_wanted = true;
            }
            let sound = match verdict {
                Verdict::Sound => true,
                Verdict::Unsound => false,
                Verdict::NotHere => {
                    self.landing.absent.in_vain(landing.lid);
                    continue;
                }
                Verdict::Gone => {
                    self.landing.absent.in_vain(landing.lid);
                    self.count_on_no_more(&[landing.content.tip]);
                    self.landing.lost.insert(landing.content.tip);
                    continue;
                }
            };
            let moved = Arc::make_mut(&mut self.state).settle(&landing.lid, sound);
            if sound {
                self.hold(&[landing.content.tip, landing.content.new]);
            } else {
                let text = format!(
                    "a landing on {} was refused: its commit {} is not what its fields give",
                    landing.content.branch,
                    landing.content.new.short()
                );
                self.notice("problem", None, Some(landing.content.branch.to_string()), None, text);
            }
            if let Some(branch) = moved {
                self.landing.refs_wanted = true;
                self.say_landed(&branch, &landing);
            }
        }
        self.wants_stale = true;
    }

    fn say_landed(&mut self, branch: &BranchName, landing: &Unsettled) {
        // What landed before this clone began is history, no news.
        if !self.moves.tracking.contains_key(branch) {
            return;
        }
        let what = match landing.revision.and_then(|id| self.state.revision(&id)) {
            Some(revision) => format!("{}/{}", self.state.handle(&revision.member), revision.branch),
            None => "two heads, joined,".to_owned(),
        };
        let commit = landing.content.new;
        let text = format!("{what} landed on {branch}, {}", commit.short());
        self.notice("landed", None, Some(what), Some(commit), text);
    }

    /// Writes a landing that completes what others left, if it is clean.
    fn complete(&mut self, now: Millis, landable: Landable, merged: Result<Merged, String>) {
        match merged {
            Ok(Merged::Conflict(clashes)) => self.say_conflict(&landable, paths(&clashes)),
            Ok(Merged::FastForward(new) | Merged::Commit(new)) => {
                if !self.completable().contains(&landable) {
                    return;
                }
                let carriers = self.state.carriers_of(&landable.heads);
                let (land, refs) = landable.land(new, self.state.demands().rules, carriers);
                if let Err(refusal) = self.write(now, |writer| writer.add(land, refs).map(drop)) {
                    self.problem(&refusal);
                }
            }
            Err(why) => tracing::warn!(why, branch = %landable.branch, "a landing could not be merged"),
        }
    }

    fn say_conflict(&mut self, landable: &Landable, paths: Vec<String>) {
        let list = paths.join(", ");
        let branch = landable.branch.to_string();
        let (kind, text) = if landable.revision.is_some() {
            ("conflict", format!("an approved commit does not merge into {branch}: {list}"))
        } else {
            ("diverged", format!("{branch} has two heads that do not merge: {list}"))
        };
        self.landing.remember_conflict(key(landable), paths);
        self.notice(kind, None, Some(branch), Some(landable.tip), text);
    }
}
