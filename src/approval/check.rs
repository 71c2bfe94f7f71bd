//! May an event be stored? Answered once, from its own causal past, with the same answer on every machine.

use std::sync::Arc;

use super::State;
use super::authority::{Authority, Need, Past, Set};
use crate::eventlog::rows::EventRow;
use crate::eventlog::{Event, Kind, Payload};
use crate::id::{EventId, IdentityId, Lid, MemberId};
use crate::keys::PublicKey;
use crate::limits;

/// Why an event is never stored. Always the fault of whoever sent it, but for the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It belongs to another project.
    #[error("it belongs to another project")]
    WrongProject,
    /// Events before it in its feed are not here.
    #[error("events before it in its feed were not sent")]
    Gap,
    /// An event that it names is not here.
    #[error("event {} in its past was not sent", .0.short())]
    MissingPast(EventId),
    /// Its time is not above that of all it names.
    #[error("its time is not after its past")]
    Time,
    /// In its own past its author is no member.
    #[error("its author is no member in its own past")]
    NotAMember,
    /// Its payload names an event that its links do not, or one that is of another kind.
    #[error("its payload and its links do not agree")]
    Links,
    /// The identity's signature is wrong.
    #[error("the identity's signature does not hold")]
    Signature,
    /// Its feed was cut off, and more of it than anybody built on is here already.
    #[error("its feed was cut off, and more of it than anybody built on is here already")]
    Evidence,
    /// The log could not be read here.
    #[error("the log cannot be read here")]
    Unreadable,
}

/// Where in its feed an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// It begins a feed.
    Begins,
    /// It is the next of this strand.
    Extends(u32),
    /// Another event has its number: it begins a branch off this strand (none at number 0).
    Forks(Option<u32>),
}

/// What was found of an event that may be stored: for [`State::apply`], with nothing else applied in between.
#[derive(Debug)]
pub struct Checked {
    pub(super) at: At,
    pub(super) past: Result<Past, Set>,
    pub(super) member: MemberId,
    pub(super) identity: IdentityId,
}

impl Checked {
    /// Does another event have its number in its feed?
    pub fn forks(&self) -> bool {
        matches!(self.at, At::Forks(_))
    }
}

pub(super) fn check(state: &State, event: &Event) -> Result<Checked, Rejected> {
    let checked = check_held(state, event)?;
    bound(state, event, checked.at)?;
    Ok(checked)
}

/// As [`check`], of an event that this log holds: as it came there was room for it.
pub(super) fn check_held(state: &State, event: &Event) -> Result<Checked, Rejected> {
    let body = event.body();
    if body.project != state.project {
        return Err(Rejected::WrongProject);
    }
    let at = place(state, event)?;
    let mut pasts = Vec::with_capacity(4);
    for dep in body.deps() {
        let row = state.row(dep).ok_or(Rejected::MissingPast(*dep))?;
        if row.hlc >= body.hlc.bits() {
            return Err(Rejected::Time);
        }
        pasts.push(Past(row.past));
    }
    let past = state.authority.pasts.union(pasts.into_iter());
    let (member, identity) = author(state, event, &past)?;
    let key = || match at {
        At::Extends(strand) | At::Forks(Some(strand)) => state.authority.strands.key(strand),
        At::Begins | At::Forks(None) => PublicKey::read(&identity.0),
    };
    event.verify_identity_by(key).map_err(|_| Rejected::Signature)?;
    links(state, event)?;
    if !state.healthy() {
        return Err(Rejected::Unreadable);
    }
    Ok(Checked { at, past, member, identity })
}

fn place(state: &State, event: &Event) -> Result<At, Rejected> {
    let (body, strands) = (event.body(), &state.authority.strands);
    let known = !strands.of_feed(&body.author).is_empty();
    let Some(prev) = &body.prev else {
        return Ok(if known { At::Forks(None) } else { At::Begins });
    };
    let row = state.row(prev).ok_or(Rejected::Gap)?;
    let strand = strands.get(row.place.strand);
    if strand.feed != body.author || row.place.seq + 1 != body.seq {
        return Err(Rejected::Gap);
    }
    Ok(if strand.seq == row.place.seq { At::Extends(row.place.strand) } else { At::Forks(Some(row.place.strand)) })
}

/// Whose event it is, and that they are a member with any role by what it knew.
fn author(state: &State, event: &Event, past: &Result<Past, Set>) -> Result<(MemberId, IdentityId), Rejected> {
    let (body, authority) = (event.body(), &state.authority);
    let set = match past {
        Ok(past) => authority.pasts.set(*past),
        Err(set) => set,
    };
    let view = |authority: &Authority| match past {
        Ok(past) => authority.view(*past),
        Err(set) => Arc::new(authority.view_of(set)),
    };
    let (member, identity) = match (body.seq, event.payload()) {
        (0, Payload::Genesis(genesis)) => {
            let names_nothing = body.seen.is_empty() && body.refs.is_empty();
            let first = state.genesis.is_none() && names_nothing;
            if genesis.project() != state.project || !first {
                return Err(Rejected::WrongProject);
            }
            return Ok((MemberId::of(&genesis.founder), genesis.founder));
        }
        (0, Payload::Certify(certify)) => {
            let identity = certify.certificate.identity;
            certify.certificate.verify(&state.project, &body.author).map_err(|_| Rejected::Signature)?;
            let member = authority.member_in(set, &identity);
            // Who has become a member by later rules is not known here; the event is stored and served all the same.
            let unknown = || view(authority).frozen.map(|_| MemberId::of(&identity));
            (member.or_else(unknown).ok_or(Rejected::NotAMember)?, identity)
        }
        (0, _) | (_, Payload::Genesis(_) | Payload::Certify(_)) => return Err(Rejected::Links),
        _ => {
            let first = authority.strands.of_feed(&body.author).first().ok_or(Rejected::Gap)?;
            let strand = match body.prev.and_then(|prev| state.row(&prev)) {
                Some(row) => authority.strands.get(row.place.strand),
                None => authority.strands.get(*first),
            };
            (strand.member, strand.identity)
        }
    };
    let view = view(authority);
    if view.frozen.is_some() || view.may(authority, &member, &identity, &body.author, Need::Any) {
        Ok((member, identity))
    } else {
        Err(Rejected::NotAMember)
    }
}

/// Every event that a payload names must be among its links, and be of the right kind.
fn links(state: &State, event: &Event) -> Result<(), Rejected> {
    let body = event.body();
    let named = |id: &EventId| body.refs.binary_search(id).is_ok();
    let is = |id: &EventId, kind: Kind| state.row(id).is_some_and(|row: EventRow| row.kind == kind.0);
    let linked = |id: &EventId, kind: Kind| if named(id) && is(id, kind) { Ok(()) } else { Err(Rejected::Links) };
    let carried = |lid: &Lid| {
        let carriers = state.carriers(lid);
        if carriers.iter().any(named) { Ok(()) } else { Err(Rejected::Links) }
    };
    match event.payload() {
        Payload::Grant(grant) => {
            grant.invite.iter().try_for_each(|invite| linked(invite, Kind::INVITE))?;
            if grant.member == MemberId::of(&grant.identity) { Ok(()) } else { Err(Rejected::Links) }
        }
        Payload::Propose(propose) => propose.previous.iter().try_for_each(|id| linked(id, Kind::PROPOSE)),
        Payload::Approve(approve) => {
            linked(&approve.revision, Kind::PROPOSE)?;
            approve.onto.iter().try_for_each(carried)
        }
        Payload::Reject(reject) => linked(&reject.revision, Kind::PROPOSE),
        Payload::Withdraw(withdraw) => linked(&withdraw.revision, Kind::PROPOSE),
        Payload::Land(land) => {
            land.revision.iter().try_for_each(|id| linked(id, Kind::PROPOSE))?;
            land.approvals.iter().try_for_each(|id| linked(id, Kind::APPROVE))?;
            land.heads.iter().try_for_each(carried)
        }
        Payload::Revoke(revoke) => {
            let ok = revoke.pins.iter().all(named);
            if ok { Ok(()) } else { Err(Rejected::Links) }
        }
        Payload::Vote(vote) => {
            let on = state.row(&vote.on).is_some_and(|row| votable(Kind(row.kind)));
            if named(&vote.on) && on { Ok(()) } else { Err(Rejected::Links) }
        }
        _ => Ok(()),
    }
}

fn votable(kind: Kind) -> bool {
    matches!(kind, Kind::GRANT | Kind::REVOKE | Kind::POLICY)
}

/// What was cut off and nobody built on is kept as evidence, and not without end.
fn bound(state: &State, event: &Event, at: At) -> Result<(), Rejected> {
    if event.body().kind.governs() {
        return Ok(());
    }
    let strands = &state.authority.strands;
    let beyond = match at {
        At::Begins => 0,
        At::Extends(strand) if strands.get(strand).cut.is_none() => 0,
        At::Extends(_) | At::Forks(_) => strands
            .of_feed(&event.body().author)
            .iter()
            .map(|strand| strands.get(*strand))
            .map(|strand| strand.seq + 1 - strand.logged.map_or(strand.from, |logged| logged + 1))
            .sum(),
    };
    if beyond < limits::EVIDENCE { Ok(()) } else { Err(Rejected::Evidence) }
}
