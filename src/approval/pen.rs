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
    /// What does not fit in the next event's links.
    more: Vec<EventId>,
}

impl State {
    /// Takes up the pen for `feed`. What is written with it must be appended before anything else is applied.
    pub fn pen(&self, feed: &PeerId) -> Pen {
        let strand = self.authority.strands.of_feed(feed).first().map(|number| self.authority.strands.get(*number));
        let head = strand.map(super::Strand::head);
        let logged = |tip: &&EventId| head.is_none_or(|head| head.id != **tip) && self.is_logged(tip);
        let mut seen: Vec<EventId> = self.tips.iter().filter(logged).copied().collect();
        let mut more = Vec::new();
        if seen.len() > limits::EVENT_LINKS {
            // Oldest first, so that what names them can itself be later than all.
            seen.sort_by_key(|id| self.row(id).map(|row| row.hlc));
            more = seen.split_off(limits::EVENT_LINKS);
        }
        Pen {
            project: self.project,
            seq: head.map_or(0, |head| head.seq + 1),
            prev: head.map(|head| head.id),
            latest: self.latest,
            seen,
            more,
        }
    }
}

impl Pen {
    /// Has more been seen than one event can name? Then an `Ack` is to be written first.
    pub fn needs_ack(&self) -> bool {
        !self.more.is_empty()
    }

    /// Writes one event at wall time `now`. What the payload speaks of stands in `refs`, also where it is the
    /// event written just before: one place to look for it.
    ///
    /// # Errors
    /// [`Malformed`] where the payload breaks a bound.
    pub fn write<'k>(
        &mut self,
        now: Millis,
        payload: Payload,
        refs: Vec<EventId>,
        feed: &FeedKey,
        identity: impl Into<Option<&'k IdentityKey>>,
    ) -> Result<Event, Malformed> {
        let hlc = self.latest.next(now);
        let rest = self.more.split_off(self.more.len().min(limits::EVENT_LINKS));
        let next = std::mem::replace(&mut self.more, rest);
        let draft = Draft {
            project: self.project,
            seq: self.seq,
            prev: self.prev,
            hlc,
            seen: std::mem::replace(&mut self.seen, next),
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
