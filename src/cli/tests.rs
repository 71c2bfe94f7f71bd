//! Parsing, and the values that other tests of the command line show.

use super::*;
use crate::api::{self, BranchStatus, LocalBranch, LogStatus, NotShared, Peer, Proposal, Refusal};

/// The time at which the tests take place.
pub(super) fn now() -> jiff::Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// No terminal anywhere.
pub(super) fn quiet() -> Ui {
    Ui { json: false, yes: false, screen: false, talk: false, ask: false, styled: false }
}

pub(super) fn proposal(author: &str, branch: &str, title: &str) -> Proposal {
    Proposal {
        id: "9".repeat(64),
        name: format!("{author}/{branch}"),
        author: author.to_owned(),
        target: "main".to_owned(),
        revision: "8".repeat(64),
        tip: "51".repeat(20),
        title: title.to_owned(),
        commits: Some(2),
        lines: Some((12, 3)),
        state: "open".to_owned(),
        approvals: vec![],
        needs: vec![],
        conflicts: vec![],
        builds_on: None,
        my_turn: false,
        at: "2026-11-24T11:55:30.000Z".to_owned(),
        here: true,
        reason: None,
    }
}

pub(super) fn member(handle: &str, state: &str) -> api::Member {
    api::Member {
        member: handle.to_owned(),
        name: handle.to_owned(),
        role: None,
        state: state.to_owned(),
        words: None,
        peers: vec![],
        machines: vec![],
        me: false,
    }
}

fn peer(member: &str, connected: bool) -> Peer {
    Peer {
        peer: crate::id::hex(member.as_bytes()).repeat(16),
        member: member.to_owned(),
        connected,
        path: connected.then(|| "lan".to_owned()),
        rtt_ms: connected.then_some(0.3),
        version: Some("0.1.0".to_owned()),
        addr: connected.then(|| "10.0.0.2:7483".to_owned()),
        last_seen: Some("2026-11-24T09:00:00.000Z".to_owned()),
        up_to_date: Some(connected),
    }
}

fn branch(name: &str, tip: Option<&str>, state: &str, heads: &[&str]) -> BranchStatus {
    BranchStatus {
        name: name.to_owned(),
        tip: tip.map(str::to_owned),
        state: state.to_owned(),
        heads: heads.iter().map(|head| (*head).to_owned()).collect(),
        tracking: tip.map(str::to_owned),
        rewound: false,
        local: None,
        moved_at: Some("2026-11-24T10:00:00.000Z".to_owned()),
        not_pulled: None,
    }
}

/// A project in which everything happens at once.
pub(super) fn status() -> api::Status {
    let mut turn = proposal("bo", "fix", "Round totals half up");
    turn.my_turn = true;
    let mut mine = proposal("ana", "parser", "Read dates of two digits");
    mine.needs = vec!["one approval".to_owned()];
    let mut other = proposal("cy", "docs", "Say how to install\u{1b}[31m");
    other.conflicts = vec![api::Conflict { with: "main".to_owned(), paths: vec!["README.md".to_owned()] }];
    let tip = "4f2c9e1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut main = branch("main", Some(tip), "ok", &[tip]);
    main.local = Some(LocalBranch { tip: "0".repeat(40), ahead: 0, behind: 2 });
    main.not_pulled = Some("the work tree has uncommitted changes".to_owned());
    api::Status {
        at: None,
        project: api::ProjectName { id: "1".repeat(64), name: "payroll".to_owned() },
        me: api::Me { peer: "2".repeat(64), member: "ana".to_owned(), role: "maintainer".to_owned() },
        running: true,
        log: LogStatus { events: 120, feeds: 4, digest: "3".repeat(64) },
        branches: vec![main, branch("next", None, "diverged", &["aaaaaaaaaa", "bbbbbbbbbb"])],
        peers: vec![peer("bo", true), peer("cy", false)],
        proposals: api::ProposalCounts { open: 3, mine: 1, my_turn: 1 },
        waiting: api::Waiting { events: 3, objects: 1, members: 1, unsent: 2 },
        not_shared: vec![NotShared {
            branch: "old".to_owned(),
            commits: 3,
            why: "it has not moved since the first up".to_owned(),
        }],
        problems: vec![Refusal::new("clock", "your clock is 12 minutes ahead", "timedatectl set-ntp true")],
        last_landing: Some(api::LastLanding {
            branch: "main".to_owned(),
            commit: tip.to_owned(),
            at: "2026-11-24T11:59:59.900Z".to_owned(),
            proposal: Some("bo/fix-2".to_owned()),
            approved_by: vec!["ana".to_owned()],
        }),
        open: vec![turn, mine, other],
        asking: vec![member("dee", "asking")],
        votes: vec![],
    }
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    let matches = command().try_get_matches_from(std::iter::once("lansync").chain(line.split_whitespace()))?;
    Arguments::from_arg_matches(&matches)
}

#[test]
fn clap_finds_no_fault_with_the_definitions() {
    command().debug_assert();
}

#[test]
fn every_command_of_the_contract_parses() {
    for line in [
        "up",
        "up -d",
        "up --foreground",
        "up --join payroll",
        "up --new --json",
        "up --foreground --service --json",
        "clone",
        "clone payroll",
        "clone payroll dir --no-up",
        "status --json",
        "status --watch",
        "inbox --json",
        "show bo/fix --diff",
        "show @bo/fix --json",
        "approve bo/fix --commit 4f2c9e1 -m fine",
        "log --since 2h --until 2026-11-24 --author bo --kind land -n 5 -f --json",
        "members",
        "members accept maple river --role reader",
        "members accept maple-river",
        "members accept cy --yes",
        "invite --role seed --expires 7d --uses 3 --json",
        "doctor --json",
        "down --all",
        "propose",
        "propose old",
        "list --closed",
        "diff bo/fix -- --stat",
        "reject bo/fix -m no",
        "withdraw ana/x",
        "peers",
        "connect 10.0.0.2:7483",
        "whoami",
        "help --all",
        "help approve",
        "-C /tmp status",
        "status -C /tmp",
        "--yes --json members",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "fly",
        "up --join a --new",
        "up --service",
        "show",
        "show bo/fix --diff --json",
        "members accept",
        "members accept a b c",
        "members accept a --role king",
        "invite --uses 0",
        "invite --expires soon",
        "log -n many",
        "",
    ] {
        let error = parse(line).unwrap_err();
        assert_ne!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn the_first_page_has_the_ten_and_the_second_all() {
    let pages = [help::page(&Arguments::command(), false), help::page(&Arguments::command(), true)];
    for sub in Arguments::command().get_subcommands().filter(|sub| sub.get_name() != "help") {
        let line = format!("\n  {:<9} ", sub.get_name());
        assert!(pages[1].contains(&line), "{}", sub.get_name());
        let about = sub.get_about().unwrap().to_string();
        assert!(!about.ends_with('.') && about.starts_with(char::is_uppercase), "{about}");
    }
    let listed = |page: &str| page.lines().filter(|line| line.starts_with("  ") && !line.contains('-')).count();
    assert_eq!(listed(&pages[0]), 10, "{}", pages[0]);
    assert!(!pages[0].contains("\n  withdraw"));
}
