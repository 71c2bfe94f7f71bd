//! Checkpoints as rows by number, against maps in memory.

use std::collections::BTreeMap;

use super::super::tests::PROJECT;
use super::*;
use crate::eventlog::rows::Memory;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers that look like chance, from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn open(path: &Path) -> Arc<Checkpoints> {
    Arc::new(Checkpoints::open(path, PROJECT, u64::MAX).unwrap())
}

fn described(number: u64) -> Checkpoint {
    Checkpoint { events: number, latest: Hlc::new(number, 0), ..Checkpoint::default() }
}

fn check(all: &Arc<Checkpoints>, number: u32, expected: &Rows) {
    let base = all.base(number, &described(u64::from(number)), Arc::new(Memory::default())).unwrap();
    let rows = || expected.iter().map(|(key, value)| (key.clone(), value.clone()));
    let read = |back: bool, key: &[u8], most: usize| {
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            found.len() < most
        };
        if back {
            base.scan_back(Table::Said, key, &mut each);
        } else {
            base.scan(Table::Said, key, &mut each);
        }
        found
    };
    assert!(rows().eq(read(false, &[], usize::MAX)), "{number}");
    assert!(rows().rev().eq(read(true, &[], usize::MAX)), "{number}");
    let mut keys: Vec<Vec<u8>> = expected.keys().cloned().collect();
    keys.extend([vec![1], vec![2, 0], vec![7, 7, 7]]);
    for key in keys {
        assert_eq!(base.get(Table::Said, &key), expected.get(&key).cloned());
        assert!(rows().filter(|(at, _)| *at >= key).take(2).eq(read(false, &key, 2)));
        assert!(rows().rev().filter(|(at, _)| *at < key).take(2).eq(read(true, &key, 2)));
    }
    assert_eq!(base.get(Table::Open, &[1]), None);
    assert!(base.healthy());
}

#[test]
fn each_checkpoint_has_the_rows_of_its_own_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoints.redb");
    let mut dice = Dice(4);
    let mut model: Vec<Rows> = vec![Rows::new()];
    let mut all = open(&path);
    for number in 1..=24_u32 {
        // Mostly on the one before, at times on an older one.
        let parent = if dice.roll(4) == 0 { dice.roll(u64::from(number)) as u32 } else { number - 1 };
        let mut rows = model[parent as usize].clone();
        let mut changed: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for _ in 0..dice.roll(9) {
            let key: Vec<u8> = (0..=dice.roll(3)).map(|_| dice.roll(3) as u8).collect();
            let value = (dice.roll(3) > 0).then(|| vec![number as u8; dice.roll(3) as usize]);
            match &value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(&key),
            };
            changed.insert(key, value);
        }
        let changed = changed.iter().map(|(key, value)| (Table::Said, key.as_slice(), value.as_deref()));
        let parent = Some(parent).filter(|parent| *parent > 0);
        assert_eq!(all.add(parent, &described(u64::from(number)), changed).unwrap(), Some(number));
        model.push(rows);
        if number % 5 == 0 {
            drop(all);
            all = open(&path);
        }
    }
    for (number, rows) in (0..).zip(&model).skip(1) {
        check(&all, number, rows);
    }
    let best = |millis| all.best(Hlc::new(millis, 0)).unwrap().map(|(number, checkpoint)| (number, checkpoint.events));
    assert_eq!([best(1), best(2), best(9), best(1_000)], [None, Some((1, 1)), Some((8, 8)), Some((24, 24))]);
    // The same again is not stored twice.
    let same = all.add(None, &described(30), std::iter::empty()).unwrap();
    assert_eq!(all.add(None, &described(30), std::iter::empty()).unwrap(), same);
}

#[test]
fn what_another_build_or_project_stored_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoints.redb");
    let own = |project| Own { format: 1, program: "0.0.1".to_owned(), project };
    for other in [own(PROJECT), Own { project: ProjectId([1; 32]), ..own(PROJECT) }] {
        let all = open(&path);
        all.add(None, &described(1), std::iter::empty()).unwrap();
        assert!(all.best(Hlc::new(9, 0)).unwrap().is_some());
        let write = all.db().unwrap().begin_write().unwrap();
        write.open_table(OWN).unwrap().insert((), crate::codec::encode(&other).as_slice()).unwrap();
        write.commit().unwrap();
        drop(all);
        assert!(open(&path).best(Hlc::new(9, 0)).unwrap().is_none());
    }
}

#[test]
fn where_there_is_no_room_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let all = Checkpoints::open(&dir.path().join("checkpoints.redb"), PROJECT, 1).unwrap();
    assert_eq!(all.add(None, &described(1), std::iter::empty()).unwrap(), None);
    assert!(all.best(Hlc::new(9, 0)).unwrap().is_none());
}
