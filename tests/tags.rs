//! Tags: those that point into the history of a project come along with a clone, a maintainer's new one becomes everybody's,
//! and none is ever moved.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::time::Duration;

use common::{LONG, Person, comes, lan_or_skip, wait_for, wait_until_equal};

fn tag(who: &Person<'_>, name: &str) -> Option<String> {
    who.try_rev(&format!("refs/tags/{name}"))
}

#[test]
fn a_clone_brings_the_tags_of_the_history_byte_for_byte() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.repo("payroll");
    let _ = ana.git(&["tag", "light"]);
    let _ = ana.git(&["tag", "-a", "-m", "With a message\n\nof two paragraphs", "v1.0"]);
    let _ = ana.git(&["tag", "-a", "-m", "A tag of a tag", "of-a-tag", "v1.0"]);
    // As one that was signed: git does not look into what follows the message, and neither does lansync.
    let object = ana.git(&["cat-file", "tag", "v1.0"]);
    let signed =
        format!("{object}\n-----BEGIN PGP SIGNATURE-----\n\nnot one that verifies\n-----END PGP SIGNATURE-----\n");
    ana.write("../signed", &signed);
    let signed = ana.git(&["hash-object", "-t", "tag", "-w", "../signed"]);
    let _ = ana.git(&["update-ref", "refs/tags/signed", &signed]);
    let outside = ana.commit_on("old-idea", "old.txt", "old\n", "An old idea");
    let _ = ana.git(&["tag", "outside", &outside]);
    let _ = ana.git(&["tag", "private/mine"]);
    let blob = ana.git(&["hash-object", "-w", "README"]);
    let _ = ana.git(&["tag", "of-a-file", &blob]);
    assert_eq!(ana.up()["how"], "founded");
    bo.join(&ana, "payroll", "contributor");
    let shared = ["light", "v1.0", "of-a-tag", "signed"];
    wait_for("the tags of the history are here", LONG, || shared.iter().all(|name| tag(&bo, name) == tag(&ana, name)));
    assert_eq!(bo.git(&["cat-file", "tag", "signed"]), ana.git(&["cat-file", "tag", "signed"]));
    let mut names: Vec<String> = bo.git(&["tag"]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["light", "of-a-tag", "signed", "v1.0"]);
    assert!(!bo.try_git(&["cat-file", "-e", &outside]).status.success(), "what no tag was to bring has left");
    bo.fsck();
}

#[test]
fn the_tags_are_there_when_clone_has_ended_and_one_that_nobody_has_is_told() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let ana = Person::on(&on_ana, "ana");
    ana.repo("payroll");
    for number in 0..60 {
        let _ = ana.git(&["tag", "-a", "-m", &format!("Version {number}"), &format!("v{number}")]);
        let _ = ana.git(&["tag", &format!("light{number}")]);
    }
    let _ = ana.up();
    wait_for("ana shares them", LONG, || ana.log().iter().any(|event| event["kind"] == "tag"));
    let cloned = |name: &str| {
        let new = Person::on(&on_bo, name);
        let clone = new.start(&["--yes", "clone", "--no-up", "payroll"]);
        ana.accept(&clone, "contributor");
        let said = clone.wait().ok();
        new.go("payroll");
        (new.git(&["tag"]).lines().count(), said)
    };
    let (tags, said) = cloned("bo");
    assert_eq!(tags, 120, "{said}");
    assert!(!said.contains("did not come"), "{said}");
    // The object of one is gone from the only machine that had it.
    let object = ana.rev("refs/tags/v7");
    let _ = ana.git(&["tag", "-d", "v7"]);
    std::fs::remove_file(ana.dir().join(format!(".git/objects/{}/{}", &object[..2], &object[2..]))).unwrap();
    let (tags, said) = cloned("cy");
    assert_eq!(tags, 119, "{said}");
    assert!(said.contains("The objects of 1 tag did not come:"), "{said}");
}

#[test]
fn a_maintainers_new_tag_is_everybodys_and_a_contributors_is_not() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let first = wait_until_equal(&[&ana, &bo]);

    // Bo has one of that name already, elsewhere, and one that is new.
    let elsewhere = bo.commit_on("private/elsewhere", "elsewhere.txt", "1\n", "Elsewhere");
    let _ = bo.git(&["tag", "v2.0", &elsewhere]);
    let _ = bo.git(&["tag", "bos"]);
    let _ = ana.git(&["tag", "-a", "-m", "One", "v1.0"]);
    wait_for("v1.0 is at bo's", LONG, || tag(&bo, "v1.0").is_some() && tag(&bo, "v1.0") == tag(&ana, "v1.0"));
    assert_eq!(bo.rev("v1.0^{commit}"), first);
    let line = bo.log().into_iter().find(|line| line["kind"] == "tag").expect("it is in the log");
    assert_eq!((&line["member"], &line["tags"][0]["name"]), (&"ana".into(), &"v1.0".into()));

    let _ = ana.git(&["tag", "v2.0"]);
    let problem = |code: &str| {
        let status = bo.status();
        let found = status["problems"].as_array().expect("a list").iter().find(|one| one["code"] == code);
        found.map(|one| one["message"].as_str().expect("a text").to_owned())
    };
    wait_for("bo is told that his is another", LONG, || problem("tag").is_some_and(|text| text.contains("v2.0")));
    assert_eq!(tag(&bo, "v2.0").as_ref(), Some(&elsewhere), "it stays");
    let _ = bo.git(&["tag", "-d", "v2.0"]);
    // What git removed is seen at the next look.
    wait_for("the project's takes its place", Duration::from_secs(60), || tag(&bo, "v2.0").as_ref() == Some(&first));
    assert_eq!(problem("tag"), None);

    // Moved on one machine, it stays what it was on the others, and for those who come.
    let main = {
        let tip = ana.commit_on("more", "more.txt", "more\n", "More");
        wait_for("the own proposal", LONG, || ana.has("ana/more", &tip));
        ana.land("ana/more")
    };
    assert_eq!(wait_until_equal(&[&ana, &bo]), main);
    let _ = ana.git(&["tag", "-f", "v2.0", &main]);
    let _ = ana.git(&["tag", "last", &main]);
    wait_for("a later tag of ana's arrives", LONG, || tag(&bo, "last").as_ref() == Some(&main));
    assert_eq!(tag(&bo, "v2.0").as_ref(), Some(&first));
    assert!(comes(Duration::from_millis(500), || tag(&ana, "bos").is_some()).is_none(), "a contributor's tag stays");
}

#[test]
fn a_tag_of_what_has_not_landed_waits_until_it_has() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let tip = ana.commit_on("next", "next.txt", "next\n", "Next");
    let _ = ana.git(&["tag", "-a", "-m", "Next", "v3", &tip]);
    wait_for("the proposal", LONG, || bo.has("ana/next", &tip));
    assert_eq!(tag(&bo, "v3"), None);
    assert_eq!(ana.land("ana/next"), tip);
    wait_for("the tag follows", LONG, || tag(&bo, "v3").is_some() && tag(&bo, "v3") == tag(&ana, "v3"));
    bo.fsck();
}
