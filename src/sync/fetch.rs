//! Whom to ask for which objects, and when again: a pure decision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};
use crate::limits;

/// Waits between two rounds of asking everybody, doubling from the first to the last.
const AGAIN: (Millis, Millis) = (500, 30_000);

/// Waits before a neighbour is asked again that had no room, doubling from the first to the last.
const BUSY: (Millis, Millis) = (200, 10_000);

/// Ask `from` for `tips`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Which fetch it is.
    pub number: u64,
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
    in_flight: Option<(PeerId, u64)>,
    not_before: Millis,
    wait: Millis,
    /// Who had no room, and when to ask again; how long was waited the last time.
    busy: BTreeMap<PeerId, Millis>,
    busy_wait: Millis,
    /// With how many others it is asked for at most, itself among them: what it was asked for with may be what nobody has.
    together: usize,
    /// Of one only: what came from several did not make a whole, and it is not known who is to blame.
    of_one: bool,
}

/// What a neighbour said that it serves, or others said of it: the last that it was.
#[derive(Debug, Default)]
struct Served {
    commits: BTreeSet<ObjectId>,
    /// The latest last.
    told: VecDeque<ObjectId>,
}

impl Served {
    fn insert(&mut self, commit: ObjectId) {
        if !self.commits.insert(commit) {
            return;
        }
        self.told.push_back(commit);
        if self.told.len() > limits::SERVED_TOLD
            && let Some(first) = self.told.pop_front()
        {
            self.commits.remove(&first);
        }
    }

    fn contains(&self, commit: &ObjectId) -> bool {
        self.commits.contains(commit)
    }
}

/// The objects that are wanted.
#[derive(Debug, Default)]
pub struct Fetches {
    wants: BTreeMap<ObjectId, Want>,
    /// How many of them each author published.
    of: BTreeMap<PeerId, usize>,
    neighbours: BTreeMap<PeerId, Served>,
    next: u64,
}

impl Fetches {
    /// The objects of `tip`, published by `author`, are wanted.
    ///
    /// Of one author only so many at once: what is over is wanted again when some of these have come.
    pub fn want(&mut self, tip: ObjectId, author: PeerId) {
        if self.wants.contains_key(&tip) {
            return;
        }
        let of_one = self.of.entry(author).or_default();
        if *of_one >= limits::WANTS_OF_ONE {
            return;
        }
        *of_one += 1;
        let want = Want {
            author,
            asked: BTreeSet::new(),
            in_flight: None,
            not_before: 0,
            wait: AGAIN.0,
            busy: BTreeMap::new(),
            busy_wait: BUSY.0,
            together: usize::MAX,
            of_one: false,
        };
        self.wants.insert(tip, want);
    }

    /// They are here, or not wanted any more.
    pub fn done(&mut self, tip: &ObjectId) {
        let Some(want) = self.wants.remove(tip) else { return };
        if let Some(of_one) = self.of.get_mut(&want.author) {
            *of_one -= 1;
            if *of_one == 0 {
                self.of.remove(&want.author);
            }
        }
    }

    /// Is it wanted still?
    pub fn wants(&self, tip: &ObjectId) -> bool {
        self.wants.contains_key(tip)
    }

    /// What nobody who was asked had, so far.
    pub fn nowhere(&self) -> BTreeSet<ObjectId> {
        self.wants.iter().filter(|(_, want)| want.wait > AGAIN.0).map(|(tip, _)| *tip).collect()
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
            want.busy.remove(&peer);
            want.not_before = 0;
        }
    }

    /// A session ended. What it was asked for is asked for elsewhere once [`Fetches::failed`] says so: then it is known what
    /// came before it was cut.
    pub fn peer_down(&mut self, peer: &PeerId) {
        self.neighbours.remove(peer);
    }

    /// A neighbour says that it serves `commits`. What of them is wanted may be known only later.
    pub fn serves(&mut self, peer: PeerId, commits: &[ObjectId]) {
        let Some(served) = self.neighbours.get_mut(&peer) else { return };
        for commit in commits {
            served.insert(*commit);
            if let Some(want) = self.wants.get_mut(commit) {
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
            if fetch.tips.len() > 1 {
                // Half of them at once next time: one that is nowhere is found in few rounds.
                want.together = (fetch.tips.len() / 2).max(1);
                continue;
            }
            want.asked.insert(fetch.from);
            if self.neighbours.keys().all(|peer| want.asked.contains(peer)) {
                want.asked.clear();
                want.not_before = now + want.wait;
                want.wait = (want.wait * 2).min(AGAIN.1);
            }
        }
    }

    /// `from` has no room for `fetch` now. It says that `others` have it: those are asked at once, whoever said so.
    pub fn busy(&mut self, now: Millis, fetch: &Fetch, others: &[PeerId]) {
        for tip in &fetch.tips {
            let Some(want) = self.wants.get_mut(tip) else { continue };
            want.in_flight = None;
            want.busy.insert(fetch.from, now + want.busy_wait);
            want.busy_wait = (want.busy_wait * 2).min(BUSY.1);
            for other in others.iter().filter(|other| !want.asked.contains(*other)) {
                if let Some(served) = self.neighbours.get_mut(other) {
                    served.insert(*tip);
                }
            }
        }
    }

    /// What came of `fetch` from several did not fit together: it is asked for again, of one alone.
    pub fn did_not_fit(&mut self, fetch: &Fetch) {
        for tip in &fetch.tips {
            let Some(want) = self.wants.get_mut(tip) else { continue };
            want.in_flight = None;
            want.of_one = true;
        }
    }

    /// Of whom all of `fetch` can be had at once, each sending a portion, when that [takes long](takes_long): whom it was asked of, and
    /// others that have it for sure, who is asked for least first.
    pub fn sources(&self, now: Millis, fetch: &Fetch) -> Vec<PeerId> {
        let wants: Option<Vec<(&ObjectId, &Want)>> =
            fetch.tips.iter().map(|tip| Some((tip, self.wants.get(tip)?))).collect();
        let Some(wants) = wants.filter(|wants| wants.iter().all(|(_, want)| !want.of_one)) else { return Vec::new() };
        let load = |peer: &PeerId| {
            self.wants.values().filter(|want| want.in_flight.is_some_and(|(of, _)| of == *peer)).count()
        };
        let has = |peer: &PeerId, served: &Served| {
            wants.iter().all(|(tip, want)| {
                let is_free = want.busy.get(peer).is_none_or(|until| *until <= now) && !want.asked.contains(peer);
                is_free && (want.author == *peer || served.contains(tip))
            })
        };
        let of = |(peer, served): (&PeerId, &Served)| {
            (*peer == fetch.from || has(peer, served)).then_some((*peer != fetch.from, load(peer), *peer))
        };
        let mut sources: Vec<(bool, usize, PeerId)> = self.neighbours.iter().filter_map(of).collect();
        sources.sort_unstable();
        sources.into_iter().map(|(_, _, peer)| peer).take(limits::SOURCES).collect()
    }

    /// What to ask for now. Each answer is to be followed by [`Fetches::done`], [`Fetches::failed`], [`Fetches::busy`] or
    /// [`Fetches::did_not_fit`].
    ///
    /// What a neighbour has for sure is asked for together; what it may not have goes by itself, so that one
    /// commit which is nowhere holds up no other.
    pub fn next(&mut self, now: Millis) -> Vec<Fetch> {
        let mut busy: BTreeMap<PeerId, BTreeSet<u64>> = BTreeMap::new();
        for (peer, number) in self.wants.values().filter_map(|want| want.in_flight) {
            busy.entry(peer).or_default().insert(number);
        }
        let mut fetches: BTreeMap<u64, Fetch> = BTreeMap::new();
        // Of whom, and how many at most, to which fetch and how many it has.
        let mut together: BTreeMap<(PeerId, usize), (u64, usize)> = BTreeMap::new();
        for (tip, want) in &mut self.wants {
            if want.in_flight.is_some() || want.not_before > now {
                continue;
            }
            // Its time has come: from now on it waits for a neighbour, not for the clock.
            want.not_before = 0;
            let serves = |peer: &PeerId| {
                *peer == want.author || self.neighbours.get(peer).is_some_and(|served| served.contains(tip))
            };
            let load = |peer: &PeerId| busy.get(peer).map_or(0, BTreeSet::len);
            let free = |peer: &&PeerId| {
                let group = together.get(&(**peer, want.together));
                let joins = serves(peer) && group.is_some_and(|(_, has)| *has < want.together);
                let has_room = want.busy.get(*peer).is_none_or(|until| *until <= now);
                !want.asked.contains(*peer) && has_room && (joins || load(peer) < limits::FETCHES_OF_ONE)
            };
            // The author first, then whoever says it serves it, then the least busy.
            let rank = |peer: &&PeerId| (**peer != want.author, !serves(peer), load(peer), **peer);
            let Some(peer) = self.neighbours.keys().filter(free).min_by_key(rank).copied() else { continue };
            let sure = serves(&peer) && want.together > 1;
            let group = together.get(&(peer, want.together)).filter(|(_, has)| sure && *has < want.together);
            let (number, has) = match group {
                Some((number, has)) => (*number, *has),
                None => {
                    self.next += 1;
                    (self.next, 0)
                }
            };
            if sure {
                together.insert((peer, want.together), (number, has + 1));
            }
            busy.entry(peer).or_default().insert(number);
            want.in_flight = Some((peer, number));
            let fetch = fetches.entry(number).or_insert_with(|| Fetch { number, from: peer, tips: Vec::new() });
            fetch.tips.push(*tip);
        }
        // A group may be larger than what one request may name.
        fetches
            .into_values()
            .flat_map(|Fetch { number, from, tips }| {
                let parts: Vec<Fetch> =
                    tips.chunks(limits::FETCH_TIPS).map(|tips| Fetch { number, from, tips: tips.to_vec() }).collect();
                parts
            })
            .collect()
    }

    /// When [`Fetches::next`] may have more to give though nothing happened.
    pub fn next_wake(&self, now: Millis) -> Option<Millis> {
        if self.neighbours.is_empty() {
            return None;
        }
        let is_here = |(peer, _): &(&PeerId, &Millis)| self.neighbours.contains_key(*peer);
        let waiting = self.wants.values().filter(|want| want.in_flight.is_none());
        let again = waiting.flat_map(|want| {
            let busy = want.busy.iter().filter(is_here).filter(|(peer, _)| !want.asked.contains(*peer));
            let busy = busy.map(|(_, until)| *until.max(&want.not_before)).min();
            Some(want.not_before).filter(|at| *at > 0).into_iter().chain(busy)
        });
        again.filter(|at| *at > now).min()
    }
}

/// Is a pack, of which so many objects came in so many milliseconds, worth dividing among several that have it?
pub fn takes_long(elapsed: Millis, done: u64, all: u64) -> bool {
    if elapsed < limits::DIVIDE_AFTER || done >= all {
        return false;
    }
    // Before anything has come it is not known what there is to divide.
    elapsed.saturating_mul(all - done).checked_div(done).is_some_and(|left| left >= limits::DIVIDE_LEFT)
}

#[cfg(test)]
mod tests;
