//! What git's `fsck` refuses about trees and commits, where letting it in would hurt somebody.
//!
//! Modes that old tools wrote (a leading zero, 100664) only draw a warning from git and are let through, or
//! histories that have them for ever could not be shared.

use gix::bstr::ByteSlice as _;
use gix::validate::path::component;

use super::BadTree;
use crate::git::objects::{EntryKind, entries};
use crate::git::walk;

/// Most digits of a mode, leading zeros included.
const MODE_DIGITS: usize = 7;

/// Checks a tree's bytes.
pub(super) fn check_tree(data: &[u8]) -> Result<(), BadTree> {
    let mut before: Option<(&[u8], bool)> = None;
    // Files whose name starts that of what follows: a directory of that name comes later than its next of kin.
    let mut files: Vec<&[u8]> = Vec::new();
    for entry in entries(data) {
        let entry = entry.ok_or(BadTree::Malformed)?;
        // git reads any number of leading zeros, gix none beyond this: nobody could check such a tree out.
        if entry.mode.len() > MODE_DIGITS {
            return Err(BadTree::Mode);
        }
        let is_link = match entry.mode() {
            0o040_000 | 0o100_644 | 0o100_664 | 0o100_755 | 0o160_000 => false,
            0o120_000 => true,
            _ => return Err(BadTree::Mode),
        };
        check_name(entry.name, is_link)?;
        if entry.id.is_null() {
            return Err(BadTree::NullId);
        }
        let this = (entry.name, entry.kind() == EntryKind::Tree);
        if let Some(before) = before {
            if before.0 == this.0 {
                return Err(BadTree::Duplicate);
            }
            if !walk::is_ordered(before, this) {
                return Err(BadTree::Order);
            }
        }
        files.retain(|file| this.0.starts_with(file));
        if this.1 && files.contains(&this.0) {
            return Err(BadTree::Duplicate);
        }
        if !this.1 {
            files.push(this.0);
        }
        before = Some(this);
    }
    Ok(())
}

fn check_name(name: &[u8], is_link: bool) -> Result<(), BadTree> {
    // Names that only Windows refuses (`aux.c`) are people's own business; those that lead elsewhere are not.
    let options = component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    let mode = is_link.then_some(component::Mode::Symlink);
    let check = |name: &[u8]| match gix::validate::path::component(name.as_bstr(), mode, options) {
        Ok(_) => Ok(()),
        Err(component::Error::Empty) => Err(BadTree::EmptyName),
        Err(component::Error::PathSeparator) => Err(BadTree::Slash),
        Err(component::Error::Relative) => Err(BadTree::Dots),
        Err(component::Error::SymlinkedGitModules) => Err(BadTree::GitModulesLink),
        Err(_) => Err(BadTree::DotGit),
    };
    check(name)?;
    if name.contains(&b'\\') {
        for part in name.split(|byte| *byte == b'\\').filter(|part| !part.is_empty()) {
            check(part)?;
        }
    }
    Ok(())
}

/// Checks a commit's bytes: that it says what a commit must, and nothing twice that could be read either way.
pub(super) fn check_commit(data: &[u8]) -> Result<(), String> {
    let header = data.find(b"\n\n").map_or(data, |end| &data[..end]);
    if header.contains(&0) {
        return Err("its header holds a zero byte".to_owned());
    }
    let commit = gix::objs::CommitRef::from_bytes(data, gix::hash::Kind::Sha1);
    commit.map(drop).map_err(|error| crate::git::objects::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(list: &[(&str, &[u8])]) -> Result<(), BadTree> {
        let mut data = Vec::new();
        for (mode, name) in list {
            data.extend(mode.as_bytes());
            data.push(b' ');
            data.extend(*name);
            data.push(0);
            data.extend([7; 20]);
        }
        check_tree(&data)
    }

    #[test]
    fn ordinary_trees_pass() {
        let all: &[(&str, &[u8])] = &[
            ("100644", b".gitattributes"),
            ("100644", b".github"),
            ("100644", b".gitmodules"),
            ("100644", b"a"),
            ("100644", b"a.c"),
            ("40000", b"a0"),
            ("100755", b"aux.c"),
            ("100644", b"back\\slash"),
            ("120000", b"link"),
            ("160000", b"module"),
        ];
        assert_eq!(tree(all), Ok(()));
        assert_eq!(tree(&[("040000", b"old"), ("100664", b"older")]), Ok(()), "git only warns about these");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dot_git: [&[u8]; 12] = [
            b".git",
            b".GIT",
            b".Git",
            b"git~1",
            b"GIT~1",
            b".git ",
            b".git.",
            b".git. .",
            b".git::$INDEX_ALLOCATION",
            ".g\u{200c}it".as_bytes(),
            b".git\\hooks",
            b"a\\.git\\hooks",
        ];
        for name in dot_git {
            assert_eq!(tree(&[("40000", name)]), Err(BadTree::DotGit), "{:?}", name.as_bstr());
        }
        for name in [b".".as_slice(), b"..", b"..\\..\\x", b"a\\..\\b"] {
            assert_eq!(tree(&[("100644", name)]), Err(BadTree::Dots), "{:?}", name.as_bstr());
        }
        assert_eq!(tree(&[("100644", b"a/b")]), Err(BadTree::Slash));
        assert_eq!(tree(&[("100644", b"")]), Err(BadTree::EmptyName));
        for name in [b".gitmodules".as_slice(), b".GITMODULES", b"gitmod~1", b".gitmodules "] {
            assert_eq!(tree(&[("120000", name)]), Err(BadTree::GitModulesLink), "{:?}", name.as_bstr());
        }
    }

    #[test]
    fn malformed_trees_are_refused() {
        assert_eq!(tree(&[("100644", b"b"), ("100644", b"a")]), Err(BadTree::Order));
        assert_eq!(tree(&[("100644", b"a"), ("100644", b"a")]), Err(BadTree::Duplicate));
        assert_eq!(tree(&[("40000", b"a"), ("100644", b"a.c")]), Err(BadTree::Order));
        assert_eq!(tree(&[("100644", b"a"), ("100644", b"a.c"), ("40000", b"a")]), Err(BadTree::Duplicate));
        assert_eq!(tree(&[("100600", b"a")]), Err(BadTree::Mode));
        assert_eq!(tree(&[("0", b"a")]), Err(BadTree::Mode));
        assert_eq!(tree(&[("0040000", b"a")]), Ok(()));
        assert_eq!(tree(&[("00040000", b"a")]), Err(BadTree::Mode), "gix could not check it out");
        assert_eq!(check_tree(b"100644 a\0short"), Err(BadTree::Malformed));
        let mut null = b"100644 a\0".to_vec();
        null.extend([0; 20]);
        assert_eq!(check_tree(&null), Err(BadTree::NullId));
    }

    #[test]
    fn malformed_commits_are_refused() {
        let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let good = format!("tree {id}\nauthor A <a@a> 1 +0000\ncommitter A <a@a> 1 +0000\n\nm\n");
        assert_eq!(check_commit(good.as_bytes()), Ok(()));
        assert!(check_commit(good.replace("author", "auth\0or").as_bytes()).is_err());
        assert!(check_commit(good.replace("committer", "commuter").as_bytes()).is_err());
        assert!(check_commit(b"tree 4b82\n").is_err());
    }
}
