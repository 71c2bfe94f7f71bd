//! Git LFS: pointers in commits, and the media files that they name.
//!
//! A pointer is a small text in place of a large file; git-lfs keeps the file itself as
//! `lfs/objects/ab/cd/abcd...` in the git directory. What a commit refers to is found by its pointers
//! (`media_of_trees`), comes in through `store`, which shows a file only once its hash holds, and is put in place of
//! pointers by `worktree`. Nothing here runs the `git-lfs` program.

mod media_of_trees;
mod store;

pub use media_of_trees::{LfsError, MediaOfTrees};
pub(super) use store::media_of_file;
pub use store::{MediaRefused, MediaStore};

use crate::id::{Media, MediaId};

/// No pointer is longer, in bytes: git-lfs does not look at larger files either.
pub(super) const POINTER_BYTES: usize = 1_024;
/// The first line of every pointer.
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// What a pointer names; `None` where the text is none. Pointers of git-lfs extensions, which name a program to run,
/// are none here.
pub(super) fn read_pointer(text: &[u8]) -> Option<Media> {
    if text.len() > POINTER_BYTES {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut lines = text.split('\n');
    if lines.next()? != VERSION {
        return None;
    }
    let oid = lines.next()?.strip_prefix("oid sha256:")?;
    let size = lines.next()?.strip_prefix("size ")?;
    if lines.next().is_some() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // git-lfs writes lower case; another spelling would name a second file.
    let id: MediaId = oid.parse().ok().filter(|id: &MediaId| id.to_string() == oid)?;
    Some(Media { id, size: size.parse().ok()? })
}

/// The pointer as git-lfs writes it.
pub(super) fn write_pointer(media: &Media) -> Vec<u8> {
    format!("{VERSION}\noid sha256:{}\nsize {}\n", media.id, media.size).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

    #[test]
    fn a_pointer_reads_back_as_git_lfs_writes_it() {
        let media = read_pointer(POINTER.as_bytes()).expect("the example of git-lfs's own specification");
        assert_eq!(media.size, 12_345);
        assert_eq!(write_pointer(&media), POINTER.as_bytes());
    }

    #[test]
    fn what_only_looks_like_a_pointer_is_none() {
        for other in [
            "",
            "version https://git-lfs.github.com/spec/v1\n",
            &POINTER.replace("v1", "v2"),
            &POINTER.replace("sha256:4d", "sha256:4D"),
            &POINTER.replace("sha256:4d", "sha256:"),
            &POINTER.replace("sha256", "md5"),
            &POINTER.replace("12345", "-1"),
            &POINTER.replace("12345", "+1"),
            &POINTER.replace("12345", "99999999999999999999999"),
            &format!("{POINTER}more text\n"),
            &POINTER.replace("\noid", "\next-0-foo sha256:4d7a\noid"),
            &format!("{POINTER}{}", " ".repeat(POINTER_BYTES)),
        ] {
            assert_eq!(read_pointer(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(read_pointer(&[0xff; 100]), None);
    }
}
