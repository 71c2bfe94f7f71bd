//! `approve`: the approval, and in the same append the landing that it completes.

use super::work::{merge, paths};
use super::{LandingWork, key};
use crate::api::{ApproveDone, Refusal, Reply};
use crate::approval::Landable;
use crate::eventlog::{Approve, Extensions, Payload};
use crate::git::Merged;
use crate::hlc::Millis;
use crate::id::{EventId, ObjectId};
use crate::node::core::Core;
use crate::node::objects::with_repo;
use crate::node::run::{Answer, Wake};

/// An `approve` on its way.
pub(in crate::node) struct Approving {
    pub(in crate::node) revision: EventId,
    pub(in crate::node) commit: ObjectId,
    pub(in crate::node) message: String,
    pub(in crate::node) reply: Answer,
}

/// The answer to an `approve` that landed.
pub(super) struct Landed {
    pub(super) done: ApproveDone,
    pub(super) new: ObjectId,
    /// No longer than this: what it needs may not be here.
    pub(super) until: Millis,
    pub(super) reply: Answer,
}

/// How long an `approve` waits for its refs. Milliseconds are usual; a large checkout takes as long as it takes.
const LANDED_WAIT: Millis = 5_000;

impl Core {
    pub(super) fn start_approve(&mut self, approving: Approving) {
        let Some(revision) = self.state.revision(&approving.revision) else {
            let _ = approving.reply.send(Err(Refusal::plain("unknown", "the revision is gone")));
            return;
        };
        let Some(heads) = self.state.branch(&revision.target) else {
            let _ = approving.reply.send(Err(Refusal::plain("unknown", "its target is not a canonical branch")));
            return;
        };
        let landable = Landable {
            branch: revision.target.clone(),
            heads: heads.lids(),
            head_commits: heads.commits(),
            revision: Some(approving.revision),
            tip: approving.commit,
            approvals: Vec::new(),
        };
        self.landing.busy = true;
        let job = landable.clone();
        let then = |merged| Wake::Landing(Box::new(LandingWork::Approved { approving, landable, merged }));
        with_repo(self, move |repo| merge(repo, &job), then);
    }

    /// The approval, and in the same append the landing if the policy is then met and it is clean.
    pub(super) fn write_approval(
        &mut self,
        now: Millis,
        approving: Approving,
        mut landable: Landable,
        merged: Result<Merged, String>,
    ) {
        let Approving { revision, commit, message, reply } = approving;
        let Some(known) = self.state.revision(&revision) else { return };
        let proposal = format!("{}/{}", self.state.handle(&known.member), known.branch);
        let mut needs = Vec::new();
        let new = match merged {
            Ok(Merged::FastForward(new) | Merged::Commit(new)) => Some(new),
            Ok(Merged::Conflict(clashes)) => {
                let (branch, paths) = (&landable.branch, paths(&clashes));
                needs.push(format!("a merge with {branch}, by hand: {}", paths.join(", ")));
                self.landing.remember_conflict(key(&landable), paths);
                None
            }
            Err(why) => {
                let _ = reply.send(Err(Refusal::plain("merge", format!("{proposal} cannot be merged: {why}"))));
                return;
            }
        };
        let carriers = self.state.carriers_of(&landable.heads);
        let mut approve_refs = carriers.clone();
        approve_refs.push(revision);
        let onto = landable.heads.clone();
        let approve = Payload::Approve(Approve { revision, commit, onto, message, extensions: Extensions::default() });
        let missing = self.approvals_missing_after_mine(&known, &commit);
        if missing > 0 {
            needs.push(format!("{missing} more approval{}", if missing == 1 { "" } else { "s" }));
        }
        let earlier = self.state.proposal(&known.proposal);
        let mut approvals: Vec<EventId> = earlier
            .into_iter()
            .flat_map(|proposal| proposal.approvals.iter().map(|one| (one.id, one.commit)).collect::<Vec<_>>())
            .filter(|(_, approved)| *approved == commit)
            .map(|(id, _)| id)
            .take(31)
            .collect();
        let lands = new.filter(|_| needs.is_empty());
        // The landing names the approval, whose id is known only once it is written.
        let rules = self.state.demands().rules;
        let written = self.write(now, |writer| {
            let approval = writer.add(approve, approve_refs)?;
            if let Some(new) = lands {
                approvals.push(approval);
                approvals.sort_unstable();
                landable.approvals = approvals;
                let (land, refs) = landable.land(new, rules, carriers);
                writer.add(land, refs)?;
            }
            Ok(())
        });
        if let Err(refusal) = written {
            let _ = reply.send(Err(refusal));
            return;
        }
        let done = ApproveDone {
            proposal,
            commit: commit.to_string(),
            branch: landable.branch.to_string(),
            landed: lands.map(|commit| commit.to_string()),
            needs,
        };
        self.once_durable(Box::new(move |core, result| match result {
            Ok(()) => match lands {
                Some(new) => {
                    let until = core.clock.steady() + LANDED_WAIT;
                    core.landing.landed.push(Landed { done, new, until, reply });
                }
                None => answer(&done, reply),
            },
            Err(refusal) => drop(reply.send(Err(refusal))),
        }));
    }

    /// How many approvals of this commit would be missing if I approved it now.
    fn approvals_missing_after_mine(&self, revision: &crate::approval::Revision, commit: &ObjectId) -> usize {
        let proposal = self.state.proposal(&revision.proposal);
        proposal.map_or(0, |proposal| self.state.approvals_missing(&proposal, commit, self.my_member()))
    }
}

pub(super) fn answer(done: &ApproveDone, reply: Answer) {
    let value = serde_json::to_value(done).unwrap_or_default();
    let _ = reply.send(Ok(vec![Reply::Done { value }]));
}
