//! With whom a node keeps sessions: with all in a small project, with some of all in a large one.
//!
//! Everybody keeps about ten sessions with whom chance picks, so that the graph of all is a random one: it falls apart
//! only where a large part of the nodes goes at once, and then each dials others. Every turn each node dials one more,
//! wherever it stands, and lets others go where it has too many: groups that were apart find each other again, and
//! nobody can be surrounded for long. Chance is a hash with a seed of the node's own, so that no other can steer it.

use std::collections::BTreeSet;

use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;

/// Whom this node dials, admits and lets go.
#[derive(Debug, Clone)]
pub struct Mesh {
    me: PeerId,
    seed: u64,
    /// Nodes change turns at different times.
    phase: Millis,
}

impl Mesh {
    /// For the node `me`. The seed is this run's own, so that nobody can work out whom it will dial.
    pub fn new(me: PeerId, seed: u64) -> Self {
        let mut mesh = Self { me, seed, phase: 0 };
        mesh.phase = mesh.rank(0, &me) % turn_millis();
        mesh
    }

    /// Whom to dial now, the first first. `known` are the peers that may be tried now (seen or remembered, and no
    /// dial of them failed a moment ago), each once; `connected` those with a session. Costs a hash for each: to be
    /// asked when one of the two changed, and at [`Mesh::next_turn`].
    pub fn wanted(
        &self,
        now: Millis,
        known: impl Iterator<Item = PeerId>,
        connected: &BTreeSet<PeerId>,
    ) -> Vec<PeerId> {
        let others: Vec<PeerId> = known.filter(|peer| *peer != self.me && !connected.contains(peer)).collect();
        if others.len() + connected.len() <= limits::MESH_WHOLE {
            return others;
        }
        let turn = self.turn(now);
        let missing = limits::MESH_WANTED.saturating_sub(connected.len());
        let mut ranked: Vec<(u64, PeerId)> = others.into_iter().map(|peer| (self.rank(turn, &peer), peer)).collect();
        ranked.sort_unstable();
        // The first of this turn is dialled even where there are enough.
        let first = connected.iter().map(|peer| self.rank(turn, peer)).min();
        let explores = ranked.first().is_some_and(|(rank, _)| first.is_none_or(|first| *rank < first));
        ranked.truncate(missing.max(usize::from(explores)));
        ranked.into_iter().map(|(_, peer)| peer).collect()
    }

    /// May a session that `peer` began stay? One that takes the place of another with the same peer always may.
    pub fn admits(&self, connected: &BTreeSet<PeerId>, peer: &PeerId) -> bool {
        connected.contains(peer) || connected.len() < limits::MESH_MOST
    }

    /// Whom to let go politely, where there are more than enough: whoever has too few then dials another.
    pub fn surplus(&self, now: Millis, connected: &BTreeSet<PeerId>) -> Vec<PeerId> {
        if connected.len() <= limits::MESH_HIGH {
            return Vec::new();
        }
        let turn = self.turn(now);
        let mut ranked: Vec<(u64, PeerId)> = connected.iter().map(|peer| (self.rank(turn, peer), *peer)).collect();
        ranked.sort_unstable();
        // Some room, so that not every further session costs one.
        let keep = usize::midpoint(limits::MESH_WANTED, limits::MESH_HIGH);
        ranked.drain(keep..).map(|(_, peer)| peer).collect()
    }

    /// When [`Mesh::wanted`] may be another although nothing changed.
    pub fn next_turn(&self, now: Millis) -> Millis {
        (self.turn(now) + 1) * turn_millis() - self.phase
    }

    fn turn(&self, now: Millis) -> u64 {
        now.saturating_add(self.phase) / turn_millis()
    }

    fn rank(&self, turn: u64, peer: &PeerId) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_be_bytes()).update(&turn.to_be_bytes()).update(&self.me.0).update(&peer.0);
        let hash = hasher.finalize();
        u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"))
    }
}

fn turn_millis() -> Millis {
    limits::MESH_TURN.as_secs() * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Graph {
        meshes: Vec<Mesh>,
        sessions: Vec<BTreeSet<PeerId>>,
        up: Vec<bool>,
        /// Nodes of different groups do not reach each other.
        group: Vec<u8>,
        now: Millis,
    }

    fn peer(n: usize) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        PeerId(bytes)
    }

    fn number(peer: &PeerId) -> usize {
        usize::try_from(u64::from_be_bytes(peer.0[..8].try_into().unwrap())).unwrap()
    }

    impl Graph {
        fn new(count: usize) -> Self {
            Self {
                meshes: (0..count).map(|n| Mesh::new(peer(n), n as u64 * 77)).collect(),
                sessions: vec![BTreeSet::new(); count],
                up: vec![true; count],
                group: vec![0; count],
                now: 1_000_000_000,
            }
        }

        fn cut(&mut self, a: usize, b: usize) {
            self.sessions[a].remove(&peer(b));
            self.sessions[b].remove(&peer(a));
        }

        /// A fraction of a turn: everybody looks once.
        fn round(&mut self) {
            self.now += turn_millis() / 4;
            for n in (0..self.meshes.len()).filter(|n| self.up[*n]).collect::<Vec<_>>() {
                let known = (0..self.meshes.len()).filter(|k| self.up[*k] && self.group[*k] == self.group[n]).map(peer);
                for other in self.meshes[n].wanted(self.now, known, &self.sessions[n].clone()) {
                    let other = number(&other);
                    if self.meshes[other].admits(&self.sessions[other], &peer(n)) {
                        self.sessions[other].insert(peer(n));
                        self.sessions[n].insert(peer(other));
                    }
                }
                for other in self.meshes[n].surplus(self.now, &self.sessions[n].clone()) {
                    self.cut(n, number(&other));
                }
            }
        }

        fn reached(&self) -> usize {
            let Some(start) = self.up.iter().position(|up| *up) else { return 0 };
            let (mut seen, mut todo) = (BTreeSet::from([start]), vec![start]);
            while let Some(n) = todo.pop() {
                todo.extend(self.sessions[n].iter().map(number).filter(|other| seen.insert(*other)));
            }
            seen.len()
        }

        fn degrees(&self) -> (usize, usize) {
            let up = || self.sessions.iter().zip(&self.up).filter(|(_, up)| **up).map(|(sessions, _)| sessions.len());
            (up().min().unwrap(), up().max().unwrap())
        }

        fn stop(&mut self, n: usize) {
            self.up[n] = false;
            for other in std::mem::take(&mut self.sessions[n]) {
                self.cut(n, number(&other));
            }
        }
    }

    #[test]
    fn a_small_project_is_whole_and_a_large_one_hangs_together_with_few_sessions() {
        for count in [2, 5, 10, 12, 40, 300] {
            let mut graph = Graph::new(count);
            for round in 0..20 {
                graph.round();
                assert!(round == 0 || graph.reached() == count, "{count} nodes after {round} rounds");
                let (least, most) = graph.degrees();
                assert!(most <= limits::MESH_MOST + 1, "{count}: {most}");
                assert!(round < 2 || least >= (limits::MESH_WANTED - 2).min(count - 1), "{count}: {least}");
            }
            let whole = count - 1;
            assert!(count > limits::MESH_WHOLE || graph.degrees() == (whole, whole));
        }
    }

    #[test]
    fn it_mends_where_half_go_and_where_two_halves_meet_again() {
        let mut graph = Graph::new(200);
        (0..3).for_each(|_| graph.round());
        (0..200).filter(|n| n % 2 == 0).for_each(|n| graph.stop(n));
        (0..2).for_each(|_| graph.round());
        assert_eq!(graph.reached(), 100);
        assert!(graph.degrees().0 >= limits::MESH_WANTED - 2);

        let mut graph = Graph::new(200);
        (0..200).for_each(|n| graph.group[n] = u8::from(n < 100));
        (0..8).for_each(|_| graph.round());
        assert_eq!(graph.reached(), 100, "each half by itself");
        graph.group.fill(0);
        (0..4).for_each(|_| graph.round());
        assert_eq!(graph.reached(), 200, "one turn later they are one");
    }

    /// Members who dial one node without end do not keep it to themselves.
    #[test]
    fn nobody_is_surrounded() {
        let mesh = Mesh::new(peer(0), 5);
        let (bad, good): (Vec<_>, Vec<_>) = (1..201).map(peer).partition(|peer| number(peer) <= 40);
        let mut connected = BTreeSet::new();
        let mut free = 0;
        for round in 0..100 {
            let now = round * turn_millis();
            bad.iter().for_each(|peer| {
                if mesh.admits(&connected, peer) {
                    connected.insert(*peer);
                }
            });
            connected.extend(mesh.wanted(now, bad.iter().chain(&good).copied(), &connected));
            free += u32::from(good.iter().any(|peer| connected.contains(peer)));
            for peer in mesh.surplus(now, &connected) {
                connected.remove(&peer);
            }
        }
        assert!(free > 70, "with somebody else in {free} of 100 turns");
    }
}
