//! Whether others can take the history that this clone brought into the project: looked at once, beside everything else.
//!
//! What comes from others is checked as it arrives. What lay here when the project was founded is not, and an object in it that others
//! refuse keeps everybody from cloning it: better said here than found out there.

use super::core::Core;
use super::objects::with_repo;
use super::run::Wake;
use crate::api::Refusal;
use crate::eventlog::store::Note;
use crate::git::PackRefused;
use crate::id::ObjectId;

/// The note that says up to which commits (hex, one a line) nothing was found.
const CHECKED: &[u8] = b"history-checked";

/// What was found.
#[derive(Default)]
pub(super) struct Checking {
    begun: bool,
    /// Nothing more is to be found.
    pub(super) done: bool,
    /// What others would refuse.
    pub(super) refused: Option<Refusal>,
}

/// What came of a look at the history of some commits.
pub(super) struct Checked {
    tips: Vec<ObjectId>,
    outcome: Result<(), PackRefused>,
}

impl Core {
    /// Begins once there is a history, if this clone brought it.
    pub(super) fn check_history(&mut self) {
        if self.checking.begun || self.state.canonical().is_empty() {
            return;
        }
        self.checking.begun = true;
        let founder = self.state.genesis().and_then(|(id, _)| self.state.event(id)).map(|event| event.body().author);
        if founder != Some(self.me) {
            self.checking.done = true;
            return;
        }
        let heads = |branch| self.state.branch(branch).map_or_else(Vec::new, |heads| heads.commits());
        let tips = self.state.canonical().iter().flat_map(|(branch, _)| heads(branch));
        let tips: Vec<ObjectId> = tips.filter(|commit| self.repo.has(commit)).collect();
        let (store, stop) = (self.store.clone(), self.house.stop.clone());
        let look = move |repo: &crate::git::Repository| {
            let note = store.notes(Note::Own).unwrap_or_default().remove(CHECKED).unwrap_or_default();
            let known = String::from_utf8_lossy(&note).lines().filter_map(|id| id.parse().ok()).collect::<Vec<_>>();
            let outcome = if tips.iter().all(|tip| known.contains(tip)) {
                Ok(())
            } else {
                repo.check_history(&tips, &known, &stop)
            };
            Checked { tips, outcome }
        };
        with_repo(self, look, |checked| Wake::Checked(Box::new(checked)));
    }

    pub(super) fn history_checked(&mut self, checked: Checked) {
        let Checked { tips, outcome } = checked;
        self.checking.done = true;
        match outcome {
            Ok(()) => {
                let known: Vec<String> = tips.iter().map(ToString::to_string).collect();
                self.note(Note::Own, vec![(CHECKED.to_vec(), Some(known.join("\n").into_bytes()))]);
            }
            Err(why @ (PackRefused::BadObject { .. } | PackRefused::BadTree { .. })) => {
                let message = format!("nobody can clone this history: {why}");
                let hint = "git fsck  (names all such objects; git filter-repo writes a history without them)";
                let refusal = Refusal::new("history", message, hint);
                self.problem(&refusal);
                self.checking.refused = Some(refusal);
            }
            Err(why) => tracing::debug!(%why, "the history was not looked at"),
        }
    }
}
