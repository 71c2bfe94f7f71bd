//! What follows when rights change: sessions end, people are told, refs go back.

use std::time::Duration;

use super::core::Core;
use super::reading;
use crate::eventlog::{Role, Target};
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, IdentityId, PeerId};
use crate::quic::CloseCode;

/// How long what was sent may take to arrive before the connection to one who was removed is closed: less than the two
/// seconds in which they are to be gone.
const PARTING: Duration = Duration::from_millis(700);

impl Core {
    /// Revocations came to count, or no longer do: who is no member any more is left, here and now.
    pub(super) fn revoked(&mut self, now: Millis, accepted: &[EventId], undone: &[EventId]) {
        let of = self.state.revocations();
        for (id, targets) in of.iter().filter(|(id, _)| accepted.contains(id)) {
            let names: Vec<String> = targets.iter().map(|target| self.target_name(target)).collect();
            let by = self.state.event(id).map(|event| self.peer_name(&event.body().author)).unwrap_or_default();
            let left = matches!(names.as_slice(), [name] if *name == by);
            let stays = targets.iter().find_map(|target| match target {
                Target::Member(member) => self.state.role(member),
                Target::Identity(_) | Target::Feed(_) => None,
            });
            let text = match stays {
                Some(role) => format!("{by} made {} {}", names.join(", "), super::governing::with_article(role)),
                None if left => format!("{by} left the project"),
                None => format!("{by} removed {}", names.join(", ")),
            };
            self.notice("revoked", names.first().cloned(), None, None, text);
        }
        for id in undone {
            self.notice("revoked", None, None, None, format!("the removal {} no longer counts", id.short()));
        }
        self.end_unwelcome(now);
        self.landing.refs_wanted = true;
    }

    /// Ends sessions with those who are no members any more.
    pub(super) fn end_unwelcome(&mut self, now: Millis) {
        if self.state.genesis().is_none() {
            return;
        }
        let gone: Vec<PeerId> = self
            .sessions
            .iter()
            .filter(|(peer, session)| !self.state.is_welcome(&session.hello.certificate.identity, peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in gone {
            self.part_from(now, peer);
        }
    }

    /// Ends a session with one who is no member any more. What is on its way, the revocation itself, may arrive.
    fn part_from(&mut self, now: Millis, peer: PeerId) {
        let Some(session) = self.sessions.get(&peer) else { return };
        let (connection, why) =
            (session.connection.clone(), self.why_removed(&peer, session.hello.certificate.identity));
        self.leave_session(now, peer);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PARTING, connection.closed()).await;
            connection.close(CloseCode::NotAMember, &why);
        });
    }

    /// What one who was removed is told.
    pub(super) fn why_removed(&self, peer: &PeerId, identity: IdentityId) -> String {
        let Some(id) = self.state.removal(&identity, peer) else { return "it is not a member".to_owned() };
        reading::removal(&self.state, &id, Some(identity))
    }

    /// With several maintainers one stolen key need not own the project: says so, once, to a maintainer.
    pub(super) fn advise_votes(&mut self) {
        let demands = self.state.demands();
        if self.advised || demands.votes > 1 || self.state.maintainers() < 3 || !self.has_begun() {
            return;
        }
        self.advised = true;
        if self.my_member().and_then(|me| self.state.role(&me)).is_some_and(Role::maintains) {
            let text =
                "three maintainers or more: with lansync policy --votes 2 one stolen key does not own the project";
            self.notice("advice", None, None, None, text.to_owned());
        }
    }

    /// A ballot that is new here.
    pub(super) fn wants_votes(&mut self, event: &EventId) -> bool {
        let Some(ballot) = self.state.ballot(event) else { return false };
        let by = self.state.event(event).map(|event| self.peer_name(&event.body().author)).unwrap_or_default();
        let what = reading::wanted(&self.snapshot(), event);
        let text =
            format!("{by} wants to {what}: {} more must agree: lansync members vote {}", ballot.needs, event.short());
        self.notice("votes", Some(by), Some(event.short()), None, text);
        true
    }

    pub(super) fn target_name(&self, target: &Target) -> String {
        match target {
            Target::Member(member) => self.state.handle(member),
            Target::Identity(identity) => {
                let owner = self.state.owner_of_identity(identity);
                let owner = owner.map_or_else(|| "somebody".to_owned(), |owner| self.state.handle(&owner));
                format!("the machine {} of {owner}", identity.short())
            }
            Target::Feed(feed) => format!("the clone {} of {}", feed.short(), self.peer_name(feed)),
        }
    }

    /// A head of a canonical branch does not count any more.
    pub(super) fn rewound(&mut self, branch: &BranchName) {
        let text = format!(
            "{branch} went back: a landing on it rests on an approval that no longer counts; local branches stay as they are"
        );
        self.notice("rewound", None, Some(branch.to_string()), None, text);
        self.landing.refs_wanted = true;
    }
}
