//! Taking in objects from others: received beside the object store, checked, and only then moved into it.
//!
//! A pack is indexed while it arrives, in `<common dir>/lansync/quarantine/`, a directory that reads like an object
//! store on top of the repository's own. Then everything reachable from what was asked for is looked at, so that
//! what is adopted is whole and harmless to check out. git sees nothing of it before [`Quarantined::adopt`].

mod adopt;
mod arriving;
mod check;
mod entries;
mod gathering;
mod headers;
mod history;
mod incoming;
mod index;
mod kept;
mod links;
mod made;
mod names;
mod pieces;
mod resolve;
mod settings;

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::objects::Objects;
use super::{Repository, to_gix};
use crate::id::ObjectId;
use crate::limits;

pub(super) use adopt::sync_dir;
pub use adopt::{Adopted, Quarantined};
pub use gathering::Gathering;
pub use kept::Kept;
pub(super) use made::Gently;
pub use pieces::{Manifest, NotShared, PackPieces, PieceRefused};

/// What a pack may be at most.
#[derive(Debug, Clone, Copy)]
pub struct PackLimits {
    /// Objects in it.
    pub objects: u32,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size in bytes of one object.
    pub object_bytes: u64,
    /// The size in bytes of all its objects together, each on its own. What it costs to check a pack follows this.
    pub all_object_bytes: u64,
    /// The length of a chain of deltas in it. What it costs to read one object follows this.
    pub depth: u32,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self {
            objects: limits::PACK_OBJECTS,
            bytes: limits::PACK_BYTES,
            object_bytes: limits::OBJECT_BYTES as u64,
            // Histories of a few GB stand for a few hundred GB; a pack made to explode stands for any number.
            all_object_bytes: 1 << 42,
            depth: limits::PACK_DEPTH,
        }
    }
}

/// How far a pack has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackProgress {
    /// Objects received.
    pub objects_done: u64,
    /// Objects in the pack.
    pub objects_total: u64,
    /// Bytes received.
    pub bytes: u64,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// That of whoever sent the pack.
    Peer,
    /// Ours: the disk's, this repository's, or nobody's.
    Local,
}

/// Why a pack was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackRefused {
    /// Its bytes are no pack, or not what their checksum says.
    #[error("the pack is broken: {0}")]
    BadPack(String),
    /// Something follows it.
    #[error("bytes follow the pack")]
    TrailingBytes,
    /// It is over a limit.
    #[error("the pack is too large: {what} {size}, at most {limit}")]
    TooLarge {
        /// What is too large.
        what: Large,
        /// How large it is, or at least is.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// An object is neither in it nor here.
    #[error("object {0} is missing")]
    MissingObject(ObjectId),
    /// A directory could not be checked out safely, or git would not take it.
    #[error("tree {id} is refused: {why}")]
    BadTree {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        why: BadTree,
    },
    /// A commit, a tag, or another object is not what it should be.
    #[error("object {id} is refused: {why}")]
    BadObject {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        why: String,
    },
    /// An object that should be here is not, or is broken: this repository is damaged.
    #[error("object {id} of this repository cannot be read: {why}")]
    Damaged {
        /// Which.
        id: ObjectId,
        /// What is wrong with it.
        why: String,
    },
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Reading what comes in failed, or a file here could not be written.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// What can be too large about a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Large {
    /// The number of its objects.
    Objects,
    /// Its size in bytes.
    Bytes,
    /// The size in bytes of one object.
    ObjectBytes,
    /// The size in bytes of all objects together.
    AllObjectBytes,
    /// The length of a chain of deltas.
    Depth,
}

impl std::fmt::Display for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Objects => "its objects are",
            Self::Bytes => "its bytes are",
            Self::ObjectBytes => "the bytes of one object are",
            Self::AllObjectBytes => "the bytes of all its objects are",
            Self::Depth => "a chain of its deltas is",
        })
    }
}

/// What is wrong with a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTree {
    /// An entry is cut short.
    #[error("an entry is cut short")]
    Malformed,
    /// A name is empty.
    #[error("a name is empty")]
    EmptyName,
    /// A name is `.` or `..`, also between backslashes, which separate directories on Windows.
    #[error("a name is . or ..")]
    Dots,
    /// A name is, or is read on some systems as, `.git`.
    #[error("a name stands for .git")]
    DotGit,
    /// A name contains a slash.
    #[error("a name contains a slash")]
    Slash,
    /// `.gitmodules` is a symbolic link.
    #[error(".gitmodules is a symbolic link")]
    GitModulesLink,
    /// Two entries have one name.
    #[error("a name stands there twice")]
    Duplicate,
    /// Entries are not in git's order.
    #[error("its entries are not in order")]
    Order,
    /// A mode that git does not know.
    #[error("a mode is unknown to git")]
    Mode,
    /// An entry has the id of nothing.
    #[error("an entry has a null id")]
    NullId,
    /// It is nested deeper than git reads.
    #[error("directories are nested too deep")]
    TooDeep,
}

impl PackRefused {
    /// Whose fault it is: a peer that sends such packs is not asked again.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadPack(_)
            | Self::TrailingBytes
            | Self::TooLarge { .. }
            | Self::MissingObject(_)
            | Self::BadTree { .. }
            | Self::BadObject { .. } => Blame::Peer,
            Self::Damaged { .. } | Self::Full | Self::Io { .. } | Self::Stopped => Blame::Local,
        }
    }

    /// Is whoever sent the pack to blame?
    pub fn is_peers_fault(&self) -> bool {
        self.blame() == Blame::Peer
    }

    /// An error of the system while something was written here.
    fn io(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io { what, source },
        }
    }
}

impl Repository {
    /// Receives exactly one pack and checks that with it everything that `wants` reach is here.
    ///
    /// `haves` are commits that are known to be whole here: what they reach is trusted. Those that are not here are
    /// ignored. A delta may be against what they reach; such a pack is completed with its bases. Everything else counts
    /// only if it is in the pack, or is here and reaches only what is here too: that an object lies in the object store
    /// says nothing about what it refers to.
    ///
    /// # Errors
    /// [`PackRefused`]; nothing of the pack stays here then.
    pub fn receive_pack(
        &self,
        input: &mut dyn BufRead,
        wants: &[ObjectId],
        haves: &[ObjectId],
        limits: &PackLimits,
        progress: &dyn Fn(PackProgress),
        stop: &AtomicBool,
    ) -> Result<Quarantined, PackRefused> {
        let received = self.resume_pack(None, input, wants, haves, limits, progress, stop);
        received.map_err(|interrupted| interrupted.why)
    }

    /// The same, where a pack was cut before: what had come of it, and the pack of the rest, which may be from another
    /// peer, are checked and adopted together.
    ///
    /// # Errors
    /// [`Interrupted`], with what can be gone on with where the input broke off.
    #[expect(clippy::too_many_arguments, reason = "as `receive_pack`, and what was kept")]
    pub fn resume_pack(
        &self,
        kept: Option<Kept>,
        input: &mut dyn BufRead,
        wants: &[ObjectId],
        haves: &[ObjectId],
        limits: &PackLimits,
        progress: &dyn Fn(PackProgress),
        stop: &AtomicBool,
    ) -> Result<Quarantined, Interrupted> {
        let over = |why| Interrupted { why, kept: None };
        let gathering = self.gather(kept, haves).map_err(over)?;
        match gathering.receive(input, None, limits, &|_, all| progress(all), stop) {
            Ok(()) => gathering.finish(wants, stop).map_err(over),
            Err(why) => Err(Interrupted { why, kept: gathering.into_kept().map(Box::new) }),
        }
    }

    /// Is everything that `tips` reach and `haves` do not really here?
    ///
    /// # Errors
    /// [`PackRefused::Damaged`] where an object is here and cannot be read.
    pub fn connected(&self, tips: &[ObjectId], haves: &[ObjectId]) -> Result<bool, PackRefused> {
        let Some(tips) = tips.iter().map(to_gix).collect::<Option<Vec<_>>>() else { return Ok(false) };
        let haves: Vec<gix::ObjectId> = haves.iter().filter_map(to_gix).collect();
        check::connected(self, &tips, &haves)
    }

    /// Is this object here? What it refers to may not be.
    pub fn has(&self, id: &ObjectId) -> bool {
        to_gix(id).is_some_and(|id| Objects::of(self).has(&id))
    }
}

/// A pack was not received.
pub struct Interrupted {
    /// Why.
    pub why: PackRefused,
    /// What the next try can go on with; `None` where that is nothing.
    pub kept: Option<Box<Kept>>,
}

/// A pack that was received: its files in quarantine.
struct Files {
    pack: PathBuf,
    index: PathBuf,
    /// The checksum at its end, which names it.
    name: gix::ObjectId,
    objects: u64,
    bytes: u64,
}

/// What is given bytes of strangers, for `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::super::objects;
    use super::{PackLimits, PackRefused, headers, incoming, names, settings};

    /// Would a tree with these bytes be let in?
    pub(crate) fn takes_tree(data: &[u8]) -> bool {
        names::check_tree(data).is_ok()
    }

    /// Would a commit with these bytes be let in?
    pub(crate) fn takes_commit(data: &[u8]) -> bool {
        headers::check_commit(data).is_ok()
    }

    /// Would a tag with these bytes be let in?
    pub(crate) fn takes_tag(data: &[u8]) -> bool {
        headers::check_tag(data).is_ok()
    }

    /// Would a `.gitmodules` with these bytes be let in?
    pub(crate) fn takes_modules(data: &[u8]) -> bool {
        settings::check_modules(data).is_ok()
    }

    /// What a commit names, as walks read it.
    pub(crate) fn links(data: &[u8]) -> Option<(gix::ObjectId, Vec<gix::ObjectId>)> {
        objects::commit_of(data).map(|commit| (commit.tree, commit.parents))
    }

    /// Receives and indexes a pack in `dir`, which is left with its files.
    pub(crate) fn receive(dir: &Path, mut bytes: &[u8], limits: &PackLimits) -> Result<(), PackRefused> {
        let stop = AtomicBool::new(false);
        let among = incoming::Among::default();
        incoming::receive(dir, 0, &mut bytes, among, None, limits, &|_| {}, &stop)
            .map(drop)
            .map_err(|failed| failed.why)
    }
}

#[cfg(test)]
mod tests;
