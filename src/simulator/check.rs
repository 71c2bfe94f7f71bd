//! What must hold of a run that has come to rest. Each check asks the logs themselves, not the state's own words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::node::Node;
use super::run::Sim;
use crate::approval::ProposalState;
use crate::approval::oracle::differences;
use crate::eventlog::{Event, Payload, Role};
use crate::id::{EventId, IdentityId, MemberId, ObjectId, PeerId};

/// All that was found wrong.
pub(super) fn check(sim: &Sim) -> Vec<String> {
    let mut wrong = sim.wrong.clone();
    let honest = sim.honest();
    for n in &honest {
        let node = &sim.nodes[*n];
        nothing_told_is_lost(*n, node, &mut wrong);
        feeds_are_whole(*n, node, &mut wrong);
        authority_held(*n, node, &mut wrong);
        landings_are_sound(*n, node, &mut wrong);
        the_removed_hold_nothing_else(*n, node, &mut wrong);
        none_forked(sim, *n, &honest, &mut wrong);
        the_oracle_agrees(*n, node, &mut wrong);
    }
    same_everywhere(sim, &honest, &mut wrong);
    wrong
}

fn nothing_told_is_lost(n: usize, node: &Node, wrong: &mut Vec<String>) {
    for told in &node.told {
        if !node.log.has(told) {
            let (seq, feed) = (told.seq, told.feed.short());
            wrong.push(format!("node {n} told of event {seq} of {feed} and does not hold it"));
        }
    }
}

/// Each event on the one before, time rising, and the past of each held before it.
fn feeds_are_whole(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let mut held: BTreeMap<EventId, &Event> = BTreeMap::new();
    for event in node.log.order() {
        let body = event.body();
        let (seq, feed) = (body.seq, body.author.short());
        let follows = match body.prev {
            None => body.seq == 0,
            Some(prev) => {
                held.get(&prev).is_some_and(|prev| prev.body().author == body.author && prev.body().seq + 1 == body.seq)
            }
        };
        let knows = body.deps().all(|dep| held.get(dep).is_some_and(|dep| dep.body().hlc < body.hlc));
        if !follows || !knows {
            wrong.push(format!("node {n} took in event {seq} of {feed} without its past"));
            break;
        }
        held.insert(event.id(), event);
    }
}

/// Whom maintainers ever made what, by the grants in the log; a grant by anybody else makes nobody anything. Rights
/// may be taken away again, so this is the most that each can have.
fn most_rights(node: &Node) -> BTreeMap<MemberId, Vec<Role>> {
    let mut rights: BTreeMap<MemberId, Vec<Role>> = BTreeMap::new();
    let mut feeds: BTreeMap<PeerId, MemberId> = BTreeMap::new();
    let mut owners: BTreeMap<IdentityId, MemberId> = BTreeMap::new();
    for event in node.log.order() {
        let author = event.body().author;
        match event.payload() {
            Payload::Genesis(genesis) => {
                let founder = MemberId::of(&genesis.founder);
                feeds.insert(author, founder);
                owners.insert(genesis.founder, founder);
                rights.entry(founder).or_default().push(Role::Maintainer);
            }
            Payload::Certify(certify) => {
                feeds.extend(owners.get(&certify.certificate.identity).map(|member| (author, *member)));
            }
            Payload::Grant(grant) => {
                let by = feeds.get(&author).and_then(|member| rights.get(member));
                if by.is_some_and(|roles| roles.contains(&Role::Maintainer)) {
                    owners.insert(grant.identity, grant.member);
                    rights.entry(grant.member).or_default().push(grant.role);
                }
            }
            Payload::Link(link) => {
                owners.extend(feeds.get(&author).map(|member| (link.identity, *member)));
            }
            _ => {}
        }
    }
    rights
}

fn authority_held(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let rights = most_rights(node);
    for member in node.state.members() {
        let role = member.role.unwrap();
        if !rights.get(&member.id).is_some_and(|roles| roles.contains(&role)) {
            wrong.push(format!("node {n}: {} is {} by nobody's grant", member.handle, role.name()));
        }
    }
    let maintains = |feed: &PeerId| {
        let member = node.state.member_of_feed(feed);
        member.and_then(|member| rights.get(&member)).is_some_and(|roles| roles.contains(&Role::Maintainer))
    };
    let mut approved: BTreeSet<ObjectId> = BTreeSet::new();
    for event in node.log.order() {
        match event.payload() {
            Payload::Approve(approve) if maintains(&event.body().author) => {
                approved.insert(approve.commit);
            }
            _ => {}
        }
    }
    for proposal in node.state.proposals().filter(|proposal| proposal.state == ProposalState::Landed) {
        if !approved.contains(&proposal.last.tip) {
            wrong.push(format!("node {n}: {} landed, and no maintainer approved it", proposal.last.tip.short()));
        }
    }
}

/// Every landing below a head is what its fields give.
fn landings_are_sound(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let branches: Vec<_> = node.state.canonical().to_vec();
    for (branch, start) in branches {
        let Some(heads) = node.state.branch(&branch) else { continue };
        let mut todo = heads.lids();
        let mut seen = BTreeSet::new();
        while let Some(lid) = todo.pop() {
            let Some(landing) = node.state.landing(&lid).filter(|_| seen.insert(lid)) else { continue };
            let content = landing.content.clone();
            let below: Vec<ObjectId> =
                content.heads.iter().filter_map(|head| Some(node.state.landing(head)?.content.new)).collect();
            let begins = content.heads.is_empty() && content.new == start;
            if !begins && !Sim::is_sound(&below, content.tip, content.new) {
                wrong.push(format!("node {n}: {branch} stands on {}, which is not sound", content.new.short()));
            }
            todo.extend(content.heads);
        }
    }
}

/// What a node shows, as text: equal on all.
fn shown(node: &Node) -> BTreeMap<&'static str, String> {
    let state = &node.state;
    let members: Vec<String> = state
        .members()
        .into_iter()
        .map(|member| format!("{} {:?} {:?}", member.handle, member.role, member.peers))
        .collect();
    let heads = |branch| state.branch(branch).map(|heads| heads.lids());
    let branches: Vec<_> = state.canonical().iter().map(|(branch, _)| (branch.clone(), heads(branch))).collect();
    let mut open: Vec<_> = state
        .proposals()
        .map(|proposal| (proposal.id, proposal.last.id, proposal.state, proposal.approvals.len()))
        .collect();
    open.sort_unstable_by_key(|(id, ..)| *id);
    BTreeMap::from([
        ("log", crate::id::hex(&state.frontier().digest())),
        ("durable log", crate::id::hex(&node.sync.digest())),
        ("policy", format!("{:?}", state.demands())),
        ("members", format!("{members:?}")),
        ("branches", format!("{branches:?}")),
        ("proposals", format!("{open:?}")),
    ])
}

fn same_everywhere(sim: &Sim, honest: &[usize], wrong: &mut Vec<String>) {
    // Those whom the rest talk to: who is not a member, or no more, hears nothing new.
    let talks = |one: usize, other: usize| {
        one != other && sim.nodes[one].greets(&sim.nodes[other]) && sim.nodes[other].greets(&sim.nodes[one])
    };
    let shows: Vec<_> = sim.nodes.iter().map(shown).collect();
    for one in honest {
        for other in honest.iter().filter(|other| *other > one && talks(*one, **other)) {
            for (what, text) in &shows[*one] {
                let theirs = &shows[*other][what];
                if theirs != text {
                    wrong.push(format!("nodes {one} and {other} differ in {what}: {text} and {theirs}"));
                }
            }
        }
        for other in honest.iter().filter(|other| *other > one && !talks(*one, **other)) {
            verdicts_agree(sim, *one, *other, wrong);
        }
        if shows[*one]["durable log"] != shows[*one]["log"] {
            wrong.push(format!("node {one}: what was taken in is not all durable"));
        }
    }
}

/// Of what was written by those who knew of its removal, a removed node holds only governance and its past.
fn the_removed_hold_nothing_else(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let identity = node.identity.identity();
    let Some(removal) = node.state.removal(&identity, &node.peer).filter(|_| !node.greets(node)) else { return };
    let granted = |event: &Arc<Event>| matches!(event.payload(), Payload::Grant(grant) if grant.identity == identity);
    let waited = |event: &Arc<Event>| matches!(event.payload(), Payload::Vote(vote) if vote.on == removal);
    let mut knows = BTreeSet::from([removal]);
    let mut covered: BTreeSet<EventId> =
        node.state.forked_feeds().flat_map(|feed| node.state.proofs_of_fork(feed)).collect();
    for event in node.log.order() {
        if event.body().deps().any(|dep| knows.contains(dep)) {
            knows.insert(event.id());
        }
        if waited(event) || granted(event) && knows.contains(&event.id()) {
            // It was a member still while its removal waited for votes, or was let in again in between.
            return;
        }
    }
    for event in node.log.order().iter().rev() {
        if event.body().kind.governs() || covered.contains(&event.id()) {
            covered.extend(event.body().deps().copied());
        } else if knows.contains(&event.id()) {
            wrong.push(format!("node {n} was removed and given event {}", event.id().short()));
        }
    }
}

/// Who was removed in the eyes of one is so in those of the other, once they have heard each other. Nobody speaks to a stranger: who
/// was let in after the other's removal, or by somebody who was removed, cannot tell of it.
fn verdicts_agree(sim: &Sim, one: usize, other: usize, wrong: &mut Vec<String>) {
    let (a, b) = (&sim.nodes[one], &sim.nodes[other]);
    let removed = |by: &Node, of: &Node| by.state.is_removed(&of.identity.identity(), &of.peer);
    // Whether it really does is what is looked at here.
    let speaks = |from: &Node, to: &Node| from.greets(to) || removed(from, to);
    let founded = a.state.genesis().is_some() && b.state.genesis().is_some();
    if !founded || !speaks(a, b) || !speaks(b, a) {
        return;
    }
    for of in [a, b] {
        let verdicts = [a, b].map(|by| by.state.is_welcome(&of.identity.identity(), &of.peer));
        if verdicts[0] != verdicts[1] {
            wrong.push(format!(
                "nodes {one} and {other} differ in whether {} is removed: {verdicts:?}",
                of.peer.short()
            ));
        }
    }
}

/// The state says what the naive oracle makes of the same events.
fn the_oracle_agrees(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let found = differences(&node.state, node.log.order()).unwrap_or_default();
    wrong.extend(found.into_iter().map(|difference| format!("node {n}: {difference}")));
}

/// Nobody honest writes two events of one number.
fn none_forked(sim: &Sim, n: usize, honest: &[usize], wrong: &mut Vec<String>) {
    let forked: BTreeSet<PeerId> = sim.nodes[n].state.forked_feeds().copied().collect();
    for other in honest.iter().filter(|other| forked.contains(&sim.nodes[**other].peer)) {
        wrong.push(format!("node {n} has two feeds of node {other}, which is honest"));
    }
}
