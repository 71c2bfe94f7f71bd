//! Which governance events decide whether somebody is still a member.

use super::{Authority, Gov, Governance, Set, View, What};
use crate::eventlog::Target;
use crate::id::{IdentityId, PeerId};

impl Authority {
    /// What decides whether these clones are members': what bears on `targets`, if that alone says the same as all that is
    /// held. Else, as where a revocation counts because a maintainer remains whom those events do not tell of, all.
    pub(in crate::approval) fn deciding(&self, targets: &[Target], clones: &[(IdentityId, PeerId)]) -> Set {
        let bearing = self.bearing(targets);
        let mut known = bearing.clone();
        bearing.iter().for_each(|gov| known.extend(self.pasts.set(self.get(gov).past)));
        let alone = self.work_out(&known, true);
        let welcome = |view: &View, (identity, feed): &(IdentityId, PeerId)| {
            let members = view.members(self);
            members.identities.contains_key(identity) && !members.feeds.contains(feed)
        };
        let agrees = clones.iter().all(|clone| welcome(&alone, clone) == welcome(self.now(), clone));
        if agrees { bearing } else { (0..self.count()).collect() }
    }

    /// The revocations of these targets, what gave them rights, and the votes on both; what all of those rest on; and
    /// whatever revocation would cut one of those off, with the votes on it, and so on. Whoever holds these, each with its
    /// past, judges those revocations as everybody does who holds more.
    fn bearing(&self, targets: &[Target]) -> Set {
        let revocations: Vec<(Gov, &Governance)> = (0..self.count())
            .map(|gov| (gov, self.get(gov)))
            .filter(|(_, entry)| matches!(entry.what, What::Revoke { .. }) && entry.admissible)
            .collect();
        let on = |entry: &Governance, targets: &[Target]| match &entry.what {
            What::Revoke { targets: on, .. } => targets.iter().any(|target| on.binary_search(target).is_ok()),
            _ => false,
        };
        let spares = |entry: &Governance, of: &Governance| match &entry.what {
            What::Revoke { pins, .. } => pins.iter().any(|pin| self.strands.on_chain(of.place, pin.place)),
            _ => true,
        };
        let mut found = Set::default();
        let mut todo: Vec<Gov> =
            revocations.iter().filter(|(_, entry)| on(entry, targets)).map(|(gov, _)| *gov).collect();
        for target in targets {
            let givers = match target {
                Target::Member(member) => self.grants.get(member),
                Target::Identity(identity) => self.givers.get(identity),
                Target::Feed(_) => None,
            };
            for giver in givers.into_iter().flatten().filter(|giver| self.get(**giver).admissible) {
                todo.push(*giver);
                todo.extend(self.votes.get(&self.get(*giver).id).into_iter().flatten());
            }
        }
        while let Some(gov) = todo.pop() {
            if found.has(gov) {
                continue;
            }
            found.insert(gov);
            let entry = self.get(gov);
            let past = self.pasts.set(entry.past);
            let votes = |on: Gov| self.votes.get(&self.get(on).id).into_iter().flatten().copied();
            if matches!(entry.what, What::Revoke { .. }) {
                todo.extend(votes(gov).filter(|vote| self.get(*vote).admissible));
            }
            for giver in self.gave(&entry.member, &entry.identity).filter(|giver| past.has(*giver)) {
                todo.push(giver);
                todo.extend(votes(giver).filter(|vote| past.has(*vote)));
            }
            let own = [Target::Member(entry.member), Target::Identity(entry.identity), Target::Feed(entry.feed)];
            let cuts = revocations.iter().filter(|(_, other)| on(other, &own) && !spares(other, entry));
            todo.extend(cuts.map(|(gov, _)| *gov));
        }
        found
    }
}
