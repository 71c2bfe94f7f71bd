//! Many nodes without a network: messages are delayed, sessions break, and all logs become equal all the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::eventlog::{
    Draft, Durable, Event, Extensions, Frontier, FrontierEntry, Head, Lacking, Located, Payload, Withdraw,
};
use crate::id::{EventId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};

/// One node: its log, and the sessions' machine.
struct Node {
    feed: FeedKey,
    log: BTreeMap<PeerId, Vec<Event>>,
    sync: Sync,
}

/// Messages on their way, by sender and receiver, in order.
#[derive(Default)]
struct Wires(BTreeMap<(usize, usize), VecDeque<Message>>);

struct Lan {
    nodes: Vec<Node>,
    wires: Wires,
    events_sent: usize,
}

impl Node {
    /// What it holds, each feed on the strand of its node.
    fn logged(&self) -> Frontier {
        let mut logged = Frontier::default();
        for feed in self.log.values() {
            if let Some(last) = feed.last() {
                let head = Head { seq: last.body().seq, id: last.id() };
                logged.set(strand(&last.body().author), last.body().author, head);
            }
        }
        logged
    }

    fn stored(&mut self, events: Vec<Event>) {
        let of = |event: Event| (strand(&event.body().author), Durable::pretended(Arc::new(event)));
        let events = events.into_iter().map(of).collect();
        let logged = self.logged();
        self.sync.handle(0, Input::Stored { events, logged });
    }
}

/// The number of a feed, here the same at all nodes.
fn strand(feed: &PeerId) -> u32 {
    (0..8).find(|n| FeedKey(Secret::from_seed([*n; 32])).peer() == *feed).map_or(99, u32::from)
}

impl Lan {
    fn new(count: u8) -> Self {
        let node = |n: u8| Node {
            feed: FeedKey(Secret::from_seed([n; 32])),
            log: BTreeMap::new(),
            sync: Sync::new(Frontier::default(), std::iter::empty()),
        };
        Self { nodes: (0..count).map(node).collect(), wires: Wires::default(), events_sent: 0 }
    }

    fn peer(&self, n: usize) -> PeerId {
        self.nodes[n].feed.peer()
    }

    fn of(&self, peer: &PeerId) -> usize {
        self.nodes.iter().position(|node| node.feed.peer() == *peer).unwrap()
    }

    fn write(&mut self, n: usize, now: u64) {
        let node = &mut self.nodes[n];
        let own = node.log.entry(node.feed.peer()).or_default();
        let payload = Payload::Withdraw(Withdraw { revision: EventId([1; 32]), extensions: Extensions::default() });
        let (seq, prev) = (own.len() as u64, own.last().map(Event::id));
        let latest = node.log.values().filter_map(|feed| feed.last()).map(|event| event.body().hlc).max();
        let hlc = latest.unwrap_or_default().next(now);
        let draft = Draft { project: ProjectId([9; 32]), seq, prev, hlc, seen: vec![], refs: vec![], payload };
        let event = draft.sign(&node.feed, &IdentityKey(Secret::from_seed([7; 32]))).unwrap();
        node.log.entry(node.feed.peer()).or_default().push(event.clone());
        node.stored(vec![event]);
        self.drain(n);
    }

    fn connect(&mut self, a: usize, b: usize) {
        let (digest_a, digest_b) = (self.nodes[a].sync.digest(), self.nodes[b].sync.digest());
        let (peer_a, peer_b) = (self.peer(a), self.peer(b));
        self.wires.0.insert((a, b), VecDeque::new());
        self.wires.0.insert((b, a), VecDeque::new());
        self.nodes[a].sync.handle(0, Input::PeerUp { peer: peer_b, digest: digest_b });
        self.nodes[b].sync.handle(0, Input::PeerUp { peer: peer_a, digest: digest_a });
        self.drain(a);
        self.drain(b);
    }

    fn cut(&mut self, a: usize, b: usize) {
        let (peer_a, peer_b) = (self.peer(a), self.peer(b));
        if self.wires.0.remove(&(a, b)).is_some() {
            self.wires.0.remove(&(b, a));
            self.nodes[a].sync.handle(0, Input::PeerDown(peer_b));
            self.nodes[b].sync.handle(0, Input::PeerDown(peer_a));
            self.drain(a);
            self.drain(b);
        }
    }

    fn drain(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].sync.poll() {
            match output {
                Output::Send { peer, message, flush } => {
                    let to = self.of(&peer);
                    if let Message::Events(events) = &message {
                        self.events_sent += events.len();
                    }
                    self.wires.0.get_mut(&(n, to)).expect("only neighbours are spoken to").push_back(message);
                    if flush {
                        self.nodes[n].sync.handle(0, Input::Flushed(peer));
                    }
                }
                Output::Load { peer, load, lacking } => {
                    let feeds: Vec<PeerId> = self.nodes.iter().map(|node| node.feed.peer()).collect();
                    let log = &self.nodes[n].log;
                    let of = |lack: &Lacking| {
                        log[&feeds[lack.strand as usize]][lack.from as usize..=lack.to as usize].to_vec()
                    };
                    let mut events: Vec<Event> = lacking.iter().flat_map(of).collect();
                    events.sort_by_key(Event::order);
                    events.truncate(3);
                    let of = |event: Event| (strand(&event.body().author), Durable::pretended(Arc::new(event)));
                    let events = events.into_iter().map(of).collect();
                    self.nodes[n].sync.handle(0, Input::Loaded { peer, load, events });
                }
                Output::Serves { .. } => {}
                Output::Drop { why, .. } => panic!("{why}"),
            }
        }
    }

    /// Delivers one message; `false` where there is none on that wire.
    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.wires.0.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { return false };
        let peer = self.peer(from);
        if let Message::Events(events) = message {
            let (mut fresh, mut heads) = (Vec::new(), Vec::new());
            for bytes in events {
                let event = Event::decode(&bytes).unwrap();
                heads.push((strand(&event.body().author), event.body().seq));
                let feed = self.nodes[to].log.entry(event.body().author).or_default();
                assert!(event.body().seq <= feed.len() as u64, "events come without gaps");
                if event.body().seq == feed.len() as u64 {
                    feed.push(event.clone());
                    fresh.push(event);
                }
            }
            self.nodes[to].sync.handle(0, Input::Told { peer, heads });
            self.nodes[to].stored(fresh);
        } else {
            let log = &self.nodes[to].log;
            let held = |entry: &FrontierEntry| log.get(&entry.feed).is_some_and(|feed| entry.seq < feed.len() as u64);
            let located = |entries: Vec<FrontierEntry>| {
                let (on, ahead): (Vec<_>, Vec<_>) = entries.into_iter().partition(held);
                let on: Vec<_> = on.into_iter().map(|entry| (strand(&entry.feed), entry)).collect();
                let heads = on.iter().map(|(strand, entry)| (*strand, entry.seq)).collect();
                Located { heads, on, ahead, parted: Vec::new() }
            };
            let input = match message {
                Message::Frontier { entries, last } => {
                    let count = entries.len();
                    Input::Frontier { peer, located: located(entries), entries: count, last }
                }
                Message::Held(entries) => Input::Has { peer, heads: located(entries).heads },
                Message::Answered => Input::Answered(peer),
                Message::Enough => Input::Enough(peer),
                other => panic!("{other:?} is not said here"),
            };
            self.nodes[to].sync.handle(0, input);
        }
        self.drain(to);
        true
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            let busy: Vec<(usize, usize)> =
                self.wires.0.iter().filter(|(_, wire)| !wire.is_empty()).map(|(ends, _)| *ends).collect();
            if busy.is_empty() {
                break;
            }
            for (from, to) in busy {
                self.deliver(from, to);
            }
            rounds += 1;
            assert!(rounds < 10_000, "it comes to rest");
        }
    }

    fn digests(&self) -> Vec<[u8; 32]> {
        self.nodes.iter().map(|node| node.sync.digest()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is written, delayed, cut and joined: once all are connected in a ring and messages have come
    /// through, all logs are equal, and each knows that its neighbours are up to date.
    #[test]
    fn logs_become_equal(steps in prop::collection::vec((0usize..4, 0usize..4, 0u8..6), 0..80)) {
        let mut lan = Lan::new(4);
        for (at, (a, b, what)) in steps.into_iter().enumerate() {
            match what {
                0 | 1 => lan.write(a, at as u64),
                2 if a != b && !lan.wires.0.contains_key(&(a, b)) => lan.connect(a, b),
                3 => lan.cut(a, b),
                _ => drop(lan.deliver(a, b)),
            }
        }
        for n in 0..4 {
            if !lan.wires.0.contains_key(&(n, (n + 1) % 4)) {
                lan.connect(n, (n + 1) % 4);
            }
        }
        lan.settle();
        let digests = lan.digests();
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
        for n in 0..4 {
            let next = lan.peer((n + 1) % 4);
            prop_assert_eq!(lan.nodes[n].sync.up_to_date(&next), Some(true));
        }
    }
}

#[test]
fn what_a_neighbour_has_is_not_sent_to_it() {
    let mut lan = Lan::new(2);
    for at in 0..100 {
        lan.write(0, at);
    }
    lan.connect(0, 1);
    lan.settle();
    assert_eq!(lan.events_sent, 100);
    lan.cut(0, 1);
    lan.write(0, 1_000);
    lan.write(1, 1_001);
    lan.connect(0, 1);
    lan.settle();
    assert_eq!(lan.events_sent, 102, "only what each lacked");
    lan.connect(0, 1);
    lan.settle();
    assert_eq!(lan.events_sent, 102);
}

#[test]
fn a_neighbour_that_is_further_on_some_feeds_is_sent_only_what_it_lacks() {
    let mut lan = Lan::new(3);
    (0..40).for_each(|at| lan.write(0, at));
    (0..50).for_each(|at| lan.write(1, at));
    lan.connect(0, 2);
    lan.connect(1, 2);
    lan.settle();
    lan.connect(0, 1);
    lan.settle();
    // Node 2 goes on holding both feeds, while each of the others writes what it lacks.
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        lan.cut(a, b);
    }
    (0..3).for_each(|at| lan.write(0, 1_000 + at));
    (0..4).for_each(|at| lan.write(1, 1_000 + at));
    let before = lan.events_sent;
    lan.connect(0, 1);
    lan.settle();
    assert_eq!(lan.events_sent - before, 7, "each is further on its own feed than the other");
    lan.connect(2, 0);
    lan.settle();
    assert_eq!(lan.events_sent - before, 14);
}

#[test]
fn held_events_are_asked_for_again_when_their_time_comes() {
    let mut frontier = Frontier::default();
    frontier.set(0, PeerId([1; 32]), Head { seq: 3, id: EventId([3; 32]) });
    let heads: Vec<(u32, Head)> = frontier.iter().map(|(strand, _, head)| (strand, *head)).collect();
    let mut sync = Sync::new(frontier, heads.into_iter());
    let peer = PeerId([5; 32]);
    sync.handle(0, Input::PeerUp { peer, digest: sync.digest() });
    assert!(sync.poll().is_none(), "equal logs have nothing to say");
    sync.handle(0, Input::Held { peer, until: 500 });
    assert_eq!(sync.next_wake(), Some(500));
    sync.handle(499, Input::Due);
    assert!(sync.poll().is_none());
    sync.handle(500, Input::Due);
    assert!(matches!(sync.poll(), Some(Output::Send { message: Message::Frontier { last: true, .. }, .. })));
    assert_eq!(sync.next_wake(), None);
    // The earliest of several counts; when the wall clock was set, none waits.
    sync.handle(600, Input::AskAgain);
    assert!(sync.poll().is_none(), "nothing is held");
    for until in [9_000, 7_000, 8_000] {
        sync.handle(600, Input::Held { peer, until });
    }
    assert_eq!(sync.next_wake(), Some(7_000));
    sync.handle(700, Input::AskAgain);
    assert!(matches!(sync.poll(), Some(Output::Send { message: Message::Frontier { last: true, .. }, .. })));
    assert_eq!(sync.next_wake(), None);
}

/// With many neighbours: who says that it has enough is told of the next event, and sent it only if nobody else does.
#[test]
fn who_gets_it_from_others_is_only_told() {
    let mut lan = Lan::new(7);
    for other in 1..7 {
        lan.connect(0, other);
    }
    let (one, two) = (lan.peer(1), lan.peer(2));
    for peer in [one, two] {
        lan.nodes[0].sync.handle(0, Input::Enough(peer));
    }
    lan.write(0, 1_000);
    let said = |lan: &Lan, to: usize| lan.wires.0[&(0, to)].iter().cloned().collect::<Vec<_>>();
    assert!(matches!(said(&lan, 1)[..], [Message::Held(_)]) && matches!(said(&lan, 2)[..], [Message::Held(_)]));
    assert!(matches!(said(&lan, 3)[..], [Message::Events(_)]));
    let Message::Held(held) = said(&lan, 1)[0].clone() else { panic!("it is told") };
    let heads = held.iter().map(|entry| (strand(&entry.feed), entry.seq)).collect();
    lan.nodes[0].sync.handle(1, Input::Has { peer: one, heads });
    lan.drain(0);
    let at = lan.nodes[0].sync.next_wake().expect("the other is sent it later");
    lan.nodes[0].sync.handle(at, Input::Due);
    lan.drain(0);
    assert_eq!(said(&lan, 1).len(), 1, "it got it from another");
    assert!(matches!(said(&lan, 2)[..], [Message::Held(_), Message::Events(_)]));
    assert_eq!(lan.nodes[0].sync.next_wake(), None);
}

/// Evidence that somebody builds on becomes part of the log with what builds on it, and is sent in front of that.
#[test]
fn what_becomes_part_of_the_log_is_sent_before_what_names_it() {
    let mut lan = Lan::new(2);
    (0..2).for_each(|at| lan.write(0, at));
    let log = lan.nodes[0].log[&lan.peer(0)].clone();
    let head = |seq: usize| Head { seq: seq as u64, id: log[seq].id() };
    let feeds = [PeerId([1; 32]), lan.peer(0)];
    let logged = |cut: usize, own: Option<usize>| {
        let mut logged = Frontier::default();
        logged.set(5, feeds[0], head(cut));
        if let Some(own) = own {
            logged.set(0, feeds[1], head(own));
        }
        logged
    };
    // Strand 5 is held up to 1, and part of the log up to 0.
    let mut sync = Sync::new(logged(0, None), [(5, head(1))].into_iter());
    let peer = PeerId([5; 32]);
    sync.handle(0, Input::PeerUp { peer, digest: sync.digest() });
    let events = vec![(0, Durable::pretended(Arc::new(log[0].clone())))];
    sync.handle(0, Input::Stored { events, logged: logged(1, Some(0)) });
    let lacking = vec![Lacking { strand: 0, from: 0, to: 0 }, Lacking { strand: 5, from: 1, to: 1 }];
    assert_eq!(sync.poll(), Some(Output::Load { peer, load: 1, lacking }));
}

/// A node with one event and a session with one who has none, whose load is under way: gives the number of the load.
fn loading(sync: &mut Sync, peer: PeerId) -> u64 {
    sync.handle(0, Input::PeerUp { peer, digest: [0; 32] });
    sync.handle(0, Input::Frontier { peer, located: Located::default(), entries: 0, last: true });
    let outputs: Vec<Output> = std::iter::from_fn(|| sync.poll()).collect();
    let load = outputs.iter().find_map(|output| match output {
        Output::Load { load, .. } => Some(*load),
        _ => None,
    });
    load.expect("it lacks an event")
}

fn one_event() -> (Sync, Event) {
    let mut lan = Lan::new(1);
    lan.write(0, 1);
    let event = lan.nodes[0].log[&lan.peer(0)][0].clone();
    let frontier = lan.nodes[0].logged();
    let heads: Vec<(u32, Head)> = frontier.iter().map(|(strand, _, head)| (strand, *head)).collect();
    (Sync::new(frontier, heads.into_iter()), event)
}

/// What was read for a session that has ended would leave a gap on the next one, and the honest sender be dropped.
#[test]
fn what_was_read_for_another_session_is_not_sent() {
    let (mut sync, event) = one_event();
    let peer = PeerId([5; 32]);
    let stale = loading(&mut sync, peer);
    sync.handle(0, Input::PeerDown(peer));
    let load = loading(&mut sync, peer);
    let events = || vec![(0, Durable::pretended(Arc::new(event.clone())))];
    sync.handle(1, Input::Loaded { peer, load: stale, events: events() });
    sync.handle(1, Input::NotLoaded { peer, load: stale });
    assert_eq!((sync.poll(), sync.next_wake()), (None, None), "the session waits for its own");
    sync.handle(2, Input::Loaded { peer, load, events: events() });
    assert!(matches!(sync.poll(), Some(Output::Send { message: Message::Events(_), flush: true, .. })));
    // Twice the same is once too often.
    sync.handle(2, Input::Loaded { peer, load, events: events() });
    assert_eq!(sync.poll(), None);
}

#[test]
fn what_could_not_be_read_is_read_again_later_and_then_sent() {
    let (mut sync, event) = one_event();
    let peer = PeerId([5; 32]);
    let failed = loading(&mut sync, peer);
    sync.handle(100, Input::NotLoaded { peer, load: failed });
    assert_eq!(sync.poll(), None, "not at once");
    let again = 100 + u64::try_from(crate::limits::LOAD_AGAIN.as_millis()).unwrap();
    // Whatever is said meanwhile brings it no sooner.
    sync.handle(200, Input::Has { peer, heads: Vec::new() });
    assert_eq!((sync.poll(), sync.next_wake()), (None, Some(again)));
    sync.handle(again, Input::Due);
    let Some(Output::Load { load, .. }) = sync.poll() else { panic!("it is read again") };
    assert_ne!(load, failed);
    sync.handle(again, Input::Loaded { peer, load, events: vec![(0, Durable::pretended(Arc::new(event)))] });
    assert!(matches!(sync.poll(), Some(Output::Send { message: Message::Events(_), .. })));
    assert_eq!(sync.next_wake(), None);
}

/// Two hearings with what each may tell the other; gives the events that each got, and how many messages it took.
fn hear(offers: [Frontier; 2], logs: [&BTreeMap<PeerId, Vec<Event>>; 2]) -> ([Vec<EventId>; 2], usize) {
    let peers = [PeerId([21; 32]), PeerId([22; 32])];
    let mut ends = [0, 1].map(|n: usize| Hearing::new(0, peers[1 - n], offers[n].clone()));
    let mut held = logs.map(Clone::clone);
    let mut got: [Vec<EventId>; 2] = Default::default();
    let mut wires: [VecDeque<Message>; 2] = Default::default();
    let mut count = 0;
    loop {
        for n in 0..2 {
            while let Some(output) = ends[n].poll() {
                match output {
                    Output::Send { peer, message, flush } => {
                        wires[1 - n].push_back(message);
                        if flush {
                            ends[n].handle(0, Input::Flushed(peer));
                        }
                    }
                    Output::Load { peer, load, lacking } => {
                        let of = |lack: &Lacking| {
                            let feed = held[n].iter().find(|(feed, _)| strand(feed) == lack.strand).unwrap().1;
                            feed[lack.from as usize..=lack.to as usize].to_vec()
                        };
                        let mut events: Vec<Event> = lacking.iter().flat_map(of).collect();
                        events.sort_by_key(Event::order);
                        events.truncate(2);
                        let of = |event: Event| (strand(&event.body().author), Durable::pretended(Arc::new(event)));
                        ends[n].handle(0, Input::Loaded { peer, load, events: events.into_iter().map(of).collect() });
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        let Some(to) = (0..2).find(|n| !wires[*n].is_empty()) else { break };
        let (peer, message) = (peers[1 - to], wires[to].pop_front().unwrap());
        count += 1;
        assert!(count < 100 && !(ends[0].is_over() && ends[1].is_over()), "nothing is said when it is over");
        match message {
            Message::Frontier { entries, last } => {
                let heads = entries.iter().map(|entry| (strand(&entry.feed), entry.seq));
                let heads = heads.filter(|(of, _)| held[to].keys().any(|feed| strand(feed) == *of)).collect();
                let located = Located { heads, ..Located::default() };
                ends[to].handle(0, Input::Frontier { peer, located, entries: entries.len(), last });
            }
            Message::Held(_) => {}
            Message::Answered => ends[to].handle(0, Input::Answered(peer)),
            Message::Over { heard } => ends[to].over(heard),
            Message::Events(events) => {
                let mut heads = Vec::new();
                for event in events.iter().map(|bytes| Event::decode(bytes).unwrap()) {
                    heads.push((strand(&event.body().author), event.body().seq));
                    got[to].push(event.id());
                    held[to].entry(event.body().author).or_default().push(event);
                }
                ends[to].handle(0, Input::Told { peer, heads });
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ends.iter().all(Hearing::is_over));
    (got, count)
}

#[test]
fn in_a_hearing_each_gets_what_it_lacks_of_what_is_offered_and_nothing_more() {
    let mut lan = Lan::new(2);
    (0..5).for_each(|at| lan.write(0, at));
    (0..7).for_each(|at| lan.write(1, at));
    let logs = [0, 1].map(|n| lan.nodes[n].log.clone());
    let ids =
        |n: usize, count: usize| -> Vec<EventId> { logs[n][&lan.peer(n)][..count].iter().map(Event::id).collect() };
    let up_to = |n: usize, count: usize| {
        let mut offered = Frontier::default();
        let last = &logs[n][&lan.peer(n)][count - 1];
        offered.set(strand(&lan.peer(n)), lan.peer(n), Head { seq: last.body().seq, id: last.id() });
        offered
    };
    let (got, _) = hear([up_to(0, 3), up_to(1, 5)], [&logs[0], &logs[1]]);
    assert_eq!(got, [ids(1, 5), ids(0, 3)]);
    // Nothing to tell on either side, or on both.
    assert_eq!(hear([Frontier::default(), up_to(1, 1)], [&logs[0], &logs[1]]).0, [ids(1, 1), vec![]]);
    let (got, messages) = hear([Frontier::default(), Frontier::default()], [&logs[0], &logs[1]]);
    assert_eq!((got, messages), ([vec![], vec![]], 8), "a frontier, its answer and two ends each");
}
