//! The user's tags: read, and made where a canonical one is missing. None is ever moved or deleted.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{self, Value};
use super::write;
use super::{RefError, Repository};
use crate::git::history::HistoryError;
use crate::git::objects::Objects;
use crate::git::{from_gix, to_gix};
use crate::id::{BranchName, ObjectId};

impl Repository {
    /// The tags whose names can be shared, and what each ref is at: a tag object, or what it tags.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn tags(&self) -> Result<BTreeMap<BranchName, ObjectId>, RefError> {
        let (refs, _) = read::below(self.common_dir(), "refs/tags/")?;
        let shareable = |(name, value): (Vec<u8>, Value)| match value {
            Value::Object(id) => Some((BranchName::new(String::from_utf8(name).ok()?).ok()?, from_gix(&id))),
            Value::Symbolic(_) => None,
        };
        Ok(refs.into_iter().filter_map(shareable).collect())
    }

    /// The commit that a tag object, or a tag of one, stands for, which is the object itself where it is a commit. `None`
    /// where it is not here, or stands for something else.
    pub fn tagged_commit(&self, object: &ObjectId) -> Option<ObjectId> {
        let (_, id, kind) = Objects::of(self).peel(&to_gix(object)?, &mut Vec::new()).ok()?;
        (kind == gix::objs::Kind::Commit).then(|| from_gix(&id))
    }

    /// Those of `commits` that one of `tips` reaches, found in one walk.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] where the answer needs a commit that is not here.
    pub fn contained(
        &self,
        commits: &BTreeSet<ObjectId>,
        tips: &[ObjectId],
    ) -> Result<BTreeSet<ObjectId>, HistoryError> {
        let outside = self.only_in(&commits.iter().copied().collect::<Vec<_>>(), tips)?;
        let outside: BTreeSet<ObjectId> = outside.into_iter().collect();
        Ok(commits.difference(&outside).copied().collect())
    }

    /// Makes tags, durably and with one write for all. Those of whose names one is there are left as they are.
    ///
    /// # Errors
    /// [`RefError::Io`], [`RefError::Locked`] where git holds the lock for too long, [`RefError::NotHere`].
    pub fn set_tags(&self, tags: &[(BranchName, ObjectId)]) -> Result<(), RefError> {
        let objects = Objects::of(self);
        let mut buf = Vec::new();
        let mut refs = Vec::new();
        for (name, object) in tags {
            let id = to_gix(object).ok_or(RefError::NotHere(*object))?;
            let (_, at, _) = objects.peel(&id, &mut buf).map_err(|_| RefError::NotHere(*object))?;
            refs.push(write::Packed { name: format!("refs/tags/{name}"), id, peeled: Some(at).filter(|at| *at != id) });
        }
        write::make_packed(self, refs).map(drop)
    }

    /// Makes a tag, durably, unless one of its name is there.
    ///
    /// # Errors
    /// [`RefError::Moved`] where it is there and at something else.
    pub fn set_tag(&self, name: &BranchName, object: ObjectId) -> Result<(), RefError> {
        self.set_ref(&format!("refs/tags/{name}"), None, object, "lansync: tagged")
    }
}
