//! Whom to ask for which pieces.

use std::collections::BTreeMap;

use super::PieceSet;
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;

/// How long a neighbour that could not give any is not asked.
const LATER: Millis = 200;
/// A piece that did not come for this long is asked for elsewhere too.
const SLOW: Millis = 5_000;
/// Pieces are asked for in their order by so many together, within which the rarest comes first: what comes in order is
/// unpacked while the rest comes.
const TOGETHER: u32 = 16;

/// Ask `from` for one of some pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskPiece {
    /// Which ask it is.
    pub number: u64,
    /// Whom.
    pub from: PeerId,
    /// Any of these.
    pub of: PieceSet,
}

#[derive(Debug)]
struct Source {
    has: PieceSet,
    /// It is not asked before.
    not_before: Millis,
    /// It gave what it should not, or has left: it is not asked again.
    out: bool,
}

#[derive(Debug)]
struct Asked {
    from: PeerId,
    /// What it was asked for; the one that it gives, once that is known.
    of: PieceSet,
    since: Millis,
    known: bool,
}

/// One shared pack on its way to us.
#[derive(Debug)]
pub struct Taking {
    total: u32,
    here: PieceSet,
    /// Who made it has all of it.
    maker: PeerId,
    /// Chooses between what is equally good, differently on each machine.
    salt: u32,
    sources: BTreeMap<PeerId, Source>,
    asked: BTreeMap<u64, Asked>,
    next: u64,
    progress: Millis,
}

impl Taking {
    /// A pack of so many pieces, made by a neighbour. `salt` is to be another on each machine.
    pub fn new(now: Millis, total: u32, maker: PeerId, salt: u32) -> Self {
        let source = Source { has: PieceSet::all(total), not_before: 0, out: false };
        Self {
            total,
            here: PieceSet::default(),
            maker,
            salt,
            sources: BTreeMap::from([(maker, source)]),
            asked: BTreeMap::new(),
            next: 0,
            progress: now,
        }
    }

    /// The pieces that are here.
    pub fn here(&self) -> &PieceSet {
        &self.here
    }

    /// Is all of it here?
    pub fn is_whole(&self) -> bool {
        self.here.len() == self.total
    }

    /// A neighbour says which pieces it has.
    pub fn told(&mut self, peer: PeerId, mut has: PieceSet) {
        has.0.truncate(self.total.div_ceil(8) as usize);
        if peer == self.maker {
            return;
        }
        match self.sources.get_mut(&peer) {
            // What was asked for and not there may be now.
            Some(source) => (source.has, source.not_before) = (has, 0),
            None => drop(self.sources.insert(peer, Source { has, not_before: 0, out: false })),
        }
    }

    /// A session ended.
    pub fn peer_down(&mut self, peer: &PeerId) {
        self.sources.remove(peer);
    }

    /// It says which of the pieces that it was asked for it gives.
    pub fn replied(&mut self, number: u64, piece: u32) {
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.of = PieceSet::default();
            asked.of.insert(piece);
            asked.known = true;
        }
    }

    /// A piece came and is what it should be.
    pub fn came(&mut self, now: Millis, number: u64, piece: u32) {
        self.asked.remove(&number);
        self.here.insert(piece);
        self.progress = now;
    }

    /// Nothing came of this ask: it can be had later.
    pub fn later(&mut self, now: Millis, number: u64) {
        let Some(asked) = self.asked.remove(&number) else { return };
        if let Some(source) = self.sources.get_mut(&asked.from) {
            source.not_before = now + LATER;
        }
    }

    /// Nothing came of this ask, and nothing will from there.
    pub fn failed(&mut self, number: u64) {
        let Some(asked) = self.asked.remove(&number) else { return };
        if let Some(source) = self.sources.get_mut(&asked.from) {
            source.out = true;
        }
    }

    /// Is there nobody left to ask, or has nothing come for so long that nothing will?
    pub fn is_stalled(&self, now: Millis) -> bool {
        let alone = self.asked.is_empty() && self.sources.values().all(|source| source.out);
        !self.is_whole() && (alone || now.saturating_sub(self.progress) >= limits::SHARED_STALLED)
    }

    /// What to ask for now. Each is to be followed by [`Taking::came`], [`Taking::later`] or [`Taking::failed`].
    pub fn next(&mut self, now: Millis) -> Vec<AskPiece> {
        let mut asks = Vec::new();
        // On its way, or perhaps: it is not asked for elsewhere.
        let mut coming = self.here.clone();
        let mut load: BTreeMap<PeerId, usize> = BTreeMap::new();
        let mut open = false;
        for asked in self.asked.values() {
            *load.entry(asked.from).or_default() += 1;
            open |= asked.from == self.maker && !asked.known;
            if now.saturating_sub(asked.since) < SLOW {
                asked.of.iter().for_each(|piece| coming.insert(piece));
            }
        }
        let missing: Vec<u32> = (0..self.total).filter(|piece| !coming.contains(*piece)).collect();
        let can = |(peer, source): &(&PeerId, &Source)| **peer != self.maker && !source.out;
        let others: Vec<(&PeerId, &Source)> = self.sources.iter().filter(can).collect();
        let has = |piece: u32| others.iter().filter(move |(_, source)| source.has.contains(piece));
        // Who has not brought it so far is not asked for it once more.
        let asked_of = |peer: &PeerId, piece: u32| {
            self.asked.values().any(|asked| asked.from == *peer && asked.of.contains(piece))
        };
        // Those that others have, the rarest first.
        let mut spread: Vec<(u32, usize, u32)> =
            missing.iter().map(|piece| (*piece / TOGETHER, has(*piece).count(), *piece)).collect();
        spread.retain(|(_, count, _)| *count > 0);
        spread.sort_by_key(|(group, count, piece)| (*group, *count, self.mixed(*piece)));
        for (_, _, piece) in &spread {
            if self.asked.len() + asks.len() >= limits::PIECES_ASKED {
                break;
            }
            let load_of = |peer: &PeerId| load.get(peer).copied().unwrap_or(0);
            let free = |(peer, source): &&(&PeerId, &Source)| {
                let is_ready = source.not_before <= now && load_of(peer) < limits::PIECES_OF_ONE;
                is_ready && !asked_of(peer, *piece)
            };
            let rank = |(peer, _): &&(&PeerId, &Source)| (load_of(peer), self.mixed(u32::from(peer.0[0]) ^ piece << 8));
            let Some((peer, _)) = has(*piece).filter(free).min_by_key(rank) else { continue };
            let mut of = PieceSet::default();
            of.insert(*piece);
            *load.entry(**peer).or_default() += 1;
            asks.push((**peer, of));
        }
        // Who made it is asked for what nobody else has, or what did not come from them in time.
        let late = |piece: u32| {
            self.asked.values().any(|asked| asked.of.contains(piece) && now.saturating_sub(asked.since) >= SLOW)
        };
        let mut of = PieceSet::default();
        let missing = missing.into_iter().filter(|piece| !asked_of(&self.maker, *piece));
        for piece in missing.filter(|piece| late(*piece) || has(*piece).next().is_none()) {
            of.insert(piece);
        }
        let maker = self.sources.get(&self.maker).filter(|source| !source.out && source.not_before <= now);
        let free = load.get(&self.maker).copied().unwrap_or(0) < limits::PIECES_OF_ONE && !open;
        if maker.is_some() && free && !of.is_empty() {
            asks.push((self.maker, of));
        }
        asks.into_iter().map(|(from, of)| self.ask(now, from, of)).collect()
    }

    fn ask(&mut self, now: Millis, from: PeerId, of: PieceSet) -> AskPiece {
        self.next += 1;
        let asked = Asked { from, of: of.clone(), since: now, known: from != self.maker };
        self.asked.insert(self.next, asked);
        AskPiece { number: self.next, from, of }
    }

    fn mixed(&self, number: u32) -> u32 {
        (number ^ self.salt).wrapping_mul(0x9e37_79b1).rotate_left(15).wrapping_mul(0x85eb_ca77)
    }

    /// When [`Taking::next`] may have more to give though nothing happened, or it is stalled.
    pub fn next_wake(&self, now: Millis) -> Option<Millis> {
        if self.is_whole() {
            return None;
        }
        let later = self.sources.values().filter(|source| !source.out).map(|source| source.not_before);
        let slow = self.asked.values().map(|asked| asked.since + SLOW);
        later.chain(slow).filter(|at| *at > now).chain([self.progress + limits::SHARED_STALLED]).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAKER: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);
    const C: PeerId = PeerId([3; 32]);

    fn set(pieces: &[u32]) -> PieceSet {
        let mut set = PieceSet::default();
        pieces.iter().for_each(|piece| set.insert(*piece));
        set
    }

    #[test]
    fn who_made_it_chooses_and_is_asked_for_two_at_once() {
        let mut taking = Taking::new(0, 4, MAKER, 7);
        let first = taking.next(0);
        assert_eq!(first, [AskPiece { number: 1, from: MAKER, of: PieceSet::all(4) }]);
        assert_eq!(taking.next(0), [], "it is not known yet which of them it gives");
        taking.replied(1, 2);
        assert_eq!(taking.next(0), [AskPiece { number: 2, from: MAKER, of: set(&[0, 1, 3]) }]);
        taking.replied(2, 0);
        assert_eq!(taking.next(0), []);
        taking.came(10, 1, 2);
        assert_eq!(taking.next(10)[0].of, set(&[1, 3]));
        taking.later(10, 3);
        assert_eq!((taking.next(10), taking.next_wake(10)), (vec![], Some(10 + LATER)));
        assert_eq!(taking.next(210)[0].of, set(&[1, 3]));
    }

    #[test]
    fn what_others_have_is_asked_of_them() {
        let mut taking = Taking::new(0, 3, MAKER, 7);
        taking.told(B, set(&[1]));
        taking.told(C, set(&[1, 2, 99]));
        let mut asks: Vec<(PeerId, PieceSet)> = taking.next(0).into_iter().map(|ask| (ask.from, ask.of)).collect();
        asks.sort_by_key(|(from, _)| *from);
        assert_eq!(asks, [(MAKER, set(&[0])), (B, set(&[1])), (C, set(&[2]))]);
    }

    #[test]
    fn a_neighbour_that_lies_costs_a_further_ask() {
        let mut taking = Taking::new(0, 1, MAKER, 7);
        taking.told(B, set(&[0]));
        let ask = taking.next(0).remove(0);
        assert_eq!(ask.from, B);
        taking.failed(ask.number);
        let ask = taking.next(0).remove(0);
        assert_eq!(ask.from, MAKER);
        taking.told(B, set(&[0]));
        taking.came(0, ask.number, 0);
        assert!(taking.is_whole());
        assert_eq!((taking.next(0), taking.next_wake(0)), (vec![], None));
    }

    #[test]
    fn who_is_slow_is_not_asked_twice_for_one_piece() {
        let mut taking = Taking::new(0, 2, MAKER, 7);
        taking.told(B, set(&[0]));
        let mut asks: Vec<(PeerId, PieceSet)> = taking.next(0).into_iter().map(|ask| (ask.from, ask.of)).collect();
        asks.sort_by_key(|(from, _)| *from);
        assert_eq!(asks, [(MAKER, set(&[1])), (B, set(&[0]))]);
        let makers = taking.asked.iter().find(|(_, asked)| asked.from == MAKER).map(|(number, _)| *number);
        taking.replied(makers.expect("it was asked"), 1);
        // Both are slow, and each has room for one more: only the maker is asked, for what the other does not bring.
        let again: Vec<(PeerId, PieceSet)> = taking.next(SLOW).into_iter().map(|ask| (ask.from, ask.of)).collect();
        assert_eq!(again, [(MAKER, set(&[0]))]);
        assert_eq!(taking.next(3 * SLOW), [], "there is nobody else");
        taking.told(C, set(&[0, 1]));
        let others = taking.next(3 * SLOW);
        assert!(!others.is_empty() && others.iter().all(|ask| ask.from == C), "{others:?}");
    }

    #[test]
    fn what_does_not_come_is_asked_for_elsewhere_and_at_last_given_up() {
        let mut taking = Taking::new(0, 1, MAKER, 7);
        taking.told(B, set(&[0]));
        assert_eq!(taking.next(0)[0].from, B);
        assert_eq!((taking.next(SLOW - 1), taking.next_wake(0)), (vec![], Some(SLOW)));
        assert!(taking.next(SLOW).iter().any(|ask| ask.from == MAKER));
        taking.peer_down(&MAKER);
        assert!(!taking.is_stalled(SLOW));
        assert!(taking.is_stalled(limits::SHARED_STALLED));
        (1..=3).for_each(|ask| taking.failed(ask));
        assert!(taking.is_stalled(SLOW), "there is nobody to ask");
    }
}
