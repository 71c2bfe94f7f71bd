//! Faults put into the oracle on purpose, each of which some generated log must show.

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A revocation voids what its pins would keep.
    PinsIgnored,
    /// The list of pins is not taken as complete.
    UnnamedFeedSurvives,
    /// A grant beside the revocation saves.
    ConcurrentGrantSaves,
    /// A grant after the revocation does not bring back.
    NoReadmission,
    /// Whoever maintains may revoke seniors alone.
    SeniorityIgnored,
    /// A majority is one of all but the target.
    TargetNotCounted,
    /// Revocations are accepted in the order in which they came.
    ArrivalOrder,
    /// Those backed by a majority do not come first.
    BackedFirstDropped,
    /// Votes on a revocation are not heard.
    NotSeconded,
    /// The last maintainer may go.
    LastMaintainerGoes,
    /// Votes of those who are revoked count.
    RevokedVote,
    /// A grant needs no votes.
    VotesNotNeeded,
    /// What an event may do is not judged by its own past.
    NotJudgedByItsPast,
    /// One alone may pin below what they had seen.
    RetroAlone,
    /// A join rescues a void head.
    JoinRescues,
    /// An approval covers heads that its author was not shown.
    OntoIgnored,
    /// A revocation voids a landing that it had seen.
    SeenLandingVoided,
    /// A join may bring in what the policy of its past does not allow.
    GuardDropped,
    /// A landing may stand on one that did not enter.
    HeadsNeedNotEnter,
    /// The author's own approval counts whatever the policy says.
    OwnApprovalCounts,
    /// A fork voids what others built on.
    ForkVoidsAll,
    /// One's own later events are witness enough.
    OwnWitness,
    /// Of several grants the latest by clock gives the role.
    LatestRole,
    /// Of concurrent policies the laxest counts.
    LaxestPolicy,
    /// A later policy lowers the rules.
    RulesGoDown,
    /// Landings by unknown rules stand.
    UnknownRulesStand,
    /// A linked identity survives its revocation.
    LinkSurvives,
    /// A feed survives its revocation.
    FeedsSurvive,
}
