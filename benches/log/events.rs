//! A log like those of real life: proposals, approvals and landings by many feeds, truly signed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use lansync::eventlog::{
    Ack, Approve, Certify, Draft, Event, Extensions, Genesis, Land, Payload, Policy, Propose, Reject,
};
use lansync::hlc::Hlc;
use lansync::id::{BranchName, EventId, Handle, Lid, ObjectId, ProjectId};
use lansync::keys::{FeedKey, IdentityKey, Secret};

/// How many feeds write.
const FEEDS: usize = 100;
/// When it begins.
pub(crate) const START: u64 = 1_800_000_000_000;
/// Milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;
/// Between two events.
const STEP: u64 = 3_600;

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
    approved: VecDeque<(Revision, EventId, usize)>,
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
            approved: VecDeque::new(),
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

    fn say(&mut self, who: usize, refs: Vec<EventId>, payload: Payload) -> Event {
        let other = (who + 1 + self.below(FEEDS - 1)) % FEEDS;
        let seen = self.feeds[other].1.into_iter().collect();
        let (seq, prev) = self.feeds[who];
        let hlc = Hlc::new(START + self.written * STEP, 0);
        let draft = Draft { project: project(), seq, prev, hlc, seen, refs, payload };
        let event = draft.sign(&self.keys[who].0, &self.keys[who].1).expect("within all bounds");
        self.feeds[who] = (seq + 1, Some(event.id()));
        self.written += 1;
        event
    }

    fn next(&mut self) -> Event {
        let none = Extensions::default;
        let who = self.written as usize;
        if who == 0 {
            let event = self.say(0, vec![], Payload::Genesis(genesis()));
            let lid = genesis().landing(&main()).expect("it founds main").lid(&project());
            self.landed = (event.id(), lid);
            return event;
        }
        if who < FEEDS {
            let certificate = self.keys[who].1.certify(&project(), &self.keys[who].0.peer());
            let founded = vec![self.landed.0];
            return self.say(who, founded, Payload::Certify(Certify { certificate, extensions: none() }));
        }
        let chance = self.below(100);
        if (45..67).contains(&chance) && !self.open.is_empty() {
            let revision = self.open.pop_front().expect("some");
            let who = (revision.author + 1 + self.below(FEEDS - 1)) % FEEDS;
            let message = if self.below(4) == 0 { "Looks good, thank you.".to_owned() } else { String::new() };
            let approve = Approve {
                revision: revision.id,
                commit: revision.tip,
                onto: vec![self.landed.1],
                message,
                extensions: none(),
            };
            let event = self.say(who, vec![revision.id, self.landed.0], Payload::Approve(approve));
            self.approved.push_back((revision, event.id(), who));
            return event;
        }
        if (67..89).contains(&chance) && !self.approved.is_empty() {
            let (revision, approval, who) = self.approved.pop_front().expect("some");
            let land = Land {
                branch: main(),
                heads: vec![self.landed.1],
                revision: Some(revision.id),
                tip: revision.tip,
                approvals: vec![approval],
                new: self.commit(),
                rules: 1,
                extensions: none(),
            };
            let lid = land.content().lid(&project());
            let event = self.say(who, vec![revision.id, approval, self.landed.0], Payload::Land(land));
            self.landed = (event.id(), lid);
            return event;
        }
        let who = self.below(FEEDS);
        if chance >= 95 && !self.open.is_empty() {
            let revision = self.open[0].id;
            let reason = "This rounds twice; see the test for it.".to_owned();
            return self.say(who, vec![revision], Payload::Reject(Reject { revision, reason, extensions: none() }));
        }
        if chance >= 89 {
            return self.say(who, vec![], Payload::Ack(Ack { extensions: none() }));
        }
        // A proposal, or a new revision of one.
        let older = if self.below(3) == 0 { self.open.pop_back() } else { None };
        let who = older.as_ref().map_or(who, |older| older.author);
        let tip = self.commit();
        let branch = match &older {
            Some(older) => older.branch.clone(),
            None => BranchName::new(format!("fix/rounding-{}", self.written)).expect("a name"),
        };
        let title = "Round amounts of money half to even".to_owned();
        let previous = older.map(|older| older.id);
        let propose = Propose { branch: branch.clone(), target: main(), tip, title, previous, extensions: none() };
        let event = self.say(who, previous.into_iter().collect(), Payload::Propose(propose));
        self.open.push_back(Revision { id: event.id(), tip, branch, author: who });
        event
    }
}

/// The file of `count` events, made if it is not there.
pub(crate) fn made(dir: &Path, count: usize) -> PathBuf {
    let path = dir.join(format!("events-{count}"));
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

    /// The next ones.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            let mut len = [0; 4];
            self.0.read_exact(&mut len).expect("one more");
            let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
            self.0.read_exact(&mut bytes).expect("one more");
            events.push(Event::decode_stored(&bytes).expect("it was signed"));
        }
        events
    }
}

/// Events after those of a file: of each feed the next.
pub(crate) struct More {
    writer: Writer,
}

impl More {
    /// After the `count` events of `path`.
    pub(crate) fn after(path: &Path, count: usize) -> Self {
        let mut writer = Writer::new();
        let mut reader = Reader::open(path);
        for _ in 0..count {
            let event = reader.take(1).remove(0);
            let n = writer.keys.iter().position(|(key, _)| key.peer() == event.body().author);
            // The first of each feed come in order.
            let n = n.expect("one of ours");
            writer.feeds[n] = (event.body().seq + 1, Some(event.id()));
            writer.written += 1;
        }
        writer.landed = (writer.feeds[0].1.expect("written"), Lid([1; 32]));
        Self { writer }
    }

    /// The next.
    pub(crate) fn event(&mut self) -> Event {
        self.writer.next()
    }
}
