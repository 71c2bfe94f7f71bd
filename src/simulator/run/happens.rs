//! What is next in the queue happens, and what a node wants of it is done.

use super::{Sim, What};
use crate::simulator::node::{Do, Fault};
use crate::sync::Message;

impl Sim {
    pub(super) fn happens(&mut self, what: What) {
        let now = self.queue.now;
        match what {
            What::Meet(a, b) => self.meet(a, b),
            What::Up { at, of, session, digest } => {
                if self.net.session(at, of) == Some(session) && self.nodes[at].up {
                    if digest.is_some() && !self.nodes[at].greets(&self.nodes[of]) {
                        // It heard of the other's removal while the hello was under way.
                        return self.cut(at, of, Some(1_000));
                    }
                    if at > of {
                        // The dialled side answers with its hello; what it says next comes after it.
                        let digest = digest.map(|_| self.nodes[at].sync.digest());
                        let Some(arrives) = self.net.carry(&mut self.rng, now, (at, of), session, 300) else {
                            return self.cut(at, of, Some(1_000));
                        };
                        self.queue.after(arrives - now, What::Up { at: of, of: at, session, digest });
                    }
                    let (peer, identity) = (self.nodes[of].peer, self.nodes[of].identity.identity());
                    self.current.insert((at, of), session);
                    match digest {
                        Some(digest) => self.nodes[at].session_up(now, peer, identity, digest),
                        None => self.nodes[at].hearing_up(now, peer, identity, session),
                    }
                    self.drive(at);
                }
            }
            What::Down { at, of, session } => {
                if self.current.get(&(at, of)) == Some(&session) {
                    self.current.remove(&(at, of));
                    let peer = self.nodes[of].peer;
                    self.nodes[at].session_down(now, peer);
                    self.drive(at);
                }
            }
            What::Say { from, to, session, message } => {
                if self.is_current(to, from, session) {
                    let peer = self.nodes[from].peer;
                    self.nodes[to].received(now, peer, message);
                    self.drive(to);
                }
            }
            What::Flushed { at, of, session } => {
                if self.is_current(at, of, session) {
                    let peer = self.nodes[of].peer;
                    self.nodes[at].flushed(now, peer);
                    self.drive(at);
                }
            }
            // It may be for a session that has ended: then the node does not use it.
            What::Load { at, life, of, hearing, load, lacking } if self.lives(at, life) => {
                let limit = if self.nodes[at].fault == Fault::LoadsForAnySession { 400 } else { 4_000 };
                let lacking = self.nodes[at].state.clip(lacking);
                let fails = self.rng.chance(if self.nodes[at].fault == Fault::ForgetsFailedLoads { 400 } else { 10 });
                let events = (!fails).then(|| self.nodes[at].log.lacking(&lacking, limit));
                let peer = self.nodes[of].peer;
                self.nodes[at].loaded(now, peer, hearing, load, events);
                self.drive(at);
            }
            What::Appended { at, life } if self.lives(at, life) => {
                self.nodes[at].appended(now);
                self.drive(at);
            }
            What::Due { at, life } if self.lives(at, life) => {
                self.due.remove(&at);
                self.nodes[at].due(now);
                if self.nodes[at].next_wake().is_some_and(|next| next <= now) {
                    self.wrong.push(format!("node {at} would be woken for ever"));
                }
                self.drive(at);
            }
            What::Fetched { at, life, from, commit } if self.lives(at, life) => {
                let connected = self.net.session(at, from).is_some() && self.nodes[from].up;
                let withheld = self.lies.get(&from).is_some_and(|lie| lie.withholds_objects);
                let came = connected && !withheld && self.nodes[from].held.contains(&commit);
                let peer = self.nodes[from].peer;
                self.nodes[at].fetched(now, peer, commit, came);
                self.drive(at);
            }
            What::Complete { at, life } if self.lives(at, life) => {
                self.completing.remove(&at);
                if !self.lies.contains_key(&at) && self.nodes[at].complete(now) {
                    self.nodes[at].out.push(Do::Complete);
                }
                self.drive(at);
            }
            What::Act => self.act(),
            What::Trouble => self.trouble(),
            What::Start(n) => {
                if !self.nodes[n].up {
                    self.start(n);
                }
            }
            What::Heal => {
                self.net.groups.fill(0);
                self.meet_all();
            }
            What::Clock { at, offset } => self.set_clock(at, offset),
            What::Load { .. }
            | What::Appended { .. }
            | What::Due { .. }
            | What::Fetched { .. }
            | What::Complete { .. } => {}
        }
    }

    fn is_current(&self, at: usize, of: usize, session: u64) -> bool {
        self.nodes[at].up && self.current.get(&(at, of)) == Some(&session)
    }

    fn lives(&self, n: usize, life: u64) -> bool {
        self.nodes[n].up && self.nodes[n].life == life
    }

    /// Does what a node wants, until it wants nothing more.
    pub(super) fn drive(&mut self, n: usize) {
        while !self.nodes[n].out.is_empty() {
            for wish in std::mem::take(&mut self.nodes[n].out) {
                self.carry_out(n, wish);
            }
        }
        let node = &self.nodes[n];
        let Some(at) = node.next_wake().filter(|_| node.up) else { return };
        let wait = at.saturating_sub(self.queue.now).max(1);
        let when = self.queue.now + wait;
        if self.due.get(&n).is_none_or(|due| *due > when) {
            self.due.insert(n, when);
            self.queue.after(wait, What::Due { at: n, life: node.life });
        }
    }

    fn carry_out(&mut self, n: usize, wish: Do) {
        let life = self.nodes[n].life;
        match wish {
            Do::Say { peer, message, flush } => {
                let to = self.numbers[&peer];
                let Some(session) = self.current.get(&(n, to)).copied() else { return };
                if flush {
                    let wait = self.rng.between(1, 4);
                    self.queue.after(wait, What::Flushed { at: n, of: to, session });
                }
                let lie = self.lies.get(&n);
                let hidden = match &message {
                    Message::Events(_) => lie.is_some_and(|lie| lie.ignores.contains(&peer)),
                    Message::Objects(_) => lie.is_some_and(|lie| lie.withholds_objects),
                    _ => false,
                };
                if hidden {
                    return;
                }
                let bytes = message.encode().len() as u64;
                match self.net.carry(&mut self.rng, self.queue.now, (n, to), session, bytes) {
                    Some(at) => {
                        let wait = at - self.queue.now;
                        self.queue.after(wait, What::Say { from: n, to, session, message });
                    }
                    None if self.net.session(n, to) == Some(session) => self.cut(n, to, Some(1_000)),
                    None => {}
                }
            }
            Do::Load { peer, hearing, load, lacking } => {
                let of = self.numbers[&peer];
                // A disk that is busy takes its time.
                let busy = if self.nodes[n].fault == Fault::LoadsForAnySession { 700 } else { 20 };
                let wait = if self.rng.chance(busy) { self.rng.between(1, 8_000) } else { self.rng.between(1, 5) };
                self.queue.after(wait, What::Load { at: n, life, of, hearing, load, lacking });
                if busy > 500 && self.rng.chance(300) {
                    self.cut(n, of, Some(0));
                }
            }
            Do::Append => {
                let wait = self.rng.between(1, 25);
                self.queue.after(wait, What::Appended { at: n, life });
            }
            Do::Drop { peer, why } => {
                let other = self.numbers[&peer];
                if !self.lies.contains_key(&n) && !self.lies.contains_key(&other) {
                    self.wrong.push(format!("node {n} dropped node {other}, which is honest: {why}"));
                }
                self.current.remove(&(n, other));
                let now = self.queue.now;
                self.nodes[n].session_down(now, peer);
                let again = (!self.resting).then_some(60_000);
                self.cut(n, other, again);
            }
            wish @ (Do::Leave(peer) | Do::Heard(peer)) => {
                // Sooner in life; who was heard has little more to say.
                let wait = if matches!(wish, Do::Heard(_)) { 3_600_000 } else { 60_000 };
                let other = self.numbers[&peer];
                self.current.remove(&(n, other));
                let now = self.queue.now;
                self.nodes[n].session_down(now, peer);
                self.cut(n, other, (!self.resting).then_some(wait));
            }
            Do::Fetch { commit, from } => {
                let wait = self.rng.between(2, 200);
                let from = self.numbers[&from];
                self.queue.after(wait, What::Fetched { at: n, life, from, commit });
            }
            Do::Complete => {
                if self.completing.get(&n) != Some(&life) {
                    self.completing.insert(n, life);
                    let wait = 2_000 + 500 * self.rng.below(self.nodes.len() as u64);
                    self.queue.after(wait, What::Complete { at: n, life });
                }
            }
        }
    }
}
