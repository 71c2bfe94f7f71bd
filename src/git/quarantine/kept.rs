//! What came of a pack before its input broke off: the next try goes on with it, also after a restart or a crash.
//!
//! Beside the packs lies a record of what they were asked for with and of how many objects came in each. It says nothing about the
//! objects themselves: after a restart each is built, hashed and looked at again, up to the first that is damaged.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use gix_pack::data;
use gix_pack::data::input::{BytesToEntriesIter, EntryDataMode, Mode};

use super::adopt::{self, Room};
use super::incoming::{Cut, Incoming, checksum_of};
use super::{PackLimits, PackRefused, check};
use crate::git::objects::Objects;
use crate::git::pack::form_of;
use crate::git::{Prefix, Repository, Skip};
use crate::hlc::Millis;
use crate::id::ObjectId;
use crate::limits;

/// The name of the record in a directory of the quarantine.
const RECORD: &str = "kept";

/// Its first line.
const VERSION: &str = "lansync kept 2";

/// What came of a pack before its input broke off, in quarantine. It stays there when it is dropped, for the next start of the
/// service; [`Kept::discard`] takes it away.
pub struct Kept {
    pub(super) room: Room,
    /// What it was asked for with.
    pub(super) haves: Vec<ObjectId>,
    /// Received and hashed.
    pub(super) packs: Vec<Incoming>,
    /// Left by an earlier process, and not looked at since.
    left: Vec<Left>,
    /// The only pack here is the beginning of a larger one.
    begun: Option<Begun>,
    /// What comes next follows that beginning.
    follows: bool,
    /// On their way.
    coming: Vec<Left>,
    /// The number of the next pack, if that is more than what lies here says.
    next: usize,
    /// How many objects there are in all that comes, as far as that was said.
    pub(super) expected: u32,
}

/// The beginning of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begun {
    /// How many objects the whole pack has.
    pub(super) total: u32,
    /// Where the entries that came end, in bytes of the plain pack.
    pub(super) end: u64,
}

/// The file of a pack that an earlier process received, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    number: usize,
    /// How many objects came in it at most. What follows them it was completed with.
    came: u32,
    /// How many objects the pack has of which it is the beginning.
    total: Option<u32>,
}

impl Kept {
    /// Nothing came yet.
    pub(super) fn nothing(repo: &Repository, haves: &[ObjectId]) -> Result<Self, PackRefused> {
        Ok(Self::of(Room::new(repo)?, haves.to_vec(), Vec::new()))
    }

    fn of(room: Room, haves: Vec<ObjectId>, left: Vec<Left>) -> Self {
        let (packs, coming) = (Vec::new(), Vec::new());
        Self { room, haves, packs, left, begun: None, follows: false, coming, next: 0, expected: 0 }
    }

    /// The commits that it was asked for with: it is of use for a fetch with the same.
    pub fn haves(&self) -> &[ObjectId] {
        &self.haves
    }

    /// How many objects it holds.
    pub fn objects(&self) -> u64 {
        self.packs.iter().map(|pack| pack.files.objects).sum()
    }

    /// How many bytes it took to send them.
    pub fn bytes(&self) -> u64 {
        let left = self.left.iter().filter_map(|left| fs::metadata(file(&self.room, left.number)).ok());
        self.packs.iter().map(|pack| pack.files.bytes).sum::<u64>() + left.map(|file| file.len()).sum::<u64>()
    }

    /// What need not be sent again.
    pub fn skip(&self) -> Skip {
        let ids =
            self.packs.iter().filter_map(|pack| Some((check::index_of(pack).ok()?, pack))).flat_map(|(index, pack)| {
                let ids: Vec<gix::ObjectId> = index.iter().map(|entry| entry.oid).collect();
                ids.into_iter().filter(move |id| !pack.bases.contains(id))
            });
        Skip::of(ids, limits::SKIP_BYTES as usize)
    }

    /// What came, where that is the beginning of one pack: whoever has the same packs still can send what follows.
    pub fn prefix(&self) -> Option<Prefix> {
        let (mut begun, end) = self.begun().ok().flatten()?;
        let sha1 = checksum_of(&mut begun).ok()?;
        let gix::ObjectId::Sha1(sha1) = sha1 else { return None };
        Some(Prefix { bytes: end, sha1 })
    }

    /// What comes next follows that beginning.
    pub fn goes_on(&mut self) {
        self.follows = true;
    }

    /// Does what comes next follow it?
    pub(super) fn follows(&self) -> bool {
        self.follows
    }

    /// The beginning that what comes follows, and where it ends.
    pub(super) fn beginning(&self) -> Result<Option<(impl Read + use<>, u64)>, PackRefused> {
        let reading = PackRefused::io("what came of a pack cannot be read");
        if self.follows { self.begun().map_err(reading) } else { Ok(None) }
    }

    /// The bytes of the beginning, as those of the whole pack.
    fn begun(&self) -> io::Result<Option<(impl Read + use<>, u64)>> {
        let ([pack], Some(Begun { total, end })) = (self.packs.as_slice(), self.begun) else { return Ok(None) };
        let header = data::header::encode(data::Version::V2, total);
        let mut file = File::open(&pack.files.pack)?;
        file.seek(SeekFrom::Start(header.len() as u64))?;
        let rest = end.saturating_sub(header.len() as u64);
        Ok(Some((io::Cursor::new(header).chain(file.take(rest)), end)))
    }

    /// A pack came: the rest of all, or, where that is said, the beginning of one.
    pub(super) fn came(&mut self, pack: Option<Incoming>, begun: Option<Begun>) {
        let Some(pack) = pack else { return };
        if std::mem::take(&mut self.follows) {
            // It holds what it followed.
            for pack in self.packs.drain(..) {
                let _ = fs::remove_file(&pack.files.index);
                let _ = fs::remove_file(&pack.files.pack);
            }
        }
        self.begun = begun.filter(|_| self.packs.is_empty());
        self.packs.push(pack);
    }

    /// Takes it away.
    pub fn discard(mut self) {
        self.room.stays(false);
    }

    /// Looks at what an earlier process left; `None` where nothing of it is of use.
    pub fn recover(mut self, repo: &Repository, limits: &PackLimits, stop: &AtomicBool) -> Option<Self> {
        let held = (!self.haves.is_empty()).then(|| Objects::of(repo));
        // Of several beginnings of one pack each was read from the one before.
        let room = &self.room;
        let len = |left: &Left| fs::metadata(file(room, left.number)).map_or(0, |file| file.len());
        let longest = self.left.iter().filter(|left| left.total.is_some()).max_by_key(|left| len(left)).cloned();
        self.left.retain(|left| left.total.is_none() || Some(left) == longest.as_ref());
        while let Some(Left { number, came, total }) = self.left.first().cloned() {
            let salvaged = whole(file(&self.room, number), came).filter(|cut| cut.bytes() >= limits::KEPT_BYTES);
            let begun = salvaged.as_ref().and_then(|cut| Some(Begun { total: total?, end: cut.end }));
            let next = self.next_number();
            let dir = self.room.pack_dir();
            let salvaged = salvaged.map(|cut| cut.salvage(&dir, next, 0, held.as_ref(), limits, stop));
            match salvaged {
                Some(Ok(pack)) => self.came(pack, begun),
                // What cannot be kept is fetched again.
                Some(Err(why)) => tracing::info!(%why, "what came before the restart is of no use"),
                None => {}
            }
            self.left.remove(0);
            self.note();
        }
        if self.packs.is_empty() {
            self.discard();
            return None;
        }
        Some(self)
    }

    /// A number for the next pack; the one after it is for what is made of it where it is cut.
    pub(super) fn next_number(&mut self) -> usize {
        let files = fs::read_dir(self.room.pack_dir()).into_iter().flatten().flatten();
        let number = files.filter_map(|file| number_of(&file.path())).max().map_or(0, |last| last + 1).max(self.next);
        self.next = number + 2;
        number
    }

    /// Is it a whole pack that comes next, unless that is said to be a portion?
    pub(super) fn is_whole(&self) -> bool {
        self.packs.is_empty() || self.follows
    }

    /// The pack of this number does not come any more.
    pub(super) fn interrupted(&mut self, number: usize) {
        self.follows = false;
        self.coming.retain(|coming| coming.number != number);
        self.note();
    }

    /// Writes down what is here, and that a pack of so many objects is on its way, which is of itself all there is, or not.
    pub(super) fn note_coming(&mut self, number: usize, objects: u32, is_whole: bool) {
        self.coming.push(Left { number, came: objects, total: is_whole.then_some(objects) });
        self.note();
    }

    /// Writes down what is here, and what is on its way. From then on it stays, if it is anything. Where that fails it is fetched
    /// again.
    fn note(&mut self) {
        let total = self.begun.map(|begun| begun.total);
        let left = |pack: &Incoming| {
            Some(Left { number: number_of(&pack.files.pack)?, came: pack.files.objects as u32, total })
        };
        let packs = self.packs.iter().filter_map(left);
        let packs: Vec<Left> = packs.chain(self.left.iter().chain(&self.coming).cloned()).collect();
        let noted = write_record(self.room.dir(), &self.haves, &packs);
        if let Err(error) = &noted {
            tracing::warn!(%error, "what comes of a pack would not outlive a restart");
        }
        self.room.stays(noted.is_ok() && !packs.is_empty());
    }
}

fn file(room: &Room, number: usize) -> PathBuf {
    room.pack_dir().join(format!("incoming-{number}.pack"))
}

fn number_of(pack: &Path) -> Option<usize> {
    pack.file_stem()?.to_str()?.strip_prefix("incoming-")?.parse().ok()
}

/// The entries of a pack's file that are whole, of those that came; `None` where there are none.
fn whole(pack: PathBuf, came: u32) -> Option<Cut> {
    // The file may be damaged in any way, and gix reads it here before any check.
    let found = catch_unwind(AssertUnwindSafe(|| {
        let input = BufReader::with_capacity(64 << 10, File::open(&pack).ok()?);
        let hash = gix::hash::Kind::Sha1;
        let entries = BytesToEntriesIter::new_from_header(input, Mode::AsIs, EntryDataMode::Ignore, hash).ok()?;
        let whole = entries.take(came as usize).map_while(Result::ok);
        let ends = whole.map(|entry| entry.pack_offset + entry.bytes_in_pack());
        let (objects, end) = ends.fold((0, 0), |(objects, _), end| (objects + 1, end));
        (objects > 0).then_some((objects, end))
    }));
    let (objects, end) = found.ok().flatten()?;
    Some(Cut { pack, objects, end, total: came })
}

fn write_record(dir: &Path, haves: &[ObjectId], packs: &[Left]) -> io::Result<()> {
    let mut text = format!("{VERSION}\n");
    haves.iter().for_each(|have| text.push_str(&format!("have {have}\n")));
    for Left { number, came, total } in packs {
        let total = total.map_or_else(String::new, |total| format!(" {total}"));
        text.push_str(&format!("pack {number} {came}{total}\n"));
    }
    let sum = blake3::hash(text.as_bytes()).to_hex();
    text.push_str(&format!("{sum}\n"));
    let fresh = dir.join("kept.new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, dir.join(RECORD))
}

/// What a record says; `None` where there is none, or it is damaged.
fn read_record(dir: &Path) -> Option<(Vec<ObjectId>, Vec<Left>)> {
    let text = fs::read_to_string(dir.join(RECORD)).ok()?;
    let (content, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let content = format!("{content}\n");
    if blake3::hash(content.as_bytes()).to_hex().as_str() != sum {
        return None;
    }
    let mut lines = content.lines();
    if lines.next() != Some(VERSION) {
        return None;
    }
    let (mut haves, mut left) = (Vec::new(), Vec::new());
    for line in lines {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["have", id] => haves.push(id.parse().ok()?),
            ["pack", number, came, total @ ..] if total.len() < 2 => {
                let total = total.first().map(|total| total.parse()).transpose().ok()?;
                left.push(Left { number: number.parse().ok()?, came: came.parse().ok()?, total });
            }
            _ => return None,
        }
    }
    Some((haves, left))
}

impl Repository {
    /// What an earlier process received of a pack before it ended: of several the one with most, and none that is older than
    /// [`limits::KEPT_AGE`]. `now` is the wall clock. To be called before [`Repository::clean_quarantine`], which takes away
    /// all others.
    pub fn kept_pack(&self, now: Millis) -> Option<Kept> {
        let mut best: Option<Kept> = None;
        for dir in adopt::left_dirs(self) {
            let Some((haves, left)) = read_record(&dir) else { continue };
            let Some(room) = Room::again(dir) else { continue };
            let mut kept = Kept::of(room, haves, left);
            kept.room.stays(true);
            let is_better = best.as_ref().is_none_or(|best| best.bytes() < kept.bytes());
            if kept.is_fresh(now) && kept.bytes() >= limits::KEPT_BYTES && is_better {
                best = Some(kept);
            }
        }
        best.inspect(Kept::clean)
    }
}

impl Kept {
    /// Was something of it written lately? A clock that was set back makes nothing old.
    fn is_fresh(&self, now: Millis) -> bool {
        let times =
            self.left.iter().filter_map(|left| fs::metadata(file(&self.room, left.number)).ok()?.modified().ok());
        let now = UNIX_EPOCH + Duration::from_millis(now);
        times.max().is_some_and(|at| now.duration_since(at).unwrap_or_default() <= limits::KEPT_AGE)
    }

    /// Takes away what lies beside the packs: indexes are made anew, and parts that were not noted say nothing.
    fn clean(&self) {
        for entry in fs::read_dir(self.room.pack_dir()).into_iter().flatten().flatten() {
            if !self.left.iter().any(|left| entry.path() == file(&self.room, left.number)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// An input of which is noted, once it has brought enough to be worth it, that it comes.
pub(super) struct Noted<'a, F: FnOnce(u32)> {
    input: &'a mut dyn BufRead,
    header: Vec<u8>,
    bytes: u64,
    note: Option<F>,
}

impl<'a, F: FnOnce(u32)> Noted<'a, F> {
    /// `note` is called at most once, with how many objects the pack says that it has.
    pub(super) fn new(input: &'a mut dyn BufRead, note: F) -> Self {
        Self { input, header: Vec::new(), bytes: 0, note: Some(note) }
    }
}

impl<F: FnOnce(u32)> Read for Noted<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let amount = bytes.len().min(out.len());
        out[..amount].copy_from_slice(&bytes[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl<F: FnOnce(u32)> BufRead for Noted<'_, F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let lacking = data::header::SIZE - self.header.len().min(data::header::SIZE);
        let bytes = self.input.fill_buf()?;
        // What is shown is consumed in its order, and the header is read from the start.
        if lacking > 0 && self.bytes == self.header.len() as u64 {
            self.header.extend_from_slice(&bytes[..bytes.len().min(lacking)]);
        }
        Ok(bytes)
    }

    fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.bytes += amount as u64;
        if self.bytes >= limits::KEPT_BYTES
            && let Some(note) = self.note.take()
            && let Some(header) = self.header.first_chunk()
            && let Ok((_, objects)) = data::header::decode(&form_of(*header).1)
        {
            note(objects);
        }
    }
}
