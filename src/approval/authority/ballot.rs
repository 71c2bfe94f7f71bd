//! What waits for the votes of maintainers.

use std::collections::BTreeSet;

use super::{Authority, Gov, Set, Void, What};
use crate::eventlog::Target;
use crate::id::{EventId, MemberId};

/// A grant, revocation or policy that does not count yet, as more maintainers must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    /// Which event.
    pub on: EventId,
    /// Who agrees, its author among them.
    pub voted: BTreeSet<MemberId>,
    /// Who could agree and has not.
    pub can_vote: BTreeSet<MemberId>,
    /// How many more must.
    pub needs: usize,
}

impl Authority {
    /// All that waits for votes, in the order in which it came.
    pub(in crate::approval) fn ballots(&self) -> Vec<Ballot> {
        (0..self.count()).filter_map(|gov| self.ballot(gov)).collect()
    }

    /// What one event waits for; `None` where votes are not what it lacks, or what it wants holds already.
    pub(in crate::approval) fn ballot(&self, gov: Gov) -> Option<Ballot> {
        if self.void(gov) != Some(Void::Votes) {
            return None;
        }
        let entry = self.get(gov);
        let (now, view) = (self.now().members(self), self.view(entry.past));
        let mut can_vote: BTreeSet<MemberId> =
            now.roles.iter().filter(|(_, role)| role.maintains()).map(|(member, _)| *member).collect();
        let mut voted = self.voters(&entry.id);
        let need = match &entry.what {
            What::Revoke { targets, standing, .. } => {
                let is_there = |target: &Target| match target {
                    Target::Member(member) => now.roles.contains_key(member),
                    Target::Identity(identity) => now.identities.contains_key(identity),
                    Target::Feed(feed) => !now.feeds.contains(feed),
                };
                if !targets.iter().any(is_there) {
                    return None;
                }
                // Only those whom its author knew as maintainers.
                can_vote
                    .retain(|member| view.is_maintainer(self, member) && !targets.contains(&Target::Member(*member)));
                let all: Set = (0..self.count()).collect();
                voted = self.backers(gov, self.judge(), &all);
                standing.need
            }
            What::Grant { member, role, .. } => {
                if now.roles.get(member).is_some_and(|held| held.or(*role) == *held) {
                    return None;
                }
                view.demands.votes_of(view.maintainers(self))
            }
            What::Policy(_) => {
                let later = |other: Gov| {
                    let entry = self.get(other);
                    matches!(entry.what, What::Policy(_))
                        && self.pasts.set(entry.past).has(gov)
                        && self.judge().effective(self, other)
                };
                if (gov..self.count()).any(later) {
                    return None;
                }
                view.demands.votes_of(view.maintainers(self))
            }
            What::Genesis | What::Link { .. } | What::Vote { .. } | What::Newer(_) => return None,
        };
        can_vote.retain(|member| !voted.contains(member));
        let needs = need.saturating_sub(voted.len());
        (needs > 0).then_some(Ballot { on: entry.id, voted, can_vote, needs })
    }
}
