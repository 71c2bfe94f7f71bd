//! One node as a value: the state, the sessions, a log of which only a part is durable, and a clock that may be wrong.
//!
//! What `node` does around the pure parts is done here and below as it is there, without tasks, disks and git. Of the
//! simulator nothing else knows the state's interface.

mod hearing;
mod landing;
mod said;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::log::{Log, Wire};
use crate::approval::State;
use crate::eventlog::rows::Layer;
use crate::eventlog::{FrontierEntry, Lacking, OnStrand};
use crate::hlc::Millis;
use crate::id::{IdentityId, Lid, ObjectId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};
use crate::limits;
use crate::sync::{Hearing, Input, Message, Output, Sync};

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
}
