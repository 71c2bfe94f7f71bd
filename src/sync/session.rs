//! Sessions with neighbours: compare digests, exchange frontiers, send what is lacking, then forward.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

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

/// Feeds of which one neighbour may speak.
const FEEDS_TOLD: usize = limits::FRONTIER_FEEDS * 20;

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
    /// It was sent something in this session.
    began: bool,
    /// It gets the same from others, sooner: it is told what is held here, and sent only what it still lacks later.
    lazy: bool,
    /// Since when it lacks something that it is not sent yet, and when it will be.
    send_at: Option<(Millis, Millis)>,
    ask_again: Option<Millis>,
    /// Some of what it sent in this session was held, so what it sends may rest on what is not here.
    held_back: bool,
}

/// All sessions of one node.
#[derive(Debug, Default)]
pub struct Sync {
    frontier: Frontier,
    /// What came in events, be it durable yet or not.
    came: BTreeMap<PeerId, u64>,
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
            Input::Received { peer, message } => self.received(now, peer, message),
            Input::Told { peer, heads } => self.told(peer, &heads),
            Input::Stored(events) => self.stored(now, &events),
            Input::Loaded { peer, events } => self.loaded(now, peer, events),
            Input::Flushed(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.loading = false;
                    self.pump(now, peer);
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
                let due = |at: Option<Millis>| at.is_some_and(|at| at <= now);
                let peers: Vec<(PeerId, bool, bool)> = self
                    .neighbours
                    .iter()
                    .map(|(peer, neighbour)| {
                        (*peer, due(neighbour.ask_again), due(neighbour.send_at.map(|(_, at)| at)))
                    })
                    .collect();
                for (peer, ask, send) in peers {
                    if ask {
                        self.tell_frontier(peer);
                    }
                    if send {
                        self.pump(now, peer);
                    }
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
        let waits = |neighbour: &Neighbour| [neighbour.ask_again, neighbour.send_at.map(|(_, at)| at)];
        self.neighbours.values().flat_map(waits).flatten().min()
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

    /// With few neighbours everything is sent to each at once.
    fn is_crowded(&self) -> bool {
        self.neighbours.len() > limits::SEND_AT_ONCE
    }

    /// Neighbours of one peer wait differently long before they send it the same: they have different neighbours.
    fn wait(&self, base: Duration) -> Millis {
        let mixed = self.neighbours.keys().fold(0, |mixed, peer| mixed ^ peer.0[0]);
        millis(base + limits::SEND_STEP * u32::from(mixed % 16))
    }

    fn received(&mut self, now: Millis, peer: PeerId, message: Message) {
        let later = self.wait(limits::SEND_LATER);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        match message {
            Message::Frontier { entries, last } => {
                if neighbour.telling.len() + entries.len() > FEEDS_TOLD {
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
                    self.pump(now, peer);
                }
            }
            // Events are checked and stored by the node, which then tells `Input::Stored`.
            Message::Events(_) => {}
            Message::Held(entries) => {
                for entry in entries {
                    // Of a feed that begins we may hear before we have it. Too many of those would only take memory.
                    if self.frontier.head(&entry.feed).is_some() || neighbour.has.len() < FEEDS_TOLD {
                        raise(&mut neighbour.has, entry.feed, entry.seq);
                        raise(&mut neighbour.durable, entry.feed, entry.seq);
                    }
                }
                if let Some((since, _)) = neighbour.send_at {
                    // Others are sending it what it lacks, though perhaps not all of it.
                    let latest = since + millis(limits::SEND_LATEST);
                    neighbour.send_at = Some((since, (now + later).min(latest)));
                    self.pump(now, peer);
                }
            }
            Message::Enough => neighbour.lazy = true,
            Message::Objects(commits) => self.outputs.push_back(Output::Serves { peer, commits }),
            Message::Unknown(_) => {}
        }
    }

    /// Only what is durable is ever sent, so whoever sends an event holds it. What is durable here already is
    /// acknowledged at once; what is new is when it has been stored.
    fn told(&mut self, peer: PeerId, heads: &[(PeerId, u64)]) {
        let crowded = self.is_crowded();
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let (mut known, mut news) = (Vec::new(), false);
        for (feed, seq) in heads {
            raise(&mut neighbour.has, *feed, *seq);
            raise(&mut neighbour.durable, *feed, *seq);
            let durable = self.frontier.head(feed).is_some_and(|head| head.seq >= *seq);
            if durable {
                known.push(*feed);
            }
            news |= !durable && self.came.get(feed).is_none_or(|came| came < seq);
            raise(&mut self.came, *feed, *seq);
        }
        if news {
            neighbour.lazy = false;
        } else if crowded && !heads.is_empty() {
            // All of it came from others before.
            neighbour.lazy = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Enough, flush: false });
        }
        self.say_held(peer, &known);
    }

    fn say_held(&mut self, peer: PeerId, feeds: &[PeerId]) {
        let held: Vec<FrontierEntry> = feeds.iter().filter_map(|feed| self.frontier.entry(feed)).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
    }

    fn stored(&mut self, now: Millis, events: &[Durable<Event>]) {
        let crowded = self.is_crowded();
        let caught_up: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.known && !n.loading && !(crowded && n.lazy) && self.frontier.lacking(&n.has).is_empty())
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
            let neighbour = &self.neighbours[&peer];
            let only_told = crowded && neighbour.lazy && neighbour.known;
            let has = |feed: &PeerId, seq: u64| only_told || neighbour.has.get(feed).is_some_and(|has| *has >= seq);
            let known: Vec<PeerId> =
                feeds.iter().filter(|(feed, seq)| has(feed, **seq)).map(|(feed, _)| *feed).collect();
            self.say_held(peer, &known);
            if caught_up.contains(&peer) {
                self.forward(peer, events);
            } else {
                self.pump(now, peer);
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
            neighbour.began = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }

    /// Has the next batch read for a neighbour that lacks something, at once or when others have had time to send it.
    fn pump(&mut self, now: Millis, peer: PeerId) {
        let crowded = self.is_crowded();
        let (first, later) = (self.wait(Duration::ZERO), self.wait(limits::SEND_LATER));
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.known || neighbour.loading {
            // Looked at again when that is over; a deadline that stays would wake for nothing.
            neighbour.send_at = None;
            return;
        }
        let lacking = self.frontier.lacking(&neighbour.has);
        if lacking.is_empty() {
            neighbour.send_at = None;
            return;
        }
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
        neighbour.loading = true;
        self.outputs.push_back(Output::Load { peer, lacking });
    }

    fn loaded(&mut self, now: Millis, peer: PeerId, events: Vec<Durable<Event>>) {
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
            self.pump(now, peer);
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

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn raise(map: &mut BTreeMap<PeerId, u64>, feed: PeerId, seq: u64) {
    let held = map.entry(feed).or_insert(seq);
    *held = seq.max(*held);
}
