//! What neighbours say and send: their frontiers, the events of others, chains that part.

use std::sync::Arc;

use super::{Session, millis};
use crate::approval::{ChainAnswer, Rejected};
use crate::eventlog::{Durable, Event, FrontierEntry, Located, Malformed};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::node::clocks::Held;
use crate::node::core::Core;
use crate::sync::{Input, Message, ask_again_at};

/// Turns in which two chains of a feed are compared in one session: a million events take four.
const CHAIN_TURNS: u8 = 16;

impl Core {
    pub(in crate::node) fn said(&mut self, now: Millis, peer: PeerId, session: u64, message: Message) {
        if !self.is_current(&peer, session) {
            return self.said_in_hearing(now, peer, session, message);
        }
        match message {
            Message::Frontier { entries, last } => {
                let located = self.located(now, peer, &entries);
                let entries = entries.len();
                self.sync.handle(now, Input::Frontier { peer, located, entries, last });
            }
            Message::Held(entries) => {
                let heads = self.located(now, peer, &entries).heads;
                self.sync.handle(now, Input::Has { peer, heads });
            }
            Message::Answered => self.sync.handle(now, Input::Answered(peer)),
            Message::Enough => self.sync.handle(now, Input::Enough(peer)),
            Message::Pieces { pack, here, asks } => self.pieces_told(now, peer, pack, here, asks),
            Message::Objects(commits) => self.sync.handle(now, Input::Serves { peer, commits }),
            Message::Chain(samples) => self.compare_chain(now, peer, &samples),
            Message::Clock(shows) => self.clocks.told.heard(peer, shows, now),
            // Events come as such; what is unknown is for later versions.
            Message::Events(_) | Message::Over { .. } | Message::Unknown(_) => {}
        }
        let durable = self.durable_at(&peer);
        if let Some(known) = self.known.get_mut(&peer) {
            known.durable = durable.max(known.durable);
        }
    }

    /// Where a neighbour's heads stand here. One that is on none of our chains shows a fork: samples are told.
    fn located(&mut self, now: Millis, peer: PeerId, entries: &[FrontierEntry]) -> Located {
        let located = self.state.locate(entries);
        if let Some(session) = self.sessions.get_mut(&peer) {
            let room = limits::FRONTIER_ENTRIES.saturating_sub(session.ahead.len());
            session.ahead.extend(located.ahead.iter().copied().take(room));
        }
        for feed in &located.parted {
            let samples = self.state.samples(feed);
            self.say(now, peer, Message::Chain(samples).encode(), false);
        }
        located
    }

    /// Events are durable that neighbours told of before they were here: those need not be sent them.
    pub(in crate::node) fn caught_up(&mut self, now: Millis, events: &[(u32, Durable<Arc<Event>>)]) {
        for (peer, session) in &mut self.sessions {
            let mut told = |event: &Event| session.ahead.remove(&FrontierEntry::of(event));
            let told = events.iter().map(|(strand, event)| (*strand, event.get())).filter(|(_, event)| told(event));
            let heads: Vec<(u32, u64)> = told.map(|(strand, event)| (strand, event.body().seq)).collect();
            if !heads.is_empty() {
                self.sync.handle(now, Input::Has { peer: *peer, heads });
            }
        }
    }

    /// A neighbour's chain of a feed parts from ours: say where, or send what proves it.
    fn compare_chain(&mut self, now: Millis, peer: PeerId, samples: &[FrontierEntry]) {
        let asked = |session: &mut Session, feed| {
            let times = session.chains.entry(feed).or_insert(0u8);
            *times = times.saturating_add(1);
            *times <= CHAIN_TURNS
        };
        let Some(feed) = samples.first().map(|sample| sample.feed) else { return };
        if !self.sessions.get_mut(&peer).is_some_and(|session| asked(session, feed)) {
            return;
        }
        match self.state.answer_chain(samples) {
            ChainAnswer::Same => {}
            ChainAnswer::Samples(samples) => self.say(now, peer, Message::Chain(samples).encode(), false),
            ChainAnswer::Parts { strand, from, around } => {
                // Found: what is said of it after this can tell nothing more.
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.chains.insert(feed, CHAIN_TURNS);
                }
                self.say(now, peer, Message::Chain(around).encode(), false);
                self.sync.handle(now, Input::Lacks { peer, from: vec![(strand, from)] });
            }
        }
    }

    pub(in crate::node) fn flushed(&mut self, now: Millis, peer: PeerId, session: u64) {
        if self.is_current(&peer, session) {
            self.sync.handle(now, Input::Flushed(peer));
        } else {
            self.flushed_in_hearing(now, peer, session);
        }
    }

    /// Checks events against the log and takes them in; they are durable and forwarded soon after.
    pub(in crate::node) fn sent(
        &mut self,
        now: Millis,
        peer: PeerId,
        session: u64,
        events: Vec<Event>,
        malformed: Option<Malformed>,
    ) {
        if !self.is_current(&peer, session) {
            return self.sent_in_hearing(now, peer, session, events, malformed);
        }
        if self.log_lost.is_some() {
            return;
        }
        // What was looked at and is in the log, or soon will be. Of anything else it can say what it likes.
        let mut heads = Vec::with_capacity(events.len());
        let wall = self.clock.wall();
        let horizon = wall.saturating_add(millis(limits::CLOCK_DRIFT));
        let mut until: Option<Millis> = None;
        for event in events {
            let due = self.state.due(&event);
            if due > horizon {
                // Held: as if it had not been received yet, here and for whoever asks.
                self.hold_back(&peer, Held { author: event.body().author, due });
                let again = ask_again_at(due, wall, now);
                until = Some(until.map_or(again, |until| until.min(again)));
                continue;
            }
            let id = event.id();
            match self.state.check(&event) {
                Ok(Some(checked)) => self.take_in(event, checked),
                Ok(None) => {}
                Err(Rejected::Unreadable) => return self.log_unreadable(now),
                // What is on top of a held event waits with it. It is due itself, so that event is as well by now.
                Err(Rejected::Gap | Rejected::MissingPast(_)) if self.holds_back(&peer) => {
                    let soon = now + millis(limits::ASK_SOON);
                    until = Some(until.map_or(soon, |until| until.min(soon)));
                    continue;
                }
                Err(why) => return self.misbehaved(now, peer, &event, why),
            }
            heads.extend(self.state.place_of(&id).map(|place| (place.strand, place.seq)));
        }
        self.sync.handle(now, Input::Told { peer, heads });
        if let Some(until) = until {
            self.sync.handle(now, Input::Held { peer, until });
        }
        if let Some(why) = malformed {
            self.drop_peer(now, peer, &format!("it sent what is no event: {why}"));
        }
    }

    fn holds_back(&self, peer: &PeerId) -> bool {
        self.sessions.get(peer).is_some_and(|session| session.held.is_some())
    }

    fn hold_back(&mut self, peer: &PeerId, held: Held) {
        let Some(session) = self.sessions.get_mut(peer) else { return };
        // Of several the one that takes longest.
        if session.held.is_none_or(|old| old.due <= held.due) {
            session.held = Some(held);
        }
        if !std::mem::replace(&mut session.held_told, true) {
            let who = self.peer_name(&held.author);
            let text = format!("an event of {who} is ahead of this machine's clock and waits; check both clocks");
            self.notice("clock", Some(who), None, None, text);
        }
    }

    fn misbehaved(&mut self, now: Millis, peer: PeerId, event: &Event, why: Rejected) {
        let author = self.peer_name(&event.body().author);
        self.drop_peer(now, peer, &format!("it sent an event of {author} that was rejected: {why}"));
    }
}
