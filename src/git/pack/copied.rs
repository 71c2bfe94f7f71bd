//! A pack of many objects: those that lie in packs here are copied as they are, with their deltas where the base is
//! sent too. Nothing is inflated for it.
//!
//! What is built on an object follows it at once, and what is built on that before the next: so whoever receives the pack can
//! build each object as it comes, with a few others in memory. Git itself leaves trees in the order of their age, in which one
//! may be built on another that came thousands of trees before.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::hashtable::HashMap;
use gix_pack::data::entry::Header;

use super::few::whole;
use super::form::{How, Writer};
use super::portion::Divide;
use super::{PackError, Portion, Skip};
use crate::git::objects::{Objects, chain, read_at};
use crate::limits;

/// Bytes read of a pack at once where it is read in its order, and gathered before they are handed on.
const WINDOW: usize = 64 << 10;
/// Bytes read of a pack at once where it is not.
const NEAR: usize = 4 << 10;
/// Most bytes of the header of an entry.
const HEADER: usize = 32;

/// Writes the pack, or the portion of it that is to be divided; returns its objects, and its size in bytes when plain.
pub(in crate::git) fn write(
    objects: Objects,
    ids: Vec<gix::ObjectId>,
    divide: Option<Divide<'_>>,
    out: &mut dyn Write,
    how: How,
    stop: &AtomicBool,
) -> Result<(u32, u64), PackError> {
    let all = ids.len();
    let counted = |number: usize| u32::try_from(number).map_err(|_| PackError::TooMany(number));
    let mut out = io::BufWriter::with_capacity(WINDOW, out);
    let mut copier = Copier::new(objects, ids)?;
    let mut order = copier.order()?;
    if let Some(divide) = divide
        && let Some(first) = divide.first_of(&copier.sizes(&order))
    {
        order.truncate(first);
        let ids = order.iter().map(|at| copier.items[*at as usize].id);
        (divide.tell)(Portion { objects: counted(all)?, names: Skip::of(ids, usize::MAX) });
    }
    let count = counted(order.len())?;
    let mut pack = Writer::begin(&mut out, count, how)?;
    for at in order {
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        copier.write(at, &mut pack)?;
    }
    let bytes = pack.end()?;
    out.flush().map_err(PackError::Write)?;
    Ok((count, bytes))
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

    /// The bytes of the entry that lies there, or the first of them.
    fn entry(&mut self, offset: u64, most: usize) -> io::Result<&[u8]> {
        let broken = || io::Error::other("a pack and its index do not agree");
        let end = self.end(offset).ok_or_else(broken)?;
        let len = usize::try_from(end - offset).map_err(|_| broken())?.min(most);
        let (from, bytes) = &mut self.window;
        let until = *from + bytes.len() as u64;
        if offset < *from || offset + len as u64 > until {
            let last = self.borders.last().copied().unwrap_or(end);
            let ahead = if (*from..=until).contains(&offset) { WINDOW } else { NEAR };
            let read = usize::try_from(last - offset).map_or(ahead, |rest| rest.min(ahead)).max(len);
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

    /// The header of the entry that lies there, the size that it tells, and what follows it; of the entry no more than these
    /// bytes are read.
    fn header(&mut self, offset: u64, most: usize) -> Result<(Header, u64, &[u8]), PackError> {
        let failed = |error: &dyn std::fmt::Display| PackError::Copying(error.to_string());
        let bytes = self.entry(offset, most).map_err(|error| failed(&error))?;
        let entry = gix_pack::data::Entry::from_bytes(bytes, offset, gix::hash::Kind::Sha1);
        let entry = entry.map_err(|error| failed(&error))?;
        let data = usize::try_from(entry.data_offset - offset).map_err(|error| failed(&error))?;
        Ok((entry.header, entry.decompressed_size, &bytes[data..]))
    }
}

/// An object to write.
struct Item {
    id: gix::ObjectId,
    /// In which pack it lies, and where; `None` where it lies in none.
    lies: Option<(u32, u64)>,
    /// Which item it is built on there, where that is to be written too; else [`NONE`].
    base: u32,
    /// Where it stands in the new pack, and how many deltas lie between it and something whole.
    stands: Option<(u64, u32)>,
}

/// In place of an item.
const NONE: u32 = u32::MAX;

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
        // Most objects lie in the largest. The same packs are to give the same pack: the directory has them in any order.
        sources.sort_by_key(|source| (std::cmp::Reverse(source.index.num_objects()), source.index.pack_checksum()));
        let find = |id: &gix::oid| {
            let found = |(at, source): (usize, &Source)| {
                Some((at as u32, source.index.pack_offset_at_index(source.index.lookup(id)?)))
            };
            sources.iter().enumerate().find_map(found)
        };
        let mut items: Vec<Item> =
            ids.into_iter().map(|id| Item { id, lies: find(&id), base: NONE, stands: None }).collect();
        items.sort_by_key(|item| item.lies.unwrap_or((u32::MAX, 0)));
        let by_id = items.iter().enumerate().map(|(at, item)| (item.id, at as u32)).collect();
        Ok(Self { objects, sources, items, by_id, buf: Vec::new() })
    }

    /// The items, each after what it is built on, with all that is built on one in a row.
    fn order(&mut self) -> Result<Vec<u32>, PackError> {
        let (first, followers) = self.followers()?;
        let (mut order, mut next) = (Vec::with_capacity(self.items.len()), Vec::new());
        for at in (0..self.items.len() as u32).filter(|at| self.items[*at as usize].base == NONE) {
            next.push(at);
            while let Some(at) = next.pop() {
                order.push(at);
                let range = first[at as usize] as usize..first[at as usize + 1] as usize;
                next.extend(followers[range].iter().rev());
            }
        }
        if order.len() < self.items.len() {
            // Objects that are built on each other in different packs.
            let mut is_in = vec![false; self.items.len()];
            order.iter().for_each(|at| is_in[*at as usize] = true);
            order.extend((0..self.items.len() as u32).filter(|at| !is_in[*at as usize]));
        }
        Ok(order)
    }

    /// The size in bytes of each as it lies here, and whether it is built on none before it.
    fn sizes(&self, order: &[u32]) -> Vec<(u64, bool)> {
        let size = |at: &u32| {
            let Item { lies, base, .. } = &self.items[*at as usize];
            let size = lies.and_then(|(source, from)| Some(self.sources[source as usize].end(from)? - from));
            (size.unwrap_or(0), *base == NONE)
        };
        order.iter().map(size).collect()
    }

    /// Finds out what each object is built on. Gives for each where in a list those begin that are built on it, and the list.
    fn followers(&mut self) -> Result<(Vec<u32>, Vec<u32>), PackError> {
        let mut first = vec![0; self.items.len() + 1];
        for at in 0..self.items.len() {
            let Some((source, offset)) = self.items[at].lies else { continue };
            let (header, _, _) = self.sources[source as usize].header(offset, HEADER)?;
            let lies = |item: &Item| item.lies.unwrap_or((u32::MAX, 0));
            let base = match header {
                Header::OfsDelta { base_distance } => offset.checked_sub(base_distance).and_then(|base| {
                    self.items.binary_search_by_key(&(source, base), lies).ok().map(|base| base as u32)
                }),
                Header::RefDelta { base_id } => self.by_id.get(&base_id).copied(),
                _ => None,
            };
            if let Some(base) = base {
                self.items[at].base = base;
                first[base as usize + 1] += 1;
            }
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let (mut free, mut followers) = (first.clone(), vec![0; first[self.items.len()] as usize]);
        for (at, item) in self.items.iter().enumerate().filter(|(_, item)| item.base != NONE) {
            let slot = &mut free[item.base as usize];
            followers[*slot as usize] = at as u32;
            *slot += 1;
        }
        Ok((first, followers))
    }

    /// Writes an object: as it lies here, if that can be, else whole.
    fn write(&mut self, at: u32, pack: &mut Writer<'_>) -> Result<(), PackError> {
        let Item { lies, base, .. } = self.items[at as usize];
        let Some((source, offset)) = lies else { return self.decoded(at, pack) };
        let (header, size, data) = self.sources[source as usize].header(offset, usize::MAX)?;
        let stands = pack.bytes;
        let (header, depth) = if header.is_delta() {
            match self.items.get(base as usize).and_then(|base| base.stands) {
                Some((to, depth)) if depth < limits::PACK_DEPTH => {
                    (Header::OfsDelta { base_distance: stands - to }, depth + 1)
                }
                // What it is built on is not sent.
                _ => return self.decoded(at, pack),
            }
        } else {
            (header, 0)
        };
        let entry = pack.entry(&header, size)?;
        entry.all(data).map_err(PackError::Write)?;
        self.items[at as usize].stands = Some((stands, depth));
        Ok(())
    }

    /// Writes an object whole.
    fn decoded(&mut self, at: u32, pack: &mut Writer<'_>) -> Result<(), PackError> {
        let item = &mut self.items[at as usize];
        let (kind, data) = self.objects.read(&item.id, &mut self.buf)?;
        let stands = pack.bytes;
        let encoded = whole(kind, data)?;
        let entry = pack.entry(&encoded.header, encoded.size as u64)?;
        entry.all(&encoded.compressed).map_err(PackError::Write)?;
        item.stands = Some((stands, 0));
        Ok(())
    }
}
