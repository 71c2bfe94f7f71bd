//! Every table with its key and value. A table's name carries a version.

use redb::TableDefinition;

use super::Bytes;

/// The format of the whole file, in its first row.
pub(super) const FORMAT: u64 = 1;
pub(super) const FORMAT_KEY: &str = "format";

/// Key: a name. Value: bytes. `format` (u64 big-endian), `project` (32 bytes).
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta-1");
/// Key: feed, seq. Value: the event's canonical bytes.
pub(super) const EVENTS: TableDefinition<'static, ([u8; 32], u64), &[u8]> = TableDefinition::new("events-1");
/// Key: event id. Value: feed, seq.
pub(super) const IDS: TableDefinition<'static, [u8; 32], ([u8; 32], u64)> = TableDefinition::new("ids-1");
/// Key: hlc, feed (a feed has one event for each hlc). Value: seq.
pub(super) const TIME: TableDefinition<'static, (u64, [u8; 32]), u64> = TableDefinition::new("time-1");

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
}

impl Note {
    pub(super) const ALL: [Self; 6] = [Self::Branches, Self::Shown, Self::Objects, Self::Sound, Self::Peers, Self::Own];

    pub(super) fn table(self) -> Bytes {
        TableDefinition::new(match self {
            Self::Branches => "branches-1",
            Self::Shown => "shown-1",
            Self::Objects => "objects-1",
            Self::Sound => "sound-1",
            Self::Peers => "peers-1",
            Self::Own => "own-1",
        })
    }
}
