//! What follows when rights change: sessions end, people are told, refs go back.

use super::core::Core;
use crate::eventlog::Target;
use crate::hlc::Millis;
use crate::id::{BranchName, EventId, PeerId};
use crate::quic::CloseCode;

impl Core {
    /// Revocations came to count, or no longer do: who is no member any more is left, here and now.
    pub(super) fn revoked(&mut self, now: Millis, accepted: &[EventId], undone: &[EventId]) {
        let of = self.state.revocations();
        for (id, targets) in of.iter().filter(|(id, _)| accepted.contains(id)) {
            let names: Vec<String> = targets.iter().map(|target| self.target_name(target)).collect();
            let by = self.state.event(id).map(|event| self.peer_name(&event.body().author)).unwrap_or_default();
            let left = matches!(names.as_slice(), [name] if *name == by);
            let text =
                if left { format!("{by} left the project") } else { format!("{by} removed {}", names.join(", ")) };
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
            self.close_session(now, peer, CloseCode::NotAMember, "you were removed from this project");
        }
    }

    fn target_name(&self, target: &Target) -> String {
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
