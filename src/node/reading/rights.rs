//! What `log` says of events that take, share and decide on rights.

use serde_json::{Value, json};

use crate::api::{Ballot, Policy, Refusal};
use crate::approval::State;
use crate::eventlog::{Link, Payload, Revoke, SetPolicy, Target, Vote};
use crate::id::{EventId, IdentityId};
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

impl Snapshot {
    /// Whom a revocation is about, as people say it.
    pub(super) fn target_name(&self, target: &Target) -> String {
        let owned = |what: String, owner: Option<crate::id::MemberId>| match owner {
            Some(owner) => format!("{what} of {}", self.state.handle(&owner)),
            None => what,
        };
        match target {
            Target::Member(member) => self.state.handle(member),
            Target::Identity(identity) => {
                owned(format!("the machine {}", identity.short()), self.state.owner_of_identity(identity))
            }
            Target::Feed(feed) => owned(format!("the clone {}", feed.short()), self.state.member_of_feed(feed)),
        }
    }

    /// What landings and membership need, and what waits for votes.
    pub(in crate::node) fn policy(&self) -> Policy {
        let demands = self.state.demands();
        Policy {
            approvals: demands.approvals,
            own: demands.own_counts,
            votes: demands.votes,
            maintainers: self.state.maintainers() as u64,
            waiting: self.ballots(),
            waits: None,
        }
    }

    /// What waits for votes.
    pub(super) fn ballots(&self) -> Vec<Ballot> {
        let me = self.my_member();
        let names = |members: &std::collections::BTreeSet<crate::id::MemberId>| {
            members.iter().map(|member| self.state.handle(member)).collect()
        };
        let one = |ballot: crate::approval::Ballot| {
            let event = self.state.event(&ballot.on)?;
            let body = event.body();
            let by = self.state.member_of_feed(&body.author)?;
            Some(Ballot {
                id: ballot.on.to_string(),
                kind: body.kind.name().unwrap_or_default().to_owned(),
                by: self.state.handle(&by),
                text: wanted(self, &ballot.on),
                voted: names(&ballot.voted),
                can_vote: names(&ballot.can_vote),
                needs_votes: ballot.needs as u64,
                my_turn: me.is_some_and(|me| ballot.can_vote.contains(&me)),
            })
        };
        self.state.ballots().into_iter().filter_map(one).collect()
    }

    /// What is wrong here, first of all that one is no member any more.
    pub(super) fn all_problems(&self) -> Vec<Refusal> {
        let identity = self.identity.or_else(|| self.state.identity_of_feed(&self.me));
        let removed = identity.and_then(|identity| {
            let text = removal(&self.state, &self.state.removal(&identity, &self.me)?, Some(identity));
            Some(Refusal::plain("removed", format!("{text}; what you have stays with you")))
        });
        let others = self.problems.iter().filter(|one| removed.is_none() || one.code != "not-a-member");
        removed.iter().chain(others).cloned().collect()
    }

    pub(super) fn explain_revoke(&self, revoke: &Revoke, who: &str) -> (Value, String) {
        let names: Vec<String> = revoke.targets.iter().map(|target| self.target_name(target)).collect();
        let why = clip(&revoke.reason);
        let because = if why.is_empty() { String::new() } else { format!(": {why}") };
        let itself = matches!(names.as_slice(), [one] if one == who);
        let text = if itself {
            format!("{who} left{because}")
        } else {
            format!("{who} removed {}{because}", names.join(", "))
        };
        (json!({"targets": names, "reason": why}), text)
    }

    pub(super) fn explain_vote(&self, vote: &Vote, who: &str) -> (Value, String) {
        (
            json!({"on": vote.on.to_string(), "message": clip(&vote.message)}),
            format!("{who} voted for {}", vote.on.short()),
        )
    }

    pub(super) fn explain_policy(&self, policy: &SetPolicy, who: &str) -> (Value, String) {
        let own = if policy.own_counts { "one's own counts" } else { "one's own does not count" };
        let text = format!(
            "{who} set the policy: {} approvals, {own}, {} votes to let in and remove",
            policy.approvals, policy.votes
        );
        let fields = json!({
            "approvals": policy.approvals, "own_counts": policy.own_counts, "votes": policy.votes, "rules": policy.rules,
        });
        (fields, text)
    }

    pub(super) fn explain_link(&self, link: &Link, who: &str) -> (Value, String) {
        let name = clip(&link.name);
        (
            json!({"identity": link.identity.to_string(), "name": name}),
            format!("{who} linked a further machine: {name}"),
        )
    }
}

/// What one who was removed is told: by whom, and why.
pub(in crate::node) fn removal(state: &State, revocation: &EventId, identity: Option<IdentityId>) -> String {
    let Some(event) = state.event(revocation) else { return "you were removed from this project".to_owned() };
    let by = state.member_of_feed(&event.body().author);
    let Payload::Revoke(revoke) = event.payload() else { return "you were removed from this project".to_owned() };
    let itself = by.is_some() && by == identity.and_then(|identity| state.owner_of_identity(&identity));
    let by = by.map_or_else(|| "a member".to_owned(), |by| state.handle(&by));
    let why = clip(&revoke.reason);
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    match revoke.targets.first() {
        Some(Target::Member(_)) if itself => format!("you left this project{because}"),
        Some(Target::Identity(_)) => format!("this machine was taken off this project by {by}{because}"),
        Some(Target::Feed(_)) => format!("this clone was taken off this project by {by}{because}"),
        _ => format!("you were removed from this project by {by}{because}"),
    }
}

/// What an event that can be voted for wants, as a clause.
pub(in crate::node) fn wanted(snapshot: &Snapshot, id: &EventId) -> String {
    let Some(event) = snapshot.state.event(id) else { return id.short() };
    match event.payload() {
        Payload::Revoke(revoke) => {
            let names: Vec<String> = revoke.targets.iter().map(|target| snapshot.target_name(target)).collect();
            let why = clip(&revoke.reason);
            let because = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("remove {}{because}", names.join(", "))
        }
        Payload::Grant(grant) => {
            format!("give {} the role {}", snapshot.state.handle(&grant.member), grant.role.name())
        }
        Payload::Policy(policy) => {
            let own = if policy.own_counts { "one's own counts" } else { "one's own does not count" };
            format!("set the policy: {} approvals, {own}, {} votes", policy.approvals, policy.votes)
        }
        _ => id.short(),
    }
}
