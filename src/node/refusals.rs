//! Errors of the layers below, in words: what and why in one line, and what to type.

use crate::api::Refusal;
use crate::eventlog::store::StoreError;
use crate::git::{OpenError, RefError};

/// A repository that cannot be shared.
pub(crate) fn open_refusal(error: &OpenError) -> Refusal {
    let (code, hint) = match error {
        OpenError::NotARepository { .. } => ("not-a-repository", "git init"),
        OpenError::Bare => ("bare", "git clone DIR WORKTREE"),
        OpenError::Shallow => ("shallow", "git fetch --unshallow"),
        OpenError::Grafts => ("grafts", "git replace --convert-graft-file"),
        OpenError::Partial => ("partial", "git fetch --refetch"),
        OpenError::Sha256 => ("sha256", "git init --object-format=sha1"),
        OpenError::RefTable => ("reftable", "git refs migrate --ref-format=files"),
        OpenError::UnknownExtension { .. } => ("extension", "git config --list --local"),
        _ => ("repository", "git status"),
    };
    Refusal::new(code, error.to_string(), hint)
}

/// Refs that cannot be read or moved.
pub(crate) fn refs(error: &RefError) -> Refusal {
    Refusal::new("refs", error.to_string(), "git fsck")
}

/// A log that cannot be used.
pub(crate) fn store(error: &StoreError) -> Refusal {
    match error {
        StoreError::Locked => Refusal::new("locked", error.to_string(), "lansync down --all"),
        StoreError::TooNew { .. } => Refusal::new("newer-log", error.to_string(), "lansync --version"),
        StoreError::Corrupt(_) => {
            let hint = "mv .git/lansync/log.redb log.redb.damaged && lansync up --join NAME";
            Refusal::new("damaged-log", format!("{error}; the file is left as it is"), hint)
        }
        StoreError::Full => Refusal::new("disk-full", "the disk is full; nothing was written", "df -h ."),
        StoreError::Io(_) => Refusal::new("log", error.to_string(), "ls -l .git/lansync"),
        StoreError::CommitUnknown(_) => Refusal::new("log", error.to_string(), "lansync down && lansync up"),
    }
}
