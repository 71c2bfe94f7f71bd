//! One fetch, beside the loop: asks who has it, receives and checks what comes, and adopts it.
//!
//! It begins with one source. Where what comes takes long and others have it too, it is cut, and the rest is divided: each source
//! says what is in its portion, and the next is asked for what is in none of those before. Who is done while others have long to
//! go is asked again, so that nobody is waited for who is slow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::run::Wake;
use super::serving::read_names;
use crate::api::Progress;
use crate::git::{Adopted, Gathering, Kept, PackLimits, PackProgress, PackRefused, Portion, Prefix, Repository};
use crate::id::{ObjectId, PeerId};
use crate::limits;
use crate::quic::{BodyError, BodyReader, CloseCode, Connection, FrameError, RecvStream, SendStream};
use crate::sync::{Fetch, FetchReply, FetchRequest, PackPortion, PackPrefix, takes_long};

mod shared;

/// How often is looked whether it takes long.
const LOOK: Duration = Duration::from_millis(500);

/// How a fetch ended. Where it failed it is from whoever failed.
pub(super) struct Fetched {
    pub(super) fetch: Fetch,
    pub(super) outcome: Result<Adopted, FetchFailure>,
    /// What came before a cut.
    pub(super) kept: Option<Kept>,
}

/// Why objects did not come.
#[derive(Debug)]
pub(super) enum FetchFailure {
    /// It has not got them, or the connection broke: ask another.
    Elsewhere(String),
    /// It has no room for it now: ask those whom it names, or again.
    Busy(Vec<PeerId>),
    /// What it sent is not what was asked for.
    Refused(PackRefused),
    /// What several sent is not, together. Two ids may have begun alike, or one of them did not say the truth.
    DoNotFit(PackRefused),
}

fn elsewhere(why: impl ToString) -> FetchFailure {
    FetchFailure::Elsewhere(why.to_string())
}

/// A neighbour that has what is wanted.
pub(super) struct Source {
    pub(super) peer: PeerId,
    pub(super) connection: Connection,
}

/// One fetch.
pub(super) struct FetchJob {
    fetch: Fetch,
    repo: Repository,
    request: FetchRequest,
    /// What came before a cut.
    kept: Option<Kept>,
    progress: watch::Sender<Progress>,
    wake: mpsc::Sender<Wake>,
    /// Who did not send what they were asked for.
    failed: BTreeSet<PeerId>,
    /// Was it divided?
    is_divided: bool,
}

/// How a round of asking ended.
enum Round {
    Over(Result<Adopted, FetchFailure>),
    /// Some came, and more is to be had.
    Again,
    /// This one failed, and there was nobody else.
    Failed(PeerId, FetchFailure),
}

/// An answer that a pack follows.
struct Answered {
    recv: RecvStream,
    reply: FetchReply,
    portion: Option<Portion>,
}

/// A pack that is on its way.
struct Coming {
    peer: PeerId,
    since: Instant,
    came: Arc<Came>,
}

/// How far a pack is.
#[derive(Default)]
struct Came {
    done: AtomicU64,
    all: AtomicU64,
    bytes: AtomicU64,
}

impl Coming {
    fn takes_long(&self) -> bool {
        let elapsed = self.since.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        takes_long(elapsed, self.came.done.load(Ordering::Relaxed), self.came.all.load(Ordering::Relaxed))
    }
}

/// What became of the packs that were on their way.
enum Waited {
    /// It was the only one, and is adopted.
    Adopted(Adopted),
    Came,
    /// Not all of them came whole.
    Lacking,
}

/// Packs that are on their way at once.
struct Receiving {
    gathering: Arc<Gathering>,
    coming: Vec<Coming>,
    parts: JoinSet<(usize, Result<Option<Adopted>, FetchFailure>)>,
    cut: watch::Sender<bool>,
}

impl FetchJob {
    pub(super) fn new(
        fetch: Fetch,
        request: FetchRequest,
        kept: Option<Kept>,
        (repo, progress, wake): (Repository, watch::Sender<Progress>, mpsc::Sender<Wake>),
    ) -> Self {
        Self { fetch, repo, request, kept, progress, wake, failed: BTreeSet::new(), is_divided: false }
    }

    /// Fetches; gives back what the next try can go on with, where it was cut.
    pub(super) async fn run(mut self, first: Source) -> Fetched {
        self.recover().await;
        let mut sources = vec![first];
        let (from, outcome) = loop {
            let before = self.kept.as_ref().map_or(0, Kept::bytes);
            let first = sources[0].peer;
            match self.round(&sources).await {
                Round::Over(outcome) => break (first, outcome),
                Round::Failed(peer, why) => break (peer, Err(why)),
                Round::Again if self.kept.as_ref().map_or(0, Kept::bytes) < before + limits::KEPT_BYTES => {
                    break (first, Err(elsewhere("hardly anything came")));
                }
                Round::Again => {}
            }
            sources = self.sources().await;
            if sources.is_empty() {
                break (first, Err(elsewhere("nobody is left who has it")));
            }
        };
        Fetched { fetch: Fetch { from, ..self.fetch }, outcome, kept: self.kept }
    }

    /// Looks at what an earlier process of the service received.
    async fn recover(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let repo = self.repo.clone();
        let recovered =
            tokio::task::spawn_blocking(move || kept.recover(&repo, &PackLimits::default(), &AtomicBool::new(false)));
        // A panic leaves nothing to go on with.
        self.kept = recovered.await.ok().flatten();
    }

    /// Who has it and did not fail.
    async fn sources(&self) -> Vec<Source> {
        let (say, said) = oneshot::channel();
        let _ = self.wake.send(Wake::Sources { fetch: self.fetch.clone(), say }).await;
        let mut sources = said.await.unwrap_or_default();
        sources.retain(|source| !self.failed.contains(&source.peer));
        sources
    }

    /// Asks these, the first of them for all if it is the only one, and receives until all is here or it is cut.
    async fn round(&mut self, sources: &[Source]) -> Round {
        let [first, others @ ..] = sources else { return Round::Again };
        let Answered { mut recv, reply, portion } = match self.ask(first, sources.len(), None).await {
            Ok(answered) => answered,
            Err(why) => return Round::Failed(first.peer, why),
        };
        if let FetchReply::Shared { pack, bytes } = reply {
            // All of it comes, so what came before a cut is of no use.
            if let Some(kept) = self.kept.take() {
                kept.discard();
            }
            return Round::Over(match self.take_part(&first.connection, &mut recv, pack, bytes).await {
                Ok(pieces) => self.receive_shared(pieces).await,
                Err(why) => Err(why),
            });
        }
        let was_cut = self.kept.is_some();
        let gathering = match self.repo.gather(self.kept.take(), &self.request.have) {
            Ok(gathering) => Arc::new(gathering),
            Err(why) => return Round::Over(Err(FetchFailure::Refused(why))),
        };
        let mut receiving = Receiving {
            gathering: gathering.clone(),
            coming: Vec::new(),
            parts: JoinSet::new(),
            cut: watch::Sender::new(false),
        };
        let mut lacking = portion.as_ref().map(|portion| {
            let mut named = gathering.skip();
            named.extend(&portion.names);
            named
        });
        self.receive(&mut receiving, first.peer, recv, portion, was_cut);
        for (at, source) in others.iter().enumerate() {
            let Some(named) = &mut lacking else { break };
            self.is_divided = true;
            match self.ask(source, others.len() - at, Some(named.encode())).await {
                Ok(Answered { recv, reply: FetchReply::Pack, portion }) => {
                    match &portion {
                        Some(portion) => named.extend(&portion.names),
                        None => lacking = None,
                    }
                    self.receive(&mut receiving, source.peer, recv, portion, was_cut);
                }
                // It has no room for a part, or none now. Who was asked before goes on meanwhile.
                _ => drop(self.failed.insert(source.peer)),
            }
        }
        let ended = self.wait(&mut receiving).await;
        drop(receiving);
        if let Ok(Waited::Adopted(adopted)) = ended {
            return Round::Over(Ok(adopted));
        }
        let Some(gathering) = Arc::into_inner(gathering) else {
            return Round::Failed(first.peer, elsewhere("it was not read to its end"));
        };
        match ended {
            Ok(Waited::Came) if lacking.is_none() => {
                let (wants, misfit) = (self.request.want.clone(), self.misfit(was_cut));
                let taken = tokio::task::spawn_blocking(move || take_in(&gathering, &wants).map_err(misfit)).await;
                Round::Over(taken.map_err(elsewhere).flatten())
            }
            Ok(_) => {
                self.kept = gathering.into_kept();
                Round::Again
            }
            Err((peer, why)) => {
                self.kept = gathering.into_kept();
                Round::Failed(peer, why)
            }
        }
    }

    /// Waits until all packs have come, or have been cut. Where one ends the others, says who and why.
    async fn wait(&mut self, receiving: &mut Receiving) -> Result<Waited, (PeerId, FetchFailure)> {
        let mut running: BTreeSet<usize> = (0..receiving.coming.len()).collect();
        let (mut waited, mut ended) = (Waited::Came, None);
        while !running.is_empty() {
            let joined = timeout(LOOK, receiving.parts.join_next()).await;
            match joined {
                Ok(Some(Ok((at, result)))) => {
                    running.remove(&at);
                    let peer = receiving.coming[at].peer;
                    match result {
                        Ok(None) => {}
                        Ok(Some(adopted)) => waited = Waited::Adopted(adopted),
                        Err(_) if *receiving.cut.borrow() => waited = Waited::Lacking,
                        // What others bring is of use whatever became of this one.
                        Err(FetchFailure::Elsewhere(why)) if !running.is_empty() => {
                            tracing::debug!(from = %peer.short(), why, "a portion did not come");
                            waited = Waited::Lacking;
                            self.failed.insert(peer);
                        }
                        Err(why) => {
                            receiving.cut.send_replace(true);
                            ended = Some((peer, why));
                        }
                    }
                }
                // A panic of one: all that it had is not known.
                Ok(Some(Err(_)) | None) => {
                    receiving.cut.send_replace(true);
                    let peer = receiving.coming[0].peer;
                    return Err((peer, elsewhere("it could not be received")));
                }
                Err(_) => {}
            }
            let is_cut = *receiving.cut.borrow();
            let coming: Vec<&Coming> = running.iter().map(|at| &receiving.coming[*at]).collect();
            let bytes = |coming: &Coming| coming.came.bytes.load(Ordering::Relaxed);
            let bytes: u64 = receiving.coming.iter().map(bytes).sum();
            if !is_cut && bytes >= limits::DIVIDE_BYTES && coming.iter().any(|coming| coming.takes_long()) {
                let is_idle = |source: &Source| coming.iter().all(|coming| coming.peer != source.peer);
                if self.sources().await.iter().any(is_idle) {
                    tracing::debug!(of = coming.len(), bytes, "what takes long is divided");
                    receiving.cut.send_replace(true);
                }
            }
        }
        match ended {
            Some(ended) => Err(ended),
            None => Ok(waited),
        }
    }

    /// Receives one pack beside the loop, and takes it in if nothing else comes.
    fn receive(
        &self,
        receiving: &mut Receiving,
        peer: PeerId,
        recv: RecvStream,
        portion: Option<Portion>,
        was_cut: bool,
    ) {
        let at = receiving.coming.len();
        let came = Arc::<Came>::default();
        receiving.coming.push(Coming { peer, since: Instant::now(), came: came.clone() });
        let (gathering, progress) = (receiving.gathering.clone(), self.progress.clone());
        let mut cut = receiving.cut.subscribe();
        // By the same thread, whose allocator has the memory for it.
        let wants = (at == 0 && portion.is_none()).then(|| self.request.want.clone());
        let misfit = self.misfit(was_cut);
        receiving.parts.spawn(async move {
            let mut body = BodyReader::new(recv);
            let mut input = body.blocking();
            let receive = tokio::task::spawn_blocking(move || {
                let report = |own: PackProgress, all: PackProgress| {
                    came.done.store(own.objects_done, Ordering::Relaxed);
                    came.all.store(own.objects_total, Ordering::Relaxed);
                    came.bytes.store(own.bytes, Ordering::Relaxed);
                    progress.send_replace(said(all));
                };
                let (limits, stop) = (PackLimits::default(), AtomicBool::new(false));
                gathering.receive(&mut input, portion.as_ref(), &limits, &report, &stop)?;
                Ok(wants.map(|wants| take_in(&gathering, &wants)).transpose().map_err(misfit))
            });
            let read = tokio::select! {
                read = body.run() => read,
                _ = cut.wait_for(|cut| *cut) => Err(BodyError::Truncated),
            };
            let received = receive.await.unwrap_or(Err(PackRefused::Stopped));
            let outcome = received.unwrap_or_else(|why| {
                Err(match read {
                    // It is to be had in another way by now.
                    Err(BodyError::Stream(FrameError::GivenUp(Some(CloseCode::Busy)))) => {
                        FetchFailure::Busy(Vec::new())
                    }
                    // A stream that broke off is nobody's bad pack.
                    Err(error) => elsewhere(error),
                    Ok(()) => FetchFailure::Refused(why),
                })
            });
            (at, outcome)
        });
    }

    /// What it means that all has come, each pack what it should be by itself, and is not what was wanted.
    fn misfit(&self, was_cut: bool) -> impl FnOnce(PackRefused) -> FetchFailure + use<> {
        let is_divided = self.is_divided;
        move |why| match why {
            why if !why.is_peers_fault() => FetchFailure::Refused(why),
            why if is_divided => FetchFailure::DoNotFit(why),
            // Two ids began alike, or what came before was the other peer's fault: it begins again.
            why if was_cut => elsewhere(why),
            why => FetchFailure::Refused(why),
        }
    }

    /// Asks one of so many for a pack without what is named, or without what came before a cut; gives the stream on which it comes,
    /// or what it consists of.
    async fn ask(&mut self, source: &Source, sources: usize, named: Option<Vec<u8>>) -> Result<Answered, FetchFailure> {
        let (prefix, skip) = match named {
            Some(named) => (None, named),
            None => self.came_before().await?,
        };
        // Who goes on with the same pack sends all of it.
        let prefix = prefix.filter(|_| sources < 2);
        let request = FetchRequest {
            prefix,
            skip: u32::try_from(skip.len()).ok().filter(|bytes| *bytes <= limits::SKIP_BYTES).unwrap_or(0),
            sources: u8::try_from(sources).unwrap_or(u8::MAX),
            ..self.request.clone()
        };
        let skip = if request.skip > 0 { skip } else { Vec::new() };
        let (mut send, mut recv): (SendStream, RecvStream) = source.connection.open_bi().await.map_err(elsewhere)?;
        send.write_frame(&request.encode()).await.map_err(elsewhere)?;
        let wait = limits::made_again(request.prefix.map_or(0, |prefix| prefix.bytes));
        let reply = timeout(wait, recv.read_frame(limits::STRANGER_FRAME_BYTES)).await;
        let reply = reply.map_err(|_| elsewhere("it does not answer"))?.map_err(elsewhere)?;
        let reply = FetchReply::decode(&reply.unwrap_or_default()).map_err(elsewhere)?;
        let mut portion = None;
        match &reply {
            FetchReply::Pack => {
                for part in skip.chunks(limits::BATCH_BYTES) {
                    send.write_frame(part).await.map_err(elsewhere)?;
                }
                if sources > 1 {
                    portion = read_portion(&mut recv).await?;
                }
            }
            FetchReply::Rest => match &mut self.kept {
                Some(kept) if request.prefix.is_some() => kept.goes_on(),
                _ => return Err(elsewhere("it goes on with what was not begun")),
            },
            FetchReply::Shared { .. } => {}
            FetchReply::NotHere => return Err(elsewhere("it has not got them")),
            FetchReply::Busy { others } => return Err(FetchFailure::Busy(others.clone())),
        }
        Ok(Answered { recv, reply, portion })
    }

    /// How what was kept begins, and the names of what is in it.
    async fn came_before(&mut self) -> Result<(Option<PackPrefix>, Vec<u8>), FetchFailure> {
        let kept = self.kept.take();
        let told = tokio::task::spawn_blocking(move || {
            let prefix = kept.as_ref().and_then(Kept::prefix);
            let prefix = prefix.map(|Prefix { bytes, sha1 }| PackPrefix { bytes, sha1 });
            (prefix, kept.as_ref().map_or_else(Vec::new, |kept| kept.skip().encode()), kept)
        });
        let (prefix, skip, kept) = told.await.map_err(elsewhere)?;
        self.kept = kept;
        Ok((prefix, skip))
    }
}

/// All has come: checks it, and takes it in.
fn take_in(gathering: &Gathering, wants: &[ObjectId]) -> Result<Adopted, PackRefused> {
    gathering.finish(wants, &AtomicBool::new(false))?.adopt()
}

/// Reads what is in a pack, where that is a portion.
async fn read_portion(recv: &mut RecvStream) -> Result<Option<Portion>, FetchFailure> {
    let frame = timeout(limits::BODY_STALLED, recv.read_frame(limits::STRANGER_FRAME_BYTES)).await;
    let frame = frame.map_err(|_| elsewhere("it does not say what it sends"))?.map_err(elsewhere)?;
    let PackPortion { objects, names } = PackPortion::decode(&frame.unwrap_or_default()).map_err(elsewhere)?;
    if objects == 0 {
        return Ok(None);
    }
    let names = read_names(recv, names as usize).await.map_err(elsewhere)?;
    Ok(Some(Portion { objects, names }))
}

/// How far all is, for people.
fn said(at: PackProgress) -> Progress {
    Progress { step: "objects".to_owned(), done: at.objects_done, total: at.objects_total, bytes: at.bytes }
}
