//! Shared packs: made for several who want the same, taken in pieces from everybody who has some, and passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::core::Core;
use super::run::Wake;
use super::serving::Answer;
use super::sessions::millis;
use crate::git::{NotShared, PackPieces, PieceRefused, Repository};
use crate::hlc::Millis;
use crate::id::{ObjectId, PackId, PeerId};
use crate::limits;
use crate::quic::{Connection, SendStream};
use crate::sync::{AskPiece, FetchReply, Given, Message, PieceReply, PieceRequest, PieceSet, Taking};

/// What happened to a shared pack.
pub(super) enum PiecesWork {
    /// It was made, or not.
    Made { shared: u64, made: Result<Arc<PackPieces>, NotShared> },
    /// A fetch takes part in one that `maker` made.
    Taken { maker: PeerId, pieces: Arc<PackPieces> },
    /// That fetch is over. Is all of it here, and sound?
    Over { pack: PackId, sound: bool },
    /// A neighbour gives this piece.
    Replied { pack: PackId, ask: u64, piece: u32 },
    /// An ask is over.
    Came { pack: PackId, ask: u64, came: Came },
    /// A neighbour asks for a piece.
    Asked { peer: PeerId, session: u64, request: Result<PieceRequest, String>, send: SendStream },
    /// A piece was sent, or not.
    Gave { pack: PackId, peer: PeerId, piece: u32, began: Millis, sent: bool },
}

/// What came of an ask for a piece.
pub(super) enum Came {
    /// It is here.
    Piece(u32),
    /// Nothing now.
    Later,
    /// Nothing, and nothing will.
    Nothing(String),
    /// It cannot be stored here.
    Local(io::ErrorKind),
}

/// All shared packs that this node has a part in.
#[derive(Default)]
pub(super) struct PiecesState {
    /// By the numbers of `sync::Serving`.
    made: BTreeMap<u64, Making>,
    packs: BTreeMap<PackId, Pack>,
}

/// A pack that is shared here.
struct Making {
    until: Millis,
    stop: Arc<AtomicBool>,
    /// Who waits for it to be made, and until when.
    waiting: Vec<(Millis, oneshot::Sender<Answer>)>,
    pack: Option<PackId>,
}

struct Pack {
    pieces: Arc<PackPieces>,
    /// While it is on its way to us.
    taking: Option<Taking>,
    /// Neighbours who take part, as far as they told.
    others: BTreeSet<PeerId>,
    given: Given,
    /// Pieces that are being sent, by whom they are for.
    sending: BTreeMap<PeerId, usize>,
    /// When it was last asked for.
    used: Millis,
}

impl Pack {
    fn new(now: Millis, pieces: Arc<PackPieces>, taking: Option<Taking>) -> Self {
        let (others, given, sending) = (BTreeSet::new(), Given::default(), BTreeMap::new());
        Self { pieces, taking, others, given, sending, used: now }
    }

    /// What is here of it.
    fn here(&self) -> PieceSet {
        match &self.taking {
            Some(taking) => taking.here().clone(),
            None => PieceSet::all(self.pieces.manifest().pieces()),
        }
    }

    fn is_unused(&self, now: Millis) -> bool {
        self.taking.is_none() && self.sending.is_empty() && self.kept_until() <= now
    }

    fn kept_until(&self) -> Millis {
        self.used + millis(limits::SHARED_KEPT)
    }
}

/// Takes one request for a piece.
pub(super) async fn accept(wake: &mpsc::Sender<Wake>, peer: PeerId, session: u64, frame: &[u8], send: SendStream) {
    let request = PieceRequest::decode(frame).map_err(|error| error.to_string());
    let _ = wake.send(Wake::Pieces(Box::new(PiecesWork::Asked { peer, session, request, send }))).await;
}

impl Core {
    /// Begins to make a pack for several.
    pub(super) fn make_shared(&mut self, shared: u64, want: Vec<ObjectId>, have: Vec<ObjectId>) {
        let stop = Arc::new(AtomicBool::new(false));
        let until = self.clock.steady() + millis(limits::SHARED_MADE);
        let making = Making { until, stop: stop.clone(), waiting: Vec::new(), pack: None };
        self.pieces.made.insert(shared, making);
        let job = move |repo: &Repository| repo.share_pack(&want, &have, &stop).map(Arc::new);
        let then = move |made| Wake::Pieces(Box::new(PiecesWork::Made { shared, made }));
        super::objects::with_repo(self, job, then);
    }

    /// The answer to one who takes part in a shared pack, when it has been made.
    pub(super) fn join_shared(&mut self, shared: u64) -> oneshot::Receiver<Answer> {
        let (say, said) = oneshot::channel();
        if let Some(making) = self.pieces.made.get_mut(&shared) {
            match making.pack.and_then(|pack| self.pieces.packs.get(&pack)) {
                // Its other end is here.
                Some(pack) => drop(say.send(answer(&pack.pieces))),
                None => making.waiting.push((self.clock.steady() + millis(limits::SHARED_WAITED), say)),
            }
        }
        said
    }

    pub(super) fn pieces_work(&mut self, now: Millis, work: PiecesWork) {
        match work {
            PiecesWork::Made { shared, made } => self.shared_made(now, shared, made),
            PiecesWork::Taken { maker, pieces } => self.take_shared(now, maker, pieces),
            PiecesWork::Over { pack, sound } => {
                let Some(shared) = self.pieces.packs.get_mut(&pack) else { return };
                if sound && shared.taking.as_ref().is_none_or(Taking::is_whole) {
                    (shared.taking, shared.used) = (None, now);
                } else {
                    self.pieces.packs.remove(&pack);
                }
            }
            PiecesWork::Replied { pack, ask, piece } => {
                if let Some(taking) = self.taking(&pack) {
                    taking.replied(ask, piece);
                }
            }
            PiecesWork::Came { pack, ask, came } => self.piece_came(now, pack, ask, came),
            PiecesWork::Asked { peer, session, request, send } => self.give_piece(now, peer, session, request, send),
            PiecesWork::Gave { pack, peer, piece, began, sent } => {
                let Some(pack) = self.pieces.packs.get_mut(&pack) else { return };
                pack.given.ended(now, piece, began, sent);
                pack.used = now;
                if let Some(to_it) = pack.sending.get_mut(&peer) {
                    *to_it -= 1;
                    if *to_it == 0 {
                        pack.sending.remove(&peer);
                    }
                }
            }
        }
    }

    fn taking(&mut self, pack: &PackId) -> Option<&mut Taking> {
        self.pieces.packs.get_mut(pack)?.taking.as_mut()
    }

    fn shared_made(&mut self, now: Millis, shared: u64, made: Result<Arc<PackPieces>, NotShared>) {
        let Some(making) = self.pieces.made.get_mut(&shared) else { return };
        let waiting = std::mem::take(&mut making.waiting);
        match made {
            Ok(pieces) => {
                let id = pieces.manifest().id();
                let (bytes, count) = (pieces.manifest().bytes(), pieces.manifest().pieces());
                tracing::info!(bytes, pieces = count, receivers = waiting.len(), "a pack is shared");
                making.pack = Some(id);
                waiting.into_iter().for_each(|(_, say)| drop(say.send(answer(&pieces))));
                self.pieces.packs.insert(id, Pack::new(now, pieces, None));
            }
            Err(why) => {
                tracing::info!(%why, "a pack cannot be shared");
                self.pieces.made.remove(&shared);
                self.serving.decides.cannot_share(shared);
                waiting.into_iter().for_each(|(_, say)| drop(say.send(come_again())));
            }
        }
    }

    fn take_shared(&mut self, now: Millis, maker: PeerId, pieces: Arc<PackPieces>) {
        let id = pieces.manifest().id();
        let taken = self.pieces.packs.values().filter(|pack| pack.taking.is_some()).count();
        if taken >= limits::SHARED_TAKEN || self.pieces.packs.contains_key(&id) {
            return pieces.end(io::ErrorKind::ResourceBusy);
        }
        let [a, b, c, d, ..] = self.me.0;
        let taking = Taking::new(now, pieces.manifest().pieces(), maker, u32::from_le_bytes([a, b, c, d]));
        self.pieces.packs.insert(id, Pack::new(now, pieces, Some(taking)));
        let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.ask_for_pieces(now, peer);
        }
    }

    /// Tells a neighbour which packs are on their way here, and asks what it has of them.
    pub(super) fn ask_for_pieces(&mut self, now: Millis, peer: PeerId) {
        let taken: Vec<(PackId, PieceSet)> = self
            .pieces
            .packs
            .iter()
            .filter(|(_, pack)| pack.taking.is_some())
            .map(|(id, pack)| (*id, pack.here()))
            .collect();
        for (pack, here) in taken {
            self.say(now, peer, Message::Pieces { pack, here, asks: true }.encode(), false);
        }
    }

    /// A neighbour takes part in a pack.
    pub(super) fn pieces_told(&mut self, now: Millis, peer: PeerId, id: PackId, here: PieceSet, asks: bool) {
        let Some(pack) = self.pieces.packs.get_mut(&id) else { return };
        pack.others.insert(peer);
        if let Some(taking) = &mut pack.taking {
            taking.told(peer, here);
        }
        if asks {
            let here = pack.here();
            self.say(now, peer, Message::Pieces { pack: id, here, asks: false }.encode(), false);
        }
    }

    pub(super) fn pieces_peer_down(&mut self, peer: &PeerId) {
        for pack in self.pieces.packs.values_mut() {
            pack.others.remove(peer);
            if let Some(taking) = &mut pack.taking {
                taking.peer_down(peer);
            }
        }
    }

    fn piece_came(&mut self, now: Millis, id: PackId, ask: u64, came: Came) {
        let Some(pack) = self.pieces.packs.get_mut(&id) else { return };
        let Some(taking) = &mut pack.taking else { return };
        match came {
            Came::Piece(piece) => {
                taking.came(now, ask, piece);
                let (here, others) = (pack.here(), pack.others.clone());
                for peer in others {
                    self.say(now, peer, Message::Pieces { pack: id, here: here.clone(), asks: false }.encode(), false);
                }
            }
            Came::Later => taking.later(now, ask),
            Came::Nothing(why) => {
                tracing::debug!(why, "a piece did not come");
                taking.failed(ask);
            }
            Came::Local(why) => pack.pieces.end(why),
        }
    }

    pub(super) fn drive_pieces(&mut self, now: Millis) {
        for making in self.pieces.made.values_mut().filter(|making| making.pack.is_none()) {
            if making.until <= now {
                making.stop.store(true, Ordering::Relaxed);
            }
            for (_, say) in making.waiting.extract_if(.., |(until, _)| *until <= now) {
                let _ = say.send(come_again());
            }
        }
        let mut asks: Vec<(PackId, Arc<PackPieces>, AskPiece)> = Vec::new();
        for (id, pack) in &mut self.pieces.packs {
            let Some(taking) = &mut pack.taking else { continue };
            if taking.is_stalled(now) {
                pack.pieces.end(io::ErrorKind::TimedOut);
                continue;
            }
            asks.extend(taking.next(now).into_iter().map(|ask| (*id, pack.pieces.clone(), ask)));
        }
        for (id, pieces, ask) in asks {
            let Some(session) = self.sessions.get(&ask.from) else {
                if let Some(taking) = self.taking(&id) {
                    taking.failed(ask.number);
                }
                continue;
            };
            let (connection, wake) = (session.connection.clone(), self.wake.clone());
            tokio::spawn(async move {
                let number = ask.number;
                let came = ask_piece(&wake, &connection, pieces, id, ask).await;
                let _ = wake.send(Wake::Pieces(Box::new(PiecesWork::Came { pack: id, ask: number, came }))).await;
            });
        }
        self.pieces.packs.retain(|_, pack| !pack.is_unused(now));
        let packs = &self.pieces.packs;
        let gone = |making: &Making| making.pack.is_some_and(|pack| !packs.contains_key(&pack));
        let gone: Vec<u64> = self.pieces.made.iter().filter(|(_, making)| gone(making)).map(|(at, _)| *at).collect();
        for shared in gone {
            self.pieces.made.remove(&shared);
            self.serving.decides.unshare(shared);
        }
    }

    pub(super) fn next_pieces(&self, now: Millis) -> Option<Millis> {
        let making = self.pieces.made.values().filter(|making| making.pack.is_none());
        let making = making.flat_map(|making| making.waiting.iter().map(|(until, _)| *until).chain([making.until]));
        let packs = self.pieces.packs.values().filter_map(|pack| match &pack.taking {
            Some(taking) => taking.next_wake(now),
            None => pack.sending.is_empty().then(|| pack.kept_until()),
        });
        making.filter(|until| *until > now).chain(packs).min()
    }

    /// Gives a piece of a shared pack, to members only.
    fn give_piece(
        &mut self,
        now: Millis,
        peer: PeerId,
        session: u64,
        request: Result<PieceRequest, String>,
        mut send: SendStream,
    ) {
        let Some(current) = self.sessions.get(&peer).filter(|current| current.id == session) else { return };
        let is_member = self.state.member_of_identity(&current.hello.certificate.identity).is_some();
        let PieceRequest { pack: id, mut of } = match request {
            Ok(request) => request,
            Err(why) => return self.drop_peer(now, peer, &why),
        };
        let sending: usize = self.pieces.packs.values().flat_map(|pack| pack.sending.values()).sum();
        let (reply, pieces) = match self.pieces.packs.get_mut(&id).filter(|_| is_member) {
            None => (PieceReply::NotHere, None),
            Some(pack) => {
                pack.used = now;
                let here = pack.here();
                let lacks: Vec<u32> = of.iter().filter(|piece| !here.contains(*piece)).collect();
                lacks.into_iter().for_each(|piece| of.remove(piece));
                let to_it = pack.sending.get(&peer).copied().unwrap_or(0);
                // One more than is asked for at once: that the last has arrived may not be known here yet.
                let has_room = sending < limits::PIECES_SENT && to_it <= limits::PIECES_OF_ONE;
                match pack.given.give(now, &of).filter(|_| has_room) {
                    Some(piece) => {
                        *pack.sending.entry(peer).or_default() += 1;
                        (PieceReply::Piece(piece), Some((piece, pack.pieces.clone())))
                    }
                    None => (PieceReply::Later, None),
                }
            }
        };
        let wake = self.wake.clone();
        tokio::spawn(async move {
            let Some((piece, pieces)) = pieces else {
                let _ = send.write_frame(&reply.encode()).await;
                let _ = send.finish().await;
                return;
            };
            let sent = send_piece(send, reply, piece, pieces).await;
            if let Err(why) = &sent {
                tracing::debug!(peer = %peer.short(), why, "a piece was not sent");
            }
            let gave = PiecesWork::Gave { pack: id, peer, piece, began: now, sent: sent.is_ok() };
            let _ = wake.send(Wake::Pieces(Box::new(gave))).await;
        });
    }
}

fn answer(pieces: &PackPieces) -> Answer {
    let manifest = pieces.manifest();
    (FetchReply::Shared { pack: manifest.id(), bytes: manifest.bytes() }, Some(manifest.hashes()))
}

/// It is being made, or could not be.
fn come_again() -> Answer {
    (FetchReply::Busy { others: Vec::new() }, None)
}

async fn send_piece(
    mut send: SendStream,
    reply: PieceReply,
    piece: u32,
    pieces: Arc<PackPieces>,
) -> Result<(), String> {
    let read = tokio::task::spawn_blocking(move || pieces.get(piece)).await.map_err(|error| error.to_string())?;
    let bytes = read.map_err(|error| error.to_string())?;
    send.write_frame(&reply.encode()).await.map_err(|error| error.to_string())?;
    send.yields();
    super::serving::write_body(&mut send, &bytes).await
}

async fn ask_piece(
    wake: &mpsc::Sender<Wake>,
    connection: &Connection,
    pieces: Arc<PackPieces>,
    pack: PackId,
    ask: AskPiece,
) -> Came {
    let nothing = |why: &dyn std::fmt::Display| Came::Nothing(why.to_string());
    let request = PieceRequest { pack, of: ask.of.clone() };
    let asked = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_frame(&request.encode()).await?;
        let reply = recv.read_frame(limits::STRANGER_FRAME_BYTES).await?;
        Ok::<_, crate::quic::FrameError>((send, recv, reply.unwrap_or_default()))
    };
    let (_send, mut recv, reply) = match timeout(limits::BODY_STALLED, asked).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => return nothing(&error),
        Err(_) => return nothing(&"it does not answer"),
    };
    let piece = match PieceReply::decode(&reply) {
        Ok(PieceReply::Piece(piece)) if ask.of.contains(piece) => piece,
        Ok(PieceReply::Piece(_)) => return nothing(&"it gives another piece than it was asked for"),
        Ok(PieceReply::Later) => return Came::Later,
        Ok(PieceReply::NotHere) => return nothing(&"it has not got that pack"),
        Err(error) => return nothing(&error),
    };
    let _ = wake.send(Wake::Pieces(Box::new(PiecesWork::Replied { pack, ask: ask.number, piece }))).await;
    let length = pieces.manifest().piece_len(piece);
    let mut bytes = Vec::with_capacity(length);
    loop {
        let frame = match timeout(limits::BODY_STALLED, recv.read_frame(limits::FRAME_BYTES)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return nothing(&"it broke a piece off"),
            Ok(Err(error)) => return nothing(&error),
            Err(_) => return nothing(&"nothing of a piece moves"),
        };
        if frame.is_empty() {
            break;
        }
        if bytes.len() + frame.len() > length {
            return nothing(&"a piece is longer than it should be");
        }
        bytes.extend_from_slice(&frame);
    }
    let put = tokio::task::spawn_blocking(move || pieces.put(piece, &bytes)).await;
    match put {
        Ok(Ok(())) => Came::Piece(piece),
        Ok(Err(PieceRefused::NotThePiece)) => nothing(&"it is not the piece that it should be"),
        Ok(Err(PieceRefused::Io(error))) => Came::Local(error.kind()),
        Err(error) => nothing(&error),
    }
}
