//! Whom to ask for what, step by step.

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
