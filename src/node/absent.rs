//! Landings that wait for objects, told apart from those whose objects came while somebody looked for them.

use std::collections::BTreeSet;

use crate::id::Lid;

/// Landings whose objects were looked for in vain.
///
/// A look takes a while, on a thread of its own. What comes in the meantime was not seen by it, so its "not here"
/// counts only if nothing has come since it began: otherwise the landing would wait for the objects after those.
#[derive(Default)]
pub(super) struct Absent {
    lids: BTreeSet<Lid>,
    /// How often objects came.
    came: u64,
    /// `came` as the look that is under way began.
    looked_at: u64,
}

impl Absent {
    /// Was this landing looked for in vain, with nothing that came since?
    pub(super) fn has(&self, lid: &Lid) -> bool {
        self.lids.contains(lid)
    }

    /// A look begins.
    pub(super) fn look(&mut self) {
        self.looked_at = self.came;
    }

    /// The look that is under way did not find all objects of this landing.
    pub(super) fn in_vain(&mut self, lid: Lid) {
        if self.looked_at == self.came {
            self.lids.insert(lid);
        }
    }

    /// A further event carries this landing: its objects may be where that came from.
    pub(super) fn heard(&mut self, lid: &Lid) {
        self.lids.remove(lid);
    }

    /// Objects came: what was looked for in vain may be here now.
    pub(super) fn objects_came(&mut self) {
        self.came += 1;
        self.lids.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_during_a_look_is_looked_for_again() {
        let lid = Lid([1; 32]);
        let mut absent = Absent::default();
        absent.look();
        absent.in_vain(lid);
        assert!(absent.has(&lid), "nothing came");
        absent.objects_came();
        assert!(!absent.has(&lid));

        absent.look();
        absent.objects_came();
        absent.in_vain(lid);
        assert!(!absent.has(&lid), "it came while somebody looked");

        absent.look();
        absent.in_vain(lid);
        absent.heard(&lid);
        assert!(!absent.has(&lid));
    }
}
