//! Packs that are made here: stored in the same way as those that arrive.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::adopt::Room;
use super::incoming::{self, Among};
use super::{Adopted, PackLimits, PackRefused, Quarantined};
use crate::git::Repository;

impl Repository {
    /// Stores the pack that `write` writes, whole and without deltas against anything else, durably. Git's housekeeping
    /// is kept from it until [`Adopted::release`].
    ///
    /// # Errors
    /// Those of `write`, and [`PackRefused`]; the object store is as before then.
    pub(in crate::git) fn store_made<E: From<PackRefused>>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
        stop: &AtomicBool,
    ) -> Result<Adopted, E> {
        let failed = PackRefused::io("a pack cannot be written to the quarantine");
        let room = Room::new(self)?;
        let path = room.pack_dir().join("made");
        let mut file = BufWriter::new(File::create_new(&path).map_err(&failed)?);
        write(&mut file)?;
        file.flush().map_err(&failed)?;
        drop(file);
        let mut input = BufReader::new(Gently::new(File::open(&path).map_err(&failed)?));
        let (dir, among, limits) = (room.pack_dir(), Among::default(), PackLimits::default());
        let pack = incoming::receive(&dir, 0, &mut input, among, None, &limits, &|_| {}, stop);
        let pack = pack.map_err(|failed| failed.why)?;
        Ok(Quarantined::new(self, room, pack.into_iter().map(|pack| pack.files).collect()).adopt()?)
    }
}

/// Reads or writes so that what is behind it takes about half of a processor at most: it rests as long as was worked.
pub(in crate::git) struct Gently<T> {
    inner: T,
    bytes: usize,
    since: Instant,
}

/// It rests once in this many bytes; what is smaller is done before anybody notices.
const REST_EVERY: usize = 256 << 10;
/// No longer than this: the disk may have been slow, or the machine asleep.
const LONGEST_REST: Duration = Duration::from_millis(200);

impl<T> Gently<T> {
    pub(in crate::git) fn new(inner: T) -> Self {
        Self { inner, bytes: 0, since: Instant::now() }
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= REST_EVERY {
            std::thread::sleep(Instant::now().duration_since(self.since).min(LONGEST_REST));
            (self.bytes, self.since) = (0, Instant::now());
        }
    }
}

impl<T: Read> Read for Gently<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.passed(read);
        Ok(read)
    }
}

impl<T: Write> Write for Gently<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.passed(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
