//! Serving Git objects: what a neighbour asks for, made beside the loop and sent in the way that `sync` decides.
//!
//! Of each pack the first [`limits::SMALL_PACK`] bytes are made before anything is said. If that is all of it, it leaves at
//! once. Otherwise it is heavy, and the loop is asked what becomes of it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::core::Core;
use super::run::Wake;
use crate::git::{Form, PackError, Part, Portion, Prefix, Repository, Skip};
use crate::id::{ObjectId, PeerId};
use crate::limits;
use crate::quic::{BlockingWriter, BodyWriter, CloseCode, Connection, RecvStream, SendStream};
use crate::sync::{FetchReply, FetchRequest, MediaRequest, PackPortion, PackPrefix, PieceRequest, Plan, Serving};

/// A neighbour's request for objects.
pub(super) struct Serve {
    peer: PeerId,
    session: u64,
    request: Result<FetchRequest, String>,
    send: SendStream,
    recv: RecvStream,
}

/// All streams that serve something.
#[derive(Default)]
pub(super) struct ServingState {
    /// Decides.
    pub(super) decides: Serving,
    /// Those that serve packs.
    streams: BTreeMap<u64, Stream>,
}

struct Stream {
    peer: PeerId,
    want: Vec<ObjectId>,
    flow: Flow,
}

/// What a stream and the loop tell each other.
#[derive(Clone, Default)]
struct Flow {
    /// Bytes that were handed to the network.
    sent: Arc<AtomicU64>,
    /// It is to end: whom it serves is to ask again.
    moved: Arc<AtomicBool>,
}

/// A reply, and what is said in a frame after it.
pub(super) type Answer = (FetchReply, Option<Vec<u8>>);

/// What becomes of a heavy pack.
pub(super) enum Way {
    /// It is sent.
    Send,
    /// This is said instead, when it is known.
    Say(oneshot::Receiver<Answer>),
}

/// Takes the object streams that a neighbour opens, for as long as it is here.
pub(super) async fn accept_fetches(wake: mpsc::Sender<Wake>, peer: PeerId, session: u64, connection: Connection) {
    while let Ok((send, mut recv)) = connection.accept_bi().await {
        let wake = wake.clone();
        tokio::spawn(async move {
            let frame = timeout(limits::HANDSHAKE_TIMEOUT, recv.read_frame(limits::FRAME_BYTES)).await;
            if let Ok(Ok(Some(bytes))) = &frame {
                match bytes.first() {
                    Some(&MediaRequest::TAG) => return super::media::accept(&wake, peer, session, bytes, send).await,
                    Some(&PieceRequest::TAG) => return super::pieces::accept(&wake, peer, session, bytes, send).await,
                    _ => {}
                }
            }
            let request = match frame {
                Ok(Ok(Some(bytes))) => FetchRequest::decode(&bytes).map_err(|error| error.to_string()),
                Ok(Ok(None)) => Err("its stream held no request".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("its request did not come in time".to_owned()),
            };
            let _ = wake.send(Wake::Serve(Box::new(Serve { peer, session, request, send, recv }))).await;
        });
    }
}

impl Core {
    /// Serves what this node published or verified, to members only.
    pub(super) fn serve(&mut self, serve: Serve) {
        let Serve { peer, session, request, send, recv } = serve;
        let Some(current) = self.sessions.get(&peer).filter(|current| current.id == session) else { return };
        let member = self.state.member_of_identity(&current.hello.certificate.identity);
        let mut request = match request {
            Ok(request) => request,
            Err(why) => {
                let now = self.clock.steady();
                return self.drop_peer(now, peer, &why);
            }
        };
        // While the log is on its way to a new clone it does not know its members, and must not leave them for asking.
        let refusal = if member.is_none() || !request.want.iter().all(|commit| self.serves(commit)) {
            Err(FetchReply::NotHere)
        } else {
            let number = self.serving.decides.begin(peer, &request.want, &request.have);
            number.ok_or_else(|| self.busy(&peer, &request.want))
        };
        let number = match refusal {
            Ok(number) => number,
            Err(reply) => return refuse(send, reply.encode()),
        };
        request.also.retain(|tag| self.serves(tag));
        let flow = Flow::default();
        self.serving.streams.insert(number, Stream { peer, want: request.want.clone(), flow: flow.clone() });
        let job = ServeJob { repo: self.repo.clone(), request, wake: self.wake.clone(), number, flow };
        let wake = self.wake.clone();
        tokio::spawn(async move {
            if let Err(why) = job.run(send, recv).await {
                tracing::info!(peer = %peer.short(), why, "serving objects ended early");
            }
            let _ = wake.send(Wake::Served(number)).await;
        });
    }

    fn busy(&self, peer: &PeerId, want: &[ObjectId]) -> FetchReply {
        FetchReply::Busy { others: self.serving.decides.elsewhere(peer, want) }
    }

    /// The pack of this stream is heavy: what becomes of it?
    pub(super) fn weigh_pack(&mut self, number: u64, way: oneshot::Sender<Way>) {
        let ServingState { decides, streams } = &mut self.serving;
        let sent = |other| streams.get(&other).map_or(u64::MAX, |other| other.flow.sent.load(Ordering::Relaxed));
        let plan = decides.weigh(number, sent);
        let Some(Stream { peer, want, .. }) = self.serving.streams.get(&number) else { return };
        tracing::debug!(peer = %peer.short(), ?plan, "a heavy pack is asked for");
        let (peer, want) = (*peer, want.clone());
        let decided = match plan {
            Plan::Send => Way::Send,
            Plan::Busy => {
                let (say, said) = oneshot::channel();
                // It is empty, and its other end is here.
                let _ = say.send((self.busy(&peer, &want), None));
                Way::Say(said)
            }
            Plan::Join(shared) => Way::Say(self.join_shared(shared)),
            Plan::Share { shared, have, instead } => {
                for instead in instead.iter().filter_map(|instead| self.serving.streams.get(instead)) {
                    instead.flow.moved.store(true, Ordering::Relaxed);
                }
                self.make_shared(shared, want, have);
                Way::Say(self.join_shared(shared))
            }
        };
        let _ = way.send(decided);
    }

    /// Is this commit served, to members?
    pub(super) fn serves(&self, commit: &ObjectId) -> bool {
        self.held.contains(commit) || self.is_canonical(commit)
    }

    /// The commit of a head of a canonical branch, with all its objects here.
    fn is_canonical(&self, commit: &ObjectId) -> bool {
        self.moves.tracking.values().any(|(at, _)| at == commit)
    }

    /// A stream that served objects or media is done.
    pub(super) fn served(&mut self, number: u64) {
        self.serving.decides.end(number);
        self.serving.streams.remove(&number);
        self.packs_are_read(self.clock.steady());
    }
}

/// One stream that serves a pack.
struct ServeJob {
    repo: Repository,
    request: FetchRequest,
    wake: mpsc::Sender<Wake>,
    number: u64,
    flow: Flow,
}

impl ServeJob {
    async fn run(self, mut send: SendStream, mut recv: RecvStream) -> Result<(), String> {
        let skip_bytes = self.request.skip as usize;
        let was_cut = skip_bytes > 0 || self.request.prefix.is_some();
        if was_cut {
            // What was cut is heavy.
            if let Way::Say(answer) = self.weigh().await? {
                return say(send, answer).await;
            }
        }
        if let Some(PackPrefix { bytes, sha1 }) = self.request.prefix {
            let before = Before { weigh: false, promise: Some(FetchReply::Rest), says_portion: false };
            match self.write(send, Part::After(Prefix { bytes, sha1 }), before).await? {
                Some(back) => send = back,
                None => return Ok(()),
            }
        }
        // What came before the cut is told only once the rest is promised.
        if was_cut {
            promise(&mut send, &FetchReply::Pack).await?;
        }
        let skip = read_names(&mut recv, skip_bytes).await?;
        let part = if skip.is_empty() { Part::Whole } else { Part::Without(skip) };
        let promise = (!was_cut).then_some(FetchReply::Pack);
        let before = Before { weigh: !was_cut, promise, says_portion: self.request.sources > 1 };
        match self.write(send, part, before).await? {
            Some(_) => Err("a whole pack differs from nothing".to_owned()),
            None => Ok(()),
        }
    }

    /// Makes a part of the pack and sends it; gives the stream back where it cannot be sent as the pack is another by now.
    async fn write(&self, mut send: SendStream, part: Part, before: Before) -> Result<Option<SendStream>, String> {
        let (tell_heavy, heavy) = oneshot::channel();
        let (go, going) = std::sync::mpsc::channel();
        let Self { repo, request, flow, .. } = self;
        let (repo, request) = (repo.clone(), request.clone());
        let mut out = Outflow::new(flow.clone(), tell_heavy, going);
        let sources = request.sources.min(limits::SOURCES as u8);
        // Set before anything of the pack is written.
        let portion = Arc::new(OnceLock::new());
        let said = portion.clone();
        let pack = tokio::task::spawn_blocking(move || {
            let moved = out.flow.moved.clone();
            // One that was pruned is not to keep the rest back.
            let also = request.also.into_iter().filter(|tag| repo.has(tag));
            let want: Vec<ObjectId> = request.want.into_iter().chain(also).collect();
            let mut tell = |portion| drop(said.set(portion));
            let (have, form) = (&request.have, Form::Trimmed);
            let written = match part {
                Part::Whole if sources > 1 => {
                    repo.write_portion(&want, have, Skip::default(), sources, &mut tell, &mut out, form, &moved)
                }
                Part::Without(skip) if sources > 1 => {
                    repo.write_portion(&want, have, skip, sources, &mut tell, &mut out, form, &moved)
                }
                part => repo.write_part(&want, have, &part, &mut out, form, &moved),
            };
            match written {
                Ok(_) => out.finish().map(Some).map_err(|error| error.to_string()),
                Err(PackError::Differs) => Ok(None),
                Err(error) => {
                    out.give_up();
                    Err(error.to_string())
                }
            }
        });
        // It is dropped without a word where the pack was small, or could not be made.
        if heavy.await.is_err() {
            let Some(small) = pack.await.map_err(|error| error.to_string())?? else { return Ok(Some(send)) };
            before.say(&mut send, portion.get()).await?;
            return write_body(&mut send, &small).await.map(|()| None);
        }
        if before.weigh
            && let Way::Say(answer) = self.weigh().await?
        {
            drop(go);
            return say(send, answer).await.map(|()| None);
        }
        before.say(&mut send, portion.get()).await?;
        send.yields();
        let mut body = BodyWriter::new(send);
        // The thread that makes the pack waits for it, unless it has failed.
        let _ = go.send(body.blocking());
        let sent = body.run().await.map_err(|error| error.to_string());
        pack.await.map_err(|error| error.to_string())??;
        sent.map(|()| None)
    }

    async fn weigh(&self) -> Result<Way, String> {
        let (way, decided) = oneshot::channel();
        let _ = self.wake.send(Wake::Weigh { number: self.number, way }).await;
        decided.await.map_err(|_| "the node ends".to_owned())
    }
}

/// What comes before a pack that is sent.
struct Before {
    /// Is the loop to be asked, where it turns out to be heavy?
    weigh: bool,
    /// What is said of it.
    promise: Option<FetchReply>,
    /// Is it said then whether it is a portion?
    says_portion: bool,
}

impl Before {
    async fn say(&self, send: &mut SendStream, portion: Option<&Portion>) -> Result<(), String> {
        if let Some(reply) = &self.promise {
            promise(send, reply).await?;
        }
        if !self.says_portion {
            return Ok(());
        }
        let (objects, names) = portion.map_or((0, Vec::new()), |portion| (portion.objects, portion.names.encode()));
        let said = PackPortion { objects, names: u32::try_from(names.len()).unwrap_or(u32::MAX) };
        for frame in iter::once(said.encode().as_slice()).chain(names.chunks(limits::BATCH_BYTES)) {
            send.write_frame(frame).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Says, beside the loop, why nothing is served.
pub(super) fn refuse(mut send: SendStream, reply: Vec<u8>) {
    tokio::spawn(async move {
        let _ = send.write_frame(&reply).await;
        let _ = send.finish().await;
    });
}

async fn promise(send: &mut SendStream, reply: &FetchReply) -> Result<(), String> {
    send.write_frame(&reply.encode()).await.map_err(|error| error.to_string())
}

/// Says what is to be said in place of a pack.
async fn say(mut send: SendStream, answer: oneshot::Receiver<Answer>) -> Result<(), String> {
    let (reply, then) = answer.await.map_err(|_| "the node ends".to_owned())?;
    send.write_frame(&reply.encode()).await.map_err(|error| error.to_string())?;
    if let Some(then) = then {
        send.write_frame(&then).await.map_err(|error| error.to_string())?;
    }
    send.finish().await.map_err(|error| error.to_string())
}

/// Sends a body that is all here, and waits until it has arrived.
pub(super) async fn write_body(send: &mut SendStream, bytes: &[u8]) -> Result<(), String> {
    for chunk in bytes.chunks(limits::BATCH_BYTES).chain([[].as_slice()]) {
        let written = timeout(limits::BODY_STALLED, send.write_frame(chunk)).await;
        if !matches!(written, Ok(Ok(()))) {
            send.reset(CloseCode::TooLate);
        }
        written.map_err(|_| "nothing of it moves".to_owned())?.map_err(|error| error.to_string())?;
    }
    let finished = timeout(limits::BODY_STALLED, send.finish()).await;
    finished.map_err(|_| "it does not arrive".to_owned())?.map_err(|error| error.to_string())
}

/// The way out of a pack: held back while it is small, and sent where it was decided that it is.
struct Outflow {
    flow: Flow,
    held: Vec<u8>,
    tell_heavy: Option<oneshot::Sender<()>>,
    going: std::sync::mpsc::Receiver<BlockingWriter>,
    out: Option<BlockingWriter>,
}

impl Outflow {
    fn new(flow: Flow, tell_heavy: oneshot::Sender<()>, going: std::sync::mpsc::Receiver<BlockingWriter>) -> Self {
        Self { flow, held: Vec::new(), tell_heavy: Some(tell_heavy), going, out: None }
    }

    /// All was written; gives it where it is small.
    fn finish(mut self) -> io::Result<Vec<u8>> {
        match self.out.take() {
            Some(out) => out.finish().map(|()| Vec::new()),
            None => Ok(std::mem::take(&mut self.held)),
        }
    }

    /// The pack ends before its end.
    fn give_up(mut self) {
        let moved = self.flow.moved.load(Ordering::Relaxed);
        if let Some(out) = self.out.take().filter(|_| moved) {
            out.give_up(CloseCode::Busy);
        }
    }
}

impl Write for Outflow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.out.is_none() {
            if self.held.len() + bytes.len() <= limits::SMALL_PACK {
                self.held.extend_from_slice(bytes);
                return Ok(bytes.len());
            }
            if let Some(tell) = self.tell_heavy.take() {
                let _ = tell.send(());
            }
            let mut out = self.going.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let held = std::mem::take(&mut self.held);
            out.write_all(&held)?;
            self.flow.sent.fetch_add(held.len() as u64, Ordering::Relaxed);
            self.out = Some(out);
        }
        let Some(out) = &mut self.out else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = out.write(bytes)?;
        self.flow.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), BlockingWriter::flush)
    }
}

/// Reads names of objects, of so many bytes.
pub(super) async fn read_names(recv: &mut RecvStream, bytes: usize) -> Result<Skip, String> {
    let mut encoded = Vec::new();
    while encoded.len() < bytes {
        let frame = timeout(limits::BODY_STALLED, recv.read_frame(limits::FRAME_BYTES)).await;
        let frame = frame.map_err(|_| "it does not name objects".to_owned())?.map_err(|error| error.to_string())?;
        match frame {
            Some(frame) if !frame.is_empty() => encoded.extend_from_slice(&frame),
            _ => return Err("it names fewer objects than it promised".to_owned()),
        }
    }
    let names = Skip::decode(&encoded).filter(|_| encoded.len() == bytes);
    names.ok_or_else(|| "the names of objects cannot be read".to_owned())
}
