//! From a repository on disk to the parts of a node: keys, the place they belong to, the log, a new project.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::keyfile::{self, KeyFileError};
use crate::api::Refusal;
use crate::eventlog::store::{Note, Store};
use crate::eventlog::{Extensions, Genesis, Payload, Policy};
use crate::git::{Head, Repository};
use crate::id::{BranchName, ObjectId, PeerId, ProjectId};
use crate::keys::{Certificate, FeedKey};
use crate::limits;
use crate::node::keyring::Keyring;
use crate::node::place::{Standing, leave, settle, standing};
use crate::node::{Parts, Settings, branch_rows, clock, refs_refusal, store_refusal};
use crate::quic::Endpoint;

/// A clone's files, in `<git common dir>/lansync/`.
pub(super) struct Files {
    dir: PathBuf,
}

/// A clone that was opened.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) feed: FeedKey,
    /// The identity's word that the feed is its own.
    pub(super) certificate: Certificate,
    /// Things to tell.
    pub(super) warnings: Vec<String>,
}

pub(super) fn key_refusal(error: &KeyFileError) -> Refusal {
    Refusal::new(error.code(), error.to_string(), error.hint())
}

fn io_refusal(what: &str, error: &std::io::Error) -> Refusal {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let code = if full { "disk-full" } else { "repository" };
    Refusal::new(code, format!("{what}: {error}"), if full { "df -h ." } else { "ls -ld .git" })
}

impl Files {
    pub(super) fn of(repo: &Repository) -> Self {
        Self { dir: repo.lansync_dir() }
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log.redb")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("peer.key")
    }

    /// Was this repository shared before?
    pub(super) fn have_log(&self) -> bool {
        self.log().exists()
    }

    /// Opens what is there. A directory that was copied or restored becomes a peer of its own.
    pub(super) fn open(&self, identity: &Keyring, feeds: &std::path::Path) -> Result<Opened, Refusal> {
        let store = crate::node::open_log(&self.log()).map_err(|error| store_refusal(&error))?;
        let feed = FeedKey(keyfile::load_or_create(&self.key()).map_err(|error| key_refusal(&error))?.secret);
        // First the key is given up: its numbers past those that stay were written already.
        let give_up = || leave(feeds, &feed.peer());
        let (store, ahead) =
            crate::node::leave_behind(store, clock::now(), give_up).map_err(|error| store_refusal(&error))?;
        let heads = store.heads().map_err(|error| store_refusal(&error))?;
        let own: Vec<u64> = heads.values().filter(|(of, _)| *of == feed.peer()).map(|(_, head)| head.seq).collect();
        let last_seq = own.iter().copied().max();
        let place = standing(&self.dir, feeds, &feed.peer(), last_seq)
            .map_err(|error| io_refusal("the place of this clone cannot be read", &error))?;
        let mut warnings = Vec::new();
        // A second strand is the log's proof that a copy wrote with this key.
        let forked = own.len() > 1;
        let feed = if forked || ahead > 0 || place == Standing::Copied {
            // The old key stays where it was copied from; here it is set aside, never used again.
            let aside = self.dir.join(format!("peer.key.copied-{}", feed.peer().short()));
            std::fs::rename(self.key(), aside).map_err(|error| io_refusal("the copied key", &error))?;
            let fresh = keyfile::load_or_create(&self.key()).map_err(|error| key_refusal(&error))?;
            warnings.push(if ahead > 0 {
                let dir = self.shown();
                format!(
                    "{ahead} events with times far ahead, written while the clock was wrong, stay behind in {dir}/log.redb.ahead-*; \
                     this clone got a new key, and offers its branches again"
                )
            } else if forked {
                "this clone's key was used twice, by a copy of it, so it got a key of its own".to_owned()
            } else {
                "this repository is a copy or was restored, so it got a key of its own".to_owned()
            });
            FeedKey(fresh.secret)
        } else {
            feed
        };
        self.remember_peer(&store, &feed)?;
        let certificate = certificate(&store, identity, &feed)?;
        tracing::debug!(identity = ?identity.identity(), peer = ?feed.peer(), "clone opened");
        Ok(Opened { store, feed, certificate, warnings })
    }

    fn remember_peer(&self, store: &Store, feed: &FeedKey) -> Result<(), Refusal> {
        let row = (b"peer".to_vec(), Some(feed.peer().0.to_vec()));
        store.remember(Note::Own, &[row]).map_err(|error| store_refusal(&error))
    }

    fn make_dir(&self) -> Result<(), Refusal> {
        super::modes::create_dir(&self.dir).map_err(|error| io_refusal("a directory cannot be made", &error))
    }

    /// Begins a log for `project` with a key of one's own. `fill` writes what it begins with.
    pub(super) fn create(
        &self,
        project: &ProjectId,
        feed: Option<FeedKey>,
        certify: impl FnOnce(&PeerId) -> Certificate,
        feeds: &std::path::Path,
        branches: &BTreeMap<BranchName, ObjectId>,
        fill: impl FnOnce(&Store, &FeedKey) -> Result<(), Refusal>,
    ) -> Result<Opened, Refusal> {
        self.make_dir()?;
        let feed = match feed {
            Some(feed) => {
                // A key left by an earlier try was never used in this project.
                let _ = std::fs::remove_file(self.key());
                keyfile::create(&self.key(), &feed.0).map_err(|error| key_refusal(&error))?;
                feed
            }
            None => FeedKey(keyfile::load_or_create(&self.key()).map_err(|error| key_refusal(&error))?.secret),
        };
        let certificate = certify(&feed.peer());
        // Made beside and named when it is whole: a crash leaves no half of a log.
        let beside = self.dir.join("log.redb.new");
        let _ = std::fs::remove_file(&beside);
        {
            let store = Store::create(&beside, project).map_err(|error| store_refusal(&error))?;
            self.remember_peer(&store, &feed)?;
            note_certificate(&store, &certificate)?;
            store.remember(Note::Branches, &branch_rows(branches)).map_err(|error| store_refusal(&error))?;
            fill(&store, &feed)?;
        }
        std::fs::rename(&beside, self.log()).map_err(|error| io_refusal("the log cannot be made", &error))?;
        super::modes::sync_dir(&self.dir).map_err(|error| io_refusal("the log cannot be made", &error))?;
        settle(&self.dir, feeds, &feed.peer(), None)
            .map_err(|error| io_refusal("the place of this clone cannot be noted", &error))?;
        let store = crate::node::open_log(&self.log()).map_err(|error| store_refusal(&error))?;
        Ok(Opened { store, feed, certificate, warnings: Vec::new() })
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.join("checkout-unfinished")
    }

    /// For messages.
    pub(super) fn shown(&self) -> std::path::Display<'_> {
        self.dir.display()
    }

    /// The first checkout of a clone is to come: after a crash it is taken up again.
    pub(super) fn begin_checkout(&self) -> Result<(), Refusal> {
        self.make_dir()?;
        std::fs::write(self.unfinished(), "").map_err(|error| io_refusal("the clone cannot be begun", &error))
    }

    pub(super) fn is_checkout_unfinished(&self) -> bool {
        self.unfinished().exists()
    }

    pub(super) fn end_checkout(&self) -> Result<(), Refusal> {
        match std::fs::remove_file(self.unfinished()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_refusal("the clone cannot be ended", &error))
            }
            _ => Ok(()),
        }
    }

    /// Half of the files may be there, and some may be the user's by now: all are kept, out of the way.
    pub(super) fn set_half_a_checkout_aside(&self, repo: &Repository, branch: &BranchName) -> Result<(), Refusal> {
        let failed = |error: std::io::Error| io_refusal("half a checkout cannot be set aside", &error);
        let Some(root) = repo.work_dir() else { return Ok(()) };
        let aside = self.dir.join(format!("half-a-checkout-{}", clock::now()));
        let mut moves = vec![(repo.common_dir().join("index"), aside.join(".git-index"))];
        for entry in std::fs::read_dir(root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name != ".git" {
                moves.push((root.join(&name), aside.join(&name)));
            }
        }
        moves.retain(|(from, _)| from.symlink_metadata().is_ok());
        // The locks of a writer that was killed; nothing else writes here yet.
        for lock in ["index.lock".to_owned(), "HEAD.lock".to_owned(), format!("refs/heads/{branch}.lock")] {
            let _ = std::fs::remove_file(repo.common_dir().join(lock));
        }
        if moves.is_empty() {
            return Ok(());
        }
        std::fs::create_dir(&aside).map_err(failed)?;
        tracing::warn!(to = %aside.display(), "half a checkout was set aside");
        moves.into_iter().try_for_each(|(from, to)| std::fs::rename(from, to)).map_err(failed)
    }

    /// Sets a log aside that gave way to another project.
    pub(super) fn set_log_aside(&self) -> Result<(), Refusal> {
        let aside = self.dir.join(format!("log.redb.left-{}", clock::now()));
        std::fs::rename(self.log(), aside).map_err(|error| io_refusal("the old log cannot be set aside", &error))
    }
}

/// The branch that a new project decides, and its tip: the one checked out, else `main` or `master`, else the
/// only one. `None` while there is no commit.
pub(super) fn default_branch(repo: &Repository) -> Result<Option<(BranchName, ObjectId)>, Refusal> {
    let branches = repo.branches().map_err(|error| refs_refusal(&error))?.branches;
    let of = |name: &BranchName| branches.get(name).map(|tip| (name.clone(), *tip));
    let head = repo.head().map_err(|error| refs_refusal(&error))?;
    if let Head::Branch(branch) = &head
        && let Some(found) = of(branch)
    {
        return Ok(Some(found));
    }
    for name in ["main", "master"] {
        if let Some(found) = BranchName::new(name).ok().and_then(|name| of(&name)) {
            return Ok(Some(found));
        }
    }
    match (branches.len(), head) {
        (0, Head::Detached(_)) => {
            let message = "HEAD is detached and there is no branch to share";
            Err(Refusal::new("detached", message, "git switch -c main"))
        }
        (0, _) => Ok(None),
        (1, _) => Ok(branches.into_iter().next()),
        _ => {
            let message = "HEAD is detached, and it is not clear which branch is the main one";
            Err(Refusal::new("detached", message, "git switch main"))
        }
    }
}

/// Root commits of a branch, as a genesis names them.
pub(super) fn roots(repo: &Repository, tip: ObjectId) -> Result<Vec<ObjectId>, Refusal> {
    let mut roots = repo.root_commits(tip).map_err(|error| Refusal::new("objects", error.to_string(), "git fsck"))?;
    roots.truncate(limits::ROOTS);
    Ok(roots)
}

/// The identity's word that a clone's feed is its own: as it was noted, or given now, which takes the key.
fn certificate(store: &Store, identity: &Keyring, feed: &FeedKey) -> Result<Certificate, Refusal> {
    let (project, peer) = (store.project(), feed.peer());
    let noted = store.notes(Note::Own).map_err(|error| store_refusal(&error))?;
    let noted = noted.get(CERTIFICATE).and_then(|bytes| postcard::from_bytes::<Certificate>(bytes).ok());
    let holds = |noted: &Certificate| noted.identity == identity.identity() && noted.verify(&project, &peer).is_ok();
    if let Some(noted) = noted.filter(holds) {
        return Ok(noted);
    }
    let made = identity.key()?.certify(&project, &peer);
    note_certificate(store, &made)?;
    Ok(made)
}

/// The name of the note.
const CERTIFICATE: &[u8] = b"certificate";

fn note_certificate(store: &Store, certificate: &Certificate) -> Result<(), Refusal> {
    let row = (CERTIFICATE.to_vec(), Some(crate::codec::encode(certificate)));
    store.remember(Note::Own, &[row]).map_err(|error| store_refusal(&error))
}

/// Founds a project: its genesis is durable when this returns.
pub(super) fn found(
    repo: &Repository,
    keyring: &Keyring,
    settings: &Settings,
    feeds: &std::path::Path,
) -> Result<Opened, Refusal> {
    let Some((branch, tip)) = default_branch(repo)? else {
        return Err(Refusal::new("unborn", "there is no commit yet", "git commit"));
    };
    let identity = keyring.key()?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| Refusal::plain("random", error.to_string()))?;
    let genesis = Genesis {
        founder: identity.identity(),
        handle: settings.handle.clone(),
        founder_name: settings.name.clone(),
        name: settings.project.clone(),
        nonce,
        tips: vec![(branch, tip)],
        roots: roots(repo, tip)?,
        rules: crate::approval::RULES,
        policy: Policy { approvals: 1, own_counts: true },
        extensions: Extensions::default(),
    };
    let now = clock::now();
    if now < limits::BUILD_MILLIS {
        return Err(Refusal::new("clock", "this machine's clock stands before lansync was built", "date"));
    }
    let project = genesis.project();
    let branches = repo.branches().map_err(|error| refs_refusal(&error))?.branches;
    Files::of(repo).create(
        &project,
        None,
        |peer| identity.certify(&project, peer),
        feeds,
        &branches,
        |store, feed| {
            let refused =
                |why: &dyn std::fmt::Display| Refusal::plain("failed", format!("the project cannot be founded: {why}"));
            let mut state = crate::approval::State::new(project);
            let event = state
                .pen(&feed.peer())
                .write(now, Payload::Genesis(genesis), Vec::new(), feed, &identity)
                .map_err(|error| refused(&error))?;
            let checked = state.check(&event).map_err(|why| refused(&why))?;
            if let Some(checked) = checked {
                state.apply(&Arc::new(event), checked);
            }
            let layer = state.begin_append().unwrap_or_default();
            let held = (tip.to_string().into_bytes(), Some(Vec::new()));
            store
                .append(&layer)
                .and_then(|_| store.remember(Note::Objects, &[held]))
                .map_err(|error| store_refusal(&error))
        },
    )
}

/// Puts a node together.
pub(super) fn parts(
    repo: Repository,
    opened: Opened,
    identity: Arc<Keyring>,
    settings: Settings,
    endpoint: Endpoint,
    feeds: PathBuf,
    introduced: Vec<(PeerId, Vec<SocketAddr>)>,
) -> Parts {
    let Opened { store, feed, certificate, .. } = opened;
    Parts {
        repo,
        store,
        feed,
        identity,
        certificate,
        settings,
        endpoint,
        feeds,
        clock: clock::Clock::default(),
        introduced,
    }
}
