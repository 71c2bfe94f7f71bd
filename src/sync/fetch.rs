//! Whom to ask for which objects, and when again: a pure decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};

/// Fetches that one neighbour is asked for at once: a small one need not wait behind a large one.
const PER_PEER: usize = 3;
/// Waits between two rounds of asking everybody, doubling from the first to the last.
const AGAIN: (Millis, Millis) = (500, 30_000);

/// Ask `from` for `tips`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Whom.
    pub from: PeerId,
    /// Commits wanted with all that they reach.
    pub tips: Vec<ObjectId>,
}

#[derive(Debug)]
struct Want {
    /// The clone that published it, which has it for sure.
    author: PeerId,
    asked: BTreeSet<PeerId>,
    in_flight: Option<PeerId>,
    not_before: Millis,
    wait: Millis,
}

/// The objects that are wanted.
#[derive(Debug, Default)]
pub struct Fetches {
    wants: BTreeMap<ObjectId, Want>,
    neighbours: BTreeMap<PeerId, BTreeSet<ObjectId>>,
}

impl Fetches {
    /// The objects of `tip`, published by `author`, are wanted.
    pub fn want(&mut self, tip: ObjectId, author: PeerId) {
        self.wants.entry(tip).or_insert_with(|| Want {
            author,
            asked: BTreeSet::new(),
            in_flight: None,
            not_before: 0,
            wait: AGAIN.0,
        });
    }

    /// They are here, or not wanted any more.
    pub fn done(&mut self, tip: &ObjectId) {
        self.wants.remove(tip);
    }

    /// Is it wanted still?
    pub fn wants(&self, tip: &ObjectId) -> bool {
        self.wants.contains_key(tip)
    }

    /// How many are wanted.
    pub fn len(&self) -> usize {
        self.wants.len()
    }

    /// Is nothing wanted?
    pub fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// A session began: it may have what nobody else had.
    pub fn peer_up(&mut self, peer: PeerId) {
        self.neighbours.entry(peer).or_default();
        for want in self.wants.values_mut() {
            want.asked.remove(&peer);
            want.not_before = 0;
        }
    }

    /// A session ended.
    pub fn peer_down(&mut self, peer: &PeerId) {
        self.neighbours.remove(peer);
        for want in self.wants.values_mut().filter(|want| want.in_flight == Some(*peer)) {
            want.in_flight = None;
        }
    }

    /// A neighbour says that it serves `commits`.
    pub fn serves(&mut self, peer: PeerId, commits: &[ObjectId]) {
        let Some(served) = self.neighbours.get_mut(&peer) else { return };
        for commit in commits {
            if let Some(want) = self.wants.get_mut(commit) {
                served.insert(*commit);
                want.asked.remove(&peer);
                want.not_before = 0;
            }
        }
    }

    /// `from` could not or would not give `tips`.
    pub fn failed(&mut self, now: Millis, fetch: &Fetch) {
        for tip in &fetch.tips {
            let Some(want) = self.wants.get_mut(tip) else { continue };
            want.in_flight = None;
            want.asked.insert(fetch.from);
            if self.neighbours.keys().all(|peer| want.asked.contains(peer)) {
                want.asked.clear();
                want.not_before = now + want.wait;
                want.wait = (want.wait * 2).min(AGAIN.1);
            }
        }
    }

    /// What to ask for now. Each answer is to be followed by [`Fetches::done`] or [`Fetches::failed`].
    pub fn next(&mut self, now: Millis) -> Vec<Fetch> {
        let mut busy: BTreeMap<PeerId, usize> = BTreeMap::new();
        for peer in self.wants.values().filter_map(|want| want.in_flight) {
            *busy.entry(peer).or_default() += 1;
        }
        let mut fetches: BTreeMap<PeerId, Vec<ObjectId>> = BTreeMap::new();
        for (tip, want) in &mut self.wants {
            if want.in_flight.is_some() || want.not_before > now {
                continue;
            }
            let free =
                |peer: &&PeerId| !want.asked.contains(*peer) && busy.get(*peer).is_none_or(|busy| *busy < PER_PEER);
            // The author first, then whoever says it serves it, then the least busy.
            let rank = |peer: &&PeerId| {
                let serves = self.neighbours.get(*peer).is_some_and(|served| served.contains(tip));
                (**peer != want.author, !serves, busy.get(*peer).copied().unwrap_or(0), **peer)
            };
            if let Some(peer) = self.neighbours.keys().filter(free).min_by_key(rank).copied() {
                want.in_flight = Some(peer);
                fetches.entry(peer).or_default().push(*tip);
            }
        }
        fetches.into_iter().map(|(from, tips)| Fetch { from, tips }).collect()
    }

    /// When [`Fetches::next`] may have more to give though nothing happened.
    pub fn next_wake(&self) -> Option<Millis> {
        if self.neighbours.is_empty() {
            return None;
        }
        let waiting = self.wants.values().filter(|want| want.in_flight.is_none() && want.not_before > 0);
        waiting.map(|want| want.not_before).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn tip(n: u8) -> ObjectId {
        ObjectId::Sha1([n; 20])
    }

    #[test]
    fn the_author_is_asked_first_then_others_then_everybody_again_later() {
        let mut fetches = Fetches::default();
        fetches.want(tip(1), B);
        assert_eq!(fetches.next(0), [], "nobody is here");
        fetches.peer_up(A);
        fetches.peer_up(B);
        let first = Fetch { from: B, tips: vec![tip(1)] };
        assert_eq!(fetches.next(0), [first.clone()]);
        assert_eq!(fetches.next(0), [], "it is on its way");
        fetches.failed(0, &first);
        let second = Fetch { from: A, tips: vec![tip(1)] };
        assert_eq!(fetches.next(0), [second.clone()]);
        fetches.failed(0, &second);
        assert_eq!(fetches.next(0), []);
        assert_eq!(fetches.next_wake(), Some(500));
        assert_eq!(fetches.next(500), [first]);
        fetches.done(&tip(1));
        assert!(fetches.is_empty());
    }

    #[test]
    fn a_fetch_is_asked_for_elsewhere_when_its_source_goes() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.peer_up(B);
        fetches.want(tip(1), A);
        assert_eq!(fetches.next(0)[0].from, A);
        fetches.peer_down(&A);
        assert_eq!(fetches.next(0)[0].from, B);
    }

    #[test]
    fn a_neighbour_that_says_it_serves_is_asked_at_once() {
        let mut fetches = Fetches::default();
        fetches.peer_up(B);
        fetches.want(tip(1), A);
        let asked = fetches.next(0).remove(0);
        fetches.failed(0, &asked);
        assert_eq!(fetches.next(1), []);
        fetches.serves(B, &[tip(1)]);
        assert_eq!(fetches.next(1), [asked]);
    }
}
