//! A hearing: a short session with one who was removed, in which both say what decides about that, and nothing else.
//!
//! Two who remove each other at once would else never hear the other side. Both tell a frontier that is cut to those
//! events and their past, send what the other lacks of it, say that this was all, and when they have heard all.

use super::message::Message;
use super::session::{Input, Output, Sync};
use crate::eventlog::Frontier;
use crate::hlc::Millis;
use crate::id::PeerId;

/// One hearing. As [`Sync`]: one input, then all outputs.
#[derive(Debug)]
pub struct Hearing {
    peer: PeerId,
    sync: Sync,
    /// What was said of the end, here and there.
    ours: End,
    theirs: End,
}

#[derive(Debug, Clone, Copy, Default)]
struct End {
    said_all: bool,
    heard_all: bool,
}

impl Hearing {
    /// Begins; `offered` is all that the other may have, durable here.
    pub fn new(now: Millis, peer: PeerId, offered: Frontier) -> Self {
        let mut sync = Sync::new(offered, std::iter::empty());
        // Its hello's digest is of all that it holds, so it says nothing here.
        sync.handle(now, Input::PeerUp { peer, digest: [0; 32] });
        Self { peer, sync, ours: End::default(), theirs: End::default() }
    }

    /// Takes one input about this peer.
    pub fn handle(&mut self, now: Millis, input: Input) {
        self.sync.handle(now, input);
    }

    /// It said that this was all, or that it heard all.
    pub fn over(&mut self, heard: bool) {
        self.theirs.said_all = true;
        self.theirs.heard_all |= heard;
    }

    /// The next output; to be called until it gives `None`.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.sync.poll() {
            return Some(output);
        }
        let heard = if !self.ours.said_all {
            if !self.sync.has_sent_all(&self.peer) {
                return None;
            }
            self.ours.said_all = true;
            false
        } else if self.theirs.said_all && !self.ours.heard_all {
            self.ours.heard_all = true;
            true
        } else {
            return None;
        };
        Some(Output::Send { peer: self.peer, message: Message::Over { heard }, flush: false })
    }

    /// When [`Input::Due`] is to be given at the latest.
    pub fn next_wake(&self) -> Option<Millis> {
        self.sync.next_wake()
    }

    /// Have both heard all?
    pub fn is_over(&self) -> bool {
        self.ours.heard_all && self.theirs.heard_all
    }
}
