//! Several machines of one member: linked by a ticket, and taken off again.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/refusals.rs"]
mod refusals;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{LONG, lan_or_skip, wait_for};
use refusals::{Person, clone_with_words};
use serde_json::Value;

fn link_ticket(by: &Person<'_>, repo: &Path, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["members", "link", "--json"].iter().chain(more).copied().collect();
    by.lansync(repo, &arguments).ok().json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn machines(who: &Person<'_>, dir: &Path, of: &str) -> Vec<Value> {
    let members = who.lansync(dir, &["members", "--json"]).ok().json();
    let member = members.as_array().expect("a list").iter().find(|member| member["member"] == of).expect("a member");
    member["machines"].as_array().expect("a list").clone()
}

fn offer(who: &Person<'_>, dir: &Path, branch: &str) {
    who.git(dir, &["switch", "-q", "-c", branch, "lansync/main"]);
    who.commit(dir, branch, branch);
}

#[test]
fn a_contributor_links_a_laptop_without_a_maintainer_and_takes_it_off_when_it_is_lost() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "laptop", "cy"].map(|name| lan.host(name));
    let [ana, bo, laptop, cy] = [0, 1, 2, 3].map(|at: usize| Person::new(&hosts[at], hosts[at].name()));
    laptop.git(&laptop.dir, &["config", "--global", "lansync.machine", "Laptop"]);
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let desk = clone_with_words(&bo, "payroll", "payroll", &ana, &repo, &[]);
    wait_for("bo is in", LONG, || bo.status(&desk)["me"]["role"] == "contributor");
    assert_eq!(machines(&bo, &desk, "bo").len(), 1);

    // No maintainer is there, and none is asked.
    ana.down();
    let ticket = link_ticket(&bo, &desk, &[]);
    let wrong = format!("{}{}", &ticket[..ticket.len() - 1], if ticket.ends_with('a') { "b" } else { "a" });
    laptop.lansync(&laptop.dir, &["clone", &wrong, "payroll", "--json"]).refused(&["bad-ticket", "ticket"]);
    let done = laptop.lansync(&laptop.dir, &["clone", &ticket, "payroll", "--json"]).ok().json();
    assert_eq!((&done["member"], &done["project"]["name"]), (&"bo".into(), &"payroll".into()));
    let mobile = laptop.dir.join("payroll");
    assert_eq!(laptop.status(&mobile)["me"]["role"], "contributor");
    // Good once: the same machine may come again, another not.
    laptop.lansync(&laptop.dir, &["clone", &ticket, "again", "--json"]).ok();
    cy.lansync(&cy.dir, &["clone", &ticket, "payroll", "--json"]).refused(&["ticket-spent"]);
    let of_bo = machines(&bo, &desk, "bo");
    let this = |machine: &&Value| machine["this"] == true;
    assert_eq!(of_bo.len(), 2, "{of_bo:?}");
    assert_eq!(of_bo.iter().filter(this).count(), 1);
    let linked = of_bo.iter().find(|machine| machine["this"] == false).expect("the laptop");
    assert_eq!(linked["name"], "Laptop");
    assert_eq!(bo.log(&desk, &["--kind", "link"]).len(), 1);

    // What is done there is Bo's.
    offer(&laptop, &mobile, "from-the-laptop");
    ana.up(&repo);
    ana.proposal(&repo, "bo/from-the-laptop");
    assert_eq!(ana.log(&repo, &["--kind", "grant"]).len(), 1);

    // Lost. Not from itself, and not somebody else's.
    let id = linked["identity"].as_str().expect("an id").to_owned();
    laptop.lansync(&mobile, &["members", "unlink", "Laptop", "--json"]).refused(&["this-machine"]);
    ana.lansync(&repo, &["members", "unlink", &id[..12], "--json"]).refused(&["no-such-machine"]);
    let done = bo.lansync(&desk, &["members", "unlink", &id[..12], "--json"]).ok().json();
    assert_eq!((&done["name"], &done["clones"]), (&"Laptop".into(), &2.into()));
    for (who, dir) in [(&ana, &repo), (&bo, &desk)] {
        wait_for("the laptop is off", LONG, || {
            let peers = who.status(dir)["peers"].as_array().expect("a list").clone();
            machines(who, dir, "bo").len() == 1
                && peers.iter().filter(|peer| peer["member"] == "bo" && peer["connected"] == true).count() <= 1
        });
    }
    // What it had offered stands; what it offers now reaches nobody, and its ticket is spent.
    ana.proposal(&repo, "bo/from-the-laptop");
    laptop.lansync(&laptop.dir, &["clone", &ticket, "more", "--json"]).refused(&["ticket-spent", "not-reached"]);
    offer(&bo, &desk, "from-the-desk");
    ana.proposal(&repo, "bo/from-the-desk");
}

#[test]
fn a_ticket_for_a_machine_ends_with_its_time_and_with_the_sharing() {
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "laptop"].map(|name| lan.host(name));
    let [ana, laptop] = [0, 1].map(|at: usize| Person::new(&hosts[at], hosts[at].name()));
    let repo = ana.repo("payroll");
    ana.up(&repo);
    let before = link_ticket(&ana, &repo, &[]);
    ana.down();
    ana.up(&repo);
    laptop.lansync(&laptop.dir, &["clone", &before, "payroll", "--json"]).refused(&["ticket"]);
    let short = link_ticket(&ana, &repo, &["--expires", "1s"]);
    let made = Instant::now();
    wait_for("its second is over", LONG, || made.elapsed() > Duration::from_secs(1));
    laptop.lansync(&laptop.dir, &["clone", &short, "payroll", "--json"]).refused(&["ticket-expired"]);
    assert!(!laptop.dir.join("payroll").exists(), "nothing was made");
    assert_eq!(ana.log(&repo, &["--kind", "link"]).len(), 0);
}
