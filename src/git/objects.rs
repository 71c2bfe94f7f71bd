//! Reading objects raw: no replace refs, no grafts, no attributes; and what a commit and a tree say.

use gix::objs::{Find as _, Kind};
use gix::odb::Header as _;

use super::Repository;

/// Why an object could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is not here.
    Missing(gix::ObjectId),
    /// It is here, but its bytes cannot be read, or do not say what they should.
    Corrupt(gix::ObjectId, String),
}

/// An object store seen by one thread: a repository's, or a quarantine's on top of it.
pub(super) struct Objects {
    handle: gix::odb::Handle,
}

/// What a walk needs of a commit.
pub(super) struct Commit {
    pub(super) tree: gix::ObjectId,
    pub(super) parents: Vec<gix::ObjectId>,
    /// Committer time in seconds since 1970; only the order in which commits are visited depends on it.
    pub(super) time: i64,
}

/// One entry of a tree.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The mode's digits as they stand there.
    pub(super) mode: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) id: gix::ObjectId,
}

/// What the mode of an entry says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EntryKind {
    Tree,
    /// A file or a symbolic link.
    Blob,
    /// A commit of another repository.
    Gitlink,
}

impl Entry<'_> {
    /// The mode as a number; digits that are none, or too many, give one that nothing has.
    pub(super) fn mode(&self) -> u32 {
        let digit = |mode: u32, c: &u8| match c {
            b'0'..=b'7' if mode < 1 << 27 => mode << 3 | u32::from(c - b'0'),
            _ => u32::MAX,
        };
        self.mode.iter().fold(0, digit)
    }

    pub(super) fn kind(&self) -> EntryKind {
        match self.mode() & 0o170_000 {
            0o040_000 => EntryKind::Tree,
            0o160_000 => EntryKind::Gitlink,
            _ => EntryKind::Blob,
        }
    }
}

/// The entries of a tree's bytes, in the order in which they stand there; `None` in place of what is no entry.
pub(super) fn entries(mut data: &[u8]) -> impl Iterator<Item = Option<Entry<'_>>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let entry = split_entry(data);
        data = entry.map_or(&[], |(_, rest)| rest);
        Some(entry.map(|(entry, _)| entry))
    })
}

fn split_entry(data: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let space = data.iter().take(12).position(|byte| *byte == b' ')?;
    let (mode, rest) = (&data[..space], &data[space + 1..]);
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let (id, rest) = rest.split_first_chunk::<20>()?;
    Some((Entry { mode, name, id: gix::ObjectId::Sha1(*id) }, rest))
}

impl Objects {
    /// The objects of a repository, its alternates included.
    pub(super) fn of(repo: &Repository) -> Self {
        Self::new(repo.local().objects.into_inner())
    }

    pub(super) fn new(mut handle: gix::odb::Handle) -> Self {
        handle.ignore_replacements = true;
        Self { handle }
    }

    /// Keeps decoded trees in memory, as much as this many bytes: worth it where many commits are compared.
    pub(super) fn with_cache(mut self, bytes: usize) -> Self {
        self.handle.set_object_cache(move || Box::new(gix_pack::cache::object::MemoryCappedHashmap::new(bytes)));
        self
    }

    /// For writing packs, which keeps the packs open that objects are copied from.
    pub(super) fn into_handle(self) -> gix::odb::Handle {
        self.handle
    }

    pub(super) fn has(&self, id: &gix::oid) -> bool {
        use gix::objs::Exists as _;
        self.handle.exists(id)
    }

    /// An object's kind and whole content. The empty tree is always there, as it is for git.
    pub(super) fn read<'a>(&self, id: &gix::oid, buf: &'a mut Vec<u8>) -> Result<(Kind, &'a [u8]), Unread> {
        match self.handle.try_find(id, buf) {
            Ok(Some(object)) => Ok((object.kind, object.data)),
            Ok(None) if id.is_empty_tree() => Ok((Kind::Tree, &[])),
            Ok(None) => Err(Unread::Missing(id.to_owned())),
            Err(error) => Err(Unread::Corrupt(id.to_owned(), chain(&error))),
        }
    }

    /// An object's kind, without its content where that can be avoided.
    pub(super) fn kind(&self, id: &gix::oid) -> Result<Kind, Unread> {
        match self.handle.try_header(id) {
            Ok(Some(header)) => Ok(header.kind()),
            Ok(None) if id.is_empty_tree() => Ok(Kind::Tree),
            Ok(None) => Err(Unread::Missing(id.to_owned())),
            Err(error) => Err(Unread::Corrupt(id.to_owned(), chain(&error))),
        }
    }

    /// How many bytes an object has, without reading them where that can be avoided.
    pub(super) fn size(&self, id: &gix::oid) -> Result<u64, Unread> {
        match self.handle.try_header(id) {
            Ok(Some(header)) => Ok(header.size()),
            Ok(None) => Err(Unread::Missing(id.to_owned())),
            Err(error) => Err(Unread::Corrupt(id.to_owned(), chain(&error))),
        }
    }

    /// The bytes of a tree.
    pub(super) fn tree<'a>(&self, id: &gix::oid, buf: &'a mut Vec<u8>) -> Result<&'a [u8], Unread> {
        match self.read(id, buf)? {
            (Kind::Tree, data) => Ok(data),
            (other, _) => Err(Unread::Corrupt(id.to_owned(), format!("it is a {other}, not a tree"))),
        }
    }

    /// Follows annotated tags, which are returned in order, to what they stand for.
    pub(super) fn peel(
        &self,
        id: &gix::oid,
        buf: &mut Vec<u8>,
    ) -> Result<(Vec<gix::ObjectId>, gix::ObjectId, Kind), Unread> {
        let (mut tags, mut id) = (Vec::new(), id.to_owned());
        loop {
            // Blobs are not read for their kind alone.
            let kind = self.kind(&id)?;
            if kind != Kind::Tag {
                return Ok((tags, id, kind));
            }
            let (_, data) = self.read(&id, buf)?;
            let target = gix::objs::TagRef::from_bytes(data, gix::hash::Kind::Sha1).map(|tag| tag.target());
            let target = target.map_err(|error| Unread::Corrupt(id, chain(&error)))?;
            tags.push(id);
            if tags.len() > MOST_TAGS {
                return Err(Unread::Corrupt(id, "a tag of a tag of a tag, without end".to_owned()));
            }
            id = target;
        }
    }

    pub(super) fn commit(&self, id: &gix::oid, buf: &mut Vec<u8>) -> Result<Commit, Unread> {
        let (kind, data) = self.read(id, buf)?;
        if kind != Kind::Commit {
            return Err(Unread::Corrupt(id.to_owned(), format!("it is a {kind}, not a commit")));
        }
        commit_of(data).ok_or_else(|| Unread::Corrupt(id.to_owned(), "its header is malformed".to_owned()))
    }
}

/// Longest chain of annotated tags: people tag a tag by accident, nobody does it this often.
const MOST_TAGS: usize = 32;

/// Reads the header of a commit: `tree`, `parent`s, and the time of `committer`, which may be broken.
pub(super) fn commit_of(data: &[u8]) -> Option<Commit> {
    let id = |line: &[u8], word: &[u8]| gix::ObjectId::from_hex(line.strip_prefix(word)?).ok();
    let mut lines = data.split(|byte| *byte == b'\n');
    let tree = id(lines.next()?, b"tree ")?;
    let (mut parents, mut time, mut author) = (Vec::new(), 0, false);
    for line in lines {
        if line.starts_with(b"parent ") && !author {
            parents.push(id(line, b"parent ")?);
            continue;
        }
        author = true;
        if line.starts_with(b"committer ") {
            let mut words = line.rsplit(|byte| *byte == b' ');
            let seconds = words.nth(1).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            time = seconds.unwrap_or(0);
            break;
        } else if line.is_empty() {
            break;
        }
    }
    Some(Commit { tree, parents, time })
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !cause_text.is_empty() && !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_entries_are_read_as_they_stand() {
        let mut tree = b"040000 dir\0".to_vec();
        tree.extend([1; 20]);
        tree.extend(b"100644 file\0");
        tree.extend([2; 20]);
        let all: Vec<Entry<'_>> = entries(&tree).map(|entry| entry.expect("well-formed")).collect();
        assert_eq!((all[0].kind(), all[0].name), (EntryKind::Tree, b"dir".as_slice()));
        assert_eq!((all[1].kind(), all[1].mode()), (EntryKind::Blob, 0o100_644));
        assert!(entries(&tree[..tree.len() - 1]).any(|entry| entry.is_none()), "an entry cut short");
        let huge = Entry { mode: b"777777777777", name: b"a", id: gix::ObjectId::Sha1([0; 20]) };
        assert_eq!(huge.mode(), u32::MAX);
    }

    #[test]
    fn a_broken_time_does_not_hide_a_commit() {
        let text = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor x\ncommitter x\n\nm";
        assert_eq!(commit_of(text).map(|commit| (commit.parents.len(), commit.time)), Some((0, 0)));
        assert!(commit_of(b"tree 4b825d\n").is_none());
    }
}
