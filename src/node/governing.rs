//! Commands about rights: taking off, roles, votes, leaving, the policy.

use std::collections::BTreeSet;

use super::core::Core;
use super::run::Answer;
use super::telling::{Heard, Telling};
use super::{reading, settings};
use crate::api::{LeaveDone, ProjectName, Refusal, Reply, Request, RevokeDone, RoleDone, VoteDone};
use crate::approval::Member;
use crate::eventlog::{Extensions, Grant, Payload, Revoke, Role, SetPolicy, Target, Vote};
use crate::hlc::Millis;
use crate::id::{EventId, Handle, IdentityId, MemberId, PeerId};

/// The end of an answer.
fn done<T: serde::Serialize>(value: &T) -> Result<Vec<Reply>, Refusal> {
    let value = serde_json::to_value(value).map_err(|error| Refusal::plain("failed", error.to_string()))?;
    Ok(vec![Reply::Done { value }])
}

/// What an event still needs: does it count, how many votes are missing, and whose could be given.
struct Standing {
    accepted: bool,
    needs_votes: u64,
    can_vote: Vec<String>,
}

impl Core {
    /// Commands that change rights.
    pub(super) fn govern(&mut self, now: Millis, request: Request, reply: Answer) {
        let started = match request {
            Request::Revoke { whom, reason } => self.revoke(now, &whom, reason.unwrap_or_default()),
            Request::SetRole { member, role } => self.set_role(now, &member, &role),
            Request::Vote { on, message } => self.vote(now, &on, message.unwrap_or_default()),
            Request::Leave => self.leave(now),
            Request::SetPolicy { approvals, own, votes } => {
                return self.set_policy(now, (approvals, own, votes), reply);
            }
            _ => Err(Refusal::plain("bad-request", "this changes no rights")),
        };
        match started {
            Ok(answer) => self.once_told(answer, reply),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn me(&self) -> Result<(MemberId, Role), Refusal> {
        let me = self.my_member().and_then(|me| Some((me, self.state.role(&me)?)));
        me.ok_or_else(|| Refusal::new("not-a-member", "you are not a member of this project", "lansync status"))
    }

    fn maintainer(&self, what: &str) -> Result<MemberId, Refusal> {
        let (me, role) = self.me()?;
        if role.maintains() {
            return Ok(me);
        }
        let message = format!("you are a {} here, and only a maintainer can {what}", role.name());
        Err(Refusal::new("role", message, "lansync members"))
    }

    /// A member of today, by handle.
    fn active(&self, handle: &str) -> Result<Member, Refusal> {
        let found = self.state.member_named(handle.trim_start_matches('@'));
        match found {
            Some(member) if member.role.is_some() => Ok(member),
            Some(member) => {
                let message = format!("{} is not a member any more", member.handle);
                Err(Refusal::new("unknown-member", message, "lansync members"))
            }
            None => {
                let message = format!("there is no member '{}'", settings::clip(handle));
                Err(Refusal::new("unknown-member", message, "lansync members"))
            }
        }
    }

    /// A member by handle, or one clone or machine by the beginning of its id; and whose it is.
    fn target(&self, whom: &str) -> Result<(Target, MemberId), Refusal> {
        let unknown = match self.active(whom) {
            Ok(member) => return Ok((Target::Member(member.id), member.id)),
            Err(refusal) => refusal,
        };
        let prefix = whom.to_ascii_lowercase();
        if prefix.len() < 4 || self.state.member_named(whom.trim_start_matches('@')).is_some() {
            return Err(unknown);
        }
        let welcome = |feed: &&PeerId| {
            self.state.identity_of_feed(feed).is_some_and(|identity| self.state.is_welcome(&identity, feed))
        };
        let feeds = self.state.feeds().filter(|feed| feed.to_string().starts_with(&prefix)).filter(welcome);
        let feeds = feeds.filter_map(|feed| Some((Target::Feed(*feed), self.state.member_of_feed(feed)?)));
        let identities = self.state.identities();
        let machines = identities.iter().filter(|(identity, _)| identity.to_string().starts_with(&prefix));
        let machines = machines.map(|(identity, member)| (Target::Identity(*identity), *member));
        let mut found = feeds.chain(machines);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(unknown),
            (Some(_), Some(_)) => {
                let message = format!("{prefix} could be several clones or machines");
                Err(Refusal::new("ambiguous", message, "lansync members --json"))
            }
        }
    }

    /// Somebody must be left who can let others in.
    fn leaves_a_maintainer(&self, member: &MemberId) -> Result<(), Refusal> {
        let maintains = self.state.role(member).is_some_and(Role::maintains);
        if maintains && self.state.maintainers() == 1 {
            let message = "the last maintainer stays: make another member a maintainer first";
            return Err(Refusal::new("last-maintainer", message, "lansync members role MEMBER maintainer"));
        }
        Ok(())
    }

    fn revocation(&self, target: Target, reason: String) -> (Payload, Vec<EventId>) {
        let mut pins = self.state.pins(&[target]);
        pins.sort_unstable();
        pins.dedup();
        let refs = pins.clone();
        (Payload::Revoke(Revoke { targets: vec![target], pins, reason, extensions: Extensions::default() }), refs)
    }

    fn revoke(&mut self, now: Millis, whom: &str, reason: String) -> Result<Telling, Refusal> {
        let (me, _) = self.me()?;
        let (target, owner) = self.target(whom)?;
        let own = match target {
            Target::Member(member) => member == me,
            Target::Identity(identity) => identity == self.identity.identity(),
            Target::Feed(feed) => feed == self.me,
        };
        if own {
            let message = "that is you, here: to go is another command";
            return Err(Refusal::new("yourself", message, "lansync leave"));
        }
        if owner != me {
            self.maintainer("remove others")?;
        }
        if matches!(target, Target::Member(_)) {
            self.leaves_a_maintainer(&owner)?;
        }
        let name = self.target_name(&target);
        let (payload, refs) = self.revocation(target, reason);
        let ids = self.write(now, |writer| writer.add(payload, refs).map(drop))?;
        let id = ids[0];
        let answer = move |core: &Self, heard: &Heard| {
            let Standing { accepted, needs_votes, can_vote } = core.standing(&id);
            let (revocation, member) = (id.to_string(), core.state.handle(&owner));
            let unheard = heard.missing.clone();
            done(&RevokeDone { revocation, whom: name, member, accepted, needs_votes, can_vote, unheard })
        };
        Ok(Telling::new(false, answer))
    }

    fn set_role(&mut self, now: Millis, handle: &str, role: &str) -> Result<Telling, Refusal> {
        let me = self.maintainer("change roles")?;
        let member = self.active(handle)?;
        let role = self.role_to_grant(Some(role))?;
        let name = member.handle.clone();
        let held = member.role.unwrap_or(Role::Seed);
        if held == role {
            let message = format!("{name} is {} already", with_article(role));
            return Err(Refusal::new("role-held", message, "lansync members"));
        }
        let lowers = held.or(role) == held;
        if lowers {
            self.leaves_a_maintainer(&member.id)?;
            if member.id == me {
                let message = "another maintainer can make your role smaller";
                return Err(Refusal::new("own-role", message, "lansync members"));
            }
        }
        // A grant speaks of the first machine's key: it would bring that machine back.
        let first: Option<IdentityId> =
            member.identities.iter().find(|identity| MemberId::of(identity) == member.id).copied();
        let Some(identity) = first else {
            let message = format!("the first machine of {name} was taken off, and a role is given to that one");
            return Err(Refusal::new("first-machine", message, format!("lansync members revoke {name}")));
        };
        let handle: Handle =
            Handle::new(name.clone()).map_err(|error| Refusal::plain("failed", format!("{name}: {error}")))?;
        let grant = Grant {
            member: member.id,
            identity,
            handle,
            name: member.name.clone(),
            role,
            invite: None,
            extensions: Extensions::default(),
        };
        let taken = lowers.then(|| self.revocation(Target::Member(member.id), format!("now {}", with_article(role))));
        let ids = self.write(now, |writer| {
            if let Some((payload, refs)) = taken {
                writer.add(payload, refs)?;
            }
            writer.add(Payload::Grant(grant), Vec::new()).map(drop)
        })?;
        let (first, member) = (ids[0], member.id);
        let answer = move |core: &Self, heard: &Heard| {
            let standings: Vec<Standing> = ids.iter().map(|id| core.standing(id)).collect();
            let accepted = standings.iter().all(|standing| standing.accepted);
            let waits = standings.into_iter().find(|standing| !standing.accepted);
            let (needs_votes, can_vote) = waits.map(|one| (one.needs_votes, one.can_vote)).unwrap_or_default();
            let (id, member, role) = (first.to_string(), core.state.handle(&member), role.name().to_owned());
            done(&RoleDone { id, member, role, accepted, needs_votes, can_vote, unheard: heard.missing.clone() })
        };
        Ok(Telling::new(false, answer))
    }

    /// What a prefix names among all that waits for votes, and revocations that a vote would strengthen.
    fn votable(&self, prefix: &str) -> Result<EventId, Refusal> {
        let prefix = prefix.to_ascii_lowercase();
        let waiting: BTreeSet<EventId> = self.state.ballots().into_iter().map(|ballot| ballot.on).collect();
        let accepted = self.state.revocations().into_iter().map(|(id, _)| id).collect();
        for among in [waiting, accepted] {
            let mut found = among.into_iter().filter(|id| prefix.len() >= 4 && id.to_string().starts_with(&prefix));
            match (found.next(), found.next()) {
                (Some(one), None) => return Ok(one),
                (None, _) => {}
                (Some(_), Some(_)) => {
                    let message = format!("{prefix} could be several events");
                    return Err(Refusal::new("ambiguous", message, "lansync members"));
                }
            }
        }
        let message = format!("nothing that begins with '{}' waits for votes", settings::clip(&prefix));
        Err(Refusal::new("unknown", message, "lansync members"))
    }

    /// The grant that was written with a revocation, or the reverse: they make a role smaller together.
    fn companion(&self, of: &EventId) -> Option<EventId> {
        let event = self.state.event(of)?;
        let (before, after) = (event.body().prev, self.state.next_of(of));
        [before, after].into_iter().flatten().find(|id| {
            let Some(other) = self.state.event(id) else { return false };
            let fits = match (event.payload(), other.payload()) {
                (Payload::Revoke(revoke), Payload::Grant(grant)) if Some(*id) == after => (revoke, grant),
                (Payload::Grant(grant), Payload::Revoke(revoke)) if Some(*id) == before => (revoke, grant),
                _ => return false,
            };
            fits.0.targets == [Target::Member(fits.1.member)] && !self.state.is_counting(id)
        })
    }

    fn vote(&mut self, now: Millis, on: &str, message: String) -> Result<Telling, Refusal> {
        let me = self.maintainer("vote")?;
        let on = self.votable(on)?;
        if self.state.voters(&on).contains(&me) {
            return Err(Refusal::new("voted", "you agreed to this already", "lansync members"));
        }
        let text = reading::wanted(&self.snapshot(), &on);
        let all: Vec<EventId> = std::iter::once(on).chain(self.companion(&on)).collect();
        self.write(now, |writer| {
            for on in all {
                let vote = Vote { on, message: message.clone(), extensions: Extensions::default() };
                writer.add(Payload::Vote(vote), vec![on])?;
            }
            Ok(())
        })?;
        let answer = move |core: &Self, heard: &Heard| {
            let Standing { accepted, needs_votes, can_vote } = core.standing(&on);
            done(&VoteDone {
                on: on.to_string(),
                text,
                accepted,
                needs_votes,
                can_vote,
                unheard: heard.missing.clone(),
            })
        };
        Ok(Telling::new(false, answer))
    }

    fn leave(&mut self, now: Millis) -> Result<Telling, Refusal> {
        let (me, _) = self.me()?;
        self.leaves_a_maintainer(&me)?;
        let (payload, refs) = self.revocation(Target::Member(me), String::new());
        let ids = self.write(now, |writer| writer.add(payload, refs).map(drop))?;
        let (id, name) = (self.state.project(), self.state.genesis().map(|(_, genesis)| genesis.name.clone()));
        let project = ProjectName { id: id.to_string(), name: settings::clip(&name.unwrap_or_default()) };
        let revocation = ids[0].to_string();
        let answer = move |_: &Self, heard: &Heard| {
            done(&LeaveDone { project, revocation, unheard: heard.missing.clone(), heard: heard.anybody })
        };
        Ok(Telling::new(true, answer))
    }

    fn set_policy(&mut self, now: Millis, wanted: (Option<u8>, Option<bool>, Option<u8>), reply: Answer) {
        let written = self.write_policy(now, wanted);
        match written {
            Ok(id) => self.once_durable(Box::new(move |core, result| {
                let answer = result.and_then(|()| {
                    let mut policy = core.snapshot().policy();
                    policy.waits = core.state.ballot(&id).map(|_| id.to_string());
                    done(&policy)
                });
                let _ = reply.send(answer);
            })),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    fn write_policy(
        &mut self,
        now: Millis,
        (approvals, own, votes): (Option<u8>, Option<bool>, Option<u8>),
    ) -> Result<EventId, Refusal> {
        self.maintainer("set the policy")?;
        let holds = self.state.demands();
        let policy = SetPolicy {
            approvals: approvals.unwrap_or(holds.approvals),
            own_counts: own.unwrap_or(holds.own_counts),
            votes: votes.unwrap_or(holds.votes),
            rules: holds.rules,
            extensions: Extensions::default(),
        };
        if policy.approvals == 0 || policy.votes == 0 {
            let message = "at least one approval and one vote are needed";
            return Err(Refusal::new("usage", message, "lansync policy --approvals 1 --votes 1"));
        }
        let ids = self.write(now, |writer| writer.add(Payload::Policy(policy), Vec::new()).map(drop))?;
        Ok(ids[0])
    }

    fn standing(&self, id: &EventId) -> Standing {
        let ballot = self.state.ballot(id);
        let names = |members: BTreeSet<MemberId>| members.iter().map(|member| self.state.handle(member)).collect();
        let revoked = || self.state.revocations().iter().any(|(accepted, _)| accepted == id);
        Standing {
            accepted: ballot.is_none() && (revoked() || self.state.is_counting(id)),
            needs_votes: ballot.as_ref().map_or(0, |ballot| ballot.needs as u64),
            can_vote: ballot.map(|ballot| names(ballot.can_vote)).unwrap_or_default(),
        }
    }
}

/// A role with its article.
pub(super) fn with_article(role: Role) -> String {
    format!("a {}", role.name())
}
