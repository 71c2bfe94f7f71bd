//! A repository's objects as a merge sees them: read through gix, made in memory, kept on disk only when asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use gix::objs::{self, Exists as _, Find as _, FindHeader as _, Write as _};

use super::MergeError;
use super::format::{self, Commit, Subject, Tree};
use super::tree::Objects;
use crate::id::{BranchName, ObjectId};

/// Git's name of an id; `None` for a kind of hash that no repository here has.
pub(in crate::git) fn to_gix(id: ObjectId) -> Option<gix::ObjectId> {
    match id {
        ObjectId::Sha1(bytes) => Some(gix::ObjectId::from(bytes)),
        ObjectId::Sha256(_) => None,
    }
}

/// Our name of an id of a SHA-1 repository.
pub(in crate::git) fn from_gix(id: &gix::oid) -> ObjectId {
    ObjectId::Sha1(id.as_bytes().try_into().expect("only SHA-1 repositories are opened"))
}

/// Objects of a repository, without replacements, and those that a merge made.
pub(in crate::git) struct Store {
    repository: gix::Repository,
    made: BTreeMap<ObjectId, Made>,
    buffer: Vec<u8>,
}

struct Made {
    kind: objs::Kind,
    bytes: Vec<u8>,
    /// What it names that may have been made as well.
    needs: Vec<ObjectId>,
}

impl Store {
    pub(in crate::git) fn new(mut repository: gix::Repository) -> Self {
        repository.objects.ignore_replacements = true;
        repository.objects.refresh = gix::odb::store::RefreshMode::AfterAllIndicesLoaded;
        Self { repository, made: BTreeMap::new(), buffer: Vec::new() }
    }

    /// The bytes of the object, where it is a `kind`.
    pub(in crate::git) fn read(&mut self, id: ObjectId, kind: objs::Kind) -> Result<&[u8], MergeError> {
        if let Some(made) = self.made.get(&id) {
            return if made.kind == kind { Ok(&made.bytes) } else { Err(MergeError::Missing(id)) };
        }
        let name = to_gix(id).ok_or(MergeError::Missing(id))?;
        let found = self.repository.objects.try_find(&name, &mut self.buffer).map_err(MergeError::Store)?;
        match found {
            Some(object) if object.kind == kind => Ok(object.data),
            Some(_) | None => Err(MergeError::Missing(id)),
        }
    }

    /// A commit as a merge sees it.
    pub(in crate::git) fn read_commit(&mut self, id: ObjectId) -> Result<Commit, MergeError> {
        format::read_commit(self.read(id, objs::Kind::Commit)?).ok_or(MergeError::Malformed(id))
    }

    fn make(&mut self, kind: objs::Kind, bytes: Vec<u8>, needs: Vec<ObjectId>) -> Result<ObjectId, MergeError> {
        let id = objs::compute_hash(gix::hash::Kind::Sha1, kind, &bytes).map_err(|_| MergeError::Collision)?;
        let id = from_gix(&id);
        self.made.insert(id, Made { kind, bytes, needs });
        Ok(id)
    }

    /// Writes `id` and all that it needs of what was made, and waits until the disk has it.
    pub(in crate::git) fn keep(&mut self, id: ObjectId) -> Result<(), MergeError> {
        // Children first: whoever sees an object can read what it names.
        let (mut order, mut todo, mut seen) = (Vec::new(), vec![id], BTreeSet::new());
        while let Some(id) = todo.pop() {
            if let Some(made) = self.made.get(&id)
                && seen.insert(id)
            {
                order.push(id);
                todo.extend(&made.needs);
            }
        }
        let objects: PathBuf = self.repository.objects.store_ref().path().to_owned();
        let mut directories = BTreeSet::new();
        for id in order.into_iter().rev() {
            let made = &self.made[&id];
            let name = to_gix(id).ok_or(MergeError::Missing(id))?;
            if !self.repository.objects.exists(&name) {
                self.repository.objects.write_buf(made.kind, &made.bytes).map_err(MergeError::Store)?;
            }
            let (directory, file) = loose(&objects, id);
            // One that was there already may be loose too, and as little durable; or in a pack, and fine.
            match sync(&file) {
                Ok(()) => {
                    directories.insert(directory);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        for directory in directories {
            sync(&directory)?;
        }
        sync(&objects)?;
        Ok(())
    }
}

fn loose(objects: &Path, id: ObjectId) -> (PathBuf, PathBuf) {
    let hex = id.to_string();
    let directory = objects.join(&hex[..2]);
    let file = directory.join(&hex[2..]);
    (directory, file)
}

/// Waits until the disk has the file or directory at `path`.
#[cfg(unix)]
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Objects are read-only files, which Windows does not flush; it does not open directories at all.
#[cfg(not(unix))]
fn sync(path: &Path) -> io::Result<()> {
    path.metadata().map(drop)
}

impl Objects for Store {
    fn commit(&mut self, id: ObjectId) -> Result<Commit, MergeError> {
        self.read_commit(id)
    }

    fn tree(&mut self, id: ObjectId) -> Result<Tree, MergeError> {
        if id == super::tree::EMPTY_TREE {
            return Ok(Tree::new());
        }
        format::read_tree(self.read(id, objs::Kind::Tree)?).ok_or(MergeError::Malformed(id))
    }

    fn blob(&mut self, id: ObjectId, max: usize) -> Result<Option<Vec<u8>>, MergeError> {
        if !self.made.contains_key(&id) {
            let name = to_gix(id).ok_or(MergeError::Missing(id))?;
            let header = self.repository.objects.try_header(&name).map_err(MergeError::Store)?;
            let header = header.ok_or(MergeError::Missing(id))?;
            if header.size > max as u64 && header.kind == objs::Kind::Blob {
                return Ok(None);
            }
        }
        let bytes = self.read(id, objs::Kind::Blob)?;
        Ok((bytes.len() <= max).then(|| bytes.to_vec()))
    }

    fn put_tree(&mut self, tree: &Tree) -> Result<ObjectId, MergeError> {
        let needs = tree.values().map(|entry| entry.id).collect();
        self.make(objs::Kind::Tree, format::write_tree(tree), needs)
    }

    fn put_blob(&mut self, bytes: Vec<u8>) -> Result<ObjectId, MergeError> {
        self.make(objs::Kind::Blob, bytes, Vec::new())
    }

    fn put_commit(&mut self, commit: &Commit, subject: &Subject, branch: &BranchName) -> Result<ObjectId, MergeError> {
        self.make(objs::Kind::Commit, format::write_commit(commit, subject, branch), vec![commit.tree])
    }
}
