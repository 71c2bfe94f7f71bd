//! `view`, `live` and what they rest on: section 2 of the protocol, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::mutants::Fault;
use super::naive::{Mode, Oracle};
use super::set::Set;
use crate::eventlog::{Area, Payload, Revoke, Role, Target};
use crate::id::{EventId, IdentityId, MemberId};

/// What landings and governance need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) approvals: u8,
    pub(super) own_counts: bool,
    pub(super) votes: u8,
    pub(super) rules: u16,
}

/// What a set of governance events says.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The accepted revocations.
    pub(super) acc: Set,
    /// Members with the largest role that a grant gives them.
    pub(super) members: BTreeMap<MemberId, Role>,
    /// Maintainers with the grants that make them so.
    pub(super) maintainers: BTreeMap<MemberId, Vec<usize>>,
    pub(super) needs: Needs,
    /// The rules that one must know to say who may do what, where they are not known here.
    pub(super) frozen: Option<u16>,
    /// The same of landings.
    pub(super) landings_frozen: Option<u16>,
    /// The events that were judged.
    pub(super) set: Set,
}

/// The order of acceptance: backed by a majority first, then by seniority of supporters, then by the author's
/// identity, then by id.
type Key = (u8, Vec<(usize, EventId)>, (usize, EventId), EventId);

/// Which roles are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Maintainer,
    Proposer,
    Any,
}

impl Need {
    fn met_by(self, role: Role) -> bool {
        match self {
            Self::Maintainer => role.maintains(),
            Self::Proposer => role.proposes(),
            Self::Any => true,
        }
    }
}

impl Oracle {
    /// V(x): what the author of `x` knew.
    pub(super) fn knew(&self, x: usize) -> Rc<View> {
        self.view(self.gov(self.past(x)), Mode::Past)
    }

    /// What counts now.
    pub(super) fn present(&self) -> Rc<View> {
        self.view(self.gov(self.all()), Mode::Final)
    }

    pub(super) fn view(&self, s: Set, mode: Mode) -> Rc<View> {
        if let Some(view) = self.memo.borrow().views.get(&(s, mode)) {
            return view.clone();
        }
        let newer = |area: Area| s.only(|x| self.is_newer(x) && self.kind(x).area() == area && self.admissible(x));
        let (rights, landings) = (newer(Area::Rights), newer(Area::Landings));
        let without = |some: Set| s.only(|x| !some.has(x) && !some.iter().any(|one| self.past(x).has(one)));
        let mut view = self.view_of_known(without(rights), mode);
        let stand = rights.only(|x| self.has(Fault::FrozenForEver) || self.live(x, view.acc, mode));
        let rules = |some: Set| some.iter().map(|x| self.knew(x).needs.rules).max();
        if !self.has(Fault::NewerIgnored) {
            view = self.view_of_known(without(stand), mode);
            view.frozen = rules(stand);
            view.landings_frozen = rules(landings.only(|x| self.live(x, view.acc, mode)));
        } else {
            view = self.view_of_known(s, mode);
        }
        let view = Rc::new(view);
        self.memo.borrow_mut().views.insert((s, mode), view.clone());
        view
    }

    /// Of a kind that is not known here, and from which rights or landings follow.
    fn is_newer(&self, x: usize) -> bool {
        self.kind(x).is_newer() && self.kind(x).governs()
    }

    fn view_of_known(&self, s: Set, mode: Mode) -> View {
        let candidates = s.only(|r| self.revoke(r).is_some() && self.admissible(r));
        let mut acc = Set::default();
        loop {
            let ready = candidates.only(|r| !acc.has(r) && self.ready(r, acc, s, mode));
            if ready.len() == 0 {
                break;
            }
            let kills = |x: usize, y: usize| !self.ready(y, acc.with(x), s, mode);
            let keys: BTreeMap<usize, Key> = ready.iter().map(|r| (r, self.key(r, acc, s, mode))).collect();
            let beaten = |y: usize, x: usize| x != y && kills(x, y) && !(kills(y, x) && keys[&y] < keys[&x]);
            let free = ready.only(|y| !ready.iter().any(|x| beaten(y, x)));
            let choice = if free.len() > 0 { free } else { ready };
            let first = choice.iter().min_by_key(|r| &keys[r]).expect("it is not empty");
            acc = acc.with(first);
        }
        View {
            acc,
            members: self.members(s, acc, mode),
            maintainers: self.maintainers(s, acc, mode),
            needs: self.needs(s, acc, mode),
            frozen: None,
            landings_frozen: None,
            set: s,
        }
    }

    pub(super) fn revoke(&self, x: usize) -> Option<&Revoke> {
        match self.payload(x) {
            Payload::Revoke(revoke) => Some(revoke),
            _ => None,
        }
    }

    /// Whom a grant makes what. An identity granted as another's gives nothing.
    pub(super) fn grant(&self, x: usize) -> Option<(MemberId, Role)> {
        match self.payload(x) {
            Payload::Genesis(genesis) => Some((MemberId::of(&genesis.founder), Role::Maintainer)),
            Payload::Grant(grant) if grant.member == MemberId::of(&grant.identity) => Some((grant.member, grant.role)),
            _ => None,
        }
    }

    /// The member to whom `x` links `identity`.
    fn link(&self, x: usize, identity: &IdentityId) -> Option<MemberId> {
        let Payload::Link(link) = self.payload(x) else { return None };
        if link.identity != *identity {
            return None;
        }
        let member = self.member(x);
        let known = self.memo.borrow().proofs.get(&x).copied();
        // What is another member's stays theirs.
        let free = || self.owners(identity, self.past(x)).first().is_none_or(|owner| *owner == member);
        let proven = known.unwrap_or_else(|| link.verify(&self.project, &member).is_ok() && free());
        self.memo.borrow_mut().proofs.insert(x, proven);
        proven.then_some(member)
    }

    /// To whom an identity is given by events among these: its own member first, then those that linked it, by rank.
    pub(super) fn owners(&self, identity: &IdentityId, events: Set) -> Vec<MemberId> {
        let own = MemberId::of(identity);
        let granted = events.iter().any(|g| self.grant(g).is_some_and(|(member, _)| member == own));
        let mut links: Vec<_> = events.iter().filter_map(|i| Some((self.place(i), self.link(i, identity)?))).collect();
        links.sort_unstable();
        let mut owners = if granted { vec![own] } else { Vec::new() };
        for (_, member) in links {
            if !owners.contains(&member) {
                owners.push(member);
            }
        }
        owners
    }

    /// How far down an event is in the chain of governance, then its id.
    fn place(&self, x: usize) -> (usize, EventId) {
        (self.gov(self.past(x)).len(), self.id(x))
    }

    pub(super) fn admissible(&self, x: usize) -> bool {
        if let Some(known) = self.memo.borrow().admissible.get(&x) {
            return *known;
        }
        let view = self.knew(x);
        let known = view.frozen.is_none()
            && (!self.is_newer(x) || view.needs.rules > self.rules_known || self.has(Fault::NewerUnderKnownRules));
        let admissible = known && (self.has(Fault::NotJudgedByItsPast) || self.live(x, view.acc, Mode::Past));
        self.memo.borrow_mut().admissible.insert(x, admissible);
        admissible
    }

    /// The rule of ingest: live as any role.
    pub(super) fn may_be_stored(&self, x: usize, acc: Set) -> bool {
        self.live_as(x, Need::Any, acc, Mode::Past)
    }

    fn need(&self, x: usize) -> Need {
        match self.payload(x) {
            Payload::Revoke(_) if self.is_leave(x) => Need::Any,
            Payload::Grant(_)
            | Payload::Revoke(_)
            | Payload::Vote(_)
            | Payload::Policy(_)
            | Payload::Approve(_)
            | Payload::Reject(_)
            | Payload::Invite(_)
            | Payload::Tag(_) => Need::Maintainer,
            Payload::Propose(_) => Need::Proposer,
            Payload::Genesis(_)
            | Payload::Certify(_)
            | Payload::Withdraw(_)
            | Payload::Land(_)
            | Payload::Link(_)
            | Payload::Ack(_)
            | Payload::Unknown(..) => Need::Any,
        }
    }

    pub(super) fn live(&self, x: usize, acc: Set, mode: Mode) -> bool {
        if let Some(known) = self.memo.borrow().live.get(&(x, acc, mode)) {
            return *known;
        }
        let live = self.live_as(x, self.need(x), acc, mode);
        self.memo.borrow_mut().live.insert((x, acc, mode), live);
        live
    }

    fn live_as(&self, x: usize, need: Need, acc: Set, mode: Mode) -> bool {
        if matches!(self.payload(x), Payload::Genesis(_)) {
            return true;
        }
        if mode == Mode::Final && !self.counts(x) {
            return false;
        }
        let past = self.past(x);
        let gives = |g: usize| self.grant(g).is_some_and(|(to, role)| to == self.member(x) && need.met_by(role));
        past.iter().any(|g| {
            gives(g)
                && self.effective(g, acc, past, mode)
                && self.givers(x, acc, mode).into_iter().any(|i| !self.cut(x, g, i, acc))
        })
    }

    /// The events that may have given the identity of `x` to its member, whichever gave the role: grants, if it is the
    /// member's first, and links.
    fn givers(&self, x: usize, acc: Set, mode: Mode) -> Vec<usize> {
        let (identity, member, past) = (self.identity(x), self.member(x), self.past(x));
        let first = MemberId::of(&identity) == member;
        let granted =
            |i: usize| first && self.grant(i).is_some_and(|(to, _)| to == member) && self.effective(i, acc, past, mode);
        let linked = |i: usize| self.link(i, &identity) == Some(member) && self.live(i, acc, mode);
        past.iter().filter(|i| granted(*i) || linked(*i)).collect()
    }

    fn cut(&self, x: usize, g: usize, i: usize, acc: Set) -> bool {
        acc.iter().any(|r| {
            let Some(revoke) = self.revoke(r) else { return false };
            let hits = revoke.targets.iter().any(|target| match target {
                Target::Member(member) => *member == self.member(x) && !self.lifts(g, r),
                Target::Identity(identity) => {
                    let first = MemberId::of(identity) == self.member(x);
                    let spared = self.has(Fault::LinkSurvives) && !first;
                    *identity == self.identity(x) && !self.lifts(i, r) && !spared
                }
                Target::Feed(feed) => *feed == self.feed(x) && !self.has(Fault::FeedsSurvive),
            });
            hits && !self.kept(x, r)
        })
    }

    /// Did whoever gave this know the revocation?
    pub(super) fn lifts(&self, given: usize, r: usize) -> bool {
        if self.has(Fault::ConcurrentGrantSaves) {
            return !self.past(r).has(given);
        }
        self.past(given).has(r) && !self.has(Fault::NoReadmission)
    }

    /// Is `x` a pin of `r` or before one on its own feed?
    pub(super) fn kept(&self, x: usize, r: usize) -> bool {
        let Some(revoke) = self.revoke(r) else { return true };
        let pins = || revoke.pins.iter().filter_map(|pin| self.at(pin));
        if self.has(Fault::UnnamedFeedSurvives) && !pins().any(|pin| self.feed(pin) == self.feed(x)) {
            return true;
        }
        !self.has(Fault::PinsIgnored) && pins().any(|pin| self.on_chain(x, pin))
    }

    /// `g` is a grant or a policy; `p` holds the votes on it.
    pub(super) fn effective(&self, g: usize, acc: Set, p: Set, mode: Mode) -> bool {
        if matches!(self.payload(g), Payload::Genesis(_)) {
            return true;
        }
        if !self.live(g, acc, mode) {
            return false;
        }
        let view = self.knew(g);
        let votes = p.iter().filter(|v| self.votes_for(*v, g) && self.live(*v, acc, mode)).map(|v| self.member(v));
        let agree: BTreeSet<MemberId> = votes.chain([self.member(g)]).collect();
        self.has(Fault::VotesNotNeeded) || agree.len() >= usize::from(view.needs.votes).min(view.maintainers.len())
    }

    fn votes_for(&self, v: usize, x: usize) -> bool {
        matches!(self.payload(v), Payload::Vote(vote) if vote.on == self.id(x))
    }

    /// The grants in `s` that give somebody a role under `acc`.
    pub(super) fn standing_grants(&self, s: Set, acc: Set, mode: Mode) -> Vec<(usize, MemberId, Role)> {
        let on = |r: usize, member: &MemberId| {
            self.revoke(r).is_some_and(|revoke| revoke.targets.contains(&Target::Member(*member)))
        };
        let grants = s.iter().filter_map(|g| self.grant(g).map(|(member, role)| (g, member, role)));
        let spared = grants.filter(|(g, member, _)| !acc.iter().any(|r| on(r, member) && !self.lifts(*g, r)));
        spared.filter(|(g, ..)| self.effective(*g, acc, s, mode)).collect()
    }

    fn members(&self, s: Set, acc: Set, mode: Mode) -> BTreeMap<MemberId, Role> {
        let mut members: BTreeMap<MemberId, Role> = BTreeMap::new();
        let mut grants = self.standing_grants(s, acc, mode);
        if self.has(Fault::LatestRole) {
            grants.sort_by_key(|(g, ..)| self.nodes[*g].event.order());
            return grants.into_iter().map(|(_, member, role)| (member, role)).collect();
        }
        for (_, member, role) in grants {
            members.entry(member).and_modify(|known| *known = known.or(role)).or_insert(role);
        }
        members
    }

    fn maintainers(&self, s: Set, acc: Set, mode: Mode) -> BTreeMap<MemberId, Vec<usize>> {
        let mut maintainers: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
        for (g, member, role) in self.standing_grants(s, acc, mode) {
            if role.maintains() {
                maintainers.entry(member).or_default().push(g);
            }
        }
        maintainers
    }

    fn needs(&self, s: Set, acc: Set, mode: Mode) -> Needs {
        let policies: Vec<(usize, Needs)> = s
            .iter()
            .filter_map(|p| match self.payload(p) {
                Payload::Policy(set) if self.admissible(p) && self.effective(p, acc, s, mode) => {
                    let (approvals, own_counts) = (set.approvals, set.own_counts);
                    Some((p, Needs { approvals, own_counts, votes: set.votes, rules: set.rules }))
                }
                Payload::Genesis(genesis) => {
                    let (approvals, own_counts) = (genesis.policy.approvals, genesis.policy.own_counts);
                    Some((p, Needs { approvals, own_counts, votes: 1, rules: genesis.rules }))
                }
                _ => None,
            })
            .collect();
        let later = |p: usize| policies.iter().any(|(other, _)| self.past(*other).has(p));
        let last = policies.iter().filter(|(p, _)| !later(*p)).map(|(_, needs)| *needs);
        let needs = last.reduce(|a, b| {
            let strictest = Needs {
                approvals: a.approvals.max(b.approvals),
                own_counts: a.own_counts && b.own_counts,
                votes: a.votes.max(b.votes),
                rules: a.rules.max(b.rules),
            };
            let laxest = Needs {
                approvals: a.approvals.min(b.approvals),
                own_counts: a.own_counts || b.own_counts,
                votes: a.votes.min(b.votes),
                rules: a.rules.min(b.rules),
            };
            if self.has(Fault::LaxestPolicy) { laxest } else { strictest }
        });
        let mut needs = needs.unwrap_or(Needs { approvals: 1, own_counts: true, votes: 1, rules: 1 });
        if !self.has(Fault::RulesGoDown) {
            // Rules are only ever raised: a later policy with a lower number leaves them as they were.
            needs.rules = policies.iter().map(|(_, needs)| needs.rules).fold(needs.rules, u16::max);
        }
        needs
    }

    /// The first number of a feed that two of these events have.
    pub(super) fn first_doubled(&self, x: usize, events: Set) -> Option<u64> {
        let mut seen = BTreeSet::new();
        let on_feed = events.iter().filter(|y| self.feed(*y) == self.feed(x)).map(|y| self.seq(y));
        on_feed.filter(|seq| !seen.insert(*seq)).min()
    }

    fn counts(&self, x: usize) -> bool {
        if let Some(known) = self.memo.borrow().counts.get(&x) {
            return *known;
        }
        let all = self.all();
        let below_fork = |x: usize| self.first_doubled(x, all).is_none_or(|seq| self.seq(x) < seq);
        let witness = |w: usize| {
            (self.member(w) != self.member(x) || self.has(Fault::OwnWitness))
                && below_fork(w)
                && self.past(w).has(x)
                && self.first_doubled(x, self.past(w)).is_none()
        };
        let counts = below_fork(x) || (!self.has(Fault::ForkVoidsAll) && all.iter().any(witness));
        self.memo.borrow_mut().counts.insert(x, counts);
        counts
    }

    /// Whose a target is, as far as the author of `r` knew.
    fn belongs_to(&self, target: &Target, r: usize) -> Vec<MemberId> {
        match target {
            Target::Member(member) => vec![*member],
            Target::Identity(identity) => self.owners(identity, self.past(r)),
            Target::Feed(feed) => {
                let of_feed = self.past(r).iter().filter(|x| self.feed(*x) == *feed);
                of_feed.map(|x| self.member(x)).collect::<BTreeSet<_>>().into_iter().collect()
            }
        }
    }

    /// Are all targets the author's own?
    pub(super) fn is_leave(&self, r: usize) -> bool {
        let own = |target| self.belongs_to(target, r).contains(&self.member(r));
        self.revoke(r).is_some_and(|revoke| revoke.targets.iter().all(own))
    }

    fn senior(&self, author: &MemberId, target: &MemberId, view: &View) -> bool {
        let Some(theirs) = view.maintainers.get(target) else { return true };
        let own = view.maintainers.get(author).map_or(&[][..], Vec::as_slice);
        own.iter().any(|a| theirs.iter().all(|t| self.past(*t).has(*a)))
    }

    fn alone(&self, r: usize) -> bool {
        let Some(revoke) = self.revoke(r) else { return false };
        let (view, author) = (self.knew(r), self.member(r));
        let mut targets = revoke.targets.iter();
        let over = targets.all(|target| {
            let owners = self.belongs_to(target, r);
            let senior = |owner: &MemberId| self.has(Fault::SeniorityIgnored) || self.senior(&author, owner, &view);
            owners.contains(&author) || (!owners.is_empty() && owners.iter().all(senior))
        });
        let pinned = |x: usize| revoke.pins.iter().filter_map(|pin| self.at(pin)).any(|pin| self.on_chain(x, pin));
        let mut seen = self.past(r).iter().filter(|x| self.concerns(&revoke.targets, *x));
        view.needs.votes == 1 && over && (self.has(Fault::RetroAlone) || seen.all(pinned))
    }

    fn ready(&self, r: usize, acc: Set, s: Set, mode: Mode) -> bool {
        let Some(revoke) = self.revoke(r) else { return false };
        if !self.live(r, acc, mode) {
            return false;
        }
        let remains = self.has(Fault::LastMaintainerGoes) || !self.maintainers(s, acc.with(r), mode).is_empty();
        if !remains || self.is_leave(r) {
            return remains;
        }
        let view = self.knew(r);
        let targeted = |member: &&MemberId| revoke.targets.contains(&Target::Member(**member));
        let n = match self.has(Fault::TargetNotCounted) {
            true => view.maintainers.keys().filter(|member| !targeted(member)).count(),
            false => view.maintainers.len(),
        };
        let majority = usize::from(view.needs.votes).min(n).max(n / 2 + 1);
        let needed = if self.alone(r) { 1 } else { majority };
        self.supporters(r, acc, s, mode).len() >= needed
    }

    fn supporters(&self, r: usize, acc: Set, s: Set, mode: Mode) -> BTreeSet<MemberId> {
        let view = self.knew(r);
        let says_yes = |v: usize| v == r || (self.votes_for(v, r) && !self.has(Fault::NotSeconded));
        let counts = |v: usize| self.live(v, acc, mode) || (v != r && self.has(Fault::RevokedVote));
        let yes = s.iter().filter(|v| says_yes(*v) && self.admissible(*v) && counts(*v)).map(|v| self.member(v));
        yes.filter(|member| view.maintainers.contains_key(member)).collect()
    }

    fn key(&self, r: usize, acc: Set, s: Set, mode: Mode) -> Key {
        if self.has(Fault::ArrivalOrder) {
            return (0, vec![(r, self.id(r))], (0, self.id(r)), self.id(r));
        }
        let (view, supporters) = (self.knew(r), self.supporters(r, acc, s, mode));
        let backed = 2 * supporters.len() > view.maintainers.len() && !self.has(Fault::BackedFirstDropped);
        let mut ranks: Vec<_> = supporters.iter().filter_map(|member| self.rank(member, &view)).collect();
        ranks.sort_unstable();
        (u8::from(!backed), ranks, self.identity_rank(r), self.id(r))
    }

    fn rank(&self, member: &MemberId, view: &View) -> Option<(usize, EventId)> {
        view.maintainers.get(member)?.iter().map(|g| self.place(*g)).min()
    }

    /// Between revocations by one member: which of its identities came first.
    fn identity_rank(&self, r: usize) -> (usize, EventId) {
        let (identity, member) = (self.identity(r), self.member(r));
        let first = MemberId::of(&identity) == member;
        let gave = |x: usize| match first {
            true => self.grant(x).is_some_and(|(to, _)| to == member),
            false => self.link(x, &identity) == Some(member),
        };
        let places = self.past(r).iter().filter(|x| gave(*x)).map(|x| self.place(x));
        places.min().unwrap_or((0, self.id(r)))
    }
}
