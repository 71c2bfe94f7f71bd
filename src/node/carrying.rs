//! Approvals that carry over: who approved a revision approves the next one by their own machine where the change is the same.
//!
//! Nothing of this is part of the rules. An approval counts for exactly the commit it names, and this writes another one, as its
//! author would; so no two versions can differ in what they hold to be the same.

use std::collections::BTreeSet;

use super::core::Core;
use super::landing::LandingWork;
use super::run::Wake;
use crate::approval::{Approval, Proposal, ProposalState};
use crate::eventlog::{Approve, Extensions, Payload};
use crate::git::Repository;
use crate::hlc::Millis;
use crate::id::{EventId, ObjectId};

/// Proposals to look at.
#[derive(Default)]
pub(super) struct Carrying {
    /// Those with a further revision that nobody compared yet, by the event that began them.
    todo: BTreeSet<EventId>,
}

/// An approval and the revision to which it may carry over.
pub(super) struct Carried {
    proposal: EventId,
    approval: EventId,
    revision: EventId,
}

impl Carrying {
    /// There is a further revision.
    pub(super) fn look_at(&mut self, proposal: EventId) {
        self.todo.insert(proposal);
    }
}

impl Core {
    /// What this clone's member approved of a proposal before its last revision came, and nothing said since.
    fn carries(&self, proposal: &EventId) -> Option<(Proposal, Approval)> {
        let proposal = self.state.proposal(proposal).filter(|proposal| proposal.state == ProposalState::Open)?;
        let before = self.state.approved_before(&proposal, &self.me)?;
        let maintains =
            self.my_member().and_then(|me| self.state.role(&me)).is_some_and(crate::eventlog::Role::maintains);
        maintains.then_some((proposal, before))
    }

    /// Approved commits that are still to be compared with what came after them.
    pub(super) fn to_compare(&self) -> Vec<ObjectId> {
        let approved = |id: &EventId| self.carries(id).map(|(_, before)| before.commit);
        self.carrying.todo.iter().filter_map(approved).collect()
    }

    /// Starts to compare the next one whose objects are here. `true` where it did.
    pub(super) fn start_carrying(&mut self) -> bool {
        // It would be signed by the identity's key: it waits until that is at hand.
        if !self.identity.is_open() {
            return false;
        }
        let mut next = None;
        for id in std::mem::take(&mut self.carrying.todo) {
            // What carries nothing now does not come to by itself: a further revision is looked at anew.
            let Some((proposal, before)) = self.carries(&id) else { continue };
            if next.is_none() && self.holds(&proposal.last.tip) {
                next = Some((proposal, before));
            } else {
                self.carrying.todo.insert(id);
            }
        }
        let Some((proposal, before)) = next else { return false };
        let heads = self.state.branch(&proposal.last.target).map_or_else(Vec::new, |heads| heads.commits());
        let (old, new) = (before.commit, proposal.last.tip);
        let carried = Carried { proposal: proposal.id, approval: before.id, revision: proposal.last.id };
        let job = move |repo: &Repository| same_change(repo, &heads, old, new);
        let then = |same| Wake::Landing(Box::new(LandingWork::Compared { carried, same }));
        super::objects::with_repo(self, job, then);
        true
    }

    /// Approves the revision where its change is the one that was approved, unless something was said meanwhile.
    pub(super) fn compared(&mut self, now: Millis, carried: &Carried, same: bool) {
        let Some((proposal, before)) = self.carries(&carried.proposal).filter(|_| same) else { return };
        if before.id != carried.approval || proposal.last.id != carried.revision {
            return;
        }
        let name = self.proposal_name(&proposal.id);
        let mut refs = self.state.carriers_of(&before.onto);
        refs.push(proposal.last.id);
        let approve = Approve {
            revision: proposal.last.id,
            commit: proposal.last.tip,
            // What its author was shown then: nobody looked again.
            onto: before.onto,
            message: format!("carried over from {}: the change is the same", before.commit.short()),
            extensions: Extensions::default(),
        };
        if let Err(refusal) = self.write(now, |writer| writer.add(Payload::Approve(approve), refs).map(drop)) {
            return self.problem(&refusal);
        }
        let (old, new) = (before.commit, proposal.last.tip);
        let text = format!(
            "your approval of {name} was carried over from {} to {}: the change is the same; against it: lansync reject {name}",
            old.short(),
            new.short()
        );
        self.notice("carried", None, Some(name), Some(new), text);
    }
}

/// Do two commits change the same against where each left the branch? Where that cannot be said they do not.
fn same_change(repo: &Repository, heads: &[ObjectId], old: ObjectId, new: ObjectId) -> bool {
    let change = |commit| repo.raw_change(heads, commit).ok().flatten();
    change(old).is_some_and(|before| change(new) == Some(before))
}
