//! A log of format 2: keys had whole hashes, and where each event is stood by its id alone. Its rows are put into the tables
//! of this format, in one transaction: ended at any point before, it is as it was.

use std::collections::HashMap;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::StoreError;
use super::tables::{self, Bytes, FORMAT_KEY, META};
use crate::eventlog::rows::{EventRow, Place, Table, start};
use crate::id::EventId;

/// Its number.
pub(super) const FORMAT: u64 = 2;

/// Event id → strand, seq, hlc, kind, past, flags, about, sight (postcard).
const IDS: Bytes = TableDefinition::new("ids-2");
/// hlc, strand → seq.
const TIME: TableDefinition<'static, (u64, u32), u64> = TableDefinition::new("time-2");
/// Commit, strand, seq → proposal number.
const TIPS: Bytes = TableDefinition::new("tips-2");
/// Landing id → its row, which begins with branch (u8) and hlc.
const LANDINGS: Bytes = TableDefinition::new("landings-2");
/// Landing id, id of a landing on it → empty.
const ABOVE: Bytes = TableDefinition::new("above-2");
/// First 16 bytes of an approval's id, landing id → empty.
const RESTS: Bytes = TableDefinition::new("rests-2");
/// hlc, landing id → empty.
const UNSETTLED: Bytes = TableDefinition::new("unsettled-2");
/// Branch, commit, first 16 bytes of a landing's id (zeros: the objects say so) → empty.
const LANDED: Bytes = TableDefinition::new("landed-2");

/// The part of a landing's id that stood in some keys.
const PART: usize = 16;

/// Rows that are put together into a table whose order is another than that in which they are read.
const TOGETHER: usize = 1 << 16;

/// Makes it a log of this format.
///
/// # Errors
/// [`StoreError`]; nothing is changed then.
pub(super) fn migrate(db: &redb::Database) -> Result<(), StoreError> {
    let old = db.begin_read()?;
    let write = db.begin_write()?;
    for table in Table::ALL {
        tables::make(&write, table)?;
    }
    let mut new = New { write: &write, gathered: HashMap::new() };
    new.events(&old)?;
    new.landings(&old)?;
    new.tips(&old)?;
    drop(old);
    write.delete_table(TIME)?;
    for table in [IDS, TIPS, LANDINGS, ABOVE, RESTS, UNSETTLED, LANDED] {
        write.delete_table(table)?;
    }
    write.open_table(META)?.insert(FORMAT_KEY, tables::FORMAT.to_be_bytes().as_slice())?;
    Ok(write.commit()?)
}

fn malformed(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} of format {FORMAT} is malformed"))
}

/// What ends each of these keys.
fn end<const N: usize>(key: &[u8], what: &str) -> Result<([u8; N], usize), StoreError> {
    let (rest, end) = key.split_last_chunk().ok_or_else(|| malformed(what))?;
    Ok((*end, rest.len()))
}

/// All rows of a table; none where an early log of that format does not have it.
fn each(
    read: &ReadTransaction,
    table: Bytes,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Some(table) = super::base::if_there(read, table)? else { return Ok(()) };
    for row in table.iter()? {
        let (key, value) = row?;
        each(key.value(), value.value())?;
    }
    Ok(())
}

/// Key and value.
type Row = (Vec<u8>, Vec<u8>);

struct New<'a> {
    write: &'a redb::WriteTransaction,
    /// Rows to be put, in the order of their keys once there are many.
    gathered: HashMap<Table, Vec<Row>>,
}

impl New<'_> {
    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let rows = self.gathered.entry(table).or_default();
        rows.push((key, value));
        if rows.len() >= TOGETHER { self.settle(table) } else { Ok(()) }
    }

    fn settle(&mut self, table: Table) -> Result<(), StoreError> {
        let mut rows = self.gathered.remove(&table).unwrap_or_default();
        rows.sort_unstable();
        tables::change(self.write, table, &mut rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))))
    }

    fn events(&mut self, old: &ReadTransaction) -> Result<(), StoreError> {
        each(old, IDS, |id, row| {
            let id = EventId(id.try_into().map_err(|_| malformed("an event's row"))?);
            let row = read_row(row).ok_or_else(|| malformed("an event's row"))?;
            self.put(Table::Ids, row.id_key(&id).to_vec(), Vec::new())?;
            self.put(Table::Events, row.key().to_vec(), row.encode(&id))
        })?;
        self.settle(Table::Ids)?;
        self.settle(Table::Events)
    }

    fn tips(&mut self, old: &ReadTransaction) -> Result<(), StoreError> {
        each(old, TIPS, |key, number| {
            let (place, commit) = end::<12>(key, "a tip")?;
            let commit = key[..commit].first_chunk::<8>().ok_or_else(|| malformed("a tip"))?;
            self.put(Table::Tips, [&commit[..], &place].concat(), number.to_vec())
        })?;
        self.settle(Table::Tips)
    }

    /// Landings get numbers, in the order of time.
    fn landings(&mut self, old: &ReadTransaction) -> Result<(), StoreError> {
        let mut lids: Vec<(u64, [u8; 32])> = Vec::new();
        each(old, LANDINGS, |lid, row| {
            let lid = lid.try_into().map_err(|_| malformed("a landing"))?;
            let ((_, hlc), _): ((u8, u64), _) = postcard::take_from_bytes(row).map_err(|_| malformed("a landing"))?;
            lids.push((hlc, lid));
            Ok(())
        })?;
        lids.sort_unstable();
        let mut numbers: HashMap<[u8; PART], u32> = HashMap::with_capacity(lids.len());
        let rows = super::base::if_there(old, LANDINGS)?;
        for (number, (_, lid)) in (0u32..).zip(&lids) {
            numbers.insert(*lid.first_chunk().ok_or_else(|| malformed("a landing"))?, number);
            let number = number.to_be_bytes();
            let row = rows.as_ref().map(|rows| rows.get(lid.as_slice())).transpose()?.flatten();
            let row = row.ok_or_else(|| malformed("a landing"))?;
            self.put(Table::Lids, [&start(lid)[..], &number].concat(), Vec::new())?;
            self.put(Table::Landings, number.to_vec(), [&lid[..], row.value()].concat())?;
        }
        let number = |part: &[u8], what: &str| {
            let number = part.first_chunk::<PART>().and_then(|part| numbers.get(part));
            number.map(|number| number.to_be_bytes()).ok_or_else(|| malformed(what))
        };
        let ids = super::base::if_there(old, IDS)?;
        each(old, ABOVE, |key, _| {
            let (above, below) = end::<32>(key, "what is on a landing")?;
            let below = number(&key[..below], "what is on a landing")?;
            self.put(Table::Above, [below, number(&above, "what is on a landing")?].concat(), Vec::new())
        })?;
        each(old, RESTS, |key, _| {
            let (lid, approval) = end::<32>(key, "what rests on an approval")?;
            let (number, approval) = (number(&lid, "what rests on an approval")?, &key[..approval]);
            for place in ids.as_ref().map_or_else(|| Ok(Vec::new()), |ids| places(ids, approval))? {
                let place = [&place.strand.to_be_bytes()[..], &place.seq.to_be_bytes()].concat();
                self.put(Table::Rests, [&place[..], &number].concat(), Vec::new())?;
            }
            Ok(())
        })?;
        each(old, UNSETTLED, |key, _| {
            let (lid, hlc) = end::<32>(key, "a landing to recompute")?;
            let key = [&key[..hlc], &number(&lid, "a landing to recompute")?].concat();
            self.put(Table::Unsettled, key, Vec::new())
        })?;
        each(old, LANDED, |key, _| {
            let (part, commit) = end::<PART>(key, "what a branch contains")?;
            let (branch, commit) = key[..commit].split_first().ok_or_else(|| malformed("what a branch contains"))?;
            if part == [0; PART] {
                return self.put(Table::Contained, [&[*branch], commit].concat(), Vec::new());
            }
            let commit = commit.first_chunk::<8>().ok_or_else(|| malformed("what a branch contains"))?;
            let number = number(&part, "what a branch contains")?;
            self.put(Table::Landed, [&[*branch][..], commit, &number].concat(), Vec::new())
        })?;
        let all = [
            Table::Lids,
            Table::Landings,
            Table::Above,
            Table::Rests,
            Table::Unsettled,
            Table::Contained,
            Table::Landed,
        ];
        all.into_iter().try_for_each(|table| self.settle(table))
    }
}

fn read_row(bytes: &[u8]) -> Option<EventRow> {
    let (strand, seq, hlc, kind, past, flags, about, sight) = postcard::from_bytes(bytes).ok()?;
    Some(EventRow { place: Place { strand, seq }, hlc, kind, past, flags, about, sight })
}

/// Where the events are whose ids begin so.
fn places(ids: &super::base::ReadBytes, beginning: &[u8]) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    for row in ids.range::<&[u8]>(beginning..)? {
        let (id, row) = row?;
        if !id.value().starts_with(beginning) {
            break;
        }
        places.push(read_row(row.value()).ok_or_else(|| malformed("an event's row"))?.place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::crash::{Disk, Survived};
    use super::super::{Note, Opened, Store};
    use crate::approval::State;
    use crate::eventlog::rows::{Base, Memory, Table};
    use crate::eventlog::{Event, Payload};
    use crate::hlc::Hlc;
    use crate::id::{BranchName, Lid, ObjectId};

    /// A log with 70 events, among them 21 landings of which 7 are to be recomputed, revocations and rights that fell, made by the
    /// last build that wrote format 2. The objects said that `main` contains `CONTAINED`.
    const LOG: &[u8] = include_bytes!("../../../tests/data/log-format-2.redb");
    /// The digest of its state, as that build told it.
    const DIGEST: &str = "476862b2a77d623fcc19e60f59c85e5fe2bc5d2a52b85c05545d533ab79b4d96";
    const CONTAINED: ObjectId = ObjectId::Sha1([0xcc; 20]);

    fn digest(state: &State) -> String {
        crate::id::hex(&state.digest())
    }

    fn main() -> BranchName {
        BranchName::new("main").unwrap()
    }

    fn events(store: &Store) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        let each = |event| {
            events.push(event);
            true
        };
        store.in_time(Hlc::default()..Hlc::from_bits(u64::MAX), each).unwrap();
        events
    }

    fn count(base: &dyn Base, table: Table) -> usize {
        let mut rows = 0;
        base.scan(table, &[], &mut |_, _| {
            rows += 1;
            true
        });
        rows
    }

    #[test]
    fn a_log_of_format_2_opens_with_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.redb");
        std::fs::write(&path, LOG).unwrap();
        // Whoever only reads it is the first to open it.
        let Opened::Ready(store) = Store::open_to_read(&path).unwrap() else { panic!("its rows are moved") };
        let base = store.base().unwrap();
        let state = State::open(store.project(), base.clone()).unwrap();
        assert_eq!(digest(&state), DIGEST);
        assert_eq!((state.events(), state.unsettled().len(), events(&store).len()), (70, 7, 70));
        assert_eq!(store.notes(Note::Own).unwrap()[b"peer".as_slice()], [7; 32]);
        // What a fold of the same events makes of them, the objects saying the same.
        let mut fresh = State::new(store.project());
        let mut lids: Vec<Lid> = Vec::new();
        for event in events(&store) {
            assert_eq!(store.event(&event.id()).unwrap().unwrap(), event);
            fresh.take_again(&event).unwrap().unwrap();
            if let Payload::Land(land) = event.payload() {
                lids.push(land.content().lid(&store.project()));
                // Settled from below, so that each comes to what it is here.
                if let Some(sound) = state.landing(&lids[lids.len() - 1]).unwrap().sound {
                    fresh.settle(&lids[lids.len() - 1], sound);
                }
            }
        }
        fresh.contained(&main(), CONTAINED);
        assert!(state.has_landed(&main(), &CONTAINED) && !state.has_landed(&main(), &ObjectId::Sha1([0xcd; 20])));
        assert_eq!(digest(&fresh), DIGEST);
        assert!(lids.len() > 15);
        for lid in &lids {
            assert_eq!(state.landing(lid), fresh.landing(lid));
            assert_eq!(state.carriers(lid).len(), fresh.carriers(lid).len());
        }
        for event in events(&store) {
            assert_eq!(state.is_counting(&event.id()), fresh.is_counting(&event.id()));
            if let Payload::Propose(propose) = event.payload() {
                assert!(state.is_revision(&propose.tip) == fresh.is_revision(&propose.tip));
                assert_eq!(
                    state.has_landed(&propose.target, &propose.tip),
                    fresh.has_landed(&propose.target, &propose.tip)
                );
            }
        }
        assert_eq!(
            format!("{:?}", state.proposals().collect::<Vec<_>>()),
            format!("{:?}", fresh.proposals().collect::<Vec<_>>())
        );
        let mut memory = Memory::default();
        memory.append(&fresh.begin_append().unwrap());
        for table in Table::ALL {
            assert_eq!(count(&*base, table), count(&memory, table), "{table:?}");
        }
        drop((state, base));
        store.close().unwrap();
        let Opened::Ready(store) = Store::open(&path).unwrap() else { panic!("it is of this format") };
        assert_eq!(digest(&State::open(store.project(), store.base().unwrap()).unwrap()), DIGEST);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn wherever_the_disk_stops_a_log_of_format_2_is_whole() {
        let db = redb::Builder::new().create_with_backend(Disk::of(LOG, None)).unwrap();
        let project = super::super::opening::project(&db).unwrap();
        drop(db);
        for bound in 0.. {
            let disk = Disk::of(LOG, Some(bound));
            let done = Store::with_backend(disk.clone(), &project).and_then(Store::close).is_ok();
            for survived in Survived::ALL {
                let store = Store::with_backend(disk.after(survived), &project).unwrap();
                let state = State::open(project, store.base().unwrap()).unwrap();
                assert_eq!(digest(&state), DIGEST, "stopped at {bound}, {survived:?}");
            }
            if done {
                assert!(bound > 10, "it stopped at {bound} places");
                break;
            }
        }
    }
}
