//! Git's bytes of trees and commits, read and written by `rules` 1 itself: a later gix may be stricter or laxer.

use std::collections::BTreeMap;

use gix::bstr::BString;

use crate::id::{BranchName, ObjectId};

/// What an entry of a tree is; the mode as git canonicalises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tree,
    File,
    Executable,
    Symlink,
    Gitlink,
}

impl Kind {
    fn of(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Tree,
            0o100_000 if mode & 0o100 != 0 => Self::Executable,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            _ => Self::Gitlink,
        }
    }

    fn octal(self) -> &'static str {
        match self {
            Self::Tree => "40000",
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
        }
    }

    /// A regular file, executable or not.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::File | Self::Executable)
    }
}

/// What a name in a tree stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) id: ObjectId,
}

/// The entries of one tree by name.
pub(crate) type Tree = BTreeMap<BString, Entry>;

/// What a merge needs of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    /// The committer's time in seconds since 1970; 0 where it is no number of at most eleven digits.
    pub(crate) seconds: u64,
}

/// Reads a tree; `None` for bytes that are none: cut short, no mode, an empty or doubled name, a slash.
pub(crate) fn read_tree(mut bytes: &[u8]) -> Option<Tree> {
    let mut tree = Tree::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&byte| byte == b' ')?;
        let (mode, rest) = (&bytes[..space], &bytes[space + 1..]);
        let nul = rest.iter().position(|&byte| byte == 0)?;
        let (name, rest) = (&rest[..nul], &rest[nul + 1..]);
        let (id, rest) = rest.split_first_chunk::<20>()?;
        let octal = !mode.is_empty() && mode.len() <= 7 && mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
        if !octal || name.is_empty() || name.contains(&b'/') {
            return None;
        }
        let mode = mode.iter().fold(0, |mode, digit| mode * 8 + u32::from(digit - b'0'));
        let entry = Entry { kind: Kind::of(mode), id: ObjectId::Sha1(*id) };
        if tree.insert(name.into(), entry).is_some() {
            return None;
        }
        bytes = rest;
    }
    Some(tree)
}

/// Writes a tree in git's order: by name, a directory's as if it ended in a slash.
pub(crate) fn write_tree(tree: &Tree) -> Vec<u8> {
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by_cached_key(|(name, entry)| {
        let mut key = name.to_vec();
        if entry.kind == Kind::Tree {
            key.push(b'/');
        }
        key
    });
    let mut bytes = Vec::new();
    for (name, entry) in entries {
        bytes.extend_from_slice(entry.kind.octal().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(entry.id.as_bytes());
    }
    bytes
}

/// Reads the head of a commit: `tree`, `parent`s, `author`, `committer`; `None` where they are not there.
pub(crate) fn read_commit(bytes: &[u8]) -> Option<Commit> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let id = |text: &[u8]| -> Option<ObjectId> {
        let id: ObjectId = std::str::from_utf8(text).ok()?.parse().ok()?;
        matches!(id, ObjectId::Sha1(_)).then_some(id)
    };
    let tree = id(lines.next()?.strip_prefix(b"tree ")?)?;
    let mut parents = Vec::new();
    let mut line = lines.next()?;
    while let Some(parent) = line.strip_prefix(b"parent ") {
        parents.push(id(parent)?);
        line = lines.next()?;
    }
    line.strip_prefix(b"author ")?;
    let committer = lines.next()?.strip_prefix(b"committer ")?;
    Some(Commit { tree, parents, seconds: seconds(committer).unwrap_or(0) })
}

fn seconds(signature: &[u8]) -> Option<u64> {
    let after_mail = signature.iter().rposition(|&byte| byte == b'>')? + 1;
    let digits = signature[after_mail..].strip_prefix(b" ")?;
    let digits = digits.split(|&byte| byte == b' ').next()?;
    if digits.is_empty() || digits.len() > 11 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a merge commit of `rules` 1 says of itself.
pub(crate) enum Subject {
    /// A revision's tip that was merged into the branch.
    Merge(ObjectId),
    /// Several heads of the branch, without anything new.
    Join(usize),
}

/// The bytes of a merge commit.
pub(crate) fn write_commit(commit: &Commit, subject: &Subject, branch: &BranchName) -> Vec<u8> {
    let mut text = format!("tree {}\n", commit.tree);
    for parent in &commit.parents {
        text += &format!("parent {parent}\n");
    }
    let signature = format!("lansync <lansync@localhost.invalid> {} +0000", commit.seconds);
    text += &format!("author {signature}\ncommitter {signature}\n\n");
    let branch = branch.as_str();
    match subject {
        Subject::Merge(tip) => text += &format!("Merge {tip} into {branch}\n"),
        Subject::Join(heads) => text += &format!("Join {heads} heads of {branch}\n"),
    }
    text += "\nlansync-rules: 1\n";
    text.into_bytes()
}
