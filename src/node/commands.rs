//! Commands: what people ask of a node.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::core::Core;
use super::landing::Approving;
use super::run::Answer;
use super::{clock, reading};
use crate::api::{Invite as InviteDone, Refusal, Reply, Request};
use crate::approval::{Proposal, ProposalState};
use crate::discovery::Place;
use crate::eventlog::{Extensions, Invite, Payload, Reject, Withdraw};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, MemberId, ObjectId};
use crate::keys::Secret;
use crate::sync::Ticket;

/// A `connect` that waits for a session.
pub(super) struct Connecting {
    addrs: Vec<SocketAddr>,
    reply: Option<Answer>,
}

impl Connecting {
    /// A session at this address began. Keeps waiting (`true`) where it is another's.
    pub(super) fn reached(&mut self, addr: SocketAddr) -> bool {
        if !self.addrs.contains(&addr) {
            return true;
        }
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Ok(vec![Reply::Done { value: serde_json::json!([]) }]));
        }
        false
    }

    /// Who is at this address takes us for no member.
    pub(super) fn turned_away(&mut self, addr: SocketAddr, why: &str) -> bool {
        let addrs = if self.addrs.contains(&addr) { self.addrs.clone() } else { Vec::new() };
        addrs.is_empty() || self.not_reached(&addrs, why)
    }

    /// These addresses did not lead to a session.
    pub(super) fn not_reached(&mut self, addrs: &[SocketAddr], why: &str) -> bool {
        if self.addrs != addrs {
            return true;
        }
        if let Some(reply) = self.reply.take() {
            let message = format!("no member of this project answers there: {why}");
            let _ = reply.send(Err(Refusal::new("not-reached", message, "lansync doctor")));
        }
        false
    }
}

pub(super) fn done<T: serde::Serialize>(value: &T) -> Result<Vec<Reply>, Refusal> {
    let value = serde_json::to_value(value).map_err(|error| Refusal::plain("failed", error.to_string()))?;
    Ok(vec![Reply::Done { value }])
}

/// Is the identity's key needed for it?
fn uses_rights(request: &Request) -> bool {
    matches!(
        request,
        Request::Approve { .. }
            | Request::Accept { .. }
            | Request::Invite { .. }
            | Request::Link { .. }
            | Request::Unlink { .. }
            | Request::Revoke { .. }
            | Request::SetRole { .. }
            | Request::Vote { .. }
            | Request::Leave
            | Request::SetPolicy { .. }
    )
}

impl Core {
    pub(super) fn command(&mut self, now: Millis, request: Request, reply: Answer) {
        if let Err(locked) = if uses_rights(&request) { self.identity.key().map(drop) } else { Ok(()) } {
            return drop(reply.send(Err(locked)));
        }
        match request {
            Request::Approve { proposal, commit, message } => match self.approving(&proposal, commit.as_deref()) {
                Ok((revision, commit)) => {
                    let message = message.unwrap_or_default();
                    self.landing.approve(Approving { revision, commit, message, reply });
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            Request::Reject { proposal, message } => {
                let written = self.reject(now, &proposal, message.unwrap_or_default());
                self.reply_with_proposal(written, reply);
            }
            Request::Withdraw { proposal } => {
                let written = self.withdraw(now, &proposal);
                self.reply_with_proposal(written, reply);
            }
            Request::Propose { branch } => self.propose(now, branch, reply),
            Request::Accept { words, handle, role } => {
                self.accept(now, words, handle.as_deref(), role.as_deref(), reply);
            }
            Request::Invite { role, expires, uses } => self.invite(now, role.as_deref(), expires, uses, reply),
            Request::Link { expires } => self.link(now, expires, reply),
            Request::Unlink { machine } => self.unlink(now, &machine, reply),
            Request::Revoke { .. }
            | Request::SetRole { .. }
            | Request::Vote { .. }
            | Request::Leave
            | Request::SetPolicy { .. } => self.govern(now, request, reply),
            Request::Media { commit, all } => self.want_media(commit.as_deref(), all, reply),
            Request::Connect { addr } => self.connect(&addr, reply),
            reading => self.read(reading, reply),
        }
    }

    /// Reading happens beside the loop, on a snapshot; what is shown is noted before it is.
    fn read(&mut self, request: Request, reply: Answer) {
        let shown: Vec<(EventId, EventId)> = match &request {
            // An overview, which may stand on a screen unattended, never takes the place of a closer look.
            Request::List { .. } | Request::Inbox | Request::Status | Request::Watch => {
                let open = self.state.open_proposals().filter(|proposal| proposal.state == ProposalState::Open);
                let first = open.filter(|proposal| !self.shown.contains_key(&proposal.id));
                first.map(|proposal| (proposal.id, proposal.last.id)).collect()
            }
            Request::Show { proposal } => {
                let found = reading::find_proposal(&self.state, proposal);
                found.map(|proposal| (proposal.id, proposal.last.id)).into_iter().collect()
            }
            _ => Vec::new(),
        };
        self.mark_shown(shown);
        self.answer_from_snapshot(request, reply);
    }

    /// What `up` says includes what is not shared, so it waits for the first look.
    pub(super) fn status_for_service(&mut self, reply: Answer) {
        match &mut self.before_first_look {
            Some(waiting) if self.state.genesis().is_some() => waiting.push(reply),
            _ => self.answer_from_snapshot(Request::Status, reply),
        }
    }

    pub(super) fn answer_from_snapshot(&self, request: Request, reply: Answer) {
        let snapshot = self.snapshot();
        tokio::task::spawn_blocking(move || {
            let _ = reply.send(reading::answer(&snapshot, &request));
        });
    }

    /// Reads beside the loop, reply by reply as they are taken.
    pub(super) fn stream_from_snapshot(&self, request: Request, replies: mpsc::Sender<Reply>) {
        let snapshot = self.snapshot();
        tokio::task::spawn_blocking(move || {
            let read = reading::stream(&snapshot, &request, &mut |reply| replies.blocking_send(reply).is_ok());
            if let Err(refusal) = read {
                // Where whoever asked has gone, nobody needs to know.
                let _ = replies.blocking_send(Reply::Error(refusal));
            }
        });
    }

    /// Which revision and commit an `approve` means, and whether it may.
    fn approving(&self, name: &str, commit: Option<&str>) -> Result<(EventId, ObjectId), Refusal> {
        let proposal = reading::find_proposal(&self.state, name)?;
        let name = self.proposal_name(&proposal.id);
        self.may_decide("approve")?;
        match proposal.state {
            ProposalState::Open | ProposalState::Rejected => {}
            ProposalState::Landed => {
                return Err(Refusal::new("landed", format!("{name} has landed already"), "lansync status"));
            }
            ProposalState::Withdrawn => {
                return Err(Refusal::new("withdrawn", format!("{name} was taken back"), "lansync list"));
            }
        }
        let last = &proposal.last;
        let commit = match commit {
            Some(text) => self.exact_commit(&proposal, text)?,
            None => {
                let shown = self.shown.get(&proposal.id);
                if shown != Some(&last.id) {
                    let why = if shown.is_some() {
                        "has a newer revision than you were shown"
                    } else {
                        "was not shown here yet"
                    };
                    let message =
                        format!("{name} {why}: {} \"{}\"", last.tip.short(), super::settings::clip(&last.title));
                    return Err(Refusal::new("not-shown", message, format!("lansync show {name}")));
                }
                last.tip
            }
        };
        if !self.holds(&last.tip) {
            let message = format!("the objects of {name} are not here yet");
            return Err(Refusal::new("not-here", message, "lansync status"));
        }
        Ok((last.id, commit))
    }

    fn may_decide(&self, what: &str) -> Result<(), Refusal> {
        let role = self.my_member().and_then(|me| self.state.member(&me)).and_then(|me| me.role);
        match role {
            Some(role) if role.maintains() => Ok(()),
            Some(role) => {
                let message = format!("you are a {} here, and only a maintainer can {what}", role.name());
                Err(Refusal::new("role", message, "lansync members"))
            }
            None => Err(Refusal::new("not-a-member", "you are not a member of this project", "lansync up")),
        }
    }

    /// A commit of the proposal's last revision: its tip, or an inner one, by id or unique prefix.
    fn exact_commit(&self, proposal: &Proposal, text: &str) -> Result<ObjectId, Refusal> {
        let last = &proposal.last;
        let name = self.proposal_name(&proposal.id);
        let text = text.to_ascii_lowercase();
        if text.len() >= 4 && last.tip.to_string().starts_with(&text) {
            return Ok(last.tip);
        }
        let heads = self.state.branch(&last.target).map_or_else(Vec::new, |heads| heads.commits());
        let inner = self.repo.commits_between(&heads, last.tip, 10_000).map(|(commits, _)| commits).unwrap_or_default();
        let mut found = inner.into_iter().map(|(id, _)| id).filter(|id| id.to_string().starts_with(&text));
        match (found.next(), found.next()) {
            (Some(commit), None) if text.len() >= 4 => Ok(commit),
            (None, _) => {
                let message = format!("{text} is not a commit of the last revision of {name}");
                Err(Refusal::new("revision-changed", message, format!("lansync show {name}")))
            }
            _ => {
                let message = format!("{text} could be several commits of {name}");
                Err(Refusal::new("ambiguous", message, format!("lansync show {name}")))
            }
        }
    }

    fn reject(&mut self, now: Millis, name: &str, reason: String) -> Result<EventId, Refusal> {
        let proposal = reading::find_proposal(&self.state, name)?;
        let (id, last) = (proposal.id, proposal.last.id);
        let state = proposal.state;
        self.may_decide("reject")?;
        let name = self.proposal_name(&id);
        if state != ProposalState::Open {
            return Err(Refusal::new("not-open", format!("{name} is not open"), "lansync list"));
        }
        if self.shown.get(&id) != Some(&last) {
            let message = format!("{name} has a newer revision than you were shown");
            return Err(Refusal::new("not-shown", message, format!("lansync show {name}")));
        }
        let said = Reject { revision: last, reason, extensions: Extensions::default() };
        self.write(now, |writer| writer.add(Payload::Reject(said), vec![last]).map(drop))?;
        Ok(id)
    }

    fn withdraw(&mut self, now: Millis, name: &str) -> Result<EventId, Refusal> {
        let proposal = reading::find_proposal(&self.state, name)?;
        let (id, last) = (proposal.id, proposal.last.id);
        let mine = Some(proposal.last.member) == self.my_member();
        let state = proposal.state;
        let name = self.proposal_name(&id);
        if !mine {
            let message = format!("{name} is not yours; a maintainer can reject it");
            return Err(Refusal::new("not-yours", message, format!("lansync reject {name}")));
        }
        if !matches!(state, ProposalState::Open | ProposalState::Rejected) {
            return Err(Refusal::new("not-open", format!("{name} is not open"), "lansync list"));
        }
        let said = Withdraw { revision: last, extensions: Extensions::default() };
        self.write(now, |writer| writer.add(Payload::Withdraw(said), vec![last]).map(drop))?;
        Ok(id)
    }

    /// Answers with the proposal as it stands once the event is durable.
    fn reply_with_proposal(&mut self, written: Result<EventId, Refusal>, reply: Answer) {
        match written {
            Ok(id) => self.once_durable(Box::new(move |core, result| match result {
                Ok(()) => {
                    let snapshot = core.snapshot();
                    tokio::task::spawn_blocking(move || {
                        let _ = reply.send(reading::one_proposal(&snapshot, &id));
                    });
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Offers a branch by hand, also one that was here before the first `up`.
    fn propose(&mut self, now: Millis, branch: Option<String>, reply: Answer) {
        let written = self.propose_branch(now, branch);
        self.reply_with_proposal(written, reply);
    }

    fn propose_branch(&mut self, now: Millis, branch: Option<String>) -> Result<EventId, Refusal> {
        use crate::git::Head;
        let branch = match branch {
            Some(name) => BranchName::new(name.as_str()).map_err(|_| {
                let message = format!("'{}' is not a branch name that can be shared", super::settings::clip(&name));
                Refusal::new("branch", message, "git branch")
            })?,
            None => match self.repo.head() {
                Ok(Head::Branch(branch)) => branch,
                Ok(Head::Unnameable(name)) => {
                    let message = format!("the branch name {} cannot be shared", super::settings::clip(&name));
                    return Err(Refusal::new("branch", message, "git branch -m NAME"));
                }
                Ok(Head::Detached(_)) => {
                    let message = "HEAD is detached: no branch is checked out";
                    return Err(Refusal::new("detached", message, "git switch -c NAME"));
                }
                Ok(Head::Unborn(branch)) => {
                    return Err(Refusal::new("unborn", format!("{branch} has no commit yet"), "git commit"));
                }
                Err(error) => return Err(super::refusals::refs(&error)),
            },
        };
        let role = self.my_member().and_then(|me| self.state.member(&me)).and_then(|me| me.role);
        match role {
            Some(role) if role.proposes() => {}
            Some(role) => {
                let message = format!("you are a {} here, which proposes nothing", role.name());
                return Err(Refusal::new("role", message, "lansync members"));
            }
            None => {
                return Err(Refusal::new("not-a-member", "you are not a member of this project", "lansync up"));
            }
        }
        let branches = self.repo.branches().map_err(|error| super::refusals::refs(&error))?;
        let Some(tip) = branches.branches.get(&branch).copied() else {
            return Err(Refusal::new("branch", format!("there is no branch {branch}"), "git branch"));
        };
        let heads: Vec<ObjectId> = self
            .state
            .canonical()
            .iter()
            .flat_map(|(name, _)| self.state.branch(name).map_or_else(Vec::new, |heads| heads.commits()))
            .filter(|commit| self.repo.has(commit))
            .collect();
        let (_, commits) =
            self.repo.commits_between(&heads, tip, 0).map_err(|error| Refusal::plain("refs", error.to_string()))?;
        if commits == 0 {
            let message = format!("{branch} has no commit that the canonical branch lacks");
            return Err(Refusal::new("nothing-new", message, "git commit"));
        }
        let member = self.my_member();
        let already = self.state.open_proposals().find(|proposal| {
            let mine = Some(proposal.last.member) == member && proposal.last.branch == branch;
            mine && proposal.last.tip == tip && proposal.state == ProposalState::Open
        });
        if let Some(already) = already {
            return Ok(already.id);
        }
        let title = self.repo.summary(tip).map(|summary| summary.title).unwrap_or_default();
        let revision = self.offer(now, branch, tip, title)?;
        let proposal = self.state.revision(&revision).map(|revision| revision.proposal);
        proposal.ok_or_else(|| Refusal::plain("failed", "the proposal does not count"))
    }

    fn invite(&mut self, now: Millis, role: Option<&str>, expires: u64, uses: u32, reply: Answer) {
        match self.write_invite(now, role, expires, uses) {
            Ok(invite) => self.once_durable(Box::new(move |_, result| {
                let _ = reply.send(result.and_then(|()| done(&invite)));
            })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn write_invite(
        &mut self,
        now: Millis,
        role: Option<&str>,
        expires: u64,
        uses: u32,
    ) -> Result<InviteDone, Refusal> {
        let role = self.role_to_grant(role)?;
        if uses == 0 || expires == 0 {
            let message = "a ticket must last some time and allow at least one use";
            return Err(Refusal::new("usage", message, "lansync invite --expires 24h --uses 1"));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)
            .map_err(|error| Refusal::plain("random", format!("no randomness from the system: {error}")))?;
        let expires_at = self.clock.wall().saturating_add(expires.saturating_mul(1_000));
        let key = Secret::from_seed(secret).public();
        let invite = Invite { key, role, expires: expires_at, uses, extensions: Extensions::default() };
        let ids = self.write(now, |writer| writer.add(Payload::Invite(invite), Vec::new()).map(drop))?;
        let ticket = self.ticket(ids[0], secret, None);
        Ok(InviteDone {
            ticket: ticket.to_text(),
            role: role.name().to_owned(),
            expires_at: clock::rfc3339(expires_at),
            uses,
        })
    }

    /// A ticket that leads here.
    pub(super) fn ticket(&self, invite: EventId, secret: [u8; 32], link: Option<MemberId>) -> Ticket {
        let own_addrs = crate::discovery::local_addrs(self.endpoint.local_port());
        Ticket {
            project: self.state.project(),
            invite,
            inviter: self.me,
            secret,
            addrs: own_addrs.iter().take(4).map(ToString::to_string).collect(),
            name: self.state.genesis().map_or_else(String::new, |(_, genesis)| genesis.name.clone()),
            link,
        }
    }

    fn connect(&mut self, addr: &str, reply: Answer) {
        match addr.parse::<Place>() {
            Ok(place) => self.resolve_and_dial(place, Some(reply)),
            Err(_) => {
                let message = format!("'{}' is not an address", super::settings::clip(addr));
                let _ = reply.send(Err(Refusal::new("usage", message, "lansync connect 192.0.2.7:7483")));
            }
        }
    }

    fn resolve_and_dial(&mut self, place: Place, reply: Option<Answer>) {
        // Names are looked up by the system, which may take a while: beside the loop.
        let wake = self.wake.clone();
        tokio::spawn(async move {
            let addrs = crate::discovery::look_up(&place).await.map_err(|error| error.to_string());
            let _ = wake.send(super::run::Wake::Resolved { addrs, reply }).await;
        });
    }

    /// Addresses from `connect` or `lansync.peer` are known now.
    pub(super) fn resolved(&mut self, addrs: Result<Vec<SocketAddr>, String>, reply: Option<Answer>) {
        match addrs {
            Ok(addrs) if !addrs.is_empty() => {
                if let Some(reply) = reply {
                    self.connects.push(Connecting { addrs: addrs.clone(), reply: Some(reply) });
                }
                self.dial(None, addrs);
            }
            Ok(_) | Err(_) => {
                let why = addrs.err().unwrap_or_else(|| "the name has no address".to_owned());
                if let Some(reply) = reply {
                    let message = format!("the address cannot be found: {why}");
                    let _ = reply.send(Err(Refusal::new("not-reached", message, "lansync connect 192.0.2.7:7483")));
                }
            }
        }
    }

    /// Dials the addresses of `lansync.peer` that are not connected.
    pub(super) fn dial_configured(&mut self) {
        for text in self.settings.peers.clone() {
            match text.parse::<Place>() {
                Ok(place) => self.resolve_and_dial(place, None),
                Err(_) => {
                    let message =
                        format!("lansync.peer has '{}', which is not an address", super::settings::clip(&text));
                    self.problem(&Refusal::new("config", message, "git config lansync.peer 192.0.2.7:7483"));
                }
            }
        }
    }
}
