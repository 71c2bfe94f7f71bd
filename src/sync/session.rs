//! Sessions with neighbours: compare digests, exchange frontiers, send what is lacking, then forward.

use std::collections::{BTreeMap, VecDeque};

use super::message::Message;
use crate::eventlog::{Durable, Event, Frontier, FrontierEntry, Lacking};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;

/// What a [`Sync`] takes.
#[derive(Debug)]
pub enum Input {
    /// A session with a member began; `digest` is of what it holds.
    PeerUp {
        /// Who.
        peer: PeerId,
        /// From its hello.
        digest: [u8; 32],
    },
    /// The session ended.
    PeerDown(PeerId),
    /// It said something.
    Received {
        /// Who.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// It sent these events, so it holds these feeds so far (feed, number), whether they were new here or not.
    Told {
        /// Who.
        peer: PeerId,
        /// What it holds at least.
        heads: Vec<(PeerId, u64)>,
    },
    /// Events are durable here, in an order that respects causality.
    Stored(Vec<Durable<Event>>),
    /// An [`Output::Load`] is done.
    Loaded {
        /// For whom.
        peer: PeerId,
        /// In an order that respects causality.
        events: Vec<Durable<Event>>,
    },
    /// The events of the last [`Output::Send`] with `flush` have left.
    Flushed(PeerId),
    /// Some of a neighbour's events are held as their time has not come: ask again at `until`.
    Held {
        /// Who sent them.
        peer: PeerId,
        /// When to ask again.
        until: Millis,
    },
    /// A deadline of [`Sync::next_wake`] has come.
    Due,
}

/// What a [`Sync`] gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: Message,
        /// Tell [`Input::Flushed`] when it has left.
        flush: bool,
    },
    /// Read some of these from the store (about [`limits::BATCH_BYTES`], in causal order), then [`Input::Loaded`].
    Load {
        /// For whom.
        peer: PeerId,
        /// What it lacks.
        lacking: Vec<Lacking>,
    },
    /// It serves the objects of these commits.
    Serves {
        /// Who.
        peer: PeerId,
        /// Which.
        commits: Vec<crate::id::ObjectId>,
    },
    /// It broke the protocol: end the session.
    Drop {
        /// Who.
        peer: PeerId,
        /// Why.
        why: &'static str,
    },
}

#[derive(Debug, Default)]
struct Neighbour {
    /// Feed to last number that it has, as far as told or sent.
    has: BTreeMap<PeerId, u64>,
    /// Feed to last number that it has durably, as told.
    durable: BTreeMap<PeerId, u64>,
    /// The parts of a frontier that is being told.
    telling: BTreeMap<PeerId, u64>,
    /// What it holds is known.
    known: bool,
    /// Our frontier was sent.
    told: bool,
    /// A batch is being read or is on its way.
    loading: bool,
    ask_again: Option<Millis>,
    /// Some of what it sent in this session was held, so what it sends may rest on what is not here.
    held_back: bool,
}

/// All sessions of one node.
#[derive(Debug, Default)]
pub struct Sync {
    frontier: Frontier,
    neighbours: BTreeMap<PeerId, Neighbour>,
    outputs: VecDeque<Output>,
}

impl Sync {
    /// No sessions yet; `frontier` is what is durable here.
    pub fn new(frontier: Frontier) -> Self {
        Self { frontier, ..Self::default() }
    }

    /// Takes one input. Cannot fail: a peer's mistake becomes [`Output::Drop`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::PeerUp { peer, digest } => self.peer_up(peer, digest),
            Input::PeerDown(peer) => {
                self.neighbours.remove(&peer);
                self.outputs.retain(|output| output.peer() != peer);
            }
            Input::Received { peer, message } => self.received(peer, message),
            Input::Told { peer, heads } => self.told(peer, &heads),
            Input::Stored(events) => self.stored(&events),
            Input::Loaded { peer, events } => self.loaded(peer, events),
            Input::Flushed(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.loading = false;
                    self.pump(peer);
                }
            }
            Input::Held { peer, until } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    // The first to come due: a later one must not delay it.
                    neighbour.ask_again = Some(neighbour.ask_again.map_or(until, |at| at.min(until)));
                    neighbour.held_back = true;
                }
            }
            Input::Due => {
                let due = |neighbour: &Neighbour| neighbour.ask_again.is_some_and(|at| at <= now);
                let due: Vec<PeerId> =
                    self.neighbours.iter().filter(|(_, neighbour)| due(neighbour)).map(|(peer, _)| *peer).collect();
                for peer in due {
                    self.tell_frontier(peer);
                }
            }
        }
    }

    /// The next output; to be called until it gives `None` after every [`Sync::handle`].
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Due`] is to be given at the latest.
    pub fn next_wake(&self) -> Option<Millis> {
        self.neighbours.values().filter_map(|neighbour| neighbour.ask_again).min()
    }

    /// The digest of what is durable here, for a hello.
    pub fn digest(&self) -> [u8; 32] {
        self.frontier.digest()
    }

    /// Does this neighbour hold, durably, all that is held here? `None` where that is not known.
    pub fn up_to_date(&self, peer: &PeerId) -> Option<bool> {
        let neighbour = self.neighbours.get(peer).filter(|neighbour| neighbour.known)?;
        Some(self.frontier.lacking(&neighbour.durable).is_empty())
    }

    /// The last number of `feed` that this neighbour holds durably.
    pub fn durable_at(&self, peer: &PeerId, feed: &PeerId) -> Option<u64> {
        self.neighbours.get(peer)?.durable.get(feed).copied()
    }

    /// Were events of this neighbour held since its session began? Then it may send some that rest on those, and is not
    /// at fault: they are held as well, and asked for again ([`Input::Held`]).
    pub fn held_back(&self, peer: &PeerId) -> bool {
        self.neighbours.get(peer).is_some_and(|neighbour| neighbour.held_back)
    }

    fn peer_up(&mut self, peer: PeerId, digest: [u8; 32]) {
        let mut neighbour = Neighbour::default();
        if digest == self.frontier.digest() {
            neighbour.has = self.frontier.iter().map(|(feed, head)| (*feed, head.seq)).collect();
            neighbour.durable = neighbour.has.clone();
            neighbour.known = true;
        }
        let known = neighbour.known;
        self.neighbours.insert(peer, neighbour);
        if !known {
            self.tell_frontier(peer);
        }
    }

    fn tell_frontier(&mut self, peer: PeerId) {
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

    fn received(&mut self, peer: PeerId, message: Message) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        match message {
            Message::Frontier { entries, last } => {
                let room = limits::FRONTIER_FEEDS * 20;
                if neighbour.telling.len() + entries.len() > room {
                    self.outputs.push_back(Output::Drop { peer, why: "its frontier has too many feeds" });
                    return;
                }
                neighbour.telling.extend(entries.iter().map(|entry| (entry.feed, entry.seq)));
                if last {
                    neighbour.has = std::mem::take(&mut neighbour.telling);
                    neighbour.durable = neighbour.has.clone();
                    neighbour.known = true;
                    if !neighbour.told {
                        self.tell_frontier(peer);
                    }
                    self.pump(peer);
                }
            }
            // Events are checked and stored by the node, which then tells `Input::Stored`.
            Message::Events(_) => {}
            Message::Held(entries) => {
                for entry in entries {
                    // Only feeds that we know: what it says of others would only take memory.
                    if self.frontier.head(&entry.feed).is_some() {
                        raise(&mut neighbour.has, entry.feed, entry.seq);
                        raise(&mut neighbour.durable, entry.feed, entry.seq);
                    }
                }
            }
            Message::Objects(commits) => self.outputs.push_back(Output::Serves { peer, commits }),
            Message::Unknown(_) => {}
        }
    }

    /// Only what is durable is ever sent, so whoever sends an event holds it. What is durable here already is
    /// acknowledged at once; what is new is when it has been stored.
    fn told(&mut self, peer: PeerId, heads: &[(PeerId, u64)]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let mut known = Vec::new();
        for (feed, seq) in heads {
            raise(&mut neighbour.has, *feed, *seq);
            raise(&mut neighbour.durable, *feed, *seq);
            if self.frontier.head(feed).is_some_and(|head| head.seq >= *seq) {
                known.push(*feed);
            }
        }
        self.say_held(peer, &known);
    }

    fn say_held(&mut self, peer: PeerId, feeds: &[PeerId]) {
        let held: Vec<FrontierEntry> = feeds.iter().filter_map(|feed| self.frontier.entry(feed)).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
    }

    fn stored(&mut self, events: &[Durable<Event>]) {
        let caught_up: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.known && !n.loading && self.frontier.lacking(&n.has).is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        let mut feeds: BTreeMap<PeerId, u64> = BTreeMap::new();
        for event in events {
            let event = event.get();
            let head = crate::eventlog::Head { seq: event.body().seq, id: event.id() };
            self.frontier.advance(event.body().author, head);
            raise(&mut feeds, event.body().author, event.body().seq);
        }
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            // Those who have it already hear that it is here too; the others hear by getting it.
            let has = |feed: &PeerId, seq: u64| self.neighbours[&peer].has.get(feed).is_some_and(|has| *has >= seq);
            let known: Vec<PeerId> =
                feeds.iter().filter(|(feed, seq)| has(feed, **seq)).map(|(feed, _)| *feed).collect();
            self.say_held(peer, &known);
            if caught_up.contains(&peer) {
                self.forward(peer, events);
            } else {
                self.pump(peer);
            }
        }
    }

    /// Sends new events at once to a neighbour that lacked nothing before them.
    fn forward(&mut self, peer: PeerId, events: &[Durable<Event>]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for event in events {
            let event = event.get();
            let (feed, seq) = (event.body().author, event.body().seq);
            if neighbour.has.get(&feed).is_some_and(|has| *has >= seq) {
                continue;
            }
            bytes += event.bytes().len();
            if bytes > limits::BATCH_BYTES {
                // The rest goes the way of a catch-up, with its back-pressure.
                break;
            }
            raise(&mut neighbour.has, feed, seq);
            batch.push(event.bytes().to_vec());
        }
        if !batch.is_empty() {
            neighbour.loading = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }

    /// Has the next batch read for a neighbour that lacks something.
    fn pump(&mut self, peer: PeerId) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.known || neighbour.loading {
            return;
        }
        let lacking = self.frontier.lacking(&neighbour.has);
        if !lacking.is_empty() {
            neighbour.loading = true;
            self.outputs.push_back(Output::Load { peer, lacking });
        }
    }

    fn loaded(&mut self, peer: PeerId, events: Vec<Durable<Event>>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let mut batch = Vec::with_capacity(events.len());
        for event in events {
            let event = event.into_inner();
            let (feed, seq) = (event.body().author, event.body().seq);
            // It may have got it from another in the meantime.
            if neighbour.has.get(&feed).is_none_or(|has| *has < seq) {
                raise(&mut neighbour.has, feed, seq);
                batch.push(event.bytes().to_vec());
            }
        }
        if batch.is_empty() {
            neighbour.loading = false;
            self.pump(peer);
        } else {
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }
}

impl Output {
    fn peer(&self) -> PeerId {
        match self {
            Self::Send { peer, .. } | Self::Load { peer, .. } | Self::Serves { peer, .. } | Self::Drop { peer, .. } => {
                *peer
            }
        }
    }
}

fn raise(map: &mut BTreeMap<PeerId, u64>, feed: PeerId, seq: u64) {
    let held = map.entry(feed).or_insert(seq);
    *held = seq.max(*held);
}
