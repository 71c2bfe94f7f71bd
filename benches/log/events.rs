//! A log like those of real life: proposals, approvals and landings by 100 members, truly signed, in causal order.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lansync::approval::State;
use lansync::eventlog::{
    Ack, Approve, Certify, Draft, Event, Extensions, Genesis, Grant, Land, Payload, Policy, Propose, Reject, Revoke,
    Role, Target,
};
use lansync::hlc::Hlc;
use lansync::id::{BranchName, EventId, Handle, IdentityId, Lid, MemberId, ObjectId, PeerId, ProjectId};
use lansync::keys::{FeedKey, IdentityKey, Secret};

/// How many feeds write.
const FEEDS: usize = 100;
/// Members who may approve, after the founder.
pub(crate) const MAINTAINERS: usize = 20;
/// A contributor who writes more than others.
pub(crate) const BUSY: usize = 50;
/// Proposals that are open at once, about.
const OPEN: usize = 200;
/// When it begins.
pub(crate) const START: u64 = 1_800_000_000_000;
/// Milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;
/// Between two events.
pub(crate) const STEP: u64 = 3_600;

fn genesis() -> Genesis {
    Genesis {
        founder: identity(0).identity(),
        handle: Handle::new("ana").expect("a handle"),
        founder_name: "Ana".to_owned(),
        name: "payroll".to_owned(),
        nonce: [3; 16],
        tips: vec![(main(), ObjectId::Sha1([4; 20]))],
        roots: vec![ObjectId::Sha1([5; 20])],
        rules: 1,
        policy: Policy { approvals: 1, own_counts: true },
        extensions: Extensions::default(),
    }
}

/// The project of all these events.
pub(crate) fn project() -> ProjectId {
    genesis().project()
}

fn main() -> BranchName {
    BranchName::new("main").expect("a name")
}

fn feed(n: usize) -> FeedKey {
    FeedKey(Secret::from_seed([n as u8; 32]))
}

fn identity(n: usize) -> IdentityKey {
    IdentityKey(Secret::from_seed([n as u8 ^ 0x80; 32]))
}

/// A revision on its way.
#[derive(Clone)]
struct Revision {
    id: EventId,
    tip: ObjectId,
    branch: BranchName,
    author: usize,
}

/// Writes events, the same ones each time.
struct Writer {
    keys: Vec<(FeedKey, IdentityKey)>,
    feeds: Vec<(u64, Option<EventId>)>,
    written: u64,
    random: u64,
    open: VecDeque<Revision>,
    /// Approved by whom, who lands it next.
    approved: Option<(Revision, EventId, usize)>,
    granted: Vec<EventId>,
    landed: (EventId, Lid),
}

impl Writer {
    fn new() -> Self {
        Self {
            keys: (0..FEEDS).map(|n| (feed(n), identity(n))).collect(),
            feeds: vec![(0, None); FEEDS],
            written: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            open: VecDeque::new(),
            approved: None,
            granted: Vec::new(),
            landed: (EventId([0; 32]), Lid([0; 32])),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    fn commit(&mut self) -> ObjectId {
        let hash = blake3::hash(&self.random.to_le_bytes());
        self.below(2);
        ObjectId::Sha1(hash.as_bytes()[..20].try_into().expect("20 of 32"))
    }

    /// Somebody's event, who has seen what another wrote last.
    fn say(&mut self, who: usize, refs: Vec<EventId>, payload: Payload) -> Event {
        let other = (who + 1 + self.below(FEEDS - 1)) % FEEDS;
        let seen = self.feeds[other].1.into_iter().collect();
        self.write(who, seen, refs, payload)
    }

    fn write(&mut self, who: usize, seen: Vec<EventId>, refs: Vec<EventId>, payload: Payload) -> Event {
        let (seq, prev) = self.feeds[who];
        let hlc = Hlc::new(START + self.written * STEP, 0);
        let draft = Draft { project: project(), seq, prev, hlc, seen, refs, payload };
        let event = draft.sign(&self.keys[who].0, &self.keys[who].1).expect("within all bounds");
        self.feeds[who] = (seq + 1, Some(event.id()));
        self.written += 1;
        event
    }

    /// The founder lets the others in, who begin their feeds.
    fn found(&mut self, at: usize) -> Event {
        if at == 0 {
            let event = self.write(0, vec![], vec![], Payload::Genesis(genesis()));
            let lid = genesis().landing(&main()).expect("it founds main").lid(&project());
            self.landed = (event.id(), lid);
            return event;
        }
        if at < FEEDS {
            let identity = identity(at).identity();
            let grant = Grant {
                member: MemberId::of(&identity),
                identity,
                handle: Handle::new(format!("member-{at}")).expect("a handle"),
                name: format!("Member {at}"),
                role: if at <= MAINTAINERS { Role::Maintainer } else { Role::Contributor },
                invite: None,
                extensions: Extensions::default(),
            };
            let event = self.write(0, vec![], vec![], Payload::Grant(grant));
            self.granted.push(event.id());
            return event;
        }
        let who = at - FEEDS + 1;
        let certificate = self.keys[who].1.certify(&project(), &self.keys[who].0.peer());
        let last = *self.granted.last().expect("all were granted");
        let certify = Certify { certificate, extensions: Extensions::default() };
        self.write(who, vec![last], vec![], Payload::Certify(certify))
    }

    /// Whose proposal, or small talk, is next: the founder is away after the beginning, and one is busier than others.
    fn somebody(&mut self) -> usize {
        if self.below(100) < 2 { BUSY } else { 1 + self.below(FEEDS - 1) }
    }

    fn next(&mut self) -> Event {
        let none = Extensions::default;
        if self.written < 2 * FEEDS as u64 - 1 {
            return self.found(self.written as usize);
        }
        if let Some((revision, approval, who)) = self.approved.take() {
            return self.land(who, &revision, approval);
        }
        let chance = self.below(78);
        if chance < 22 && !self.open.is_empty() {
            let revision = self.open.pop_front().expect("some");
            let mut who = 1 + self.below(MAINTAINERS);
            if who == revision.author {
                who = who % MAINTAINERS + 1;
            }
            let message = if self.below(4) == 0 { "Looks good, thank you.".to_owned() } else { String::new() };
            let approve = Approve {
                revision: revision.id,
                commit: revision.tip,
                onto: vec![self.landed.1],
                message,
                extensions: none(),
            };
            let event = self.say(who, vec![revision.id, self.landed.0], Payload::Approve(approve));
            self.approved = Some((revision, event.id(), who));
            return event;
        }
        if chance >= 73 && !self.open.is_empty() {
            let (revision, who) = (self.open[0].id, 1 + self.below(MAINTAINERS));
            let reason = "This rounds twice; see the test for it.".to_owned();
            return self.say(who, vec![revision], Payload::Reject(Reject { revision, reason, extensions: none() }));
        }
        if chance >= 67 {
            let who = self.somebody();
            return self.say(who, vec![], Payload::Ack(Ack { extensions: none() }));
        }
        // A proposal, or a new revision of one: a team has only so many open.
        let older = if self.open.len() > OPEN || self.below(2) == 0 { self.open.pop_back() } else { None };
        let who = match &older {
            Some(older) => older.author,
            None => self.somebody(),
        };
        let tip = self.commit();
        let branch = match &older {
            Some(older) => older.branch.clone(),
            None => BranchName::new(format!("fix/rounding-{}", self.written)).expect("a name"),
        };
        let title = "Round amounts of money half to even".to_owned();
        let previous = older.map(|older| older.id);
        let propose = Propose { branch: branch.clone(), target: main(), tip, title, previous, extensions: none() };
        let event = self.say(who, previous.into_iter().collect(), Payload::Propose(propose));
        let at = self.below(self.open.len() + 1);
        self.open.insert(at, Revision { id: event.id(), tip, branch, author: who });
        event
    }

    fn land(&mut self, who: usize, revision: &Revision, approval: EventId) -> Event {
        let land = Land {
            branch: main(),
            heads: vec![self.landed.1],
            revision: Some(revision.id),
            tip: revision.tip,
            approvals: vec![approval],
            new: self.commit(),
            rules: 1,
            extensions: Extensions::default(),
        };
        let lid = land.content().lid(&project());
        let event = self.say(who, vec![revision.id, approval, self.landed.0], Payload::Land(land));
        self.landed = (event.id(), lid);
        event
    }
}

/// The file of `count` events, made if it is not there.
pub(crate) fn made(dir: &Path, count: usize) -> PathBuf {
    let path = dir.join(format!("history-{count}"));
    if path.exists() {
        return path;
    }
    let begun = std::time::Instant::now();
    let beside = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&beside).expect("a file"));
    let mut writer = Writer::new();
    for _ in 0..count {
        let event = writer.next();
        file.write_all(&(event.bytes().len() as u32).to_le_bytes()).expect("written");
        file.write_all(event.bytes()).expect("written");
    }
    file.flush().expect("written");
    std::fs::rename(&beside, &path).expect("renamed");
    eprintln!("{count} events made in {:.0} s", begun.elapsed().as_secs_f64());
    path
}

/// Reads them.
pub(crate) struct Reader(BufReader<File>);

impl Reader {
    /// From the first on.
    pub(crate) fn open(path: &Path) -> Self {
        Self(BufReader::with_capacity(1 << 20, File::open(path).expect("it was made")))
    }

    fn take_one(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).expect("one more");
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        self.0.read_exact(&mut bytes).expect("one more");
        bytes
    }

    /// The next ones as bytes, as many as a message has: at most `count`, of about so many bytes.
    pub(crate) fn take_message(&mut self, count: usize, bytes: usize) -> Vec<Vec<u8>> {
        let (mut message, mut len) = (Vec::new(), 0);
        while message.len() < count && len < bytes {
            let event = self.take_one();
            len += event.len();
            message.push(event);
        }
        message
    }

    /// The next ones.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| Event::decode_stored(&self.take_one()).expect("it was signed")).collect()
    }
}

/// Events after those of a file, each by one who knows all before.
pub(crate) struct More {
    writer: Writer,
}

impl More {
    /// After the events that `state` holds.
    pub(crate) fn after(state: &State) -> Self {
        let mut writer = Writer::new();
        for (n, (key, _)) in writer.keys.iter().enumerate() {
            let head = state.feed_head(&key.peer()).expect("all have begun");
            writer.feeds[n] = (head.seq + 1, Some(head.id));
        }
        // Past the time of all of them.
        writer.written = (state.latest().millis() - START) / STEP + 1;
        let branch = state.branch(&main()).expect("it is canonical");
        let (lid, landing) = &branch.heads[0];
        writer.landed = (landing.first.1, *lid);
        writer.random ^= writer.written << 20;
        Self { writer }
    }

    /// The next.
    pub(crate) fn event(&mut self) -> Event {
        self.writer.next()
    }

    /// The next by one of the feeds `who`: an acknowledgement, or a proposal.
    pub(crate) fn by(&mut self, who: std::ops::Range<usize>) -> Event {
        let who = who.start + self.writer.below(who.len());
        let tip = self.writer.commit();
        let branch = BranchName::new(format!("fix/leap-year-{}", self.writer.written)).expect("a name");
        let title = "Count the days of leap years".to_owned();
        let propose = Propose { branch, target: main(), tip, title, previous: None, extensions: Extensions::default() };
        self.writer.write(who, vec![], vec![], Payload::Propose(propose))
    }

    /// The founder, who was away, takes away what `who` may do: all after their event `pin` is void.
    pub(crate) fn revoke(&mut self, who: usize, pin: EventId) -> Event {
        let revoke = Revoke {
            targets: vec![Target::Member(MemberId::of(&identity(who).identity()))],
            pins: vec![pin],
            reason: "The machine was stolen a month ago.".to_owned(),
            extensions: Extensions::default(),
        };
        self.writer.write(0, vec![], vec![pin], Payload::Revoke(revoke))
    }
}

/// Whose feed each is.
pub(crate) fn identities() -> HashMap<PeerId, IdentityId> {
    (0..FEEDS).map(|n| (feed(n).peer(), identity(n).identity())).collect()
}

/// The key of a feed, by number.
pub(crate) fn peer(n: usize) -> PeerId {
    feed(n).peer()
}
