//! Events in their blocks: written and read by place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use super::StoreError;
use super::tables::{EVENTS, STRANDS};
use crate::eventlog::compact::{Block, Events, Known};
use crate::eventlog::rows::{Layer, Place};
use crate::eventlog::{Event, Malformed};
use crate::id::{PeerId, ProjectId};

fn malformed(place: Place, why: Malformed) -> StoreError {
    let Place { strand, seq } = place;
    StoreError::Corrupt(format!("event {seq} of strand {strand} is malformed: {why}"))
}

/// Whose feed a strand is, from its row.
fn author(strand: u32, row: Option<&[u8]>) -> Result<PeerId, StoreError> {
    let key = row.and_then(|row| row.get(..32)?.try_into().ok());
    key.map(PeerId).ok_or_else(|| StoreError::Corrupt(format!("strand {strand} has no feed")))
}

/// Adds a layer's events to their blocks. Its rows are written already.
pub(super) fn write(write: &WriteTransaction, project: ProjectId, layer: &Layer) -> Result<(), StoreError> {
    let by_place: BTreeMap<Place, &Arc<Event>> = layer.events().collect();
    if by_place.is_empty() {
        return Ok(());
    }
    // Its row is what puts it in the order of time.
    if let Some((Place { strand, seq }, _)) = by_place.iter().find(|(_, event)| !layer.has_row_of(&event.id())) {
        return Err(StoreError::Corrupt(format!("event {seq} of strand {strand} has no row")));
    }
    let strands = write.open_table(STRANDS)?;
    let mut events = write.open_table(EVENTS)?;
    let mut open: Option<(u32, Known, u64, Block)> = None;
    for (place, event) in by_place {
        let Place { strand, seq } = place;
        if let Some((at, known, _, block)) = &mut open
            && *at == strand
            && block.next() == seq
            && block.push(known, event)
        {
            continue;
        }
        let known = match open.take() {
            Some((at, known, first, block)) => {
                events.insert((at, first), block.into_bytes().as_slice())?;
                (at == strand).then_some(known)
            }
            None => None,
        };
        let known = match known {
            Some(known) => known,
            None => {
                let row = strands.get(strand.to_be_bytes().as_slice())?;
                Known { project, author: author(strand, row.as_ref().map(|row| row.value()))? }
            }
        };
        if event.body().author != known.author {
            return Err(StoreError::Corrupt(format!("strand {strand} is of another feed than its event {seq}")));
        }
        let (first, block) = room(&events, place, &known, event)?;
        open = Some((strand, known, first, block));
    }
    if let Some((at, _, first, block)) = open {
        events.insert((at, first), block.into_bytes().as_slice())?;
    }
    Ok(())
}

/// The block that takes an event, with it: the one before where that has room, or a new one.
fn room(
    events: &impl ReadableTable<(u32, u64), &'static [u8]>,
    place: Place,
    known: &Known,
    event: &Event,
) -> Result<(u64, Block), StoreError> {
    let Place { strand, seq } = place;
    if let Some(row) = events.range((strand, 0)..=(strand, seq))?.next_back() {
        let (key, bytes) = row?;
        let first = key.value().1;
        let mut block = Block::read(first, bytes.value()).map_err(|why| malformed(place, why))?;
        if seq < block.next() {
            return Err(StoreError::Corrupt(format!("event {seq} of strand {strand} is there already")));
        }
        if seq == block.next() && block.push(known, event) {
            return Ok((first, block));
        }
    }
    let mut block = Block::new(seq);
    block.push(known, event);
    Ok((seq, block))
}

/// Reads events by place. What it read of a block it keeps, so that neighbours cost nothing.
pub(super) struct Reader {
    project: ProjectId,
    events: ReadOnlyTable<(u32, u64), &'static [u8]>,
    strands: ReadOnlyTable<&'static [u8], &'static [u8]>,
    authors: HashMap<u32, PeerId>,
    /// By strand: readers ask for a strand's events one after the other.
    kept: HashMap<u32, Events>,
    /// How many, some 16 KiB each when all their events were asked for.
    keeps: usize,
}

impl Reader {
    pub(super) fn new(read: &ReadTransaction, project: ProjectId, keeps: usize) -> Result<Self, StoreError> {
        Ok(Self {
            project,
            keeps,
            events: read.open_table(EVENTS)?,
            strands: read.open_table(STRANDS)?,
            authors: HashMap::new(),
            kept: HashMap::new(),
        })
    }

    /// `None` where there is no such strand (yet).
    fn known(&mut self, strand: u32) -> Result<Option<Known>, StoreError> {
        let author = match self.authors.get(&strand) {
            Some(author) => *author,
            None => {
                let Some(row) = self.strands.get(strand.to_be_bytes().as_slice())? else { return Ok(None) };
                let author = author(strand, Some(row.value()))?;
                self.authors.insert(strand, author);
                author
            }
        };
        Ok(Some(Known { project: self.project, author }))
    }

    /// The event at a place, if there is one.
    pub(super) fn get(&mut self, place: Place) -> Result<Option<Arc<Event>>, StoreError> {
        let Place { strand, seq } = place;
        if !self.kept.get(&strand).is_some_and(|events| events.holds(seq)) {
            let Some(known) = self.known(strand)? else { return Ok(None) };
            let Some(row) = self.events.range((strand, 0)..=(strand, seq))?.next_back() else { return Ok(None) };
            let (key, bytes) = row?;
            let block = Block::read(key.value().1, bytes.value()).map_err(|why| malformed(place, why))?;
            if block.next() <= seq {
                return Ok(None);
            }
            if self.kept.len() >= self.keeps && !self.kept.contains_key(&strand) {
                self.kept.clear();
            }
            self.kept.insert(strand, block.events(known));
        }
        let Some(events) = self.kept.get_mut(&strand) else { return Ok(None) };
        events.get(seq).map_err(|why| malformed(place, why))
    }

    /// The event at a place where one must be.
    pub(super) fn there(&mut self, place: Place) -> Result<Arc<Event>, StoreError> {
        let Place { strand, seq } = place;
        self.get(place)?.ok_or_else(|| StoreError::Corrupt(format!("event {seq} of strand {strand} is missing")))
    }

    /// The last event of a strand.
    pub(super) fn last(&mut self, strand: u32) -> Result<Option<Arc<Event>>, StoreError> {
        let Some(row) = self.events.range((strand, 0)..=(strand, u64::MAX))?.next_back() else { return Ok(None) };
        let (key, bytes) = row?;
        let block = Block::read(key.value().1, bytes.value());
        let next = block.map_err(|why| malformed(Place { strand, seq: key.value().1 }, why))?.next();
        self.get(Place { strand, seq: next.saturating_sub(1) })
    }
}
