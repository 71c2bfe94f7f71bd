//! Sending: new events go on to neighbours, and what one lacks is read and sent batch by batch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Batch, Neighbour, Output, Sync, millis, raise};
use crate::eventlog::{Frontier, Head, OnStrand};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::sync::message::Message;

impl Sync {
    /// With few neighbours everything is sent to each at once.
    pub(super) fn is_crowded(&self) -> bool {
        self.neighbours.len() > limits::SEND_AT_ONCE
    }

    /// Neighbours of one peer wait differently long before they send it the same: they have different neighbours.
    pub(super) fn wait(&self, base: Duration) -> Millis {
        let mixed = self.neighbours.keys().fold(0, |mixed, peer| mixed ^ peer.0[0]);
        millis(base + limits::SEND_STEP * u32::from(mixed % 16))
    }

    /// Forgets of neighbours on what they were further, where that is here now.
    fn caught_up_with(&mut self) {
        if self.neighbours.values().all(|neighbour| neighbour.ahead.is_empty()) {
            return;
        }
        let mut here: BTreeMap<PeerId, u64> = BTreeMap::new();
        for (_, feed, head) in self.frontier.iter() {
            let last = here.entry(*feed).or_insert(head.seq);
            *last = head.seq.max(*last);
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.ahead.retain(|feed, seq| here.get(feed).is_none_or(|last| last < seq));
        }
    }

    pub(super) fn stored(&mut self, now: Millis, events: &[OnStrand], logged: &Frontier) {
        let crowded = self.is_crowded();
        let caught_up: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.is_known() && n.batch == Batch::None && !(crowded && n.lazy))
            .filter(|(_, n)| self.frontier.lacking(&n.has).is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        let mut strands: BTreeMap<u32, u64> = BTreeMap::new();
        for (strand, event) in events {
            let body = event.get().body();
            self.durable.insert(*strand, Head { seq: body.seq, id: event.get().id() });
            raise(&mut strands, *strand, body.seq);
        }
        self.frontier = Frontier::default();
        for (strand, feed, head) in logged.iter() {
            // What is part of the log and not durable yet is told later.
            let Some(durable) = self.durable.get(&strand) else { continue };
            self.frontier.set(strand, *feed, if durable.seq < head.seq { *durable } else { *head });
        }
        self.caught_up_with();
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            // Those who have it already hear that it is here too; the others hear by getting it.
            let neighbour = &self.neighbours[&peer];
            let only_told = crowded && neighbour.lazy && neighbour.is_known();
            let has = |strand: &u32, seq: u64| only_told || neighbour.has.get(strand).is_some_and(|has| *has >= seq);
            let known: Vec<u32> =
                strands.iter().filter(|(strand, seq)| has(strand, **seq)).map(|(strand, _)| *strand).collect();
            self.say_held(peer, &known);
            if caught_up.contains(&peer) {
                self.forward(now, peer, events);
            } else {
                self.pump(now, peer);
            }
        }
    }

    /// Sends new events at once to a neighbour that lacked nothing before them.
    pub(super) fn forward(&mut self, now: Millis, peer: PeerId, events: &[OnStrand]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let is_new = |(strand, event): &&OnStrand| {
            let seq = event.get().body().seq;
            let logged = self.frontier.head(*strand).is_some_and(|head| head.seq >= seq);
            logged && neighbour.has.get(strand).is_none_or(|has| *has < seq)
        };
        let new = events.iter().filter(is_new).count() as u64;
        let lacks: u64 = self.frontier.lacking(&neighbour.has).iter().map(|span| span.to - span.from + 1).sum();
        if lacks != new {
            // What was held before is part of the log now, as these build on it: it goes in front of them.
            return self.pump(now, peer);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (strand, event) in events {
            let event = event.get();
            let seq = event.body().seq;
            if neighbour.has.get(strand).is_some_and(|has| *has >= seq) {
                continue;
            }
            if self.frontier.head(*strand).is_none_or(|head| head.seq < seq) {
                // No part of the log.
                continue;
            }
            bytes += event.bytes().len();
            if bytes > limits::BATCH_BYTES {
                // The rest goes the way of a catch-up, with its back-pressure.
                break;
            }
            raise(&mut neighbour.has, *strand, seq);
            batch.push(event.bytes().to_vec());
        }
        if batch.is_empty() {
            // What was held before may be part of the log now.
            self.pump(now, peer);
        } else {
            neighbour.batch = Batch::Leaves;
            neighbour.began = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }

    /// Has the next batch read for a neighbour that lacks something, at once or when others have had time to send it.
    pub(super) fn pump(&mut self, now: Millis, peer: PeerId) {
        let crowded = self.is_crowded();
        let (first, later) = (self.wait(Duration::ZERO), self.wait(limits::SEND_LATER));
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.is_known() || neighbour.batch != Batch::None {
            // Looked at again when that is over; a deadline that stays would wake for nothing.
            neighbour.send_at = None;
            return;
        }
        let lacking = self.frontier.lacking(&neighbour.has);
        if lacking.is_empty() {
            neighbour.send_at = None;
            return;
        }
        if let Some(until) = neighbour.unread_until.filter(|until| *until > now) {
            neighbour.send_at = Some((now, until));
            return;
        }
        neighbour.unread_until = None;
        if crowded && (neighbour.lazy || !neighbour.began) {
            let wait = if neighbour.lazy { later } else { first };
            let (_, at) = *neighbour.send_at.get_or_insert((now, now + wait));
            if at > now {
                return;
            }
        }
        neighbour.send_at = None;
        neighbour.lazy = false;
        neighbour.began = true;
        self.loads += 1;
        let load = self.loads;
        neighbour.batch = Batch::Read(load);
        self.outputs.push_back(Output::Load { peer, load, lacking });
    }

    /// The neighbour for whom this load is, if it is still the same session.
    pub(super) fn loads_for(&mut self, peer: &PeerId, load: u64) -> Option<&mut Neighbour> {
        self.neighbours.get_mut(peer).filter(|neighbour| neighbour.batch == Batch::Read(load))
    }

    pub(super) fn loaded(&mut self, now: Millis, peer: PeerId, load: u64, events: Vec<OnStrand>) {
        let Some(neighbour) = self.loads_for(&peer, load) else { return };
        let mut batch = Vec::with_capacity(events.len());
        for (strand, event) in events {
            let event = event.into_inner();
            let seq = event.body().seq;
            // It may have got it from another in the meantime.
            if neighbour.has.get(&strand).is_none_or(|has| *has < seq) {
                raise(&mut neighbour.has, strand, seq);
                batch.push(event.bytes().to_vec());
            }
        }
        if batch.is_empty() {
            neighbour.batch = Batch::None;
            self.pump(now, peer);
        } else {
            neighbour.batch = Batch::Leaves;
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }
}
