//! People on hosts: a home, Git and lansync of their own, and what a refusal must look like.
//!
//! Each is one person on one machine: nothing of this machine's settings reaches them. Their service is ended when
//! they are dropped, also by a panic.

#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use lansync::service::control;
use lansync::service::home::Home;
use serde_json::Value;

use super::common::netns::Host;
use super::common::{LONG, wait_for};

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("only text is printed");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The value on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The values on stdout, one a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let value = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.out.lines().map(value).collect()
    }

    /// It was refused with exit status 1 under one of `codes` (run with `--json`), with exactly one line `error:`, one
    /// `hint:` and one value. Gives that value.
    #[track_caller]
    pub fn refused(&self, codes: &[&str]) -> Value {
        self.failed(1, codes)
    }

    /// As `refused`, with another exit status.
    #[track_caller]
    pub fn failed(&self, exit: i32, codes: &[&str]) -> Value {
        assert_eq!(self.code, Some(exit), "{self:?}");
        assert_eq!(self.out, "", "nothing on stdout: {self:?}");
        let labelled = |label: &str| -> Vec<&str> {
            self.err.lines().filter_map(|line| line.strip_prefix(label)).map(str::trim).collect()
        };
        let (errors, hints) = (labelled("error:"), labelled("hint:"));
        assert_eq!((errors.len(), hints.len()), (1, 1), "one error, one hint: {self:?}");
        let last = self.err.lines().last().unwrap_or_default();
        let mut value: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let value = value["error"].take();
        assert_eq!((&value["message"], &value["hint"]), (&errors[0].into(), &hints[0].into()), "{self:?}");
        let code = value["code"].as_str().unwrap_or_default();
        assert!(codes.contains(&code), "{codes:?}: {self:?}");
        value
    }
}

/// A disk of limited size, seen only by those who were given it: a mount namespace, held by a process.
pub struct Disk {
    holder: Child,
    _stdin: ChildStdin,
    at: PathBuf,
}

impl Disk {
    /// Mounts one over `at`. `None`, with the reason printed, where that is not allowed here.
    pub fn new(host: &Host<'_>, at: &Path, size: &str) -> Option<Self> {
        let script = r#"mount -t tmpfs -o size="$2",mode=700 tmpfs "$1" && echo ready && exec cat"#;
        let mut command = host.command("unshare");
        command.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(at).arg(size);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut line = String::new();
        let mut out = BufReader::new(holder.stdout.take().expect("piped"));
        let stdin = holder.stdin.take().expect("piped");
        if out.read_line(&mut line).is_err() || line != "ready\n" {
            println!("skipped: no disk can be mounted here");
            let _ = holder.wait();
            return None;
        }
        Some(Self { holder, _stdin: stdin, at: at.to_owned() })
    }

    /// Where this test finds what is on it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// Takes all room but what a few pages need; gives the file to delete.
    pub fn fill(&self) -> PathBuf {
        let path = self.seen(&self.at.join("filling"));
        let mut file = std::fs::File::create(&path).expect("a file");
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![1; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A person on a machine.
pub struct Person<'a> {
    host: &'a Host<'a>,
    handle: String,
    /// Their home directory.
    pub dir: PathBuf,
    temp: tempfile::TempDir,
    disk: Option<Disk>,
    /// Root reads files whatever their mode; this person does not.
    pub plain: bool,
}

impl<'a> Person<'a> {
    /// A new one, called `name`.
    pub fn new(host: &'a Host<'a>, name: &str) -> Self {
        let temp = tempfile::Builder::new().prefix("ls-").tempdir().expect("a temporary directory");
        // The handle is a slug of the name, the home has its name.
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let person = Self { host, handle: name.to_owned(), dir, temp, disk: None, plain: false };
        person.configure();
        person
    }

    /// A new one whose home is a disk of this size. `None` where that is not possible here.
    pub fn on_a_disk(host: &'a Host<'a>, name: &str, size: &str) -> Option<Self> {
        let temp = tempfile::Builder::new().prefix("ls-").tempdir().expect("a temporary directory");
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let disk = Disk::new(host, &dir, size)?;
        let person = Self { host, handle: name.to_owned(), dir, temp, disk: Some(disk), plain: false };
        person.configure();
        Some(person)
    }

    fn configure(&self) {
        let name = &self.handle;
        let config = format!(
            "[user]\n\tname = {name}\n\temail = {name}@example.org\n[init]\n\tdefaultBranch = main\n\
             [advice]\n\tdetachedHead = false\n[protocol \"file\"]\n\tallow = always\n"
        );
        std::fs::write(self.seen(&self.dir.join("gitconfig")), config).expect("a file");
    }

    /// Where this test finds a file of theirs.
    pub fn seen(&self, path: &Path) -> PathBuf {
        self.disk.as_ref().map_or_else(|| path.to_owned(), |disk| disk.seen(path))
    }

    /// Their disk, if it is one of its own.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a disk")
    }

    /// Their LANSYNC_HOME.
    pub fn home(&self) -> PathBuf {
        self.dir.join("h")
    }

    /// A command of theirs. It starts in their home where they have no disk of their own: use `-C`.
    pub fn command(&self, program: &str) -> Command {
        let mut words = Vec::new();
        if let Some(disk) = &self.disk {
            words.extend(["nsenter".to_owned(), format!("--target={}", disk.holder.id()), "--mount".to_owned()]);
            words.push("--".to_owned());
        }
        if self.plain {
            words.extend(["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"].map(str::to_owned));
        }
        words.push(program.to_owned());
        let mut command = self.host.command(&words[0]);
        command.args(&words[1..]).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.env("HOME", &self.dir).env("LANSYNC_HOME", self.home()).env("LC_ALL", "C");
        command.env("GIT_CONFIG_GLOBAL", self.dir.join("gitconfig")).env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("LANSYNC_LOG", "lansync=debug").stdin(Stdio::null());
        command.current_dir("/");
        command
    }

    /// lansync in `dir`.
    pub fn lansync(&self, dir: &Path, arguments: &[&str]) -> Done {
        let mut command = self.lansync_command(dir, arguments);
        Done::of(command.output().expect("the program runs"))
    }

    /// lansync in `dir`, still to be started.
    pub fn lansync_command(&self, dir: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_lansync"));
        command.arg("-C").arg(dir).args(arguments);
        command
    }

    /// Git in `dir`; it must succeed. What it prints, trimmed.
    #[track_caller]
    pub fn git(&self, dir: &Path, arguments: &[&str]) -> String {
        let mut command = self.command("git");
        command.arg("-C").arg(dir).args(arguments);
        let done = Done::of(command.output().expect("git runs"));
        assert_eq!(done.code, Some(0), "git {arguments:?}: {done:?}");
        done.out.trim().to_owned()
    }

    /// A repository `name` in their home, with a commit.
    pub fn repo(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name);
        self.git(&self.dir, &["init", "-q", name]);
        self.commit(&dir, "README", &format!("{name} by {}\n", self.handle));
        dir
    }

    /// Writes a file and commits it on the branch checked out; the commit.
    pub fn commit(&self, dir: &Path, file: &str, text: &str) -> String {
        std::fs::write(self.seen(&dir.join(file)), text).expect("a file");
        self.git(dir, &["add", "--", file]);
        self.git(dir, &["commit", "-q", "-m", &format!("Write {file}")]);
        self.git(dir, &["rev-parse", "HEAD"])
    }

    /// `up -d` must succeed; its value.
    #[track_caller]
    pub fn up(&self, dir: &Path) -> Value {
        self.lansync(dir, &["up", "-d", "--json"]).ok().json()
    }

    /// `down --all`.
    #[track_caller]
    pub fn down(&self) {
        self.lansync(&self.dir, &["down", "--all"]).ok();
    }

    /// The status; it must succeed.
    #[track_caller]
    pub fn status(&self, dir: &Path) -> Value {
        self.lansync(dir, &["status", "--json"]).ok().json()
    }

    /// Events of a kind, as `log` gives them.
    #[track_caller]
    pub fn log(&self, dir: &Path, more: &[&str]) -> Vec<Value> {
        let arguments: Vec<&str> = ["log", "--json"].iter().chain(more).copied().collect();
        self.lansync(dir, &arguments).ok().lines()
    }

    /// Waits until a proposal is there; what `list` says of it.
    #[track_caller]
    pub fn proposal(&self, dir: &Path, name: &str) -> Value {
        let mut found = Value::Null;
        wait_for(&format!("{} sees {name}", self.handle), LONG, || {
            let all = self.lansync(dir, &["list", "--closed", "--json"]).ok().json();
            let all = all.as_array().expect("a list");
            let here = |one: &&Value| one["name"] == name && one["here"] == true;
            found = all.iter().rfind(here).cloned().unwrap_or_default();
            !found.is_null()
        });
        found
    }

    /// Starts a command that asks to join, and waits for its words.
    pub fn ask(&self, dir: &Path, arguments: &[&str]) -> Asking {
        let mut command = self.lansync_command(dir, arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let (line, lines) = mpsc::channel();
        let err = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for text in err.lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Asking { child: Some(child), lines, said: String::new() }
    }

    /// The service's process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        let home = Home::at(&self.seen(&self.home())).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(control::ping(&home)).ok().map(|pong| pong.pid)
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        let pid = self.pid();
        self.plain = false;
        let _ = self.lansync_command(&self.dir, &["down", "--all"]).output();
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(self.seen(&self.home().join("service.log")))
        {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the service of {}:\n{}", self.handle, lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        if let Some(pid) = pid
            && self.pid() == Some(pid)
        {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// A command that asks to join.
pub struct Asking {
    child: Option<Child>,
    lines: mpsc::Receiver<String>,
    said: String,
}

impl Asking {
    /// The two words, once they are shown.
    #[track_caller]
    pub fn words(&mut self) -> [String; 2] {
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no words came: {}", self.said));
            self.said.push_str(&format!("{line}\n"));
            if let Some((_, words)) = line.split_once("Read these words to ") {
                let words = words.split_once(": ").expect("to whom").1;
                let (first, second) = words.split_once(' ').expect("two words");
                return [first.to_owned(), second.to_owned()];
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it has not been waited for").id()
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Done {
        let mut child = self.child.take().expect("it has not been waited for");
        wait_for("the command ends", LONG * 2, || child.try_wait().expect("it can be waited for").is_some());
        let code = child.wait().expect("it ended").code();
        let mut out = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        let mut err = std::mem::take(&mut self.said);
        while let Ok(line) = self.lines.recv() {
            err.push_str(&format!("{line}\n"));
        }
        Done { code, out, err }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `who` clones `project` into `dir` of their home, let in by `by` with the words.
#[track_caller]
pub fn clone_with_words(
    who: &Person<'_>,
    project: &str,
    dir: &str,
    by: &Person<'_>,
    at: &Path,
    more: &[&str],
) -> PathBuf {
    let mut asking = who.ask(&who.dir, &["--yes", "clone", project, dir]);
    let [first, second] = asking.words();
    let accept: Vec<&str> = ["members", "accept", &first, &second].iter().chain(more).copied().collect();
    by.lansync(at, &accept).ok();
    asking.end().ok();
    who.dir.join(dir)
}

/// All files below a directory with their bytes, to see that nothing changed.
pub fn tree(dir: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut all = std::collections::BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let kind = std::fs::symlink_metadata(&path).expect("it is there").file_type();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).expect("it can be read");
                all.insert(path, bytes);
            }
        }
    }
    all
}
