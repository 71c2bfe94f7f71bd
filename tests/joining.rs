//! Ways into a project, and what is said where there is none: tickets, words, roles, `up` where the history is shared
//! already, names that are taken or mean several, an interrupted clone.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::path::{Path, PathBuf};

use common::netns::Host;
use common::{LONG, lan_or_skip, wait_for};
use refusals::{Done, Person, clone_with_words};
use serde_json::Value;

fn ticket(by: &Person<'_>, repo: &Path, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["invite", "--json"].iter().chain(more).copied().collect();
    by.lansync(repo, &arguments).ok().json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn clone(who: &Person<'_>, what: &str, dir: &str) -> Done {
    who.lansync(&who.dir, &["clone", what, dir, "--json"])
}

/// `who` holds what `by` holds.
#[track_caller]
fn same_log(who: &Person<'_>, dir: &Path, by: &Person<'_>, repo: &Path) {
    wait_for("the logs are equal", LONG, || who.status(dir)["log"] == by.status(repo)["log"]);
}

fn people<'a>(hosts: &'a [Host<'a>]) -> Vec<Person<'a>> {
    hosts.iter().map(|host| Person::new(host, host.name())).collect()
}

#[test]
fn a_ticket_lets_in_as_often_as_it_says_and_never_otherwise() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy", "di"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo, cy, di] = &people[..] else { unreachable!() };
    let repo = ana.repo("payroll");
    let tip = ana.git(&repo, &["rev-parse", "main"]);
    ana.up(&repo);

    // Made by Ana, good for two, and for nobody else; Bo types no word and needs no terminal.
    let twice = ticket(ana, &repo, &["--uses", "2", "--role", "reader"]);
    let done = clone(bo, &twice, "payroll").ok().json();
    assert_eq!(
        (&done["member"], &done["project"]["name"], &done["branch"]),
        (&"bo".into(), &"payroll".into(), &"main".into())
    );
    let theirs = bo.dir.join("payroll");
    assert_eq!(bo.git(&theirs, &["rev-parse", "main"]), tip);
    assert_eq!(bo.status(&theirs)["me"]["role"], "reader");
    // Bo again: a member already, so this use is none.
    clone(bo, &twice, "again").ok();
    clone(cy, &twice, "payroll").ok();
    clone(di, &twice, "payroll").refused(&["ticket-spent"]);
    assert!(!di.dir.join("payroll").exists(), "nothing was made");
    same_log(bo, &theirs, ana, &repo);
    let grants = ana.log(&repo, &["--kind", "grant"]);
    assert_eq!(grants.len(), 2, "exactly as often as it says");

    // A wrong character, a missing one, another project's.
    let good = ticket(ana, &repo, &[]);
    for at in [8, 9, 20, good.len() / 2, good.len() - 1] {
        let other = if &good[at..=at] == "a" { "b" } else { "a" };
        let mut wrong = good.clone();
        wrong.replace_range(at..=at, other);
        clone(di, &wrong, "payroll").refused(&["bad-ticket", "ticket"]);
    }
    clone(di, &good[..good.len() - 1], "payroll").refused(&["bad-ticket", "ticket"]);
    clone(di, "lansync1", "payroll").refused(&["bad-ticket", "ticket"]);
    di.lansync(&di.dir, &["clone", &good[..good.len() - 1], "--json"]).refused(&["bad-ticket", "ticket"]);

    // One that has expired.
    let short = ticket(ana, &repo, &["--expires", "1s"]);
    let mut refused = None;
    wait_for("the ticket expires", LONG, || {
        // Not used before: an hour's clock would not be right for this, its own time is.
        let at = ana.log(&repo, &["--kind", "invite", "-n", "1"])[0]["expires_at"].clone();
        let now = ana.lansync(&repo, &["log", "--since", at.as_str().expect("a time"), "--json"]).ok();
        let past = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output().expect("date");
        let past = String::from_utf8_lossy(&past.stdout).trim().to_owned();
        let over = now.code == Some(0) && past.as_str() > at.as_str().expect("a time");
        if over {
            refused = Some(clone(di, &short, "payroll"));
        }
        over
    });
    refused.expect("just asked").refused(&["ticket-expired"]);
    assert!(!di.dir.join("payroll").exists(), "nothing was made");

    // The inviter is away: only that machine lets in on it, and this is said. Then it is back.
    ana.down();
    let refused = clone(di, &good, "payroll").refused(&["not-reached"]);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("the machine that made the ticket")));
    ana.up(&repo);
    clone(di, &good, "payroll").ok();
    assert_eq!(di.status(&di.dir.join("payroll"))["me"]["role"], "contributor");
    clone(cy, &good, "more").ok();
    same_log(di, &di.dir.join("payroll"), ana, &repo);
    assert_eq!(ana.log(&repo, &["--kind", "grant"]).len(), 3);
}

#[test]
fn without_multicast_a_ticket_an_address_or_a_setting_connects() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo] = &people[..] else { unreachable!() };
    for who in [ana, bo] {
        who.git(&who.dir, &["config", "--global", "lansync.interfaces", "none0"]);
    }
    let repo = ana.repo("payroll");
    ana.up(&repo);
    // By name nobody is found, and this is said.
    let refused = clone(bo, "payroll", "payroll").refused(&["not-found"]);
    assert_eq!(refused["hint"], "lansync clone");
    clone(bo, &ticket(ana, &repo, &[]), "payroll").ok();
    let theirs = bo.dir.join("payroll");
    same_log(bo, &theirs, ana, &repo);
    let connected = |who: &Person<'_>, dir: &Path| who.status(dir)["peers"][0]["connected"] == true;
    // What is remembered is dialled after a restart of either.
    for who in [ana, bo] {
        who.down();
        who.up(if who.dir == ana.dir { &repo } else { &theirs });
        wait_for("they are connected again", LONG, || connected(ana, &repo) && connected(bo, &theirs));
    }

    // An address typed: nobody there, no address, and the right one.
    for addr in ["10.77.0.99", "10.77.0.1:9"] {
        bo.lansync(&theirs, &["connect", addr, "--json"]).refused(&["not-reached"]);
    }
    bo.lansync(&theirs, &["connect", "no such place", "--json"]).failed(2, &["usage"]);
    let ip = hosts[0].ip().to_string();
    bo.lansync(&theirs, &["connect", &ip]).ok();
    assert!(connected(bo, &theirs));

    // A clone that knows nobody's address: by `connect`, and by the setting.
    let copy = |name: &str| -> PathBuf {
        let dir = bo.dir.join(name);
        bo.lansync(&theirs, &["down"]).ok();
        let copied = std::process::Command::new("cp").arg("-r").arg(&theirs).arg(&dir).status().expect("cp runs");
        assert!(copied.success());
        dir
    };
    let second = copy("second");
    bo.git(&second, &["config", "lansync.peer", &format!("{ip}:7483")]);
    bo.up(&second);
    wait_for("the setting is dialled", LONG, || connected(bo, &second));
    same_log(bo, &second, ana, &repo);
}

#[test]
fn a_handle_that_is_taken_is_said_and_another_one_works() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "bo2"].map(|name| lan.host(name));
    let ana = Person::new(&hosts[0], "ana");
    let (bo, other) = (Person::new(&hosts[1], "bo"), Person::new(&hosts[2], "bo"));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    // By asking and by ticket.
    let ticket = ticket(&ana, &repo, &[]);
    for what in ["payroll", &ticket] {
        let refused = clone(&other, what, "payroll").refused(&["handle-taken"]);
        assert_eq!(refused["hint"], "git config --global lansync.handle NAME");
        assert!(!other.dir.join("payroll").exists(), "nothing was made");
    }
    other.git(&other.dir, &["config", "--global", "lansync.handle", "bobby"]);
    let done = clone(&other, &ticket, "payroll").ok().json();
    assert_eq!(done["member"], "bobby", "the use was not spent");
    let members = ana.lansync(&repo, &["members", "--json"]).ok().json();
    let names: Vec<&Value> = members.as_array().expect("a list").iter().map(|one| &one["member"]).collect();
    assert_eq!(names.len(), 3);
    for name in ["ana", "bo", "bobby"] {
        assert!(names.contains(&&Value::from(name)), "{name}: {names:?}");
    }
}

#[test]
fn up_where_this_history_is_shared_asks_and_a_lone_project_gives_way() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo, cy] = &people[..] else { unreachable!() };
    let repo = ana.repo("payroll");
    // All have the same history, from a server of old.
    let theirs: Vec<PathBuf> = [bo, cy].iter().map(|who| who.dir.join("work")).collect();
    for (who, dir) in [bo, cy].iter().zip(&theirs) {
        let from = repo.display().to_string();
        who.git(&who.dir, &["-c", "safe.directory=*", "clone", "-q", &from, "work"]);
        who.git(dir, &["remote", "remove", "origin"]);
    }
    ana.up(&repo);
    // Without a terminal, also with --yes: it says what it saw and does nothing.
    for arguments in [&["up", "-d", "--json"][..], &["up", "-d", "--yes", "--json"]] {
        let refused = bo.lansync(&theirs[0], arguments).refused(&["choose"]);
        let text = refused["message"].as_str().expect("text");
        assert!(text.contains("payroll") && text.contains("ana"), "{text}");
        let hint = refused["hint"].as_str().expect("text");
        assert!(hint.contains("lansync up --join payroll") && hint.contains("lansync up --new"), "{hint}");
        assert!(!theirs[0].join(".git/lansync/log.redb").exists(), "nothing was made");
    }
    bo.lansync(&theirs[0], &["up", "-d", "--join", "other", "--json"]).refused(&["not-found"]);
    // Bo joins what is there, and nothing of it is fetched again.
    let mut asking = bo.ask(&theirs[0], &["--yes", "up", "-d", "--join", "payroll", "--json"]);
    let [first, second] = asking.words();
    ana.lansync(&repo, &["members", "accept", &first, &second]).ok();
    let done = asking.end().ok().json();
    assert_eq!(
        (&done["how"], &done["project"]["name"], &done["member"]),
        (&"joined".into(), &"payroll".into(), &"bo".into())
    );
    same_log(bo, &theirs[0], ana, &repo);
    // A project that has others in it does not give way.
    bo.lansync(&theirs[0], &["up", "-d", "--join", "payroll", "--json"]).refused(&["already-shared"]);
    ana.lansync(&repo, &["up", "-d", "--join", "payroll", "--json"]).refused(&["already-shared"]);

    // Cy wants one of their own; then thinks better of it, and the lone project gives way.
    let own = cy.lansync(&theirs[1], &["up", "-d", "--new", "--json"]).ok().json();
    assert_eq!((&own["how"], &own["project"]["name"]), (&"founded".into(), &"work".into()));
    assert_ne!(own["project"]["id"], done["project"]["id"]);
    // Until then status says that others share this history, and how to join them.
    wait_for("cy is told of the other project", LONG, || {
        let problems = cy.status(&theirs[1])["problems"].clone();
        problems.as_array().is_some_and(|all| all.iter().any(|one| one["code"] == "same-history"))
    });
    let mut asking = cy.ask(&theirs[1], &["--yes", "up", "-d", "--join", "payroll", "--json"]);
    let [first, second] = asking.words();
    ana.lansync(&repo, &["members", "accept", &first, &second]).ok();
    let joined = asking.end().ok().json();
    assert_eq!((&joined["how"], &joined["project"]["id"]), (&"joined".into(), &done["project"]["id"]));
    same_log(cy, &theirs[1], ana, &repo);
    let aside = std::fs::read_dir(theirs[1].join(".git/lansync")).expect("a directory");
    let left =
        aside.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("log.redb.left-")).count();
    assert_eq!(left, 1, "the own log was set aside, not removed");
    // It is so after a restart as well.
    cy.down();
    cy.up(&theirs[1]);
    assert_eq!(cy.status(&theirs[1])["project"]["id"], done["project"]["id"]);
}

#[test]
fn a_name_that_means_several_projects_is_refused_until_it_says_whose() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo, cy] = &people[..] else { unreachable!() };
    let (mine, theirs) = (ana.repo("payroll"), bo.repo("payroll"));
    ana.up(&mine);
    bo.up(&theirs);
    wait_for("both are seen", LONG, || {
        let list = cy.lansync(&cy.dir, &["clone", "--json"]).ok().json();
        list.as_array().is_some_and(|list| list.len() == 2)
    });
    let refused = clone(cy, "payroll", "payroll").refused(&["ambiguous"]);
    let text = refused["message"].as_str().expect("text");
    assert!(text.contains("payroll@ana") && text.contains("payroll@bo"), "{text}");
    let mut asking = cy.ask(&cy.dir, &["--yes", "clone", "payroll@bo", "payroll", "--json"]);
    let [first, second] = asking.words();
    ana.lansync(&mine, &["members", "accept", &first, &second, "--json"]).refused(&["nobody-asks"]);
    bo.lansync(&theirs, &["members", "accept", &first, &second]).ok();
    let done = asking.end().ok().json();
    assert_eq!(done["project"]["id"], bo.status(&theirs)["project"]["id"]);
}

#[test]
fn a_clone_that_cannot_be_or_was_interrupted_leaves_nothing_in_the_way() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo] = &people[..] else { unreachable!() };
    let repo = ana.repo("payroll");
    ana.up(&repo);
    // A directory that is not empty: nobody is even asked.
    std::fs::create_dir(bo.dir.join("full")).expect("a directory");
    std::fs::write(bo.dir.join("full/file"), "mine").expect("a file");
    clone(bo, "payroll", "full").refused(&["exists"]);
    std::fs::write(bo.dir.join("payroll"), "mine").expect("a file");
    clone(bo, "payroll", "payroll").refused(&["exists"]);
    std::fs::remove_file(bo.dir.join("payroll")).expect("removed");
    assert_eq!(std::fs::read_to_string(bo.dir.join("full/file")).expect("it is there"), "mine");
    clone(bo, "nothing", "x").refused(&["not-found"]);
    let members = ana.lansync(&repo, &["members", "--json"]).ok().json();
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");

    // Interrupted while asking.
    let mut asking = bo.ask(&bo.dir, &["--yes", "clone", "payroll", "--json"]);
    asking.words();
    asking.interrupt();
    let value = asking.end().failed(130, &["interrupted"]);
    assert!(value["message"].as_str().is_some_and(|text| text.contains("nothing was made here")), "{value}");
    assert!(!bo.dir.join("payroll").exists());
    wait_for("the ask is taken back", LONG, || {
        let members = ana.lansync(&repo, &["members", "--json"]).ok().json();
        members.as_array().is_some_and(|members| members.len() == 1)
    });
    // Not let in by a person, since nobody can be asked: no clone.
    let mut asking = bo.ask(&bo.dir, &["clone", "payroll", "--json"]);
    let [first, second] = asking.words();
    ana.lansync(&repo, &["members", "accept", &first, &second]).ok();
    asking.end().refused(&["needs-answer"]);
    assert!(!bo.dir.join("payroll").exists(), "nothing was made before the yes");

    // Interrupted while objects arrive: a big repository, and the link is slow to say so.
    let noise: String = (0..400_000_u64).map(|n| format!("{:016x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    ana.git(&repo, &["switch", "-q", "-c", "big"]);
    for n in 0..3 {
        ana.commit(&repo, &format!("big{n}"), &format!("{n}{noise}"));
    }
    ana.proposal(&repo, "ana/big");
    ana.lansync(&repo, &["show", "ana/big"]).ok();
    ana.lansync(&repo, &["approve", "ana/big"]).ok();
    let child = bo.ask(&bo.dir, &["--yes", "clone", "payroll", "--json"]);
    wait_for("the directory is made", LONG, || bo.dir.join("payroll/.git/lansync/log.redb").exists());
    child.interrupt();
    let ended = child.end();
    if ended.code == Some(0) {
        println!("it was there before the interrupt");
    } else {
        ended.failed(130, &["interrupted"]);
        // The second try is not confused by what was left.
        wait_for("what was made is taken away", LONG, || !bo.dir.join("payroll").exists());
        clone(bo, "payroll", "payroll").ok();
        let dir = bo.dir.join("payroll");
        let tip = ana.git(&repo, &["rev-parse", "big"]);
        assert_eq!(bo.git(&dir, &["rev-parse", "main"]), tip);
        assert_eq!(bo.git(&dir, &["status", "--porcelain"]), "");
        bo.git(&dir, &["fsck", "--full", "--strict"]);
    }

    // The service is killed amid it: what is left goes on by itself, up to the first checkout.
    let mut cut = false;
    for round in 0..5 {
        let dir = bo.dir.join(format!("cut{round}"));
        let child = bo.ask(&bo.dir, &["--yes", "clone", "payroll", &format!("cut{round}"), "--json"]);
        wait_for("its log is made", LONG, || dir.join(".git/lansync/log.redb").exists());
        let pid = bo.pid().expect("a service");
        assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill").success());
        cut = child.end().code != Some(0);
        bo.up(&dir);
        let tip = ana.git(&repo, &["rev-parse", "big"]);
        wait_for("everything is there", LONG, || bo.status(&dir)["branches"][0]["ref"] == tip.as_str());
        wait_for("main is checked out", LONG, || dir.join(".git/refs/heads/main").exists());
        assert_eq!(bo.git(&dir, &["rev-parse", "main"]), tip);
        assert_eq!(bo.git(&dir, &["status", "--porcelain"]), "");
        if cut {
            break;
        }
    }
    assert!(cut, "no clone was cut off");

    // `--no-up`: there, and not shared on.
    let mut done = None;
    // A service that has just taken the place of a killed one may hear of nobody for some seconds (SHORTCOMINGS.md).
    wait_for("the project is found", LONG, || {
        let clone = bo.lansync(&bo.dir, &["clone", "payroll", "still", "--no-up", "--json"]);
        if clone.code == Some(0) {
            done = Some(clone.json());
        } else {
            clone.refused(&["not-found"]);
        }
        done.is_some()
    });
    assert_eq!(done.expect("just cloned")["member"], "bo");
    let still = bo.dir.join("still");
    assert_eq!(bo.status(&still)["running"], false);
    bo.lansync(&still, &["propose", "--json"]).refused(&["not-up", "not-running"]);
    bo.up(&still);
    assert_eq!(bo.status(&still)["running"], true);
}

#[test]
fn each_role_does_what_it_may() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo, cy] = &people[..] else { unreachable!() };
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let contributes = clone_with_words(bo, "payroll", "payroll", ana, &repo, &[]);
    let reads = clone_with_words(cy, "payroll", "payroll", ana, &repo, &["--role", "reader"]);
    assert_eq!(bo.status(&contributes)["me"]["role"], "contributor");
    assert_eq!(cy.status(&reads)["me"]["role"], "reader");

    // A reader proposes nothing, neither by hand nor by a commit, and is told why.
    cy.git(&reads, &["switch", "-q", "-c", "try"]);
    cy.commit(&reads, "try", "1\n");
    let refused = cy.lansync(&reads, &["propose", "--json"]).refused(&["role"]);
    assert!(refused["message"].as_str().is_some_and(|text| text.contains("reader")), "{refused}");
    wait_for("it says why the branch stays", LONG, || {
        let status = cy.status(&reads);
        status["not_shared"].as_array().is_some_and(|all| all.iter().any(|one| one["branch"] == "try"))
    });

    bo.git(&contributes, &["switch", "-q", "-c", "fix"]);
    let tip = bo.commit(&contributes, "fix", "1\n");
    for (who, dir) in [(ana, &repo), (bo, &contributes), (cy, &reads)] {
        assert_eq!(who.proposal(dir, "bo/fix")["tip"], tip);
        who.lansync(dir, &["show", "bo/fix"]).ok();
    }
    for (who, dir) in [(bo, &contributes), (cy, &reads)] {
        for arguments in [
            &["approve", "bo/fix"][..],
            &["reject", "bo/fix"],
            &["members", "accept", "maple", "river"],
            &["members", "accept", "di", "--yes"],
            &["invite"],
        ] {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
            who.lansync(dir, &arguments).refused(&["role"]);
        }
    }
    cy.lansync(&reads, &["withdraw", "bo/fix", "--json"]).refused(&["role", "not-yours"]);
    ana.lansync(&repo, &["withdraw", "bo/fix", "--json"]).refused(&["role", "not-yours"]);
    let kinds: Vec<Value> = ana.log(&repo, &[]).iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "propose").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "approve" || *kind == "reject").count(), 0, "{kinds:?}");
    // A reader does get what lands.
    ana.lansync(&repo, &["approve", "bo/fix"]).ok();
    wait_for("it lands everywhere", LONG, || {
        [(bo, &contributes), (cy, &reads)]
            .iter()
            .all(|(who, dir)| who.status(dir)["branches"][0]["ref"] == tip.as_str())
    });
}

#[test]
fn a_project_that_is_closed_is_not_seen_and_a_ticket_still_works() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo"].map(|name| lan.host(name));
    let people = people(&hosts);
    let [ana, bo] = &people[..] else { unreachable!() };
    let repo = ana.repo("payroll");
    ana.git(&repo, &["config", "lansync.joining", "false"]);
    ana.up(&repo);
    let seen = bo.lansync(&bo.dir, &["clone", "--json"]).ok().json();
    assert_eq!(seen, serde_json::json!([]), "a stranger learns nothing");
    clone(bo, "payroll", "payroll").refused(&["not-found"]);
    clone(bo, &ticket(ana, &repo, &[]), "payroll").ok();
    same_log(bo, &bo.dir.join("payroll"), ana, &repo);
    // A member's second clone is refused by name as well, and works by ticket.
    clone(bo, "payroll", "second").refused(&["not-found"]);
}
