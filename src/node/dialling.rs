//! Who is known and where, and dialling them.

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
use crate::sync::{Hello, VERSION};

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

    /// Dials those whose time has come.
    pub(super) fn drive_dials(&mut self, now: Millis) {
        if self.sessions.len() >= limits::NEIGHBOURS {
            return;
        }
        let under_way = self.known.values().filter(|known| known.dialling).count();
        let mut due: Vec<PeerId> = self
            .known
            .iter()
            .filter(|(peer, known)| {
                !known.dialling
                    && !self.sessions.contains_key(*peer)
                    && !self.hearings.has(peer)
                    && known.next_dial.is_some_and(|at| at <= now)
                    && !known.addrs.is_empty()
            })
            .map(|(peer, _)| *peer)
            .collect();
        // Who was here before comes first, then who waits longest.
        due.sort_by_key(|peer| self.known.get(peer).map(|known| (known.last_seen.is_none(), known.next_dial)));
        due.truncate(limits::DIALS.saturating_sub(under_way));
        for peer in due {
            let Some(known) = self.known.get_mut(&peer) else { continue };
            known.dialling = true;
            known.next_dial = None;
            let addrs = known.addrs.clone();
            self.dial(Some(peer), addrs);
        }
    }

    pub(super) fn next_dial(&self) -> Option<Millis> {
        let under_way = self.known.values().filter(|known| known.dialling).count();
        if self.sessions.len() >= limits::NEIGHBOURS || under_way >= limits::DIALS {
            return None;
        }
        let waiting = |(peer, known): (&PeerId, &Known)| {
            let here = self.sessions.contains_key(peer) || self.hearings.has(peer);
            let waits = !known.dialling && !known.addrs.is_empty() && !here;
            known.next_dial.filter(|_| waits)
        };
        self.known.iter().filter_map(waiting).min()
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

    pub(super) fn remember_peers(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let row = |(peer, known): (&PeerId, &Known)| {
            let addrs = known.addrs.iter().map(ToString::to_string).collect();
            let row = Remembered { addrs, last_seen: known.last_seen, durable: known.durable };
            (peer.0.to_vec(), Some(codec::encode(&row)))
        };
        self.known.iter().map(row).collect()
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
