//! Which known peers to forget when there are too many: the least useful, never one that is here.
//!
//! A member makes clones at will and announces any number of them. What is forgotten is an address, which the next
//! announcement brings back.

use std::collections::BTreeMap;

use super::core::Core;
use crate::eventlog::store::Note;
use crate::hlc::Millis;
use crate::id::{MemberId, PeerId};
use crate::limits;

/// A known peer.
#[derive(Debug, Clone)]
pub(super) struct Row {
    peer: PeerId,
    /// Whose clone it is, where that is known.
    of: Option<MemberId>,
    connected: bool,
    /// When it was last connected, if it ever was.
    last_seen: Option<Millis>,
}

/// Those to forget: of each member beyond [`limits::KNOWN_OF_ONE`], of nobody known beyond
/// [`limits::KNOWN_OF_NOBODY`], of all beyond [`limits::KNOWN_PEERS`].
fn too_many(mut rows: Vec<Row>) -> Vec<PeerId> {
    // The most useful first.
    rows.sort_by_key(|row| (!row.connected, std::cmp::Reverse(row.last_seen), row.peer));
    let mut of: BTreeMap<Option<MemberId>, usize> = BTreeMap::new();
    let mut kept = 0;
    let mut forget = Vec::new();
    for row in rows {
        let one = of.entry(row.of).or_default();
        let most = if row.of.is_some() { limits::KNOWN_OF_ONE } else { limits::KNOWN_OF_NOBODY };
        if !row.connected && (*one >= most || kept >= limits::KNOWN_PEERS) {
            forget.push(row.peer);
        } else {
            *one += 1;
            kept += 1;
        }
    }
    forget
}

impl Core {
    /// Keeps the table of known peers within its bounds; to be called when it grew.
    pub(super) fn forget_peers(&mut self) {
        // A table of one member's worth needs no counting.
        if self.known.len() <= limits::KNOWN_OF_ONE {
            return;
        }
        let row = |(peer, known): (&PeerId, &super::dialling::Known)| {
            let session = self.sessions.get(peer);
            let certified = || self.state.member_of_identity(&session?.hello.certificate.identity);
            Row {
                peer: *peer,
                of: self.state.member_of_feed(peer).or_else(certified),
                connected: session.is_some() || known.dialling,
                last_seen: known.last_seen,
            }
        };
        let forget = too_many(self.known.iter().map(row).collect());
        if forget.is_empty() {
            return;
        }
        // Only who was met is written down: else each announcement would cost a write, before whatever else is to be read.
        let mut written = Vec::new();
        for peer in &forget {
            if self.known.remove(peer).is_some_and(|known| known.last_seen.is_some()) {
                written.push((peer.0.to_vec(), None));
            }
        }
        if !written.is_empty() {
            self.note(Note::Peers, written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u32, of: Option<u8>, connected: bool, last_seen: Option<Millis>) -> Row {
        let mut peer = [0; 32];
        peer[..4].copy_from_slice(&n.to_be_bytes());
        Row { peer: PeerId(peer), of: of.map(|of| MemberId([of; 32])), connected, last_seen }
    }

    #[test]
    fn one_member_with_any_number_of_clones_pushes_out_nobody_else() {
        let others = (0..100).map(|n| row(n, Some((n % 50) as u8), false, Some(5)));
        let flood = (1_000..11_000).map(|n| row(n, Some(200), false, Some(u64::from(n))));
        let unnamed = (20_000..30_000).map(|n| row(n, None, false, None));
        let forget = too_many(others.chain(flood).chain(unnamed).collect());
        assert_eq!(forget.len(), 20_000 - limits::KNOWN_OF_ONE - limits::KNOWN_OF_NOBODY);
        let first = row(1_000, None, false, None).peer;
        assert!(forget.iter().all(|peer| *peer >= first));
        // The newest of hers stay.
        assert!(!forget.contains(&row(10_999, None, false, None).peer));
    }

    #[test]
    fn who_is_here_is_never_forgotten_and_all_together_are_bounded() {
        let rows: Vec<Row> = (0..5_000).map(|n| row(n, Some((n % 250) as u8), n % 10 == 0, None)).collect();
        let forget = too_many(rows);
        assert_eq!(forget.len(), 5_000 - limits::KNOWN_PEERS);
        assert!(forget.iter().all(|peer| u32::from_be_bytes([peer.0[0], peer.0[1], peer.0[2], peer.0[3]]) % 10 != 0));
    }
}
