//! Sessions with neighbours: compare digests, exchange frontiers, send what is lacking, then forward.

mod ports;
mod sending;
mod standing;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::ports::{Input, Output};
use crate::eventlog::{Frontier, Head};
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;

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
