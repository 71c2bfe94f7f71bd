//! One node as a value: the state, the sessions, a log of which only a part is durable, and a clock that may be wrong.
//!
//! What `node` does around the pure parts is done here as it is there, without tasks, disks and git. This file alone
//! knows the state's interface.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::log::{Log, Wire};
use crate::approval::{ChainAnswer, Checked, RULES, Rejected, State};
use crate::eventlog::rows::Layer;
use crate::eventlog::{
    Certify, Draft, Durable, Event, Extensions, FrontierEntry, Lacking, Land, Located, OnStrand, Payload,
};
use crate::hlc::{Hlc, Millis};
use crate::id::{EventId, IdentityId, Lid, ObjectId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};
use crate::limits;
use crate::sync::{Hearing, Input, Message, Output, Sync, ask_again_at};

/// How far ahead of the own clock an event may be.
const DRIFT: Millis = limits::CLOCK_DRIFT.as_secs() * 1_000;
/// As in `node`: turns in which two chains of a feed are compared in one session.
const CHAIN_TURNS: u8 = 16;

/// Something that a node does wrong on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    /// Tells of events that are not durable yet.
    TellsTooSoon,
    /// Does not forward every second batch of what it got from others.
    ForgetsToForward,
    /// Says that it holds what it has only just been sent.
    SaysItHolds,
    /// Its feed's time goes back now and then.
    TimeGoesBack,
    /// Takes in events whose past it has not got.
    TakesGaps,
    /// Takes every landing for sound.
    TakesUnsound,
    /// Does not ask again for events whose time had not come.
    ForgetsHeld,
    /// Sends what was read for a session that has ended on the one that took its place.
    LoadsForAnySession,
    /// Does not say where what a neighbour lacks could not be read.
    ForgetsFailedLoads,
    /// Gives one who was removed all that it holds.
    TellsTheRemoved,
    /// Takes nothing from one who was removed.
    HearsNobody,
    /// Begins its next event where the disk was before the last append.
    ForgetsOwnHead,
}

/// What a node wants done.
#[derive(Debug)]
pub(super) enum Do {
    Say {
        peer: PeerId,
        message: Message,
        flush: bool,
    },
    Load {
        peer: PeerId,
        /// For which hearing, if for one.
        hearing: Option<u64>,
        load: u64,
        lacking: Vec<Lacking>,
    },
    /// Write what was taken in to the disk.
    Append,
    /// End the session for a mistake of the other.
    Drop {
        peer: PeerId,
        why: String,
    },
    /// End the session with one who is welcome no more.
    Leave(PeerId),
    /// End a hearing.
    Heard(PeerId),
    Fetch {
        commit: ObjectId,
        from: PeerId,
    },
    /// Look soon whether a landing can be completed.
    Complete,
}

/// One node.
pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) feed: FeedKey,
    pub(super) identity: IdentityKey,
    pub(super) up: bool,
    /// Counts its starts: what was under way when it crashed does not arrive.
    pub(super) life: u64,
    /// How far its clock is off.
    pub(super) offset: i64,
    pub(super) fault: Fault,
    pub(super) state: State,
    pub(super) sync: Sync,
    pub(super) log: Log,
    /// Objects that it has.
    pub(super) held: BTreeSet<ObjectId>,
    /// What it told others that it holds.
    pub(super) told: BTreeSet<FrontierEntry>,
    pub(super) out: Vec<Do>,
    /// With whom, by which identity they greeted.
    sessions: BTreeMap<PeerId, IdentityId>,
    /// Those who are heard though one of the two was removed, by the session's number.
    hearings: BTreeMap<PeerId, (u64, Hearing)>,
    /// Neighbours who sent what is held, in this session.
    held_back: BTreeSet<PeerId>,
    /// How often chains of a feed were compared with a neighbour.
    chains: BTreeMap<(PeerId, PeerId), u8>,
    /// What neighbours told of and is not here yet.
    ahead: BTreeMap<PeerId, BTreeSet<FrontierEntry>>,
    under_way: Option<Arc<Layer>>,
    wanted: BTreeSet<ObjectId>,
    fetching: BTreeSet<ObjectId>,
    served: BTreeMap<PeerId, BTreeSet<ObjectId>>,
    completed: BTreeSet<(Vec<Lid>, ObjectId)>,
    forgotten: u64,
    /// The last load for each neighbour.
    last_load: BTreeMap<PeerId, u64>,
    wire: Wire,
}

/// The commit that a landing must have, or `None` where it conflicts: the same everywhere, as the frozen merge is.
pub(super) fn merged(heads: &[ObjectId], tip: ObjectId) -> Option<ObjectId> {
    let mut hasher = blake3::Hasher::new();
    for commit in heads.iter().chain([&tip]) {
        hasher.update(commit.as_bytes());
    }
    let hash = hasher.finalize();
    let bytes: [u8; 20] = hash.as_bytes()[..20].try_into().expect("20 of 32 bytes");
    (bytes[0] >= 24).then_some(ObjectId::Sha1(bytes))
}

/// The keys of the node of a number.
pub(super) fn keys(n: usize) -> (FeedKey, IdentityKey) {
    let seed = |kind: u8| {
        let mut seed = [kind; 32];
        seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Secret::from_seed(seed)
    };
    (FeedKey(seed(1)), IdentityKey(seed(2)))
}

impl Node {
    pub(super) fn new(n: usize, project: ProjectId, wire: Wire) -> Self {
        let (feed, identity) = keys(n);
        Self {
            peer: feed.peer(),
            feed,
            identity,
            up: false,
            life: 0,
            offset: 0,
            fault: Fault::None,
            state: State::new(project),
            sync: Sync::new(crate::eventlog::Frontier::default(), std::iter::empty()),
            log: Log::default(),
            held: BTreeSet::new(),
            told: BTreeSet::new(),
            out: Vec::new(),
            sessions: BTreeMap::new(),
            hearings: BTreeMap::new(),
            held_back: BTreeSet::new(),
            chains: BTreeMap::new(),
            ahead: BTreeMap::new(),
            under_way: None,
            wanted: BTreeSet::new(),
            fetching: BTreeSet::new(),
            served: BTreeMap::new(),
            completed: BTreeSet::new(),
            forgotten: 0,
            last_load: BTreeMap::new(),
            wire,
        }
    }

    /// What its clock shows.
    pub(super) fn clock(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.offset)
    }

    /// Begins with what is durable.
    pub(super) fn start(&mut self) {
        self.up = true;
        self.life += 1;
        self.state = State::open(self.state.project(), self.log.rows()).expect("its own rows");
        self.sync = Sync::new(self.state.frontier(), self.state.heads());
        for event in self.log.order().to_vec() {
            self.wants(&event);
        }
        self.out.push(Do::Complete);
        self.settle();
    }

    /// Everything that is not durable is gone.
    pub(super) fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.sessions.clear();
        self.hearings.clear();
        self.held_back.clear();
        self.chains.clear();
        self.ahead.clear();
        self.under_way = None;
        self.wanted.clear();
        self.fetching.clear();
        self.served.clear();
        self.completed.clear();
        self.out.clear();
    }

    /// Would it talk to this identity?
    pub(super) fn greets(&self, other: &Self) -> bool {
        self.state.genesis().is_none() || self.state.is_welcome(&other.identity.identity(), &other.peer)
    }

    /// Would it hear this one, who was removed?
    pub(super) fn hears(&self, other: &Self) -> bool {
        !self.greets(other)
            && self.fault != Fault::HearsNobody
            && other.state.genesis().is_some()
            && self.state.is_removed(&other.identity.identity(), &other.peer)
    }

    pub(super) fn hearing_up(&mut self, now: Millis, peer: PeerId, identity: IdentityId, session: u64) {
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
    fn in_hearing(&mut self, now: Millis, peer: PeerId, input: Input) {
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

    pub(super) fn session_up(&mut self, now: Millis, peer: PeerId, identity: IdentityId, digest: [u8; 32]) {
        self.hearings.remove(&peer);
        self.sessions.insert(peer, identity);
        self.held_back.remove(&peer);
        self.chains.retain(|(of, _), _| *of != peer);
        self.ahead.remove(&peer);
        self.served.remove(&peer);
        self.input(now, Input::PeerUp { peer, digest });
        self.say_served(peer, self.held.iter().copied().collect());
    }

    pub(super) fn session_down(&mut self, now: Millis, peer: PeerId) {
        if self.hearings.remove(&peer).is_some() {
            return;
        }
        self.sessions.remove(&peer);
        self.served.remove(&peer);
        self.input(now, Input::PeerDown(peer));
    }

    fn say_served(&mut self, peer: PeerId, commits: Vec<ObjectId>) {
        if !commits.is_empty() {
            self.out.push(Do::Say { peer, message: Message::Objects(commits), flush: false });
        }
    }

    pub(super) fn input(&mut self, now: Millis, input: Input) {
        self.sync.handle(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.sync.poll() {
            match output {
                Output::Send { peer, message, flush } => {
                    if self.fault == Fault::ForgetsToForward && self.is_foreign(&message) {
                        self.forgotten += 1;
                        if self.forgotten.is_multiple_of(2) {
                            continue;
                        }
                    }
                    self.note_told(&message);
                    self.out.push(Do::Say { peer, message, flush });
                }
                Output::Load { peer, load, lacking } => {
                    self.last_load.insert(peer, load);
                    self.out.push(Do::Load { peer, hearing: None, load, lacking });
                }
                Output::Serves { peer, commits } => {
                    self.served.entry(peer).or_default().extend(commits);
                    self.fetch();
                }
                Output::Drop { peer, why } => self.out.push(Do::Drop { peer, why: why.to_owned() }),
            }
        }
    }

    /// A load is done; without events it failed.
    pub(super) fn loaded(
        &mut self,
        now: Millis,
        peer: PeerId,
        hearing: Option<u64>,
        load: u64,
        events: Option<Vec<OnStrand>>,
    ) {
        let load = match self.fault {
            Fault::LoadsForAnySession => self.last_load.get(&peer).copied().unwrap_or(load),
            _ => load,
        };
        let input = match events {
            Some(events) => Input::Loaded { peer, load, events },
            None if self.fault == Fault::ForgetsFailedLoads => return,
            None => Input::NotLoaded { peer, load },
        };
        match hearing {
            None => self.input(now, input),
            Some(session) if self.hearings.get(&peer).is_some_and(|(current, _)| *current == session) => {
                self.in_hearing(now, peer, input);
            }
            Some(_) => {}
        }
    }

    pub(super) fn flushed(&mut self, now: Millis, peer: PeerId) {
        if self.hearings.contains_key(&peer) {
            self.in_hearing(now, peer, Input::Flushed(peer));
        } else {
            self.input(now, Input::Flushed(peer));
        }
    }

    /// A deadline has come.
    pub(super) fn due(&mut self, now: Millis) {
        self.input(now, Input::Due);
        for peer in self.hearings.keys().copied().collect::<Vec<_>>() {
            self.in_hearing(now, peer, Input::Due);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Millis> {
        let hearings = self.hearings.values().filter_map(|(_, hearing)| hearing.next_wake());
        hearings.chain(self.sync.next_wake()).min()
    }

    fn is_foreign(&self, message: &Message) -> bool {
        let Message::Events(events) = message else { return false };
        events.iter().filter_map(|bytes| self.wire.read(bytes)).all(|event| event.body().author != self.peer)
    }

    fn note_told(&mut self, message: &Message) {
        match message {
            Message::Frontier { entries, .. } | Message::Held(entries) => self.told.extend(entries),
            Message::Events(events) => {
                let read = events.iter().filter_map(|bytes| self.wire.read(bytes));
                self.told.extend(read.map(|event| FrontierEntry::of(&event)));
            }
            _ => {}
        }
    }

    /// Takes what a neighbour said.
    pub(super) fn received(&mut self, now: Millis, peer: PeerId, message: Message) {
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
            Message::Clock(_) | Message::Over { .. } | Message::Unknown(_) => {}
        }
    }

    /// What is said in a hearing.
    fn heard(&mut self, now: Millis, peer: PeerId, message: Message) {
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

    fn sent(&mut self, now: Millis, peer: PeerId, events: &[Vec<u8>]) {
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

    fn take_in(&mut self, event: &Arc<Event>, checked: Checked) {
        self.state.apply(event, checked);
        self.wants(event);
    }

    fn wants(&mut self, event: &Event) {
        let tip = match event.payload() {
            Payload::Propose(propose) => propose.tip,
            Payload::Land(land) => land.tip,
            _ => return,
        };
        if !self.held.contains(&tip) {
            self.wanted.insert(tip);
        }
    }

    /// What there is to do after something new came.
    pub(super) fn look(&mut self, now: Millis) {
        self.certify(now);
        self.settle();
        self.fetch();
        self.flush(now);
        if self.state.genesis().is_some() {
            let gone = self.sessions.iter().filter(|(peer, identity)| !self.state.is_welcome(identity, peer));
            self.out.extend(gone.map(|(peer, _)| Do::Leave(*peer)));
        }
        self.out.push(Do::Complete);
    }

    fn certify(&mut self, now: Millis) {
        let admitted = self.state.member_of_identity(&self.identity.identity()).is_some();
        if admitted && self.state.genesis().is_some() && self.state.strand_of(&self.peer).is_none() {
            let certificate = self.identity.certify(&self.state.project(), &self.peer);
            let certify = Certify { certificate, extensions: Extensions::default() };
            self.write(now, Payload::Certify(certify), Vec::new());
        }
    }

    /// Judges every landing whose objects are here.
    fn settle(&mut self) {
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

    fn fetch(&mut self) {
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
    pub(super) fn fetched(&mut self, now: Millis, from: PeerId, commit: ObjectId, came: bool) {
        self.fetching.remove(&commit);
        if came {
            self.publish(commit);
        } else if let Some(served) = self.served.get_mut(&from) {
            served.remove(&commit);
        }
        self.look(now);
    }

    /// Objects are here, and served.
    pub(super) fn publish(&mut self, commit: ObjectId) {
        self.held.insert(commit);
        self.wanted.remove(&commit);
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.say_served(peer, vec![commit]);
        }
    }

    /// Writes one event of the own feed. `None` where it would not fit.
    pub(super) fn write(&mut self, now: Millis, payload: Payload, refs: Vec<EventId>) -> Option<EventId> {
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

    fn flush(&mut self, now: Millis) {
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
    pub(super) fn appended(&mut self, now: Millis) {
        let Some(layer) = self.under_way.take() else { return };
        let events = self.log.append(&layer);
        self.state.appended(self.log.rows());
        if self.fault != Fault::TellsTooSoon {
            self.tell(now, events);
        }
        self.flush(now);
    }

    /// Writes a landing that any member's node may write, if there is one. Tells whether there may be more.
    pub(super) fn complete(&mut self, now: Millis) -> bool {
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

    /// Signs what it should not, and nothing of it is taken in here.
    pub(super) fn forge(
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
    pub(super) fn back_date(&mut self, now: Millis, payload: Payload, refs: Vec<EventId>) -> Option<EventId> {
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
