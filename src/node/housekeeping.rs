//! When small packs are made fewer: some time after they came, while nothing else moves objects.

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
    busy: bool,
    stop: Arc<AtomicBool>,
}

impl House {
    pub(super) fn next_wake(&self) -> Option<Millis> {
        self.due.filter(|_| !self.busy)
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

    pub(super) fn drive_housekeeping(&mut self, now: Millis) {
        if self.house.busy || self.house.due.is_none_or(|due| due > now) {
            return;
        }
        let quiet = self.serving.decides.is_idle() && !self.landing.is_busy() && self.landing.keeping.is_quiet();
        if !quiet {
            self.house.due = Some(now + millis(limits::HOUSEKEEPING_AFTER));
            return;
        }
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
