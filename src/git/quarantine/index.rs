//! Writing the index of a pack, as git's version 2 of it is.

use std::io::{self, Write};

/// What an index says of an object.
pub(super) struct Entry {
    pub(super) id: gix::ObjectId,
    /// The checksum of its bytes in the pack.
    pub(super) crc32: u32,
    pub(super) offset: u64,
}

/// Offsets from here on are written in a table of their own.
const LARGE: u64 = 1 << 31;

/// Writes the index of the pack with this checksum. The entries come in the order of their ids.
pub(super) fn write(
    out: impl Write,
    entries: impl Iterator<Item = Entry> + Clone,
    pack: gix::ObjectId,
) -> io::Result<()> {
    let mut out = Hashed { out, hash: gix::hash::hasher(gix::hash::Kind::Sha1) };
    out.put(b"\xfftOc\x00\x00\x00\x02")?;
    let mut counts = [0u32; 256];
    entries.clone().for_each(|entry| counts[usize::from(entry.id.as_bytes()[0])] += 1);
    let mut sum = 0;
    for count in counts {
        sum += count;
        out.put(&sum.to_be_bytes())?;
    }
    for entry in entries.clone() {
        out.put(entry.id.as_bytes())?;
    }
    for entry in entries.clone() {
        out.put(&entry.crc32.to_be_bytes())?;
    }
    let mut large = Vec::new();
    for entry in entries {
        let offset = if entry.offset < LARGE {
            entry.offset as u32
        } else {
            large.push(entry.offset);
            LARGE as u32 | (large.len() - 1) as u32
        };
        out.put(&offset.to_be_bytes())?;
    }
    for offset in large {
        out.put(&offset.to_be_bytes())?;
    }
    out.put(pack.as_bytes())?;
    let checksum = out.hash.try_finalize().map_err(io::Error::other)?;
    out.out.write_all(checksum.as_bytes())?;
    out.out.flush()
}

struct Hashed<W> {
    out: W,
    hash: gix::hash::Hasher,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entry = |at: u64| {
            let id = gix::ObjectId::Sha1([at as u8; 20]);
            Entry { id, crc32: at as u32 * 7, offset: at << 25 }
        };
        let entries: Vec<u64> = (0..250).collect();
        let mut bytes = Vec::new();
        let pack = gix::ObjectId::Sha1([9; 20]);
        write(&mut bytes, entries.iter().map(|at| entry(*at)), pack).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        std::fs::write(&path, &bytes).unwrap();
        let index = gix_pack::index::File::at(&path, gix::hash::Kind::Sha1).unwrap();
        assert_eq!((index.num_objects(), index.pack_checksum()), (250, pack));
        let read: Vec<_> = index.iter().map(|entry| (entry.oid, entry.pack_offset, entry.crc32)).collect();
        let wrote = entries.iter().map(|at| entry(*at)).map(|entry| (entry.id, entry.offset, Some(entry.crc32)));
        assert_eq!(read, wrote.collect::<Vec<_>>());
        index.verify_checksum(&mut gix::progress::Discard, &std::sync::atomic::AtomicBool::new(false)).unwrap();
    }
}
