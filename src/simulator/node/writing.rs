//! Writing events of the own feed, and having them and those of others made durable and told.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Do, Fault, Node};
use crate::approval::State;
use crate::eventlog::{Certify, Draft, Durable, Event, Extensions, FrontierEntry, Payload};
use crate::hlc::{Hlc, Millis};
use crate::id::{EventId, PeerId};
use crate::limits;
use crate::sync::{Input, Message};

impl Node {
    pub(super) fn certify(&mut self, now: Millis) {
        let admitted = self.state.member_of_identity(&self.identity.identity()).is_some();
        if admitted && self.state.genesis().is_some() && self.state.strand_of(&self.peer).is_none() {
            let certificate = self.identity.certify(&self.state.project(), &self.peer);
            let certify = Certify { certificate, extensions: Extensions::default() };
            self.write(now, Payload::Certify(certify), Vec::new());
        }
    }

    /// Writes one event of the own feed. `None` where it would not fit.
    pub(in crate::simulator) fn write(&mut self, now: Millis, payload: Payload, refs: Vec<EventId>) -> Option<EventId> {
        let clock = self.clock(now);
        if clock < limits::BUILD_MILLIS {
            return None;
        }
        let (feed, identity) = (self.feed.clone(), self.identity.clone());
        let event = self.state.pen(&self.peer).write(clock, payload, refs, &feed, &identity).ok()?;
        let event = match self.fault {
            Fault::TimeGoesBack if event.body().seq % 3 == 2 => {
                let message = Message::Events(vec![self.signed(&event, Hlc::new(clock / 2, 0)).bytes().to_vec()]);
                let say = |peer: &PeerId| Do::Say { peer: *peer, message: message.clone(), flush: false };
                self.out.extend(self.sessions.keys().map(say));
                return None;
            }
            Fault::ForgetsOwnHead if event.body().seq == 4 => {
                let mut pen = self.at_disk()?.pen(&self.peer);
                let (payload, refs) = (event.payload().clone(), event.body().refs.clone());
                self.wire.wrote(pen.write(clock, payload, refs, &feed, &identity).ok()?)
            }
            _ => self.wire.wrote(event),
        };
        self.written(now, &event)
    }

    /// Takes in what was written here, if it may be stored.
    fn written(&mut self, now: Millis, event: &Arc<Event>) -> Option<EventId> {
        let checked = self.state.check(event).ok()??;
        self.take_in(event, checked);
        self.settle();
        self.flush(now);
        Some(event.id())
    }

    /// The state without what was written last.
    fn at_disk(&self) -> Option<State> {
        let mut state = State::new(self.state.project());
        let own = self.state.feed_head(&self.peer)?;
        let known = self.log.order().iter().filter(|event| event.id() != own.id);
        known.for_each(|event| drop(state.take(Event::clone(event))));
        Some(state)
    }

    /// The same event at another time.
    fn signed(&self, event: &Event, hlc: Hlc) -> Arc<Event> {
        let body = event.body();
        let draft = Draft {
            project: body.project,
            seq: body.seq,
            prev: body.prev,
            hlc,
            seen: body.seen.clone(),
            refs: body.refs.clone(),
            payload: event.payload().clone(),
        };
        self.wire.wrote(draft.sign(&self.feed, &self.identity).expect("it was signed before"))
    }

    pub(super) fn flush(&mut self, now: Millis) {
        if self.under_way.is_some() {
            return;
        }
        let Some(layer) = self.state.begin_append() else { return };
        if self.fault == Fault::TellsTooSoon {
            let events = layer.events().map(|(place, event)| (place.strand, event.clone())).collect();
            self.tell(now, events);
        }
        self.under_way = Some(layer);
        self.out.push(Do::Append);
    }

    fn tell(&mut self, now: Millis, events: Vec<(u32, Arc<Event>)>) {
        for (peer, ahead) in std::mem::take(&mut self.ahead) {
            let (here, ahead): (BTreeSet<_>, _) =
                ahead.into_iter().partition(|told| events.iter().any(|(_, event)| FrontierEntry::of(event) == *told));
            let here = |event: &Event| here.contains(&FrontierEntry::of(event));
            let heads = events.iter().filter(|(_, event)| here(event));
            let heads = heads.map(|(strand, event)| (*strand, event.body().seq)).collect();
            self.input(now, Input::Has { peer, heads });
            self.ahead.insert(peer, ahead);
        }
        let events = events.into_iter().map(|(strand, event)| (strand, Durable::pretended(event))).collect();
        let logged = self.state.frontier();
        self.input(now, Input::Stored { events, logged });
    }

    /// What was under way is durable.
    pub(in crate::simulator) fn appended(&mut self, now: Millis) {
        let Some(layer) = self.under_way.take() else { return };
        let events = self.log.append(&layer);
        self.state.appended(self.log.rows());
        if self.fault != Fault::TellsTooSoon {
            self.tell(now, events);
        }
        self.flush(now);
    }

    /// Signs what it should not, and nothing of it is taken in here.
    pub(in crate::simulator) fn forge(
        &self,
        seq: u64,
        prev: Option<EventId>,
        hlc: Hlc,
        payload: Payload,
        refs: Vec<EventId>,
    ) -> Vec<u8> {
        let draft = Draft { project: self.state.project(), seq, prev, hlc, seen: Vec::new(), refs, payload };
        draft.sign(&self.feed, &self.identity).map_or_else(|_| vec![0xff], |event| event.bytes().to_vec())
    }

    /// As [`Node::write`], claiming to have seen nothing of others but what the payload speaks of.
    pub(in crate::simulator) fn back_date(
        &mut self,
        now: Millis,
        payload: Payload,
        refs: Vec<EventId>,
    ) -> Option<EventId> {
        let own = self.state.feed_head(&self.peer)?;
        let known = |id: &EventId| self.state.event(id).map(|event| event.body().hlc);
        let hlc = refs.iter().chain([&own.id]).filter_map(known).max()?.next(0);
        let bytes = self.forge(own.seq + 1, Some(own.id), hlc, payload, refs);
        let event = self.wire.read(&bytes)?;
        let id = self.written(now, &event)?;
        self.look(now);
        Some(id)
    }
}
