//! Writing and deleting refs: under git's own locks, with the value that is expected, durably.
//!
//! A ref is written as git does it: `<ref>.lock` is created, the value that the ref has by then is compared, the new
//! one is written to the lock and synced, and the lock is renamed. Deleting also takes `packed-refs.lock` and rewrites
//! `packed-refs` from what it says under that lock, or a `git pack-refs` at the same time would bring the ref back or
//! lose another.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::read::{self, Value};
use super::{RefError, reflog};
use crate::git::Repository;
use crate::git::quarantine::sync_dir;

/// A change of one ref.
pub(super) struct Change<'a> {
    /// Its full name, `refs/...`.
    pub(super) name: &'a str,
    /// The value that it must have; `None`: it must not exist.
    pub(super) expected: Option<gix::ObjectId>,
    /// What the reflog says of it.
    pub(super) message: &'a str,
}

/// Sets a ref.
pub(super) fn set(repo: &Repository, change: &Change<'_>, new: gix::ObjectId) -> Result<(), RefError> {
    let common = repo.common_dir();
    let path = common.join(change.name);
    clear_way(common, change.name)?;
    let mut lock = lock(repo, &path, change.name)?;
    let old = check(common, change)?;
    if old == Some(new) {
        return Ok(());
    }
    in_packed_way(common, change.name)?;
    let failed = RefError::io(change.name);
    writeln!(lock.file, "{new}").and_then(|()| lock.file.sync_all()).map_err(&failed)?;
    reflog::append(repo, change, old, new)?;
    rename(lock, &path, change.name)?;
    sync_dirs(common, &path).map_err(&failed)
}

/// A ref to be made, and what stands at the end of a tag that it is at.
pub(super) struct Packed {
    /// Its full name, `refs/...`.
    pub(super) name: String,
    pub(super) id: gix::ObjectId,
    pub(super) peeled: Option<gix::ObjectId>,
}

/// Makes refs together in `packed-refs`, without reflogs: as git does when it clones, and with one write for all. Those
/// that are there by now, or that others are in the way of, are left out; gives how many were made.
pub(super) fn make_packed(repo: &Repository, refs: Vec<Packed>) -> Result<usize, RefError> {
    let common = repo.common_dir();
    let failed = RefError::io("packed-refs");
    let path = common.join("packed-refs");
    let mut lock = lock(repo, &path, "packed-refs")?;
    let packed = read::packed(common)?;
    let line = |id: &gix::oid, name: &[u8], peeled: Option<&[u8]>| {
        let mut line = [id.to_hex().to_string().as_bytes(), b" ", name, b"\n"].concat();
        if let Some(peeled) = peeled {
            line.extend([b"^", peeled, b"\n"].concat());
        }
        line
    };
    let mut lines: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    // Git's own words for what is true of the file: tags say what they stand for, all of them do, and names are in order.
    let mut header = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    let mut rest = packed.split_inclusive(|byte| *byte == b'\n').peekable();
    if let Some(first) = rest.peek() {
        header = if first.starts_with(b"#") { first.to_vec() } else { Vec::new() };
    }
    let mut last = Vec::new();
    for one in rest {
        let name = one.get(41..).map(|name| name.trim_ascii_end()).filter(|_| one[40] == b' ');
        match name {
            Some(name) if !one.starts_with(b"#") => {
                last = name.to_vec();
                lines.insert(last.clone(), one.to_vec());
            }
            _ if one.starts_with(b"^") => {
                if let Some(of) = lines.get_mut(&last) {
                    of.extend_from_slice(one);
                }
            }
            _ => {}
        }
    }
    let mut made = 0;
    for new in refs {
        let is_free = read::read_file(&common.join(&new.name)).map_err(RefError::io(&new.name))?.is_none()
            && !lines.contains_key(new.name.as_bytes())
            && in_way(common, &new.name).is_none()
            && !new.name.match_indices('/').any(|(at, _)| lines.contains_key(&new.name.as_bytes()[..at]));
        if is_free {
            let peeled = new.peeled.map(|id| id.to_hex().to_string());
            let text = line(&new.id, new.name.as_bytes(), peeled.as_ref().map(String::as_bytes));
            lines.insert(new.name.into_bytes(), text);
            made += 1;
        }
    }
    let text = lines.into_values().fold(header, |mut text, line| {
        text.extend(line);
        text
    });
    lock.file.write_all(&text).and_then(|()| lock.file.sync_all()).map_err(&failed)?;
    rename(lock, &path, "packed-refs")?;
    sync_dir(common).map_err(&failed)?;
    Ok(made)
}

/// Deletes a ref and its reflog.
pub(super) fn delete(repo: &Repository, change: &Change<'_>) -> Result<(), RefError> {
    let common = repo.common_dir();
    let path = common.join(change.name);
    if read::read(common, change.name)?.is_none() && change.expected.is_none() {
        return Ok(());
    }
    // In the order in which git takes them.
    let ref_lock = lock(repo, &path, change.name)?;
    let packed_path = common.join("packed-refs");
    let mut packed_lock = lock(repo, &packed_path, "packed-refs")?;
    if check(common, change)?.is_none() {
        return Ok(());
    }
    let packed = read::packed(common)?;
    if let Some(rest) = without(&packed, change.name.as_bytes()) {
        let failed = RefError::io("packed-refs");
        packed_lock.file.write_all(&rest).and_then(|()| packed_lock.file.sync_all()).map_err(&failed)?;
        rename(packed_lock, &packed_path, "packed-refs")?;
        sync_dir(common).map_err(&failed)?;
    }
    // The packed value is gone first: a kill in between leaves the ref as it was, not an older value of it.
    let failed = RefError::io(change.name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    reflog::delete(common, change.name);
    sync_dirs(common, &path).map_err(&failed)?;
    drop(ref_lock);
    remove_empty(common, path.parent());
    Ok(())
}

/// The ref's value, which must be the one that is expected.
fn check(common: &Path, change: &Change<'_>) -> Result<Option<gix::ObjectId>, RefError> {
    let found = match read::read(common, change.name)? {
        None => None,
        Some(Value::Object(id)) => Some(id),
        Some(Value::Symbolic(_)) => return Err(RefError::Symbolic(change.name.to_owned())),
    };
    if found == change.expected {
        return Ok(found);
    }
    Err(RefError::Moved { name: change.name.to_owned(), found: found.map(|id| crate::git::from_gix(&id)) })
}

fn lock(repo: &Repository, path: &Path, name: &str) -> Result<Lock, RefError> {
    Lock::take(path, &repo.lansync_dir()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RefError::Locked(name.to_owned()),
        _ => match in_way(repo.common_dir(), name) {
            Some(other) => RefError::InTheWay { name: name.to_owned(), other },
            None => RefError::io(name)(error),
        },
    })
}

fn rename(lock: Lock, path: &Path, name: &str) -> Result<(), RefError> {
    // A directory that became empty just now is in the way of the file.
    if path.is_dir() {
        remove_empty_below(path);
    }
    lock.commit().map_err(RefError::io(name))
}

/// `packed-refs` without a ref; `None` where it does not hold it.
fn without(packed: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut found, mut dropping) = (Vec::with_capacity(packed.len()), false, false);
    for line in packed.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        // What a tag stands for belongs to the line before it.
        dropping = if text.starts_with(b"^") { dropping } else { text.get(41..) == Some(name) && text[40] == b' ' };
        found |= dropping;
        if !dropping {
            rest.extend_from_slice(line);
        }
    }
    found.then_some(rest)
}

/// Is a ref in the way whose name is a directory of this one, or the other way round?
fn clear_way(common: &Path, name: &str) -> Result<(), RefError> {
    match in_way(common, name) {
        Some(other) => Err(RefError::InTheWay { name: name.to_owned(), other }),
        None => {
            let path = common.join(name);
            if path.is_dir() {
                remove_empty_below(&path);
            }
            Ok(())
        }
    }
}

/// A ref file that is in the way of this one.
fn in_way(common: &Path, name: &str) -> Option<String> {
    for (at, _) in name.match_indices('/') {
        if at > "refs/".len() && common.join(&name[..at]).is_file() {
            return Some(name[..at].to_owned());
        }
    }
    let prefix = format!("{name}/");
    let (refs, _) = read::below(common, &prefix).ok()?;
    let below = refs.into_keys().next()?;
    Some(format!("{prefix}{}", String::from_utf8_lossy(&below)))
}

/// A packed ref that is in the way; asked under the lock.
fn in_packed_way(common: &Path, name: &str) -> Result<(), RefError> {
    let packed = read::packed(common)?;
    let is_above = |other: &[u8]| name.as_bytes().strip_prefix(other).is_some_and(|rest| rest.starts_with(b"/"));
    match read::packed_lines(&packed).find(|(_, other)| is_above(other)) {
        None => Ok(()),
        Some((_, other)) => {
            let other = String::from_utf8_lossy(other).into_owned();
            Err(RefError::InTheWay { name: name.to_owned(), other })
        }
    }
}

/// Makes a new ref's directories durable, up to `refs`.
fn sync_dirs(common: &Path, path: &Path) -> io::Result<()> {
    for dir in path.ancestors().skip(1).take_while(|dir| *dir != common) {
        sync_there(dir)?;
    }
    Ok(())
}

/// Like [`sync_dir`]; a directory that is gone was emptied by git, which has packed the refs in it.
fn sync_there(dir: &Path) -> io::Result<()> {
    match sync_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes directories that a deleted ref leaves empty, but none of those that git makes itself.
fn remove_empty(common: &Path, dir: Option<&Path>) {
    let kept: [PathBuf; 4] = ["heads", "lansync", "remotes", "tags"].map(|name| common.join("refs").join(name));
    for dir in dir.into_iter().flat_map(Path::ancestors) {
        let below_kept = kept.iter().any(|kept| dir.starts_with(kept) && dir != kept.as_path());
        if !below_kept || std::fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

/// Removes directories without any file, the given one included.
fn remove_empty_below(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_empty_below(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}
