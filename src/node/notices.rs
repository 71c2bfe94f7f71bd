//! Telling people: what happened, as notices for the live view, `up --json` and the log of the service.

use super::clock::rfc3339;
use super::core::Core;
use crate::api::{Notice, Refusal};
use crate::approval::{Change, ProposalState, Void};
use crate::eventlog::{Payload, Target};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, MemberId, ObjectId, PeerId};
use crate::limits;

impl Core {
    /// Tells people.
    pub(super) fn notice(
        &mut self,
        kind: &str,
        member: Option<String>,
        subject: Option<String>,
        commit: Option<ObjectId>,
        text: String,
    ) {
        // While the log comes for the first time it is history, no news.
        if !self.has_begun() {
            return;
        }
        // What a neighbour can bring about again and again.
        let can_repeat = matches!(kind, "problem" | "copied-key" | "clock");
        if can_repeat && self.quiet.repeats(self.clock.steady(), &text) {
            return;
        }
        let genesis = self.state.genesis();
        let notice = Notice {
            at: rfc3339(self.clock.wall()),
            notice: kind.to_owned(),
            project: genesis.map_or_else(String::new, |(_, genesis)| genesis.name.clone()),
            member,
            subject,
            commit: commit.map(|commit| commit.to_string()),
            text,
        };
        tracing::info!(notice = notice.notice, project = notice.project, "{}", notice.text);
        self.recent.push_back(notice.clone());
        if self.recent.len() > limits::NOTICES_KEPT {
            self.recent.pop_front();
        }
        // Nobody may be listening.
        let _ = self.notices.send(notice);
    }

    /// Something is wrong on this machine.
    pub(super) fn problem(&mut self, refusal: &Refusal) {
        self.notice("problem", None, None, None, refusal.line());
    }

    /// `handle/branch` of a proposal.
    pub(super) fn proposal_name(&self, id: &EventId) -> String {
        self.state.proposal(id).map_or_else(
            || id.short(),
            |proposal| format!("{}/{}", self.state.handle(&proposal.last.member), proposal.last.branch),
        )
    }

    /// What became of the state with an event that is durable now.
    pub(super) fn changed(&mut self, now: Millis, event: EventId, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Founded => self.landing.refs_wanted = true,
                Change::Granted { member, by } => self.granted(&event, &member, &by),
                Change::FeedBegan { feed } => self.feed_began(now, feed),
                Change::Proposed { proposal, revision } => self.proposed(&proposal, &revision),
                Change::Approved { proposal, approval } => self.approved(&proposal, &approval),
                Change::WasRejected { proposal } => self.rejected(&proposal),
                Change::Withdrawn { proposal } => {
                    let name = self.proposal_name(&proposal);
                    let text = format!("{name} was taken back");
                    self.notice("withdrawn", None, Some(name), None, text);
                    self.landing.refs_wanted = true;
                }
                Change::LandingKnown { lid } => self.landing.absent.heard(&lid),
                Change::Linked { member } => {
                    let who = self.state.handle(&member);
                    self.notice("linked", Some(who.clone()), None, None, format!("{who} has a further machine"));
                }
                Change::Revoked { accepted, undone } => self.revoked(now, &accepted, &undone),
                Change::Rewound { branch } => self.rewound(&branch),
                // What waits for votes is told as such.
                Change::PolicySet if self.state.is_counting(&event) => self.policy_set(),
                Change::PolicySet => {}
                Change::Tagged { by, tags } => self.tagged(&by, &tags),
                Change::Seconded { on } => self.seconded(&on),
                Change::Forked { feed } => self.forked(now, &feed),
                Change::LogMoved => {}
                Change::Void { why: Void::Votes, .. } if self.wants_votes(&event) => {}
                Change::Void { why: Void::Newer(_), .. } => {
                    if let Some(refusal) = self.needs_newer() {
                        self.problem(&refusal);
                    }
                }
                Change::Void { why, .. } => {
                    let text = format!("event {} does not count: {why}", event.short());
                    tracing::info!("{text}");
                }
            }
        }
        self.wants_stale = true;
    }

    fn tagged(&mut self, by: &PeerId, tags: &[(BranchName, ObjectId)]) {
        let who = self.peer_name(by);
        let (subject, commit) = match tags {
            [(name, commit)] => (Some(name.to_string()), Some(*commit)),
            _ => (None, None),
        };
        let text = match (&subject, commit) {
            (Some(name), Some(commit)) => format!("{who} tagged {} as {name}", commit.short()),
            _ => format!("{who} tagged {} commits", tags.len()),
        };
        self.notice("tag", Some(who), subject, commit, text);
        self.landing.refs_wanted = true;
    }

    fn granted(&mut self, event: &EventId, member: &MemberId, by: &PeerId) {
        let (who, by) = (self.state.handle(member), self.peer_name(by));
        let role = self.state.role(member).map_or("member", crate::eventlog::Role::name);
        // A grant of one who was in before is another role; what waits for votes is told as such.
        let since = self.state.member(member).map(|member| member.since);
        let first = self.state.event(event).map(|event| event.body().hlc) == since;
        if first && self.state.is_counting(event) {
            self.notice("joined", Some(who.clone()), None, None, format!("{by} let {who} in as {role}"));
        } else if self.state.is_counting(event) && !self.follows_removal(event, member) {
            self.notice("role", Some(who.clone()), None, None, format!("{by} made {who} a {role}"));
        }
    }

    fn policy_set(&mut self) {
        let demands = self.state.demands();
        let (approvals, votes, rules) = (demands.approvals, demands.votes, demands.rules);
        let by = if rules > 1 { format!(", by rules {rules}") } else { String::new() };
        let text = format!("the policy: {approvals} approvals to land, {votes} votes to let in and remove{by}");
        self.notice("policy", None, None, None, text);
        if let Some(refusal) = self.needs_newer() {
            self.problem(&refusal);
        }
    }

    /// A grant or a policy came to count, as enough have voted for it.
    fn seconded(&mut self, on: &EventId) {
        let Some(event) = self.state.event(on) else { return };
        match event.payload() {
            Payload::Grant(grant) => self.granted(on, &grant.member, &event.body().author),
            Payload::Policy(_) => self.policy_set(),
            _ => {}
        }
    }

    /// Was a larger role taken just before? Then this was told with that.
    fn follows_removal(&self, grant: &EventId, member: &MemberId) -> bool {
        let before = self.state.event(grant).and_then(|event| event.body().prev);
        let before = before.and_then(|id| self.state.event(&id));
        before.is_some_and(|event| match event.payload() {
            Payload::Revoke(revoke) => revoke.targets.contains(&Target::Member(*member)),
            _ => false,
        })
    }

    fn feed_began(&mut self, now: Millis, feed: crate::id::PeerId) {
        // Sessions that began before the log said whose they are count from now on.
        tracing::debug!(feed = %feed.short(), now, "a feed began");
        if feed == self.me {
            let name = self.my_handle();
            self.notice("ready", Some(name.clone()), None, None, format!("you are {name} here"));
        }
    }

    fn proposed(&mut self, proposal: &EventId, revision: &EventId) {
        let name = self.proposal_name(proposal);
        let Some(revision) = self.state.revision(revision) else { return };
        let who = self.state.handle(&revision.member);
        let title = super::settings::clip(&revision.title);
        let again = self.state.proposal(proposal).is_some_and(|proposal| proposal.revisions > 1);
        if again {
            self.carrying.look_at(*proposal);
        }
        let what = if again { "offers a new revision of" } else { "offers" };
        let text = format!("{who} {what} {name} \"{title}\"");
        self.notice("proposal", Some(who), Some(name), Some(revision.tip), text);
        self.landing.refs_wanted = true;
    }

    fn approved(&mut self, proposal: &EventId, approval: &EventId) {
        let name = self.proposal_name(proposal);
        let found = self.state.proposal(proposal).and_then(|proposal| {
            let approval = proposal.approvals.iter().find(|one| one.id == *approval)?;
            Some((self.state.handle(&approval.member), approval.commit))
        });
        let Some((who, commit)) = found else { return };
        let text = format!("{who} approved {name} at {}", commit.short());
        self.notice("approved", Some(who), Some(name), Some(commit), text);
    }

    fn rejected(&mut self, proposal: &EventId) {
        let name = self.proposal_name(proposal);
        let Some(proposal) = self.state.proposal(proposal) else { return };
        let Some(rejection) = proposal.rejections.last() else { return };
        let open = proposal.state == ProposalState::Open;
        let who = self.state.handle(&rejection.member);
        let reason = super::settings::clip(&rejection.reason);
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let text = format!("{who} rejected {name}{because}");
        if !open {
            self.landing.refs_wanted = true;
        }
        self.notice("rejected", Some(who), Some(name), None, text);
    }
}
