//! Writing the next events of one's own feed, several in one append.

use super::State;
use crate::eventlog::{Draft, Event, Malformed, Payload};
use crate::hlc::{Hlc, Millis};
use crate::id::{EventId, PeerId, ProjectId};
use crate::keys::{FeedKey, IdentityKey};
use crate::limits;

/// Where the own feed stands. Each event written names all that was held when the pen was taken up.
#[derive(Debug, Clone)]
pub struct Pen {
    project: ProjectId,
    seq: u64,
    prev: Option<EventId>,
    latest: Hlc,
    seen: Vec<EventId>,
}

impl State {
    /// Takes up the pen for `feed`. What is written with it must be appended before anything else is applied.
    pub fn pen(&self, feed: &PeerId) -> Pen {
        let head = self.frontier.head(feed);
        let mut seen: Vec<EventId> =
            self.tips.iter().filter(|tip| head.is_none_or(|head| head.id != **tip)).copied().collect();
        if seen.len() > limits::EVENT_LINKS {
            // Naming fewer than one saw is allowed, and the newest say most.
            seen.sort_unstable_by_key(|id| std::cmp::Reverse(self.events.get(id).map(|entry| entry.hlc)));
            seen.truncate(limits::EVENT_LINKS);
        }
        Pen {
            project: self.project,
            seq: head.map_or(0, |head| head.seq + 1),
            prev: head.map(|head| head.id),
            latest: self.latest,
            seen,
        }
    }
}

impl Pen {
    /// Writes one event at wall time `now`. What the payload speaks of stands in `refs`, also where it is the
    /// event written just before: one place to look for it.
    ///
    /// # Errors
    /// [`Malformed`] where the payload breaks a bound.
    pub fn write(
        &mut self,
        now: Millis,
        payload: Payload,
        refs: Vec<EventId>,
        feed: &FeedKey,
        identity: &IdentityKey,
    ) -> Result<Event, Malformed> {
        let hlc = self.latest.next(now);
        let draft = Draft {
            project: self.project,
            seq: self.seq,
            prev: self.prev,
            hlc,
            seen: std::mem::take(&mut self.seen),
            refs,
            payload,
        };
        let event = draft.sign(feed, identity)?;
        self.seq += 1;
        self.prev = Some(event.id());
        self.latest = hlc;
        Ok(event)
    }
}
