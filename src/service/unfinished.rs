//! A clone that was cut short before its files were checked out: what is left is taken up again, and completed.

use std::path::Path;
use std::sync::Arc;

use super::Service;
use super::open::{self, Files};
use crate::api::Refusal;
use crate::git::Repository;
use crate::id::BranchName;
use crate::node::Node;

/// Where a repository is made before it gets its place.
const NEW: &str = ".lansync-new";

/// Nothing but what an earlier `clone` that was cut short may have made: an empty repository, or less.
pub(super) fn is_blank(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let names: Vec<_> = entries.map_while(Result::ok).map(|entry| entry.file_name()).take(3).collect();
    if names.iter().any(|name| name != ".git" && name != NEW) {
        return false;
    }
    !names.iter().any(|name| name == ".git") || blank_repository(dir).is_some()
}

fn blank_repository(dir: &Path) -> Option<Repository> {
    let repo = Repository::discover(dir).ok()?;
    let here = repo.common_dir() == dir.canonicalize().ok()?.join(".git");
    let empty = here && matches!(open::default_branch(&repo), Ok(None));
    (empty && !Files::of(&repo).have_log()).then_some(repo)
}

/// The repository for a clone, marked as unfinished. It is there as a whole or not at all.
pub(super) fn prepare(into: &Path) -> Result<Repository, Refusal> {
    if let Some(repo) = blank_repository(into) {
        Files::of(&repo).begin_checkout()?;
        return Ok(repo);
    }
    let failed = |error: std::io::Error| {
        let message = format!("{} cannot be made: {error}", into.display());
        Refusal::new("repository", message, format!("ls -ld {}", into.display()))
    };
    let new = into.join(NEW);
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let main = BranchName::new("main").expect("a branch name");
    let repo = Repository::init(&new, &main).map_err(|error| crate::node::open_refusal(&error))?;
    Files::of(&repo).begin_checkout()?;
    drop(repo);
    std::fs::rename(new.join(".git"), into.join(".git")).map_err(failed)?;
    std::fs::remove_dir(&new).map_err(failed)?;
    Repository::discover(into).map_err(|error| crate::node::open_refusal(&error))
}

impl Service {
    /// Completes a clone at a later start, as soon as everything is here.
    pub(super) fn take_up_again(self: &Arc<Self>, node: &Node) {
        let files = Files::of(node.repo());
        if !files.is_checkout_unfinished() {
            return;
        }
        let (service, node) = (self.clone(), node.clone());
        tokio::spawn(async move {
            let mut card = node.card();
            while !card.borrow_and_update().complete {
                if card.changed().await.is_err() {
                    return;
                }
            }
            let finished = match open::default_branch(node.repo()) {
                // Somebody was faster, by hand.
                Ok(Some(_)) => files.end_checkout(),
                Ok(None) => {
                    let branch = node.canonical_tip().await.map(|(branch, _)| branch);
                    match branch.map_or(Ok(()), |branch| files.set_half_a_checkout_aside(node.repo(), &branch)) {
                        Ok(()) => service.check_out(&node, None).await.map(drop),
                        Err(refusal) => Err(refusal),
                    }
                }
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = finished {
                tracing::warn!(dir = %files.shown(), "the clone is not complete: {}", refusal.message);
            }
        });
    }
}
