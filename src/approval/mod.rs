//! What the set of events *means*: who is a member, what is proposed, approved and landed.
//!
//! A pure fold. [`State::check`] says once, from an event's own causal past, whether it may be stored;
//! [`State::apply`] takes it in. The state is a function of the *set* of events applied (and of what
//! [`State::settle`] was told of the objects that they name): any order that respects causality gives the same.
//!
//! What is small lives in memory (governance, feeds, heads); all else is rows beside the events, see
//! [`crate::eventlog::rows`]. [`State::begin_append`] gives what is to be written in one transaction.

mod authority;
mod chains;
mod change;
mod check;
mod digest;
mod earlier;
mod forks;
mod hearing;
mod landing;
mod logged;
mod pen;
mod people;
mod proposal;
mod rations;
mod reckon;
mod said;
mod stored;
mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use authority::{Ballot, Demands, Void};
pub use chains::ChainAnswer;
pub use change::Change;
pub use check::{Checked, Rejected};
pub use earlier::Earlier;
pub use landing::{BranchHeads, Landable, Landing, Unsettled};
pub use pen::Pen;
pub use people::Member;
pub use proposal::{Approval, Proposal, ProposalState, Rejection, Revision};
pub use stored::Unfit;
pub use tags::CanonicalTag;

use crate::eventlog::rows::{EventRow, Kept, Layer, Place, Rows};
use crate::eventlog::{Event, Genesis, Kind, Payload};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Lid, MemberId, ObjectId, PeerId, ProjectId};
use authority::{Authority, Deed, Need, Past, Strand};

/// The rules of fold, merge and objects that this version knows. A version that knows more folds every log again when it opens
/// it, as at a change of its tables: what was not decided then is now.
pub const RULES: u16 = 1;

/// Flags of an [`EventRow`].
mod flags {
    /// By what it knew, its author may do this.
    pub(super) const ADMISSIBLE: u8 = 1;
    /// Where the number of a reason for being void begins; 0 is none.
    pub(super) const WHY: u8 = 4;
}

/// The state of one project.
#[derive(Debug, Clone)]
pub struct State {
    project: ProjectId,
    genesis: Option<(EventId, Genesis)>,
    rows: Rows,
    authority: Authority,
    /// Events that no other event held names.
    tips: BTreeSet<EventId>,
    latest: Hlc,
    events: u64,
    /// Strands whose rows are to be written.
    dirty: BTreeSet<u32>,
    /// Heads of canonical branches, by the branch's place in the genesis.
    heads: Vec<BTreeSet<Lid>>,
    /// Open proposals with a commit whose approvals fulfil the policy.
    ready: BTreeSet<u32>,
    proposals: u32,
    /// How many landings there are, which are numbered from 0.
    landings: u32,
    /// Numbers of landings that came last.
    numbered: Arc<Kept<Lid, u32>>,
    /// Rows of `Named` that were written last.
    named: Arc<Kept<(u32, u32), u64>>,
    recent: said::Recent,
    /// Is any strand cut off?
    any_cut: bool,
    sights: forks::Sights,
    /// What held when authority last changed.
    held: Arc<reckon::Held>,
    handles: Arc<BTreeMap<MemberId, String>>,
}

impl State {
    /// May `event` be stored? `None` where it is held already.
    ///
    /// # Errors
    /// [`Rejected`], the same on every peer that holds the event's past.
    pub fn check(&self, event: &Event) -> Result<Option<Checked>, Rejected> {
        let strands = self.authority.strands.of_feed(&event.body().author);
        // One that is later than all of its feed cannot be here, so nothing need be read.
        let later = strands.iter().all(|strand| self.authority.strands.get(*strand).seq < event.body().seq);
        if !later && self.holds(&event.id()) {
            return Ok(None);
        }
        check::check(self, event).map(Some)
    }

    /// Checks an event and takes it in; `None` where it is held already.
    ///
    /// # Errors
    /// [`Rejected`]; nothing is changed.
    pub fn take(&mut self, event: Event) -> Result<Option<Vec<Change>>, Rejected> {
        let checked = self.check(&event)?;
        Ok(checked.map(|checked| self.apply(&Arc::new(event), checked)))
    }

    /// As [`State::take`], of an event that a log holds already, where events may have come in another order: the bound of
    /// what is kept as evidence was seen to then.
    ///
    /// # Errors
    /// [`Rejected`]; nothing is changed.
    pub fn take_again(&mut self, event: &Arc<Event>) -> Result<Option<Vec<Change>>, Rejected> {
        if self.holds(&event.id()) {
            return Ok(None);
        }
        let checked = check::check_held(self, event)?;
        Ok(Some(self.apply(event, checked)))
    }

    /// Takes in an event that [`State::check`] found new just before, and says what changed.
    pub fn apply(&mut self, event: &Arc<Event>, checked: Checked) -> Vec<Change> {
        let (id, body) = (event.id(), event.body());
        let Checked { at, past, member, identity } = checked;
        let (strict, place) = (self.intern(past), self.place(event, at, member, identity));
        let mut changes = Vec::new();
        let forked = self.authority.strands.get(place.strand).from == place.seq && self.is_forked(&body.author);
        let governs = body.kind.governs();
        let (hlc, kind) = (body.hlc.bits(), body.kind.0);
        let mut row = EventRow { place, hlc, kind, past: strict.0, flags: 0, about: 0, sight: 0 };
        let more = self.sight(event, &mut row);
        if governs {
            let gov = self.govern(event, place, strict);
            let mut own = self.authority.pasts.set(strict).clone();
            own.insert(gov);
            row.past = self.intern(Err(own)).0;
            row.flags |= if self.authority.get(gov).admissible { flags::ADMISSIBLE } else { 0 };
        } else if self.admissible(strict, member, identity, &body.author, body.kind) {
            row.flags |= flags::ADMISSIBLE;
        }
        self.advance(event, &row);
        // What it says is read back by its id and place.
        self.rows.put_event(id, row);
        self.rows.add(place, event.clone());
        match event.payload() {
            Payload::Genesis(genesis) => {
                self.found(id, place, genesis);
                changes.push(Change::Founded);
            }
            Payload::Certify(_) => changes.push(Change::FeedBegan { feed: body.author }),
            _ => {}
        }
        match self.meaning(event, &mut row) {
            Ok(more) => changes.extend(more),
            Err(why) => {
                row.flags |= why_bits(why);
                changes.push(Change::Void { event: id, why });
            }
        }
        self.rows.put_event(id, row);
        let began = self.authority.strands.get(place.strand).from == place.seq;
        if governs || forked || more {
            // By what held before; this vote is not weighed yet.
            let on = match event.payload() {
                Payload::Vote(vote) if self.void(&vote.on) == Some(Void::Votes) => Some(vote.on),
                _ => None,
            };
            let on = on.filter(|on| self.row(on).is_some_and(|row| row.kind != Kind::REVOKE.0));
            self.reckon(forked.then_some(body.author), more, &mut changes);
            changes.extend(on.filter(|on| self.is_counting(on)).map(|on| Change::Seconded { on }));
            if let Some(why) = self.void_row(&id, &row).filter(|_| governs) {
                changes.push(Change::Void { event: id, why });
            }
        }
        if self.builds_on_cut(event) || (began && (self.any_cut || self.any_revoked())) {
            self.relog(&mut changes);
            self.held = Arc::new(reckon::Held::of(self));
        }
        changes
    }

    /// What an ordinary event does, or why it does not count by what its author knew.
    fn meaning(&mut self, event: &Event, row: &mut EventRow) -> Result<Vec<Change>, Void> {
        let (id, body) = (event.id(), event.body());
        if self.genesis.is_none() {
            return Ok(Vec::new());
        }
        let admissible = row.flags & flags::ADMISSIBLE != 0;
        let member = self.authority.strands.get(row.place.strand).member;
        let change = match event.payload() {
            Payload::Grant(grant) => Change::Granted { member: grant.member, by: body.author },
            Payload::Link(_) => Change::Linked { member },
            Payload::Policy(_) => Change::PolicySet,
            Payload::Propose(propose) => {
                if self.canonical_number(&propose.target).is_none() {
                    return Err(Void::NotCanonical);
                }
                let proposal = self.propose(id, member, propose, row)?;
                Change::Proposed { proposal, revision: id }
            }
            Payload::Approve(approve) => {
                let proposal = self.say(said::Tag::Approve, &approve.revision, member, row)?;
                Change::Approved { proposal, approval: id }
            }
            Payload::Reject(reject) => {
                let proposal = self.say(said::Tag::Reject, &reject.revision, member, row)?;
                Change::WasRejected { proposal }
            }
            Payload::Withdraw(withdraw) => {
                let proposal = self.say(said::Tag::Withdraw, &withdraw.revision, member, row)?;
                Change::Withdrawn { proposal }
            }
            Payload::Land(land) => {
                let lid = self.land(event, land, row)?;
                Change::LandingKnown { lid }
            }
            Payload::Tag(tag) if admissible => {
                self.put_tags(&id, tag, row);
                let tags = tag.tags.iter().map(|(name, _, commit)| (name.clone(), *commit)).collect();
                Change::Tagged { by: body.author, tags }
            }
            _ => return if admissible { Ok(Vec::new()) } else { Err(Void::Role) },
        };
        if admissible || body.kind.governs() { Ok(vec![change]) } else { Err(Void::Role) }
    }

    /// By what its author knew, may it be done?
    fn admissible(
        &self,
        past: Past,
        member: MemberId,
        identity: crate::id::IdentityId,
        feed: &PeerId,
        kind: Kind,
    ) -> bool {
        self.authority.view(past).may(&self.authority, &member, &identity, feed, Need::of(kind))
    }

    fn any_revoked(&self) -> bool {
        !self.authority.now().accepted.is_empty()
    }

    /// Somebody doing an ordinary thing that is held.
    fn deed(&self, row: &EventRow) -> Deed<'_> {
        let strand: &Strand = self.authority.strands.get(row.place.strand);
        Deed {
            member: strand.member,
            identity: strand.identity,
            feed: strand.feed,
            place: row.place,
            past: self.authority.pasts.set(Past(row.past)),
            need: Need::of(Kind(row.kind)),
        }
    }

    /// Does an ordinary event count now?
    fn counts(&self, row: &EventRow) -> bool {
        row.flags & flags::ADMISSIBLE != 0 && self.is_live_by(self.authority.judge(), row)
    }

    /// Does an ordinary event count for a judge, whatever its author knew?
    fn is_live_by(&self, judge: &authority::Judge, row: &EventRow) -> bool {
        // By its own past it was allowed under the revocations there, and with fewer of them more is live. A fork may void
        // what it rests on as well.
        let is_calm = judge.is_calm(&self.authority);
        (is_calm && row.flags & flags::ADMISSIBLE != 0) || judge.live(&self.authority, &self.deed(row))
    }

    fn row(&self, id: &EventId) -> Option<EventRow> {
        EventRow::of(&self.rows, id)
    }

    /// The row of an event that is at this place.
    fn row_at(&self, event: &Event, place: Place) -> Option<EventRow> {
        EventRow::at(&self.rows, event, place)
    }

    fn event_at(&self, place: Place) -> Option<Arc<Event>> {
        self.rows.event(place)
    }

    /// One event that is held.
    pub fn event(&self, id: &EventId) -> Option<Arc<Event>> {
        self.event_at(self.row(id)?.place)
    }

    /// Takes what is to be appended, in one transaction; `None` where there is nothing. The state goes on.
    pub fn begin_append(&mut self) -> Option<Arc<Layer>> {
        self.write_dirty();
        self.rows.begin_append()
    }

    /// The oldest of what was taken is durable, and part of `base`.
    pub fn appended(&mut self, base: Arc<dyn crate::eventlog::rows::Base>) {
        self.rows.appended(base);
    }

    /// Could every row be read? If not, nothing worked out since may be used.
    pub fn healthy(&self) -> bool {
        self.rows.healthy()
    }

    /// The project.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// Its first event's id and content, once it is here.
    pub fn genesis(&self) -> Option<(&EventId, &Genesis)> {
        self.genesis.as_ref().map(|(id, genesis)| (id, genesis))
    }

    /// The time of the latest event held.
    pub fn latest(&self) -> Hlc {
        self.latest
    }

    /// How many events are held, those that are no part of the log among them.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Is this event held?
    pub fn holds(&self, id: &EventId) -> bool {
        self.row(id).is_some()
    }

    /// What landings and governance need now.
    pub fn demands(&self) -> Demands {
        self.authority.now().demands
    }

    /// The rules that a version must know to go on here, where they are later than those that this one knows: what they
    /// govern is not decided here.
    pub fn needs_rules(&self) -> Option<u16> {
        let now = self.authority.now();
        let raised = Some(now.demands.rules).filter(|rules| *rules > RULES);
        [now.frozen, now.landings_frozen, raised].into_iter().flatten().max()
    }

    /// Does this event count now?
    pub fn is_counting(&self, id: &EventId) -> bool {
        self.holds(id) && self.void(id).is_none()
    }

    /// May the author of this event do this, by what they knew and by what holds now?
    #[cfg(test)]
    fn is_allowed(&self, id: &EventId) -> bool {
        match (self.authority.number(id), self.row(id)) {
            (Some(gov), _) => self.authority.is_live(gov),
            (None, Some(row)) => self.counts(&row),
            (None, None) => false,
        }
    }

    /// Why an event does not count; `None` where it does.
    pub fn void(&self, id: &EventId) -> Option<Void> {
        self.void_row(id, &self.row(id)?)
    }

    fn void_row(&self, id: &EventId, row: &EventRow) -> Option<Void> {
        let authority = &self.authority;
        if let Some(gov) = authority.number(id) {
            return authority.void(gov);
        }
        let view = authority.view(Past(row.past));
        if let Some(rules) = view.frozen {
            return Some(Void::Newer(rules));
        }
        if Kind(row.kind).is_newer() {
            let rules = view.demands.rules;
            return Some(if rules > RULES { Void::Newer(rules) } else { Void::Kind });
        }
        if let Some(why) = why_of(row.flags) {
            return Some(why);
        }
        if row.flags & flags::ADMISSIBLE == 0 {
            return Some(Void::Role);
        }
        if !self.counts(row) {
            return Some(authority.why_not(&self.deed(row)));
        }
        None
    }

    /// Canonical branches with their first commits, the default one first.
    pub fn canonical(&self) -> &[(BranchName, ObjectId)] {
        self.genesis.as_ref().map_or(&[], |(_, genesis)| &genesis.tips)
    }

    fn canonical_number(&self, branch: &BranchName) -> Option<u8> {
        self.canonical().iter().position(|(name, _)| name == branch).map(|at| at as u8)
    }
}

fn why_bits(why: Void) -> u8 {
    let number = match why {
        Void::NotCanonical => 1,
        Void::Target => 2,
        Void::Heads => 3,
        Void::Policy => 4,
        // These are worked out anew whenever they are asked for.
        Void::Role | Void::Revoked(_) | Void::Forked | Void::Rests | Void::Votes | Void::Newer(_) | Void::Kind => 0,
    };
    number << flags::WHY
}

fn why_of(bits: u8) -> Option<Void> {
    match bits >> flags::WHY {
        1 => Some(Void::NotCanonical),
        2 => Some(Void::Target),
        3 => Some(Void::Heads),
        4 => Some(Void::Policy),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod oracle;
