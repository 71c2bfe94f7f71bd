//! Git objects: what is wanted, fetching it, serving it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, watch};

use super::core::Core;
use super::run::{self, Wake};
use crate::api::{Progress, Refusal};
use crate::approval::{Proposal, ProposalState};
use crate::eventlog::store::Note;
use crate::git::{Adopted, Interrupted, Kept, PackRefused, Repository, Skip};
use crate::hlc::Millis;
use crate::id::{ObjectId, PeerId};
use crate::limits;
use crate::quic::{BodyReader, BodyWriter, Connection, RecvStream, SendStream};
use crate::sync::{Fetch, FetchReply, FetchRequest, MediaRequest};

/// How a fetch ended.
pub(super) struct Fetched {
    fetch: Fetch,
    outcome: Result<Adopted, FetchFailure>,
    /// What came before a cut, with the haves that it was asked for with.
    kept: Option<(Vec<ObjectId>, Kept)>,
}

/// Why objects did not come.
enum FetchFailure {
    /// It has not got them, is busy, or the connection broke: ask another.
    Elsewhere(String),
    /// What it sent is not what was asked for.
    Refused(PackRefused),
}

/// A neighbour's request for objects.
pub(super) struct Serve {
    peer: PeerId,
    session: u64,
    request: Result<FetchRequest, String>,
    send: SendStream,
    recv: RecvStream,
}

/// Takes the object streams that a neighbour opens, for as long as it is here.
pub(super) async fn accept_fetches(wake: mpsc::Sender<Wake>, peer: PeerId, session: u64, connection: Connection) {
    while let Ok((send, mut recv)) = connection.accept_bi().await {
        let wake = wake.clone();
        tokio::spawn(async move {
            let frame = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, recv.read_frame(limits::FRAME_BYTES)).await;
            if let Ok(Ok(Some(bytes))) = &frame
                && bytes.first() == Some(&MediaRequest::TAG)
            {
                return super::media::accept(&wake, peer, session, bytes, send).await;
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
            let kept = self.kept.take_if(|(haves, _)| *haves == have).map(|(_, kept)| kept);
            let request = FetchRequest { want: fetch.tips.clone(), have, skip: 0 };
            let job = FetchJob {
                connection: session.connection.clone(),
                repo: self.repo.clone(),
                request,
                kept,
                progress: self.progress.clone(),
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
        // Of several that were cut the one with most is worth most.
        let bytes = |kept: &Option<(Vec<ObjectId>, Kept)>| kept.as_ref().map_or(0, |(_, kept)| kept.bytes());
        if bytes(&kept) > bytes(&self.kept) {
            self.kept = kept;
        }
        match outcome {
            Ok(adopted) => {
                // Git's own housekeeping leaves the pack alone until refs hold its objects.
                self.landing.keeping.arrived(adopted, fetch.tips.clone());
                self.hold(&fetch.tips);
                self.landing.absent.objects_came();
                if self.fetches.is_empty() {
                    // What was cut is not wanted any more.
                    self.kept = None;
                }
                self.landing.refs_wanted = true;
                self.wants_stale = true;
            }
            Err(FetchFailure::Elsewhere(why)) => {
                tracing::debug!(from = %fetch.from.short(), why, "objects did not come");
                self.fetches.failed(now, &fetch);
                self.wants_stale = true;
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

    /// Serves what this node published or verified, to members only.
    pub(super) fn serve(&mut self, serve: Serve) {
        let Serve { peer, session, request, mut send, recv } = serve;
        let Some(current) = self.sessions.get(&peer).filter(|current| current.id == session) else { return };
        let member = self.state.member_of_identity(&current.hello.certificate.identity);
        let request = match request {
            Ok(request) => request,
            Err(why) => {
                let now = self.clock.steady();
                return self.drop_peer(now, peer, &why);
            }
        };
        // While the log is on its way to a new clone it does not know its members, and must not leave them for asking.
        let reply = if member.is_none() || !request.want.iter().all(|commit| self.serves(commit)) {
            FetchReply::NotHere
        } else if !self.may_serve(&peer) {
            FetchReply::Busy
        } else {
            FetchReply::Pack
        };
        if reply != FetchReply::Pack {
            tokio::spawn(async move {
                let _ = send.write_frame(&reply.encode()).await;
                let _ = send.finish().await;
            });
            return;
        }
        *self.serving.entry(peer).or_default() += 1;
        let (repo, wake) = (self.repo.clone(), self.wake.clone());
        tokio::spawn(async move {
            if let Err(why) = serve_pack(repo, request, send, recv).await {
                tracing::info!(peer = %peer.short(), why, "serving objects ended early");
            }
            let _ = wake.send(Wake::Served(peer)).await;
        });
    }

    /// Is this commit served, to members?
    pub(super) fn serves(&self, commit: &ObjectId) -> bool {
        self.held.contains(commit) || self.is_canonical(commit)
    }

    /// May a further stream be served to this neighbour now?
    pub(super) fn may_serve(&self, peer: &PeerId) -> bool {
        self.serving.values().sum::<usize>() < limits::SERVED_STREAMS
            && self.serving.get(peer).is_none_or(|to_it| *to_it < limits::SERVED_TO_ONE)
    }

    /// Commits that a neighbour may want and can have here, told when its session begins.
    pub(super) fn served_now(&self) -> Vec<ObjectId> {
        let mut served: Vec<ObjectId> = self.state.newest(&BTreeSet::new());
        let open = self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open);
        served.extend(open.map(|proposal| proposal.last.tip));
        served.retain(|commit| self.held.contains(commit));
        served
    }

    /// A stream that served objects is done.
    pub(super) fn served(&mut self, peer: &PeerId) {
        if let Some(to_it) = self.serving.get_mut(peer) {
            *to_it -= 1;
            if *to_it == 0 {
                self.serving.remove(peer);
            }
        }
    }

    /// The commit of a head of a canonical branch, with all its objects here.
    fn is_canonical(&self, commit: &ObjectId) -> bool {
        self.moves.tracking.values().any(|(at, _)| at == commit)
    }
}

async fn serve_pack(
    repo: Repository,
    request: FetchRequest,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), String> {
    send.write_frame(&FetchReply::Pack.encode()).await.map_err(|error| error.to_string())?;
    let skip = read_skip(&mut recv, request.skip as usize).await?;
    let mut body = BodyWriter::new(send);
    let mut out = body.blocking();
    let pack = tokio::task::spawn_blocking(move || {
        let stop = AtomicBool::new(false);
        let result = repo.write_rest(&request.want, &request.have, &skip, &mut out, &stop);
        match result {
            Ok(_) => out.finish().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    let sent = body.run().await.map_err(|error| error.to_string());
    pack.await.map_err(|error| error.to_string())??;
    sent
}

/// Reads what the other side received before it was cut.
async fn read_skip(recv: &mut RecvStream, bytes: usize) -> Result<Skip, String> {
    let mut encoded = Vec::new();
    while encoded.len() < bytes {
        let frame = tokio::time::timeout(limits::BODY_STALLED, recv.read_frame(limits::FRAME_BYTES)).await;
        let frame = frame.map_err(|_| "it does not say what it has".to_owned())?.map_err(|error| error.to_string())?;
        match frame {
            Some(frame) if !frame.is_empty() => encoded.extend_from_slice(&frame),
            _ => return Err("it says less of what it has than it promised".to_owned()),
        }
    }
    let skip = Skip::decode(&encoded).filter(|_| encoded.len() == bytes);
    skip.ok_or_else(|| "what it says that it has cannot be read".to_owned())
}

/// One fetch.
struct FetchJob {
    connection: Connection,
    repo: Repository,
    request: FetchRequest,
    /// What came before a cut.
    kept: Option<Kept>,
    progress: watch::Sender<Progress>,
}

impl FetchJob {
    /// Fetches; gives back what the next try can go on with, and for which haves, where it was cut.
    async fn run(mut self) -> (Result<Adopted, FetchFailure>, Option<(Vec<ObjectId>, Kept)>) {
        let have = self.request.have.clone();
        let input = match self.ask().await {
            Ok(recv) => recv,
            Err(why) => return (Err(why), self.kept.take().map(|kept| (have, kept))),
        };
        let mut body = BodyReader::new(input);
        let mut input = body.blocking();
        let Self { repo, request, progress, kept, .. } = self;
        let is_rest = kept.is_some();
        let receive = tokio::task::spawn_blocking(move || -> Result<Adopted, Interrupted> {
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
            let quarantined = repo.resume_pack(kept, &mut input, want, have, &limits, &report, &stop)?;
            quarantined.adopt().map_err(|why| Interrupted { why, kept: None })
        });
        let read = body.run().await;
        match receive.await {
            Ok(Ok(adopted)) => (Ok(adopted), None),
            Ok(Err(Interrupted { why, kept })) => {
                let failure = match (read, why) {
                    // A stream that broke off is nobody's bad pack.
                    (Err(error), _) => FetchFailure::Elsewhere(error.to_string()),
                    // Two ids began alike, or what came before was the other peer's fault: it begins again.
                    (Ok(()), why) if is_rest && kept.is_none() && why.is_peers_fault() => {
                        FetchFailure::Elsewhere(why.to_string())
                    }
                    (Ok(()), why) => FetchFailure::Refused(why),
                };
                (Err(failure), kept.map(|kept| (have, kept)))
            }
            Err(error) => (Err(FetchFailure::Elsewhere(error.to_string())), None),
        }
    }

    /// Asks for the pack, and says what came before; gives the stream on which it comes.
    async fn ask(&mut self) -> Result<RecvStream, FetchFailure> {
        let elsewhere = |error: &dyn std::fmt::Display| FetchFailure::Elsewhere(error.to_string());
        let skip = self.kept.as_ref().map_or_else(Vec::new, |kept| kept.skip().encode());
        self.request.skip = u32::try_from(skip.len()).unwrap_or(0);
        let (mut send, mut recv): (SendStream, RecvStream) =
            self.connection.open_bi().await.map_err(|error| elsewhere(&error))?;
        send.write_frame(&self.request.encode()).await.map_err(|error| elsewhere(&error))?;
        let reply = tokio::time::timeout(limits::BODY_STALLED, recv.read_frame(limits::STRANGER_FRAME_BYTES)).await;
        let reply = reply.map_err(|_| elsewhere(&"it does not answer"))?.map_err(|error| elsewhere(&error))?;
        match FetchReply::decode(&reply.unwrap_or_default()).map_err(|error| elsewhere(&error))? {
            FetchReply::Pack => {}
            FetchReply::NotHere => return Err(FetchFailure::Elsewhere("it has not got them".to_owned())),
            FetchReply::Busy => return Err(FetchFailure::Elsewhere("it serves too many at once".to_owned())),
        }
        for part in skip.chunks(limits::BATCH_BYTES) {
            send.write_frame(part).await.map_err(|error| elsewhere(&error))?;
        }
        Ok(recv)
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
