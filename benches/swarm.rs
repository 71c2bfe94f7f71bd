//! Eight hosts, of which one publishes 200 MB: the bytes that leave it, and how long it takes until all have it. Beside it, in
//! the same run and on the same links, what seven parallel `git fetch` from a `git daemon` take.
//!
//! `cargo bench --bench swarm`, or `cargo bench --bench swarm -- MBIT MB` for other links and another size. All hosts are
//! network namespaces of this machine and share its cores, so the links are shaped to what those can bear.

#![allow(clippy::print_stdout, reason = "it is a program that prints")]

#[path = "../tests/common/netns.rs"]
mod netns;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netns::{Host, Lan};

const NAMES: [&str; 8] = ["ana", "bo", "cy", "di", "eva", "fay", "gus", "hal"];
/// What every link carries each way.
const MBIT: u32 = 200;
/// Size of what is published, in units of 2^20 bytes.
const MB: u64 = 200;
/// How long one way of passing it on may take.
const BOUND: Duration = Duration::from_secs(300);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let mbit = numbers.next().and_then(|number| u32::try_from(number).ok()).unwrap_or(MBIT);
    let size = numbers.next().unwrap_or(MB);
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let hosts = NAMES.map(|name| lan.host(name));
    let stage = tempfile::tempdir().expect("a temporary directory");
    figure("hosts, links", format!("{} of {mbit} Mbit/s each way", hosts.len()));
    figure("published", format!("{size} MiB in {size} files that do not compress, in one commit"));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    figure("load before the run", load.split(' ').next().unwrap_or_default());
    let people: Vec<Person<'_>> = hosts.iter().map(|host| Person::new(host, stage.path())).collect();
    let Some((sent, took)) = ours(&people, mbit, size) else { return };
    drop(people);
    let git = stage.path().join("git");
    let (git_sent, git_took) = gits(&hosts, &git, size);
    let bytes = (size << 20) as f64;
    figure("bytes leaving the author, by the size (bound 2.5)", format!("{:.2}", sent as f64 / bytes));
    figure("  git", format!("{:.2}", git_sent as f64 / bytes));
    figure("until all have it", format!("{:.1} s", took.as_secs_f64()));
    figure("  git", format!("{:.1} s", git_took.as_secs_f64()));
    figure("time by git's (bound 0.6)", format!("{:.2}", took.as_secs_f64() / git_took.as_secs_f64()));
}

fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

/// Everybody in one project; the first publishes. `None` where links cannot be shaped here.
fn ours(people: &[Person<'_>], mbit: u32, size: u64) -> Option<(u64, Duration)> {
    let [ana, others @ ..] = people else { return None };
    let hers = ana.begin();
    ana.lansync(&hers, &["up", "-d"]);
    let invited = ana.lansync(&hers, &["invite", "--uses", "7", "--json"]);
    let invited: serde_json::Value = serde_json::from_str(&invited).expect("JSON");
    let ticket = invited["ticket"].as_str().expect("a ticket");
    others.iter().for_each(|other| other.join(ticket));
    let all_connected = |person: &Person<'_>| {
        let status = person.lansync(&person.home.join("payroll"), &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let peers =
            status["peers"].as_array().map_or(0, |peers| peers.iter().filter(|peer| peer["connected"] == true).count());
        peers >= others.len()
    };
    wait_for("everybody is connected with everybody", || people.iter().all(all_connected));
    for person in people {
        if let Err(why) = person.host.shape(mbit) {
            println!("skipped: {why}");
            return None;
        }
    }
    let before = ana.host.sent();
    let begun = ana.publish(&hers, size);
    let tip = ana.git(&hers, &["rev-parse", "HEAD"]);
    wait_for("everybody has it", || {
        others.iter().all(|other| {
            let at = other.home.join("payroll/.git/refs/remotes/lansync/@ana/big");
            std::fs::read_to_string(at).is_ok_and(|at| at.trim() == tip)
        })
    });
    let took = begun.elapsed();
    let sent = ana.host.sent() - before;
    for other in others {
        other.git(&other.home.join("payroll"), &["rev-list", "--objects", "--quiet", &tip]);
    }
    Some((sent, took))
}

/// The same by git: seven clones of what was there before fetch at once.
fn gits(hosts: &[Host<'_>; 8], stage: &Path, size: u64) -> (u64, Duration) {
    let people: Vec<Person<'_>> = hosts.iter().map(|host| Person::new(host, stage)).collect();
    let ana = &people[0];
    let hers = ana.begin();
    let args = ["daemon", "--reuseaddr", "--export-all", "--base-path=."];
    let mut daemon = Killed(ana.command(&ana.home, "git", &args).spawn().expect("git runs"));
    let url = format!("git://{}/payroll", ana.host.ip());
    for person in &people[1..] {
        wait_for("git daemon", || {
            let mut clone = person.command(&person.home, "git", &["clone", "-q", &url, "payroll"]);
            clone.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
    }
    let before = ana.host.sent();
    let begun = ana.publish(&hers, size);
    let fetch = |person: &Person<'_>| {
        let args = ["fetch", "-q", "origin", "+refs/heads/big:refs/remotes/origin/big"];
        Killed(person.command(&person.home.join("payroll"), "git", &args).spawn().expect("git runs"))
    };
    let mut fetches: Vec<Killed> = people[1..].iter().map(fetch).collect();
    for fetch in &mut fetches {
        wait_for("git fetch", || fetch.0.try_wait().expect("it is ours").is_some());
        assert!(fetch.0.wait().expect("it is ours").success());
    }
    let took = begun.elapsed();
    drop(daemon.0.kill());
    (ana.host.sent() - before, took)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
        let (home, name) = (person.home.clone(), host.name());
        person.git(&home, &["config", "--global", "user.name", name]);
        person.git(&home, &["config", "--global", "user.email", &format!("{name}@example.org")]);
        person.git(&home, &["config", "--global", "init.defaultBranch", "main"]);
        // Little time goes into what does not compress anyhow.
        person.git(&home, &["config", "--global", "core.compression", "1"]);
        person
    }

    fn command(&self, dir: &Path, program: &str, args: &[&str]) -> Command {
        let mut command = self.host.command(program);
        command.args(args).current_dir(dir).stdin(Stdio::null());
        for key in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "XDG_CONFIG_HOME"] {
            command.env_remove(key);
        }
        command
            .env("HOME", &self.home)
            .env("LANSYNC_HOME", self.home.join(".lansync"))
            .env("GIT_CONFIG_GLOBAL", self.home.join(".gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn run(&self, dir: &Path, program: &str, args: &[&str]) -> String {
        let mut command = self.command(dir, program, args);
        let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{command:?}: {}\n{said}{wrong}", out.status);
        said.trim().to_owned()
    }

    fn git(&self, dir: &Path, args: &[&str]) -> String {
        self.run(dir, "git", args)
    }

    /// The program that is measured: the one just built, or another that `LANSYNC` names.
    fn program() -> String {
        std::env::var("LANSYNC").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lansync").to_owned())
    }

    fn lansync(&self, dir: &Path, args: &[&str]) -> String {
        self.run(dir, &Self::program(), args)
    }

    /// A repository with one commit.
    fn begin(&self) -> PathBuf {
        let dir = self.home.join("payroll");
        self.git(&self.home, &["init", "-q", "payroll"]);
        std::fs::write(dir.join("README"), "first\n").expect("written");
        self.git(&dir, &["add", "README"]);
        self.git(&dir, &["commit", "-q", "-m", "First commit"]);
        dir
    }

    /// Clones with a ticket; waits where more ask than are let in within a minute.
    fn join(&self, ticket: &str) {
        let mut next = Instant::now();
        wait_for("to be let in", || {
            let due = Instant::now() >= next;
            next = if due { Instant::now() + Duration::from_secs(5) } else { next };
            let args = ["--yes", "clone", ticket, "payroll"];
            due && self.command(&self.home, &Self::program(), &args).output().is_ok_and(|out| out.status.success())
        });
    }

    /// Commits so many MiB on a branch; gives when `git commit` had ended.
    fn publish(&self, dir: &Path, size: u64) -> Instant {
        self.git(dir, &["switch", "-q", "-c", "big"]);
        let mut state = 1u64;
        for file in 0..size {
            let mut bytes = Vec::with_capacity(1 << 20);
            while bytes.len() < 1 << 20 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
            }
            std::fs::write(dir.join(format!("file-{file}")), bytes).expect("written");
        }
        self.git(dir, &["add", "-A"]);
        self.git(dir, &["commit", "-q", "-m", "Many files"]);
        Instant::now()
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        if self.home.join(".lansync").exists() {
            let _ = self.command(&self.home, &Self::program(), &["down", "--all"]).output();
        }
        let _ = std::fs::remove_dir_all(self.home.join("payroll"));
    }
}

/// Waits for a condition, looking 50 times a second.
fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < BOUND, "waited for {what} for {BOUND:?} in vain");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
