//! What is done beside the loop: merge what is approved, recompute what others landed.

use std::collections::BTreeSet;

use crate::approval::{Landable, RULES, Unsettled};
use crate::git::{Adopted, Clash, MergeError, Merged, Repository};
use crate::id::{Lid, ObjectId};
use crate::node::settings::clip;

/// What recomputing a landing came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Verdict {
    Sound,
    Unsound,
    /// Not possible with what is here.
    NotHere,
    /// Its objects were here, and were pruned.
    Gone,
}

pub(super) fn merge(repo: &Repository, landable: &Landable) -> Result<(Merged, Option<Adopted>), String> {
    repo.merge(RULES, &landable.head_commits, landable.tip, &landable.branch).map_err(|error| error.to_string())
}

/// What clashes, each as a path and why.
pub(super) fn paths(clashes: &[Clash]) -> Vec<String> {
    let one = |clash: &Clash| clip(&format!("{} ({})", clash.path, clash.why));
    clashes.iter().map(one).collect()
}

/// Recomputes landings, each after those it is on. What is not here yet is stored.
pub(super) fn settle(
    repo: &Repository,
    unsettled: Vec<Unsettled>,
    whole: impl Fn(&ObjectId) -> bool,
    held: &BTreeSet<ObjectId>,
) -> Vec<(Unsettled, Verdict, Option<Adopted>)> {
    let mut sound_here: BTreeSet<Lid> = BTreeSet::new();
    let mut done = Vec::new();
    for next in unsettled {
        if !next.waits_for.iter().all(|lid| sound_here.contains(lid)) {
            continue;
        }
        let (verdict, adopted) =
            if whole(&next.content.tip) { recompute(repo, &next, &whole, held) } else { (Verdict::NotHere, None) };
        if verdict == Verdict::Sound {
            sound_here.insert(next.lid);
        }
        done.push((next, verdict, adopted));
    }
    done
}

fn recompute(
    repo: &Repository,
    next: &Unsettled,
    whole: &impl Fn(&ObjectId) -> bool,
    held: &BTreeSet<ObjectId>,
) -> (Verdict, Option<Adopted>) {
    let content = &next.content;
    // It came with those that follow it, or was merged here just before.
    let merged = if repo.has(&content.new) && whole(&content.new) {
        repo.recompute(content.rules, &next.heads, content.tip, &content.branch).map(|merged| (merged, None))
    } else {
        repo.merge(content.rules, &next.heads, content.tip, &content.branch)
    };
    let verdict = match merged {
        Ok((Merged::FastForward(new) | Merged::Commit(new), adopted)) => {
            return (if new == content.new { Verdict::Sound } else { Verdict::Unsound }, adopted);
        }
        Ok((Merged::Conflict(_), _)) => Verdict::Unsound,
        // So on every machine.
        Err(MergeError::Malformed(_) | MergeError::Collision) => Verdict::Unsound,
        Err(error) => {
            tracing::warn!(%error, "a landing cannot be recomputed yet");
            let missing = matches!(error, MergeError::Missing(_)) && held.contains(&content.tip);
            let gone = missing && !repo.connected(&[content.tip], &next.heads).unwrap_or(true);
            if gone { Verdict::Gone } else { Verdict::NotHere }
        }
    };
    (verdict, None)
}
