//! One node as a value: the state, the sessions, a log of which only a part is durable, and a clock that may be wrong.
//!
//! What `node` does around the pure parts is done here as it is there, without tasks, disks and git. This file alone
//! knows the state's interface.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::log::{Log, Wire};
use crate::approval::{RULES, Rejected, State};
use crate::eventlog::{Certify, Draft, Durable, Event, Extensions, FrontierEntry, Lacking, Land, Payload};
use crate::hlc::{Hlc, Millis};
use crate::id::{EventId, Lid, ObjectId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};
use crate::limits;
use crate::sync::{Input, Message, Output, Sync};

/// Does the state take both events of a doubled number, as proof that a feed forked? Until it does no run has forks.
pub(super) const TAKES_FORKS: bool = false;

/// Does the state act on revocations, votes and policies? Until it does nobody writes any.
pub(super) const GOVERNS: bool = false;

/// How far ahead of the own clock an event may be.
const DRIFT: Millis = limits::CLOCK_DRIFT.as_secs() * 1_000;

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
        lacking: Vec<Lacking>,
    },
    /// Write what was taken in to the disk.
    Append,
    /// End the session for a mistake of the other.
    Drop {
        peer: PeerId,
        why: String,
    },
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
    pub(super) told: BTreeMap<PeerId, u64>,
    pub(super) out: Vec<Do>,
    sessions: BTreeSet<PeerId>,
    gathered: Vec<Arc<Event>>,
    under_way: Vec<Arc<Event>>,
    appending: bool,
    wanted: BTreeSet<ObjectId>,
    fetching: BTreeSet<ObjectId>,
    served: BTreeMap<PeerId, BTreeSet<ObjectId>>,
    completed: BTreeSet<(Vec<Lid>, ObjectId)>,
    forgotten: u64,
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
            sync: Sync::new(crate::eventlog::Frontier::default()),
            log: Log::default(),
            held: BTreeSet::new(),
            told: BTreeMap::new(),
            out: Vec::new(),
            sessions: BTreeSet::new(),
            gathered: Vec::new(),
            under_way: Vec::new(),
            appending: false,
            wanted: BTreeSet::new(),
            fetching: BTreeSet::new(),
            served: BTreeMap::new(),
            completed: BTreeSet::new(),
            forgotten: 0,
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
        let mut state = State::new(self.state.project());
        for event in self.log.order() {
            state.apply(event);
        }
        self.state = state;
        self.sync = Sync::new(self.log.frontier());
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
        self.gathered.clear();
        self.under_way.clear();
        self.appending = false;
        self.wanted.clear();
        self.fetching.clear();
        self.served.clear();
        self.completed.clear();
        self.out.clear();
    }

    /// Would it talk to this identity?
    pub(super) fn greets(&self, other: &Self) -> bool {
        self.state.genesis().is_none() || self.state.member_of_identity(&other.identity.identity()).is_some()
    }

    pub(super) fn session_up(&mut self, now: Millis, peer: PeerId, digest: [u8; 32]) {
        self.sessions.insert(peer);
        self.served.remove(&peer);
        self.input(now, Input::PeerUp { peer, digest });
        self.say_served(peer, self.held.iter().copied().collect());
    }

    pub(super) fn session_down(&mut self, now: Millis, peer: PeerId) {
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
        let now = self.clock(now);
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
                Output::Load { peer, lacking } => self.out.push(Do::Load { peer, lacking }),
                Output::Serves { peer, commits } => {
                    self.served.entry(peer).or_default().extend(commits);
                    self.fetch();
                }
                Output::Drop { peer, why } => self.out.push(Do::Drop { peer, why: why.to_owned() }),
            }
        }
    }

    fn is_foreign(&self, message: &Message) -> bool {
        let Message::Events(events) = message else { return false };
        events.iter().filter_map(|bytes| self.wire.read(bytes)).all(|event| event.body().author != self.peer)
    }

    fn note_told(&mut self, message: &Message) {
        let mut told = |feed: PeerId, seq: u64| {
            let most = self.told.entry(feed).or_insert(seq);
            *most = seq.max(*most);
        };
        match message {
            Message::Frontier { entries, .. } | Message::Held(entries) => {
                entries.iter().for_each(|entry| told(entry.feed, entry.seq));
            }
            Message::Events(events) => {
                let read = events.iter().filter_map(|bytes| self.wire.read(bytes));
                read.for_each(|event| told(event.body().author, event.body().seq));
            }
            _ => {}
        }
    }

    /// Takes what a neighbour said.
    pub(super) fn received(&mut self, now: Millis, peer: PeerId, message: Message) {
        match message {
            Message::Events(events) => self.sent(now, peer, &events),
            message => self.input(now, Input::Received { peer, message }),
        }
    }

    fn sent(&mut self, now: Millis, peer: PeerId, events: &[Vec<u8>]) {
        let horizon = self.clock(now).saturating_add(DRIFT);
        let mut heads = Vec::with_capacity(events.len());
        let mut until: Option<Millis> = None;
        let mut wrong = None;
        for bytes in events {
            let Some(event) = self.wire.read(bytes) else {
                wrong = Some("it sent what is no event".to_owned());
                break;
            };
            let time = event.body().hlc.millis();
            if time > horizon {
                // As if not received. What depends on it is later, so it is held as well.
                until = Some(until.map_or(time - DRIFT, |until| until.min(time - DRIFT)));
                continue;
            }
            let head = (event.body().author, event.body().seq);
            match self.state.check(&event) {
                Ok(true) => self.take_in(event),
                Ok(false) => {}
                Err(Rejected::Gap | Rejected::MissingPast(_)) if self.fault == Fault::TakesGaps => {
                    if self.state.member_of_feed(&head.0).is_some() {
                        self.take_in(event);
                    }
                }
                // It was held, and its time came while this was under way.
                Err(Rejected::Gap | Rejected::MissingPast(_)) if self.sync.held_back(&peer) => {
                    let soon = self.clock(now) + 1_000;
                    until = Some(until.map_or(soon, |until| until.min(soon)));
                    continue;
                }
                Err(why) => {
                    wrong = Some(format!("it sent an event that was rejected: {why}"));
                    break;
                }
            }
            heads.push(head);
        }
        if self.fault == Fault::SaysItHolds {
            let entry = |(feed, seq): &(PeerId, u64)| FrontierEntry { feed: *feed, seq: *seq, id: [0; 8] };
            let message = Message::Held(heads.iter().map(entry).collect());
            self.note_told(&message);
            self.out.push(Do::Say { peer, message, flush: false });
        }
        self.input(now, Input::Told { peer, heads });
        if let Some(until) = until.filter(|_| self.fault != Fault::ForgetsHeld) {
            self.input(now, Input::Held { peer, until });
        }
        if let Some(why) = wrong {
            self.out.push(Do::Drop { peer, why });
        }
        self.look(now);
    }

    fn take_in(&mut self, event: Arc<Event>) {
        self.state.apply(&event);
        self.wants(&event);
        self.gathered.push(event);
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
        self.out.push(Do::Complete);
    }

    fn certify(&mut self, now: Millis) {
        let admitted = self.state.member_of_identity(&self.identity.identity()).is_some();
        if admitted && self.state.genesis().is_some() && self.state.frontier().head(&self.peer).is_none() {
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
        for peer in self.sessions.clone() {
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
            Fault::TimeGoesBack if event.body().seq % 3 == 2 => self.signed(&event, Hlc::new(clock / 2, 0)),
            Fault::ForgetsOwnHead if event.body().seq == 4 => {
                let mut pen = self.at_disk()?.pen(&self.peer);
                let (payload, refs) = (event.payload().clone(), event.body().refs.clone());
                self.wire.wrote(pen.write(clock, payload, refs, &feed, &identity).ok()?)
            }
            _ => self.wire.wrote(event),
        };
        if self.fault == Fault::None && self.state.check(&event) != Ok(true) {
            return None;
        }
        let id = event.id();
        self.take_in(event);
        self.settle();
        self.flush(now);
        Some(id)
    }

    /// The state without what was written last.
    fn at_disk(&self) -> Option<State> {
        let mut state = State::new(self.state.project());
        let own = self.state.frontier().head(&self.peer)?;
        let known = self.log.order().iter().filter(|event| event.id() != own.id);
        known.for_each(|event| drop(state.apply(event)));
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
        if self.appending || self.gathered.is_empty() {
            return;
        }
        self.appending = true;
        self.under_way = std::mem::take(&mut self.gathered);
        self.out.push(Do::Append);
        if self.fault == Fault::TellsTooSoon {
            self.tell(now, &self.under_way.clone());
        }
    }

    fn tell(&mut self, now: Millis, events: &[Arc<Event>]) {
        let events = events.iter().map(|event| Durable::pretended(Event::clone(event))).collect();
        self.input(now, Input::Stored(events));
    }

    /// What was under way is durable.
    pub(super) fn appended(&mut self, now: Millis) {
        self.appending = false;
        let events = std::mem::take(&mut self.under_way);
        self.log.append(&events);
        if self.fault != Fault::TellsTooSoon {
            self.tell(now, &events);
        }
        self.flush(now);
    }

    /// Writes a landing that any member's node may write, if there is one. Tells whether there may be more.
    pub(super) fn complete(&mut self, now: Millis) -> bool {
        if self.state.frontier().head(&self.peer).is_none() {
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
        let own = self.state.frontier().head(&self.peer)?;
        let known = |id: &EventId| {
            let fresh = self.under_way.iter().chain(&self.gathered);
            self.log.event(id).or_else(|| fresh.into_iter().find(|event| event.id() == *id)).map(|e| e.body().hlc)
        };
        let hlc = refs.iter().chain([&own.id]).filter_map(known).max()?.next(0);
        let bytes = self.forge(own.seq + 1, Some(own.id), hlc, payload, refs);
        let event = self.wire.read(&bytes)?;
        if self.state.check(&event) != Ok(true) {
            return None;
        }
        let id = event.id();
        self.take_in(event);
        self.look(now);
        Some(id)
    }
}
