//! What must hold of a run that has come to rest. Each check asks the logs themselves, not the state's own words.

use std::collections::{BTreeMap, BTreeSet};

use super::node::Node;
use super::run::Sim;
use crate::approval::ProposalState;
use crate::eventlog::{Payload, Role};
use crate::id::{MemberId, ObjectId, PeerId};

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
    }
    same_everywhere(sim, &honest, &mut wrong);
    wrong
}

fn nothing_told_is_lost(n: usize, node: &Node, wrong: &mut Vec<String>) {
    for (feed, seq) in &node.told {
        if !node.log.has(feed, *seq) {
            wrong.push(format!("node {n} told of event {seq} of {} and does not hold it", feed.short()));
        }
    }
}

/// Numbers from 0 without a gap, each on the one before, time rising, and the past of each held before it.
fn feeds_are_whole(n: usize, node: &Node, wrong: &mut Vec<String>) {
    for (feed, events) in node.log.feeds() {
        let mut before: Option<&crate::eventlog::Event> = None;
        for (expected, (seq, event)) in (0u64..).zip(events) {
            let follows = event.body().prev == before.map(crate::eventlog::Event::id);
            let later = before.is_none_or(|before| before.body().hlc < event.body().hlc);
            if *seq != expected || !follows || !later {
                wrong.push(format!("node {n}: feed {} breaks at {seq}", feed.short()));
                break;
            }
            before = Some(event);
        }
    }
    let mut held = BTreeSet::new();
    for event in node.log.order() {
        if event.body().deps().any(|dep| !held.contains(dep)) {
            wrong.push(format!("node {n} took in an event without its past"));
            break;
        }
        held.insert(event.id());
    }
}

/// Whom maintainers ever made what, by the grants in the log; a grant by anybody else makes nobody anything. Rights
/// may be taken away again, so this is the most that each can have.
fn most_rights(node: &Node) -> BTreeMap<MemberId, Vec<Role>> {
    let mut rights: BTreeMap<MemberId, Vec<Role>> = BTreeMap::new();
    let mut feeds: BTreeMap<PeerId, MemberId> = BTreeMap::new();
    for event in node.log.order() {
        let author = event.body().author;
        match event.payload() {
            Payload::Genesis(genesis) => {
                let founder = MemberId::of(&genesis.founder);
                feeds.insert(author, founder);
                rights.entry(founder).or_default().push(Role::Maintainer);
            }
            Payload::Certify(certify) => {
                feeds.insert(author, MemberId::of(&certify.certificate.identity));
            }
            Payload::Grant(grant) => {
                let by = feeds.get(&author).and_then(|member| rights.get(member));
                if by.is_some_and(|roles| roles.contains(&Role::Maintainer)) {
                    rights.entry(grant.member).or_default().push(grant.role);
                }
            }
            _ => {}
        }
    }
    rights
}

fn authority_held(n: usize, node: &Node, wrong: &mut Vec<String>) {
    let rights = most_rights(node);
    for member in node.state.members() {
        if !rights.get(&member.id).is_some_and(|roles| roles.contains(&member.role)) {
            wrong.push(format!("node {n}: {} is {} by nobody's grant", member.handle, member.role.name()));
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
    let members: Vec<String> =
        state.members().map(|member| format!("{} {} {:?}", member.handle, member.role.name(), member.peers)).collect();
    let heads = |branch| state.branch(branch).map(|heads| heads.lids());
    let branches: Vec<_> = state.canonical().iter().map(|(branch, _)| (branch.clone(), heads(branch))).collect();
    let open: Vec<_> = state
        .proposals()
        .map(|proposal| (proposal.id, proposal.last.id, proposal.state, proposal.approvals.len()))
        .collect();
    BTreeMap::from([
        ("log", crate::id::hex(&state.frontier().digest())),
        ("durable log", crate::id::hex(&node.log.frontier().digest())),
        ("members", format!("{members:?}")),
        ("branches", format!("{branches:?}")),
        ("proposals", format!("{open:?}")),
    ])
}

fn same_everywhere(sim: &Sim, honest: &[usize], wrong: &mut Vec<String>) {
    // Those whom the rest talk to: who is not a member, or no more, hears nothing new.
    let talks = |from: &usize, to: &usize| sim.nodes[*from].greets(&sim.nodes[*to]);
    let liked = |n: &&usize| honest.iter().filter(|other| talks(other, n)).count();
    let Some(first) = honest.iter().max_by_key(liked) else { return };
    let here: Vec<usize> = honest.iter().filter(|n| *n != first && talks(first, n)).copied().collect();
    let expected = shown(&sim.nodes[*first]);
    for n in &here {
        for (what, text) in shown(&sim.nodes[*n]) {
            if expected[what] != text {
                wrong.push(format!("nodes {first} and {n} differ in {what}"));
            }
        }
    }
    let durable = &expected["durable log"];
    if durable != &expected["log"] {
        wrong.push("what was taken in is not all durable".to_owned());
    }
}
