//! The figures that lansync is held to, each printed as `name: value`, with what it is compared with measured in
//! the same run. Two hosts are two network namespaces on this machine, so both share its cores and its disk.
//!
//! `scripts/figures` runs all; `scripts/figures story commit increment approve clone idle` chooses. docs/figures.md explains.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

#[path = "../tests/common/netns.rs"]
mod netns;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netns::{Host, Lan};

/// How often commits and approvals are timed.
const TIMES: usize = 30;
/// How often each of two clones is timed.
const CLONES: usize = 5;
/// How long an idle service is watched.
const IDLE: Duration = Duration::from_secs(30);

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let stage = tempfile::tempdir().expect("a temporary directory");
    machine(stage.path());
    // The project's own history, as a repository without anything of this machine's settings.
    let own = stage.path().join("own");
    plain_git(stage.path(), &["clone", "-q", "--no-hardlinks", env!("CARGO_MANIFEST_DIR"), "own"]);
    plain_git(&own, &["switch", "-q", "-C", "main"]);
    // Loose objects would make git look for deltas each time, and flatter us.
    plain_git(&own, &["repack", "-a", "-d", "-q"]);
    let many = stage.path().join("many");
    if ["clone", "commit", "increment", "idle"].into_iter().any(wanted) {
        generate(&many);
    }
    if wanted("story") {
        story(&lan, &stage.path().join("story"), &own);
    }
    if wanted("commit") {
        commits(&lan, &stage.path().join("commit"), &own, "own history");
        commits(&lan, &stage.path().join("commit-many"), &many, "90,000 objects");
    }
    if wanted("increment") {
        increments(&lan, &stage.path().join("increment"), &many, "90,000 objects");
    }
    if wanted("approve") {
        approvals(&lan, &stage.path().join("approve"), &own);
    }
    if wanted("clone") {
        clones(&lan, &stage.path().join("clone-many"), &many, "90,000 objects");
        clones(&lan, &stage.path().join("clone"), &own, "own history");
    }
    if wanted("idle") {
        idle(&lan, &stage.path().join("idle"), &own, &many);
    }
}

/// The program that is measured: the one just built, or another that `LANSYNC` names.
fn lansync() -> String {
    std::env::var("LANSYNC").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lansync").to_owned())
}

/// One figure.
fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn secs(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Median, and the range.
fn spread(times: &[Duration], show: fn(Duration) -> String) -> String {
    let (min, max) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
    format!("{} (median of {}, {} to {})", show(median(times)), times.len(), show(*min), show(*max))
}

/// What it runs on, and what a durable write costs here, which is part of every figure about commits.
fn machine(dir: &Path) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    figure("machine", format!("{cores} cores, {cpu}, Linux {}", kernel.trim()));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    figure("load before the run", load.split(' ').next().unwrap_or_default());
    let times: Vec<Duration> = (0..50)
        .map(|_| {
            let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
            file.write_all(&[7; 4096]).expect("written");
            let begun = Instant::now();
            file.sync_all().expect("synced");
            begun.elapsed()
        })
        .collect();
    figure("fsync of 4 KiB here", spread(&times, ms));
}

/// Waits for a condition, looking 5,000 times a second, which costs a core little.
fn wait_for<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < bound, "waited for {what} for {bound:?} in vain");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// Somebody with a home on a host.
struct Person<'a> {
    host: &'a Host<'a>,
    home: PathBuf,
}

impl<'a> Person<'a> {
    fn new(host: &'a Host<'a>, stage: &Path) -> Self {
        let home = stage.join(host.name());
        std::fs::create_dir_all(&home).expect("a home");
        let person = Self { host, home };
        let name = host.name();
        person.git(&person.home, &["config", "--global", "user.name", name]);
        person.git(&person.home, &["config", "--global", "user.email", &format!("{name}@example.org")]);
        person
    }

    fn command(&self, dir: &Path, program: &str, args: &[&str]) -> Command {
        let mut command = self.host.command(program);
        command.args(args).current_dir(dir).stdin(Stdio::null());
        hermetic(&mut command, &self.home);
        command
    }

    fn lansync(&self, dir: &Path, args: &[&str]) -> String {
        output(self.command(dir, &lansync(), args))
    }

    fn git(&self, dir: &Path, args: &[&str]) -> String {
        output(self.command(dir, "git", args))
    }

    /// A work tree with the history of `from`.
    fn repository(&self, from: &Path, name: &str) -> PathBuf {
        let dir = self.home.join(name);
        plain_git(&self.home, &["clone", "-q", "--no-hardlinks", from.to_str().expect("UTF-8"), name]);
        self.git(&dir, &["remote", "remove", "origin"]);
        dir
    }

    /// Changes a file and commits; returns the commit, and when `git commit` had ended.
    fn commit(&self, dir: &Path, file: &str, number: usize) -> (String, Instant) {
        self.commit_all(dir, &[file.to_owned()], number)
    }

    /// The same with several files.
    fn commit_all(&self, dir: &Path, files: &[String], number: usize) -> (String, Instant) {
        for file in files {
            let mut old = std::fs::read_to_string(dir.join(file)).expect("a text");
            writeln!(old, "A line of change number {number}.").expect("a string takes it");
            std::fs::write(dir.join(file), old).expect("written");
        }
        self.git(dir, &["commit", "-q", "-a", "-m", &format!("Change number {number}")]);
        let ended = Instant::now();
        (self.git(dir, &["rev-parse", "HEAD"]), ended)
    }

    /// The process of this person's service.
    fn service(&self, dir: &Path) -> Option<u32> {
        let out = self.command(dir, &lansync(), &["doctor", "--json"]).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout);
        text.split("process ").nth(1)?.split(',').next()?.parse().ok()
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        let dir = self.home.clone();
        let service = self.service(&dir);
        let _ = self.command(&dir, &lansync(), &["down", "--all"]).output();
        if let Some(pid) = service.filter(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
    }
}

fn hermetic(command: &mut Command, home: &Path) {
    for key in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "XDG_CONFIG_HOME"] {
        command.env_remove(key);
    }
    command
        .env("HOME", home)
        .env("LANSYNC_HOME", home.join(".lansync"))
        .env("GIT_CONFIG_GLOBAL", home.join(".gitconfig"))
        .env("GIT_CONFIG_NOSYSTEM", "1");
}

fn plain_git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir);
    hermetic(&mut command, dir);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    output(command)
}

fn output(mut command: Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{said}{wrong}", out.status);
    said.trim().to_owned()
}

/// What a ref file holds.
fn read_ref(dir: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(".git").join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// Is a pack kept from git's housekeeping, since its ref is not durable yet?
fn keeps(dir: &Path) -> bool {
    let packs = std::fs::read_dir(dir.join(".git/objects/pack")).into_iter().flatten().flatten();
    packs.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "keep"))
}

/// Two people in one project: the first has the repository, the second clones it and reads out the words.
fn join(ana: &Person<'_>, shared: &Path, bo: &Person<'_>, name: &str) -> PathBuf {
    let args = ["--yes", "clone", name];
    let mut command = bo.command(&bo.home, &lansync(), &args);
    let mut clone = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("lansync");
    let stderr = BufReader::new(clone.stderr.take().expect("piped"));
    let mut said = String::new();
    for line in stderr.lines() {
        let line = line.expect("text");
        if let Some((_, words)) = line.split_once("Read these words to").and_then(|(_, rest)| rest.split_once(": ")) {
            let mut args = vec!["members", "accept"];
            args.extend(words.split(' '));
            ana.lansync(shared, &args);
        }
        said.push_str(&line);
        said.push('\n');
    }
    assert!(clone.wait().expect("it ends").success(), "{said}");
    bo.home.join(name)
}

/// From two machines to the first landing.
fn story(lan: &Lan, stage: &Path, own: &Path) {
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
fn commits(lan: &Lan, stage: &Path, from: &Path, what: &str) {
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

/// A commit of ten files to the other host, and beside it `git push` and `git fetch` through a bare repository there:
/// times, and what passes the cable in both directions.
fn increments(lan: &Lan, stage: &Path, from: &Path, what: &str) {
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
    let tracked = bo.git(&his, &["ls-files", "src"]);
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
    let middle = |bytes: &mut Vec<u64>| {
        bytes.sort_unstable();
        bytes[bytes.len() / 2]
    };
    let ratio = median(&ours).as_secs_f64() / median(&gits).as_secs_f64();
    figure(&format!("  commit of 10 files to durable on the other host, {what}"), spread(&ours, ms));
    figure(&format!("  git push and git fetch of it, {what}"), spread(&gits, ms));
    figure(&format!("  the one against the other, {what} (bound 0.3)"), format!("{ratio:.2}"));
    let (ours, gits) = (middle(&mut our_bytes), middle(&mut git_bytes));
    figure(&format!("  bytes on the cable, both ways, {what} (bound git's)"), format!("{ours}, git {gits}"));
}

/// What is left to say is said by then.
fn settled(host: &Host<'_>) -> u64 {
    std::thread::park_timeout(Duration::from_millis(100));
    passed(host)
}

/// Bytes that a host has sent and received so far, all of every packet.
fn passed(host: &Host<'_>) -> u64 {
    let mut command = host.command("cat");
    command.arg("/proc/net/dev");
    let said = output(command);
    let line = said.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("a host has eth0");
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().expect("a number")).collect();
    fields[0] + fields[8]
}

/// From the start of `approve` to `lansync/main` on the other host.
fn approvals(lan: &Lan, stage: &Path, own: &Path) {
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

/// `git daemon` on a person's host.
struct Daemon {
    child: Child,
    at: String,
}

impl Daemon {
    fn start(person: &Person<'_>, base: &Path) -> Self {
        let daemon = Path::new(&person.git(base, &["--exec-path"])).join("git-daemon");
        let base = base.to_str().expect("UTF-8");
        let args = ["--export-all", "--enable=receive-pack", "--reuseaddr", &format!("--base-path={base}"), base];
        // It refuses directories of others in some set-ups; all of these are ours.
        person.git(Path::new(base), &["config", "--global", "safe.directory", "*"]);
        let mut command = person.command(Path::new(base), daemon.to_str().expect("UTF-8"), &args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git daemon");
        let at = format!("git://{}", person.host.ip());
        Self { child, at }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `lansync clone` and `git clone` over git:// between the same hosts, by turns, each with the files checked out.
fn clones(lan: &Lan, stage: &Path, from: &Path, what: &str) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(from, "payroll");
    let objects = ana.git(&hers, &["rev-list", "--objects", "--all"]).lines().count();
    ana.lansync(&hers, &["up", "-d"]);
    let daemon = Daemon::start(&ana, &ana.home);
    // The first time words are read out, which takes as long as people take. A member's next clone needs none.
    let first = join(&ana, &hers, &bo, "payroll");
    let files = bo.git(&first, &["ls-files"]).lines().count();
    figure(&format!("clone, {what}"), format!("{objects} objects, {files} files"));
    bo.lansync(&first, &["down"]);
    std::fs::remove_dir_all(&first).expect("removed");
    // Another project keeps the service up, as it is on most days.
    let other = bo.home.join("other");
    plain_git(&bo.home, &["init", "-q", "other"]);
    bo.git(&other, &["commit", "-q", "--allow-empty", "-m", "One"]);
    bo.lansync(&other, &["up", "-d"]);
    let url = daemon.url("payroll");
    let services = [(&ana, &hers), (&bo, &other)].map(|(who, dir)| who.service(dir).expect("the service's process"));
    let (mut ours, mut inside, mut gits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_cpu, mut git_cpu) = (Vec::new(), Vec::new());
    for _ in 0..CLONES {
        let into = bo.home.join("git-clone");
        let (begun, before) = (Instant::now(), spent(&[daemon.child.id()]));
        bo.git(&bo.home, &["clone", "-q", &url, "git-clone"]);
        gits.push(begun.elapsed());
        git_cpu.push(spent(&[daemon.child.id()]) - before);
        std::fs::remove_dir_all(&into).expect("removed");

        let into = bo.home.join("lansync-clone");
        let (begun, before) = (Instant::now(), spent(&services));
        let done = bo.lansync(&bo.home, &["--yes", "--json", "clone", "payroll", "lansync-clone", "--no-up"]);
        ours.push(begun.elapsed());
        our_cpu.push(spent(&services) - before);
        let done: serde_json::Value = serde_json::from_str(&done).expect("JSON");
        inside.push(Duration::from_secs_f64(done["seconds"].as_f64().expect("a number")));
        assert_eq!(bo.git(&into, &["status", "--porcelain"]), "", "files that differ");
        assert_eq!(bo.git(&into, &["rev-parse", "HEAD"]), ana.git(&hers, &["rev-parse", "main"]));
        std::fs::remove_dir_all(&into).expect("removed");
    }
    figure(&format!("  git clone over git://, {what}"), spread(&gits, secs));
    figure(&format!("  lansync clone, {what}"), spread(&ours, secs));
    figure(&format!("    of it log and objects, {what}"), spread(&inside, secs));
    let ratio = median(&ours).as_secs_f64() / median(&gits).as_secs_f64();
    figure(&format!("clone against git clone, {what} (bound 1.5)"), format!("{ratio:.2}"));
    // On a machine that is busy with other things, this says more than the clock does.
    figure(&format!("  git clone, processor time of both sides, {what}"), spread(&git_cpu, secs));
    figure(&format!("  lansync clone, processor time of both sides, {what}"), spread(&our_cpu, secs));
    let ratio = median(&our_cpu).as_secs_f64() / median(&git_cpu).as_secs_f64();
    figure(&format!("  the one against the other, {what}"), format!("{ratio:.2}"));
}

/// Processor time of these processes, of their children that have ended, and of our children that have ended.
fn spent(processes: &[u32]) -> Duration {
    // In hundredths of a second, which Linux has settled on for what it shows.
    let of = |process: &str, fields: std::ops::Range<usize>| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // The name, in brackets, may hold anything; utime, stime, cutime and cstime are numbers 11 to 14 after it.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields = after.split_whitespace().skip(fields.start).take(fields.len());
        fields.map(|field| field.parse::<u64>().unwrap_or(0)).sum()
    };
    let all = processes.iter().map(|process| of(&process.to_string(), 11..15)).sum::<u64>() + of("self", 13..15);
    Duration::from_millis(all * 10)
}

/// A service with three repositories that nobody touches: alone, and with a peer that has one of them.
fn idle(lan: &Lan, stage: &Path, own: &Path, many: &Path) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers: Vec<PathBuf> = ["payroll", "ledger", "website"].iter().map(|name| ana.repository(own, name)).collect();
    for (number, dir) in hers.iter().enumerate() {
        // Three projects, not three clones of one.
        ana.git(dir, &["switch", "-q", "--orphan", "fresh"]);
        std::fs::write(dir.join("README.md"), format!("Project {number}\n")).expect("written");
        ana.git(dir, &["add", "README.md"]);
        ana.git(dir, &["commit", "-q", "-m", "Begin"]);
        ana.git(dir, &["branch", "-q", "-D", "main"]);
        ana.git(dir, &["branch", "-q", "-m", "main"]);
        ana.lansync(dir, &["up", "-d"]);
    }
    let service = ana.service(&hers[0]).expect("the service's process");
    watch(service, "three repositories, alone");
    let _his = join(&ana, &hers[0], &bo, "payroll");
    watch(service, "three repositories, one peer connected");
    // What was used once must not stay for ever.
    ana.lansync(&hers[2], &["down"]);
    let large = ana.repository(many, "large");
    ana.lansync(&large, &["up", "-d"]);
    let his = join(&ana, &large, &bo, "large");
    watch(service, "three repositories, one of 90,000 objects just served");
    let his_service = bo.service(&his).expect("the service's process");
    watch(his_service, "two repositories, one of 90,000 objects just cloned");
}

fn watch(service: u32, what: &str) {
    // What was just started comes to rest.
    std::thread::park_timeout(IDLE);
    let before = switches(service);
    let begun = Instant::now();
    std::thread::park_timeout(IDLE);
    let after = switches(service);
    let seconds = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{service}/status")).expect("it runs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.trim().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    figure(
        &format!("resident, {what} (bound 30 MiB)"),
        format!(
            "{:.1} MiB, {:.1} of it anonymous, {} threads",
            field("VmRSS:") as f64 / 1024.0,
            field("RssAnon:") as f64 / 1024.0,
            field("Threads:")
        ),
    );
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (thread, (name, count)) in &after {
        let count = count - before.get(thread).map_or(0, |(_, count)| *count);
        *by_name.entry(name).or_default() += count;
    }
    let all: u64 = by_name.values().sum();
    figure(&format!("times a second that threads woke, {what}"), format!("{:.2}", all as f64 / seconds));
    for (name, count) in by_name.into_iter().filter(|(_, count)| *count > 0) {
        figure(&format!("  {name}"), format!("{:.2}", count as f64 / seconds));
    }
}

/// How often each thread has gone to sleep: its name and the count, by id.
fn switches(process: u32) -> BTreeMap<String, (String, u64)> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let count = field("voluntary_ctxt_switches:").and_then(|count| count.parse().ok()).unwrap_or(0);
        let name = field("Name:").unwrap_or_default().to_owned();
        all.insert(task.file_name().to_string_lossy().into_owned(), (name, count));
    }
    all
}

/// A stream of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below
    }
}

/// A history of more than 90,000 objects: files of prose and code in directories, each commit changing a few lines.
fn generate(into: &Path) {
    let begun = Instant::now();
    plain_git(into.parent().expect("it has one"), &["init", "-q", "-b", "main", "many"]);
    let mut import = Command::new("git");
    import.args(["fast-import", "--quiet"]).current_dir(into).stdin(Stdio::piped());
    hermetic(&mut import, into);
    let mut import = import.spawn().expect("git fast-import");
    let mut stream = std::io::BufWriter::new(import.stdin.take().expect("piped"));
    let mut dice = Dice(7);
    let words: Vec<String> = (0..4_000)
        .map(|_| {
            let syllables = 1 + dice.next(3);
            (0..syllables).map(|_| SYLLABLES[dice.next(SYLLABLES.len())]).collect()
        })
        .collect();
    // The frequent are more frequent, as in any language.
    let sentence = |dice: &mut Dice| {
        let count = 4 + dice.next(10);
        let one = |dice: &mut Dice| {
            let range = [40, 400, 4_000][dice.next(3)];
            words[dice.next(range)].as_str()
        };
        (0..count).map(|_| one(dice)).collect::<Vec<_>>().join(" ")
    };
    let mut files: Vec<(String, Vec<String>)> = (0..1_500)
        .map(|number| {
            let name = format!("src/part-{}/unit-{}/file-{number}.txt", number % 12, number % 60);
            let lines = 20 + dice.next(200);
            (name, (0..lines).map(|_| sentence(&mut dice)).collect())
        })
        .collect();
    files.push(("README.md".to_owned(), vec!["A history made for figures.".to_owned()]));
    let commits = 12_500;
    for number in 0..commits {
        let message = sentence(&mut dice);
        let time = 1_600_000_000 + number * 600;
        write!(stream, "commit refs/heads/main\ncommitter Ana <ana@example.org> {time} +0000\n").expect("taken");
        write!(stream, "data {}\n{message}\n", message.len()).expect("taken");
        let changed: Vec<usize> = match number {
            0 => (0..files.len()).collect(),
            _ => (0..1 + dice.next(2)).map(|_| dice.next(files.len() - 1)).collect(),
        };
        for at in changed {
            let (name, lines) = &mut files[at];
            if number > 0 {
                for _ in 0..1 + dice.next(4) {
                    let line = dice.next(lines.len());
                    lines[line] = sentence(&mut dice);
                }
            }
            let text = lines.join("\n") + "\n";
            write!(stream, "M 100644 inline {name}\ndata {}\n{text}\n", text.len()).expect("taken");
        }
    }
    stream.flush().expect("taken");
    drop(stream);
    assert!(import.wait().expect("it ends").success(), "git fast-import");
    // Packed as repositories are that have been in use for a while.
    plain_git(into, &["repack", "-a", "-d", "-f", "-q"]);
    plain_git(into, &["reset", "-q", "--hard"]);
    eprintln!("a history was generated in {}", secs(begun.elapsed()));
}

const SYLLABLES: [&str; 48] = [
    "ba", "be", "con", "da", "de", "di", "el", "en", "er", "fa", "fi", "for", "ga", "ge", "ha", "he", "in", "is", "ka",
    "ko", "la", "le", "li", "lo", "ma", "me", "mi", "mo", "na", "ne", "no", "or", "pa", "per", "po", "ra", "re", "ri",
    "ro", "sa", "se", "so", "ta", "te", "ti", "to", "un", "ver",
];
