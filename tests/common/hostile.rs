//! Nodes as values on loopback, and somebody who says to them whatever he likes.
//!
//! ```ignore
//! let ana = Clone::found(&keys("ana", 1), &[(&keys("mallory", 2), Role::Contributor)]).await;
//! let mut mallory = Raw::member(&ana, keys("mallory", 2));
//! let session = mallory.session(&ana).await;          // a hello that is answered
//! session.send(&[mallory.write(payload, refs)]).await;
//! ana.told("what a notice says").await;
//! ```
//!
//! Everything is the real thing (QUIC, redb, Git) but the person in the middle of it, who is written here.

// Each test file compiles this for itself and uses a part.
#![allow(dead_code, unreachable_pub)]

// Some tests take this file by its path, so that these need theirs.
#[path = "hostile/raw.rs"]
mod raw;
#[path = "hostile/stage.rs"]
mod stage;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lansync::api::{Notice, Refusal, Reply, Request, Status};
use lansync::approval::{RULES, State};
use lansync::discovery::{self, JoinCode};
use lansync::eventlog::store::{Note, Store};
use lansync::eventlog::{Event, Extensions, Genesis, Grant, Payload, Policy, Role};
use lansync::git::Repository;
use lansync::hlc::Hlc;
use lansync::id::{BranchName, Handle, MemberId, ObjectId, PeerId, ProjectId};
use lansync::keys::{FeedKey, IdentityKey, Secret};
use lansync::node::keyring::Keyring;
use lansync::node::{Node, Parts, Settings, clock};
use lansync::quic::{Doors, Endpoint};
use tempfile::TempDir;

#[allow(unused_imports, reason = "each test uses a part")]
pub use self::raw::{Raw, Session, offer};
#[allow(unused_imports, reason = "each test uses a part")]
pub use self::stage::Stage;

/// Nothing here takes longer unless it never comes.
pub const BOUND: Duration = Duration::from_secs(20);

/// Runs a test on a runtime of two threads, as the service has.
pub fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(test);
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// Waits until `cond` holds.
pub async fn until<F: Future<Output = bool>>(what: &str, cond: impl FnMut() -> F) {
    until_within(BOUND, what, cond).await;
}

/// The same for what may take so long.
pub async fn until_within<F: Future<Output = bool>>(bound: Duration, what: &str, mut cond: impl FnMut() -> F) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let held = async {
        while !cond().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(bound, held).await.is_ok(), "in vain: {what}");
}

/// What comes within the bound.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Runs git hermetically with input; gives what it prints.
pub fn git_with(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ana").env(format!("GIT_{role}_EMAIL"), "ana@example.org");
    }
    let mut child = command.spawn().expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        // git may give up before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("git ends")
    });
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs git hermetically; gives what it prints, trimmed.
pub fn git(dir: &Path, args: &[&str]) -> String {
    String::from_utf8(git_with(dir, args, b"")).expect("text").trim().to_owned()
}

/// Writes a file and commits it.
pub fn commit(dir: &Path, file: &str, text: &str) -> ObjectId {
    std::fs::write(dir.join(file), text).expect("files can be written");
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", &format!("Change {file}")]);
    rev(dir, "HEAD")
}

/// What a revision names.
pub fn rev(dir: &Path, revision: &str) -> ObjectId {
    git(dir, &["rev-parse", "--verify", revision]).parse().expect("git prints ids")
}

/// Puts an object into an object store, whatever it says.
pub fn object(dir: &Path, kind: &str, data: &[u8]) -> ObjectId {
    let id = git_with(dir, &["hash-object", "-w", "--literally", "-t", kind, "--stdin"], data);
    String::from_utf8(id).expect("text").trim().parse().expect("git prints ids")
}

/// A pack of exactly these objects, which git does not look into.
pub fn pack(dir: &Path, ids: &[ObjectId]) -> Vec<u8> {
    let list: String = ids.iter().map(|id| format!("{id}\n")).collect();
    git_with(dir, &["pack-objects", "--stdout", "-q"], list.as_bytes())
}

pub fn branch(name: &str) -> BranchName {
    BranchName::new(name).expect("a good name")
}

/// Somebody.
#[derive(Clone)]
pub struct Keys {
    pub identity: IdentityKey,
    pub feed: FeedKey,
    pub handle: Handle,
}

/// Keys by a small number.
pub fn keys(handle: &str, n: u8) -> Keys {
    Keys {
        identity: IdentityKey(Secret::from_seed([n; 32])),
        feed: FeedKey(Secret::from_seed([n | 0x80; 32])),
        handle: Handle::new(handle).expect("a slug"),
    }
}

impl Keys {
    pub fn peer(&self) -> PeerId {
        self.feed.peer()
    }

    pub fn grant(&self, role: Role) -> Payload {
        Payload::Grant(Grant {
            member: MemberId::of(&self.identity.identity()),
            identity: self.identity.identity(),
            handle: self.handle.clone(),
            name: self.handle.to_string(),
            role,
            invite: None,
            extensions: Extensions::default(),
        })
    }

    fn settings(&self, joining: bool) -> Settings {
        Settings {
            handle: self.handle.clone(),
            name: self.handle.to_string(),
            project: "payroll".to_owned(),
            joining,
            private: vec!["private/*".to_owned(), "wip/*".to_owned()],
            peers: Vec::new(),
        }
    }
}

/// Under this code strangers find an open node here.
pub const CODE: JoinCode = JoinCode([7; 8]);

#[derive(Default)]
struct Door(OnceLock<Node>);

impl Doors for Door {
    fn open(&self, name: &str) -> Option<FeedKey> {
        let node = self.0.get()?;
        let (key, me) = (node.discovery_key(), node.feed().peer());
        let opens = match discovery::parse_join_name(name) {
            Some(code) => code == CODE && node.card().borrow().joining,
            None => [me, discovery::ANY_PEER].iter().any(|peer| discovery::is_member_name(name, &key, peer)),
        };
        opens.then(|| node.feed().clone())
    }
}

/// A door that opens to any name, of somebody who is not to be trusted.
pub struct AnyName(pub FeedKey);

impl Doors for AnyName {
    fn open(&self, _: &str) -> Option<FeedKey> {
        Some(self.0.clone())
    }
}

pub fn loopback(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), endpoint.local_port())
}

/// A clone with its node running.
pub struct Clone {
    top: TempDir,
    pub dir: PathBuf,
    pub keys: Keys,
    pub node: Node,
    pub endpoint: Endpoint,
    /// How many milliseconds its wall clock was set ahead.
    pub set: Arc<AtomicI64>,
    /// The events with which the log began.
    pub events: Vec<Event>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

impl Clone {
    /// Founds a project that has these members already; strangers may ask to join.
    pub async fn found(keys: &Keys, members: &[(&Keys, Role)]) -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        Self::found_in(top, keys, members, true).await
    }

    pub async fn found_in(top: TempDir, keys: &Keys, members: &[(&Keys, Role)], joining: bool) -> Self {
        let dir = Self::repository(&top);
        let tip = commit(&dir, "rates", "1\n2\n3\n4\n5\n6\n7\n8\n");
        let genesis = Genesis {
            founder: keys.identity.identity(),
            handle: keys.handle.clone(),
            founder_name: keys.handle.to_string(),
            name: "payroll".to_owned(),
            nonce: [5; 16],
            tips: vec![(branch("main"), tip)],
            roots: vec![tip],
            rules: RULES,
            policy: Policy { approvals: 1, own_counts: true },
            extensions: Extensions::default(),
        };
        let project = genesis.project();
        let mut state = State::new(project);
        let mut events = Vec::new();
        let grants = members.iter().map(|(keys, role)| keys.grant(*role));
        for payload in std::iter::once(Payload::Genesis(genesis)).chain(grants) {
            let mut pen = state.pen(&keys.peer());
            let event = pen.write(clock::now(), payload, vec![], &keys.feed, &keys.identity).expect("it fits");
            assert!(state.take(event.clone()).expect("it fits").is_some());
            events.push(event);
        }
        let begun = events;
        let layer = state.begin_append().expect("events were taken in");
        let fill = move |store: &Store| {
            store.append(&layer).expect("it is new");
            let held = (tip.to_string().into_bytes(), Some(Vec::new()));
            store.remember(Note::Objects, &[held]).expect("it is new");
            let at = (b"main".to_vec(), Some(tip.to_string().into_bytes()));
            store.remember(Note::Branches, &[at]).expect("it is new");
        };
        Self::start(top, dir, keys, project, joining, vec![], begun, fill).await
    }

    /// A member's clone that has nothing yet, and is told where `of` is.
    pub async fn join(keys: &Keys, of: &Self) -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = Self::repository(&top);
        let introduced = vec![(of.keys.peer(), vec![of.addr()])];
        let clone = Self::start(top, dir, keys, of.node.project(), false, introduced, of.events.clone(), |_| ()).await;
        let node = clone.node.clone();
        until("everything canonical is here", || async { node.card().borrow().complete }).await;
        git(&clone.dir, &["reset", "-q", "--hard", "lansync/main"]);
        clone
    }

    /// A member's clone that has the first events, no object, and nobody's address.
    pub async fn beside(keys: &Keys, of: &Self) -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = Self::repository(&top);
        let mut state = State::new(of.project());
        for event in &of.events {
            assert!(state.take(event.clone()).expect("it fits").is_some());
        }
        let layer = state.begin_append().expect("events were taken in");
        let fill = move |store: &Store| drop(store.append(&layer).expect("it is new"));
        Self::start(top, dir, keys, of.project(), false, vec![], of.events.clone(), fill).await
    }

    fn repository(top: &TempDir) -> PathBuf {
        let dir = top.path().join("payroll");
        std::fs::create_dir(&dir).expect("it is empty");
        git(&dir, &["init", "-q", "-b", "main"]);
        std::fs::create_dir(dir.join(".git/lansync")).expect("it is new");
        dir
    }

    #[expect(clippy::too_many_arguments, reason = "two callers, above")]
    async fn start(
        top: TempDir,
        dir: PathBuf,
        keys: &Keys,
        project: ProjectId,
        joining: bool,
        introduced: Vec<(PeerId, Vec<SocketAddr>)>,
        events: Vec<Event>,
        fill: impl FnOnce(&Store),
    ) -> Self {
        let repo = Repository::discover(&dir).expect("it can be shared");
        let store = Store::create(&repo.lansync_dir().join("log.redb"), &project).expect("it is new");
        fill(&store);
        let set = Arc::new(AtomicI64::new(0));
        let door = Arc::new(Door::default());
        let endpoint = Endpoint::bind(0, door.clone()).expect("a port is free");
        let parts = Parts {
            repo,
            store,
            feed: keys.feed.clone(),
            certificate: keys.identity.certify(&project, &keys.peer()),
            identity: Arc::new(Keyring::open(keys.identity.clone())),
            settings: keys.settings(joining),
            endpoint: endpoint.clone(),
            feeds: top.path().join("feeds"),
            clock: clock::Clock::set_by(set.clone()),
            introduced,
        };
        let node = Node::start(parts).await.expect("it starts");
        assert!(door.0.set(node.clone()).is_ok());
        let (accepting, arriving) = (endpoint.clone(), node.clone());
        tokio::spawn(async move {
            while let Some(connection) = accepting.accept().await {
                arriving.arrived(connection).await;
            }
        });
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (mut heard, keep) = (node.notices(), notices.clone());
        tokio::spawn(async move {
            while let Ok(notice) = heard.recv().await {
                keep.lock().expect("no panic").push(notice);
            }
        });
        Self { top, dir, keys: keys.clone(), node, endpoint, set, events, notices }
    }

    /// Sets its wall clock, so many milliseconds from where it is right.
    pub fn set_clock(&self, ahead: i64) {
        self.set.store(ahead, Ordering::Relaxed);
    }

    pub fn addr(&self) -> SocketAddr {
        loopback(&self.endpoint)
    }

    pub fn project(&self) -> ProjectId {
        self.node.project()
    }

    pub async fn status(&self) -> Status {
        self.node.status().await.expect("it runs")
    }

    /// The value with which a command is answered.
    pub async fn ask(&self, request: Request) -> Result<serde_json::Value, Refusal> {
        let replies = soon("an answer", self.node.ask(request)).await?;
        let done = replies.into_iter().find_map(|reply| match reply {
            Reply::Done { value } => Some(value),
            _ => None,
        });
        Ok(done.expect("the last reply"))
    }

    /// Everything that was told.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().expect("no panic").clone()
    }

    /// Waits until a notice of this kind says this.
    pub async fn told(&self, kind: &str, what: &str) -> Notice {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let found = async {
            loop {
                let found = |notice: &Notice| notice.notice == kind && notice.text.contains(what);
                if let Some(notice) = self.notices().into_iter().find(found) {
                    return notice;
                }
                tick.tick().await;
            }
        };
        let found = tokio::time::timeout(BOUND, found).await;
        found.unwrap_or_else(|_| panic!("nothing says {what:?}: {:#?}", self.notices()))
    }

    /// The handles of all members.
    pub async fn members(&self) -> Vec<String> {
        let members = self.ask(Request::Members).await.expect("it is read");
        let active = members.as_array().expect("a list").iter().filter(|member| member["state"] == "active");
        active.map(|member| member["member"].as_str().expect("a handle").to_owned()).collect()
    }

    /// What git says is wrong with the repository: nothing.
    pub fn fsck(&self) {
        let said = git(&self.dir, &["fsck", "--full", "--strict", "--no-dangling"]);
        assert_eq!(said, "");
    }

    /// Shows and approves a proposal; its commit is then on `lansync/main` here.
    pub async fn approve(&self, proposal: &str) -> serde_json::Value {
        let proposal = proposal.to_owned();
        let show = || async {
            let shown = self.ask(Request::Show { proposal: proposal.clone() }).await;
            shown.is_ok_and(|shown| !shown["commits"].is_null())
        };
        until("the proposal and its objects are here", show).await;
        self.ask(Request::Approve { proposal, commit: None, message: None }).await.expect("it is approved")
    }

    /// The whole way once, so that whatever happened before did no harm: a commit by `other` lands here.
    pub async fn works_with(&self, other: &Self) {
        let name = "fix/still-works";
        git(&other.dir, &["switch", "-q", "-c", name, "lansync/main"]);
        let tip = commit(&other.dir, "still", "works\n");
        let approved = self.approve(&format!("{}/{name}", other.keys.handle)).await;
        assert_eq!(approved["landed"], tip.to_string(), "{approved}");
        for clone in [self, other] {
            let arrived = || async { clone.status().await.branches[0].tracking == Some(tip.to_string()) };
            until("lansync/main moves on both", arrived).await;
            clone.fsck();
        }
    }

    /// The git directory of `lansync/main`.
    pub fn tracking(&self) -> Option<ObjectId> {
        let shown = git(&self.dir, &["for-each-ref", "--format=%(objectname)", "refs/remotes/lansync/main"]);
        shown.parse().ok()
    }
}

/// A body that is whole: these bytes, and the end.
pub fn body(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.chunks(100_000).map(<[u8]>::to_vec).chain([vec![]]).collect()
}

/// A time that honest clocks do not show yet.
pub fn far_future() -> Hlc {
    Hlc::new(clock::now() + 24 * 3_600_000, 0)
}
