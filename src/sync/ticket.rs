//! Tickets: an invitation as text. The log holds only its public key; the text holds the secret.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{EventId, IdentityId, MemberId, PeerId, ProjectId};
use crate::keys::{self, BadSignature, Context, Secret, Signature};

/// What the text says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The project.
    pub project: ProjectId,
    /// The event with the public key; of a ticket for a further machine, which no event is about, that key itself.
    pub invite: EventId,
    /// The clone that wrote it, the only one that admits on it.
    pub inviter: PeerId,
    /// Seed of the secret key.
    pub secret: [u8; 32],
    /// Where the inviter was when it wrote it, as `HOST:PORT`; at most 4.
    pub addrs: Vec<String>,
    /// The project's name, for the folder.
    pub name: String,
    /// It is for a further machine of this member, not for somebody new. The text says so by its prefix.
    #[serde(skip)]
    pub link: Option<MemberId>,
}

/// A text that is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a ticket, or a part of it is missing")]
pub struct TicketError;

const PREFIX: &str = "lansync1";
const LINK_PREFIX: &str = "lansynclink1";

impl Ticket {
    /// Does a text want to be a ticket?
    pub fn looks_like(text: &str) -> bool {
        [PREFIX, LINK_PREFIX].iter().any(|prefix| text.trim().starts_with(prefix))
    }

    /// The text: a prefix, and base32 of the fields and 4 bytes of their hash.
    pub fn to_text(&self) -> String {
        let (prefix, mut bytes) = match &self.link {
            None => (PREFIX, codec::encode(self)),
            Some(member) => (LINK_PREFIX, codec::encode(&(self, member))),
        };
        bytes.extend_from_slice(&blake3::hash(&bytes).as_bytes()[..4]);
        format!("{prefix}{}", codec::base32(&bytes))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`TicketError`] where a character is wrong or missing.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        let (digits, links) = match text.strip_prefix(PREFIX) {
            Some(digits) => (digits, false),
            None => (text.strip_prefix(LINK_PREFIX).ok_or(TicketError)?, true),
        };
        let bytes = codec::unbase32(digits).ok_or(TicketError)?;
        let (fields, check) = bytes.split_at_checked(bytes.len().saturating_sub(4)).ok_or(TicketError)?;
        if blake3::hash(fields).as_bytes()[..4] != *check {
            return Err(TicketError);
        }
        let ticket: Self = if links {
            let (ticket, member): (Self, MemberId) = codec::decode(fields, 1_024).map_err(|_| TicketError)?;
            Self { link: Some(member), ..ticket }
        } else {
            codec::decode(fields, 1_024).map_err(|_| TicketError)?
        };
        if ticket.addrs.len() > 4 { Err(TicketError) } else { Ok(ticket) }
    }

    /// The public key that the invite holds.
    pub fn key(&self) -> [u8; 32] {
        Secret::from_seed(self.secret).public()
    }

    /// Redeems it for an asker on one connection.
    pub fn redeem(&self, asker: &PeerId, identity: &IdentityId, exporter: &[u8; 32]) -> Signature {
        let hash = redeeming(&self.project, &self.invite, asker, identity, exporter);
        Secret::from_seed(self.secret).sign(&hash)
    }

    /// Checks that whoever redeems an invite with public key `key` holds its ticket.
    ///
    /// # Errors
    /// [`BadSignature`] where it does not.
    pub fn verify(
        key: &[u8; 32],
        signature: &Signature,
        project: &ProjectId,
        invite: &EventId,
        asker: &PeerId,
        identity: &IdentityId,
        exporter: &[u8; 32],
    ) -> Result<(), BadSignature> {
        keys::verify(key, &redeeming(project, invite, asker, identity, exporter), signature)
    }
}

fn redeeming(
    project: &ProjectId,
    invite: &EventId,
    asker: &PeerId,
    identity: &IdentityId,
    exporter: &[u8; 32],
) -> [u8; 32] {
    Context::Ticket.hash(&[&project.0, &invite.0, &asker.0, &identity.0, exporter])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            project: ProjectId([1; 32]),
            invite: EventId([2; 32]),
            inviter: PeerId([3; 32]),
            secret: [4; 32],
            addrs: vec!["10.0.0.1:7483".to_owned()],
            name: "payroll".to_owned(),
            link: None,
        }
    }

    #[test]
    fn a_ticket_for_a_further_machine_reads_back_as_one_and_never_as_an_invitation() {
        let link = Ticket { link: Some(MemberId([8; 32])), ..ticket() };
        let text = link.to_text();
        assert!(Ticket::looks_like(&text));
        assert_eq!(Ticket::parse(&text), Ok(link));
        let digits = text.strip_prefix(LINK_PREFIX).unwrap();
        assert_eq!(Ticket::parse(&format!("{PREFIX}{digits}")), Err(TicketError), "under the other prefix");
        let invitation = ticket().to_text().replace(PREFIX, LINK_PREFIX);
        assert_eq!(Ticket::parse(&invitation), Err(TicketError), "under the other prefix");
    }

    #[test]
    fn a_ticket_reads_back_and_one_with_a_wrong_character_does_not() {
        let text = ticket().to_text();
        assert_eq!(Ticket::parse(&format!(" {text}\n")), Ok(ticket()));
        for at in [PREFIX.len(), text.len() / 2, text.len() - 1] {
            let other = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, other);
            assert_eq!(Ticket::parse(&wrong), Err(TicketError));
        }
        for wrong in ["", "lansync1", "payroll", &text[..text.len() - 2]] {
            assert_eq!(Ticket::parse(wrong), Err(TicketError), "{wrong}");
        }
    }

    #[test]
    fn redeeming_holds_for_one_asker_on_one_connection() {
        let ticket = ticket();
        let (asker, identity) = (PeerId([5; 32]), IdentityId([6; 32]));
        let signature = ticket.redeem(&asker, &identity, &[7; 32]);
        let verify = |asker: &PeerId, exporter: &[u8; 32]| {
            Ticket::verify(&ticket.key(), &signature, &ticket.project, &ticket.invite, asker, &identity, exporter)
        };
        assert_eq!(verify(&asker, &[7; 32]), Ok(()));
        assert_eq!(verify(&asker, &[8; 32]), Err(BadSignature), "another connection");
        assert_eq!(verify(&PeerId([9; 32]), &[7; 32]), Err(BadSignature), "another asker");
    }
}
