//! What a node knows while it runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::dialling::Known;
use super::greet::Asks;
use super::landing::LandingState;
use super::run::{Answer, Wake};
use super::sessions::Session;
use super::writing::Pending;
use super::{Card, Settings, Stopped};
use crate::api::{NotShared, Notice, Progress};
use crate::approval::State;
use crate::eventlog::store::Store;
use crate::git::Repository;
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, MemberId, ObjectId, PeerId};
use crate::keys::{Certificate, FeedKey};
use crate::quic::{CloseCode, Endpoint};
use crate::sync::{Fetches, Mesh, Sync};

/// How this machine's refs and branches last moved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moves {
    /// Canonical branch to the commit its tracking ref stands at, and when it moved there.
    pub(crate) tracking: BTreeMap<BranchName, (ObjectId, Millis)>,
    /// Why the local branch of that name did not follow.
    pub(crate) not_pulled: BTreeMap<BranchName, String>,
}

/// A running node.
pub(super) struct Core {
    pub(super) repo: Repository,
    pub(super) store: Arc<Store>,
    pub(super) feed: FeedKey,
    pub(super) identity: Arc<super::keyring::Keyring>,
    pub(super) me: PeerId,
    pub(super) certificate: Certificate,
    pub(super) discovery_key: [u8; 32],
    pub(super) settings: Settings,
    pub(super) endpoint: Endpoint,
    pub(super) feeds: PathBuf,
    /// Wall time for what others see; everywhere `now` is the steady one, in which deadlines are.
    pub(super) clock: super::clock::Clock,
    pub(super) clocks: super::clocks::ClockState,
    pub(super) wake: mpsc::Sender<Wake>,
    pub(super) card: watch::Sender<Card>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) recent: VecDeque<Notice>,
    pub(super) quiet: super::quiet::Quiet,
    /// What a reader sees may have changed since `changes` was last counted up.
    pub(super) changed: bool,
    pub(super) changes: watch::Sender<u64>,
    /// Events that are checked; the last of them may not be durable yet (`pending`).
    pub(super) state: Arc<State>,
    pub(super) sync: Sync,
    pub(super) fetches: Fetches,
    pub(super) sessions: BTreeMap<PeerId, Session>,
    pub(super) next_session: u64,
    pub(super) hearings: super::hearing::Hearings,
    pub(super) known: BTreeMap<PeerId, Known>,
    /// With whom to have sessions.
    pub(super) mesh: Mesh,
    /// Commits whose objects were published or verified here: these are served, and trusted to be whole.
    pub(super) held: Arc<BTreeSet<ObjectId>>,
    /// How many lines proposals change.
    pub(super) lines: Arc<super::reading::Lines>,
    /// Local branches as they were when last looked at.
    pub(super) branches: BTreeMap<BranchName, ObjectId>,
    /// Proposal to the revision last shown here.
    pub(super) shown: BTreeMap<EventId, EventId>,
    pub(super) pending: Pending,
    pub(super) appending: bool,
    /// The log cannot be written: nothing is taken in until it can.
    pub(super) log_lost: Option<super::writing::LogLost>,
    /// When an append last failed, and how long was waited then.
    pub(super) log_failed: Option<(Millis, Millis)>,
    pub(super) looking: bool,
    pub(super) look_again: bool,
    pub(super) next_look: Millis,
    /// What is wanted is to be worked out anew.
    pub(super) wants_stale: bool,
    /// Was it looked whether this repository had the canonical history before it joined?
    pub(super) haves_checked: bool,
    /// The service's questions for the status before the first look, which says what is not shared.
    pub(super) before_first_look: Option<Vec<Answer>>,
    pub(super) not_shared: Vec<NotShared>,
    pub(super) landing: LandingState,
    pub(super) media: super::media::MediaState,
    pub(super) tags: super::tags::Tags,
    pub(super) moves: Moves,
    /// What came of a fetch that was cut.
    pub(super) kept: Option<crate::git::Kept>,
    pub(super) house: super::housekeeping::House,
    pub(super) checking: super::checking::Checking,
    /// What is being served to neighbours.
    pub(super) serving: super::serving::ServingState,
    /// Packs that travel in pieces.
    pub(super) pieces: super::pieces::PiecesState,
    pub(super) asks: Asks,
    pub(super) copies: super::copies::Copies,
    /// Is this feed to be left behind at the next start, as it is far ahead?
    pub(super) ahead: bool,
    /// Revisions to which an approval may carry over.
    pub(super) carrying: super::carrying::Carrying,
    /// Tickets for further machines of one's own.
    pub(super) link_tickets: super::machines::LinkTickets,
    /// Another project here has this history: what to tell as long as nobody else is in this one.
    pub(super) same_history: Option<crate::api::Refusal>,
    /// Answers that wait until neighbours have heard.
    pub(super) tellings: Vec<super::telling::Waiting>,
    /// Was it said that several votes are safer?
    pub(super) advised: bool,
    /// Another clone's machine says that we are no member any more, and why.
    pub(super) turned_away: Option<String>,
    /// `connect` commands that wait for a session.
    pub(super) connects: Vec<super::commands::Connecting>,
    pub(super) stopped: Option<oneshot::Sender<Stopped>>,
}

impl Core {
    /// Called once, before the first drive.
    pub(super) fn begin(&mut self) {
        let last_seq = self.state.feed_head(&self.me).map(|head| head.seq);
        if self.copied_key().is_none()
            && let Err(error) = super::place::settle(&self.repo.lansync_dir(), &self.feeds, &self.me, last_seq)
        {
            tracing::warn!(%error, "the place of this clone could not be noted");
        }
        let repo = self.repo.clone();
        self.kept = repo.kept_pack(self.clock.wall());
        tokio::task::spawn_blocking(move || {
            repo.clean_quarantine();
            repo.clean_media();
        });
        self.recall_kept();
        self.house_wants_keeping(self.clock.steady());
        // What this clone published, and what it found sound, is here whatever a crash left of the notes.
        let mut here: Vec<ObjectId> = Vec::new();
        for proposal in self.state.open_proposals() {
            if proposal.last.peer == self.me {
                here.push(proposal.last.tip);
            }
            if proposal.revisions > 1 {
                self.carrying.look_at(proposal.id);
            }
        }
        for (branch, _) in self.state.canonical() {
            here.extend(self.state.branch(branch).map_or_else(Vec::new, |heads| heads.commits()));
        }
        here.retain(|commit| self.repo.has(commit));
        if self.has_begun() {
            self.hold(&here);
        }
        self.landing.refs_wanted = true;
        self.dial_configured();
    }

    /// The member whose clone this is, once the log says so.
    pub(super) fn my_member(&self) -> Option<MemberId> {
        self.state.member_of_identity(&self.identity.identity())
    }

    /// My handle, or the one I would like.
    pub(super) fn my_handle(&self) -> String {
        self.my_member().map_or_else(|| self.settings.handle.to_string(), |member| self.state.handle(&member))
    }

    /// Are the objects of this commit here, whole, by way of lansync?
    pub(super) fn holds(&self, commit: &ObjectId) -> bool {
        self.held.contains(commit)
    }

    /// Own events that no neighbour is known to hold.
    pub(super) fn unsent(&self) -> u64 {
        let Some(head) = self.state.feed_head(&self.me) else { return 0 };
        let held = self.sessions.keys().filter_map(|peer| self.durable_at(peer)).max();
        match held.max(self.known.values().filter_map(|known| known.durable).max()) {
            Some(seq) => head.seq.saturating_sub(seq),
            None => head.seq + 1,
        }
    }

    /// Two people began a project each from one history: whoever is alone in theirs can give way.
    pub(super) fn met_same_history(&mut self, project: &str, member: &str) {
        let (project, member) = (super::settings::clip(project), super::settings::clip(member));
        let message = format!("{member} shares this history on this network as a project of their own, {project}");
        let hint = format!("lansync up --join {project}@{member}");
        let refusal = crate::api::Refusal::new("same-history", message, hint);
        if self.same_history.as_ref() != Some(&refusal) {
            self.problem(&refusal);
            self.same_history = Some(refusal);
        }
    }

    /// Is nobody else in this project?
    pub(super) fn is_alone(&self) -> bool {
        !self.state.feeds().any(|feed| *feed != self.me) && self.state.members().len() <= 1
    }

    /// Tells the service what may be announced, when that changed.
    pub(super) fn tell_card(&mut self) {
        let complete = self.is_complete();
        let settled = complete && self.is_settled();
        let genesis = self.state.genesis().map(|(_, genesis)| genesis);
        let member = self.my_member().and_then(|member| self.state.member(&member));
        let maintains = member.as_ref().is_some_and(crate::approval::Member::maintains);
        let card = Card {
            project: self.state.project(),
            name: genesis.map_or_else(String::new, |genesis| genesis.name.clone()),
            handle: member.map_or_else(String::new, |member| member.handle),
            joining: self.settings.joining && maintains,
            roots: genesis.map_or_else(Vec::new, |genesis| genesis.roots.iter().map(ToString::to_string).collect()),
            alone: self.is_alone(),
            complete,
            settled,
            tags_lacking: self.tags_lacking() as u64,
            checked: self.checking.done,
            history: self.checking.refused.as_ref().map(crate::api::Refusal::line),
        };
        self.card.send_if_modified(|told| {
            let changed = *told != card;
            *told = card;
            changed
        });
    }

    /// Is everything canonical here and in its refs?
    fn is_complete(&self) -> bool {
        let at_tip = |(branch, _): &(BranchName, ObjectId)| {
            let tip = self.state.branch(branch).and_then(|heads| heads.tip());
            tip.is_some() && self.moves.tracking.get(branch).map(|(commit, _)| *commit) == tip
        };
        !self.state.canonical().is_empty()
            && self.state.canonical().iter().all(at_tip)
            && self.state.unsettled().iter().all(|landing| self.landing.absent.has(&landing.lid))
            && self.has_begun()
    }

    /// Has this clone written its first event?
    pub(super) fn has_begun(&self) -> bool {
        self.state.feed_head(&self.me).is_some()
    }

    /// The last own event that a neighbour holds durably.
    pub(super) fn durable_at(&self, peer: &PeerId) -> Option<u64> {
        self.sync.durable_at(peer, self.state.strand_of(&self.me)?)
    }

    /// Ends everything: what is pending is appended, sessions close, peers are remembered.
    pub(super) async fn end(&mut self) -> Stopped {
        self.house.stop();
        let unsent = self.unsent();
        let store = self.store.clone();
        let layer = self.begin_append();
        let remembered = self.remember_peers();
        let result = tokio::task::spawn_blocking(move || {
            if let Some(layer) = layer {
                store.append(&layer)?;
            }
            store.remember(crate::eventlog::store::Note::Peers, &remembered)
        });
        if let Ok(Err(error)) = result.await {
            tracing::error!(%error, "the last events could not be appended");
        }
        for session in self.sessions.values() {
            session.connection.close(CloseCode::Bye, "not shared any more");
        }
        self.sessions.clear();
        self.hearings.close_all("not shared any more");
        Stopped { unsent }
    }
}
