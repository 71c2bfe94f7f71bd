//! Making one pack of several.
//!
//! The new pack is whole, checked and durable before an old one goes, so a crash at any point leaves every object, some
//! twice. Who reads an old pack goes on reading it, or looks again and finds the new one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::{Size, decide, is_kept};
use crate::git::objects::{Objects, chain};
use crate::git::pack::{self, PackError};
use crate::git::quarantine::{Gently, PackRefused, sync_dir};
use crate::git::{Adopted, Repository};

/// What became of the packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consolidated {
    /// They are few, or none is small.
    Nothing,
    /// Git keeps house itself, as this file or process shows: later.
    Waits(String),
    /// So many became one of so many objects.
    Packs {
        /// Packs that are gone.
        packs: usize,
        /// Objects of the new one.
        objects: u64,
    },
}

/// Why packs stay as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HousekeepingError {
    /// An object of theirs could not be copied.
    #[error("{0}")]
    Copying(#[from] PackError),
    /// The new pack could not be stored.
    #[error("{0}")]
    Storing(#[from] PackRefused),
    /// A file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// An index cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Index {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Repository {
    /// Makes one pack of the small ones that came by way of lansync, once there are many. Takes as long as copying them
    /// does, and keeps nobody from anything; does nothing while git keeps house itself.
    ///
    /// # Errors
    /// [`HousekeepingError`]; no object is lost, and the packs are as they were.
    pub fn consolidate(&self, stop: &AtomicBool) -> Result<Consolidated, HousekeepingError> {
        let packs = self.own_packs()?;
        let mut indices = Vec::with_capacity(packs.len());
        let mut sizes = Vec::with_capacity(packs.len());
        for pack in &packs {
            let index = open_index(pack)?;
            sizes.push(Size { objects: u64::from(index.num_objects()), bytes: pack.metadata()?.len() });
            indices.push(index);
        }
        let chosen = decide(&sizes);
        // An index of several packs would name packs that are gone: who has one has `git maintenance` see to this.
        if chosen.is_empty() || self.common_dir().join("objects/pack/multi-pack-index").exists() {
            return Ok(Consolidated::Nothing);
        }
        if let Some(who) = self.housekeeper() {
            return Ok(Consolidated::Waits(who));
        }
        // The largest first, and each in its own order: what was written together stays together.
        let (mut ids, mut seen) = (Vec::new(), HashSet::new());
        for at in chosen.iter().rev() {
            let mut entries: Vec<_> = indices[*at].iter().map(|entry| (entry.pack_offset, entry.oid)).collect();
            entries.sort_unstable();
            ids.extend(entries.into_iter().map(|(_, id)| id).filter(|id| seen.insert(*id)));
        }
        drop(seen);
        let old: Vec<&Path> = chosen.iter().map(|at| packs[*at].as_path()).collect();
        let newest = old.iter().filter_map(|pack| pack.metadata().ok()?.modified().ok()).max();
        let count = ids.len() as u64;
        let new = self.write_together(&ids, newest, stop)?;
        // All of them, before any other copy goes.
        let index = new.packs.first().map(|pack| open_index(pack)).transpose()?;
        if index.is_none_or(|index| ids.iter().any(|id| index.lookup(id).is_none())) {
            return Err(io::Error::other("the new pack lacks an object").into());
        }
        let gone = match self.housekeeper() {
            // It may count on the old ones. They are merged again another time.
            Some(who) => return Ok(Consolidated::Waits(who)),
            None => self.take_away(&old)?,
        };
        new.release();
        Ok(Consolidated::Packs { packs: gone, objects: count })
    }

    /// Writes these objects to a new pack of the object store, durably.
    fn write_together(
        &self,
        ids: &[gix::ObjectId],
        time: Option<SystemTime>,
        stop: &AtomicBool,
    ) -> Result<Adopted, HousekeepingError> {
        let write = |out: &mut dyn Write| -> Result<(), HousekeepingError> {
            pack::write_copied(
                Objects::of(self),
                ids.to_vec(),
                None,
                &mut Gently::new(out),
                pack::Form::Plain.into(),
                stop,
            )?;
            Ok(())
        };
        let adopted = self.store_made(write, stop)?;
        // Objects that nothing reaches are as old as they were, for whom it matters when they are pruned.
        if let (Some(pack), Some(time)) = (adopted.packs.first(), time) {
            // It is read-only, and its owner may set its time all the same.
            let _ = File::open(pack).and_then(|file| file.set_modified(time));
        }
        Ok(adopted)
    }

    /// Removes packs whose objects are elsewhere; how many went.
    fn take_away(&self, packs: &[&Path]) -> io::Result<usize> {
        let mut gone = 0;
        for pack in packs.iter().filter(|pack| !is_kept(pack)) {
            // Without the index nobody looks for the pack: it goes first, as with git.
            for ending in ["idx", "rev", "pack"] {
                match fs::remove_file(pack.with_extension(ending)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            gone += 1;
        }
        sync_dir(&self.common_dir().join("objects").join("pack"))?;
        // Their notes go with them.
        self.own_packs()?;
        Ok(gone)
    }
}

fn open_index(pack: &Path) -> Result<gix_pack::index::File, HousekeepingError> {
    let path = pack.with_extension("idx");
    gix_pack::index::File::at(&path, gix::hash::Kind::Sha1)
        .map_err(|error| HousekeepingError::Index { path, why: chain(&error) })
}
