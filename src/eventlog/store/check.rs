//! Looking at a log before it is opened, without changing a byte of it.
//!
//! redb trusts a file that was closed in order, and panics over one that was damaged since; asked to check, it writes
//! even where it then refuses. So the check is on a copy: what it reads is the file, what it writes stays in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Bytes that are copied together.
const PIECE: u64 = 4_096;

/// The log in `path`, every checksum of it verified. It can be written like any other, and forgets that. Where it is
/// `shared`, others may read it meanwhile.
pub(super) fn copy_on_write(path: &Path, cache: usize, shared: bool) -> Result<redb::Database, redb::DatabaseError> {
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let copy = Mutex::new(Copy { len, kept: len, pieces: HashMap::new() });
    let backend = CopyOnWrite { file: FileBackend::new(file)?, copy, shared };
    redb::Builder::new().set_cache_size(cache).set_check_integrity_on_open(true).create_with_backend(backend)
}

#[derive(Debug)]
struct CopyOnWrite {
    file: FileBackend,
    copy: Mutex<Copy>,
    /// Nothing is written to the file, so a lock that others who read may hold as well is enough.
    shared: bool,
}

/// What differs from the file.
#[derive(Debug)]
struct Copy {
    len: u64,
    /// Bytes of the file that were never cut off.
    kept: u64,
    pieces: HashMap<u64, Vec<u8>>,
}

impl CopyOnWrite {
    fn copy(&self) -> MutexGuard<'_, Copy> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece as it is in the file; zeros where that ends.
    fn piece(&self, copy: &Copy, at: u64) -> io::Result<Vec<u8>> {
        let start = at * PIECE;
        let mut piece = vec![0; PIECE as usize];
        let there = copy.kept.saturating_sub(start).min(PIECE) as usize;
        if there > 0 {
            self.file.read(start, &mut piece[..there])?;
        }
        Ok(piece)
    }
}

/// The pieces that `len` bytes from `offset` lie in: number, where in the piece, where in the bytes, how many.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset + done as u64;
        let inside = (place % PIECE) as usize;
        let part = (PIECE as usize - inside).min(len - done);
        let next = (part > 0).then_some((place / PIECE, inside, done, part));
        done += part;
        next
    })
}

impl StorageBackend for CopyOnWrite {
    fn len(&self) -> io::Result<u64> {
        Ok(self.copy().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let copy = self.copy();
        for (at, inside, from, len) in pieces(offset, out.len()) {
            let out = &mut out[from..from + len];
            match copy.pieces.get(&at) {
                Some(piece) => out.copy_from_slice(&piece[inside..inside + len]),
                None => out.copy_from_slice(&self.piece(&copy, at)?[inside..inside + len]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut copy = self.copy();
        copy.len = len;
        copy.kept = copy.kept.min(len);
        copy.pieces.retain(|at, _| at * PIECE < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut copy = self.copy();
        for (at, inside, from, len) in pieces(offset, data.len()) {
            let mut piece = match copy.pieces.remove(&at) {
                Some(piece) => piece,
                None => self.piece(&copy, at)?,
            };
            piece[inside..inside + len].copy_from_slice(&data[from..from + len]);
            copy.pieces.insert(at, piece);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Locks are those of the file: nobody writes to it meanwhile.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.shared { self.file.try_lock_shared_range(start, end) } else { self.file.try_lock_range(start, end) }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.shared { self.file.lock_shared_range(start, end) } else { self.file.lock_range(start, end) }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_in_their_pieces() {
        let of = |offset, len| pieces(offset, len).collect::<Vec<_>>();
        assert_eq!(of(0, 0), []);
        assert_eq!(of(10, 20), [(0, 10, 0, 20)]);
        assert_eq!(of(4_090, 4_110), [(0, 4_090, 0, 6), (1, 0, 6, 4_096), (2, 0, 4_102, 8)]);
    }

    #[test]
    fn what_is_written_is_read_back_and_the_file_stays() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(temp.path(), [7; 5_000]).unwrap();
        let file = FileBackend::new(File::options().read(true).write(true).open(temp.path()).unwrap()).unwrap();
        let copy = Mutex::new(Copy { len: 5_000, kept: 5_000, pieces: HashMap::new() });
        let backend = CopyOnWrite { file, copy, shared: false };
        let read = |offset, len| {
            let mut bytes = vec![1; len];
            backend.read(offset, &mut bytes).unwrap();
            bytes
        };
        backend.write(4_095, &[9; 2]).unwrap();
        assert_eq!(read(4_094, 4), [7, 9, 9, 7]);
        backend.set_len(4_096).unwrap();
        backend.set_len(8_192).unwrap();
        assert_eq!((read(4_094, 4), backend.len().unwrap()), (vec![7, 9, 0, 0], 8_192));
        assert_eq!(std::fs::read(temp.path()).unwrap(), [7; 5_000]);
    }
}
