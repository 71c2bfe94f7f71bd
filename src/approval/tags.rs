//! Canonical tags: what maintainers have tagged, by name. A name belongs to who tagged it first.

use serde::{Deserialize, Serialize};

use super::stored::{decode, encode};
use super::{State, flags};
use crate::eventlog::rows::{EventRow, Place, Table};
use crate::eventlog::{Kind, Tag};
use crate::id::{BranchName, EventId, ObjectId, PeerId};

/// What a tag's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalTag {
    /// Its name, by the rules of a branch's.
    pub name: BranchName,
    /// What the ref is at: a tag object, or the commit itself.
    pub object: ObjectId,
    /// The commit that this stands for.
    pub commit: ObjectId,
    /// The clone that tagged it.
    pub by: PeerId,
}

/// One tag of one event. The key is the name, a zero byte, the event's hlc (u64) and its id: so the first comes first.
#[derive(Debug, Serialize, Deserialize)]
struct TagRow {
    place: Place,
    past: u32,
    object: ObjectId,
    commit: ObjectId,
}

impl State {
    /// Keeps what an event tags, if by what its author knew they may.
    pub(super) fn put_tags(&mut self, id: &EventId, said: &Tag, row: &EventRow) {
        for (name, object, commit) in &said.tags {
            let kept = TagRow { place: row.place, past: row.past, object: *object, commit: *commit };
            self.rows.put(Table::Tags, key(name, row.hlc, id), encode(&kept));
        }
    }

    /// The canonical tags, by name. Of several events that tag one name the earliest that counts decides, of equally early
    /// ones that with the smaller id: a later one changes nothing, whether or not its author knew of the first.
    pub fn tags(&self) -> Vec<CanonicalTag> {
        let mut tags: Vec<CanonicalTag> = Vec::new();
        self.rows.scan(Table::Tags, &[], |key, value| {
            let Some((name, hlc)) = read_key(key) else { return true };
            if tags.last().is_some_and(|last| last.name.as_str().as_bytes() == name) {
                return true;
            }
            let name = std::str::from_utf8(name).ok().and_then(|name| BranchName::new(name).ok());
            if let (Some(name), Some(row)) = (name, decode::<TagRow>(value))
                && self.tag_counts(&row, hlc)
            {
                let by = self.authority.strands.get(row.place.strand).feed;
                tags.push(CanonicalTag { name, object: row.object, commit: row.commit, by });
            }
            true
        });
        tags
    }

    fn tag_counts(&self, tag: &TagRow, hlc: u64) -> bool {
        let (place, past) = (tag.place, tag.past);
        let row = EventRow { place, hlc, kind: Kind::TAG.0, past, flags: flags::ADMISSIBLE, about: 0, sight: 0 };
        self.counts(&row)
    }
}

fn key(name: &BranchName, hlc: u64, id: &EventId) -> Vec<u8> {
    [name.as_str().as_bytes(), &[0], &hlc.to_be_bytes(), &id.0].concat()
}

fn read_key(key: &[u8]) -> Option<(&[u8], u64)> {
    let (name, rest) = key.split_at_checked(key.len().checked_sub(1 + 8 + 32)?)?;
    Some((name, u64::from_be_bytes(rest[1..9].try_into().ok()?)))
}
