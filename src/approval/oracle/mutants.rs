//! Faults put into the oracle on purpose, each of which some generated log must show.

use std::time::{Duration, Instant};

use super::logs::{Style, shuffled};
use super::naive::Oracle;
use super::rng::Rng;
use super::verdict::Verdict;
use super::world::Log;
use crate::eventlog::Event;
use crate::id::EventId;

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
    /// Kinds of a later version change nothing.
    NewerIgnored,
    /// They freeze whatever the rules.
    NewerUnderKnownRules,
    /// No revocation undoes them.
    FrozenForEver,
}

impl Fault {
    /// All of them, by the style of log that shows them soonest.
    const BY_STYLE: [(Style, &[Self]); 7] = [
        (
            Style::Rights,
            &[
                Self::PinsIgnored,
                Self::UnnamedFeedSurvives,
                Self::ConcurrentGrantSaves,
                Self::NoReadmission,
                Self::SeniorityIgnored,
                Self::VotesNotNeeded,
                Self::LaxestPolicy,
            ],
        ),
        (Style::Machines, &[Self::FeedsSurvive, Self::LinkSurvives, Self::ArrivalOrder, Self::BackedFirstDropped]),
        (Style::Forks, &[Self::TargetNotCounted, Self::LastMaintainerGoes, Self::OwnWitness, Self::ForkVoidsAll]),
        (Style::Duels, &[Self::RetroAlone, Self::LatestRole, Self::NotSeconded, Self::RevokedVote]),
        (Style::Landings, &[Self::UnknownRulesStand, Self::OntoIgnored, Self::NotJudgedByItsPast]),
        (
            Style::Heists,
            &[
                Self::OwnApprovalCounts,
                Self::RulesGoDown,
                Self::SeenLandingVoided,
                Self::JoinRescues,
                Self::GuardDropped,
            ],
        ),
        (Style::Versions, &[Self::NewerIgnored, Self::NewerUnderKnownRules, Self::FrozenForEver]),
    ];
}

/// What an oracle says of a log, and which of its events it refused.
fn judged(log: &Log, mut oracle: Oracle) -> (Verdict, Vec<EventId>) {
    log.sound.iter().for_each(|(lid, sound)| oracle.settle(*lid, *sound));
    let refused = log.events.iter().filter(|event| oracle.add(event).is_err()).map(Event::id).collect();
    (oracle.verdict(), refused)
}

/// As many seeds of each style as may be needed until a fault shows.
const BOUND: u64 = 400;

#[test]
fn each_fault_shows_in_some_log() {
    for (style, faults) in Fault::BY_STYLE {
        let mut left = faults.to_vec();
        for seed in 0..BOUND {
            if left.is_empty() {
                break;
            }
            let log = style.log(seed);
            let right = judged(&log, Oracle::new(log.project, 1));
            left.retain(|fault| {
                let same = judged(&log, Oracle::new(log.project, 1).with_fault(*fault)) == right;
                if !same {
                    println!("{fault:?}: seed {} {seed}", style.name());
                }
                same
            });
        }
        assert!(left.is_empty(), "no log of {} below seed {BOUND} shows {left:?}", style.name());
    }
}

#[test]
fn a_fault_too_rare_for_chance_shows_in_a_named_case() {
    let log = super::scenarios::smuggling();
    let right = judged(&log, Oracle::new(log.project, 1));
    assert_ne!(judged(&log, Oracle::new(log.project, 1).with_fault(Fault::HeadsNeedNotEnter)), right);
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let (mut events, mut written, mut folded) = (0, Duration::ZERO, Duration::ZERO);
    for seed in 0..34 {
        for style in Style::ALL {
            let start = Instant::now();
            let log = style.log(seed);
            written += start.elapsed();
            events += log.events.len();
            let start = Instant::now();
            let (verdict, refused) = judged(&log, Oracle::new(log.project, 1));
            folded += start.elapsed();
            assert_eq!(refused, [], "{} {seed}", style.name());
            for order in 0..3 {
                let mut rng = Rng::new(seed * 3 + order);
                let events = shuffled(&log.events, &mut rng);
                let (other, refused) = judged(&Log { events, ..log.clone() }, Oracle::new(log.project, 1));
                let differences = verdict.differences(&other);
                assert!(refused.is_empty() && differences.is_empty(), "{} {seed}: {differences:#?}", style.name());
            }
        }
    }
    println!("{} logs of {events} events: written in {written:?}, folded once in {folded:?}", 34 * Style::ALL.len());
}
