//! A service that is killed at any point of the story loses nothing that was acknowledged: started again, it goes on
//! where it was, both repositories are whole, and both logs are equal.
//!
//! The points are random. `LANSYNC_SEED` repeats a run, as far as the machine lets it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use common::{LONG, Person, Running, comes, lan_or_skip, read_words, wait_for, wait_until_equal};
use serde_json::json;

/// Numbers that only look random.
struct Chance(u64);

impl Chance {
    /// From the environment, else from the system; printed.
    fn new(what: &str) -> Self {
        let given = std::env::var("LANSYNC_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| std::collections::hash_map::RandomState::new().build_hasher().finish());
        println!("{what}: LANSYNC_SEED={seed}");
        Self(seed)
    }

    /// Below `bound` (splitmix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Lets up to `millis` pass.
    fn pass(&mut self, millis: u64) -> u64 {
        let wait = self.below(millis);
        let _ = comes(Duration::from_millis(wait), || false);
        wait
    }
}

/// The service starts again; a file that was being written must not be in the way.
fn restart(who: &Person<'_>) {
    assert_eq!(who.services(), [] as [u32; 0]);
    let up = who.up();
    assert_eq!(up["warnings"], json!([]), "{up}");
}

/// What `approve` printed: the commit, if it said that it landed.
fn acknowledged(approve: Running) -> Option<String> {
    let output = approve.wait();
    if !output.status.success() {
        return None;
    }
    let done: serde_json::Value = serde_json::from_str(&output.stdout).expect("one value");
    Some(done["landed"].as_str().expect("one maintainer's approval is enough").to_owned())
}

#[test]
fn a_kill_between_commit_and_landing_loses_nothing() {
    let Some(lan) = lan_or_skip() else { return };
    let mut chance = Chance::new("between commit and landing");
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");

    let mut landed: Vec<String> = Vec::new();
    for round in 0..12 {
        let victim = if chance.below(2) == 0 { &ana } else { &bo };
        let (branch, name) = (format!("fix{round}"), format!("bo/fix{round}"));
        let at_commit = chance.below(2) == 0;
        let tip = bo.commit_on(&branch, &format!("{branch}.txt"), "text\n", &format!("Fix number {round}"));
        if at_commit {
            let after = chance.pass(60);
            println!("round {round}: {} is killed {after} ms after a commit", victim.name);
            victim.kill();
            restart(victim);
        }
        wait_for("the proposal arrives", LONG, || ana.has(&name, &tip));
        let _ = ana.lansync(&["show", &name]).ok();
        let approve = ana.start(&["--json", "approve", &name]);
        if !at_commit {
            let after = chance.pass(120);
            println!("round {round}: {} is killed {after} ms into an approval", victim.name);
            victim.kill();
        }
        landed.extend(acknowledged(approve));
        if !at_commit {
            restart(victim);
        }
        let state = || ana.proposal(&name).expect("it was offered")["state"].clone();
        if state() == "open" && comes(Duration::from_millis(100), || state() == "landed").is_none() {
            // It was killed before it was done: once more. Its node may have completed it by itself meanwhile.
            let again = ana.lansync(&["--json", "approve", &name]);
            if again.status.success() {
                landed.push(again.json()["landed"].as_str().expect("landed").to_owned());
            } else {
                assert_eq!(again.code(), "landed");
            }
        }
        wait_for("it has landed", LONG, || state() == "landed");
        let main = wait_until_equal(&[&ana, &bo]);
        for who in [&ana, &bo] {
            for commit in landed.iter().chain([&tip]) {
                let _ = who.git(&["merge-base", "--is-ancestor", commit, &main]);
            }
            wait_for("the clean local main follows", LONG, || who.rev("main") == main);
            assert_eq!(who.git(&["status", "--porcelain"]), "");
            who.fsck();
        }
    }
    for who in [&ana, &bo] {
        let log = who.log();
        assert!(log.iter().all(|event| event["void"].is_null()), "{log:#?}");
        let lands = log.iter().filter(|event| event["kind"] == "land").count();
        assert!(lands >= 12, "{lands}");
        assert_eq!(who.branch("main")["state"], "ok");
    }
}

/// Clones again. Who was let in already is known, and is not asked for words.
fn once_more(new: &Person<'_>, by: &Person<'_>) {
    let mut clone = new.start(&["--yes", "clone", "payroll"]);
    let mut words = false;
    wait_for("words or the end", LONG, || {
        words = read_words(&clone.stderr()).is_some();
        words || clone.ended()
    });
    if words {
        by.accept(&clone, "contributor");
    }
    let _ = clone.wait().ok();
}

/// Killed in the moment in which HEAD is written.
#[test]
fn the_locks_of_a_checkout_that_was_killed_are_not_in_the_way() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.repo("payroll");
    ana.commit("pay.txt", "one\n", "Pay");
    let _ = ana.up();
    let clone = bo.start(&["--yes", "clone", "payroll"]);
    ana.accept(&clone, "contributor");
    let _ = clone.wait().ok();
    bo.go("payroll");
    let main = wait_until_equal(&[&ana, &bo]);
    let _ = bo.lansync(&["down"]).ok();
    let root = bo.home().join("payroll");
    let git = root.join(".git");
    for gone in [root.join("pay.txt"), git.join("index"), git.join("refs/heads/main")] {
        std::fs::remove_file(gone).expect("it was there");
    }
    for left in ["lansync/checkout-unfinished", "index.lock", "HEAD.lock", "refs/heads/main.lock"] {
        std::fs::write(git.join(left), "").expect("written");
    }
    let _ = bo.up();
    wait_for("main is checked out", LONG, || bo.try_rev("main").as_ref() == Some(&main));
    wait_for("with its files", LONG, || bo.git(&["status", "--porcelain"]).is_empty());
    bo.fsck();
}

#[test]
fn a_kill_while_somebody_joins_leaves_a_clone_that_completes() {
    let Some(lan) = lan_or_skip() else { return };
    let mut chance = Chance::new("while somebody joins");
    let on_ana = lan.host("ana");
    let ana = Person::on(&on_ana, "ana");
    ana.repo("payroll");
    for number in 0..20 {
        ana.commit(&format!("files/{number}.txt"), &"line\n".repeat(500 * number), &format!("File {number}"));
    }
    let _ = ana.up();
    let on_new = lan.host("new");
    for round in 0..6 {
        let new = Person::on(&on_new, &format!("new{round}"));
        let clone = new.start(&["--yes", "clone", "payroll"]);
        ana.accept(&clone, "contributor");
        let victim = if chance.below(3) == 0 { &ana } else { &new };
        let after = chance.pass(350);
        println!("round {round}: {} is killed {after} ms after the welcome", victim.name);
        victim.kill();
        if victim.name == "ana" {
            restart(&ana);
        }
        let cloned = clone.wait();
        let inside = new.home().join("payroll");
        if !cloned.status.success() {
            println!("round {round}: {}", cloned.stderr.trim_end());
            if inside.join(".git/lansync/log.redb").exists() {
                new.go("payroll");
                let _ = new.up();
                new.go("");
            } else {
                if inside.join(".git").exists() {
                    new.go("payroll");
                    assert_eq!(new.lansync(&["--json", "up", "-d"]).code(), "clone-unfinished");
                    new.go("");
                }
                once_more(&new, &ana);
            }
        } else if new.services().is_empty() {
            // It was there before the kill.
            new.go("payroll");
            restart(&new);
        }
        new.go("payroll");
        let main = wait_until_equal(&[&ana, &new]);
        wait_for("main is checked out", LONG, || new.try_rev("main").as_ref() == Some(&main));
        wait_for("with its files", LONG, || new.git(&["status", "--porcelain"]).is_empty());
        new.fsck();
        let tip = new.commit_on(&format!("hello{round}"), "hello.txt", "hello\n", "Say hello");
        if round % 2 == 1 {
            // Few may ask in one minute: a service that starts afresh counts from nought.
            ana.kill();
            restart(&ana);
        }
        wait_for("and takes part", LONG, || ana.has(&format!("{}/hello{round}", new.name), &tip));
    }
    ana.fsck();
}
