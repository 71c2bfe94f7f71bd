//! The forms in which a pack is written, and its checksum.
//!
//! *Plain* is git's. A *trimmed* pack is the same without what whoever receives it can work out: the two bytes with which the
//! zlib stream of each entry begins (RFC 1950, section 2.2) and the Adler-32 checksum of four with which it ends, six bytes for each
//! object, of which a history has hundreds of thousands. It begins with [`TRIMMED`] in place of git's `PACK`. Distances and the
//! checksum at its end are those of the plain pack, in which every zlib stream begins with [`ZLIB`].

use std::io::{self, Write};

use gix_pack::data::entry::Header;
use gix_pack::data::header::SIZE as HEADER;

use super::PackError;

/// What the bytes of a pack are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As git has it.
    Plain,
    /// Without what can be worked out from the rest.
    Trimmed,
}

/// The first bytes of a trimmed pack; version and count follow as in a plain one.
const TRIMMED: [u8; 4] = *b"TPCK";
/// The first bytes of a plain pack.
const PLAIN: [u8; 4] = *b"PACK";

/// The first bytes of a zlib stream: deflate with a window of 32 KiB, no dictionary, the usual level.
pub(in crate::git) const ZLIB: [u8; 2] = [0x78, 0x9c];

/// Bytes of the Adler-32 checksum at the end of a zlib stream.
const ADLER: usize = 4;

/// The form of a pack that begins with these bytes, and what it begins with when plain.
pub(in crate::git) fn form_of(mut header: [u8; HEADER]) -> (Form, [u8; HEADER]) {
    if header.starts_with(&TRIMMED) {
        header[..PLAIN.len()].copy_from_slice(&PLAIN);
        return (Form::Trimmed, header);
    }
    (Form::Plain, header)
}

/// How a pack begins: as many bytes of it, when plain, as are whole entries, and their SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// How many bytes.
    pub bytes: u64,
    /// Their SHA-1.
    pub sha1: [u8; 20],
}

/// How a pack is written.
#[derive(Debug, Clone, Copy)]
pub(in crate::git) struct How {
    pub(in crate::git) form: Form,
    /// Only what follows this is written.
    pub(in crate::git) after: Option<Prefix>,
}

impl From<Form> for How {
    fn from(form: Form) -> Self {
        Self { form, after: None }
    }
}

/// Writes a pack, hashes what it is when plain, and counts that.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    form: Form,
    hash: gix::hash::Hasher,
    /// Bytes of the plain pack so far.
    pub(super) bytes: u64,
    /// What is not written, until it has passed.
    after: Option<Prefix>,
}

impl<'a> Writer<'a> {
    /// Begins a pack of so many objects, of which is written what comes after a prefix.
    pub(super) fn begin(out: &'a mut dyn Write, count: u32, How { form, after }: How) -> Result<Self, PackError> {
        let mut pack = Self { out, form, hash: gix::hash::hasher(gix::hash::Kind::Sha1), bytes: 0, after };
        let mut header = gix_pack::data::header::encode(gix_pack::data::Version::V2, count);
        pack.passes(&header);
        if pack.after.is_some() {
            return Ok(pack);
        }
        if form == Form::Trimmed {
            header[..TRIMMED.len()].copy_from_slice(&TRIMMED);
        }
        pack.out.write_all(&header).map_err(PackError::Write)?;
        Ok(pack)
    }

    /// Begins an entry that inflates to so many bytes: what is written to it is its zlib stream.
    pub(super) fn entry(&mut self, header: &Header, size: u64) -> Result<Entry<'_, 'a>, PackError> {
        self.pass_prefix()?;
        let mut bytes = Vec::with_capacity(header.size(size));
        header.write_to(size, &mut bytes).and_then(|_| self.write(&bytes)).map_err(PackError::Write)?;
        Ok(Entry { pack: self, begun: Vec::new(), last: Vec::new() })
    }

    /// Has the prefix passed, then it is compared.
    fn pass_prefix(&mut self) -> Result<(), PackError> {
        let Some(prefix) = self.after.filter(|prefix| prefix.bytes <= self.bytes) else { return Ok(()) };
        let is_same = prefix.bytes == self.bytes && digest(self.hash.clone())?.as_bytes() == prefix.sha1;
        self.after = None;
        if is_same { Ok(()) } else { Err(PackError::Differs) }
    }

    /// Ends it; gives its size in bytes when plain.
    pub(super) fn end(mut self) -> Result<u64, PackError> {
        self.pass_prefix()?;
        if self.after.is_some() {
            return Err(PackError::Differs);
        }
        let digest = digest(self.hash)?;
        self.out.write_all(digest.as_bytes()).map_err(PackError::Write)?;
        Ok(self.bytes + digest.as_bytes().len() as u64)
    }

    /// The first bytes of a zlib stream, which are not sent.
    fn begin_stream(&mut self, [method, flags]: [u8; ZLIB.len()]) -> io::Result<()> {
        // Deflate, and no dictionary. The window may be smaller, which fits into a larger one.
        if method & 0x0f != 8 || flags & 0x20 != 0 {
            return Err(io::Error::other("an entry of a pack here is no zlib stream"));
        }
        self.passes(&ZLIB);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.after.is_none() {
            self.out.write_all(bytes)?;
        }
        self.passes(bytes);
        Ok(())
    }

    fn passes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

fn digest(hash: gix::hash::Hasher) -> Result<gix::ObjectId, PackError> {
    hash.try_finalize().map_err(|error| PackError::Copying(error.to_string()))
}

fn cut_short() -> io::Error {
    io::Error::other("an entry of a pack here is cut short")
}

/// An entry whose zlib stream is written.
pub(super) struct Entry<'p, 'a> {
    pack: &'p mut Writer<'a>,
    /// The first bytes of the stream, until they are looked at.
    begun: Vec<u8>,
    /// The last bytes so far, which may be the checksum.
    last: Vec<u8>,
}

impl Entry<'_, '_> {
    /// Writes the whole stream.
    pub(super) fn all(self, zlib: &[u8]) -> io::Result<()> {
        if self.pack.form == Form::Plain {
            return self.pack.write(zlib);
        }
        let parts = zlib.split_first_chunk().and_then(|(begun, rest)| Some((begun, rest.split_last_chunk::<ADLER>()?)));
        let (begun, (deflated, checksum)) = parts.ok_or_else(cut_short)?;
        self.pack.begin_stream(*begun)?;
        self.pack.write(deflated)?;
        self.pack.passes(checksum);
        Ok(())
    }

    /// The stream has ended.
    pub(super) fn end(self) -> io::Result<()> {
        if self.pack.form == Form::Plain {
            return Ok(());
        }
        if self.last.len() < ADLER {
            return Err(cut_short());
        }
        self.pack.passes(&self.last);
        Ok(())
    }
}

impl Write for Entry<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pack.form == Form::Plain {
            self.pack.write(bytes)?;
            return Ok(bytes.len());
        }
        let (first, mut rest) = bytes.split_at(bytes.len().min(ZLIB.len() - self.begun.len()));
        if !first.is_empty() {
            self.begun.extend_from_slice(first);
            if let Ok(begun) = self.begun.as_slice().try_into() {
                self.pack.begin_stream(begun)?;
            }
        }
        if rest.len() >= ADLER {
            self.pack.write(&self.last)?;
            self.last.clear();
            let (sent, last) = rest.split_at(rest.len() - ADLER);
            self.pack.write(sent)?;
            rest = last;
        }
        self.last.extend_from_slice(rest);
        let over = self.last.len().saturating_sub(ADLER);
        let sent: Vec<u8> = self.last.drain(..over).collect();
        self.pack.write(&sent)?;
        Ok(bytes.len())
    }

    /// Does nothing: what is behind it is flushed once, at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pack of one entry with this zlib stream, handed over in parts of so many bytes.
    fn pack(zlib: &[u8], form: Form, parts: usize) -> Result<Vec<u8>, PackError> {
        let mut out = Vec::new();
        let mut pack = Writer::begin(&mut out, 1, form.into()).expect("a vector takes it");
        let mut entry = pack.entry(&Header::Blob, 5)?;
        let written = zlib.chunks(parts).try_for_each(|part| entry.write_all(part));
        written.and_then(|()| entry.end()).map_err(PackError::Write)?;
        assert_eq!(pack.end().expect("no collision"), 12 + 1 + zlib.len() as u64 + 20);
        Ok(out)
    }

    #[test]
    fn it_matters_not_in_which_parts_a_stream_comes() {
        let zlib = [&ZLIB[..], b"what is deflated", b"adle"].concat();
        let plain = pack(&zlib, Form::Plain, 100).expect("well-formed");
        let trimmed = pack(&zlib, Form::Trimmed, 100).expect("well-formed");
        assert_eq!(plain[13..plain.len() - 20], zlib);
        assert_eq!(trimmed[13..trimmed.len() - 20], *b"what is deflated");
        assert_eq!(plain[plain.len() - 20..], trimmed[trimmed.len() - 20..], "the checksum is that of the plain one");
        for parts in 1..zlib.len() {
            assert_eq!(pack(&zlib, Form::Plain, parts).expect("well-formed"), plain, "parts of {parts}");
            assert_eq!(pack(&zlib, Form::Trimmed, parts).expect("well-formed"), trimmed, "parts of {parts}");
        }
        let mut out = Vec::new();
        let mut at_once = Writer::begin(&mut out, 1, Form::Trimmed.into()).expect("a vector takes it");
        at_once.entry(&Header::Blob, 5).expect("it fits").all(&zlib).expect("well-formed");
        at_once.end().expect("no collision");
        assert_eq!(out, trimmed);
    }

    #[test]
    fn other_windows_and_levels_are_said_in_the_usual_way() {
        let usual = pack(&[&ZLIB[..], b"deflated adle"].concat(), Form::Trimmed, 7).expect("well-formed");
        for begun in [[0x78, 0x01], [0x78, 0xda], [0x48, 0x89]] {
            let other = pack(&[&begun[..], b"deflated adle"].concat(), Form::Trimmed, 7).expect("well-formed");
            assert_eq!(other, usual);
        }
        for bad in [&[0x79, 0x9c, 1, 2, 3, 4, 5][..], &[0x78, 0xbb, 1, 2, 3, 4, 5], &[0x78, 0x9c, 1, 2, 3], &[0x78]] {
            for parts in [1, 9] {
                assert!(pack(bad, Form::Trimmed, parts).is_err(), "{bad:?}");
            }
        }
    }
}
