//! Rebuilding those objects of a pack that could not be built while it came: each is inflated, built of its base, hashed
//! and looked at, once.
//!
//! A family is an object that is whole in the pack and all that is built on it. Families are gone through by threads, each
//! family depth first, so that of a chain of deltas only what something more is built on stays in memory.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gix::objs::Kind;
use gix_pack::data;

use super::incoming::Place;
use super::links::Links;
use super::{Large, PackLimits, PackRefused};
use crate::git::objects::{chain, read_at};

/// Threads that rebuild objects. More would take the machine away from its user.
pub(super) const THREADS: usize = 2;
/// With fewer objects a second thread costs more than it saves.
pub(super) const ALONE: usize = 512;
/// Families that a thread takes at once.
const TAKEN: usize = 32;
/// Bytes of bases that a thread keeps for what is still to be built on them; what is over is rebuilt when its turn comes.
const KEPT: usize = 8 << 20;

/// A pack that lies in a file, to its last entry.
pub(super) struct Received<'a> {
    pub(super) file: &'a Path,
    /// In order of their offset.
    pub(super) places: &'a [Place],
    /// Where the last entry ends.
    pub(super) end: u64,
    /// How many came. The others are bases that the pack was completed with, which are not looked at.
    pub(super) came: usize,
    /// How many objects it may name; `None` where it is not to be noted what they are.
    pub(super) named: Option<usize>,
    pub(super) limits: &'a PackLimits,
    pub(super) stop: &'a AtomicBool,
}

/// Builds the objects in these places, and sets their ids, by their place; gives what those of them say that came.
pub(super) fn objects(
    pack: &Received<'_>,
    waiting: &[u32],
    ids: &mut [gix::ObjectId],
) -> Result<Vec<Links>, PackRefused> {
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let families = Families::of(pack.places, waiting);
    let next = AtomicUsize::new(0);
    // One that fails ends the others.
    let failed = AtomicBool::new(false);
    let work = || -> Result<(Vec<(u32, gix::ObjectId)>, Links), PackRefused> {
        let mut worker = Worker::new(pack, &families)?;
        let done = worker.run(&next, &failed);
        if done.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        done.map(|()| (worker.ids, worker.links))
    };
    let made = if waiting.len() < ALONE {
        vec![work()]
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
            let mut made = vec![work()];
            made.extend(others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }));
            made
        })
    };
    let mut all = Vec::new();
    for made in made {
        let (some, links) = made?;
        some.into_iter().for_each(|(place, id)| ids[place as usize] = id);
        all.push(links);
    }
    Ok(all)
}

/// What is built on what, of those that wait and of all that they are built on.
struct Families {
    /// By place, does it wait? The others were looked at before.
    waits: Vec<bool>,
    /// Objects that are whole.
    heads: Vec<u32>,
    /// For each place, where in `children` those begin that are built on it; and the end.
    first: Vec<u32>,
    children: Vec<u32>,
}

impl Families {
    fn of(places: &[Place], waiting: &[u32]) -> Self {
        let (mut waits, mut needed) = (vec![false; places.len()], vec![false; places.len()]);
        for at in waiting {
            waits[*at as usize] = true;
            let mut next = Some(*at);
            while let Some(at) = next.filter(|at| !std::mem::replace(&mut needed[*at as usize], true)) {
                next = places[at as usize].base();
            }
        }
        let (mut heads, mut first) = (Vec::new(), vec![0; places.len() + 1]);
        let all = || places.iter().enumerate().filter(|(at, _)| needed[*at]);
        for (at, place) in all() {
            match place.base() {
                Some(base) => first[base as usize + 1] += 1,
                None => heads.push(at as u32),
            }
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let (mut free, mut children) = (first.clone(), vec![0; first[places.len()] as usize]);
        for (at, place) in all() {
            if let Some(base) = place.base() {
                let slot = &mut free[base as usize];
                children[*slot as usize] = at as u32;
                *slot += 1;
            }
        }
        Self { waits, heads, first, children }
    }

    fn children(&self, of: u32) -> std::ops::Range<u32> {
        self.first[of as usize]..self.first[of as usize + 1]
    }
}

/// An object that more is to be built on.
struct Base {
    at: u32,
    data: Vec<u8>,
    /// Its bytes were given up for want of room.
    is_gone: bool,
    /// What is still to be built on it, in `Families::children`.
    rest: std::ops::Range<u32>,
}

struct Worker<'a> {
    pack: &'a Received<'a>,
    families: &'a Families,
    reader: Reader,
    ids: Vec<(u32, gix::ObjectId)>,
    links: Links,
    bases: Vec<Base>,
    /// Bytes in `bases`.
    kept: usize,
    /// Memory to use again.
    spare: Vec<Vec<u8>>,
    delta: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(pack: &'a Received<'a>, families: &'a Families) -> Result<Self, PackRefused> {
        Ok(Self {
            pack,
            families,
            reader: Reader::open(pack.file).map_err(PackRefused::io(READING))?,
            ids: Vec::new(),
            // One more: git knows the empty tree without having it.
            links: Links::new(pack.named.map(|named| named + 1)),
            bases: Vec::new(),
            kept: 0,
            spare: Vec::new(),
            delta: Vec::new(),
        })
    }

    fn run(&mut self, next: &AtomicUsize, failed: &AtomicBool) -> Result<(), PackRefused> {
        loop {
            let from = next.fetch_add(TAKEN, Ordering::Relaxed);
            let Some(heads) = self.families.heads.get(from..) else { return Ok(()) };
            for head in heads.iter().take(TAKEN) {
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.family(*head)?;
            }
        }
    }

    fn family(&mut self, head: u32) -> Result<(), PackRefused> {
        let mut data = self.spare.pop().unwrap_or_default();
        self.whole(head, &mut data)?;
        self.look(head, &data, None)?;
        self.keep(head, data);
        while let Some(mut base) = self.bases.pop() {
            if self.pack.stop.load(Ordering::Relaxed) {
                return Err(PackRefused::Stopped);
            }
            self.kept -= base.data.len();
            let Some(child) = base.rest.next() else {
                self.spare(base.data);
                continue;
            };
            let child = self.families.children[child as usize];
            if base.is_gone {
                base.data = self.again(base.at)?;
                base.is_gone = false;
            }
            let mut data = self.spare.pop().unwrap_or_default();
            self.build(child, &base.data, &mut data)?;
            self.look(child, &data, Some(&base.data))?;
            // Nothing more is built on many: their bytes go at once.
            if base.rest.is_empty() {
                self.spare(base.data);
            } else {
                self.kept += base.data.len();
                self.bases.push(base);
            }
            self.keep(child, data);
        }
        Ok(())
    }

    /// Keeps an object if anything is built on it.
    fn keep(&mut self, at: u32, data: Vec<u8>) {
        let rest = self.families.children(at);
        if rest.is_empty() {
            return self.spare(data);
        }
        self.kept += data.len();
        self.bases.push(Base { at, data, is_gone: false, rest });
        let newest = self.bases.len() - 1;
        for base in &mut self.bases[..newest] {
            if self.kept <= KEPT {
                break;
            }
            self.kept -= base.data.len();
            base.data = Vec::new();
            base.is_gone = true;
        }
    }

    /// A few buffers are enough, and none that one large object has made large.
    fn spare(&mut self, data: Vec<u8>) {
        if self.spare.len() < 4 && data.capacity() <= KEPT / 8 {
            self.spare.push(data);
        }
    }

    /// An object that was built before.
    fn again(&mut self, at: u32) -> Result<Vec<u8>, PackRefused> {
        let mut chain = vec![at];
        while let Some(base) = chain.last().and_then(|at| self.pack.places[*at as usize].base()) {
            chain.push(base);
        }
        let mut data = Vec::new();
        let mut built = Vec::new();
        if let Some(head) = chain.pop() {
            self.whole(head, &mut data)?;
        }
        while let Some(at) = chain.pop() {
            self.build(at, &data, &mut built)?;
            std::mem::swap(&mut data, &mut built);
        }
        Ok(data)
    }

    /// An object that is whole in the pack.
    fn whole(&mut self, at: u32, data: &mut Vec<u8>) -> Result<(), PackRefused> {
        self.reader.inflate(self.pack, at, data)
    }

    /// An object that is a delta in the pack, of its base.
    fn build(&mut self, at: u32, base: &[u8], data: &mut Vec<u8>) -> Result<(), PackRefused> {
        let mut delta = std::mem::take(&mut self.delta);
        self.reader.inflate(self.pack, at, &mut delta)?;
        let built = apply(base, &delta, self.pack.limits.object_bytes, data);
        self.delta = if delta.capacity() > KEPT / 8 { Vec::new() } else { delta };
        built
    }

    fn look(&mut self, at: u32, data: &[u8], base: Option<&[u8]>) -> Result<(), PackRefused> {
        if !self.families.waits[at as usize] {
            return Ok(());
        }
        let kind = self.pack.places[at as usize].kind;
        let id = hash(kind, data)?;
        self.ids.push((at, id));
        if (at as usize) < self.pack.came {
            // What a pack was completed with was not looked at, so nothing can be spared by comparing with it.
            let looked_at = |place: &Place| place.base().is_some_and(|base| (base as usize) < self.pack.came);
            let base = base.filter(|_| looked_at(&self.pack.places[at as usize]));
            self.links.add(at, &id, kind, data, base)?;
        }
        Ok(())
    }
}

/// The id of an object.
pub(super) fn hash(kind: Kind, data: &[u8]) -> Result<gix::ObjectId, PackRefused> {
    let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, data);
    id.map_err(|error| PackRefused::BadPack(chain(&error)))
}

const READING: &str = "the pack cannot be read from the quarantine";

/// Reads entries of a pack.
struct Reader {
    file: File,
    compressed: Vec<u8>,
    inflate: gix::zlib::Inflate,
}

impl Reader {
    fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: File::open(path)?, compressed: Vec::new(), inflate: gix::zlib::Inflate::default() })
    }

    /// What an entry holds: an object or a delta.
    fn inflate(&mut self, pack: &Received<'_>, at: u32, out: &mut Vec<u8>) -> Result<(), PackRefused> {
        let start = pack.places[at as usize].offset;
        let end = pack.places.get(at as usize + 1).map_or(pack.end, |next| next.offset);
        let malformed = || PackRefused::BadPack("an entry is malformed".to_owned());
        let len = usize::try_from(end.saturating_sub(start)).map_err(|_| malformed())?;
        self.compressed.resize(len, 0);
        read_at(&mut self.file, &mut self.compressed, start).map_err(PackRefused::io(READING))?;
        let entry = data::Entry::from_bytes(&self.compressed, start, gix::hash::Kind::Sha1);
        let entry = entry.map_err(|error| PackRefused::BadPack(chain(&error)))?;
        // Held against the limits as it came.
        let size = usize::try_from(entry.decompressed_size).map_err(|_| malformed())?;
        out.resize(size, 0);
        self.inflate.reset();
        let from = usize::try_from(entry.data_offset - start).map_err(|_| malformed())?;
        let inflated = self.inflate.once(self.compressed.get(from..).ok_or_else(malformed)?, out);
        let (_, _, written) = inflated.map_err(|error| PackRefused::BadPack(chain(&error)))?;
        if self.compressed.capacity() > KEPT / 8 {
            self.compressed = Vec::new();
        }
        if written == size { Ok(()) } else { Err(malformed()) }
    }
}

/// Builds what a delta makes of its base, of at most so many bytes.
pub(super) fn apply(base: &[u8], delta: &[u8], most: u64, out: &mut Vec<u8>) -> Result<(), PackRefused> {
    let malformed = || PackRefused::BadPack("a delta is malformed".to_owned());
    let mut bytes = delta.iter();
    let base_size = number(&mut bytes).ok_or_else(malformed)?;
    let size = number(&mut bytes).ok_or_else(malformed)?;
    if size > most {
        return Err(PackRefused::TooLarge { what: Large::ObjectBytes, size, limit: most });
    }
    let size = usize::try_from(size).map_err(|_| malformed())?;
    out.clear();
    out.reserve(size);
    if base_size != base.len() as u64 || instructions(base, bytes.as_slice(), size, out).is_none() {
        return Err(malformed());
    }
    if out.len() == size { Ok(()) } else { Err(malformed()) }
}

/// Follows the instructions of a delta; `None` where they lead beyond the base, or to more than `size` bytes.
fn instructions(base: &[u8], mut delta: &[u8], size: usize, out: &mut Vec<u8>) -> Option<()> {
    while let Some((instruction, rest)) = delta.split_first() {
        delta = rest;
        let part = if instruction & 0x80 == 0 {
            // Zero is reserved.
            let len = usize::from(*instruction);
            let (literal, rest) = delta.split_at_checked(len).filter(|_| len > 0)?;
            delta = rest;
            literal
        } else {
            let (mut from, mut len) = (0usize, 0usize);
            for bit in 0..7 {
                if instruction & 1 << bit != 0 {
                    let (byte, rest) = delta.split_first()?;
                    delta = rest;
                    if bit < 4 {
                        from |= usize::from(*byte) << (8 * bit);
                    } else {
                        len |= usize::from(*byte) << (8 * (bit - 4));
                    }
                }
            }
            // The largest size is written as none.
            let len = if len == 0 { 0x1_0000 } else { len };
            base.get(from..from.checked_add(len)?)?
        };
        if part.len() > size - out.len() {
            return None;
        }
        out.extend_from_slice(part);
    }
    Some(())
}

/// A number of a delta's header: seven bits to a byte, the lowest first.
pub(super) fn number(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let (mut number, mut shift) = (0u64, 0);
    for byte in bytes.by_ref() {
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The kinds of objects, as the checks name them.
pub(super) fn wrong_kind(id: &gix::oid, is: Kind, should: Kind) -> PackRefused {
    let why = format!("it is a {is}, where a {should} should be");
    PackRefused::BadObject { id: crate::git::from_gix(id), why }
}
