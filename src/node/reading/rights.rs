//! What `log` says of events that take, share and decide on rights.

use serde_json::{Value, json};

use crate::eventlog::{Link, Revoke, SetPolicy, Target, Vote};
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

impl Snapshot {
    /// Whom a revocation is about, as people say it.
    pub(super) fn target_name(&self, target: &Target) -> String {
        match target {
            Target::Member(member) => self.state.handle(member),
            Target::Identity(identity) => match self.state.member_of_identity(identity) {
                Some(member) => format!("the machine {} of {}", identity.short(), self.state.handle(&member)),
                None => format!("the machine {}", identity.short()),
            },
            Target::Feed(feed) => match self.state.member_of_feed(feed) {
                Some(member) => format!("the clone {} of {}", feed.short(), self.state.handle(&member)),
                None => format!("the clone {}", feed.short()),
            },
        }
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
