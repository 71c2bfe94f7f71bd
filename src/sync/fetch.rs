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

    /// What to ask for now. Each answer is to be followed by [`Fetches::done`], [`Fetches::failed`] or [`Fetches::busy`].
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
        let first = Fetch { number: 1, from: B, tips: vec![tip(1)] };
        assert_eq!(fetches.next(0), std::slice::from_ref(&first));
        assert_eq!(fetches.next(0), [], "it is on its way");
        fetches.failed(0, &first);
        let second = Fetch { number: 2, from: A, tips: vec![tip(1)] };
        assert_eq!(fetches.next(0), std::slice::from_ref(&second));
        fetches.failed(0, &second);
        assert_eq!(fetches.next(0), []);
        assert_eq!(fetches.next_wake(0), Some(500));
        assert_eq!(fetches.next(500), [Fetch { number: 3, ..first }]);
        fetches.done(&tip(1));
        assert!(fetches.is_empty());
    }

    #[test]
    fn what_nobody_has_does_not_keep_back_what_it_was_asked_for_with() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.want(tip(1), A);
        fetches.want(tip(2), A);
        let both = fetches.next(0).remove(0);
        assert_eq!(both.tips, [tip(1), tip(2)]);
        fetches.failed(0, &both);
        let each = fetches.next(0);
        assert_eq!(each.iter().map(|fetch| fetch.tips.clone()).collect::<Vec<_>>(), [[tip(1)], [tip(2)]]);
        fetches.done(&tip(1));
        fetches.failed(0, &each[1]);
        assert_eq!(fetches.next_wake(0), Some(500));
        assert_eq!(fetches.nowhere(), BTreeSet::from([tip(2)]));
        assert_eq!(fetches.next(500), [Fetch { number: 4, ..each[1].clone() }]);
        assert_eq!(fetches.next_wake(500), None, "the clock has nothing more to say while it is on its way");
    }

    #[test]
    fn one_of_many_that_is_nowhere_is_found_in_few_rounds() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        (0..200).for_each(|n| fetches.want(tip(n), A));
        let mut asked = 0;
        while fetches.nowhere().is_empty() {
            let now = fetches.next(0);
            assert!(!now.is_empty() && now.len() <= limits::FETCHES_OF_ONE);
            for fetch in now {
                asked += 1;
                if fetch.tips.contains(&tip(77)) {
                    fetches.failed(0, &fetch);
                } else {
                    fetch.tips.iter().for_each(|tip| fetches.done(tip));
                }
            }
        }
        assert_eq!((fetches.len(), fetches.nowhere()), (1, BTreeSet::from([tip(77)])));
        assert!(asked <= 20, "{asked}");
    }

    #[test]
    fn never_more_is_asked_for_at_once_than_is_answered() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        for n in 0..3_000u32 {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            fetches.want(ObjectId::Sha1(id), A);
        }
        let asked = fetches.next(0);
        assert!(asked.iter().all(|fetch| fetch.tips.len() <= limits::FETCH_TIPS));
        assert_eq!(asked.iter().map(|fetch| fetch.tips.len()).sum::<usize>(), 3_000);
    }

    #[test]
    fn one_author_of_any_number_of_tips_that_are_nowhere_keeps_nobody_elses_back() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        let tips = |n: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            ObjectId::Sha1(id)
        };
        for n in 0..100_000 {
            fetches.want(tips(n), A);
        }
        assert_eq!(fetches.len(), limits::WANTS_OF_ONE);
        fetches.want(tip(9), B);
        assert!(fetches.wants(&tip(9)));
        // One has come: there is room for one more.
        fetches.done(&tips(0));
        fetches.done(&tips(0));
        fetches.want(tips(99_998), A);
        fetches.want(tips(99_999), A);
        assert_eq!(fetches.len(), limits::WANTS_OF_ONE + 1);
    }

    #[test]
    fn a_fetch_is_asked_for_elsewhere_when_its_source_goes() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.peer_up(B);
        fetches.want(tip(1), A);
        let cut = fetches.next(0).remove(0);
        assert_eq!(cut.from, A);
        fetches.peer_down(&A);
        assert_eq!(fetches.next(0), [], "some of it may have come");
        fetches.failed(0, &cut);
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
        assert_eq!(fetches.next(1), [Fetch { number: 2, ..asked }]);
    }

    #[test]
    fn one_that_has_no_room_points_to_others_and_is_asked_again_later() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.peer_up(B);
        fetches.want(tip(1), A);
        let first = fetches.next(0).remove(0);
        // Nobody who is no neighbour can be asked.
        fetches.busy(0, &first, &[B, PeerId([9; 32])]);
        let second = fetches.next(0).remove(0);
        assert_eq!(second.from, B);
        fetches.failed(0, &second);
        assert_eq!((fetches.next(0), fetches.next_wake(0)), (vec![], Some(200)));
        let third = fetches.next(200).remove(0);
        assert_eq!(third.from, A);
        fetches.busy(200, &third, &[B]);
        assert_eq!((fetches.next(599), fetches.next_wake(200)), (vec![], Some(600)), "what B had not it has not now");
        fetches.serves(B, &[tip(1)]);
        assert_eq!(fetches.next(210).remove(0).from, B, "but this it says itself");
    }

    #[test]
    fn who_has_no_room_is_asked_again_when_nobody_else_has_it() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.want(tip(1), A);
        let mut now = 0;
        for wait in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let fetch = fetches.next(now).remove(0);
            fetches.busy(now, &fetch, &[]);
            assert_eq!(fetches.next_wake(now), Some(now + wait));
            assert_eq!(fetches.next(now + wait - 1), []);
            now += wait;
        }
        assert!(fetches.nowhere().is_empty());
    }

    #[test]
    fn what_is_sure_goes_together_and_what_is_not_goes_alone() {
        let mut fetches = Fetches::default();
        fetches.peer_up(B);
        for n in 1..5 {
            fetches.want(tip(n), if n < 3 { B } else { A });
        }
        let asked: Vec<Vec<ObjectId>> = fetches.next(0).into_iter().map(|fetch| fetch.tips).collect();
        assert_eq!(asked, [vec![tip(1), tip(2)], vec![tip(3)], vec![tip(4)]]);
        fetches.want(tip(5), A);
        assert_eq!(fetches.next(0), [], "three at once from one neighbour");
    }

    #[test]
    fn what_takes_long_is_divided_among_those_who_have_it() {
        const C: PeerId = PeerId([3; 32]);
        const D: PeerId = PeerId([4; 32]);
        let mut fetches = Fetches::default();
        for peer in [A, B, C, D] {
            fetches.peer_up(peer);
        }
        fetches.want(tip(1), A);
        fetches.want(tip(2), B);
        let asked = fetches.next(0);
        let first = asked.iter().find(|fetch| fetch.from == A).expect("the author is asked");
        assert_eq!(fetches.sources(0, first), [A], "nobody else says that they have it");
        fetches.serves(B, &[tip(1)]);
        fetches.serves(C, &[tip(1)]);
        fetches.serves(D, &[tip(2)]);
        assert_eq!(fetches.sources(0, first), [A, C, B], "B is asked for something else");
        let both = Fetch { tips: vec![tip(1), tip(2)], ..first.clone() };
        assert_eq!(fetches.sources(0, &both), [A, B], "of both only B has all, and A was asked");
        fetches.peer_down(&A);
        assert_eq!(fetches.sources(0, first), [C, B]);
        fetches.busy(0, &Fetch { from: C, ..first.clone() }, &[]);
        assert_eq!((fetches.sources(0, first), fetches.sources(200, first)), (vec![B], vec![C, B]));
        fetches.did_not_fit(first);
        assert_eq!(fetches.sources(200, first), []);
        assert_eq!(fetches.next(200).len(), 1, "it is asked for again");
        fetches.done(&tip(1));
        assert_eq!(fetches.sources(200, first), [], "it is here");
    }

    #[test]
    fn what_was_said_to_be_served_before_it_was_wanted_counts() {
        let mut fetches = Fetches::default();
        fetches.peer_up(A);
        fetches.peer_up(B);
        fetches.serves(B, &[tip(1)]);
        fetches.want(tip(1), PeerId([9; 32]));
        let asked = fetches.next(0).remove(0);
        assert_eq!(asked.from, B, "and not A, which may have it");
        assert_eq!(fetches.sources(0, &asked), [B]);
        fetches.serves(A, &[tip(1)]);
        assert_eq!(fetches.sources(0, &asked), [B, A]);
        // Of one neighbour only the last that it said are remembered.
        for n in 0..limits::SERVED_TOLD as u32 {
            let mut id = [7; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            fetches.serves(A, &[ObjectId::Sha1(id)]);
        }
        assert_eq!(fetches.sources(0, &asked), [B]);
    }

    #[test]
    fn what_is_long_is_known_after_a_while_and_from_what_came() {
        assert!(!takes_long(999, 1, 1_000_000));
        assert!(!takes_long(60_000, 0, 1_000_000), "nothing has come");
        assert!(takes_long(1_000, 100, 500));
        assert!(!takes_long(1_000, 101, 500), "it is here in less than four times what it took so far");
        assert!(takes_long(60_000, 1_000, 1_067) && !takes_long(60_000, 1_000, 1_066));
        assert!(!takes_long(u64::MAX, 7, 7) && takes_long(u64::MAX, 1, u64::MAX));
    }
}
