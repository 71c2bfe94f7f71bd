//! States of earlier times in a file of their own beside the log, so that `--at` folds few events. Everything in it follows
//! from the log: whatever is wrong with it, it is made anew.
//!
//! A checkpoint is what changed since another one, its parent, so a row that does not change is there once. All are in the
//! same tables, by key and number of the checkpoint, and a read takes the last that the own line of parents wrote.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use redb::{ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::guard::{called_back, guarded};
use super::tables;
use super::{CACHE_BYTES, Store, StoreError};
use crate::eventlog::rows::{Base, Place, Table};
use crate::eventlog::{Checkpoint, Event};
use crate::hlc::Hlc;
use crate::id::ProjectId;
use crate::limits;

/// Rows of one table of the state. Key: the row's key, number of the checkpoint that wrote it. Value: absent where it
/// deleted it.
type Versions = TableDefinition<'static, (&'static [u8], u32), Option<&'static [u8]>>;
type ReadVersions = ReadOnlyTable<(&'static [u8], u32), Option<&'static [u8]>>;

/// One row: whose checkpoints these are.
const OWN: TableDefinition<'static, (), &[u8]> = TableDefinition::new("own");
/// Number of a checkpoint, from 1 → what is asked of each before one is chosen.
const HEADS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("heads");
/// Number of a checkpoint → [`Checkpoint`].
const REACHED: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("reached");

/// Whose checkpoints these are. What another build made is not read: its rules of the fold may have been worse.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    format: u64,
    program: String,
    project: ProjectId,
}

/// What is asked of each checkpoint before one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// What it changes; 0 where it has all its rows.
    parent: u32,
    latest: Hlc,
    events: u64,
}

/// The checkpoints of one log.
pub struct Checkpoints {
    /// Present until it is dropped.
    db: Option<redb::Database>,
    path: PathBuf,
    /// The file is not made longer than this, in bytes.
    most: u64,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The checkpoints of a log, shared by all who read it at the same time.
pub(super) type Shared = Mutex<Weak<Checkpoints>>;

impl Store {
    /// Where the checkpoints of this log lie.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path().with_file_name("checkpoints.redb")
    }

    /// The checkpoints of this log; none where there was nothing to read, or what there was is of no use.
    ///
    /// # Errors
    /// [`StoreError`], also where another process has the file.
    pub fn checkpoints(&self) -> Result<Arc<Checkpoints>, StoreError> {
        let mut shared = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = shared.upgrade() {
            return Ok(open);
        }
        let log = fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        let most = limits::CHECKPOINTS_BYTES.max(log.saturating_mul(limits::CHECKPOINTS_BY_LOG));
        let open = Arc::new(Checkpoints::open(&self.checkpoints_path(), self.project(), most)?);
        *shared = Arc::downgrade(&open);
        Ok(open)
    }

    /// Takes the checkpoints away, as they are of no use. Who reads them reads on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_checkpoints(&self) -> Result<(), StoreError> {
        *self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
        remove(&self.checkpoints_path())
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io(&error)),
        _ => Ok(()),
    }
}

impl Checkpoints {
    /// Opens those at `path`; begins anew where there are none, or none of use.
    fn open(path: &Path, project: ProjectId, most: u64) -> Result<Self, StoreError> {
        let own = Own { format: 3, program: env!("CARGO_PKG_VERSION").to_owned(), project };
        // Every page of it is checked: nothing tells a changed row from a right one later.
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let open = || guarded(|| Ok(Self { db: Some(builder.create(path)?), path: path.to_owned(), most }));
        let kept = match open() {
            Ok(kept) => guarded(|| kept.is_of(&own)).unwrap_or(false).then_some(kept),
            Err(StoreError::Corrupt(why)) => {
                tracing::warn!(%why, "the checkpoints are damaged and are made anew");
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(kept) = kept {
            return Ok(kept);
        }
        remove(path)?;
        let new = open()?;
        guarded(|| new.begin(&own))?;
        Ok(new)
    }

    fn db(&self) -> Result<&redb::Database, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Io("it is closed".to_owned()))
    }

    fn is_of(&self, own: &Own) -> Result<bool, StoreError> {
        let read = self.db()?.begin_read()?;
        let table = match read.open_table(OWN) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(false),
            table => table?,
        };
        Ok(table
            .get(())?
            .is_some_and(|value| postcard::from_bytes(value.value()).is_ok_and(|found: Own| found == *own)))
    }

    fn begin(&self, own: &Own) -> Result<(), StoreError> {
        let write = self.db()?.begin_write()?;
        write.open_table(OWN)?.insert((), crate::codec::encode(own).as_slice())?;
        write.open_table(HEADS)?;
        write.open_table(REACHED)?;
        for table in Table::ALL {
            write.open_table(versions(table))?;
        }
        Ok(write.commit()?)
    }

    fn heads(&self) -> Result<Vec<Head>, StoreError> {
        let read = self.db()?.begin_read()?;
        let mut heads = Vec::new();
        for row in read.open_table(HEADS)?.iter()? {
            let (number, head) = row?;
            let head = postcard::from_bytes(head.value()).map_err(|_| damaged("a head"))?;
            heads.push(head);
            if number.value() as usize != heads.len() {
                return Err(damaged("the numbers"));
            }
        }
        Ok(heads)
    }

    /// Of the checkpoints that have nothing from `bound` on, the number of one with the most events, and what it is of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn best(&self, bound: Hlc) -> Result<Option<(u32, Checkpoint)>, StoreError> {
        guarded(|| {
            let heads = self.heads()?;
            let fits = (1..).zip(&heads).filter(|(_, head)| head.latest < bound);
            let Some((number, _)) = fits.max_by_key(|(_, head)| head.events) else { return Ok(None) };
            let reached = self.db()?.begin_read()?.open_table(REACHED)?;
            let bytes = reached.get(number)?.ok_or_else(|| damaged("what it is of"))?;
            let checkpoint = postcard::from_bytes(bytes.value()).map_err(|_| damaged("what it is of"))?;
            Ok(Some((number, checkpoint)))
        })
    }

    /// Stores a checkpoint: `changed` are the rows in which it differs from its parent. Gives its number, or `None` where
    /// there is no room for more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add<'a>(
        &self,
        parent: Option<u32>,
        checkpoint: &Checkpoint,
        changed: impl Iterator<Item = (Table, &'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Option<u32>, StoreError> {
        guarded(|| {
            if fs::metadata(&self.path).map_or(0, |metadata| metadata.len()) > self.most {
                return Ok(None);
            }
            let write = self.db()?.begin_write()?;
            let (parent, Checkpoint { latest, events, .. }) = (parent.unwrap_or(0), checkpoint);
            let head = Head { parent, latest: *latest, events: *events };
            let number = {
                let mut heads = write.open_table(HEADS)?;
                // Another reader may have come to the same just before.
                for row in heads.iter()? {
                    let (number, same) = row?;
                    if postcard::from_bytes::<Head>(same.value()).is_ok_and(|same| same == head)
                        && write.open_table(REACHED)?.get(number.value())?.is_some_and(|same| {
                            postcard::from_bytes::<Checkpoint>(same.value()).is_ok_and(|same| same == *checkpoint)
                        })
                    {
                        return Ok(Some(number.value()));
                    }
                }
                let number = heads.last()?.map_or(0, |(number, _)| number.value()) + 1;
                heads.insert(number, crate::codec::encode(&head).as_slice())?;
                number
            };
            write.open_table(REACHED)?.insert(number, crate::codec::encode(checkpoint).as_slice())?;
            let mut changed = changed.peekable();
            while let Some((table, ..)) = changed.peek().copied() {
                let mut open = write.open_table(versions(table))?;
                while let Some((_, key, value)) = changed.next_if(|(of, ..)| *of == table) {
                    open.insert((key, number), value)?;
                }
            }
            write.commit()?;
            Ok(Some(number))
        })
    }

    /// The rows of a checkpoint. Its events are read from `log`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn base(
        self: &Arc<Self>,
        number: u32,
        checkpoint: &Checkpoint,
        log: Arc<dyn Base>,
    ) -> Result<Arc<CheckpointBase>, StoreError> {
        guarded(|| {
            let heads = self.heads()?;
            let mut line = vec![false; heads.len() + 1];
            let mut at = number;
            while let Some(head) = at.checked_sub(1).and_then(|index| heads.get(index as usize)) {
                line[at as usize] = true;
                // A parent is there before its children.
                if head.parent >= at {
                    return Err(damaged("a parent"));
                }
                at = head.parent;
            }
            let read = self.db()?.begin_read()?;
            let rows = Table::ALL.iter().map(|table| read.open_table(versions(*table))).collect::<Result<_, _>>()?;
            Ok(Arc::new(CheckpointBase {
                number,
                line,
                rows,
                checkpoint: checkpoint.clone(),
                log,
                trouble: OnceLock::new(),
                _open: self.clone(),
            }))
        })
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        let db = self.db.take();
        // What cannot be closed in order is checked whole by the next open, as all is.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("checkpoints: {what}"))
}

/// Under the name that the table has in the log: the rows are the same.
fn versions(table: Table) -> Versions {
    TableDefinition::new(tables::name(table))
}

/// The rows of one checkpoint.
pub struct CheckpointBase {
    number: u32,
    /// Which checkpoints are this one or above it, by number.
    line: Vec<bool>,
    rows: Vec<ReadVersions>,
    checkpoint: Checkpoint,
    log: Arc<dyn Base>,
    trouble: OnceLock<StoreError>,
    /// While it is read the file is open. Last, so that the tables go first.
    _open: Arc<Checkpoints>,
}

impl CheckpointBase {
    fn read<T>(&self, work: impl FnOnce() -> Result<Option<T>, StoreError>) -> Option<T> {
        guarded(work).unwrap_or_else(|error| {
            // The first is the cause, later ones follow from it.
            let _ = self.trouble.set(error);
            None
        })
    }

    fn of(&self, table: Table) -> &ReadVersions {
        &self.rows[table as usize]
    }

    fn sees(&self, number: u32) -> bool {
        self.line.get(number as usize) == Some(&true)
    }
}

impl Base for CheckpointBase {
    fn get(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.read(|| {
            for row in self.of(table).range((key, 0)..=(key, self.number))?.rev() {
                let (at, value) = row?;
                if self.sees(at.value().1) {
                    return Ok(value.value().map(<[u8]>::to_vec));
                }
            }
            Ok(None)
        })
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|| {
            // The last row seen of the key that is looked at: a later one of the same key takes its place.
            let mut last: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
            let mut say = |last: Option<(Vec<u8>, Option<Vec<u8>>)>| match last {
                Some((key, Some(value))) => called_back(|| each(&key, &value)),
                _ => true,
            };
            for row in self.of(table).range((from, 0)..)? {
                let (at, value) = row?;
                let (key, number) = at.value();
                if last.as_ref().is_some_and(|(held, _)| held != key) && !say(last.take()) {
                    return Ok(Some(()));
                }
                if self.sees(number) {
                    last = Some((key.to_vec(), value.value().map(<[u8]>::to_vec)));
                }
            }
            say(last);
            Ok(Some(()))
        });
    }

    fn scan_back(&self, table: Table, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.read(|| {
            let table = self.of(table);
            let range = if to.is_empty() { table.range::<(&[u8], u32)>(..)? } else { table.range(..(to, 0))? };
            let mut said: Option<Vec<u8>> = None;
            for row in range.rev() {
                let (at, value) = row?;
                let (key, number) = at.value();
                if !self.sees(number) || said.as_deref() == Some(key) {
                    continue;
                }
                said = Some(key.to_vec());
                if value.value().is_some_and(|value| !called_back(|| each(key, value))) {
                    break;
                }
            }
            Ok(Some(()))
        });
    }

    fn event(&self, place: Place) -> Option<Arc<Event>> {
        self.log.event(self.checkpoint.in_log(place)?)
    }

    fn healthy(&self) -> bool {
        self.trouble.get().is_none() && self.log.healthy()
    }
}

impl Drop for CheckpointBase {
    fn drop(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        // What could not be read was said already.
        let _ = guarded(|| {
            drop(rows);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests;
