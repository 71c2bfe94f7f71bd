//! `--at T`: a snapshot of the project as of an earlier time.

use std::sync::Arc;

use crate::api::Refusal;
use crate::hlc::{Hlc, Millis};
use crate::node::core::Moves;
use crate::node::refusals;
use crate::node::snapshot::Snapshot;

/// The range of time up to and including a millisecond.
pub(super) fn up_to(at: Millis) -> std::ops::Range<Hlc> {
    Hlc::default()..Hlc::new(at.saturating_add(1), 0)
}

impl Snapshot {
    /// The project as of `at`: its log folded up to then. What only this machine knows, and only of now, is left out.
    pub(super) fn earlier(&self, at: Millis) -> Result<Self, Refusal> {
        if self.at.is_some() {
            return Err(Refusal::plain("usage", "one time is enough"));
        }
        let mut earlier = self.state.earlier();
        let mut unfit = None;
        let read = self.store.in_time(up_to(at), |event| {
            // What is stored already and this snapshot does not know of came later.
            if self.state.holds(&event.id())
                && let Err(why) = earlier.take(&event)
            {
                unfit = Some(why);
            }
            unfit.is_none()
        });
        read.map_err(|error| refusals::store(&error))?;
        if let Some(why) = unfit {
            return Err(Refusal::plain("damaged-log", format!("an event of the log does not fit: {why}")));
        }
        let repo = &self.repo;
        let below = |heads: &[crate::id::ObjectId], commit: &crate::id::ObjectId| {
            heads.iter().any(|head| repo.is_ancestor(*commit, *head).unwrap_or(false))
        };
        let state = Arc::new(earlier.finish(below));
        Ok(Self {
            at: Some(at),
            state,
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
            moves: Moves::default(),
            not_shared: Vec::new(),
            unsent: 0,
            problems: Vec::new(),
            notices: Vec::new(),
            open: Default::default(),
        })
    }
}
