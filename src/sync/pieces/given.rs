//! Which piece a server gives next.

use std::collections::BTreeMap;

use super::PieceSet;
use crate::hlc::Millis;

/// A piece is not given to a second neighbour before those who have it could pass it on: this long ...
const AGAIN: Millis = 2_000;
/// ... and this many times as long as it took to send it.
const AGAIN_BY_TIME: Millis = 4;
/// A piece that is being sent for longer than this may have got stuck.
const STUCK: Millis = 10_000;

#[derive(Debug, Default)]
struct Gift {
    /// How often it was given, or is being.
    times: u32,
    /// When the last of these that are under way began.
    sending: Option<Millis>,
    /// When it may be given again.
    again: Millis,
}

/// Which pieces of one shared pack were given.
#[derive(Debug, Default)]
pub struct Given {
    gifts: BTreeMap<u32, Gift>,
}

impl Given {
    /// One of these, that is given from now on, until [`Given::ended`]: what was given least. `None` where each of several
    /// was given a moment ago, so that others can give it; who asks for a single one has nobody else.
    pub fn give(&mut self, now: Millis, of: &PieceSet) -> Option<u32> {
        let only = of.len() == 1;
        let ready = |gift: &Gift| match gift.sending {
            Some(since) => now.saturating_sub(since) >= STUCK,
            None => now >= gift.again,
        };
        let times = |piece: &u32| self.gifts.get(piece).map_or(0, |gift| gift.times);
        let can = |piece: &u32| only || self.gifts.get(piece).is_none_or(ready);
        let piece = of.iter().filter(can).min_by_key(|piece| (times(piece), *piece))?;
        let gift = self.gifts.entry(piece).or_default();
        gift.times += 1;
        gift.sending = Some(now);
        Some(piece)
    }

    /// A piece was sent, which began at `began`, or was not.
    pub fn ended(&mut self, now: Millis, piece: u32, began: Millis, sent: bool) {
        let Some(gift) = self.gifts.get_mut(&piece) else { return };
        gift.sending = None;
        if sent {
            gift.again = now + AGAIN.max(now.saturating_sub(began) * AGAIN_BY_TIME);
        } else {
            gift.times -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_given_once_before_any_is_given_twice() {
        let (mut given, all) = (Given::default(), PieceSet::all(3));
        let first: Vec<Option<u32>> = (0..4).map(|_| given.give(0, &all)).collect();
        assert_eq!(first, [Some(0), Some(1), Some(2), None]);
        given.ended(100, 0, 0, true);
        given.ended(100, 1, 0, false);
        assert_eq!(given.give(100, &all), Some(1), "it never arrived");
        assert_eq!(given.give(1_000, &all), None);
        assert_eq!(given.give(2_100, &all), Some(0), "nobody passed it on");
        assert_eq!(given.give(9_000, &all), None);
        assert_eq!(given.give(10_000, &all), Some(2), "it got stuck");
        let mut one = PieceSet::default();
        one.insert(1);
        assert_eq!(given.give(2_101, &one), Some(1), "whoever asks for one has nobody else to ask");
    }

    #[test]
    fn where_pieces_take_long_others_have_longer_to_pass_them_on() {
        let (mut given, all) = (Given::default(), PieceSet::all(1));
        // A set of one is given always.
        let mut two = all.clone();
        two.insert(1);
        assert_eq!((given.give(0, &two), given.give(0, &two)), (Some(0), Some(1)));
        given.ended(3_000, 0, 0, true);
        assert_eq!(given.give(5_000, &two), None);
        assert_eq!(given.give(15_000, &two), Some(0));
    }
}
