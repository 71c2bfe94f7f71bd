//! The quarantine's directories, and the way out of it into the object store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Files, PackRefused};
use crate::git::Repository;
use crate::git::housekeeping::TEMPORARY;
use crate::git::objects::Objects;

/// What a `.keep` of ours says, so that it can be told from those of git and of people.
const KEEP: &[u8] = b"lansync: its refs are about to be written\n";

/// What of this process is in use and must not be cleaned away: directories in quarantine and `.keep` files.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn in_use() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set is whole after any panic.
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One directory in quarantine: an object store of its own on top of the repository's. Goes away when dropped, unless it
/// was said that it stays.
pub(super) struct Room {
    dir: PathBuf,
    stays: bool,
}

impl Room {
    pub(super) fn new(repo: &Repository) -> Result<Self, PackRefused> {
        let failed = PackRefused::io("the quarantine cannot be made");
        let all = quarantine_dir(repo);
        fs::create_dir_all(&all).map_err(&failed)?;
        let dir = loop {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let dir = all.join(name);
            in_use().insert(dir.clone());
            match fs::create_dir(&dir) {
                Ok(()) => break dir,
                Err(error) => {
                    in_use().remove(&dir);
                    // A process with this number was here before and was killed.
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(failed(error));
                    }
                }
            }
        };
        let room = Self { dir, stays: false };
        fs::create_dir(room.pack_dir()).map_err(&failed)?;
        fs::create_dir(room.dir.join("info")).map_err(&failed)?;
        fs::write(room.dir.join("info").join("alternates"), "../../../objects\n").map_err(&failed)?;
        Ok(room)
    }

    /// One that an earlier process left, if nobody has it.
    pub(super) fn again(dir: PathBuf) -> Option<Self> {
        in_use().insert(dir.clone()).then_some(Self { dir, stays: false })
    }

    /// Does it stay when it is dropped, for the next start?
    pub(super) fn stays(&mut self, stays: bool) {
        self.stays = stays;
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn pack_dir(&self) -> PathBuf {
        self.dir.join("pack")
    }

    /// What is in quarantine together with what the repository has.
    pub(super) fn objects(&self) -> Result<Objects, PackRefused> {
        // gix looks into every pack's directory once; the slots are as many as it finds, and some.
        let handle = gix::odb::at(&self.dir, gix::hash::Kind::Sha1);
        let mut handle = handle.map_err(PackRefused::io("the quarantine cannot be read"))?;
        handle.set_pack_cache(|| Box::new(gix_pack::cache::lru::MemoryCappedHashmap::new(DELTA_CACHE)));
        Ok(Objects::new(handle))
    }
}

/// Bases of deltas kept decoded while a pack is checked, in bytes: what git keeps.
const DELTA_CACHE: usize = 96 << 20;

impl Drop for Room {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(%error, "a directory in quarantine stays behind until the next start");
        }
        in_use().remove(&self.dir);
    }
}

fn quarantine_dir(repo: &Repository) -> PathBuf {
    repo.lansync_dir().join("quarantine")
}

/// Directories in quarantine that nobody of this process has in hand.
pub(super) fn left_dirs(repo: &Repository) -> Vec<PathBuf> {
    let in_use = in_use();
    let dirs = fs::read_dir(quarantine_dir(repo)).into_iter().flatten().flatten().map(|entry| entry.path());
    dirs.filter(|dir| !in_use.contains(dir)).collect()
}

/// Packs that were received and found whole and harmless: one, or several where one was cut. git does not see them;
/// dropped, they are gone.
pub struct Quarantined {
    repo: Repository,
    room: Room,
    files: Vec<Files>,
}

impl Quarantined {
    pub(super) fn new(repo: &Repository, room: Room, files: Vec<Files>) -> Self {
        Self { repo: repo.clone(), room, files }
    }

    /// How many objects came.
    pub fn objects(&self) -> u64 {
        self.files.iter().map(|files| files.objects).sum()
    }

    /// Moves the packs into the object store, durably, and keeps git's housekeeping from them until
    /// [`Adopted::release`].
    ///
    /// # Errors
    /// [`PackRefused::Full`] or [`PackRefused::Io`]; the object store is as before then.
    pub fn adopt(self) -> Result<Adopted, PackRefused> {
        let Self { repo, room, files: all } = self;
        let mut adopted = Adopted { objects: 0, bytes: 0, packs: Vec::new(), keeps: Vec::new() };
        if all.is_empty() {
            return Ok(adopted);
        }
        let failed = PackRefused::io("the pack cannot be moved into the object store");
        let store = repo.common_dir().join("objects").join("pack");
        fs::create_dir_all(&store).map_err(&failed)?;
        for file in all.iter().flat_map(|files| [&files.pack, &files.index]) {
            settle(file).map_err(&failed)?;
        }
        let mut moved = Ok(());
        for files in &all {
            let pack = free_name(&store, files.name);
            adopted.objects += files.objects;
            adopted.bytes += files.bytes;
            moved = Keep::new(&pack).and_then(|keep| {
                adopted.keeps.push(keep);
                adopted.packs.push(pack.clone());
                // With the index git sees the pack, so it comes last.
                move_file(&files.pack, &pack)?;
                move_file(&files.index, &pack.with_extension("idx"))
            });
            if moved.is_err() {
                break;
            }
        }
        if let Err(error) = moved.and_then(|()| sync_dir(&store)) {
            for pack in &adopted.packs {
                let _ = fs::remove_file(pack.with_extension("idx"));
                let _ = fs::remove_file(pack);
            }
            return Err(failed(error));
        }
        drop(room);
        adopted.packs.iter().for_each(|pack| repo.note_pack(pack));
        Ok(adopted)
    }
}

/// A name in the object store for the pack with this checksum. Where the very same pack came before it gets another
/// one: a `git gc` that runs right now may be about to take that away, and leaves what came after it began.
fn free_name(store: &Path, checksum: gix::ObjectId) -> PathBuf {
    let mut name = checksum;
    loop {
        let pack = store.join(format!("pack-{name}.pack"));
        if !pack.exists() && !pack.with_extension("idx").exists() {
            return pack;
        }
        let mut next = [0; 20];
        next.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..20]);
        name = gix::ObjectId::Sha1(next);
    }
}

/// Packs in the object store, kept from git's housekeeping for as long as this lives: nothing may refer to them yet.
#[must_use = "the packs may be pruned once this is dropped: move the refs first"]
pub struct Adopted {
    /// How many objects came.
    pub objects: u64,
    /// How many bytes came.
    pub bytes: u64,
    /// The packs; none where nothing was needed.
    pub packs: Vec<PathBuf>,
    keeps: Vec<Keep>,
}

impl Adopted {
    /// The refs are moved: git may do as it likes with the packs.
    pub fn release(mut self) {
        self.keeps.clear();
    }
}

/// A `.keep` file. Goes away when dropped.
struct Keep {
    path: PathBuf,
}

impl Keep {
    /// Where git or a person keeps the pack already, theirs stays as it is.
    fn new(pack: &Path) -> io::Result<Self> {
        let path = pack.with_extension("keep");
        in_use().insert(path.clone());
        let keep = Self { path };
        let mut file = match File::create_new(&keep.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(keep),
            Err(error) => return Err(error),
        };
        file.write_all(KEEP)?;
        file.sync_all()?;
        Ok(keep)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if is_ours(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
        in_use().remove(&self.path);
    }
}

fn is_ours(keep: &Path) -> bool {
    fs::read(keep).is_ok_and(|text| text == KEEP)
}

/// Makes a file durable, and read-only as git's packs are.
fn settle(path: &Path) -> io::Result<()> {
    File::options().read(true).write(true).open(path)?.sync_all()?;
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

/// Renames, or copies where the object store lies on another disk.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // The name under which git itself writes packs, and cleans up after itself.
            let temporary = to.with_file_name(format!("{TEMPORARY}{}", std::process::id()));
            let copied = fs::copy(from, &temporary)
                .and_then(|_| File::open(&temporary)?.sync_all())
                .and_then(|()| fs::rename(&temporary, to));
            if copied.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            copied
        }
        result => result,
    }
}

/// Makes the names in a directory durable, where the system can.
pub(in crate::git) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(path)?.sync_all()
}

impl Repository {
    /// Removes what a killed process left in quarantine, its `.keep` files, and packs that it had half moved. For the
    /// start of the service; what this process itself has in hand stays, as does what [`Repository::kept_pack`] gave.
    pub fn clean_quarantine(&self) {
        // Held to the end: nobody starts anything in between.
        let in_use = in_use();
        let is_left = |path: &PathBuf| !in_use.contains(path);
        let paths = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        for dir in paths(quarantine_dir(self)).filter(is_left) {
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::warn!(%error, "the quarantine cannot be cleaned");
            }
        }
        let keeps = paths(self.common_dir().join("objects").join("pack"))
            .filter(|path| path.extension().is_some_and(|extension| extension == "keep"));
        for keep in keeps.filter(is_left).filter(|keep| is_ours(keep)) {
            if !keep.with_extension("idx").exists() {
                let _ = fs::remove_file(keep.with_extension("pack"));
            }
            let _ = fs::remove_file(keep);
        }
    }
}
