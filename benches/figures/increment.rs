//! A commit of ten files.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::TIMES;
use crate::measure::{figure, median, middle, ms, passed, settled, spread, wait_for};
use crate::netns::Lan;
use crate::people::{Daemon, Person, join, keeps, plain_git, read_ref};

/// A commit of ten files to the other host, and beside it `git push` and `git fetch` through a bare repository there:
/// times, and what passes the cable in both directions.
pub(crate) fn increments(lan: &Lan, stage: &Path, from: &Path, what: &str) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(from, "payroll");
    let objects = ana.git(&hers, &["rev-list", "--objects", "--all"]).lines().count();
    figure(&format!("commit of 10 files, {what}"), format!("{objects} objects"));
    ana.lansync(&hers, &["up", "-d"]);
    let his = join(&ana, &hers, &bo, "payroll");
    let from = from.to_str().expect("UTF-8");
    plain_git(&ana.home, &["clone", "-q", "--bare", "--no-hardlinks", from, "bare"]);
    plain_git(&ana.home, &["clone", "-q", "--no-hardlinks", from, "fetching"]);
    let served = Daemon::start(&ana, &ana.home);
    let url = served.url("bare");
    bo.git(&his, &["switch", "-q", "-c", "fix"]);
    let tracked = bo.git(&his, &["ls-files", "*.c", "*.h", "*.txt"]);
    let tracked: Vec<String> = tracked.lines().map(str::to_owned).collect();
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    let (mut our_bytes, mut git_bytes) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        let files: Vec<String> = (0..10).map(|at| tracked[(number * 31 + at * 97) % tracked.len()].clone()).collect();
        let before = passed(&b);
        let (commit, ended) = bo.commit_all(&his, &files, number);
        let came = wait_for("the commit", Duration::from_secs(20), || {
            let at = read_ref(&hers, "refs/remotes/lansync/@bo/fix")?;
            (at == commit && !keeps(&hers)).then(Instant::now)
        });
        ours.push(came - ended);
        our_bytes.push(settled(&b) - before);
        ana.git(&hers, &["rev-list", "--objects", "-1", &commit]);

        let before = passed(&b);
        let begun = Instant::now();
        bo.git(&his, &["push", "-q", &url, "fix"]);
        ana.git(&ana.home.join("fetching"), &["fetch", "-q", &url, "+refs/heads/fix:refs/remotes/bo/fix"]);
        gits.push(begun.elapsed());
        git_bytes.push(settled(&b) - before);
    }
    let ratio = median(&ours).as_secs_f64() / median(&gits).as_secs_f64();
    figure(&format!("  commit of 10 files to durable on the other host, {what}"), spread(&ours, ms));
    figure(&format!("  git push and git fetch of it, {what}"), spread(&gits, ms));
    figure(&format!("  the one against the other, {what} (bound 0.3)"), format!("{ratio:.2}"));
    let (ours, gits) = (middle(&our_bytes), middle(&git_bytes));
    figure(&format!("  bytes on the cable, both ways, {what} (bound git's)"), format!("{ours}, git {gits}"));
}
