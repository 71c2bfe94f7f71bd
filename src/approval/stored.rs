//! The state as rows: how it is opened, and what is written with each append.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::State;
use super::authority::{Authority, Past, Pin, Seen, Set, Strand, governs};
use crate::eventlog::Payload;
use crate::eventlog::rows::{Base, Kept, Place, Rows, Table};
use crate::hlc::Hlc;
use crate::id::{EventId, Lid, ProjectId};

/// What does not fit in rows of its own: the one row `state` in [`Table::Single`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Small {
    genesis: Option<EventId>,
    tips: BTreeSet<EventId>,
    events: u64,
    heads: Vec<BTreeSet<Lid>>,
    proposals: u32,
    /// Strand, seq.
    witnessed: Vec<(u32, u64)>,
    sights: Vec<super::forks::Seen>,
}

/// One governance event: its place, and what was found when it came.
#[derive(Debug, Serialize, Deserialize)]
struct GovernanceRow {
    place: Place,
    past: u32,
    pins: Vec<Pin>,
    seen: Seen,
}

const SMALL: &[u8] = b"state";
/// Half of the landings whose numbers are kept in memory, some 50 bytes each.
const NUMBERED: usize = 4_096;
/// Half of the pairs of strands of which is kept what the one names of the other: about as much each.
const NAMED: usize = 8_192;

/// Why rows are no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows of the state do not fit together ({0})")]
pub struct Unfit(pub(super) &'static str);

impl State {
    /// The state that `base` holds; an empty one where it holds nothing.
    ///
    /// # Errors
    /// [`Unfit`] where rows are missing or malformed.
    pub fn open(project: ProjectId, base: Arc<dyn Base>) -> Result<Self, Unfit> {
        let rows = Rows::new(base);
        let mut state = Self {
            project,
            genesis: None,
            rows,
            authority: Authority::new(project),
            tips: BTreeSet::new(),
            latest: Hlc::default(),
            events: 0,
            dirty: BTreeSet::new(),
            heads: Vec::new(),
            ready: BTreeSet::new(),
            proposals: 0,
            landings: 0,
            numbered: Arc::new(Kept::of(NUMBERED)),
            named: Arc::new(Kept::of(NAMED)),
            recent: super::said::Recent::default(),
            any_cut: false,
            sights: super::forks::Sights::default(),
            held: Arc::default(),
            handles: Arc::default(),
        };
        let small = state.rows.get(Table::Single, SMALL, |bytes| Some(decode::<Small>(bytes)));
        let Some(small) = small else { return Ok(state) };
        let small = small.ok_or(Unfit("the small row"))?;
        state.open_strands()?;
        state.authority.witnessed = small.witnessed.into_iter().collect();
        state.sights = super::forks::Sights::open(small.sights);
        state.open_governance()?;
        state.tips = small.tips;
        state.events = small.events;
        state.heads = small.heads;
        state.proposals = small.proposals;
        state.landings = state.count_landings();
        if let Some(id) = small.genesis {
            let event = state.event(&id).ok_or(Unfit("the genesis"))?;
            let Payload::Genesis(genesis) = event.payload() else { return Err(Unfit("the genesis")) };
            state.genesis = Some((id, genesis.clone()));
        }
        state.authority.renew();
        state.any_cut = state.authority.strands.iter().any(|(_, strand)| strand.cut.is_some());
        state.held = Arc::new(super::reckon::Held::of(&state));
        state.name_all();
        state.weigh_open();
        if state.healthy() { Ok(state) } else { Err(Unfit("some cannot be read")) }
    }

    /// The state of no events, in memory.
    pub fn new(project: ProjectId) -> Self {
        let memory: Arc<dyn Base> = Arc::new(crate::eventlog::rows::Memory::default());
        Self::open(project, memory).expect("no rows fit")
    }

    fn count_landings(&self) -> u32 {
        let mut last = None;
        self.rows.scan_back(Table::Landings, &[], |key, _| {
            last = key.try_into().ok().map(u32::from_be_bytes);
            false
        });
        last.map_or(0, |last| last + 1)
    }

    fn open_strands(&mut self) -> Result<(), Unfit> {
        let mut found = Vec::new();
        self.rows.scan(Table::Strands, &[], |_, value| {
            found.push(decode::<Strand>(value));
            true
        });
        for strand in found {
            let strand = strand.ok_or(Unfit("a strand"))?;
            self.latest = self.latest.max(strand.latest());
            self.authority.strands.add(strand);
        }
        Ok(())
    }

    fn open_governance(&mut self) -> Result<(), Unfit> {
        let mut rows = Vec::new();
        self.rows.scan(Table::Governance, &[], |_, value| {
            rows.push(decode::<GovernanceRow>(value));
            true
        });
        let mut pasts: Vec<Option<Vec<u32>>> = Vec::new();
        self.rows.scan(Table::Pasts, &[], |_, value| {
            pasts.push(decode(value));
            true
        });
        let mut pasts = pasts.into_iter().enumerate().peekable();
        for row in rows {
            let row = row.ok_or(Unfit("a governance event"))?;
            // A past comes after the events in it, and before those that have it.
            while let Some((_, most)) = pasts.next_if(|(at, _)| *at < row.past as usize) {
                self.open_past(&most.ok_or(Unfit("a past"))?)?;
            }
            let event = self.event_at(row.place).filter(|event| governs(event)).ok_or(Unfit("a governance event"))?;
            self.authority.add(&event, row.place, Past(row.past), row.pins, row.seen);
        }
        for (_, most) in pasts {
            self.open_past(&most.ok_or(Unfit("a past"))?)?;
        }
        Ok(())
    }

    fn open_past(&mut self, most: &[u32]) -> Result<(), Unfit> {
        let mut set = Set::default();
        for gov in most {
            if *gov >= self.authority.count() {
                return Err(Unfit("a past"));
            }
            set.extend(self.authority.pasts.set(self.authority.get(*gov).past));
            set.insert(*gov);
        }
        self.authority.intern(Err(set));
        Ok(())
    }

    /// The number of a past, kept in a row of its own where it is new.
    pub(super) fn intern(&mut self, past: Result<Past, Set>) -> Past {
        let (past, new) = self.authority.intern(past);
        if new {
            let set = self.authority.pasts.set(past);
            let mut below = Set::default();
            for gov in set.iter() {
                below.extend(self.authority.pasts.set(self.authority.get(gov).past));
            }
            let most: Vec<u32> = set.iter().filter(|gov| !below.has(*gov)).collect();
            // The empty past is number 0 and has no row.
            self.rows.put(Table::Pasts, (past.0 - 1).to_be_bytes(), encode(&most));
        }
        past
    }

    pub(super) fn put_governance(&mut self, gov: u32, place: Place, past: Past, pins: Vec<Pin>, seen: Seen) {
        let row = GovernanceRow { place, past: past.0, pins, seen };
        self.rows.put(Table::Governance, gov.to_be_bytes(), encode(&row));
    }

    /// Puts what is kept in memory and changed since the last append into rows.
    pub(super) fn write_dirty(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() && !self.has_unwritten() {
            return;
        }
        for number in dirty {
            let strand = self.authority.strands.get(number);
            self.rows.put(Table::Strands, number.to_be_bytes(), encode(strand));
        }
        let small = Small {
            genesis: self.genesis.as_ref().map(|(id, _)| *id),
            tips: self.tips.clone(),
            events: self.events,
            heads: self.heads.clone(),
            proposals: self.proposals,
            sights: self.sights.all().to_vec(),
            witnessed: self.authority.witnessed.iter().map(|(strand, seq)| (*strand, *seq)).collect(),
        };
        self.rows.put(Table::Single, SMALL, encode(&small));
    }

    fn has_unwritten(&self) -> bool {
        self.rows.has_changes()
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    crate::codec::encode(value)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}
