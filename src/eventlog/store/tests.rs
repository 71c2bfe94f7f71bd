use std::collections::HashMap;

use redb::ReadableTableMetadata;

use super::*;
use crate::eventlog::rows::{Base, EventRow, Memory, Place, Rows, Table};
use crate::eventlog::{
    Ack, Approve, Certify, Draft, Extensions, Genesis, Grant, Head, Kind, Land, Payload, Policy, Propose, Reject, Role,
    Withdraw,
};
use crate::eventlog::{Event, Lacking};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Handle, MemberId, ObjectId, PeerId};
use crate::keys::{FeedKey, IdentityKey, Secret};

pub(super) const PROJECT: ProjectId = ProjectId([9; 32]);
/// A log of format 1 with the events of `sample`, made by the last build that wrote it.
const FORMAT1: &[u8] = include_bytes!("../../../tests/data/log-format-1.redb");

pub(super) fn feed(n: u8) -> FeedKey {
    FeedKey(Secret::from_seed([n; 32]))
}

fn event(key: &FeedKey, seq: u64, prev: Option<EventId>, hlc: Hlc) -> Event {
    let payload = Payload::Propose(Propose {
        branch: BranchName::new("fix").unwrap(),
        target: BranchName::new("main").unwrap(),
        tip: ObjectId::Sha1([seq as u8; 20]),
        title: "Fix rounding".to_owned(),
        previous: None,
        extensions: Extensions::default(),
    });
    let draft = Draft { project: PROJECT, seq, prev, hlc, seen: vec![], refs: vec![], payload };
    draft.sign(key, &IdentityKey(Secret::from_seed([1; 32]))).unwrap()
}

pub(super) fn chain(key: &FeedKey, len: u64, start: u64, step: u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for seq in 0..len {
        let prev = events.last().map(Event::id);
        events.push(event(key, seq, prev, Hlc::new(start + seq * step, 0)));
    }
    events
}

/// What a state would write of events: a strand for each feed, and where each event is.
#[derive(Default)]
pub(super) struct Fold {
    strands: HashMap<PeerId, u32>,
}

impl Fold {
    pub(super) fn layer<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Arc<Layer> {
        let mut rows = Rows::new(Arc::new(Memory::default()));
        for event in events {
            let body = event.body();
            let next = self.strands.len() as u32;
            let strand = *self.strands.entry(body.author).or_insert(next);
            if strand == next {
                let row = [body.author.0.as_slice(), b"row"].concat();
                rows.put(Table::Strands, strand.to_be_bytes(), row);
            }
            let place = Place { strand, seq: body.seq };
            let row =
                EventRow { place, hlc: body.hlc.bits(), kind: body.kind.0, past: 1, flags: 0, about: 0, sight: 0 };
            rows.put_event(event.id(), row);
            rows.add(place, Arc::new(event.clone()));
        }
        rows.begin_append().unwrap()
    }
}

fn ready(path: &Path) -> Store {
    match Store::open(path).unwrap() {
        Opened::Ready(store) => store,
        Opened::NeedsFold(_) => panic!("it is of this format"),
    }
}

fn all(store: &Store) -> Vec<Event> {
    let mut events = Vec::new();
    store
        .in_time(Hlc::default()..Hlc::from_bits(u64::MAX), |event| {
            events.push(Event::clone(&event));
            true
        })
        .unwrap();
    events
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let (a, b) = (chain(&feed(1), 50, 100, 10), chain(&feed(2), 3, 105, 10));
    {
        let mut fold = Fold::default();
        let mut store = Store::create(&path, &PROJECT).unwrap();
        let durable = store.append(&fold.layer(a[..30].iter().chain(&b))).unwrap();
        assert!(
            durable.iter().map(|(_, event)| event.get().as_ref()).eq(a[..30].iter().chain(&b)),
            "in the order of the layer"
        );
        store.append(&fold.layer(&a[30..])).unwrap();
        store.remember(Note::Branches, &[(b"main".to_vec(), Some(b"x".to_vec()))]).unwrap();
        store.reopen().unwrap();
        assert_eq!(all(&store).len(), 53);
    }
    let store = ready(&path);
    assert_eq!(store.project(), PROJECT);
    assert_eq!(store.event(&a[33].id()).unwrap().as_deref(), Some(&a[33]));
    assert_eq!(store.event(&EventId([7; 32])).unwrap(), None);
    let heads = store.heads().unwrap();
    assert_eq!(heads[&0], (feed(1).peer(), Head { seq: 49, id: a[49].id() }));
    assert_eq!(heads[&1], (feed(2).peer(), Head { seq: 2, id: b[2].id() }));
    assert_eq!(store.notes(Note::Branches).unwrap()[b"main".as_slice()], b"x");
}

#[test]
fn what_a_peer_lacks_comes_in_time_order_and_in_bounded_batches() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    let mut fold = Fold::default();
    store.append(&fold.layer(&chain(&feed(1), 20, 100, 10))).unwrap();
    store.append(&fold.layer(&chain(&feed(2), 20, 105, 10))).unwrap();
    let mut from = [5, 0];
    let mut got = Vec::new();
    loop {
        let spans = [0, 1].map(|strand| Lacking { strand, from: from[strand as usize], to: 19 });
        let batch = store.read(&spans, 1_000).unwrap();
        if batch.is_empty() {
            break;
        }
        assert!(batch.iter().map(|(_, event)| event.get().bytes().len()).sum::<usize>() <= 1_000);
        for (_, event) in batch {
            let event = Event::clone(event.get());
            from[usize::from(event.body().author != feed(1).peer())] = event.body().seq + 1;
            got.push(event);
        }
    }
    assert_eq!(got.len(), 35);
    assert!(got.is_sorted_by_key(Event::order));
    assert!(matches!(store.read(&[Lacking { strand: 0, from: 19, to: 20 }], 1_000_000), Err(StoreError::Corrupt(_))));
}

#[test]
fn a_range_of_time_reads_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    store.append(&Fold::default().layer(&chain(&feed(1), 20, 100, 10))).unwrap();
    let range = || Hlc::new(120, 0)..Hlc::new(150, 0);
    let mut seqs = Vec::new();
    store
        .in_time(range(), |event| {
            seqs.push(event.body().seq);
            true
        })
        .unwrap();
    assert_eq!(seqs, [2, 3, 4]);
    seqs.clear();
    store
        .in_time_back(range(), |event| {
            seqs.push(event.body().seq);
            seqs.len() < 2
        })
        .unwrap();
    assert_eq!(seqs, [4, 3]);
}

#[test]
fn rows_are_those_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    let mut rows = Rows::new(store.base().unwrap());
    for n in [1u8, 3, 5, 7] {
        rows.put(Table::Said, vec![n], vec![n; 3]);
        rows.put(Table::Tips, [n; 20], vec![n; 4]);
    }
    store.append(&rows.begin_append().unwrap()).unwrap();
    let then = store.base().unwrap();
    rows.appended(then.clone());
    rows.delete(Table::Said, vec![3]);
    rows.put(Table::Said, vec![4], vec![4]);
    store.append(&rows.begin_append().unwrap()).unwrap();
    let now = store.base().unwrap();
    let keys = |base: &StoreBase, from: &[u8]| {
        let mut keys = Vec::new();
        base.scan(Table::Said, from, &mut |key, _| {
            keys.push(key[0]);
            true
        });
        keys
    };
    let keys_back = |base: &StoreBase, to: &[u8]| {
        let mut keys = Vec::new();
        base.scan_back(Table::Said, to, &mut |key, _| {
            keys.push(key[0]);
            keys.len() < 3
        });
        keys
    };
    assert_eq!((keys(&then, &[]), keys(&now, &[4])), (vec![1, 3, 5, 7], vec![4, 5, 7]));
    assert_eq!((keys_back(&then, &[]), keys_back(&now, &[5])), (vec![7, 5, 3], vec![4, 1]));
    assert_eq!((then.get(Table::Said, &[3]), now.get(Table::Said, &[3])), (Some(vec![3; 3]), None));
    assert_eq!(now.get(Table::Tips, &[3; 20]), Some(vec![3; 4]));
    // A part of a key is enough to begin with.
    let mut tips = Vec::new();
    now.scan(Table::Tips, &[5], &mut |key, _| {
        tips.push(key[0]);
        true
    });
    now.scan_back(Table::Tips, &[5; 7], &mut |key, _| {
        tips.push(key[0]);
        true
    });
    assert_eq!(tips, [5, 7, 3, 1]);
    assert!(then.healthy() && now.healthy());
}

#[test]
fn what_cannot_be_read_is_said_by_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    let events = chain(&feed(1), 5, 100, 10);
    store.append(&Fold::default().layer(&events)).unwrap();
    let write = store.to_write().unwrap().begin_write().unwrap();
    {
        let mut table = write.open_table(tables::EVENTS).unwrap();
        assert_eq!(table.len().unwrap(), 1, "they share a block");
        let mut block = table.get((0, 0)).unwrap().unwrap().value().to_vec();
        block[100] ^= 1;
        table.insert((0, 0), block.as_slice()).unwrap();
    }
    write.commit().unwrap();
    let base = store.base().unwrap();
    assert_eq!(base.event(Place { strand: 0, seq: 5 }), None);
    assert!(!base.healthy());
    assert!(matches!(base.trouble(), Some(StoreError::Corrupt(_))));
    assert!(matches!(store.event(&events[0].id()), Err(StoreError::Corrupt(_))));
    // A further event does not seal it in.
    let next = event(&feed(1), 5, Some(events[4].id()), Hlc::new(900, 0));
    let mut fold = Fold { strands: [(feed(1).peer(), 0)].into() };
    assert!(matches!(store.append(&fold.layer([&next])), Err(StoreError::Corrupt(_))));
}

#[test]
fn a_place_is_taken_once_and_by_its_own_feed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    let (a, b) = (chain(&feed(1), 5, 100, 10), chain(&feed(2), 7, 100, 10));
    store.append(&Fold::default().layer(&a)).unwrap();
    assert!(matches!(store.append(&Fold::default().layer(&a[4..])), Err(StoreError::Corrupt(_))));
    let mut as_a = Fold { strands: [(feed(2).peer(), 0)].into() };
    assert!(matches!(store.append(&as_a.layer(&b[5..])), Err(StoreError::Corrupt(_))));
    assert_eq!(all(&store), a);
}

#[test]
fn a_branch_of_a_forked_feed_is_a_strand_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    let trunk = chain(&feed(1), 5, 100, 10);
    let mut fold = Fold::default();
    store.append(&fold.layer(&trunk)).unwrap();
    // Event 3 again, with the same time, and another after it.
    let mut rows = Rows::new(store.base().unwrap());
    rows.put(Table::Strands, 1u32.to_be_bytes(), feed(1).peer().0.to_vec());
    let third = event(&feed(1), 3, Some(trunk[2].id()), Hlc::new(130, 0));
    let third = Draft { seen: vec![EventId([8; 32])], ..draft_of(&third) }.sign(&feed(1), &identity()).unwrap();
    let fourth = event(&feed(1), 4, Some(third.id()), Hlc::new(133, 0));
    for event in [&third, &fourth] {
        let (place, body) = (Place { strand: 1, seq: event.body().seq }, event.body());
        rows.add(place, Arc::new(event.clone()));
        let row = EventRow { place, hlc: body.hlc.bits(), kind: body.kind.0, past: 1, flags: 0, about: 0, sight: 0 };
        if event.id() == fourth.id() {
            // Without its row nobody would find it again.
            assert!(matches!(store.append(&Rows::clone(&rows).begin_append().unwrap()), Err(StoreError::Corrupt(_))));
        }
        rows.put_event(event.id(), row);
    }
    store.append(&rows.begin_append().unwrap()).unwrap();
    assert_eq!(all(&store).len(), 7);
    let spans = [Lacking { strand: 0, from: 2, to: 4 }, Lacking { strand: 1, from: 3, to: 4 }];
    let read: Vec<_> =
        store.read(&spans, 100_000).unwrap().into_iter().map(|(_, event)| Event::clone(event.get())).collect();
    assert_eq!(read, [&trunk[2], &trunk[3], &third, &fourth, &trunk[4]].map(Event::clone));
    assert_eq!(store.heads().unwrap()[&1], (feed(1).peer(), Head { seq: 4, id: fourth.id() }));
}

fn identity() -> IdentityKey {
    IdentityKey(Secret::from_seed([1; 32]))
}

fn draft_of(event: &Event) -> Draft {
    let body = event.body().clone();
    Draft {
        project: body.project,
        seq: body.seq,
        prev: body.prev,
        hlc: body.hlc,
        seen: body.seen,
        refs: body.refs,
        payload: event.payload().clone(),
    }
}

#[test]
fn a_foreign_damaged_newer_or_held_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    for foreign in [b"".as_slice(), b"not a log at all, but long enough to look at"] {
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Corrupt(_))));
        assert_eq!(std::fs::read(&path).unwrap(), foreign);
    }
    std::fs::remove_file(&path).unwrap();
    {
        let store = Store::create(&path, &PROJECT).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Locked)));
        assert!(matches!(Store::open_to_read(&path), Err(StoreError::Locked)));
        let write = store.to_write().unwrap().begin_write().unwrap();
        let newer = 99u64.to_be_bytes();
        write.open_table(tables::META).unwrap().insert(tables::FORMAT_KEY, newer.as_slice()).unwrap();
        write.commit().unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    // A large file is not checked whole; it is refused as well.
    for checked in [0, opening::CHECKED_BYTES] {
        let refused = Store::open_checking(&path, checked).unwrap_err();
        assert_eq!(refused.to_string(), "the log has format 99, this lansync knows up to 3");
    }
    assert!(matches!(Store::open_to_read(&path), Err(StoreError::TooNew { found: 99, known: 3 })));
    assert!(std::fs::read(&path).unwrap() == bytes);
    let mut torn = bytes;
    torn.truncate(torn.len() / 2);
    std::fs::write(&path, &torn).unwrap();
    for checked in [0, opening::CHECKED_BYTES] {
        assert!(Store::open_checking(&path, checked).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), torn);
    }
}

#[test]
fn whatever_page_is_damaged_nothing_panics_and_nothing_false_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let events = chain(&feed(1), 400, 100, 10);
    Store::create(&path, &PROJECT).unwrap().append(&Fold::default().layer(&events)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let (mut refused, mut read) = (0, 0);
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        for byte in &mut bytes[page * 4096..(page + 1) * 4096] {
            *byte ^= 0xa5;
        }
        // As a small file it is checked, and refused, or the page is of no use to anybody.
        std::fs::write(&path, &bytes).unwrap();
        let checked = Store::open(&path);
        if checked.is_err() {
            assert!(std::fs::read(&path).unwrap() == bytes, "page {page}");
        }
        let sound = checked.is_ok();
        drop(checked);
        // As a large one it may open, but what is read is what was written, or an error.
        std::fs::write(&path, &bytes).unwrap();
        let Ok(Opened::Ready(store)) = Store::open_checking(&path, 0) else {
            refused += 1;
            continue;
        };
        let mut found = Vec::new();
        let end = store.in_time(Hlc::default()..Hlc::from_bits(u64::MAX), |event| {
            found.push(Event::clone(&event));
            true
        });
        assert!(end.is_err() || found == events || !sound, "page {page}");
        assert!(found.iter().all(|event| events.contains(event)), "page {page}");
        let base = store.base();
        read += usize::from(end.is_ok() && base.is_ok());
    }
    assert!(refused > 0 && read > 0, "{refused} refused, {read} read");
}

#[test]
fn a_log_that_was_closed_is_read_without_writing_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let events = chain(&feed(1), 20, 100, 10);
    Store::create(&path, &PROJECT).unwrap().append(&Fold::default().layer(&events)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    {
        let to_read = || match Store::open_to_read(&path).unwrap() {
            Opened::Ready(store) => store,
            Opened::NeedsFold(_) => panic!("it is of this format"),
        };
        let (one, another) = (to_read(), to_read());
        assert_eq!((all(&one), all(&another)), (events.clone(), events));
        assert!(matches!(one.append(&Layer::default()), Err(StoreError::Io(_))));
        assert!(matches!(Store::open(&path), Err(StoreError::Locked)));
    }
    assert!(std::fs::read(&path).unwrap() == bytes);
}

/// One event of most kinds, as two members would write them.
fn sample() -> Vec<Event> {
    let (ana, bo) = (identity(), IdentityKey(Secret::from_seed([2; 32])));
    let none = Extensions::default;
    let (main, fix) = (BranchName::new("main").unwrap(), BranchName::new("fix").unwrap());
    let (first, tip) = (ObjectId::Sha1([4; 20]), ObjectId::Sha1([5; 20]));
    let genesis = Genesis {
        founder: ana.identity(),
        handle: Handle::new("ana").unwrap(),
        founder_name: "Ana".to_owned(),
        name: "payroll".to_owned(),
        nonce: [3; 16],
        tips: vec![(main.clone(), first)],
        roots: vec![first],
        rules: 1,
        policy: Policy { approvals: 1, own_counts: true },
        extensions: none(),
    };
    let project = genesis.project();
    let lid = genesis.landing(&main).unwrap().lid(&project);
    let mut feeds: [Vec<Event>; 2] = Default::default();
    let mut time = 0;
    let mut say = |who: usize, refs: &[EventId], payload: Payload| -> EventId {
        let (key, identity) = [(feed(1), &ana), (feed(2), &bo)].into_iter().nth(who).unwrap();
        time += 1;
        let seen = feeds[1 - who].last().map(Event::id).into_iter().collect();
        let feed = &mut feeds[who];
        let draft = Draft {
            project,
            seq: feed.len() as u64,
            prev: feed.last().map(Event::id),
            hlc: Hlc::new(1_800_000_000_000 + time, 0),
            seen,
            refs: refs.to_vec(),
            payload,
        };
        feed.push(draft.sign(&key, identity).unwrap());
        feed.last().unwrap().id()
    };
    let founding = say(0, &[], Payload::Genesis(genesis));
    let grant = Grant {
        member: MemberId::of(&bo.identity()),
        identity: bo.identity(),
        handle: Handle::new("bo").unwrap(),
        name: "Bo".to_owned(),
        role: Role::Contributor,
        invite: None,
        extensions: none(),
    };
    let granted = say(0, &[], Payload::Grant(grant));
    let certificate = bo.certify(&project, &feed(2).peer());
    say(1, &[granted], Payload::Certify(Certify { certificate, extensions: none() }));
    let propose = |title: &str, previous| {
        let (branch, target, title) = (fix.clone(), main.clone(), title.to_owned());
        Payload::Propose(Propose { branch, target, tip, title, previous, extensions: none() })
    };
    let older = say(1, &[], propose("Fix", None));
    let reason = "Not yet.".to_owned();
    say(0, &[older], Payload::Reject(Reject { revision: older, reason, extensions: none() }));
    let revision = say(1, &[older], propose("Fix rounding", Some(older)));
    let message = "Good.".to_owned();
    let approve = Approve { revision, commit: tip, onto: vec![lid], message, extensions: none() };
    let approval = say(0, &[revision, founding], Payload::Approve(approve));
    let (heads, approvals) = (vec![lid], vec![approval]);
    let landed = Some(revision);
    let land =
        Land { branch: main.clone(), heads, revision: landed, tip, approvals, new: tip, rules: 1, extensions: none() };
    say(0, &[revision, approval, founding], Payload::Land(land));
    let other = say(1, &[], propose("Another", None));
    say(1, &[other], Payload::Withdraw(Withdraw { revision: other, extensions: none() }));
    say(0, &[], Payload::Unknown(Kind(0o7770), b"from later".to_vec()));
    say(1, &[], Payload::Ack(Ack { extensions: none() }));
    let mut events = feeds.concat();
    events.sort_by_key(Event::order);
    events
}

#[test]
fn a_log_of_format_1_opens_with_the_same_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    std::fs::write(&path, FORMAT1).unwrap();
    let old = || match Store::open(&path).unwrap() {
        Opened::NeedsFold(old) => old,
        Opened::Ready(_) => panic!("it is of format 1"),
    };
    // It is held meanwhile, and one that is given up leaves it as it was.
    let held = old();
    assert!(matches!(Store::open(&path), Err(StoreError::Locked)));
    let given_up = held.migrate(|_, _| Err(StoreError::Full));
    assert!(matches!(given_up, Err(StoreError::Full)));
    assert!(std::fs::read(&path).unwrap() == FORMAT1);
    // Ended half way: what was written beside is of no use.
    std::fs::write(dir.path().join("log.redb.new"), b"half of it").unwrap();
    let mut fold = Fold::default();
    let mut called = 0;
    let store = old()
        .migrate(|new, events| {
            assert!(new.base()?.healthy());
            called += 1;
            Ok::<_, StoreError>(fold.layer(&events))
        })
        .unwrap();
    assert_eq!((called, all(&store)), (1, sample()));
    assert_eq!(store.project(), sample()[0].body().project);
    assert_eq!(store.notes(Note::Own).unwrap()[b"peer".as_slice()], feed(1).peer().0);
    assert_eq!(store.notes(Note::Objects).unwrap().len(), 1);
    assert_eq!(store.path(), path);
    drop(store);
    assert_eq!(all(&ready(&path)), sample());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What is on its way to the disk may speak of itself: that it is not there yet is no damage.
#[test]
fn a_strand_that_is_not_there_yet_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    store.append(&Fold::default().layer(&chain(&feed(1), 2, 100, 10))).unwrap();
    let base = store.base().unwrap();
    assert!(base.event(Place { strand: 0, seq: 1 }).is_some());
    assert_eq!([(0, 2), (7, 0)].map(|(strand, seq)| base.event(Place { strand, seq })), [None, None]);
    assert!(base.healthy());
}
