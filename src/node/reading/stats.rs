//! `log --stats`: the log in numbers, in one pass over its range.

use std::collections::BTreeMap;

use crate::api::{DayStats, LandingTime, LogStats, MemberStats, Refusal};
use crate::eventlog::{Event, Payload};
use crate::hlc::Millis;
use crate::id::MemberId;
use crate::node::clock::rfc3339;
use crate::node::refusals;
use crate::node::snapshot::Snapshot;

const DAY: Millis = 86_400_000;

#[derive(Default)]
struct Counts {
    events: u64,
    proposals: u64,
    approvals: u64,
    landed: u64,
}

/// What is counted on the way.
#[derive(Default)]
struct Counting {
    events: u64,
    days: BTreeMap<u64, Counts>,
    members: BTreeMap<MemberId, Counts>,
    took: Vec<Millis>,
}

impl Counting {
    fn take(&mut self, snapshot: &Snapshot, event: &Event) {
        let (state, body, id) = (&snapshot.state, event.body(), event.id());
        self.events += 1;
        let day = self.days.entry(body.hlc.millis() / DAY).or_default();
        day.events += 1;
        let member = state.member_of_feed(&body.author);
        if let Some(member) = member {
            self.members.entry(member).or_default().events += 1;
        }
        match event.payload() {
            Payload::Propose(_) => {
                let begins = state.revision(&id).is_some_and(|revision| revision.proposal == id);
                if let Some(member) = member.filter(|_| begins && state.is_counting(&id)) {
                    day.proposals += 1;
                    self.members.entry(member).or_default().proposals += 1;
                }
            }
            Payload::Approve(_) => {
                if let Some(member) = member.filter(|_| state.is_counting(&id)) {
                    self.members.entry(member).or_default().approvals += 1;
                }
            }
            Payload::Land(land) => {
                // Of several that carry one landing the first counts.
                let landing = state.landing(&land.content().lid(&state.project()));
                let landing = landing.filter(|landing| landing.first.1 == id && landing.sound != Some(false));
                let revision = landing.and_then(|landing| state.revision(&landing.revision?));
                if let Some(revision) = revision.filter(|_| state.is_counting(&id)) {
                    day.landed += 1;
                    self.members.entry(revision.member).or_default().landed += 1;
                    let began = crate::hlc::Hlc::from_bits(state.began(&revision.proposal).0).millis();
                    self.took.push(body.hlc.millis().saturating_sub(began));
                }
            }
            _ => {}
        }
    }
}

impl Snapshot {
    pub(super) fn stats(&self, since: Option<u64>, until: Option<u64>) -> Result<LogStats, Refusal> {
        let mut counting = Counting::default();
        let read = self.store.in_time(self.range(since, until), |event| {
            if self.state.holds(&event.id()) {
                counting.take(self, &event);
            }
            true
        });
        read.map_err(|error| refusals::store(&error))?;
        let Counting { events, mut days, members, mut took } = counting;
        took.sort_unstable();
        let members = members.into_iter().map(|(id, counts)| MemberStats {
            member: self.state.handle(&id),
            events: counts.events,
            proposals: counts.proposals,
            approvals: counts.approvals,
            landed: counts.landed,
        });
        let mut members: Vec<MemberStats> = members.collect();
        members.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.member.cmp(&b.member)));
        let all = days.first_key_value().zip(days.last_key_value()).map(|((first, _), (last, _))| *first..=*last);
        let days = all.into_iter().flatten().map(|day| {
            let counts = days.remove(&day).unwrap_or_default();
            DayStats {
                day: rfc3339(day * DAY).chars().take(10).collect(),
                events: counts.events,
                proposals: counts.proposals,
                landings: counts.landed,
            }
        });
        Ok(LogStats {
            events,
            days: days.collect(),
            landing_time: LandingTime {
                count: took.len() as u64,
                median_ms: quantile(&took, 50),
                p90_ms: quantile(&took, 90),
            },
            members,
        })
    }
}

/// The smallest value that so many of a hundred are not above. The values are sorted.
fn quantile(sorted: &[Millis], percent: usize) -> Option<Millis> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[7], 50), Some(7));
        assert_eq!(quantile(&[1, 2], 50), Some(1));
        assert_eq!(quantile(&[1, 2, 3], 50), Some(2));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&hundred, 50), quantile(&hundred, 90)), (Some(50), Some(90)));
    }
}
