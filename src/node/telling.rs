//! Waiting, for a moment, until the neighbours hold what was just written: so that who has not heard can be named.

use std::collections::BTreeSet;

use super::core::Core;
use super::run::Answer;
use crate::api::{Refusal, Reply};
use crate::hlc::Millis;
use crate::id::PeerId;

/// How long an answer waits for neighbours.
const WAIT: Millis = 1_500;

/// Who has heard.
pub(super) struct Heard {
    /// Members with a machine that is not known to hold the event.
    pub(super) missing: Vec<String>,
    /// Somebody else holds it.
    pub(super) anybody: bool,
}

type Answering = Box<dyn FnOnce(&Core, &Heard) -> Result<Vec<Reply>, Refusal> + Send>;

/// An answer that says who has heard of the event before it.
pub(super) struct Telling {
    /// Who hears of it ends the session: we left.
    parting: bool,
    answer: Answering,
}

/// One that waits.
pub(super) struct Waiting {
    telling: Telling,
    seq: u64,
    peers: BTreeSet<PeerId>,
    until: Millis,
    reply: Answer,
}

impl Telling {
    pub(super) fn new(
        parting: bool,
        answer: impl FnOnce(&Core, &Heard) -> Result<Vec<Reply>, Refusal> + Send + 'static,
    ) -> Self {
        Self { parting, answer: Box::new(answer) }
    }
}

impl Core {
    /// Answers when the own events are durable and the neighbours had their moment.
    pub(super) fn once_told(&mut self, telling: Telling, reply: Answer) {
        self.once_durable(Box::new(move |core, result| {
            if let Err(refusal) = result {
                let _ = reply.send(Err(refusal));
                return;
            }
            let seq = core.state.feed_head(&core.me).map_or(0, |head| head.seq);
            let peers = core.sessions.keys().copied().collect();
            let until = core.clock.steady() + WAIT;
            core.tellings.push(Waiting { telling, seq, peers, until, reply });
        }));
    }

    /// Answers those whose neighbours have all heard, or whose time is over.
    pub(super) fn drive_tellings(&mut self, now: Millis) {
        let (ready, waits): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.tellings).into_iter().partition(|one| {
                let has = |peer: &PeerId| !self.sessions.contains_key(peer) || self.has_own(peer, one.seq);
                now >= one.until || one.peers.iter().all(has)
            });
        self.tellings = waits;
        for one in ready {
            let heard = self.heard(&one);
            let _ = one.reply.send((one.telling.answer)(self, &heard));
        }
    }

    /// When an answer waits no longer.
    pub(super) fn next_telling(&self) -> Option<Millis> {
        self.tellings.iter().map(|one| one.until).min()
    }

    /// Is this neighbour known to hold the own event of this number?
    fn has_own(&self, peer: &PeerId, seq: u64) -> bool {
        let known = self.known.get(peer).and_then(|known| known.durable);
        self.durable_at(peer).max(known).is_some_and(|held| held >= seq)
    }

    fn heard(&self, one: &Waiting) -> Heard {
        let parted =
            |peer: &PeerId| one.telling.parting && one.peers.contains(peer) && !self.sessions.contains_key(peer);
        let has = |peer: &PeerId| self.has_own(peer, one.seq) || parted(peer);
        let lives = |peer: &PeerId| {
            self.state.identity_of_feed(peer).is_some_and(|identity| self.state.is_welcome(&identity, peer))
        };
        let (me, mut missing, mut anybody) = (self.my_member(), Vec::new(), false);
        for member in self.state.members() {
            let others: Vec<&PeerId> = member.peers.iter().filter(|peer| **peer != self.me && lives(peer)).collect();
            anybody |= others.iter().any(|peer| has(peer));
            if Some(member.id) != me && others.iter().any(|peer| !has(peer)) {
                missing.push(member.handle);
            }
        }
        missing.sort_unstable();
        Heard { missing, anybody }
    }
}
