//! The store of format 1, for the node until that calls the new one. To be deleted then.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use redb::{ReadableDatabase, ReadableTable};

use super::check;
use super::error::StoreError;
use super::format1::{EVENTS, IDS, TIME};
use super::tables::{FORMAT_KEY, META, Note};
use crate::eventlog::{Durable, Event, Frontier, Head, Lacking};
use crate::hlc::Hlc;
use crate::id::{EventId, PeerId, ProjectId};

const FORMAT: u64 = 1;

/// Bytes of pages that redb may keep in memory for one log: a service holds many, and the operating system
/// caches the file as well.
const CACHE_BYTES: usize = 2 << 20;

/// The log of one clone.
pub struct Store {
    /// Absent once the log was closed and could not be opened again.
    db: Option<redb::Database>,
    path: PathBuf,
}

impl Store {
    /// Makes a new log for `project` at `path`.
    ///
    /// # Errors
    /// [`StoreError`], also where a file is there already.
    pub fn create(path: &Path, project: &ProjectId) -> Result<Self, StoreError> {
        if path.exists() {
            return Err(StoreError::Io(format!("{} exists already", path.display())));
        }
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        let write = db.begin_write()?;
        {
            let mut meta = write.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())?;
            meta.insert("project", project.0.as_slice())?;
            write.open_table(EVENTS)?;
            write.open_table(IDS)?;
            write.open_table(TIME)?;
            for note in Note::ALL {
                write.open_table(note.table())?;
            }
        }
        write.commit()?;
        Ok(Self { db: Some(db), path: path.to_owned() })
    }

    /// Opens the log at `path`.
    ///
    /// # Errors
    /// [`StoreError`]; the file is left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        use std::io::Read;
        // redb formats an empty file as a new database; ours is never empty.
        let mut start = [0; 4];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::UnexpectedEof => StoreError::Corrupt("it is empty".to_owned()),
                _ => StoreError::io(&error),
            }
        })?;
        if &start != b"redb" {
            return Err(StoreError::Corrupt("it is not a log".to_owned()));
        }
        let copy = check::copy_on_write(path, CACHE_BYTES, false)?;
        let found = format_of(&copy)?.ok_or_else(|| StoreError::Corrupt("it has no format number".to_owned()))?;
        drop(copy);
        if found > FORMAT {
            return Err(StoreError::TooNew { found, known: FORMAT });
        }
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).open(path)?;
        Ok(Self { db: Some(db), path: path.to_owned() })
    }

    /// Closes the file and opens it again, as must be done after a failed commit.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then of no use until this succeeds.
    pub fn reopen(&mut self, path: &Path) -> Result<(), StoreError> {
        // The lock of the old handle must go first.
        self.db = None;
        *self = Self::open(path)?;
        Ok(())
    }

    fn db(&self) -> Result<&redb::Database, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Io("it is closed".to_owned()))
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The project.
    ///
    /// # Errors
    /// [`StoreError`] where the row cannot be read.
    pub fn project(&self) -> Result<ProjectId, StoreError> {
        let bytes = meta(self.db()?, "project")?.and_then(|bytes| bytes.try_into().ok());
        Ok(ProjectId(bytes.ok_or_else(|| StoreError::Corrupt("it names no project".to_owned()))?))
    }

    /// Appends events in one transaction. Returned only once they are fsynced.
    ///
    /// The caller has checked each against the log (`approval`), in the order given.
    ///
    /// # Errors
    /// [`StoreError::CommitUnknown`] means that they may be durable: open the store afresh before going on.
    pub fn append(&self, events: Vec<Event>) -> Result<Vec<Durable<Event>>, StoreError> {
        let write = self.db()?.begin_write()?;
        {
            let mut by_feed = write.open_table(EVENTS)?;
            let mut by_id = write.open_table(IDS)?;
            let mut by_time = write.open_table(TIME)?;
            for event in &events {
                let body = event.body();
                let place = (body.author.0, body.seq);
                by_feed.insert(place, event.bytes())?;
                by_id.insert(event.id().0, place)?;
                by_time.insert((body.hlc.bits(), body.author.0), body.seq)?;
            }
        }
        write.commit()?;
        Ok(events.into_iter().map(Durable::new).collect())
    }

    /// The heads of all feeds, read from the rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn frontier(&self) -> Result<Frontier, StoreError> {
        let read = self.db()?.begin_read()?;
        let table = read.open_table(EVENTS)?;
        let mut frontier = Frontier::default();
        let mut below = ([0xff; 32], u64::MAX);
        while let Some(row) = table.range(..=below)?.next_back() {
            let (key, value) = row?;
            let (feed, seq) = key.value();
            let event = decode_row(value.value())?;
            frontier.advance(PeerId(feed), Head { seq, id: event.id() });
            let Some(next) = before(feed) else { break };
            below = (next, u64::MAX);
        }
        Ok(frontier)
    }

    /// The event of an id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event(&self, id: &EventId) -> Result<Option<Event>, StoreError> {
        let read = self.db()?.begin_read()?;
        let Some(place) = read.open_table(IDS)?.get(id.0)?.map(|place| place.value()) else { return Ok(None) };
        let row = read.open_table(EVENTS)?.get(place)?;
        row.map(|bytes| decode_row(bytes.value())).transpose()
    }

    /// Events in time order, which extends causality: `each` is called until it returns `false`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_time(&self, range: Range<Hlc>, mut each: impl FnMut(Event) -> bool) -> Result<(), StoreError> {
        let read = self.db()?.begin_read()?;
        let (events, time) = (read.open_table(EVENTS)?, read.open_table(TIME)?);
        for row in time.range((range.start.bits(), [0; 32])..(range.end.bits(), [0; 32]))? {
            let (key, seq) = row?;
            let place = (key.value().1, seq.value());
            let bytes =
                events.get(place)?.ok_or_else(|| StoreError::Corrupt("an index row has no event".to_owned()))?;
            if !each(decode_row(bytes.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// What a peer lacks, durable, in (hlc, author, seq) order across feeds, at most about `limit` bytes.
    /// Asked again with what was sent taken off, it goes on where it stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lacking(&self, lacking: &[Lacking], limit: usize) -> Result<Vec<Durable<Event>>, StoreError> {
        let read = self.db()?.begin_read()?;
        let table = read.open_table(EVENTS)?;
        let load = |feed: PeerId, seq: u64| -> Result<Event, StoreError> {
            let row = table.get((feed.0, seq))?;
            let row =
                row.ok_or_else(|| StoreError::Corrupt(format!("event {seq} of feed {} is missing", feed.short())))?;
            decode_row(row.value())
        };
        // The smallest of each feed's next event, again and again: a merge of sorted feeds.
        let mut next = BTreeMap::new();
        for lacking in lacking {
            let event = load(lacking.feed, lacking.from)?;
            next.insert(event.order(), (event, lacking.to));
        }
        let (mut out, mut bytes) = (Vec::new(), 0);
        while let Some((_, (event, to))) = next.pop_first() {
            bytes += event.bytes().len();
            if bytes > limit && !out.is_empty() {
                break;
            }
            if event.body().seq < to {
                let following = load(event.body().author, event.body().seq + 1)?;
                next.insert(following.order(), (following, to));
            }
            out.push(Durable::new(event));
        }
        Ok(out)
    }

    /// All rows of what this clone alone remembers under `note`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes(&self, note: Note) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let read = self.db()?.begin_read()?;
        let table = read.open_table(note.table())?;
        table
            .iter()?
            .map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
            .collect::<Result<_, _>>()
            .map_err(Into::into)
    }

    /// Sets (`Some`) or deletes (`None`) rows under `note`, durably, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remember(&self, note: Note, rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let write = self.db()?.begin_write()?;
        {
            let mut table = write.open_table(note.table())?;
            for (key, value) in rows {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn meta(db: &redb::Database, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let read = db.begin_read()?;
    let value = read.open_table(META)?.get(key)?.map(|value| value.value().to_vec());
    Ok(value)
}

fn format_of(db: &redb::Database) -> Result<Option<u64>, StoreError> {
    let Some(bytes) = meta(db, FORMAT_KEY)? else { return Ok(None) };
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("its format number is malformed".to_owned()))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

fn decode_row(bytes: &[u8]) -> Result<Event, StoreError> {
    Event::decode_stored(bytes).map_err(|error| StoreError::Corrupt(format!("an event is malformed: {error}")))
}

/// The key just below `feed`.
fn before(mut feed: [u8; 32]) -> Option<[u8; 32]> {
    for byte in feed.iter_mut().rev() {
        if *byte > 0 {
            *byte -= 1;
            return Some(feed);
        }
        *byte = 0xff;
    }
    None
}
