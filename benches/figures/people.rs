//! People on hosts: homes, repositories, `lansync`, `git` and `git daemon`.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::netns::Host;

/// Somebody with a home on a host.
pub(crate) struct Person<'a> {
    pub(crate) host: &'a Host<'a>,
    pub(crate) home: PathBuf,
}

impl<'a> Person<'a> {
    pub(crate) fn new(host: &'a Host<'a>, stage: &Path) -> Self {
        let home = stage.join(host.name());
        std::fs::create_dir_all(&home).expect("a home");
        let person = Self { host, home };
        let name = host.name();
        person.git(&person.home, &["config", "--global", "user.name", name]);
        person.git(&person.home, &["config", "--global", "user.email", &format!("{name}@example.org")]);
        person
    }

    pub(crate) fn command(&self, dir: &Path, program: &str, args: &[&str]) -> Command {
        let mut command = self.host.command(program);
        command.args(args).current_dir(dir).stdin(Stdio::null());
        hermetic(&mut command, &self.home);
        command
    }

    pub(crate) fn lansync(&self, dir: &Path, args: &[&str]) -> String {
        output(self.command(dir, &lansync(), args))
    }

    pub(crate) fn git(&self, dir: &Path, args: &[&str]) -> String {
        output(self.command(dir, "git", args))
    }

    /// A work tree with the history of `from`.
    pub(crate) fn repository(&self, from: &Path, name: &str) -> PathBuf {
        let dir = self.home.join(name);
        plain_git(&self.home, &["clone", "-q", "--no-hardlinks", from.to_str().expect("UTF-8"), name]);
        self.git(&dir, &["remote", "remove", "origin"]);
        dir
    }

    /// Changes a file and commits; returns the commit, and when `git commit` had ended.
    pub(crate) fn commit(&self, dir: &Path, file: &str, number: usize) -> (String, Instant) {
        self.commit_all(dir, &[file.to_owned()], number)
    }

    /// The same with several files.
    pub(crate) fn commit_all(&self, dir: &Path, files: &[String], number: usize) -> (String, Instant) {
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
    pub(crate) fn service(&self, dir: &Path) -> Option<u32> {
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

pub(crate) fn hermetic(command: &mut Command, home: &Path) {
    for key in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "XDG_CONFIG_HOME"] {
        command.env_remove(key);
    }
    command
        .env("HOME", home)
        .env("LANSYNC_HOME", home.join(".lansync"))
        .env("GIT_CONFIG_GLOBAL", home.join(".gitconfig"))
        .env("GIT_CONFIG_NOSYSTEM", "1");
}

pub(crate) fn plain_git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir);
    hermetic(&mut command, dir);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    output(command)
}

pub(crate) fn output(mut command: Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{said}{wrong}", out.status);
    said.trim().to_owned()
}

/// What a ref file holds.
pub(crate) fn read_ref(dir: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(dir.join(".git").join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// Is a pack kept from git's housekeeping, since its ref is not durable yet?
pub(crate) fn keeps(dir: &Path) -> bool {
    let packs = std::fs::read_dir(dir.join(".git/objects/pack")).into_iter().flatten().flatten();
    packs.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "keep"))
}

/// Two people in one project: the first has the repository, the second clones it and reads out the words.
pub(crate) fn join(ana: &Person<'_>, shared: &Path, bo: &Person<'_>, name: &str) -> PathBuf {
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

/// `git daemon` on a person's host.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    at: String,
}

impl Daemon {
    pub(crate) fn start(person: &Person<'_>, base: &Path) -> Self {
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

    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that is measured: the one just built, or another that `LANSYNC` names.
pub(crate) fn lansync() -> String {
    std::env::var("LANSYNC").unwrap_or_else(|_| env!("CARGO_BIN_EXE_lansync").to_owned())
}
