//! What somebody who knew just these governance events held to be true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::judge::{Judge, Need, Shared};
use super::{Authority, Gov, Governance, Past, Set, What};
use crate::eventlog::rows::Place;
use crate::eventlog::{Genesis, Role, SetPolicy, Target};
use crate::id::{EventId, IdentityId, MemberId, PeerId};

/// What landings and governance need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Approvals by different maintainers that a landing needs.
    pub approvals: u8,
    /// Does the author's own approval count?
    pub own_counts: bool,
    /// Maintainers who must agree to a grant, a revocation or a policy.
    pub votes: u8,
    /// The least number of `rules` that a landing may have.
    pub rules: u16,
}

impl Default for Demands {
    fn default() -> Self {
        Self { approvals: 1, own_counts: true, votes: 1, rules: 1 }
    }
}

impl Demands {
    pub(super) fn of_genesis(genesis: &Genesis) -> Self {
        let policy = genesis.policy;
        Self { approvals: policy.approvals, own_counts: policy.own_counts, votes: 1, rules: genesis.rules }
    }

    pub(super) fn of(policy: &SetPolicy) -> Self {
        let SetPolicy { approvals, own_counts, votes, rules, .. } = *policy;
        Self { approvals, own_counts, votes, rules }
    }

    /// Of concurrent ones each field at its strictest.
    fn strictest(self, other: Self) -> Self {
        Self {
            approvals: self.approvals.max(other.approvals),
            own_counts: self.own_counts && other.own_counts,
            votes: self.votes.max(other.votes),
            rules: self.rules.max(other.rules),
        }
    }

    /// How many approvals a landing needs where there are this many maintainers: nobody is locked out.
    pub fn approvals_of(&self, maintainers: usize) -> usize {
        usize::from(self.approvals).min(maintainers).max(1)
    }

    /// How many maintainers must agree, where there are this many.
    pub fn votes_of(&self, maintainers: usize) -> usize {
        usize::from(self.votes).min(maintainers).max(1)
    }
}

/// What a revocation's author had seen of its targets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::approval) struct Seen {
    /// Every event of their feeds that was seen is pinned.
    pub(in crate::approval) complete: bool,
    /// Each feed that is a target had begun.
    pub(in crate::approval) known: bool,
    /// The time of the earliest pin: what is earlier is not voided by it.
    pub(in crate::approval) from: u64,
    /// The last event seen on each strand, as far as it is not earlier than that.
    pub(in crate::approval) tops: Vec<Place>,
}

/// What holds of a revocation by its own past, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::approval) struct Standing {
    /// Maintainers who must back it.
    pub(super) need: usize,
    /// Its author takes back their own.
    pub(super) leave: bool,
}

/// What holds in the eyes of a set of governance events.
#[derive(Debug, Default)]
pub(in crate::approval) struct View {
    /// Accepted revocations.
    pub(in crate::approval) accepted: Set,
    pub(in crate::approval) demands: Demands,
    /// Who may do what follows from an event of rules of this number, which this version does not know.
    pub(in crate::approval) frozen: Option<u16>,
    /// The same of landings.
    pub(in crate::approval) landings_frozen: Option<u16>,
    /// What was judged: without what rests on events that freeze rights, and these.
    pub(super) set: Set,
    forks: bool,
    members: OnceLock<Members>,
}

/// Members of a view.
#[derive(Debug, Default)]
pub(in crate::approval) struct Members {
    /// With their largest role.
    pub(in crate::approval) roles: BTreeMap<MemberId, Role>,
    /// Identities that count, with whose they are.
    pub(in crate::approval) identities: BTreeMap<IdentityId, MemberId>,
    /// Clones that were taken off by themselves.
    pub(in crate::approval) feeds: BTreeSet<PeerId>,
    /// Grants that make a maintainer.
    maintaining: BTreeMap<MemberId, Vec<Gov>>,
}

impl View {
    /// Its members.
    pub(in crate::approval) fn members(&self, of: &Authority) -> &Members {
        self.members.get_or_init(|| {
            let judge = Judge::new(self.accepted.clone(), self.forks);
            members(of, &self.set, &judge)
        })
    }

    /// How many maintainers.
    pub(in crate::approval) fn maintainers(&self, of: &Authority) -> usize {
        self.members(of).maintaining.len()
    }

    /// May whoever knows just this do something now?
    pub(in crate::approval) fn may(
        &self,
        of: &Authority,
        member: &MemberId,
        identity: &IdentityId,
        feed: &PeerId,
        need: Need,
    ) -> bool {
        let members = self.members(of);
        self.frozen.is_none()
            && members.identities.get(identity) == Some(member)
            && members.roles.get(member).is_some_and(|role| need.fits(*role))
            && !members.feeds.contains(feed)
    }

    pub(in crate::approval) fn is_maintainer(&self, of: &Authority, member: &MemberId) -> bool {
        self.members(of).maintaining.contains_key(member)
    }
}

/// Where a link comes among those of an identity (a grant has no place: it goes first), and to whom it gives it.
type Giver = (Option<(usize, EventId)>, MemberId);

/// Those with an effective grant that no revocation takes from them.
fn members(of: &Authority, set: &Set, judge: &Judge) -> Members {
    let mut found = Members::default();
    // Who an identity may belong to: of several the first by grant, then by link, who is a member.
    let mut givers: BTreeMap<IdentityId, BTreeSet<Giver>> = BTreeMap::new();
    let taken = |target: Target, grant: Gov| {
        judge.accepted.iter().any(|number| {
            let What::Revoke { targets, .. } = &of.get(number).what else { return false };
            targets.binary_search(&target).is_ok() && !of.pasts.set(of.get(grant).past).has(number)
        })
    };
    for gov in set.iter() {
        let entry = of.get(gov);
        let (member, role, identity) = match &entry.what {
            What::Genesis => (entry.member, Some(Role::Maintainer), entry.identity),
            What::Grant { member, identity, role, .. } => (*member, Some(*role), *identity),
            What::Link { identity, fits: true } => (entry.member, None, *identity),
            _ => continue,
        };
        if !judge.effective_within(of, gov, set) {
            continue;
        }
        if !taken(Target::Identity(identity), gov) {
            // A grant of the identity itself goes before a link of it to somebody else; see `member_in`.
            let rank = role.is_none().then(|| (of.pasts.set(entry.past).len(), entry.id));
            givers.entry(identity).or_default().insert((rank, member));
        }
        if let Some(role) = role
            && !taken(Target::Member(member), gov)
        {
            let held = found.roles.entry(member).or_insert(role);
            *held = held.or(role);
            if role.maintains() {
                found.maintaining.entry(member).or_default().push(gov);
            }
        }
    }
    for number in judge.accepted.iter() {
        let What::Revoke { targets, .. } = &of.get(number).what else { continue };
        found.feeds.extend(targets.iter().filter_map(|target| match target {
            Target::Feed(feed) => Some(*feed),
            _ => None,
        }));
    }
    for (identity, givers) in givers {
        let first = givers.into_iter().map(|(_, member)| member).find(|member| found.roles.contains_key(member));
        found.identities.extend(first.map(|member| (identity, member)));
    }
    found
}

/// For the order in which revocations are accepted.
type Key = (u8, Vec<(usize, EventId)>, (usize, EventId), EventId);

impl Authority {
    /// What whoever had just this past held to be true.
    pub(in crate::approval) fn view(&self, past: Past) -> Arc<View> {
        self.views[past.0 as usize].get_or_init(|| Arc::new(self.work_out(self.pasts.set(past), false))).clone()
    }

    /// Works out a view of events that are known here: one revocation is accepted at a time.
    pub(super) fn work_out_known(&self, set: &Set, forks: bool) -> View {
        let mut accepted = Set::default();
        let candidates: Vec<Gov> = set
            .iter()
            .filter(|gov| matches!(self.get(*gov).what, What::Revoke { .. }) && self.get(*gov).admissible)
            .collect();
        let mut judges: Shared = Shared::new();
        let mut judge_of = |accepted: &Set| {
            judges.entry(accepted.clone()).or_insert_with(|| Arc::new(Judge::new(accepted.clone(), forks))).clone()
        };
        loop {
            let judge = judge_of(&accepted);
            let ready: Vec<Gov> = candidates
                .iter()
                .copied()
                .filter(|gov| !accepted.has(*gov) && self.ready(*gov, &judge, set, &mut judge_of))
                .collect();
            if ready.is_empty() {
                break;
            }
            let next =
                if let [one] = ready.as_slice() { *one } else { self.first(&ready, &accepted, set, &mut judge_of) };
            accepted.insert(next);
        }
        let judge = judge_of(&accepted);
        let policies: Vec<(Gov, Demands)> = set
            .iter()
            .filter_map(|gov| match &self.get(gov).what {
                What::Policy(demands) => Some((gov, *demands)),
                _ => None,
            })
            .filter(|(gov, _)| self.get(*gov).admissible && judge.effective_within(self, *gov, set))
            .collect();
        let superseded = |gov: Gov| policies.iter().any(|(later, _)| self.pasts.set(self.get(*later).past).has(gov));
        let newest = policies.iter().filter(|(gov, _)| !superseded(*gov)).map(|(_, demands)| *demands);
        let mut demands = newest.reduce(Demands::strictest).unwrap_or(self.demands);
        // Rules are only ever raised.
        let rules = policies.iter().map(|(_, demands)| demands.rules).chain([self.demands.rules]);
        demands.rules = rules.max().unwrap_or(demands.rules);
        View { accepted, demands, set: set.clone(), forks, ..View::default() }
    }

    /// Of several that are ready the one that is accepted: free of those that kill it, the smallest key first.
    fn first(&self, ready: &[Gov], accepted: &Set, set: &Set, judge_of: &mut impl FnMut(&Set) -> Arc<Judge>) -> Gov {
        let judge = judge_of(accepted);
        let keys: BTreeMap<Gov, Key> = ready.iter().map(|gov| (*gov, self.key(*gov, &judge, set))).collect();
        let mut kills: BTreeSet<(Gov, Gov)> = BTreeSet::new();
        for killer in ready {
            let mut with = accepted.clone();
            with.insert(*killer);
            let judge = judge_of(&with);
            for other in ready.iter().filter(|other| *other != killer) {
                if !self.ready(*other, &judge, set, judge_of) {
                    kills.insert((*killer, *other));
                }
            }
        }
        let is_free = |gov: &&Gov| {
            !ready.iter().any(|killer| {
                let mutual = kills.contains(&(**gov, *killer)) && keys[*gov] < keys[killer];
                kills.contains(&(*killer, **gov)) && !mutual
            })
        };
        let free = ready.iter().filter(is_free).min_by_key(|gov| &keys[*gov]);
        let any = ready.iter().min_by_key(|gov| &keys[*gov]);
        *free.or(any).expect("the caller has several")
    }

    fn ready(&self, gov: Gov, judge: &Judge, set: &Set, judge_of: &mut impl FnMut(&Set) -> Arc<Judge>) -> bool {
        let What::Revoke { targets, standing, .. } = &self.get(gov).what else { return false };
        if !judge.live_gov(self, gov) {
            return false;
        }
        if !standing.leave && self.backers(gov, judge, set).len() < standing.need {
            return false;
        }
        // A maintainer remains.
        if !targets.iter().any(|target| matches!(target, Target::Member(_))) {
            return true;
        }
        let mut with = judge.accepted.clone();
        with.insert(gov);
        let judge = judge_of(&with);
        !members(self, set, &judge).maintaining.is_empty()
    }

    /// Members who back a revocation: its author and those who voted for it, as far as it knew them as maintainers.
    pub(super) fn backers(&self, gov: Gov, judge: &Judge, set: &Set) -> BTreeSet<MemberId> {
        let entry = self.get(gov);
        let view = self.view(entry.past);
        let votes = self.votes.get(&entry.id).into_iter().flatten().copied().filter(|vote| set.has(*vote));
        std::iter::once(gov)
            .chain(votes)
            .filter(|by| self.get(*by).admissible && judge.live_gov(self, *by))
            .map(|by| self.get(by).member)
            .filter(|member| view.is_maintainer(self, member))
            .collect()
    }

    fn key(&self, gov: Gov, judge: &Judge, set: &Set) -> Key {
        let entry = self.get(gov);
        let view = self.view(entry.past);
        let backers = self.backers(gov, judge, set);
        let alone = u8::from(backers.len() * 2 <= view.maintainers(self));
        let members = view.members(self);
        let rank = |member: &MemberId| {
            let grants = members.maintaining.get(member).into_iter().flatten();
            grants.map(|grant| (self.pasts.set(self.get(*grant).past).len(), self.get(*grant).id)).min()
        };
        let mut ranks: Vec<(usize, EventId)> = backers.iter().filter_map(rank).collect();
        ranks.sort_unstable();
        // Of two machines of one member the one that came first, as far as its author knew: what is linked later, or elsewhere,
        // changes nothing.
        let past = self.pasts.set(entry.past);
        let gave = |giver: &&Gov| {
            past.has(**giver)
                && match &self.get(**giver).what {
                    What::Link { fits, .. } => *fits && self.get(**giver).member == entry.member,
                    _ => entry.member == MemberId::of(&entry.identity),
                }
        };
        let givers = self.givers.get(&entry.identity).into_iter().flatten().filter(gave);
        let giver = givers.map(|giver| (self.pasts.set(self.get(*giver).past).len(), self.get(*giver).id)).min();
        (alone, ranks, giver.unwrap_or((usize::MAX, entry.id)), entry.id)
    }

    /// What holds of a revocation by its own past.
    pub(super) fn standing(&self, entry: &Governance, seen: &Seen) -> Standing {
        let What::Revoke { targets, .. } = &entry.what else {
            return Standing { need: usize::MAX, leave: false };
        };
        let set = self.pasts.set(entry.past);
        let view = self.view(entry.past);
        let owner = |target: &Target| match target {
            Target::Member(member) => Some(*member),
            Target::Identity(identity) => self.member_in(set, identity),
            Target::Feed(feed) => self.strands.of_feed(feed).first().map(|strand| self.strands.get(*strand).member),
        };
        let leave = seen.known && targets.iter().all(|target| owner(target) == Some(entry.member));
        let maintainers = view.maintainers(self);
        let votes = view.demands.votes_of(maintainers);
        let senior = |target: &Target| {
            // Of whom one knows nothing one cannot say that one came before them.
            let Some(target) = owner(target) else { return false };
            target == entry.member || self.is_senior(&view, &entry.member, &target)
        };
        let alone = view.demands.votes <= 1 && seen.complete && seen.known && targets.iter().all(senior);
        let need = if alone { 1 } else { votes.max(maintainers / 2 + 1) };
        Standing { need, leave }
    }

    /// A maintainer grant of one lies in the past of every one of the other's.
    fn is_senior(&self, view: &View, one: &MemberId, other: &MemberId) -> bool {
        let maintaining = &view.members(self).maintaining;
        let Some(theirs) = maintaining.get(other) else { return true };
        let ours = maintaining.get(one).into_iter().flatten();
        ours.into_iter().any(|grant| theirs.iter().all(|their| self.pasts.set(self.get(*their).past).has(*grant)))
    }

    /// Has this member votes enough to remove the other alone, by what holds now?
    pub(in crate::approval) fn removes_alone(&self, one: &MemberId, other: &MemberId) -> bool {
        self.now.demands.votes <= 1 && self.is_senior(&self.now, one, other)
    }
}
