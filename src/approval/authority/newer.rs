//! Events of kinds that this version does not know, from which rights or landings follow: what they govern is not decided here.
//!
//! A kind is of the rules that hold in an event's own past. Under rules that this version knows, one that it does not know means
//! nothing, to a later version too. Under later rules, which only a policy brings, nobody here can tell what follows from it:
//! rights stay what they are without it and all that rests on it.

use super::view::View;
use super::{Authority, Gov, Judge, Set, What};
use crate::eventlog::Area;

impl Authority {
    /// Works out what holds in the eyes of a set of governance events.
    pub(super) fn work_out(&self, set: &Set, forks: bool) -> View {
        let newer: Vec<Gov> = self.newer.iter().copied().filter(|gov| set.has(*gov)).collect();
        if newer.is_empty() {
            return self.work_out_known(set, forks);
        }
        let freezes = |gov: &Gov| matches!(self.get(*gov).what, What::Newer(Area::Rights));
        let (rights, landings): (Vec<Gov>, Vec<Gov>) = newer.into_iter().partition(freezes);
        let mut view = self.work_out_known(&self.without(set, &rights), forks);
        // Only a revocation that rests on none of them undoes one, as it does everything else of its target.
        let judge = Judge::new(view.accepted.clone(), forks);
        let stand: Vec<Gov> = rights.iter().copied().filter(|gov| judge.live_gov(self, *gov)).collect();
        if stand.len() < rights.len() {
            view = self.work_out_known(&self.without(set, &stand), forks);
        }
        view.frozen = self.rules_of(stand.into_iter());
        let judge = Judge::new(view.accepted.clone(), forks);
        view.landings_frozen = self.rules_of(landings.into_iter().filter(|gov| judge.live_gov(self, *gov)));
        view
    }

    /// A set without some events and all that has one of them in its past.
    fn without(&self, set: &Set, some: &[Gov]) -> Set {
        let rests = |gov: Gov| some.iter().any(|one| *one == gov || self.pasts.set(self.get(gov).past).has(*one));
        set.iter().filter(|gov| !rests(*gov)).collect()
    }

    /// The newest rules under which these were written.
    fn rules_of(&self, govs: impl Iterator<Item = Gov>) -> Option<u16> {
        govs.map(|gov| self.view(self.get(gov).past).demands.rules).max()
    }
}
