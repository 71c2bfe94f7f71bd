//! Refs: what the user's branches are at, and the refs that lansync keeps beside them.
//!
//! `refs/remotes/lansync/<branch>` is what the log says a canonical branch is at, `refs/remotes/lansync/@<handle>/<branch>`
//! a proposal; what else is kept stands below `refs/lansync/` (`keep`). Canonical tags are made in `refs/tags/`, and never
//! moved. Nothing else is written here; local branches are
//! moved by `worktree`.

mod keep;
mod lock;
mod read;
mod reflog;
mod tags;
mod write;

use std::collections::BTreeMap;

use super::{Repository, from_gix, to_gix};
use crate::id::{BranchName, Handle, ObjectId};
pub use keep::Reason;
use read::Value;
use write::Change;

/// Why a ref could not be read or moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// It is not at what was expected. Nothing was changed.
    #[error("{name} has moved meanwhile")]
    Moved {
        /// Its full name.
        name: String,
        /// What it is at; `None`: it is gone.
        found: Option<ObjectId>,
    },
    /// Git or another program holds its lock for too long.
    #[error("{0} is locked by another program")]
    Locked(String),
    /// Another ref is a directory of this name, or the other way round.
    #[error("{name} cannot exist beside {other}")]
    InTheWay {
        /// The ref that was to be written.
        name: String,
        /// The one that is in its way.
        other: String,
    },
    /// It points to another ref, which is not ours to change.
    #[error("{0} points to another ref")]
    Symbolic(String),
    /// A canonical branch of this name would look like a proposal.
    #[error("a canonical branch cannot be named {0}: names of proposals start with @")]
    Reserved(BranchName),
    /// SHA-256.
    #[error("{0} is no object of this repository")]
    NotHere(ObjectId),
    /// A file cannot be read or written.
    #[error("{name}: {source}")]
    Io {
        /// The ref, or the file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RefError {
    fn io(name: &str) -> impl Fn(std::io::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Io { name: name.clone(), source }
    }
}

/// The local branches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Branches {
    /// What each branch is at.
    pub branches: BTreeMap<BranchName, ObjectId>,
    /// Branches whose names cannot be shared, as far as they can be shown.
    pub unnameable: Vec<String>,
    /// Branches whose files say nothing, after a crash perhaps.
    pub broken: Vec<String>,
}

/// What a work tree is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch.
    Branch(BranchName),
    /// A branch without a commit yet.
    Unborn(BranchName),
    /// No branch.
    Detached(ObjectId),
    /// A branch whose name cannot be shared.
    Unnameable(String),
}

/// A ref that lansync keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracked {
    /// `refs/remotes/lansync/<branch>`.
    Canonical(BranchName),
    /// `refs/remotes/lansync/@<handle>/<branch>`.
    Proposal(Handle, BranchName),
}

const OURS: &str = "refs/remotes/lansync/";

impl Tracked {
    /// The full name of the ref.
    ///
    /// # Errors
    /// [`RefError::Reserved`] for a canonical branch that would look like a proposal.
    pub fn ref_name(&self) -> Result<String, RefError> {
        match self {
            Self::Canonical(branch) if branch.as_str().starts_with('@') => Err(RefError::Reserved(branch.clone())),
            Self::Canonical(branch) => Ok(format!("{OURS}{branch}")),
            Self::Proposal(handle, branch) => Ok(format!("{OURS}@{handle}/{branch}")),
        }
    }

    /// Reads what follows `refs/remotes/lansync/`.
    fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        match name.strip_prefix('@') {
            None => Some(Self::Canonical(BranchName::new(name).ok()?)),
            Some(rest) => {
                let (handle, branch) = rest.split_once('/')?;
                Some(Self::Proposal(Handle::new(handle).ok()?, BranchName::new(branch).ok()?))
            }
        }
    }
}

impl Repository {
    /// The local branches and what they are at. Branches that are another name for another one are left out.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn branches(&self) -> Result<Branches, RefError> {
        let (refs, broken) = read::below(self.common_dir(), "refs/heads/")?;
        let mut found = Branches { broken, ..Branches::default() };
        for (name, value) in refs {
            let Value::Object(id) = value else { continue };
            match std::str::from_utf8(&name).map(BranchName::new) {
                Ok(Ok(branch)) => drop(found.branches.insert(branch, from_gix(&id))),
                _ => found.unnameable.push(String::from_utf8_lossy(&name).into_owned()),
            }
        }
        Ok(found)
    }

    /// What the work tree that this repository was opened in is on.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn head(&self) -> Result<Head, RefError> {
        let head = read::read_file(&self.git_dir().join("HEAD")).map_err(RefError::io("HEAD"))?;
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        match head.ok_or_else(|| RefError::io("HEAD")(missing()))? {
            Value::Object(id) => Ok(Head::Detached(from_gix(&id))),
            Value::Symbolic(target) => {
                let name = target.strip_prefix("refs/heads/").unwrap_or(&target);
                match BranchName::new(name) {
                    Err(_) => Ok(Head::Unnameable(name.to_owned())),
                    Ok(_) if name == target => Ok(Head::Unnameable(target)),
                    Ok(branch) if read::read(self.common_dir(), &target)?.is_some() => Ok(Head::Branch(branch)),
                    Ok(branch) => Ok(Head::Unborn(branch)),
                }
            }
        }
    }

    /// What other remotes' copies of a branch are at: `origin/main` for `main`.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn remote_tips(&self, branch: &BranchName) -> Result<Vec<ObjectId>, RefError> {
        let common = self.common_dir();
        let mut tips = BTreeMap::new();
        for remote in std::fs::read_dir(common.join("refs/remotes")).into_iter().flatten().flatten() {
            let name = remote.file_name();
            let path = remote.path().join(branch.as_str());
            // A broken copy of somebody else's says nothing about ours.
            if let (true, Ok(Some(Value::Object(id)))) = (name != "lansync", read::read_file(&path)) {
                tips.insert(name.as_encoded_bytes().to_vec(), id);
            }
        }
        let packed = read::packed(common)?;
        for (id, name) in read::packed_lines(&packed) {
            let split = name.strip_prefix(b"refs/remotes/").and_then(|name| {
                let slash = name.iter().position(|byte| *byte == b'/')?;
                Some((&name[..slash], &name[slash + 1..]))
            });
            if let Some((remote, of)) = split
                && of == branch.as_str().as_bytes()
                && remote != b"lansync"
            {
                tips.entry(remote.to_vec()).or_insert(id);
            }
        }
        let mut tips: Vec<ObjectId> = tips.values().map(|id| from_gix(id)).collect();
        tips.sort_unstable();
        tips.dedup();
        Ok(tips)
    }

    /// Takes away the locks of refs that a process of ours left when it was killed, so that git is not held up.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn take_left_locks_away(&self) -> Result<(), RefError> {
        lock::take_left_away(&self.lansync_dir()).map_err(RefError::io("a lock that was left"))
    }

    /// What `refs/remotes/lansync/<branch>` is at.
    ///
    /// # Errors
    /// [`RefError::Io`], [`RefError::Reserved`].
    pub fn tracking(&self, branch: &BranchName) -> Result<Option<ObjectId>, RefError> {
        let name = Tracked::Canonical(branch.clone()).ref_name()?;
        match read::read(self.common_dir(), &name)? {
            None => Ok(None),
            Some(Value::Object(id)) => Ok(Some(from_gix(&id))),
            Some(Value::Symbolic(_)) => Err(RefError::Symbolic(name)),
        }
    }

    /// All refs that lansync keeps here, and what they are at. What others put there is left out.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn tracked(&self) -> Result<BTreeMap<Tracked, ObjectId>, RefError> {
        let (refs, _) = read::below(self.common_dir(), OURS)?;
        let ours = |(name, value): (Vec<u8>, Value)| match value {
            Value::Object(id) => Some((Tracked::parse(&name)?, from_gix(&id))),
            Value::Symbolic(_) => None,
        };
        Ok(refs.into_iter().filter_map(ours).collect())
    }

    /// Moves `refs/remotes/lansync/<branch>` from `expected` (`None`: it does not exist) to `new`, durably.
    ///
    /// # Errors
    /// [`RefError`]; the ref is as it was then.
    pub fn set_tracking(
        &self,
        branch: &BranchName,
        expected: Option<ObjectId>,
        new: ObjectId,
        message: &str,
    ) -> Result<(), RefError> {
        let name = Tracked::Canonical(branch.clone()).ref_name()?;
        self.set_ref(&name, expected, new, message)
    }

    /// Puts `refs/remotes/lansync/@<handle>/<branch>` at `new`, wherever it was, durably.
    ///
    /// # Errors
    /// [`RefError`]; the ref is as it was then. [`RefError::InTheWay`] names the other proposal, which the caller may
    /// delete where it is closed.
    pub fn set_proposal(&self, handle: &Handle, branch: &BranchName, new: ObjectId) -> Result<(), RefError> {
        let name = Tracked::Proposal(handle.clone(), branch.clone()).ref_name()?;
        loop {
            let expected = match read::read(self.common_dir(), &name)? {
                Some(Value::Object(id)) => Some(from_gix(&id)),
                Some(Value::Symbolic(_)) => return Err(RefError::Symbolic(name)),
                None => None,
            };
            match self.set_ref(&name, expected, new, "lansync: proposed") {
                // Somebody set it at the same time; whoever is last has it.
                Err(RefError::Moved { .. }) => {}
                result => return result,
            }
        }
    }

    /// Deletes a ref of lansync's, which must be at `expected`, with its reflog. It may be gone already.
    ///
    /// # Errors
    /// [`RefError`]; the ref is as it was then.
    pub fn delete_tracking(&self, tracked: &Tracked, expected: ObjectId) -> Result<(), RefError> {
        let name = tracked.ref_name()?;
        if read::read(self.common_dir(), &name)?.is_none() {
            return Ok(());
        }
        let expected = Some(to_gix(&expected).ok_or(RefError::NotHere(expected))?);
        write::delete(self, &Change { name: &name, expected, message: "" })
    }

    /// Moves a ref, durably.
    pub(in crate::git) fn set_ref(
        &self,
        name: &str,
        expected: Option<ObjectId>,
        new: ObjectId,
        message: &str,
    ) -> Result<(), RefError> {
        let id = |id: ObjectId| to_gix(&id).ok_or(RefError::NotHere(id));
        let (expected, new) = (expected.map(id).transpose()?, id(new)?);
        write::set(self, &Change { name, expected, message }, new)
    }
}

#[cfg(test)]
mod tests;
