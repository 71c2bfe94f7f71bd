//! The figures that lansync is held to, each printed as `name: value`, with what it is compared with measured in
//! the same run. Two hosts are two network namespaces on this machine, so both share its cores and its disk.
//!
//! `scripts/figures` runs all; `scripts/figures story commit increment approve clone links sources idle stages` chooses.
//! `LANSYNC_REPOSITORY` names a repository to use where one of 90,000 objects is needed, with a branch `main`; else one is made. docs/figures.md explains.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

#[path = "figures/clone.rs"]
mod clone;
#[path = "figures/history.rs"]
mod history;
#[path = "figures/idle.rs"]
mod idle;
#[path = "figures/increment.rs"]
mod increment;
#[path = "figures/measure.rs"]
mod measure;
#[path = "../tests/common/netns.rs"]
mod netns;
#[path = "figures/people.rs"]
mod people;
#[path = "figures/sources.rs"]
mod sources;
#[path = "figures/stages.rs"]
mod stages;
#[path = "figures/story.rs"]
mod story;

use clone::Link;
use netns::Lan;
use people::plain_git;

/// How often commits and approvals are timed.
const TIMES: usize = 30;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let stage = tempfile::tempdir().expect("a temporary directory");
    measure::machine(stage.path());
    // The project's own history, as a repository without anything of this machine's settings.
    let own = stage.path().join("own");
    plain_git(stage.path(), &["clone", "-q", "--no-hardlinks", env!("CARGO_MANIFEST_DIR"), "own"]);
    plain_git(&own, &["switch", "-q", "-C", "main"]);
    // Loose objects would make git look for deltas each time, and flatter us.
    plain_git(&own, &["repack", "-a", "-d", "-q"]);
    let many = stage.path().join("many");
    if ["clone", "links", "sources", "commit", "increment", "idle", "stages"].into_iter().any(wanted) {
        match std::env::var("LANSYNC_REPOSITORY") {
            Ok(named) => {
                drop(plain_git(stage.path(), &["clone", "-q", "--no-hardlinks", "-b", "main", &named, "many"]))
            }
            Err(_) => history::generate(&many),
        }
    }
    let large = "90,000 objects";
    if wanted("stages") {
        stages::stages(&stage.path().join("stages"), &many, large);
    }
    if wanted("story") {
        story::story(&lan, &stage.path().join("story"), &own);
    }
    if wanted("commit") {
        story::commits(&lan, &stage.path().join("commit"), &own, "own history");
        story::commits(&lan, &stage.path().join("commit-many"), &many, large);
    }
    if wanted("increment") {
        increment::increments(&lan, &stage.path().join("increment"), &many, large);
    }
    if wanted("approve") {
        story::approvals(&lan, &stage.path().join("approve"), &own);
    }
    if wanted("clone") {
        let link = Link { name: "", rate: None, delay: 0 };
        clone::clones(&lan, &stage.path().join("clone-many"), &many, large, link);
        clone::clones(&lan, &stage.path().join("clone"), &own, "own history", link);
    }
    if wanted("links") {
        let gigabit = Link { name: " at 1 Gbit/s", rate: Some(1_000_000_000), delay: 0 };
        let hundred = Link { name: " at 100 Mbit/s with 20 ms", rate: Some(100_000_000), delay: 10 };
        clone::clones(&lan, &stage.path().join("clone-gigabit"), &many, large, gigabit);
        clone::clones(&lan, &stage.path().join("clone-hundred"), &many, large, hundred);
    }
    if wanted("sources") {
        for line in sources::LINES {
            let stage = stage.path().join(format!("sources{}", line.rate.unwrap_or(0)));
            sources::sources(&lan, &stage, &many, large, line);
        }
    }
    if wanted("idle") {
        idle::idle(&lan, &stage.path().join("idle"), &own, &many);
    }
}
