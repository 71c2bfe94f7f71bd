//! What neighbours say, and what is taken in of it.

use std::sync::Arc;

use super::{CHAIN_TURNS, DRIFT, Do, Fault, Node};
use crate::approval::{ChainAnswer, Checked, Rejected};
use crate::eventlog::{Event, FrontierEntry, Located, Payload};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::sync::{Input, Message, ask_again_at};

impl Node {
    /// Takes what a neighbour said.
    pub(in crate::simulator) fn received(&mut self, now: Millis, peer: PeerId, message: Message) {
        if self.hearings.contains_key(&peer) {
            return self.heard(now, peer, message);
        }
        match message {
            Message::Events(events) => self.sent(now, peer, &events),
            Message::Frontier { entries, last } => {
                let located = self.located(peer, &entries);
                self.input(now, Input::Frontier { peer, located, entries: entries.len(), last });
            }
            Message::Held(entries) => {
                let heads = self.located(peer, &entries).heads;
                self.input(now, Input::Has { peer, heads });
            }
            Message::Objects(commits) => self.input(now, Input::Serves { peer, commits }),
            Message::Chain(samples) => self.compare_chain(now, peer, &samples),
            Message::Answered => self.input(now, Input::Answered(peer)),
            Message::Enough => self.input(now, Input::Enough(peer)),
            Message::Clock(_) | Message::Over { .. } | Message::Pieces { .. } | Message::Unknown(_) => {}
        }
    }

    fn located(&mut self, peer: PeerId, entries: &[FrontierEntry]) -> Located {
        let located = self.state.locate(entries);
        self.ahead.entry(peer).or_default().extend(&located.ahead);
        for feed in &located.parted {
            let message = Message::Chain(self.state.samples(feed));
            self.out.push(Do::Say { peer, message, flush: false });
        }
        located
    }

    fn compare_chain(&mut self, now: Millis, peer: PeerId, samples: &[FrontierEntry]) {
        let Some(feed) = samples.first().map(|sample| sample.feed) else { return };
        let times = self.chains.entry((peer, feed)).or_insert(0);
        *times = times.saturating_add(1);
        if *times > CHAIN_TURNS {
            return;
        }
        match self.state.answer_chain(samples) {
            ChainAnswer::Same => {}
            ChainAnswer::Samples(samples) => {
                self.out.push(Do::Say { peer, message: Message::Chain(samples), flush: false });
            }
            ChainAnswer::Parts { strand, from, around } => {
                // Found: what is said of it after this can tell nothing more.
                self.chains.insert((peer, feed), CHAIN_TURNS);
                self.out.push(Do::Say { peer, message: Message::Chain(around), flush: false });
                self.input(now, Input::Lacks { peer, from: vec![(strand, from)] });
            }
        }
    }

    pub(super) fn sent(&mut self, now: Millis, peer: PeerId, events: &[Vec<u8>]) {
        let wall = self.clock(now);
        let mut heads = Vec::with_capacity(events.len());
        let mut until: Option<Millis> = None;
        let mut wrong = None;
        for bytes in events {
            let Some(event) = self.wire.read(bytes) else {
                wrong = Some("it sent what is no event".to_owned());
                break;
            };
            let due = event.body().hlc.millis();
            if due > wall.saturating_add(DRIFT) {
                // As if not received. What depends on it is later, so it is held as well.
                self.held_back.insert(peer);
                let again = ask_again_at(due, wall, now);
                until = Some(until.map_or(again, |until| until.min(again)));
                continue;
            }
            match self.state.check(&event) {
                Ok(Some(checked)) => self.take_in(&event, checked),
                Ok(None) => {}
                Err(Rejected::Gap | Rejected::MissingPast(_)) if self.fault == Fault::TakesGaps => {
                    self.log.add(&[(u32::MAX, event)]);
                    continue;
                }
                // It was held, and its time came while this was under way.
                Err(Rejected::Gap | Rejected::MissingPast(_)) if self.held_back.contains(&peer) => {
                    let soon = now + 1_000;
                    until = Some(until.map_or(soon, |until| until.min(soon)));
                    continue;
                }
                Err(why) => {
                    wrong = Some(format!("it sent an event that was rejected: {why}"));
                    break;
                }
            }
            heads.extend(self.state.place_of(&event.id()).map(|place| (place.strand, place.seq)));
            if self.fault == Fault::SaysItHolds {
                let message = Message::Held(vec![FrontierEntry::of(&event)]);
                self.note_told(&message);
                self.out.push(Do::Say { peer, message, flush: false });
            }
        }
        if self.hearings.contains_key(&peer) {
            // What is held is heard another time.
            self.in_hearing(now, peer, Input::Told { peer, heads });
            if until.is_some() {
                self.out.push(Do::Heard(peer));
            }
        } else {
            self.input(now, Input::Told { peer, heads });
        }
        if let Some(until) = until.filter(|_| self.fault != Fault::ForgetsHeld) {
            self.input(now, Input::Held { peer, until });
        }
        if let Some(why) = wrong {
            self.out.push(Do::Drop { peer, why });
        }
        self.look(now);
    }

    pub(super) fn take_in(&mut self, event: &Arc<Event>, checked: Checked) {
        self.state.apply(event, checked);
        self.wants(event);
    }

    pub(super) fn wants(&mut self, event: &Event) {
        let tip = match event.payload() {
            Payload::Propose(propose) => propose.tip,
            Payload::Land(land) => land.tip,
            _ => return,
        };
        if !self.held.contains(&tip) {
            self.wanted.insert(tip);
        }
    }
}
