//! Git LFS in a work tree: where a file has the attribute `filter=lfs`, it holds the media that its pointer names.
//!
//! Done here and not by the `git-lfs` program, which would ask a server for what is missing: what the user has set up is
//! `filter.lfs.*`, and what it means is known.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gix::attrs::{StateRef, search};
use gix::bstr::BStr;
use gix::index::entry::Mode;
use gix::worktree::stack::state::attributes::Source;

use super::{WorktreeError, changes, io_at, platform};
use crate::git::Repository;
use crate::git::lfs::{MediaStore, POINTER_BYTES, media_of_file, read_pointer, write_pointer};

/// How the user has set up LFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LfsFilter {
    /// Not at all, or as a program of their own: files are as that has them.
    Other,
    /// As `git lfs install` does it.
    Lfs {
        /// Pointers stay where the media is not here (`git lfs install --skip-smudge`).
        skip: bool,
    },
}

impl Repository {
    /// How the user has set up LFS, as the settings are now.
    pub fn lfs_filter(&self) -> LfsFilter {
        let found = self.reopen(super::users_settings()).ok().and_then(|mut repo| take_filter(&mut repo).ok());
        found.unwrap_or(LfsFilter::Other)
    }
}

/// Looks for the filter in the settings of `repo`, and takes it out of them, so that it is not run.
pub(in crate::git) fn take_filter(repo: &mut gix::Repository) -> Result<LfsFilter, gix::Error> {
    let programs: Vec<String> = {
        let settings = repo.config_snapshot();
        let keys = ["filter.lfs.process", "filter.lfs.smudge"];
        keys.iter().filter_map(|key| settings.string(*key)).map(|program| program.to_string()).collect()
    };
    if !programs.iter().any(|program| program.contains("git-lfs")) {
        return Ok(LfsFilter::Other);
    }
    let mut settings = repo.config_snapshot_mut();
    while settings.remove_section("filter", Some(BStr::new("lfs"))).is_some() {}
    settings.commit()?;
    Ok(LfsFilter::Lfs { skip: programs.iter().any(|program| program.contains("--skip")) })
}

/// What a file of the work tree shall hold.
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// What this file holds.
    Media(PathBuf),
    /// Media that is not here.
    Missing,
}

/// The files that LFS keeps, as the attributes of one commit say.
pub(super) struct Lfs<'r> {
    attributes: gix::AttributeStack<'r>,
    found: search::Outcome,
    store: MediaStore,
    skip: bool,
}

impl<'r> Lfs<'r> {
    /// `None` where it is not set up here.
    pub(super) fn new(
        repo: &'r gix::Repository,
        index: &gix::index::State,
        store: MediaStore,
        filter: LfsFilter,
    ) -> Result<Option<Self>, WorktreeError> {
        let LfsFilter::Lfs { skip } = filter else { return Ok(None) };
        let attributes = repo.attributes_only(index, Source::IdMapping)?;
        let found = attributes.selected_attribute_matches(["filter"]);
        Ok(Some(Self { attributes, found, store, skip }))
    }

    /// Does LFS keep this file?
    pub(super) fn keeps(&mut self, path: &BStr) -> Result<bool, WorktreeError> {
        let entry = self.attributes.at_entry(path, Some(Mode::FILE))?;
        self.found.reset();
        entry.matching_attributes(&mut self.found);
        let mut filter = self.found.iter_selected().map(|one| one.assignment.state);
        Ok(filter.next().is_some_and(|state| matches!(state, StateRef::Value(value) if value.as_bstr() == "lfs")))
    }

    /// The pointer that git has for a file it keeps; a file that is a pointer stands for itself.
    pub(super) fn clean(&self, on_disk: &Path) -> Result<Vec<u8>, WorktreeError> {
        let failed = io_at(on_disk);
        let read = || -> io::Result<Vec<u8>> {
            let size = fs::metadata(on_disk)?.len();
            if size <= POINTER_BYTES as u64 {
                let text = fs::read(on_disk)?;
                if text.is_empty() || read_pointer(&text).is_some() {
                    return Ok(text);
                }
            }
            Ok(write_pointer(&media_of_file(File::open(on_disk)?)?))
        };
        read().map_err(failed)
    }

    /// What the work tree has for a blob of a file it keeps. One that is no pointer is what it is.
    pub(super) fn smudge(&self, blob: &[u8]) -> Content {
        let bytes = || Content::Bytes(blob.to_vec());
        match read_pointer(blob) {
            None => bytes(),
            Some(media) if media.size == 0 => Content::Bytes(Vec::new()),
            Some(media) => match self.store.file(&media) {
                Some(file) => Content::Media(file),
                None if self.skip => bytes(),
                None => Content::Missing,
            },
        }
    }
}

/// Puts media in place of the pointers that a first checkout wrote, as far as it is here; how many are not.
pub(super) fn fill_in(
    repo: &gix::Repository,
    root: &Path,
    index: &mut gix::index::File,
    store: MediaStore,
    filter: LfsFilter,
) -> Result<usize, WorktreeError> {
    let attributes = index.clone();
    let Some(mut lfs) = Lfs::new(repo, &attributes, store, filter)? else { return Ok(0) };
    let mut missing = 0;
    for (entry, path) in index.entries_mut_with_paths() {
        let is_file = matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE);
        if !is_file || entry.stat.size as usize > POINTER_BYTES {
            continue;
        }
        let on_disk = changes::at(root, path)?;
        let mut text = Vec::new();
        let head = File::open(&on_disk).map(|file| file.take(POINTER_BYTES as u64 + 1));
        head.and_then(|mut head| head.read_to_end(&mut text)).map_err(io_at(&on_disk))?;
        if read_pointer(&text).is_none() || !lfs.keeps(path)? {
            continue;
        }
        let (from, bytes) = match lfs.smudge(&text) {
            Content::Media(from) => (Some(from), Vec::new()),
            Content::Bytes(bytes) => (None, bytes),
            Content::Missing => {
                missing += 1;
                continue;
            }
        };
        let executable = entry.mode == Mode::FILE_EXECUTABLE;
        let placed = fs::remove_file(&on_disk).and_then(|()| {
            let mut file = platform::create(&on_disk, executable)?;
            match from {
                Some(from) => io::copy(&mut File::open(from)?, &mut file).map(drop),
                None => io::Write::write_all(&mut file, &bytes),
            }
        });
        placed.map_err(io_at(&on_disk))?;
        entry.stat = changes::stat(&on_disk)?;
    }
    Ok(missing)
}
