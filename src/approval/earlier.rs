//! The project as it was at an earlier time: the events up to then, folded again.
//!
//! An event's time is later than that of all it rests on, so the events up to a time are a whole log of their own.

use std::ops::Range;
use std::sync::Arc;

use super::{Rejected, State};
use crate::eventlog::rows::{Base, Memory, Place};
use crate::eventlog::{Event, Lacking, Payload};
use crate::hlc::Hlc;
use crate::id::{ObjectId, PeerId};

/// Events whose rows are kept in a layer of their own before they join the others: a scan copies what a layer has.
const LAYER: u32 = 64;

/// An earlier state on its way. It knows of the landings' commits what the present state knows.
pub struct Earlier<'a> {
    now: &'a State,
    then: State,
    memory: Arc<Memory>,
    taken: u32,
}

impl State {
    /// Begins with no events; [`Earlier::take`] them in time order.
    pub fn earlier(&self) -> Earlier<'_> {
        let memory: Arc<Memory> = Arc::default();
        let then = Self::open(self.project, memory.clone()).expect("no rows fit");
        Earlier { now: self, then, memory, taken: 0 }
    }

    /// The last number held of a strand.
    pub fn held_to(&self, strand: u32) -> Option<u64> {
        (strand < self.authority.strands.count()).then(|| self.authority.strands.get(strand).seq)
    }

    /// What these feeds wrote in a range of time. Only a few of the events are looked at.
    pub fn written(&self, feeds: &[PeerId], range: &Range<Hlc>) -> Vec<Lacking> {
        let strands = feeds.iter().flat_map(|feed| self.authority.strands.of_feed(feed));
        let span = |strand: &u32| {
            let held = self.authority.strands.get(*strand);
            // Times rise along a strand.
            let first_at = |bound: Hlc| {
                let (mut low, mut high) = (held.from, held.seq + 1);
                while low < high {
                    let seq = low + (high - low) / 2;
                    match self.event_at(Place { strand: *strand, seq }) {
                        Some(event) if event.body().hlc < bound => low = seq + 1,
                        _ => high = seq,
                    }
                }
                low
            };
            let (from, end) = (first_at(range.start), first_at(range.end));
            (from < end).then(|| Lacking { strand: *strand, from, to: end - 1 })
        };
        strands.filter_map(span).collect()
    }
}

impl Earlier<'_> {
    /// Takes in the next event.
    ///
    /// # Errors
    /// [`Rejected`] where it does not follow on those taken before.
    pub fn take(&mut self, event: &Arc<Event>) -> Result<(), Rejected> {
        let Some(checked) = self.then.check(event)? else { return Ok(()) };
        self.then.apply(event, checked);
        // One that does not count yet may count later, so it is settled all the same.
        if let Payload::Land(land) = event.payload() {
            let lid = land.content().lid(&self.then.project);
            if let Some(sound) = self.now.landing(&lid).and_then(|landing| landing.sound) {
                self.then.settle(&lid, sound);
            }
        }
        self.taken += 1;
        if self.taken.is_multiple_of(LAYER) {
            self.settle_rows();
        }
        Ok(())
    }

    fn settle_rows(&mut self) {
        let Some(layer) = self.then.begin_append() else { return };
        // While the state reads through another base, the memory is ours alone to write.
        let nothing: Arc<dyn Base> = Arc::new(Memory::default());
        self.then.appended(nothing);
        Arc::make_mut(&mut self.memory).append(&layer);
        self.then.appended(self.memory.clone());
    }

    /// The state of the events taken. `contains` says whether a commit is part of the history of one of these commits.
    pub fn finish(mut self, contains: impl Fn(&[ObjectId], &ObjectId) -> bool) -> State {
        // What landed without an event that says so, as the objects told, did so at some time: was it by then?
        let open: Vec<_> = self.then.open_proposals().map(|proposal| proposal.last).collect();
        for last in open {
            if self.now.has_landed(&last.target, &last.tip)
                && let Some(heads) = self.then.branch(&last.target)
                && contains(&heads.commits(), &last.tip)
            {
                self.then.contained(&last.target, last.tip);
            }
        }
        self.settle_rows();
        self.then
    }
}
