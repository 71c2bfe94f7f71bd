//! A pack of few objects, with deltas made for it: against what stood at the same path in a parent, where that pays.
//!
//! The base of a delta is an object that comes earlier in the pack, named by its distance, or one that the other side
//! has for sure, since it belongs to a commit that it says it holds; then it is named by its id, and the pack is *thin*.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::hashtable::{HashMap, HashSet};
use gix::objs::Kind;
use gix_pack::data::entry::Header;

use super::PackError;
use super::delta::Index;
use super::form::{How, Writer};
use crate::git::objects::Objects;

/// Largest object, in bytes, that a delta is made for or against: both, and a table of the base, are in memory.
const LARGEST: usize = 32 << 20;
/// Longest chain of deltas within one pack: git's own default.
const DEPTH: u32 = 50;
/// Up to so many bytes are compressed as well as can be: there it costs microseconds.
const SMALL: usize = 64 << 10;
/// Bases that are tried for one object: the parents of most merges.
const TRIED: usize = 2;

/// An object of a pack, and what stood at its path in the parents: that comes in the pack too, or the other side has it.
pub(super) struct Item {
    pub(super) id: gix::ObjectId,
    pub(super) bases: Vec<gix::ObjectId>,
}

/// Where an object stands in the pack.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    /// How many deltas lie between it and something whole.
    depth: u32,
}

/// An entry's header and its compressed bytes.
pub(super) struct Encoded {
    pub(super) header: Header,
    pub(super) size: usize,
    pub(super) compressed: Vec<u8>,
    depth: u32,
}

impl Encoded {
    fn len(&self) -> usize {
        self.header.size(self.size as u64) + self.compressed.len()
    }
}

/// Writes the pack; returns its size in bytes when plain.
pub(super) fn write(
    objects: &Objects,
    items: &[Item],
    count: u32,
    out: &mut dyn Write,
    how: How,
    stop: &AtomicBool,
) -> Result<u64, PackError> {
    let mut pack = Writer::begin(out, count, how)?;
    let mut written: HashMap<gix::ObjectId, Place> = HashMap::default();
    let coming: HashSet<gix::ObjectId> = items.iter().map(|item| item.id).collect();
    let (mut buf, mut base_buf) = (Vec::new(), Vec::new());
    for item in items {
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        let (kind, data) = objects.read(&item.id, &mut buf)?;
        let offset = pack.bytes;
        if data.len() > LARGEST {
            // What is large leaves as it is compressed.
            let entry = pack.entry(&header_of(kind), data.len() as u64)?;
            deflate(data, entry)?.end().map_err(PackError::Write)?;
            written.insert(item.id, Place { offset, depth: 0 });
            continue;
        }
        let mut best: Option<Encoded> = None;
        for base in item.bases.iter().take(TRIED) {
            let Some(delta) = delta(objects, (kind, data), base, &mut base_buf) else { continue };
            let (header, depth) = match written.get(base) {
                Some(place) if place.depth < DEPTH => {
                    (Header::OfsDelta { base_distance: offset - place.offset }, place.depth + 1)
                }
                // Of what comes later, with wrong clocks or as it was moved, no delta can be made.
                None if !coming.contains(base) => (Header::RefDelta { base_id: *base }, 1),
                _ => continue,
            };
            let encoded = Encoded { header, size: delta.len(), compressed: deflate(&delta, Vec::new())?, depth };
            if best.as_ref().is_none_or(|best| encoded.len() < best.len()) {
                best = Some(encoded);
            }
        }
        // Most deltas are so short that nobody need look how long the whole would be.
        let best = match best {
            Some(best) if best.len() < data.len() / SHORT => best,
            best => {
                let whole = whole(kind, data)?;
                best.filter(|best| best.len() < whole.len()).unwrap_or(whole)
            }
        };
        let entry = pack.entry(&best.header, best.size as u64)?;
        entry.all(&best.compressed).map_err(PackError::Write)?;
        written.insert(item.id, Place { offset, depth: best.depth });
    }
    pack.end()
}

/// Text compresses to a third, hardly ever to less than this part.
const SHORT: usize = 16;

/// The delta from a base to an object, if one can be made. That a base cannot be read is no reason to send nothing.
fn delta(objects: &Objects, (kind, data): (Kind, &[u8]), base: &gix::ObjectId, buf: &mut Vec<u8>) -> Option<Vec<u8>> {
    objects.size(base).ok().filter(|size| *size <= LARGEST as u64)?;
    let (_, base) = objects.read(base, buf).ok().filter(|(base_kind, _)| *base_kind == kind)?;
    Index::new(base)?.delta(data, data.len())
}

/// An object as it is, compressed.
pub(super) fn whole(kind: Kind, data: &[u8]) -> Result<Encoded, PackError> {
    Ok(Encoded { header: header_of(kind), size: data.len(), compressed: deflate(data, Vec::new())?, depth: 0 })
}

fn header_of(kind: Kind) -> Header {
    match kind {
        Kind::Tree => Header::Tree,
        Kind::Blob => Header::Blob,
        Kind::Commit => Header::Commit,
        Kind::Tag => Header::Tag,
    }
}

fn deflate<W: Write>(data: &[u8], out: W) -> Result<W, PackError> {
    let level = if data.len() <= SMALL { gix::zlib::Compression::BEST } else { gix::zlib::Compression::DEFAULT };
    let mut deflate = gix::zlib::stream::deflate::Write::new(out, level);
    deflate.write_all(data).and_then(|()| deflate.flush()).map_err(PackError::Write)?;
    Ok(deflate.into_inner())
}
