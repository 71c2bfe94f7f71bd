//! People who are removed, write on without knowing it, are let in again and removed once more.

use super::logs::Writers;
use super::world::{ack, commit, grant, identity, member, propose, revoke};
use crate::eventlog::{Role, Target};

impl Writers {
    /// Two to four rounds of a removal, what its target writes meanwhile, and a return.
    pub(super) fn returns(&mut self) {
        let all: Vec<usize> = (0..self.writers.len()).collect();
        let mut two = self.rng.sample(&all, 2);
        if self.rng.chance(85) {
            // Those who came first are senior.
            two.sort_unstable();
        }
        let [judge, whom] = two[..] else { return };
        for _ in 0..self.rng.between(2, 4) {
            let judge = if self.rng.chance(80) { judge } else { self.rng.below(self.writers.len()) };
            self.remove(judge, whom);
            // Unaware, or defiant: of this most is evidence.
            for _ in 0..self.rng.below(4) {
                self.write_on(whom);
            }
            if self.rng.chance(30) {
                // Somebody builds on it.
                let other = self.rng.below(self.writers.len());
                self.writers[other].known = self.writers[other].known.union(self.writers[whom].known);
                self.write(other, false, |_, _| Some(ack()));
            }
            if self.rng.chance(80) {
                self.let_in(judge, whom);
            }
            for _ in 0..self.rng.below(3) {
                self.write_on(whom);
            }
        }
    }

    fn remove(&mut self, judge: usize, whom: usize) {
        if self.rng.chance(75) {
            self.writers[judge].known = self.writers[judge].known.union(self.writers[whom].known);
        }
        let hand = self.writers[whom].hand;
        let target = match self.rng.weighted(&[70, 12, 18]) {
            0 => Target::Member(member(hand.person)),
            1 => Target::Identity(identity(hand.person, hand.machine)),
            _ => Target::Feed(hand.peer()),
        };
        self.write(judge, false, |all, known| {
            let pins = all.pins(&[target], known);
            Some(revoke(vec![target], pins))
        });
    }

    fn write_on(&mut self, whom: usize) {
        self.write(whom, false, |all, known| match all.rng.weighted(&[4, 3, 2, 1]) {
            0 => Some(ack()),
            1 => Some(propose("a", "main", commit(all.rng.between(1, 6) as u8), None)),
            2 => all.approval(known),
            _ => Some(grant(13, Role::Contributor)),
        });
    }

    fn let_in(&mut self, judge: usize, whom: usize) {
        let by = if self.rng.chance(75) { judge } else { self.rng.below(self.writers.len()) };
        if self.rng.chance(80) {
            self.writers[by].known = self.writers[by].known.union(self.writers[judge].known);
        }
        let (role, person) = (self.rng.pick(&[Role::Maintainer, Role::Contributor]), self.writers[whom].hand.person);
        self.write(by, false, |_, _| Some(grant(person, role?)));
        if self.rng.chance(85) {
            self.writers[whom].known = self.writers[whom].known.union(self.writers[by].known);
        }
    }
}
