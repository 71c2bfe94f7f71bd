//! What git's `fsck` refuses about trees, where letting it in would hurt somebody.
//!
//! Modes that old tools wrote (a leading zero, 100664) only draw a warning from git and are let through, or
//! histories that have them for ever could not be shared.

use gix::bstr::ByteSlice as _;
use gix::validate::path::component;

use super::BadTree;
use crate::git::objects::{Entry, EntryKind, Known, split_entry};
use crate::git::walk;

/// Most digits of a mode, leading zeros included.
const MODE_DIGITS: usize = 7;

/// Checks a tree's bytes.
#[cfg(any(test, fuzzing))]
pub(super) fn check_tree(data: &[u8]) -> Result<(), BadTree> {
    look_at_tree(data, None, |_, _, _| {})
}

/// Checks a tree's bytes, and shows each entry with its mode, and whether it is fresh: not one that stands in `base`, byte
/// for byte. That is another tree, which was checked before, so its entries are not checked again, only their order.
pub(super) fn look_at_tree(
    data: &[u8],
    base: Option<&[u8]>,
    mut each: impl FnMut(&Entry<'_>, u32, bool),
) -> Result<(), BadTree> {
    let mut known = Known::of(data, base.unwrap_or_default());
    let mut before: Option<(&[u8], bool)> = None;
    // Files whose name starts that of what follows: a directory of that name comes later than its next of kin.
    let mut files: Vec<&[u8]> = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let start = data.len() - rest.len();
        let (entry, after) = split_entry(rest).ok_or(BadTree::Malformed)?;
        rest = after;
        let mode = entry.mode();
        let is_fresh = !known.holds(start, data.len() - rest.len());
        if is_fresh {
            // git reads any number of leading zeros, gix none beyond this: nobody could check such a tree out.
            if entry.mode.len() > MODE_DIGITS {
                return Err(BadTree::Mode);
            }
            let is_link = match mode {
                0o040_000 | 0o100_644 | 0o100_664 | 0o100_755 | 0o160_000 => false,
                0o120_000 => true,
                _ => return Err(BadTree::Mode),
            };
            check_name(entry.name, is_link)?;
            if entry.id.is_null() {
                return Err(BadTree::NullId);
            }
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
        // Each of them starts the next.
        while files.last().is_some_and(|file| !this.0.starts_with(file)) {
            files.pop();
        }
        if this.1 && files.contains(&this.0) {
            return Err(BadTree::Duplicate);
        }
        if !this.1 {
            files.push(this.0);
        }
        before = Some(this);
        each(&entry, mode, is_fresh);
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

/// A file that git itself reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special {
    Modules,
    Attributes,
}

/// Does this name, or a part of it that Windows would take for one, stand for a file that git itself reads?
pub(super) fn special(name: &[u8]) -> Option<Special> {
    let one = |name: &[u8]| {
        if stands_for(name, b"gitmodules", b"gi7eba") {
            Some(Special::Modules)
        } else if stands_for(name, b"gitattributes", b"gi7d29") {
            Some(Special::Attributes)
        } else {
            None
        }
    };
    name.split(|byte| *byte == b'\\').find_map(one)
}

/// Is this name read as a dot and `word` on some system? `short` begins the name that Windows makes where others are
/// taken.
fn stands_for(name: &[u8], word: &[u8], short: &[u8; 6]) -> bool {
    // Most names are seen not to by their first byte.
    if !matches!(name.first(), Some(b'.' | b'g' | b'G' | 0xe2 | 0xef)) {
        return false;
    }
    stands_on_mac(name, word) || stands_on_windows(name, word, short)
}

/// The file system of macOS leaves out some characters, and does not tell upper from lower case.
fn stands_on_mac(name: &[u8], word: &[u8]) -> bool {
    let is_left_out = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let mut seen = name.chars().filter(|c| !is_left_out(c)).map(|c| c.to_ascii_lowercase());
    let word = word.iter().map(|byte| char::from(*byte));
    std::iter::once('.').chain(word).all(|c| seen.next() == Some(c)) && seen.next().is_none()
}

/// Windows leaves out spaces and dots at the end, and what follows a colon; and it has a short name for each file.
fn stands_on_windows(name: &[u8], word: &[u8], short: &[u8; 6]) -> bool {
    let is_end = |rest: &[u8]| {
        let rest = &rest[rest.iter().take_while(|byte| matches!(byte, b' ' | b'.')).count()..];
        matches!(rest.first(), None | Some(b':'))
    };
    let start = |len: usize| name.get(..len).unwrap_or_default();
    if start(1) == b"." && name.get(1..=word.len()).is_some_and(|rest| rest.eq_ignore_ascii_case(word)) {
        return is_end(&name[1 + word.len()..]);
    }
    if start(6).eq_ignore_ascii_case(&word[..6]) && matches!(name.get(6..8), Some([b'~', b'1'..=b'4'])) {
        return is_end(&name[8..]);
    }
    let Some(eight) = name.get(..8) else { return false };
    let tilde = eight.iter().position(|byte| *byte == b'~').unwrap_or(8);
    let is_number =
        |digits: &[u8]| matches!(digits.first(), Some(b'1'..=b'9')) && digits.iter().all(u8::is_ascii_digit);
    tilde <= 6
        && eight[..tilde].eq_ignore_ascii_case(&short[..tilde])
        && is_number(&eight[tilde + 1..])
        && is_end(&name[8..])
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

    /// A tree of these names; an upper-case letter is a directory's.
    fn letters(names: &str, id: u8) -> Vec<u8> {
        let mut data = Vec::new();
        for name in names.chars() {
            data.extend(if name.is_uppercase() { b"40000 ".as_slice() } else { b"100644 " });
            data.extend(name.to_lowercase().to_string().as_bytes());
            data.push(0);
            data.extend([if matches!(name, 'm' | 'x') { id } else { 7 }; 20]);
        }
        data
    }

    #[test]
    fn what_stands_in_a_tree_that_was_checked_is_not_fresh_and_nothing_else_is_spared() {
        for (data, base, fresh) in [
            ("abcd", "abcd", ""),
            ("abcd", "abd", "c"),
            ("abd", "abcd", ""),
            ("mnop", "nop", "m"),
            ("amz", "acmz", "m"),
            ("amz", "az", "m"),
            ("abcx", "abc", "x"),
            ("amz", "abz", "m"),
            ("aBc", "abc", "b"),
            ("abcd", "", "abcd"),
            ("", "abcd", ""),
        ] {
            let (data, mut base, mut seen) = (letters(data, 1), letters(base, 2), String::new());
            let note = |seen: &mut String, entry: &Entry<'_>, is_fresh: bool| {
                if is_fresh {
                    seen.push(char::from(entry.name[0]));
                }
            };
            look_at_tree(&data, Some(&base), |entry, _, is_fresh| note(&mut seen, entry, is_fresh)).unwrap();
            assert_eq!(seen, fresh);
            // Bytes at the end that are the same, and no entry begins with them there.
            base.insert(0, b'1');
            look_at_tree(&data, Some(&base), |_, _, _| {}).unwrap();
        }
        // The order, and what stands twice, across the border of what was seen before.
        let (twice, order) = (letters("abbc", 1), letters("acbd", 1));
        assert_eq!(look_at_tree(&twice, Some(&letters("abc", 1)), |_, _, _| {}), Err(BadTree::Duplicate));
        assert_eq!(look_at_tree(&order, Some(&letters("acd", 1)), |_, _, _| {}), Err(BadTree::Order));
        let mut bad = letters("abc", 1);
        bad.extend(b"100644 .git\0");
        bad.extend([7; 20]);
        assert_eq!(look_at_tree(&bad, Some(&letters("abc", 1)), |_, _, _| {}), Err(BadTree::DotGit));
    }

    #[test]
    fn files_that_git_reads_are_known_by_every_name() {
        let modules: [&[u8]; 12] = [
            b".gitmodules",
            b".GitModules",
            b".gitmodules ",
            b".gitmodules. .",
            b".gitmodules::$DATA",
            b"gitmod~1",
            b"GITMOD~4 .",
            b"gi7eba~1",
            b"GI7EB~12",
            b"gi7~1234",
            b"x\\.gitmodules",
            ".git\u{200d}modules".as_bytes(),
        ];
        for name in modules {
            assert_eq!(special(name), Some(Special::Modules), "{:?}", name.as_bstr());
        }
        assert_eq!(special(b"gitatt~1"), Some(Special::Attributes));
        assert_eq!(special(b".GITATTRIBUTES:x"), Some(Special::Attributes));
        let others: [&[u8]; 8] =
            [b"gitmodules", b".gitmodulesx", b"gitmod~5", b"gi7eba~0", b"gi7eba1", b".gitmodule", b"g", b"gitignore"];
        for name in others {
            assert_eq!(special(name), None, "{:?}", name.as_bstr());
        }
    }
}
