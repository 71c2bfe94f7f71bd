//! Earlier states by way of a real log and a real file of stored ones.

use super::*;
use crate::approval::oracle::{arriving, differences};
use crate::eventlog::{Certify, Event, Extensions, Genesis, Grant, Payload, Policy, Propose, Role};
use crate::id::{BranchName, Handle, MemberId};
use crate::keys::{FeedKey, IdentityKey, Secret};

/// A log on disk with its state.
struct Clone {
    _dir: tempfile::TempDir,
    store: Store,
    state: State,
}

impl Clone {
    fn of(first: &State) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("log.redb"), &first.project()).unwrap();
        let state = State::open(first.project(), store.base().unwrap()).unwrap();
        Self { _dir: dir, store, state }
    }

    fn take<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            self.state.take(event.clone()).unwrap();
            assert!(self.state.healthy());
        }
        self.append();
    }

    fn append(&mut self) {
        if let Some(layer) = self.state.begin_append() {
            self.store.append(&layer).unwrap();
            self.state.appended(self.store.base().unwrap());
        }
    }

    fn folding(&self, bound: Hlc, each: u64) -> Folding<'_> {
        Folding { now: &self.state, store: &self.store, bound, each }
    }

    /// How many events are folded for a time, and the digest of what they give.
    fn at(&self, bound: Hlc) -> (u64, [u8; 32]) {
        let folded = self.folding(bound, EACH).fold_somehow(true, |_, _| false).unwrap();
        assert!(folded.state.healthy());
        (folded.events, folded.state.digest())
    }

    /// The same without anything stored.
    fn whole(&self, bound: Hlc) -> (u64, [u8; 32]) {
        let Ok(folded) = self.folding(bound, EACH).fold(None, |_, _| false) else { panic!("it is a whole log") };
        (folded.events, folded.state.digest())
    }
}

const EACH: u64 = 32;
const END: Hlc = Hlc::from_bits(u64::MAX);

/// Someone who writes.
struct Hand {
    feed: FeedKey,
    identity: IdentityKey,
    state: State,
    log: Vec<Event>,
}

impl Hand {
    fn new(n: u8, state: State) -> Self {
        let (feed, identity) = (FeedKey(Secret::from_seed([n; 32])), IdentityKey(Secret::from_seed([n + 100; 32])));
        Self { feed, identity, state, log: Vec::new() }
    }

    fn founder() -> Self {
        let identity = IdentityKey(Secret::from_seed([101; 32]));
        let genesis = Genesis {
            founder: identity.identity(),
            handle: Handle::new("ana").unwrap(),
            founder_name: String::new(),
            name: "payroll".to_owned(),
            nonce: [0; 16],
            tips: vec![(BranchName::new("main").unwrap(), ObjectId::Sha1([9; 20]))],
            roots: vec![ObjectId::Sha1([9; 20])],
            rules: 1,
            policy: Policy { approvals: 1, own_counts: true },
            extensions: Extensions::default(),
        };
        let mut ana = Self::new(1, State::new(genesis.project()));
        ana.write(1_000, Payload::Genesis(genesis));
        ana
    }

    fn write(&mut self, now: Millis, payload: Payload) {
        let mut pen = self.state.pen(&self.feed.peer());
        let event = pen.write(now, payload, Vec::new(), &self.feed, &self.identity).unwrap();
        self.state.take(event.clone()).unwrap();
        self.log.push(event);
    }

    fn propose(&mut self, now: Millis) {
        let propose = Propose {
            branch: BranchName::new(format!("b{now}")).unwrap(),
            target: BranchName::new("main").unwrap(),
            tip: ObjectId::Sha1([now as u8; 20]),
            title: "t".to_owned(),
            previous: None,
            extensions: Extensions::default(),
        };
        self.write(now, Payload::Propose(propose));
    }
}

/// Ana's 200 events, one each 10 ms from 1,000 ms on; and 50 of Bo, who was let in and wrote beside her, one each 30 ms.
fn two() -> (Vec<Event>, Vec<Event>) {
    let mut ana = Hand::founder();
    let bo = IdentityKey(Secret::from_seed([102; 32])).identity();
    let grant = Grant {
        member: MemberId::of(&bo),
        identity: bo,
        handle: Handle::new("bo").unwrap(),
        name: String::new(),
        role: Role::Contributor,
        invite: None,
        extensions: Extensions::default(),
    };
    ana.write(1_010, Payload::Grant(grant));
    let mut bo = Hand::new(2, ana.state.clone());
    for n in 2..200 {
        ana.propose(1_000 + 10 * n);
    }
    let certificate = bo.identity.certify(&bo.state.project(), &bo.feed.peer());
    bo.write(1_015, Payload::Certify(Certify { certificate, extensions: Extensions::default() }));
    for n in 1..50 {
        bo.propose(1_015 + 30 * n);
    }
    (ana.log, bo.log)
}

#[test]
fn an_earlier_time_costs_the_events_since_the_last_stored_state() {
    let (ana, bo) = two();
    let mut clone = Clone::of(&State::new(Hand::founder().state.project()));
    clone.take(&ana);
    let all = clone.whole(END);
    assert_eq!(clone.at(END), all);
    assert_eq!(clone.at(END), (200 % EACH, all.1), "only what came after the last stored state");
    // A time in between: never more than from one stored state to the next.
    for at in [1_000, 1_005, 1_500, 1_630, 2_000, 2_990] {
        let bound = up_to(at).end;
        let (events, digest) = clone.at(bound);
        assert!(events < EACH, "{events} at {at}");
        assert_eq!(digest, clone.whole(bound).1, "{at}");
    }
    // What arrives late is folded onto what is stored, once.
    clone.take(&bo);
    let (events, digest) = clone.at(END);
    assert_eq!((events, digest), (200 % EACH + 50, clone.whole(END).1));
    assert_eq!(clone.at(END), ((200 % EACH + 50) % EACH, digest));
    for at in [1_015, 1_500, 2_000, 2_400] {
        let bound = up_to(at).end;
        let late = bo.iter().filter(|event| event.body().hlc < bound).count() as u64;
        let (events, digest) = clone.at(bound);
        assert!(events < EACH + late, "{events} at {at}");
        assert!(clone.at(bound).0 < EACH, "{at}");
        assert_eq!(digest, clone.whole(bound).1, "{at}");
    }
}

#[test]
fn a_small_log_has_no_file_beside_it() {
    let (ana, _) = two();
    let mut clone = Clone::of(&State::new(Hand::founder().state.project()));
    clone.take(&ana[..EACH as usize - 1]);
    assert_eq!(clone.at(END), clone.whole(END));
    assert!(!clone.store.checkpoints_path().exists());
}

#[test]
fn stored_states_that_are_of_no_use_are_made_anew() {
    let (ana, _) = two();
    let mut clone = Clone::of(&State::new(Hand::founder().state.project()));
    clone.take(&ana);
    let all = clone.whole(END);
    let path = clone.store.checkpoints_path();
    for bytes in [&b""[..], b"no states", &[0; 20_000]] {
        clone.at(END);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(clone.at(END), all);
        assert_eq!(clone.at(END), (200 % EACH, all.1));
    }
    // Another process has it: what it would give is worked out.
    let held = redb::Database::create(&path).unwrap();
    assert_eq!(clone.at(END), all);
    drop(held);
    assert_eq!(clone.at(END).0, 200 % EACH);
    // The log was restored from a backup, and the file beside it was not.
    let mut older = Clone::of(&clone.state);
    older.take(&ana[..100]);
    std::fs::copy(&path, older.store.checkpoints_path()).unwrap();
    assert_eq!(older.at(END), older.whole(END));
    assert_eq!(older.at(END).0, 100 % EACH);
}

/// Wherever a byte of the file is another, what is said is the same.
#[test]
fn damaged_stored_states_never_give_another_answer() {
    let (ana, _) = two();
    let mut clone = Clone::of(&State::new(Hand::founder().state.project()));
    clone.take(&ana);
    let all = clone.whole(END);
    clone.at(END);
    let path = clone.store.checkpoints_path();
    let good = std::fs::read(&path).unwrap();
    let used: Vec<usize> =
        (0..good.len()).step_by(64).filter(|at| good[*at..(*at + 64)].iter().any(|b| *b != 0)).collect();
    let mut anew = 0;
    for part in used.chunks(used.len().div_ceil(60)) {
        let mut bytes = good.clone();
        bytes[part[0] + 17] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        let (events, digest) = clone.at(END);
        anew += u32::from(events == all.0);
        assert_eq!(digest, all.1, "byte {}", part[0]);
    }
    assert!(anew > 10, "some damage was found: {anew}");
    for len in (0..good.len()).step_by(good.len() / 7) {
        std::fs::write(&path, &good[..len]).unwrap();
        assert_eq!(clone.at(END).1, all.1, "{len} bytes");
    }
}

/// Logs with revocations, forks, landings: as they arrive, the state of several times is what the oracle says.
#[test]
fn earlier_states_of_logs_on_disk_agree_with_the_oracle() {
    for seed in 0..2 {
        for (name, project, events, sound) in arriving(seed) {
            let mut clone = Clone::of(&State::new(project));
            for part in events.chunks(12) {
                clone.take(part);
                for (lid, sound) in &sound {
                    clone.state.settle(lid, *sound);
                }
                clone.append();
                let mut held: Vec<Arc<Event>> = Vec::new();
                let mut all = |event| {
                    held.push(event);
                    true
                };
                clone.store.in_time(Hlc::default()..END, &mut all).unwrap();
                for count in [held.len() / 3, held.len() * 2 / 3, held.len()] {
                    let bound = Hlc::from_bits(held[..count].last().map_or(0, |event| event.body().hlc.bits() + 1));
                    let Ok(folded) = clone.folding(bound, 4).fold_somehow(true, |_, _| false) else { panic!("{name}") };
                    let taken: Vec<_> = held.iter().filter(|event| event.body().hlc < bound).cloned().collect();
                    assert_eq!(differences(&folded.state, &taken), Some(Vec::new()), "{name}, {count} events");
                }
            }
        }
    }
}

/// How long the file beside a log is: printed, by hand. `cargo test --lib how_long_stored -- --ignored --nocapture`
#[test]
#[ignore = "it measures"]
#[expect(clippy::print_stdout, reason = "it prints figures")]
fn how_long_stored_states_are() {
    let mut ana = Hand::founder();
    let mut clone = Clone::of(&State::new(ana.state.project()));
    for n in 0..20_000 {
        ana.propose(2_000 + 10 * n);
        if n % 100 == 0 {
            clone.take(&std::mem::take(&mut ana.log));
        }
    }
    let Ok(folded) =
        clone.folding(END, limits::CHECKPOINT_EVENTS).fold(Some(&clone.store.checkpoints().unwrap()), |_, _| false)
    else {
        panic!("it is a whole log")
    };
    drop(folded.state);
    let len = |path: &std::path::Path| std::fs::metadata(path).unwrap().len() / folded.events;
    println!(
        "{} events: log {}, stored states {} bytes each",
        folded.events,
        len(clone.store.path()),
        len(&clone.store.checkpoints_path())
    );
}
