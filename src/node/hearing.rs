//! Hearings: who was removed hands in what decides about that, is told the same, and is closed to with the reason.
//!
//! It is no neighbour: nothing else is said to it, no objects are served or asked for, and people are not told of it.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::core::Core;
use super::run::Wake;
use super::sessions::{Outgoing, SessionEnd, millis, read_session, write_session};
use crate::eventlog::store::StoreError;
use crate::eventlog::{Event, Frontier, Malformed, OnStrand};
use crate::hlc::Millis;
use crate::id::{EventId, IdentityId, MemberId, PeerId};
use crate::limits;
use crate::quic::{CloseCode, Connection, RecvStream, SendStream};
use crate::sync::{Hearing, Hello, Input, Message, Output};

const DAY: Millis = 24 * 3_600_000;

/// All hearings of a node.
#[derive(Default)]
pub(super) struct Hearings {
    open: BTreeMap<PeerId, Open>,
    /// What decides about a peer, and how far its past goes: as it was when one was heard last.
    offers: BTreeMap<PeerId, (Vec<EventId>, Frontier)>,
    /// Since when, and how much, those removed handed in.
    taken: BTreeMap<MemberId, (Millis, usize)>,
}

/// One that goes on.
struct Open {
    session: u64,
    connection: Connection,
    identity: IdentityId,
    /// It was removed in our eyes when this began.
    judges: bool,
    out: mpsc::Sender<Outgoing>,
    /// Not before it is known what the other may have; until then it is not listened to.
    hearing: Option<Hearing>,
    recv: Option<RecvStream>,
    /// When it is given up, if nothing comes.
    until: Millis,
}

/// What was worked out beside the loop for a hearing.
pub(super) enum HearingStep {
    /// What decides about this peer, and how far its past goes.
    Offered(Option<(Vec<EventId>, Frontier)>),
    /// A load.
    Loaded { load: u64, events: Result<Vec<OnStrand>, StoreError> },
}

impl Hearings {
    pub(super) fn next_wake(&self) -> Option<Millis> {
        let times = |open: &Open| [Some(open.until), open.hearing.as_ref().and_then(Hearing::next_wake)];
        self.open.values().flat_map(times).flatten().min()
    }

    /// Is there one with this peer?
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.open.contains_key(peer)
    }

    /// Ends all of them.
    pub(super) fn close_all(&mut self, why: &str) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.connection.close(CloseCode::Bye, why);
        }
    }

    /// May one more event of this member be taken in? It is counted.
    fn take_one(&mut self, now: Millis, member: MemberId) -> bool {
        self.taken.retain(|_, (since, _)| now < *since + DAY);
        let (_, count) = self.taken.entry(member).or_insert((now, 0));
        *count += 1;
        *count <= limits::HEARING_EVENTS
    }
}

impl Core {
    /// Was this one removed, and does it hold a log in which that may be disputed?
    pub(super) fn hears(&self, hello: &Hello, peer: &PeerId) -> bool {
        *peer != self.me
            && hello.digest != Frontier::default().digest()
            && self.state.is_removed(&hello.certificate.identity, peer)
    }

    /// Is a dial of this peer for a hearing?
    pub(super) fn dials_for_hearing(&self, peer: Option<PeerId>) -> bool {
        let removed = |peer: PeerId| Some(self.state.is_removed(&self.state.identity_of_feed(&peer)?, &peer));
        peer.and_then(removed).unwrap_or(false)
    }

    /// Begins one, in the place of a session. Both know from the hellos that it is one.
    pub(super) fn begin_hearing(
        &mut self,
        now: Millis,
        connection: Connection,
        hello: &Hello,
        send: SendStream,
        recv: RecvStream,
    ) {
        let (peer, identity) = (connection.peer(), hello.certificate.identity);
        if self.state.genesis().is_none() {
            return connection.close(CloseCode::NotAMember, "it was removed, and has no log");
        }
        if self.hearings.has(&peer) || self.hearings.open.len() >= limits::HEARINGS {
            return connection.close(CloseCode::Busy, "too many are heard at once");
        }
        self.next_session += 1;
        let session = self.next_session;
        let (out, outbox) = mpsc::channel(limits::OUTBOX);
        if !connection.dialled() {
            // It is empty.
            let _ = out.try_send((self.hello(true).encode(), false));
        }
        tokio::spawn(write_session(self.wake.clone(), peer, session, send, outbox));
        let until = now + millis(limits::HEARING_QUIET);
        let judges = !self.state.is_welcome(&identity, &peer);
        let (hearing, recv) = (None, Some(recv));
        self.hearings.open.insert(peer, Open { session, connection, identity, judges, out, hearing, recv, until });
        tracing::debug!(peer = %peer.short(), "a hearing begins");
        let (state, known) = (self.state.clone(), self.hearings.offers.get(&peer).cloned());
        let clones = [(identity, peer), (self.identity.identity(), self.me)];
        let offer = move || {
            let bearing = state.bearing_on(&clones);
            match known {
                Some(known) if known.0 == bearing => Some(known),
                _ => state.past_of(&bearing).map(|past| (bearing, past)),
            }
        };
        let then = move |offer| Wake::Hearing { peer, session, step: Box::new(HearingStep::Offered(offer)) };
        super::run::work(&self.wake, offer, then);
    }

    pub(super) fn hearing_step(&mut self, now: Millis, peer: PeerId, session: u64, step: HearingStep) {
        let Some(open) = self.hearings.open.get_mut(&peer).filter(|open| open.session == session) else { return };
        match step {
            HearingStep::Offered(None) => self.end_hearing(now, peer, CloseCode::Busy, "its log cannot be read now"),
            HearingStep::Offered(Some(offer)) => {
                let offered = offer.1.clone().within(self.sync.frontier());
                open.hearing = Some(Hearing::new(now, peer, offered));
                if let Some(recv) = open.recv.take() {
                    tokio::spawn(read_session(self.wake.clone(), peer, session, open.connection.clone(), recv));
                }
                if self.hearings.offers.len() >= limits::HEARINGS_KEPT {
                    self.hearings.offers.clear();
                }
                self.hearings.offers.insert(peer, offer);
                self.drain_hearing(now, peer);
            }
            HearingStep::Loaded { load, events: Ok(events) } => {
                self.in_hearing(now, peer, Input::Loaded { peer, load, events });
            }
            HearingStep::Loaded { load, events: Err(error) } => {
                self.problem(&super::refusals::store(&error));
                self.in_hearing(now, peer, Input::NotLoaded { peer, load });
            }
        }
    }

    /// Is this the session of a hearing that goes on?
    fn is_heard(&self, peer: &PeerId, session: u64) -> bool {
        self.hearings.open.get(peer).is_some_and(|open| open.session == session)
    }

    /// What is said in a hearing. Anything else than what decides is left aside.
    pub(super) fn said_in_hearing(&mut self, now: Millis, peer: PeerId, session: u64, message: Message) {
        if !self.is_heard(&peer, session) {
            return;
        }
        let input = match message {
            Message::Frontier { entries, last } => {
                Input::Frontier { peer, located: self.state.locate(&entries), entries: entries.len(), last }
            }
            Message::Held(entries) => Input::Has { peer, heads: self.state.locate(&entries).heads },
            Message::Answered => Input::Answered(peer),
            Message::Over { heard } => {
                if let Some(hearing) = self.hearings.open.get_mut(&peer).and_then(|open| open.hearing.as_mut()) {
                    hearing.over(heard);
                }
                return self.drain_hearing(now, peer);
            }
            _ => return,
        };
        self.in_hearing(now, peer, input);
    }

    /// Takes in what decides about one who was removed: as from anybody, but not without end.
    pub(super) fn sent_in_hearing(
        &mut self,
        now: Millis,
        peer: PeerId,
        session: u64,
        events: Vec<Event>,
        malformed: Option<Malformed>,
    ) {
        if !self.is_heard(&peer, session) || self.log_lost.is_some() {
            return;
        }
        let Some(identity) = self.hearings.open.get(&peer).map(|open| open.identity) else { return };
        let member = self.state.owner_of_identity(&identity).unwrap_or(MemberId::of(&identity));
        let bounded = !self.state.is_welcome(&identity, &peer);
        let horizon = self.clock.wall().saturating_add(millis(limits::CLOCK_DRIFT));
        let mut heads = Vec::with_capacity(events.len());
        for event in events {
            if self.state.due(&event) > horizon {
                return self.end_hearing(
                    now,
                    peer,
                    CloseCode::TooLate,
                    "what it handed in has a time that is yet to come",
                );
            }
            let id = event.id();
            match self.state.check(&event) {
                Ok(Some(_)) if bounded && !self.hearings.take_one(now, member) => {
                    return self.end_hearing(now, peer, CloseCode::Busy, "it was heard enough for a day");
                }
                Ok(Some(checked)) => self.take_in(event, checked),
                Ok(None) => {}
                Err(crate::approval::Rejected::Unreadable) => return self.log_unreadable(now),
                Err(why) => {
                    let why = format!("it handed in an event that was rejected: {why}");
                    return self.end_hearing(now, peer, CloseCode::Protocol, &why);
                }
            }
            heads.extend(self.state.place_of(&id).map(|place| (place.strand, place.seq)));
        }
        if let Some(why) = malformed {
            let why = format!("it sent what is no event: {why}");
            return self.end_hearing(now, peer, CloseCode::Protocol, &why);
        }
        self.in_hearing(now, peer, Input::Told { peer, heads });
    }

    pub(super) fn flushed_in_hearing(&mut self, now: Millis, peer: PeerId, session: u64) {
        if self.is_heard(&peer, session) {
            self.in_hearing(now, peer, Input::Flushed(peer));
        }
    }

    /// The connection of a hearing ended.
    pub(super) fn hearing_ended(&mut self, now: Millis, peer: PeerId, session: u64, end: SessionEnd) {
        if !self.is_heard(&peer, session) {
            return;
        }
        let Some(open) = self.hearings.open.remove(&peer) else { return };
        tracing::debug!(peer = %peer.short(), why = end.why, "a hearing ended");
        self.not_soon(now, peer);
        if end.turned_away {
            let addr = open.connection.remote_addr();
            self.connects.retain_mut(|connect| connect.turned_away(addr, &end.why));
            self.turned_away = Some(end.why);
        }
    }

    /// Deadlines: of the hearings themselves, and where nothing comes.
    pub(super) fn hearings_due(&mut self, now: Millis) {
        for peer in self.hearings.open.keys().copied().collect::<Vec<_>>() {
            if self.hearings.open.get(&peer).is_some_and(|open| open.until <= now) {
                self.end_hearing(now, peer, CloseCode::TooLate, "nothing was said in time");
            } else if let Some(hearing) = self.hearings.open.get_mut(&peer).and_then(|open| open.hearing.as_mut()) {
                hearing.handle(now, Input::Due);
                self.drain_hearing(now, peer);
            }
        }
    }

    fn in_hearing(&mut self, now: Millis, peer: PeerId, input: Input) {
        let Some(open) = self.hearings.open.get_mut(&peer) else { return };
        open.until = now + millis(limits::HEARING_QUIET);
        if let Some(hearing) = &mut open.hearing {
            hearing.handle(now, input);
        }
        self.drain_hearing(now, peer);
    }

    fn drain_hearing(&mut self, now: Millis, peer: PeerId) {
        let Some(open) = self.hearings.open.get_mut(&peer) else { return };
        let Some(hearing) = &mut open.hearing else { return };
        let session = open.session;
        while let Some(output) = hearing.poll() {
            match output {
                Output::Send { message, flush, .. } => {
                    if open.out.try_send((message.encode(), flush)).is_err() {
                        return self.end_hearing(now, peer, CloseCode::Protocol, "it does not read what it is sent");
                    }
                }
                Output::Load { load, lacking, .. } => {
                    let (store, lacking) = (self.store.clone(), self.state.clip(lacking));
                    let job = move || store.read(&lacking, limits::BATCH_BYTES);
                    let then = move |events| {
                        let step = Box::new(HearingStep::Loaded { load, events });
                        Wake::Hearing { peer, session, step }
                    };
                    super::run::work(&self.wake, job, then);
                }
                Output::Serves { .. } => {}
                Output::Drop { why, .. } => return self.end_hearing(now, peer, CloseCode::Protocol, why),
            }
        }
        // Whoever was heard waits for the other's word.
        let (over, identity, judges) = (hearing.is_over(), open.identity, open.judges);
        if over && !self.state.is_welcome(&identity, &peer) {
            let why = self.why_removed(&peer, identity);
            self.end_hearing(now, peer, CloseCode::NotAMember, &why);
        } else if over && judges {
            self.end_hearing(now, peer, CloseCode::Bye, "it is a member again");
            if let Some(known) = self.known.get_mut(&peer) {
                known.next_dial = Some(now);
            }
        }
    }

    fn end_hearing(&mut self, now: Millis, peer: PeerId, code: CloseCode, why: &str) {
        if let Some(open) = self.hearings.open.remove(&peer) {
            tracing::debug!(peer = %peer.short(), why, "a hearing is closed");
            open.connection.close(code, why);
            self.not_soon(now, peer);
        }
    }

    /// A peer is not dialled again before the longest wait is over.
    pub(super) fn not_soon(&mut self, now: Millis, peer: PeerId) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.wait = millis(limits::REDIAL_MAX);
            known.next_dial = Some(now + known.wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_was_removed_hands_in_so_much_a_day_and_takes_it_from_nobody_else() {
        let mut hearings = Hearings::default();
        let (one, other) = (MemberId([1; 32]), MemberId([2; 32]));
        assert!((0..limits::HEARING_EVENTS).all(|_| hearings.take_one(5, one)));
        assert!(!hearings.take_one(6, one) && hearings.take_one(6, other));
        assert!(!hearings.take_one(DAY + 4, one));
        assert!(hearings.take_one(DAY + 5, one), "the next day");
    }
}
