//! Is the own clock right? Judged by the clocks that neighbours told in their hellos, as a pure decision.
//!
//! A neighbour's clock is kept against the steady clock of this machine, which nobody can set. So how far the own wall
//! clock is off is known at any later time, also when it was set after the hello.

use std::collections::BTreeMap;

use crate::hlc::Millis;
use crate::id::{MemberId, PeerId};
use crate::limits;

/// What neighbours' clocks say of the own one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as far as anybody can say right.
    Right,
    /// One other member's clock differs and nobody else is here to say whose is wrong. By how many milliseconds the
    /// own one is ahead; negative where it is behind.
    Differs {
        /// Whose.
        member: MemberId,
        /// How far.
        ahead: i64,
    },
    /// It is further from the middle of what several others say than [`limits::CLOCK_DRIFT`].
    Wrong {
        /// How far ahead of it; negative where it is behind.
        ahead: i64,
        /// How many members say so.
        voices: usize,
    },
}

/// The clocks of the neighbours that are here.
#[derive(Debug, Default)]
pub struct Clocks(BTreeMap<PeerId, i64>);

impl Clocks {
    /// A neighbour said what its clock shows, at time `steady` of the steady clock.
    pub fn heard(&mut self, peer: PeerId, shows: Millis, steady: Millis) {
        self.0.insert(peer, lead(shows, steady));
    }

    /// Who said anything.
    pub fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.0.keys()
    }

    /// Its session ended.
    pub fn gone(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Judges the own clock, which shows `wall` at time `steady`. `member_of` says whose clone a neighbour is, and
    /// `None` for one whose word does not count: one's own, or one that is not known yet.
    ///
    /// However many clones of a member are here, they have one voice.
    pub fn judge(&self, wall: Millis, steady: Millis, member_of: impl Fn(&PeerId) -> Option<MemberId>) -> Verdict {
        let mut told: BTreeMap<MemberId, Vec<i64>> = BTreeMap::new();
        for (peer, lead) in &self.0 {
            if let Some(member) = member_of(peer) {
                told.entry(member).or_default().push(*lead);
            }
        }
        let own = lead(wall, steady);
        if told.len() < limits::CLOCK_VOICES {
            let differs = told.into_iter().find_map(|(member, leads)| {
                let ahead = off(own, leads);
                is_far(ahead).then_some(Verdict::Differs { member, ahead })
            });
            return differs.unwrap_or(Verdict::Right);
        }
        let voices = told.len();
        let each: Vec<i64> = told.into_values().map(|leads| own.saturating_sub(off(own, leads))).collect();
        let ahead = off(own, each);
        if is_far(ahead) { Verdict::Wrong { ahead, voices } } else { Verdict::Right }
    }
}

fn lead(shows: Millis, steady: Millis) -> i64 {
    // What a neighbour says may be any number; times of events have 48 bits.
    let value = |millis: Millis| i64::try_from(millis.min((1 << 48) - 1)).unwrap_or(i64::MAX);
    value(shows) - value(steady)
}

/// How far `own` is from the middle of the others. Of an even number there are two in the middle, and what lies
/// between them is nothing to complain of: then half of the others are on either side.
fn off(own: i64, mut others: Vec<i64>) -> i64 {
    others.sort_unstable();
    let (Some(low), Some(high)) = (others.get(others.len().saturating_sub(1) / 2), others.get(others.len() / 2)) else {
        return 0;
    };
    own - own.clamp(*low, *high)
}

fn is_far(ahead: i64) -> bool {
    u128::from(ahead.unsigned_abs()) > limits::CLOCK_DRIFT.as_millis()
}

/// When to ask again, by the steady clock, for what is due at wall time `due`, where it is `wall` now: soon enough,
/// and neither without pause nor in seventy years.
pub fn ask_again_at(due: Millis, wall: Millis, steady: Millis) -> Millis {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let wait = due.saturating_sub(millis(limits::CLOCK_DRIFT)).saturating_sub(wall);
    steady.saturating_add(wait.clamp(millis(limits::HELD_AGAIN_MIN), millis(limits::HELD_AGAIN_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = limits::BUILD_MILLIS + 86_400_000;
    const HOUR: i64 = 3_600_000;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    /// Clones are numbered 10 times their member's number and more.
    fn member_of(peer: &PeerId) -> Option<MemberId> {
        (peer.0[0] >= 10).then(|| MemberId([peer.0[0] / 10; 32]))
    }

    fn clocks(offsets: &[(u8, i64)]) -> Clocks {
        let mut clocks = Clocks::default();
        for (n, offset) in offsets {
            clocks.heard(peer(*n), NOW.saturating_add_signed(*offset), NOW);
        }
        clocks
    }

    #[track_caller]
    fn judged(offsets: &[(u8, i64)]) -> Verdict {
        clocks(offsets).judge(NOW, NOW, member_of)
    }

    #[test]
    fn alone_there_is_nobody_to_say() {
        assert_eq!(judged(&[]), Verdict::Right);
        assert_eq!(judged(&[(1, 5 * HOUR), (2, 5 * HOUR)]), Verdict::Right, "own clones, or of nobody known");
    }

    #[test]
    fn one_other_can_only_be_told_of() {
        assert_eq!(judged(&[(10, 5_000)]), Verdict::Right);
        let differs = Verdict::Differs { member: MemberId([1; 32]), ahead: -3 * HOUR };
        assert_eq!(judged(&[(10, 3 * HOUR)]), differs);
        // However many clones of theirs are here.
        assert_eq!(judged(&[(10, 3 * HOUR), (11, 3 * HOUR), (12, 3 * HOUR)]), differs);
    }

    #[test]
    fn two_others_outvote_one() {
        assert_eq!(judged(&[(10, -HOUR), (20, -HOUR - 5_000)]), Verdict::Wrong { ahead: HOUR, voices: 2 });
        assert_eq!(judged(&[(10, HOUR), (20, -HOUR)]), Verdict::Right, "one says so, one the contrary");
        assert_eq!(judged(&[(10, HOUR), (20, 0)]), Verdict::Right, "with me that is two to one");
        assert_eq!(judged(&[(10, HOUR), (20, HOUR), (30, 0)]), Verdict::Wrong { ahead: -HOUR, voices: 3 });
        let drift = i64::try_from(limits::CLOCK_DRIFT.as_millis()).expect("it is small");
        assert_eq!(judged(&[(10, drift), (20, drift)]), Verdict::Right);
    }

    #[test]
    fn ten_clones_of_one_member_are_one_voice() {
        let mut offsets: Vec<(u8, i64)> = (30..40).map(|n| (n, 24 * HOUR)).collect();
        offsets.extend([(10, 0), (20, 1_000)]);
        assert_eq!(judged(&offsets), Verdict::Right);
    }

    #[test]
    fn a_clock_that_is_set_after_the_hello_is_noticed_and_right_again_when_set_back() {
        let clocks = clocks(&[(10, 0), (20, 0)]);
        let later = NOW + 60_000;
        assert_eq!(clocks.judge(later, later, member_of), Verdict::Right);
        let set = later + 2 * HOUR.unsigned_abs();
        assert_eq!(clocks.judge(set, later, member_of), Verdict::Wrong { ahead: 2 * HOUR, voices: 2 });
        assert_eq!(
            clocks.judge(0, later, member_of),
            Verdict::Wrong { ahead: -i64::try_from(later).expect("it is small"), voices: 2 }
        );
        assert_eq!(clocks.judge(later, later, member_of), Verdict::Right);
    }

    #[test]
    fn who_leaves_has_no_voice_and_any_number_can_be_said() {
        let mut clocks = clocks(&[(10, HOUR), (20, HOUR)]);
        clocks.gone(&peer(20));
        assert_eq!(clocks.judge(NOW, NOW, member_of), Verdict::Differs { member: MemberId([1; 32]), ahead: -HOUR });
        for shows in [0, u64::MAX] {
            clocks.heard(peer(10), shows, NOW);
            clocks.heard(peer(20), shows, u64::MAX);
            assert!(matches!(clocks.judge(u64::MAX, 0, member_of), Verdict::Wrong { .. }));
        }
    }

    #[test]
    fn what_is_held_is_asked_for_when_it_is_due_and_timers_are_bounded() {
        let drift = u64::try_from(limits::CLOCK_DRIFT.as_millis()).expect("it is small");
        assert_eq!(ask_again_at(NOW + drift + 60_000, NOW, 7), 60_007);
        assert_eq!(ask_again_at(NOW, NOW, 7), 30_007, "never at once");
        assert_eq!(ask_again_at(u64::MAX, NOW, 7), 3_600_007, "nor in the year 2100");
    }
}
