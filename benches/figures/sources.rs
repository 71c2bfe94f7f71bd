//! A clone of which two have what is wanted, each on a slow line, beside the same from one of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::clone::Link;
use crate::measure::{figure, median, secs, spread, wait_for};
use crate::netns::Lan;
use crate::people::{Daemon, Person, join};

/// How often each is timed: with the first two, six may ask to join in a minute.
const CLONES: usize = 2;

/// What those who have it send: an office on a line of its own, or a wireless network that is full.
pub(crate) const LINES: [Link; 2] = [
    Link { name: " at 10 Mbit/s", rate: Some(10_000_000), delay: 0 },
    Link { name: " at 50 Mbit/s", rate: Some(50_000_000), delay: 0 },
];

/// `git clone` and `lansync clone` from one, and `lansync clone` where two have it.
pub(crate) fn sources(lan: &Lan, stage: &Path, from: &Path, what: &str, line: Link) {
    let what = &format!("{what}{}", line.name);
    let hosts = ["ana", "bo", "cy"].map(|name| lan.host(name));
    let [ana, bo, cy] = hosts.each_ref().map(|host| Person::new(host, stage));
    let hers = ana.repository(from, "payroll");
    ana.lansync(&hers, &["up", "-d"]);
    let his = join(&ana, &hers, &bo, "payroll");
    // The first time words are read out; a member's next clone needs none.
    let first = join(&ana, &hers, &cy, "payroll");
    let listed = hers.join(".git/lansync/inventory");
    wait_for("what the history consists of", Duration::from_secs(60), || listed.exists().then_some(()));
    let daemon = Daemon::start(&ana, &ana.home);
    let url = daemon.url("payroll");
    line.shape(&hosts[0]);
    line.shape(&hosts[1]);
    let timed = |run: &mut dyn FnMut()| {
        let (before, begun) = (hosts.each_ref().map(|host| host.sent()), Instant::now());
        run();
        let took = begun.elapsed();
        (took, [0, 1].map(|at| hosts[at].sent() - before[at]))
    };
    let connected = |count: usize| {
        wait_for("who is here", Duration::from_secs(60), || {
            let status: serde_json::Value = serde_json::from_str(&ana.lansync(&hers, &["status", "--json"])).ok()?;
            let connected = status["peers"].as_array()?.iter().filter(|peer| peer["connected"] == true).count();
            (connected == count).then_some(())
        });
    };
    let clone = |name: &str| {
        let timed = timed(&mut || drop(cy.lansync(&cy.home, &["--yes", "clone", "payroll", name])));
        let into = cy.home.join(name);
        assert_eq!(cy.git(&into, &["status", "--porcelain"]), "", "files that differ");
        assert_eq!(cy.git(&into, &["rev-parse", "HEAD"]), ana.git(&hers, &["rev-parse", "main"]));
        cy.lansync(&into, &["down"]);
        timed
    };
    cy.lansync(&first, &["down"]);
    let (mut gits, mut ones, mut twos) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..CLONES {
        let name = format!("git-clone-{round}");
        let git = ["clone", "-q", "--single-branch", "-b", "main", &url, &name];
        gits.push(timed(&mut || drop(cy.git(&cy.home, &git))));
        bo.lansync(&his, &["down"]);
        connected(0);
        ones.push(clone(&format!("one-{round}")));
        bo.lansync(&his, &["up", "-d"]);
        connected(1);
        twos.push(clone(&format!("two-{round}")));
    }
    let times = |all: &[(Duration, [u64; 2])]| all.iter().map(|(took, _)| *took).collect::<Vec<_>>();
    let [gits, one, two] = [gits, ones, twos.clone()].map(|all| times(&all));
    figure(&format!("  git clone over git://, {what}"), spread(&gits, secs));
    figure(&format!("  lansync clone where one has it, {what}"), spread(&one, secs));
    figure(&format!("  lansync clone where two have it, {what}"), spread(&two, secs));
    let ratio = median(&two).as_secs_f64() / median(&one).as_secs_f64();
    figure(&format!("clone from two against one, {what}"), format!("{ratio:.2}"));
    let (_, [hers, his]) = twos[0];
    figure(&format!("  bytes that left each of the two, {what}"), format!("{hers} and {his}"));
}
