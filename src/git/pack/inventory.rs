//! What some commits reach, written down: listing a large history takes seconds, and what a commit reaches never changes.
//!
//! Git keeps the same as bitmaps beside a pack. These are ids alone, whatever packs there are, so no repack makes them wrong.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use gix::hashtable::HashSet;

use crate::git::Repository;
use crate::git::walk::Span;

/// A history with fewer objects is listed sooner than this is worth, one with more would take too much of the disk and of
/// memory: 20 bytes for each.
const OBJECTS: std::ops::RangeInclusive<usize> = 4_096..=2 << 20;

/// It is written anew once so much of what is asked for, as a part of all, is not in it.
const GROWN: usize = 16;

/// What the file begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"lansinv\x01";
const ID: usize = 20;
/// Bytes of the BLAKE3 hash at the end.
const HASH: usize = 32;
/// As many as a request may want.
const MOST_HEADS: usize = crate::limits::FETCH_TIPS * 2;

/// One at a time writes it; another does without.
static WRITING: Mutex<()> = Mutex::new(());

/// All objects that some commits reach, they themselves among them.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::git) struct Inventory {
    /// The commits, none of which reaches another.
    heads: Vec<gix::ObjectId>,
    /// In order, one after the other.
    ids: Vec<u8>,
}

impl Inventory {
    /// Writes down what the commits of a span and those at its border reach, which are these, in order.
    pub(in crate::git) fn note(repo: &Repository, span: &Span, border: &HashSet<gix::ObjectId>, ids: &[gix::ObjectId]) {
        // What tags alone reach the next who wants the commits may not want.
        if !span.others.is_empty() {
            return;
        }
        let parents = span.commits.iter().flat_map(|commit| commit.parents.iter().map(|(id, _)| *id));
        let parents: HashSet<_> = parents.collect();
        let mut heads: Vec<_> = border.iter().chain(&span.tips).filter(|id| !parents.contains(*id)).copied().collect();
        heads.sort_unstable();
        heads.dedup();
        let ids: Vec<_> = ids.iter().filter(|id| span.tags.binary_search(id).is_err()).collect();
        if let Some(inventory) = Self::new(heads, ids.into_iter()) {
            inventory.save(repo);
        }
    }

    /// What these heads reach; `ids` are in order. `None` where it is not worth it.
    fn new<'a>(heads: Vec<gix::ObjectId>, ids: impl ExactSizeIterator<Item = &'a gix::ObjectId>) -> Option<Self> {
        if !OBJECTS.contains(&ids.len()) || heads.is_empty() || heads.len() > MOST_HEADS {
            return None;
        }
        let mut all = Vec::with_capacity(ids.len() * ID);
        ids.for_each(|id| all.extend_from_slice(id.as_bytes()));
        Some(Self { heads, ids: all })
    }

    pub(super) fn heads(&self) -> &[gix::ObjectId] {
        &self.heads
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = gix::ObjectId> {
        self.ids.chunks_exact(ID).map(gix::ObjectId::from_bytes_or_panic)
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len() / ID
    }

    pub(super) fn holds(&self, id: &gix::oid) -> bool {
        let (mut from, mut until) = (0, self.len());
        while from < until {
            let middle = from.midpoint(until);
            match self.ids[middle * ID..(middle + 1) * ID].cmp(id.as_bytes()) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => until = middle,
            }
        }
        false
    }

    /// Is it worth a new one, where so many objects were found beside it?
    pub(super) fn is_outgrown(&self, found: usize) -> bool {
        found > self.len() / GROWN
    }

    /// The one that was written last, if it can be read; it goes where it cannot.
    pub(super) fn load(repo: &Repository) -> Option<Self> {
        let path = path(repo);
        let bytes = fs::read(&path).ok()?;
        let read = Self::decode(&bytes);
        if read.is_none() {
            let _ = fs::remove_file(path);
        }
        read
    }

    /// Writes it down. What is lost in a crash, or cannot be written, is found again by listing.
    fn save(&self, repo: &Repository) {
        let Ok(_writing) = WRITING.try_lock() else { return };
        let (path, new) = (path(repo), repo.lansync_dir().join("inventory.new"));
        let written = fs::create_dir_all(repo.lansync_dir());
        let written = written.and_then(|()| self.write(&new)).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            tracing::debug!(%error, "what a history consists of is not written down");
            let _ = fs::remove_file(new);
        }
    }

    fn write(&self, path: &std::path::Path) -> io::Result<()> {
        let mut hash = blake3::Hasher::new();
        let mut file = File::create(path)?;
        let count = (self.heads.len() as u32).to_le_bytes();
        let heads = self.heads.iter().flat_map(|head| head.as_bytes().iter().copied());
        let start: Vec<u8> = MAGIC.into_iter().chain(count).chain(heads).collect();
        for part in [&start, &self.ids] {
            hash.update(part);
            file.write_all(part)?;
        }
        file.write_all(hash.finalize().as_bytes())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, hash) = bytes.split_last_chunk::<HASH>()?;
        if blake3::hash(rest) != *hash {
            return None;
        }
        let (count, rest) = rest.strip_prefix(&MAGIC)?.split_first_chunk::<4>()?;
        let (heads, ids) = rest.split_at_checked(u32::from_le_bytes(*count) as usize * ID)?;
        let heads = heads.chunks_exact(ID).map(gix::ObjectId::from_bytes_or_panic).collect();
        ids.len().is_multiple_of(ID).then(|| Self { heads, ids: ids.to_vec() })
    }
}

fn path(repo: &Repository) -> PathBuf {
    repo.lansync_dir().join("inventory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u32) -> Vec<gix::ObjectId> {
        let id = |n: u32| {
            let mut id = [7; ID];
            id[..4].copy_from_slice(&(n * 3).to_be_bytes());
            gix::ObjectId::Sha1(id)
        };
        (0..count).map(id).collect()
    }

    #[test]
    fn it_holds_what_it_was_made_of() {
        let all = ids(5_000);
        let inventory = Inventory::new(vec![all[9]], all.iter()).expect("neither few nor many");
        assert!(all.iter().all(|id| inventory.holds(id)));
        let between = |id: &gix::ObjectId| {
            let mut other = [7; ID];
            other[..4].copy_from_slice(&(u32::from_be_bytes(id.as_bytes()[..4].try_into().unwrap()) + 1).to_be_bytes());
            gix::ObjectId::Sha1(other)
        };
        assert!(!all.iter().any(|id| inventory.holds(&between(id))));
        assert!(inventory.ids().eq(all.iter().copied()));
        assert_eq!(Inventory::new(vec![all[9]], all[..100].iter()), None, "listed at once");
        assert_eq!(Inventory::new(vec![], all.iter()), None, "of nothing");
    }

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, all) = (dir.path().join("inventory"), ids(5_000));
        let inventory = Inventory::new(vec![all[1], all[2]], all.iter()).expect("neither few nor many");
        inventory.write(&path).expect("written");
        let bytes = fs::read(&path).expect("read");
        assert_eq!(Inventory::decode(&bytes), Some(inventory));
        for at in (0..bytes.len()).step_by(997).chain(bytes.len() - HASH - 1..bytes.len()) {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Inventory::decode(&bad), None, "changed at {at}");
            assert_eq!(Inventory::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
