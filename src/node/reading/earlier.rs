//! `--at T`: a snapshot of the project as of an earlier time, from the last stored state before it and the events that this
//! one lacks.

use std::ops::Range;
use std::sync::Arc;

use super::range::{each_of, only_durable};
use crate::api::{Refusal, Reply, Request};
use crate::approval::{Earlier, State};
use crate::eventlog::Checkpoint;
use crate::eventlog::rows::Base;
use crate::eventlog::store::{Checkpoints, Store, StoreError};
use crate::hlc::{Hlc, Millis};
use crate::id::ObjectId;
use crate::limits;
use crate::node::core::Moves;
use crate::node::refusals;
use crate::node::snapshot::Snapshot;

/// The range of time up to and including a millisecond.
pub(super) fn up_to(at: Millis) -> Range<Hlc> {
    Hlc::default()..Hlc::new(at.saturating_add(1), 0)
}

/// Folds the events of a log up to a time.
struct Folding<'a> {
    now: &'a State,
    store: &'a Store,
    /// What is not before this is left out.
    bound: Hlc,
    /// Events from one stored state to the next.
    each: u64,
}

/// An earlier state, and what it took.
struct Folded {
    state: State,
    /// Events that were folded for it now.
    events: u64,
    /// Does it read rows of a stored state?
    stored: bool,
}

impl Folding<'_> {
    /// From the best stored state if `stored` are given, storing more on the way.
    fn fold(
        &self,
        stored: Option<&Arc<Checkpoints>>,
        contains: impl Fn(&[ObjectId], &ObjectId) -> bool,
    ) -> Result<Folded, Fault> {
        let log: Arc<dyn Base> = self.store.base()?;
        let found = stored.map(|stored| stored.best(self.bound)).transpose().map_err(Fault::Stored)?.flatten();
        let mut parent = None;
        let mut earlier = match (stored, found) {
            (Some(stored), Some((number, checkpoint))) => {
                if !self.now.has_reached(&checkpoint) {
                    return Err(Fault::Stored(StoreError::Corrupt("checkpoints: of another log".to_owned())));
                }
                parent = Some(number);
                let base = stored.base(number, &checkpoint, log.clone()).map_err(Fault::Stored)?;
                let unfit = |unfit: crate::approval::Unfit| Fault::Stored(StoreError::Corrupt(unfit.to_string()));
                self.now.earlier_from(checkpoint, base).map_err(unfit)?
            }
            _ => self.now.earlier(),
        };
        let lacking = self.now.lacking(earlier.reached(), self.bound);
        let (mut events, mut room) = (0, true);
        each_of(self.store, only_durable(self.store, self.now, lacking)?, |event| {
            if let Err(why) = earlier.take(event) {
                let message = format!("an event of the log does not fit: {why}");
                return Err(match stored {
                    Some(_) => Fault::Stored(StoreError::Corrupt(message)),
                    None => Fault::Log(Refusal::plain("damaged-log", message)),
                });
            }
            events += 1;
            if let Some(stored) = stored.filter(|_| room && events % self.each == 0) {
                room = keep(&mut earlier, stored, &mut parent, &log).map_err(Fault::Stored)?;
            }
            Ok(())
        })?;
        Ok(Folded { state: earlier.finish(contains), events, stored: parent.is_some() })
    }

    /// Folds from what is stored, or from the beginning where that is of no use.
    fn fold_somehow(
        &self,
        use_stored: bool,
        contains: impl Fn(&[ObjectId], &ObjectId) -> bool,
    ) -> Result<Folded, Refusal> {
        // A log of which nothing was stored before, and too small for it, is spared the file.
        let worth = self.now.events() >= self.each || self.store.checkpoints_path().exists();
        // Once more with those that are made anew in place of what is of no use.
        for _ in 0..2 {
            if !use_stored || !worth {
                break;
            }
            let tried = self.store.checkpoints().map_err(Fault::Stored).and_then(|stored| {
                let folded = self.fold(Some(&stored), &contains)?;
                if folded.state.healthy() { Ok(folded) } else { Err(Fault::unreadable()) }
            });
            match tried {
                Ok(folded) => return Ok(folded),
                Err(Fault::Stored(StoreError::Corrupt(why))) => {
                    tracing::warn!(%why, "checkpoints are of no use and are made anew");
                    if let Err(error) = self.store.forget_checkpoints() {
                        tracing::warn!(%error, "checkpoints cannot be taken away");
                        break;
                    }
                }
                Err(Fault::Stored(error)) => {
                    tracing::debug!(%error, "without checkpoints");
                    break;
                }
                Err(Fault::Log(refusal)) => return Err(refusal),
            }
        }
        self.fold(None, contains).map_err(|fault| match fault {
            Fault::Log(refusal) => refusal,
            Fault::Stored(error) => refusals::store(&error),
        })
    }
}

/// Stores the state as it is now, and goes on from there; `false` where there is no room for it.
fn keep(
    earlier: &mut Earlier<'_>,
    stored: &Arc<Checkpoints>,
    parent: &mut Option<u32>,
    log: &Arc<dyn Base>,
) -> Result<bool, StoreError> {
    let (checkpoint, changed) = earlier.to_store();
    let checkpoint: Checkpoint = checkpoint.clone();
    let Some(number) = stored.add(*parent, &checkpoint, changed)? else { return Ok(false) };
    earlier.stored(stored.base(number, &checkpoint, log.clone())?);
    *parent = Some(number);
    Ok(true)
}

/// What went wrong while folding.
enum Fault {
    /// With the stored states: it can be done without.
    Stored(StoreError),
    /// With the log.
    Log(Refusal),
}

impl Fault {
    fn unreadable() -> Self {
        Self::Stored(StoreError::Corrupt("checkpoints: a row cannot be read".to_owned()))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Log(refusal)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Log(refusals::store(&error))
    }
}

impl Snapshot {
    /// Answers as of `at`. What only this machine knows, and only of now, is left out.
    pub(super) fn answer_at(&self, at: Millis, request: &Request) -> Result<Vec<Reply>, Refusal> {
        if self.at.is_some() {
            return Err(Refusal::plain("usage", "one time is enough"));
        }
        let (earlier, stored) = self.earlier(at, true)?;
        let answer = super::answer(&earlier, request);
        if earlier.state.healthy() || !stored {
            return answer;
        }
        // A row of what is stored could not be read while answering.
        drop(earlier);
        super::answer(&self.earlier(at, false)?.0, request)
    }

    /// The project as of `at`, and whether rows of a stored state are read for it.
    fn earlier(&self, at: Millis, use_stored: bool) -> Result<(Self, bool), Refusal> {
        let repo = &self.repo;
        let below = |heads: &[ObjectId], commit: &ObjectId| {
            heads.iter().any(|head| repo.is_ancestor(*commit, *head).unwrap_or(false))
        };
        let (now, store, each) = (&*self.state, &*self.store, limits::CHECKPOINT_EVENTS);
        let Folded { state, events, stored } =
            Folding { now, store, bound: up_to(at).end, each }.fold_somehow(use_stored, below)?;
        tracing::debug!(events, stored, "folded for an earlier time");
        let earlier = Self {
            at: Some(at),
            state: Arc::new(state),
            repo: self.repo.clone(),
            store: self.store.clone(),
            me: self.me,
            identity: self.identity,
            handle: self.handle.clone(),
            running: false,
            sessions: Default::default(),
            last_seen: Default::default(),
            asks: Vec::new(),
            held: self.held.clone(),
            conflicts: Default::default(),
            lines: Default::default(),
            moves: Moves::default(),
            not_shared: Vec::new(),
            unsent: 0,
            problems: Vec::new(),
            notices: Vec::new(),
        };
        Ok((earlier, stored))
    }
}

#[cfg(test)]
mod tests;
