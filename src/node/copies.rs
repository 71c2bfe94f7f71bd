//! Copies of this very clone: two that write with one key, or that meet. Neither writes with it any more.
//!
//! What was noted of the key in the person's own directory is taken away, so that at its next start this clone is taken
//! for a copy (see `place`) and gets a key of its own, whichever of them was the first.

use std::collections::VecDeque;

use super::core::Core;
use crate::api::Refusal;
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::quic::Connection;
use crate::sync::Input;

/// What the one who is dialled says to a copy of itself.
pub(super) const HAS_OUR_KEY: &str = "it has this clone's key";
/// Dials of one's own key that are remembered: no more are under way at once.
const DIALS_KEPT: usize = 16;

/// What is known of copies of this clone.
#[derive(Default)]
pub(super) struct Copies {
    /// One was met.
    met: bool,
    /// Own dials that reached this clone's key: on one that arrives under the same secret it has met itself.
    dials: VecDeque<[u8; 32]>,
}

/// What both ends of one connection know and nobody else.
pub(super) fn secret_of(connection: &Connection) -> [u8; 32] {
    connection.exporter(b"lansync own key", b"")
}

impl Core {
    /// A dial of ours reached somebody with this clone's key.
    pub(super) fn dialled_own_key(&mut self, secret: [u8; 32]) {
        self.copies.dials.push_back(secret);
        if self.copies.dials.len() > DIALS_KEPT {
            self.copies.dials.pop_front();
        }
    }

    /// Somebody with this clone's key dialled. `true` for a copy, `false` where it was this clone itself.
    pub(super) fn is_copy(&self, connection: &Connection) -> bool {
        !self.copies.dials.contains(&secret_of(connection))
    }

    /// A copy of this clone, with its key, is on this network.
    pub(super) fn met_copy(&mut self) {
        if std::mem::replace(&mut self.copies.met, true) {
            return;
        }
        self.leave_key();
        let me = Some(self.my_handle());
        let text = "a copy of this clone, with its key, is on this network: neither writes with it any more; lansync down, then \
                    lansync up, on both gives each a key of its own";
        self.notice("copied-key", me, None, None, text.to_owned());
    }

    /// Two events of one number are known of a feed: its key was used twice.
    pub(super) fn forked(&mut self, now: Millis, feed: &PeerId) {
        // A neighbour that was taken to hold our branch, and more, may hold the other.
        let past_fork = self.state.past_fork(feed);
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.sync.handle(now, Input::Lacks { peer, from: past_fork.clone() });
        }
        let who = self.peer_name(feed);
        let text = if *feed == self.me {
            self.leave_key();
            "this clone's key was used twice, by a copy of it: nothing more is written with it; lansync down, then lansync up \
             gives this clone a new key, and offers again what does not count"
                .to_owned()
        } else {
            format!(
                "the key of a clone of {who} was used twice, by a copy of it: what nobody had built on does not count, and \
                 {who} goes on with a new key (lansync down, then lansync up, there)"
            )
        };
        self.notice("copied-key", Some(who), None, None, text);
    }

    fn leave_key(&self) {
        if let Err(error) = super::place::leave(&self.feeds, &self.me) {
            tracing::warn!(%error, "what was noted of the copied key could not be taken away");
        }
    }

    /// Why nothing is written with this clone's key, if that is so.
    pub(super) fn copied_key(&self) -> Option<Refusal> {
        let why = if self.state.forked_at(&self.me).is_some() {
            "this clone's key was used twice, by a copy of it, so nothing more is written with it"
        } else if self.copies.met {
            "a copy of this clone, with its key, is on this network, so nothing more is written with it"
        } else {
            return None;
        };
        Some(Refusal::new("copied-key", why, "lansync down && lansync up"))
    }
}
