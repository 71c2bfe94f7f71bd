//! The story of the README, with the real program on two hosts: up, clone, two words, a commit, an approval, and
//! everybody's branch has moved.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::time::Instant;

use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};

#[test]
fn from_a_commit_to_everybodys_branch() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.repo("payroll");

    let start = Instant::now();
    let up = ana.up();
    assert_eq!(
        (&up["how"], &up["member"], &up["project"]["name"]),
        (&"founded".into(), &"ana".into(), &"payroll".into())
    );
    bo.join(&ana, "payroll", "contributor");
    assert_eq!(bo.rev("HEAD"), ana.rev("main"));
    assert_eq!(bo.git(&["branch", "--show-current"]), "main");
    assert_eq!(bo.git(&["status", "--porcelain"]), "");

    let tip = bo.commit_on("fix", "rounding.txt", "half to even\n", "Fix rounding");
    wait_for("ana has the proposal", LONG, || ana.has("bo/fix", &tip));
    let proposal = ana.proposal("bo/fix").expect("just seen");
    assert_eq!((&proposal["author"], &proposal["title"]), (&"bo".into(), &"Fix rounding".into()));
    assert_eq!((&proposal["lines"], &proposal["my_turn"]), (&serde_json::json!([1, 0]), &true.into()));
    let shown = ana.lansync(&["show", "bo/fix", "--diff"]).ok();
    assert!(shown.contains("+half to even"), "{shown}");
    let approved = ana.lansync(&["approve", "bo/fix"]).ok();
    assert_eq!(approved, format!("Landed on main, {}\n", &tip[..7]));

    assert_eq!(wait_until_equal(&[&ana, &bo]), tip);
    println!("join_clone_and_first_landing_seconds: {:.2}", start.elapsed().as_secs_f64());
    for person in [&ana, &bo] {
        wait_for("the clean local main moves by itself", LONG, || person.rev("main") == tip);
        assert_eq!(person.git(&["status", "--porcelain"]), "");
        assert_eq!(person.git(&["show", "main:rounding.txt"]), "half to even");
        person.fsck();
        let said = person.lansync(&["status"]).ok();
        assert!(said.contains("bo/fix landed, approved by ana"), "{said}");
        assert!(said.contains(&tip[..7]), "{said}");
        assert_eq!(person.status()["branches"][0]["state"], "ok");
    }
    assert_eq!(ana.status()["last_landing"]["approved_by"], serde_json::json!(["ana"]));
    wait_for("the proposal's ref is gone", LONG, || ana.try_rev("refs/remotes/lansync/@bo/fix").is_none());
}

#[test]
fn a_second_maintainer_lands_what_the_first_offers() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "maintainer");
    assert_eq!(bo.status()["me"]["role"], "maintainer");
    let tip = ana.commit_on("tax", "tax.txt", "19 %\n", "Add the tax");
    wait_for("bo has the proposal", LONG, || bo.has("ana/tax", &tip));
    assert_eq!(bo.land("ana/tax"), tip);
    assert_eq!(wait_until_equal(&[&ana, &bo]), tip);
    for person in [&ana, &bo] {
        wait_for("the clean local main moves by itself", LONG, || person.rev("main") == tip);
        person.fsck();
    }
}

#[test]
fn a_contributor_cannot_approve() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let first = ana.rev("main");
    let tip = bo.commit_on("fix", "a.txt", "1\n", "Fix");
    wait_for("the own proposal", LONG, || bo.has("bo/fix", &tip));
    assert_eq!(bo.lansync(&["--json", "approve", "bo/fix"]).code(), "role");
    assert_eq!(wait_until_equal(&[&ana, &bo]), first);
}
