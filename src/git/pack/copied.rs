//! A pack of many objects: those that lie in packs here are copied as they are, with their deltas where the base is
//! sent too. Two threads prepare what this one writes, and wait for it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::parallel::{Finalize, InOrderIter};
use gix_pack::data::output;
use gix_pack::data::output::count::PackLocation;

use super::PackError;
use crate::git::objects::{Objects, chain};

/// Threads that read and compress. More would take the machine away from its user.
const THREADS: usize = 2;
/// Objects handed to a thread at once.
const CHUNK: usize = 64;

/// Writes the pack; returns its size in bytes.
pub(in crate::git) fn write(
    objects: Objects,
    ids: Vec<gix::ObjectId>,
    count: u32,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<u64, PackError> {
    let copying = |error: &gix::Error| PackError::Copying(chain(error));
    let handle = objects.into_handle().into_arc().map_err(|error| PackError::Copying(error.to_string()))?;
    let mut handle = handle.into_inner();
    handle.prevent_pack_unload();
    handle.ignore_replacements = true;
    let counts = ids
        .into_iter()
        .map(|id| output::Count { id, entry_pack_location: PackLocation::NotLookedUp })
        .collect::<Vec<_>>();
    let options = output::entry::iter_from_counts::Options {
        thread_limit: Some(THREADS),
        chunk_size: CHUNK,
        allow_thin_pack: false,
        ..Default::default()
    };
    let entries = output::entry::iter_from_counts(counts, handle, Box::new(gix::progress::Discard), options)
        .map_err(|error| copying(&error))?;
    let mut entries = InOrderIter::from(entries);
    // A writer that fails is told apart from packs that cannot be read.
    let failed = Rc::new(RefCell::new(None));
    let noting = Noting { out: io::BufWriter::with_capacity(64 << 10, out), failed: failed.clone() };
    let version = gix_pack::data::Version::V2;
    let mut pack = output::bytes::FromEntriesIter::new(&mut entries, noting, count, version, gix::hash::Kind::Sha1);
    let mut bytes = 0;
    let mut first_error = None;
    for written in &mut pack {
        match written {
            Ok(written) => bytes += written,
            Err(error) => {
                first_error = Some(error);
                break;
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
    }
    drop(pack);
    if let Some(error) = failed.borrow_mut().take() {
        return Err(PackError::Write(error));
    }
    if let Some(error) = first_error {
        return Err(copying(&error));
    }
    let outcome = entries.inner.finalize().map_err(|error| copying(&error))?;
    match outcome.missing_objects {
        0 => Ok(bytes),
        missing => Err(PackError::Copying(format!("{missing} objects are missing"))),
    }
}

/// Keeps the first error of a writer.
struct Noting<W> {
    out: W,
    failed: Rc<RefCell<Option<io::Error>>>,
}

impl<W> Noting<W> {
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let again = io::Error::from(error.kind());
            self.failed.borrow_mut().get_or_insert(error);
            again
        })
    }
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}
