//! Repositories for tests, made and looked at by real git, which sees no configuration but their own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gix::objs::Kind;

use super::Repository;
use crate::id::{BranchName, ObjectId};

/// A repository in a directory of its own, gone when dropped.
pub(crate) struct Fixture {
    top: tempfile::TempDir,
    dir: PathBuf,
}

impl Fixture {
    /// An empty one, on branch `main`.
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = top.path().join("repo");
        std::fs::create_dir(&dir).expect("it is empty");
        let fixture = Self { top, dir };
        fixture.git(&["init", "-q", "-b", "main"]);
        fixture
    }

    /// The top of its work tree.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory beside it, for linked worktrees and the like.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// Opens it.
    pub(crate) fn repo(&self) -> Repository {
        Repository::discover(&self.dir).expect("a fixture can be shared")
    }

    /// Runs git in it; gives what it prints, and panics where it fails.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        git_in(&self.dir, args)
    }

    /// Runs git in it with input.
    pub(crate) fn git_with(&self, args: &[&str], input: &[u8]) -> Output {
        run(&self.dir, args, Some(input))
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.dir.join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the top")).expect("directories can be made");
        std::fs::write(path, content).expect("files can be written");
    }

    /// Writes a file and commits everything.
    pub(crate) fn commit(&self, path: &str, content: &str) -> ObjectId {
        self.write(path, content);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", &format!("Change {path}")]);
        self.rev("HEAD")
    }

    /// Commits everything at a time of its own, in seconds.
    pub(crate) fn commit_at(&self, path: &str, content: &str, time: u64) -> ObjectId {
        self.write(path, content);
        self.git(&["add", "-A"]);
        let output = command(&self.dir, &["commit", "-q", "-m", path])
            .env("GIT_COMMITTER_DATE", format!("{time} +0000"))
            .output()
            .expect("git runs");
        assert!(output.status.success(), "{output:?}");
        self.rev("HEAD")
    }

    /// What a revision names.
    pub(crate) fn rev(&self, revision: &str) -> ObjectId {
        self.git(&["rev-parse", "--verify", revision]).parse().expect("git prints ids")
    }

    /// Puts an object into the object store, whatever it says.
    pub(crate) fn object(&self, kind: &str, data: &[u8]) -> ObjectId {
        let output = self.git_with(&["hash-object", "-w", "--literally", "-t", kind, "--stdin"], data);
        text(&output).parse().expect("git prints ids")
    }

    /// Fails the test if git finds anything wrong.
    pub(crate) fn fsck(&self) {
        let output = run(&self.dir, &["fsck", "--full", "--strict", "--no-dangling"], None);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }

    /// The path of a loose object.
    pub(crate) fn loose(&self, id: &ObjectId) -> PathBuf {
        let id = id.to_string();
        self.dir.join(".git/objects").join(&id[..2]).join(&id[2..])
    }

    /// The ids that `rev-list --objects` prints for these revisions.
    pub(crate) fn reachable(&self, revisions: &[&str]) -> std::collections::BTreeSet<String> {
        let args = [&["rev-list", "--objects", "--no-object-names"], revisions].concat();
        self.git(&args).lines().map(str::to_owned).collect()
    }
}

/// Says something that was measured; shown with `--nocapture`.
#[expect(clippy::print_stdout, reason = "what a test measured is for whoever runs it")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A branch name.
pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::new(name).expect("a good name")
}

/// Runs git in a directory; gives what it prints, trimmed, and panics where it fails.
pub(crate) fn git_in(dir: &Path, args: &[&str]) -> String {
    text(&run(dir, args, None))
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    // What git would keep house of by itself, in the background, is looked for by lansync and would be waited for.
    command.args(["-c", "maintenance.auto=false"]);
    command.current_dir(dir).args(args).stdin(Stdio::null()).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C").env("TZ", "UTC");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ana").env(format!("GIT_{role}_EMAIL"), "ana@example.org");
        command.env(format!("GIT_{role}_DATE"), "1700000000 +0000");
    }
    command
}

fn run(dir: &Path, args: &[&str], input: Option<&[u8]>) -> Output {
    let mut command = command(dir, args);
    let Some(input) = input else { return command.output().expect("git runs") };
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("git runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        // git may answer, or give up, before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("git ends")
    })
}

/// A pack of these objects, whole and valid as a pack.
pub(crate) fn pack_of(objects: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    use gix_pack::data::entry::Header;
    let entry = |(kind, data): &(Kind, Vec<u8>)| {
        let header = match kind {
            Kind::Tree => Header::Tree,
            Kind::Blob => Header::Blob,
            Kind::Commit => Header::Commit,
            Kind::Tag => Header::Tag,
        };
        raw_entry(&header, data)
    };
    raw_pack(objects.len(), &objects.iter().map(entry).collect::<Vec<_>>().concat())
}

/// One entry of a pack.
pub(crate) fn raw_entry(header: &gix_pack::data::entry::Header, data: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    header.write_to(data.len() as u64, &mut entry).expect("memory grows");
    let mut deflate = gix::zlib::stream::deflate::Write::new(&mut entry, gix::zlib::Compression::DEFAULT);
    deflate.write_all(data).and_then(|()| deflate.flush()).expect("memory grows");
    entry
}

/// A pack of these entries' bytes.
pub(crate) fn raw_pack(count: usize, entries: &[u8]) -> Vec<u8> {
    let count = u32::try_from(count).expect("few");
    let mut pack = gix_pack::data::header::encode(gix_pack::data::Version::V2, count).to_vec();
    pack.extend_from_slice(entries);
    seal(&mut pack);
    pack
}

/// Appends the checksum.
pub(crate) fn seal(pack: &mut Vec<u8>) {
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(pack);
    pack.extend_from_slice(hash.try_finalize().expect("no collision").as_bytes());
}

/// The id that an object has.
pub(crate) fn id_of(kind: Kind, data: &[u8]) -> ObjectId {
    super::from_gix(&gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, data).expect("no collision"))
}

/// The bytes of a tree with these entries: mode, name, id.
pub(crate) fn tree_of(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (mode, name, id) in entries {
        data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        data.extend_from_slice(id.as_bytes());
    }
    data
}

/// The bytes of a commit.
pub(crate) fn commit_of(tree: ObjectId, parents: &[ObjectId]) -> Vec<u8> {
    let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let who = "Mal <mal@example.org> 1700000000 +0000";
    format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nText\n").into_bytes()
}

/// A repository of many objects: `commits` commits, each changing one of `files` files, made in one go.
pub(crate) fn many(files: usize, commits: usize) -> Fixture {
    let fixture = Fixture::new();
    let mut script = String::from("feature done\n");
    let path = |file: usize| format!("d{}/e{}/f{file}", file % 50, file / 50 % 20);
    for at in 0..=commits {
        let time = 1_600_000_000 + at * 60;
        script += &format!("commit refs/heads/main\ncommitter Ana <ana@example.org> {time} +0000\n");
        script += "data 1\nc\n";
        let changed: Vec<usize> = if at == 0 { (0..files).collect() } else { vec![at * 7919 % files] };
        for file in changed {
            let lines: String = (0..20)
                .map(|line| format!("line {line} of {file}, {}\n", if line == at % 20 { at } else { 0 }))
                .collect();
            script += &format!("M 100644 inline {}\ndata {}\n{lines}\n", path(file), lines.len());
        }
    }
    script += "done\n";
    let output = fixture.git_with(&["fast-import", "--quiet"], script.as_bytes());
    assert!(output.status.success(), "{output:?}");
    fixture
}
