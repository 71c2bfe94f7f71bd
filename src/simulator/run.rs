//! One run: a project of some nodes and people, made from a seed, that lives for a while and then comes to rest.

use std::collections::BTreeMap;

use super::hostile::Hostile;
use super::log::Wire;
use super::net::{Net, Queue, Weather};
use super::node::{Do, Fault, Node, merged};
use super::people;
use super::rng::Rng;
use crate::eventlog::{Lacking, Payload, Role, Target};
use crate::hlc::Millis;
use crate::id::{MemberId, ObjectId, PeerId};
use crate::limits;
use crate::sync::{Input, Message};

/// When runs begin: after the date before which nothing is written.
const START: Millis = limits::BUILD_MILLIS + 40 * 24 * 3_600_000;
/// A run that has not come to rest after so many steps never will.
const STEPS: u64 = 300_000;

#[derive(Debug)]
enum What {
    /// Both try to meet.
    Meet(usize, usize),
    /// A session begins at its first end, with what the second said of itself.
    Up {
        at: usize,
        of: usize,
        session: u64,
        /// `None` where it is a hearing.
        digest: Option<[u8; 32]>,
    },
    Down {
        at: usize,
        of: usize,
        session: u64,
    },
    Say {
        from: usize,
        to: usize,
        session: u64,
        message: Message,
    },
    Flushed {
        at: usize,
        of: usize,
        session: u64,
    },
    Load {
        at: usize,
        life: u64,
        of: usize,
        hearing: Option<u64>,
        load: u64,
        lacking: Vec<Lacking>,
    },
    Appended {
        at: usize,
        life: u64,
    },
    Due {
        at: usize,
        life: u64,
    },
    Fetched {
        at: usize,
        life: u64,
        from: usize,
        commit: ObjectId,
    },
    Complete {
        at: usize,
        life: u64,
    },
    Act,
    Trouble,
    Start(usize),
    Heal,
    Clock {
        at: usize,
        offset: i64,
    },
}

/// What a run is made of.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// How many of them lie.
    pub(super) hostile: usize,
    /// Things that people do.
    pub(super) acts: u64,
    /// Things that go wrong.
    pub(super) troubles: u64,
    /// How long they do and go.
    pub(super) span: Millis,
    pub(super) weather: Weather,
    pub(super) fault: Fault,
    pub(super) approvals: u8,
    pub(super) own_counts: bool,
    /// Do members remove each other at once?
    pub(super) duels: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = usize::try_from(rng.between(3, 8)).unwrap_or(3);
        let hour = 3_600_000;
        let span = [hour / 20, hour / 2, 12 * hour, 72 * hour][usize::try_from(rng.below(4)).unwrap_or(0)];
        let slow = [2, 40, 300][usize::try_from(rng.below(3)).unwrap_or(0)];
        Self {
            seed,
            nodes,
            hostile: usize::try_from(rng.below(3)).unwrap_or(0).min(nodes - 2),
            acts: rng.between(15, 60),
            troubles: rng.between(0, 16),
            span,
            weather: Weather {
                latency: (1, slow),
                breaks: [0, 2, 20][usize::try_from(rng.below(3)).unwrap_or(0)],
                bytes_per_ms: [20, 2_000, 100_000][usize::try_from(rng.below(3)).unwrap_or(0)],
            },
            fault: Fault::None,
            approvals: u8::try_from(rng.between(1, 3)).unwrap_or(1),
            own_counts: rng.chance(500),
            duels: rng.chance(300),
        }
    }
}

/// A run under way.
pub(super) struct Sim {
    pub(super) scenario: Scenario,
    pub(super) nodes: Vec<Node>,
    pub(super) lies: BTreeMap<usize, Hostile>,
    /// What was found wrong while it ran.
    pub(super) wrong: Vec<String>,
    pub(super) net: Net,
    pub(super) steps: u64,
    queue: Queue<What>,
    rng: Rng,
    numbers: BTreeMap<PeerId, usize>,
    /// The ends of sessions as each side knows them.
    current: BTreeMap<(usize, usize), u64>,
    due: BTreeMap<usize, Millis>,
    completing: BTreeMap<usize, u64>,
    resting: bool,
}

impl Sim {
    pub(super) fn new(scenario: Scenario) -> Self {
        let genesis = people::genesis(scenario.approvals, scenario.own_counts);
        let (project, wire) = (genesis.project(), Wire::default());
        let mut rng = Rng::new(scenario.seed ^ 0x51e0);
        let mut nodes: Vec<Node> = (0..scenario.nodes).map(|n| Node::new(n, project, wire.clone())).collect();
        let honest = scenario.nodes - scenario.hostile;
        for node in nodes.iter_mut().skip(1).take(honest.saturating_sub(1)) {
            // One of the honest has the fault, if there is one; the others are to notice.
            if scenario.fault != Fault::None {
                node.fault = scenario.fault;
                break;
            }
        }
        let numbers = nodes.iter().enumerate().map(|(n, node)| (node.peer, n)).collect();
        let peers: Vec<PeerId> = nodes.iter().map(|node| node.peer).collect();
        let lie = |n: usize| {
            let ignores = peers.iter().filter(|_| rng.chance(300)).copied().collect();
            (n, Hostile { ignores, withholds_objects: rng.chance(400) })
        };
        let lies = (honest..scenario.nodes).map(lie).collect();
        let net = Net::new(scenario.nodes, scenario.weather);
        let mut sim = Self {
            nodes,
            lies,
            wrong: Vec::new(),
            net,
            steps: 0,
            queue: Queue::new(START),
            rng: Rng::new(scenario.seed),
            numbers,
            current: BTreeMap::new(),
            due: BTreeMap::new(),
            completing: BTreeMap::new(),
            resting: false,
            scenario,
        };
        sim.begin(Payload::Genesis(genesis));
        sim
    }

    fn begin(&mut self, genesis: Payload) {
        let now = self.queue.now;
        for n in 0..self.nodes.len() {
            self.nodes[n].start();
        }
        self.nodes[0].write(now, genesis, Vec::new());
        self.nodes[0].held.insert(ObjectId::Sha1([7; 20]));
        let roles = [Role::Maintainer, Role::Contributor, Role::Maintainer, Role::Contributor, Role::Reader];
        // The last of the honest is a newcomer whom somebody may let in later; those who lie are contributors mostly.
        let newcomer = self.honest().last().copied().filter(|n| *n > 1 && self.rng.chance(500));
        for n in (1..self.nodes.len()).filter(|n| Some(*n) != newcomer) {
            let role = if self.lies.contains_key(&n) && self.rng.chance(600) {
                Role::Contributor
            } else {
                roles[(n - 1) % roles.len()]
            };
            self.nodes[0].write(now, people::grant(n, role), Vec::new());
        }
        for n in 0..self.nodes.len() {
            self.drive(n);
        }
        for _ in 0..self.scenario.acts {
            let wait = self.rng.below(self.scenario.span);
            self.queue.after(wait, What::Act);
        }
        for _ in 0..self.scenario.troubles {
            let wait = self.rng.below(self.scenario.span);
            self.queue.after(wait, What::Trouble);
        }
        self.meet_all();
    }

    /// Nodes that keep to the rules, as far as they know.
    pub(super) fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| !self.lies.contains_key(n)).collect()
    }

    /// Walls go up between the groups.
    pub(super) fn part(&mut self, groups: Vec<u8>) {
        self.net.groups = groups;
        for (a, b) in self.net.cut_off() {
            self.cut(a, b, None);
        }
    }

    /// Lets things happen until all is quiet.
    pub(super) fn rest(&mut self) {
        self.resting = true;
        self.until(Millis::MAX);
    }

    /// Some act, each on what their own node shows, and then rest.
    pub(super) fn each(&mut self, of: &[usize], act: impl Fn(&mut Node, Millis)) {
        for n in of {
            let now = self.queue.now;
            act(&mut self.nodes[*n], now);
            self.nodes[*n].look(now);
            self.drive(*n);
        }
        self.rest();
    }

    /// The walls are gone: everybody meets everybody, as often as said.
    pub(super) fn heal(&mut self, times: usize) {
        self.net.groups.fill(0);
        for _ in 0..times {
            self.meet_all();
            self.rest();
            // In a hearing nobody waits for what is held: it is heard another time, when its time has come.
            let latest =
                self.nodes.iter().flat_map(|node| node.log.order()).map(|event| event.body().hlc.millis()).max();
            self.queue.now = self.queue.now.max(latest.unwrap_or(0));
        }
    }

    /// The whole life, and then until all is quiet.
    pub(super) fn run(&mut self) {
        self.until(START + self.scenario.span);
        self.resting = true;
        self.net.weather.breaks = 0;
        let now = self.queue.now;
        for n in 0..self.nodes.len() {
            if !self.nodes[n].up {
                self.start(n);
            }
            if std::mem::take(&mut self.nodes[n].offset) != 0 {
                self.nodes[n].input(now, Input::AskAgain);
                self.drive(n);
            }
        }
        // Who was not let in before tries again, and who was dropped for a lie of another; what is heard may have a third heard.
        self.heal(3);
    }

    fn until(&mut self, end: Millis) {
        while let Some(what) = self.queue.pop(end) {
            self.steps += 1;
            if self.steps > STEPS {
                self.wrong.push("it does not come to rest".to_owned());
                return;
            }
            self.happens(what);
        }
        self.queue.now = self.queue.now.max(end.min(self.queue.now + self.scenario.span));
    }

    fn meet_all(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let wait = self.rng.below(500);
                self.queue.after(wait, What::Meet(a, b));
            }
        }
    }

    fn happens(&mut self, what: What) {
        let now = self.queue.now;
        match what {
            What::Meet(a, b) => self.meet(a, b),
            What::Up { at, of, session, digest } => {
                if self.net.session(at, of) == Some(session) && self.nodes[at].up {
                    if digest.is_some() && !self.nodes[at].greets(&self.nodes[of]) {
                        // It heard of the other's removal while the hello was under way.
                        return self.cut(at, of, Some(1_000));
                    }
                    if at > of {
                        // The dialled side answers with its hello; what it says next comes after it.
                        let digest = digest.map(|_| self.nodes[at].sync.digest());
                        let Some(arrives) = self.net.carry(&mut self.rng, now, (at, of), session, 300) else {
                            return self.cut(at, of, Some(1_000));
                        };
                        self.queue.after(arrives - now, What::Up { at: of, of: at, session, digest });
                    }
                    let (peer, identity) = (self.nodes[of].peer, self.nodes[of].identity.identity());
                    self.current.insert((at, of), session);
                    match digest {
                        Some(digest) => self.nodes[at].session_up(now, peer, identity, digest),
                        None => self.nodes[at].hearing_up(now, peer, identity, session),
                    }
                    self.drive(at);
                }
            }
            What::Down { at, of, session } => {
                if self.current.get(&(at, of)) == Some(&session) {
                    self.current.remove(&(at, of));
                    let peer = self.nodes[of].peer;
                    self.nodes[at].session_down(now, peer);
                    self.drive(at);
                }
            }
            What::Say { from, to, session, message } => {
                if self.is_current(to, from, session) {
                    let peer = self.nodes[from].peer;
                    self.nodes[to].received(now, peer, message);
                    self.drive(to);
                }
            }
            What::Flushed { at, of, session } => {
                if self.is_current(at, of, session) {
                    let peer = self.nodes[of].peer;
                    self.nodes[at].flushed(now, peer);
                    self.drive(at);
                }
            }
            // It may be for a session that has ended: then the node does not use it.
            What::Load { at, life, of, hearing, load, lacking } if self.lives(at, life) => {
                let limit = if self.nodes[at].fault == Fault::LoadsForAnySession { 400 } else { 4_000 };
                let lacking = self.nodes[at].state.clip(lacking);
                let fails = self.rng.chance(if self.nodes[at].fault == Fault::ForgetsFailedLoads { 400 } else { 10 });
                let events = (!fails).then(|| self.nodes[at].log.lacking(&lacking, limit));
                let peer = self.nodes[of].peer;
                self.nodes[at].loaded(now, peer, hearing, load, events);
                self.drive(at);
            }
            What::Appended { at, life } if self.lives(at, life) => {
                self.nodes[at].appended(now);
                self.drive(at);
            }
            What::Due { at, life } if self.lives(at, life) => {
                self.due.remove(&at);
                self.nodes[at].due(now);
                if self.nodes[at].next_wake().is_some_and(|next| next <= now) {
                    self.wrong.push(format!("node {at} would be woken for ever"));
                }
                self.drive(at);
            }
            What::Fetched { at, life, from, commit } if self.lives(at, life) => {
                let connected = self.net.session(at, from).is_some() && self.nodes[from].up;
                let withheld = self.lies.get(&from).is_some_and(|lie| lie.withholds_objects);
                let came = connected && !withheld && self.nodes[from].held.contains(&commit);
                let peer = self.nodes[from].peer;
                self.nodes[at].fetched(now, peer, commit, came);
                self.drive(at);
            }
            What::Complete { at, life } if self.lives(at, life) => {
                self.completing.remove(&at);
                if !self.lies.contains_key(&at) && self.nodes[at].complete(now) {
                    self.nodes[at].out.push(Do::Complete);
                }
                self.drive(at);
            }
            What::Act => self.act(),
            What::Trouble => self.trouble(),
            What::Start(n) => {
                if !self.nodes[n].up {
                    self.start(n);
                }
            }
            What::Heal => {
                self.net.groups.fill(0);
                self.meet_all();
            }
            What::Clock { at, offset } => self.set_clock(at, offset),
            What::Load { .. }
            | What::Appended { .. }
            | What::Due { .. }
            | What::Fetched { .. }
            | What::Complete { .. } => {}
        }
    }

    fn is_current(&self, at: usize, of: usize, session: u64) -> bool {
        self.nodes[at].up && self.current.get(&(at, of)) == Some(&session)
    }

    fn lives(&self, n: usize, life: u64) -> bool {
        self.nodes[n].up && self.nodes[n].life == life
    }

    pub(super) fn meet(&mut self, a: usize, b: usize) {
        let (one, other) = (&self.nodes[a], &self.nodes[b]);
        if a == b || !one.up || !other.up || !self.net.reaches(a, b) || self.net.session(a, b).is_some() {
            return;
        }
        let (welcome, welcomed) = (one.greets(other), other.greets(one));
        if (welcome || one.hears(other)) && (welcomed || other.hears(one)) {
            self.connect(a, b, !welcome || !welcomed);
        }
    }

    fn connect(&mut self, a: usize, b: usize, hearing: bool) {
        let (low, high) = (a.min(b), a.max(b));
        let (session, latency) = self.net.begin(&mut self.rng, self.queue.now, low, high);
        let digest = (!hearing).then(|| self.nodes[low].sync.digest());
        self.queue.after(latency, What::Up { at: high, of: low, session, digest });
    }

    /// The session is gone; each end notices in its own time.
    fn cut(&mut self, a: usize, b: usize, again: Option<Millis>) {
        let Some(session) = self.net.session(a, b) else { return };
        self.net.end(a, b);
        for (at, of) in [(a, b), (b, a)] {
            let wait = self.rng.below(5_000);
            self.queue.after(wait, What::Down { at, of, session });
        }
        if let Some(wait) = again {
            let wait = wait + self.rng.below(3_000);
            self.queue.after(wait, What::Meet(a, b));
        }
    }

    fn start(&mut self, n: usize) {
        self.nodes[n].start();
        for told in &self.nodes[n].told {
            if !self.nodes[n].log.has(told) {
                let (seq, feed) = (told.seq, told.feed.short());
                self.wrong.push(format!("node {n} told of event {seq} of {feed} and has lost it"));
            }
        }
        self.drive(n);
        for other in 0..self.nodes.len() {
            let wait = self.rng.below(2_000);
            self.queue.after(wait, What::Meet(n, other));
        }
    }

    fn stop(&mut self, n: usize) {
        self.nodes[n].crash();
        self.due.remove(&n);
        self.completing.remove(&n);
        self.current.retain(|(at, _), _| *at != n);
        for other in self.net.neighbours(n) {
            self.cut(n, other, None);
        }
    }

    fn set_clock(&mut self, n: usize, offset: i64) {
        self.nodes[n].offset = offset;
        if self.nodes[n].up {
            let now = self.queue.now;
            self.nodes[n].input(now, Input::AskAgain);
            self.drive(n);
        }
    }

    fn act(&mut self) {
        let n = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        if !self.nodes[n].up {
            return;
        }
        let now = self.queue.now;
        if self.lies.contains_key(&n) && self.rng.chance(700) {
            let neighbours: Vec<PeerId> =
                self.net.neighbours(n).into_iter().map(|other| self.nodes[other].peer).collect();
            self.nodes[n].lie(now, &mut self.rng, &neighbours);
        } else {
            let all: Vec<usize> = (1..self.nodes.len()).collect();
            self.nodes[n].act(now, &mut self.rng, &all);
        }
        if self.scenario.duels && self.rng.chance(60) {
            let ring: Vec<usize> =
                (0..self.nodes.len()).filter(|n| self.nodes[*n].up && self.rng.chance(500)).collect();
            self.duel(&ring);
        }
        self.drive(n);
        if matches!(self.scenario.fault, Fault::TellsTooSoon | Fault::SaysItHolds) || self.rng.chance(60) {
            // The power goes just when something is on its way to the disk.
            let wait = self.rng.below(12);
            self.queue.after(wait, What::Trouble);
        }
    }

    /// Each removes the next, at once and without knowing of the others.
    fn duel(&mut self, ring: &[usize]) {
        let now = self.queue.now;
        for (at, n) in ring.iter().enumerate().filter(|_| ring.len() > 1) {
            let next = MemberId::of(&self.nodes[ring[(at + 1) % ring.len()]].identity.identity());
            let knows = self.rng.chance(700);
            self.nodes[*n].revoke(now, Target::Member(next), knows);
            self.nodes[*n].look(now);
        }
        for n in ring {
            self.drive(*n);
        }
    }

    fn trouble(&mut self) {
        let count = self.nodes.len() as u64;
        let pick = |rng: &mut Rng| usize::try_from(rng.below(count)).unwrap_or(0);
        let n = pick(&mut self.rng);
        let a_while = |rng: &mut Rng, span: Millis| rng.between(1_000, span / 4 + 2_000);
        let wait = a_while(&mut self.rng, self.scenario.span);
        match self.rng.below(10) {
            0..4 => {
                let n = if self.scenario.fault == Fault::None { n } else { 1 };
                if self.nodes[n].up {
                    self.stop(n);
                    self.queue.after(wait, What::Start(n));
                }
            }
            4..6 => {
                let groups = (0..self.nodes.len()).map(|_| u8::from(self.rng.chance(500))).collect();
                self.part(groups);
                self.queue.after(wait, What::Heal);
            }
            6..8 => {
                let far = [30_000, 3_600_000, 50 * 3_600_000][usize::try_from(self.rng.below(3)).unwrap_or(0)];
                let by = i64::try_from(self.rng.below(far)).unwrap_or(0);
                let offset = if self.rng.chance(500) { by } else { -by };
                self.set_clock(n, offset);
                self.queue.after(wait, What::Clock { at: n, offset: 0 });
            }
            8 => {
                let other = pick(&mut self.rng);
                self.cut(n, other, Some(0));
            }
            _ => {
                // Both dialled at once: a second session takes the place of the first.
                let other = pick(&mut self.rng);
                let all_up = self.nodes[n].up && self.nodes[other].up;
                if all_up && self.net.session(n, other).is_some() {
                    self.connect(n, other, false);
                }
            }
        }
    }

    /// Does what a node wants, until it wants nothing more.
    fn drive(&mut self, n: usize) {
        while !self.nodes[n].out.is_empty() {
            for wish in std::mem::take(&mut self.nodes[n].out) {
                self.carry_out(n, wish);
            }
        }
        let node = &self.nodes[n];
        let Some(at) = node.next_wake().filter(|_| node.up) else { return };
        let wait = at.saturating_sub(self.queue.now).max(1);
        let when = self.queue.now + wait;
        if self.due.get(&n).is_none_or(|due| *due > when) {
            self.due.insert(n, when);
            self.queue.after(wait, What::Due { at: n, life: node.life });
        }
    }

    fn carry_out(&mut self, n: usize, wish: Do) {
        let life = self.nodes[n].life;
        match wish {
            Do::Say { peer, message, flush } => {
                let to = self.numbers[&peer];
                let Some(session) = self.current.get(&(n, to)).copied() else { return };
                if flush {
                    let wait = self.rng.between(1, 4);
                    self.queue.after(wait, What::Flushed { at: n, of: to, session });
                }
                let lie = self.lies.get(&n);
                let hidden = match &message {
                    Message::Events(_) => lie.is_some_and(|lie| lie.ignores.contains(&peer)),
                    Message::Objects(_) => lie.is_some_and(|lie| lie.withholds_objects),
                    _ => false,
                };
                if hidden {
                    return;
                }
                let bytes = message.encode().len() as u64;
                match self.net.carry(&mut self.rng, self.queue.now, (n, to), session, bytes) {
                    Some(at) => {
                        let wait = at - self.queue.now;
                        self.queue.after(wait, What::Say { from: n, to, session, message });
                    }
                    None if self.net.session(n, to) == Some(session) => self.cut(n, to, Some(1_000)),
                    None => {}
                }
            }
            Do::Load { peer, hearing, load, lacking } => {
                let of = self.numbers[&peer];
                // A disk that is busy takes its time.
                let busy = if self.nodes[n].fault == Fault::LoadsForAnySession { 700 } else { 20 };
                let wait = if self.rng.chance(busy) { self.rng.between(1, 8_000) } else { self.rng.between(1, 5) };
                self.queue.after(wait, What::Load { at: n, life, of, hearing, load, lacking });
                if busy > 500 && self.rng.chance(300) {
                    self.cut(n, of, Some(0));
                }
            }
            Do::Append => {
                let wait = self.rng.between(1, 25);
                self.queue.after(wait, What::Appended { at: n, life });
            }
            Do::Drop { peer, why } => {
                let other = self.numbers[&peer];
                if !self.lies.contains_key(&n) && !self.lies.contains_key(&other) {
                    self.wrong.push(format!("node {n} dropped node {other}, which is honest: {why}"));
                }
                self.current.remove(&(n, other));
                let now = self.queue.now;
                self.nodes[n].session_down(now, peer);
                let again = (!self.resting).then_some(60_000);
                self.cut(n, other, again);
            }
            wish @ (Do::Leave(peer) | Do::Heard(peer)) => {
                // Sooner in life; who was heard has little more to say.
                let wait = if matches!(wish, Do::Heard(_)) { 3_600_000 } else { 60_000 };
                let other = self.numbers[&peer];
                self.current.remove(&(n, other));
                let now = self.queue.now;
                self.nodes[n].session_down(now, peer);
                self.cut(n, other, (!self.resting).then_some(wait));
            }
            Do::Fetch { commit, from } => {
                let wait = self.rng.between(2, 200);
                let from = self.numbers[&from];
                self.queue.after(wait, What::Fetched { at: n, life, from, commit });
            }
            Do::Complete => {
                if self.completing.get(&n) != Some(&life) {
                    self.completing.insert(n, life);
                    let wait = 2_000 + 500 * self.rng.below(self.nodes.len() as u64);
                    self.queue.after(wait, What::Complete { at: n, life });
                }
            }
        }
    }

    /// What a landing must be, for checks.
    pub(super) fn is_sound(heads: &[ObjectId], tip: ObjectId, new: ObjectId) -> bool {
        merged(heads, tip) == Some(new)
    }
}
