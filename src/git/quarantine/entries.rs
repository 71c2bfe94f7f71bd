//! The entries of a pack as they come: each written down, hashed, inflated, and held against what its header says of it.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use gix_pack::data::entry::Header;
use zlib_rs::adler32::adler32;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::incoming::WRITING;
use super::{Large, PackLimits, PackRefused};
use crate::git::pack::{Form, ZLIB};

/// Bytes of the checksum at the end of a pack.
pub(super) const CHECKSUM: usize = 20;

/// Bytes taken from the input at once.
const TAKEN: usize = 64 << 10;

/// Most bytes of the header of an entry: its kind and its size, and the id or the distance of what it is built on.
const HEADER: usize = 10 + 20;

/// What inflates to more than this is inflated again when all has come, and not kept until then.
const KEPT: usize = 4 << 20;

/// The Adler-32 checksum of nothing (RFC 1950, section 8.2).
const FIRST_ADLER: u32 = 1;

/// With so much room beyond its end, what is small is inflated as fast as what is large.
const SLACK: usize = 320;

/// The start of what is not kept: a delta begins with two sizes.
const START: usize = 24;

/// An entry that came whole.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) offset: u64,
    /// How many bytes it inflates to.
    pub(super) size: u64,
    pub(super) crc32: u32,
    /// All of them, or only the first where it is too large to be kept.
    pub(super) data: Vec<u8>,
}

impl Entry {
    /// What it inflates to; `None` where that is too large to be kept.
    pub(super) fn whole(self) -> Option<Vec<u8>> {
        (self.data.len() as u64 == self.size).then_some(self.data)
    }
}

/// The window of deflate, as a power of two: as large as can be.
const WINDOW_BITS: u8 = 15;

/// The pack on its way from the network to the file, in which it is plain.
pub(super) struct Flow<'a> {
    input: &'a mut dyn BufRead,
    form: Form,
    /// From here on it is trimmed, counted in bytes of the plain pack.
    trimmed_from: Option<u64>,
    pub(super) file: BufWriter<File>,
    /// What was taken from the input, and where that begins that is to be looked at next.
    window: (Vec<u8>, usize),
    /// How many bytes were written down.
    pub(super) bytes: u64,
    limit: u64,
    pub(super) stop: &'a AtomicBool,
    hash: gix::hash::Hasher,
    crc32: crc32fast::Hasher,
    inflate: Inflate,
    /// Why the input broke off. What came before is looked at first.
    broken: Option<io::Error>,
    /// It ended since the input broke off.
    pub(super) is_cut: bool,
}

impl<'a> Flow<'a> {
    /// Of a pack in this form that begins, when plain, with this header, which was read already.
    pub(super) fn new(
        form: Form,
        header: &[u8],
        input: &'a mut dyn BufRead,
        file: File,
        limits: &PackLimits,
        stop: &'a AtomicBool,
    ) -> Result<Self, PackRefused> {
        let mut flow = Self {
            input,
            form,
            trimmed_from: None,
            file: BufWriter::with_capacity(TAKEN, file),
            window: (Vec::with_capacity(TAKEN), 0),
            bytes: header.len() as u64,
            limit: limits.bytes,
            stop,
            hash: gix::hash::hasher(gix::hash::Kind::Sha1),
            crc32: crc32fast::Hasher::new(),
            inflate: Inflate::new(form == Form::Plain, WINDOW_BITS),
            broken: None,
            is_cut: false,
        };
        flow.file.write_all(header).map_err(PackRefused::io(WRITING))?;
        flow.hash.update(header);
        Ok(flow)
    }

    /// It is trimmed from this byte of the plain pack on, where an entry begins.
    pub(super) fn trimmed_from(mut self, from: Option<u64>) -> Self {
        self.trimmed_from = from;
        self
    }

    /// Sees to it that so many bytes are there to be looked at, unless the input ends before.
    fn fill(&mut self, least: usize) -> Result<(), PackRefused> {
        let (window, at) = &mut self.window;
        while window.len() - *at < least && self.broken.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(PackRefused::Stopped);
            }
            window.drain(..std::mem::take(at));
            match self.input.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    let bytes = &bytes[..bytes.len().min(TAKEN)];
                    window.extend_from_slice(bytes);
                    let taken = bytes.len();
                    self.input.consume(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.broken = Some(error),
            }
        }
        Ok(())
    }

    fn ahead(&self) -> &[u8] {
        &self.window.0[self.window.1..]
    }

    /// More was to come.
    fn ends_early(&mut self) -> PackRefused {
        match self.broken.take() {
            Some(error) => {
                self.is_cut = true;
                read_failed(error)
            }
            None => PackRefused::BadPack("it ends early".to_owned()),
        }
    }

    /// Writes down what was looked at.
    fn take(&mut self, bytes: usize) -> Result<(), PackRefused> {
        let from = self.window.1;
        self.window.1 += bytes;
        let window = std::mem::take(&mut self.window.0);
        let put = self.put(&window[from..from + bytes]);
        self.window.0 = window;
        put
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PackRefused> {
        self.hash.update(bytes);
        self.crc32.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(PackRefused::io(WRITING))?;
        if self.bytes > self.limit {
            let (size, limit) = (self.bytes, self.limit);
            return Err(PackRefused::TooLarge { what: Large::Bytes, size, limit });
        }
        Ok(())
    }

    /// The next entry.
    pub(super) fn entry(&mut self, limits: &PackLimits) -> Result<Entry, PackRefused> {
        let offset = self.bytes;
        if self.trimmed_from.is_some_and(|from| from <= offset) {
            self.form = Form::Trimmed;
        }
        self.crc32 = crc32fast::Hasher::new();
        self.fill(HEADER)?;
        let mut rest = self.ahead();
        let before = rest.len();
        let Some((header, size)) = header(&mut rest)? else { return Err(self.ends_early()) };
        let read = before - rest.len();
        self.take(read)?;
        if size > limits.object_bytes {
            let limit = limits.object_bytes;
            return Err(PackRefused::TooLarge { what: Large::ObjectBytes, size, limit });
        }
        self.inflate.reset(self.form == Form::Plain);
        if self.form == Form::Trimmed {
            self.put(&ZLIB)?;
        }
        let (data, checksum) = if size <= KEPT as u64 {
            let data = self.inflated(size as usize)?;
            let checksum = self.checksum(FIRST_ADLER, &data);
            (data, checksum)
        } else {
            self.start_of(size)?
        };
        if self.form == Form::Trimmed {
            self.put(&checksum.to_be_bytes())?;
        }
        Ok(Entry { header, offset, size, crc32: self.crc32.clone().finalize(), data })
    }

    /// The checksum of a zlib stream goes on with these bytes of what it inflates to, if it did not come.
    fn checksum(&self, before: u32, inflated: &[u8]) -> u32 {
        if self.form == Form::Trimmed { adler32(before, inflated) } else { before }
    }

    /// Inflates what comes next to exactly so many bytes.
    fn inflated(&mut self, size: usize) -> Result<Vec<u8>, PackRefused> {
        let mut data = vec![0; size + SLACK];
        let mut written = 0;
        loop {
            let (some, has_ended) = self.inflate_some(&mut data[written..])?;
            written += some;
            if has_ended {
                break;
            }
            if written > size {
                return Err(malformed());
            }
        }
        data.truncate(size);
        if written == size { Ok(data) } else { Err(malformed()) }
    }

    /// The same, and keeps only the start, and the checksum.
    fn start_of(&mut self, size: u64) -> Result<(Vec<u8>, u32), PackRefused> {
        let (mut part, mut start, mut written, mut checksum) = (vec![0; TAKEN], Vec::new(), 0, FIRST_ADLER);
        loop {
            let (some, has_ended) = self.inflate_some(&mut part)?;
            checksum = self.checksum(checksum, &part[..some]);
            start.extend_from_slice(&part[..some.min(START - start.len())]);
            written += some as u64;
            if has_ended {
                break;
            }
            if written > size {
                return Err(malformed());
            }
        }
        if written == size { Ok((start, checksum)) } else { Err(malformed()) }
    }

    /// Inflates what is there; gives how many bytes that made, and whether it ended there.
    fn inflate_some(&mut self, out: &mut [u8]) -> Result<(usize, bool), PackRefused> {
        if self.ahead().is_empty() {
            self.fill(1)?;
            if self.ahead().is_empty() {
                return Err(self.ends_early());
            }
        }
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(&self.window.0[self.window.1..], out, InflateFlush::NoFlush);
        let status = status.map_err(|_| malformed())?;
        let read = (self.inflate.total_in() - read) as usize;
        let written = (self.inflate.total_out() - written) as usize;
        if status != Status::StreamEnd && read == 0 && written == 0 {
            return Err(malformed());
        }
        self.take(read)?;
        Ok((written, status == Status::StreamEnd))
    }

    /// The checksum that ends the pack, with nothing behind it.
    pub(super) fn end(&mut self) -> Result<gix::ObjectId, PackRefused> {
        let hash = std::mem::replace(&mut self.hash, gix::hash::hasher(gix::hash::Kind::Sha1));
        self.fill(CHECKSUM)?;
        let Some(checksum) = self.ahead().first_chunk::<CHECKSUM>() else { return Err(self.ends_early()) };
        let checksum = gix::ObjectId::Sha1(*checksum);
        if hash.try_finalize().ok() != Some(checksum) {
            return Err(PackRefused::BadPack("its checksum is wrong".to_owned()));
        }
        self.take(CHECKSUM)?;
        self.fill(1)?;
        if let Some(error) = self.broken.take() {
            return Err(read_failed(error));
        }
        if !self.ahead().is_empty() {
            return Err(PackRefused::TrailingBytes);
        }
        self.file.flush().map_err(PackRefused::io(WRITING))?;
        Ok(checksum)
    }
}

fn malformed() -> PackRefused {
    PackRefused::BadPack("an entry is malformed".to_owned())
}

/// An error of whoever hands the bytes over; an early end is a broken pack.
pub(super) fn read_failed(error: io::Error) -> PackRefused {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackRefused::BadPack("it ends early".to_owned()),
        _ => PackRefused::Io { what: "the pack cannot be received", source: error },
    }
}

/// The header of an entry and the size that it tells; `None` where it is cut short.
fn header(rest: &mut &[u8]) -> Result<Option<(Header, u64)>, PackRefused> {
    let Some(first) = next(rest) else { return Ok(None) };
    let (mut size, mut shift, mut byte) = (u64::from(first & 0x0f), 4, first);
    while byte & 0x80 != 0 {
        let Some(more) = next(rest) else { return Ok(None) };
        if shift > 57 {
            return Err(malformed());
        }
        (size, shift, byte) = (size | u64::from(more & 0x7f) << shift, shift + 7, more);
    }
    let header = match first >> 4 & 0x07 {
        1 => Header::Commit,
        2 => Header::Tree,
        3 => Header::Blob,
        4 => Header::Tag,
        6 => {
            let Some(mut byte) = next(rest) else { return Ok(None) };
            let mut distance = u64::from(byte & 0x7f);
            while byte & 0x80 != 0 {
                let Some(more) = next(rest) else { return Ok(None) };
                if distance >= 1 << 56 {
                    return Err(malformed());
                }
                (distance, byte) = ((distance + 1) << 7 | u64::from(more & 0x7f), more);
            }
            Header::OfsDelta { base_distance: distance }
        }
        7 => {
            let Some((id, after)) = rest.split_first_chunk::<20>() else { return Ok(None) };
            *rest = after;
            Header::RefDelta { base_id: gix::ObjectId::Sha1(*id) }
        }
        _ => return Err(malformed()),
    };
    Ok(Some((header, size)))
}

fn next(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_written() {
        let id = gix::ObjectId::Sha1([7; 20]);
        let kinds = [Header::Commit, Header::Tree, Header::Blob, Header::Tag, Header::RefDelta { base_id: id }];
        let far = [1, 127, 128, 16_511, 16_512, u64::from(u32::MAX), 1 << 50];
        let deltas = far.into_iter().map(|base_distance| Header::OfsDelta { base_distance });
        for kind in kinds.into_iter().chain(deltas) {
            for size in [0, 15, 16, 2_047, 2_048, 1 << 31, 1 << 55] {
                let mut bytes = Vec::new();
                kind.write_to(size, &mut bytes).expect("a vector takes it");
                assert!(bytes.len() <= HEADER, "{kind:?} {size}");
                for cut in 0..bytes.len() {
                    assert!(matches!(header(&mut &bytes[..cut]), Ok(None)), "{kind:?} {size} cut at {cut}");
                }
                bytes.push(9);
                let mut rest = bytes.as_slice();
                assert_eq!(header(&mut rest).expect("well-formed"), Some((kind, size)));
                assert_eq!(rest, [9]);
            }
        }
    }

    #[test]
    fn headers_that_nobody_writes_are_refused() {
        for bad in [&[0x00][..], &[0x50], &[0xff; 12], &[&[0x60][..], &[0xff; 12]].concat()] {
            assert!(header(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }
}
