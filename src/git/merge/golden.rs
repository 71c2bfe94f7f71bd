//! The golden vectors of `rules` 1 under tests/data/rules-1/, on objects in memory and on a real repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use gix::bstr::{BString, ByteSlice};
use gix::objs;

use super::format::{self, Commit, Entry, Kind, Subject, Tree};
use super::store::from_gix;
use super::tree::{EMPTY_TREE, Objects};
use super::{MergeError, Merged, by_rules, lines};
use crate::id::{BranchName, ObjectId};

/// What stands at each path.
type Files = BTreeMap<BString, (Kind, Vec<u8>)>;

/// Objects in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) objects: BTreeMap<ObjectId, (objs::Kind, Vec<u8>)>,
}

impl Memory {
    fn get(&self, id: ObjectId, kind: objs::Kind) -> Result<&[u8], MergeError> {
        match self.objects.get(&id) {
            Some((found, bytes)) if *found == kind => Ok(bytes),
            _ => Err(MergeError::Missing(id)),
        }
    }

    pub(super) fn put(&mut self, kind: objs::Kind, bytes: Vec<u8>) -> ObjectId {
        let id = from_gix(&objs::compute_hash(gix::hash::Kind::Sha1, kind, &bytes).expect("no attack"));
        self.objects.insert(id, (kind, bytes));
        id
    }

    /// A tree out of `path` -> (kind, content or id in hex for gitlinks).
    pub(super) fn tree_of(&mut self, files: &Files) -> ObjectId {
        let mut below: BTreeMap<BString, Files> = BTreeMap::new();
        let mut tree = Tree::new();
        for (path, (kind, content)) in files {
            if let Some(slash) = path.find_byte(b'/') {
                let (name, rest) = (path[..slash].into(), path[slash + 1..].into());
                below.entry(name).or_default().insert(rest, (*kind, content.clone()));
            } else {
                let id = match kind {
                    Kind::Gitlink => content.to_str().expect("hex").parse().expect("an id"),
                    _ => self.put(objs::Kind::Blob, content.clone()),
                };
                tree.insert(path.clone(), Entry { kind: *kind, id });
            }
        }
        for (name, files) in below {
            let id = self.tree_of(&files);
            tree.insert(name, Entry { kind: Kind::Tree, id });
        }
        self.put(objs::Kind::Tree, format::write_tree(&tree))
    }

    pub(super) fn commit_of(&mut self, name: &str, tree: ObjectId, seconds: u64, parents: &[ObjectId]) -> ObjectId {
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            writeln!(text, "parent {parent}").expect("memory");
        }
        let who = format!("Ana <ana@example.org> {seconds} +0100");
        write!(text, "author {who}\ncommitter {who}\n\n{name}\n").expect("memory");
        self.put(objs::Kind::Commit, text.into_bytes())
    }

    /// All files below `tree`, as `kind path content` lines.
    fn list(&mut self, tree: ObjectId, prefix: &str, into: &mut Vec<String>) {
        for (name, entry) in self.tree(tree).expect("made here") {
            let path = format!("{prefix}{name}");
            match entry.kind {
                Kind::Tree => self.list(entry.id, &format!("{path}/"), into),
                Kind::Gitlink => into.push(format!("gitlink {path} {}", entry.id)),
                kind => {
                    let content = self.get(entry.id, objs::Kind::Blob).expect("made here");
                    into.push(format!("{} {path} {}", word(kind), escape(content)));
                }
            }
        }
    }
}

impl Objects for Memory {
    fn commit(&mut self, id: ObjectId) -> Result<Commit, MergeError> {
        format::read_commit(self.get(id, objs::Kind::Commit)?).ok_or(MergeError::Malformed(id))
    }

    fn tree(&mut self, id: ObjectId) -> Result<Tree, MergeError> {
        if id == EMPTY_TREE {
            return Ok(Tree::new());
        }
        format::read_tree(self.get(id, objs::Kind::Tree)?).ok_or(MergeError::Malformed(id))
    }

    fn blob(&mut self, id: ObjectId, max: usize) -> Result<Option<Vec<u8>>, MergeError> {
        let bytes = self.get(id, objs::Kind::Blob)?;
        Ok((bytes.len() <= max).then(|| bytes.to_vec()))
    }

    fn put_tree(&mut self, tree: &Tree) -> Result<ObjectId, MergeError> {
        Ok(self.put(objs::Kind::Tree, format::write_tree(tree)))
    }

    fn put_blob(&mut self, bytes: Vec<u8>) -> Result<ObjectId, MergeError> {
        Ok(self.put(objs::Kind::Blob, bytes))
    }

    fn put_commit(&mut self, commit: &Commit, subject: &Subject, branch: &BranchName) -> Result<ObjectId, MergeError> {
        Ok(self.put(objs::Kind::Commit, format::write_commit(commit, subject, branch)))
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Tree => "tree",
        Kind::File => "file",
        Kind::Executable => "executable",
        Kind::Symlink => "symlink",
        Kind::Gitlink => "gitlink",
    }
}

fn kind(word: &str) -> Kind {
    [Kind::File, Kind::Executable, Kind::Symlink, Kind::Gitlink]
        .into_iter()
        .find(|kind| self::word(*kind) == word)
        .unwrap_or_else(|| panic!("no kind of entry: {word}"))
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.bytes();
    while let Some(byte) = chars.next() {
        bytes.push(match byte {
            b'\\' => match chars.next() {
                Some(b'n') => b'\n',
                Some(b'0') => 0,
                Some(b'r') => b'\r',
                Some(b's') => b' ',
                other => panic!("no escape: {other:?}"),
            },
            byte => byte,
        });
    }
    bytes
}

fn escape(bytes: &[u8]) -> String {
    let text = bytes.to_str().expect("vectors are text");
    text.replace('\n', "\\n").replace('\0', "\\0").replace('\r', "\\r")
}

fn cases(file: &str) -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules-1").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("== ") {
            Some(name) => cases.push((name.to_owned(), Vec::new())),
            None => cases.last_mut().expect("a name comes first").1.push(line.to_owned()),
        }
    }
    cases
}

#[test]
fn the_lines_merge_as_written() {
    let cases = cases("lines.txt");
    assert!(cases.len() >= 20);
    for (name, lines) in cases {
        let field = |key: &str| {
            let value =
                lines.iter().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{name}: {key}?"));
            value.strip_prefix(' ').unwrap_or(value).to_owned()
        };
        let [base, ours, theirs] = ["base", "ours", "theirs"].map(|key| unescape(&field(key)));
        let show = |result: Result<Vec<u8>, super::Clashing>| match result {
            Ok(bytes) => format!("clean {}", escape(&bytes)).trim_end().to_owned(),
            Err(why) => format!("conflict {why:?}"),
        };
        let mut steps = super::Steps::new();
        assert_eq!(show(lines::merge(&base, &ours, &theirs, &mut steps)), field("gives"), "{name}");
        assert_eq!(show(lines::merge(&base, &theirs, &ours, &mut steps)), field("gives"), "{name}, exchanged");
    }
}

/// One vector of commits.txt, made in memory.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) memory: Memory,
    pub(super) heads: Vec<ObjectId>,
    pub(super) tip: ObjectId,
    pub(super) branch: BranchName,
    pub(super) gives: Vec<String>,
    names: BTreeMap<ObjectId, String>,
}

impl Case {
    /// How the vectors write what a merge gave.
    pub(super) fn show(&mut self, merged: Merged) -> Vec<String> {
        match merged {
            Merged::FastForward(id) => vec![format!("gives fast-forward {}", self.names[&id])],
            Merged::Conflict(clashes) => {
                clashes.iter().map(|clash| format!("gives conflict {} {:?}", clash.path, clash.why)).collect()
            }
            Merged::Commit(id) => {
                let tree = self.memory.commit(id).expect("made here").tree;
                let mut lines = vec![format!("gives commit {id}")];
                self.memory.list(tree, "", &mut lines);
                lines
            }
        }
    }
}

pub(super) fn commit_cases() -> Vec<Case> {
    cases("commits.txt").into_iter().map(|(name, lines)| case(name, &lines)).collect()
}

fn case(name: String, lines: &[String]) -> Case {
    let mut memory = Memory::default();
    let mut ids: BTreeMap<String, ObjectId> = BTreeMap::new();
    let mut trees: BTreeMap<String, Files> = BTreeMap::new();
    let mut open: Option<(String, u64, Vec<ObjectId>, Files)> = None;
    let mut merge = None;
    let mut gives = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_merge = words[0] == "merge";
        if matches!(words[0], "commit" | "merge")
            && let Some((name, seconds, parents, files)) = open.take()
        {
            let tree = if files.is_empty() { EMPTY_TREE } else { memory.tree_of(&files) };
            ids.insert(name.clone(), memory.commit_of(&name, tree, seconds, &parents));
            trees.insert(name, files);
        }
        if words[0] == "commit" {
            // `commit NAME SECONDS PARENT...`: starts with the first parent's files.
            let parents: Vec<ObjectId> = words[3..].iter().map(|parent| ids[*parent]).collect();
            let files = words.get(3).map(|parent| trees[*parent].clone()).unwrap_or_default();
            open = Some((words[1].to_owned(), words[2].parse().expect("seconds"), parents, files));
        } else if is_merge {
            // `merge HEAD,HEAD TIP BRANCH`
            let heads: Vec<ObjectId> = words[1].split(',').map(|head| ids[head]).collect();
            merge = Some((heads, ids[words[2]], BranchName::new(words[3]).expect("a branch")));
        } else if merge.is_some() {
            gives.push(line.clone());
        } else {
            let files = &mut open.as_mut().expect("a commit comes first").3;
            if words[0] == "delete" {
                let path = words[1];
                files.retain(|file, _| file != path && !file.starts_with(format!("{path}/").as_bytes()));
            } else {
                let content = words.get(2).map(|text| unescape(text)).unwrap_or_default();
                files.insert(words[1].into(), (kind(words[0]), content));
            }
        }
    }
    let (heads, tip, branch) = merge.expect("a merge ends it");
    let names = ids.into_iter().map(|(name, id)| (id, name)).collect();
    Case { name, memory, heads, tip, branch, gives, names }
}

#[test]
fn the_commits_merge_as_written() {
    let cases = commit_cases();
    assert!(cases.len() >= 20);
    let mut wrong = String::new();
    for mut case in cases {
        let merged = by_rules(1, &mut case.memory, &case.heads, case.tip, &case.branch).expect("all is there");
        let gave = case.show(merged);
        if gave != case.gives {
            writeln!(wrong, "== {}\n{}\nbut is written\n{}\n", case.name, gave.join("\n"), case.gives.join("\n"))
                .expect("memory");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
