//! What landings rest on and which of them stand: section 2 of the protocol, its last part.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::authority::Needs;
use super::mutants::Fault;
use super::naive::{Mode, Oracle};
use super::set::Set;
use crate::eventlog::{Land, Payload};
use crate::id::{BranchName, Lid, MemberId, ObjectId};

impl Oracle {
    /// The events that carry a landing.
    pub(super) fn carriers(&self, lid: &Lid) -> impl Iterator<Item = usize> {
        self.carried_by.get(lid).into_iter().flatten().copied()
    }

    fn land(&self, x: usize) -> Option<&Land> {
        match self.payload(x) {
            Payload::Land(land) => Some(land),
            _ => None,
        }
    }

    fn is_genesis(&self, x: usize) -> bool {
        matches!(self.payload(x), Payload::Genesis(_))
    }

    /// On what a landing is; all that carry it say the same.
    fn heads_of(&self, lid: &Lid) -> &[Lid] {
        self.carriers(lid).find_map(|x| self.land(x)).map_or(&[], |land| &land.heads)
    }

    /// A landing and all below it.
    pub(super) fn down(&self, lid: &Lid) -> Rc<BTreeSet<Lid>> {
        if let Some(known) = self.memo.borrow().down.get(lid) {
            return known.clone();
        }
        let mut down = BTreeSet::from([*lid]);
        self.heads_of(lid).iter().for_each(|head| down.extend(self.down(head).iter()));
        let down = Rc::new(down);
        self.memo.borrow_mut().down.insert(*lid, down.clone());
        down
    }

    fn on_branch(&self, lid: &Lid, branch: &BranchName) -> bool {
        self.carriers(lid).flat_map(|x| &self.nodes[x].lids).any(|(name, carried)| carried == lid && name == branch)
    }

    /// The commit to which a landing moves its branch.
    pub(super) fn commit(&self, lid: &Lid) -> Option<ObjectId> {
        self.carriers(lid).find_map(|x| match self.payload(x) {
            Payload::Land(land) => Some(land.new),
            Payload::Genesis(genesis) => {
                let (branch, _) = self.nodes[x].lids.iter().find(|(_, carried)| carried == lid)?;
                genesis.tips.iter().find(|(name, _)| name == branch).map(|(_, tip)| *tip)
            }
            _ => None,
        })
    }

    /// The branches with which the project began.
    pub(super) fn branches(&self) -> BTreeMap<BranchName, Lid> {
        let genesis = (0..self.nodes.len()).filter(|x| self.is_genesis(*x));
        genesis.flat_map(|x| self.nodes[x].lids.iter().cloned()).collect()
    }

    pub(super) fn is_canonical(&self, branch: &BranchName) -> bool {
        self.branches().contains_key(branch)
    }

    /// The revision that an event speaks of, if it was offered by right.
    pub(super) fn offered(&self, revision: usize) -> bool {
        matches!(self.payload(revision), Payload::Propose(propose) if self.is_canonical(&propose.target))
            && self.admissible(revision)
    }

    fn unseen(&self, l: usize, acc: Set) -> Set {
        if self.has(Fault::SeenLandingVoided) {
            return acc;
        }
        acc.only(|r| !self.past(r).has(l))
    }

    /// Does what the landing says hold together? Its own past tells, so this never changes.
    fn well_formed(&self, l: usize) -> bool {
        let Some(land) = self.land(l) else { return false };
        let related = |a: &Lid| land.heads.iter().any(|b| a != b && self.down(b).contains(a));
        let on_its_branch = land.heads.iter().all(|head| self.on_branch(head, &land.branch));
        let heads = self.is_canonical(&land.branch) && on_its_branch && !land.heads.iter().any(related);
        let content = match land.revision {
            None => land.heads.len() == 2 && self.commit(&land.heads[0]) == Some(land.tip),
            Some(revision) => self.at(&revision).is_some_and(|revision| {
                let Payload::Propose(propose) = self.payload(revision) else { return false };
                propose.target == land.branch && self.offered(revision)
            }),
        };
        heads && content
    }

    /// Do the approvals fulfil `needs`? With `head`: those given on top of it.
    fn met(&self, l: usize, needs: &Needs, acc: Set, head: Option<&Lid>, mode: Mode) -> bool {
        let Some(land) = self.land(l) else { return false };
        let Some(revision) = land.revision.and_then(|id| self.at(&id)) else { return false };
        let (view, acc) = (self.knew(l), self.unseen(l, acc));
        let approves = |a: usize| {
            let Payload::Approve(approve) = self.payload(a) else { return false };
            let head = head.filter(|_| !self.has(Fault::OntoIgnored));
            let shown = head.is_none_or(|head| approve.onto.iter().any(|onto| self.down(onto).contains(head)));
            approve.commit == land.tip && Some(approve.revision) == land.revision && shown
        };
        let author = self.member(revision);
        let own_counts = needs.own_counts || self.has(Fault::OwnApprovalCounts);
        let entitled = |member: &MemberId| view.maintainers.contains_key(member) && (own_counts || *member != author);
        let approvals = land.approvals.iter().filter_map(|id| self.at(id));
        let count = approvals.filter(|a| approves(*a) && self.admissible(*a) && self.live(*a, acc, mode));
        let members: BTreeSet<MemberId> = count.map(|a| self.member(a)).filter(entitled).collect();
        members.len() >= usize::from(needs.approvals).min(view.maintainers.len()).max(1)
    }

    fn base(&self, l: usize, acc: Set, mode: Mode) -> bool {
        let Some(land) = self.land(l) else { return false };
        self.well_formed(l)
            && self.live(l, self.unseen(l, acc), mode)
            && (land.is_join() || self.met(l, &self.knew(l).needs, acc, None, mode))
    }

    /// `held` are the events among which carriers of heads are looked for: all, or what the author knew.
    pub(super) fn ok(&self, l: usize, acc: Set, mode: Mode, held: Set) -> bool {
        if self.is_genesis(l) {
            return true;
        }
        if let Some(known) = self.memo.borrow().ok.get(&(l, acc, mode, held)) {
            return *known;
        }
        let ok = self.work_out_ok(l, acc, mode, held);
        self.memo.borrow_mut().ok.insert((l, acc, mode, held), ok);
        ok
    }

    fn work_out_ok(&self, l: usize, acc: Set, mode: Mode, held: Set) -> bool {
        let Some(land) = self.land(l) else { return false };
        let rescued = |head: &Lid| match land.is_join() {
            true => self.has(Fault::JoinRescues),
            false => self.met(l, &self.knew(l).needs, acc, Some(head), mode),
        };
        // By what each author knew, all the way down; or by all that there is.
        let stands = |head: &Lid| {
            let within = |x: usize| if mode == Mode::Past { self.past(x) } else { held };
            self.carriers(head).any(|x| held.has(x) && self.ok(x, acc, mode, within(x)))
        };
        self.base(l, acc, mode) && land.heads.iter().all(|head| stands(head) || rescued(head))
    }

    fn guard(&self, l: usize) -> bool {
        let Some(land) = self.land(l).filter(|land| land.is_join()) else { return true };
        let view = self.knew(l);
        let below: Vec<Rc<BTreeSet<Lid>>> = land.heads.iter().map(|head| self.down(head)).collect();
        let under_all = |lid: &Lid| below.iter().all(|set| set.contains(lid));
        let meets = |x: usize| {
            let lands = self.land(x);
            lands.is_none_or(Land::is_join) || self.met(x, &view.needs, view.acc, None, Mode::Past)
        };
        let known = |lid: &Lid| self.carriers(lid).any(|x| self.past(l).has(x) && meets(x));
        below.iter().flat_map(|set| set.iter()).filter(|lid| !under_all(lid)).all(known)
    }

    /// Was it right in its own past? Never changes.
    pub(super) fn entered(&self, l: usize) -> bool {
        if self.is_genesis(l) {
            return true;
        }
        if let Some(known) = self.memo.borrow().entered.get(&l) {
            return *known;
        }
        let entered = self.work_out_entered(l);
        self.memo.borrow_mut().entered.insert(l, entered);
        entered
    }

    fn work_out_entered(&self, l: usize) -> bool {
        let Some(land) = self.land(l) else { return false };
        let (view, past) = (self.knew(l), self.past(l));
        // Not in the text: else a landing on top of a join that did not enter would bring in what its guard kept out.
        let head_entered = |head: &Lid| {
            self.has(Fault::HeadsNeedNotEnter)
                || self.carriers(head).any(|x| past.has(x) && self.entered(x))
                || (!land.is_join() && self.met(l, &view.needs, view.acc, Some(head), Mode::Past))
        };
        view.frozen.is_none()
            && view.landings_frozen.is_none()
            && self.ok(l, view.acc, Mode::Past, past)
            && (self.has(Fault::GuardDropped) || self.guard(l))
            // Stricter than the text: only a policy raises the rules, nobody alone.
            && land.rules == view.needs.rules
            && land.heads.iter().all(head_entered)
    }

    /// Told from outside for the landing itself; all below it must be sound too.
    fn is_sound(&self, lid: &Lid) -> bool {
        let genesis = self.carriers(lid).any(|x| self.is_genesis(x));
        let rules = self.carriers(lid).find_map(|x| self.land(x)).map_or(0, |land| land.rules);
        let known = rules <= self.rules_known || self.has(Fault::UnknownRulesStand);
        let itself = known && self.sound.get(lid) == Some(&true);
        genesis || (itself && self.heads_of(lid).iter().all(|head| self.is_sound(head)))
    }

    pub(super) fn standing(&self) -> BTreeSet<Lid> {
        let (acc, all) = (self.present().acc, self.all());
        let good = |x: &usize| self.entered(*x) && self.ok(*x, acc, Mode::Final, all);
        let lids = (0..self.nodes.len()).filter(good).flat_map(|x| self.nodes[x].lids.iter().map(|(_, lid)| *lid));
        lids.filter(|lid| self.is_sound(lid))
            .flat_map(|lid| self.down(&lid).iter().copied().collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn heads(&self, standing: &BTreeSet<Lid>) -> BTreeMap<BranchName, BTreeSet<Lid>> {
        let on_top = |lid: &&Lid| !standing.iter().any(|above| above != *lid && self.down(above).contains(*lid));
        let mut heads: BTreeMap<BranchName, BTreeSet<Lid>> =
            self.branches().into_keys().map(|branch| (branch, BTreeSet::new())).collect();
        for lid in standing.iter().filter(on_top) {
            for (branch, on_branch) in &mut heads {
                if self.on_branch(lid, branch) {
                    on_branch.insert(*lid);
                }
            }
        }
        heads
    }

    /// Does a standing landing bring this commit into the branch, as far as its fields tell?
    pub(super) fn contains(&self, standing: &BTreeSet<Lid>, branch: &BranchName, commit: &ObjectId) -> bool {
        let tip = |lid: &Lid| self.carriers(lid).find_map(|x| self.land(x)).map(|land| land.tip);
        let brings = |lid: &Lid| self.commit(lid) == Some(*commit) || tip(lid) == Some(*commit);
        standing.iter().any(|lid| self.on_branch(lid, branch) && brings(lid))
    }
}
