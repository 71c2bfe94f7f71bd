//! Joining somebody's project: the asker's side, from the first dial to the objects on disk.

mod filling;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Service;
use super::control::Session;
use super::network::Open;
use super::open::{self, Files};
use super::unfinished;
use crate::api::{CloneDone, ProjectName, Refusal, Reply};
use crate::codec;
use crate::discovery;
use crate::eventlog::Link;
use crate::eventlog::store::Note;
use crate::git::Repository;
use crate::id::{ObjectId, PeerId, ProjectId};
use crate::keys::{Certificate, FeedKey, IdentityKey, Secret};
use crate::limits;
use crate::node::{Node, Settings, store_refusal};
use crate::quic::Connection;
use crate::sync::{Asker, AskerStep, JoinMessage, JoinRefusal, PairingError, Ticket, join_proof};

/// How long a name is looked for on the network.
const LOOK: Duration = Duration::from_secs(4);
/// A known member is let in without words; only after this long are words shown.
const BEFORE_WORDS: Duration = Duration::from_millis(300);

/// We are in.
pub(super) struct Admitted {
    pub(super) project: ProjectId,
    handle: String,
    /// Who let us in.
    by: PeerId,
    addrs: Vec<SocketAddr>,
    /// The key that asked, which becomes the clone's.
    feed: FeedKey,
    /// That it is this identity's.
    certificate: Certificate,
    confirmed: bool,
    by_handle: String,
}

/// Whom to ask.
enum Target {
    Open(Open),
    Ticket(Box<Ticket>),
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Open(open) => &open.name,
            Self::Ticket(ticket) => &ticket.name,
        }
    }
}

fn wrong_ticket(why: &str) -> Refusal {
    Refusal::new("ticket", why, "lansync invite  (on the machine of the member who invites you)")
}

fn join_refusal(why: JoinRefusal) -> Refusal {
    let (code, hint) = match why {
        JoinRefusal::HandleTaken => ("handle-taken", "git config --global lansync.handle NAME"),
        JoinRefusal::TicketExpired => ("ticket-expired", "lansync invite  (on the inviting machine)"),
        JoinRefusal::TicketSpent => ("ticket-spent", "lansync invite  (on the inviting machine)"),
        JoinRefusal::TicketUnknown => ("ticket", "lansync invite  (on the inviting machine)"),
        JoinRefusal::TurnedAway | JoinRefusal::TimedOut => ("turned-away", "lansync clone"),
        JoinRefusal::Busy => ("busy", "lansync clone"),
        JoinRefusal::Closed => ("closed", "lansync invite  (on the machine of a maintainer)"),
        JoinRefusal::BadProof => ("key", "lansync whoami"),
        JoinRefusal::OtherMember => ("other-member", "lansync members  (on the machine that made the ticket)"),
    };
    Refusal::new(code, why.to_string(), hint)
}

impl Service {
    async fn find_target(&self, wanted: &str) -> Result<Target, Refusal> {
        if Ticket::looks_like(wanted) {
            let ticket = Ticket::parse(wanted).map_err(|error| wrong_ticket(&error.to_string()))?;
            return Ok(Target::Ticket(Box::new(ticket)));
        }
        let (name, member) = match wanted.split_once('@') {
            Some((name, member)) => (name, Some(member)),
            None => (wanted, None),
        };
        let fits = |open: &Open| open.name == name && member.is_none_or(|member| open.handle == member);
        let mut found = self.network.wait_for(LOOK, fits).await;
        if found.iter().any(|other| other.roots != found[0].roots) {
            let who: Vec<String> = found.iter().map(|open| format!("{name}@{}", open.handle)).collect();
            let message = format!("several projects here are called {name}: {}", who.join(", "));
            return Err(Refusal::new("ambiguous", message, format!("lansync clone {}", who[0])));
        }
        if found.is_empty() {
            let message = format!("no project called '{}' is open to joining on this network", printable(wanted));
            return Err(Refusal::new("not-found", message, "lansync clone"));
        }
        Ok(Target::Open(found.remove(0)))
    }

    /// Asks to be let in. Nothing of a repository is sent, and nothing is written, before both sides said yes.
    async fn ask_to_join(&self, target: &Target, settings: &Settings, session: &Session) -> Result<Admitted, Refusal> {
        let identity = self.identity.key()?;
        let mut seed = [0; 32];
        let random = |error: getrandom::Error| Refusal::plain("random", error.to_string());
        getrandom::fill(&mut seed).map_err(random)?;
        let feed = FeedKey(Secret::from_seed(seed));
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(random)?;
        let (expected, name, addrs) = match target {
            Target::Open(open) => (None, discovery::join_name(&open.join_code), open.addrs.clone()),
            Target::Ticket(ticket) => {
                let key = crate::node::discovery_key(&ticket.project);
                let _ = self.network.open_projects(Duration::from_secs(1)).await;
                let mut addrs = self.network.addrs_of(&key, &ticket.inviter);
                addrs.extend(ticket.addrs.iter().filter_map(|addr| addr.parse::<SocketAddr>().ok()));
                (Some(ticket.inviter), discovery::member_name(&key, &ticket.inviter, nonce), addrs)
            }
        };
        let connection = self.network.endpoint.dial(&feed, expected, &name, &addrs).await.map_err(|error| {
            let message = match target {
                Target::Open(open) => format!("{} does not answer: {error}", open.handle),
                Target::Ticket(_) => {
                    format!("the machine that made the ticket does not answer, and only it lets in on it: {error}")
                }
            };
            Refusal::new("not-reached", message, "lansync doctor")
        })?;
        let admitted = match target {
            Target::Open(_) => self.pair(&connection, feed, &identity, settings, session).await,
            Target::Ticket(ticket) => self.redeem(&connection, feed, &identity, settings, ticket).await,
        };
        connection.close(crate::quic::CloseCode::Bye, "asked");
        admitted
    }

    async fn pair(
        &self,
        connection: &Connection,
        feed: FeedKey,
        key: &IdentityKey,
        settings: &Settings,
        session: &Session,
    ) -> Result<Admitted, Refusal> {
        let lost = |error: &dyn std::fmt::Display| {
            let message = format!("the connection was lost while asking: {error}");
            Refusal::new("not-reached", message, "lansync clone")
        };
        let exporter = connection.exporter(b"lansync join", b"");
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| Refusal::plain("random", error.to_string()))?;
        let (handle, name) = (settings.handle.to_string(), settings.name.clone());
        let (mut asker, ask) = Asker::begin(feed.peer(), connection.peer(), key, exporter, nonce, handle, name);
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
        send.write_frame(&ask.encode()).await.map_err(|error| lost(&error))?;
        let mut shown: Option<(String, String, [String; 2])> = None;
        let mut by_handle = String::new();
        loop {
            // The words come only if no answer comes at once: a known member needs none.
            let frame = tokio::select! {
                frame = recv.read_frame(limits::STRANGER_FRAME_BYTES) => frame,
                () = tokio::time::sleep(BEFORE_WORDS), if shown.is_some() => {
                    if let Some((to, project, words)) = shown.take() {
                        session.send(Reply::Words { to, project, words }).await.map_err(|_| hung_up())?;
                    }
                    continue;
                }
                () = session.closed() => return Err(hung_up()),
            };
            let frame = frame.map_err(|error| lost(&error))?;
            let frame = frame.ok_or_else(|| lost(&"it was closed"))?;
            let message = JoinMessage::decode(&frame).map_err(|error| lost(&error))?;
            match asker.received(message) {
                Ok(AskerStep::Reveal { say, words, member, project }) => {
                    send.write_frame(&say.encode()).await.map_err(|error| lost(&error))?;
                    by_handle = printable(&member);
                    shown = Some((by_handle.clone(), printable(&project), words.words().map(str::to_owned)));
                }
                Ok(AskerStep::Admitted { project, handle }) => {
                    let confirmed = self.registry.lock().await.knows(&project);
                    let by = connection.peer();
                    let addrs = vec![connection.remote_addr()];
                    let certificate = key.certify(&project, &feed.peer());
                    return Ok(Admitted { project, handle, by, addrs, feed, certificate, confirmed, by_handle });
                }
                Err(PairingError::Refused(why)) => return Err(join_refusal(why)),
                Err(error) => {
                    return Err(Refusal::new("pairing", format!("pairing ended: {error}"), "lansync clone"));
                }
            }
        }
    }

    async fn redeem(
        &self,
        connection: &Connection,
        feed: FeedKey,
        key: &IdentityKey,
        settings: &Settings,
        ticket: &Ticket,
    ) -> Result<Admitted, Refusal> {
        let lost = |error: &dyn std::fmt::Display| {
            let message = format!("the connection was lost while asking: {error}");
            Refusal::new("not-reached", message, "lansync clone TICKET")
        };
        let exporter = connection.exporter(b"lansync join", b"");
        let identity = key.identity();
        let proof = key.0.sign(&join_proof(&exporter, &identity, &feed.peer()));
        let signature = ticket.redeem(&feed.peer(), &identity, &exporter);
        let message = match &ticket.link {
            None => JoinMessage::Redeem {
                identity,
                handle: settings.handle.to_string(),
                name: settings.name.clone(),
                proof,
                invite: ticket.invite,
                signature,
            },
            Some(member) => JoinMessage::RedeemLink {
                identity,
                name: machine_name(),
                proof,
                ticket: ticket.invite,
                signature,
                link: Link::prove(&ticket.project, member, key),
            },
        };
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
        send.write_frame(&message.encode()).await.map_err(|error| lost(&error))?;
        let frame = recv.read_frame(limits::STRANGER_FRAME_BYTES).await.map_err(|error| lost(&error))?;
        let frame = frame.ok_or_else(|| lost(&"it was closed"))?;
        match JoinMessage::decode(&frame).map_err(|error| lost(&error))? {
            JoinMessage::Admitted { project, handle } if project == ticket.project => {
                let by = connection.peer();
                let addrs = vec![connection.remote_addr()];
                let certificate = key.certify(&project, &feed.peer());
                let by_handle = String::new();
                Ok(Admitted { project, handle, by, addrs, feed, certificate, confirmed: true, by_handle })
            }
            JoinMessage::Refused { why } => Err(join_refusal(why)),
            _ => Err(wrong_ticket("the other machine does not keep to the protocol")),
        }
    }

    /// Asks, and has our human say whether it is so.
    async fn ask_and_confirm(
        &self,
        target: &Target,
        settings: &Settings,
        session: &Session,
    ) -> Result<Admitted, Refusal> {
        let admitted = self.ask_to_join(target, settings, session).await?;
        if !admitted.confirmed {
            session.send(Reply::Confirm { by: admitted.by_handle.clone() }).await.map_err(|_| hung_up())?;
            if session.answer().await != Some(true) {
                let message = format!("{} did not let you in, so somebody in between may have", admitted.by_handle);
                return Err(Refusal::new("not-confirmed", message, "lansync clone"));
            }
        }
        self.registry.lock().await.admitted(&admitted.project);
        Ok(admitted)
    }

    /// `clone`: a new repository in `into`.
    pub(super) async fn clone_project(
        &self,
        wanted: &str,
        into: &Path,
        session: &Session,
    ) -> Result<(CloneDone, Node), Refusal> {
        let target = self.find_target(wanted).await?;
        let into = if into.as_os_str().is_empty() { Path::new(target.name()) } else { into };
        let made = !into.exists();
        if !made && !unfinished::is_blank(into) {
            let message = format!("{} exists and is not an empty directory", into.display());
            return Err(Refusal::new("exists", message, "lansync clone NAME OTHER-DIR"));
        }
        let settings = Settings::before(into);
        let admitted = self.ask_and_confirm(&target, &settings, session).await?;
        let handle = admitted.handle.clone();
        let repo = unfinished::prepare(into)?;
        let begun = Instant::now();
        let filled = async {
            let node = self.start_admitted(repo.clone(), admitted, Vec::new(), &settings).await?;
            self.wait_complete(&node, session).await?;
            let seconds = begun.elapsed().as_secs_f64();
            let progress = node.progress().borrow().clone();
            let checked_out = self.check_out(&node, Some(session)).await?;
            self.wait_settled(&node, session).await?;
            Ok((node, seconds, progress, checked_out))
        };
        let (node, seconds, progress, checked_out) = match filled.await {
            Err(refusal) if refusal == hung_up() => {
                self.remove_unfinished(&repo, into, made).await;
                return Err(refusal);
            }
            other => other?,
        };
        let card = node.card().borrow().clone();
        let (branch, pointers) = checked_out.map_or((None, 0), |(branch, pointers)| (Some(branch), pointers));
        let done = CloneDone {
            project: ProjectName { id: card.project.to_string(), name: card.name },
            member: if card.handle.is_empty() { handle } else { card.handle },
            dir: into.to_owned(),
            objects: progress.total,
            bytes: progress.bytes,
            seconds,
            branch,
            pointers: pointers as u64,
            tags_lacking: card.tags_lacking,
        };
        Ok((done, node))
    }

    /// Takes away what an interrupted clone has made. `made`: the directory as well.
    async fn remove_unfinished(&self, repo: &Repository, into: &Path, made: bool) {
        self.stop_sharing(repo).await;
        self.registry.lock().await.forget(&Self::listed(repo));
        let into = into.to_owned();
        let removed = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            if made {
                return std::fs::remove_dir_all(into);
            }
            // It was empty before.
            for entry in std::fs::read_dir(into)? {
                let path = entry?.path();
                let is_dir = std::fs::symlink_metadata(&path)?.is_dir();
                if is_dir { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
            }
            Ok(())
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, "an interrupted clone could not be removed");
        }
    }

    /// `up --join`: a repository that is here already joins.
    pub(super) async fn join_existing(
        self: &Arc<Self>,
        repo: &Repository,
        wanted: &str,
        session: &Session,
    ) -> Result<Node, Refusal> {
        let target = self.find_target(wanted).await?;
        let settings = Settings::of(repo);
        let files = Files::of(repo);
        let admitted = self.ask_and_confirm(&target, &settings, session).await?;
        if files.have_log() {
            // A project of one's own that nobody else is in gives way.
            self.stop_sharing(repo).await;
            files.set_log_aside()?;
        }
        // What this machine has of the history need not be sent again.
        let mut have = Vec::new();
        if let Some((branch, tip)) = open::default_branch(repo)? {
            have.push(tip);
            have.extend(repo.remote_tips(&branch).unwrap_or_default());
        }
        let checking = repo.clone();
        let whole = tokio::task::spawn_blocking(move || {
            have.retain(|tip| checking.connected(&[*tip], &[]).unwrap_or(false));
            have
        });
        let have = whole.await.unwrap_or_default();
        // Not where files of the user's are: these stay, and main is theirs to check out.
        if repo.work_dir().is_some_and(unfinished::is_blank) {
            files.begin_checkout()?;
        }
        let node = self.start_admitted(repo.clone(), admitted, have, &settings).await?;
        self.wait_complete(&node, session).await?;
        self.take_up_again(&node);
        Ok(node)
    }

    async fn start_admitted(
        &self,
        repo: Repository,
        admitted: Admitted,
        have: Vec<ObjectId>,
        settings: &Settings,
    ) -> Result<Node, Refusal> {
        let Admitted { project, by, addrs, feed, certificate, .. } = admitted;
        let branches = repo.branches().map_err(|error| Refusal::plain("refs", error.to_string()))?.branches;
        let feeds = self.feeds();
        let remembered = crate::node::remembered_peer(&addrs);
        let opened = Files::of(&repo).create(
            &project,
            Some(feed),
            |_| certificate,
            &feeds,
            &branches,
            |store, _| {
                let rows: Vec<_> = have.iter().map(|tip| (tip.to_string().into_bytes(), Some(Vec::new()))).collect();
                store
                    .remember(Note::Objects, &rows)
                    .and_then(|()| store.remember(Note::Peers, &[(by.0.to_vec(), Some(codec::encode(&remembered)))]))
                    .map_err(|error| store_refusal(&error))
            },
        )?;
        self.start_node(repo, opened, settings.clone(), vec![(by, addrs)]).await
    }
}

/// What this machine is called, for the list of one's machines; empty where the system does not say.
fn machine_name() -> String {
    let variable = ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let file =
        || ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    printable(&crate::git::global_config("lansync.machine").or(variable).or_else(file).unwrap_or_default())
}

fn hung_up() -> Refusal {
    Refusal::plain("interrupted", "interrupted")
}

fn printable(text: &str) -> String {
    crate::node::clip(text)
}
