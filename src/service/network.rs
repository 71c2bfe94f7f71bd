//! One endpoint and one discovery for all nodes of the process: who is let in at which door, who is around.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::api::OpenProject;
use crate::discovery::{self, Announcement, Changes, Discovery, Found, Interfaces, JoinCode, Joining, RootsTag};
use crate::id::{Handle, PeerId};
use crate::keys::FeedKey;
use crate::node::{Card, Node};
use crate::quic::{BindError, Doors, Endpoint};

/// Ports tried after the one asked for, before giving up.
const PORTS: u16 = 100;

/// A node as the network sees it.
#[derive(Clone)]
struct Door {
    node: Node,
    /// Under this code strangers find the way in, while joining is open.
    join_code: JoinCode,
}

/// A project that is open to joining, as announced.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) name: String,
    pub(super) handle: String,
    pub(super) join_code: JoinCode,
    pub(super) roots: RootsTag,
    pub(super) addrs: Vec<SocketAddr>,
}

#[derive(Default)]
struct Doorway(RwLock<Vec<Door>>);

impl Doorway {
    fn find(&self, name: &str) -> Option<Node> {
        let doors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let code = discovery::parse_join_name(name);
        let opens = |door: &&Door| match &code {
            Some(code) => *code == door.join_code && door.node.card().borrow().joining,
            None => {
                let key = door.node.discovery_key();
                let me = door.node.feed().peer();
                discovery::is_member_name(name, &key, &me)
                    || discovery::is_member_name(name, &key, &discovery::ANY_PEER)
            }
        };
        doors.iter().find(opens).map(|door| door.node.clone())
    }
}

impl Doors for Doorway {
    fn open(&self, server_name: &str) -> Option<FeedKey> {
        self.find(server_name).map(|node| node.feed().clone())
    }
}

/// The process's place on the network.
pub(super) struct Network {
    pub(super) endpoint: Endpoint,
    doors: Arc<Doorway>,
    discovery: Mutex<Option<Discovery>>,
    /// What is announced around here, by instance.
    around: Mutex<BTreeMap<String, Found>>,
    /// Something new was announced.
    news: Notify,
    began: std::time::Instant,
    /// The port asked for was taken.
    pub(super) other_port: Option<u16>,
    /// Why there is no discovery.
    pub(super) trouble: Option<String>,
}

/// The tag of a repository's root commits in announcements: only who has the same history can tell.
pub(super) fn roots_tag(roots: &[String]) -> RootsTag {
    RootsTag::of(roots.iter().map(String::as_str))
}

impl Network {
    /// Binds `port` or the next free one, and starts discovery.
    pub(super) fn start(port: u16, interfaces: Interfaces) -> Result<Arc<Self>, BindError> {
        let doors = Arc::new(Doorway::default());
        let mut tried = port;
        let endpoint = loop {
            match Endpoint::bind(tried, doors.clone()) {
                Ok(endpoint) => break endpoint,
                Err(BindError::InUse { .. }) if port != 0 && tried - port < PORTS && tried < u16::MAX => tried += 1,
                Err(error) => return Err(error),
            }
        };
        let (discovery, changes, trouble) = match Discovery::start(&interfaces) {
            Ok(discovery) => {
                let changes = discovery.changes();
                (Some(discovery), Some(changes), None)
            }
            Err(error) => {
                tracing::warn!(%error, "discovery does not work here");
                (None, None, Some(error.to_string()))
            }
        };
        let bound = endpoint.local_port();
        let network = Arc::new(Self {
            endpoint,
            doors,
            discovery: Mutex::new(discovery),
            around: Mutex::default(),
            news: Notify::new(),
            began: std::time::Instant::now(),
            other_port: (port != 0 && bound != port).then_some(bound),
            trouble,
        });
        if let Some(changes) = changes {
            tokio::spawn(network.clone().watch(changes));
        }
        tokio::spawn(network.clone().accept());
        Ok(network)
    }

    async fn accept(self: Arc<Self>) {
        while let Some(connection) = self.endpoint.accept().await {
            let node = connection.server_name().and_then(|name| self.doors.find(name));
            match node {
                Some(node) => drop(tokio::spawn(async move { node.arrived(connection).await })),
                None => connection.close(crate::quic::CloseCode::NotAMember, "not shared here any more"),
            }
        }
    }

    async fn watch(self: Arc<Self>, mut changes: Changes) {
        while let Some(change) = changes.next().await {
            match change {
                discovery::Change::Found(found) => {
                    for door in self.doors() {
                        self.introduce(&door, &found).await;
                    }
                    self.lock().insert(found.instance.clone(), found);
                    self.news.notify_waiters();
                }
                discovery::Change::Lost { instance } => {
                    self.lock().remove(&instance);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Found>> {
        self.around.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doors(&self) -> Vec<Door> {
        self.doors.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn introduce(&self, door: &Door, found: &Found) {
        if let Some(peer) = found.announcement.open_tag(&door.node.discovery_key()) {
            return door.node.seen(peer, found.addrs.clone()).await;
        }
        let card = door.node.card().borrow().clone();
        if let Some(other) = found.announcement.joining()
            && card.alone
            && other.roots == Some(roots_tag(&card.roots))
        {
            door.node.same_history(other.project.clone(), other.handle.to_string()).await;
        }
    }

    /// Lets a node take part: its door opens, it is announced, it hears who is around.
    pub(super) async fn join(self: &Arc<Self>, node: &Node) {
        let mut code = [0; 8];
        if getrandom::fill(&mut code).is_err() {
            tracing::error!("no randomness from the system; strangers cannot join");
        }
        let door = Door { node: node.clone(), join_code: JoinCode(code) };
        let siblings = self.doors();
        {
            let mut doors = self.doors.0.write().unwrap_or_else(PoisonError::into_inner);
            doors.push(door.clone());
        }
        let around: Vec<Found> = self.lock().values().cloned().collect();
        for found in &around {
            self.introduce(&door, found).await;
        }
        // Two clones of one project in this very process.
        let here = vec![self.loopback()];
        for sibling in siblings.iter().filter(|sibling| sibling.node.project() == node.project()) {
            sibling.node.seen(node.feed().peer(), here.clone()).await;
            node.seen(sibling.node.feed().peer(), here.clone()).await;
        }
        let network = self.clone();
        tokio::spawn(async move {
            let mut card = door.node.card();
            loop {
                let now = card.borrow_and_update().clone();
                network.announce(&door, &now);
                if card.changed().await.is_err() {
                    break;
                }
            }
        });
    }

    pub(super) fn loopback(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.endpoint.local_port())
    }

    fn announce(&self, door: &Door, card: &Card) {
        let discovery = self.discovery.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(discovery) = &*discovery else { return };
        let mut nonce = [0; 8];
        if getrandom::fill(&mut nonce).is_err() || card.handle.is_empty() {
            return;
        }
        let handle = Handle::new(card.handle.clone()).ok().filter(|_| card.joining);
        let open = handle.map(|handle| Joining {
            project: card.name.clone(),
            handle,
            code: door.join_code,
            roots: Some(roots_tag(&card.roots)),
        });
        let me = door.node.feed().peer();
        let announcement = Announcement::seal(&door.node.discovery_key(), &me, nonce, open);
        if let Err(error) = discovery.announce(me, &announcement, self.endpoint.local_port()) {
            tracing::warn!(%error, "this repository could not be announced");
        }
    }

    /// A node takes part no more.
    pub(super) fn leave(&self, peer: &PeerId) {
        let mut doors = self.doors.0.write().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|door| door.node.feed().peer() != *peer);
        if let Some(discovery) = &*self.discovery.lock().unwrap_or_else(PoisonError::into_inner) {
            discovery.withdraw(peer);
        }
    }

    /// Projects open to joining, those of this process last. Asked soon after the start it waits until answers
    /// can have come, at most `patience`.
    pub(super) async fn open_projects(&self, patience: Duration) -> Vec<Open> {
        tokio::time::sleep(patience.saturating_sub(self.began.elapsed())).await;
        self.open_now()
    }

    pub(super) fn open_now(&self) -> Vec<Open> {
        let of = |found: &Found| {
            let Joining { project, handle, code, roots } = found.announcement.joining()?.clone();
            let addrs = found.addrs.clone();
            Some(Open { name: project, handle: handle.to_string(), join_code: code, roots: roots?, addrs })
        };
        let mut all: Vec<Open> = self.lock().values().filter_map(of).collect();
        for door in self.doors() {
            let card = door.node.card().borrow().clone();
            if card.joining && !card.name.is_empty() {
                all.push(Open {
                    name: card.name,
                    handle: card.handle,
                    join_code: door.join_code,
                    roots: roots_tag(&card.roots),
                    addrs: vec![self.loopback()],
                });
            }
        }
        all
    }

    /// Waits until a project that `fits` is open here, at most `patience`.
    pub(super) async fn wait_for(&self, patience: Duration, fits: impl Fn(&Open) -> bool) -> Vec<Open> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let news = self.news.notified();
            let found: Vec<Open> = self.open_now().into_iter().filter(&fits).collect();
            if !found.is_empty() || tokio::time::timeout_at(until, news).await.is_err() {
                return found;
            }
        }
    }

    /// Addresses at which a peer of a project was announced.
    pub(super) fn addrs_of(&self, discovery_key: &[u8; 32], peer: &PeerId) -> Vec<SocketAddr> {
        let around = self.lock();
        let its = around.values().filter(|found| found.announcement.open_tag(discovery_key) == Some(*peer));
        let mut addrs: Vec<SocketAddr> = its.flat_map(|found| found.addrs.clone()).collect();
        let here = self.doors();
        if here.iter().any(|door| door.node.feed().peer() == *peer) {
            addrs.push(self.loopback());
        }
        addrs
    }

    /// How many others are announced around here.
    pub(super) fn count_around(&self) -> usize {
        self.lock().len()
    }

    /// Goodbye to all.
    pub(super) async fn shutdown(&self) {
        let discovery = self.discovery.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(discovery) = discovery {
            discovery.shutdown().await;
        }
        self.endpoint.close().await;
    }
}

impl Open {
    pub(super) fn describe(&self, roots: Option<&RootsTag>) -> OpenProject {
        OpenProject {
            name: self.name.clone(),
            member: self.handle.clone(),
            addr: self.addrs.first().map_or_else(String::new, ToString::to_string),
            same_history: roots == Some(&self.roots),
        }
    }
}
