//! Events and their pasts, as sets, and what is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::authority::View;
use super::mutants::Fault;
use super::set::Set;
use crate::eventlog::{Event, Kind, Payload, Target};
use crate::id::{BranchName, EventId, IdentityId, Lid, MemberId, PeerId, ProjectId};

/// Why an event is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Of another project, or a second genesis.
    Project,
    /// It is held already.
    Held,
    /// A dep is not held.
    Past,
    /// Its number is not that after `prev`, or its feed does not begin as it must.
    Seq,
    /// Its time is not above its deps.
    Time,
    /// What its payload names is not among its refs, or is of another kind.
    Links,
    /// Its author is no live member in its own past, or a certificate does not verify.
    NotAMember,
}

/// Are forks known? Pasts are judged by what an author knew (`Past`), the present by all that is held (`Final`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Past,
    Final,
}

pub(super) struct Node {
    pub(super) event: Event,
    /// All that it reaches through deps, itself not.
    pub(super) past: Set,
    /// Whose it is, from event 0 of its chain.
    pub(super) identity: IdentityId,
    pub(super) member: MemberId,
    /// The landings that it carries: of a genesis one for each branch.
    pub(super) lids: Vec<(BranchName, Lid)>,
}

/// What was worked out before. That of the present is forgotten with each new event.
#[derive(Default)]
pub(super) struct Memo {
    pub(super) views: HashMap<(Set, Mode), Rc<View>>,
    pub(super) live: HashMap<(usize, Set, Mode), bool>,
    pub(super) admissible: HashMap<usize, bool>,
    pub(super) entered: HashMap<usize, bool>,
    pub(super) counts: HashMap<usize, bool>,
    pub(super) proofs: HashMap<usize, bool>,
    pub(super) ok: HashMap<(usize, Set, Mode, Set), bool>,
    pub(super) down: HashMap<Lid, Rc<BTreeSet<Lid>>>,
}

pub(super) struct Oracle {
    pub(super) project: ProjectId,
    pub(super) rules_known: u16,
    pub(super) fault: Option<Fault>,
    pub(super) nodes: Vec<Node>,
    pub(super) index: BTreeMap<EventId, usize>,
    /// Landings with the events that carry them.
    pub(super) carried_by: BTreeMap<Lid, Vec<usize>>,
    pub(super) sound: BTreeMap<Lid, bool>,
    pub(super) memo: RefCell<Memo>,
}

impl Oracle {
    pub(super) fn new(project: ProjectId, rules_known: u16) -> Self {
        Self {
            project,
            rules_known,
            fault: None,
            nodes: Vec::new(),
            index: BTreeMap::new(),
            carried_by: BTreeMap::new(),
            sound: BTreeMap::new(),
            memo: RefCell::default(),
        }
    }

    /// One with a rule broken on purpose.
    pub(super) fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Says whether the commit of a landing is what its fields give.
    pub(super) fn settle(&mut self, lid: Lid, sound: bool) {
        self.sound.insert(lid, sound);
    }

    /// Takes in an event, or says why it is never stored.
    pub(super) fn add(&mut self, event: &Event) -> Result<(), Refused> {
        let body = event.body();
        if body.project != self.project {
            return Err(Refused::Project);
        }
        if self.index.contains_key(&event.id()) {
            return Err(Refused::Held);
        }
        let mut past = Set::default();
        for dep in body.deps() {
            let at = *self.index.get(dep).ok_or(Refused::Past)?;
            if self.nodes[at].event.body().hlc >= body.hlc {
                return Err(Refused::Time);
            }
            past = past.union(self.nodes[at].past).with(at);
        }
        let begins = matches!(body.kind, Kind::GENESIS | Kind::CERTIFICATE);
        let prev = body.prev.map(|prev| &self.nodes[self.index[&prev]]);
        let (owners, identity) = match (prev, event.payload()) {
            (Some(prev), _) if begins || prev.event.body().author != body.author => return Err(Refused::Seq),
            (Some(prev), _) if prev.event.body().seq + 1 != body.seq => return Err(Refused::Seq),
            (Some(prev), _) => (vec![prev.member], prev.identity),
            (None, Payload::Genesis(genesis)) => {
                if !self.nodes.is_empty() || genesis.project() != self.project || past.len() > 0 {
                    return Err(Refused::Project);
                }
                (vec![MemberId::of(&genesis.founder)], genesis.founder)
            }
            (None, Payload::Certify(certify)) => {
                let identity = certify.certificate.identity;
                certify.certificate.verify(&self.project, &body.author).map_err(|_| Refused::NotAMember)?;
                let mut owners = self.owners(&identity, past);
                if owners.is_empty() && self.view(self.gov(past), Mode::Past).frozen.is_some() {
                    // Whose it is follows from what is not known here; it is stored all the same.
                    owners.push(MemberId::of(&identity));
                }
                (owners, identity)
            }
            (None, _) => return Err(Refused::Seq),
        };
        self.check_links(event)?;
        let lids = self.carried(event);
        let at = self.nodes.len();
        for member in owners {
            self.nodes.push(Node { event: event.clone(), past, identity, member, lids: lids.clone() });
            let view = self.knew(at);
            if view.frozen.is_some() || self.may_be_stored(at, view.acc) {
                self.index.insert(event.id(), at);
                for (_, lid) in lids {
                    self.carried_by.entry(lid).or_default().push(at);
                }
                self.forget_the_present();
                return Ok(());
            }
            self.nodes.pop();
        }
        Err(Refused::NotAMember)
    }

    fn forget_the_present(&mut self) {
        let memo = self.memo.get_mut();
        memo.views.retain(|(_, mode), _| *mode == Mode::Past);
        memo.live.retain(|(_, _, mode), _| *mode == Mode::Past);
        memo.counts.clear();
        memo.ok.retain(|(_, _, mode, _), _| *mode == Mode::Past);
    }

    /// What a payload names must be among the refs and of the right kind: then the past is complete.
    fn check_links(&self, event: &Event) -> Result<(), Refused> {
        let refs = &event.body().refs;
        let named = |id: &EventId| refs.binary_search(id).is_ok();
        let linked = |id: &EventId, kind: Kind| {
            let held = self.index.get(id).is_some_and(|at| self.nodes[*at].event.body().kind == kind);
            held && named(id)
        };
        let carried = |lid: &Lid| self.carriers(lid).any(|at| named(&self.id(at)));
        let fits = match event.payload() {
            Payload::Grant(grant) => grant.invite.iter().all(|id| linked(id, Kind::INVITE)),
            Payload::Propose(propose) => propose.previous.iter().all(|id| linked(id, Kind::PROPOSE)),
            Payload::Approve(approve) => linked(&approve.revision, Kind::PROPOSE) && approve.onto.iter().all(carried),
            Payload::Reject(reject) => linked(&reject.revision, Kind::PROPOSE),
            Payload::Withdraw(withdraw) => linked(&withdraw.revision, Kind::PROPOSE),
            Payload::Land(land) => {
                land.revision.iter().all(|id| linked(id, Kind::PROPOSE))
                    && land.approvals.iter().all(|id| linked(id, Kind::APPROVE))
                    && land.heads.iter().all(carried)
            }
            Payload::Revoke(revoke) => revoke.pins.iter().all(named),
            Payload::Vote(vote) => named(&vote.on),
            Payload::Genesis(_)
            | Payload::Certify(_)
            | Payload::Invite(_)
            | Payload::Policy(_)
            | Payload::Link(_)
            | Payload::Ack(_)
            | Payload::Tag(_)
            | Payload::Unknown(..) => true,
        };
        if fits { Ok(()) } else { Err(Refused::Links) }
    }

    fn carried(&self, event: &Event) -> Vec<(BranchName, Lid)> {
        match event.payload() {
            Payload::Land(land) => vec![(land.branch.clone(), land.content().lid(&self.project))],
            Payload::Genesis(genesis) => {
                let names = genesis.tips.iter().map(|(name, _)| name);
                let landings = names.filter_map(|name| genesis.landing(name));
                landings.map(|content| (content.branch.clone(), content.lid(&self.project))).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn all(&self) -> Set {
        (0..self.nodes.len()).collect()
    }

    pub(super) fn id(&self, x: usize) -> EventId {
        self.nodes[x].event.id()
    }

    pub(super) fn at(&self, id: &EventId) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub(super) fn past(&self, x: usize) -> Set {
        self.nodes[x].past
    }

    pub(super) fn payload(&self, x: usize) -> &Payload {
        self.nodes[x].event.payload()
    }

    pub(super) fn kind(&self, x: usize) -> Kind {
        self.nodes[x].event.body().kind
    }

    pub(super) fn member(&self, x: usize) -> MemberId {
        self.nodes[x].member
    }

    pub(super) fn identity(&self, x: usize) -> IdentityId {
        self.nodes[x].identity
    }

    pub(super) fn feed(&self, x: usize) -> PeerId {
        self.nodes[x].event.body().author
    }

    pub(super) fn seq(&self, x: usize) -> u64 {
        self.nodes[x].event.body().seq
    }

    /// The governance events among these.
    pub(super) fn gov(&self, events: Set) -> Set {
        events.only(|x| self.kind(x).governs())
    }

    /// Is `x` this event or before it on its own feed?
    pub(super) fn on_chain(&self, x: usize, pin: usize) -> bool {
        let mut at = Some(pin);
        while let Some(here) = at {
            if here == x {
                return true;
            }
            at = self.nodes[here].event.body().prev.and_then(|prev| self.at(&prev));
        }
        false
    }

    /// Does one of these targets speak of `x`?
    pub(super) fn concerns(&self, targets: &[Target], x: usize) -> bool {
        targets.iter().any(|target| match target {
            Target::Member(member) => *member == self.member(x),
            Target::Identity(identity) => *identity == self.identity(x),
            Target::Feed(feed) => *feed == self.feed(x),
        })
    }
}
