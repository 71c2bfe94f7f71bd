//! Who is a member, with which role, in the eyes of an event's own past.
//!
//! An event is judged once by the grants in its causal past. The sets of grants are interned, as nearly all
//! events share one with an event that they name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::eventlog::{Genesis, Grant, Role};
use crate::hlc::Hlc;
use crate::id::{EventId, Handle, IdentityId, MemberId, PeerId};

/// Why an event is stored and does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its author's role does not allow it.
    #[error("its author's role does not allow it")]
    Role,
    /// The branch is not one that the log decides.
    #[error("the branch is not a canonical one")]
    NotCanonical,
    /// What it speaks of is not its author's, or does not fit.
    #[error("what it speaks of does not fit")]
    Target,
    /// The landing does not stand on landings of its branch, or breaks their order.
    #[error("the landing does not stand on landings of its branch")]
    Heads,
    /// The approvals do not fulfil the policy.
    #[error("its approvals do not fulfil the policy")]
    Policy,
    /// The grant contradicts an earlier one: another member's identity, or a member id that is not its own.
    #[error("the grant contradicts an earlier one")]
    Contradiction,
}

impl Void {
    /// Its code in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::NotCanonical => "not-canonical",
            Self::Target => "target",
            Self::Heads => "heads",
            Self::Policy => "policy",
            Self::Contradiction => "contradiction",
        }
    }
}

/// An interned set of grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Past(u32);

/// One member, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its id.
    pub id: MemberId,
    /// The name it goes by: its handle, with a part of its id where another was granted that handle before.
    pub handle: String,
    /// The name as told when asking.
    pub name: &'a str,
    /// Its role now.
    pub role: Role,
    /// Its feeds.
    pub peers: Vec<PeerId>,
    /// When it was first granted.
    pub since: Hlc,
}

#[derive(Debug, Clone)]
struct GrantEntry {
    member: MemberId,
    role: Role,
    invite: Option<EventId>,
}

#[derive(Debug, Clone)]
struct MemberEntry {
    handle: Handle,
    name: String,
    since: (Hlc, EventId),
    role: Role,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Authority {
    grants: BTreeMap<EventId, GrantEntry>,
    members: BTreeMap<MemberId, MemberEntry>,
    identities: BTreeMap<IdentityId, MemberId>,
    feeds: BTreeMap<PeerId, IdentityId>,
    interned: BTreeMap<BTreeSet<EventId>, Past>,
    sets: Vec<BTreeSet<EventId>>,
}

impl Authority {
    pub(super) fn found(&mut self, id: EventId, feed: PeerId, genesis: &Genesis) {
        let member = MemberId::of(&genesis.founder);
        self.grants.insert(id, GrantEntry { member, role: Role::Maintainer, invite: None });
        self.identities.insert(genesis.founder, member);
        self.feeds.insert(feed, genesis.founder);
        let entry = MemberEntry {
            handle: genesis.handle.clone(),
            name: genesis.founder_name.clone(),
            since: (Hlc::default(), id),
            role: Role::Maintainer,
        };
        self.members.insert(member, entry);
    }

    pub(super) fn begin_feed(&mut self, feed: PeerId, identity: IdentityId) {
        self.feeds.insert(feed, identity);
    }

    /// Takes in a grant whose author may give it. An identity belongs to the member whose id is its hash;
    /// further identities of one member come with links, not with grants.
    pub(super) fn grant(&mut self, id: EventId, hlc: Hlc, grant: &Grant) -> Result<(), Void> {
        if grant.member != MemberId::of(&grant.identity) {
            return Err(Void::Contradiction);
        }
        self.grants.insert(id, GrantEntry { member: grant.member, role: grant.role, invite: grant.invite });
        self.identities.insert(grant.identity, grant.member);
        let since = (hlc, id);
        let entry = self.members.entry(grant.member).or_insert_with(|| MemberEntry {
            handle: grant.handle.clone(),
            name: grant.name.clone(),
            since,
            role: grant.role,
        });
        entry.role = entry.role.or(grant.role);
        // Of several grants the earliest names the member, in whatever order they arrive.
        if since < entry.since {
            entry.since = since;
            entry.handle = grant.handle.clone();
            entry.name = grant.name.clone();
        }
        Ok(())
    }

    pub(super) fn union(&self, pasts: impl Iterator<Item = Past>) -> Cow<'_, BTreeSet<EventId>> {
        let distinct: BTreeSet<Past> = pasts.collect();
        let mut sets = distinct.iter().map(|past| &self.sets[past.0 as usize]);
        let Some(first) = sets.next() else { return Cow::Owned(BTreeSet::new()) };
        let mut union = Cow::Borrowed(first);
        for set in sets {
            if !set.is_subset(&union) {
                union.to_mut().extend(set);
            }
        }
        union
    }

    pub(super) fn intern(&mut self, set: BTreeSet<EventId>) -> Past {
        if let Some(past) = self.interned.get(&set) {
            return *past;
        }
        let past = Past(u32::try_from(self.sets.len()).expect("fewer sets of grants than events, and those fit"));
        self.sets.push(set.clone());
        self.interned.insert(set, past);
        past
    }

    pub(super) fn role_in(&self, past: &BTreeSet<EventId>, member: &MemberId) -> Option<Role> {
        let grants = past.iter().filter_map(|id| self.grants.get(id));
        grants.filter(|grant| grant.member == *member).map(|grant| grant.role).reduce(Role::or)
    }

    pub(super) fn member_in(&self, past: &BTreeSet<EventId>, identity: &IdentityId) -> Option<MemberId> {
        let member = self.identity_member(identity)?;
        self.role_in(past, &member).map(|_| member)
    }

    /// How many maintainers an event with this past knew.
    pub(super) fn maintainers_in(&self, past: &BTreeSet<EventId>) -> usize {
        let grants = past.iter().filter_map(|id| self.grants.get(id));
        let maintainers: BTreeSet<_> =
            grants.filter(|grant| grant.role.maintains()).map(|grant| grant.member).collect();
        maintainers.len()
    }

    pub(super) fn feed_identity(&self, feed: &PeerId) -> Option<IdentityId> {
        self.feeds.get(feed).copied()
    }

    pub(super) fn identity_member(&self, identity: &IdentityId) -> Option<MemberId> {
        self.identities.get(identity).copied()
    }

    /// The member of a feed that has begun; its events were checked to have one.
    pub(super) fn feed_member(&self, feed: &PeerId) -> MemberId {
        let member = self.feed_identity(feed).and_then(|identity| self.identity_member(&identity));
        member.expect("a feed begins with an event whose identity is a member's")
    }

    pub(super) fn grants_on(&self, invite: &EventId) -> u64 {
        self.grants.values().filter(|grant| grant.invite.as_ref() == Some(invite)).count() as u64
    }

    pub(super) fn feeds(&self) -> impl Iterator<Item = &PeerId> {
        self.feeds.keys()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.members.keys().filter_map(|id| self.member(id))
    }

    pub(super) fn member(&self, id: &MemberId) -> Option<Member<'_>> {
        let entry = self.members.get(id)?;
        let taken = self.members.iter().any(|(_, other)| other.handle == entry.handle && other.since < entry.since);
        let handle = if taken { format!("{}-{}", entry.handle, &id.short()[..4]) } else { entry.handle.to_string() };
        let owns = |identity: &IdentityId| self.identities.get(identity) == Some(id);
        let peers = self.feeds.iter().filter(|(_, identity)| owns(identity)).map(|(feed, _)| *feed).collect();
        Some(Member { id: *id, handle, name: &entry.name, role: entry.role, peers, since: entry.since.0 })
    }
}
