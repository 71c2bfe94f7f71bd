//! How a project stands, as lines: for `status` and for the live view. Pure.

use jiff::Timestamp;

use super::ui::safe;
use super::words::{ago, count, list, needs, not_shared, peer_here, short, size};
use crate::api::{BranchStatus, Proposal, Status};

/// Lines under a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// What the lines are about.
    pub(super) label: &'static str,
    /// The lines.
    pub(super) lines: Vec<String>,
}

/// The first lines: where the canonical branches are, and who I am.
pub(super) fn head(status: &Status, now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = status.at.iter().map(|at| super::earlier::heading(at)).collect();
    lines.extend(status.branches.iter().flat_map(|branch| branch_lines(status, branch, now)));
    if status.branches.is_empty() && status.at.is_some() {
        lines.push("The project had not begun".to_owned());
        return lines;
    }
    if status.branches.is_empty() {
        lines.push("No commit yet: your first commit starts the project".to_owned());
    }
    let me = format!("{}, you are {}", safe(&status.project.name), safe(&status.me.member));
    let me = if status.me.role.is_empty() { me } else { format!("{me} ({})", safe(&status.me.role)) };
    lines.push(if status.running || status.at.is_some() {
        me
    } else {
        format!("{me}; not being shared now: lansync up")
    });
    lines
}

fn branch_lines(status: &Status, branch: &BranchStatus, now: Timestamp) -> Vec<String> {
    let name = safe(&branch.name);
    let heads: Vec<String> = branch.heads.iter().map(|head| short(head)).collect();
    let mut line = match &branch.tip {
        Some(tip) => format!("{name} {}", short(tip)),
        None if heads.is_empty() => format!("{name} has no commit yet: your first commit starts it"),
        None => format!("{name} has {} heads: {}", heads.len(), list(&heads)),
    };
    let landing = status
        .last_landing
        .as_ref()
        .filter(|last| last.branch == branch.name && branch.tip.as_ref() == Some(&last.commit));
    if let Some(last) = landing {
        line.push_str(&format!(", moved {}", ago(&last.at, now)));
        line.push_str(&match &last.proposal {
            Some(proposal) => format!(": {} landed", safe(proposal)),
            None => ": heads joined".to_owned(),
        });
        if !last.approved_by.is_empty() {
            line.push_str(&format!(", approved by {}", list(&last.approved_by)));
        }
    } else if let (Some(_), Some(at)) = (&branch.tip, &branch.moved_at) {
        line.push_str(&format!(", moved {}", ago(at, now)));
    }
    let mut lines = vec![line];
    match branch.state.as_str() {
        "ok" => {}
        "joining" => lines.push(format!("{name} is being joined")),
        "diverged" => lines.push(format!("{name} is diverged: its heads conflict and wait for a merge by a person")),
        "catching-up" => lines.push(format!("{name} is catching up: commits are still arriving")),
        "needs-upgrade" => lines.push(format!("{name} needs a newer lansync to go on")),
        other => lines.push(format!("{name} is {}", safe(other))),
    }
    if branch.rewound {
        lines.push(format!("{name} was moved back by a revocation; your local branch was left where it is"));
    }
    if let Some(local) = branch.local.as_ref().filter(|local| local.ahead + local.behind > 0) {
        let behind = (local.behind > 0).then(|| format!("{} behind", count(local.behind, "commit")));
        let ahead = (local.ahead > 0).then(|| format!("{} ahead", count(local.ahead, "commit")));
        let sides: Vec<String> = behind.into_iter().chain(ahead).collect();
        let mut line = format!("your {name} is {}", list(&sides));
        if let Some(why) = &branch.not_pulled {
            line.push_str(&format!(", and was left: {}", safe(why)));
        }
        lines.push(line);
    }
    lines
}

/// What follows, each with a label; those with nothing in them are left out.
pub(super) fn sections(status: &Status, now: Timestamp) -> Vec<Section> {
    let mine = |proposal: &&Proposal| proposal.author == status.me.member;
    let turn = |proposal: &&Proposal| proposal.my_turn;
    let open = || status.open.iter();
    let rows = |label, lines| Section { label, lines };
    let mut sections = vec![
        rows("here", here(status)),
        rows("away", away(status, now)),
        rows(
            "asks",
            status
                .asking
                .iter()
                .map(|member| format!("{} asks to join: lansync members accept WORDS", safe(&member.member)))
                .collect(),
        ),
        rows("votes", super::rights::ballots(&status.votes)),
        rows("my turn", open().filter(turn).map(|proposal| offered(proposal, now)).collect()),
        rows("mine", open().filter(|one| mine(one) && !turn(one)).map(|proposal| waiting_for(proposal, now)).collect()),
        rows(
            "others",
            open().filter(|one| !mine(one) && !turn(one)).map(|proposal| waiting_for(proposal, now)).collect(),
        ),
        rows("waiting", waiting(status)),
        rows("stays here", status.not_shared.iter().map(not_shared).collect()),
    ];
    let problems = status.problems.iter().flat_map(|problem| {
        let hint = problem.hint.as_ref().map(|hint| format!("  {}", safe(hint)));
        std::iter::once(safe(&problem.message)).chain(hint)
    });
    sections.push(rows("problem", problems.collect()));
    sections.retain(|section| !section.lines.is_empty());
    sections
}

/// One command that brings things on, if one does.
pub(super) fn next(status: &Status) -> Option<String> {
    if !status.running {
        return None;
    }
    if let Some(member) = status.asking.first() {
        return Some(format!(
            "lansync members accept WORDS   (the two words that {} reads to you)",
            safe(&member.member)
        ));
    }
    status.open.iter().find(|one| one.my_turn && one.here).map(|one| format!("lansync show {}", safe(&one.name)))
}

fn here(status: &Status) -> Vec<String> {
    let here: Vec<String> = status.peers.iter().filter(|peer| peer.connected).map(peer_here).collect();
    match (here.is_empty(), status.running, status.peers.is_empty()) {
        (false, ..) => vec![here.join(", ")],
        (true, true, true) => vec!["only you so far; others join with: lansync clone".to_owned()],
        (true, true, false) => vec!["nobody else".to_owned()],
        (true, false, _) => Vec::new(),
    }
}

fn away(status: &Status, now: Timestamp) -> Vec<String> {
    let is_here = |member: &str| status.peers.iter().any(|peer| peer.connected && peer.member == member);
    let mut away: Vec<(&str, Option<&str>)> = Vec::new();
    for peer in status.peers.iter().filter(|peer| !is_here(&peer.member)) {
        let seen = peer.last_seen.as_deref();
        match away.iter_mut().find(|(member, _)| *member == peer.member) {
            Some((_, last)) => *last = (*last).max(seen),
            None => away.push((&peer.member, seen)),
        }
    }
    if away.is_empty() {
        return Vec::new();
    }
    let said: Vec<String> = away
        .into_iter()
        .map(|(member, seen)| match seen {
            Some(at) => format!("{} ({})", safe(member), ago(at, now)),
            None => safe(member),
        })
        .collect();
    vec![said.join(", ")]
}

fn titled(proposal: &Proposal) -> String {
    format!("{}: {}", safe(&proposal.name), safe(&proposal.title))
}

fn offered(proposal: &Proposal, now: Timestamp) -> String {
    let detail: Vec<String> =
        [size(proposal), ago(&proposal.at, now)].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{} ({})", titled(proposal), detail.join(", "))
}

fn waiting_for(proposal: &Proposal, now: Timestamp) -> String {
    match needs(proposal) {
        needs if needs.is_empty() => offered(proposal, now),
        needs => format!("{}, {needs}", titled(proposal)),
    }
}

fn waiting(status: &Status) -> Vec<String> {
    let waiting = &status.waiting;
    let mut lines = Vec::new();
    if waiting.members > 0 {
        let mut what = Vec::new();
        if waiting.events > 0 {
            what.push(count(waiting.events, "event"));
        }
        if waiting.objects > 0 {
            what.push(count(waiting.objects, "commit"));
        }
        if !what.is_empty() {
            lines.push(format!("{} for {}", list(&what), count(waiting.members, "member")));
        }
    }
    if waiting.unsent > 0 {
        lines.push(format!("{} of yours nobody else has yet", count(waiting.unsent, "event")));
    }
    lines
}
