//! Who is known and where, and dialling them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::run::Wake;
use super::sessions::{Arrival, millis};
use crate::codec;
use crate::discovery;
use crate::eventlog::store::Note;
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::sync::{Hello, Mesh, VERSION};

/// A peer that may be dialled.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) last_seen: Option<Millis>,
    /// The last own event that it was known to hold.
    pub(super) durable: Option<u64>,
    pub(super) dialling: bool,
    pub(super) next_dial: Option<Millis>,
    pub(super) wait: Millis,
}

/// What is remembered of a peer over a restart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Remembered {
    addrs: Vec<String>,
    last_seen: Option<Millis>,
    durable: Option<u64>,
}

/// What to remember of a peer whose address is known and nothing else.
pub(crate) fn remembered_peer(addrs: &[SocketAddr]) -> Remembered {
    Remembered { addrs: addrs.iter().map(ToString::to_string).collect(), last_seen: None, durable: None }
}

impl Known {
    pub(super) fn recall(bytes: &[u8]) -> Option<Self> {
        let Remembered { addrs, last_seen, durable } = codec::decode(bytes, limits::EVENT_BYTES).ok()?;
        let addrs = addrs.iter().filter_map(|addr| addr.parse().ok()).collect();
        Some(Self { addrs, last_seen, durable, next_dial: Some(0), ..Self::default() })
    }
}

/// Peers without a session whose time to be dialled has come: those who were here before first, then who waits longest.
fn due(now: Millis, known: &BTreeMap<PeerId, Known>, connected: &BTreeSet<PeerId>) -> Vec<PeerId> {
    let is_due = |(peer, known): &(&PeerId, &Known)| {
        let comes = known.next_dial.is_some_and(|at| at <= now);
        comes && !known.dialling && !known.addrs.is_empty() && !connected.contains(*peer)
    };
    let mut due: Vec<(&PeerId, &Known)> = known.iter().filter(is_due).collect();
    due.sort_by_key(|(_, known)| (known.last_seen.is_none(), known.next_dial));
    due.into_iter().map(|(peer, _)| *peer).collect()
}

/// Whom of those `due` to dial: all in a small project, in a large one whom the mesh wants. Those on their way count as
/// neighbours.
fn to_dial(
    mesh: &Mesh,
    now: Millis,
    known: &BTreeMap<PeerId, Known>,
    connected: &BTreeSet<PeerId>,
    due: Vec<PeerId>,
) -> Vec<PeerId> {
    let dialled = known.iter().filter(|(_, known)| known.dialling).map(|(peer, _)| *peer);
    let connected: BTreeSet<PeerId> = dialled.chain(connected.iter().copied()).collect();
    mesh.wanted(now, due.into_iter(), &connected)
}

/// When somebody is to be dialled next: when the first of those who wait may be, or another is wanted of those who may
/// be now.
fn next_dial(mesh: &Mesh, now: Millis, waiting: impl Iterator<Item = Millis>) -> Option<Millis> {
    waiting.map(|at| if at > now { at } else { mesh.next_turn(now) }).min()
}

impl Core {
    /// A peer of this project is at these addresses.
    pub(super) fn seen(&mut self, peer: PeerId, addrs: Vec<SocketAddr>) {
        if peer == self.me {
            // Announced from elsewhere it is a copy, or somebody's mistake: keys tell, an announcement does not.
            let own = discovery::local_addrs(self.endpoint.local_port());
            let elsewhere = !addrs.iter().any(|addr| own.contains(addr) || addr.ip().is_loopback());
            if elsewhere && self.copied_key().is_none() {
                self.dial(Some(peer), addrs);
            }
            return;
        }
        let known = self.known.entry(peer).or_default();
        for addr in addrs {
            known.addrs.retain(|old| *old != addr);
            known.addrs.insert(0, addr);
        }
        known.addrs.truncate(limits::KNOWN_ADDRS);
        known.wait = 0;
        if !self.sessions.contains_key(&peer) {
            // Both see each other at once; the lower key dials first.
            let now = self.clock.steady();
            known.next_dial = Some(if self.me < peer { now } else { now + 150 });
        }
        self.forget_peers();
    }

    /// Dials those whose time has come, as far as they are wanted.
    pub(super) fn drive_dials(&mut self, now: Millis) {
        let connected = self.connected();
        let (removed, due) = self.due_now(now, &connected);
        for peer in removed.into_iter().chain(to_dial(&self.mesh, now, &self.known, &connected, due)) {
            if self.known.values().filter(|known| known.dialling).count() >= limits::DIALS {
                break;
            }
            let Some(known) = self.known.get_mut(&peer) else { continue };
            known.dialling = true;
            known.next_dial = None;
            let addrs = known.addrs.clone();
            self.dial(Some(peer), addrs);
        }
    }

    /// Whose time to be dialled has come: those removed, who are to be heard and are nobody's neighbours, and the others.
    fn due_now(&self, now: Millis, connected: &BTreeSet<PeerId>) -> (Vec<PeerId>, Vec<PeerId>) {
        let due = due(now, &self.known, connected).into_iter().filter(|peer| !self.hearings.has(peer));
        due.partition(|peer| self.dials_for_hearing(Some(*peer)))
    }

    pub(super) fn next_dial(&self, now: Millis) -> Option<Millis> {
        if self.known.values().filter(|known| known.dialling).count() >= limits::DIALS {
            return None;
        }
        let waits = |(peer, known): (&PeerId, &Known)| {
            let here = self.sessions.contains_key(peer) || self.hearings.has(peer);
            known.next_dial.filter(|_| !known.dialling && !known.addrs.is_empty() && !here)
        };
        next_dial(&self.mesh, now, self.known.iter().filter_map(waits))
    }

    /// Dials addresses and says hello. With `peer` only that peer will do, else any of this project.
    pub(super) fn dial(&self, peer: Option<PeerId>, addrs: Vec<SocketAddr>) {
        let (endpoint, feed, wake) = (self.endpoint.clone(), self.feed.clone(), self.wake.clone());
        let target = peer.unwrap_or(discovery::ANY_PEER);
        let mut nonce = [0; 8];
        if getrandom::fill(&mut nonce).is_err() {
            return;
        }
        let name = discovery::member_name(&self.discovery_key, &target, nonce);
        let hello = self.hello(self.dials_for_hearing(peer)).encode();
        tokio::spawn(async move {
            let met = async {
                let connection = endpoint.dial(&feed, peer, &name, &addrs).await.map_err(|e| e.to_string())?;
                let own_key = connection.peer() == feed.peer();
                if own_key {
                    let _ = wake.send(Wake::OwnKey(super::copies::secret_of(&connection))).await;
                }
                let greeting = async {
                    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
                    send.write_frame(&hello).await.map_err(|e| e.to_string())?;
                    let first = recv.read_frame(limits::STRANGER_FRAME_BYTES).await.map_err(|e| e.to_string())?;
                    let first = first.ok_or_else(|| "it ended the connection".to_owned())?;
                    Ok::<_, String>((first, send, recv))
                };
                let greeting = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, greeting).await;
                let (first, send, recv) = match greeting {
                    Ok(Ok(greeting)) => greeting,
                    Ok(Err(why)) => {
                        let Some(closed) = connection.close_reason() else { return Err(why) };
                        if own_key && closed.why == super::copies::HAS_OUR_KEY {
                            let _ = wake.send(Wake::MetCopy).await;
                        }
                        if closed.by_peer && closed.code == Some(crate::quic::CloseCode::NotAMember) {
                            let _ = wake.send(Wake::TurnedAway { why: closed.why.clone() }).await;
                        }
                        return Err(closed.why);
                    }
                    Err(_) => return Err("it did not answer the hello in time".to_owned()),
                };
                Ok(Arrival { connection, first, send, recv })
            };
            let wakes = match met.await {
                Ok(arrival) => Wake::Greeted(Box::new(arrival)),
                Err(why) => Wake::NotReached { dialled: peer, addrs, why },
            };
            let _ = wake.send(wakes).await;
        });
    }

    /// The first that is said, for a session or a hearing.
    pub(super) fn hello(&self, hearing: bool) -> Hello {
        Hello {
            version: VERSION,
            features: Hello::features(hearing),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            clock: self.clock.wall(),
            certificate: self.certificate,
            digest: self.sync.digest(),
        }
    }

    pub(super) fn not_reached(&mut self, now: Millis, peer: Option<PeerId>, addrs: &[SocketAddr], why: &str) {
        tracing::debug!(?peer, ?addrs, why, "not reached");
        self.connects.retain_mut(|connect| connect.not_reached(addrs, why));
        if let Some(known) = peer.and_then(|peer| self.known.get_mut(&peer)) {
            known.dialling = false;
            let (least, most) = (millis(limits::REDIAL_MIN), millis(limits::REDIAL_MAX));
            known.wait = (known.wait * 2).clamp(least, most);
            known.next_dial = Some(now + known.wait);
        }
    }

    /// Those who were met, as they are written down.
    pub(super) fn remember_peers(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let row = |(peer, known): (&PeerId, &Known)| {
            let addrs = known.addrs.iter().map(ToString::to_string).collect();
            let row = Remembered { addrs, last_seen: known.last_seen, durable: known.durable };
            (peer.0.to_vec(), Some(codec::encode(&row)))
        };
        self.known.iter().filter(|(_, known)| known.last_seen.is_some()).map(row).collect()
    }

    /// Writes down who is known and where, beside the loop.
    pub(super) fn store_peers(&self) {
        let (store, rows) = (self.store.clone(), self.remember_peers());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.remember(Note::Peers, &rows) {
                tracing::warn!(%error, "peers could not be remembered");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dialling of some nodes, each of which sees all others at once, without a network.
    struct Lan {
        meshes: Vec<Mesh>,
        known: Vec<BTreeMap<PeerId, Known>>,
        sessions: Vec<BTreeSet<PeerId>>,
        now: Millis,
        dials: usize,
    }

    fn peer(n: usize) -> PeerId {
        PeerId([u8::try_from(n).unwrap(); 32])
    }

    impl Lan {
        fn new(count: usize) -> Self {
            let addrs = vec![SocketAddr::from(([10, 0, 0, 1], 7483))];
            let seen = Known { addrs, next_dial: Some(0), ..Known::default() };
            let known = |n: usize| (0..count).filter(|k| *k != n).map(|k| (peer(k), seen.clone())).collect();
            Self {
                meshes: (0..count).map(|n| Mesh::new(peer(n), n as u64 * 31 + 7)).collect(),
                known: (0..count).map(known).collect(),
                sessions: vec![BTreeSet::new(); count],
                now: 1_000_000,
                dials: 0,
            }
        }

        /// What `drive_dials`, `greeted` and `let_go` do, each node once.
        fn round(&mut self) {
            for n in 0..self.meshes.len() {
                let (known, sessions) = (&self.known[n], &self.sessions[n]);
                let wanted = to_dial(&self.meshes[n], self.now, known, sessions, due(self.now, known, sessions));
                for to in wanted {
                    self.dials += 1;
                    let other = usize::from(to.0[0]);
                    if self.meshes[other].admits(&self.sessions[other], &peer(n)) {
                        self.sessions[n].insert(to);
                        self.sessions[other].insert(peer(n));
                    } else if let Some(known) = self.known[n].get_mut(&to) {
                        known.wait = (known.wait * 2).clamp(millis(limits::REDIAL_MIN), millis(limits::REDIAL_MAX));
                        known.next_dial = Some(self.now + known.wait);
                    }
                }
                for to in self.meshes[n].surplus(self.now, &self.sessions[n]) {
                    self.sessions[n].remove(&to);
                    self.sessions[usize::from(to.0[0])].remove(&peer(n));
                }
            }
        }

        /// When a node would wake by itself.
        fn next(&self) -> Option<Millis> {
            let of = |n: usize| {
                let waits = self.known[n].iter().filter(|(peer, _)| !self.sessions[n].contains(*peer));
                next_dial(&self.meshes[n], self.now, waits.filter_map(|(_, known)| known.next_dial))
            };
            (0..self.meshes.len()).filter_map(of).min()
        }

        fn reached(&self) -> usize {
            let (mut seen, mut todo) = (BTreeSet::from([0]), vec![0]);
            while let Some(n) = todo.pop() {
                let others = self.sessions[n].iter().map(|peer| usize::from(peer.0[0]));
                todo.extend(others.filter(|other| seen.insert(*other)));
            }
            seen.len()
        }
    }

    #[test]
    fn a_small_project_is_dialled_whole_and_a_large_one_as_the_mesh_wants() {
        for count in [2, 6, 11, 24, 60, 200] {
            let mut lan = Lan::new(count);
            for _ in 0..12 {
                lan.round();
                let next = lan.next();
                assert!(next.is_none_or(|next| next > lan.now), "nobody wakes without end: {next:?}");
                lan.now = next.unwrap_or(lan.now + 1_000);
            }
            let degrees = || lan.sessions.iter().map(BTreeSet::len);
            let (least, most) = (degrees().min().unwrap(), degrees().max().unwrap());
            assert_eq!(lan.reached(), count, "{count} hang together");
            if count <= limits::MESH_WHOLE + 1 {
                assert_eq!((least, most, lan.next()), (count - 1, count - 1, None), "each with each, then quiet");
            } else {
                assert!(
                    least + 2 >= limits::MESH_WANTED && most <= limits::MESH_MOST + 1,
                    "{count}: {least} to {most}"
                );
                assert!(lan.dials < 20 * count, "{count}: {} dials", lan.dials);
            }
        }
    }

    #[test]
    fn who_is_being_dialled_counts_and_who_was_here_before_comes_first() {
        let mut lan = Lan::new(60);
        let known = &mut lan.known[0];
        known.get_mut(&peer(40)).unwrap().last_seen = Some(5);
        known.get_mut(&peer(41)).unwrap().next_dial = Some(lan.now + 1);
        let none = BTreeSet::new();
        let first = due(lan.now, known, &none);
        assert!(first[0] == peer(40) && first.len() == 58, "one is not due yet");
        let wanted = to_dial(&lan.meshes[0], lan.now, known, &none, first);
        assert_eq!(wanted.len(), limits::MESH_WANTED);
        for peer in &wanted {
            let known = known.get_mut(peer).unwrap();
            (known.dialling, known.next_dial) = (true, None);
        }
        let then = due(lan.now, known, &none);
        assert_eq!(to_dial(&lan.meshes[0], lan.now, known, &none, then), [], "so many are on their way");
    }
}
