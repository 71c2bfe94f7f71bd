//! Members as they are shown, and whose feeds and identities are whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::State;
use super::authority::{Ballot, Strand};
use crate::eventlog::rows::Place;
use crate::eventlog::{Head, Lacking, Payload, Role, Target};
use crate::hlc::Hlc;
use crate::id::{EventId, IdentityId, MemberId, PeerId};

/// One member, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// The name it goes by: its handle, with a part of its id where another was granted that handle before.
    pub handle: String,
    /// The name as told when asking.
    pub name: String,
    /// Its role now; `None` for one who was removed, or whose grant does not count.
    pub role: Option<Role>,
    /// Its identities that count.
    pub identities: Vec<IdentityId>,
    /// Its feeds.
    pub peers: Vec<PeerId>,
    /// When it was first granted.
    pub since: Hlc,
}

impl Member {
    /// Does it hold this role, or a larger one?
    pub fn maintains(&self) -> bool {
        self.role.is_some_and(Role::maintains)
    }
}

impl State {
    /// Gives all members the names that they go by.
    pub(super) fn name_all(&mut self) {
        let mut named: BTreeMap<String, Vec<(bool, Hlc, EventId, MemberId)>> = BTreeMap::new();
        let members = self.authority.now().members(&self.authority);
        for id in self.authority.ever() {
            let Some((names, since)) = self.authority.names(id) else { continue };
            let gone = !members.roles.contains_key(id);
            let grant = self.authority.get(names.gov).id;
            named.entry(names.handle.to_string()).or_default().push((gone, since, grant, *id));
        }
        let mut handles = BTreeMap::new();
        for (handle, mut owners) in named {
            // Who is here keeps the name; of several the one who had it first.
            owners.sort_unstable();
            for (at, (.., id)) in owners.into_iter().enumerate() {
                let shown = if at == 0 { handle.clone() } else { format!("{handle}-{}", &id.short()[..4]) };
                handles.insert(id, shown);
            }
        }
        self.handles = Arc::new(handles);
    }

    fn describe_member(&self, id: &MemberId, peers: Vec<PeerId>) -> Option<Member> {
        let (names, since) = self.authority.names(id)?;
        let members = self.authority.now().members(&self.authority);
        let owned = |(identity, owner): (&IdentityId, &MemberId)| (owner == id).then_some(*identity);
        let since = if self.authority.is_founding(names.gov) { Hlc::default() } else { since };
        Some(Member {
            id: *id,
            handle: self.handle(id),
            name: names.name.clone(),
            role: members.roles.get(id).copied(),
            identities: members.identities.iter().filter_map(owned).collect(),
            peers,
            since,
        })
    }

    fn peers_by_member(&self) -> BTreeMap<MemberId, BTreeSet<PeerId>> {
        let mut peers: BTreeMap<MemberId, BTreeSet<PeerId>> = BTreeMap::new();
        for (_, strand) in self.authority.strands.iter() {
            peers.entry(strand.member).or_default().insert(strand.feed);
        }
        peers
    }

    /// All who were ever members, those who were removed among them.
    pub fn everybody(&self) -> Vec<Member> {
        let mut peers = self.peers_by_member();
        let mut of = |id: &MemberId| peers.remove(id).unwrap_or_default().into_iter().collect();
        let all = self.authority.ever().filter_map(|id| self.describe_member(id, of(id)));
        all.filter(|member| member.role.is_some() || self.was_removed(&member.id)).collect()
    }

    /// Does a revocation that counts take this member's rights?
    pub fn was_removed(&self, id: &MemberId) -> bool {
        let target = Target::Member(*id);
        self.role(id).is_none() && self.authority.revocations().iter().any(|(_, targets)| targets.contains(&target))
    }

    /// All members.
    pub fn members(&self) -> Vec<Member> {
        let mut all = self.everybody();
        all.retain(|member| member.role.is_some());
        all
    }

    /// One who is or was a member.
    pub fn member(&self, id: &MemberId) -> Option<Member> {
        let strands = self.authority.strands.iter().filter(|(_, strand)| strand.member == *id);
        let peers: BTreeSet<PeerId> = strands.map(|(_, strand)| strand.feed).collect();
        self.describe_member(id, peers.into_iter().collect())
    }

    /// A member's role now.
    pub fn role(&self, id: &MemberId) -> Option<Role> {
        self.authority.now().members(&self.authority).roles.get(id).copied()
    }

    /// How many maintainers there are.
    pub fn maintainers(&self) -> usize {
        self.authority.now().maintainers(&self.authority)
    }

    /// The member, present or past, of this handle, as shown.
    pub fn member_named(&self, handle: &str) -> Option<Member> {
        let id = self.handles.iter().find(|(_, shown)| *shown == handle).map(|(id, _)| *id)?;
        self.member(&id)
    }

    /// The member to whom an identity belongs now.
    pub fn member_of_identity(&self, identity: &IdentityId) -> Option<MemberId> {
        self.authority.now().members(&self.authority).identities.get(identity).copied()
    }

    /// Identities that count now, with whose they are.
    pub fn identities(&self) -> BTreeMap<IdentityId, MemberId> {
        self.authority.now().members(&self.authority).identities.clone()
    }

    /// The machines of a member that count now, each with the name that its link gave it: none has a granted one.
    pub fn machines(&self, member: &MemberId) -> Vec<(IdentityId, String)> {
        let name = |identity: &IdentityId| {
            let given = self.authority.given(identity).filter_map(|id| self.event(id));
            let named = given.filter_map(|event| match event.payload() {
                Payload::Link(link) => Some((event.body().hlc, link.name.clone())),
                _ => None,
            });
            named.max().map(|(_, name)| name).unwrap_or_default()
        };
        let own = self.identities().into_iter().filter(|(_, owner)| owner == member);
        own.map(|(identity, _)| (identity, name(&identity))).collect()
    }

    /// The member to whom an identity ever belonged.
    pub fn owner_of_identity(&self, identity: &IdentityId) -> Option<MemberId> {
        self.member_of_identity(identity).or_else(|| self.authority.ever_owned(identity))
    }

    /// May this clone speak for its member: is its identity one, and was the clone not taken off by itself?
    pub fn is_welcome(&self, identity: &IdentityId, feed: &PeerId) -> bool {
        let members = self.authority.now().members(&self.authority);
        members.identities.contains_key(identity) && !members.feeds.contains(feed)
    }

    /// The identity that certified a feed.
    pub fn identity_of_feed(&self, feed: &PeerId) -> Option<IdentityId> {
        let strand = self.authority.strands.of_feed(feed).first()?;
        Some(self.authority.strands.get(*strand).identity)
    }

    /// The member to whom a feed belongs, present or past.
    pub fn member_of_feed(&self, feed: &PeerId) -> Option<MemberId> {
        let strand = self.authority.strands.of_feed(feed).first()?;
        Some(self.authority.strands.get(*strand).member)
    }

    /// How many grants rest on an invite.
    pub fn grants_on(&self, invite: &EventId) -> u64 {
        self.authority.grants_on(invite)
    }

    /// All feeds that have begun.
    pub fn feeds(&self) -> impl Iterator<Item = &PeerId> {
        self.authority.strands.feeds()
    }

    /// Feeds that two events of one number are known of.
    pub fn forked_feeds(&self) -> impl Iterator<Item = &PeerId> {
        self.authority.strands.feeds().filter(|feed| self.is_forked(feed))
    }

    /// The lowest number of a feed that two events have.
    pub fn forked_at(&self, feed: &PeerId) -> Option<u64> {
        self.authority.strands.doubled(feed)
    }

    /// The name under which a member is shown: the handle, longer where another had it first.
    pub fn handle(&self, id: &MemberId) -> String {
        self.handles.get(id).cloned().unwrap_or_else(|| id.short())
    }

    /// The last event held of a feed.
    pub fn feed_head(&self, feed: &PeerId) -> Option<Head> {
        let strand = self.authority.strands.of_feed(feed).first()?;
        Some(self.authority.strands.get(*strand).head())
    }

    /// The strand that a feed was held on first.
    pub fn strand_of(&self, feed: &PeerId) -> Option<u32> {
        self.authority.strands.of_feed(feed).first().copied()
    }

    /// The last event held of each strand, part of the log or not.
    pub fn heads(&self) -> impl Iterator<Item = (u32, Head)> + '_ {
        self.authority.strands.iter().map(|(number, strand)| (number, strand.head()))
    }

    /// How many events are part of the log.
    pub fn log_events(&self) -> u64 {
        let of = |(_, strand): (u32, &Strand)| strand.logged.map_or(0, |seq| seq + 1 - strand.from);
        self.authority.strands.iter().map(of).sum()
    }

    /// Spans to read begin where their strands do.
    pub fn clip(&self, lacking: Vec<Lacking>) -> Vec<Lacking> {
        let from =
            |span: Lacking| Lacking { from: span.from.max(self.authority.strands.get(span.strand).from), ..span };
        lacking.into_iter().map(from).collect()
    }

    /// The last of each feed of the targets that is part of the log, of each branch where it forked: what a revocation pins, so
    /// that what is known now stands. What is held as evidence is not named, else it would come into the log with the revocation.
    pub fn pins(&self, targets: &[Target]) -> Vec<EventId> {
        let logged = self.authority.strands.iter().filter_map(|(number, strand)| {
            let own = [Target::Member(strand.member), Target::Identity(strand.identity), Target::Feed(strand.feed)];
            let place = Place { strand: number, seq: strand.logged? };
            own.iter().any(|target| targets.contains(target)).then_some((place, strand.logged_id))
        });
        let last: Vec<(Place, EventId)> = logged.collect();
        let above =
            |place: &Place| last.iter().any(|(at, _)| at != place && self.authority.strands.on_chain(*place, *at));
        last.iter().filter(|(place, _)| !above(place)).map(|(_, id)| *id).collect()
    }

    /// Can this member remove the other without others' votes?
    pub fn removes_alone(&self, one: &MemberId, other: &MemberId) -> bool {
        self.authority.removes_alone(one, other)
    }

    /// Revocations that are accepted now, each with its targets.
    pub fn revocations(&self) -> Vec<(EventId, Vec<Target>)> {
        self.authority.revocations()
    }

    /// Grants, revocations and policies that wait for votes, in the order in which they came.
    pub fn ballots(&self) -> Vec<Ballot> {
        self.authority.ballots()
    }

    /// The event that follows another on its feed.
    pub fn next_of(&self, id: &EventId) -> Option<EventId> {
        let place = self.place_of(id)?;
        self.event_at(Place { strand: place.strand, seq: place.seq + 1 }).map(|event| event.id())
    }

    /// What an event waits for, if it waits for votes.
    pub fn ballot(&self, on: &EventId) -> Option<Ballot> {
        self.authority.ballot(self.authority.number(on)?)
    }

    /// The accepted revocation that takes an identity or a clone away, or the member whose they were.
    pub fn removal(&self, identity: &IdentityId, feed: &PeerId) -> Option<EventId> {
        let owner = self.owner_of_identity(identity);
        let mut found = self.revocations();
        found.retain(|(_, targets)| {
            targets.iter().any(|target| match target {
                Target::Member(member) => Some(*member) == owner && self.role(member).is_none(),
                Target::Identity(taken) => taken == identity && self.member_of_identity(identity).is_none(),
                Target::Feed(taken) => taken == feed,
            })
        });
        found.pop().map(|(id, _)| id)
    }

    /// Members who voted for an event and whose votes count, its author among them.
    pub fn voters(&self, on: &EventId) -> BTreeSet<MemberId> {
        self.authority.voters(on)
    }
}
