//! Sessions begin and end, people act, and things go wrong.

use super::{Sim, What};
use crate::eventlog::Target;
use crate::hlc::Millis;
use crate::id::{MemberId, PeerId};
use crate::simulator::node::Fault;
use crate::simulator::rng::Rng;
use crate::sync::Input;

impl Sim {
    pub(in crate::simulator) fn meet(&mut self, a: usize, b: usize) {
        let (one, other) = (&self.nodes[a], &self.nodes[b]);
        if a == b || !one.up || !other.up || !self.net.reaches(a, b) || self.net.session(a, b).is_some() {
            return;
        }
        let (welcome, welcomed) = (one.greets(other), other.greets(one));
        if (welcome || one.hears(other)) && (welcomed || other.hears(one)) {
            self.connect(a, b, !welcome || !welcomed);
        }
    }

    fn connect(&mut self, a: usize, b: usize, hearing: bool) {
        let (low, high) = (a.min(b), a.max(b));
        let (session, latency) = self.net.begin(&mut self.rng, self.queue.now, low, high);
        let digest = (!hearing).then(|| self.nodes[low].sync.digest());
        self.queue.after(latency, What::Up { at: high, of: low, session, digest });
    }

    /// The session is gone; each end notices in its own time.
    pub(super) fn cut(&mut self, a: usize, b: usize, again: Option<Millis>) {
        let Some(session) = self.net.session(a, b) else { return };
        self.net.end(a, b);
        for (at, of) in [(a, b), (b, a)] {
            let wait = self.rng.below(5_000);
            self.queue.after(wait, What::Down { at, of, session });
        }
        if let Some(wait) = again {
            let wait = wait + self.rng.below(3_000);
            self.queue.after(wait, What::Meet(a, b));
        }
    }

    pub(super) fn start(&mut self, n: usize) {
        self.nodes[n].start();
        for told in &self.nodes[n].told {
            if !self.nodes[n].log.has(told) {
                let (seq, feed) = (told.seq, told.feed.short());
                self.wrong.push(format!("node {n} told of event {seq} of {feed} and has lost it"));
            }
        }
        self.drive(n);
        for other in 0..self.nodes.len() {
            let wait = self.rng.below(2_000);
            self.queue.after(wait, What::Meet(n, other));
        }
    }

    fn stop(&mut self, n: usize) {
        self.nodes[n].crash();
        self.due.remove(&n);
        self.completing.remove(&n);
        self.current.retain(|(at, _), _| *at != n);
        for other in self.net.neighbours(n) {
            self.cut(n, other, None);
        }
    }

    pub(super) fn set_clock(&mut self, n: usize, offset: i64) {
        self.nodes[n].offset = offset;
        if self.nodes[n].up {
            let now = self.queue.now;
            self.nodes[n].input(now, Input::AskAgain);
            self.drive(n);
        }
    }

    pub(super) fn act(&mut self) {
        let n = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        if !self.nodes[n].up {
            return;
        }
        let now = self.queue.now;
        if self.lies.contains_key(&n) && self.rng.chance(700) {
            let neighbours: Vec<PeerId> =
                self.net.neighbours(n).into_iter().map(|other| self.nodes[other].peer).collect();
            self.nodes[n].lie(now, &mut self.rng, &neighbours);
        } else {
            let all: Vec<usize> = (1..self.nodes.len()).collect();
            self.nodes[n].act(now, &mut self.rng, &all);
        }
        if self.scenario.duels && self.rng.chance(60) {
            let ring: Vec<usize> =
                (0..self.nodes.len()).filter(|n| self.nodes[*n].up && self.rng.chance(500)).collect();
            self.duel(&ring);
        }
        self.drive(n);
        if matches!(self.scenario.fault, Fault::TellsTooSoon | Fault::SaysItHolds) || self.rng.chance(60) {
            // The power goes just when something is on its way to the disk.
            let wait = self.rng.below(12);
            self.queue.after(wait, What::Trouble);
        }
    }

    /// Each removes the next, at once and without knowing of the others.
    fn duel(&mut self, ring: &[usize]) {
        let now = self.queue.now;
        for (at, n) in ring.iter().enumerate().filter(|_| ring.len() > 1) {
            let next = MemberId::of(&self.nodes[ring[(at + 1) % ring.len()]].identity.identity());
            let knows = self.rng.chance(700);
            self.nodes[*n].revoke(now, Target::Member(next), knows);
            self.nodes[*n].look(now);
        }
        for n in ring {
            self.drive(*n);
        }
    }

    pub(super) fn trouble(&mut self) {
        let count = self.nodes.len() as u64;
        let pick = |rng: &mut Rng| usize::try_from(rng.below(count)).unwrap_or(0);
        let n = pick(&mut self.rng);
        let a_while = |rng: &mut Rng, span: Millis| rng.between(1_000, span / 4 + 2_000);
        let wait = a_while(&mut self.rng, self.scenario.span);
        match self.rng.below(10) {
            0..4 => {
                let n = if self.scenario.fault == Fault::None { n } else { 1 };
                if self.nodes[n].up {
                    self.stop(n);
                    self.queue.after(wait, What::Start(n));
                }
            }
            4..6 => {
                let groups = (0..self.nodes.len()).map(|_| u8::from(self.rng.chance(500))).collect();
                self.part(groups);
                self.queue.after(wait, What::Heal);
            }
            6..8 => {
                let far = [30_000, 3_600_000, 50 * 3_600_000][usize::try_from(self.rng.below(3)).unwrap_or(0)];
                let by = i64::try_from(self.rng.below(far)).unwrap_or(0);
                let offset = if self.rng.chance(500) { by } else { -by };
                self.set_clock(n, offset);
                self.queue.after(wait, What::Clock { at: n, offset: 0 });
            }
            8 => {
                let other = pick(&mut self.rng);
                self.cut(n, other, Some(0));
            }
            _ => {
                // Both dialled at once: a second session takes the place of the first.
                let other = pick(&mut self.rng);
                let all_up = self.nodes[n].up && self.nodes[other].up;
                if all_up && self.net.session(n, other).is_some() {
                    self.connect(n, other, false);
                }
            }
        }
    }
}
