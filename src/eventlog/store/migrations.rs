//! From an earlier format to this one, by number.
//!
//! * 1 → 2: the state is kept in rows, so every event is folded again into a new file beside the old one. That takes its
//!   place by a rename once it is complete and durable; ended at any point before, it is begun anew.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::ReadableDatabase;

use super::{Note, OldLog, Store, StoreError, notes};
use crate::eventlog::Event;
use crate::eventlog::rows::Layer;

/// Events that are folded and written together, and bytes of them, about.
const TOGETHER: usize = 500;

/// What a file is that was opened.
#[derive(Debug)]
pub enum Opened {
    /// A log of this version's format.
    Ready(Store),
    /// A log of an earlier one: [`OldLog::migrate`] makes it one of this.
    NeedsFold(OldLog),
}

impl Opened {
    /// The store, which is made of an earlier one by `fold` if need be: see [`OldLog::migrate`].
    ///
    /// # Errors
    /// Those of `fold`, and [`StoreError`].
    pub fn migrated<E: From<StoreError>>(
        self,
        fold: impl FnMut(&Store, Vec<Event>) -> Result<Arc<Layer>, E>,
    ) -> Result<Store, E> {
        match self {
            Self::Ready(store) => Ok(store),
            Self::NeedsFold(old) => old.migrate(fold),
        }
    }
}

impl OldLog {
    /// Makes it a log of this format, and opens that.
    ///
    /// `fold` gets the new log as it is so far, and the next events in time order; it gives what they write, which is
    /// appended before it is called again. Each base of the new log that it holds must be let go of before this returns, or
    /// reads nothing from then on.
    ///
    /// # Errors
    /// Those of `fold`, and [`StoreError`]; the old log is then left as it is.
    pub fn migrate<E: From<StoreError>>(
        self,
        mut fold: impl FnMut(&Store, Vec<Event>) -> Result<Arc<Layer>, E>,
    ) -> Result<Store, E> {
        let beside = beside(&self.path);
        // What an earlier try left. Nobody else writes there while the old log is held.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io(&error).into()),
            _ => {}
        }
        let new = Store::create(&beside, &self.project)?;
        let mut batch = Vec::with_capacity(TOGETHER);
        self.in_time(|event| {
            batch.push(event);
            if batch.len() < TOGETHER {
                return Ok(());
            }
            let layer = fold(&new, std::mem::replace(&mut batch, Vec::with_capacity(TOGETHER)))?;
            new.append(&layer)?;
            Ok::<_, E>(())
        })?;
        if !batch.is_empty() {
            let layer = fold(&new, batch)?;
            new.append(&layer)?;
        }
        self.take_place(new, &beside).map_err(E::from)
    }

    fn take_place(self, new: Store, beside: &Path) -> Result<Store, StoreError> {
        for note in Note::ALL {
            let rows = notes(&self.db.begin_read()?, note)?;
            let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
            if !rows.is_empty() {
                new.remember(note, &rows)?;
            }
        }
        new.close()?;
        let Self { db, path, .. } = self;
        // The old log is held until it is gone, where the system lets one replace a file that is open.
        let held = if cfg!(windows) { None } else { Some(db) };
        let replace = || {
            File::options().read(true).write(true).open(beside)?.sync_all()?;
            fs::rename(beside, &path)?;
            if cfg!(unix)
                && let Some(dir) = path.parent()
            {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        };
        replace().map_err(|error: std::io::Error| StoreError::io(&error))?;
        drop(held);
        match Store::open(&path)? {
            Opened::Ready(store) => Ok(store),
            Opened::NeedsFold(_) => Err(StoreError::Corrupt("it was replaced by an older one".to_owned())),
        }
    }
}

/// Where the new log is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
