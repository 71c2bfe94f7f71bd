//! Who may do what, in the eyes of an event's own past, and now.
//!
//! Each event is judged once by its own causal past; only an accepted revocation, the votes on it and the proof of a
//! fork reach back. Nothing is judged by clock, arrival or configuration. The algorithm stands in docs/authority.md.

mod ballot;
mod bearing;
mod judge;
mod newer;
mod past;
mod strands;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use ballot::Ballot;
pub(super) use judge::{Deed, Judge, Need};
pub(super) use past::{Gov, Past, Pasts, Set};
pub(super) use strands::{Strand, Strands};
pub use view::Demands;
pub(super) use view::{Seen, View};

use super::RULES;
use crate::eventlog::rows::Place;
use crate::eventlog::{Area, Event, Kind, Payload, Role, Target};
use crate::hlc::Hlc;
use crate::id::{EventId, Handle, IdentityId, MemberId, PeerId, ProjectId};

/// Why an event is stored and does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its author's role does not allow it.
    #[error("its author's role does not allow it")]
    Role,
    /// Its author was revoked, and it lies past what the revocation lets stand.
    #[error("its author was removed")]
    Revoked(EventId),
    /// Its feed forked, and nobody had built on it before that was known.
    #[error("its feed forked: a key was used twice")]
    Forked,
    /// It rests on a grant or an approval that does not count.
    #[error("what it rests on does not count")]
    Rests,
    /// It needs more votes.
    #[error("it needs more votes")]
    Votes,
    /// The branch is not one that the log decides.
    #[error("the branch is not a canonical one")]
    NotCanonical,
    /// What it speaks of is not its author's, or does not fit.
    #[error("what it speaks of does not fit")]
    Target,
    /// The landing does not stand on landings of its branch, or breaks their order.
    #[error("the landing does not stand on landings of its branch")]
    Heads,
    /// The approvals do not fulfil the policy.
    #[error("its approvals do not fulfil the policy")]
    Policy,
    /// Whether it counts is decided by rules of this number, which this version does not know.
    #[error("that needs a newer lansync, one that knows rules {0}")]
    Newer(u16),
    /// The rules under which it was written have no such kind of event.
    #[error("the rules under which it was written have no such kind of event")]
    Kind,
}

impl Void {
    /// Its code in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Revoked(_) => "revoked",
            Self::Forked => "forked",
            Self::Rests => "rests",
            Self::Votes => "votes",
            Self::NotCanonical => "not-canonical",
            Self::Target => "target",
            Self::Heads => "heads",
            Self::Policy => "policy",
            Self::Newer(_) => "needs-upgrade",
            Self::Kind => "kind",
        }
    }

    /// The revocation that voids it, if one does.
    pub fn by(self) -> Option<EventId> {
        match self {
            Self::Revoked(by) => Some(by),
            _ => None,
        }
    }
}

/// Up to where a feed counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    pub(super) place: Place,
    pub(super) hlc: u64,
}

/// What a governance event does.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Founds.
    Genesis,
    /// Gives an identity a role.
    Grant { member: MemberId, identity: IdentityId, role: Role, invite: Option<EventId> },
    /// Gives the author's member a further identity; `fits` where its proof holds and nobody had it before.
    Link { identity: IdentityId, fits: bool },
    /// Takes rights away.
    Revoke { targets: Vec<Target>, pins: Vec<Pin>, standing: view::Standing, seen: Seen },
    /// Agrees.
    Vote { on: EventId },
    /// Sets what is needed.
    Policy(Demands),
    /// Of a kind that this version does not know, from which rights or landings follow.
    Newer(Area),
}

/// One governance event.
#[derive(Debug, Clone)]
pub(super) struct Governance {
    pub(super) id: EventId,
    pub(super) place: Place,
    pub(super) hlc: Hlc,
    pub(super) feed: PeerId,
    pub(super) member: MemberId,
    pub(super) identity: IdentityId,
    /// Strictly before it.
    pub(super) past: Past,
    pub(super) what: What,
    /// By what it knew, its author may do this. Never changes.
    pub(super) admissible: bool,
}

/// The names that a grant gave.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) gov: Gov,
    pub(super) handle: Handle,
    pub(super) name: String,
}

/// All that authority follows from.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    project: ProjectId,
    pub(super) pasts: Pasts,
    pub(super) strands: Strands,
    all: Vec<Governance>,
    by_id: BTreeMap<EventId, Gov>,
    /// Grants of each member, genesis among them.
    grants: BTreeMap<MemberId, Vec<Gov>>,
    /// Events that gave an identity to somebody.
    givers: BTreeMap<IdentityId, Vec<Gov>>,
    votes: BTreeMap<EventId, Vec<Gov>>,
    /// Events of kinds that this version does not know and that were right in their own past.
    newer: Vec<Gov>,
    names: BTreeMap<MemberId, Vec<Names>>,
    /// Demands at the beginning.
    demands: Demands,
    /// The view of each past, as far as it was asked for.
    views: Vec<OnceLock<Arc<View>>>,
    filled: u32,
    /// Strand of a forked feed to the highest number on it that another built on before knowing of the fork.
    pub(super) witnessed: BTreeMap<u32, u64>,
    /// What holds now: all events, and what is known of forks.
    now: Arc<View>,
    judge: Arc<Judge>,
}

impl Authority {
    pub(super) fn new(project: ProjectId) -> Self {
        let now = Arc::new(View::default());
        Self {
            project,
            pasts: Pasts::default(),
            strands: Strands::default(),
            all: Vec::new(),
            by_id: BTreeMap::new(),
            grants: BTreeMap::new(),
            givers: BTreeMap::new(),
            votes: BTreeMap::new(),
            newer: Vec::new(),
            names: BTreeMap::new(),
            demands: Demands::default(),
            views: vec![OnceLock::new()],
            filled: 0,
            witnessed: BTreeMap::new(),
            judge: Arc::new(Judge::new(Set::default(), true)),
            now,
        }
    }

    pub(super) fn get(&self, gov: Gov) -> &Governance {
        &self.all[gov as usize]
    }

    pub(super) fn number(&self, id: &EventId) -> Option<Gov> {
        self.by_id.get(id).copied()
    }

    pub(super) fn count(&self) -> u32 {
        self.all.len() as u32
    }

    /// What holds now.
    pub(super) fn now(&self) -> &View {
        &self.now
    }

    /// Judges by what holds now.
    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Interns a past, with room for its view. `true` where it is new.
    pub(super) fn intern(&mut self, past: Result<Past, Set>) -> (Past, bool) {
        let (past, new) = match past {
            Ok(past) => (past, false),
            Err(set) => self.pasts.intern(set),
        };
        while self.views.len() < self.pasts.count() as usize {
            self.views.push(OnceLock::new());
        }
        (past, new)
    }

    /// The member of an identity in a past: by grant, else by the first link to it.
    pub(super) fn member_in(&self, past: &Set, identity: &IdentityId) -> Option<MemberId> {
        let givers = self.givers.get(identity)?.iter().filter(|gov| past.has(**gov));
        let (mut granted, mut linked) = (None, None);
        for gov in givers {
            let giver = self.get(*gov);
            match &giver.what {
                What::Link { fits: true, .. } => {
                    let rank = (self.pasts.set(giver.past).len(), giver.id);
                    linked = Some(linked.map_or((rank, giver.member), |first| (rank, giver.member).min(first)));
                }
                What::Link { .. } => {}
                _ => granted = Some(MemberId::of(identity)),
            }
        }
        granted.or(linked.map(|(_, member)| member))
    }

    /// Takes in a governance event whose past is held. `deed` says whose it is.
    pub(super) fn add(&mut self, event: &Event, place: Place, past: Past, pins: Vec<Pin>, seen: Seen) -> Gov {
        let gov = self.count();
        let (id, body) = (event.id(), event.body());
        let strand = self.strands.get(place.strand);
        let (feed, member, identity) = (strand.feed, strand.member, strand.identity);
        let mut names = |member, handle: &Handle, name: &str| {
            let names = Names { gov, handle: handle.clone(), name: name.to_owned() };
            self.names.entry(member).or_default().push(names);
        };
        let what = match event.payload() {
            Payload::Genesis(genesis) => {
                names(member, &genesis.handle, &genesis.founder_name);
                self.demands = Demands::of_genesis(genesis);
                What::Genesis
            }
            Payload::Grant(grant) => {
                names(grant.member, &grant.handle, &grant.name);
                What::Grant { member: grant.member, identity: grant.identity, role: grant.role, invite: grant.invite }
            }
            Payload::Link(link) => {
                // What is another member's stays theirs; one's own may be linked again after it was taken off.
                let free = self.member_in(self.pasts.set(past), &link.identity).is_none_or(|owner| owner == member);
                let fits = free && link.verify(&self.project, &member).is_ok();
                What::Link { identity: link.identity, fits }
            }
            Payload::Revoke(revoke) => {
                let standing = view::Standing { need: usize::MAX, leave: false };
                What::Revoke { targets: revoke.targets.clone(), pins, standing, seen: seen.clone() }
            }
            Payload::Vote(vote) => What::Vote { on: vote.on },
            Payload::Policy(policy) => What::Policy(Demands::of(policy)),
            Payload::Unknown(kind, _) => What::Newer(kind.area()),
            // The caller gives governance events only.
            _ => What::Vote { on: id },
        };
        let mut entry = Governance { id, place, hlc: body.hlc, feed, member, identity, past, what, admissible: false };
        if matches!(entry.what, What::Revoke { .. }) {
            let standing = self.standing(&entry, &seen);
            if let What::Revoke { standing: into, .. } = &mut entry.what {
                *into = standing;
            }
        }
        let view = self.view(past);
        entry.admissible = match entry.what {
            What::Genesis => true,
            // Under rules that are known here it is of no kind at all, whoever judges it.
            What::Newer(_) if view.demands.rules <= RULES => false,
            _ => view.may(self, &entry.member, &entry.identity, &feed, Need::of_governance(&entry.what)),
        };
        self.by_id.insert(id, gov);
        match &entry.what {
            What::Genesis => {
                self.grants.entry(member).or_default().push(gov);
                self.givers.entry(identity).or_default().push(gov);
            }
            What::Grant { member, identity, .. } => {
                self.grants.entry(*member).or_default().push(gov);
                self.givers.entry(*identity).or_default().push(gov);
            }
            What::Link { identity, .. } => self.givers.entry(*identity).or_default().push(gov),
            What::Vote { on } => self.votes.entry(*on).or_default().push(gov),
            What::Newer(_) if entry.admissible => self.newer.push(gov),
            What::Revoke { .. } | What::Policy(_) | What::Newer(_) => {}
        }
        self.all.push(entry);
        gov
    }

    /// Works out what holds now. `true` where accepted revocations changed.
    pub(super) fn renew(&mut self) -> bool {
        let all: Set = (0..self.count()).collect();
        let view = self.work_out(&all, true);
        let changed = view.accepted != self.now.accepted;
        self.judge = Arc::new(Judge::new(view.accepted.clone(), true));
        self.now = Arc::new(view);
        if self.filled as usize > crate::limits::VIEWS {
            self.views.iter_mut().for_each(|view| *view = OnceLock::new());
            self.filled = 0;
        }
        self.filled += 1;
        changed
    }

    /// The names of a member: those of the earliest grant that counts, of all where none does.
    pub(super) fn names(&self, member: &MemberId) -> Option<(&Names, Hlc)> {
        let key = |names: &&Names| {
            let gov = self.get(names.gov);
            (!self.judge.effective(self, names.gov), gov.hlc, gov.id)
        };
        let first = self.names.get(member)?.iter().min_by_key(key)?;
        Some((first, self.get(first.gov).hlc))
    }

    /// Events that gave an identity to somebody.
    pub(super) fn given(&self, identity: &IdentityId) -> impl Iterator<Item = &EventId> {
        self.givers.get(identity).into_iter().flatten().map(|gov| &self.get(*gov).id)
    }

    /// All who were ever granted a role.
    pub(super) fn ever(&self) -> impl Iterator<Item = &MemberId> {
        self.names.keys()
    }

    pub(super) fn grants_on(&self, invite: &EventId) -> u64 {
        let on = |entry: &&Governance| matches!(&entry.what, What::Grant { invite: Some(on), .. } if on == invite);
        self.all.iter().filter(on).count() as u64
    }

    /// What the author of a revocation had seen, and its id.
    pub(super) fn seen(&self, gov: Gov) -> Option<(&Seen, EventId)> {
        match &self.get(gov).what {
            What::Revoke { seen, .. } => Some((seen, self.get(gov).id)),
            _ => None,
        }
    }

    /// How far a strand counts under the revocations of it that hold now; `None` where none does, `Some(None)` where
    /// nothing of it does.
    pub(super) fn cut_after(&self, number: u32) -> Option<Option<u64>> {
        let strand = self.strands.get(number);
        let targets = [Target::Member(strand.member), Target::Identity(strand.identity), Target::Feed(strand.feed)];
        let mut cut = None;
        for revocation in self.now.accepted.iter() {
            let What::Revoke { targets: on, pins, .. } = &self.get(revocation).what else { continue };
            let applies = |target: &Target| on.binary_search(target).is_ok() && !self.is_lifted(revocation, target);
            if !targets.iter().any(applies) {
                continue;
            }
            let pinned = pins.iter().filter_map(|pin| self.strands.reach(number, pin.place)).max();
            cut = Some(cut.map_or(pinned, |cut: Option<u64>| cut.min(pinned)));
        }
        cut
    }

    /// The first number of a strand that a revocation cuts off, whether others do too and whatever was given again later;
    /// `None` where it is not of this strand's author.
    pub(super) fn first_hit(&self, revocation: Gov, number: u32) -> Option<u64> {
        let What::Revoke { targets, pins, .. } = &self.get(revocation).what else { return None };
        let strand = self.strands.get(number);
        let own = [Target::Member(strand.member), Target::Identity(strand.identity), Target::Feed(strand.feed)];
        let hit = own.iter().any(|target| targets.binary_search(target).is_ok());
        let pinned = || pins.iter().filter_map(|pin| self.strands.reach(number, pin.place)).max();
        hit.then(|| pinned().map_or(0, |pinned| pinned + 1))
    }

    /// Was what a revocation took given again later?
    fn is_lifted(&self, revocation: Gov, target: &Target) -> bool {
        let later = match target {
            Target::Member(member) => self.grants.get(member),
            Target::Identity(identity) => self.givers.get(identity),
            Target::Feed(_) => None,
        };
        let after = |gov: &&Gov| self.pasts.set(self.get(**gov).past).has(revocation);
        later.into_iter().flatten().filter(after).any(|gov| self.judge.effective(self, *gov))
    }

    /// May the author of a governance event do this, by what they knew and by what holds now?
    #[cfg(test)]
    pub(super) fn is_live(&self, gov: Gov) -> bool {
        self.get(gov).admissible && self.judge.live_gov(self, gov)
    }

    /// Why a governance event does not count.
    pub(super) fn void(&self, gov: Gov) -> Option<Void> {
        let entry = self.get(gov);
        let view = self.view(entry.past);
        if let Some(rules) = view.frozen {
            return Some(Void::Newer(rules));
        }
        if matches!(entry.what, What::Newer(_)) && view.demands.rules <= RULES {
            return Some(Void::Kind);
        }
        if !entry.admissible {
            return Some(Void::Role);
        }
        if !self.judge.live_gov(self, gov) {
            return Some(self.why_not(&self.deed(gov)));
        }
        match &entry.what {
            What::Grant { .. } | What::Policy(_) if !self.judge.effective_within(self, gov, &self.now.set) => {
                Some(Void::Votes)
            }
            What::Revoke { .. } if !self.now.accepted.has(gov) => Some(Void::Votes),
            What::Link { fits: false, .. } => Some(Void::Target),
            What::Newer(_) => Some(Void::Newer(view.demands.rules)),
            _ => None,
        }
    }

    /// Why an admissible event does not count now.
    pub(super) fn why_not(&self, deed: &Deed<'_>) -> Void {
        if !self.counts(deed.place) {
            return Void::Forked;
        }
        let targets = [Target::Member(deed.member), Target::Identity(deed.identity), Target::Feed(deed.feed)];
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        self.judge.cutting(self, deed, &targets, None).map_or(Void::Rests, Void::Revoked)
    }

    /// What holds for whoever knew just this set, which has no number yet.
    pub(super) fn view_of(&self, set: &Set) -> View {
        self.work_out(set, false)
    }

    /// Governance events that gave a member its role or an identity its member.
    pub(super) fn gave(&self, member: &MemberId, identity: &IdentityId) -> impl Iterator<Item = Gov> {
        self.grants.get(member).into_iter().chain(self.givers.get(identity)).flatten().copied()
    }

    /// A judge who knows nothing of forks, by these revocations.
    pub(super) fn judge_of(&self, accepted: &Set) -> Judge {
        Judge::new(accepted.clone(), false)
    }

    /// The time up to which no revocation of a judge changes anything: what lies past a pin is later than the pin.
    pub(super) fn reaches_back_to(&self, judge: &Judge) -> u64 {
        let mut bound = u64::MAX;
        for gov in judge.accepted.iter() {
            let What::Revoke { targets, pins, .. } = &self.get(gov).what else { continue };
            for (number, strand) in self.strands.iter() {
                let own = [Target::Member(strand.member), Target::Identity(strand.identity), Target::Feed(strand.feed)];
                if !own.iter().any(|target| targets.binary_search(target).is_ok()) {
                    continue;
                }
                let pin = pins.iter().find(|pin| pin.place.strand == number).map(|pin| pin.hlc);
                let whole = self.strands.of_feed(&strand.feed).len() == 1;
                bound = bound.min(if whole { pin.unwrap_or(strand.began.saturating_sub(1)) } else { 0 });
            }
        }
        bound
    }

    pub(super) fn is_founding(&self, gov: Gov) -> bool {
        matches!(self.get(gov).what, What::Genesis)
    }

    /// To whom an identity was ever given.
    pub(super) fn ever_owned(&self, identity: &IdentityId) -> Option<MemberId> {
        let all: Set = (0..self.count()).collect();
        self.member_in(&all, identity)
    }

    /// Accepted revocations with their targets.
    pub(super) fn revocations(&self) -> Vec<(EventId, Vec<Target>)> {
        let one = |gov: Gov| match &self.get(gov).what {
            What::Revoke { targets, .. } => Some((self.get(gov).id, targets.clone())),
            _ => None,
        };
        self.now.accepted.iter().filter_map(one).collect()
    }

    /// Who agrees to an event, its author among them.
    pub(super) fn voters(&self, on: &EventId) -> BTreeSet<MemberId> {
        let votes = self.votes.get(on).into_iter().flatten().copied();
        let all = self.number(on).into_iter().chain(votes);
        all.filter(|gov| self.get(*gov).admissible && self.judge.live_gov(self, *gov))
            .map(|gov| self.get(gov).member)
            .collect()
    }
}

/// Is it one of the events from which authority follows?
pub(super) fn governs(event: &Event) -> bool {
    let kind: Kind = event.body().kind;
    kind.governs()
}
