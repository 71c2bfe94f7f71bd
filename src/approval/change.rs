//! What an event changed.

use super::Void;
use crate::id::{BranchName, EventId, Lid, MemberId, ObjectId, PeerId};

/// What became of the state with one event: values, for the node to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The project began.
    Founded,
    /// An identity got a role, as a new member or as one known.
    Granted {
        /// Which member.
        member: MemberId,
        /// By which feed.
        by: PeerId,
    },
    /// A member's feed began.
    FeedBegan {
        /// Which.
        feed: PeerId,
    },
    /// A member has a further machine.
    Linked {
        /// Which member.
        member: MemberId,
    },
    /// A branch was offered, or a new revision of one.
    Proposed {
        /// The proposal.
        proposal: EventId,
        /// The revision.
        revision: EventId,
    },
    /// A revision got an approval.
    Approved {
        /// The proposal.
        proposal: EventId,
        /// The approval.
        approval: EventId,
    },
    /// A revision was rejected.
    WasRejected {
        /// The proposal.
        proposal: EventId,
    },
    /// A proposal was taken back.
    Withdrawn {
        /// The proposal.
        proposal: EventId,
    },
    /// A landing became known.
    LandingKnown {
        /// Which.
        lid: Lid,
    },
    /// Revocations came to count, or no longer do.
    Revoked {
        /// Those that count now and did not before.
        accepted: Vec<EventId>,
        /// Those that no longer do.
        undone: Vec<EventId>,
    },
    /// The heads of a branch went back as a landing no longer counts.
    Rewound {
        /// Which.
        branch: BranchName,
    },
    /// What landings or governance need is another.
    PolicySet,
    /// A maintainer tagged commits.
    Tagged {
        /// By which feed.
        by: PeerId,
        /// Names, with the commits that they stand for.
        tags: Vec<(BranchName, ObjectId)>,
    },
    /// A grant or a policy that waited for votes counts now.
    Seconded {
        /// Which event.
        on: EventId,
    },
    /// Two events of one number are known in a feed.
    Forked {
        /// Which feed.
        feed: PeerId,
    },
    /// What is part of the log changed beyond the events that were added: compare with neighbours again.
    LogMoved,
    /// The event is stored and does not count.
    Void {
        /// Which.
        event: EventId,
        /// Why.
        why: Void,
    },
}
