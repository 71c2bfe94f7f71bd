//! The row of an event.

use super::{Base, Place, Rows, START, Table, key, start};
use crate::eventlog::Event;
use crate::id::EventId;

/// What is kept of every event: where it is, and what its author knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow {
    /// Where it is held.
    pub place: Place,
    /// Its time, as bits.
    pub hlc: u64,
    /// Its kind's number.
    pub kind: u16,
    /// The number of the set of governance events in its past, itself included if it is one.
    pub past: u32,
    /// Bits: see `approval`.
    pub flags: u8,
    /// The proposal that it speaks of, by number; 0 where it speaks of none.
    pub about: u32,
    /// What it has seen of feeds that forked, by number; 0 is nothing.
    pub sight: u32,
}

impl EventRow {
    /// The row of an event, if it is held.
    pub fn of(rows: &Rows, id: &EventId) -> Option<Self> {
        rows.place(id)
    }

    /// The row of an event that is held at `place`, for which its id need not be looked up.
    pub fn at(rows: &Rows, event: &Event, place: Place) -> Option<Self> {
        let from_base = || {
            let key = Self::time_key(event.body().hlc.bits(), place.strand);
            Some(Self::read(&key, &rows.base.get(Table::Events, &key)?)?.1)
        };
        rows.kept_place(&event.id()).or_else(from_base)
    }

    /// The row of an event in a base, if it is held there.
    pub fn find_in(base: &dyn Base, id: &EventId) -> Option<Self> {
        let scan = |from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool| {
            base.scan(Table::Ids, from, each);
            Ok(())
        };
        let found: Result<_, std::convert::Infallible> = Self::find(id, scan, |key| Ok(base.get(Table::Events, key)));
        found.unwrap_or_else(|never| match never {})
    }

    /// The row of an event: `scan` goes through the rows of [`Table::Ids`] from a key on, `get` gives one of
    /// [`Table::Events`].
    ///
    /// # Errors
    /// Those of `scan` and `get`.
    pub fn find<E>(
        id: &EventId,
        scan: impl FnOnce(&[u8], &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), E>,
        get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Self>, E> {
        let (mut from, mut keys) = ([0; START + 12], Vec::<[u8; 12]>::new());
        from[..START].copy_from_slice(&start(&id.0));
        scan(&from, &mut |key, _| {
            let same = key.starts_with(&from[..START]);
            keys.extend(key.last_chunk().filter(|_| same));
            same
        })?;
        for key in keys {
            let row = get(&key)?.and_then(|value| Self::read(&key, &value));
            if let Some((_, row)) = row.filter(|(rest, _)| rest[..] == id.0[START..]) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The key of the first row in time that an event of this time and strand can have.
    pub fn time_key(hlc: u64, strand: u32) -> [u8; 12] {
        key(&[&hlc.to_be_bytes(), &strand.to_be_bytes()])
    }

    /// Its key in [`Table::Events`]. A strand has one event of each time.
    pub fn key(&self) -> [u8; 12] {
        Self::time_key(self.hlc, self.place.strand)
    }

    /// Its key in [`Table::Ids`].
    pub fn id_key(&self, id: &EventId) -> [u8; START + 12] {
        key(&[&start(&id.0), &self.key()])
    }

    /// Its value in [`Table::Events`].
    pub fn encode(&self, id: &EventId) -> Vec<u8> {
        let Self { place, hlc: _, kind, past, flags, about, sight } = *self;
        let mut value = Vec::with_capacity(ID_REST + 16);
        value.extend_from_slice(&id.0[START..]);
        value.extend_from_slice(&crate::codec::encode(&(place.seq, kind, past, flags, about, sight)));
        value
    }

    /// What a row of [`Table::Events`] says: the rest of the event's id, and its row.
    pub fn read(key: &[u8], value: &[u8]) -> Option<([u8; ID_REST], Self)> {
        let (hlc, strand) = key.split_first_chunk()?;
        let (hlc, strand) = (u64::from_be_bytes(*hlc), u32::from_be_bytes(strand.try_into().ok()?));
        let (rest, value) = value.split_first_chunk()?;
        let (seq, kind, past, flags, about, sight) = postcard::from_bytes(value).ok()?;
        Some((*rest, Self { place: Place { strand, seq }, hlc, kind, past, flags, about, sight }))
    }
}

/// Bytes of an id that do not stand in the key.
const ID_REST: usize = 32 - START;
