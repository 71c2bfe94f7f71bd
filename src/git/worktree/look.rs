//! Looking before moving: who has the branch checked out, and is all that would be touched as the branch had it?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice};
use gix::index::entry::{Flags, Mode, Stage};
use gix::status::Submodule;
use gix::status::index_worktree;
use gix::status::plumbing::index_as_worktree::EntryStatus;

use super::changes::{self, Changes, at};
use super::place::{Placer, Standing};
use super::{NotClean, Operation, Stop, WorktreeError, io_at};

/// Which work tree has a branch checked out.
pub(super) enum Whose {
    Nobodys,
    One(Box<gix::Repository>),
    NotClean(NotClean),
}

/// Looks at the main and all linked work trees.
pub(super) fn who_has(repo: &gix::Repository, name: &str) -> Result<Whose, WorktreeError> {
    let mut all = vec![repo.clone()];
    if real(repo.git_dir()) != real(repo.common_dir()) {
        all.push(repo.main_repo()?);
    }
    for proxy in repo.worktrees()? {
        let worktree = proxy.into_repo_with_possibly_inaccessible_worktree()?;
        if real(worktree.git_dir()) != real(repo.git_dir()) {
            all.push(worktree);
        }
    }
    let mut found = None;
    for worktree in all {
        if worktree.is_bare() {
            continue;
        }
        if worktree.head_name()?.is_some_and(|head| head.as_bstr() == name) {
            if found.is_some() {
                return Ok(Whose::NotClean(NotClean::SeveralWorktrees));
            }
            found = Some(worktree);
        } else if let Some(operation) = borrowed_by(&worktree, name) {
            return Ok(Whose::NotClean(NotClean::InProgress(operation)));
        }
    }
    Ok(found.map_or(Whose::Nobodys, |worktree| Whose::One(Box::new(worktree))))
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A rebase or bisect detaches HEAD, and comes back to the branch when it is done.
fn borrowed_by(worktree: &gix::Repository, name: &str) -> Option<Operation> {
    let names = |file: &str| {
        let text = fs::read(worktree.git_dir().join(file)).unwrap_or_default();
        let text = text.trim();
        text == name.as_bytes() || name.as_bytes().strip_prefix(b"refs/heads/") == Some(text)
    };
    if names("rebase-merge/head-name") || names("rebase-apply/head-name") {
        Some(Operation::Rebase)
    } else if names("BISECT_START") {
        Some(Operation::Bisect)
    } else {
        None
    }
}

/// What is not finished in the work tree.
pub(super) fn operation(worktree: &gix::Repository) -> Option<Operation> {
    use gix::state::InProgress;
    Some(match worktree.state()? {
        InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => Operation::Apply,
        InProgress::Bisect => Operation::Bisect,
        InProgress::CherryPick | InProgress::CherryPickSequence => Operation::CherryPick,
        InProgress::Merge => Operation::Merge,
        InProgress::Rebase | InProgress::RebaseInteractive => Operation::Rebase,
        InProgress::Revert | InProgress::RevertSequence => Operation::Revert,
    })
}

/// Files of somebody's that are in the way.
#[derive(Default)]
struct Changed {
    first: Option<BString>,
    count: usize,
}

impl Changed {
    fn add(&mut self, path: &BStr) {
        self.count += 1;
        if self.first.as_ref().is_none_or(|first| path < first.as_bstr()) {
            self.first = Some(path.to_owned());
        }
    }

    fn none(self) -> Result<(), Stop> {
        match self.first {
            Some(first) => Err(Stop::NotClean(NotClean::ChangedFiles { first, count: self.count })),
            None => Ok(()),
        }
    }
}

/// Makes sure that nothing in the index or the files is anybody's own. Gives the index, and how each path that
/// changes stands on the disk right now.
///
/// `half`: a move to there was killed, so that what already is as it shall be is that one's, and nobody's own.
pub(super) fn look(
    repo: &gix::Repository,
    root: &Path,
    changes: &Changes,
    half: bool,
    placer: &mut Placer<'_>,
) -> Result<(gix::index::File, BTreeMap<BString, Standing>), Stop> {
    let index = repo.open_index()?;
    let entries = index.entries();
    if entries.iter().any(|entry| entry.stage() != Stage::Unconflicted) {
        return Err(Stop::NotClean(NotClean::Unmerged));
    }
    if index.is_sparse() || entries.iter().any(|entry| entry.flags.contains(Flags::SKIP_WORKTREE)) {
        return Err(Stop::NotClean(NotClean::Sparse));
    }
    staged(&index, changes, half)?;

    let mut standing = BTreeMap::new();
    let mut changed = Changed::default();
    let status = repo
        .status(gix::progress::Discard)?
        .index(gix::worktree::IndexPersistedOrInMemory::InMemory(index.clone()))
        .index_worktree_submodules(Submodule::Given { ignore: gix::submodule::config::Ignore::All, check_dirty: false })
        .index_worktree_rewrites(None)
        .index_worktree_options_mut(|options| options.dirwalk_options = None)
        .into_index_worktree_iter(Vec::new())?;
    for item in status {
        let index_worktree::Item::Modification { rela_path, status, entry, .. } = item? else { continue };
        if entry.mode == Mode::COMMIT {
            continue;
        }
        match status {
            EntryStatus::NeedsUpdate(_) => {}
            EntryStatus::Conflict { .. } => return Err(Stop::NotClean(NotClean::Unmerged)),
            EntryStatus::IntentToAdd => changed.add(rela_path.as_ref()),
            // Looked at below, as the new commit's attributes have it.
            EntryStatus::Change(_) if changes.paths.contains_key(&rela_path) => {}
            EntryStatus::Change(_) => {
                let item = changes::Item { mode: entry.mode, id: entry.id };
                if !placer.is_media(rela_path.as_ref(), item)? {
                    changed.add(rela_path.as_ref());
                }
            }
        }
    }

    for (path, change) in &changes.paths {
        let found = placer.standing(path.as_ref())?;
        // The directory of a submodule is left as it is.
        let submodules = change.new.is_some_and(|item| item.mode == Mode::COMMIT);
        if (half || submodules) && found.is(change.new) {
            standing.insert(path.clone(), found);
            continue;
        }
        match change.old {
            Some(_) if found.is(change.old) => {}
            // A file that is about to be removed with its directory, where an older run stopped.
            Some(_) => changed.add(path.as_ref()),
            None => in_the_way(root, path.as_ref(), changes, &found)?,
        }
        if let (Some(_), Standing::Directory) = (change.new, &found) {
            only_ours_below(root, path.as_ref(), changes)?;
        }
        standing.insert(path.clone(), found);
    }
    changed.none()?;
    Ok((index, standing))
}

/// The index must hold, for each path, what the old commit has; or what the new one has, after a move that was killed.
fn staged(index: &gix::index::File, changes: &Changes, half: bool) -> Result<(), Stop> {
    let mut changed = Changed::default();
    let mut old = changes::items(&changes.old).peekable();
    let mut check = |path: &BStr, before: Option<changes::Item>, found: Option<changes::Item>| {
        let as_it_shall_be = || half && changes.paths.get(path).is_some_and(|change| change.new == found);
        if before != found && !as_it_shall_be() {
            changed.add(path);
        }
    };
    for entry in index.entries() {
        let path = entry.path(index);
        while let Some((gone, before)) = old.next_if(|(before, _)| *before < path) {
            check(gone, Some(before), None);
        }
        let before = old.next_if(|(before, _)| *before == path).map(|(_, item)| item);
        let intent = entry.flags.contains(Flags::INTENT_TO_ADD);
        let found = changes::Item { mode: entry.mode, id: entry.id };
        check(path, before, (!intent).then_some(found));
    }
    for (gone, before) in old {
        check(gone, Some(before), None);
    }
    changed.none()
}

/// A path that is to be added: may what stands there, or above it, go?
fn in_the_way(root: &Path, path: &BStr, changes: &Changes, found: &Standing) -> Result<(), Stop> {
    for slash in path.find_iter("/") {
        let parent = path[..slash].as_bstr();
        match at(root, parent)?.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) if goes(changes, parent) => return Ok(()),
            Ok(_) => return Err(Stop::NotClean(NotClean::Untracked(parent.to_owned()))),
            Err(_) => return Ok(()),
        }
    }
    match found {
        Standing::Absent | Standing::Directory => Ok(()),
        Standing::File { .. } | Standing::Other => Err(Stop::NotClean(NotClean::Untracked(path.to_owned()))),
    }
}

fn goes(changes: &Changes, path: &BStr) -> bool {
    changes.paths.get(path).is_some_and(|change| change.old.is_some() && change.new.is_none())
}

/// A directory that has to make way for a file: everything in it must be the branch's, and go.
fn only_ours_below(root: &Path, path: &BStr, changes: &Changes) -> Result<(), Stop> {
    let mut todo = vec![path.to_owned()];
    while let Some(directory) = todo.pop() {
        let on_disk = at(root, directory.as_ref())?;
        for entry in fs::read_dir(&on_disk).map_err(io_at(&on_disk))? {
            let entry = entry.map_err(io_at(&on_disk))?;
            let name = gix::path::os_string_into_bstring(entry.file_name())?;
            let mut path = directory.clone();
            path.push(b'/');
            path.extend_from_slice(&name);
            if entry.file_type().map_err(io_at(&on_disk))?.is_dir() {
                todo.push(path);
            } else if !goes(changes, path.as_ref()) {
                return Err(Stop::NotClean(NotClean::Untracked(path)));
            }
        }
    }
    Ok(())
}
