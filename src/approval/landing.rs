//! Landings: the state of a canonical branch is its set of heads.
//!
//! A landing is known by its content. It *enters* if its own past allows it, is *sound* if its commit is what
//! its fields give (which the objects tell), and is *ok* if that holds under the revocations accepted now. The heads are
//! the landings that are sound and ok, and that none such is above. What lies under one stands with it.

mod enter;
mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::stored::{decode, encode};
use super::{RULES, State};
use crate::eventlog::rows::{Place, Table, key, start};
use crate::eventlog::{Event, Extensions, Genesis, Land, LandingContent, Payload};
use crate::hlc::Hlc;
use crate::id::{BranchName, EventId, Lid, ObjectId};

/// A landing that entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// What it does.
    pub content: LandingContent,
    /// The earliest event that carries it, with its time; of several that one is shown.
    pub first: (Hlc, EventId),
    /// The revision it lands; `None` for a join and for the beginning.
    pub revision: Option<EventId>,
    /// The approvals it rests on.
    pub approvals: Vec<EventId>,
    /// Is its commit what its fields give? `None`: not known here yet.
    pub sound: Option<bool>,
}

/// A landing to recompute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// Which.
    pub lid: Lid,
    /// What it says.
    pub content: LandingContent,
    /// The commits of the landings it is on.
    pub heads: Vec<ObjectId>,
    /// Those of the landings it is on that are not known to be sound (yet).
    pub waits_for: Vec<Lid>,
    /// Whose objects to ask for: the proposal's revision, if it lands one.
    pub revision: Option<EventId>,
}

/// A landing that could be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landable {
    /// On which branch.
    pub branch: BranchName,
    /// On which landings, sorted.
    pub heads: Vec<Lid>,
    /// Their commits, in that order.
    pub head_commits: Vec<ObjectId>,
    /// The revision; `None` for a join.
    pub revision: Option<EventId>,
    /// The approved commit; for a join that of the head with the smallest id.
    pub tip: ObjectId,
    /// The approvals it rests on, sorted.
    pub approvals: Vec<EventId>,
}

impl Landable {
    /// The landing that moves the branch to `new`, and what it refers to, of which `carriers` carry its heads.
    pub fn land(
        &self,
        new: ObjectId,
        rules: u16,
        carriers: impl IntoIterator<Item = EventId>,
    ) -> (Payload, Vec<EventId>) {
        let mut refs: Vec<EventId> = carriers.into_iter().collect();
        refs.extend(self.revision);
        refs.extend(&self.approvals);
        let land = Land {
            branch: self.branch.clone(),
            heads: self.heads.clone(),
            revision: self.revision,
            tip: self.tip,
            approvals: self.approvals.clone(),
            new,
            rules,
            extensions: Extensions::default(),
        };
        (Payload::Land(land), refs)
    }
}

/// A canonical branch.
#[derive(Debug, Clone)]
pub struct BranchHeads {
    /// Its heads, by id.
    pub heads: Vec<(Lid, Landing)>,
    /// A landing above them is known whose objects or rules are missing here.
    pub unknown: bool,
    /// Such a landing has rules that this version does not know.
    pub needs_upgrade: bool,
}

impl BranchHeads {
    /// The ids of the heads, sorted.
    pub fn lids(&self) -> Vec<Lid> {
        self.heads.iter().map(|(lid, _)| *lid).collect()
    }

    /// Their commits, in that order.
    pub fn commits(&self) -> Vec<ObjectId> {
        self.heads.iter().map(|(_, landing)| landing.content.new).collect()
    }

    /// The tip, if there is one head.
    pub fn tip(&self) -> Option<ObjectId> {
        match self.heads.as_slice() {
            [(_, landing)] => Some(landing.content.new),
            _ => None,
        }
    }
}

/// One event that carries a landing. Equal landings by several people are one landing, but each stands on what its
/// own event names: so what is said of an event here follows from its past alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Carrier {
    place: Place,
    hlc: u64,
    /// By what its author knew it is allowed. Never changes.
    entered: bool,
    /// Under the revocations that hold now.
    ok: bool,
    /// If there were none. Never changes.
    clear: bool,
}

/// What is kept of a landing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LandingRow {
    /// The canonical branch, by its place in the genesis.
    branch: u8,
    /// The earliest carrier's time; all that it is on is earlier.
    hlc: u64,
    carriers: Vec<Carrier>,
    /// Do the objects say that its commit is what its fields give?
    said: Option<bool>,
    /// The same, with all that it is on.
    sound: Option<bool>,
}

impl LandingRow {
    /// Does it count, as far as the log says?
    fn is_ok(&self) -> bool {
        self.carriers.iter().any(|carrier| carrier.entered && carrier.ok)
    }

    /// Does it hold up its branch?
    fn is_good(&self) -> bool {
        self.is_ok() && self.sound == Some(true)
    }
}

impl State {
    pub(super) fn found(&mut self, id: EventId, place: Place, genesis: &Genesis) {
        self.genesis = Some((id, genesis.clone()));
        for (number, (branch, tip)) in (0..).zip(&genesis.tips) {
            let Some(content) = genesis.landing(branch) else { continue };
            let lid = content.lid(&self.project);
            let carriers = vec![Carrier { place, hlc: 0, entered: true, ok: true, clear: true }];
            let row = LandingRow { branch: number, hlc: 0, carriers, said: Some(true), sound: Some(true) };
            let at = self.number_landing(&lid);
            self.put_landing(at, &lid, &row);
            self.heads.push([lid].into());
            self.mark_landed(number, tip, at);
        }
    }

    /// The number of a landing, if it is held.
    pub(super) fn landing_number(&self, lid: &Lid) -> Option<u32> {
        if let Some(number) = self.numbered.look(lid) {
            return Some(*number);
        }
        Some(self.find_landing(lid)?.0)
    }

    /// A landing by what its id begins with, compared with the whole.
    fn find_landing(&self, lid: &Lid) -> Option<(u32, LandingRow)> {
        let mut numbers = Vec::new();
        self.rows.scan_prefix(Table::Lids, &start(&lid.0), |key, _| {
            numbers.extend(number_in(key));
            true
        });
        let is = |number| self.landing_at(number).filter(|(found, _)| found == lid).map(|(_, row)| (number, row));
        numbers.into_iter().find_map(is)
    }

    /// A landing with its number, if it is held.
    fn numbered_landing(&self, lid: &Lid) -> Option<(u32, LandingRow)> {
        match self.numbered.look(lid) {
            Some(number) => Some((*number, self.landing_at(*number)?.1)),
            None => self.find_landing(lid),
        }
    }

    /// A landing by its number.
    fn landing_at(&self, number: u32) -> Option<(Lid, LandingRow)> {
        let read = |bytes: &[u8]| {
            let (lid, row) = bytes.split_first_chunk()?;
            Some((Lid(*lid), decode(row)?))
        };
        self.rows.get(Table::Landings, &number.to_be_bytes(), read)
    }

    fn landing_row(&self, lid: &Lid) -> Option<LandingRow> {
        Some(self.numbered_landing(lid)?.1)
    }

    /// Gives a landing that is new a number.
    fn number_landing(&mut self, lid: &Lid) -> u32 {
        let number = self.landings;
        self.landings += 1;
        Arc::make_mut(&mut self.numbered).put(*lid, number);
        self.rows.put(Table::Lids, key::<12>(&[&start(&lid.0), &number.to_be_bytes()]), Vec::new());
        number
    }

    fn put_landing(&mut self, number: u32, lid: &Lid, row: &LandingRow) {
        let mut value = Vec::with_capacity(64);
        value.extend_from_slice(&lid.0);
        value.extend_from_slice(&encode(row));
        self.rows.put(Table::Landings, number.to_be_bytes(), value);
    }

    /// What an event that carries a landing says of it.
    fn content_of(event: &Event, branch: u8) -> Option<LandingContent> {
        match event.payload() {
            Payload::Land(land) => Some(land.content()),
            Payload::Genesis(genesis) => genesis.landing(&genesis.tips.get(branch as usize)?.0),
            _ => None,
        }
    }

    fn content(&self, row: &LandingRow) -> Option<LandingContent> {
        Self::content_of(&*self.event_at(row.carriers.first()?.place)?, row.branch)
    }

    /// A landing.
    pub fn landing(&self, lid: &Lid) -> Option<Landing> {
        self.describe(&self.landing_row(lid)?)
    }

    fn describe(&self, row: &LandingRow) -> Option<Landing> {
        let time = |carrier: &Carrier| {
            let event = self.event_at(carrier.place)?;
            Some((event.body().hlc, event.id(), carrier.place))
        };
        let entered = row.carriers.iter().filter(|carrier| carrier.entered).filter_map(time).min();
        let (hlc, id, place) = entered.or_else(|| row.carriers.iter().filter_map(time).min())?;
        let event = self.event_at(place)?;
        let content = Self::content_of(&event, row.branch)?;
        let (hlc, revision, approvals) = match event.payload() {
            Payload::Land(land) => (hlc, land.revision, land.approvals.clone()),
            _ => (Hlc::default(), None, Vec::new()),
        };
        Some(Landing { content, first: (hlc, id), revision, approvals, sound: row.sound })
    }

    /// An event that carries a landing, for `refs`.
    pub fn carrier(&self, lid: &Lid) -> Option<EventId> {
        let row = self.landing_row(lid)?;
        let entered = row.carriers.iter().find(|carrier| carrier.entered);
        self.event_at(entered.or(row.carriers.first())?.place).map(|event| event.id())
    }

    /// One for each of these landings.
    pub fn carriers_of(&self, lids: &[Lid]) -> Vec<EventId> {
        lids.iter().filter_map(|lid| self.carrier(lid)).collect()
    }

    /// All events that carry a landing.
    pub fn carriers(&self, lid: &Lid) -> Vec<EventId> {
        let carriers = self.landing_row(lid).map(|row| row.carriers).unwrap_or_default();
        carriers.iter().filter_map(|carrier| self.event_at(carrier.place)).map(|event| event.id()).collect()
    }

    /// The heads of a canonical branch.
    pub fn branch(&self, name: &BranchName) -> Option<BranchHeads> {
        let number = self.canonical_number(name)?;
        let heads = self.heads.get(number as usize)?;
        let heads = heads.iter().filter_map(|lid| Some((*lid, self.landing(lid)?))).collect();
        let (mut unknown, mut needs_upgrade) = (false, self.needs_rules().is_some());
        self.each_unsettled(|_, row, content| {
            if row.branch == number {
                unknown = true;
                needs_upgrade |= content.rules > RULES;
            }
            !needs_upgrade
        });
        Some(BranchHeads { heads, unknown, needs_upgrade })
    }

    /// Landings that are to be recomputed, in an order in which each comes after those that it is on: those that count as far
    /// as the log says, and what they are on. That need not count: who approved on top of a landing that fell lets it stand.
    fn each_unsettled(&self, mut each: impl FnMut(Lid, &LandingRow, &LandingContent) -> bool) {
        let mut todo = Vec::new();
        self.rows.scan(Table::Unsettled, &[], |key, _| {
            todo.extend(number_in(key));
            todo.len() < crate::limits::UNSETTLED
        });
        // What a landing is on is earlier.
        let mut found = BTreeMap::new();
        let mut seen: BTreeSet<u32> = todo.iter().copied().collect();
        while let Some(number) = todo.pop() {
            let Some((lid, row)) = self.landing_at(number).filter(|(_, row)| row.sound.is_none()) else { continue };
            let Some(content) = self.content(&row) else { continue };
            let heads = content.heads.iter().filter_map(|head| self.landing_number(head));
            todo.extend(heads.filter(|head| seen.insert(*head)));
            found.insert((row.hlc, lid), (row, content));
        }
        let _ = found.iter().all(|((_, lid), (row, content))| each(*lid, row, content));
    }

    /// Landings whose commit is still to be recomputed from the objects, each after those that it is on: the first
    /// [`crate::limits::UNSETTLED`].
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let mut out = Vec::new();
        self.each_unsettled(|lid, row, content| {
            if content.rules <= RULES {
                let commit = |lid: &Lid| Some(self.content(&self.landing_row(lid)?)?.new);
                let sound = |lid: &Lid| self.landing_row(lid).is_some_and(|row| row.sound == Some(true));
                let revision = self.describe(row).and_then(|landing| landing.revision);
                out.push(Unsettled {
                    lid,
                    content: content.clone(),
                    heads: content.heads.iter().filter_map(commit).collect(),
                    waits_for: content.heads.iter().filter(|head| !sound(head)).copied().collect(),
                    revision,
                });
            }
            true
        });
        out
    }

    /// Commits of the heads, and of the last landings still to be recomputed, as far as none of these is on another, those to
    /// `without` left aside: with their objects all below can be recomputed.
    pub fn newest(&self, without: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        let mut numbers = Vec::new();
        self.rows.scan_back(Table::Unsettled, &[], |key, _| {
            numbers.extend(number_in(key));
            numbers.len() < crate::limits::UNSETTLED
        });
        let mut lids: Vec<Lid> = self.heads.iter().flatten().copied().collect();
        lids.extend(numbers.into_iter().filter_map(|number| Some(self.landing_at(number)?.0)));
        let content = |lid: &Lid| Some((*lid, self.content(&self.landing_row(lid)?)?));
        let mut known: Vec<(Lid, LandingContent)> = lids.iter().filter_map(content).collect();
        known.retain(|(_, content)| !without.contains(&content.new));
        // What is below one of them comes with it.
        let mut below: BTreeSet<Lid> = known.iter().flat_map(|(_, content)| content.heads.clone()).collect();
        for head in self.heads.iter().flatten() {
            if known.iter().any(|(above, _)| above != head && self.is_below(head, above)) {
                below.insert(*head);
            }
        }
        let tops = known.into_iter().filter(|(lid, _)| !below.contains(lid)).map(|(_, content)| content.new);
        tops.collect::<BTreeSet<ObjectId>>().into_iter().collect()
    }

    /// Of several heads of a branch the two with the smallest ids: what any member's node may join.
    pub fn joinable(&self) -> Vec<Landable> {
        let join = |(heads, (branch, _)): (&BTreeSet<Lid>, &(BranchName, ObjectId))| {
            let two: Vec<Lid> = heads.iter().take(2).copied().collect();
            let commits: Vec<ObjectId> = two.iter().filter_map(|lid| Some(self.landing(lid)?.content.new)).collect();
            let tip = *commits.first().filter(|_| commits.len() == 2)?;
            let landable = Landable {
                branch: branch.clone(),
                heads: two,
                tip,
                head_commits: commits,
                revision: None,
                approvals: Vec::new(),
            };
            self.may_join(&landable.heads).then_some(landable)
        };
        self.heads.iter().zip(self.canonical()).filter_map(join).collect()
    }

    fn mark_landed(&mut self, branch: u8, commit: &ObjectId, by: u32) {
        self.rows.put(Table::Landed, landed_key(branch, commit, by), Vec::new());
    }

    /// The objects say that a commit is part of the canonical branch.
    pub fn contained(&mut self, branch: &BranchName, commit: ObjectId) {
        let Some(number) = self.canonical_number(branch) else { return };
        if !self.has_landed(branch, &commit) {
            self.rows.put(Table::Contained, contained_key(number, &commit), Vec::new());
            for proposal in self.proposals_at(&commit) {
                self.weigh(proposal);
            }
        }
    }

    /// Does a canonical branch contain this commit, as far as is known?
    pub fn has_landed(&self, branch: &BranchName, commit: &ObjectId) -> bool {
        let Some(number) = self.canonical_number(branch) else { return false };
        let (prefix, mut numbers) = (landed_prefix(number, commit), Vec::new());
        self.rows.scan_prefix(Table::Landed, &prefix, |key, _| {
            numbers.extend(number_in(key));
            true
        });
        let brought = |number: u32| {
            let content = self.landing_at(number).and_then(|(_, row)| self.content(&row));
            content.is_some_and(|content| [content.tip, content.new].contains(commit))
        };
        numbers.into_iter().any(brought) || self.rows.has(Table::Contained, &contained_key(number, commit))
    }
}

/// The landing's number at the end of a key.
fn number_in(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|number| u32::from_be_bytes(*number))
}

fn landed_prefix(branch: u8, commit: &ObjectId) -> [u8; 9] {
    key(&[&[branch], &start(commit.as_bytes())])
}

fn landed_key(branch: u8, commit: &ObjectId, by: u32) -> [u8; 13] {
    key(&[&landed_prefix(branch, commit), &by.to_be_bytes()])
}

fn contained_key(branch: u8, commit: &ObjectId) -> Vec<u8> {
    [&[branch], commit.as_bytes()].concat()
}
