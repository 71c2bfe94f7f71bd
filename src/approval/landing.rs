//! Landings: the state of a canonical branch is its set of heads.
//!
//! A landing is known by its content. It *enters* if its own past allows it, is *sound* if its commit is what
//! its fields give (which the objects tell), and *stands* if both hold and all that it is on stands. The heads
//! are the standing landings that no standing one is on.

use std::collections::{BTreeMap, BTreeSet};

use super::authority::Void;
use crate::eventlog::{Genesis, Land, LandingContent};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Lid, ObjectId, ProjectId};

/// A landing that entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// What it does.
    pub content: LandingContent,
    /// The earliest event that carries it, with its time; of several that one is shown.
    pub first: (Hlc, EventId),
    /// The revision it lands; `None` for a join and for the beginning.
    pub revision: Option<EventId>,
    /// The approvals it rests on.
    pub approvals: Vec<EventId>,
    /// Is its commit what its fields give? `None`: not known here yet.
    pub sound: Option<bool>,
    /// The events that carry it, sorted.
    carriers: Vec<EventId>,
}

/// A landing to recompute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// Which.
    pub lid: Lid,
    /// What it says.
    pub content: LandingContent,
    /// The commits of the landings it is on.
    pub heads: Vec<ObjectId>,
    /// Those of the landings it is on that do not stand (yet).
    pub waits_for: Vec<Lid>,
    /// Whose objects to ask for: the proposal's revision, if it lands one.
    pub revision: Option<EventId>,
}

/// A landing that could be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landable {
    /// On which branch.
    pub branch: BranchName,
    /// On which landings, sorted.
    pub heads: Vec<Lid>,
    /// Their commits, in that order.
    pub head_commits: Vec<ObjectId>,
    /// The revision; `None` for a join.
    pub revision: Option<EventId>,
    /// The approved commit; for a join that of the head with the smallest id.
    pub tip: ObjectId,
    /// The approvals it rests on, sorted.
    pub approvals: Vec<EventId>,
}

/// A canonical branch.
#[derive(Debug, Clone)]
pub struct BranchHeads<'a> {
    /// Its heads, by id.
    pub heads: Vec<(Lid, &'a Landing)>,
    /// A landing above them is known whose objects or rules are missing here.
    pub unknown: bool,
    /// Such a landing has rules that this version does not know.
    pub needs_upgrade: bool,
}

impl BranchHeads<'_> {
    /// The ids of the heads, sorted.
    pub fn lids(&self) -> Vec<Lid> {
        self.heads.iter().map(|(lid, _)| *lid).collect()
    }

    /// Their commits, in that order.
    pub fn commits(&self) -> Vec<ObjectId> {
        self.heads.iter().map(|(_, landing)| landing.content.new).collect()
    }

    /// The tip, if there is one head.
    pub fn tip(&self) -> Option<ObjectId> {
        match self.heads.as_slice() {
            [(_, landing)] => Some(landing.content.new),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Landings {
    all: BTreeMap<Lid, Landing>,
    /// Landing to those that are on it.
    above: BTreeMap<Lid, BTreeSet<Lid>>,
    standing: BTreeSet<Lid>,
    heads: BTreeMap<BranchName, BTreeSet<Lid>>,
    /// Entered, not known to be sound or unsound.
    open: BTreeSet<Lid>,
    /// Commits that a canonical branch contains: tips of standing landings, and what the objects said.
    landed: BTreeSet<(BranchName, ObjectId)>,
}

impl Landings {
    pub(super) fn found(&mut self, project: &ProjectId, id: EventId, hlc: Hlc, genesis: &Genesis) {
        for (branch, _) in &genesis.tips {
            let Some(content) = genesis.landing(branch) else { continue };
            let lid = content.lid(project);
            let landing = Landing {
                content,
                first: (hlc, id),
                revision: None,
                approvals: Vec::new(),
                sound: Some(true),
                carriers: vec![id],
            };
            self.all.insert(lid, landing);
            self.heads.insert(branch.clone(), BTreeSet::new());
            self.stand(lid);
        }
    }

    pub(super) fn is_canonical(&self, branch: &BranchName) -> bool {
        self.heads.contains_key(branch)
    }

    pub(super) fn carriers(&self, lid: &Lid) -> &[EventId] {
        self.all.get(lid).map_or(&[], |landing| &landing.carriers)
    }

    pub(super) fn landing(&self, lid: &Lid) -> Option<&Landing> {
        self.all.get(lid)
    }

    /// Takes in a landing whose author is a member; `met` says whether its approvals fulfil the policy.
    pub(super) fn land(
        &mut self,
        project: &ProjectId,
        id: EventId,
        hlc: Hlc,
        land: &Land,
        met: impl Fn(&Land) -> bool,
    ) -> Result<Lid, Void> {
        if !self.is_canonical(&land.branch) {
            return Err(Void::NotCanonical);
        }
        let on_branch = |lid: &Lid| self.all.get(lid).is_some_and(|head| head.content.branch == land.branch);
        if !land.heads.iter().all(on_branch) || self.related(&land.heads) || land.rules < 1 {
            return Err(Void::Heads);
        }
        if land.is_join() {
            let smallest = land.heads.first().and_then(|lid| self.all.get(lid));
            if land.heads.len() != 2 || smallest.is_none_or(|head| head.content.new != land.tip) {
                return Err(Void::Heads);
            }
        } else if !met(land) {
            return Err(Void::Policy);
        }
        let content = land.content();
        let lid = content.lid(project);
        match self.all.get_mut(&lid) {
            Some(known) => {
                if let Err(at) = known.carriers.binary_search(&id) {
                    known.carriers.insert(at, id);
                }
                if (hlc, id) < known.first {
                    known.first = (hlc, id);
                    known.revision = land.revision;
                    known.approvals = land.approvals.clone();
                }
            }
            None => {
                for head in &land.heads {
                    self.above.entry(*head).or_default().insert(lid);
                }
                let landing = Landing {
                    content,
                    first: (hlc, id),
                    revision: land.revision,
                    approvals: land.approvals.clone(),
                    sound: None,
                    carriers: vec![id],
                };
                self.all.insert(lid, landing);
                self.open.insert(lid);
            }
        }
        Ok(lid)
    }

    /// Is one of these below another?
    fn related(&self, lids: &[Lid]) -> bool {
        if lids.len() < 2 {
            return false;
        }
        // One walk from all of them: whoever is met again is below another.
        let below = |lid: &Lid| self.all.get(lid).map_or(&[][..], |landing| &landing.content.heads);
        let mut seen = BTreeSet::new();
        let mut todo: Vec<Lid> = lids.iter().flat_map(below).copied().collect();
        while let Some(lid) = todo.pop() {
            if lids.contains(&lid) {
                return true;
            }
            if seen.insert(lid) {
                todo.extend(below(&lid));
            }
        }
        false
    }

    pub(super) fn settle(&mut self, lid: &Lid, sound: bool) -> Option<BranchName> {
        let landing = self.all.get_mut(lid)?;
        landing.sound = Some(sound);
        let branch = landing.content.branch.clone();
        self.open.remove(lid);
        self.stand(*lid).then_some(branch)
    }

    /// Makes a landing stand if it can, and then those above it.
    fn stand(&mut self, lid: Lid) -> bool {
        let Some(landing) = self.all.get(&lid) else { return false };
        let supported = landing.content.heads.iter().all(|head| self.standing.contains(head));
        if landing.sound != Some(true) || !supported || !self.standing.insert(lid) {
            return false;
        }
        let (branch, tip) = (landing.content.branch.clone(), landing.content.tip);
        let new = landing.content.new;
        let below = landing.content.heads.clone();
        let heads = self.heads.entry(branch.clone()).or_default();
        for head in &below {
            heads.remove(head);
        }
        heads.insert(lid);
        self.landed.insert((branch.clone(), tip));
        self.landed.insert((branch, new));
        for above in self.above.get(&lid).cloned().unwrap_or_default() {
            self.stand(above);
        }
        true
    }

    pub(super) fn contained(&mut self, branch: &BranchName, commit: ObjectId) {
        self.landed.insert((branch.clone(), commit));
    }

    pub(super) fn has_landed(&self, branch: &BranchName, commit: &ObjectId) -> bool {
        self.landed.contains(&(branch.clone(), *commit))
    }

    pub(super) fn branch(&self, name: &BranchName) -> Option<BranchHeads<'_>> {
        let heads = self.heads.get(name)?;
        let heads = heads.iter().filter_map(|lid| Some((*lid, self.all.get(lid)?))).collect();
        let open = || self.open.iter().filter_map(|lid| self.all.get(lid)).filter(|l| l.content.branch == *name);
        let needs_upgrade = open().any(|landing| landing.content.rules > super::RULES);
        Some(BranchHeads { heads, unknown: open().next().is_some(), needs_upgrade })
    }

    /// Landings to recompute, each after those that it is on.
    pub(super) fn unsettled(&self) -> Vec<Unsettled> {
        let mut out = Vec::new();
        let mut placed: BTreeSet<Lid> = BTreeSet::new();
        let mut todo: Vec<(Lid, bool)> = self.open.iter().map(|lid| (*lid, false)).collect();
        while let Some((lid, below_done)) = todo.pop() {
            let Some(landing) = self.all.get(&lid).filter(|_| self.open.contains(&lid)) else { continue };
            if below_done {
                if placed.insert(lid) && landing.content.rules <= super::RULES {
                    out.push(self.describe(lid, landing));
                }
            } else if !placed.contains(&lid) {
                todo.push((lid, true));
                todo.extend(landing.content.heads.iter().map(|head| (*head, false)));
            }
        }
        out
    }

    fn describe(&self, lid: Lid, landing: &Landing) -> Unsettled {
        let heads = &landing.content.heads;
        Unsettled {
            lid,
            content: landing.content.clone(),
            heads: heads.iter().filter_map(|head| Some(self.all.get(head)?.content.new)).collect(),
            waits_for: heads.iter().filter(|head| !self.standing.contains(head)).copied().collect(),
            revision: landing.revision,
        }
    }

    /// Commits of the landings that no other known one is on, those to `without` left aside: with their objects,
    /// all below can be recomputed.
    pub(super) fn newest(&self, without: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        let counts = |landing: &Landing| landing.sound != Some(false) && !without.contains(&landing.content.new);
        let top = |(lid, landing): (&Lid, &Landing)| {
            let mut above = self.above.get(lid).into_iter().flatten().filter_map(|above| self.all.get(above));
            (counts(landing) && !above.any(counts)).then_some(landing.content.new)
        };
        self.all.iter().filter_map(top).collect()
    }

    pub(super) fn joinable(&self) -> Vec<Landable> {
        let join = |(branch, heads): (&BranchName, &BTreeSet<Lid>)| {
            let two: Vec<Lid> = heads.iter().take(2).copied().collect();
            let commits: Vec<ObjectId> = two.iter().filter_map(|lid| Some(self.all.get(lid)?.content.new)).collect();
            (two.len() == 2).then(|| Landable {
                branch: branch.clone(),
                heads: two,
                tip: commits[0],
                head_commits: commits,
                revision: None,
                approvals: Vec::new(),
            })
        };
        self.heads.iter().filter_map(join).collect()
    }
}
