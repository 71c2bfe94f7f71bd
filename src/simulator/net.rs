//! Time and the network: what happens when, sessions that are slow or break, and walls between groups of nodes.
//!
//! A session is as QUIC gives it: in order, nothing lost but by its end. So loss shows as delay, or as an end.

use std::collections::BTreeMap;

use super::rng::Rng;
use crate::hlc::Millis;

/// A queue in virtual time. What was put in first comes first of what is due at once.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<(Millis, u64), T>,
    next: u64,
    /// The virtual time.
    pub(super) now: Millis,
}

impl<T> Queue<T> {
    pub(super) fn new(now: Millis) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, now }
    }

    /// `what` is to happen in `wait`.
    pub(super) fn after(&mut self, wait: Millis, what: T) {
        self.next += 1;
        self.waiting.insert((self.now.saturating_add(wait), self.next), what);
    }

    /// What happens next, and time goes on to it; `None` where that is after `end`.
    pub(super) fn pop(&mut self, end: Millis) -> Option<T> {
        let next = self.waiting.first_entry().filter(|next| next.key().0 <= end)?;
        self.now = next.key().0;
        Some(next.remove())
    }
}

/// How good the network is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Least and most latency of a link; each message varies by as much as the least.
    pub(super) latency: (Millis, Millis),
    /// Of a thousand messages so many end their session.
    pub(super) breaks: u64,
    /// Bytes that a link carries in a millisecond.
    pub(super) bytes_per_ms: u64,
}

/// One session between two nodes.
#[derive(Debug)]
struct Link {
    session: u64,
    latency: Millis,
    /// When the last message of each direction arrives.
    last: [Millis; 2],
}

/// All sessions, and who can reach whom.
#[derive(Debug)]
pub(super) struct Net {
    links: BTreeMap<(usize, usize), Link>,
    /// Nodes of different groups do not reach each other.
    pub(super) groups: Vec<u8>,
    pub(super) weather: Weather,
    sessions: u64,
    /// Messages and bytes carried.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

fn ends(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(super) fn new(nodes: usize, weather: Weather) -> Self {
        Self { links: BTreeMap::new(), groups: vec![0; nodes], weather, sessions: 0, messages: 0, bytes: 0 }
    }

    pub(super) fn reaches(&self, a: usize, b: usize) -> bool {
        self.groups[a] == self.groups[b]
    }

    /// The session between two, if there is one.
    pub(super) fn session(&self, a: usize, b: usize) -> Option<u64> {
        self.links.get(&ends(a, b)).map(|link| link.session)
    }

    /// Everybody with a session with `node`.
    pub(super) fn neighbours(&self, node: usize) -> Vec<usize> {
        let other = |(a, b): &(usize, usize)| match (*a == node, *b == node) {
            (true, _) => Some(*b),
            (_, true) => Some(*a),
            _ => None,
        };
        self.links.keys().filter_map(other).collect()
    }

    /// A new session, in the place of any other between the two. Gives its number and its latency.
    pub(super) fn begin(&mut self, rng: &mut Rng, now: Millis, a: usize, b: usize) -> (u64, Millis) {
        self.sessions += 1;
        let latency = rng.between(self.weather.latency.0, self.weather.latency.1 + 1).max(1);
        self.links.insert(ends(a, b), Link { session: self.sessions, latency, last: [now; 2] });
        (self.sessions, latency)
    }

    /// When a message of a session arrives; `None` where the session ends with it, or has ended.
    pub(super) fn carry(
        &mut self,
        rng: &mut Rng,
        now: Millis,
        way: (usize, usize),
        session: u64,
        bytes: u64,
    ) -> Option<Millis> {
        let link = self.links.get_mut(&ends(way.0, way.1)).filter(|link| link.session == session)?;
        if rng.chance(self.weather.breaks) {
            return None;
        }
        self.messages += 1;
        self.bytes += bytes;
        let last = &mut link.last[usize::from(way.0 > way.1)];
        let travels = link.latency + rng.below(self.weather.latency.0 + 1) + bytes / self.weather.bytes_per_ms;
        *last = (now + travels).max(*last);
        Some(*last)
    }

    pub(super) fn end(&mut self, a: usize, b: usize) -> bool {
        self.links.remove(&ends(a, b)).is_some()
    }

    /// Sessions over walls.
    pub(super) fn cut_off(&self) -> Vec<(usize, usize)> {
        self.links.keys().filter(|(a, b)| !self.reaches(*a, *b)).copied().collect()
    }
}
