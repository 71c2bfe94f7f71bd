//! People for tests: each has a home, settings and a repository of their own, and sits on a host of a test network or
//! at the loopback interface of this machine. The program is the real one, and so is Git.
//!
//! ```ignore
//! let Some(lan) = lan_or_skip() else { return };
//! let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
//! let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
//! ana.found("payroll");                        // a repository with a commit on main, and `lansync up -d`
//! bo.join(&ana, "payroll", "contributor");     // clone, and the two words
//! bo.commit_on("fix", "a.txt", "text", "Fix rounding");
//! wait_for("the proposal", LONG, || ana.proposal("bo/fix").is_some());
//! ```
//!
//! A person who goes out of scope ends their service, also when the test fails; what it wrote is printed then.

// Each test file compiles this for itself and uses a part.
#![allow(dead_code, unreachable_pub)]

pub mod netns;

use std::cell::RefCell;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netns::{Host, Lan};
use serde_json::Value;

/// How long anything may take that a test does not measure: a machine under load must not fail it.
pub const LONG: Duration = Duration::from_secs(20);

/// A network, or `None` where this machine forbids it, which is printed. CI must not skip: it looks for the word.
pub fn lan_or_skip() -> Option<Lan> {
    match Lan::new() {
        Ok(lan) => Some(lan),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// Waits until `done` says so, and says how long that took.
///
/// # Panics
/// When it does not within `bound`.
#[track_caller]
pub fn wait_for(what: &str, bound: Duration, done: impl FnMut() -> bool) -> Duration {
    let took = comes(bound, done);
    took.unwrap_or_else(|| panic!("waited {bound:?} in vain: {what}"))
}

/// The same where the end of the time is no failure.
pub fn comes(bound: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > bound {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Some(start.elapsed())
}

/// What a program said.
#[derive(Debug)]
#[must_use]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What is on stdout.
    pub stdout: String,
    /// What is on stderr.
    pub stderr: String,
}

impl Output {
    /// It succeeded: what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.stdout
    }

    /// It was refused (exit 1): what it said.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        self.stderr
    }

    /// It succeeded: the value it printed.
    #[track_caller]
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// It was refused and ran with `--json`: the code of the refusal.
    #[track_caller]
    pub fn code(self) -> String {
        let text = self.refused();
        let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("a refusal");
        last["error"]["code"].as_str().expect("a code").to_owned()
    }
}

/// A program that runs in the background; it is killed when it goes out of scope.
pub struct Running {
    what: String,
    child: Child,
    streams: [Arc<Mutex<String>>; 2],
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(what: String, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let streams: [Arc<Mutex<String>>; 2] = Default::default();
        let out: Box<dyn std::io::Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let err: Box<dyn std::io::Read + Send> = Box::new(child.stderr.take().expect("piped"));
        let read = |(mut from, to): (Box<dyn std::io::Read + Send>, Arc<Mutex<String>>)| {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = from.read(&mut bytes) {
                    to.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..len]));
                }
            })
        };
        let readers = [out, err].into_iter().zip(streams.clone()).map(read).collect();
        Self { what, child, streams, readers }
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.streams[0].lock().expect("no panic").clone()
    }

    /// What it has said so far.
    pub fn stderr(&self) -> String {
        self.streams[1].lock().expect("no panic").clone()
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let mut status = None;
        let ended = comes(Duration::from_secs(60), || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        if ended.is_none() {
            let _ = self.child.kill();
            panic!("{} does not end; it said {:?} and {:?}", self.what, self.stdout(), self.stderr());
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Output { status: status.expect("ended"), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One person with a home of their own. A second person may sit on the same host.
pub struct Person<'a> {
    /// What they are called, in Git too.
    pub name: String,
    host: Option<&'a Host<'a>>,
    home: tempfile::TempDir,
    /// Where commands run: the repository, once there is one.
    at: RefCell<PathBuf>,
}

impl<'a> Person<'a> {
    /// On a host of a test network.
    pub fn on(host: &'a Host<'a>, name: &str) -> Self {
        Self::new(Some(host), name, "")
    }

    /// On this machine, at its loopback interface only; services take any free port.
    pub fn here(name: &str) -> Person<'static> {
        Person::new(None, name, "[lansync]\n\tinterfaces = lo\n\tport = 0\n")
    }

    fn new(host: Option<&'a Host<'a>>, name: &str, settings: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let config = format!(
            "[user]\n\tname = {name}\n\temail = {name}@example.org\n[init]\n\tdefaultBranch = main\n\
             [gc]\n\tauto = 0\n[advice]\n\tdetachedHead = false\n{settings}"
        );
        fs::write(home.path().join(".gitconfig"), config).expect("a writable home");
        let at = RefCell::new(home.path().to_owned());
        Self { name: name.to_owned(), host, home, at }
    }

    /// Their home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where lansync keeps what is per person.
    pub fn lansync_home(&self) -> PathBuf {
        self.home().join(".lansync")
    }

    /// The directory that commands run in.
    pub fn dir(&self) -> PathBuf {
        self.at.borrow().clone()
    }

    /// Goes to a directory: from now on commands run there.
    pub fn go(&self, dir: impl AsRef<Path>) {
        *self.at.borrow_mut() = self.home().join(dir);
    }

    /// A command on their machine, with their settings and nothing of this machine's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match self.host {
            Some(host) => host.command(program),
            None => Command::new(program),
        };
        command.current_dir(self.dir()).env_clear();
        command.env("HOME", self.home()).env("LANSYNC_HOME", self.lansync_home());
        command.env("GIT_CONFIG_GLOBAL", self.home().join(".gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_EDITOR", "true").env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
        for key in ["PATH", "TMPDIR", "LANSYNC_LOG", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command
    }

    /// Starts lansync in the background.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_lansync"));
        command.args(args);
        Running::start(format!("{}: lansync {}", self.name, args.join(" ")), command)
    }

    /// Runs lansync to its end.
    #[track_caller]
    pub fn lansync(&self, args: &[&str]) -> Output {
        self.start(args).wait()
    }

    /// Runs git, which may fail. Where lansync holds the index at this moment, git says so and does nothing: it is
    /// run again, as a person would.
    #[track_caller]
    pub fn try_git(&self, args: &[&str]) -> Output {
        let run = || {
            let mut command = self.command("git");
            command.args(args);
            Running::start(format!("{}: git {}", self.name, args.join(" ")), command).wait()
        };
        let mut output = run();
        let held = |output: &Output| !output.status.success() && output.stderr.contains("index.lock': File exists");
        let _ = comes(Duration::from_secs(5), || {
            let again = held(&output);
            if again {
                output = run();
            }
            !again
        });
        output
    }

    /// Runs git, which must not fail; what it printed, without the newline at the end.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.try_git(args).ok().trim_end().to_owned()
    }

    /// A new, empty repository in their home; commands run in it from now on.
    #[track_caller]
    pub fn init(&self, name: &str) {
        fs::create_dir(self.home().join(name)).expect("a new directory");
        self.go(name);
        let _ = self.git(&["init", "--quiet"]);
    }

    /// A new repository with one commit on main; commands run in it from now on.
    #[track_caller]
    pub fn repo(&self, name: &str) {
        self.init(name);
        self.commit("README", "first\n", "First commit");
    }

    /// `lansync up -d`: what it answered.
    #[track_caller]
    pub fn up(&self) -> Value {
        self.lansync(&["--json", "up", "-d"]).json()
    }

    /// `lansync down --all`: no service is left.
    #[track_caller]
    pub fn down(&self) {
        let _ = self.lansync(&["down", "--all"]).ok();
    }

    /// A project with one commit on main.
    #[track_caller]
    pub fn found(&self, project: &str) {
        self.repo(project);
        assert_eq!(self.up()["how"], "founded");
    }

    /// Clones a project, let in by `by`, who types the two words: the whole way, as the README shows it.
    #[track_caller]
    pub fn join(&self, by: &Person<'_>, project: &str, role: &str) {
        let clone = self.start(&["--yes", "clone", project]);
        by.accept(&clone, role);
        let _ = clone.wait().ok();
        self.go(project);
    }

    /// Types the words that somebody who asks to join reads out.
    #[track_caller]
    pub fn accept(&self, asker: &Running, role: &str) {
        let mut words = None;
        wait_for("the words to read out", LONG, || {
            words = read_words(&asker.stderr());
            words.is_some()
        });
        let (first, second) = words.expect("just found");
        // Who reads the words out may be faster than their question was.
        let _ = self.lansync(&["members", "accept", &first, &second, "--role", role]).ok();
    }

    /// Writes a file of the work tree.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.dir().join(path);
        fs::create_dir_all(path.parent().expect("below the work tree")).expect("a directory");
        fs::write(path, text).expect("a writable file");
    }

    /// A commit of one file on the branch that is checked out; its id.
    #[track_caller]
    pub fn commit(&self, path: &str, text: &str, title: &str) -> String {
        self.write(path, text);
        let _ = self.git(&["add", path]);
        let _ = self.git(&["commit", "--quiet", "-m", title]);
        self.rev("HEAD")
    }

    /// A commit on a branch, which is made from `main` where it is not there yet, and back to main; its id.
    #[track_caller]
    pub fn commit_on(&self, branch: &str, path: &str, text: &str, title: &str) -> String {
        if !self.try_git(&["switch", "--quiet", branch]).status.success() {
            let _ = self.git(&["switch", "--quiet", "-c", branch, "main"]);
        }
        let commit = self.commit(path, text, title);
        let _ = self.git(&["switch", "--quiet", "main"]);
        commit
    }

    /// What a name stands for in Git.
    #[track_caller]
    pub fn rev(&self, name: &str) -> String {
        self.git(&["rev-parse", "--verify", name])
    }

    /// The same where it may be missing.
    pub fn try_rev(&self, name: &str) -> Option<String> {
        let output = self.try_git(&["rev-parse", "--verify", "--quiet", name]);
        output.status.success().then(|| output.stdout.trim_end().to_owned())
    }

    /// Where `refs/remotes/lansync/main` stands.
    pub fn canonical(&self) -> Option<String> {
        self.try_rev("refs/remotes/lansync/main")
    }

    /// `lansync status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.lansync(&["--json", "status"]).json()
    }

    /// What `status` says of a canonical branch.
    #[track_caller]
    pub fn branch(&self, name: &str) -> Value {
        let status = self.status();
        let branches = status["branches"].as_array().expect("a list");
        branches.iter().find(|one| one["name"] == name).unwrap_or(&Value::Null).clone()
    }

    /// A proposal of the list. A first sight counts as shown.
    #[track_caller]
    pub fn proposal(&self, name: &str) -> Option<Value> {
        let list = self.lansync(&["--json", "list", "--closed"]).json();
        let named = list.as_array().expect("a list").iter().filter(|one| one["name"] == name);
        // The latest of that name: an older one may have landed.
        named.max_by_key(|one| one["at"].as_str().map(str::to_owned)).cloned()
    }

    /// A proposal is here with all its objects, at this tip. A first sight counts as shown.
    #[track_caller]
    pub fn has(&self, name: &str, tip: &str) -> bool {
        self.proposal(name).is_some_and(|one| one["tip"] == tip && one["here"] == true)
    }

    /// The events of the log, oldest first.
    #[track_caller]
    pub fn log(&self) -> Vec<Value> {
        let text = self.lansync(&["--json", "log"]).ok();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The digest of the log.
    #[track_caller]
    pub fn digest(&self) -> String {
        self.status()["log"]["digest"].as_str().expect("a digest").to_owned()
    }

    /// Shows a proposal and approves it: the commit that landed.
    #[track_caller]
    pub fn land(&self, proposal: &str) -> String {
        let _ = self.lansync(&["show", proposal]).ok();
        let done = self.lansync(&["--json", "approve", proposal]).json();
        let landed = done["landed"].as_str().unwrap_or_else(|| panic!("{proposal} did not land: {done}")).to_owned();
        // The refs have moved when it says so, maybe further by now.
        let _ = self.git(&["merge-base", "--is-ancestor", &landed, "refs/remotes/lansync/main"]);
        landed
    }

    /// `git fsck` finds nothing. It does not look at the commit-graph, in which `git repack -a -d` leaves commits that it
    /// threw away, with or without lansync.
    #[track_caller]
    pub fn fsck(&self) {
        let output = self.try_git(&[
            "-c",
            "core.commitGraph=false",
            "fsck",
            "--full",
            "--strict",
            "--no-dangling",
            "--no-progress",
        ]);
        assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:#?}");
    }

    /// The process ids of their service: one, or none.
    pub fn services(&self) -> Vec<u32> {
        let mark = format!("LANSYNC_HOME={}", self.lansync_home().display());
        let of = |bytes: &[u8], wanted: &str| bytes.split(|byte| *byte == 0).any(|part| part == wanted.as_bytes());
        let is_service = |pid: &u32| {
            let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            of(&read("cmdline"), "--service") && of(&read("environ"), &mark)
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_service).collect()
    }

    /// Kills the service as a power cut does, and waits until it is gone.
    pub fn kill(&self) {
        let pids = self.services();
        for pid in &pids {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        // Its files are closed when nothing is left of it but an entry in the table of processes.
        let ended = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
        };
        wait_for("the killed service is gone", LONG, || pids.iter().all(ended));
    }

    /// What their service has written to its log.
    pub fn service_log(&self) -> String {
        fs::read_to_string(self.lansync_home().join("service.log")).unwrap_or_default()
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.service_log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- the service of {} wrote at last:\n{last}\n---", self.name);
        }
        if self.services().is_empty() {
            return;
        }
        let mut command = self.command(env!("CARGO_BIN_EXE_lansync"));
        command.current_dir(self.home.path()).args(["down", "--all"]);
        if let Ok(mut down) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            let _ = comes(Duration::from_secs(10), || !matches!(down.try_wait(), Ok(None)));
            let _ = down.kill();
            let _ = down.wait();
        }
        if comes(Duration::from_secs(3), || self.services().is_empty()).is_none() {
            for pid in self.services() {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
    }
}

/// The two words among what `clone` or `up --join` says.
pub fn read_words(said: &str) -> Option<(String, String)> {
    // Whole lines only: the rest may be on its way.
    let whole = &said[..=said.rfind('\n')?];
    let line = whole.lines().find(|line| line.starts_with("Asking "))?;
    let (_, words) = line.rsplit_once(": ")?;
    let (first, second) = words.split_once(' ')?;
    Some((first.to_owned(), second.to_owned()))
}

/// Waits until all hold the same log and `lansync/main` at the same commit, which it gives.
#[track_caller]
pub fn wait_until_equal(people: &[&Person<'_>]) -> String {
    let mut main = None;
    wait_for("everybody has the same log and main", LONG, || {
        let first = people[0];
        main = first.canonical();
        let digest = first.digest();
        main.is_some() && people[1..].iter().all(|other| other.digest() == digest && other.canonical() == main)
    });
    main.expect("just seen")
}

/// Content that does not compress, another one for each seed.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
