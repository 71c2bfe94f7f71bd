//! From two machines to the first landing; commits and approvals.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::TIMES;
use crate::measure::{figure, ms, secs, spread, wait_for};
use crate::netns::Lan;
use crate::people::{Daemon, Person, join, keeps, lansync, plain_git, read_ref};

/// From two machines to the first landing.
pub(crate) fn story(lan: &Lan, stage: &Path, own: &Path) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(own, "payroll");
    let begun = Instant::now();
    ana.lansync(&hers, &["up", "-d"]);
    let up = begun.elapsed();
    let his = join(&ana, &hers, &bo, "payroll");
    let joined = begun.elapsed();
    bo.git(&his, &["switch", "-q", "-c", "fix"]);
    let (commit, _) = bo.commit(&his, "README.md", 1);
    wait_for("the proposal", Duration::from_secs(10), || {
        read_ref(&hers, "refs/remotes/lansync/@bo/fix").filter(|at| *at == commit)
    });
    ana.lansync(&hers, &["show", "bo/fix"]);
    ana.lansync(&hers, &["approve", "bo/fix"]);
    for (dir, name) in [(&his, "remotes/lansync/main"), (&hers, "remotes/lansync/main"), (&hers, "heads/main")] {
        wait_for(name, Duration::from_secs(10), || read_ref(dir, &format!("refs/{name}")).filter(|at| *at == commit));
    }
    let total = begun.elapsed();
    figure("join, clone and first landing (bound 10 s)", secs(total));
    figure("  up", secs(up));
    figure("  join and clone", secs(joined - up));
    figure("  commit, show, approve, landed on both", secs(total - joined));
}

/// From the end of `git commit` to objects and ref on the other host; beside it, what `git fetch` takes for the same.
pub(crate) fn commits(lan: &Lan, stage: &Path, from: &Path, what: &str) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(from, "payroll");
    ana.lansync(&hers, &["up", "-d"]);
    let his = join(&ana, &hers, &bo, "payroll");
    let served = Daemon::start(&bo, &bo.home);
    let fetching = ana.home.join("fetching");
    plain_git(&ana.home, &["clone", "-q", "--no-hardlinks", from.to_str().expect("UTF-8"), "fetching"]);
    let url = served.url("payroll");
    bo.git(&his, &["switch", "-q", "-c", "fix"]);
    let (mut times, mut fetched) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        let (commit, ended) = bo.commit(&his, "README.md", number);
        let came = wait_for("the commit", Duration::from_secs(20), || {
            let at = read_ref(&hers, "refs/remotes/lansync/@bo/fix")?;
            // A ref can be read a little before its directories are synced. After that the pack needs no `.keep`.
            (at == commit && !keeps(&hers)).then(Instant::now)
        });
        times.push(came - ended);
        // What `git commit` starts at its end (housekeeping) and this check are outside of what is timed.
        ana.git(&hers, &["rev-list", "--objects", "-1", &commit]);
        let begun = Instant::now();
        ana.git(&fetching, &["fetch", "-q", &url, "+refs/heads/fix:refs/remotes/bo/fix"]);
        fetched.push(begun.elapsed());
    }
    figure(&format!("commit to ref on the other host, {what} (bound 100 ms)"), spread(&times, ms));
    figure(&format!("  git fetch of the same commit over git://, {what}"), spread(&fetched, ms));
}

/// From the start of `approve` to `lansync/main` on the other host.
pub(crate) fn approvals(lan: &Lan, stage: &Path, own: &Path) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(own, "payroll");
    ana.lansync(&hers, &["up", "-d"]);
    let his = join(&ana, &hers, &bo, "payroll");
    let (mut moved, mut commands) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        let branch = format!("fix-{number}");
        bo.git(&his, &["switch", "-q", "-c", &branch]);
        let (commit, _) = bo.commit(&his, "README.md", number);
        wait_for("the proposal", Duration::from_secs(10), || {
            read_ref(&hers, &format!("refs/remotes/lansync/@bo/{branch}")).filter(|at| *at == commit)
        });
        let name = format!("bo/{branch}");
        ana.lansync(&hers, &["show", &name]);
        let mut approve = ana.command(&hers, &lansync(), &["approve", &name]);
        approve.stdout(Stdio::null()).stderr(Stdio::piped());
        let begun = Instant::now();
        let approve = approve.spawn().expect("lansync");
        // The command is waited for beside the look at the other host: it may end before or after.
        let ended = std::thread::spawn(move || {
            let out = approve.wait_with_output().expect("it ends");
            assert!(out.status.success(), "approve: {}", String::from_utf8_lossy(&out.stderr));
            Instant::now()
        });
        let came = wait_for("the landing", Duration::from_secs(10), || {
            let at = read_ref(&his, "refs/remotes/lansync/main")?;
            (at == commit).then(Instant::now)
        });
        moved.push(came - begun);
        commands.push(ended.join().expect("it approved") - begun);
    }
    figure("approve to lansync/main on the other host (bound 100 ms)", spread(&moved, ms));
    figure("  approve, until the command ends", spread(&commands, ms));
}
