//! One move at a time in one work tree; and notes of the locks of git's that it holds, so that those which a killed
//! move left behind can be told from everybody else's and taken away, and of where it moves, so that files which one
//! left half way can be told from a person's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{NotClean, PATIENCE, RETRY, Stop, io_at, platform};
use crate::id::ObjectId;

/// How long after the note of it a ref's lock is made at most: two locks may have to be waited for.
const SOON: Duration = Duration::from_secs(5);

/// Held while a work tree moves. The operating system ends it with the process.
pub(super) struct Guard {
    file: File,
    path: PathBuf,
    scratch: PathBuf,
    held: bool,
    /// From where to where files are half moved.
    half: Option<(ObjectId, ObjectId)>,
}

impl Guard {
    /// Waits a while for another move in the same work tree, which is as good as another git command.
    ///
    /// Takes away what a move that was killed left: its locks, told by the time they were made, and its scratch files.
    pub(super) fn new(lansync_dir: &Path, git_dir: &Path) -> Result<Self, Stop> {
        let directory = lansync_dir.join("moving");
        fs::create_dir_all(&directory).map_err(io_at(&directory))?;
        // `.git` for the main work tree, the name below `worktrees/` for another.
        let name = git_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let linked = git_dir.parent().is_some_and(|parent| parent.ends_with("worktrees"));
        let name = if linked { format!("linked-{name}") } else { "main".to_owned() };
        let mut guard = Self::open(&directory, &name)?;
        let mut waited = Duration::ZERO;
        while !guard.try_lock()? {
            if waited >= PATIENCE {
                return Err(Stop::NotClean(NotClean::IndexLocked));
            }
            std::thread::sleep(RETRY);
            waited += RETRY;
        }
        guard.take_away()?;
        fs::create_dir(&guard.scratch).map_err(io_at(&guard.scratch))?;
        Ok(guard)
    }

    /// Takes away what killed moves left, in all work trees where nobody moves right now.
    pub(super) fn heal(lansync_dir: &Path) -> Result<(), Stop> {
        let directory = lansync_dir.join("moving");
        let Ok(entries) = fs::read_dir(&directory) else { return Ok(()) };
        for entry in entries {
            let entry = entry.map_err(io_at(&directory))?;
            let metadata = entry.metadata().map_err(io_at(&directory))?;
            if let Some(name) = entry.file_name().to_str()
                && metadata.is_file()
                && metadata.len() > 0
            {
                let mut guard = Self::open(&directory, name)?;
                if guard.try_lock()? {
                    guard.take_away()?;
                }
            }
        }
        Ok(())
    }

    fn open(directory: &Path, name: &str) -> Result<Self, Stop> {
        let (path, scratch) = (directory.join(name), directory.join(format!("files-{name}")));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        Ok(Self { file: file.map_err(io_at(&path))?, path, scratch, held: false, half: None })
    }

    fn try_lock(&mut self) -> Result<bool, Stop> {
        match self.file.try_lock() {
            Ok(()) => self.held = true,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(io_at(&self.path)(error).into()),
        }
        Ok(self.held)
    }

    fn take_away(&mut self) -> Result<(), Stop> {
        let mut notes = String::new();
        self.file.read_to_string(&mut notes).map_err(io_at(&self.path))?;
        for line in notes.lines() {
            let ours = match line.split('\t').collect::<Vec<_>>()[..] {
                ["index", identity, lock] => {
                    (platform::identity(Path::new(lock)).as_deref() == Some(identity)).then_some(lock)
                }
                ["ref", noted, to, lock] => was_left(Path::new(lock), noted, to).then_some(lock),
                ["move", from, to] => {
                    self.half = from.parse().ok().zip(to.parse().ok());
                    None
                }
                _ => None,
            };
            if let Some(lock) = ours.map(Path::new) {
                fs::remove_file(lock).map_err(io_at(lock))?;
            }
        }
        self.keep_half().map_err(io_at(&self.path))?;
        match fs::remove_dir_all(&self.scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(&self.scratch)(error).into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Where a move of the branch from `from` was going that did not get there, so that some files may be as they
    /// shall be.
    pub(super) fn half_way(&mut self, from: ObjectId) -> Option<ObjectId> {
        // The branch is elsewhere by now, so whatever is changed is somebody's.
        self.half = self.half.filter(|(began, _)| *began == from);
        self.half.map(|(_, to)| to)
    }

    /// Notes that files are about to be moved.
    pub(super) fn begins(&mut self, from: ObjectId, to: ObjectId) -> Result<(), Stop> {
        self.half = Some((from, to));
        self.note(&half_line(from, to))
    }

    /// All is moved.
    pub(super) fn done(&mut self) {
        self.half = None;
    }

    /// Forgets everything but a move that did not get to its end.
    fn keep_half(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.half.map_or(Ok(()), |(from, to)| self.file.write_all(half_line(from, to).as_bytes()))
    }

    /// Notes that the file at `file` is ours when it is found as `lock`, if the file system can tell it from others.
    pub(super) fn holds(&mut self, file: &Path, lock: &Path) -> Result<(), Stop> {
        if let (Some(identity), Some(lock)) = (platform::identity(file), lock.to_str()) {
            self.note(&format!("index\t{identity}\t{lock}\n"))?;
        }
        Ok(())
    }

    /// Notes that locks of refs that are about to move to `to` will be made at `locks`, in a moment.
    pub(super) fn will_move(&mut self, locks: &[PathBuf], to: ObjectId) -> Result<(), Stop> {
        // The file system's clock, which is the one that tells when the locks were made.
        let marker = self.scratch.join("refs");
        drop(platform::create(&marker, false).map_err(io_at(&marker))?);
        for lock in locks {
            if let (Some(now), Some(lock)) = (platform::made(&marker), lock.to_str()) {
                self.note(&format!("ref\t{now}\t{to}\t{lock}\n"))?;
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> Result<(), Stop> {
        self.file.seek(SeekFrom::End(0)).map_err(io_at(&self.path))?;
        self.file.write_all(line.as_bytes()).map_err(|error| io_at(&self.path)(error).into())
    }

    /// A directory for files that are about to be placed.
    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// What a kill does.
    #[cfg(all(test, unix))]
    pub(super) fn killed(mut self) {
        self.held = false;
        self.file.unlock().expect("held");
    }
}

fn half_line(from: ObjectId, to: ObjectId) -> String {
    format!("move\t{from}\t{to}\n")
}

/// Whether the lock of a ref is one that a killed move left: made just after it said so, for where it moved to or not
/// written yet, and held longer than any command of git's holds one.
fn was_left(lock: &Path, noted: &str, to: &str) -> bool {
    let (Ok(noted), Some(identity)) = (noted.parse::<u128>(), platform::identity(lock)) else { return false };
    let in_time = |made: u128| made.checked_sub(noted).is_some_and(|after| after <= SOON.as_nanos());
    let looks_so = || {
        platform::identity(lock).as_ref() == Some(&identity)
            && platform::made(lock).is_some_and(in_time)
            && fs::read_to_string(lock).is_ok_and(|text| text.is_empty() || text.trim_end() == to)
    };
    let mut waited = Duration::ZERO;
    while waited < PATIENCE && looks_so() {
        std::thread::sleep(RETRY);
        waited += RETRY;
    }
    looks_so()
}

impl Drop for Guard {
    /// All locks are gone: those who made them have let them go before.
    fn drop(&mut self) {
        if self.held {
            // A note of a lock that is gone matches no later one, so that a failure here does no harm.
            drop(self.keep_half());
            drop(fs::remove_dir_all(&self.scratch));
            // Closing alone would not do while a process that was just forked still has the file.
            drop(self.file.unlock());
        }
    }
}
