//! Events read from the log: by id, by time, and what a peer lacks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use redb::ReadableTable;

use super::blocks::Reader;
use super::guard::{called_back, guarded};
use super::tables::{self, STRANDS, TIME};
use super::{Store, StoreError};
use crate::eventlog::rows::{EventRow, Place, Table};
use crate::eventlog::{Durable, Event, Head, Lacking, OnStrand};
use crate::hlc::Hlc;
use crate::id::{EventId, PeerId};

/// Blocks that a read over many strands keeps in memory meanwhile.
const KEPT: usize = 256;

impl Store {
    fn reader(&self, keeps: usize) -> Result<Reader, StoreError> {
        Reader::new(&self.begin_read()?, self.project(), keeps)
    }

    /// The event of an id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn event(&self, id: &EventId) -> Result<Option<Arc<Event>>, StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let (ids, rows) = (tables::to_read(&read, Table::Ids)?, tables::to_read(&read, Table::Events)?);
            let (Some(ids), Some(rows)) = (ids, rows) else { return Ok(None) };
            let row = EventRow::find(id, |from, each| ids.scan(from, each), |key| rows.get(key))?;
            let Some(row) = row else { return Ok(None) };
            let event = Reader::new(&read, self.project(), 1)?.there(row.place)?;
            if event.id() != *id {
                return Err(StoreError::Corrupt(format!("another event lies in the place of event {}", id.short())));
            }
            Ok(Some(event))
        })
    }

    /// The strands with their feeds and last events, by number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn heads(&self) -> Result<BTreeMap<u32, (PeerId, Head)>, StoreError> {
        guarded(|| {
            let mut reader = self.reader(1)?;
            let strands = self.begin_read()?.open_table(STRANDS)?;
            let mut heads = BTreeMap::new();
            for row in strands.iter()? {
                let key = row?.0.value().try_into();
                let strand = key.map_err(|_| StoreError::Corrupt("a strand has no number".to_owned()))?;
                let strand = u32::from_be_bytes(strand);
                if let Some(event) = reader.last(strand)? {
                    let head = Head { seq: event.body().seq, id: event.id() };
                    heads.insert(strand, (event.body().author, head));
                }
            }
            Ok(heads)
        })
    }

    /// Events in time order, which extends causality: `each` is called until it returns `false`. Only what lies in the
    /// range is read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_time(&self, range: Range<Hlc>, each: impl FnMut(Arc<Event>) -> bool) -> Result<(), StoreError> {
        self.along(range, false, each)
    }

    /// As [`Store::in_time`], the latest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_time_back(&self, range: Range<Hlc>, each: impl FnMut(Arc<Event>) -> bool) -> Result<(), StoreError> {
        self.along(range, true, each)
    }

    fn along(&self, range: Range<Hlc>, back: bool, mut each: impl FnMut(Arc<Event>) -> bool) -> Result<(), StoreError> {
        guarded(|| {
            let read = self.begin_read()?;
            let mut reader = Reader::new(&read, self.project(), KEPT)?;
            let time = read.open_table(TIME)?;
            let (start, end) = (EventRow::time_key(range.start.bits(), 0), EventRow::time_key(range.end.bits(), 0));
            let mut rows = time.range::<&[u8]>(start.as_slice()..end.as_slice())?;
            while let Some(row) = if back { rows.next_back() } else { rows.next() } {
                let (key, value) = row?;
                let row = EventRow::read(key.value(), value.value());
                let (_, row) = row.ok_or_else(|| StoreError::Corrupt("the row of an event is malformed".to_owned()))?;
                let event = reader.there(row.place)?;
                if !called_back(|| each(event)) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What a peer lacks, durable, in (hlc, author, seq) order across strands, at most about `limit` bytes.
    /// Asked again with what was sent taken off, it goes on where it stopped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, spans: &[Lacking], limit: usize) -> Result<Vec<OnStrand>, StoreError> {
        guarded(|| {
            let mut reader = self.reader(KEPT.max(spans.len()))?;
            // The smallest of each span's next event, again and again: a merge of sorted strands.
            let mut next = BTreeMap::new();
            for span in spans.iter().filter(|span| span.from <= span.to) {
                let event = reader.there(Place { strand: span.strand, seq: span.from })?;
                next.insert((event.order(), span.strand), (event, span.to));
            }
            let (mut out, mut bytes) = (Vec::new(), 0);
            while let Some(((_, strand), (event, to))) = next.pop_first() {
                bytes += event.bytes().len();
                if bytes > limit && !out.is_empty() {
                    break;
                }
                let seq = event.body().seq;
                if seq < to {
                    let following = reader.there(Place { strand, seq: seq + 1 })?;
                    next.insert((following.order(), strand), (following, to));
                }
                out.push((strand, Durable::new(event)));
            }
            Ok(out)
        })
    }
}
