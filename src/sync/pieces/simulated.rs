//! Several machines that want one pack, in rounds in which a link carries so many pieces.

use std::collections::{BTreeMap, VecDeque};

use super::{AskPiece, Given, PieceSet, Taking};
use crate::hlc::Millis;
use crate::id::PeerId;

/// A round: the time a piece takes on an idle link.
const ROUND: Millis = 40;

struct Machine {
    has: PieceSet,
    given: Given,
    taking: Option<Taking>,
    /// Asks that wait for the way out, in order.
    waiting: VecDeque<(usize, AskPiece)>,
    sent: u32,
}

/// What goes wrong.
#[derive(Default)]
struct Trouble {
    /// Says that it has everything, and sends what is nothing.
    liar: Option<usize>,
    /// The maker leaves when so many pieces left it.
    maker_leaves: Option<u32>,
    /// Comes when this many rounds have passed.
    late: Option<(usize, u64)>,
}

struct Outcome {
    /// Pieces that left the maker.
    from_maker: u32,
    rounds: u64,
    whole: usize,
}

fn peer(at: usize) -> PeerId {
    PeerId([at as u8 + 1; 32])
}

/// The maker and `receivers`; each sends one piece a round and receives one.
fn run(receivers: usize, total: u32, trouble: &Trouble) -> Outcome {
    let mut machines: Vec<Machine> = (0..=receivers)
        .map(|at| Machine {
            has: if at == 0 { PieceSet::all(total) } else { PieceSet::default() },
            given: Given::default(),
            taking: (at > 0).then(|| Taking::new(0, total, peer(0), at as u32 * 0x1234_5671)),
            waiting: VecDeque::new(),
            sent: 0,
        })
        .collect();
    let is_liar = |at: usize| trouble.liar == Some(at);
    let has_come = |at: usize, round: u64| trouble.late.is_none_or(|(late, since)| late != at || since <= round);
    let mut gone = false;
    for round in 0..10_000 {
        let now = round * ROUND;
        if let Some(liar) = trouble.liar {
            for machine in machines.iter_mut().filter_map(|machine| machine.taking.as_mut()) {
                machine.told(peer(liar), PieceSet::all(total));
            }
        }
        if let Some((late, _)) = trouble.late.filter(|(_, since)| *since == round) {
            // It asks, and the others say what they have.
            for other in (1..=receivers).filter(|other| *other != late) {
                let has = machines[other].has.clone();
                machines[late].taking.as_mut().expect("it takes part").told(peer(other), has);
            }
        }
        for at in (1..=receivers).filter(|at| has_come(*at, round) && !is_liar(*at)) {
            let Some(mut taking) = machines[at].taking.take() else { continue };
            for ask in taking.next(now) {
                let from = (0..=receivers).find(|from| peer(*from) == ask.from).expect("one of them");
                if from == 0 && gone {
                    taking.failed(ask.number);
                } else {
                    machines[from].waiting.push_back((at, ask));
                }
            }
            machines[at].taking = Some(taking);
        }
        // Each sends one piece, and what it cannot give it says at once.
        let mut arrived: BTreeMap<usize, usize> = BTreeMap::new();
        let mut came: Vec<(usize, u32)> = Vec::new();
        for from in 0..=receivers {
            while let Some((to, ask)) = machines[from].waiting.pop_front() {
                let mut taking = machines[to].taking.take().expect("it asked");
                if is_liar(from) || (from == 0 && gone) {
                    taking.failed(ask.number);
                    machines[to].taking = Some(taking);
                    continue;
                }
                let full = arrived.get(&to).is_some_and(|count| *count >= 1);
                let mut of = ask.of.clone();
                ask.of.iter().filter(|piece| !machines[from].has.contains(*piece)).for_each(|piece| of.remove(piece));
                let piece = if full { None } else { machines[from].given.give(now, &of) };
                if full {
                    machines[from].waiting.push_front((to, ask));
                    machines[to].taking = Some(taking);
                    break;
                }
                let Some(piece) = piece else {
                    taking.later(now, ask.number);
                    machines[to].taking = Some(taking);
                    continue;
                };
                *arrived.entry(to).or_default() += 1;
                taking.replied(ask.number, piece);
                taking.came(now, ask.number, piece);
                machines[from].given.ended(now + ROUND, piece, now, true);
                machines[from].sent += 1;
                came.push((to, piece));
                machines[to].taking = Some(taking);
                break;
            }
        }
        for (to, piece) in came {
            machines[to].has.insert(piece);
            let has = machines[to].has.clone();
            for other in (1..=receivers).filter(|other| *other != to && has_come(*other, round)) {
                if let Some(taking) = machines[other].taking.as_mut() {
                    taking.told(peer(to), has.clone());
                }
            }
        }
        if trouble.maker_leaves.is_some_and(|after| machines[0].sent >= after) && !gone {
            gone = true;
            machines.iter_mut().filter_map(|machine| machine.taking.as_mut()).for_each(|taking| {
                taking.peer_down(&peer(0));
            });
        }
        let whole = (1..=receivers).filter(|at| machines[*at].has.len() == total).count();
        if whole == receivers - usize::from(trouble.liar.is_some()) {
            return Outcome { from_maker: machines[0].sent, rounds: round + 1, whole };
        }
    }
    let whole = (1..=receivers).filter(|at| machines[*at].has.len() == total).count();
    Outcome { from_maker: machines[0].sent, rounds: 10_000, whole }
}

#[test]
fn seven_get_it_in_little_more_than_the_time_and_the_bytes_of_one() {
    let outcome = run(7, 200, &Trouble::default());
    assert_eq!(outcome.whole, 7);
    assert!(outcome.from_maker <= 250, "{} pieces of 200 left the maker", outcome.from_maker);
    // Seven copies on one link would take 1,400 rounds.
    assert!(outcome.rounds <= 500, "{} rounds", outcome.rounds);
}

#[test]
fn one_that_lies_costs_little() {
    let outcome = run(7, 200, &Trouble { liar: Some(3), ..Trouble::default() });
    assert_eq!(outcome.whole, 6);
    assert!(outcome.from_maker <= 300, "{} pieces of 200 left the maker", outcome.from_maker);
}

#[test]
fn one_that_comes_late_gets_it_from_the_others() {
    let outcome = run(4, 100, &Trouble { late: Some((4, 150)), ..Trouble::default() });
    assert_eq!(outcome.whole, 4);
    assert!(outcome.from_maker <= 150, "{} pieces of 100 left the maker", outcome.from_maker);
}

#[test]
fn when_the_maker_leaves_after_one_copy_the_others_complete_each_other() {
    let outcome = run(4, 100, &Trouble { maker_leaves: Some(110), ..Trouble::default() });
    assert_eq!(outcome.whole, 4, "{} pieces left the maker", outcome.from_maker);
}
