//! Is this still the directory in which the feed key was made?
//!
//! A copied directory, a restored backup, a cloned disk would write the same numbers of one feed twice. So the
//! place of the key (path and inode) is written beside it and in the person's own directory, there with how far
//! the feed went; on any mismatch a new feed begins, by itself. A directory that was only moved keeps its inode
//! and stays the same peer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::PeerId;

/// Where a feed lives, and how far it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    path: PathBuf,
    inode: u64,
    feed: String,
    /// Number of its last event; only in the person's own directory.
    #[serde(default)]
    last_seq: Option<u64>,
}

/// What is found where a clone's files lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// As it was left, or moved as a whole.
    Same,
    /// Copied from elsewhere, or restored from a backup.
    Copied,
}

fn here(dir: &Path) -> std::io::Result<(PathBuf, u64)> {
    let path = std::fs::canonicalize(dir)?;
    let inode = inode(&std::fs::metadata(&path)?);
    Ok((path, inode))
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// Elsewhere the path alone must do: a copy has another one.
#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

fn place_file(dir: &Path) -> PathBuf {
    dir.join("place.json")
}

fn feed_file(feeds: &Path, feed: &PeerId) -> PathBuf {
    feeds.join(format!("{feed}.json"))
}

/// Writes beside a file and renames, so that a crash leaves the old or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}

/// Notes that `feed` lives in `dir`, and (in `feeds`, the person's own directory) how far it went.
pub(crate) fn settle(dir: &Path, feeds: &Path, feed: &PeerId, last_seq: Option<u64>) -> std::io::Result<()> {
    let (path, inode) = here(dir)?;
    let place = Place { path, inode, feed: feed.to_string(), last_seq: None };
    write_whole(&place_file(dir), &serde_json::to_vec(&place)?)?;
    std::fs::create_dir_all(feeds)?;
    write_whole(&feed_file(feeds, feed), &serde_json::to_vec(&Place { last_seq, ..place })?)
}

/// Takes away what the person's own directory notes of a feed: at the next start its clone is taken for a copy.
pub(crate) fn leave(feeds: &Path, feed: &PeerId) -> std::io::Result<()> {
    match std::fs::remove_file(feed_file(feeds, feed)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compares what was noted with what is there. `last_seq` is that of the own feed in the log found.
pub(crate) fn standing(dir: &Path, feeds: &Path, feed: &PeerId, last_seq: Option<u64>) -> std::io::Result<Standing> {
    let read = |path: PathBuf| -> Option<Place> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let (path, inode) = here(dir)?;
    let (Some(beside), Some(own)) = (read(place_file(dir)), read(feed_file(feeds, feed))) else {
        return Ok(Standing::Copied);
    };
    let same_inode = |place: &Place| place.inode == inode && place.feed == feed.to_string();
    let stayed = own.path == path && beside.path == path;
    // Moved as a whole: the inode is the same, and nothing lives where it was.
    let moved = cfg!(unix) && here(&own.path).is_err();
    let went_on = own.last_seq <= last_seq;
    let same = same_inode(&beside) && same_inode(&own) && (stayed || moved) && went_on;
    Ok(if same { Standing::Same } else { Standing::Copied })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_directory_is_the_same_and_a_copied_or_restored_one_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, feeds, feed) = (temp.path().join("a"), temp.path().join("feeds"), PeerId([1; 32]));
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(standing(&dir, &feeds, &feed, None).unwrap(), Standing::Copied, "nothing was noted");
        settle(&dir, &feeds, &feed, Some(3)).unwrap();
        assert_eq!(standing(&dir, &feeds, &feed, Some(3)).unwrap(), Standing::Same);
        assert_eq!(standing(&dir, &feeds, &feed, Some(4)).unwrap(), Standing::Same, "the note is a little behind");
        assert_eq!(standing(&dir, &feeds, &feed, Some(2)).unwrap(), Standing::Copied, "an older log was restored");
        let copy = temp.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(place_file(&dir), place_file(&copy)).unwrap();
        assert_eq!(standing(&copy, &feeds, &feed, Some(3)).unwrap(), Standing::Copied);
        let moved = temp.path().join("moved");
        std::fs::rename(&dir, &moved).unwrap();
        assert_eq!(standing(&moved, &feeds, &feed, Some(3)).unwrap(), Standing::Same);
        leave(&feeds, &feed).unwrap();
        leave(&feeds, &feed).unwrap();
        assert_eq!(standing(&moved, &feeds, &feed, Some(3)).unwrap(), Standing::Copied, "its key was used elsewhere");
        assert_eq!(standing(&moved, &temp.path().join("other"), &feed, Some(3)).unwrap(), Standing::Copied);
    }
}
