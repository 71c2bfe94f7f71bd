//! Where a neighbour stands: its digest, its frontier, and what it holds of what it was told and sent.

use std::collections::BTreeSet;

use super::{Neighbour, Output, Sync, millis, raise};
use crate::eventlog::{FrontierEntry, Located};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::sync::message::Message;

impl Sync {
    pub(super) fn peer_up(&mut self, peer: PeerId, digest: [u8; 32]) {
        let mut neighbour = Neighbour::default();
        if digest == self.frontier.digest() {
            neighbour.has = self.frontier.iter().map(|(strand, _, head)| (strand, head.seq)).collect();
            neighbour.durable = neighbour.has.clone();
            neighbour.placed = true;
        }
        let placed = neighbour.placed;
        self.neighbours.insert(peer, neighbour);
        if !placed {
            self.tell_frontier(peer);
        }
    }

    /// Asks those again whose events are held and whose turn has come by `by`.
    pub(super) fn ask_again(&mut self, by: Millis) {
        let due = |neighbour: &Neighbour| neighbour.ask_again.is_some_and(|at| at <= by);
        let due: Vec<PeerId> =
            self.neighbours.iter().filter(|(_, neighbour)| due(neighbour)).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.tell_frontier(peer);
        }
    }

    pub(super) fn tell_frontier(&mut self, peer: PeerId) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        neighbour.told = true;
        neighbour.ask_again = None;
        let entries = self.frontier.entries();
        let mut parts: Vec<Vec<FrontierEntry>> = entries.chunks(limits::FRONTIER_FEEDS).map(<[_]>::to_vec).collect();
        let final_part = parts.pop().unwrap_or_default();
        for entries in parts {
            let message = Message::Frontier { entries, last: false };
            self.outputs.push_back(Output::Send { peer, message, flush: false });
        }
        let message = Message::Frontier { entries: final_part, last: true };
        self.outputs.push_back(Output::Send { peer, message, flush: false });
    }

    /// Says what is held of a frontier that was told. Where a feed goes on here, only we can see that what the neighbour
    /// has is a part of it: it would send all of it again.
    pub(super) fn answer(&mut self, peer: PeerId, told: &[(u32, FrontierEntry)], last: bool) {
        let is_held = |(strand, entry): &&(u32, FrontierEntry)| {
            let held = self.durable.get(strand).is_some_and(|durable| durable.seq >= entry.seq);
            held && self.frontier.head(*strand).is_none_or(|head| head.seq != entry.seq)
        };
        let held: Vec<FrontierEntry> = told.iter().filter(is_held).map(|(_, entry)| *entry).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
        if last {
            self.outputs.push_back(Output::Send { peer, message: Message::Answered, flush: false });
        }
    }

    pub(super) fn told_frontier(&mut self, now: Millis, peer: PeerId, located: &Located, entries: usize, last: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        neighbour.entries += entries;
        if neighbour.entries > limits::FRONTIER_ENTRIES {
            self.outputs.push_back(Output::Drop { peer, why: "its frontier has too many feeds" });
            return;
        }
        for (strand, seq) in &located.heads {
            raise(&mut neighbour.telling, *strand, *seq);
        }
        if !located.ahead.is_empty() {
            // Of a feed that is not here at all it need not say anything.
            let feeds: BTreeSet<&PeerId> = self.frontier.iter().map(|(_, feed, _)| feed).collect();
            neighbour.further |= located.ahead.iter().any(|entry| feeds.contains(&entry.feed));
            neighbour.ahead.extend(located.ahead.iter().map(|entry| (entry.feed, entry.seq)));
        }
        if last {
            neighbour.entries = 0;
            // What it once told to be durable is so still.
            for (strand, seq) in std::mem::take(&mut neighbour.telling) {
                raise(&mut neighbour.durable, strand, seq);
            }
            neighbour.has = neighbour.durable.clone();
            neighbour.placed = true;
            if !neighbour.told {
                self.tell_frontier(peer);
            }
        }
        self.answer(peer, &located.on, last);
        if last {
            self.pump(now, peer);
        }
    }

    pub(super) fn has(&mut self, now: Millis, peer: PeerId, heads: &[(u32, u64)]) {
        let later = self.wait(limits::SEND_LATER);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        for (strand, seq) in heads {
            raise(&mut neighbour.has, *strand, *seq);
            raise(&mut neighbour.durable, *strand, *seq);
        }
        if let Some((since, _)) = neighbour.send_at {
            // Others are sending it what it lacks, though perhaps not all of it.
            let latest = since + millis(limits::SEND_LATEST);
            neighbour.send_at = Some((since, (now + later).min(latest)));
            self.pump(now, peer);
        }
    }

    /// Only what is durable is ever sent, so whoever sends an event holds it. What is durable here already is
    /// acknowledged at once; what is new is when it has been stored.
    pub(super) fn told(&mut self, peer: PeerId, heads: &[(u32, u64)]) {
        let crowded = self.is_crowded();
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let (mut known, mut news) = (Vec::new(), false);
        for (strand, seq) in heads {
            raise(&mut neighbour.has, *strand, *seq);
            raise(&mut neighbour.durable, *strand, *seq);
            let durable = self.frontier.head(*strand).is_some_and(|head| head.seq >= *seq);
            if durable {
                known.push(*strand);
            }
            news |= !durable && self.came.get(strand).is_none_or(|came| came < seq);
            raise(&mut self.came, *strand, *seq);
        }
        if news {
            neighbour.lazy = false;
        } else if crowded && !heads.is_empty() {
            // All of it came from others before.
            neighbour.lazy = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Enough, flush: false });
        }
        self.say_held(peer, &known);
    }

    pub(super) fn say_held(&mut self, peer: PeerId, strands: &[u32]) {
        let held: Vec<FrontierEntry> = strands.iter().filter_map(|strand| self.frontier.entry(*strand)).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
    }
}
