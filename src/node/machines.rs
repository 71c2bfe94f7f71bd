//! Further machines of one member: tickets for them, their links, and taking one off again.

use tokio::sync::oneshot;

use super::clock;
use super::commands::done;
use super::core::Core;
use super::greet::Redeem;
use super::run::Answer;
use super::settings::clip;
use crate::api::{LinkTicket as LinkDone, Refusal, UnlinkDone};
use crate::eventlog::{Extensions, Link, Payload, Revoke, Target};
use crate::hlc::Millis;
use crate::id::{EventId, IdentityId, MemberId};
use crate::keys::{Secret, Signature};
use crate::limits;
use crate::sync::{JoinMessage, JoinRefusal, Ticket};

/// Tickets for further machines. No event is about them, as an invitation takes a maintainer and this does not: they are
/// known here only, as long as this repository is shared, so one is never good twice.
#[derive(Default)]
pub(super) struct LinkTickets(Vec<LinkTicket>);

struct LinkTicket {
    key: [u8; 32],
    /// On the steady clock.
    until: Millis,
    /// Who has used it: the same machine may come back with it when its connection broke.
    used: Option<IdentityId>,
}

impl LinkTickets {
    fn add(&mut self, now: Millis, key: [u8; 32], until: Millis) {
        self.0.retain(|ticket| ticket.until > now);
        if self.0.len() >= limits::LINK_TICKETS {
            self.0.remove(0);
        }
        self.0.push(LinkTicket { key, until, used: None });
    }

    fn find(&mut self, key: &[u8; 32]) -> Option<&mut LinkTicket> {
        self.0.iter_mut().find(|ticket| ticket.key == *key)
    }
}

impl Core {
    /// Makes a ticket for a further machine of one's own.
    pub(super) fn link(&mut self, now: Millis, expires: u64, reply: Answer) {
        let made = self.link_ticket(now, expires).and_then(|made| done(&made));
        let _ = reply.send(made);
    }

    fn link_ticket(&mut self, now: Millis, expires: u64) -> Result<LinkDone, Refusal> {
        let member = self.me_or_refuse()?;
        self.may_write()?;
        if expires == 0 {
            return Err(Refusal::new("usage", "a ticket must last some time", "lansync members link --expires 1h"));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)
            .map_err(|error| Refusal::plain("random", format!("no randomness from the system: {error}")))?;
        let key = Secret::from_seed(secret).public();
        let lasts = expires.saturating_mul(1_000);
        self.link_tickets.add(now, key, now.saturating_add(lasts));
        let ticket = self.ticket(EventId(key), secret, Some(member)).to_text();
        let expires_at = clock::rfc3339(self.clock.wall().saturating_add(lasts));
        Ok(LinkDone { ticket, member: self.state.handle(&member), expires_at })
    }

    fn me_or_refuse(&self) -> Result<MemberId, Refusal> {
        let refuse = || Refusal::new("not-a-member", "you are not a member of this project", "lansync up");
        self.my_member().ok_or_else(refuse)
    }

    /// A further machine is here with its ticket: its link is written, and it hears of it once that is durable.
    pub(super) fn redeem_link(
        &mut self,
        now: Millis,
        redeem: Redeem,
        proof: Signature,
        verdict: oneshot::Sender<JoinMessage>,
    ) {
        let identity = redeem.identity;
        match self.write_link(now, redeem, proof) {
            Ok(()) => self.once_durable(Box::new(move |core, result| {
                let member = core.state.member_of_identity(&identity);
                let said = match (result, member) {
                    (Ok(()), Some(member)) => {
                        JoinMessage::Admitted { project: core.state.project(), handle: core.state.handle(&member) }
                    }
                    _ => JoinMessage::Refused { why: JoinRefusal::Closed },
                };
                let _ = verdict.send(said);
            })),
            Err(why) => drop(verdict.send(JoinMessage::Refused { why })),
        }
    }

    fn write_link(&mut self, now: Millis, redeem: Redeem, proof: Signature) -> Result<(), JoinRefusal> {
        let Redeem { asker, exporter, identity, name, invite, signature, .. } = redeem;
        let (project, member) = (self.state.project(), self.my_member().ok_or(JoinRefusal::Closed)?);
        let ticket = self.link_tickets.find(&invite.0).ok_or(JoinRefusal::TicketUnknown)?;
        Ticket::verify(&ticket.key, &signature, &project, &invite, &asker, &identity, &exporter)
            .map_err(|_| JoinRefusal::TicketUnknown)?;
        if ticket.until <= now {
            return Err(JoinRefusal::TicketExpired);
        }
        if ticket.used.is_some_and(|by| by != identity) {
            return Err(JoinRefusal::TicketSpent);
        }
        match self.state.member_of_identity(&identity) {
            Some(owner) if owner == member => return Ok(()),
            None if self.state.owner_of_identity(&identity).is_none_or(|owner| owner == member) => {}
            _ => return Err(JoinRefusal::OtherMember),
        }
        if ticket.used.is_some() {
            // It was linked by this ticket, and taken off since.
            return Err(JoinRefusal::TicketSpent);
        }
        let link = Link { identity, proof, name: clip(&name), extensions: Extensions::default() };
        link.verify(&project, &member).map_err(|_| JoinRefusal::BadProof)?;
        if let Err(locked) = self.identity.key() {
            self.problem(&locked);
            return Err(JoinRefusal::Closed);
        }
        // Used up before anything is written, so that no failure makes it good twice.
        ticket.used = Some(identity);
        let written = self.write(now, |writer| writer.add(Payload::Link(link), Vec::new()).map(drop));
        written.map(drop).map_err(|_| JoinRefusal::Closed)
    }

    /// Takes a machine of one's own off.
    pub(super) fn unlink(&mut self, now: Millis, machine: &str, reply: Answer) {
        match self.write_unlink(now, machine) {
            Ok(unlinked) => self.once_durable(Box::new(move |core, result| {
                let unaware = core.unaware();
                let _ = reply.send(result.and_then(|()| done(&UnlinkDone { unaware, ..unlinked })));
            })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn write_unlink(&mut self, now: Millis, machine: &str) -> Result<UnlinkDone, Refusal> {
        let member = self.me_or_refuse()?;
        let identity = self.own_machine(&member, machine)?;
        if identity == self.identity.identity() {
            let message = "this is the machine you type on; it can be taken off from another machine of yours";
            return Err(Refusal::new(
                "this-machine",
                message,
                "lansync members unlink ID  (on another machine of yours)",
            ));
        }
        let machines = self.state.machines(&member);
        let name = machines.into_iter().find(|(id, _)| *id == identity).map(|(_, name)| name).unwrap_or_default();
        let targets = vec![Target::Identity(identity)];
        let mut pins = self.state.pins(&targets);
        pins.sort_unstable();
        pins.dedup();
        let feeds = self.state.feeds().filter(|feed| self.state.identity_of_feed(feed) == Some(identity));
        let clones = feeds.count() as u64;
        let reason = "a machine was unlinked".to_owned();
        let revoke = Revoke { targets, pins: pins.clone(), reason, extensions: Extensions::default() };
        self.write(now, |writer| writer.add(Payload::Revoke(revoke), pins).map(drop))?;
        Ok(UnlinkDone { machine: identity.to_string(), name: clip(&name), clones, unaware: Vec::new() })
    }

    /// The one machine of a member that a text means: its name, or the start of its id or of the id of a clone on it.
    fn own_machine(&self, member: &MemberId, text: &str) -> Result<IdentityId, Refusal> {
        let wanted = text.trim().to_lowercase();
        let machines = self.state.machines(member);
        let is_start = |id: &str| wanted.len() >= 4 && id.starts_with(&wanted);
        let fits = |(identity, name): &&(IdentityId, String)| {
            let has_clone = || {
                let mut clones = self.state.feeds().filter(|feed| self.state.identity_of_feed(feed) == Some(*identity));
                clones.any(|feed| is_start(&feed.to_string()))
            };
            (!name.is_empty() && name.to_lowercase() == wanted) || is_start(&identity.to_string()) || has_clone()
        };
        let found: Vec<IdentityId> = machines.iter().filter(fits).map(|(identity, _)| *identity).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                let message = format!("none of your machines here is called '{}'", clip(text));
                Err(Refusal::new("no-such-machine", message, "lansync members"))
            }
            _ => {
                let message = format!("several of your machines fit '{}': name it by its id", clip(text));
                Err(Refusal::new("ambiguous", message, "lansync members"))
            }
        }
    }

    /// Other members of whom no clone is here now, so that they hear of the newest later.
    fn unaware(&self) -> Vec<String> {
        let here = |member: &MemberId| {
            self.sessions.values().any(|session| {
                self.state.member_of_identity(&session.hello.certificate.identity).as_ref() == Some(member)
            })
        };
        let me = self.my_member();
        let others = self.state.members().into_iter().filter(|member| Some(member.id) != me && !here(&member.id));
        others.map(|member| member.handle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_that_are_over_make_room_and_of_too_many_the_oldest_goes() {
        let mut tickets = LinkTickets::default();
        tickets.add(0, [0; 32], 10);
        tickets.add(10, [1; 32], 20);
        assert!(tickets.find(&[0; 32]).is_none() && tickets.find(&[1; 32]).is_some());
        for n in 2..=u8::try_from(limits::LINK_TICKETS).unwrap() + 1 {
            tickets.add(10, [n; 32], 20);
        }
        assert!(tickets.find(&[1; 32]).is_none() && tickets.find(&[2; 32]).is_some());
    }
}
