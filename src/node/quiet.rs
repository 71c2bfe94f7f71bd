//! Who comes and goes without pause, or errs without pause, is told of, but not without pause.

use std::collections::BTreeMap;

use super::core::Core;
use super::sessions::millis;
use crate::hlc::Millis;
use crate::limits;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Members (by name) who came or went within the last [`limits::NOTICE_PAUSE`].
    moves: BTreeMap<String, Moves>,
    /// Texts that were told within it.
    said: BTreeMap<String, Millis>,
}

#[derive(Debug)]
struct Moves {
    /// When the pause began.
    since: Millis,
    told: usize,
    /// What was told last: that it is here?
    here: bool,
    /// What is to be told when the pause is over, if it is still so.
    later: Option<(bool, String)>,
    hidden: usize,
}

impl Quiet {
    /// A member came (`here`) or went: what to tell now, if anything. One pair is told at once, the rest after a pause,
    /// in one line.
    fn moved(&mut self, now: Millis, who: &str, here: bool, text: String) -> Option<String> {
        let over = |moves: &Moves| now >= moves.since + millis(limits::NOTICE_PAUSE);
        self.moves.retain(|_, moves| moves.later.is_some() || !over(moves));
        let moves =
            self.moves.entry(who.to_owned()).or_insert(Moves { since: now, told: 0, here, later: None, hidden: 0 });
        if moves.told < limits::NOTICES_IN_PAUSE && moves.later.is_none() {
            (moves.told, moves.here) = (moves.told + 1, here);
            return Some(text);
        }
        moves.hidden += 1;
        moves.later = Some((here, text));
        None
    }

    /// What is to be told now that pauses are over: who, whether it is here, and the text.
    fn due(&mut self, now: Millis) -> Vec<(String, bool, String)> {
        let mut told = Vec::new();
        for (who, moves) in &mut self.moves {
            if now < moves.since + millis(limits::NOTICE_PAUSE) {
                continue;
            }
            let Some((here, text)) = moves.later.take() else { continue };
            let times = std::mem::take(&mut moves.hidden);
            if here != moves.here || times > 1 {
                let text = format!("{text}; it came or went {times} more times in the meantime");
                *moves = Moves { since: now, told: 1, here, later: None, hidden: 0 };
                told.push((who.clone(), here, text));
            }
        }
        told
    }

    /// When [`Quiet::due`] has something to tell.
    pub(super) fn next_wake(&self) -> Option<Millis> {
        let waiting = self.moves.values().filter(|moves| moves.later.is_some());
        waiting.map(|moves| moves.since + millis(limits::NOTICE_PAUSE)).min()
    }

    /// Was this told within the pause? It is from now on.
    pub(super) fn repeats(&mut self, now: Millis, text: &str) -> bool {
        self.said.retain(|_, at| now < *at + millis(limits::NOTICE_PAUSE));
        if self.said.contains_key(text) {
            return true;
        }
        if self.said.len() < limits::NOTICES_KEPT {
            self.said.insert(text.to_owned(), now);
        }
        false
    }
}

impl Core {
    /// Tells that a member came or went.
    pub(super) fn say_moved(&mut self, now: Millis, who: String, here: bool, text: String) {
        if let Some(text) = self.quiet.moved(now, &who, here, text) {
            self.notice(kind(here), Some(who), None, None, text);
        }
    }

    /// Tells what waited.
    pub(super) fn say_later(&mut self, now: Millis) {
        for (who, here, text) in self.quiet.due(now) {
            self.notice(kind(here), Some(who), None, None, text);
        }
    }
}

fn kind(here: bool) -> &'static str {
    if here { "peer-up" } else { "peer-down" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_at_once_and_the_rest_after_a_pause_in_one_line() {
        let mut quiet = Quiet::default();
        let mut moved = |now, here| quiet.moved(now, "bo", here, format!("bo {here}"));
        assert_eq!(moved(0, true), Some("bo true".to_owned()));
        assert_eq!(moved(10, false), Some("bo false".to_owned()));
        for n in 0..1_000 {
            assert_eq!(moved(20 + n, n % 2 == 0), None);
        }
        assert_eq!(quiet.next_wake(), Some(10_000));
        assert_eq!(quiet.due(9_999), []);
        let said = "bo false; it came or went 1000 more times in the meantime".to_owned();
        assert_eq!(quiet.due(10_000), [("bo".to_owned(), false, said)]);
        assert_eq!((quiet.next_wake(), quiet.due(30_000)), (None, vec![]));
        assert_eq!(quiet.moved(30_000, "bo", true, "bo true".to_owned()), Some("bo true".to_owned()));
    }

    #[test]
    fn however_fast_one_comes_and_goes_two_lines_are_told_in_ten_seconds() {
        let mut quiet = Quiet::default();
        let mut told = 0;
        for now in (0..100_000).step_by(50) {
            told += usize::from(quiet.moved(now, "bo", now % 100 == 0, String::new()).is_some());
            told += quiet.due(now).len();
        }
        assert!((10..=22).contains(&told), "{told}");
        assert_eq!(quiet.moves.len(), 1);
    }

    #[test]
    fn the_same_text_is_told_once_in_a_pause_and_few_are_kept() {
        let mut quiet = Quiet::default();
        assert!(!quiet.repeats(0, "a"));
        assert!(quiet.repeats(9_999, "a"));
        assert!(!quiet.repeats(10_000, "a"));
        for n in 0..10_000 {
            quiet.repeats(10_000, &n.to_string());
        }
        assert_eq!(quiet.said.len(), limits::NOTICES_KEPT);
    }
}
