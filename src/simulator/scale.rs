//! What it costs to tell everybody, at ten nodes and at thousands: messages, bytes, hops, sessions.
//!
//! The nodes here are light ones: `Sync`, `Mesh` and a log, without a state, so that thousands fit. Events are shared.
//! `cargo test --release --lib simulator::scale -- --ignored --nocapture` prints the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::log::{Log, Wire};
use super::net::Queue;
use super::node::keys;
use super::rng::Rng;
use crate::eventlog::{
    Draft, Durable, Event, Extensions, Frontier, FrontierEntry, Head, Lacking, Located, Payload, Propose,
};
use crate::hlc::{Hlc, Millis};
use crate::id::{BranchName, EventId, ObjectId, PeerId, ProjectId};
use crate::keys::FeedKey;
use crate::limits;
use crate::sync::{Input, Mesh, Message, Output, Sync};

struct Light {
    sync: Sync,
    mesh: Mesh,
    log: Log,
    frontier: Frontier,
    sessions: BTreeSet<PeerId>,
    pending: Vec<Arc<Event>>,
    /// What neighbours told of and is not here yet, as in `node`.
    ahead: BTreeMap<PeerId, BTreeSet<FrontierEntry>>,
    /// By how many hops each event came.
    hops: BTreeMap<EventId, u32>,
    due: Option<Millis>,
}

enum What {
    Say(usize, usize, Message),
    Flushed(usize, PeerId),
    Load(usize, PeerId, u64, Vec<Lacking>),
    Appended(usize),
    Due(usize),
}

#[derive(Default, Debug)]
struct Figures {
    messages: u64,
    bytes: u64,
    copies: u64,
    most_sessions: usize,
}

struct World {
    nodes: Vec<Light>,
    feeds: Vec<FeedKey>,
    numbers: BTreeMap<PeerId, usize>,
    queue: Queue<What>,
    rng: Rng,
    wire: Wire,
    figures: Figures,
    event_bytes: u64,
    written: Millis,
    /// How long each event took to each node, in this round.
    took: Vec<Millis>,
    /// Nodes that are not there yet.
    absent: BTreeSet<usize>,
}

impl World {
    fn new(count: usize) -> Self {
        let feeds: Vec<FeedKey> = (0..count).map(|n| keys(n).0).collect();
        let light = |(n, feed): (usize, &FeedKey)| Light {
            sync: Sync::new(Frontier::default(), std::iter::empty()),
            mesh: Mesh::new(feed.peer(), n as u64),
            log: Log::default(),
            frontier: Frontier::default(),
            sessions: BTreeSet::new(),
            pending: Vec::new(),
            ahead: BTreeMap::new(),
            hops: BTreeMap::new(),
            due: None,
        };
        Self {
            nodes: feeds.iter().enumerate().map(light).collect(),
            numbers: feeds.iter().enumerate().map(|(n, feed)| (feed.peer(), n)).collect(),
            feeds,
            queue: Queue::new(limits::BUILD_MILLIS),
            rng: Rng::new(count as u64),
            wire: Wire::default(),
            figures: Figures::default(),
            event_bytes: 0,
            written: 0,
            took: Vec::new(),
            absent: BTreeSet::new(),
        }
    }

    fn mesh_round(&mut self) {
        let here: Vec<usize> = (0..self.nodes.len()).filter(|n| !self.absent.contains(n)).collect();
        for n in here.clone() {
            let node = &self.nodes[n];
            // All are known to all; who has enough and is in the middle of its turn looks for nobody.
            let known = here.iter().map(|n| self.feeds[*n].peer());
            for peer in node.mesh.wanted(self.queue.now, known, &node.sessions) {
                self.connect(n, self.numbers[&peer]);
            }
            let node = &self.nodes[n];
            for peer in node.mesh.surplus(self.queue.now, &node.sessions) {
                let other = self.numbers[&peer];
                for (at, of) in [(n, other), (other, n)] {
                    let peer = self.feeds[of].peer();
                    self.nodes[at].sessions.remove(&peer);
                    self.input(at, Input::PeerDown(peer));
                }
            }
        }
        let most = self.nodes.iter().map(|node| node.sessions.len()).max().unwrap_or(0);
        self.figures.most_sessions = self.figures.most_sessions.max(most);
    }

    fn connect(&mut self, a: usize, b: usize) {
        let (peer_a, peer_b) = (self.feeds[a].peer(), self.feeds[b].peer());
        if !self.nodes[b].mesh.admits(&self.nodes[b].sessions, &peer_a) || self.nodes[a].sessions.contains(&peer_b) {
            return;
        }
        self.nodes[a].sessions.insert(peer_b);
        self.nodes[b].sessions.insert(peer_a);
        let (digest_a, digest_b) = (self.nodes[a].sync.digest(), self.nodes[b].sync.digest());
        self.input(a, Input::PeerUp { peer: peer_b, digest: digest_b });
        self.input(b, Input::PeerUp { peer: peer_a, digest: digest_a });
    }

    fn write(&mut self, n: usize) {
        let title = "Round the totals of a bill at its end".to_owned();
        let name = |text: &str| BranchName::new(text).unwrap();
        let propose = Propose {
            branch: name("fix/rounding"),
            target: name("main"),
            tip: ObjectId::Sha1(self.rng.bytes20()),
            title,
            previous: None,
            extensions: Extensions::default(),
        };
        let head = self.nodes[n].frontier.head(self.strand(&self.feeds[n].peer()));
        let draft = Draft {
            project: ProjectId([1; 32]),
            seq: head.map_or(0, |head| head.seq + 1),
            prev: head.map(|head| head.id),
            hlc: Hlc::new(self.queue.now, 0),
            seen: vec![EventId([3; 32])],
            refs: Vec::new(),
            payload: Payload::Propose(propose),
        };
        let event = self.wire.wrote(draft.sign(&self.feeds[n], &keys(n).1).unwrap());
        self.event_bytes += event.bytes().len() as u64;
        self.nodes[n].hops.insert(event.id(), 0);
        self.written = self.queue.now;
        self.take(n, event);
    }

    fn take(&mut self, n: usize, event: Arc<Event>) {
        let author = event.body().author;
        let strand = self.strand(&author);
        let node = &mut self.nodes[n];
        node.frontier.set(strand, author, Head { seq: event.body().seq, id: event.id() });
        node.pending.push(event);
        if node.pending.len() == 1 {
            let wait = self.rng.between(1, 10);
            self.queue.after(wait, What::Appended(n));
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        self.nodes[n].sync.handle(self.queue.now, input);
        while let Some(output) = self.nodes[n].sync.poll() {
            match output {
                Output::Send { peer, message, flush } => {
                    self.figures.messages += 1;
                    self.figures.bytes += message.encode().len() as u64 + 4;
                    if let Message::Events(events) = &message {
                        self.figures.copies += events.len() as u64;
                    }
                    // In order: every message of a link takes as long as the others.
                    let to = self.numbers[&peer];
                    let wait = 1 + (n as u64 * 31 + to as u64 * 17) % 20;
                    self.queue.after(wait, What::Say(n, to, message));
                    if flush {
                        self.queue.after(1, What::Flushed(n, peer));
                    }
                }
                Output::Load { peer, load, lacking } => self.queue.after(1, What::Load(n, peer, load, lacking)),
                Output::Serves { .. } => {}
                Output::Drop { why, .. } => panic!("{why}"),
            }
        }
        let node = &mut self.nodes[n];
        if let Some(at) = node.sync.next_wake().filter(|at| node.due.is_none_or(|due| due > *at)) {
            node.due = Some(at);
            self.queue.after(at.saturating_sub(self.queue.now), What::Due(n));
        }
    }

    fn run(&mut self) {
        while let Some(what) = self.queue.pop(Millis::MAX) {
            match what {
                What::Say(from, to, message) => {
                    let peer = self.feeds[from].peer();
                    if !self.nodes[to].sessions.contains(&peer) {
                        continue;
                    }
                    match message {
                        Message::Events(events) => self.received(from, to, &events),
                        Message::Frontier { entries, last } => {
                            let located = self.located(to, peer, &entries);
                            self.input(to, Input::Frontier { peer, located, entries: entries.len(), last });
                        }
                        Message::Held(entries) => {
                            let heads = self.located(to, peer, &entries).heads;
                            self.input(to, Input::Has { peer, heads });
                        }
                        Message::Answered => self.input(to, Input::Answered(peer)),
                        Message::Enough => self.input(to, Input::Enough(peer)),
                        other => panic!("{other:?} is not said here"),
                    }
                }
                What::Flushed(n, peer) => self.input(n, Input::Flushed(peer)),
                What::Load(n, peer, load, lacking) => {
                    let events = self.nodes[n].log.lacking(&lacking, limits::BATCH_BYTES);
                    self.input(n, Input::Loaded { peer, load, events });
                }
                What::Appended(n) => {
                    let events = std::mem::take(&mut self.nodes[n].pending);
                    let events: Vec<_> =
                        events.into_iter().map(|event| (self.strand(&event.body().author), event)).collect();
                    self.nodes[n].log.add(&events);
                    self.caught_up(n, &events);
                    let durable = |(strand, event)| (strand, Durable::pretended(event));
                    let logged = self.nodes[n].frontier.clone();
                    self.input(n, Input::Stored { events: events.into_iter().map(durable).collect(), logged });
                }
                What::Due(n) => {
                    self.nodes[n].due = None;
                    self.input(n, Input::Due);
                }
            }
        }
    }

    /// The number of a feed, here the same at all nodes.
    fn strand(&self, feed: &PeerId) -> u32 {
        u32::try_from(self.numbers[feed]).unwrap()
    }

    /// What was told of that is here.
    fn located(&mut self, n: usize, peer: PeerId, entries: &[FrontierEntry]) -> Located {
        let here = |entry: &&FrontierEntry| {
            self.nodes[n].frontier.head(self.strand(&entry.feed)).is_some_and(|head| head.seq >= entry.seq)
        };
        let (here, ahead): (Vec<FrontierEntry>, Vec<FrontierEntry>) =
            entries.iter().copied().partition(|entry| here(&entry));
        self.nodes[n].ahead.entry(peer).or_default().extend(&ahead);
        let on: Vec<_> = here.into_iter().map(|entry| (self.strand(&entry.feed), entry)).collect();
        let heads = on.iter().map(|(strand, entry)| (*strand, entry.seq)).collect();
        Located { heads, on, ahead, parted: Vec::new() }
    }

    fn caught_up(&mut self, n: usize, events: &[(u32, Arc<Event>)]) {
        for peer in self.nodes[n].ahead.keys().copied().collect::<Vec<_>>() {
            let ahead = self.nodes[n].ahead.entry(peer).or_default();
            let told = events.iter().filter(|(_, event)| ahead.remove(&FrontierEntry::of(event)));
            let heads: Vec<(u32, u64)> = told.map(|(strand, event)| (*strand, event.body().seq)).collect();
            if !heads.is_empty() {
                self.input(n, Input::Has { peer, heads });
            }
        }
    }

    fn received(&mut self, from: usize, to: usize, events: &[Vec<u8>]) {
        let peer = self.feeds[from].peer();
        let mut heads = Vec::new();
        for bytes in events {
            let event = self.wire.read(bytes).unwrap();
            let body = event.body();
            let strand = self.strand(&body.author);
            heads.push((strand, body.seq));
            let next = self.nodes[to].frontier.head(strand).map_or(0, |head| head.seq + 1);
            assert!(body.seq <= next, "events come without gaps");
            if body.seq == next {
                let hops = self.nodes[from].hops[&event.id()] + 1;
                self.nodes[to].hops.insert(event.id(), hops);
                self.took.push(self.queue.now - self.written);
                self.take(to, event);
            }
        }
        self.input(to, Input::Told { peer, heads });
    }

    fn forget_figures(&mut self) {
        self.figures = Figures { most_sessions: self.figures.most_sessions, ..Figures::default() };
        self.event_bytes = 0;
        self.took.clear();
    }
}

struct Report {
    copies: f64,
    hops: u32,
    most_sessions: usize,
    catch_up: f64,
}

/// Some events in a project of `count` nodes, then one more node that has nothing.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(count: usize, events: usize) -> Report {
    let mut world = World::new(count + 1);
    world.absent.insert(count);
    for _ in 0..4 {
        world.mesh_round();
        world.run();
        world.queue.now += 130_000;
    }
    // The first events show the sessions which of them are of use.
    for warm in [true, false] {
        world.forget_figures();
        for _ in 0..events {
            let author = usize::try_from(world.rng.below(count as u64)).unwrap();
            world.write(author);
            world.run();
        }
        if warm {
            world.mesh_round();
            world.run();
        }
    }
    let per_node = |sum: u64| sum as f64 / events as f64 / count as f64;
    let mut hops: Vec<u32> = world.nodes[..count].iter().flat_map(|node| node.hops.values().copied()).collect();
    hops.sort_unstable();
    assert_eq!(hops.len(), count * events * 2, "everybody has every event");
    let (most, middle) = (hops[hops.len() - 1], hops[hops.len() / 2]);
    let copies = per_node(world.figures.copies);
    println!("n{count}_messages_per_event_per_node: {:.2}", per_node(world.figures.messages));
    let bytes = world.figures.bytes as f64 / count as f64 / world.event_bytes as f64;
    println!("n{count}_bytes_per_node_over_event_bytes: {bytes:.2}");
    println!("n{count}_copies_per_event_per_node: {copies:.2}");
    println!("n{count}_hops_max: {most}");
    println!("n{count}_hops_p50: {middle}");
    world.took.sort_unstable();
    let took = &world.took;
    println!("n{count}_ms_p50: {}", took[took.len() / 2]);
    println!("n{count}_ms_p99: {}", took[took.len() * 99 / 100]);
    println!("n{count}_ms_max: {}", took[took.len() - 1]);
    println!("n{count}_connections_max: {}", world.figures.most_sessions);
    for _ in 0..30 * events {
        world.write(0);
    }
    world.run();
    let all: u64 = world.nodes[0].log.order().len() as u64;
    world.forget_figures();
    world.absent.clear();
    world.mesh_round();
    world.run();
    let newcomer = &world.nodes[count];
    assert_eq!(newcomer.sync.digest(), world.nodes[0].sync.digest());
    let catch_up = world.figures.copies as f64 / all as f64;
    println!("n{count}_catch_up_copies: {catch_up:.2}");
    Report { copies, hops: most, most_sessions: world.figures.most_sessions, catch_up }
}

#[test]
fn telling_everybody_is_cheap() {
    for count in [10, 60] {
        let report = report(count, 12);
        assert!(report.copies <= 2.0, "{count}: {} copies", report.copies);
        assert!(report.catch_up <= 4.0, "{count}: {} copies of a log", report.catch_up);
        assert!(report.hops <= 16 && report.most_sessions <= limits::MESH_MOST + 1);
    }
}

#[test]
#[ignore = "figures, by the command above"]
fn figures() {
    for (count, events) in [(10, 40), (100, 40), (1_000, 20), (5_000, 6)] {
        report(count, events);
    }
}
