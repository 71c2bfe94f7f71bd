//! Sessions: say hello, keep one for each peer, pass on what is said.

mod said;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

pub(super) use self::streams::{Outgoing, SessionEnd, read_session, write_session};
use super::clocks::Held;
use super::core::Core;
use super::run::Wake;
use crate::eventlog::FrontierEntry;
use crate::hlc::Millis;
use crate::id::PeerId;
use crate::limits;
use crate::quic::{CloseCode, Connection, FrameError, RecvStream, SendStream, keep_dialled_by_lower};
use crate::sync::{Hello, Input, JoinMessage, Message, Output};

/// One session.
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) connection: Connection,
    pub(super) hello: Hello,
    began: Millis,
    out: mpsc::Sender<Outgoing>,
    /// What it sent and is not taken in yet, as its time has not come.
    pub(super) held: Option<Held>,
    /// That was said to people: once for each session, it may go on sending such events.
    held_told: bool,
    /// How often chains of a feed were compared.
    chains: BTreeMap<PeerId, u8>,
    /// What it told of and is not here yet.
    ahead: BTreeSet<FrontierEntry>,
}

/// What is said to one that finds no room, or is let go for others. It dials others.
const ENOUGH: &str = "it has enough neighbours";

/// A connection on which the first frame was read.
pub(super) struct Arrival {
    pub(super) connection: Connection,
    pub(super) first: Vec<u8>,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

impl Core {
    /// A connection under this node's name: read its first frame beside the loop.
    pub(super) fn arrived(&mut self, connection: Connection) {
        let wake = self.wake.clone();
        tokio::spawn(async move {
            let first = async {
                let (send, mut recv) = connection.accept_bi().await?;
                let first = recv.read_frame(limits::STRANGER_FRAME_BYTES).await?;
                Ok::<_, FrameError>(first.map(|first| (first, send, recv)))
            };
            match tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, first).await {
                Ok(Ok(Some((first, send, recv)))) => {
                    let _ = wake.send(Wake::Greeted(Box::new(Arrival { connection, first, send, recv }))).await;
                }
                Ok(Ok(None)) => connection.close(CloseCode::Protocol, "it said nothing"),
                Ok(Err(error @ FrameError::TooLarge { .. })) => {
                    connection.close(CloseCode::TooLarge, &error.to_string());
                }
                Ok(Err(error)) => connection.close(CloseCode::Protocol, &error.to_string()),
                Err(_) => connection.close(CloseCode::TooLate, "no hello in time"),
            }
        });
    }

    /// The first frame is here: a member's hello, or a stranger who asks to join.
    pub(super) fn greeted(&mut self, now: Millis, arrival: Arrival) {
        if !arrival.connection.dialled() && JoinMessage::decode(&arrival.first).is_ok() {
            return self.asked_to_join(now, arrival);
        }
        let Arrival { connection, first, send, recv } = arrival;
        let peer = connection.peer();
        let dialled = connection.dialled();
        if dialled && let Some(known) = self.known.get_mut(&peer) {
            known.dialling = false;
        }
        let refused = |code, why: &str| {
            tracing::info!(peer = %peer.short(), why, "connection closed");
            connection.close(code, why);
        };
        let Ok(hello) = Hello::decode(&first) else { return refused(CloseCode::Protocol, "not a hello") };
        if hello.certificate.verify(&self.state.project(), &peer).is_err() {
            return refused(CloseCode::NotAMember, "its certificate does not hold");
        }
        // Before the log is here nobody is known to be a member, and we dialled who let us in.
        let joining = dialled && self.state.genesis().is_none();
        let welcome = joining || self.state.is_welcome(&hello.certificate.identity, &peer);
        // Both must know that it is a hearing: who dialled learns it from the answer.
        let hears = !welcome && self.hears(&hello, &peer) && (!dialled || hello.is_hearing());
        if !welcome && !hears {
            if let Some(known) = self.known.get_mut(&peer).filter(|_| dialled) {
                known.wait = (known.wait * 2).clamp(millis(limits::REDIAL_MIN), millis(limits::REDIAL_MAX));
                known.next_dial = Some(now + known.wait);
            }
            return refused(CloseCode::NotAMember, &self.why_removed(&peer, hello.certificate.identity));
        }
        if peer == self.me {
            if self.is_copy(&connection) {
                refused(CloseCode::Duplicate, super::copies::HAS_OUR_KEY);
                return self.met_copy();
            }
            return refused(CloseCode::Duplicate, "it is this clone itself");
        }
        if self.log_lost.is_some() {
            return refused(CloseCode::Busy, "its log cannot be written now");
        }
        if hears || hello.is_hearing() {
            return self.begin_hearing(now, connection, &hello, send, recv);
        }
        if let Some(old) = self.sessions.get(&peer) {
            // Only two that dial each other at once choose. Later a new one says that the peer has lost the old one:
            // it was killed and runs again, say.
            let at_once = now.saturating_sub(old.began) < millis(limits::HANDSHAKE_TIMEOUT);
            let same_way = old.connection.dialled() == dialled;
            let keep_new = !at_once || same_way || keep_dialled_by_lower(&self.me, &peer, dialled);
            if !keep_new {
                return refused(CloseCode::Duplicate, "another connection is used");
            }
            old.connection.close(CloseCode::Duplicate, "another connection is used");
            self.end_session(now, peer, true);
        }
        let of_one = |session: &&Session| session.hello.certificate.identity == hello.certificate.identity;
        if self.sessions.values().filter(of_one).count() >= limits::NEIGHBOURS_OF_ONE {
            return refused(CloseCode::Busy, "too many clones of one member");
        }
        if !dialled && !self.mesh.admits(&self.connected(), &peer) {
            return refused(CloseCode::Busy, ENOUGH);
        }
        connection.admit();
        let answer = (!dialled).then(|| self.hello(false).encode());
        self.begin_session(now, connection, hello, send, answer, recv);
    }

    fn begin_session(
        &mut self,
        now: Millis,
        connection: Connection,
        hello: Hello,
        send: SendStream,
        answer: Option<Vec<u8>>,
        recv: RecvStream,
    ) {
        let peer = connection.peer();
        self.next_session += 1;
        let id = self.next_session;
        let (out, outbox) = mpsc::channel(limits::OUTBOX);
        if let Some(answer) = answer {
            // It is empty.
            let _ = out.try_send((answer, false));
        }
        tokio::spawn(write_session(self.wake.clone(), peer, id, send, outbox));
        tokio::spawn(read_session(self.wake.clone(), peer, id, connection.clone(), recv));
        tokio::spawn(super::serving::accept_fetches(self.wake.clone(), peer, id, connection.clone()));
        self.clocks.told.heard(peer, hello.clock, now);
        let wall = self.clock.wall();
        let known = self.known.entry(peer).or_default();
        known.last_seen = Some(wall);
        known.wait = 0;
        let addr = connection.remote_addr();
        if connection.dialled() {
            known.addrs.retain(|old| *old != addr);
            known.addrs.insert(0, addr);
            known.addrs.truncate(limits::KNOWN_ADDRS);
        }
        self.connects.retain_mut(|connect| connect.reached(addr));
        self.forget_peers();
        let (digest, features) = (hello.digest, hello.features);
        let (chains, ahead) = (BTreeMap::new(), BTreeSet::new());
        self.sessions.insert(
            peer,
            Session { id, connection, hello, began: now, out, held: None, held_told: false, chains, ahead },
        );
        self.turned_away = None;
        self.fetches.peer_up(peer);
        self.media_peer_up(peer, features);
        self.sync.handle(now, Input::PeerUp { peer, digest });
        let served = self.served_now();
        self.say_served_to(peer, &served);
        self.ask_for_pieces(now, peer);
        let who = self.peer_name(&peer);
        self.store_peers();
        // While joining nobody has a name yet.
        if self.state.genesis().is_some() {
            let text = format!("{who} is here");
            self.say_moved(now, who, true, text);
        }
    }

    /// The handle of a peer's member, or the start of its key.
    pub(super) fn peer_name(&self, peer: &PeerId) -> String {
        let certified = || self.sessions.get(peer).map(|session| session.hello.certificate.identity);
        let member = self.state.member_of_feed(peer).or_else(|| self.state.member_of_identity(&certified()?));
        member.map_or_else(|| peer.short(), |member| self.state.handle(&member))
    }

    fn is_current(&self, peer: &PeerId, session: u64) -> bool {
        self.sessions.get(peer).is_some_and(|current| current.id == session)
    }

    /// Ends a session for a peer's mistake, with the reason on both sides.
    pub(super) fn drop_peer(&mut self, now: Millis, peer: PeerId, why: &str) {
        tracing::warn!(peer = %peer.short(), why, "session ended for a mistake");
        if let Some(session) = self.sessions.get(&peer) {
            session.connection.close(CloseCode::Protocol, why);
        }
        self.end_session(now, peer, false);
        self.not_soon(now, peer);
    }

    /// Forgets a session with one who is welcome no more, whose connection the caller closes; not dialled again soon.
    pub(super) fn leave_session(&mut self, now: Millis, peer: PeerId) {
        self.end_session(now, peer, true);
        self.not_soon(now, peer);
    }

    pub(super) fn ended(&mut self, now: Millis, peer: PeerId, session: u64, end: SessionEnd) {
        if self.is_current(&peer, session) {
            tracing::debug!(peer = %peer.short(), why = end.why, "session ended");
            if end.turned_away {
                self.turned_away = Some(end.why);
            }
            if end.let_go {
                self.forget_session(now, peer);
            } else {
                self.end_session(now, peer, end.orderly);
            }
        } else {
            self.hearing_ended(now, peer, session, end);
        }
    }

    fn end_session(&mut self, now: Millis, peer: PeerId, orderly: bool) {
        let who = self.peer_name(&peer);
        if self.forget_session(now, peer) {
            let text = if orderly { format!("{who} left") } else { format!("{who} is out of reach") };
            self.say_moved(now, who, false, text);
        }
    }

    /// Everybody with a session.
    pub(super) fn connected(&self) -> BTreeSet<PeerId> {
        self.sessions.keys().copied().collect()
    }

    /// Lets those go of whom there are more than enough.
    pub(super) fn let_go(&mut self, now: Millis) {
        if self.sessions.len() <= limits::MESH_HIGH {
            return;
        }
        for peer in self.mesh.surplus(now, &self.connected()) {
            if let Some(session) = self.sessions.get(&peer) {
                session.connection.close(CloseCode::Busy, ENOUGH);
            }
            self.forget_session(now, peer);
        }
    }

    /// A session is over; `false` where there was none.
    fn forget_session(&mut self, now: Millis, peer: PeerId) -> bool {
        if self.sessions.remove(&peer).is_none() {
            return false;
        }
        self.fetches.peer_down(&peer);
        self.media.fetches.peer_down(&peer);
        self.serving.decides.peer_down(&peer);
        self.pieces_peer_down(&peer);
        self.sync.handle(now, Input::PeerDown(peer));
        self.clocks.told.gone(&peer);
        let wall = self.clock.wall();
        let known = self.known.entry(peer).or_default();
        known.last_seen = Some(wall);
        known.wait = 0;
        known.next_dial = Some(now + millis(limits::REDIAL_MIN));
        true
    }

    /// Carries out what the sessions want done.
    pub(super) fn drain(&mut self, now: Millis) {
        while let Some(output) = self.sync.poll() {
            match output {
                Output::Send { peer, message, flush } => self.say(now, peer, message.encode(), flush),
                Output::Load { peer, load, lacking } => {
                    let (store, lacking) = (self.store.clone(), self.state.clip(lacking));
                    let job = move || store.read(&lacking, limits::BATCH_BYTES);
                    super::run::work(&self.wake, job, move |events| Wake::Loaded { peer, load, events });
                }
                Output::Serves { peer, commits } => {
                    self.fetches.serves(peer, &commits);
                    self.serving.decides.told(peer, &commits);
                }
                Output::Drop { peer, why } => self.drop_peer(now, peer, why),
            }
        }
    }

    /// Tells all neighbours that the objects of these commits can be had here.
    pub(super) fn say_served(&mut self, commits: &[crate::id::ObjectId]) {
        let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.say_served_to(peer, commits);
        }
    }

    fn say_served_to(&mut self, peer: PeerId, commits: &[crate::id::ObjectId]) {
        for part in commits.chunks(limits::FETCH_TIPS) {
            self.say(self.clock.steady(), peer, Message::Objects(part.to_vec()).encode(), false);
        }
    }

    /// Puts a message into a neighbour's outbox. Who lets it overflow reads nothing, and is left.
    pub(super) fn say(&mut self, now: Millis, peer: PeerId, bytes: Vec<u8>, flush: bool) {
        let Some(session) = self.sessions.get(&peer) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = session.out.try_send((bytes, flush)) {
            self.drop_peer(now, peer, "it does not read what it is sent");
        }
    }

    /// All sessions as a reader shows them.
    pub(super) fn session_infos(&self) -> BTreeMap<PeerId, super::snapshot::SessionInfo> {
        let info = |(peer, session): (&PeerId, &Session)| {
            let info = super::snapshot::SessionInfo {
                addr: session.connection.remote_addr(),
                rtt: session.connection.rtt(),
                version: session.hello.program.clone(),
                up_to_date: self.sync.up_to_date(peer),
                identity: session.hello.certificate.identity,
            };
            (*peer, info)
        };
        self.sessions.iter().map(info).collect()
    }
}

pub(super) fn millis(duration: std::time::Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
