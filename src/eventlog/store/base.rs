//! The rows that are durable, as the state reads them: one consistent moment of the log.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{ReadOnlyTable, ReadTransaction};

use super::StoreError;
use super::blocks::Reader;
use super::guard::{called_back, guarded};
use super::tables;
use crate::eventlog::Event;
use crate::eventlog::rows::{Base, Place, Table};
use crate::id::ProjectId;

/// A table of bytes as it was when the transaction that reads it began.
type ReadBytes = ReadOnlyTable<&'static [u8], &'static [u8]>;

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
    rows: Vec<Option<ReadBytes>>,
    events: Mutex<Reader>,
}

impl std::fmt::Debug for StoreBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreBase").field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

impl StoreBase {
    pub(super) fn new(read: &ReadTransaction, project: ProjectId) -> Result<Self, StoreError> {
        let rows = Table::ALL.iter().map(|table| if_there(read, tables::rows(*table))).collect::<Result<_, _>>()?;
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
    fn of(&self, table: Table) -> Option<&ReadBytes> {
        self.rows[table as usize].as_ref()
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
        self.read(|tables| match tables.of(table) {
            Some(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            None => Ok(None),
        })
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|tables| {
            let Some(table) = tables.of(table) else { return Ok(Some(())) };
            for row in table.range::<&[u8]>(from..)? {
                let (key, value) = row?;
                if !called_back(|| each(key.value(), value.value())) {
                    break;
                }
            }
            Ok(Some(()))
        });
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|tables| {
            let Some(table) = tables.of(table) else { return Ok(Some(())) };
            let range = if to.is_empty() { table.range::<&[u8]>(..)? } else { table.range::<&[u8]>(..to)? };
            for row in range.rev() {
                let (key, value) = row?;
                if !called_back(|| each(key.value(), value.value())) {
                    break;
                }
            }
            Ok(Some(()))
        });
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
