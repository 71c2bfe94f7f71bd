//! The loop: one closed list of all that can wake a node, and one place that decides.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::core::{Core, Moves};
use super::dialling::Known;
use super::fetching::{Fetched, Source};
use super::greet::AskStep;
use super::hearing::HearingStep;
use super::landing::LandingWork;
use super::look::Looked;
use super::media::MediaWork;
use super::pieces::PiecesWork;
use super::serving::{Serve, Way};
use super::sessions::{Arrival, SessionEnd};
use super::{Card, Node, Parts, Stopped, discovery_key};
use crate::api::{Progress, Refusal, Reply, Request};
use crate::eventlog::rows::Base;
use crate::eventlog::store::{Note, StoreError};
use crate::eventlog::{Event, Malformed, OnStrand};
use crate::git::{Consolidated, HousekeepingError, Watch};
use crate::id::{EventId, PeerId};
use crate::limits;
use crate::quic::Connection;
use crate::sync::{Fetch, Fetches, Mesh, Message, Sync};

/// What was appended, with their strands, and what the log holds with it.
pub(super) type Appended = (Vec<OnStrand>, Arc<dyn Base>);

/// The answer to one command: the replies up to the end, or a refusal.
pub(super) type Answer = oneshot::Sender<Result<Vec<Reply>, Refusal>>;

/// Everything that can wake a node.
pub(super) enum Wake {
    /// The command line asks.
    Command { request: Request, reply: Answer },
    /// The command line asks for what may be long.
    Read { request: Request, replies: mpsc::Sender<Reply> },
    /// The service itself asks for the status: nobody is shown it.
    Status(Answer),
    /// A connection came in under this node's server name.
    Arrived(Connection),
    /// The first frame of such a connection, or the hello that answered our dial.
    Greeted(Box<Arrival>),
    /// Who was dialled says that we are no member.
    TurnedAway { why: String },
    /// A dial did not lead to a session.
    NotReached { dialled: Option<PeerId>, addrs: Vec<SocketAddr>, why: String },
    /// A peer of this project was seen on the network.
    Seen { peer: PeerId, addrs: Vec<SocketAddr> },
    /// Names in `connect` or `lansync.peer` were looked up.
    Resolved { addrs: Result<Vec<SocketAddr>, String>, reply: Option<Answer> },
    /// Another project here has the history of this one.
    SameHistory { project: String, member: String },
    /// A neighbour said something.
    Said { peer: PeerId, session: u64, message: Message },
    /// A neighbour sent events whose form and signatures hold, up to the first that does not.
    Sent { peer: PeerId, session: u64, events: Vec<Event>, malformed: Option<Malformed> },
    /// The frames that were waited for have left.
    Flushed { peer: PeerId, session: u64 },
    /// Something for a hearing was worked out.
    Hearing { peer: PeerId, session: u64, step: Box<HearingStep> },
    /// A session ended.
    Ended { peer: PeerId, session: u64, end: SessionEnd },
    /// A neighbour asks for objects.
    Serve(Box<Serve>),
    /// The pack of the stream of this number turned out to be heavy.
    Weigh { number: u64, way: oneshot::Sender<Way> },
    /// The stream of this number, that served objects or media, is done.
    Served(u64),
    /// Something about a pack that travels in pieces.
    Pieces(Box<PiecesWork>),
    /// Refs of the repository may have moved.
    Moved,
    /// What the refs are.
    Looked(Box<Result<Looked, String>>),
    /// A dial reached this clone's own key, under this secret of the connection.
    OwnKey([u8; 32]),
    /// It was a copy of this clone.
    MetCopy,
    /// Events were appended.
    Appended(Result<Appended, StoreError>),
    /// Events for a neighbour were read.
    Loaded { peer: PeerId, load: u64, events: Result<Vec<OnStrand>, StoreError> },
    /// A fetch takes long: who all has what it is for?
    Sources { fetch: Fetch, say: oneshot::Sender<Vec<Source>> },
    /// Objects arrived, or not.
    Fetched(Box<Fetched>),
    /// Media files were looked for, arrived, or are asked for.
    Media(Box<MediaWork>),
    /// A landing was recomputed, merged, or refs were moved.
    Landing(Box<LandingWork>),
    /// Packs were made fewer, or not.
    HouseKept(Result<Consolidated, HousekeepingError>),
    /// The history that this clone brought was looked at.
    Checked(Box<super::checking::Checked>),
    /// A stranger asks to join, step by step.
    Asks(Box<AskStep>),
    /// A deadline has come.
    Due,
    /// End.
    Stop(oneshot::Sender<Stopped>),
}

pub(super) async fn start(parts: Parts) -> Result<Node, Refusal> {
    let Parts { repo, store, feed, identity, certificate, settings, endpoint, feeds, clock, introduced } = parts;
    let store = Arc::new(store);
    let loading = store.clone();
    let loaded = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
        let project = loading.project();
        let state = super::opening::open_state(&loading)?;
        let ids = |note| -> Result<BTreeMap<_, _>, StoreError> { loading.notes(note) };
        let (shown, objects, peers) = (ids(Note::Shown)?, ids(Note::Objects)?, ids(Note::Peers)?);
        Ok((project, state, ids(Note::Branches)?, ids(Note::Tags)?, shown, objects, peers))
    })
    .await
    .map_err(|error| Refusal::plain("failed", format!("reading the log failed: {error}")))?;
    let (project, state, branches, tags, shown, objects, peers) =
        loaded.map_err(|error| super::refusals::store(&error))?;

    let (wake, inbox) = mpsc::channel(256);
    let moved = Arc::new(tokio::sync::Notify::new());
    let moves = moved.clone();
    let watch = Watch::start(&repo, move || moves.notify_one())
        .map_err(|error| Refusal::plain("watch", format!("the repository cannot be watched: {error}")))?;
    let (card_out, card) = watch::channel(Card {
        project,
        name: String::new(),
        handle: String::new(),
        joining: false,
        roots: Vec::new(),
        alone: true,
        complete: false,
        settled: false,
        tags_lacking: 0,
        checked: false,
        history: None,
    });
    let (progress_out, progress) = watch::channel(Progress { step: "log".to_owned(), done: 0, total: 0, bytes: 0 });
    let (notices, _) = broadcast::channel(256);
    let (changes_out, changes) = watch::channel(0);
    let mut known: BTreeMap<PeerId, Known> = BTreeMap::new();
    for (key, value) in &peers {
        if let (Ok(peer), Some(remembered)) = (<[u8; 32]>::try_from(key.as_slice()), Known::recall(value)) {
            known.insert(PeerId(peer), remembered);
        }
    }
    let me = feed.peer();
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| Refusal::plain("failed", format!("no randomness: {error}")))?;
    let node = Node {
        wake: wake.clone(),
        repo: repo.clone(),
        feed: feed.clone(),
        project,
        card,
        progress,
        notices: notices.clone(),
        changes,
    };
    let mut core = Core {
        sync: Sync::new(state.frontier(), state.heads()),
        fetches: Fetches::default(),
        certificate,
        discovery_key: discovery_key(&project),
        state: Arc::new(state),
        repo,
        store: store.clone(),
        feed,
        identity,
        me,
        settings,
        endpoint,
        feeds,
        next_look: clock.steady() + look_every(),
        clock,
        clocks: super::clocks::ClockState::default(),
        wake,
        card: card_out,
        progress: progress_out,
        notices,
        recent: VecDeque::new(),
        quiet: super::quiet::Quiet::default(),
        changed: false,
        changes: changes_out,
        sessions: BTreeMap::new(),
        next_session: 0,
        hearings: super::hearing::Hearings::default(),
        known,
        mesh: Mesh::new(me, u64::from_be_bytes(seed)),
        lines: Arc::default(),
        held: Arc::new(objects.keys().filter_map(|key| std::str::from_utf8(key).ok()?.parse().ok()).collect()),
        branches: super::look::recall_branches(&branches),
        shown: shown.iter().filter_map(|(key, value)| Some((event_id(key)?, event_id(value)?))).collect(),
        pending: super::writing::Pending::default(),
        appending: false,
        log_lost: None,
        log_failed: None,
        looking: false,
        look_again: true,
        wants_stale: true,
        haves_checked: false,
        before_first_look: Some(Vec::new()),
        not_shared: Vec::new(),
        landing: super::landing::LandingState::default(),
        media: super::media::MediaState::default(),
        tags: super::tags::recall(&tags),
        moves: Moves::default(),
        kept: None,
        house: super::housekeeping::House::default(),
        checking: super::checking::Checking::default(),
        serving: super::serving::ServingState::default(),
        pieces: super::pieces::PiecesState::default(),
        asks: super::greet::Asks::default(),
        copies: super::copies::Copies::default(),
        ahead: false,
        carrying: super::carrying::Carrying::default(),
        link_tickets: super::machines::LinkTickets::default(),
        tellings: Vec::new(),
        advised: false,
        turned_away: None,
        connects: Vec::new(),
        same_history: None,
        stopped: None,
    };
    for (peer, addrs) in introduced {
        core.seen(peer, addrs);
    }
    core.begin();
    core.tell_card();
    tokio::spawn(run(core, inbox, watch, moved));
    Ok(node)
}

fn event_id(bytes: &[u8]) -> Option<EventId> {
    Some(EventId(bytes.try_into().ok()?))
}

/// Wakes that are taken in before anything is decided: enough to gather, few enough that a flood decides nothing.
const GATHER: usize = 64;

async fn run(mut core: Core, mut inbox: mpsc::Receiver<Wake>, watch: Watch, moved: Arc<tokio::sync::Notify>) {
    core.drive();
    // Events on their way to the disk are waited for, so that a later append never overtakes them.
    while core.stopped.is_none() || core.appending {
        let wait = Duration::from_millis(core.next_wake().saturating_sub(core.clock.steady()));
        let wake = tokio::select! {
            wake = inbox.recv() => wake,
            () = moved.notified() => Some(Wake::Moved),
            () = tokio::time::sleep(wait) => Some(Wake::Due),
        };
        let Some(wake) = wake else { break };
        core.woken(wake);
        // Take in what has gathered before deciding anything: one append, one look.
        for _ in 0..GATHER {
            let Ok(wake) = inbox.try_recv() else { break };
            core.woken(wake);
        }
        core.drive();
    }
    drop(watch);
    let stopped = core.end().await;
    if let Some(reply) = core.stopped.take() {
        // The log is closed before anybody hears of it, so that it can be opened again at once.
        drop(core);
        inbox.close();
        while let Ok(wake) = inbox.try_recv() {
            drop(wake);
        }
        drop(inbox);
        let _ = reply.send(stopped);
    }
}

impl Core {
    /// One wake, one case.
    fn woken(&mut self, wake: Wake) {
        let now = self.clock.steady();
        self.changed |= !matches!(
            wake,
            Wake::Command { .. }
                | Wake::Due
                | Wake::Flushed { .. }
                | Wake::Read { .. }
                | Wake::HouseKept(_)
                | Wake::Seen { .. }
                | Wake::Serve(_)
                | Wake::Weigh { .. }
                | Wake::Served(_)
                | Wake::Pieces(_)
                | Wake::Sources { .. }
        );
        match wake {
            Wake::Command { request, reply } => self.command(now, request, reply),
            Wake::Read { request, replies } => self.stream_from_snapshot(request, replies),
            Wake::Status(reply) => self.status_for_service(reply),
            Wake::Arrived(connection) => self.arrived(connection),
            Wake::Greeted(arrival) => self.greeted(now, *arrival),
            Wake::TurnedAway { why } => self.turned_away = Some(why),
            Wake::NotReached { dialled, addrs, why } => self.not_reached(now, dialled, &addrs, &why),
            Wake::Seen { peer, addrs } => self.seen(peer, addrs),
            Wake::OwnKey(secret) => self.dialled_own_key(secret),
            Wake::MetCopy => self.met_copy(),
            Wake::SameHistory { project, member } => self.met_same_history(&project, &member),
            Wake::Resolved { addrs, reply } => self.resolved(addrs, reply),
            Wake::Said { peer, session, message } => self.said(now, peer, session, message),
            Wake::Sent { peer, session, events, malformed } => self.sent(now, peer, session, events, malformed),
            Wake::Flushed { peer, session } => self.flushed(now, peer, session),
            Wake::Hearing { peer, session, step } => self.hearing_step(now, peer, session, *step),
            Wake::Ended { peer, session, end } => self.ended(now, peer, session, end),
            Wake::Serve(serve) => self.serve(*serve),
            Wake::Weigh { number, way } => self.weigh_pack(number, way),
            Wake::Served(number) => self.served(number),
            Wake::Pieces(work) => self.pieces_work(now, *work),
            Wake::Moved => self.look_again = true,
            Wake::Looked(looked) => self.looked(now, *looked),
            Wake::Appended(result) => self.appended(now, result),
            Wake::Loaded { peer, load, events } => self.loaded(now, peer, load, events),
            // Who asks may have ended meanwhile.
            Wake::Sources { fetch, say } => drop(say.send(self.sources(&fetch))),
            Wake::Fetched(fetched) => self.fetched(now, *fetched),
            Wake::Media(work) => self.media_done(now, *work),
            Wake::Landing(work) => self.landing_done(now, *work),
            Wake::HouseKept(result) => self.house_kept(now, result),
            Wake::Checked(checked) => self.history_checked(*checked),
            Wake::Asks(step) => self.asks(now, *step),
            Wake::Due => {
                self.asks.expire(now);
                self.say_later(now);
                self.hearings_due(now);
                self.sync.handle(now, crate::sync::Input::Due);
                self.look_again |= now >= self.next_look;
            }
            Wake::Stop(reply) => self.stopped = Some(reply),
        }
        self.drain(now);
    }

    /// Starts whatever the state calls for. Level-triggered: run after every wake, it finds what is left to do
    /// whatever was lost on the way, also after a crash.
    fn drive(&mut self) {
        let now = self.clock.steady();
        if !self.has_log(now) {
            return;
        }
        self.watch_clock(now);
        self.certify_if_admitted(now);
        self.flush();
        if std::mem::take(&mut self.wants_stale) {
            self.refresh_wants();
        }
        self.look(now);
        self.check_history();
        // Looking at all that streams in, message by message, would take longer than taking it in.
        if !self.pending.is_gathering(now) {
            self.drive_landing(now);
        }
        self.drive_fetches(now);
        self.drive_pieces(now);
        self.drive_media(now);
        self.let_go(now);
        self.drive_dials(now);
        self.drive_housekeeping(now);
        self.tell_card();
        self.drain(now);
        self.drive_tellings(now);
        self.advise_votes();
        self.flush();
        if std::mem::take(&mut self.changed) {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn next_wake(&self) -> u64 {
        if let Some(lost) = &self.log_lost {
            return lost.again;
        }
        let times = [
            self.pending.next_wake().filter(|_| !self.appending),
            self.landing.next_wake().filter(|_| self.pending.next_wake().is_none()),
            self.sync.next_wake(),
            self.fetches.next_wake(self.clock.steady()),
            self.next_pieces(self.clock.steady()),
            self.media.fetches.next_wake(),
            self.house.next_wake(),
            self.next_dial(self.clock.steady()),
            self.hearings.next_wake(),
            self.asks.next_wake(),
            self.next_telling(),
            self.quiet.next_wake(),
            self.clocks.next_wake(),
        ];
        times.into_iter().flatten().min().map_or(self.next_look, |at| at.min(self.next_look))
    }
}

/// How often refs are looked at though nothing was heard.
pub(super) fn look_every() -> u64 {
    u64::try_from(limits::WATCH_LOOK.as_millis()).unwrap_or(u64::MAX)
}

/// Runs blocking work (the log, Git) beside the loop, and wakes it with the result.
pub(super) fn work<T, F>(wake: &mpsc::Sender<Wake>, job: F, then: impl FnOnce(T) -> Wake + Send + 'static)
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let wake = wake.clone();
    tokio::spawn(async move {
        if let Ok(result) = tokio::task::spawn_blocking(job).await {
            let _ = wake.send(then(result)).await;
        }
    });
}
