//! Every table with its key and value. A table's name carries a version.

use std::cmp::Ordering;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TypeName, WriteTransaction};

use super::StoreError;
use super::guard::called_back;
use crate::eventlog::rows::Table;

/// Keys and values as bytes.
pub(super) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The format of the whole file, in its first row.
pub(super) const FORMAT: u64 = 3;
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const PROJECT_KEY: &str = "project";

/// Key: a name. Value: bytes. `format` (u64 big-endian), `project` (32 bytes).
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta-1");
/// Key: strand, number of the first event. Value: a block of events, see `eventlog/compact`.
pub(super) const EVENTS: TableDefinition<'static, (u32, u64), &[u8]> = TableDefinition::new("events-2");
/// The rows of events, which are in the order of time: see [`Table::Events`].
pub(super) const TIME: TableDefinition<'static, Fixed<12>, &[u8]> = TableDefinition::new("time-3");
/// Key: strand. Value: its feed, and what the state keeps of it.
pub(super) const STRANDS: Bytes = TableDefinition::new("strands-2");

/// Bytes that are as many in each row of a table, so that redb keeps no lengths of them: rows with hashes in their keys lie
/// all over a table, and the fewer pages that has the fewer an append writes.
#[derive(Debug)]
pub(super) struct Fixed<const N: usize>;

impl<const N: usize> redb::Value for Fixed<N> {
    type SelfType<'a> = &'a [u8];
    type AsBytes<'a> = &'a [u8];

    fn fixed_width() -> Option<usize> {
        Some(N)
    }

    fn from_bytes<'a>(data: &'a [u8]) -> &'a [u8]
    where
        Self: 'a,
    {
        data
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a &'b [u8]) -> &'a [u8]
    where
        Self: 'b,
    {
        value
    }

    fn type_name() -> TypeName {
        TypeName::new(&format!("lansync {N} bytes"))
    }
}

impl<const N: usize> redb::Key for Fixed<N> {
    fn compare(one: &[u8], other: &[u8]) -> Ordering {
        one.cmp(other)
    }
}

/// Evaluates `work` with the definition of a table of the state.
macro_rules! defined {
    ($table:expr, $definition:ident => $work:expr) => {
        defined!(@ $table, $definition => $work;
            Ids 20 0, Events 12 _, Tips 20 4, Lids 12 0, Above 8 0, Rests 16 0, Unsettled 12 0, Landed 13 0)
    };
    (@ $table:expr, $definition:ident => $work:expr; $($name:ident $key:literal $value:tt),*) => {
        match $table {
            $(Table::$name => {
                let $definition = TableDefinition::<Fixed<$key>, defined!(value $value)>::new(name($table));
                $work
            })*
            _ => {
                let $definition = TableDefinition::<&'static [u8], &'static [u8]>::new(name($table));
                $work
            }
        }
    };
    (value _) => { &'static [u8] };
    (value $value:literal) => { Fixed<$value> };
}

/// The rows of a table as they were when the transaction that reads it began.
pub(super) trait ReadRows: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// From `from` on, ascending, until `each` gives `false`.
    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;

    /// Below `to` (all where it is empty), descending, until `each` gives `false`.
    fn scan_back(&self, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
}

impl<K, V> ReadRows for ReadOnlyTable<K, V>
where
    K: redb::Key + for<'a> redb::Value<SelfType<'a> = &'a [u8]> + Send + Sync + 'static,
    V: for<'a> redb::Value<SelfType<'a> = &'a [u8]> + Send + Sync + 'static,
{
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(ReadableTable::get(self, key)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        for row in ReadableTable::range::<&[u8]>(self, from..)? {
            let (key, value) = row?;
            if !called_back(|| each(key.value(), value.value())) {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, to: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let range = match to {
            [] => ReadableTable::range::<&[u8]>(self, ..)?,
            _ => ReadableTable::range::<&[u8]>(self, ..to)?,
        };
        for row in range.rev() {
            let (key, value) = row?;
            if !called_back(|| each(key.value(), value.value())) {
                break;
            }
        }
        Ok(())
    }
}

/// Opens a table of the state to read; `None` where there is none of that name.
pub(super) fn to_read(read: &ReadTransaction, table: Table) -> Result<Option<Box<dyn ReadRows>>, StoreError> {
    defined!(table, definition => match read.open_table(definition) {
        Ok(table) => Ok(Some(Box::new(table))),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// Rows to set (`Some`) or to delete.
pub(super) type Changes<'a> = &'a mut dyn Iterator<Item = (&'a [u8], Option<&'a [u8]>)>;

/// Changes rows of a table of the state.
pub(super) fn change(write: &WriteTransaction, table: Table, rows: Changes<'_>) -> Result<(), StoreError> {
    defined!(table, definition => {
        let mut open = write.open_table(definition)?;
        for (key, value) in rows {
            match value {
                Some(value) => open.insert(key, value)?,
                None => open.remove(key)?,
            };
        }
        Ok(())
    })
}

/// Makes a table of the state, if it is not there.
pub(super) fn make(write: &WriteTransaction, table: Table) -> Result<(), StoreError> {
    change(write, table, &mut std::iter::empty())
}

/// The name of a table of the state.
pub(super) fn name(table: Table) -> &'static str {
    match table {
        Table::Ids => "ids-3",
        Table::Events => "time-3",
        Table::Strands => "strands-2",
        Table::Governance => "governance-2",
        Table::Pasts => "pasts-2",
        Table::Proposals => "proposals-2",
        Table::Said => "said-2",
        Table::Open => "open-2",
        Table::Tips => "tips-3",
        Table::Lids => "lids-3",
        Table::Landings => "landings-3",
        Table::Above => "above-3",
        Table::Rests => "rests-3",
        Table::Unsettled => "unsettled-3",
        Table::Landed => "landed-3",
        Table::Contained => "contained-3",
        Table::Named => "named-2",
        Table::Single => "single-2",
        Table::Tags => "canonical-tags-2",
    }
}

/// What this clone alone remembers beside the log. Keys and values are bytes, small and few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Local branch (name) to the tip at which it was last looked at (hex).
    Branches,
    /// Proposal id to the revision last shown to the human here (32 bytes each).
    Shown,
    /// Commit (hex) whose objects were published or verified here, and so may be served. Value: empty.
    Objects,
    /// Landing (32 bytes) whose commit was recomputed here: 1 sound, 0 unsound.
    Sound,
    /// Peer (32 bytes) to its addresses and when it was last here (postcard).
    Peers,
    /// Anything else of one row.
    Own,
    /// Local tag (name) to the object at which it was looked at and dealt with (hex); one row without a name: it was looked.
    Tags,
}

impl Note {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Branches, Self::Shown, Self::Objects, Self::Sound, Self::Peers, Self::Own, Self::Tags];

    pub(super) fn table(self) -> Bytes {
        TableDefinition::new(match self {
            Self::Branches => "branches-1",
            Self::Shown => "shown-1",
            Self::Objects => "objects-1",
            Self::Sound => "sound-1",
            Self::Peers => "peers-1",
            Self::Own => "own-1",
            Self::Tags => "tags-1",
        })
    }
}
