//! Who comes is seen within a second, who leaves is gone at once, whose cable is pulled is gone within five seconds
//! and comes back by itself: services find each other with nothing configured, also several on one host, and with
//! several repositories.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::time::{Duration, Instant};

use common::netns::Lan;
use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};
use serde_json::json;

/// What a member is promised.
const COMES: Duration = Duration::from_secs(1);
const CUT: Duration = Duration::from_secs(5);

fn sees(who: &Person<'_>, member: &str) -> bool {
    let peers = who.lansync(&["--json", "peers"]).json();
    let peers = peers.as_array().expect("a list");
    peers.iter().any(|peer| peer["member"] == member && peer["connected"] == true)
}

fn see_each_other(people: &[&Person<'_>]) {
    for who in people {
        for other in people.iter().filter(|other| other.name != who.name) {
            let what = format!("{} sees {}", who.name, other.name);
            wait_for(&what, LONG, || sees(who, &other.name));
        }
    }
}

#[test]
fn who_comes_is_seen_and_who_leaves_is_gone() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");

    // A stranger's service starts with this, and has heard of the project when it answers.
    let open = bo.lansync(&["--json", "clone"]).json();
    assert_eq!((&open[0]["name"], &open[0]["member"]), (&json!("payroll"), &json!("ana")), "{open}");
    bo.join(&ana, "payroll", "contributor");
    wait_for("ana sees bo", LONG, || sees(&ana, "bo"));

    let before = Instant::now();
    bo.down();
    let left = wait_for("ana sees that bo has left", COMES, || !sees(&ana, "bo"));
    println!("gone_after_down_ms: {}", left.as_millis());
    assert!(before.elapsed() < COMES * 5);

    let _ = bo.up();
    let seen = wait_for("ana sees bo, who has come", COMES, || sees(&ana, "bo"));
    println!("seen_after_up_ms: {}", seen.as_millis());
    assert!(sees(&bo, "ana"));

    // All packets are lost, and the host does not notice.
    on_bo.silence();
    let lost = wait_for("ana misses bo", CUT, || !sees(&ana, "bo"));
    println!("gone_after_silence_ms: {}", lost.as_millis());
    wait_for("bo misses ana", CUT, || !sees(&bo, "ana"));
    on_bo.restore();
    let back = wait_for("they find each other again", LONG, || sees(&ana, "bo"));
    println!("back_after_silence_ms: {}", back.as_millis());

    // The cable is pulled.
    on_ana.cut();
    wait_for("bo misses ana", CUT, || !sees(&bo, "ana"));
    on_ana.restore();
    let back = wait_for("they find each other again", LONG, || sees(&bo, "ana"));
    println!("back_after_cut_ms: {}", back.as_millis());
    assert_eq!(wait_until_equal(&[&ana, &bo]), ana.rev("main"));
}

#[test]
fn several_people_on_one_host() {
    let Some(lan) = lan_or_skip() else { return };
    let (one, other) = (lan.host("one"), lan.host("other"));
    let (ana, bo, cy) = (Person::on(&one, "ana"), Person::on(&one, "bo"), Person::on(&other, "cy"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    cy.join(&ana, "payroll", "contributor");
    see_each_other(&[&ana, &bo, &cy]);
    let (his, hers) = (bo.status()["me"]["peer"].clone(), ana.status()["me"]["peer"].clone());
    assert_ne!(his, hers);

    let tip = bo.commit_on("fix", "a.txt", "1\n", "Fix");
    wait_for("ana has the proposal", LONG, || ana.has("bo/fix", &tip));
    assert_eq!(ana.land("bo/fix"), tip);
    assert_eq!(wait_until_equal(&[&ana, &bo, &cy]), tip);
    // The one with the usual port leaves and comes back.
    ana.down();
    wait_for("bo misses ana", LONG, || !sees(&bo, "ana"));
    let _ = ana.up();
    see_each_other(&[&ana, &bo, &cy]);
}

#[test]
fn two_repositories_in_one_service() {
    let Some(lan) = lan_or_skip() else { return };
    two_repositories(&lan);
}

fn two_repositories(lan: &Lan) {
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    ana.go("");
    ana.found("taxes");
    assert_eq!(ana.services().len(), 1);
    ana.go("payroll");
    bo.join(&ana, "payroll", "contributor");
    ana.go("taxes");
    bo.go("");
    bo.join(&ana, "taxes", "contributor");
    assert_eq!(bo.services().len(), 1);

    let mut digests = Vec::new();
    for project in ["payroll", "taxes"] {
        ana.go(project);
        bo.go(project);
        let tip = bo.commit_on("fix", "a.txt", project, &format!("Fix {project}"));
        wait_for("ana has the proposal", LONG, || ana.has("bo/fix", &tip));
        assert_eq!(ana.land("bo/fix"), tip);
        assert_eq!(wait_until_equal(&[&ana, &bo]), tip);
        digests.push(ana.digest());
    }
    assert_ne!(digests[0], digests[1]);
    // One is not shared any more, the other still is.
    ana.go("payroll");
    bo.go("payroll");
    let _ = ana.lansync(&["down"]).ok();
    wait_for("payroll is gone", LONG, || !sees(&bo, "ana"));
    bo.go("taxes");
    assert!(sees(&bo, "ana"));
    // After a restart the service shares what it shared.
    ana.down();
    ana.go("taxes");
    let _ = ana.up();
    wait_for("taxes is back", LONG, || sees(&bo, "ana"));
    bo.go("payroll");
    assert!(!sees(&bo, "ana"), "payroll stays down");
}
