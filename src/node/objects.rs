//! Git objects: what is wanted, and fetching it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{BufRead, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::core::Core;
use super::pieces::PiecesWork;
use super::run::{self, Wake};
use crate::api::{Progress, Refusal};
use crate::approval::{Proposal, ProposalState};
use crate::eventlog::store::Note;
use crate::git::{Adopted, Interrupted, Kept, Manifest, PackPieces, PackRefused, Prefix, Repository};
use crate::hlc::Millis;
use crate::id::{ObjectId, PackId, PeerId};
use crate::limits;
use crate::quic::{BodyError, BodyReader, CloseCode, Connection, FrameError, RecvStream, SendStream};
use crate::sync::{Fetch, FetchReply, FetchRequest, PackPrefix};

/// How a fetch ended.
pub(super) struct Fetched {
    fetch: Fetch,
    outcome: Result<Adopted, FetchFailure>,
    /// What came before a cut.
    kept: Option<Kept>,
}

/// Why objects did not come.
enum FetchFailure {
    /// It has not got them, or the connection broke: ask another.
    Elsewhere(String),
    /// It has no room for it now: ask those whom it names, or again.
    Busy(Vec<PeerId>),
    /// What it sent is not what was asked for.
    Refused(PackRefused),
}

impl Core {
    /// Objects of these commits are here, whole: published by this clone, or verified.
    pub(super) fn hold(&mut self, commits: &[ObjectId]) {
        let fresh: Vec<ObjectId> = commits.iter().filter(|commit| !self.held.contains(*commit)).copied().collect();
        if fresh.is_empty() {
            return;
        }
        self.landing.absent.objects_came();
        self.media.stale = true;
        let held = Arc::make_mut(&mut self.held);
        for commit in &fresh {
            held.insert(*commit);
            self.landing.lost.remove(commit);
            self.fetches.done(commit);
        }
        self.note(
            Note::Objects,
            fresh.iter().map(|commit| (commit.to_string().into_bytes(), Some(Vec::new()))).collect(),
        );
        self.say_served(&fresh);
    }

    /// Works out which objects are lacking: a look at open proposals and at unsettled landings.
    pub(super) fn refresh_wants(&mut self) {
        self.media.stale = true;
        let first = self.state.canonical().iter().any(|(branch, _)| !self.moves.tracking.contains_key(branch));
        if first {
            self.check_haves();
            // A first clone: with the newest commits of the canonical branches all below them is here, in one
            // fetch. Proposals come after that, as the few objects that they add.
            // What nobody has keeps nothing back: then what is below it.
            let newest: Vec<ObjectId> = self.state.newest(&self.fetches.nowhere());
            let lacking: Vec<ObjectId> = newest.into_iter().filter(|commit| !self.held.contains(commit)).collect();
            if !lacking.is_empty() {
                for commit in lacking {
                    self.fetches.want(commit, self.me);
                }
                return;
            }
        }
        let mut wants: Vec<(ObjectId, PeerId)> = Vec::new();
        for proposal in self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open) {
            wants.push((proposal.last.tip, proposal.last.peer));
        }
        for landing in self.state.unsettled().into_iter().filter(|landing| self.landing.absent.has(&landing.lid)) {
            let revision = landing.revision.and_then(|revision| self.state.revision(&revision));
            wants.push((landing.content.tip, revision.map_or(self.me, |revision| revision.peer)));
        }
        for (tip, peer) in wants {
            // What this very clone published is here, or nowhere; unless git pruned it after others had it.
            let mine = peer == self.me && self.is_mine(&tip) && !self.landing.lost.contains(&tip);
            if !self.held.contains(&tip) && !mine {
                self.fetches.want(tip, peer);
            }
        }
    }

    /// A repository that joined with its history may contain the canonical commits already.
    fn check_haves(&mut self) {
        if std::mem::replace(&mut self.haves_checked, true) || self.held.is_empty() {
            return;
        }
        let newest = self.state.newest(&BTreeSet::new());
        let contained = |commit: &ObjectId| {
            let in_held = |held: &ObjectId| self.repo.is_ancestor(*commit, *held).unwrap_or(false);
            self.repo.has(commit) && self.held.iter().any(in_held)
        };
        let here: Vec<ObjectId> = newest.into_iter().filter(contained).collect();
        self.hold(&here);
    }

    /// Was this commit published by this very clone?
    pub(super) fn is_mine(&self, tip: &ObjectId) -> bool {
        self.state.offered_by(tip, &self.me)
    }

    pub(super) fn drive_fetches(&mut self, now: Millis) {
        for fetch in self.fetches.next(now) {
            let Some(session) = self.sessions.get(&fetch.from) else {
                self.fetches.failed(now, &fetch);
                continue;
            };
            tracing::debug!(from = %fetch.from.short(), tips = ?fetch.tips, "fetching objects");
            let have = self.haves(&fetch.tips);
            let kept = self.kept.take_if(|kept| kept.haves() == have);
            // Asked for afterwards, tags would have both sides walk through the history once more.
            let also = if have.is_empty() { self.tag_objects() } else { Vec::new() };
            let request = FetchRequest { want: fetch.tips.clone(), have, also, prefix: None, skip: 0 };
            let job = FetchJob {
                connection: session.connection.clone(),
                repo: self.repo.clone(),
                request,
                kept,
                progress: self.progress.clone(),
                wake: self.wake.clone(),
            };
            let wake = self.wake.clone();
            tokio::spawn(async move {
                let (outcome, kept) = job.run().await;
                let _ = wake.send(Wake::Fetched(Box::new(Fetched { fetch, outcome, kept }))).await;
            });
        }
    }

    /// Commits from which others may leave off, what is nearest to what is wanted first: what is canonical, what the
    /// same branches had before, and what else is open. Each is named in every request, so they are few.
    fn haves(&self, wants: &[ObjectId]) -> Vec<ObjectId> {
        let mut haves: Vec<ObjectId> = Vec::new();
        for (branch, first) in self.state.canonical() {
            let heads = self.state.branch(branch).map_or_else(Vec::new, |heads| heads.commits());
            let tracking = self.moves.tracking.get(branch).map(|(commit, _)| *commit);
            let held = |commit: &ObjectId| self.held.contains(commit);
            let before = haves.len();
            haves.extend(heads.into_iter().filter(held));
            haves.extend(tracking.filter(held));
            if haves.len() == before {
                haves.extend(Some(*first).filter(held));
            }
        }
        let mut open: Vec<Proposal> = self.state.open_proposals().collect();
        open.retain(|proposal| proposal.state == ProposalState::Open);
        open.sort_by_key(|proposal| (!wants.contains(&proposal.last.tip), Reverse(proposal.last.hlc)));
        for proposal in open {
            let revisions = self.state.revisions(&proposal.id);
            // Others leave out what these reach, so it must not be pruned.
            let kept = |tip: &ObjectId| self.held.contains(tip) && self.landing.keeping.kept.contains(tip);
            haves.extend(revisions.iter().rev().map(|revision| revision.tip).filter(kept).take(2));
            if haves.len() >= limits::FETCH_HAVES {
                break;
            }
        }
        if haves.is_empty() {
            // It joined with a history of its own.
            haves.extend(self.held.iter().take(limits::FETCH_TIPS));
        }
        let mut seen = BTreeSet::new();
        haves.retain(|have| seen.insert(*have));
        haves
    }

    pub(super) fn fetched(&mut self, now: Millis, fetched: Fetched) {
        let Fetched { fetch, outcome, kept } = fetched;
        self.packs_are_read(now);
        // Of several that were cut the one with most is worth most.
        if let Some(kept) = kept {
            self.keep_most(kept);
        }
        match outcome {
            Ok(adopted) => {
                // Git's own housekeeping leaves the pack alone until refs hold its objects.
                self.landing.keeping.arrived(adopted, fetch.tips.clone());
                self.hold(&fetch.tips);
                self.landing.absent.objects_came();
                if self.fetches.is_empty() {
                    // What was cut is not wanted any more.
                    self.discard_kept();
                }
                self.landing.refs_wanted = true;
                self.wants_stale = true;
            }
            Err(FetchFailure::Elsewhere(why)) => {
                tracing::debug!(from = %fetch.from.short(), why, "objects did not come");
                self.fetches.failed(now, &fetch);
                self.wants_stale = true;
            }
            Err(FetchFailure::Busy(others)) => {
                tracing::debug!(from = %fetch.from.short(), others = others.len(), "it has no room to send objects");
                self.fetches.busy(now, &fetch, &others);
            }
            Err(FetchFailure::Refused(why)) => {
                self.fetches.failed(now, &fetch);
                let who = self.peer_name(&fetch.from);
                if why.is_peers_fault() {
                    let refusal = Refusal::plain("objects", format!("objects from {who} were refused: {why}"));
                    self.problem(&refusal);
                    self.drop_peer(now, fetch.from, &format!("its pack was refused: {why}"));
                } else {
                    let refusal = Refusal::new("objects", format!("objects cannot be stored: {why}"), "df -h .");
                    self.problem(&refusal);
                }
            }
        }
    }

    /// Keeps what came before a cut, unless there is more of another fetch.
    fn keep_most(&mut self, kept: Kept) {
        if self.kept.as_ref().is_some_and(|most| most.bytes() >= kept.bytes()) {
            return kept.discard();
        }
        self.discard_kept();
        self.kept = Some(kept);
    }

    fn discard_kept(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.discard();
        }
    }

    /// Commits that a neighbour may want and can have here, told when its session begins.
    pub(super) fn served_now(&self) -> Vec<ObjectId> {
        let mut served: Vec<ObjectId> = self.state.newest(&BTreeSet::new());
        let open = self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open);
        served.extend(open.map(|proposal| proposal.last.tip));
        served.retain(|commit| self.held.contains(commit));
        served
    }
}

/// One fetch.
struct FetchJob {
    connection: Connection,
    repo: Repository,
    request: FetchRequest,
    /// What came before a cut.
    kept: Option<Kept>,
    progress: watch::Sender<Progress>,
    wake: mpsc::Sender<Wake>,
}

impl FetchJob {
    /// Fetches; gives back what the next try can go on with, where it was cut.
    async fn run(mut self) -> (Result<Adopted, FetchFailure>, Option<Kept>) {
        self.recover().await;
        let (mut recv, reply) = match self.ask().await {
            Ok(answered) => answered,
            Err(why) => return (Err(why), self.kept.take()),
        };
        if let FetchReply::Shared { pack, bytes } = reply {
            // All of it comes, so what came before a cut is of no use.
            if let Some(kept) = self.kept.take() {
                kept.discard();
            }
            return match self.take_part(&mut recv, pack, bytes).await {
                Ok(pieces) => self.receive_shared(pieces).await,
                Err(why) => (Err(why), None),
            };
        }
        let is_rest = self.kept.is_some();
        let mut body = BodyReader::new(recv);
        let receive = self.receive(body.blocking());
        let read = body.run().await;
        let (outcome, kept) = match receive.await {
            Ok(received) => received,
            Err(error) => return (Err(FetchFailure::Elsewhere(error.to_string())), None),
        };
        let outcome = outcome.map_err(|why| match (read, why) {
            // It is to be had in another way by now.
            (Err(BodyError::Stream(FrameError::GivenUp(Some(CloseCode::Busy)))), _) => FetchFailure::Busy(Vec::new()),
            // A stream that broke off is nobody's bad pack.
            (Err(error), _) => FetchFailure::Elsewhere(error.to_string()),
            // Two ids began alike, or what came before was the other peer's fault: it begins again.
            (Ok(()), why) if is_rest && kept.is_none() && why.is_peers_fault() => {
                FetchFailure::Elsewhere(why.to_string())
            }
            (Ok(()), why) => FetchFailure::Refused(why),
        });
        (outcome, kept)
    }

    /// Looks at what an earlier process of the service received.
    async fn recover(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let repo = self.repo.clone();
        let recovered = tokio::task::spawn_blocking(move || {
            kept.recover(&repo, &crate::git::PackLimits::default(), &AtomicBool::new(false))
        });
        // A panic leaves nothing to go on with.
        self.kept = recovered.await.ok().flatten();
    }

    /// Receives, checks and adopts what can be read.
    fn receive(
        &mut self,
        mut input: impl BufRead + Send + 'static,
    ) -> JoinHandle<(Result<Adopted, PackRefused>, Option<Kept>)> {
        let (repo, request, kept) = (self.repo.clone(), self.request.clone(), self.kept.take());
        let progress = self.progress.clone();
        tokio::task::spawn_blocking(move || {
            let stop = AtomicBool::new(false);
            let report = |at: crate::git::PackProgress| {
                progress.send_replace(Progress {
                    step: "objects".to_owned(),
                    done: at.objects_done,
                    total: at.objects_total,
                    bytes: at.bytes,
                });
            };
            let limits = crate::git::PackLimits::default();
            let (want, have) = (&request.want, &request.have);
            match repo.resume_pack(kept, &mut input, want, have, &limits, &report, &stop) {
                Ok(quarantined) => (quarantined.adopt(), None),
                Err(Interrupted { why, kept }) => (Err(why), kept.map(|kept| *kept)),
            }
        })
    }

    /// Makes room for a shared pack; the loop sees to its pieces from now on.
    async fn take_part(
        &self,
        recv: &mut RecvStream,
        pack: PackId,
        bytes: u64,
    ) -> Result<Arc<PackPieces>, FetchFailure> {
        let elsewhere = |why: &dyn std::fmt::Display| FetchFailure::Elsewhere(why.to_string());
        let hashes = tokio::time::timeout(limits::BODY_STALLED, recv.read_frame(limits::FRAME_BYTES)).await;
        let hashes = hashes.map_err(|_| elsewhere(&"it does not say what its pack consists of"))?;
        let hashes = hashes.map_err(|error| elsewhere(&error))?.unwrap_or_default();
        let manifest = Manifest::read(&pack, bytes, &hashes);
        let manifest = manifest.ok_or_else(|| elsewhere(&"what it says of its pack does not fit"))?;
        let repo = self.repo.clone();
        let pieces = tokio::task::spawn_blocking(move || repo.await_pack(manifest)).await;
        let pieces = Arc::new(pieces.map_err(|error| elsewhere(&error))?.map_err(FetchFailure::Refused)?);
        let taken = PiecesWork::Taken { maker: self.connection.peer(), pieces: pieces.clone() };
        let _ = self.wake.send(Wake::Pieces(Box::new(taken))).await;
        Ok(pieces)
    }

    /// Receives a shared pack while its pieces come.
    async fn receive_shared(mut self, pieces: Arc<PackPieces>) -> (Result<Adopted, FetchFailure>, Option<Kept>) {
        let pack = pieces.manifest().id();
        let received = self.receive(pieces.reader()).await;
        let (outcome, kept) = match received {
            Ok((outcome, kept)) => {
                let outcome = outcome.map_err(|why| match pieces.ended() {
                    None => FetchFailure::Refused(why),
                    Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => FetchFailure::Refused(PackRefused::Full),
                    Some(why) => FetchFailure::Elsewhere(format!("a shared pack did not come whole: {why}")),
                });
                (outcome, kept)
            }
            Err(error) => (Err(FetchFailure::Elsewhere(error.to_string())), None),
        };
        let over = PiecesWork::Over { pack, sound: outcome.is_ok() };
        let _ = self.wake.send(Wake::Pieces(Box::new(over))).await;
        (outcome, kept)
    }

    /// Asks for the pack, and says what came before; gives the stream on which it comes, or what it consists of.
    async fn ask(&mut self) -> Result<(RecvStream, FetchReply), FetchFailure> {
        let elsewhere = |error: &dyn std::fmt::Display| FetchFailure::Elsewhere(error.to_string());
        let kept = self.kept.take();
        let told = tokio::task::spawn_blocking(move || {
            let prefix = kept.as_ref().and_then(Kept::prefix);
            let prefix = prefix.map(|Prefix { bytes, sha1 }| PackPrefix { bytes, sha1 });
            (prefix, kept.as_ref().map_or_else(Vec::new, |kept| kept.skip().encode()), kept)
        });
        let (prefix, skip, kept) = told.await.map_err(|error| elsewhere(&error))?;
        (self.request.prefix, self.kept) = (prefix, kept);
        self.request.skip = u32::try_from(skip.len()).unwrap_or(0);
        let (mut send, mut recv): (SendStream, RecvStream) =
            self.connection.open_bi().await.map_err(|error| elsewhere(&error))?;
        send.write_frame(&self.request.encode()).await.map_err(|error| elsewhere(&error))?;
        let reply = tokio::time::timeout(limits::BODY_STALLED, recv.read_frame(limits::STRANGER_FRAME_BYTES)).await;
        let reply = reply.map_err(|_| elsewhere(&"it does not answer"))?.map_err(|error| elsewhere(&error))?;
        let reply = FetchReply::decode(&reply.unwrap_or_default()).map_err(|error| elsewhere(&error))?;
        match &reply {
            FetchReply::Pack => {
                for part in skip.chunks(limits::BATCH_BYTES) {
                    send.write_frame(part).await.map_err(|error| elsewhere(&error))?;
                }
            }
            FetchReply::Rest => match &mut self.kept {
                Some(kept) if prefix.is_some() => kept.goes_on(),
                _ => return Err(elsewhere(&"it goes on with what was not begun")),
            },
            FetchReply::Shared { .. } => {}
            FetchReply::NotHere => return Err(FetchFailure::Elsewhere("it has not got them".to_owned())),
            FetchReply::Busy { others } => return Err(FetchFailure::Busy(others.clone())),
        }
        Ok((recv, reply))
    }
}

/// Runs a job of the repository beside the loop.
pub(super) fn with_repo<T: Send + 'static>(
    core: &Core,
    job: impl FnOnce(&Repository) -> T + Send + 'static,
    then: impl FnOnce(T) -> Wake + Send + 'static,
) {
    let repo = core.repo.clone();
    run::work(&core.wake, move || job(&repo), then);
}
