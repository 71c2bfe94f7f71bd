//! A pack of few objects: each whole and compressed, in the order in which they were found.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use gix::objs::Kind;
use gix_pack::data::entry::Header;

use super::PackError;
use crate::git::objects::Objects;

/// Writes the pack; returns its size in bytes.
pub(super) fn write(
    objects: &Objects,
    ids: &[gix::ObjectId],
    count: u32,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<u64, PackError> {
    let mut pack = Hashed { out, hash: gix::hash::hasher(gix::hash::Kind::Sha1), bytes: 0 };
    let header = gix_pack::data::header::encode(gix_pack::data::Version::V2, count);
    pack.write_all(&header).map_err(PackError::Write)?;
    let mut buf = Vec::new();
    for id in ids {
        if stop.load(Ordering::Relaxed) {
            return Err(PackError::Stopped);
        }
        let (kind, data) = objects.read(id, &mut buf)?;
        let header = match kind {
            Kind::Tree => Header::Tree,
            Kind::Blob => Header::Blob,
            Kind::Commit => Header::Commit,
            Kind::Tag => Header::Tag,
        };
        header.write_to(data.len() as u64, &mut pack).map_err(PackError::Write)?;
        let mut deflate = gix::zlib::stream::deflate::Write::new(&mut pack, gix::zlib::Compression::DEFAULT);
        deflate.write_all(data).and_then(|()| deflate.flush()).map_err(PackError::Write)?;
    }
    let digest = pack.hash.try_finalize().map_err(|error| PackError::Copying(error.to_string()))?;
    pack.out.write_all(digest.as_bytes()).map_err(PackError::Write)?;
    Ok(pack.bytes + digest.as_bytes().len() as u64)
}

/// Hashes what passes through.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: gix::hash::Hasher,
    bytes: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    /// Does nothing: what is behind it is flushed once, at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
