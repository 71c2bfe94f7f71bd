//! Rights, end to end: who is removed is gone everywhere and stays gone, what they say afterwards counts nowhere, roles
//! change, people leave, the policy asks for two, and every machine comes to the same digest.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::time::Duration;

use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};
use serde_json::{Value, json};

/// From the event's arrival to the end of the session.
const GONE_WITHIN: Duration = Duration::from_secs(2);

fn member(who: &Person<'_>, handle: &str) -> Value {
    let members = who.lansync(&["--json", "members"]).json();
    members.as_array().unwrap().iter().find(|one| one["member"] == handle).cloned().unwrap_or(Value::Null)
}

fn is_connected(who: &Person<'_>, to: &str) -> bool {
    let status = who.status();
    status["peers"].as_array().unwrap().iter().any(|peer| peer["member"] == to && peer["connected"] == true)
}

fn code_of_problem(who: &Person<'_>, code: &str) -> Option<String> {
    let status = who.status();
    let found = status["problems"].as_array().unwrap().iter().find(|problem| problem["code"] == code);
    found.map(|problem| problem["message"].as_str().unwrap().to_owned())
}

fn verify(who: &Person<'_>) -> String {
    let verified = who.lansync(&["--json", "verify"]).json();
    assert_eq!(verified["problems"], json!([]), "{}: {verified}", who.name);
    verified["digest"].as_str().unwrap().to_owned()
}

#[test]
fn who_is_removed_is_gone_everywhere_and_cannot_come_back() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cleo", "dan"].map(|name| lan.host(name));
    let [ana, bo, cleo, dan] = &hosts.each_ref().map(|host| Person::on(host, host.name()));
    ana.found("payroll");
    cleo.join(ana, "payroll", "contributor");
    dan.join(ana, "payroll", "contributor");
    // The last to come: who joins after another maintainer may ask that one.
    bo.join(ana, "payroll", "maintainer");
    wait_until_equal(&[ana, bo, cleo, dan]);
    wait_for("everybody is connected", LONG, || {
        is_connected(cleo, "bo") && is_connected(ana, "bo") && is_connected(ana, "cleo")
    });
    dan.down();
    wait_for("dan is away", LONG, || !is_connected(ana, "dan"));

    // A contributor removes nobody, nobody the last maintainer, and a question needs an answer.
    assert_eq!(cleo.lansync(&["--json", "--yes", "members", "revoke", "bo"]).code(), "role");
    assert_eq!(ana.lansync(&["--json", "members", "revoke", "bo"]).code(), "needs-answer");
    assert_eq!(ana.lansync(&["--json", "--yes", "members", "revoke", "zoe"]).code(), "unknown-member");
    assert_eq!(ana.lansync(&["--json", "--yes", "members", "revoke", "ana"]).code(), "yourself");

    let said = ana.lansync(&["--yes", "members", "revoke", "bo", "--reason", "left the company"]).ok();
    assert!(said.contains("bo was removed. What bo's machines already have stays there."), "{said}");
    assert!(said.contains("Still to hear of it: dan"), "{said}");
    for who in [ana, cleo] {
        wait_for("the removal is known", LONG, || member(who, "bo")["state"] == "revoked");
        let took = wait_for("bo is disconnected", GONE_WITHIN, || !is_connected(who, "bo"));
        println!("bo is gone on {} {took:?} after it is known there", who.name);
    }
    let removed = || code_of_problem(bo, "removed");
    wait_for("bo's own machine says so", LONG, || removed().is_some());
    assert_eq!(
        removed().unwrap(),
        "you were removed from this project by ana: left the company; what you have stays with you"
    );

    // Not by connecting again, and not by a third: each of them refuses.
    bo.down();
    bo.up();
    for host in [&hosts[0], &hosts[2]] {
        assert_eq!(bo.lansync(&["--json", "connect", &host.ip().to_string()]).code(), "not-reached");
    }
    assert!(!is_connected(ana, "bo") && !is_connected(cleo, "bo"));

    // What bo does now counts nowhere.
    let tip = cleo.commit_on("fix", "fix.txt", "half to even\n", "Fix rounding");
    wait_for("ana has cleo's proposal", LONG, || ana.has("cleo/fix", &tip));
    assert_eq!(bo.lansync(&["--json", "approve", "cleo/fix"]).code(), "unknown-proposal");
    assert_eq!(ana.proposal("cleo/fix").unwrap()["approvals"], json!([]));

    // Dan hears of it when he is back.
    dan.up();
    wait_for("dan knows", LONG, || member(dan, "bo")["state"] == "revoked");
    assert!(!is_connected(dan, "bo"));
    ana.land("cleo/fix");
    wait_until_equal(&[ana, cleo, dan]);
    wait_for("the same digest everywhere", LONG, || {
        let digest = verify(ana);
        [cleo, dan].iter().all(|who| verify(who) == digest)
    });
    // It needs no service either.
    let digest = verify(dan);
    dan.down();
    assert_eq!(verify(dan), digest);
}

#[test]
fn what_the_removed_approved_without_knowing_counts_nowhere() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cleo"].map(|name| lan.host(name));
    let [ana, bo, cleo] = &hosts.each_ref().map(|host| Person::on(host, host.name()));
    ana.found("payroll");
    cleo.join(ana, "payroll", "contributor");
    bo.join(ana, "payroll", "maintainer");
    let tip = cleo.commit_on("fix", "fix.txt", "half to even\n", "Fix rounding");
    wait_for("both have the proposal", LONG, || ana.has("cleo/fix", &tip) && bo.has("cleo/fix", &tip));
    wait_until_equal(&[ana, bo, cleo]);
    let before = ana.canonical();

    hosts[1].cut();
    wait_for("bo is cut off", LONG, || !is_connected(ana, "bo") && !is_connected(bo, "ana"));
    let done = ana.lansync(&["--json", "--yes", "members", "revoke", "bo", "--reason", "stolen laptop"]).json();
    assert_eq!(done["accepted"], true, "{done}");
    assert_eq!(done["unheard"], json!([]), "cleo is here and has it");
    let landed = bo.land("cleo/fix");
    assert_eq!(bo.canonical().as_ref(), Some(&landed));
    hosts[1].restore();

    for who in [ana, cleo] {
        wait_for("bo is not let in", LONG, || member(who, "bo")["state"] == "revoked" && !is_connected(who, "bo"));
        assert_eq!(who.canonical(), before, "the landing of the removed counts nowhere");
    }
    wait_for("bo is told", LONG, || {
        code_of_problem(bo, "removed")
            .or_else(|| code_of_problem(bo, "turned-away"))
            .is_some_and(|why| why.contains("you were removed from this project by ana: stolen laptop"))
    });
    assert_eq!(verify(ana), verify(cleo));
}

#[test]
fn roles_change_people_leave_and_the_policy_asks_for_two() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cleo"].map(|name| lan.host(name));
    let [ana, bo, cleo] = &hosts.each_ref().map(|host| Person::on(host, host.name()));
    ana.found("payroll");
    assert_eq!(ana.lansync(&["--json", "--yes", "leave"]).code(), "last-maintainer");
    bo.join(ana, "payroll", "contributor");
    cleo.join(ana, "payroll", "maintainer");
    wait_until_equal(&[ana, bo, cleo]);

    // Two approvals: one is not enough.
    let policy = ana.lansync(&["--json", "policy", "--approvals", "2"]).json();
    assert_eq!((&policy["approvals"], &policy["waits"]), (&json!(2), &Value::Null), "{policy}");
    let tip = bo.commit_on("fix", "fix.txt", "half to even\n", "Fix rounding");
    wait_for("both have it", LONG, || ana.has("bo/fix", &tip) && cleo.has("bo/fix", &tip));
    let _ = ana.lansync(&["show", "bo/fix"]).ok();
    let first = ana.lansync(&["--json", "approve", "bo/fix"]).json();
    assert_eq!(first["landed"], Value::Null, "{first}");
    wait_for("cleo sees that approval", LONG, || {
        cleo.proposal("bo/fix").unwrap()["approvals"].as_array().is_some_and(|all| all.len() == 1)
    });
    let landed = cleo.land("bo/fix");
    assert_eq!(wait_until_equal(&[ana, bo, cleo]), landed);

    // Two votes: what one wants waits for the other, is listed, and holds once both agree.
    let _ = ana.lansync(&["policy", "--votes", "2"]).ok();
    let raised = ana.lansync(&["--json", "members", "role", "bo", "maintainer"]).json();
    assert_eq!((&raised["accepted"], &raised["needs_votes"]), (&json!(false), &json!(1)), "{raised}");
    assert_eq!(raised["can_vote"], json!(["cleo"]));
    wait_for("cleo is asked", LONG, || {
        cleo.lansync(&["members"]).ok().contains("waits for votes: ana wants to give bo the role maintainer")
    });
    let id = raised["id"].as_str().unwrap();
    assert_eq!(ana.lansync(&["--json", "members", "vote", id]).code(), "voted");
    let voted = cleo.lansync(&["--json", "members", "vote", &id[..8], "-m", "fine"]).json();
    assert_eq!((&voted["accepted"], &voted["needs_votes"]), (&json!(true), &json!(0)), "{voted}");
    wait_for("bo is a maintainer", LONG, || bo.status()["me"]["role"] == "maintainer");

    // The smaller role needs both as well, with one vote for revocation and grant.
    let lowered = cleo.lansync(&["--json", "members", "role", "bo", "reader"]).json();
    assert_eq!(lowered["accepted"], false, "{lowered}");
    let id = lowered["id"].as_str().unwrap().to_owned();
    wait_for("ana is asked", LONG, || ana.lansync(&["members"]).ok().contains(&id[..8]));
    let voted = ana.lansync(&["--json", "members", "vote", &id[..8]]).json();
    assert_eq!(voted["accepted"], true, "{voted}");
    wait_for("bo is a reader", LONG, || bo.status()["me"]["role"] == "reader");
    assert_eq!(bo.lansync(&["--json", "propose", "fix"]).code(), "role");
    assert_eq!(member(ana, "bo")["state"], "active");
    wait_until_equal(&[ana, bo, cleo]);
    assert_eq!(verify(bo), verify(ana));

    // Bo goes: the repository stays, the sharing ends.
    let left = bo.lansync(&["--json", "--yes", "leave"]).json();
    assert_eq!(left["heard"], true, "{left}");
    assert!(bo.try_rev("main").is_some());
    assert_eq!(bo.status()["running"], false);
    assert_eq!(code_of_problem(bo, "removed").unwrap(), "you left this project; what you have stays with you");
    for who in [ana, cleo] {
        wait_for("bo is gone", LONG, || member(who, "bo")["state"] == "revoked");
    }
    wait_for("the same digest", LONG, || verify(ana) == verify(cleo));
    let log = ana.log();
    let last = log.iter().rfind(|line| line["kind"] == "revoke").unwrap();
    assert_eq!((&last["member"], &last["void"]), (&json!("bo"), &Value::Null));
}
