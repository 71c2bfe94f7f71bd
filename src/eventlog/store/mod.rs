//! The log in redb: append durably, read by place, id and time, and what this clone alone remembers.
//!
//! Events, their order in time and the state's rows are written in one transaction, so they always agree. One writer holds
//! the file; while a node runs no other process can open it, so commands ask the node.

mod base;
mod blocks;
mod check;
mod checkpoints;
mod error;
mod format1;
mod format2;
mod guard;
mod migrations;
mod opening;
mod reading;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

pub use base::StoreBase;
pub use checkpoints::Checkpoints;
pub use error::StoreError;
pub use format1::OldLog;
use guard::guarded;
pub use migrations::Opened;
pub use tables::Note;

use super::rows::Layer;
use super::{Durable, OnStrand};
use crate::id::ProjectId;

/// Bytes of pages that redb may keep in memory for one log: a service holds many, and the operating system
/// caches the file as well.
const CACHE_BYTES: usize = 2 << 20;

/// The log of one clone.
pub struct Store {
    /// Absent once the log was closed and could not be opened again.
    db: Option<Handle>,
    path: PathBuf,
    project: ProjectId,
    checkpoints: checkpoints::Shared,
}

/// An open file.
enum Handle {
    ToWrite(redb::Database),
    ToRead(redb::ReadOnlyDatabase),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Closes the file and opens it again, as must be done after a failed commit.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then of no use until this succeeds.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        // The lock of the old handle must go first.
        self.let_go();
        match Self::open(&self.path)? {
            Opened::Ready(mut store) => {
                self.db = store.db.take();
                Ok(())
            }
            Opened::NeedsFold(_) => Err(StoreError::Corrupt("it was replaced by an older one".to_owned())),
        }
    }

    /// Gives back to the file system what the file has in excess. That moves pages, so it takes seconds where much was
    /// imported, and no base of this store may be held meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is lost.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let Some(Handle::ToWrite(db)) = &mut self.db else { return Ok(()) };
        guarded(|| {
            db.compact()?;
            Ok(())
        })
    }

    /// Closes the file in order, so that the next open need not look at all of it. A dropped store does the same, and says
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError`] where that could not be written; what was appended is durable all the same.
    pub fn close(mut self) -> Result<(), StoreError> {
        match self.db.take() {
            Some(Handle::ToWrite(db)) => guarded(|| Ok(db.close()?)),
            Some(Handle::ToRead(db)) => guarded(|| Ok(db.close()?)),
            None => Ok(()),
        }
    }

    fn let_go(&mut self) {
        let db = self.db.take();
        // A damaged page may make this fail as well; the next open finds it.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }

    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(match &self.db {
            Some(Handle::ToWrite(db)) => db.begin_read()?,
            Some(Handle::ToRead(db)) => db.begin_read()?,
            None => return Err(StoreError::Io("it is closed".to_owned())),
        })
    }

    fn to_write(&self) -> Result<&redb::Database, StoreError> {
        match &self.db {
            Some(Handle::ToWrite(db)) => Ok(db),
            Some(Handle::ToRead(_)) => Err(StoreError::Io("it was opened only to be read".to_owned())),
            None => Err(StoreError::Io("it is closed".to_owned())),
        }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Writes a layer in one transaction: its events with their places, and its rows. Returned, in the layer's order, with
    /// their strands, only once they are fsynced. The row of each event's strand is in the layer or there already.
    ///
    /// The caller has checked each event against the log (`approval`).
    ///
    /// # Errors
    /// [`StoreError::CommitUnknown`] means that they may be durable: open the store afresh before going on.
    pub fn append(&self, layer: &Layer) -> Result<Vec<OnStrand>, StoreError> {
        let db = self.to_write()?;
        guarded(|| {
            let write = db.begin_write()?;
            let mut rows = layer.rows().peekable();
            while let Some((table, ..)) = rows.peek().copied() {
                let mut of =
                    std::iter::from_fn(|| rows.next_if(|(of, ..)| *of == table).map(|(_, key, value)| (key, value)));
                tables::change(&write, table, &mut of)?;
            }
            blocks::write(&write, self.project, layer)?;
            Ok(write.commit()?)
        })?;
        Ok(layer.events().map(|(place, event)| (place.strand, Durable::new(event.clone()))).collect())
    }

    /// The rows that are durable now, as one moment of the log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn base(&self) -> Result<Arc<StoreBase>, StoreError> {
        guarded(|| Ok(Arc::new(StoreBase::new(&self.begin_read()?, self.project)?)))
    }

    /// All rows of what this clone alone remembers under `note`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes(&self, note: Note) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        guarded(|| notes(&self.begin_read()?, note))
    }

    /// Sets (`Some`) or deletes (`None`) rows under `note`, durably, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remember(&self, note: Note, rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let db = self.to_write()?;
        guarded(|| {
            let write = db.begin_write()?;
            {
                let mut table = write.open_table(note.table())?;
                for (key, value) in rows {
                    match value {
                        Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                        None => table.remove(key.as_slice())?,
                    };
                }
            }
            Ok(write.commit()?)
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// All rows of a note, as they were at one moment.
fn notes(read: &ReadTransaction, note: Note) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
    let Some(table) = base::if_there(read, note.table())? else { return Ok(BTreeMap::new()) };
    let rows = table.iter()?.map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())));
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
