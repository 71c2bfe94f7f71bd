//! One event of `log`, with the fields of its kind and a sentence.

use serde_json::{Map, Value, json};

use crate::api::LogLine;
use crate::eventlog::{Event, Payload};
use crate::id::{BranchName, EventId, ObjectId};
use crate::node::clock::rfc3339;
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

impl Snapshot {
    pub(super) fn line(&self, event: &Event) -> LogLine {
        let body = event.body();
        let member = self.state.member_of_feed(&body.author);
        let member = member.map_or_else(|| body.author.short(), |member| self.state.handle(&member));
        let (fields, text) = self.explain(event, &member);
        LogLine {
            id: event.id().to_string(),
            author: body.author.to_string(),
            member,
            seq: body.seq,
            at: rfc3339(body.hlc.millis()),
            hlc: body.hlc.bits(),
            kind: body.kind.name().map_or_else(|| format!("kind-{}", body.kind.0), str::to_owned),
            void: self.void(&event.id()),
            text,
            fields,
        }
    }

    /// Why an event does not count; with the revocation that voids it, and its reason.
    fn void(&self, id: &EventId) -> Option<Value> {
        let why = self.state.void(id)?;
        let by = why.by();
        // A revocation that counts does, also of its own author.
        if self.state.revocations().iter().any(|(accepted, _)| accepted == id) {
            return None;
        }
        let reason = by.and_then(|by| self.state.event(&by)).and_then(|event| match event.payload() {
            Payload::Revoke(revoke) if !revoke.reason.is_empty() => Some(clip(&revoke.reason)),
            _ => None,
        });
        Some(json!({"code": why.code(), "by": by.map(|by| by.to_string()), "reason": reason}))
    }

    fn revision_name(&self, id: &crate::id::EventId) -> String {
        let named = self.state.revision(id);
        named.map_or_else(|| id.short(), |one| format!("{}/{}", self.state.handle(&one.member), one.branch))
    }

    fn explain(&self, event: &Event, who: &str) -> (Map<String, Value>, String) {
        let (fields, text) = match event.payload() {
            Payload::Genesis(genesis) => {
                let name = clip(&genesis.name);
                (json!({"name": name, "rules": genesis.rules}), format!("{who} began {name}"))
            }
            Payload::Certify(certify) => {
                (json!({"identity": certify.certificate.identity.to_string()}), format!("a clone of {who} began"))
            }
            Payload::Grant(grant) => {
                let role = grant.role.name();
                let handle = self.state.handle(&grant.member);
                (json!({"granted": handle, "role": role}), format!("{who} let {handle} in as {role}"))
            }
            Payload::Invite(invite) => (
                json!({"role": invite.role.name(), "uses": invite.uses, "expires_at": rfc3339(invite.expires)}),
                format!("{who} made a ticket for a {}", invite.role.name()),
            ),
            Payload::Propose(propose) => {
                let title = clip(&propose.title);
                (
                    json!({
                        "branch": propose.branch.as_str(), "target": propose.target.as_str(),
                        "tip": propose.tip.to_string(), "title": title,
                    }),
                    format!("{who} offered {who}/{} {} \"{title}\"", propose.branch, propose.tip.short()),
                )
            }
            Payload::Approve(approve) => {
                let name = self.revision_name(&approve.revision);
                let said = clip(&approve.message);
                let quote = if said.is_empty() { String::new() } else { format!(": {said}") };
                (
                    json!({
                        "proposal": name, "revision": approve.revision.to_string(),
                        "commit": approve.commit.to_string(), "message": said,
                    }),
                    format!("{who} approved {name} at {}{quote}", approve.commit.short()),
                )
            }
            Payload::Reject(reject) => {
                let name = self.revision_name(&reject.revision);
                let why = clip(&reject.reason);
                let because = if why.is_empty() { String::new() } else { format!(": {why}") };
                (json!({"proposal": name, "reason": why}), format!("{who} rejected {name}{because}"))
            }
            Payload::Withdraw(withdraw) => {
                let name = self.revision_name(&withdraw.revision);
                (json!({"proposal": name}), format!("{who} took {name} back"))
            }
            Payload::Land(land) => {
                let what = match &land.revision {
                    Some(revision) => format!("{} landed", self.revision_name(revision)),
                    None => format!("{} heads were joined", land.heads.len()),
                };
                let lid = land.content().lid(&self.state.project());
                (
                    json!({
                        "branch": land.branch.as_str(), "tip": land.tip.to_string(), "new": land.new.to_string(),
                        "landing": lid.to_string(), "join": land.is_join(),
                    }),
                    format!("{what} on {}, {}", land.branch, land.new.short()),
                )
            }
            Payload::Revoke(revoke) => self.explain_revoke(revoke, who),
            Payload::Vote(vote) => self.explain_vote(vote, who),
            Payload::Policy(policy) => self.explain_policy(policy, who),
            Payload::Link(link) => self.explain_link(link, who),
            Payload::Tag(tag) => {
                let one = |(name, object, commit): &(BranchName, ObjectId, ObjectId)| json!({"name": name.as_str(), "object": object.to_string(), "commit": commit.to_string()});
                let names: Vec<&str> = tag.tags.iter().map(|(name, ..)| name.as_str()).collect();
                let text = match (&names[..], tag.tags.first()) {
                    ([name], Some((.., commit))) => format!("{who} tagged {} as {name}", commit.short()),
                    _ => format!("{who} tagged {}", names.join(", ")),
                };
                (json!({"tags": tag.tags.iter().map(one).collect::<Vec<_>>()}), text)
            }
            Payload::Ack(_) => (json!({}), format!("{who} saw what came before")),
            Payload::Unknown(kind, _) => {
                let critical = kind.is_critical();
                let text = format!("something that needs a newer lansync (kind {})", kind.0);
                (json!({"critical": critical}), text)
            }
        };
        let Value::Object(fields) = fields else { return (Map::new(), text) };
        (fields, text)
    }
}
