//! What one member may write in a day, all their feeds together: a ration for each day, by the times in the events.
//!
//! What is above a day's ration takes from the next day that has room, and is due when that day begins. So however many feeds a
//! member opens and whatever times they write into events, no more becomes due until a day than as many rations as there
//! were days since they came; and which days are used up does not depend on the order in which the events arrive.

use super::State;
use super::stored::{decode, encode};
use crate::eventlog::rows::{Table, key};
use crate::eventlog::{Event, Payload, Ration};
use crate::hlc::{Hlc, Millis};
use crate::id::MemberId;

impl State {
    /// From when on an event counts as received, by the wall clock: its own time, or later where its feed or its member writes
    /// more than a log can take. What is old is due at once.
    pub fn due(&self, event: &Event) -> Millis {
        let body = event.body();
        let strands = self.authority.strands.of_feed(&body.author);
        let feed = strands.iter().map(|strand| self.authority.strands.get(*strand));
        let extended = feed.clone().find(|strand| Some(strand.id) == body.prev);
        let intake = extended.map(|strand| strand.intake).unwrap_or_default();
        let member = match event.payload() {
            Payload::Certify(certify) => self.authority.ever_owned(&certify.certificate.identity),
            _ => feed.clone().next().map(|strand| strand.member),
        };
        let by_member = member.map_or(0, |member| self.member_due(&member, body.hlc));
        intake.add(body.hlc, event.bytes().len()).due().max(by_member)
    }

    /// From when on one more event of a member, of this time, counts as received.
    fn member_due(&self, member: &MemberId, hlc: Hlc) -> Millis {
        let day = Ration::day(hlc);
        let used = self.day_with_room(member, day);
        if used == day { hlc.millis() } else { Ration::begins(used) }
    }

    /// Counts an event of so many bytes.
    pub(super) fn take_ration(&mut self, member: &MemberId, hlc: Hlc, bytes: usize) {
        let day = Ration::day(hlc);
        let used = self.day_with_room(member, day);
        let ration = self.ration(member, used).with(bytes);
        self.put_ration(member, used, &ration);
        if used > day {
            // The next search from there need not begin at the beginning.
            let first = self.ration(member, day).full_until(used);
            self.put_ration(member, day, &first);
        }
    }

    /// The first day from `day` on whose ration is not used up.
    fn day_with_room(&self, member: &MemberId, day: u32) -> u32 {
        let mut at = day;
        while let Some(next) = self.ration(member, at).next(at) {
            at = next;
        }
        at
    }

    fn ration(&self, member: &MemberId, day: u32) -> Ration {
        self.rows.get(Table::Single, &ration_key(member, day), decode).unwrap_or_default()
    }

    fn put_ration(&mut self, member: &MemberId, day: u32, ration: &Ration) {
        self.rows.put(Table::Single, ration_key(member, day), encode(ration));
    }
}

fn ration_key(member: &MemberId, day: u32) -> [u8; 42] {
    key(&[b"ration", &member.0, &day.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ProjectId;
    use crate::limits;

    const ANA: MemberId = MemberId([1; 32]);
    const DAY: Millis = 24 * 60 * 60 * 1_000;
    /// The first millisecond of some day.
    const START: Millis = 20_000 * DAY;

    fn state() -> State {
        State::new(ProjectId([0; 32]))
    }

    #[test]
    fn what_a_member_writes_above_a_days_ration_waits_for_the_next_days_whatever_feed_it_is_in() {
        let (mut state, now) = (state(), Hlc::new(START + 1_000, 0));
        for taken in 0..3 * limits::MEMBER_EVENTS {
            let due = state.member_due(&ANA, now);
            let day = taken / limits::MEMBER_EVENTS;
            assert_eq!(due, if day == 0 { START + 1_000 } else { START + day * DAY }, "after {taken}");
            state.take_ration(&ANA, now, 300);
        }
        // An earlier time brings nothing but what was left of that day, and another member waits for nothing.
        let before = Hlc::new(START - DAY, 0);
        assert_eq!(state.member_due(&ANA, before), START - DAY);
        for _ in 0..limits::MEMBER_EVENTS {
            state.take_ration(&ANA, before, 300);
        }
        assert_eq!(state.member_due(&ANA, before), START + 3 * DAY);
        assert_eq!(state.member_due(&MemberId([2; 32]), now), START + 1_000);
        // And four days later all is as before.
        assert_eq!(state.member_due(&ANA, Hlc::new(START + 4 * DAY, 0)), START + 4 * DAY);
    }

    #[test]
    fn bytes_count_as_events_do() {
        let (mut state, now) = (state(), Hlc::new(START, 0));
        let mut taken = 0;
        while state.member_due(&ANA, now) == START {
            state.take_ration(&ANA, now, limits::EVENT_BYTES);
            taken += limits::EVENT_BYTES as u64;
        }
        assert!((limits::MEMBER_BYTES..limits::MEMBER_BYTES + limits::EVENT_BYTES as u64).contains(&taken), "{taken}");
    }

    proptest! {
        /// Which days are used up, and by how much, is the same whatever comes first.
        #[test]
        fn the_order_of_arrival_uses_up_the_same_days(days in proptest::collection::vec(0u64..6, 1..60), seed: u64) {
            // So large that a few of them are a day's ration.
            let bytes = (limits::MEMBER_BYTES / 4) as usize;
            let used = |days: &[u64]| {
                let mut state = state();
                for day in days {
                    state.take_ration(&ANA, Hlc::new(START + day * DAY, 0), bytes);
                }
                (0..90).map(|day| state.ration(&ANA, Ration::day(Hlc::new(START + day * DAY, 0))).taken()).collect::<Vec<_>>()
            };
            let mut other = days.clone();
            for at in (1..other.len()).rev() {
                other.swap(at, (seed.rotate_left(at as u32) % (at as u64 + 1)) as usize);
            }
            let (one, two) = (used(&days), used(&other));
            prop_assert_eq!(&one, &two);
            prop_assert_eq!(one.iter().map(|(events, _)| events).sum::<u64>(), days.len() as u64);
        }
    }
}
