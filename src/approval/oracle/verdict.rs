//! What a log says, in a form in which two folds can be compared.

use std::collections::{BTreeMap, BTreeSet};

use super::naive::{Mode, Oracle};
use super::set::Set;
use crate::eventlog::{Payload, Role, Target};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, IdentityId, Lid, MemberId, ObjectId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The accepted revocations.
    pub(super) accepted: BTreeSet<EventId>,
    pub(super) members: BTreeMap<MemberId, Role>,
    pub(super) maintainers: BTreeSet<MemberId>,
    /// Identities that are live now.
    pub(super) identities: BTreeMap<IdentityId, MemberId>,
    /// approvals, own_counts, votes, rules
    pub(super) policy: (u8, bool, u8, u16),
    /// The rules that one must know to go on, where they are not known here.
    pub(super) needs_rules: Option<u16>,
    /// Events that were right in their own past and are live now.
    pub(super) counts: BTreeSet<EventId>,
    pub(super) heads: BTreeMap<BranchName, BTreeSet<Lid>>,
    pub(super) standing: BTreeSet<Lid>,
    /// The first events of open proposals.
    pub(super) open: BTreeSet<EventId>,
    /// What canonical tags are at.
    pub(super) tags: BTreeMap<BranchName, ObjectId>,
    /// What is sent, counted in frontiers and digests; the rest of what is held is evidence.
    pub(super) log: BTreeSet<EventId>,
}

impl Verdict {
    /// The parts in which two verdicts differ, for people.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        fn part<T: PartialEq + std::fmt::Debug>(name: &str, ours: &T, theirs: &T) -> Option<String> {
            (ours != theirs).then(|| format!("{name}: oracle {ours:?}\n    fold {theirs:?}"))
        }
        [
            part("accepted", &self.accepted, &other.accepted),
            part("members", &self.members, &other.members),
            part("maintainers", &self.maintainers, &other.maintainers),
            part("identities", &self.identities, &other.identities),
            part("policy", &self.policy, &other.policy),
            part("needs rules", &self.needs_rules, &other.needs_rules),
            part("counts", &self.counts, &other.counts),
            part("heads", &self.heads, &other.heads),
            part("standing", &self.standing, &other.standing),
            part("open", &self.open, &other.open),
            part("tags", &self.tags, &other.tags),
            part("log", &self.log, &other.log),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Oracle {
    pub(super) fn verdict(&self) -> Verdict {
        let view = self.present();
        let standing = self.standing();
        let ids = |events: Set| events.iter().map(|x| self.id(x)).collect::<BTreeSet<_>>();
        Verdict {
            accepted: ids(view.acc),
            members: view.members.clone(),
            maintainers: view.maintainers.keys().copied().collect(),
            identities: self.identities(view.acc),
            policy: (view.needs.approvals, view.needs.own_counts, view.needs.votes, view.needs.rules),
            needs_rules: [view.frozen, view.landings_frozen, Some(view.needs.rules).filter(|n| *n > self.rules_known)]
                .into_iter()
                .flatten()
                .max(),
            counts: ids(self.all().only(|x| self.counts_now(x))),
            heads: self.heads(&standing),
            open: self.open(&standing),
            standing,
            tags: self.tags(),
            log: ids(self.log(view.acc)),
        }
    }

    /// Of all that counts and names a tag the earliest.
    fn tags(&self) -> BTreeMap<BranchName, ObjectId> {
        let mut first: BTreeMap<BranchName, (Hlc, EventId, ObjectId)> = BTreeMap::new();
        for x in self.all().iter().filter(|x| self.counts_now(*x)) {
            let Payload::Tag(tag) = self.payload(x) else { continue };
            for (name, object, _) in &tag.tags {
                let this = (self.nodes[x].event.body().hlc, self.id(x), *object);
                let held = first.entry(name.clone()).or_insert(this);
                if (this.0, this.1) < (held.0, held.1) {
                    *held = this;
                }
            }
        }
        first.into_iter().map(|(name, (_, _, object))| (name, object)).collect()
    }

    /// An ordinary event counts now.
    fn counts_now(&self, x: usize) -> bool {
        self.admissible(x) && self.live(x, self.present().acc, Mode::Final)
    }

    fn identities(&self, acc: Set) -> BTreeMap<IdentityId, MemberId> {
        let set = self.present().set;
        let grants = self.standing_grants(set, acc, Mode::Final);
        let revoked = |given: usize, identity: &IdentityId| {
            let aims = |r: usize| self.revoke(r).is_some_and(|r| r.targets.contains(&Target::Identity(*identity)));
            acc.iter().any(|r| aims(r) && !self.lifts(given, r))
        };
        let mut live = BTreeMap::new();
        for x in set.iter() {
            let (identity, link) = match self.payload(x) {
                Payload::Genesis(genesis) => (genesis.founder, None),
                Payload::Grant(grant) => (grant.identity, None),
                Payload::Link(link) => (link.identity, Some(link)),
                _ => continue,
            };
            for member in self.owners(&identity, Set::default().with(x)) {
                // Whichever grant gave the role.
                let role = |(_, to, _): &(usize, MemberId, Role)| *to == member;
                let works = match link {
                    Some(_) => self.live(x, acc, Mode::Final),
                    None => self.effective(x, acc, set, Mode::Final),
                };
                if works && grants.iter().any(role) && !revoked(x, &identity) {
                    live.entry(identity).or_insert_with(BTreeSet::new).insert(member);
                }
            }
        }
        // An identity that serves several members is shown as that of the one who comes first.
        let all = self.all();
        let first = |identity: &IdentityId, members: BTreeSet<MemberId>| {
            self.owners(identity, all).into_iter().find(|member| members.contains(member))
        };
        live.into_iter().filter_map(|(identity, members)| Some((identity, first(&identity, members)?))).collect()
    }

    /// The event that began the proposal of a revision.
    fn began(&self, revision: usize) -> usize {
        let Payload::Propose(propose) = self.payload(revision) else { return revision };
        let Some(previous) = propose.previous.and_then(|id| self.at(&id)) else { return revision };
        let Payload::Propose(earlier) = self.payload(previous) else { return revision };
        let same = earlier.branch == propose.branch && self.member(previous) == self.member(revision);
        if same && self.offered(previous) { self.began(previous) } else { revision }
    }

    fn open(&self, standing: &BTreeSet<Lid>) -> BTreeSet<EventId> {
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        let offered = self.all().only(|x| self.offered(x) && self.counts_now(x));
        for x in offered.iter() {
            let order = |x: usize| (self.nodes[x].event.body().hlc, self.id(x));
            let known = last.entry(self.began(x)).or_insert(x);
            if order(x) > order(*known) {
                *known = x;
            }
        }
        let withdrawn: BTreeSet<usize> = self
            .all()
            .iter()
            .filter_map(|w| match self.payload(w) {
                Payload::Withdraw(withdraw) => Some((w, self.at(&withdraw.revision)?)),
                _ => None,
            })
            .filter(|(w, revision)| self.member(*w) == self.member(*revision) && self.counts_now(*w))
            .map(|(_, revision)| self.began(revision))
            .collect();
        let landed = |revision: usize| match self.payload(revision) {
            Payload::Propose(propose) => self.contains(standing, &propose.target, &propose.tip),
            _ => false,
        };
        let open = last.into_iter().filter(|(began, last)| !withdrawn.contains(began) && !landed(*last));
        open.map(|(began, _)| self.id(began)).collect()
    }

    /// Is it beyond a pin of a revocation that still applies, or at or beyond the first fork of its feed?
    fn cut_off(&self, x: usize, acc: Set) -> bool {
        let all = self.all();
        let grants = self.standing_effective(acc);
        let given = |r: usize, identity: &IdentityId| {
            let gives = |i: usize| !self.owners(identity, Set::default().with(i)).is_empty();
            all.iter().any(|i| gives(i) && self.lifts(i, r) && self.gives_now(i, acc))
        };
        let aims = |r: usize, target: &Target| match target {
            Target::Member(member) => {
                *member == self.member(x) && !grants.iter().any(|(g, to)| to == member && self.lifts(*g, r))
            }
            Target::Identity(identity) => *identity == self.identity(x) && !given(r, identity),
            Target::Feed(feed) => *feed == self.feed(x),
        };
        let hits = |r: usize| self.revoke(r).is_some_and(|revoke| revoke.targets.iter().any(|t| aims(r, t)));
        let forked = self.first_doubled(x, all).is_some_and(|seq| self.seq(x) >= seq);
        forked || acc.iter().any(|r| hits(r) && !self.kept(x, r))
    }

    /// All grants that have what they need, killed by a revocation or not.
    fn standing_effective(&self, acc: Set) -> Vec<(usize, MemberId)> {
        let gov = self.gov(self.all());
        let grants = gov.iter().filter_map(|g| Some((g, self.grant(g)?.0)));
        grants.filter(|(g, _)| self.effective(*g, acc, gov, Mode::Final)).collect()
    }

    fn gives_now(&self, i: usize, acc: Set) -> bool {
        match self.payload(i) {
            Payload::Link(_) => self.live(i, acc, Mode::Final),
            _ => self.effective(i, acc, self.gov(self.all()), Mode::Final),
        }
    }

    /// What is part of the log, and then all that it names.
    fn log(&self, acc: Set) -> Set {
        let proof = |x: usize| {
            let Some(seq) = self.first_doubled(x, self.all()) else { return false };
            let twins = self.all().iter().filter(|y| self.feed(*y) == self.feed(x) && self.seq(*y) == seq);
            let mut ids: Vec<EventId> = twins.map(|y| self.id(y)).collect();
            ids.sort_unstable();
            ids.iter().take(2).any(|id| *id == self.id(x))
        };
        let own = self.all().only(|x| self.kind(x).governs() || proof(x) || !self.cut_off(x, acc));
        own.iter().fold(own, |log, x| log.union(self.past(x)))
    }
}
