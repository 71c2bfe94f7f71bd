//! How fast a feed may grow: a token bucket over the times that its own events carry.
//!
//! An event above the rate is late, not lost: it counts as received once the bucket has room for it. The bucket is
//! filled by the feed's events alone, in their order, so every node finds the same time for the same event, and a
//! catch-up of old events, whose times are long past, waits for nothing.

use serde::{Deserialize, Serialize};

use crate::hlc::{Hlc, Millis};
use crate::limits;

/// One day, the time in which an empty bucket fills.
const DAY: u64 = 24 * 60 * 60 * 1_000;

/// How full the bucket of one feed is, after its last event. The value before the first event is the default.
///
/// Levels are counted in parts of which a day's ration drains in one millisecond, so all is exact in whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Intake {
    /// The time of the last event.
    at: Millis,
    /// Events not drained yet, times [`DAY`].
    events: u64,
    /// Bytes not drained yet, times [`DAY`].
    bytes: u64,
}

impl Intake {
    /// The bucket after one more event of the feed, of `bytes` bytes. Events of a feed have ascending times; one that
    /// has not, which no log holds, drains nothing.
    #[must_use]
    pub fn add(self, hlc: Hlc, bytes: usize) -> Self {
        let at = hlc.millis().max(self.at);
        let passed = at - self.at;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Self {
            at,
            events: drained(self.events, passed, limits::INTAKE_EVENTS).saturating_add(DAY),
            bytes: drained(self.bytes, passed, limits::INTAKE_BYTES).saturating_add(bytes.saturating_mul(DAY)),
        }
    }

    /// The wall time from which the last event that was added counts as received: its own time, or later by as long
    /// as the bucket needs until it overflows no more. A feed's events are due in their order.
    ///
    /// It is held while this is further ahead of the wall clock than [`limits::CLOCK_DRIFT`].
    pub fn due(&self) -> Millis {
        let events = overflow(self.events, limits::INTAKE_EVENTS);
        self.at.saturating_add(events.max(overflow(self.bytes, limits::INTAKE_BYTES)))
    }
}

/// How much of what a member may write in one day is used up, all their feeds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ration {
    events: u64,
    bytes: u64,
    /// Used up, as are all days before this one; 0 where that was not looked for.
    full_until: u32,
}

impl Ration {
    /// The number of a time's day, in UTC, since 1970.
    pub fn day(hlc: Hlc) -> u32 {
        // Times have 48 bits.
        u32::try_from(hlc.millis() / DAY).unwrap_or(u32::MAX)
    }

    /// When a day begins.
    pub fn begins(day: u32) -> Millis {
        Millis::from(day) * DAY
    }

    /// After one more event of so many bytes.
    #[must_use]
    pub fn with(self, bytes: usize) -> Self {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Self { events: self.events.saturating_add(1), bytes: self.bytes.saturating_add(bytes), ..self }
    }

    /// All days before `day` were found to be used up.
    #[must_use]
    pub fn full_until(self, day: u32) -> Self {
        Self { full_until: day.max(self.full_until), ..self }
    }

    /// The day to look at instead of this one, which is `day`, where it is used up.
    pub fn next(&self, day: u32) -> Option<u32> {
        let full = self.events >= limits::MEMBER_EVENTS || self.bytes >= limits::MEMBER_BYTES;
        full.then(|| self.full_until.max(day.saturating_add(1))).filter(|next| *next > day)
    }

    /// Events and bytes.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> (u64, u64) {
        (self.events, self.bytes)
    }
}

/// What is left of `level` after `passed` milliseconds at `ration` a day.
fn drained(level: u64, passed: Millis, ration: u64) -> u64 {
    level.saturating_sub(passed.saturating_mul(ration))
}

/// Milliseconds until no more than a day's ration is in the bucket.
fn overflow(level: u64, ration: u64) -> Millis {
    level.saturating_sub(ration * DAY).div_ceil(ration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Millis = limits::BUILD_MILLIS;

    fn fed(events: impl IntoIterator<Item = (Millis, usize)>) -> Vec<Intake> {
        let mut intake = Intake::default();
        let add = |(at, bytes)| {
            intake = intake.add(Hlc::new(at, 0), bytes);
            intake
        };
        events.into_iter().map(add).collect()
    }

    #[test]
    fn a_first_import_of_a_thousand_branches_waits_for_nothing() {
        // All in one second; a proposal has some 400 bytes, with the longest title 700.
        let all = fed((0..1_000).map(|n| (START + n, 700)));
        assert!(all.iter().all(|intake| intake.due() == intake.at));
    }

    #[test]
    fn what_is_above_a_days_ration_waits_for_as_long_as_the_ration_needs() {
        let ration = limits::INTAKE_EVENTS;
        let all = fed((0..ration + 10).map(|_| (START, 400)));
        assert_eq!(all[ration as usize - 1].due(), START, "the last of the ration");
        let each = DAY.div_ceil(ration);
        assert_eq!(all[ration as usize].due(), START + each);
        assert_eq!(all[ration as usize + 9].due(), START + 10 * each);
        // The same by size: 512 of the largest are 8 MiB.
        let large = fed((0..520).map(|_| (START, limits::EVENT_BYTES)));
        assert_eq!(large[511].due(), START);
        assert!(large[512].due() > START + 2 * 60 * 1_000 && large[512].due() < START + 3 * 60 * 1_000);
    }

    #[test]
    fn a_flood_takes_as_many_days_as_it_has_rations_and_an_honest_feed_is_free_again_after_one() {
        let flood = fed((0..1_000_000).map(|n| (START + n / 1_000, 300)));
        let last = flood[flood.len() - 1];
        assert!(last.due() > START + 498 * DAY && last.due() < START + 500 * DAY);
        let full = fed((0..limits::INTAKE_EVENTS).map(|_| (START, 400)));
        let later = full[full.len() - 1].add(Hlc::new(START + DAY, 0), 400);
        assert_eq!(later, Intake { events: DAY, bytes: 400 * DAY, at: START + DAY });
    }

    #[test]
    fn nothing_overflows() {
        let mut intake = Intake::default();
        for bits in [0, u64::MAX, u64::MAX, 1] {
            intake = intake.add(Hlc::from_bits(bits), usize::MAX);
        }
        assert!(intake.due() >= (1 << 48) - 1);
    }

    proptest! {
        /// Gaps and sizes of a feed's events, many of them close to the ration.
        #[test]
        fn due_times_are_in_order_never_early_and_keep_the_rate(
            steps in proptest::collection::vec((0u64..100_000, 200usize..limits::EVENT_BYTES), 1..3_000)
        ) {
            let mut at = START;
            let times: Vec<(Millis, usize)> = steps.iter().map(|(gap, bytes)| { at += gap; (at, *bytes) }).collect();
            let all = fed(times.iter().copied());
            let dues: Vec<Millis> = all.iter().map(Intake::due).collect();
            prop_assert!(dues.is_sorted());
            prop_assert!(dues.iter().zip(&times).all(|(due, (at, _))| due >= at));
            // In any one day no more becomes due than the bucket holds and what drains meanwhile.
            let (mut first, mut bytes) = (0, 0u64);
            for (last, due) in dues.iter().enumerate() {
                bytes += times[last].1 as u64;
                while dues[first] + DAY < *due {
                    bytes -= times[first].1 as u64;
                    first += 1;
                }
                prop_assert!((last - first) as u64 <= 2 * limits::INTAKE_EVENTS + 1);
                prop_assert!(bytes <= 2 * limits::INTAKE_BYTES + 2 * limits::EVENT_BYTES as u64);
            }
        }

        /// A feed below the rate is never late, however it spreads its events.
        #[test]
        fn below_the_rate_nothing_waits(gaps in proptest::collection::vec(DAY / limits::INTAKE_EVENTS + 1..200_000, 1..3_000)) {
            let mut at = START;
            let all = fed(gaps.iter().map(|gap| { at += gap; (at, 4_000) }));
            prop_assert!(all.iter().all(|intake| intake.due() == intake.at));
        }

        /// The level is a value: stored and read back in the middle it goes on in the same way.
        #[test]
        fn it_reads_back(bits: u64, bytes in 0usize..limits::EVENT_BYTES) {
            let intake = Intake::default().add(Hlc::from_bits(bits), bytes);
            prop_assert_eq!(crate::codec::decode(&crate::codec::encode(&intake), 64), Ok(intake));
        }
    }
}
