//! A person's machine whose clock was weeks ahead while nobody was near: what it wrote then would reach nobody for weeks.
//! Real services, with a clock of their own (`faketime`).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests fail at once and say how")]

mod common;

use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};

/// Does `status` name this problem?
fn has_problem(who: &Person<'_>, code: &str) -> bool {
    let status = who.status();
    status["problems"].as_array().is_some_and(|all| all.iter().any(|one| one["code"] == code))
}

#[test]
fn what_a_wrong_clock_wrote_is_left_behind_and_offered_again_by_a_new_key() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let before = bo.commit_on("before", "before.txt", "text\n", "Before");
    wait_for("it arrives", LONG, || ana.has("bo/before", &before));
    let key = bo.status()["me"]["peer"].clone();
    ana.down();
    bo.down();

    // Alone, and forty days ahead.
    let mut wrong = bo.command(env!("CARGO_BIN_EXE_lansync"));
    // As `faketime` does, which would wait for the service. The loader knows what `$LIB` is.
    wrong.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
    wrong.env("FAKETIME", "+40d").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let output = wrong.args(["--json", "up", "-d"]).output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let tip = bo.commit_on("fix", "fix.txt", "text\n", "Fix");
    wait_for("it is offered", LONG, || bo.has("bo/fix", &tip));
    let at = bo.log().last().map(|event| event["at"].to_string()).expect("events");
    bo.down();

    let soon = bo.command("date").args(["-d", "30 days", "+%Y-%m-%d"]).output().expect("the program runs").stdout;
    assert!(at.trim_matches('"') > String::from_utf8_lossy(&soon).trim(), "scripts/setup installs faketime: {at}");

    // The clock is right again, and somebody is near who says so.
    let _ = bo.up();
    let _ = ana.up();
    wait_for("it is said", LONG, || has_problem(&bo, "ahead"));
    assert!(!ana.has("bo/fix", &tip), "its time has not come");
    let said = bo.lansync(&["status"]).ok();
    assert!(said.contains("lansync down && lansync up"), "{said}");

    // What it tells them to type.
    bo.down();
    let up = bo.up();
    assert!(up["warnings"].to_string().contains("new key"), "{up}");
    assert_ne!(bo.status()["me"]["peer"], key);
    wait_for("it is offered again, and arrives", LONG, || ana.has("bo/fix", &tip));
    assert!(!has_problem(&bo, "ahead"));
    assert_eq!(ana.land("bo/fix"), tip);
    wait_until_equal(&[&ana, &bo]);
    // The events of before are there still, and what was left behind is kept in a file.
    assert!(ana.has("bo/before", &before));
    let beside = std::fs::read_dir(bo.dir().join(".git/lansync")).expect("there");
    let names: Vec<String> = beside.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.contains("ahead")), "{names:?}");
}
