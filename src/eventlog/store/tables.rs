//! Every table with its key and value. A table's name carries a version.

use redb::TableDefinition;

use crate::eventlog::rows::Table;

/// Keys and values as bytes.
pub(super) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The format of the whole file, in its first row.
pub(super) const FORMAT: u64 = 2;
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const PROJECT_KEY: &str = "project";

/// Key: a name. Value: bytes. `format` (u64 big-endian), `project` (32 bytes).
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta-1");
/// Key: strand, number of the first event. Value: a block of events, see `eventlog/compact`.
pub(super) const EVENTS: TableDefinition<'static, (u32, u64), &[u8]> = TableDefinition::new("events-2");
/// Key: hlc, strand (which has one event for each hlc). Value: number.
pub(super) const TIME: TableDefinition<'static, (u64, u32), u64> = TableDefinition::new("time-2");

/// Where the rows of a table of the state are.
pub(super) fn rows(table: Table) -> Bytes {
    TableDefinition::new(name(table))
}

/// The name of a table of the state.
pub(super) fn name(table: Table) -> &'static str {
    match table {
        Table::Events => "ids-2",
        Table::Strands => "strands-2",
        Table::Governance => "governance-2",
        Table::Pasts => "pasts-2",
        Table::Proposals => "proposals-2",
        Table::Said => "said-2",
        Table::Open => "open-2",
        Table::Tips => "tips-2",
        Table::Landings => "landings-2",
        Table::Above => "above-2",
        Table::Rests => "rests-2",
        Table::Unsettled => "unsettled-2",
        Table::Landed => "landed-2",
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
