//! Hearing those who were removed, as `node` does.

use super::{Do, Fault, Node};
use crate::hlc::Millis;
use crate::id::{IdentityId, PeerId};
use crate::sync::{Hearing, Input, Message, Output};

impl Node {
    /// Would it talk to this identity?
    pub(in crate::simulator) fn greets(&self, other: &Self) -> bool {
        self.state.genesis().is_none() || self.state.is_welcome(&other.identity.identity(), &other.peer)
    }

    /// Would it hear this one, who was removed?
    pub(in crate::simulator) fn hears(&self, other: &Self) -> bool {
        !self.greets(other)
            && self.fault != Fault::HearsNobody
            && other.state.genesis().is_some()
            && self.state.is_removed(&other.identity.identity(), &other.peer)
    }

    pub(in crate::simulator) fn hearing_up(&mut self, now: Millis, peer: PeerId, identity: IdentityId, session: u64) {
        self.session_down(now, peer);
        let clones = [(identity, peer), (self.identity.identity(), self.peer)];
        let past = match self.fault {
            Fault::TellsTheRemoved => self.state.frontier(),
            _ => self.state.past_of(&self.state.bearing_on(&clones)).expect("its own rows"),
        };
        self.hearings.insert(peer, (session, Hearing::new(now, peer, past.within(self.sync.frontier()))));
        self.drain_hearing(peer);
    }

    /// Something that one who is heard said, or that came of it.
    pub(super) fn in_hearing(&mut self, now: Millis, peer: PeerId, input: Input) {
        if let Some((_, hearing)) = self.hearings.get_mut(&peer) {
            hearing.handle(now, input);
            self.drain_hearing(peer);
        }
    }

    fn drain_hearing(&mut self, peer: PeerId) {
        let Some((session, hearing)) = self.hearings.get_mut(&peer) else { return };
        let hearing_number = Some(*session);
        while let Some(output) = hearing.poll() {
            match output {
                Output::Send { peer, message, flush } => self.out.push(Do::Say { peer, message, flush }),
                Output::Load { peer, load, lacking } => {
                    self.out.push(Do::Load { peer, hearing: hearing_number, load, lacking });
                }
                Output::Serves { .. } => {}
                Output::Drop { peer, why } => self.out.push(Do::Drop { peer, why: why.to_owned() }),
            }
        }
        if hearing.is_over() {
            self.out.push(Do::Heard(peer));
        }
    }

    /// What is said in a hearing.
    pub(super) fn heard(&mut self, now: Millis, peer: PeerId, message: Message) {
        match message {
            Message::Events(events) => self.sent(now, peer, &events),
            Message::Frontier { entries, last } => {
                let located = self.state.locate(&entries);
                self.in_hearing(now, peer, Input::Frontier { peer, located, entries: entries.len(), last });
            }
            Message::Held(entries) => {
                let heads = self.state.locate(&entries).heads;
                self.in_hearing(now, peer, Input::Has { peer, heads });
            }
            Message::Answered => self.in_hearing(now, peer, Input::Answered(peer)),
            Message::Over { heard } => {
                if let Some((_, hearing)) = self.hearings.get_mut(&peer) {
                    hearing.over(heard);
                    self.drain_hearing(peer);
                }
            }
            _ => {}
        }
    }
}
