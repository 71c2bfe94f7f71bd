//! How a log is made and opened, and how much of it is looked at before.
//!
//! A file that was not closed in order, and each small one, is checked page by page, on a copy in memory. A large one that
//! was closed in order is believed, since that check takes seconds: what was damaged since is met while reading, and
//! becomes an error there (`guard`, `base`).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use redb::ReadableDatabase;

use super::guard::guarded;
use super::tables::{self, EVENTS, FORMAT, FORMAT_KEY, META, PROJECT_KEY};
use super::{CACHE_BYTES, Handle, Note, OldLog, Opened, Store, StoreError, check, format1, format2};
use crate::eventlog::rows::Table;
use crate::id::ProjectId;

/// Files up to this are always checked whole: that takes some milliseconds.
pub(super) const CHECKED_BYTES: u64 = 8 << 20;

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
        fill(&db, project)?;
        Ok(Self {
            db: Some(Handle::ToWrite(db)),
            path: path.to_owned(),
            project: *project,
            checkpoints: Default::default(),
        })
    }

    /// Opens the log at `path`, or says what must be done before that.
    ///
    /// # Errors
    /// [`StoreError`]; the file is left as it is.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        Self::open_checking(path, CHECKED_BYTES)
    }

    /// As [`Store::open`], with another bound below which all is checked.
    pub(super) fn open_checking(path: &Path, checked: u64) -> Result<Opened, StoreError> {
        let format = look(path, checked, false)?;
        if format == format1::FORMAT {
            return Ok(Opened::NeedsFold(OldLog::open(path)?));
        }
        guarded(|| {
            let db = redb::Builder::new().set_cache_size(CACHE_BYTES).open(path)?;
            if format == format2::FORMAT {
                format2::migrate(&db)?;
            }
            let project = project(&db)?;
            Ok(Opened::Ready(Self {
                db: Some(Handle::ToWrite(db)),
                path: path.to_owned(),
                project,
                checkpoints: Default::default(),
            }))
        })
    }

    /// Opens the log at `path` only to read it: beside others that do, and without writing a byte, unless it is of an earlier
    /// format or was not closed in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_to_read(path: &Path) -> Result<Opened, StoreError> {
        if look(path, CHECKED_BYTES, true)? < FORMAT {
            return Self::open(path);
        }
        let opened = guarded(|| {
            let db = match redb::Builder::new().set_cache_size(CACHE_BYTES).open_read_only(path) {
                Err(redb::DatabaseError::RepairAborted) => return Ok(None),
                other => other?,
            };
            let project = project(&db)?;
            Ok(Some(Self {
                db: Some(Handle::ToRead(db)),
                path: path.to_owned(),
                project,
                checkpoints: Default::default(),
            }))
        })?;
        match opened {
            Some(store) => Ok(Opened::Ready(store)),
            None => Self::open(path),
        }
    }

    /// The log on a backend, made there if it is empty.
    ///
    /// # Errors
    /// [`StoreError`].
    #[cfg(test)]
    pub(super) fn with_backend(backend: impl redb::StorageBackend, project: &ProjectId) -> Result<Self, StoreError> {
        guarded(|| {
            let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
            let empty = db.begin_read()?.open_table(META).is_err();
            if empty {
                fill(&db, project)?;
            } else if format(&db)? == format2::FORMAT {
                format2::migrate(&db)?;
            }
            Ok(Self {
                db: Some(Handle::ToWrite(db)),
                path: std::path::PathBuf::new(),
                project: *project,
                checkpoints: Default::default(),
            })
        })
    }
}

/// Makes all tables.
fn fill(db: &redb::Database, project: &ProjectId) -> Result<(), StoreError> {
    let write = db.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT.to_be_bytes().as_slice())?;
        meta.insert(PROJECT_KEY, project.0.as_slice())?;
        write.open_table(EVENTS)?;
        for table in Table::ALL {
            tables::make(&write, table)?;
        }
        for note in Note::ALL {
            write.open_table(note.table())?;
        }
    }
    Ok(write.commit()?)
}

/// The format of the log at `path`, one that this version knows. Not a byte of it is changed. Where it is `shared`, others
/// may read it meanwhile.
fn look(path: &Path, checked: u64, shared: bool) -> Result<u64, StoreError> {
    // redb formats an empty file as a new database; ours is never empty.
    let mut start = [0; 4];
    let mut file = File::open(path).map_err(|error| StoreError::io(&error))?;
    file.read_exact(&mut start).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => StoreError::Corrupt("it is empty".to_owned()),
        _ => StoreError::io(&error),
    })?;
    if &start != b"redb" {
        return Err(StoreError::Corrupt("it is not a log".to_owned()));
    }
    let len = file.metadata().map_err(|error| StoreError::io(&error))?.len();
    drop(file);
    let format = guarded(|| {
        if len > checked {
            match redb::Builder::new().set_cache_size(CACHE_BYTES).open_read_only(path) {
                Ok(db) => return format(&db),
                // It was not closed in order.
                Err(redb::DatabaseError::RepairAborted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        format(&check::copy_on_write(path, CACHE_BYTES, shared)?)
    })?;
    if format > FORMAT {
        return Err(StoreError::TooNew { found: format, known: FORMAT });
    }
    Ok(format)
}

fn meta(db: &impl ReadableDatabase, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let read = db.begin_read()?;
    let value = read.open_table(META)?.get(key)?.map(|value| value.value().to_vec());
    Ok(value)
}

fn format(db: &impl ReadableDatabase) -> Result<u64, StoreError> {
    let bytes = meta(db, FORMAT_KEY)?.ok_or_else(|| StoreError::Corrupt("it has no format number".to_owned()))?;
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("its format number is malformed".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The project that a log names.
pub(super) fn project(db: &impl ReadableDatabase) -> Result<ProjectId, StoreError> {
    let bytes = meta(db, PROJECT_KEY)?.and_then(|bytes| bytes.try_into().ok());
    Ok(ProjectId(bytes.ok_or_else(|| StoreError::Corrupt("it names no project".to_owned()))?))
}
