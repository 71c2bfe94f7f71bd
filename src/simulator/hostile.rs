//! What members who lie can do with a key that is theirs: everything but forge the signatures of others.

use super::node::{Do, Node, merged};
use super::people;
use super::rng::Rng;
use crate::approval::RULES;
use crate::eventlog::{Approve, Extensions, Land, Payload, Role, Withdraw};
use crate::hlc::{Hlc, Millis};
use crate::id::{BranchName, EventId, ObjectId, PeerId};
use crate::sync::Message;

/// How one node lies.
#[derive(Debug, Clone, Default)]
pub(super) struct Hostile {
    /// Neighbours to whom it sends no events.
    pub(super) ignores: Vec<PeerId>,
    /// It serves no objects.
    pub(super) withholds_objects: bool,
}

fn main() -> BranchName {
    BranchName::new("main").expect("the name is plain")
}

impl Node {
    /// One lie.
    pub(super) fn lie(&mut self, now: Millis, rng: &mut Rng, neighbours: &[PeerId]) {
        let Some(own) = self.state.feed_head(&self.peer) else { return };
        let clock = self.clock(now);
        let nothing = || Payload::Withdraw(Withdraw { revision: EventId([9; 32]), extensions: Extensions::default() });
        let grant_self = |node: &Self| {
            let n = (0..64).find(|n| super::node::keys(*n).0.peer() == node.peer).unwrap_or(0);
            people::grant(n, Role::Maintainer)
        };
        let to = rng.pick(neighbours).copied();
        match rng.below(13) {
            // More rights than it has.
            0 => {
                let payload = grant_self(self);
                self.write(now, payload, Vec::new());
            }
            // The same, as if long ago.
            1 => {
                let payload = grant_self(self);
                self.back_date(now, payload, Vec::new());
            }
            // An approval of its own work as if it had seen nothing since, and a landing on that.
            2 | 3 => self.usurp(now, rng),
            // A landing whose commit is not what its fields give.
            4 => self.smuggle(now, rng),
            // Much at once.
            5 => {
                for _ in 0..rng.between(5, 40) {
                    self.propose(now, rng);
                }
            }
            // Old events again.
            6 => {
                let old: Vec<Vec<u8>> = self.log.order().iter().map(|event| event.bytes().to_vec()).take(20).collect();
                self.say(to, old);
            }
            // A hole in the feed.
            7 => {
                let bytes = self.forge(own.seq + 3, Some(own.id), Hlc::new(clock, 0), nothing(), Vec::new());
                self.say(to, vec![bytes]);
            }
            // No event, or nearly one.
            8 => {
                let at = rng.below(self.log.order().len() as u64);
                let event = usize::try_from(at).ok().and_then(|at| self.log.order().get(at));
                let Some(mut bytes) = event.map(|event| event.bytes().to_vec()) else { return };
                let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or(0);
                bytes[at] ^= 1 << rng.below(8);
                self.say(to, vec![bytes]);
            }
            // A time that has not come.
            9 => {
                let hlc = Hlc::new(clock + rng.between(1, 40) * 60_000, 0);
                let bytes = self.forge(own.seq + 1, Some(own.id), hlc, nothing(), vec![EventId([9; 32])]);
                self.say(to, vec![bytes]);
            }
            // Two events of one number, each to another.
            10 | 11 => {
                let hlc = Hlc::new(clock, 1);
                for peer in neighbours {
                    let one = rng.chance(500);
                    let payload = if one { nothing() } else { grant_self(self) };
                    let bytes = self.forge(own.seq + 1, Some(own.id), hlc, payload, Vec::new());
                    self.say(Some(*peer), vec![bytes]);
                }
            }
            // That it holds what nobody wrote.
            _ => {
                let mut entries = self.state.frontier().entries();
                entries.iter_mut().for_each(|entry| entry.seq += 2);
                let message = Message::Held(entries);
                if let Some(peer) = to {
                    self.out.push(Do::Say { peer, message, flush: false });
                }
            }
        }
        self.look(now);
    }

    fn say(&mut self, to: Option<PeerId>, events: Vec<Vec<u8>>) {
        if let Some(peer) = to {
            self.out.push(Do::Say { peer, message: Message::Events(events), flush: false });
        }
    }

    fn usurp(&mut self, now: Millis, rng: &mut Rng) {
        self.propose(now, rng);
        let own = |proposal: &crate::approval::Proposal| proposal.last.peer == self.peer;
        let Some(last) = self.state.proposals().filter(own).last().map(|last| last.last.clone()) else { return };
        let Some(heads) = self.state.branch(&main()) else { return };
        let (lids, commits) = (heads.lids(), heads.commits());
        let mut refs = self.state.carriers_of(&lids);
        refs.push(last.id);
        let approve = Approve {
            revision: last.id,
            commit: last.tip,
            onto: lids.clone(),
            message: String::new(),
            extensions: Extensions::default(),
        };
        let Some(approval) = self.back_date(now, Payload::Approve(approve), refs.clone()) else { return };
        let Some(new) = merged(&commits, last.tip) else { return };
        refs.push(approval);
        self.land(now, lids, Some(last.id), last.tip, vec![approval], new, refs);
    }

    /// As if it were a join of two heads, or the landing of what was approved, with a commit of its own.
    fn smuggle(&mut self, now: Millis, rng: &mut Rng) {
        let mut all = self.state.landable();
        all.extend(self.state.joinable());
        let Some(landable) = rng.pick(&all).cloned() else { return };
        let mut refs = self.state.carriers_of(&landable.heads);
        refs.extend(landable.revision);
        refs.extend(&landable.approvals);
        let new = ObjectId::Sha1(rng.bytes20());
        self.land(now, landable.heads, landable.revision, landable.tip, landable.approvals, new, refs);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a landing")]
    fn land(
        &mut self,
        now: Millis,
        heads: Vec<crate::id::Lid>,
        revision: Option<EventId>,
        tip: ObjectId,
        approvals: Vec<EventId>,
        new: ObjectId,
        refs: Vec<EventId>,
    ) {
        let land = Land {
            branch: main(),
            heads,
            revision,
            tip,
            approvals,
            new,
            rules: RULES,
            extensions: Extensions::default(),
        };
        self.back_date(now, Payload::Land(land), refs);
    }
}
