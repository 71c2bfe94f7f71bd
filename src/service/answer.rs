//! What the service answers on the control socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::Service;
use super::control::Session;
use super::open;
use crate::api::{CONTROL_VERSION, Check, Doctor, DownDone, Envelope, Pong, Refusal, Reply, Request, Whoami, codes};
use crate::git::Repository;
use crate::node::Node;

/// A view is drawn again at most this often, however much happens.
const VIEW_EVERY: Duration = Duration::from_millis(100);
/// ... and at least this often, for who is away since when.
const VIEW_AT_LEAST: Duration = Duration::from_secs(30);

impl Service {
    pub(super) async fn answer(self: Arc<Self>, envelope: Envelope, session: Session) {
        let Envelope { dir, request, .. } = envelope;
        let ended = match self.respond(&dir, request, &session).await {
            Ok(value) => session.done(&value).await,
            Err(refusal) => session.refuse(refusal).await,
        };
        if ended.is_err() {
            tracing::debug!("a command hung up");
        }
    }

    async fn respond(
        self: &Arc<Self>,
        dir: &Path,
        request: Request,
        session: &Session,
    ) -> Result<serde_json::Value, Refusal> {
        match request {
            Request::Ping => value(&self.pong().await),
            Request::Up { join, new } => value(&self.up(dir, join, new, session).await?),
            Request::Down { all: true } => {
                let unsent = self.stop_all().await;
                let end = self.clone();
                tokio::spawn(async move {
                    // After this answer is on its way.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    end.end.notify_one();
                });
                value(&DownDone { was_up: true, ended: true, unsent })
            }
            Request::Down { all: false } => {
                let repo = discover(dir)?;
                let stopped = self.stop_sharing(&repo).await;
                let ended = self.shared.lock().await.is_empty();
                if ended {
                    let end = self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        end.end.notify_one();
                    });
                }
                let unsent = stopped.map_or(0, |stopped| stopped.unsent);
                value(&DownDone { was_up: stopped.is_some(), ended, unsent })
            }
            Request::Leave => {
                let node = self.node_of(dir).await?;
                let done = self.ask(&node, Request::Leave, session).await?;
                self.stop_sharing(node.repo()).await;
                Ok(done)
            }
            Request::Projects => {
                let roots = discover(dir).ok().and_then(|repo| {
                    let (_, tip) = open::default_branch(&repo).ok()??;
                    let roots: Vec<String> = open::roots(&repo, tip).ok()?.iter().map(ToString::to_string).collect();
                    Some(super::network::roots_tag(&roots))
                });
                let around = self.network.open_projects(Duration::from_millis(1_200)).await;
                let projects: Vec<_> = around.iter().map(|open| open.describe(roots.as_ref())).collect();
                value(&projects)
            }
            Request::Clone { project, into, up } => {
                let (done, node) = self.clone_project(&project, &into, session).await?;
                if !up {
                    self.stop_sharing(node.repo()).await;
                }
                value(&done)
            }
            Request::Unlock { passphrase, millis } => value(&self.unlock(passphrase, millis).await?),
            Request::KeyChanged => value(&self.key_changed().await?),
            Request::Answer { .. } => Err(Refusal::plain(codes::BAD_REQUEST, "an answer without a question")),
            Request::Whoami => value(&self.whoami(dir).await),
            Request::Doctor => value(&self.doctor(dir).await),
            Request::Watch => self.watch(&self.node_of(dir).await?, session).await,
            Request::Log { follow: true, .. } => self.follow(&self.node_of(dir).await?, request, session).await,
            Request::Log { .. } => self.stream(&self.node_of(dir).await?, request, session).await,
            Request::Media { commit, all } => {
                let node = self.node_of(dir).await?;
                // As it is named in the work tree that was asked from.
                let (repo, name) = (discover(dir)?, commit.unwrap_or_else(|| "HEAD".to_owned()));
                let found = repo.commit_named(&name).ok_or_else(|| {
                    let message = format!("there is no commit called '{}' here", crate::node::clip(&name));
                    Refusal::new("unknown", message, "lansync lfs COMMIT")
                })?;
                self.ask(&node, Request::Media { commit: Some(found.to_string()), all }, session).await
            }
            request => self.ask(&self.node_of(dir).await?, request, session).await,
        }
    }

    async fn pong(&self) -> Pong {
        let repositories = self.nodes().await.iter().map(|node| Self::listed(node.repo())).collect();
        Pong {
            v: CONTROL_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            port: self.network.endpoint.local_port(),
            repositories,
        }
    }

    async fn node_of(&self, dir: &Path) -> Result<Node, Refusal> {
        let repo = discover(dir)?;
        if let Some(node) = self.node(&repo).await {
            return Ok(node);
        }
        let waits = self.shared.lock().await.contains_key(repo.common_dir());
        Err(if waits {
            Refusal::new("waiting", "your first commit starts the project", "git commit")
        } else {
            Refusal::new(codes::NOT_UP, "this repository is not being shared now", "lansync up")
        })
    }

    /// Passes a request that may have a long answer to the node, and its replies back as they come.
    async fn stream(&self, node: &Node, request: Request, session: &Session) -> Result<serde_json::Value, Refusal> {
        let mut replies = node.read(request).await?;
        while let Some(reply) = replies.recv().await {
            match reply {
                Reply::Done { value } => return Ok(value),
                Reply::Error(refusal) => return Err(refusal),
                other => {
                    if session.send(other).await.is_err() {
                        break;
                    }
                }
            }
        }
        Ok(serde_json::Value::Null)
    }

    /// Passes a request to the node, and its replies back.
    async fn ask(&self, node: &Node, request: Request, session: &Session) -> Result<serde_json::Value, Refusal> {
        let mut last = serde_json::Value::Null;
        for reply in node.ask(request).await? {
            match reply {
                Reply::Done { value } => last = value,
                Reply::Error(refusal) => return Err(refusal),
                other => {
                    if session.send(other).await.is_err() {
                        break;
                    }
                }
            }
        }
        Ok(last)
    }

    /// The live view: the whole picture now, and again after whatever happens.
    async fn watch(&self, node: &Node, session: &Session) -> Result<serde_json::Value, Refusal> {
        let (mut notices, mut changes) = (node.notices(), node.changes());
        loop {
            changes.borrow_and_update();
            let view = self.ask(node, Request::Watch, session).await?;
            if session.send(Reply::Line { value: view }).await.is_err() {
                return Ok(serde_json::Value::Null);
            }
            // Sleep until something happens, pass it on, and let what comes with it gather.
            let mut gather = None;
            loop {
                let until = gather.unwrap_or_else(|| tokio::time::Instant::now() + VIEW_AT_LEAST);
                tokio::select! {
                    notice = notices.recv() => match notice {
                        Ok(notice) => {
                            if session.send(Reply::Notice(notice)).await.is_err() {
                                return Ok(serde_json::Value::Null);
                            }
                            gather.get_or_insert_with(|| tokio::time::Instant::now() + VIEW_EVERY);
                        }
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return Ok(serde_json::Value::Null),
                    },
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return Ok(serde_json::Value::Null);
                        }
                        gather.get_or_insert_with(|| tokio::time::Instant::now() + VIEW_EVERY);
                    }
                    () = session.closed() => return Ok(serde_json::Value::Null),
                    () = tokio::time::sleep_until(until) => break,
                }
            }
        }
    }

    /// `log -f`: what is there, then what comes, in the order in which it comes: events of who was away are older.
    async fn follow(&self, node: &Node, mut request: Request, session: &Session) -> Result<serde_json::Value, Refusal> {
        let mut changes = node.changes();
        loop {
            changes.borrow_and_update();
            let mut done = self.stream(node, request.clone(), session).await?;
            if let Request::Log { after, limit, .. } = &mut request {
                // Only the beginning is cut to the last few.
                *limit = None;
                *after = serde_json::from_value(done["shown"].take()).ok();
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Ok(serde_json::Value::Null);
                },
                () = session.closed() => return Ok(serde_json::Value::Null),
            }
            // Let what comes with it gather.
            tokio::time::sleep(VIEW_EVERY).await;
        }
    }

    async fn whoami(&self, dir: &Path) -> Whoami {
        let mut whoami = Whoami {
            identity: self.identity.identity().to_string(),
            home: self.home.dir().to_owned(),
            project: None,
            me: None,
        };
        if let Ok(node) = self.node_of(dir).await
            && let Ok(status) = node.status().await
        {
            whoami.project = Some(status.project);
            whoami.me = Some(status.me);
        }
        whoami
    }

    /// Why does nobody see me?
    async fn doctor(&self, dir: &Path) -> Doctor {
        let (network, mut checks) = (&self.network, Vec::new());
        let mut check = |name: &str, ok: bool, found: String, hint: Option<&str>| {
            let hint = hint.filter(|_| !ok).map(str::to_owned);
            checks.push(Check { name: name.to_owned(), ok, found, hint });
        };
        let version = env!("CARGO_PKG_VERSION");
        check("service", true, format!("lansync {version} runs, process {}", std::process::id()), None);
        let port = network.endpoint.local_port();
        check("port", true, format!("UDP port {port}; a firewall must let it in"), None);
        let discovery = network
            .trouble
            .clone()
            .unwrap_or_else(|| format!("mDNS works; {} announced around here", network.count_around()));
        check("discovery", network.trouble.is_none(), discovery, Some("lansync connect ADDRESS"));
        if let Ok(node) = self.node_of(dir).await
            && let Ok(replies) = node.ask(Request::Doctor).await
            && let Some(Reply::Done { value }) = replies.into_iter().next_back()
            && let Ok(of_node) = serde_json::from_value::<Doctor>(value)
        {
            checks.extend(of_node.checks);
        }
        Doctor { checks }
    }
}

fn discover(dir: &Path) -> Result<Repository, Refusal> {
    Repository::discover(dir).map_err(|error| crate::node::open_refusal(&error))
}

fn value<T: serde::Serialize>(value: &T) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::plain("failed", error.to_string()))
}
