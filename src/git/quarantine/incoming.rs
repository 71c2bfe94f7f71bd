//! Receiving a pack: written down as it comes, cut at its own end, completed if it is thin, indexed, within limits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::hashtable::HashSet;
use gix::objs::Kind;
use gix_pack::data::entry::Header;
use gix_pack::data::input;
use gix_pack::data::{self, Version};

use super::arriving::Builders;
use super::check::damaged;
use super::entries::{CHECKSUM, Entry, Flow, read_failed};
use super::index;
use super::links::Links;
use super::resolve::{self, Received, number};
use super::{Files, Large, PackLimits, PackProgress, PackRefused};
use crate::git::objects::{Objects, Unread, chain};
use crate::git::pack::form_of;

/// Progress is told once in this many objects, or bytes.
const TELL_EVERY: (u64, u64) = (512, 256 << 10);

/// Bytes read of a file at once.
const COPIED: usize = 64 << 10;

/// A pack that arrived: its files, and of what kind its objects are.
pub(super) struct Incoming {
    pub(super) files: Files,
    pub(super) kinds: Kinds,
    /// What it was completed with: it did not bring these, and whoever sent it need not have them.
    pub(super) bases: HashSet<gix::ObjectId>,
    /// What its objects name, until that was held against what is here.
    pub(super) links: Vec<Links>,
}

/// The kind of each object of a pack, by its place in the file.
#[derive(Default)]
pub(super) struct Kinds {
    /// In order of the offset.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) kind: Kind,
    /// How many deltas lie between it and something whole.
    depth: u32,
    /// The checksum of the entry.
    crc32: u32,
    /// The place of what it is built on.
    base: u32,
}

/// In place of a base: the object is whole, or what it is built on is not in the pack.
const NONE: u32 = u32::MAX;

impl Place {
    /// The place of what it is built on, where it is a delta.
    pub(super) fn base(&self) -> Option<u32> {
        (self.base != NONE).then_some(self.base)
    }
}

impl Kinds {
    fn place(&self, offset: u64) -> Option<usize> {
        self.places.binary_search_by_key(&offset, |place| place.offset).ok()
    }

    pub(super) fn at(&self, offset: u64) -> Option<Kind> {
        self.place(offset).map(|at| self.places[at].kind)
    }

    /// The place and the kind of what lies there.
    pub(super) fn find(&self, offset: u64) -> Option<(u32, Kind)> {
        self.place(offset).map(|at| (at as u32, self.places[at].kind))
    }

    /// How many objects lie in the pack.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

/// A pack whose input broke off: the entries that came whole. Its files go when it is dropped.
pub(super) struct Cut {
    pub(super) pack: PathBuf,
    pub(super) objects: u32,
    /// Where the last of them ends.
    pub(super) end: u64,
    /// How many objects the whole pack has.
    pub(super) total: u32,
}

/// A pack was not received.
pub(super) struct Failed {
    pub(super) why: PackRefused,
    /// Whoever handed it over stopped in the middle; what came may be good.
    pub(super) cut: Option<Cut>,
}

impl From<PackRefused> for Failed {
    fn from(why: PackRefused) -> Self {
        Self { why, cut: None }
    }
}

impl Cut {
    /// How many bytes came whole.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Makes a pack of its own of what came whole, which is received and checked like any other. There are so many objects in all
    /// that is to come with it, or more.
    pub(super) fn salvage(
        self,
        dir: &Path,
        number: usize,
        objects: u32,
        held: Option<&Objects>,
        limits: &PackLimits,
        stop: &AtomicBool,
    ) -> Result<Option<Incoming>, PackRefused> {
        let reading = PackRefused::io("what came of a pack cannot be read");
        let header = data::header::encode(Version::V2, self.objects);
        let content = || -> Result<_, PackRefused> {
            let mut file = File::open(&self.pack).map_err(&reading)?;
            file.seek(SeekFrom::Start(header.len() as u64)).map_err(&reading)?;
            Ok(header.as_slice().chain(file.take(self.end - header.len() as u64)))
        };
        let checksum = checksum_of(&mut content()?).map_err(&reading)?;
        let mut input = BufReader::with_capacity(COPIED, content()?.chain(checksum.as_bytes()));
        let among = Among { trimmed_from: None, objects: objects.max(self.total) };
        receive(dir, number, &mut input, among, held, limits, &|_| {}, stop).map_err(|failed| failed.why)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // What cannot be removed goes with the directory.
        for file in [&self.pack, &self.pack.with_extension("idx")] {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// What a pack has to do with others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Among {
    /// Its beginning lay here, and only what follows that is trimmed, from this byte on.
    pub(super) trimmed_from: Option<u64>,
    /// How many objects there are in it and in those that come with it, if there are such.
    pub(super) objects: u32,
}

/// Receives one pack into `dir`, as the one of this number; `None` for the pack of nothing. A delta may be against what
/// is among `held`.
#[expect(clippy::too_many_arguments, reason = "each is another matter")]
pub(super) fn receive(
    dir: &Path,
    number: usize,
    input: &mut dyn BufRead,
    among: Among,
    held: Option<&Objects>,
    limits: &PackLimits,
    progress: &dyn Fn(PackProgress),
    stop: &AtomicBool,
) -> Result<Option<Incoming>, Failed> {
    let Among { trimmed_from, objects } = among;
    let mut header = [0; data::header::SIZE];
    input.read_exact(&mut header).map_err(read_failed)?;
    let (form, header) = form_of(header);
    let (version, count) = data::header::decode(&header).map_err(|error| PackRefused::BadPack(chain(&error)))?;
    if version != Version::V2 {
        return Err(PackRefused::BadPack("its version is one that nobody writes".to_owned()).into());
    }
    if count > limits.objects {
        let (size, limit) = (u64::from(count), u64::from(limits.objects));
        return Err(PackRefused::TooLarge { what: Large::Objects, size, limit }.into());
    }
    if count == 0 {
        return Ok(nothing(&header, input).map(|()| None)?);
    }
    let pack = dir.join(format!("incoming-{number}.pack"));
    let index = pack.with_extension("idx");
    let file = File::create_new(&pack).map_err(PackRefused::io(WRITING))?;
    let mut flow = Flow::new(form, &header, input, file, limits, stop)?.trimmed_from(trimmed_from);
    let mut whole = (0, flow.bytes);
    // gix is given bytes of strangers here. It should not panic; if it does, this pack is to blame, not us.
    let indexed = catch_unwind(AssertUnwindSafe(|| {
        let named = objects.max(count) as usize;
        let job = Job { limits, progress, held, total: count, named, pack: &pack, index: &index };
        job.run(&mut flow, &mut whole)
    }));
    let received = indexed.unwrap_or_else(|_| Err(PackRefused::BadPack("it cannot be read".to_owned())));
    let total = u64::from(count);
    let Indexed { kinds, bases, links, name } = match received {
        Ok(received) => received,
        Err(why) => {
            let (objects, end) = whole;
            let is_cut = flow.is_cut && objects > 0 && flow.file.flush().is_ok();
            drop(flow);
            return Err(Failed { why, cut: Some(Cut { pack, objects, end, total: count }).filter(|_| is_cut) });
        }
    };
    progress(PackProgress { objects_done: total, objects_total: total, bytes: flow.bytes });
    let files = Files { pack, index, name, objects: total, bytes: flow.bytes };
    Ok(Some(Incoming { files, kinds, bases, links }))
}

/// The checksum of all that can be read.
pub(super) fn checksum_of(from: &mut dyn Read) -> io::Result<gix::ObjectId> {
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    let mut part = vec![0; COPIED];
    loop {
        match from.read(&mut part) {
            Ok(0) => return hash.try_finalize().map_err(io::Error::other),
            Ok(read) => hash.update(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) const WRITING: &str = "the pack cannot be written to the quarantine";

/// The rest of a pack without objects: its checksum.
fn nothing(header: &[u8], input: &mut dyn BufRead) -> Result<(), PackRefused> {
    let mut trailer = [0; CHECKSUM];
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

/// Everything that indexing one pack takes.
struct Job<'a> {
    limits: &'a PackLimits,
    progress: &'a dyn Fn(PackProgress),
    held: Option<&'a Objects>,
    total: u32,
    /// How many objects they may name where nothing is held.
    named: usize,
    pack: &'a Path,
    index: &'a Path,
}

/// A pack that was received and indexed.
struct Indexed {
    kinds: Kinds,
    bases: HashSet<gix::ObjectId>,
    links: Vec<Links>,
    name: gix::ObjectId,
}

impl Job<'_> {
    /// `whole` tells at any time how many entries came whole, and where the last of them ends.
    fn run(&self, flow: &mut Flow<'_>, whole: &mut (u32, u64)) -> Result<Indexed, PackRefused> {
        let mut looked = Looked {
            job: self,
            places: Vec::new(),
            bases: Vec::new(),
            on_bases: Vec::new(),
            done: 0,
            told: 0,
            all_bytes: 0,
        };
        let came = self.total as usize;
        let named = self.held.is_none().then_some(self.named);
        let (built, mut waiting) = std::thread::scope(|scope| {
            let mut builders = Builders::start(scope, came, named, self.limits, flow.stop);
            for at in 0..self.total {
                let entry = flow.entry(self.limits)?;
                let (place, size) = looked.look(&entry)?;
                *whole = (at + 1, flow.bytes);
                // What is built on an object that is not in the pack waits for that.
                let data = entry.whole().filter(|_| place.depth == 0 || place.base().is_some());
                if builders.give(at, place.kind, place.base(), data, size)?.is_err() {
                    break;
                }
                looked.tell(flow.bytes);
            }
            builders.finish()
        })?;
        let (mut name, mut end) = (flow.end()?, flow.bytes - CHECKSUM as u64);
        if !looked.bases.is_empty() {
            (name, end) = looked.complete(&mut flow.file)?;
        }
        let Looked { mut places, bases, .. } = looked;
        let mut ids = vec![gix::ObjectId::null(gix::hash::Kind::Sha1); places.len()];
        let mut links = Vec::new();
        for built in built {
            built.ids.into_iter().for_each(|(place, id)| ids[place as usize] = id);
            links.push(built.links);
        }
        // What it was completed with is hashed too.
        waiting.extend(self.total..places.len() as u32);
        let pack = self.pack;
        let received = Received { file: pack, places: &places, end, came, named, limits: self.limits, stop: flow.stop };
        links.extend(resolve::objects(&received, &waiting, &mut ids)?);
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by_key(|at| ids[*at as usize]);
        if order.windows(2).any(|pair| ids[pair[0] as usize] == ids[pair[1] as usize]) {
            return Err(PackRefused::BadPack("an object is in it twice".to_owned()));
        }
        let entries = order.iter().map(|at| {
            let place = &places[*at as usize];
            index::Entry { id: ids[*at as usize], crc32: place.crc32, offset: place.offset }
        });
        let file = File::create_new(self.index).map_err(PackRefused::io(WRITING))?;
        index::write(BufWriter::new(file), entries, name).map_err(PackRefused::io(WRITING))?;
        // What it was completed with did not come.
        places.truncate(came);
        Ok(Indexed { kinds: Kinds { places }, bases: bases.into_iter().collect(), links, name })
    }
}

/// What gix says of an object that a pack is completed with.
fn bad(error: gix::Error) -> PackRefused {
    if error.is_cancelled() {
        return PackRefused::Stopped;
    }
    match error.downcast_any_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => PackRefused::Full,
        _ => PackRefused::BadPack(chain(&error)),
    }
}

/// Entries as they come, each held against the limits before anything is built of it, and then the bases that a thin
/// pack lacks.
struct Looked<'a> {
    job: &'a Job<'a>,
    places: Vec<Place>,
    /// What deltas are against that is not in the pack, in order of their ids.
    bases: Vec<gix::ObjectId>,
    /// The places of these deltas, with what they are against.
    on_bases: Vec<(u32, gix::ObjectId)>,
    done: u64,
    /// How many bytes had come when that was last told.
    told: u64,
    all_bytes: u64,
}

impl Looked<'_> {
    /// Its place, and the size of its object in bytes.
    fn look(&mut self, entry: &Entry) -> Result<(Place, u64), PackRefused> {
        let limits = self.job.limits;
        let too_large = |what, size: u64, limit| PackRefused::TooLarge { what, size, limit };
        let at = self.places.len() as u32;
        let (kind, depth, base) = match entry.header {
            Header::OfsDelta { base_distance } => {
                let offset = entry.offset.checked_sub(base_distance);
                let place = |offset| self.places.binary_search_by_key(&offset, |place| place.offset).ok();
                let nothing = || PackRefused::BadPack("a delta is against nothing".to_owned());
                let at = offset.and_then(place).ok_or_else(nothing)?;
                (self.places[at].kind, self.places[at].depth + 1, at as u32)
            }
            Header::RefDelta { base_id } => {
                let kind = self.base(base_id)?;
                self.on_bases.push((at, base_id));
                (kind, 1, NONE)
            }
            plain => (plain.as_kind().expect("every other entry is of one of the four kinds"), 0, NONE),
        };
        if depth > limits.depth {
            return Err(too_large(Large::Depth, u64::from(depth), u64::from(limits.depth)));
        }
        let place = Place { offset: entry.offset, kind, depth, crc32: entry.crc32, base };
        self.places.push(place);
        let size = if entry.header.is_delta() { delta_size(&entry.data)? } else { entry.size };
        let largest = size.max(entry.size);
        if largest > limits.object_bytes {
            return Err(too_large(Large::ObjectBytes, largest, limits.object_bytes));
        }
        self.count(largest)?;
        self.done += 1;
        Ok((place, size))
    }

    fn tell(&mut self, bytes: u64) {
        if self.done.is_multiple_of(TELL_EVERY.0) || bytes - self.told >= TELL_EVERY.1 {
            self.told = bytes;
            let objects_total = u64::from(self.job.total);
            (self.job.progress)(PackProgress { objects_done: self.done, objects_total, bytes });
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), PackRefused> {
        let limit = self.job.limits.all_object_bytes;
        self.all_bytes = self.all_bytes.saturating_add(bytes);
        if self.all_bytes > limit {
            return Err(PackRefused::TooLarge { what: Large::AllObjectBytes, size: self.all_bytes, limit });
        }
        Ok(())
    }

    /// The kind of a base that is not in the pack. Whether it may be built upon is seen when the pack is checked.
    fn base(&mut self, id: gix::ObjectId) -> Result<Kind, PackRefused> {
        let missing = || PackRefused::BadPack("a delta is against an object that is not held".to_owned());
        let held = self.job.held.ok_or_else(missing)?;
        let kind = match held.kind(&id) {
            Ok(kind) => kind,
            Err(Unread::Missing(_)) => return Err(missing()),
            Err(corrupt) => return Err(damaged(corrupt)),
        };
        if let Err(at) = self.bases.binary_search(&id) {
            self.count(held.size(&id).unwrap_or(0))?;
            self.bases.insert(at, id);
        }
        Ok(kind)
    }

    /// Makes a thin pack whole: its bases come behind what was received, and the count and the checksum say so. Gives the
    /// checksum, and where the last of them ends.
    fn complete(&mut self, file: &mut BufWriter<File>) -> Result<(gix::ObjectId, u64), PackRefused> {
        let held = self.job.held;
        let writing = PackRefused::io(WRITING);
        let mut offset = file.seek(SeekFrom::End(-(CHECKSUM as i64))).map_err(&writing)?;
        let (came, mut buf) = (self.places.len() as u32, Vec::new());
        for id in &self.bases {
            let held = held.ok_or(PackRefused::Stopped)?;
            let (kind, data) = held.read(id, &mut buf).map_err(damaged)?;
            let object = gix::objs::Data { kind, data, object_hash: gix::hash::Kind::Sha1 };
            let entry = input::Entry::from_data_obj(&object, offset, gix::zlib::Compression::DEFAULT).map_err(bad)?;
            entry.header.write_to(entry.decompressed_size, file).map_err(&writing)?;
            file.write_all(entry.compressed.as_deref().unwrap_or_default()).map_err(&writing)?;
            let crc32 = entry.crc32.unwrap_or_default();
            self.places.push(Place { offset, kind, depth: 0, crc32, base: NONE });
            offset += entry.bytes_in_pack();
        }
        for (at, id) in &self.on_bases {
            let base = self.bases.binary_search(id).expect("each was noted");
            self.places[*at as usize].base = came + base as u32;
        }
        let count = u64::from(self.job.total) + self.bases.len() as u64;
        let count = u32::try_from(count).map_err(|_| PackRefused::BadPack("it has too many objects".to_owned()))?;
        file.rewind().map_err(&writing)?;
        file.write_all(&data::header::encode(Version::V2, count)).map_err(&writing)?;
        file.flush().map_err(&writing)?;
        let written = File::open(self.job.pack).map_err(&writing)?;
        let checksum = checksum_of(&mut written.take(offset)).map_err(&writing)?;
        file.seek(SeekFrom::Start(offset)).map_err(&writing)?;
        file.write_all(checksum.as_bytes()).map_err(&writing)?;
        file.flush().map_err(&writing)?;
        Ok((checksum, offset))
    }
}

/// The size of the object that a delta makes: the second number in it.
fn delta_size(delta: &[u8]) -> Result<u64, PackRefused> {
    let mut bytes = delta.iter();
    let size = number(&mut bytes).and_then(|_| number(&mut bytes));
    size.ok_or_else(|| PackRefused::BadPack("a delta is malformed".to_owned()))
}
