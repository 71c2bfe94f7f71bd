//! One file at a time: how it stands, replacing it, taking it away, and back again if the move cannot go on.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use gix::bstr::{BStr, BString, ByteSlice};
use gix::filter::plumbing::driver::apply::Delay;
use gix::filter::plumbing::pipeline::convert::{ToGitOutcome, ToWorktreeOutcome, to_worktree};
use gix::index::entry::{Mode, Stat};
use gix::objs;

use super::changes::{Changes, Item, at, stat};
use super::media::{Content, Lfs};
use super::{NotClean, Stop, WorktreeError, io_at, platform};
use crate::git::history::HistoryError;
use crate::git::merge::{Store, from_gix};

/// What stands at a path on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    /// A file or symbolic link, as git would store it.
    File {
        item: Item,
        stat: Stat,
    },
    Directory,
    /// A socket or the like.
    Other,
}

impl Standing {
    /// Whether it is what git has as `item`. A submodule is a directory, whatever is in it, or was never made.
    pub(super) fn is(&self, item: Option<Item>) -> bool {
        match (self, item) {
            (Self::Absent, None) => true,
            (Self::Absent | Self::Directory, Some(item)) => item.mode == Mode::COMMIT,
            (Self::File { item: found, .. }, Some(item)) => *found == item,
            _ => false,
        }
    }
}

/// Reads and writes files as git would: line ends, filters, links, executable bits.
pub(super) struct Placer<'r> {
    root: &'r Path,
    scratch: &'r Path,
    number: u64,
    filters: gix::filter::Pipeline<'r>,
    store: Store,
    index: &'r gix::index::File,
    links: bool,
    executables: bool,
    lfs: Option<Lfs<'r>>,
}

impl<'r> Placer<'r> {
    /// Attributes are those of the commit that is checked out, as with git.
    pub(super) fn new(
        repo: &'r gix::Repository,
        root: &'r Path,
        scratch: &'r Path,
        changes: &'r Changes,
        lfs: Option<Lfs<'r>>,
    ) -> Result<Self, WorktreeError> {
        let source = gix::worktree::stack::state::attributes::Source::IdMapping;
        let attributes = repo.attributes_only(&changes.new, source)?.detach();
        let filters = gix::filter::Pipeline::new(repo, attributes)?;
        let features = repo.filesystem_options()?;
        let store = Store::new(repo.clone());
        let (links, executables) = (features.symlink, features.executable_bit);
        Ok(Self { root, scratch, number: 0, filters, store, index: &changes.new, links, executables, lfs })
    }

    /// How `path` stands on the disk now. Does not follow links, not even above it.
    pub(super) fn standing(&mut self, path: &BStr) -> Result<Standing, WorktreeError> {
        for slash in path.find_iter("/") {
            match at(self.root, path[..slash].as_bstr())?.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) | Err(_) => return Ok(Standing::Absent),
            }
        }
        let on_disk = at(self.root, path)?;
        let metadata = match on_disk.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Absent),
            Err(error) => return Err(io_at(&on_disk)(error)),
        };
        if metadata.is_dir() {
            return Ok(Standing::Directory);
        }
        let stat = stat(&on_disk)?;
        let (mode, bytes) = if metadata.is_symlink() {
            let target = fs::read_link(&on_disk).map_err(io_at(&on_disk))?;
            (Mode::SYMLINK, gix::path::into_bstr(target)?.into_owned().into())
        } else if metadata.is_file() {
            (self.mode_of(path, &metadata), self.as_git_has_it(path, &on_disk)?)
        } else {
            return Ok(Standing::Other);
        };
        let id = objs::compute_hash(gix::hash::Kind::Sha1, objs::Kind::Blob, &bytes)?;
        Ok(Standing::File { item: Item { mode, id }, stat })
    }

    /// Where the file system cannot tell, the mode is what the commit says.
    fn mode_of(&self, path: &BStr, metadata: &Metadata) -> Mode {
        let said = self.index.entry_by_path(path).map(|entry| entry.mode);
        match said {
            Some(Mode::SYMLINK) if !self.links => Mode::SYMLINK,
            Some(Mode::FILE_EXECUTABLE) if !self.executables => Mode::FILE_EXECUTABLE,
            _ if self.executables && platform::is_executable(metadata) => Mode::FILE_EXECUTABLE,
            _ => Mode::FILE,
        }
    }

    /// Is it as git has `item`, though its stat data says nothing of the kind? Asked for what LFS keeps only.
    pub(super) fn is_media(&mut self, path: &BStr, item: Item) -> Result<bool, WorktreeError> {
        let kept = self.lfs.as_mut().map_or(Ok(false), |lfs| lfs.keeps(path))?;
        Ok(kept && self.standing(path)?.is(Some(item)))
    }

    /// Is the media of all files that come here?
    pub(super) fn has_media(&mut self, changes: &Changes) -> Result<(), Stop> {
        if self.lfs.is_none() {
            return Ok(());
        }
        let mut missing = Vec::new();
        for (path, change) in &changes.paths {
            if let Some(item) = change.new.filter(|item| matches!(item.mode, Mode::FILE | Mode::FILE_EXECUTABLE))
                && matches!(self.media(path.as_ref(), item)?, Some(Content::Missing))
            {
                missing.push(path);
            }
        }
        match missing.first() {
            Some(first) => {
                Err(Stop::NotClean(NotClean::MediaMissing { first: (*first).clone(), count: missing.len() }))
            }
            None => Ok(()),
        }
    }

    /// The content of a file that LFS keeps; `None` for all others.
    fn media(&mut self, path: &BStr, item: Item) -> Result<Option<Content>, WorktreeError> {
        let Some(lfs) = &mut self.lfs else { return Ok(None) };
        if item.mode == Mode::SYMLINK || !lfs.keeps(path)? {
            return Ok(None);
        }
        let blob = self.store.read(from_gix(&item.id), objs::Kind::Blob).map_err(HistoryError::from)?;
        Ok(Some(lfs.smudge(blob)))
    }

    fn as_git_has_it(&mut self, path: &BStr, on_disk: &Path) -> Result<Vec<u8>, WorktreeError> {
        if let Some(lfs) = &mut self.lfs
            && lfs.keeps(path)?
        {
            return lfs.clean(on_disk);
        }
        let file = fs::File::open(on_disk).map_err(io_at(on_disk))?;
        let relative = gix::path::from_bstr(path)?;
        let mut bytes = Vec::new();
        match self.filters.convert_to_git(file, relative.as_ref(), self.index)? {
            ToGitOutcome::Unchanged(mut file) => file.read_to_end(&mut bytes),
            ToGitOutcome::Process(mut stream) => stream.read_to_end(&mut bytes),
            ToGitOutcome::Buffer(buffer) => {
                bytes.extend_from_slice(buffer);
                Ok(0)
            }
        }
        .map_err(io_at(on_disk))?;
        Ok(bytes)
    }

    fn as_the_disk_has_it(&mut self, path: &BStr, item: Item) -> Result<Content, WorktreeError> {
        if let Some(content) = self.media(path, item)? {
            return Ok(content);
        }
        let blob = self.store.read(from_gix(&item.id), objs::Kind::Blob).map_err(HistoryError::from)?;
        if item.mode == Mode::SYMLINK {
            return Ok(Content::Bytes(blob.to_vec()));
        }
        let options = to_worktree::Options { can_delay: Delay::Forbid, ..Default::default() };
        let mut bytes = Vec::new();
        match self.filters.convert_to_worktree(blob, path, options)? {
            ToWorktreeOutcome::Unchanged(blob) => bytes.extend_from_slice(blob),
            ToWorktreeOutcome::Buffer(blob) => bytes.extend_from_slice(blob),
            mut stream @ ToWorktreeOutcome::Process(_) => {
                stream.read_to_end(&mut bytes).map_err(io_at(&at(self.root, path)?))?;
            }
        }
        Ok(Content::Bytes(bytes))
    }

    /// Makes all files those of the new commit: first those that go, then those that come. What was already done
    /// is undone if something is in the way after all.
    pub(super) fn place_all(&mut self, changes: &Changes, standing: &BTreeMap<BString, Standing>) -> Result<(), Stop> {
        let going = changes.paths.iter().rev().filter(|(_, change)| change.new.is_none());
        let coming = changes.paths.iter().filter(|(_, change)| change.new.is_some());
        let mut done = Vec::new();
        for (path, change) in going.chain(coming) {
            let found = standing[path];
            if found.is(change.new) && found != Standing::Absent {
                continue;
            }
            let placed = self.place(path.as_ref(), found, change.new);
            if placed.is_err() {
                self.undo(&done, changes);
                return placed;
            }
            done.push(path);
        }
        Ok(())
    }

    /// Best effort: what cannot be put back shows in `git status` as the branch's own change.
    fn undo(&mut self, done: &[&BString], changes: &Changes) {
        for path in done.iter().rev() {
            let change = changes.paths[*path];
            if let Ok(found) = self.standing((*path).as_ref())
                && found.is(change.new)
            {
                drop(self.place((*path).as_ref(), found, change.old));
            }
        }
    }

    /// Puts `item` where `found` stood when it was looked at, if it still does.
    fn place(&mut self, path: &BStr, found: Standing, item: Option<Item>) -> Result<(), Stop> {
        let on_disk = at(self.root, path)?;
        match item {
            None => {
                self.unchanged(path, &on_disk, found)?;
                match found {
                    Standing::Absent => {}
                    // A submodule's: kept with what is in it, as git does.
                    Standing::Directory => drop(fs::remove_dir(&on_disk)),
                    Standing::File { .. } | Standing::Other => {
                        fs::remove_file(&on_disk).map_err(io_at(&on_disk))?;
                    }
                }
                self.remove_empty_above(path)?;
            }
            Some(item) if item.mode == Mode::COMMIT => {
                self.make_directories(path)?;
                self.unchanged(path, &on_disk, found)?;
                if let Standing::File { .. } = found {
                    fs::remove_file(&on_disk).map_err(io_at(&on_disk))?;
                }
                make_directory(&on_disk)?;
            }
            Some(item) => {
                let content = self.as_the_disk_has_it(path, item)?;
                self.make_directories(path)?;
                if found == Standing::Directory {
                    // Whatever was in it went; what remains, somebody has made since.
                    remove_empty_directories(&on_disk).map_err(io_at(&on_disk))?;
                    self.replace(path, &on_disk, Standing::Absent, item, &content)?;
                } else {
                    self.replace(path, &on_disk, found, item, &content)?;
                }
            }
        }
        Ok(())
    }

    fn replace(
        &mut self,
        path: &BStr,
        on_disk: &Path,
        found: Standing,
        item: Item,
        content: &Content,
    ) -> Result<(), Stop> {
        if let Content::Missing = content {
            return Err(Stop::NotClean(NotClean::MediaMissing { first: path.to_owned(), count: 1 }));
        }
        let name = format!("{}.lansync", self.number);
        self.number += 1;
        let apart = self.scratch.join(&name);
        self.write(&apart, item, content).map_err(io_at(&apart))?;
        self.unchanged(path, on_disk, found)?;
        match fs::rename(&apart, on_disk) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => return Err(io_at(on_disk)(error).into()),
        }
        // The work tree is on another disk than the repository.
        drop(fs::remove_file(&apart));
        let beside = on_disk.with_file_name(format!(".{name}"));
        self.write(&beside, item, content).map_err(io_at(&beside))?;
        let placed = self
            .unchanged(path, on_disk, found)
            .and_then(|()| fs::rename(&beside, on_disk).map_err(|error| io_at(on_disk)(error).into()));
        if placed.is_err() {
            drop(fs::remove_file(&beside));
        }
        placed
    }

    fn write(&self, to: &Path, item: Item, content: &Content) -> io::Result<()> {
        let executable = item.mode == Mode::FILE_EXECUTABLE && self.executables;
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::Media(from) => {
                return io::copy(&mut fs::File::open(from)?, &mut platform::create(to, executable)?).map(drop);
            }
            Content::Missing => return Err(io::ErrorKind::NotFound.into()),
        };
        if item.mode == Mode::SYMLINK && self.links {
            let target = gix::path::from_bstr(bytes.as_bstr()).map_err(io::Error::other)?;
            return gix::fs::symlink::create(target.as_ref(), to);
        }
        platform::create(to, executable)?.write_all(bytes)
    }

    /// Somebody may have saved the file since it was looked at.
    fn unchanged(&self, path: &BStr, on_disk: &Path, found: Standing) -> Result<(), Stop> {
        let metadata = on_disk.symlink_metadata();
        let same = match (found, metadata) {
            (Standing::Absent, Err(_)) => true,
            (Standing::Directory, Ok(metadata)) => metadata.is_dir(),
            (Standing::File { stat: before, .. }, Ok(_)) => stat(on_disk)? == before,
            _ => false,
        };
        if same {
            return Ok(());
        }
        Err(Stop::NotClean(match found {
            Standing::Absent => NotClean::Untracked(path.to_owned()),
            _ => NotClean::ChangedFiles { first: path.to_owned(), count: 1 },
        }))
    }

    /// Makes the directories above `path`; never goes through a link.
    fn make_directories(&self, path: &BStr) -> Result<(), Stop> {
        for slash in path.find_iter("/") {
            let parent = path[..slash].as_bstr();
            let on_disk = at(self.root, parent)?;
            match on_disk.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(Stop::NotClean(NotClean::Untracked(parent.to_owned()))),
                Err(_) => make_directory(&on_disk)?,
            }
        }
        Ok(())
    }

    fn remove_empty_above(&self, path: &BStr) -> Result<(), WorktreeError> {
        let slashes: Vec<usize> = path.find_iter("/").collect();
        for slash in slashes.into_iter().rev() {
            if fs::remove_dir(at(self.root, path[..slash].as_bstr())?).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn make_directory(path: &Path) -> Result<(), WorktreeError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a directory that holds nothing but directories.
fn remove_empty_directories(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return Ok(());
    }
    let mut todo: Vec<PathBuf> = vec![path.to_owned()];
    let mut order = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            }
        }
        order.push(directory);
    }
    order.into_iter().rev().try_for_each(fs::remove_dir)
}
