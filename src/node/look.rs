//! Looking at the user's branches: what moved is offered, unless it stays here.
//!
//! Looking never proposes what is already somebody's revision, or what a canonical branch or another remote's
//! copy of it contains.

use std::collections::BTreeMap;

use super::core::Core;
use super::run::{self, Wake};
use crate::api::{NotShared, Refusal, Request};
use crate::approval::ProposalState;
use crate::eventlog::store::Note;
use crate::eventlog::{Extensions, Payload, Propose};
use crate::git::Repository;
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, ObjectId};

/// What a look found.
pub(super) struct Looked {
    branches: BTreeMap<BranchName, ObjectId>,
    /// Names that cannot be shared.
    unnameable: Vec<String>,
    /// Branches that are not at the tip of an own revision or of a canonical branch.
    tips: Vec<Tip>,
    tags: super::tags::FoundTags,
}

/// A branch with commits of its own.
struct Tip {
    branch: BranchName,
    tip: ObjectId,
    title: String,
    /// Commits that canonical branches and other remotes' copies of them lack; 0 where they contain it.
    commits: u64,
}

pub(super) fn recall_branches(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<BranchName, ObjectId> {
    let text = |bytes: &[u8]| Some(std::str::from_utf8(bytes).ok()?.to_owned());
    let row = |(name, tip): (&Vec<u8>, &Vec<u8>)| Some((BranchName::new(text(name)?).ok()?, text(tip)?.parse().ok()?));
    rows.iter().filter_map(row).collect()
}

/// The rows for what branches are at.
pub(crate) fn branch_rows(branches: &BTreeMap<BranchName, ObjectId>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let row =
        |(name, tip): (&BranchName, &ObjectId)| (name.as_str().as_bytes().to_vec(), Some(tip.to_string().into_bytes()));
    branches.iter().map(row).collect()
}

/// Reads the branches, and describes those whose tips `known` does not settle.
fn look(
    repo: &Repository,
    canonical: &[(BranchName, Vec<ObjectId>)],
    is_settled: impl Fn(&ObjectId) -> bool,
    tags: super::tags::FoundTags,
) -> Result<Looked, String> {
    let found = repo.branches().map_err(|error| error.to_string())?;
    let mut contained_in: Vec<ObjectId> = canonical.iter().flat_map(|(_, tips)| tips.clone()).collect();
    for (branch, _) in canonical {
        contained_in.extend(repo.remote_tips(branch).unwrap_or_default());
    }
    contained_in.retain(|commit| repo.has(commit));
    let mut tips = Vec::new();
    for (branch, tip) in &found.branches {
        if is_settled(tip) || contained_in.contains(tip) {
            continue;
        }
        let summary = repo.summary(*tip).map_err(|error| error.to_string())?;
        let (_, commits) = repo.commits_between(&contained_in, *tip, 0).map_err(|error| error.to_string())?;
        tips.push(Tip { branch: branch.clone(), tip: *tip, title: summary.title, commits: commits as u64 });
    }
    Ok(Looked { branches: found.branches, unnameable: found.unnameable, tips, tags })
}

impl Core {
    /// Starts a look if one is called for.
    pub(super) fn look(&mut self, now: Millis) {
        if self.looking || !self.look_again || self.state.genesis().is_none() {
            return;
        }
        (self.looking, self.look_again) = (true, false);
        self.next_look = now + run::look_every();
        let repo = self.repo.clone();
        let state = self.state.clone();
        let tips = |branch: &BranchName| state.branch(branch).map_or_else(Vec::new, |heads| heads.commits());
        let canonical: Vec<(BranchName, Vec<ObjectId>)> =
            self.state.canonical().iter().map(|(branch, _)| (branch.clone(), tips(branch))).collect();
        let revisions = self.state.clone();
        // Of history whose refs are here: its objects are.
        let tracking: Vec<ObjectId> = self.moves.tracking.values().map(|(commit, _)| *commit).collect();
        let known = self.known_tags(&tracking);
        let job = move || {
            let tags = super::tags::look(&repo, &known, tracking)?;
            look(&repo, &canonical, |tip| revisions.is_revision(tip), tags)
        };
        run::work(&self.wake, job, |looked| Wake::Looked(Box::new(looked)));
    }

    pub(super) fn looked(&mut self, now: Millis, looked: Result<Looked, String>) {
        self.looking = false;
        self.packs_are_read(now);
        self.weigh(now, looked);
        for reply in self.before_first_look.take().into_iter().flatten() {
            self.answer_from_snapshot(Request::Status, reply);
        }
    }

    fn weigh(&mut self, now: Millis, looked: Result<Looked, String>) {
        let looked = match looked {
            Ok(looked) => looked,
            Err(why) => {
                return self.problem(&Refusal::new("refs", format!("branches cannot be read: {why}"), "git fsck"));
            }
        };
        self.weigh_tags(now, looked.tags);
        let proposes = self.my_member().and_then(|member| self.state.role(&member));
        let mut stays = Vec::new();
        let mut offers = Vec::new();
        for tip in looked.tips {
            if tip.commits == 0 {
                continue;
            }
            let stay =
                |why: &str| NotShared { branch: tip.branch.to_string(), commits: tip.commits, why: why.to_owned() };
            if self.settings.is_private(&tip.branch) {
                stays.push(stay("its name is private (lansync.private)"));
            } else if self.branches.get(&tip.branch) == Some(&tip.tip) {
                stays.push(stay("it was here before the first `lansync up`; the next commit on it is offered"));
            } else if proposes.is_none_or(|role| !role.proposes()) {
                stays.push(stay("your role does not propose"));
            } else {
                offers.push(tip);
            }
        }
        stays.extend(looked.unnameable.into_iter().map(|branch| NotShared {
            branch: super::settings::clip(&branch),
            commits: 0,
            why: "its name cannot be shared".to_owned(),
        }));
        self.not_shared = stays;
        // A branch that stays here keeps the tip it was first seen at; all others are at what is offered.
        let mut rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for gone in self.branches.keys().filter(|branch| !looked.branches.contains_key(*branch)) {
            rows.push((gone.as_str().as_bytes().to_vec(), None));
        }
        self.branches.retain(|branch, _| looked.branches.contains_key(branch));
        if !rows.is_empty() {
            self.note(Note::Branches, rows);
        }
        let offered = offers.len();
        for tip in offers {
            if let Err(refusal) = self.offer(now, tip.branch, tip.tip, tip.title) {
                self.problem(&refusal);
            }
        }
        if offered == 0 {
            // A local branch may be clean again, or elsewhere.
            self.landing.refs_wanted |= self.landing.local_behind;
        }
    }

    /// Offers a branch at a tip: a new proposal, or a new revision of the open one.
    pub(super) fn offer(
        &mut self,
        now: Millis,
        branch: BranchName,
        tip: ObjectId,
        title: String,
    ) -> Result<EventId, Refusal> {
        let member = self.my_member();
        let open = self.state.open_proposals().filter(|proposal| {
            let mine = Some(proposal.last.member) == member && proposal.last.branch == branch;
            mine && matches!(proposal.state, ProposalState::Open | ProposalState::Rejected)
        });
        let previous = open.last().map(|proposal| proposal.last.id);
        let canonical = self.state.canonical();
        let same_name = canonical.iter().find(|(name, _)| *name == branch);
        let target = same_name.or(canonical.first()).map(|(name, _)| name.clone());
        let target = target.ok_or_else(|| Refusal::plain("not-ready", "the project's log is not here yet"))?;
        let propose = Propose {
            branch,
            target,
            tip,
            title: super::settings::clip(&title),
            previous,
            extensions: Extensions::default(),
        };
        let mut id = None;
        self.write(now, |writer| {
            id = Some(writer.add(Payload::Propose(propose), previous.into_iter().collect())?);
            Ok(())
        })?;
        self.hold(&[tip]);
        id.ok_or_else(|| Refusal::plain("failed", "nothing was written"))
    }
}
