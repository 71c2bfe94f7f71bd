//! Git's `index.lock`, taken in such a way that a killed move's can be told from everybody else's.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::guard::Guard;
use super::{NotClean, PATIENCE, RETRY, Stop, io_at, platform};

/// Held while this lives; nobody else's is ever taken away.
pub(super) struct IndexLock {
    index: PathBuf,
    path: PathBuf,
    pub(super) file: File,
    held: bool,
}

impl IndexLock {
    /// Makes the file under another name and notes which it is, before it becomes the lock: so there is no moment
    /// at which a kill leaves a lock that nobody knows.
    pub(super) fn take(index: PathBuf, guard: &mut Guard) -> Result<Self, Stop> {
        let (path, apart) = (index.with_extension("lock"), index.with_extension("lansync"));
        match fs::remove_file(&apart) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&apart)(error).into()),
            Ok(()) | Err(_) => {}
        }
        let file = platform::create(&apart, false).map_err(io_at(&apart))?;
        guard.holds(&apart, &path)?;
        let mut lock = Self { index, path, file, held: false };
        let mut waited = Duration::ZERO;
        let taken = loop {
            match fs::hard_link(&apart, &lock.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && waited < PATIENCE => {
                    std::thread::sleep(RETRY);
                    waited += RETRY;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    break Err(Stop::NotClean(NotClean::IndexLocked));
                }
                // No links on this file system: a kill may leave a lock, as one of git does.
                Err(_) => match platform::create(&lock.path, false) {
                    Ok(file) => {
                        lock.file = file;
                        break Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        break Err(Stop::NotClean(NotClean::IndexLocked));
                    }
                    Err(error) => break Err(io_at(&lock.path)(error).into()),
                },
                Ok(()) => break Ok(()),
            }
        };
        lock.held = taken.is_ok();
        fs::remove_file(&apart).map_err(io_at(&apart))?;
        taken.map(|()| lock)
    }

    /// What was written becomes the index.
    pub(super) fn commit(mut self) -> Result<(), Stop> {
        self.file.sync_all().map_err(io_at(&self.path))?;
        fs::rename(&self.path, &self.index).map_err(io_at(&self.index))?;
        self.held = false;
        Ok(())
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if self.held {
            drop(fs::remove_file(&self.path));
        }
    }
}
