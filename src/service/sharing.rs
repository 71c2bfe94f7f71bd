//! Which repositories are shared: up, down, again after a restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Service;
use super::control::Session;
use super::network::{Open, roots_tag};
use super::open::{self, Files, Opened};
use crate::api::{ProjectName, Refusal, Reply, UpDone, codes};
use crate::git::{Repository, Watch};
use crate::id::PeerId;
use crate::node::{Node, Settings, Stopped, clock};

/// After the start of the service answers from the network may take this long to come.
const ANSWERS: Duration = Duration::from_millis(1_200);

/// So long `up` waits for a look at the history: one of a thousand objects takes no longer, and of a large one it is told later.
const CHECKED: Duration = Duration::from_millis(300);

/// A repository in the service's hands.
pub(super) enum Shared {
    /// A node serves it.
    Node(Box<Node>),
    /// It has no commit yet; the first one starts the project.
    Waiting {
        /// Kept alive as long as it waits.
        _watch: Watch,
    },
}

impl Service {
    pub(super) fn feeds(&self) -> PathBuf {
        self.home.data_dir().join("feeds")
    }

    pub(super) async fn node(&self, repo: &Repository) -> Option<Node> {
        match self.shared.lock().await.get(repo.common_dir()) {
            Some(Shared::Node(node)) => Some((**node).clone()),
            Some(Shared::Waiting { .. }) | None => None,
        }
    }

    pub(super) async fn nodes(&self) -> Vec<Node> {
        let shared = self.shared.lock().await;
        let nodes = shared.values().filter_map(|shared| match shared {
            Shared::Node(node) => Some((**node).clone()),
            Shared::Waiting { .. } => None,
        });
        nodes.collect()
    }

    /// The directory by which a repository is listed: where its user works.
    pub(super) fn listed(repo: &Repository) -> PathBuf {
        repo.work_dir().map_or_else(|| repo.common_dir().to_owned(), Path::to_owned)
    }

    /// Shares again what was shared when the service last ended.
    pub(super) async fn resume(self: &Arc<Self>) {
        let dirs = self.registry.lock().await.shared();
        for dir in dirs {
            let resumed = async {
                let repo = Repository::discover(&dir).map_err(|error| crate::node::open_refusal(&error))?;
                if self.node(&repo).await.is_none() && Files::of(&repo).have_log() {
                    self.resume_one(repo).await?;
                }
                Ok::<(), Refusal>(())
            };
            if let Err(refusal) = resumed.await {
                tracing::warn!(dir = %dir.display(), "not shared again: {}", refusal.message);
                if !dir.exists() {
                    self.registry.lock().await.forget(&dir);
                }
            }
        }
    }

    /// Nothing is left to do where another command was faster.
    async fn resume_one(self: &Arc<Self>, repo: Repository) -> Result<(), Refusal> {
        let _turn = self.opening.lock().await;
        if self.node(&repo).await.is_some() {
            return Ok(());
        }
        let mut opened = self.open(&repo).await?;
        let warnings = std::mem::take(&mut opened.warnings);
        let settings = Settings::of(&repo);
        let key = repo.common_dir().to_owned();
        let node = self.start_node(repo, opened, settings, Vec::new()).await?;
        if !warnings.is_empty() {
            tracing::warn!(repository = %key.display(), "{}", warnings.join("; "));
            self.untold.lock().await.insert(key, warnings);
        }
        self.take_up_again(&node);
        Ok(())
    }

    async fn open(&self, repo: &Repository) -> Result<Opened, Refusal> {
        let (repo, identity, feeds) = (repo.clone(), self.identity.clone(), self.feeds());
        let opened = tokio::task::spawn_blocking(move || Files::of(&repo).open(&identity, &feeds)).await;
        opened.map_err(|error| Refusal::plain("failed", error.to_string()))?
    }

    pub(super) async fn start_node(
        &self,
        repo: Repository,
        opened: Opened,
        settings: Settings,
        introduced: Vec<(PeerId, Vec<SocketAddr>)>,
    ) -> Result<Node, Refusal> {
        let (endpoint, identity) = (self.network.endpoint.clone(), self.identity.clone());
        let mut shared = self.shared.lock().await;
        if let Some(Shared::Node(node)) = shared.get(repo.common_dir()) {
            return Ok((**node).clone());
        }
        let listed = Self::listed(&repo);
        let key = repo.common_dir().to_owned();
        let parts = open::parts(repo, opened, identity, settings, endpoint, self.feeds(), introduced);
        let node = Node::start(parts).await?;
        self.network.join(&node).await;
        shared.insert(key, Shared::Node(Box::new(node.clone())));
        drop(shared);
        self.registry.lock().await.set(&listed, true);
        Ok(node)
    }

    /// `up`.
    pub(super) async fn up(
        self: &Arc<Self>,
        dir: &Path,
        join: Option<String>,
        new: bool,
        session: &Session,
    ) -> Result<UpDone, Refusal> {
        let repo = Repository::discover(dir).map_err(|error| crate::node::open_refusal(&error))?;
        let files = Files::of(&repo);
        let running = self.node(&repo).await;
        if join.is_none()
            && let Some(node) = &running
        {
            return self.up_done(node, "running").await;
        }
        if let Some(wanted) = join {
            return self.up_join(&repo, running, &wanted, session).await;
        }
        if files.have_log() {
            self.resume_one(repo.clone()).await?;
            let node = self.node(&repo).await.ok_or_else(|| Refusal::plain("failed", "it is not shared any more"))?;
            return self.up_done(&node, "resumed").await;
        }
        if files.is_checkout_unfinished() && open::default_branch(&repo)?.is_none() {
            let message = "a clone into this directory was cut short before the project's log was here";
            let hint = format!("lansync clone PROJECT {}", dir.display());
            return Err(Refusal::new("clone-unfinished", message, hint));
        }
        // It is asked for before anything begins.
        self.identity.key()?;
        let settings = Settings::of(&repo);
        let Some((_, tip)) = open::default_branch(&repo)? else {
            return self.wait_for_first_commit(repo, &settings).await;
        };
        if !new {
            let roots: Vec<String> = open::roots(&repo, tip)?.iter().map(ToString::to_string).collect();
            let tag = roots_tag(&roots);
            let around = self.network.open_projects(ANSWERS).await;
            let same: Vec<Open> = around.into_iter().filter(|open| open.roots == tag).collect();
            if let Some(first) = same.first() {
                let projects = same.iter().map(|open| open.describe(Some(&tag))).collect();
                let _ = session.send(Reply::Saw { projects }).await;
                let message = format!("{} shares this history here as {}", first.handle, first.name);
                let hint = format!("lansync up --join {}  (or: lansync up --new)", first.name);
                return Err(Refusal::new(codes::CHOOSE, message, hint));
            }
        }
        let node = self.found(repo, settings).await?;
        self.up_done(&node, "founded").await
    }

    async fn up_join(
        self: &Arc<Self>,
        repo: &Repository,
        running: Option<Node>,
        wanted: &str,
        session: &Session,
    ) -> Result<UpDone, Refusal> {
        let running = match running {
            None if Files::of(repo).have_log() => {
                self.resume_one(repo.clone()).await?;
                self.node(repo).await
            }
            running => running,
        };
        if let Some(node) = &running {
            let card = node.card().borrow().clone();
            if !card.alone {
                let message = format!("this repository is part of {} already, with others in it", card.name);
                return Err(Refusal::new("already-shared", message, "lansync members"));
            }
        }
        let node = self.join_existing(repo, wanted, session).await?;
        self.up_done(&node, "joined").await
    }

    async fn found(&self, repo: Repository, settings: Settings) -> Result<Node, Refusal> {
        let _turn = self.opening.lock().await;
        if let Some(node) = self.node(&repo).await {
            return Ok(node);
        }
        let (founding, identity, feeds) = (repo.clone(), self.identity.clone(), self.feeds());
        let wish = settings.clone();
        let founded = tokio::task::spawn_blocking(move || open::found(&founding, &identity, &wish, &feeds)).await;
        let opened = founded.map_err(|error| Refusal::plain("failed", error.to_string()))??;
        let node = self.start_node(repo, opened, settings, Vec::new()).await?;
        self.registry.lock().await.admitted(&node.project());
        Ok(node)
    }

    /// Without a commit there is nothing to share: the first one starts the project.
    async fn wait_for_first_commit(self: &Arc<Self>, repo: Repository, settings: &Settings) -> Result<UpDone, Refusal> {
        let (moved, mut moves) = tokio::sync::mpsc::channel(1);
        let watch = Watch::start(&repo, move || {
            // Full is fine: it will look.
            let _ = moved.try_send(());
        })
        .map_err(|error| Refusal::plain("watch", format!("the repository cannot be watched: {error}")))?;
        let key = repo.common_dir().to_owned();
        self.shared.lock().await.insert(key, Shared::Waiting { _watch: watch });
        let (service, waiting) = (self.clone(), repo.clone());
        tokio::spawn(async move {
            // Ends when the watch is dropped, by `down` or by the node that takes over.
            while moves.recv().await.is_some() {
                if !matches!(open::default_branch(&waiting), Ok(Some(_))) {
                    continue;
                }
                let settings = Settings::of(&waiting);
                match service.found(waiting.clone(), settings).await {
                    Ok(_) => tracing::info!(repository = %waiting.common_dir().display(), "founded"),
                    Err(refusal) => tracing::error!("the project could not be founded: {}", refusal.message),
                }
                break;
            }
        });
        Ok(UpDone {
            project: None,
            member: settings.handle.to_string(),
            how: "waiting".to_owned(),
            canonical: Vec::new(),
            not_shared: Vec::new(),
            port: self.network.endpoint.local_port(),
            warnings: self.warnings(),
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(port) = self.network.other_port {
            warnings.push(format!("the port asked for was taken, so this is UDP port {port}"));
        }
        if let Some(trouble) = &self.network.trouble {
            warnings.push(format!("nobody can be found on this network by itself: {trouble}"));
        }
        warnings
    }

    async fn up_done(&self, node: &Node, how: &str) -> Result<UpDone, Refusal> {
        let status = node.status().await?;
        let mut warnings = self.warnings();
        // Ended only where the node is.
        let _ = tokio::time::timeout(CHECKED, node.card().wait_for(|card| card.checked)).await;
        warnings.extend(node.card().borrow().history.clone());
        warnings.extend(self.untold.lock().await.remove(node.repo().common_dir()).unwrap_or_default());
        Ok(UpDone {
            project: Some(ProjectName { id: status.project.id, name: status.project.name }),
            member: status.me.member,
            how: how.to_owned(),
            canonical: status.branches.into_iter().map(|branch| branch.name).collect(),
            not_shared: status.not_shared,
            port: self.network.endpoint.local_port(),
            warnings,
        })
    }

    /// Ends the sharing of one repository. `None` where it was not shared.
    pub(super) async fn stop_sharing(&self, repo: &Repository) -> Option<Stopped> {
        let shared = self.shared.lock().await.remove(repo.common_dir())?;
        self.registry.lock().await.set(&Self::listed(repo), false);
        match shared {
            Shared::Node(node) => {
                self.network.leave(&node.feed().peer());
                Some(node.stop().await)
            }
            Shared::Waiting { .. } => Some(Stopped::default()),
        }
    }

    /// Ends all sharing; the list of what to share again stays.
    pub(super) async fn stop_all(&self) -> u64 {
        let shared = std::mem::take(&mut *self.shared.lock().await);
        let mut unsent = 0;
        for shared in shared.into_values() {
            if let Shared::Node(node) = shared {
                self.network.leave(&node.feed().peer());
                unsent += node.stop().await.unsent;
            }
        }
        tracing::info!(at = clock::rfc3339(clock::now()), "nothing is shared any more");
        unsent
    }
}
