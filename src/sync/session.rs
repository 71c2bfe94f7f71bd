//! Sessions with neighbours: compare digests, exchange frontiers, send what is lacking, then forward.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::message::Message;
use crate::eventlog::{Frontier, FrontierEntry, Head, Lacking, Located, OnStrand};
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
    /// It told where it stands: a part of its frontier.
    Frontier {
        /// Who.
        peer: PeerId,
        /// Where that is here.
        located: Located,
        /// How many entries the part had, those of feeds that are not known here among them.
        entries: usize,
        /// Was it the last part?
        last: bool,
    },
    /// It has said what it holds of all that our frontier told it.
    Answered(PeerId),
    /// It told that it holds these, durably, by our strands.
    Has {
        /// Who.
        peer: PeerId,
        /// Strand to last number.
        heads: Vec<(u32, u64)>,
    },
    /// It got what it was just sent from others before.
    Enough(PeerId),
    /// It told which objects it serves.
    Serves {
        /// Who.
        peer: PeerId,
        /// The commits.
        commits: Vec<crate::id::ObjectId>,
    },
    /// It sent these events, so it holds these strands so far, whether they were new here or not.
    Told {
        /// Who.
        peer: PeerId,
        /// Strand to last number.
        heads: Vec<(u32, u64)>,
    },
    /// It is not known any more to hold these: its chain of a feed is another one from this number on, or may be.
    Lacks {
        /// Who.
        peer: PeerId,
        /// Strand to the first number that it may lack.
        from: Vec<(u32, u64)>,
    },
    /// Events are durable here, in an order that respects causality.
    Stored {
        /// With their strands.
        events: Vec<OnStrand>,
        /// How far each strand is part of the log; it may be ahead of what is durable.
        logged: Frontier,
    },
    /// An [`Output::Load`] is done. One for a session that has ended meanwhile is not used.
    Loaded {
        /// For whom.
        peer: PeerId,
        /// Its number.
        load: u64,
        /// With their strands, in an order that respects causality.
        events: Vec<OnStrand>,
    },
    /// An [`Output::Load`] failed: it is tried again later.
    NotLoaded {
        /// For whom.
        peer: PeerId,
        /// Its number.
        load: u64,
    },
    /// The events of the last [`Output::Send`] with `flush` have left.
    Flushed(PeerId),
    /// Some of a neighbour's events are held as their time has not come: ask again at `until`, if not before.
    Held {
        /// Who sent them.
        peer: PeerId,
        /// When to ask again.
        until: Millis,
    },
    /// What is held may be due before its time, as the wall clock was set: ask for it now.
    AskAgain,
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
    /// Read some of these from the store (about [`limits::BATCH_BYTES`], in causal order), then [`Input::Loaded`] or
    /// [`Input::NotLoaded`].
    Load {
        /// For whom.
        peer: PeerId,
        /// Its number: a peer may have another session by the time it is done.
        load: u64,
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

/// What is on its way to a neighbour: one batch at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Batch {
    #[default]
    None,
    /// The load of this number reads it.
    Read(u64),
    /// It was said and has not left.
    Leaves,
}

#[derive(Debug, Default)]
struct Neighbour {
    /// Strand to last number that it has, as far as told or sent.
    has: BTreeMap<u32, u64>,
    /// Strand to last number that it has durably, as told.
    durable: BTreeMap<u32, u64>,
    /// The parts of a frontier that is being told.
    telling: BTreeMap<u32, u64>,
    /// How many entries they had.
    entries: usize,
    /// Its frontier was told.
    placed: bool,
    /// It is further than we are on some feed, and whether ours is a part of that it has not said.
    further: bool,
    /// Feeds on which it told to be further than we are, and how far.
    ahead: BTreeMap<PeerId, u64>,
    /// It has said what it holds of our frontier.
    answered: bool,
    /// Our frontier was sent.
    told: bool,
    batch: Batch,
    /// What it lacks could not be read, and is not tried again before.
    unread_until: Option<Millis>,
    /// It was sent something in this session.
    began: bool,
    /// It gets the same from others, sooner: it is told what is held here, and sent only what it still lacks later.
    lazy: bool,
    /// Since when it lacks something that it is not sent yet, and when it will be.
    send_at: Option<(Millis, Millis)>,
    ask_again: Option<Millis>,
}

impl Neighbour {
    /// Is it known what it lacks?
    fn is_known(&self) -> bool {
        self.placed && (self.answered || !self.further)
    }
}

/// All sessions of one node.
#[derive(Debug, Default)]
pub struct Sync {
    /// What is part of the log and durable.
    frontier: Frontier,
    /// The last event of each strand that is durable, part of the log or not.
    durable: BTreeMap<u32, Head>,
    /// What came in events, be it durable yet or not.
    came: BTreeMap<u32, u64>,
    /// How many loads there were.
    loads: u64,
    neighbours: BTreeMap<PeerId, Neighbour>,
    outputs: VecDeque<Output>,
}

impl Sync {
    /// No sessions yet; `frontier` is what is durable here and part of the log, `heads` the last durable event of each
    /// strand, part of the log or not: what is no part of it now may be later.
    pub fn new(frontier: Frontier, heads: impl Iterator<Item = (u32, Head)>) -> Self {
        Self { frontier, durable: heads.collect(), ..Self::default() }
    }

    /// Takes one input. Cannot fail: a peer's mistake becomes [`Output::Drop`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::PeerUp { peer, digest } => self.peer_up(peer, digest),
            Input::PeerDown(peer) => {
                self.neighbours.remove(&peer);
                self.outputs.retain(|output| output.peer() != peer);
            }
            Input::Frontier { peer, located, entries, last } => self.told_frontier(now, peer, &located, entries, last),
            Input::Answered(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.answered = true;
                    self.pump(now, peer);
                }
            }
            Input::Has { peer, heads } => {
                self.has(now, peer, &heads);
            }
            Input::Enough(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.lazy = true;
                }
            }
            Input::Serves { peer, commits } => {
                if self.neighbours.contains_key(&peer) {
                    self.outputs.push_back(Output::Serves { peer, commits });
                }
            }
            Input::Told { peer, heads } => self.told(peer, &heads),
            Input::Lacks { peer, from } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    for (strand, from) in from {
                        lower(&mut neighbour.has, strand, from);
                        lower(&mut neighbour.durable, strand, from);
                    }
                    self.pump(now, peer);
                }
            }
            Input::Stored { events, logged } => self.stored(now, &events, &logged),
            Input::Loaded { peer, load, events } => self.loaded(now, peer, load, events),
            Input::NotLoaded { peer, load } => {
                if let Some(neighbour) = self.loads_for(&peer, load) {
                    neighbour.batch = Batch::None;
                    neighbour.unread_until = Some(now + millis(limits::LOAD_AGAIN));
                    self.pump(now, peer);
                }
            }
            Input::Flushed(peer) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.batch = Batch::None;
                    self.pump(now, peer);
                }
            }
            Input::Held { peer, until } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.ask_again = Some(neighbour.ask_again.map_or(until, |at| at.min(until)));
                }
            }
            Input::AskAgain => self.ask_again(Millis::MAX),
            Input::Due => {
                self.ask_again(now);
                let due = |neighbour: &Neighbour| neighbour.send_at.is_some_and(|(_, at)| at <= now);
                let due: Vec<PeerId> =
                    self.neighbours.iter().filter(|(_, neighbour)| due(neighbour)).map(|(peer, _)| *peer).collect();
                for peer in due {
                    self.pump(now, peer);
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
        let deadlines = |neighbour: &Neighbour| [neighbour.ask_again, neighbour.send_at.map(|(_, at)| at)];
        self.neighbours.values().flat_map(deadlines).flatten().min()
    }

    /// The digest of what is durable here, for a hello.
    pub fn digest(&self) -> [u8; 32] {
        self.frontier.digest()
    }

    /// Does this neighbour hold, durably, all that is held here? `None` where that is not known.
    pub fn up_to_date(&self, peer: &PeerId) -> Option<bool> {
        let neighbour = self.neighbours.get(peer).filter(|neighbour| neighbour.is_known())?;
        Some(self.frontier.lacking(&neighbour.durable).is_empty())
    }

    /// Is all here that some neighbour told to have?
    pub fn has_heard_one(&self) -> bool {
        self.neighbours.values().any(|neighbour| neighbour.placed && neighbour.ahead.is_empty())
    }

    /// Was this neighbour sent all that it lacks, as far as it has told what it holds?
    pub(super) fn has_sent_all(&self, peer: &PeerId) -> bool {
        self.neighbours.get(peer).is_some_and(|neighbour| {
            neighbour.is_known() && neighbour.batch == Batch::None && self.frontier.lacking(&neighbour.has).is_empty()
        })
    }

    /// The last number of a strand that this neighbour holds durably.
    pub fn durable_at(&self, peer: &PeerId, strand: u32) -> Option<u64> {
        self.neighbours.get(peer)?.durable.get(&strand).copied()
    }

    /// What is durable here and part of the log.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    fn peer_up(&mut self, peer: PeerId, digest: [u8; 32]) {
        let mut neighbour = Neighbour::default();
        if digest == self.frontier.digest() {
            neighbour.has = self.frontier.iter().map(|(strand, _, head)| (strand, head.seq)).collect();
            neighbour.durable = neighbour.has.clone();
            neighbour.placed = true;
        }
        let placed = neighbour.placed;
        self.neighbours.insert(peer, neighbour);
        if !placed {
            self.tell_frontier(peer);
        }
    }

    /// Asks those again whose events are held and whose turn has come by `by`.
    fn ask_again(&mut self, by: Millis) {
        let due = |neighbour: &Neighbour| neighbour.ask_again.is_some_and(|at| at <= by);
        let due: Vec<PeerId> =
            self.neighbours.iter().filter(|(_, neighbour)| due(neighbour)).map(|(peer, _)| *peer).collect();
        for peer in due {
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

    /// Says what is held of a frontier that was told. Where a feed goes on here, only we can see that what the neighbour
    /// has is a part of it: it would send all of it again.
    fn answer(&mut self, peer: PeerId, told: &[(u32, FrontierEntry)], last: bool) {
        let is_held = |(strand, entry): &&(u32, FrontierEntry)| {
            let held = self.durable.get(strand).is_some_and(|durable| durable.seq >= entry.seq);
            held && self.frontier.head(*strand).is_none_or(|head| head.seq != entry.seq)
        };
        let held: Vec<FrontierEntry> = told.iter().filter(is_held).map(|(_, entry)| *entry).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
        if last {
            self.outputs.push_back(Output::Send { peer, message: Message::Answered, flush: false });
        }
    }

    fn told_frontier(&mut self, now: Millis, peer: PeerId, located: &Located, entries: usize, last: bool) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        neighbour.entries += entries;
        if neighbour.entries > limits::FRONTIER_ENTRIES {
            self.outputs.push_back(Output::Drop { peer, why: "its frontier has too many feeds" });
            return;
        }
        for (strand, seq) in &located.heads {
            raise(&mut neighbour.telling, *strand, *seq);
        }
        if !located.ahead.is_empty() {
            // Of a feed that is not here at all it need not say anything.
            let feeds: BTreeSet<&PeerId> = self.frontier.iter().map(|(_, feed, _)| feed).collect();
            neighbour.further |= located.ahead.iter().any(|entry| feeds.contains(&entry.feed));
            neighbour.ahead.extend(located.ahead.iter().map(|entry| (entry.feed, entry.seq)));
        }
        if last {
            neighbour.entries = 0;
            // What it once told to be durable is so still.
            for (strand, seq) in std::mem::take(&mut neighbour.telling) {
                raise(&mut neighbour.durable, strand, seq);
            }
            neighbour.has = neighbour.durable.clone();
            neighbour.placed = true;
            if !neighbour.told {
                self.tell_frontier(peer);
            }
        }
        self.answer(peer, &located.on, last);
        if last {
            self.pump(now, peer);
        }
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

    fn has(&mut self, now: Millis, peer: PeerId, heads: &[(u32, u64)]) {
        let later = self.wait(limits::SEND_LATER);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        for (strand, seq) in heads {
            raise(&mut neighbour.has, *strand, *seq);
            raise(&mut neighbour.durable, *strand, *seq);
        }
        if let Some((since, _)) = neighbour.send_at {
            // Others are sending it what it lacks, though perhaps not all of it.
            let latest = since + millis(limits::SEND_LATEST);
            neighbour.send_at = Some((since, (now + later).min(latest)));
            self.pump(now, peer);
        }
    }

    /// Only what is durable is ever sent, so whoever sends an event holds it. What is durable here already is
    /// acknowledged at once; what is new is when it has been stored.
    fn told(&mut self, peer: PeerId, heads: &[(u32, u64)]) {
        let crowded = self.is_crowded();
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let (mut known, mut news) = (Vec::new(), false);
        for (strand, seq) in heads {
            raise(&mut neighbour.has, *strand, *seq);
            raise(&mut neighbour.durable, *strand, *seq);
            let durable = self.frontier.head(*strand).is_some_and(|head| head.seq >= *seq);
            if durable {
                known.push(*strand);
            }
            news |= !durable && self.came.get(strand).is_none_or(|came| came < seq);
            raise(&mut self.came, *strand, *seq);
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

    fn say_held(&mut self, peer: PeerId, strands: &[u32]) {
        let held: Vec<FrontierEntry> = strands.iter().filter_map(|strand| self.frontier.entry(*strand)).collect();
        if !held.is_empty() {
            self.outputs.push_back(Output::Send { peer, message: Message::Held(held), flush: false });
        }
    }

    /// Forgets of neighbours on what they were further, where that is here now.
    fn caught_up_with(&mut self) {
        if self.neighbours.values().all(|neighbour| neighbour.ahead.is_empty()) {
            return;
        }
        let mut here: BTreeMap<PeerId, u64> = BTreeMap::new();
        for (_, feed, head) in self.frontier.iter() {
            let last = here.entry(*feed).or_insert(head.seq);
            *last = head.seq.max(*last);
        }
        for neighbour in self.neighbours.values_mut() {
            neighbour.ahead.retain(|feed, seq| here.get(feed).is_none_or(|last| last < seq));
        }
    }

    fn stored(&mut self, now: Millis, events: &[OnStrand], logged: &Frontier) {
        let crowded = self.is_crowded();
        let caught_up: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.is_known() && n.batch == Batch::None && !(crowded && n.lazy))
            .filter(|(_, n)| self.frontier.lacking(&n.has).is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        let mut strands: BTreeMap<u32, u64> = BTreeMap::new();
        for (strand, event) in events {
            let body = event.get().body();
            self.durable.insert(*strand, Head { seq: body.seq, id: event.get().id() });
            raise(&mut strands, *strand, body.seq);
        }
        self.frontier = Frontier::default();
        for (strand, feed, head) in logged.iter() {
            // What is part of the log and not durable yet is told later.
            let Some(durable) = self.durable.get(&strand) else { continue };
            self.frontier.set(strand, *feed, if durable.seq < head.seq { *durable } else { *head });
        }
        self.caught_up_with();
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            // Those who have it already hear that it is here too; the others hear by getting it.
            let neighbour = &self.neighbours[&peer];
            let only_told = crowded && neighbour.lazy && neighbour.is_known();
            let has = |strand: &u32, seq: u64| only_told || neighbour.has.get(strand).is_some_and(|has| *has >= seq);
            let known: Vec<u32> =
                strands.iter().filter(|(strand, seq)| has(strand, **seq)).map(|(strand, _)| *strand).collect();
            self.say_held(peer, &known);
            if caught_up.contains(&peer) {
                self.forward(now, peer, events);
            } else {
                self.pump(now, peer);
            }
        }
    }

    /// Sends new events at once to a neighbour that lacked nothing before them.
    fn forward(&mut self, now: Millis, peer: PeerId, events: &[OnStrand]) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let is_new = |(strand, event): &&OnStrand| {
            let seq = event.get().body().seq;
            let logged = self.frontier.head(*strand).is_some_and(|head| head.seq >= seq);
            logged && neighbour.has.get(strand).is_none_or(|has| *has < seq)
        };
        let new = events.iter().filter(is_new).count() as u64;
        let lacks: u64 = self.frontier.lacking(&neighbour.has).iter().map(|span| span.to - span.from + 1).sum();
        if lacks != new {
            // What was held before is part of the log now, as these build on it: it goes in front of them.
            return self.pump(now, peer);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (strand, event) in events {
            let event = event.get();
            let seq = event.body().seq;
            if neighbour.has.get(strand).is_some_and(|has| *has >= seq) {
                continue;
            }
            if self.frontier.head(*strand).is_none_or(|head| head.seq < seq) {
                // No part of the log.
                continue;
            }
            bytes += event.bytes().len();
            if bytes > limits::BATCH_BYTES {
                // The rest goes the way of a catch-up, with its back-pressure.
                break;
            }
            raise(&mut neighbour.has, *strand, seq);
            batch.push(event.bytes().to_vec());
        }
        if batch.is_empty() {
            // What was held before may be part of the log now.
            self.pump(now, peer);
        } else {
            neighbour.batch = Batch::Leaves;
            neighbour.began = true;
            self.outputs.push_back(Output::Send { peer, message: Message::Events(batch), flush: true });
        }
    }

    /// Has the next batch read for a neighbour that lacks something, at once or when others have had time to send it.
    fn pump(&mut self, now: Millis, peer: PeerId) {
        let crowded = self.is_crowded();
        let (first, later) = (self.wait(Duration::ZERO), self.wait(limits::SEND_LATER));
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        if !neighbour.is_known() || neighbour.batch != Batch::None {
            // Looked at again when that is over; a deadline that stays would wake for nothing.
            neighbour.send_at = None;
            return;
        }
        let lacking = self.frontier.lacking(&neighbour.has);
        if lacking.is_empty() {
            neighbour.send_at = None;
            return;
        }
        if let Some(until) = neighbour.unread_until.filter(|until| *until > now) {
            neighbour.send_at = Some((now, until));
            return;
        }
        neighbour.unread_until = None;
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
        self.loads += 1;
        let load = self.loads;
        neighbour.batch = Batch::Read(load);
        self.outputs.push_back(Output::Load { peer, load, lacking });
    }

    /// The neighbour for whom this load is, if it is still the same session.
    fn loads_for(&mut self, peer: &PeerId, load: u64) -> Option<&mut Neighbour> {
        self.neighbours.get_mut(peer).filter(|neighbour| neighbour.batch == Batch::Read(load))
    }

    fn loaded(&mut self, now: Millis, peer: PeerId, load: u64, events: Vec<OnStrand>) {
        let Some(neighbour) = self.loads_for(&peer, load) else { return };
        let mut batch = Vec::with_capacity(events.len());
        for (strand, event) in events {
            let event = event.into_inner();
            let seq = event.body().seq;
            // It may have got it from another in the meantime.
            if neighbour.has.get(&strand).is_none_or(|has| *has < seq) {
                raise(&mut neighbour.has, strand, seq);
                batch.push(event.bytes().to_vec());
            }
        }
        if batch.is_empty() {
            neighbour.batch = Batch::None;
            self.pump(now, peer);
        } else {
            neighbour.batch = Batch::Leaves;
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

fn raise(map: &mut BTreeMap<u32, u64>, strand: u32, seq: u64) {
    let held = map.entry(strand).or_insert(seq);
    *held = seq.max(*held);
}

/// Keeps of a strand what comes before `from`.
fn lower(map: &mut BTreeMap<u32, u64>, strand: u32, from: u64) {
    match from.checked_sub(1) {
        Some(last) => {
            if let Some(held) = map.get_mut(&strand) {
                *held = last.min(*held);
            }
        }
        None => drop(map.remove(&strand)),
    }
}
