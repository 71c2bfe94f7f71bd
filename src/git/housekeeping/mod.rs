//! Keeping house: the many small packs that arrive become few, and git's own housekeeping is stood aside for.
//!
//! Only packs that came by way of lansync are touched: a note in `<common dir>/lansync/packs/` says which these are.
//! Nothing is thrown away here, reachable or not: that is for `git gc`, by the user's own settings.

mod consolidate;
mod running;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use consolidate::{Consolidated, HousekeepingError};

use super::Repository;
use crate::limits;

/// What our temporary files in the object store begin with; git cleans up what begins with `tmp_`.
pub(super) const TEMPORARY: &str = "tmp_pack_lansync";

/// A pack of ours, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// Which packs become one: those that keep the others from growing geometrically, each at least twice as large as all
/// that are smaller. So an object is copied as often as the number of objects can be halved, however many packs come.
/// Indices into `sizes`; empty while there are few.
pub(super) fn decide(sizes: &[Size]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|at| sizes[*at].bytes <= limits::CONSOLIDATED_PACK).collect();
    if order.len() <= limits::PACKS_LEFT {
        return Vec::new();
    }
    order.sort_by_key(|at| sizes[*at].objects);
    let objects = |at: usize| sizes[order[at]].objects;
    let mut end = (1..order.len()).rev().find(|at| objects(*at) < 2 * objects(at - 1)).map_or(0, |at| at + 1);
    let mut together: u64 = (0..end).map(objects).sum();
    while end < order.len() && objects(end) < 2 * together {
        together += objects(end);
        end += 1;
    }
    order.truncate(end);
    let mut bytes = 0;
    order.retain(|at| {
        bytes += sizes[*at].bytes;
        bytes <= limits::CONSOLIDATED_BYTES
    });
    if order.len() < 2 { Vec::new() } else { order }
}

impl Repository {
    /// Notes that a pack came by way of lansync. Without the note it is left alone, so it need not be durable.
    pub(super) fn note_pack(&self, pack: &Path) {
        let dir = self.noted_packs();
        let note = pack.file_stem().map(|name| dir.join(name));
        if let Some(note) = note
            && let Err(error) = fs::create_dir_all(&dir).and_then(|()| fs::write(note, ""))
        {
            tracing::debug!(%error, "a pack stays as it is");
        }
    }

    fn noted_packs(&self) -> PathBuf {
        self.lansync_dir().join("packs")
    }

    /// The packs that came by way of lansync and that nobody wants kept as they are. Notes of those that are gone go.
    fn own_packs(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.noted_packs()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let store = self.common_dir().join("objects").join("pack");
        let mut packs = Vec::new();
        for entry in entries {
            let entry = entry?;
            let pack = store.join(entry.file_name()).with_extension("pack");
            if !pack.exists() {
                fs::remove_file(entry.path())?;
            } else if is_kept(&pack) {
                // Another time, perhaps.
            } else if pack.with_extension("idx").exists() {
                packs.push(pack);
            } else {
                // The index goes first and the note is written last: this one was on its way out.
                fs::remove_file(pack)?;
            }
        }
        packs.sort();
        Ok(packs)
    }
}

/// Does git, a person or an arrival want this pack as it is?
fn is_kept(pack: &Path) -> bool {
    ["keep", "promisor", "bitmap", "mtimes"].iter().any(|ending| pack.with_extension(ending).exists())
}

#[cfg(test)]
mod tests;
