//! What the sessions take, and what they give.

use crate::eventlog::{Frontier, Lacking, Located, OnStrand};
use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};
#[cfg(doc)]
use crate::limits;
#[cfg(doc)]
use crate::sync::Sync;
use crate::sync::message::Message;

/// What a [`Sync`] takes.
#[derive(Debug)]
pub enum Input {
    /// A session with a member began; `digest` is of what it holds.
    PeerUp {
        /// Who.
        peer: PeerId,
        /// From its hello.
        digest: [u8; 32],
    },
    /// The session ended.
    PeerDown(PeerId),
    /// It told where it stands: a part of its frontier.
    Frontier {
        /// Who.
        peer: PeerId,
        /// Where that is here.
        located: Located,
        /// How many entries the part had, those of feeds that are not known here among them.
        entries: usize,
        /// Was it the last part?
        last: bool,
    },
    /// It has said what it holds of all that our frontier told it.
    Answered(PeerId),
    /// It told that it holds these, durably, by our strands.
    Has {
        /// Who.
        peer: PeerId,
        /// Strand to last number.
        heads: Vec<(u32, u64)>,
    },
    /// It got what it was just sent from others before.
    Enough(PeerId),
    /// It told which objects it serves.
    Serves {
        /// Who.
        peer: PeerId,
        /// The commits.
        commits: Vec<ObjectId>,
    },
    /// It sent these events, so it holds these strands so far, whether they were new here or not.
    Told {
        /// Who.
        peer: PeerId,
        /// Strand to last number.
        heads: Vec<(u32, u64)>,
    },
    /// It is not known any more to hold these: its chain of a feed is another one from this number on, or may be.
    Lacks {
        /// Who.
        peer: PeerId,
        /// Strand to the first number that it may lack.
        from: Vec<(u32, u64)>,
    },
    /// Events are durable here, in an order that respects causality.
    Stored {
        /// With their strands.
        events: Vec<OnStrand>,
        /// How far each strand is part of the log; it may be ahead of what is durable.
        logged: Frontier,
    },
    /// An [`Output::Load`] is done. One for a session that has ended meanwhile is not used.
    Loaded {
        /// For whom.
        peer: PeerId,
        /// Its number.
        load: u64,
        /// With their strands, in an order that respects causality.
        events: Vec<OnStrand>,
    },
    /// An [`Output::Load`] failed: it is tried again later.
    NotLoaded {
        /// For whom.
        peer: PeerId,
        /// Its number.
        load: u64,
    },
    /// The events of the last [`Output::Send`] with `flush` have left.
    Flushed(PeerId),
    /// Some of a neighbour's events are held as their time has not come: ask again at `until`, if not before.
    Held {
        /// Who sent them.
        peer: PeerId,
        /// When to ask again.
        until: Millis,
    },
    /// What is held may be due before its time, as the wall clock was set: ask for it now.
    AskAgain,
    /// A deadline of [`Sync::next_wake`] has come.
    Due,
}

/// What a [`Sync`] gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Say this.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: Message,
        /// Tell [`Input::Flushed`] when it has left.
        flush: bool,
    },
    /// Read some of these from the store (about [`limits::BATCH_BYTES`], in causal order), then [`Input::Loaded`] or
    /// [`Input::NotLoaded`].
    Load {
        /// For whom.
        peer: PeerId,
        /// Its number: a peer may have another session by the time it is done.
        load: u64,
        /// What it lacks.
        lacking: Vec<Lacking>,
    },
    /// It serves the objects of these commits.
    Serves {
        /// Who.
        peer: PeerId,
        /// Which.
        commits: Vec<ObjectId>,
    },
    /// It broke the protocol: end the session.
    Drop {
        /// Who.
        peer: PeerId,
        /// Why.
        why: &'static str,
    },
}

impl Output {
    pub(super) fn peer(&self) -> PeerId {
        match self {
            Self::Send { peer, .. } | Self::Load { peer, .. } | Self::Serves { peer, .. } | Self::Drop { peer, .. } => {
                *peer
            }
        }
    }
}
