//! Objects: fetched, served, and landings judged and made by them.

use std::collections::BTreeSet;

use super::{Do, Fault, Node, merged};
use crate::approval::RULES;
use crate::eventlog::{Extensions, Land, Payload};
use crate::hlc::Millis;
use crate::id::{EventId, ObjectId, PeerId};

impl Node {
    /// Judges every landing whose objects are here.
    pub(super) fn settle(&mut self) {
        loop {
            let unsettled = self.state.unsettled();
            let ready =
                |next: &&crate::approval::Unsettled| next.waits_for.is_empty() && self.held.contains(&next.content.tip);
            let Some(next) = unsettled.iter().find(ready) else { return };
            let sound = merged(&next.heads, next.content.tip) == Some(next.content.new);
            self.state.settle(&next.lid, sound || self.fault == Fault::TakesUnsound);
            if sound {
                self.held.insert(next.content.new);
            }
        }
    }

    pub(super) fn fetch(&mut self) {
        for commit in &self.wanted {
            let serves = |(_, commits): &(&PeerId, &BTreeSet<ObjectId>)| commits.contains(commit);
            if !self.fetching.contains(commit)
                && let Some((from, _)) = self.served.iter().find(serves)
            {
                self.fetching.insert(*commit);
                self.out.push(Do::Fetch { commit: *commit, from: *from });
            }
        }
    }

    /// A fetch ended, with the objects or without.
    pub(in crate::simulator) fn fetched(&mut self, now: Millis, from: PeerId, commit: ObjectId, came: bool) {
        self.fetching.remove(&commit);
        if came {
            self.publish(commit);
        } else if let Some(served) = self.served.get_mut(&from) {
            served.remove(&commit);
        }
        self.look(now);
    }

    /// Objects are here, and served.
    pub(in crate::simulator) fn publish(&mut self, commit: ObjectId) {
        self.held.insert(commit);
        self.wanted.remove(&commit);
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.say_served(peer, vec![commit]);
        }
    }

    /// Writes a landing that any member's node may write, if there is one. Tells whether there may be more.
    pub(in crate::simulator) fn complete(&mut self, now: Millis) -> bool {
        if self.state.strand_of(&self.peer).is_none() {
            return false;
        }
        let mut all = self.state.landable();
        all.extend(self.state.joinable());
        for landable in all {
            let here = landable.revision.is_none() || self.held.contains(&landable.tip);
            let Some(new) = merged(&landable.head_commits, landable.tip).filter(|_| here) else { continue };
            if landable.heads.is_empty() || !self.completed.insert((landable.heads.clone(), landable.tip)) {
                continue;
            }
            let mut refs: Vec<EventId> = landable.heads.iter().filter_map(|lid| self.state.carrier(lid)).collect();
            refs.extend(landable.revision);
            refs.extend(&landable.approvals);
            let land = Land {
                branch: landable.branch,
                heads: landable.heads,
                revision: landable.revision,
                tip: landable.tip,
                approvals: landable.approvals,
                new,
                rules: RULES,
                extensions: Extensions::default(),
            };
            if self.write(now, Payload::Land(land), refs).is_some() {
                return true;
            }
        }
        false
    }
}
