//! A log of format 1: events whole, by feed, and nothing of the state. It is only read, to be written anew.

use std::path::{Path, PathBuf};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::guard::guarded;
use super::{CACHE_BYTES, StoreError, check, opening};
use crate::eventlog::Event;
use crate::id::ProjectId;

/// Its number.
pub(super) const FORMAT: u64 = 1;

/// Key: feed, seq. Value: the event's canonical bytes.
pub(super) const EVENTS: TableDefinition<'static, ([u8; 32], u64), &[u8]> = TableDefinition::new("events-1");
/// Key: hlc, feed (a feed has one event for each hlc). Value: seq.
pub(super) const TIME: TableDefinition<'static, (u64, [u8; 32]), u64> = TableDefinition::new("time-1");

/// A log that an earlier version wrote. While this is held no other process opens it.
#[derive(Debug)]
pub struct OldLog {
    /// What it writes stays in memory.
    pub(super) db: redb::Database,
    pub(super) path: PathBuf,
    pub(super) project: ProjectId,
}

impl OldLog {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        guarded(|| {
            let db = check::copy_on_write(path, CACHE_BYTES, false)?;
            let project = opening::project(&db)?;
            Ok(Self { db, path: path.to_owned(), project })
        })
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// All events in time order, until `each` gives an error.
    pub(super) fn in_time<E: From<StoreError>>(&self, mut each: impl FnMut(Event) -> Result<(), E>) -> Result<(), E> {
        let read = || -> Result<_, StoreError> {
            let read = self.db.begin_read()?;
            Ok((read.open_table(EVENTS)?, read.open_table(TIME)?))
        };
        let (events, time) = guarded(read)?;
        let mut rows = guarded(|| Ok(time.iter()?))?;
        loop {
            let event = guarded(|| {
                let Some(row) = rows.next() else { return Ok(None) };
                let (key, seq) = row?;
                let bytes = events.get((key.value().1, seq.value()))?;
                let bytes = bytes.ok_or_else(|| StoreError::Corrupt("an index row has no event".to_owned()))?;
                let event = Event::decode_stored(bytes.value());
                event.map(Some).map_err(|error| StoreError::Corrupt(format!("an event is malformed: {error}")))
            })?;
            match event {
                Some(event) => each(event)?,
                None => return Ok(()),
            }
        }
    }
}
