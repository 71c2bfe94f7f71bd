//! Refs that say why an object is kept: `refs/lansync/<reason>/<commit>`.
//!
//! Git prunes what no ref reaches, however new it is, where its user says so. What lansync still needs and neither a
//! canonical branch nor an open proposal reaches has one of these. `git for-each-ref refs/lansync` shows them; each
//! goes when its reason does.

use std::collections::BTreeMap;

use super::read::{self, Value};
use super::write::{self, Change};
use super::{RefError, Repository};
use crate::git::{from_gix, to_gix};
use crate::id::ObjectId;

/// Why a commit is kept that no other ref of lansync's reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is a head of a canonical branch that `refs/remotes/lansync/<branch>` does not show: the branch has several,
    /// or the ref could not be moved yet.
    Head,
    /// A landing that was not recomputed yet names it.
    Landing,
    /// It is an approved revision that can still land though there is a newer one, or is to be compared with that.
    Approved,
    /// It was rejected, and can be approved all the same until it is withdrawn.
    Rejected,
}

const KEPT: &str = "refs/lansync/";

impl Reason {
    const ALL: [Self; 4] = [Self::Head, Self::Landing, Self::Approved, Self::Rejected];

    /// As it stands in the name of the ref.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Landing => "landing",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    fn ref_name(self, commit: &ObjectId) -> String {
        format!("{KEPT}{}/{commit}", self.as_str())
    }
}

impl Repository {
    /// The commits that are kept for a reason of their own. Other refs below `refs/lansync` are left out.
    ///
    /// # Errors
    /// [`RefError::Io`].
    pub fn kept(&self) -> Result<BTreeMap<(Reason, ObjectId), ObjectId>, RefError> {
        let (refs, _) = read::below(self.common_dir(), KEPT)?;
        let ours = |(name, value): (Vec<u8>, Value)| {
            let (reason, commit) = std::str::from_utf8(&name).ok()?.split_once('/')?;
            let reason = Reason::ALL.into_iter().find(|one| one.as_str() == reason)?;
            let Value::Object(at) = value else { return None };
            Some(((reason, commit.parse().ok()?), from_gix(&at)))
        };
        Ok(refs.into_iter().filter_map(ours).collect())
    }

    /// Keeps a commit and all that it reaches, durably, until [`Self::let_go`].
    ///
    /// # Errors
    /// [`RefError`].
    pub fn keep(&self, reason: Reason, commit: ObjectId) -> Result<(), RefError> {
        match self.set_ref(&reason.ref_name(&commit), None, commit, "") {
            Err(RefError::Moved { found, .. }) if found == Some(commit) => Ok(()),
            result => result,
        }
    }

    /// The reason is gone. It may have been let go of already.
    ///
    /// # Errors
    /// [`RefError`]; it is kept then.
    pub fn let_go(&self, reason: Reason, commit: ObjectId, at: ObjectId) -> Result<(), RefError> {
        let name = reason.ref_name(&commit);
        if read::read(self.common_dir(), &name)?.is_none() {
            return Ok(());
        }
        let expected = Some(to_gix(&at).ok_or(RefError::NotHere(at))?);
        write::delete(self, &Change { name: &name, expected, message: "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::Fixture;

    #[test]
    fn what_is_kept_outlives_git_gc_and_says_why_and_what_is_let_go_of_does_not() {
        let fixture = Fixture::new();
        fixture.commit("a", "1\n");
        fixture.git(&["checkout", "-q", "--detach"]);
        let (one, two) = (fixture.commit("b", "1\n"), fixture.commit("b", "2\n"));
        fixture.git(&["checkout", "-q", "main"]);
        let repo = fixture.repo();
        repo.keep(Reason::Landing, one).unwrap();
        repo.keep(Reason::Landing, one).unwrap();
        repo.keep(Reason::Head, two).unwrap();
        fixture.git(&["update-ref", "refs/lansync/other/x", "main"]);
        let prune = || {
            fixture.git(&["reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all"]);
            fixture.git(&["gc", "-q", "--prune=now"]);
        };
        prune();
        assert!(repo.has(&one) && repo.has(&two));
        assert_eq!(repo.kept().unwrap(), [((Reason::Head, two), two), ((Reason::Landing, one), one)].into());
        let shown = fixture.git(&["for-each-ref", "--format=%(refname)", "refs/lansync"]);
        assert!(shown.contains(&format!("refs/lansync/landing/{one}")), "{shown}");
        assert!(!fixture.dir().join(".git/logs/refs/lansync/landing").exists(), "a reflog would keep it on");

        repo.let_go(Reason::Head, two, two).unwrap();
        repo.let_go(Reason::Head, two, two).unwrap();
        prune();
        assert!(repo.has(&one) && !fixture.repo().has(&two));
        assert_eq!(repo.kept().unwrap(), [((Reason::Landing, one), one)].into());
        fixture.fsck();
    }
}
