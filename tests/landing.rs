//! What lands, lands everywhere and equally, whatever was going on: cut cables, two landings at once, a dirty work
//! tree, a newer revision, an empty repository, somebody away. What must not move stays, and says why.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::fs;

use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};
use serde_json::{Value, json};

/// Both are maintainers; the project has one commit.
fn two_maintainers(ana: &Person<'_>, bo: &Person<'_>) {
    ana.found("payroll");
    bo.join(ana, "payroll", "maintainer");
    wait_until_equal(&[ana, bo]);
}

/// Commits on a branch, and approves it on the same machine: the commit that landed.
fn offer_and_land(who: &Person<'_>, branch: &str, path: &str, text: &str) -> String {
    let tip = who.commit_on(branch, path, text, &format!("Change {path}"));
    let name = format!("{}/{branch}", who.name);
    wait_for("the own proposal", LONG, || who.has(&name, &tip));
    who.land(&name)
}

fn why_not_pulled(who: &Person<'_>) -> String {
    who.branch("main")["not_pulled"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn two_landings_made_apart_are_joined() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);

    on_bo.cut();
    let hers = offer_and_land(&ana, "tax", "tax.txt", "19 %\n");
    let his = offer_and_land(&bo, "fix", "fix.txt", "half to even\n");
    for (who, landed) in [(&ana, &hers), (&bo, &his)] {
        wait_for("the own landing", LONG, || who.canonical().as_ref() == Some(landed));
    }
    on_bo.restore();

    wait_for("the two heads are joined", LONG, || {
        ana.branch("main")["state"] == "ok" && ana.branch("main")["heads"].as_array().is_some_and(|all| all.len() == 1)
    });
    let main = wait_until_equal(&[&ana, &bo]);
    assert!(main != hers && main != his, "a join is a commit of its own");
    for person in [&ana, &bo] {
        let branch = person.branch("main");
        assert_eq!((&branch["state"], &branch["tip"]), (&json!("ok"), &json!(main)));
        for part in [&hers, &his] {
            let _ = person.git(&["merge-base", "--is-ancestor", part, &main]);
        }
        wait_for("the clean local main follows", LONG, || person.rev("main") == main);
        assert_eq!(person.git(&["status", "--porcelain"]), "");
        person.fsck();
    }
}

#[test]
fn landings_that_do_not_merge_stay_until_a_person_has_merged_them() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);

    on_bo.cut();
    let hers = offer_and_land(&ana, "nineteen", "tax.txt", "19 %\n");
    let his = offer_and_land(&bo, "seven", "tax.txt", "7 %\n");
    for (who, landed) in [(&ana, &hers), (&bo, &his)] {
        wait_for("the own landing", LONG, || who.rev("main") == *landed);
    }
    on_bo.restore();
    for person in [&ana, &bo] {
        wait_for("diverged is said", LONG, || person.branch("main")["state"] == "diverged");
    }
    for (who, landed) in [(&ana, &hers), (&bo, &his)] {
        assert_eq!(who.canonical().as_ref(), Some(landed), "refs stay");
        assert_eq!(&who.rev("main"), landed, "local branches stay");
    }
    let mut heads = [hers.clone(), his.clone()];
    heads.sort();
    for person in [&ana, &bo] {
        let mut said: Vec<String> = serde_json::from_value(person.branch("main")["heads"].clone()).expect("ids");
        said.sort();
        assert_eq!(said, heads);
        let told = person.lansync(&["status"]).ok();
        assert!(told.contains("diverged") || told.contains("two heads"), "{told}");
    }

    // Bo merges by hand, and Ana approves it.
    let _ = bo.git(&["switch", "--quiet", "-c", "heal"]);
    let merged = bo.try_git(&["merge", "--no-edit", &hers]);
    assert!(!merged.status.success(), "this was to conflict: {merged:?}");
    let merge = bo.commit("tax.txt", "19 % and 7 %\n", "Merge both taxes");
    let _ = bo.git(&["switch", "--quiet", "main"]);
    wait_for("ana has the merge", LONG, || ana.has("bo/heal", &merge));
    assert_eq!(ana.land("bo/heal"), merge);
    assert_eq!(wait_until_equal(&[&ana, &bo]), merge);
    for person in [&ana, &bo] {
        assert_eq!(person.branch("main")["state"], "ok");
        wait_for("the clean local main follows", LONG, || person.rev("main") == merge);
        person.fsck();
    }
}

#[test]
fn only_what_was_shown_is_approved() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);
    let first = ana.rev("main");

    let inner = bo.commit_on("fix", "a.txt", "1\n", "First part");
    wait_for("the proposal", LONG, || ana.has("bo/fix", &inner));
    let _ = ana.lansync(&["show", "bo/fix"]).ok();
    let second = bo.commit_on("fix", "a.txt", "2\n", "Second part");
    // An overview has it, but is no closer look: it may stand on a screen unattended.
    wait_for("the new revision", LONG, || ana.has("bo/fix", &second));
    let _ = (ana.status(), ana.lansync(&["whoami"]).ok(), ana.lansync(&["inbox"]).ok());
    let refused = ana.lansync(&["--json", "approve", "bo/fix"]);
    assert!(refused.stderr.contains(&second[..7]), "{refused:?}");
    assert_eq!(refused.code(), "not-shown");
    // What was shown is remembered by the machine, not by the process.
    ana.down();
    let _ = ana.up();
    assert_eq!(ana.lansync(&["--json", "approve", "bo/fix"]).code(), "not-shown");
    assert_eq!(ana.lansync(&["--json", "reject", "bo/fix"]).code(), "not-shown");
    assert_eq!(ana.canonical(), Some(first));
    let strange = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(ana.lansync(&["--json", "approve", "bo/fix", "--commit", strange]).code(), "revision-changed");

    // A commit inside the revision, named exactly: that part lands, and the rest stays open.
    let done = ana.lansync(&["--json", "approve", "bo/fix", "--commit", &inner[..10]]).json();
    assert_eq!((&done["landed"], &done["commit"]), (&json!(inner), &json!(inner)));
    assert_eq!(wait_until_equal(&[&ana, &bo]), inner);
    let rest = ana.proposal("bo/fix").expect("the rest");
    assert_eq!((&rest["state"], &rest["tip"], &rest["commits"]), (&json!("open"), &json!(second), &json!(1)));

    let third = bo.commit_on("fix", "a.txt", "3\n", "Third part");
    wait_for("the third revision", LONG, || ana.has("bo/fix", &third));
    let exactly = ana.lansync(&["--json", "approve", "bo/fix", "--commit", &third]).json();
    assert_eq!(exactly["landed"], json!(third));
    assert_eq!(wait_until_equal(&[&ana, &bo]), third);
    assert_eq!(bo.proposal("bo/fix").expect("closed")["state"], "landed");
}

#[test]
fn a_local_main_that_is_not_clean_stays_and_follows_later() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);
    let stays = |landed: &str, before: &str, why: &str| {
        wait_for("lansync/main has moved", LONG, || bo.canonical().as_deref() == Some(landed));
        wait_for("it says why main stays", LONG, || why_not_pulled(&bo).contains(why));
        assert_eq!(bo.rev("main"), before);
    };
    let follows = |landed: &str| {
        wait_for("main follows", LONG, || bo.rev("main") == landed);
        wait_for("the reason is gone", LONG, || bo.branch("main")["not_pulled"].is_null());
        assert_eq!(bo.git(&["status", "--porcelain"]), "");
    };

    // A changed file.
    let before = bo.rev("main");
    bo.write("README", "mine\n");
    let one = offer_and_land(&ana, "one", "README", "hers\n");
    stays(&one, &before, "README is changed");
    assert!(bo.lansync(&["status"]).ok().contains("README is changed"));
    assert_eq!(fs::read_to_string(bo.dir().join("README")).expect("the file"), "mine\n");
    let _ = bo.git(&["checkout", "--quiet", "README"]);
    follows(&one);

    // An untracked file in the way.
    bo.write("notes.txt", "mine\n");
    let two = offer_and_land(&ana, "two", "notes.txt", "hers\n");
    stays(&two, &one, "notes.txt is not tracked");
    assert_eq!(fs::read_to_string(bo.dir().join("notes.txt")).expect("the file"), "mine\n");
    fs::remove_file(bo.dir().join("notes.txt")).expect("removed");
    follows(&two);

    // A rebase that is not finished.
    let stopped = bo.try_git(&["rebase", "--exec", "false", "HEAD~1"]);
    assert!(!stopped.status.success(), "the rebase was to stop: {stopped:?}");
    let three = offer_and_land(&ana, "three", "three.txt", "3\n");
    stays(&three, &two, "rebase");
    let _ = bo.git(&["rebase", "--abort"]);
    follows(&three);

    // Commits of its own.
    let own = bo.commit("own.txt", "own\n", "On main itself");
    let four = offer_and_land(&ana, "four", "four.txt", "4\n");
    stays(&four, &own, "1 commit of its own");
    let _ = bo.git(&["reset", "--quiet", "--hard", &three]);
    follows(&four);

    // HEAD elsewhere, with changes: main is free to move, the files are not touched.
    let _ = bo.git(&["switch", "--quiet", "--detach", "HEAD~1"]);
    bo.write("README", "mine\n");
    let (head, changed) = (bo.rev("HEAD"), bo.git(&["status", "--porcelain"]));
    let five = offer_and_land(&ana, "five", "README", "hers again\n");
    wait_for("main moves beside the detached HEAD", LONG, || bo.rev("main") == five);
    assert_eq!((bo.rev("HEAD"), bo.git(&["status", "--porcelain"])), (head, changed));
    assert_eq!(fs::read_to_string(bo.dir().join("README")).expect("the file"), "mine\n");
    bo.fsck();
}

#[test]
fn a_merge_landing_is_the_same_commit_everywhere() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);
    let tip = bo.commit_on("fix", "fix.txt", "half to even\n", "Fix rounding");
    wait_for("the proposal", LONG, || ana.has("bo/fix", &tip));
    let moved = offer_and_land(&ana, "tax", "tax.txt", "19 %\n");
    let merge = ana.land("bo/fix");
    assert_eq!(wait_until_equal(&[&ana, &bo]), merge);
    for person in [&ana, &bo] {
        let parents = person.git(&["show", "--no-patch", "--format=%P", &merge]);
        assert_eq!(parents, format!("{moved} {tip}"));
        assert_eq!(person.git(&["ls-tree", "--name-only", &merge]), "README\nfix.txt\ntax.txt");
        wait_for("the clean local main follows", LONG, || person.rev("main") == merge);
        assert_eq!(person.branch("main")["state"], "ok");
        person.fsck();
    }
}

#[test]
fn rejected_withdrawn_and_offered_anew() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let state = |who: &Person<'_>| who.proposal("bo/fix").map_or(Value::Null, |one| one["state"].clone());

    let tip = bo.commit_on("fix", "a.txt", "1\n", "Fix");
    wait_for("the proposal", LONG, || ana.has("bo/fix", &tip));
    let rejected = ana.lansync(&["--json", "reject", "bo/fix", "-m", "rounds the wrong way"]).json();
    assert_eq!((&rejected["state"], &rejected["reason"]), (&json!("rejected"), &json!("by ana: rounds the wrong way")));
    wait_for("bo hears of it", LONG, || state(&bo) == "rejected");
    assert_eq!(bo.proposal("bo/fix").expect("rejected")["reason"], "by ana: rounds the wrong way");
    assert_eq!(bo.lansync(&["--json", "reject", "bo/fix"]).code(), "role");

    let tip = bo.commit_on("fix", "a.txt", "2\n", "Fix it right");
    wait_for("a new revision is open again", LONG, || ana.has("bo/fix", &tip) && state(&ana) == "open");
    assert_eq!(ana.proposal("bo/fix").expect("open")["reason"], Value::Null);

    assert_eq!(ana.lansync(&["--json", "withdraw", "bo/fix"]).code(), "not-yours");
    let withdrawn = bo.lansync(&["--json", "withdraw", "bo/fix"]).json();
    assert_eq!(withdrawn["state"], "withdrawn");
    wait_for("ana hears of it", LONG, || state(&ana) == "withdrawn");
    assert_eq!(ana.lansync(&["--json", "approve", "bo/fix"]).code(), "withdrawn");
    assert_eq!(ana.lansync(&["--json", "list"]).json(), json!([]));
    wait_for("its ref is gone", LONG, || ana.try_rev("refs/remotes/lansync/@bo/fix").is_none());

    let tip = bo.commit_on("fix", "a.txt", "3\n", "Once more");
    wait_for("offered anew", LONG, || ana.has("bo/fix", &tip) && state(&ana) == "open");
    assert_eq!(ana.land("bo/fix"), tip);
    assert_eq!(wait_until_equal(&[&ana, &bo]), tip);
}

#[test]
fn an_approval_carries_over_to_a_revision_with_the_same_change_and_to_no_other() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    two_maintainers(&ana, &bo);
    let _ = ana.lansync(&["policy", "--approvals", "2"]).ok();
    wait_for("the policy", LONG, || bo.lansync(&["--json", "policy"]).json()["approvals"] == 2);
    let approved_by = |who: &Person<'_>| {
        let all = who.proposal("bo/fix").map_or(Value::Null, |one| one["approvals"].clone());
        all.as_array().map_or(0, |all| all.iter().filter(|one| one["member"] == "ana").count())
    };

    let tip = bo.commit_on("fix", "a.txt", "1\n", "Fix");
    wait_for("the proposal", LONG, || ana.has("bo/fix", &tip));
    let _ = ana.lansync(&["show", "bo/fix"]).ok();
    let _ = ana.lansync(&["approve", "bo/fix"]).ok();
    wait_for("one approval", LONG, || approved_by(&bo) == 1);
    let amend = |title: &str| {
        let _ = bo.git(&["switch", "--quiet", "fix"]);
        let _ = bo.git(&["commit", "--quiet", "--amend", "-m", title]);
        let _ = bo.git(&["switch", "--quiet", "main"]);
        bo.rev("fix")
    };
    let renamed = amend("Fix, and say why");
    wait_for("it carries over", LONG, || bo.has("bo/fix", &renamed) && approved_by(&bo) == 1);

    // Another change waits for another word of hers.
    let other = bo.commit_on("fix", "a.txt", "2\n", "Another change");
    wait_for("another revision", LONG, || ana.has("bo/fix", &other));
    let _ = bo.lansync(&["show", "bo/fix"]).ok();
    let _ = bo.lansync(&["approve", "bo/fix"]).ok();
    wait_for("bo approves", LONG, || {
        let all = ana.proposal("bo/fix").map_or(Value::Null, |one| one["approvals"].clone());
        all.as_array().is_some_and(|all| all.len() == 1 && all[0]["member"] == "bo")
    });
    assert_eq!(approved_by(&ana), 0);
    assert_eq!(ana.land("bo/fix"), other);
    assert_eq!(wait_until_equal(&[&ana, &bo]), other);
}

#[test]
fn what_is_offered_and_what_stays() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.repo("payroll");
    // Before the first `up`.
    let old = ana.commit_on("old-idea", "old.txt", "old\n", "An old idea");
    let older = ana.commit_on("older", "older.txt", "older\n", "An older one");
    let up = ana.up();
    let stays: Vec<&str> =
        up["not_shared"].as_array().expect("a list").iter().filter_map(|b| b["branch"].as_str()).collect();
    assert_eq!(stays, ["old-idea", "older"], "{up}");
    bo.join(&ana, "payroll", "contributor");

    let private = ana.commit_on("private/diary", "diary.txt", "dear diary\n", "Dear diary");
    let wip = ana.commit_on("wip/half", "half.txt", "half\n", "Half of it");
    let _ = ana.git(&["switch", "--quiet", "--detach"]);
    let detached = ana.commit("detached.txt", "nowhere\n", "On no branch");
    let _ = ana.git(&["switch", "--quiet", "main"]);

    // A linked work tree.
    let _ = ana.git(&["worktree", "add", "--quiet", "-b", "feature", "../feature", "main"]);
    ana.go("feature");
    let feature = ana.commit("feature.txt", "feature\n", "A feature");
    ana.go("payroll");
    wait_for("the commit of a linked work tree is offered", LONG, || bo.has("ana/feature", &feature));

    let names = |who: &Person<'_>| -> Vec<String> {
        let list = who.lansync(&["--json", "list"]).json();
        let mut names: Vec<String> = list
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&bo), ["ana/feature"], "the looks before this one offered nothing else");
    for stayed in [&old, &older, &private, &wip, &detached] {
        assert!(!bo.try_git(&["cat-file", "-e", stayed]).status.success(), "{stayed} has left");
    }
    let status = ana.status();
    let mut stays: Vec<&str> =
        status["not_shared"].as_array().expect("a list").iter().filter_map(|one| one["branch"].as_str()).collect();
    stays.sort_unstable();
    assert_eq!(stays, ["old-idea", "older", "private/diary", "wip/half"]);

    let _ = ana.lansync(&["propose", "old-idea"]).ok();
    wait_for("offered by hand", LONG, || bo.has("ana/old-idea", &old));
    let moved = ana.commit_on("older", "older.txt", "newer\n", "It moves");
    wait_for("offered as it moved", LONG, || bo.has("ana/older", &moved));
    assert_eq!(names(&bo), ["ana/feature", "ana/old-idea", "ana/older"]);
    // After a restart too, nothing that stayed goes.
    ana.down();
    let whilst_away = ana.commit_on("later", "later.txt", "later\n", "While nothing ran");
    let _ = ana.up();
    wait_for("what moved while nothing ran is offered", LONG, || bo.has("ana/later", &whilst_away));
    assert_eq!(names(&bo), ["ana/feature", "ana/later", "ana/old-idea", "ana/older"]);
    for stayed in [&private, &wip, &detached] {
        assert!(!bo.try_git(&["cat-file", "-e", stayed]).status.success(), "{stayed} has left");
    }
}

#[test]
fn the_first_commit_of_an_empty_repository_founds_the_project() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.init("payroll");
    assert_eq!(ana.up()["how"], "waiting");
    let first = ana.commit("README", "first\n", "First commit");
    wait_for("founded", LONG, || ana.canonical().as_deref() == Some(first.as_str()));
    bo.join(&ana, "payroll", "contributor");
    assert_eq!(wait_until_equal(&[&ana, &bo]), first);
    let tip = bo.commit_on("fix", "a.txt", "1\n", "Fix");
    wait_for("the proposal", LONG, || ana.has("bo/fix", &tip));
    assert_eq!(ana.land("bo/fix"), tip);
    assert_eq!(wait_until_equal(&[&ana, &bo]), tip);
}

#[test]
fn who_was_away_gets_everything_from_whoever_has_it() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo, on_cy) = (lan.host("ana"), lan.host("bo"), lan.host("cy"));
    let (ana, bo, cy) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"), Person::on(&on_cy, "cy"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    cy.join(&ana, "payroll", "contributor");
    wait_until_equal(&[&ana, &bo, &cy]);

    bo.down();
    offer_and_land(&ana, "one", "one.txt", "1\n");
    let main = offer_and_land(&ana, "two", "two.txt", "2\n");
    let open = ana.commit_on("three", "three.txt", "3\n", "Not landed yet");
    wait_for("cy has all of it", LONG, || cy.has("ana/three", &open) && cy.canonical().as_ref() == Some(&main));
    assert_eq!(wait_until_equal(&[&ana, &cy]), main);
    // What Bo did alone meanwhile goes out as well.
    let his = bo.commit_on("alone", "alone.txt", "alone\n", "Alone");
    ana.down();
    let _ = bo.up();
    wait_for("bo has what ana made, from cy", LONG, || {
        bo.canonical().as_ref() == Some(&main) && bo.has("ana/three", &open)
    });
    wait_for("his clean main follows", LONG, || bo.rev("main") == main);
    wait_for("cy has what bo made", LONG, || cy.has("bo/alone", &his));
    bo.fsck();
    // And Ana, who was away while Bo was back, has it from Cy when Bo has left again.
    assert_eq!(wait_until_equal(&[&bo, &cy]), main);
    bo.down();
    let _ = ana.up();
    wait_for("ana has what bo made, from cy", LONG, || ana.has("bo/alone", &his));
    assert_eq!(wait_until_equal(&[&ana, &cy]), main);
}
