//! What is done when nothing moves objects any more: small packs are made fewer, and those that were read are let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::Core;
use super::run::Wake;
use super::sessions::millis;
use crate::git::{Consolidated, HousekeepingError};
use crate::hlc::Millis;
use crate::limits;

/// Whether it is time.
#[derive(Default)]
pub(super) struct House {
    /// When packs are counted; `None` while none came.
    due: Option<Millis>,
    /// When packs that were read are let go; `None` while none were.
    rest: Option<Millis>,
    busy: bool,
    /// The node ends.
    pub(super) stop: Arc<AtomicBool>,
}

impl House {
    pub(super) fn next_wake(&self) -> Option<Millis> {
        [self.due, self.rest].into_iter().flatten().min().filter(|_| !self.busy)
    }

    /// The node ends, and so does what is under way.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Core {
    /// Packs came.
    pub(super) fn house_wants_keeping(&mut self, now: Millis) {
        self.house.due.get_or_insert(now + millis(limits::HOUSEKEEPING_AFTER));
    }

    /// Much of the history was read, or is about to be.
    pub(super) fn packs_are_read(&mut self, now: Millis) {
        self.house.rest = Some(now + millis(limits::PACKS_OPEN));
    }

    pub(super) fn drive_housekeeping(&mut self, now: Millis) {
        let is_due = |at: Option<Millis>| at.is_some_and(|at| at <= now);
        if self.house.busy || !(is_due(self.house.due) || is_due(self.house.rest)) {
            return;
        }
        let quiet = self.serving.decides.is_idle() && !self.landing.is_busy() && self.landing.keeping.is_quiet();
        if is_due(self.house.rest) {
            if quiet {
                self.house.rest = None;
                let repo = self.repo.clone();
                tokio::task::spawn_blocking(move || repo.let_packs_go());
            } else {
                self.packs_are_read(now);
            }
        }
        if !is_due(self.house.due) {
            return;
        }
        if !quiet {
            self.house.due = Some(now + millis(limits::HOUSEKEEPING_AFTER));
            return;
        }
        self.packs_are_read(now);
        (self.house.due, self.house.busy) = (None, true);
        let stop = self.house.stop.clone();
        super::objects::with_repo(self, move |repo| repo.consolidate(&stop), Wake::HouseKept);
    }

    pub(super) fn house_kept(&mut self, now: Millis, result: Result<Consolidated, HousekeepingError>) {
        self.house.busy = false;
        match result {
            Ok(Consolidated::Nothing) => return,
            Ok(Consolidated::Packs { packs, objects }) => {
                tracing::info!(packs, objects, "packs became one");
                return;
            }
            Ok(Consolidated::Waits(who)) => tracing::debug!(who, "git keeps house"),
            // Packs may go while they are read; nothing is lost by it.
            Err(error) => tracing::warn!(%error, "packs stay as they are"),
        }
        self.house.due.get_or_insert(now + millis(limits::HOUSEKEEPING_AGAIN));
    }
}
