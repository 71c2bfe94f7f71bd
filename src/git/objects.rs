//! Reading objects raw: no replace refs, no grafts, no attributes; and what a commit and a tree say.

use std::fs::File;
use std::path::PathBuf;

use gix::bstr::ByteSlice as _;
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
        // All but always it is one of these.
        match self.mode {
            b"100644" => return 0o100_644,
            b"40000" => return 0o040_000,
            b"100755" => return 0o100_755,
            _ => {}
        }
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

/// The first entry of a tree's bytes, and what follows it; `None` where they begin with no entry.
pub(super) fn split_entry(data: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let space = data.iter().take(12).position(|byte| *byte == b' ')?;
    let (mode, rest) = (&data[..space], &data[space + 1..]);
    let end = rest.find_byte(0)?;
    let (name, rest) = (&rest[..end], &rest[end + 1..]);
    let (id, rest) = rest.split_first_chunk::<20>()?;
    Some((Entry { mode, name, id: gix::ObjectId::Sha1(*id) }, rest))
}

/// Which entries of a tree are those of another one. It is asked about them in their order.
pub(super) struct Known<'a> {
    data: &'a [u8],
    base: &'a [u8],
    /// How many bytes are the same from the start.
    until: usize,
    /// From here on the bytes are the same to the end, and entries begin here in both; `None` before the first entry that
    /// does not lie before `until`.
    from: Option<usize>,
}

impl<'a> Known<'a> {
    pub(super) fn of(data: &'a [u8], base: &'a [u8]) -> Self {
        Self { data, base, until: common(data, base), from: None }
    }

    /// Does the entry between these two places stand in the other tree too?
    pub(super) fn holds(&mut self, start: usize, end: usize) -> bool {
        // Up to there both are read alike.
        end <= self.until || start >= *self.from.get_or_insert_with(|| again(self.data, self.base, start))
    }

    /// Are this entry, which begins there and was asked about, and all behind it known?
    pub(super) fn holds_the_rest(&self, start: usize) -> bool {
        self.from.is_some_and(|from| start >= from)
    }
}

/// Where the entries of both are the same again, up to the end. Both have an entry that begins at `start`.
fn again(data: &[u8], base: &[u8], start: usize) -> usize {
    if base.is_empty() {
        return data.len();
    }
    let back = common_end(&data[start..], &base[start..]);
    let (mut here, mut there) = (&data[start..], &base[start..]);
    while here.len() != there.len() || here.len() > back {
        let longer = if here.len() >= there.len() { &mut here } else { &mut there };
        match split_entry(longer) {
            Some((_, after)) => *longer = after,
            None => return data.len(),
        }
    }
    data.len() - here.len()
}

/// Bytes that are compared at once.
const BLOCK: usize = 32;

/// How many bytes two texts have in common at their start, a block at a time.
fn common(a: &[u8], b: &[u8]) -> usize {
    let whole = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    whole + a[whole..].iter().zip(&b[whole..]).take_while(|(a, b)| a == b).count()
}

/// The same at their end.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    let whole = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK)).take_while(|(a, b)| a == b).count() * BLOCK;
    let (a, b) = (&a[..a.len() - whole], &b[..b.len() - whole]);
    whole + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

impl Objects {
    /// The objects of a repository, its alternates included.
    pub(super) fn of(repo: &Repository) -> Self {
        Self::new(repo.local().objects.into_inner())
    }

    /// The same, with packs opened for this alone: once it is dropped nothing of them stays in memory. For what goes
    /// through a whole history.
    pub(super) fn apart(repo: &Repository) -> std::io::Result<Self> {
        gix::odb::at(repo.common_dir().join("objects"), gix::hash::Kind::Sha1).map(Self::new)
    }

    pub(super) fn new(mut handle: gix::odb::Handle) -> Self {
        handle.ignore_replacements = true;
        Self { handle }
    }

    /// The same for another thread, with caches of its own.
    pub(super) fn beside(&self) -> Self {
        Self { handle: self.handle.clone() }
    }

    /// Keeps decoded trees in memory, as much as this many bytes: worth it where many commits are compared.
    pub(super) fn with_cache(mut self, bytes: usize) -> Self {
        self.handle.set_object_cache(move || Box::new(gix_pack::cache::object::MemoryCappedHashmap::new(bytes)));
        self
    }

    /// Keeps what deltas are against in memory, as much as this many bytes: worth it where much of a history is read.
    pub(super) fn with_bases(mut self, bytes: usize) -> Self {
        self.handle.set_pack_cache(move || Box::new(gix_pack::cache::lru::MemoryCappedHashmap::new(bytes)));
        self
    }

    /// The directories in which its packs lie.
    pub(super) fn pack_dirs(&self) -> std::io::Result<Vec<PathBuf>> {
        let store = self.handle.store_ref();
        let alternates = store.alternate_db_paths().map_err(|error| std::io::Error::other(chain(&error)))?;
        Ok(std::iter::once(store.path().to_owned()).chain(alternates).map(|dir| dir.join("pack")).collect())
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

/// Reads exactly what lies there in a file.
#[cfg(unix)]
pub(super) fn read_at(file: &mut File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

/// Reads exactly what lies there in a file.
#[cfg(not(unix))]
pub(super) fn read_at(file: &mut File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    use std::io::{Read as _, Seek as _};
    file.seek(std::io::SeekFrom::Start(at))?;
    file.read_exact(out)
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
