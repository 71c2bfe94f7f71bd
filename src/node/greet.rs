//! Greeting strangers: they can do one thing, ask to join, and learn nothing but that it is open.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::core::Core;
use super::run::{Answer, Wake};
use super::sessions::{Arrival, millis};
use crate::api::{AcceptDone, Refusal, Reply};
use crate::eventlog::{Extensions, Grant, Payload, Role};
use crate::hlc::Millis;
use crate::id::{EventId, Handle, IdentityId, MemberId, PeerId};
use crate::keys;
use crate::limits;
use crate::quic::{CloseCode, Connection, RecvStream, SendStream};
use crate::sync::{Greeter, GreeterStep, JoinMessage, JoinRefusal, Ticket, Words, join_proof};

/// Who asks to join.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    pending: Vec<Ask>,
    /// When the last asks came, for the rate.
    times: VecDeque<Millis>,
}

/// One ask.
pub(super) struct Ask {
    id: u64,
    identity: IdentityId,
    pub(super) handle: String,
    pub(super) name: String,
    /// Known once the asker has revealed its nonce.
    words: Option<Words>,
    until: Millis,
    verdict: oneshot::Sender<JoinMessage>,
}

impl Ask {
    /// Have both sides got the words?
    pub(super) fn is_ready(&self) -> bool {
        self.words.is_some()
    }
}

/// A step of an ask, from the task that talks with the asker.
pub(super) enum AskStep {
    /// A proof of an identity holds. The reply says how to go on.
    Identified {
        id: u64,
        identity: IdentityId,
        handle: String,
        name: String,
        go_on: oneshot::Sender<Result<Greeting, JoinRefusal>>,
    },
    /// The words are known: wait for the human.
    Expect { id: u64, words: Words },
    /// It redeems a ticket whose signature is still to be checked.
    Redeem { redeem: Box<Redeem>, verdict: oneshot::Sender<JoinMessage> },
    /// The asker hung up.
    Gone { id: u64 },
}

/// A ticket redeemed.
pub(super) struct Redeem {
    pub(super) asker: PeerId,
    pub(super) exporter: [u8; 32],
    pub(super) identity: IdentityId,
    handle: String,
    pub(super) name: String,
    pub(super) invite: EventId,
    pub(super) signature: keys::Signature,
    /// It is for a further machine of this member: the proof that the machine wants it.
    pub(super) link: Option<keys::Signature>,
}

/// How to greet.
pub(super) struct Greeting {
    member: String,
    project: String,
    /// What the human, or the log, decides.
    verdict: oneshot::Receiver<JoinMessage>,
    /// It is a member's identity already: no words.
    known: bool,
}

impl Asks {
    pub(super) fn next_wake(&self) -> Option<Millis> {
        self.pending.iter().map(|ask| ask.until).min()
    }

    pub(super) fn pending(&self) -> &[Ask] {
        &self.pending
    }

    fn take(&mut self, id: u64) -> Option<Ask> {
        let at = self.pending.iter().position(|ask| ask.id == id)?;
        Some(self.pending.remove(at))
    }

    /// Refuses those who waited too long.
    pub(super) fn expire(&mut self, now: Millis) {
        let (late, pending) = std::mem::take(&mut self.pending).into_iter().partition(|ask| ask.until <= now);
        self.pending = pending;
        for ask in late {
            let _ = ask.verdict.send(JoinMessage::Refused { why: JoinRefusal::TimedOut });
        }
    }

    /// May another be taken now? Bounded in number and in rate.
    fn room(&mut self, now: Millis) -> bool {
        while self.times.front().is_some_and(|at| now.saturating_sub(*at) > 60_000) {
            self.times.pop_front();
        }
        if self.pending.len() >= limits::ASKS_PENDING || self.times.len() >= limits::ASKS_PER_MINUTE {
            return false;
        }
        self.times.push_back(now);
        true
    }
}

impl Core {
    /// A connection whose first frame asks to join.
    pub(super) fn asked_to_join(&mut self, now: Millis, arrival: Arrival) {
        self.asks.expire(now);
        let Arrival { connection, first, send, recv } = arrival;
        let Ok(first) = JoinMessage::decode(&first) else { return };
        let role = self.my_member().and_then(|me| self.state.role(&me));
        let maintains = role.is_some_and(Role::maintains);
        let open = match first {
            // Whoever is a member has the say over machines of their own.
            JoinMessage::RedeemLink { .. } => role.is_some(),
            JoinMessage::Redeem { .. } => maintains,
            _ => maintains && self.settings.joining,
        };
        let refusal = if !open {
            Some(JoinRefusal::Closed)
        } else if self.log_lost.is_some() || !self.asks.room(now) {
            Some(JoinRefusal::Busy)
        } else {
            None
        };
        self.asks.next += 1;
        let (id, wake, me) = (self.asks.next, self.wake.clone(), self.me);
        tokio::spawn(async move {
            let mut talk = Talk { connection, send, recv };
            if let Some(why) = refusal {
                return talk.refuse(why).await;
            }
            let verdict = match first {
                JoinMessage::Redeem { .. } | JoinMessage::RedeemLink { .. } => talk.redeem(&wake, first).await,
                _ => talk.pair(&wake, id, me, first).await,
            };
            let _ = wake.send(Wake::Asks(Box::new(AskStep::Gone { id }))).await;
            match verdict {
                Ok(message) => talk.end(message).await,
                Err(why) => talk.connection.close(CloseCode::Protocol, &why),
            }
        });
    }

    pub(super) fn asks(&mut self, now: Millis, step: AskStep) {
        self.asks.expire(now);
        match step {
            AskStep::Identified { id, identity, handle, name, go_on } => {
                let greeting = self.identified(now, id, identity, &handle, &name);
                let _ = go_on.send(greeting);
            }
            AskStep::Expect { id, words } => {
                let Some(ask) = self.asks.pending.iter_mut().find(|ask| ask.id == id) else { return };
                ask.words = Some(words);
                let who = ask.handle.clone();
                let text =
                    format!("{who} asks to join: lansync members accept WORDS, the two words that {who} reads out");
                self.notice("asks-to-join", Some(who), None, None, text);
            }
            AskStep::Redeem { redeem, verdict } => match redeem.link {
                Some(proof) => self.redeem_link(now, *redeem, proof, verdict),
                None => self.redeem(now, *redeem, verdict),
            },
            AskStep::Gone { id } => {
                if let Some(ask) = self.asks.take(id) {
                    let text = format!("{} no longer asks to join", ask.handle);
                    self.notice("asks-to-join", Some(ask.handle), None, None, text);
                }
            }
        }
    }

    fn identified(
        &mut self,
        now: Millis,
        id: u64,
        identity: IdentityId,
        handle: &str,
        name: &str,
    ) -> Result<Greeting, JoinRefusal> {
        let (verdict, waits) = oneshot::channel();
        let project = self.state.genesis().map_or_else(String::new, |(_, genesis)| genesis.name.clone());
        let member = self.my_handle();
        if let Some(known) = self.state.member_of_identity(&identity) {
            // Another clone of a member: the identity key has just proven itself on this connection.
            let admitted = JoinMessage::Admitted { project: self.state.project(), handle: self.state.handle(&known) };
            let _ = verdict.send(admitted);
            return Ok(Greeting { member, project, verdict: waits, known: true });
        }
        let handle = self.free_handle(handle)?;
        let until = now + millis(limits::ASK_TIMEOUT);
        let name = super::settings::clip(name);
        self.asks.pending.push(Ask { id, identity, handle: handle.to_string(), name, words: None, until, verdict });
        Ok(Greeting { member, project, verdict: waits, known: false })
    }

    fn free_handle(&self, handle: &str) -> Result<Handle, JoinRefusal> {
        let handle = Handle::new(handle).map_err(|_| JoinRefusal::HandleTaken)?;
        if self.state.member_named(handle.as_str()).is_some() { Err(JoinRefusal::HandleTaken) } else { Ok(handle) }
    }

    /// `members accept`: by the words that the asker read out, or by handle.
    pub(super) fn accept(
        &mut self,
        now: Millis,
        words: Option<[String; 2]>,
        handle: Option<&str>,
        role: Option<&str>,
        reply: Answer,
    ) {
        self.asks.expire(now);
        let chosen = self.role_to_grant(role).and_then(|role| Ok((role, self.find_ask(words, handle)?)));
        let (role, ask) = match chosen {
            Ok(chosen) => chosen,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        self.admit(now, ask, role, None, Some(reply));
    }

    pub(super) fn role_to_grant(&self, role: Option<&str>) -> Result<Role, Refusal> {
        let mine = self.my_member().and_then(|me| self.state.member(&me)).and_then(|me| me.role);
        if !mine.is_some_and(Role::maintains) {
            return Err(Refusal::new("role", "only a maintainer lets others in", "lansync members"));
        }
        let name = role.unwrap_or("contributor");
        Role::from_name(name).ok_or_else(|| {
            let message = format!("there is no role '{name}': maintainer, contributor, reader or seed");
            Refusal::new("usage", message, "lansync members accept WORDS --role contributor")
        })
    }

    fn find_ask(&mut self, words: Option<[String; 2]>, handle: Option<&str>) -> Result<Ask, Refusal> {
        if self.asks.pending.is_empty() {
            return Err(Refusal::new("nobody-asks", "nobody asks to join", "lansync members"));
        }
        let found = match (&words, handle) {
            (Some([first, second]), _) => {
                let Some(words) = Words::parse(first, second) else {
                    let message = format!("'{first} {second}' are not two words of the list; ask for them again");
                    return Err(Refusal::new("wrong-words", message, "lansync members accept WORDS"));
                };
                self.asks.pending.iter().find(|ask| ask.words == Some(words)).map(|ask| ask.id)
            }
            (None, Some(handle)) => {
                let found = self.asks.pending.iter().find(|ask| ask.handle == handle).map(|ask| ask.id);
                if found.is_none() {
                    let message = format!("nobody called {handle} asks to join");
                    return Err(Refusal::new("nobody-asks", message, "lansync members"));
                }
                found
            }
            (None, None) => None,
        };
        if let Some(ask) = found.and_then(|id| self.asks.take(id)) {
            return Ok(ask);
        }
        // Words that nobody has: one try for each connection, so all who ask are turned away.
        for ask in std::mem::take(&mut self.asks.pending) {
            let _ = ask.verdict.send(JoinMessage::Refused { why: JoinRefusal::TurnedAway });
        }
        Err(Refusal::new(
            "wrong-words",
            "nobody who asks to join has these words, so they were all turned away; have them ask again",
            "lansync members accept WORDS",
        ))
    }

    /// Writes the grant; the asker hears of it once it is durable.
    fn admit(&mut self, now: Millis, ask: Ask, role: Role, invite: Option<EventId>, reply: Option<Answer>) {
        let refuse = |reply: Option<Answer>, refusal: Refusal| {
            if let Some(reply) = reply {
                let _ = reply.send(Err(refusal));
            }
        };
        let handle = match self.free_handle(&ask.handle) {
            Ok(handle) => handle,
            Err(why) => {
                let _ = ask.verdict.send(JoinMessage::Refused { why });
                let message = format!("the handle {} is taken by another member", ask.handle);
                return refuse(reply, Refusal::new("handle-taken", message, "git config lansync.handle NAME"));
            }
        };
        let grant = Grant {
            member: MemberId::of(&ask.identity),
            identity: ask.identity,
            handle,
            name: ask.name,
            role,
            invite,
            extensions: Extensions::default(),
        };
        let written =
            self.write(now, |writer| writer.add(Payload::Grant(grant), invite.into_iter().collect()).map(drop));
        if let Err(refusal) = written {
            // With a ticket nobody here waits for an answer.
            if reply.is_none() {
                self.problem(&refusal);
            }
            let _ = ask.verdict.send(JoinMessage::Refused { why: JoinRefusal::Closed });
            return refuse(reply, refusal);
        }
        let (verdict, member) = (ask.verdict, MemberId::of(&ask.identity));
        self.once_durable(Box::new(move |core, result| {
            let handle = core.state.handle(&member);
            match &result {
                Ok(()) => {
                    let project = core.state.project();
                    let _ = verdict.send(JoinMessage::Admitted { project, handle: handle.clone() });
                }
                Err(_) => {
                    let _ = verdict.send(JoinMessage::Refused { why: JoinRefusal::Closed });
                }
            }
            if let Some(reply) = reply {
                let done = AcceptDone { member: handle, role: role.name().to_owned() };
                let value = serde_json::to_value(done).unwrap_or_default();
                let _ = reply.send(result.map(|()| vec![Reply::Done { value }]));
            }
        }));
    }

    /// A ticket: only the clone that wrote the invite admits on it, so its uses are exact.
    fn redeem(&mut self, now: Millis, redeem: Redeem, verdict: oneshot::Sender<JoinMessage>) {
        let refuse = |verdict: oneshot::Sender<JoinMessage>, why| drop(verdict.send(JoinMessage::Refused { why }));
        let event = match self.store.event(&redeem.invite) {
            Ok(Some(event)) if event.body().author == self.me => event,
            _ => return refuse(verdict, JoinRefusal::TicketUnknown),
        };
        let Payload::Invite(invite) = event.payload().clone() else {
            return refuse(verdict, JoinRefusal::TicketUnknown);
        };
        let project = self.state.project();
        let Redeem { asker, exporter, identity, handle, name, invite: id, signature, link: _ } = redeem;
        if Ticket::verify(&invite.key, &signature, &project, &id, &asker, &identity, &exporter).is_err() {
            return refuse(verdict, JoinRefusal::TicketUnknown);
        }
        if let Some(known) = self.state.member_of_identity(&identity) {
            let handle = self.state.handle(&known);
            let _ = verdict.send(JoinMessage::Admitted { project, handle });
            return;
        }
        if self.clock.wall() >= invite.expires {
            return refuse(verdict, JoinRefusal::TicketExpired);
        }
        if self.uses_of(&id) >= u64::from(invite.uses) {
            return refuse(verdict, JoinRefusal::TicketSpent);
        }
        let ask = Ask { id: 0, identity, handle, name: super::settings::clip(&name), words: None, until: now, verdict };
        self.admit(now, ask, invite.role, Some(id), None);
    }

    /// How often a ticket was used: the grants that name it, those not durable yet included.
    fn uses_of(&self, invite: &EventId) -> u64 {
        self.state.grants_on(invite)
    }
}

/// The talk with one asker.
struct Talk {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Talk {
    async fn say(&mut self, message: &JoinMessage) -> Result<(), String> {
        self.send.write_frame(&message.encode()).await.map_err(|error| error.to_string())
    }

    async fn hear(&mut self) -> Result<JoinMessage, String> {
        let frame = self.recv.read_frame(limits::STRANGER_FRAME_BYTES).await.map_err(|error| error.to_string())?;
        JoinMessage::decode(&frame.unwrap_or_default()).map_err(|error| error.to_string())
    }

    async fn refuse(&mut self, why: JoinRefusal) {
        self.end(JoinMessage::Refused { why }).await;
    }

    /// Says the last word and lets it arrive before the connection closes.
    async fn end(&mut self, message: JoinMessage) {
        if self.say(&message).await.is_ok() && self.send.finish().await.is_ok() {
            let _ = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, self.connection.closed()).await;
        }
        self.connection.close(CloseCode::Bye, "joining is done");
    }

    fn exporter(&self) -> [u8; 32] {
        self.connection.exporter(b"lansync join", b"")
    }

    /// Commit, reveal, wait for the human. Whatever the asker says meanwhile ends it.
    async fn pair(
        &mut self,
        wake: &tokio::sync::mpsc::Sender<Wake>,
        id: u64,
        me: PeerId,
        first: JoinMessage,
    ) -> Result<JoinMessage, String> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let mut greeter = Greeter::new(self.connection.peer(), me, self.exporter(), nonce);
        let step = greeter.received(first).map_err(|error| error.to_string())?;
        let GreeterStep::SayNonce { identity, handle, name, nonce } = step else {
            return Err("out of order".to_owned());
        };
        let (go_on, greeting) = oneshot::channel();
        let identified = AskStep::Identified { id, identity, handle, name, go_on };
        wake.send(Wake::Asks(Box::new(identified))).await.map_err(|_| "not shared any more".to_owned())?;
        let Greeting { member, project, mut verdict, known } = match greeting.await {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(why)) => return Ok(JoinMessage::Refused { why }),
            Err(_) => return Err("not shared any more".to_owned()),
        };
        self.say(&JoinMessage::Nonce { nonce, member, project }).await?;
        let revealed = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, self.hear()).await;
        let reveal = revealed.map_err(|_| "nothing was revealed in time".to_owned())??;
        let GreeterStep::Expect(words) = greeter.received(reveal).map_err(|error| error.to_string())? else {
            return Err("out of order".to_owned());
        };
        if !known {
            let expect = AskStep::Expect { id, words };
            wake.send(Wake::Asks(Box::new(expect))).await.map_err(|_| "not shared any more".to_owned())?;
        }
        tokio::select! {
            verdict = &mut verdict => verdict.map_err(|_| "not shared any more".to_owned()),
            said = self.hear() => Err(said.err().unwrap_or_else(|| "out of order".to_owned())),
        }
    }

    async fn redeem(
        &mut self,
        wake: &tokio::sync::mpsc::Sender<Wake>,
        first: JoinMessage,
    ) -> Result<JoinMessage, String> {
        let (identity, handle, name, proof, invite, signature, link) = match first {
            JoinMessage::Redeem { identity, handle, name, proof, invite, signature } => {
                (identity, handle, name, proof, invite, signature, None)
            }
            JoinMessage::RedeemLink { identity, name, proof, ticket, signature, link } => {
                (identity, String::new(), name, proof, ticket, signature, Some(link))
            }
            _ => return Err("out of order".to_owned()),
        };
        let (asker, exporter) = (self.connection.peer(), self.exporter());
        if keys::verify(&identity.0, &join_proof(&exporter, &identity, &asker), &proof).is_err() {
            return Ok(JoinMessage::Refused { why: JoinRefusal::BadProof });
        }
        let redeem = Box::new(Redeem { asker, exporter, identity, handle, name, invite, signature, link });
        let (verdict, waits) = oneshot::channel();
        let step = AskStep::Redeem { redeem, verdict };
        wake.send(Wake::Asks(Box::new(step))).await.map_err(|_| "not shared any more".to_owned())?;
        waits.await.map_err(|_| "not shared any more".to_owned())
    }
}
