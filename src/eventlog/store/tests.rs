use super::*;
use crate::eventlog::{Draft, Extensions, Kind, Payload, Propose};
use crate::id::{BranchName, ObjectId};
use crate::keys::{FeedKey, IdentityKey, Secret};

const PROJECT: ProjectId = ProjectId([9; 32]);

fn feed(n: u8) -> FeedKey {
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

fn chain(key: &FeedKey, len: u64, start: u64, step: u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for seq in 0..len {
        let prev = events.last().map(Event::id);
        events.push(event(key, seq, prev, Hlc::new(start + seq * step, 0)));
    }
    events
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    let (a, b) = (chain(&feed(1), 5, 100, 10), chain(&feed(2), 3, 105, 10));
    {
        let store = Store::create(&path, &PROJECT).unwrap();
        store.append(a.clone()).unwrap();
        store.append(b.clone()).unwrap();
        store.remember(Note::Branches, &[(b"main".to_vec(), Some(b"x".to_vec()))]).unwrap();
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(store.project().unwrap(), PROJECT);
    assert_eq!(store.event(&a[3].id()).unwrap().as_ref(), Some(&a[3]));
    let frontier = store.frontier().unwrap();
    assert_eq!(frontier.events(), 8);
    assert_eq!(frontier.head(&feed(2).peer()), Some(Head { seq: 2, id: b[2].id() }));
    assert_eq!(store.notes(Note::Branches).unwrap()[b"main".as_slice()], b"x");
}

#[test]
fn what_a_peer_lacks_comes_in_time_order_and_in_bounded_batches() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    store.append(chain(&feed(1), 20, 100, 10)).unwrap();
    store.append(chain(&feed(2), 20, 105, 10)).unwrap();
    let frontier = store.frontier().unwrap();
    let mut theirs = BTreeMap::from([(feed(1).peer(), 4)]);
    let mut got = Vec::new();
    loop {
        let lacking = frontier.lacking(&theirs);
        if lacking.is_empty() {
            break;
        }
        let batch = store.lacking(&lacking, 1_000).unwrap();
        assert!(batch.iter().map(|event| event.get().bytes().len()).sum::<usize>() <= 1_000);
        for event in batch {
            theirs.insert(event.get().body().author, event.get().body().seq);
            got.push(event.into_inner());
        }
    }
    assert_eq!(got.len(), 35);
    assert!(got.is_sorted_by_key(Event::order));
}

#[test]
fn a_range_of_time_reads_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("log.redb"), &PROJECT).unwrap();
    store.append(chain(&feed(1), 20, 100, 10)).unwrap();
    let mut seqs = Vec::new();
    store
        .in_time(Hlc::new(120, 0)..Hlc::new(150, 0), |event| {
            seqs.push(event.body().seq);
            true
        })
        .unwrap();
    assert_eq!(seqs, [2, 3, 4]);
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
        let write = store.db().unwrap().begin_write().unwrap();
        write.open_table(META).unwrap().insert(FORMAT_KEY, 99u64.to_be_bytes().as_slice()).unwrap();
        write.commit().unwrap();
    }
    assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 99, known: 1 })));
    let mut torn = std::fs::read(&path).unwrap();
    torn.truncate(torn.len() / 2);
    std::fs::write(&path, &torn).unwrap();
    assert!(Store::open(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), torn);
}

#[test]
fn stored_events_read_back_byte_for_byte_whatever_their_kind() {
    let draft = Draft {
        project: PROJECT,
        seq: 0,
        prev: None,
        hlc: Hlc::new(1, 0),
        seen: vec![EventId([3; 32]), EventId([2; 32])],
        refs: vec![EventId([2; 32])],
        payload: Payload::Unknown(Kind(0o7777), b"from a later version".to_vec()),
    };
    let signed = draft.sign(&feed(1), &IdentityKey(Secret::from_seed([1; 32]))).unwrap();
    assert_eq!(Event::decode(signed.bytes()).unwrap(), signed);
    assert_eq!(signed.body().seen, [EventId([3; 32])], "an id in refs is not named twice");
    assert_eq!(signed.body().kind.name(), None);
}
