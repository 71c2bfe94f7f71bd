//! How many events are appended together: one that comes alone at once, and where thousands stream in as many as make an append
//! cheap, within bounds of time and memory.
//!
//! Each append writes a page for nearly each event of a large log, as most keys are hashes; of ten thousand events together
//! many lie on the same page. None of them is acknowledged, or told to anybody, before its append is durable.

use super::Event;
use crate::hlc::Millis;
use crate::limits;

/// What was taken in and is not on its way to the disk yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gather {
    /// Events, and bytes of them.
    events: usize,
    bytes: usize,
    /// When the first and the last of them came.
    first: Millis,
    last: Millis,
    /// Does somebody wait for them?
    awaited: bool,
    /// Events that came of late: [`RATE`] of them are forgotten in a second.
    level: u64,
}

/// Events in a second, up to which each is appended as soon as it can be.
const RATE: u64 = 1_000;
/// Events above that rate before appends become larger: two messages.
const BURST: u64 = 600;
/// Where nothing came for so long the stream has ended, or its other end cannot keep up.
const QUIET: Millis = 200;
/// Longest that one waits.
const WITHIN: Millis = limits::APPEND_WITHIN.as_millis() as Millis;

impl Gather {
    /// An event was taken in. One of governance waits for nothing: whoever is removed is to hear of it at once.
    pub fn take(&mut self, now: Millis, event: &Event) {
        self.took(now, event.bytes().len());
        self.awaited |= event.body().kind.governs();
    }

    fn took(&mut self, now: Millis, bytes: usize) {
        let passed = now.saturating_sub(self.last);
        self.level = self.level.saturating_sub(passed.saturating_mul(RATE) / 1_000).min(2 * BURST) + 1;
        if self.events == 0 {
            self.first = now;
        }
        self.last = now;
        self.events += 1;
        self.bytes += bytes;
    }

    /// Somebody waits until all that was taken in is durable.
    pub fn awaited(&mut self) {
        self.awaited = true;
    }

    /// From when on what was taken in is to be appended; `None`: at once.
    pub fn due(&self) -> Option<Millis> {
        let full = self.events >= limits::APPEND_EVENTS || self.bytes >= limits::APPEND_BYTES;
        let streams = self.events > 0 && self.level > BURST;
        (streams && !full && !self.awaited).then(|| (self.last + QUIET).min(self.first + WITHIN))
    }

    /// Is what was taken in to be appended now?
    pub fn is_due(&self, now: Millis) -> bool {
        self.due().is_none_or(|due| due <= now)
    }

    /// It is on its way.
    pub fn begun(&mut self) {
        (self.events, self.bytes, self.awaited) = (0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_alone_is_appended_at_once() {
        let mut gather = Gather::default();
        assert!(gather.is_due(0), "other rows than events wait for nothing");
        // Less than the rate, for minutes.
        for now in (0..200_000).step_by(2) {
            gather.took(now, 300);
            assert!(gather.is_due(now));
            if now % 100 == 0 {
                gather.begun();
            }
        }
    }

    #[test]
    fn a_stream_is_appended_in_large_pieces_and_its_end_soon() {
        let (mut gather, mut pieces, mut since) = (Gather::default(), Vec::new(), 0);
        // Seven in each millisecond.
        for event in 0..100_000 {
            let now = event / 7;
            gather.took(now, 400);
            since += 1;
            if gather.is_due(now) {
                gather.begun();
                pieces.push(std::mem::take(&mut since));
            }
        }
        assert!(pieces.iter().filter(|piece| **piece < 1_000).count() < 1_000, "until it is known to be a stream");
        assert!(pieces.iter().all(|piece| *piece <= limits::APPEND_EVENTS));
        assert!(*pieces.last().unwrap() >= limits::APPEND_EVENTS / 2);
        let end = 100_000 / 7;
        assert!(!gather.is_due(end) && gather.is_due(end + QUIET));
        assert_eq!(gather.due(), Some(99_999 / 7 + QUIET));
    }

    #[test]
    fn none_waits_longer_than_the_bound_or_while_somebody_waits_for_it() {
        let mut gather = Gather::default();
        // A stream that never pauses and is slow.
        let mut oldest = 0;
        for now in 0..4 * WITHIN {
            for _ in 0..if now < 500 { 9 } else { 2 } {
                if gather.events == 0 {
                    oldest = now;
                }
                gather.took(now, 100);
            }
            assert!(now - oldest <= WITHIN);
            if gather.is_due(now) {
                gather.begun();
            }
        }
        gather.took(4 * WITHIN, 100);
        assert!(!gather.is_due(4 * WITHIN));
        let mut other = gather;
        for (_, event) in crate::eventlog::golden::good() {
            let (governs, mut gather) = (event.body().kind.governs(), gather);
            gather.take(4 * WITHIN, &event);
            assert_eq!(gather.is_due(4 * WITHIN), governs);
            other.take(4 * WITHIN, &event);
        }
        assert!(other.is_due(4 * WITHIN), "some of them govern");
        gather.awaited();
        assert!(gather.is_due(4 * WITHIN));
        gather.begun();
        // Large ones fill memory sooner.
        for _ in 0..limits::APPEND_BYTES / limits::EVENT_BYTES {
            assert!(!gather.is_due(4 * WITHIN) || gather.events == 0);
            gather.took(4 * WITHIN, limits::EVENT_BYTES);
        }
        assert!(gather.is_due(4 * WITHIN));
    }
}
