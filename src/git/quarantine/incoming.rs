//! Receiving a pack: written down as it comes, cut at its own end, indexed, within limits.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gix_pack::data::entry::Header;
use gix_pack::data::input::{BytesToEntriesIter, Entry, EntryDataMode, Mode};
use gix_pack::data::{self, Version};

use super::{Files, Large, PackLimits, PackProgress, PackRefused};
use crate::git::objects::chain;

/// Threads that rebuild objects from deltas.
const THREADS: usize = 2;
/// Progress is told once in this many objects.
const TELL_EVERY: u64 = 512;

/// Bytes held between the input and gix.
const COPIED: usize = 64 << 10;

/// Bytes that gix may take for its table of all objects of a pack, whatever one object may take.
const OFFSETS: u64 = 2 << 30;

/// A pack that arrived: its files, and of what kind its objects are.
pub(super) struct Incoming {
    pub(super) files: Files,
    pub(super) kinds: Kinds,
}

/// The kind of each object of a pack, by its place in the file.
#[derive(Default)]
pub(super) struct Kinds {
    /// In order of the offset; `None` for a delta whose base is named by id.
    by_offset: Vec<(u64, Option<gix::objs::Kind>)>,
}

impl Kinds {
    pub(super) fn at(&self, offset: u64) -> Option<gix::objs::Kind> {
        let at = self.by_offset.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        self.by_offset[at].1
    }
}

/// Receives one pack into `dir`; `None` for the pack of nothing.
pub(super) fn receive(
    dir: PathBuf,
    input: &mut dyn BufRead,
    limits: &PackLimits,
    progress: &dyn Fn(PackProgress),
    stop: &AtomicBool,
) -> Result<Option<Incoming>, PackRefused> {
    let mut header = [0; data::header::SIZE];
    input.read_exact(&mut header).map_err(read_failed)?;
    let (version, count) = data::header::decode(&header).map_err(|error| PackRefused::BadPack(chain(&error)))?;
    if version != Version::V2 {
        return Err(PackRefused::BadPack("its version is one that nobody writes".to_owned()));
    }
    if count > limits.objects {
        let (size, limit) = (u64::from(count), u64::from(limits.objects));
        return Err(PackRefused::TooLarge { what: Large::Objects, size, limit });
    }
    if count == 0 {
        return nothing(&header, input).map(|()| None);
    }
    let pack = dir.join("incoming.pack");
    let index = dir.join("incoming.idx");
    let mut file = BufWriter::with_capacity(64 << 10, File::create_new(&pack).map_err(PackRefused::io(WRITING))?);
    file.write_all(&header).map_err(PackRefused::io(WRITING))?;
    let flow = RefCell::new(Flow { input, file, bytes: header.len() as u64, limit: limits.bytes, stop, refused: None });
    // gix is given bytes of strangers here. It should not panic; if it does, this pack is to blame, not us.
    let indexed = catch_unwind(AssertUnwindSafe(|| {
        let job = Job { limits, progress, total: count, header: &header, pack: &pack, index: &index };
        job.run(&flow)
    }));
    let mut flow = flow.into_inner();
    if let Some(refused) = flow.refused.take() {
        return Err(refused);
    }
    let (kinds, name) = indexed.unwrap_or_else(|_| Err(PackRefused::BadPack("it cannot be read".to_owned())))?;
    progress(PackProgress { objects_done: u64::from(count), objects_total: u64::from(count), bytes: flow.bytes });
    let files = Files { pack, index, name, objects: u64::from(count), bytes: flow.bytes };
    Ok(Some(Incoming { files, kinds }))
}

const WRITING: &str = "the pack cannot be written to the quarantine";

/// An error of whoever hands the bytes over; an early end is a broken pack.
fn read_failed(error: io::Error) -> PackRefused {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackRefused::BadPack("it ends early".to_owned()),
        _ => PackRefused::Io { what: "the pack cannot be received", source: error },
    }
}

/// The rest of a pack without objects: its checksum.
fn nothing(header: &[u8], input: &mut dyn BufRead) -> Result<(), PackRefused> {
    let mut trailer = [0; 20];
    input.read_exact(&mut trailer).map_err(read_failed)?;
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(header);
    if hash.try_finalize().ok() != Some(gix::ObjectId::Sha1(trailer)) {
        return Err(PackRefused::BadPack("its checksum is wrong".to_owned()));
    }
    ended(input)
}

fn ended(input: &mut dyn BufRead) -> Result<(), PackRefused> {
    match input.fill_buf() {
        Ok([]) => Ok(()),
        Ok(_) => Err(PackRefused::TrailingBytes),
        Err(error) => Err(read_failed(error)),
    }
}

/// The pack on its way from the network to the file.
struct Flow<'a> {
    input: &'a mut dyn BufRead,
    file: BufWriter<File>,
    bytes: u64,
    limit: u64,
    stop: &'a AtomicBool,
    /// Why it ended, told more exactly than gix passes it on.
    refused: Option<PackRefused>,
}

impl Flow<'_> {
    fn refuse(&mut self, why: PackRefused) -> io::Error {
        self.refused.get_or_insert(why);
        io::Error::other("refused")
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.refused.is_some() {
            return Err(io::Error::other("refused"));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(self.refuse(PackRefused::Stopped));
        }
        loop {
            match self.input.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.refuse(read_failed(error))),
            }
        }
        self.input.fill_buf()
    }

    /// Writes down bytes that were read, which the input still holds.
    fn take(&mut self, bytes: &[u8]) {
        self.input.consume(bytes.len());
        self.bytes += bytes.len() as u64;
        if let Err(error) = self.file.write_all(bytes) {
            self.refuse(PackRefused::io(WRITING)(error));
        } else if self.bytes > self.limit {
            let (size, limit) = (self.bytes, self.limit);
            self.refuse(PackRefused::TooLarge { what: Large::Bytes, size, limit });
        }
    }
}

/// A reader of a flow. It holds a copy of what it shows until that is consumed, so that asking for it again never
/// fails: gix relies on it.
struct Tap<'a, 'b> {
    flow: &'b RefCell<Flow<'a>>,
    buf: Vec<u8>,
    at: usize,
}

impl Read for Tap<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let amount = bytes.len().min(out.len());
        out[..amount].copy_from_slice(&bytes[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl BufRead for Tap<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buf.len() {
            self.buf.clear();
            self.at = 0;
            let mut flow = self.flow.borrow_mut();
            let bytes = flow.fill()?;
            self.buf.extend_from_slice(&bytes[..bytes.len().min(COPIED)]);
        }
        Ok(&self.buf[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.buf.len() - self.at);
        self.flow.borrow_mut().take(&self.buf[self.at..self.at + amount]);
        self.at += amount;
    }
}

/// Everything that indexing one pack takes.
struct Job<'a> {
    limits: &'a PackLimits,
    progress: &'a dyn Fn(PackProgress),
    total: u32,
    header: &'a [u8],
    pack: &'a Path,
    index: &'a Path,
}

impl Job<'_> {
    fn run(&self, flow: &RefCell<Flow<'_>>) -> Result<(Kinds, gix::ObjectId), PackRefused> {
        let hash = gix::hash::Kind::Sha1;
        let tap = Tap { flow, buf: Vec::new(), at: 0 };
        let reader = self.header.chain(tap);
        let entries = BytesToEntriesIter::new_from_header(reader, Mode::Verify, EntryDataMode::KeepAndCrc32, hash)
            .map_err(bad)?;
        let mut looked = Looked {
            entries,
            flow,
            job: self,
            kinds: Kinds::default(),
            deltas: gix::zlib::Inflate::default(),
            done: 0,
            all_bytes: 0,
        };
        let mut index = BufWriter::new(File::create_new(self.index).map_err(PackRefused::io(WRITING))?);
        let complete = || {
            let mut flow = flow.borrow_mut();
            if let Err(why) = ended(flow.input) {
                return Err(flow.refuse(why));
            }
            flow.file.flush().map_err(|error| flow.refuse(PackRefused::io(WRITING)(error)))?;
            let pack = data::File::at(self.pack, hash).map_err(io::Error::other)?;
            Ok((slice as fn(data::EntryRange, &data::File) -> Option<&[u8]>, pack))
        };
        let stop = flow.borrow().stop;
        let outcome = gix_pack::index::write_data_iter_to_stream(
            gix_pack::index::Version::default(),
            complete,
            &mut looked,
            Some(THREADS),
            &mut gix::progress::Discard,
            &mut Noting { out: &mut index, flow },
            stop,
            hash,
            Some(usize::try_from(self.limits.object_bytes.max(OFFSETS)).unwrap_or(usize::MAX)),
            Version::V2,
        );
        let outcome = outcome.map_err(bad)?;
        index.flush().map_err(PackRefused::io(WRITING))?;
        if outcome.num_objects != self.total {
            return Err(PackRefused::BadPack("it holds fewer objects than it says".to_owned()));
        }
        let index = gix_pack::index::File::at(self.index, hash).map_err(bad)?;
        let twice = (1..index.num_objects()).any(|at| index.oid_at_index(at - 1) == index.oid_at_index(at));
        if twice {
            return Err(PackRefused::BadPack("an object is in it twice".to_owned()));
        }
        Ok((looked.kinds, outcome.data_hash))
    }
}

fn slice(range: data::EntryRange, pack: &data::File) -> Option<&[u8]> {
    pack.entry_slice(range)
}

/// What gix says of a pack. What we said ourselves is kept in the flow and comes first.
fn bad(error: gix::Error) -> PackRefused {
    if error.is_cancelled() {
        return PackRefused::Stopped;
    }
    match error.downcast_any_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => PackRefused::Full,
        _ => PackRefused::BadPack(chain(&error)),
    }
}

/// The index on its way to its file.
struct Noting<'a, 'b, 'c> {
    out: &'a mut BufWriter<File>,
    flow: &'b RefCell<Flow<'c>>,
}

impl Write for Noting<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| self.flow.borrow_mut().refuse(PackRefused::io(WRITING)(error)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| self.flow.borrow_mut().refuse(PackRefused::io(WRITING)(error)))
    }
}

/// Entries as they come, each held against the limits before anything is made of it.
struct Looked<'a, 'b, R> {
    entries: BytesToEntriesIter<R>,
    flow: &'b RefCell<Flow<'a>>,
    job: &'b Job<'b>,
    kinds: Kinds,
    deltas: gix::zlib::Inflate,
    done: u64,
    all_bytes: u64,
}

impl<R: BufRead> Iterator for Looked<'_, '_, R> {
    type Item = Result<Entry, gix::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut entry = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let checked = self.look(&entry);
        entry.compressed = None;
        Some(match checked {
            Ok(()) => Ok(entry),
            Err(why) => Err(gix::Error::from_error(self.flow.borrow_mut().refuse(why))),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl<R: BufRead> Looked<'_, '_, R> {
    fn look(&mut self, entry: &Entry) -> Result<(), PackRefused> {
        let kind = match entry.header {
            Header::OfsDelta { base_distance } => {
                let base = entry.pack_offset.checked_sub(base_distance);
                base.and_then(|base| self.kinds.at(base))
            }
            Header::RefDelta { .. } => None,
            plain => plain.as_kind(),
        };
        self.kinds.by_offset.push((entry.pack_offset, kind));
        let size = if entry.header.is_delta() { self.delta_size(entry)? } else { entry.decompressed_size };
        let limits = self.job.limits;
        let too_large = |what, size: u64, limit| PackRefused::TooLarge { what, size, limit };
        let largest = size.max(entry.decompressed_size);
        if largest > limits.object_bytes {
            return Err(too_large(Large::ObjectBytes, largest, limits.object_bytes));
        }
        self.all_bytes = self.all_bytes.saturating_add(largest);
        if self.all_bytes > limits.all_object_bytes {
            return Err(too_large(Large::AllObjectBytes, self.all_bytes, limits.all_object_bytes));
        }
        self.done += 1;
        if self.done.is_multiple_of(TELL_EVERY) {
            let (objects_total, bytes) = (u64::from(self.job.total), self.flow.borrow().bytes);
            (self.job.progress)(PackProgress { objects_done: self.done, objects_total, bytes });
        }
        Ok(())
    }

    /// The size of the object that a delta makes: the second number in it.
    fn delta_size(&mut self, entry: &Entry) -> Result<u64, PackRefused> {
        let malformed = || PackRefused::BadPack("a delta is malformed".to_owned());
        let mut start = [0; 24];
        self.deltas.reset();
        let compressed = entry.compressed.as_deref().unwrap_or_default();
        let (_, _, len) = self.deltas.prefix(compressed, &mut start).map_err(|_| malformed())?;
        let mut bytes = start[..len].iter();
        let mut number = || {
            let (mut number, mut shift) = (0u64, 0);
            for byte in bytes.by_ref() {
                number |= u64::from(byte & 0x7f).checked_shl(shift)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    return Some(number);
                }
            }
            None
        };
        number().and_then(|_| number()).ok_or_else(malformed)
    }
}
