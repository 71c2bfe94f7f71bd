//! Two honest nodes and a third that says and does whatever the input says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use super::script::Script;
use crate::eventlog::{Ack, Draft, Durable, Event, Extensions, Frontier, FrontierEntry, Head, Located, Payload};
use crate::hlc::Hlc;
use crate::id::{ObjectId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};
use crate::limits;
use crate::sync::{Input, Message, Output, Sync};

/// Who lies. Honest nodes know it as one more neighbour.
const LIAR: PeerId = PeerId([9; 32]);
/// Events that each honest node can write.
const WRITTEN: usize = 12;

/// All that the two ever write.
fn feeds() -> &'static [Vec<Event>; 2] {
    static FEEDS: OnceLock<[Vec<Event>; 2]> = OnceLock::new();
    FEEDS.get_or_init(|| {
        [1, 2].map(|seed| {
            let feed = FeedKey(Secret::from_seed([seed; 32]));
            let identity = IdentityKey(Secret::from_seed([7; 32]));
            let mut events: Vec<Event> = Vec::new();
            for seq in 0..WRITTEN as u64 {
                let payload = Payload::Ack(Ack { extensions: Extensions::default() });
                let (prev, hlc) = (events.last().map(Event::id), Hlc::new(seq + 1, 0));
                let draft = Draft { project: ProjectId([8; 32]), seq, prev, hlc, seen: vec![], refs: vec![], payload };
                events.push(draft.sign(&feed, &identity).expect("it is within its bounds"));
            }
            events
        })
    })
}

struct Node {
    me: PeerId,
    log: BTreeMap<PeerId, Vec<Event>>,
    sync: Sync,
    /// Neighbours with whom it has a session.
    up: Vec<PeerId>,
    /// What it said to the other honest node and has not arrived.
    said: VecDeque<Message>,
}

struct Pair([Node; 2]);

/// The number of a feed, the same at both.
fn strand(feed: &PeerId) -> Option<u32> {
    (0..2).find(|n| feeds()[*n as usize][0].body().author == *feed)
}

fn on_its_strand(event: Event) -> Option<(u32, Durable<Arc<Event>>)> {
    Some((strand(&event.body().author)?, Durable::pretended(Arc::new(event))))
}

impl Node {
    fn stored(&mut self, events: Vec<Event>) {
        let mut logged = Frontier::default();
        for last in self.log.values().filter_map(|feed| feed.last()) {
            let (body, id) = (last.body(), last.id());
            if let Some(strand) = strand(&body.author) {
                logged.set(strand, body.author, Head { seq: body.seq, id });
            }
        }
        let events = events.into_iter().filter_map(on_its_strand).collect();
        self.sync.handle(0, Input::Stored { events, logged });
    }

    /// What somebody said, as the machine takes it: heads of feeds that are held.
    fn heard(&self, peer: PeerId, message: Message) -> Option<Input> {
        let located = |entries: &[FrontierEntry]| {
            let (held, ahead) =
                entries.iter().copied().partition::<Vec<_>, _>(|entry| self.log.contains_key(&entry.feed));
            let on: Vec<_> = held.into_iter().filter_map(|entry| Some((strand(&entry.feed)?, entry))).collect();
            let heads = on.iter().map(|(strand, entry)| (*strand, entry.seq)).collect();
            Located { heads, on, ahead, parted: Vec::new() }
        };
        Some(match message {
            Message::Frontier { entries, last } => {
                Input::Frontier { peer, located: located(&entries), entries: entries.len(), last }
            }
            Message::Held(entries) => Input::Has { peer, heads: located(&entries).heads },
            Message::Answered => Input::Answered(peer),
            Message::Objects(commits) => Input::Serves { peer, commits },
            Message::Enough => Input::Enough(peer),
            Message::Events(_) | Message::Clock(_) | Message::Chain(_) | Message::Over { .. } | Message::Unknown(_) => {
                return None;
            }
        })
    }
}

/// Whatever the liar says: a node speaks only to neighbours, gives only what it holds, ends only the liar's session,
/// and in the end the honest two hold the same.
pub fn sessions(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut pair = Pair([0, 1].map(|n: usize| Node {
        me: feeds()[n][0].body().author,
        log: BTreeMap::new(),
        sync: Sync::new(Frontier::default(), std::iter::empty()),
        up: Vec::new(),
        said: VecDeque::new(),
    }));
    let mut now = 0;
    while !script.ended() {
        now += 1;
        let n = script.below(2);
        match script.below(12) {
            0 | 1 => pair.write(n),
            2 => pair.connect(),
            3 => pair.cut(),
            4 | 5 => drop(pair.deliver(n)),
            6 => {
                let digest = if script.below(2) == 0 { pair.0[n].sync.digest() } else { script.array() };
                pair.up(n, LIAR, digest);
            }
            7 => pair.down(n, LIAR),
            8 | 9 => {
                let message = lie(&mut script);
                if let Some(input) = pair.0[n].heard(LIAR, message) {
                    pair.0[n].sync.handle(now, input);
                }
            }
            10 => {
                let heads = (0..script.below(4)).map(|_| (script.below(4) as u32, script.number())).collect();
                pair.0[n].sync.handle(now, Input::Told { peer: LIAR, heads });
            }
            _ => match script.below(3) {
                0 => pair.0[n].sync.handle(now, Input::Flushed(LIAR)),
                1 => pair.0[n].sync.handle(now, Input::Held { peer: LIAR, until: script.number() }),
                _ => {
                    pair.0[n].sync.handle(script.number(), Input::Due);
                    now = now.max(pair.0[n].sync.next_wake().unwrap_or(now).min(1_000));
                }
            },
        }
        pair.drain(n);
    }
    pair.down(0, LIAR);
    pair.down(1, LIAR);
    pair.connect();
    let mut rounds = 0;
    while pair.deliver(0) | pair.deliver(1) {
        rounds += 1;
        assert!(rounds < 1_000, "it comes to rest");
    }
    let [one, other] = &pair.0;
    assert_eq!(one.sync.digest(), other.sync.digest());
    assert_eq!((one.sync.up_to_date(&other.me), other.sync.up_to_date(&one.me)), (Some(true), Some(true)));
}

impl Pair {
    fn write(&mut self, n: usize) {
        let node = &mut self.0[n];
        let own = node.log.entry(node.me).or_default();
        if let Some(event) = feeds()[n].get(own.len()) {
            own.push(event.clone());
            node.stored(vec![event.clone()]);
        }
    }

    fn connect(&mut self) {
        let [(one, digest), (other, other_digest)] = [0, 1].map(|n: usize| (self.0[n].me, self.0[n].sync.digest()));
        if !self.0[0].up.contains(&other) {
            self.up(0, other, other_digest);
            self.up(1, one, digest);
        }
    }

    fn cut(&mut self) {
        let [one, other] = [self.0[0].me, self.0[1].me];
        for (n, peer) in [(0, other), (1, one)] {
            self.down(n, peer);
            self.0[n].said.clear();
        }
    }

    /// A session that is there already is replaced, as when a peer dials again.
    fn up(&mut self, n: usize, peer: PeerId, digest: [u8; 32]) {
        self.down(n, peer);
        self.0[n].up.push(peer);
        self.0[n].sync.handle(0, Input::PeerUp { peer, digest });
        self.drain(n);
    }

    fn down(&mut self, n: usize, peer: PeerId) {
        self.0[n].up.retain(|up| *up != peer);
        self.0[n].sync.handle(0, Input::PeerDown(peer));
        self.drain(n);
    }

    /// The other node gets the first of what this one said; `false` where there is nothing.
    fn deliver(&mut self, from: usize) -> bool {
        let Some(message) = self.0[from].said.pop_front() else { return false };
        let (peer, to) = (self.0[from].me, 1 - from);
        let node = &mut self.0[to];
        if let Message::Events(events) = message {
            let (mut heads, mut fresh) = (Vec::new(), Vec::new());
            for bytes in events {
                let event = Event::decode_stored(&bytes).expect("honest nodes send events");
                let (author, seq) = (event.body().author, event.body().seq);
                heads.extend(strand(&author).map(|strand| (strand, seq)));
                let feed = node.log.entry(author).or_default();
                assert!(seq <= feed.len() as u64, "events come without gaps");
                if seq == feed.len() as u64 {
                    feed.push(event.clone());
                    fresh.push(event);
                }
            }
            node.sync.handle(0, Input::Told { peer, heads });
            node.stored(fresh);
        } else if let Some(input) = node.heard(peer, message) {
            node.sync.handle(0, input);
        }
        self.drain(to);
        true
    }

    fn drain(&mut self, n: usize) {
        let node = &mut self.0[n];
        let mut outputs = 0;
        while let Some(output) = node.sync.poll() {
            outputs += 1;
            assert!(outputs < 1_000, "one input has an end");
            match output {
                Output::Send { peer, message, flush } => {
                    assert!(node.up.contains(&peer), "only neighbours are spoken to");
                    assert!(message.encode().len() <= limits::FRAME_BYTES);
                    if let Message::Events(events) = &message {
                        assert!(!events.is_empty() && flush);
                        for event in events {
                            let event = Event::decode_stored(event).expect("it was one when it was stored");
                            let held = &node.log[&event.body().author][event.body().seq as usize];
                            assert_eq!(held.id(), event.id(), "only what is held is sent");
                        }
                    }
                    if peer != LIAR {
                        node.said.push_back(message);
                    }
                    if flush {
                        node.sync.handle(0, Input::Flushed(peer));
                    }
                }
                Output::Load { peer, load, lacking } => {
                    assert!(node.up.contains(&peer) && !lacking.is_empty());
                    let held = |strand: u32, from: u64, to: u64| {
                        let feed = &feeds()[strand as usize][0].body().author;
                        assert!(from <= to && to < node.log[feed].len() as u64, "only what is held is read");
                        node.log[feed][from as usize..=to as usize].to_vec()
                    };
                    let mut events: Vec<Event> =
                        lacking.iter().flat_map(|lack| held(lack.strand, lack.from, lack.to)).collect();
                    events.sort_by_key(Event::order);
                    events.truncate(3);
                    let events = events.into_iter().filter_map(on_its_strand).collect();
                    node.sync.handle(0, Input::Loaded { peer, load, events });
                }
                Output::Serves { peer, .. } => assert_eq!(peer, LIAR),
                Output::Drop { peer, .. } => {
                    assert_eq!(peer, LIAR, "nobody pays for what another did");
                    node.up.retain(|up| *up != peer);
                    node.sync.handle(0, Input::PeerDown(peer));
                }
            }
        }
    }
}

/// A feed that is known, or one that is not.
fn feed(script: &mut Script<'_>) -> PeerId {
    match script.below(3) {
        n @ (0 | 1) => feeds()[n][0].body().author,
        _ => PeerId([script.byte(); 32]),
    }
}

fn lie(script: &mut Script<'_>) -> Message {
    let entries = |script: &mut Script<'_>| {
        let entry = |script: &mut Script<'_>| FrontierEntry { feed: feed(script), seq: script.number(), id: [0; 8] };
        (0..script.below(6)).map(|_| entry(script)).collect::<Vec<_>>()
    };
    match script.below(6) {
        0 | 1 => Message::Frontier { entries: entries(script), last: script.below(4) > 0 },
        2 => Message::Held(entries(script)),
        3 => Message::Objects(vec![ObjectId::Sha1([script.byte(); 20]); script.below(3)]),
        4 => Message::Events(vec![script.piece().to_vec()]),
        _ => Message::decode(script.piece()).unwrap_or(Message::Unknown(0)),
    }
}
