//! A pack of many objects: those that lie in packs here are copied as they are, with their deltas where the base is
//! sent too. Nothing is inflated for it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::hashtable::HashMap;
use gix_pack::data::entry::Header;

use super::PackError;
use super::few::{Hashed, whole};
use crate::git::objects::{Objects, chain, read_at};
use crate::limits;

/// Bytes read of a pack at once, and gathered before they are handed on.
const WINDOW: usize = 64 << 10;

/// Writes the pack; returns its size in bytes.
pub(in crate::git) fn write(
    objects: Objects,
    ids: Vec<gix::ObjectId>,
    count: u32,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<u64, PackError> {
    let mut out = io::BufWriter::with_capacity(WINDOW, out);
    let mut copier = Copier::new(objects, ids)?;
    let mut pack = Hashed::begin(&mut out, count)?;
    for at in 0..copier.items.len() as u32 {
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        copier.write(at, &mut pack)?;
    }
    let bytes = pack.end()?;
    out.flush().map_err(PackError::Write)?;
    Ok(bytes)
}

/// A pack here.
struct Source {
    index: gix_pack::index::File,
    file: File,
    /// Where its entries begin, in order, and where the last one ends.
    borders: Vec<u64>,
    /// A part of it, and where that begins.
    window: (u64, Vec<u8>),
}

impl Source {
    fn open(path: &std::path::Path) -> io::Result<Self> {
        let index = gix_pack::index::File::at(path, gix::hash::Kind::Sha1);
        let index = index.map_err(|error| io::Error::other(chain(&error)))?;
        let file = File::open(path.with_extension("pack"))?;
        let mut borders: Vec<u64> = (0..index.num_objects()).map(|at| index.pack_offset_at_index(at)).collect();
        borders.sort_unstable();
        // The checksum is at its end.
        borders.push(file.metadata()?.len().saturating_sub(20));
        Ok(Self { index, file, borders, window: (0, Vec::new()) })
    }

    fn end(&self, offset: u64) -> Option<u64> {
        let at = self.borders.binary_search(&offset).ok()?;
        self.borders.get(at + 1).copied().filter(|end| *end > offset)
    }

    /// The bytes of the entry that lies there.
    fn entry(&mut self, offset: u64) -> io::Result<&[u8]> {
        let broken = || io::Error::other("a pack and its index do not agree");
        let end = self.end(offset).ok_or_else(broken)?;
        let len = usize::try_from(end - offset).map_err(|_| broken())?;
        let (from, bytes) = &mut self.window;
        if offset < *from || end > *from + bytes.len() as u64 {
            let last = self.borders.last().copied().unwrap_or(end);
            let read = usize::try_from(last - offset).map_or(WINDOW, |rest| rest.min(WINDOW)).max(len);
            bytes.resize(read, 0);
            *from = offset;
            if let Err(error) = read_at(&mut self.file, bytes, offset) {
                bytes.clear();
                return Err(error);
            }
        }
        let at = usize::try_from(offset - *from).map_err(|_| broken())?;
        Ok(&bytes[at..at + len])
    }
}

/// An object to write.
struct Item {
    id: gix::ObjectId,
    /// In which pack it lies, and where; `None` where it lies in none.
    lies: Option<(u32, u64)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waits,
    /// What it is built on is written first.
    Begun,
    /// Where it stands in the new pack, and how many deltas lie between it and something whole.
    Stands(u64, u32),
}

struct Copier {
    objects: Objects,
    sources: Vec<Source>,
    /// In the order in which they lie here.
    items: Vec<Item>,
    by_id: HashMap<gix::ObjectId, u32>,
    buf: Vec<u8>,
}

impl Copier {
    fn new(objects: Objects, ids: Vec<gix::ObjectId>) -> Result<Self, PackError> {
        let failed = |error: io::Error| PackError::Copying(error.to_string());
        let mut sources = Vec::new();
        for dir in objects.pack_dirs().map_err(failed)? {
            let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
            let indexes = files.filter(|path| path.extension().is_some_and(|extension| extension == "idx"));
            // One that goes away right now is no reason not to look into the others.
            sources.extend(indexes.filter_map(|path| Source::open(&path).ok()));
        }
        // Most objects lie in the largest.
        sources.sort_by_key(|source| std::cmp::Reverse(source.index.num_objects()));
        let find = |id: &gix::oid| {
            let found = |(at, source): (usize, &Source)| {
                Some((at as u32, source.index.pack_offset_at_index(source.index.lookup(id)?)))
            };
            sources.iter().enumerate().find_map(found)
        };
        let mut items: Vec<Item> =
            ids.into_iter().map(|id| Item { id, lies: find(&id), state: State::Waits }).collect();
        items.sort_by_key(|item| item.lies.unwrap_or((u32::MAX, 0)));
        let by_id = items.iter().enumerate().map(|(at, item)| (item.id, at as u32)).collect();
        Ok(Self { objects, sources, items, by_id, buf: Vec::new() })
    }

    /// Writes an object, after what it is built on where that is to be written too.
    fn write(&mut self, at: u32, pack: &mut Hashed<'_>) -> Result<(), PackError> {
        let mut way = vec![at];
        while let Some(at) = way.last().copied() {
            if let State::Stands(..) = self.items[at as usize].state {
                way.pop();
                continue;
            }
            let Some((source, offset)) = self.items[at as usize].lies else {
                self.decoded(at, pack)?;
                continue;
            };
            let failed = |error: &dyn std::fmt::Display| PackError::Copying(error.to_string());
            let bytes = self.sources[source as usize].entry(offset).map_err(|error| failed(&error))?;
            let entry = gix_pack::data::Entry::from_bytes(bytes, offset, gix::hash::Kind::Sha1);
            let entry = entry.map_err(|error| failed(&error))?;
            let data = usize::try_from(entry.data_offset - offset).map_err(|error| failed(&error))?;
            let lies = |item: &Item| item.lies.unwrap_or((u32::MAX, 0));
            let base = match entry.header {
                Header::OfsDelta { base_distance } => offset.checked_sub(base_distance).and_then(|base| {
                    self.items.binary_search_by_key(&(source, base), lies).ok().map(|base| base as u32)
                }),
                Header::RefDelta { base_id } => self.by_id.get(&base_id).copied(),
                whole => {
                    let stands = State::Stands(pack.bytes, 0);
                    whole.write_to(entry.decompressed_size, pack).map_err(PackError::Write)?;
                    pack.write_all(&bytes[data..]).map_err(PackError::Write)?;
                    self.items[at as usize].state = stands;
                    continue;
                }
            };
            match base.map(|base| (base, self.items[base as usize].state)) {
                Some((base, State::Waits)) => {
                    self.items[at as usize].state = State::Begun;
                    way.push(base);
                }
                Some((_, State::Stands(to, depth))) if depth < limits::PACK_DEPTH => {
                    let stands = State::Stands(pack.bytes, depth + 1);
                    let header = Header::OfsDelta { base_distance: pack.bytes - to };
                    header.write_to(entry.decompressed_size, pack).map_err(PackError::Write)?;
                    pack.write_all(&bytes[data..]).map_err(PackError::Write)?;
                    self.items[at as usize].state = stands;
                }
                // What it is built on is not sent, or is built on it in another pack.
                _ => self.decoded(at, pack)?,
            }
        }
        Ok(())
    }

    /// Writes an object whole.
    fn decoded(&mut self, at: u32, pack: &mut Hashed<'_>) -> Result<(), PackError> {
        let item = &mut self.items[at as usize];
        let (kind, data) = self.objects.read(&item.id, &mut self.buf)?;
        let stands = State::Stands(pack.bytes, 0);
        let encoded = whole(kind, data)?;
        encoded.header.write_to(encoded.size as u64, pack).map_err(PackError::Write)?;
        pack.write_all(&encoded.compressed).map_err(PackError::Write)?;
        item.state = stands;
        Ok(())
    }
}
