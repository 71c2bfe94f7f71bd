//! Proposals: lists, one in detail, what keeps each from landing.

use std::collections::BTreeMap;

use super::done;
use crate::api::{self, Commit, Conflict, ProposalDetail, Refusal, Reply};
use crate::approval::{Proposal, ProposalState, State};
use crate::git::Branched;
use crate::id::{EventId, ObjectId};
use crate::node::clock::rfc3339;
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

/// The proposal that `name` means: `handle/branch` (the latest of that name, an open one first), or an id prefix.
pub(in crate::node) fn find_proposal(state: &State, name: &str) -> Result<Proposal, Refusal> {
    let plain = name.strip_prefix("refs/remotes/").unwrap_or(name);
    let plain = plain.strip_prefix("lansync/").unwrap_or(plain);
    let plain = plain.strip_prefix('@').unwrap_or(plain);
    let unknown = || {
        let message = format!("there is no proposal '{}'", clip(name));
        Refusal::new("unknown-proposal", message, "lansync list")
    };
    if let Some((handle, branch)) = plain.split_once('/') {
        let named = |p: &Proposal| p.last.branch.as_str() == branch && state.handle(&p.last.member) == handle;
        let open = state.open_proposals().filter(named).last();
        return open.or_else(|| state.proposals_back().find(named)).ok_or_else(unknown);
    }
    let id = plain.to_ascii_lowercase();
    if id.len() < 4 || !id.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let mut found = state.proposals().filter(|p| {
        let mut ids = state.revisions(&p.id).into_iter().map(|revision| revision.id.to_string());
        p.id.to_string().starts_with(&id) || ids.any(|revision| revision.starts_with(&id))
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            let message = format!("{id} could be several proposals");
            Err(Refusal::new("ambiguous", message, "lansync list"))
        }
        (None, _) => Err(unknown()),
    }
}

/// One proposal by its id, as a reply.
pub(in crate::node) fn one_proposal(snapshot: &Snapshot, id: &EventId) -> Result<Vec<Reply>, Refusal> {
    let proposal = snapshot.state.proposal(id);
    let proposal = proposal.ok_or_else(|| Refusal::plain("unknown-proposal", "the proposal is gone"))?;
    done(&snapshot.describe(&proposal))
}

impl Snapshot {
    pub(super) fn proposals(&self, all: bool) -> Vec<api::Proposal> {
        let mut found: Vec<Proposal> =
            if all { self.state.proposals().collect() } else { self.state.open_proposals().collect() };
        found.sort_by_key(|proposal| self.state.began(&proposal.id));
        self.describe_all(&found)
    }

    /// What waits for me: my turn first, then my own that were rejected or conflict.
    pub(super) fn inbox(&self) -> Vec<api::Proposal> {
        let me = self.my_member();
        let open: Vec<Proposal> = self.state.open_proposals().collect();
        let own = open.iter().map(|proposal| Some(proposal.last.member) == me);
        let mut mine: Vec<api::Proposal> = own
            .zip(self.describe_all(&open))
            .filter(|(own, p)| p.my_turn || (*own && (p.state == "rejected" || !p.conflicts.is_empty())))
            .map(|(_, p)| p)
            .collect();
        mine.sort_by(|a, b| (!a.my_turn, &a.at).cmp(&(!b.my_turn, &b.at)));
        mine
    }

    fn describe(&self, proposal: &Proposal) -> api::Proposal {
        self.describe_all(std::slice::from_ref(proposal)).pop().expect("one was described")
    }

    /// Looks at the history once for all of them.
    fn describe_all(&self, proposals: &[Proposal]) -> Vec<api::Proposal> {
        let open = |proposal: &Proposal| proposal.state == ProposalState::Open;
        let others = self.state.open_proposals().filter(open).map(|proposal| (proposal.last.tip, proposal));
        let others: BTreeMap<ObjectId, Proposal> = others.filter(|(tip, _)| self.held.contains(tip)).collect();
        let tips = others.keys().copied().collect();
        let offers: Vec<_> = proposals.iter().map(|proposal| self.offer(proposal)).collect();
        let here: Vec<_> = offers.iter().flatten().cloned().collect();
        let mut branched = self.repo.branched(&here, &tips).into_iter();
        let described = proposals.iter().zip(offers).map(|(proposal, offer)| {
            let branched = offer.and_then(|_| branched.next().flatten());
            let on = branched.and_then(|branched| others.get(&branched.on?));
            self.describe_one(proposal, branched, on.filter(|other| other.id != proposal.id))
        });
        described.collect()
    }

    /// What of a proposal is looked up in the history: nothing where it is over, or not here.
    fn offer(&self, proposal: &Proposal) -> Option<(Vec<ObjectId>, ObjectId)> {
        let open = matches!(proposal.state, ProposalState::Open | ProposalState::Rejected);
        let here = open && self.held.contains(&proposal.last.tip);
        here.then(|| (self.heads_of(proposal), proposal.last.tip))
    }

    /// The commits of the heads of a proposal's target.
    fn heads_of(&self, proposal: &Proposal) -> Vec<ObjectId> {
        self.state.branch(&proposal.last.target).map_or_else(Vec::new, |heads| heads.commits())
    }

    fn describe_one(
        &self,
        proposal: &Proposal,
        branched: Option<Branched>,
        builds_on: Option<&Proposal>,
    ) -> api::Proposal {
        let last = &proposal.last;
        let here = self.held.contains(&last.tip);
        let lines = branched.and_then(|branched| self.lines.of(&self.repo, branched.base, last.tip));
        let key = self.state.branch(&last.target).map(|heads| (last.target.clone(), heads.lids(), last.tip));
        let conflicts: Vec<Conflict> = key
            .and_then(|key| self.conflicts.get(&key))
            .map(|paths| Conflict { with: last.target.to_string(), paths: paths.iter().map(|p| clip(p)).collect() })
            .into_iter()
            .collect();
        let missing = self.state.approvals_missing(proposal, &proposal.last.tip, None);
        let me = self.my_member();
        let maintains = me.and_then(|me| self.state.role(&me)).is_some_and(crate::eventlog::Role::maintains);
        let approved_by_me = proposal.approvals.iter().any(|one| Some(one.member) == me);
        let waits = proposal.state == ProposalState::Open && missing > 0 && !approved_by_me;
        api::Proposal {
            id: proposal.id.to_string(),
            name: format!("{}/{}", self.state.handle(&last.member), last.branch),
            author: self.state.handle(&last.member),
            target: last.target.to_string(),
            revision: last.id.to_string(),
            tip: last.tip.to_string(),
            title: clip(&last.title),
            commits: branched.map(|branched| branched.commits as u64),
            lines,
            state: match proposal.state {
                ProposalState::Open => "open",
                ProposalState::Landed => "landed",
                ProposalState::Withdrawn => "withdrawn",
                ProposalState::Rejected => "rejected",
            }
            .to_owned(),
            approvals: proposal
                .approvals
                .iter()
                .map(|one| api::Approval {
                    member: self.state.handle(&one.member),
                    commit: one.commit.to_string(),
                    at: rfc3339(one.hlc.millis()),
                    message: (!one.message.is_empty()).then(|| clip(&one.message)),
                })
                .collect(),
            needs: needs(proposal, missing, here, &conflicts),
            builds_on: builds_on.map(|on| format!("{}/{}", self.state.handle(&on.last.member), on.last.branch)),
            conflicts,
            my_turn: maintains && waits,
            at: rfc3339(last.hlc.millis()),
            here,
            reason: proposal.rejections.last().filter(|_| proposal.state == ProposalState::Rejected).map(|no| {
                let who = self.state.handle(&no.member);
                if no.reason.is_empty() { format!("by {who}") } else { format!("by {who}: {}", clip(&no.reason)) }
            }),
        }
    }

    pub(super) fn show(&self, name: &str) -> Result<ProposalDetail, Refusal> {
        let proposal = find_proposal(&self.state, name)?;
        let heads = self.heads_of(&proposal);
        let tip = proposal.last.tip;
        let here = self.held.contains(&tip);
        let base = heads.first().filter(|_| here).and_then(|head| self.repo.merge_base(*head, tip).ok().flatten());
        let commits = if here { self.repo.commits_between(&heads, tip, 100) } else { Ok((Vec::new(), 0)) };
        let commits = commits.map_err(|error| Refusal::new("objects", error.to_string(), "git fsck"))?.0;
        let commit = |(id, summary): (ObjectId, crate::git::CommitSummary)| Commit {
            id: id.to_string(),
            title: clip(&summary.title),
            author: clip(&summary.author),
            at: rfc3339(u64::try_from(summary.at_millis).unwrap_or(0)),
        };
        Ok(ProposalDetail {
            log: commits.into_iter().map(commit).collect(),
            base: base.map(|base| base.to_string()),
            revisions: proposal.revisions as u64,
            proposal: self.describe(&proposal),
        })
    }
}

/// What keeps it from landing.
fn needs(proposal: &Proposal, missing: usize, here: bool, conflicts: &[Conflict]) -> Vec<String> {
    let mut needs = Vec::new();
    match proposal.state {
        ProposalState::Landed | ProposalState::Withdrawn => return needs,
        ProposalState::Rejected => needs.push("a new revision: this one was rejected".to_owned()),
        ProposalState::Open => {}
    }
    if !here {
        needs.push("its objects, which are not here yet".to_owned());
    }
    for conflict in conflicts {
        needs.push(format!("a merge with {}, by hand: {}", conflict.with, conflict.paths.join(", ")));
    }
    match missing {
        0 => {}
        1 => needs.push("a maintainer's approval".to_owned()),
        more => needs.push(format!("{more} maintainers' approvals")),
    }
    needs
}
