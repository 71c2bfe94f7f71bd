//! One project of one repository as a value: joins the pure machines and the drivers in one loop.
//!
//! [`Node`] is the handle; the loop is `run`, and everything that can wake it is the closed enum `Wake`.
//! Many nodes can live in one process: a service runs one for each repository, tests run several.

mod absent;
mod ahead;
mod carrying;
mod checking;
pub mod clock;
mod clocks;
mod commands;
mod copies;
mod core;
mod dialling;
mod fetching;
mod forget;
mod governing;
mod greet;
mod hearing;
mod housekeeping;
mod keeping;
pub mod keyring;
mod landing;
mod look;
mod machines;
mod media;
mod moving;
mod notices;
mod objects;
mod offline;
mod opening;
mod pieces;
pub(crate) mod place;
mod quiet;
mod reading;
mod refusals;
mod rights;
mod run;
mod serving;
mod sessions;
mod settings;
mod snapshot;
mod tags;
mod telling;
mod writing;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::api::{Notice, Progress, Refusal, Reply, Request, Status};
use crate::eventlog::store::Store;
use crate::git::Repository;
use crate::id::{BranchName, ObjectId, PeerId, ProjectId};
use crate::keys::{Certificate, Context, FeedKey};
use crate::quic::{Connection, Endpoint};

/// Replies that are read before those before them are taken.
const REPLIES_AHEAD: usize = 256;

pub(crate) use ahead::leave_behind;
pub(crate) use dialling::remembered_peer;
pub(crate) use look::branch_rows;
pub use offline::offline;
pub(crate) use opening::open_log;
pub(crate) use refusals::{open_refusal, refs as refs_refusal, store as store_refusal};
use run::Wake;
pub use settings::Settings;
pub(crate) use settings::clip;

/// What a node is made of.
pub struct Parts {
    /// The repository.
    pub repo: Repository,
    /// Its log.
    pub store: Store,
    /// The clone's key.
    pub feed: FeedKey,
    /// The person's key.
    pub identity: std::sync::Arc<keyring::Keyring>,
    /// By it, of the clone's key.
    pub certificate: Certificate,
    /// Settings.
    pub settings: Settings,
    /// The process's endpoint.
    pub endpoint: Endpoint,
    /// The person's own directory of feeds (see `place`).
    pub feeds: PathBuf,
    /// This machine's clocks.
    pub clock: clock::Clock,
    /// Peers to begin with: who let us in.
    pub introduced: Vec<(PeerId, Vec<SocketAddr>)>,
}

/// What others may be told of a node, and what it answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The project.
    pub project: ProjectId,
    /// Its name; empty until the log is here.
    pub name: String,
    /// My handle; empty until I am known to be a member.
    pub handle: String,
    /// May strangers ask to join?
    pub joining: bool,
    /// Root commits, in hex, sorted.
    pub roots: Vec<String>,
    /// Members other than me, events of others: with neither, the project may yield to another.
    pub alone: bool,
    /// The objects of the canonical branches are here and their refs set.
    pub complete: bool,
    /// So is all that a neighbour had when it came, and the canonical tags but for those whose objects nobody has who was asked.
    pub settled: bool,
    /// Canonical tags whose objects are not here.
    pub tags_lacking: u64,
    /// The history that this clone brought was looked at, or it brought none.
    pub checked: bool,
    /// What others would refuse of it, with what to type.
    pub history: Option<String>,
}

/// What a stopped node leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Own events that no neighbour is known to hold.
    pub unsent: u64,
}

/// A handle on a running node. Cheap to clone; the node runs until [`Node::stop`].
#[derive(Clone)]
pub struct Node {
    wake: mpsc::Sender<Wake>,
    repo: Repository,
    feed: FeedKey,
    project: ProjectId,
    card: watch::Receiver<Card>,
    progress: watch::Receiver<Progress>,
    notices: broadcast::Sender<Notice>,
    changes: watch::Receiver<u64>,
}

impl Node {
    /// Starts the loop.
    ///
    /// # Errors
    /// A [`Refusal`] where the log cannot be read or the repository not be watched.
    pub async fn start(parts: Parts) -> Result<Self, Refusal> {
        run::start(parts).await
    }

    /// Asks for something and collects the replies up to the end.
    ///
    /// # Errors
    /// The node's refusal, or that it has stopped.
    pub async fn ask(&self, request: Request) -> Result<Vec<Reply>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.wake.send(Wake::Command { request, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Asks for what only is read, and gives the replies as they are taken: `Done` or `Error` is the last.
    ///
    /// # Errors
    /// As for [`Node::ask`].
    pub async fn read(&self, request: Request) -> Result<mpsc::Receiver<Reply>, Refusal> {
        let (replies, taken) = mpsc::channel(REPLIES_AHEAD);
        self.wake.send(Wake::Read { request, replies }).await.map_err(|_| gone())?;
        Ok(taken)
    }

    /// Where everything stands. Unlike the answer to [`Request::Status`] it does not count as shown to anybody.
    ///
    /// # Errors
    /// As for [`Node::ask`].
    pub async fn status(&self) -> Result<Status, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.wake.send(Wake::Status(reply)).await.map_err(|_| gone())?;
        for reply in answer.await.map_err(|_| gone())?? {
            if let Reply::Done { value } = reply {
                return serde_json::from_value(value).map_err(|error| Refusal::plain("failed", error.to_string()));
            }
        }
        Err(Refusal::plain("failed", "there is no status"))
    }

    /// The default canonical branch and its tip, once there is one.
    pub async fn canonical_tip(&self) -> Option<(BranchName, ObjectId)> {
        let status = self.status().await.ok()?;
        let branch = status.branches.into_iter().next()?;
        Some((BranchName::new(branch.name).ok()?, branch.tip?.parse().ok()?))
    }

    /// A connection whose server name is this node's.
    pub async fn arrived(&self, connection: Connection) {
        let _ = self.wake.send(Wake::Arrived(connection)).await;
    }

    /// A peer of this project was seen at these addresses.
    pub async fn seen(&self, peer: PeerId, addrs: Vec<SocketAddr>) {
        let _ = self.wake.send(Wake::Seen { peer, addrs }).await;
    }

    /// Another project here has this one's history, and nobody else is in this one.
    pub async fn same_history(&self, project: String, member: String) {
        let _ = self.wake.send(Wake::SameHistory { project, member }).await;
    }

    /// Stops the loop: sessions end with a goodbye, the log is closed.
    pub async fn stop(&self) -> Stopped {
        let (reply, answer) = oneshot::channel();
        let _ = self.wake.send(Wake::Stop(reply)).await;
        let stopped = answer.await.unwrap_or_default();
        self.wake.closed().await;
        stopped
    }

    /// The repository.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// The clone's key.
    pub fn feed(&self) -> &FeedKey {
        &self.feed
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The key by which members recognise each other's announcements and server names.
    pub fn discovery_key(&self) -> [u8; 32] {
        discovery_key(&self.project)
    }

    /// What others may be told, as it changes.
    pub fn card(&self) -> watch::Receiver<Card> {
        self.card.clone()
    }

    /// How far the objects are, as it changes.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Counts up whenever what a reader sees may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Notices from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }
}

/// The key by which members of a project recognise each other. Who does not know the project's id, which is
/// never said to strangers, cannot make it.
pub fn discovery_key(project: &ProjectId) -> [u8; 32] {
    Context::Discovery.hash(&[&project.0])
}

fn gone() -> Refusal {
    Refusal::new("stopped", "this repository is not shared any more", "lansync up")
}
