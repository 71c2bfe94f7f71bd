//! Two who remove each other while apart: when they meet again each hears the other's side, both come to one verdict, and
//! who was removed gets nothing of what came after.

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

/// Who is turned away is heard when one of the two dials next, at the latest after a minute.
const HEARD: Duration = Duration::from_secs(90);

fn is_connected(who: &Person<'_>, to: &str) -> bool {
    let status = who.status();
    status["peers"].as_array().unwrap().iter().any(|peer| peer["member"] == to && peer["connected"] == true)
}

fn state_of(who: &Person<'_>, handle: &str) -> String {
    let members = who.lansync(&["--json", "members"]).json();
    let member = members.as_array().unwrap().iter().find(|one| one["member"] == handle).cloned();
    member.map_or_else(String::new, |member| member["state"].as_str().unwrap_or_default().to_owned())
}

fn removed(who: &Person<'_>) -> Option<String> {
    let status = who.status();
    let found = status["problems"].as_array().unwrap().iter().find(|problem| problem["code"] == "removed");
    found.map(|problem| problem["message"].as_str().unwrap().to_owned())
}

fn digest(who: &Person<'_>) -> String {
    let verified = who.lansync(&["--json", "verify"]).json();
    assert_eq!(verified["problems"], json!([]), "{}: {verified}", who.name);
    verified["digest"].as_str().unwrap().to_owned()
}

fn revoke(who: &Person<'_>, handle: &str, reason: &str) -> Value {
    who.lansync(&["--json", "--yes", "members", "revoke", handle, "--reason", reason]).json()
}

#[test]
fn two_who_remove_each_other_while_apart_agree_when_they_meet() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo"].map(|name| lan.host(name));
    let [ana, bo] = &hosts.each_ref().map(|host| Person::on(host, host.name()));
    ana.found("payroll");
    bo.join(ana, "payroll", "maintainer");
    wait_until_equal(&[ana, bo]);
    hosts[1].cut();
    wait_for("they are apart", LONG, || !is_connected(ana, "bo") && !is_connected(bo, "ana"));

    // Ana came first: her word is enough. Bo's needs the majority of the two, so it waits for her vote.
    assert_eq!(revoke(ana, "bo", "stolen laptop")["accepted"], true);
    assert_eq!(revoke(bo, "ana", "she is not herself")["accepted"], false);
    assert_ne!(digest(ana), digest(bo));
    assert_eq!((state_of(ana, "bo").as_str(), state_of(bo, "ana").as_str()), ("revoked", "active"));
    hosts[1].restore();

    let took = wait_for("bo hears of it", HEARD, || removed(bo).is_some());
    println!("bo heard of it {took:?} after the network was back");
    let said = removed(bo).unwrap();
    assert_eq!(said, "you were removed from this project by ana: stolen laptop; what you have stays with you");
    wait_for("ana has what bo wanted, and both have one log", HEARD, || digest(ana) == digest(bo));
    assert!(ana.log().iter().any(|line| line["kind"] == "revoke" && line["member"] == "bo"));
    assert!(!is_connected(ana, "bo") && !is_connected(bo, "ana"), "it was heard, and let in it is not");

    // What comes after the removal is not bo's to have.
    let tip = ana.commit_on("fix", "fix.txt", "half to even\n", "Fix rounding");
    wait_for("ana has offered it", LONG, || ana.proposal("fix").is_some() || ana.proposal("ana/fix").is_some());
    bo.down();
    bo.up();
    assert_eq!(bo.lansync(&["--json", "connect", &hosts[0].ip().to_string()]).code(), "not-reached");
    assert!(bo.proposal("ana/fix").is_none() && !bo.has("ana/fix", &tip));
    assert_ne!(digest(ana), digest(bo));
}
