//! The rows that are durable, as the state reads them: one consistent moment of the log.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{ReadOnlyTable, ReadTransaction};

use super::StoreError;
use super::blocks::Reader;
use super::guard::guarded;
use super::tables::{self, ReadRows};
use crate::eventlog::Event;
use crate::eventlog::rows::{Base, Place, Table};
use crate::id::ProjectId;

/// A table of bytes as it was when the transaction that reads it began.
pub(super) type ReadBytes = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Blocks of events that one base keeps in memory, one of a strand: what a revocation judges again is read in the order of
/// time, from all strands by turns. Each is 16 KiB at most, most of the time a base is short-lived.
const KEPT: usize = 128;

/// What was durable at one moment. While it is held the file keeps the pages of that moment.
pub struct StoreBase {
    /// Present until it is dropped.
    tables: Option<Tables>,
    trouble: OnceLock<StoreError>,
}

struct Tables {
    /// `None`: a version that did not know the table began the log, and nothing is in it yet.
    rows: Vec<Option<Box<dyn ReadRows>>>,
    events: Mutex<Reader>,
}

impl std::fmt::Debug for StoreBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreBase").field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

impl StoreBase {
    pub(super) fn new(read: &ReadTransaction, project: ProjectId) -> Result<Self, StoreError> {
        let rows = Table::ALL.iter().map(|table| tables::to_read(read, *table)).collect::<Result<_, _>>()?;
        let tables = Tables { rows, events: Mutex::new(Reader::new(read, project, KEPT)?) };
        Ok(Self { tables: Some(tables), trouble: OnceLock::new() })
    }

    /// The first thing that could not be read; [`Base::healthy`] is false from then on.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.trouble.get()
    }

    fn read<T>(&self, work: impl FnOnce(&Tables) -> Result<Option<T>, StoreError>) -> Option<T> {
        let tables = self.tables.as_ref()?;
        guarded(|| work(tables)).unwrap_or_else(|error| {
            // The first is the cause, later ones follow from it.
            let _ = self.trouble.set(error);
            None
        })
    }
}

impl Tables {
    fn of(&self, table: Table) -> Option<&dyn ReadRows> {
        self.rows[table as usize].as_deref()
    }
}

/// Opens a table of bytes; `None` where there is none of that name.
pub(super) fn if_there(read: &ReadTransaction, table: tables::Bytes) -> Result<Option<ReadBytes>, StoreError> {
    match read.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Base for StoreBase {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.read(|tables| tables.of(table).map_or(Ok(None), |table| table.get(key)))
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|tables| tables.of(table).map(|table| table.scan(from, each)).transpose());
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|tables| tables.of(table).map(|table| table.scan_back(to, each)).transpose());
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.read(|tables| tables.events.lock().unwrap_or_else(PoisonError::into_inner).get(place))
    }

    fn healthy(&self) -> bool {
        self.trouble.get().is_none()
    }
}

impl Drop for StoreBase {
    fn drop(&mut self) {
        let tables = self.tables.take();
        // After a damaged page the end of a transaction may fail as well, and that was said already.
        let _ = guarded(|| {
            drop(tables);
            Ok(())
        });
    }
}
