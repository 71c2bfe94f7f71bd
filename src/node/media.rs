//! Media files of Git LFS: which are wanted, fetching them, serving them.
//!
//! Wanted by themselves are those of the files of each canonical tip and of each open proposal: that is what people check
//! out. Those of older commits come when somebody asks ([`Core::want_media`]). A local branch waits for its media.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use super::core::Core;
use super::run::{Answer, Wake};
use crate::api::{MediaDone, Progress, Refusal};
use crate::approval::ProposalState;
use crate::git::{LfsFilter, MediaOfTrees, MediaRefused, MediaStore, Repository};
use crate::hlc::Millis;
use crate::id::{Media, ObjectId, PeerId};
use crate::limits;
use crate::quic::{BodyReader, BodyWriter, Connection, SendStream};
use crate::sync::{MEDIA, MediaFetch, MediaFetches, MediaReply, MediaRequest};

/// What is known of media.
#[derive(Default)]
pub(super) struct MediaState {
    pub(super) fetches: MediaFetches,
    trees: Arc<Mutex<MediaOfTrees>>,
    /// Canonical tips and proposals may have moved.
    pub(super) stale: bool,
    looking: bool,
    /// The commits whose media was last looked for.
    looked: BTreeSet<ObjectId>,
    asked: Vec<Asked>,
}

/// Somebody waits for media.
struct Asked {
    files: BTreeSet<Media>,
    fetched: u64,
    bytes: u64,
    missing: BTreeSet<Media>,
    reply: Answer,
}

/// All media that a command is about, and by commit those that are not here.
type Found = (BTreeSet<Media>, Vec<(ObjectId, Vec<Media>)>);

/// What was done beside the loop.
pub(super) enum MediaWork {
    /// These commits refer to media that is not here.
    Looked { commits: BTreeMap<ObjectId, PeerId>, missing: Vec<(ObjectId, Vec<Media>)> },
    /// The same for a command.
    Asked { found: Result<Found, Refusal>, reply: Answer },
    /// A request has ended.
    Fetched { fetch: MediaFetch, came: Came },
    /// A neighbour asks.
    Serve { peer: PeerId, session: u64, request: Result<MediaRequest, String>, send: SendStream },
}

/// How a request ended.
#[derive(Default)]
pub(super) struct Came {
    got: Vec<Media>,
    /// Content that is not what the pointer says.
    damaged: Vec<Media>,
    /// Why they cannot be stored here.
    local: Option<MediaRefused>,
    /// Why no more came.
    why: Option<String>,
}

impl MediaState {
    /// May media of this canonical commit still come from somebody who was not asked yet?
    pub(super) fn is_busy(&self, commit: &ObjectId) -> bool {
        self.looking || !self.looked.contains(commit) || self.fetches.is_busy()
    }
}

fn look(trees: &Mutex<MediaOfTrees>, repo: &Repository, commit: ObjectId) -> Result<Arc<BTreeSet<Media>>, String> {
    // What is remembered is whole after any panic.
    trees.lock().unwrap_or_else(PoisonError::into_inner).of(repo, commit).map_err(|error| error.to_string())
}

fn lacking(store: &MediaStore, media: &BTreeSet<Media>) -> Vec<Media> {
    media.iter().filter(|media| !store.has(media)).copied().collect()
}

impl Core {
    /// Starts what there is to do.
    pub(super) fn drive_media(&mut self, now: Millis) {
        self.look_for_media();
        for fetch in self.media.fetches.next(now) {
            let Some(session) = self.sessions.get(&fetch.from) else {
                self.media.fetches.ended(now, &fetch);
                continue;
            };
            tracing::debug!(from = %fetch.from.short(), files = fetch.media.len(), "fetching media");
            let (connection, repo) = (session.connection.clone(), self.repo.clone());
            let (wake, progress) = (self.wake.clone(), self.progress.clone());
            tokio::spawn(async move {
                let came = fetch_media(&connection, repo, &fetch, progress).await;
                let _ = wake.send(Wake::Media(Box::new(MediaWork::Fetched { fetch, came }))).await;
            });
        }
        self.answer_media();
    }

    fn look_for_media(&mut self) {
        if self.media.looking || !std::mem::take(&mut self.media.stale) {
            return;
        }
        let mut commits: BTreeMap<ObjectId, PeerId> = BTreeMap::new();
        for proposal in self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open) {
            if self.holds(&proposal.last.tip) {
                commits.insert(proposal.last.tip, proposal.last.peer);
            }
        }
        commits.extend(self.moves.tracking.values().map(|(commit, _)| (*commit, self.me)));
        if commits.keys().eq(self.media.looked.iter()) {
            return;
        }
        self.media.looking = true;
        let trees = self.media.trees.clone();
        let job = move |repo: &Repository| {
            let (store, skip) = (repo.media_store(), repo.lfs_filter() == LfsFilter::Lfs { skip: true });
            let mut missing = Vec::new();
            for commit in commits.keys().filter(|_| !skip) {
                match look(&trees, repo, *commit) {
                    Ok(media) => missing.push((*commit, lacking(&store, &media))),
                    Err(why) => tracing::warn!(commit = %commit.short(), why, "its media cannot be told"),
                }
            }
            missing.retain(|(_, media)| !media.is_empty());
            (commits, missing)
        };
        let then = |(commits, missing)| Wake::Media(Box::new(MediaWork::Looked { commits, missing }));
        super::objects::with_repo(self, job, then);
    }

    /// The media of a commit is wanted now, or with `all` that of every commit below it too.
    pub(super) fn want_media(&mut self, commit: Option<&str>, all: bool, reply: Answer) {
        let Some(commit) = commit.and_then(|commit| commit.parse::<ObjectId>().ok()) else {
            let refusal = Refusal::new("unknown", "that is no commit", "lansync lfs COMMIT");
            drop(reply.send(Err(refusal)));
            return;
        };
        let trees = self.media.trees.clone();
        let job = move |repo: &Repository| {
            let failed = |why: String| {
                Refusal::new("unknown", format!("the files of {} cannot be read: {why}", commit.short()), "git fsck")
            };
            let mut commits = vec![commit];
            if all {
                let below = repo.commits_between(&[], commit, usize::MAX).map_err(|error| failed(error.to_string()))?;
                commits = below.0.into_iter().map(|(id, _)| id).collect();
            }
            let (store, mut files, mut missing) = (repo.media_store(), BTreeSet::new(), Vec::new());
            for commit in commits {
                let media = look(&trees, repo, commit).map_err(failed)?;
                let mut lacks = lacking(&store, &media);
                // Asked for once, for the newest commit that refers to it.
                lacks.retain(|media| !files.contains(media));
                if !lacks.is_empty() {
                    missing.push((commit, lacks));
                }
                files.extend(media.iter().copied());
            }
            Ok((files, missing))
        };
        let then = |found| Wake::Media(Box::new(MediaWork::Asked { found, reply }));
        super::objects::with_repo(self, job, then);
    }

    pub(super) fn media_done(&mut self, now: Millis, work: MediaWork) {
        match work {
            MediaWork::Looked { commits, missing } => self.media_looked(&commits, missing),
            MediaWork::Asked { found: Err(refusal), reply } => drop(reply.send(Err(refusal))),
            MediaWork::Asked { found: Ok((files, missing)), reply } => {
                let mut wanted = BTreeSet::new();
                for (commit, media) in missing {
                    for one in media {
                        self.media.fetches.want(one, commit, self.me);
                        self.media.fetches.hurry(&one);
                        wanted.insert(one);
                    }
                }
                self.media.asked.push(Asked { files, fetched: 0, bytes: 0, missing: wanted, reply });
            }
            MediaWork::Fetched { fetch, came } => self.media_came(now, &fetch, came),
            MediaWork::Serve { peer, session, request, send } => self.serve_media(now, peer, session, request, send),
        }
    }

    fn media_looked(&mut self, commits: &BTreeMap<ObjectId, PeerId>, missing: Vec<(ObjectId, Vec<Media>)>) {
        self.media.looking = false;
        self.media.looked = commits.keys().copied().collect();
        let mut wanted: BTreeSet<Media> = missing.iter().flat_map(|(_, media)| media.iter().copied()).collect();
        wanted.extend(self.media.asked.iter().flat_map(|asked| asked.missing.iter().copied()));
        self.media.fetches.retain(|media| wanted.contains(media));
        for (commit, media) in missing {
            let author = commits.get(&commit).copied().unwrap_or(self.me);
            for one in media {
                self.media.fetches.want(one, commit, author);
            }
        }
        // A branch that waited may be able to move, or is to say why not.
        self.landing.refs_wanted |= self.landing.local_behind;
    }

    fn media_came(&mut self, now: Millis, fetch: &MediaFetch, came: Came) {
        let who = self.peer_name(&fetch.from);
        for media in &came.got {
            self.media.fetches.done(media);
            for asked in &mut self.media.asked {
                if asked.missing.remove(media) {
                    asked.fetched += 1;
                    asked.bytes += media.size;
                }
            }
        }
        if let Some(why) = &came.why {
            tracing::debug!(from = who, why, "media did not come");
        }
        for media in &came.damaged {
            let text =
                format!("an LFS file ({}) from {who} was refused: it is not what its pointer says", media.id.short());
            self.problem(&Refusal::plain("media", text));
        }
        if let Some(why) = &came.local {
            let text = format!("LFS files cannot be stored: {why}");
            self.problem(&Refusal::new("media", text, "df -h ."));
        }
        self.media.fetches.ended(now, fetch);
        self.landing.refs_wanted |= self.landing.local_behind && !self.media.fetches.is_busy();
        self.landing.refs_wanted |= self.landing.local_behind && !came.got.is_empty();
    }

    /// Answers those who wait and have got everything that is to be had.
    fn answer_media(&mut self) {
        let fetches = &self.media.fetches;
        let ended =
            |asked: &Asked| asked.missing.iter().all(|media| !fetches.wants(media) || fetches.is_nowhere(media));
        let (ended, waiting): (Vec<Asked>, Vec<Asked>) =
            std::mem::take(&mut self.media.asked).into_iter().partition(ended);
        self.media.asked = waiting;
        // What nobody else waits for, and no tip has, is not asked for any more.
        self.media.stale |= !ended.is_empty();
        if !ended.is_empty() {
            self.media.looked.clear();
        }
        for asked in ended {
            let done = MediaDone {
                files: asked.files.len() as u64,
                fetched: asked.fetched,
                bytes: asked.bytes,
                missing: asked.missing.len() as u64,
            };
            let _ = asked.reply.send(super::commands::done(&done));
        }
    }

    /// Does it understand asks for media?
    pub(super) fn media_peer_up(&mut self, peer: PeerId, features: u64) {
        if features & MEDIA != 0 {
            self.media.fetches.peer_up(peer);
        }
    }

    /// Serves media to which commits that this node serves refer, to members only.
    fn serve_media(
        &mut self,
        now: Millis,
        peer: PeerId,
        session: u64,
        request: Result<MediaRequest, String>,
        send: SendStream,
    ) {
        let Some(current) = self.sessions.get(&peer).filter(|current| current.id == session) else { return };
        let member = self.state.member_of_identity(&current.hello.certificate.identity);
        let request = match request {
            Ok(request) => request,
            Err(why) => return self.drop_peer(now, peer, &why),
        };
        let begun = if member.is_none() {
            Err(MediaReply::NotHere)
        } else {
            self.serving.decides.begin_media(peer).ok_or(MediaReply::Busy)
        };
        let number = match begun {
            Ok(number) => number,
            Err(reply) => return super::serving::refuse(send, reply.encode()),
        };
        let tips = self.served_tips(&request.commit);
        let (repo, trees, wake) = (self.repo.clone(), self.media.trees.clone(), self.wake.clone());
        tokio::spawn(async move {
            if let Err(why) = serve(repo, trees, tips, request, send).await {
                tracing::info!(peer = %peer.short(), why, "serving media ended early");
            }
            let _ = wake.send(Wake::Served(number)).await;
        });
    }

    /// Commits of which one must contain `commit` for it to be served: itself where it is served as it is.
    fn served_tips(&self, commit: &ObjectId) -> Vec<ObjectId> {
        if self.serves(commit) {
            return vec![*commit];
        }
        let mut tips: Vec<ObjectId> = self.moves.tracking.values().map(|(at, _)| *at).collect();
        tips.extend(self.served_now());
        tips
    }
}

/// Takes one request that a neighbour sent.
pub(super) async fn accept(wake: &mpsc::Sender<Wake>, peer: PeerId, session: u64, frame: &[u8], send: SendStream) {
    let request = MediaRequest::decode(frame).map_err(|error| error.to_string());
    let _ = wake.send(Wake::Media(Box::new(MediaWork::Serve { peer, session, request, send }))).await;
}

async fn serve(
    repo: Repository,
    trees: Arc<Mutex<MediaOfTrees>>,
    tips: Vec<ObjectId>,
    request: MediaRequest,
    mut send: SendStream,
) -> Result<(), String> {
    let wants = request.wants.clone();
    let found = tokio::task::spawn_blocking(move || -> Option<Vec<Option<std::fs::File>>> {
        let commit = request.commit;
        let served = |tip: &ObjectId| *tip == commit || repo.is_ancestor(commit, *tip).unwrap_or(false);
        if !repo.has(&commit) || !tips.iter().any(served) {
            return None;
        }
        let media = look(&trees, &repo, commit).ok()?;
        let store = repo.media_store();
        request
            .wants
            .iter()
            .all(|(one, _)| media.contains(one))
            .then(|| request.wants.iter().map(|(one, _)| store.open(one).ok()).collect())
    });
    let Some(files) = found.await.map_err(|error| error.to_string())? else {
        send.write_frame(&MediaReply::NotHere.encode()).await.map_err(|error| error.to_string())?;
        return send.finish().await.map_err(|error| error.to_string());
    };
    let reply = MediaReply::Here(files.iter().map(Option::is_some).collect());
    send.write_frame(&reply.encode()).await.map_err(|error| error.to_string())?;
    send.yields();
    let mut body = BodyWriter::new(send);
    let mut out = body.blocking();
    let write = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        for (file, (media, begun)) in files.into_iter().zip(wants) {
            let Some(mut file) = file else { continue };
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(begun))?;
            let copied = std::io::copy(&mut file.take(media.size - begun), &mut out)?;
            if copied != media.size - begun {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        out.finish()
    });
    let sent = body.run().await.map_err(|error| error.to_string());
    write.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    sent
}

async fn fetch_media(
    connection: &Connection,
    repo: Repository,
    fetch: &MediaFetch,
    progress: watch::Sender<Progress>,
) -> Came {
    let failed = |why: String| Came { why: Some(why), ..Came::default() };
    let media = fetch.media.clone();
    let begin = tokio::task::spawn_blocking(move || {
        let store = repo.media_store();
        // git-lfs may have fetched some meanwhile.
        let (got, lacks): (Vec<Media>, Vec<Media>) = media.into_iter().partition(|one| store.has(one));
        let wants: Vec<(Media, u64)> = lacks.into_iter().map(|one| (one, store.begun(&one))).collect();
        (store, got, wants)
    });
    let (store, got, wants) = match begin.await {
        Ok(begun) => begun,
        Err(error) => return failed(error.to_string()),
    };
    if wants.is_empty() {
        return Came { got, ..Came::default() };
    }
    let request = MediaRequest { commit: fetch.commit, wants: wants.clone() };
    let reply = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_frame(&request.encode()).await?;
        let reply = recv.read_frame(limits::STRANGER_FRAME_BYTES).await?;
        Ok::<_, crate::quic::FrameError>((send, recv, reply.unwrap_or_default()))
    };
    let (_send, recv, reply) = match tokio::time::timeout(limits::BODY_STALLED, reply).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return failed(error.to_string()),
        Err(_) => return failed("it does not answer".to_owned()),
    };
    let here = match MediaReply::decode(&reply) {
        Ok(MediaReply::Here(here)) if here.len() == wants.len() => here,
        Ok(MediaReply::Here(_)) => return failed("its reply speaks of other files".to_owned()),
        Ok(MediaReply::NotHere) => return failed("it does not serve that commit".to_owned()),
        Ok(MediaReply::Busy) => return failed("it serves too many at once".to_owned()),
        Err(error) => return failed(error.to_string()),
    };
    let mut body = BodyReader::new(recv);
    let mut input = body.blocking();
    let receive = tokio::task::spawn_blocking(move || {
        let coming: Vec<(Media, u64)> =
            wants.into_iter().zip(here).filter_map(|(want, here)| here.then_some(want)).collect();
        let total: u64 = coming.iter().map(|(media, begun)| media.size - begun).sum();
        let (mut came, mut done) = (Came::default(), 0);
        let mut report = |bytes: u64| {
            done += bytes;
            progress.send_replace(Progress { step: "lfs".to_owned(), done, total, bytes: done });
        };
        for (media, begun) in coming {
            match store.receive(&media, begun, &mut input, &mut report) {
                Ok(()) => came.got.push(media),
                // The next file follows where it should.
                Err(MediaRefused::NotWhatItsPointerSays) => came.damaged.push(media),
                Err(MediaRefused::BrokenOff(error)) => {
                    came.why = Some(error.to_string());
                    return came;
                }
                Err(local) => {
                    came.local = Some(local);
                    return came;
                }
            }
        }
        // The end is read too, so that the stream ends in order.
        if input.read(&mut [0]).is_ok_and(|read| read > 0) {
            came.why = Some("more follows than was asked for".to_owned());
        }
        came
    });
    let read = body.run().await;
    let mut came = receive.await.unwrap_or_else(|error| failed(error.to_string()));
    if let Err(error) = read {
        came.why.get_or_insert(error.to_string());
    }
    came.got.extend(got);
    came
}
