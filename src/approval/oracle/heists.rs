//! Landings that fall later, beside honest ones: joined by accomplices, built on, and revoked by those who had not seen them.

use super::logs::Writers;
use super::world::{approve, member, policy, revoke};
use crate::eventlog::{Payload, Target};
use crate::id::Lid;

impl Writers {
    /// Somebody lands what is void later, beside an honest landing; others join the two and build on that.
    pub(super) fn heist(&mut self) {
        let all: Vec<usize> = (0..self.writers.len()).collect();
        let mut three = self.rng.sample(&all, 3);
        if self.rng.chance(80) {
            // Those who came first are senior.
            three.sort_unstable();
        }
        let [judge, honest, thief] = three[..] else { return };
        let before = self.world.oracle.all();
        let tops = self.tops(before, "main");
        let begin = self.world.first_landing("main");
        let head = if self.rng.chance(70) { Some(begin) } else { self.rng.pick(&tops) };
        let Some(head) = head else { return };
        let mut two = Vec::new();
        for writer in [thief, honest] {
            self.writers[writer].known = before;
            two.extend(self.land_own(writer, vec![head]));
        }
        self.writers[judge].known = before;
        if self.rng.chance(40) {
            self.write(judge, false, |_, _| Some(policy(2, true, 1, 1)));
        }
        // Two approve a further proposal without having seen any of this.
        let offers = self.of_kind(before, |payload| matches!(payload, Payload::Propose(_)));
        let Some(offer) = self.rng.pick(&offers) else { return };
        let tip = match self.world.oracle.payload(offer) {
            Payload::Propose(said) => said.tip,
            _ => return,
        };
        let mut given = None;
        for writer in [honest, judge] {
            let onto = vec![head];
            self.write(writer, false, |all, _| Some(approve(all.id(offer), tip, onto)));
            given = self.last_if(|payload| matches!(payload, Payload::Approve(_))).or(given);
        }
        let Some(accomplice) = self.rng.pick(&all) else { return };
        let Ok(two) = <[Lid; 2]>::try_from(two) else { return };
        // The same landing by both is one.
        if two[0] == two[1] {
            return;
        }
        self.writers[accomplice].known = self.world.oracle.all();
        self.write(accomplice, false, |all, _| Some(Payload::Land(all.world.join("main", two))));
        let joined = self.last_if(|payload| matches!(payload, Payload::Land(_)));
        if let (Some(joined), Some(given)) = (joined, given)
            && self.rng.chance(60)
        {
            let heads = vec![self.world.oracle.nodes[joined].lids[0].1];
            self.write(accomplice, false, |all, known| all.landing_of(known, given, Some(heads)));
        }
        self.writers[judge].known = if self.rng.chance(80) { before } else { self.world.oracle.all() };
        let targets = vec![Target::Member(member(self.writers[thief].hand.person))];
        self.write(judge, false, |all, known| {
            let pins = all.pins(&targets, known);
            Some(revoke(targets, pins))
        });
    }

    /// The event that was written last, if it is of this kind.
    fn last_if(&self, is: impl Fn(&Payload) -> bool) -> Option<usize> {
        let last = self.world.oracle.nodes.len() - 1;
        is(self.world.oracle.payload(last)).then_some(last)
    }

    /// Approves something and lands it.
    fn land_own(&mut self, writer: usize, heads: Vec<Lid>) -> Option<Lid> {
        self.write(writer, false, Self::approval);
        let given = self.last_if(|payload| matches!(payload, Payload::Approve(_)))?;
        self.write(writer, false, |all, known| all.landing_of(known, given, Some(heads)));
        let landed = self.last_if(|payload| matches!(payload, Payload::Land(_)))?;
        Some(self.world.oracle.nodes[landed].lids[0].1)
    }
}
