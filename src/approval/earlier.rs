//! The project as it was at an earlier time: the state of the events up to then.
//!
//! An event's time is later than that of all it rests on, so the events up to a time are a whole log of their own. And as
//! the state is a function of the set of events, one of fewer events is taken further by those that it lacks, also by such
//! as arrived late.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::{Rejected, State, Unfit};
use crate::eventlog::rows::{Base, Differs, Memory, Place};
use crate::eventlog::{Checkpoint, Event, Lacking, Payload};
use crate::hlc::Hlc;
use crate::id::{Lid, ObjectId, PeerId};

/// Events whose rows are kept in a layer of their own before they join the others: a scan copies what a layer has.
const LAYER: u64 = 64;

/// An earlier state on its way. It knows of the landings' commits what the present state knows.
pub struct Earlier<'a> {
    now: &'a State,
    then: State,
    memory: Arc<Memory>,
    reached: Checkpoint,
    /// Events since they were last put with the others.
    fresh: u64,
}

impl State {
    /// Begins with no events; [`Earlier::take`] them in time order.
    pub fn earlier(&self) -> Earlier<'_> {
        let memory: Arc<Memory> = Arc::default();
        let then = Self::open(self.project, memory.clone()).expect("no rows fit");
        Earlier { now: self, then, memory, reached: Checkpoint::default(), fresh: 0 }
    }

    /// Goes on from a state that was stored before, with the rows of `base`: with what [`State::lacking`] says, in time order.
    ///
    /// # Errors
    /// [`Unfit`] where these are not its rows.
    pub fn earlier_from(&self, checkpoint: Checkpoint, base: Arc<dyn Base>) -> Result<Earlier<'_>, Unfit> {
        let memory = Arc::new(Memory::over(base));
        let then = Self::open(self.project, memory.clone())?;
        if then.events != checkpoint.events || then.latest != checkpoint.latest {
            return Err(Unfit("the events"));
        }
        Ok(Earlier { now: self, then, memory, reached: checkpoint, fresh: 0 })
    }

    /// Are the events of a checkpoint those of this log, in the same places?
    pub fn has_reached(&self, checkpoint: &Checkpoint) -> bool {
        (0..).zip(&checkpoint.reached).all(|(strand, reached)| {
            let Some(reached) = reached else { return true };
            strand < self.authority.strands.count()
                && self.authority.strands.get(strand).from == reached.from
                && self.place_of(&reached.id) == Some(Place { strand, seq: reached.seq })
        })
    }

    /// What is held of the time before `bound` and not in a checkpoint. Only a few of the events are looked at.
    pub fn lacking(&self, checkpoint: &Checkpoint, bound: Hlc) -> Vec<Lacking> {
        let span = |strand: u32| {
            let held = self.authority.strands.get(strand);
            let from = checkpoint.reach(strand).map_or(held.from, |reached| reached.seq + 1);
            let end = self.first_at(strand, from, bound);
            (from < end).then(|| Lacking { strand, from, to: end - 1 })
        };
        (0..self.authority.strands.count()).filter_map(span).collect()
    }

    /// The first number of a strand, from one on, whose event is not before `bound`; the next one where none is. Times rise
    /// along a strand. What is near `from` costs least.
    fn first_at(&self, strand: u32, from: u64, bound: Hlc) -> u64 {
        let held = self.authority.strands.get(strand);
        let after = held.seq + 1;
        if from >= after || held.latest() < bound {
            return from.max(after);
        }
        let is_before = |seq| self.event_at(Place { strand, seq }).is_some_and(|event| event.body().hlc < bound);
        let (mut low, mut high, mut step) = (from, after, 1);
        while low + step < high {
            if is_before(low + step - 1) {
                low += step;
                step *= 2;
            } else {
                high = low + step - 1;
                break;
            }
        }
        while low < high {
            let seq = low + (high - low) / 2;
            if is_before(seq) { low = seq + 1 } else { high = seq }
        }
        low
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
            let from = self.first_at(*strand, held.from, range.start);
            let end = self.first_at(*strand, from, range.end);
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
        if self.then.take_again(event)?.is_none() {
            return Ok(());
        }
        // One that does not count yet may count later, so it is settled all the same.
        if let Payload::Land(land) = event.payload() {
            let lid = land.content().lid(&self.then.project);
            if let Some(sound) = self.now.landing(&lid).and_then(|landing| landing.sound) {
                self.then.settle(&lid, sound);
            }
        }
        let id = event.id();
        let (there, here) = (self.now.place_of(&id), self.then.place_of(&id));
        let (Some(there), Some(here)) = (there, here) else { return Err(Rejected::Unreadable) };
        let from = self.now.authority.strands.get(there.strand).from;
        self.reached.add(id, event.body().hlc, (there, from), here);
        self.fresh += 1;
        if self.fresh >= LAYER {
            self.settle_rows();
        }
        Ok(())
    }

    fn settle_rows(&mut self) {
        self.fresh = 0;
        let Some(layer) = self.then.begin_append() else { return };
        // While the state reads through another base, the memory is ours alone to write.
        let nothing: Arc<dyn Base> = Arc::new(Memory::default());
        self.then.appended(nothing);
        Arc::make_mut(&mut self.memory).append(&layer);
        self.then.appended(self.memory.clone());
    }

    /// Which events it is of.
    pub fn reached(&self) -> &Checkpoint {
        &self.reached
    }

    /// What is to be stored so that this can be taken further another time: which events it is of, and the rows in which it
    /// differs from the base that it began with.
    pub fn to_store(&mut self) -> (&Checkpoint, impl Iterator<Item = Differs<'_>>) {
        self.settle_rows();
        (&self.reached, self.memory.changed())
    }

    /// What was given to be stored is what `base` holds now.
    pub fn stored(&mut self, base: Arc<dyn Base>) {
        self.memory = Arc::new(Memory::over(base));
        self.then.appended(self.memory.clone());
    }

    /// Tells of landings what became known since the state was stored.
    fn settle_known(&mut self) {
        let mut seen = BTreeSet::new();
        loop {
            let unsettled = self.then.unsettled();
            let mut todo: Vec<Lid> = unsettled.iter().map(|one| one.lid).filter(|lid| !seen.contains(lid)).collect();
            if todo.is_empty() {
                return;
            }
            while let Some(lid) = todo.pop() {
                if !seen.insert(lid) {
                    continue;
                }
                let Some(now) = self.now.landing(&lid) else { continue };
                if let Some(sound) = now.sound {
                    self.then.settle(&lid, sound);
                }
                // What it is on need not count itself.
                let open = |head: &Lid| self.then.landing(head).is_some_and(|landing| landing.sound.is_none());
                todo.extend(now.content.heads.into_iter().filter(open));
            }
        }
    }

    /// The state of the events taken. `contains` says whether a commit is part of the history of one of these commits.
    pub fn finish(mut self, contains: impl Fn(&[ObjectId], &ObjectId) -> bool) -> State {
        self.settle_known();
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
