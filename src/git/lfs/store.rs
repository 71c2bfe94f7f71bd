//! Media files on the disk: those that are here, and the way in for those that come.
//!
//! What comes is written to `<common dir>/lansync/media/`, where git-lfs does not look, hashed as it is written, made
//! durable, and only then given its name. Half a file stays there to be gone on with, for a while.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::git::Repository;
use crate::git::quarantine::sync_dir;
use crate::id::{Media, MediaId};
use crate::limits;

/// Bytes read and hashed at once.
const BUFFER: usize = 128 * 1024;

/// Why a media file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MediaRefused {
    /// Its content is not what its pointer says.
    #[error("its content is not what its pointer says (SHA-256)")]
    NotWhatItsPointerSays,
    /// It is larger than is taken.
    #[error("it has {size} bytes, at most {limit} are taken")]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// What comes ended before the file did. What came is kept.
    #[error("it broke off")]
    BrokenOff(#[source] io::Error),
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// A file here could not be written.
    #[error("it cannot be written: {0}")]
    Io(#[source] io::Error),
}

impl MediaRefused {
    fn io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// Where the media files of a repository lie.
#[derive(Debug, Clone)]
pub struct MediaStore {
    /// `objects` in it holds the files.
    storage: PathBuf,
    /// The same of repositories whose objects this one borrows; only read.
    borrowed: Vec<PathBuf>,
    /// Where halves lie.
    halves: PathBuf,
}

impl Repository {
    /// Where the media files lie: `lfs/` of the git directory that all worktrees share, or where `lfs.storage` says.
    pub fn media_store(&self) -> MediaStore {
        let set = self.config("lfs.storage").filter(|path| !path.is_empty());
        let storage = self.common_dir().join(set.as_deref().unwrap_or("lfs"));
        let objects = self.common_dir().join("objects");
        let alternates = fs::read_to_string(objects.join("info/alternates")).unwrap_or_default();
        let lines = alternates.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let borrowed = lines.filter_map(|line| Some(objects.join(line).parent()?.join("lfs"))).collect();
        MediaStore { storage, borrowed, halves: self.lansync_dir().join("media") }
    }

    /// Takes away halves of media files that nobody went on with. For the start of the service.
    pub fn clean_media(&self) {
        let directory = self.lansync_dir().join("media");
        let is_old = |path: &Path| {
            let age = fs::metadata(path).and_then(|found| found.modified()).ok()?.elapsed().ok()?;
            Some(age > limits::MEDIA_HALF)
        };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if is_old(&entry.path()) == Some(true) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl MediaStore {
    fn path(&self, id: &MediaId) -> PathBuf {
        Self::path_in(&self.storage, id)
    }

    fn path_in(storage: &Path, id: &MediaId) -> PathBuf {
        let name = id.to_string();
        storage.join("objects").join(&name[..2]).join(&name[2..4]).join(name)
    }

    /// Where it lies with the right length; `None` where it is not here.
    pub(in crate::git) fn file(&self, media: &Media) -> Option<PathBuf> {
        let mut paths = std::iter::once(&self.storage).chain(&self.borrowed).map(|dir| Self::path_in(dir, &media.id));
        let fits = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == media.size);
        paths.find(fits)
    }

    fn half(&self, id: &MediaId) -> PathBuf {
        self.halves.join(format!("{id}.half"))
    }

    /// Is it here, with the right length? Empty ones need no file.
    pub fn has(&self, media: &Media) -> bool {
        media.size == 0 || self.file(media).is_some()
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// Where it is not here, or has another length than its pointer says.
    pub fn open(&self, media: &Media) -> io::Result<File> {
        File::open(self.file(media).ok_or(io::ErrorKind::NotFound)?)
    }

    /// How many bytes of it came in an earlier try.
    pub fn begun(&self, media: &Media) -> u64 {
        let found = fs::metadata(self.half(&media.id)).map_or(0, |found| found.len());
        if found < media.size { found } else { 0 }
    }

    /// Takes what `input` gives as the rest of a media file of which `begun` bytes are here; reads no more than that.
    /// `progress` hears of every piece how many bytes it has.
    ///
    /// # Errors
    /// [`MediaRefused`]; git-lfs sees nothing of the file then.
    pub fn receive(
        &self,
        media: &Media,
        begun: u64,
        input: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), MediaRefused> {
        if media.size > limits::MEDIA_BYTES {
            return Err(MediaRefused::TooLarge { size: media.size, limit: limits::MEDIA_BYTES });
        }
        fs::create_dir_all(&self.halves).map_err(MediaRefused::io)?;
        let half = self.half(&media.id);
        let _receiving = Receiving::begin(&half);
        let mut left = media.size - begun;
        if self.path(&media.id).metadata().is_ok_and(|data| data.len() == media.size) {
            // It came by another connection. What follows it in this one is wanted still.
            let rest = io::copy(&mut input.take(left), &mut io::sink()).map_err(MediaRefused::BrokenOff)?;
            progress(rest);
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&half);
        let mut file = file.map_err(MediaRefused::io)?;
        if file.metadata().map_err(MediaRefused::io)?.len() < begun {
            // The rest was asked for, and what came before it has been completed or cleaned up meanwhile.
            return Err(MediaRefused::BrokenOff(io::ErrorKind::NotFound.into()));
        }
        file.set_len(begun).map_err(MediaRefused::io)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        hash_all(&mut file, &mut hash, &mut buffer).map_err(MediaRefused::io)?;
        file.seek(SeekFrom::Start(begun)).map_err(MediaRefused::io)?;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let read = match input.read(&mut buffer[..most]) {
                Ok(0) => return Err(MediaRefused::BrokenOff(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(MediaRefused::BrokenOff(error)),
            };
            hash.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(MediaRefused::io)?;
            left -= read as u64;
            progress(read as u64);
        }
        if hash.finalize()[..] != media.id.0 {
            drop(file);
            let _ = fs::remove_file(&half);
            return Err(MediaRefused::NotWhatItsPointerSays);
        }
        file.sync_all().map_err(MediaRefused::io)?;
        drop(file);
        self.adopt(&half, &self.path(&media.id)).map_err(MediaRefused::io)
    }

    /// Gives a whole file its name, durably.
    fn adopt(&self, half: &Path, path: &Path) -> io::Result<()> {
        let directory = path.parent().unwrap_or(&self.storage);
        fs::create_dir_all(directory)?;
        match fs::rename(half, path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                // Where git-lfs itself writes first, and cleans up.
                let temporary = self.storage.join("tmp");
                fs::create_dir_all(&temporary)?;
                let temporary = temporary.join(half.file_name().unwrap_or_default());
                let copied = fs::copy(half, &temporary)
                    .and_then(|_| File::open(&temporary)?.sync_all())
                    .and_then(|()| fs::rename(&temporary, path));
                if copied.is_err() {
                    let _ = fs::remove_file(&temporary);
                }
                copied?;
                fs::remove_file(half)?;
            }
            renamed => renamed?,
        }
        sync_dir(directory)
    }
}

/// Files that are being received. One whose connection has ended may still be written while the next one begins, and two
/// that write one file would leave there what neither has checked.
static RECEIVING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static RECEIVED: Condvar = Condvar::new();

/// The right to write one of them, until it is dropped.
struct Receiving(PathBuf);

impl Receiving {
    /// Waits until nobody else writes it: those end at the latest when their connection does.
    fn begin(half: &Path) -> Self {
        let all = RECEIVING.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = |all: &mut BTreeSet<PathBuf>| all.contains(half);
        let mut all = RECEIVED.wait_while(all, taken).unwrap_or_else(PoisonError::into_inner);
        all.insert(half.to_owned());
        Self(half.to_owned())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        RECEIVING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        RECEIVED.notify_all();
    }
}

fn hash_all(file: &mut File, hash: &mut Sha256, buffer: &mut [u8]) -> io::Result<u64> {
    let mut size = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(size),
            Ok(read) => {
                hash.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a pointer to this file would name.
///
/// # Errors
/// Where it cannot be read.
pub(in crate::git) fn media_of_file(mut file: File) -> io::Result<Media> {
    let mut hash = Sha256::new();
    let size = hash_all(&mut file, &mut hash, &mut vec![0; BUFFER])?;
    Ok(Media { id: MediaId(hash.finalize().into()), size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::Fixture;

    const TEXT: &[u8] = b"a film, or what stands for one";

    fn film() -> Media {
        Media { id: MediaId(Sha256::digest(TEXT).into()), size: TEXT.len() as u64 }
    }

    /// All that git-lfs could see.
    fn visible(store: &MediaStore) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&store.storage)
    }

    #[test]
    fn one_file_is_received_once_at_a_time() {
        let half = PathBuf::from("a half that nobody else in these tests has");
        let first = Receiving::begin(&half);
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (half, second) = (&half, said.clone());
            scope.spawn(move || {
                let _mine = Receiving::begin(half);
                second.send("second").unwrap();
            });
            said.send("first").unwrap();
            drop(first);
        });
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn a_file_is_seen_whole_or_not_at_all_and_gone_on_with() {
        let fixture = Fixture::new();
        let store = fixture.repo().media_store();
        let mut heard = 0;
        let mut receive =
            |begun, mut bytes: &[u8]| store.receive(&film(), begun, &mut bytes, &mut |more| heard += more);
        assert!(matches!(receive(0, &TEXT[..10]), Err(MediaRefused::BrokenOff(_))));
        assert_eq!((store.begun(&film()), visible(&store), store.has(&film())), (10, 0, false));
        fixture.repo().clean_media();
        assert_eq!(store.begun(&film()), 10, "it is young");
        receive(10, &[&TEXT[10..], b"the next file"].concat()).expect("whole");
        assert_eq!(heard, TEXT.len() as u64, "nothing came twice");
        assert_eq!((store.begun(&film()), visible(&store), store.has(&film())), (0, 1, true));
        assert_eq!(fs::read(store.file(&film()).expect("here")).expect("readable"), TEXT);
    }

    #[test]
    fn what_the_pointer_does_not_say_is_refused() {
        let fixture = Fixture::new();
        let store = fixture.repo().media_store();
        let receive = |media: &Media, begun, mut bytes: &[u8]| store.receive(media, begun, &mut bytes, &mut |_| ());
        let mut wrong = TEXT.to_vec();
        wrong[3] ^= 1;
        assert!(matches!(receive(&film(), 0, &wrong), Err(MediaRefused::NotWhatItsPointerSays)));
        // A half that is wrong, as a disk that lost power leaves it, spoils one try and not all.
        assert!(receive(&film(), 0, &wrong[..10]).is_err());
        assert!(matches!(receive(&film(), 10, &TEXT[10..]), Err(MediaRefused::NotWhatItsPointerSays)));
        assert_eq!((store.begun(&film()), visible(&store)), (0, 0));
        let huge = Media { size: limits::MEDIA_BYTES + 1, ..film() };
        assert!(matches!(receive(&huge, 0, TEXT), Err(MediaRefused::TooLarge { .. })));
        // Of the right name and another length: as if it were not here.
        assert!(receive(&film(), 0, TEXT).is_ok());
        let shorter = Media { size: 5, ..film() };
        assert!(store.open(&shorter).is_err() && !store.has(&shorter));
    }

    #[test]
    fn it_lies_where_the_user_says_and_what_is_borrowed_is_read() {
        let (fixture, other) = (Fixture::new(), Fixture::new());
        fixture.git(&["config", "lfs.storage", "elsewhere"]);
        other.repo().media_store().receive(&film(), 0, &mut &*TEXT, &mut |_| ()).expect("whole");
        assert!(!fixture.repo().media_store().has(&film()));
        let borrowed = format!("{}\n", other.dir().join(".git/objects").display());
        fs::write(fixture.dir().join(".git/objects/info/alternates"), borrowed).expect("written");
        let store = fixture.repo().media_store();
        assert!(store.has(&film()) && store.open(&film()).is_ok());
        assert_eq!(store.storage, fixture.dir().canonicalize().expect("there").join(".git/elsewhere"));
    }
}
