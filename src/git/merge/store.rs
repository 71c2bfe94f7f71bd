//! A repository's objects as a merge sees them: read through gix, made in memory, kept on disk only when asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use gix::objs::{self, Find as _, FindHeader as _};
use gix_pack::data::entry::Header;

use super::MergeError;
use super::format::{self, Commit, Subject, Tree};
use super::tree::Objects;
use crate::git::{Adopted, Repository};
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

    /// Stores `id` and all that it needs of what was made as one pack, which git's housekeeping leaves alone until it is
    /// released: nothing refers to it yet.
    ///
    /// All of it, also what happens to be here: that may be about to be pruned.
    pub(in crate::git) fn keep(&self, repo: &Repository, id: ObjectId) -> Result<Adopted, MergeError> {
        let (mut order, mut todo, mut seen) = (Vec::new(), vec![id], BTreeSet::new());
        while let Some(id) = todo.pop() {
            if let Some(made) = self.made.get(&id)
                && seen.insert(id)
            {
                order.push(made);
                todo.extend(&made.needs);
            }
        }
        let count = u32::try_from(order.len()).map_err(io::Error::other)?;
        let write = |out: &mut dyn Write| Ok::<_, MergeError>(write_pack(&order, count, out)?);
        repo.store_made(write, &AtomicBool::new(false))
    }
}

/// Writes a pack of these objects, each whole.
fn write_pack(objects: &[&Made], count: u32, out: &mut dyn Write) -> io::Result<()> {
    let mut pack = Vec::new();
    pack.extend(gix_pack::data::header::encode(gix_pack::data::Version::V2, count));
    for made in objects {
        let header = match made.kind {
            objs::Kind::Tree => Header::Tree,
            objs::Kind::Blob => Header::Blob,
            objs::Kind::Commit => Header::Commit,
            objs::Kind::Tag => Header::Tag,
        };
        header.write_to(made.bytes.len() as u64, &mut pack)?;
        let mut deflate = gix::zlib::stream::deflate::Write::new(&mut pack, gix::zlib::Compression::DEFAULT);
        deflate.write_all(&made.bytes)?;
        deflate.flush()?;
    }
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(&pack);
    let digest = hash.try_finalize().map_err(|error| io::Error::other(error.to_string()))?;
    pack.extend(digest.as_bytes());
    out.write_all(&pack)
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
