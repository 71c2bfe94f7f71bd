//! One run: a project of some nodes and people, made from a seed, that lives for a while and then comes to rest.

mod happens;
mod trouble;

use std::collections::BTreeMap;

use super::hostile::Hostile;
use super::log::Wire;
use super::net::{Net, Queue, Weather};
use super::node::{Fault, Node, merged};
use super::people;
use super::rng::Rng;
use crate::eventlog::{Lacking, Payload, Role};
use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};
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

    /// What a landing must be, for checks.
    pub(super) fn is_sound(heads: &[ObjectId], tip: ObjectId, new: ObjectId) -> bool {
        merged(heads, tip) == Some(new)
    }
}
