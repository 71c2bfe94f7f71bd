//! How many lines proposals change, counted once for each: a list of hundreds is asked for again and again, and little
//! changes in between.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::git::Repository;
use crate::id::ObjectId;
use crate::limits;

/// Where a tip left its branch, and the tip.
type Change = (Option<ObjectId>, ObjectId);

/// What is known: of objects, which never change.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<BTreeMap<Change, (u64, u64)>>);

impl Lines {
    /// Lines that are added and taken away from one commit to another; `None` where objects are lacking.
    pub(super) fn of(&self, repo: &Repository, base: Option<ObjectId>, tip: ObjectId) -> Option<(u64, u64)> {
        if let Some(known) = self.known().get(&(base, tip)) {
            return Some(*known);
        }
        let stats = repo.line_stats(base, tip).ok()?;
        let mut known = self.known();
        if known.len() >= limits::LINES {
            known.clear();
        }
        known.insert((base, tip), (stats.added, stats.removed));
        Some((stats.added, stats.removed))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Change, (u64, u64)>> {
        // Whatever was going on, each row is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
