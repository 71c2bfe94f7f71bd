//! May this event count, if just these revocations are accepted?

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Authority, Gov, Set, What};
use crate::eventlog::rows::Place;
use crate::eventlog::{Kind, Role, Target};
use crate::id::{EventId, IdentityId, MemberId, PeerId};

/// The role that an event needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::approval) enum Need {
    /// Any.
    Any,
    /// One that proposes.
    Propose,
    /// A maintainer's.
    Maintain,
}

impl Need {
    pub(in crate::approval) fn of(kind: Kind) -> Self {
        match kind {
            Kind::PROPOSE => Self::Propose,
            Kind::GRANT | Kind::VOTE | Kind::POLICY | Kind::APPROVE | Kind::REJECT | Kind::INVITE | Kind::TAG => {
                Self::Maintain
            }
            _ => Self::Any,
        }
    }

    pub(super) fn of_governance(what: &What) -> Self {
        match what {
            What::Genesis | What::Link { .. } | What::Newer(_) => Self::Any,
            What::Revoke { standing, .. } if standing.leave => Self::Any,
            What::Grant { .. } | What::Revoke { .. } | What::Vote { .. } | What::Policy(_) => Self::Maintain,
        }
    }

    pub(in crate::approval) fn fits(self, role: Role) -> bool {
        match self {
            Self::Any => true,
            Self::Propose => role.proposes(),
            Self::Maintain => role.maintains(),
        }
    }
}

/// Somebody doing something, with what they knew.
#[derive(Debug, Clone, Copy)]
pub(in crate::approval) struct Deed<'a> {
    pub(in crate::approval) member: MemberId,
    pub(in crate::approval) identity: IdentityId,
    pub(in crate::approval) feed: PeerId,
    pub(in crate::approval) place: Place,
    /// Strictly before it.
    pub(in crate::approval) past: &'a Set,
    pub(in crate::approval) need: Need,
}

/// Judges by a set of accepted revocations.
#[derive(Debug, Clone)]
pub(in crate::approval) struct Judge {
    pub(super) accepted: Set,
    /// Does it know of forks? Only the judge of what holds now does: forks are belief, not knowledge.
    forks: bool,
    /// What was found of governance events, filled as asked for.
    live: OnceLock<Vec<OnceLock<bool>>>,
}

impl Judge {
    pub(super) fn new(accepted: Set, forks: bool) -> Self {
        Self { accepted, forks, live: OnceLock::new() }
    }

    /// The same without some revocations.
    pub(in crate::approval) fn without(&self, some: impl Fn(Gov) -> bool) -> Self {
        Self::new(self.accepted.iter().filter(|gov| !some(*gov)).collect(), self.forks)
    }

    /// Is no revocation accepted, and no fork known to it?
    pub(in crate::approval) fn is_calm(&self, of: &Authority) -> bool {
        self.accepted.is_empty() && !(self.forks && of.strands.any_forked())
    }

    /// The event counts, if its kind needs no votes.
    pub(in crate::approval) fn live(&self, of: &Authority, deed: &Deed<'_>) -> bool {
        if self.forks && !of.counts(deed.place) {
            return false;
        }
        let given = of.givers.get(&deed.identity).into_iter().flatten().any(|gov| {
            let gives = match &of.get(*gov).what {
                What::Genesis | What::Grant { .. } => deed.member == MemberId::of(&deed.identity),
                What::Link { fits, .. } => *fits && of.get(*gov).member == deed.member,
                _ => false,
            };
            gives
                && deed.past.has(*gov)
                && self.effective_within(of, *gov, deed.past)
                && self.cutting(of, deed, &[Target::Identity(deed.identity)], Some(*gov)).is_none()
        });
        let granted = || {
            of.grants.get(&deed.member).into_iter().flatten().any(|gov| {
                let role = match &of.get(*gov).what {
                    What::Genesis => Role::Maintainer,
                    What::Grant { role, .. } => *role,
                    _ => return false,
                };
                deed.need.fits(role)
                    && deed.past.has(*gov)
                    && self.effective_within(of, *gov, deed.past)
                    && self.cutting(of, deed, &[Target::Member(deed.member)], Some(*gov)).is_none()
            })
        };
        given && granted() && self.cutting(of, deed, &[Target::Feed(deed.feed)], None).is_none()
    }

    /// The revocation of one of `targets` that cuts the deed off, unless it is in the past of `grant`.
    pub(super) fn cutting(
        &self,
        of: &Authority,
        deed: &Deed<'_>,
        targets: &[Target],
        grant: Option<Gov>,
    ) -> Option<EventId> {
        self.accepted.iter().find_map(|number| {
            let revocation = of.get(number);
            let What::Revoke { targets: on, pins, .. } = &revocation.what else { return None };
            let hit = targets.iter().any(|target| on.binary_search(target).is_ok());
            let lifted = || grant.is_some_and(|grant| of.pasts.set(of.get(grant).past).has(number));
            let pinned = || pins.iter().any(|pin| of.strands.on_chain(deed.place, pin.place));
            (hit && !lifted() && !pinned()).then_some(revocation.id)
        })
    }

    /// A governance event counts, votes left aside.
    pub(super) fn live_gov(&self, of: &Authority, gov: Gov) -> bool {
        let memo = self.live.get_or_init(|| (0..of.count()).map(|_| OnceLock::new()).collect());
        let work_out = || matches!(of.get(gov).what, What::Genesis) || self.live(of, &of.deed(gov));
        match memo.get(gov as usize) {
            Some(memo) => *memo.get_or_init(work_out),
            None => work_out(),
        }
    }

    /// A grant, link or policy counts, with the votes that are in `within`.
    pub(super) fn effective_within(&self, of: &Authority, gov: Gov, within: &Set) -> bool {
        self.effective_by(of, gov, |vote| within.has(vote))
    }

    /// The same with all votes that there are.
    pub(in crate::approval) fn effective(&self, of: &Authority, gov: Gov) -> bool {
        self.effective_by(of, gov, |_| true)
    }

    fn effective_by(&self, of: &Authority, gov: Gov, within: impl Fn(Gov) -> bool) -> bool {
        let entry = of.get(gov);
        if !self.live_gov(of, gov) {
            return false;
        }
        if !matches!(entry.what, What::Grant { .. } | What::Policy(_)) {
            return true;
        }
        let view = of.view(entry.past);
        if view.demands.votes <= 1 {
            return true;
        }
        let need = usize::from(view.demands.votes).min(view.maintainers(of));
        let votes = of.votes.get(&entry.id).into_iter().flatten().copied();
        let mut voters: Vec<MemberId> =
            votes.filter(|vote| within(*vote) && self.live_gov(of, *vote)).map(|vote| of.get(vote).member).collect();
        voters.push(entry.member);
        voters.sort_unstable();
        voters.dedup();
        voters.len() >= need
    }
}

/// What was worked out for some accepted revocations, shared.
pub(super) type Shared = HashMap<Set, Arc<Judge>>;

impl Authority {
    /// A governance event as somebody's deed.
    pub(super) fn deed(&self, gov: Gov) -> Deed<'_> {
        let entry = self.get(gov);
        Deed {
            member: entry.member,
            identity: entry.identity,
            feed: entry.feed,
            place: entry.place,
            past: self.pasts.set(entry.past),
            need: Need::of_governance(&entry.what),
        }
    }

    /// Does an event of this place count, as far as forks go?
    pub(in crate::approval) fn counts(&self, place: Place) -> bool {
        let feed = &self.strands.get(place.strand).feed;
        let Some(doubled) = self.strands.doubled(feed) else { return true };
        place.seq < doubled
            || self.strands.of_feed(feed).iter().any(|strand| {
                let seq = self.witnessed.get(strand);
                seq.is_some_and(|seq| self.strands.on_chain(place, Place { strand: *strand, seq: *seq }))
            })
    }
}
