//! Git's lock of a ref, taken in such a way that one which a killed process left can be told from everybody else's.
//!
//! The file is made in a directory of our own, and becomes the lock as a second name of it. A note beside it says
//! where, and is locked by the operating system for as long as the process lives: so a note that nobody holds leads
//! to a file, and only a lock that is this very file is taken away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a lock that git or somebody else holds is waited for. It is never broken.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(10);

/// Numbers of this process, so that two locks at once do not share a name.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// `<path>.lock`, held while this lives.
pub(super) struct Lock {
    path: PathBuf,
    lock: PathBuf,
    apart: PathBuf,
    note: PathBuf,
    /// Its lock ends with the process.
    _owner: File,
    pub(super) file: File,
    held: bool,
    /// Directories that were made for it, the deepest first.
    made: Vec<PathBuf>,
}

impl Lock {
    /// Takes the lock of the file at `path`; `ours` is lansync's directory. What killed processes left is taken away
    /// before.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where somebody holds it for too long; whatever else the file system says.
    pub(super) fn take(path: &Path, ours: &Path) -> io::Result<Self> {
        take_left_away(ours)?;
        let directory = directory(ours);
        fs::create_dir_all(&directory)?;
        let (note, owner) = begin_note(&directory)?;
        let lock = with_ending(path, ".lock");
        let apart = note.with_extension("file");
        let file = OpenOptions::new().write(true).create_new(true).open(&apart);
        let file = file.and_then(|file| write_note(&owner, &lock).map(|()| file)).inspect_err(|_| {
            let _ = (fs::remove_file(&apart), fs::remove_file(&note));
        })?;
        let mut taken =
            Self { path: path.to_owned(), lock, apart, note, _owner: owner, file, held: false, made: Vec::new() };
        taken.link()?;
        Ok(taken)
    }

    fn link(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            match fs::hard_link(&self.apart, &self.lock) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if begun.elapsed() >= PATIENCE {
                        return Err(error);
                    }
                    std::thread::sleep(RETRY);
                }
                // Git takes directories away that are empty, also at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound && begun.elapsed() < PATIENCE => {
                    let missing = self.lock.ancestors().skip(1).take_while(|dir| !dir.exists());
                    self.made.extend(missing.map(Path::to_owned));
                    fs::create_dir_all(self.lock.parent().expect("a ref lies in a directory"))?;
                }
                // No links on this file system: a kill may leave a lock, as one of git does.
                Err(_) => match OpenOptions::new().write(true).create_new(true).open(&self.lock) {
                    Ok(file) => {
                        self.file = file;
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && begun.elapsed() < PATIENCE => {
                        std::thread::sleep(RETRY);
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        self.held = true;
        Ok(())
    }

    /// What was written becomes the file.
    pub(super) fn commit(mut self) -> io::Result<()> {
        fs::rename(&self.lock, &self.path)?;
        self.held = false;
        self.made.clear();
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held {
            let _ = fs::remove_file(&self.lock);
        }
        for dir in &self.made {
            let _ = fs::remove_dir(dir);
        }
        // The note last: without it nobody would find the rest.
        let _ = (fs::remove_file(&self.apart), fs::remove_file(&self.note));
    }
}

fn directory(ours: &Path) -> PathBuf {
    ours.join("locks")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A new note that is ours. Between its making and its lock somebody may have taken it for one that was left.
fn begin_note(directory: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let note = directory.join(format!("{}-{number}.note", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&note) {
            Ok(owner) => {
                if owner.try_lock().is_ok() && note.exists() {
                    return Ok((note, owner));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_note(mut owner: &File, lock: &Path) -> io::Result<()> {
    owner.write_all(lock.as_os_str().as_encoded_bytes())
}

/// Takes away the locks that killed processes left.
pub(super) fn take_left_away(ours: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory(ours)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let note = entry?.path();
        if note.extension().is_none_or(|ending| ending != "note") {
            continue;
        }
        match OpenOptions::new().read(true).write(true).open(&note) {
            // Its owner lives, or has just ended it.
            Ok(owner) if owner.try_lock().is_err() => {}
            Ok(_owner) => take_one_away(&note)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn take_one_away(note: &Path) -> io::Result<()> {
    let apart = note.with_extension("file");
    // A note that was not written to its end names a lock that was never made.
    if let Ok(lock) = fs::read_to_string(note)
        && is_same(&apart, Path::new(&lock))
    {
        fs::remove_file(lock)?;
    }
    for path in [&apart, note] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Are these two names of one file?
#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path: &Path| path.symlink_metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    of(one).is_some_and(|one| of(other) == Some(one))
}

/// Are these two names of one file? Told by the time at which it was made.
#[cfg(not(unix))]
fn is_same(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| path.symlink_metadata().ok().and_then(|metadata| metadata.created().ok());
    of(one).is_some_and(|one| of(other) == Some(one))
}

#[cfg(test)]
impl Lock {
    /// What a kill does: nothing is tidied up, and the operating system lets the note go.
    pub(super) fn killed(self) {
        let left = std::mem::ManuallyDrop::new(self);
        left._owner.unlock().expect("held");
    }
}
