//! What a stored state of an earlier time says of itself: which events it is of, and where the log has them.

use serde::{Deserialize, Serialize};

use super::rows::Place;
use crate::hlc::Hlc;
use crate::id::EventId;

/// A state of part of a log that can be taken further: by any events that are not in it, late ones too, since the state is
/// a function of the set of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// How many events it is of.
    pub events: u64,
    /// The time of the latest.
    pub latest: Hlc,
    /// How far it reaches on each strand of the log: none has a gap.
    pub reached: Vec<Option<Reached>>,
    /// The state has numbers of its own for strands. For each of them: from which number on its events lie on which
    /// strand of the log.
    pub sources: Vec<Vec<(u64, u32)>>,
}

/// How far a state reaches on one strand of the log. By the last id all before it is known, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The number with which the strand begins.
    pub from: u64,
    /// The number of its last event in the state.
    pub seq: u64,
    /// That event.
    pub id: EventId,
}

impl Checkpoint {
    /// One more event, which is at `there` in the log, on a strand that begins with `from`, and at `here` in the state.
    pub fn add(&mut self, id: EventId, hlc: Hlc, there: (Place, u64), here: Place) {
        let (Place { strand, seq }, from) = there;
        let index = strand as usize;
        if self.reached.len() <= index {
            self.reached.resize(index + 1, None);
        }
        self.reached[index] = Some(Reached { from, seq, id });
        let index = here.strand as usize;
        if self.sources.len() <= index {
            self.sources.resize(index + 1, Vec::new());
        }
        let pieces = &mut self.sources[index];
        if pieces.last().is_none_or(|(_, on)| *on != strand) {
            pieces.push((here.seq, strand));
        }
        self.events += 1;
        self.latest = self.latest.max(hlc);
    }

    /// Where the log has an event of the state.
    pub fn in_log(&self, here: Place) -> Option<Place> {
        let pieces = self.sources.get(here.strand as usize)?;
        let (_, strand) = pieces.iter().rev().find(|(from, _)| *from <= here.seq)?;
        Some(Place { strand: *strand, seq: here.seq })
    }

    /// How far it reaches on a strand of the log.
    pub fn reach(&self, strand: u32) -> Option<&Reached> {
        self.reached.get(strand as usize)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_in_the_log() {
        let mut checkpoint = Checkpoint::default();
        let mut add = |id: u8, there: (u32, u64), from, here: (u32, u64)| {
            let place = |(strand, seq)| Place { strand, seq };
            checkpoint.add(EventId([id; 32]), Hlc::new(u64::from(id), 0), (place(there), from), place(here));
        };
        add(1, (0, 0), 0, (0, 0));
        add(2, (0, 1), 0, (0, 1));
        // A feed that forked: here the branch came first.
        add(4, (2, 2), 2, (0, 2));
        add(3, (0, 2), 0, (1, 2));
        let at = |strand, seq| checkpoint.in_log(Place { strand, seq }).map(|place| (place.strand, place.seq));
        assert_eq!([at(0, 0), at(0, 1), at(0, 2)], [Some((0, 0)), Some((0, 1)), Some((2, 2))]);
        assert_eq!([at(1, 2), at(1, 1), at(2, 0)], [Some((0, 2)), None, None]);
        assert_eq!((checkpoint.events, checkpoint.latest), (4, Hlc::new(4, 0)));
        assert_eq!(checkpoint.reach(2), Some(&Reached { from: 2, seq: 2, id: EventId([4; 32]) }));
        assert_eq!(checkpoint.reach(1), None);
    }
}
