//! A pack that is made once for several and sent in pieces: its file, and what its pieces hash to.
//!
//! Whoever makes it has all of it from the start. Whoever receives it writes down pieces in any order as they come, each
//! checked against its hash, and reads the pack in its own order meanwhile, as if it came from one peer: what reads it
//! believes nothing of it yet. The file lies in quarantine and goes when nobody uses it any more, also after a crash.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::PackRefused;
use super::adopt::Room;
use crate::git::{PackError, Repository};
use crate::id::{ObjectId, PackId};
use crate::keys::Context;
use crate::limits;

/// What a shared pack consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    bytes: u64,
    /// The BLAKE3 of each piece.
    hashes: Vec<[u8; 32]>,
}

/// Bytes of each piece of a pack of so many bytes, but for the last.
fn piece_bytes(bytes: u64) -> u64 {
    let least = bytes.div_ceil(u64::from(limits::SHARED_PIECES) / 4).next_multiple_of(limits::PIECE_BYTES);
    least.min(limits::SHARED_BYTES / u64::from(limits::SHARED_PIECES)).max(limits::PIECE_BYTES)
}

impl Manifest {
    /// Reads the hashes of the pieces of `pack`, which has so many bytes; `None` where they are not its.
    pub fn read(pack: &PackId, bytes: u64, hashes: &[u8]) -> Option<Self> {
        let (hashes, rest) = hashes.as_chunks::<32>();
        let fits = rest.is_empty() && (1..=limits::SHARED_BYTES).contains(&bytes);
        let manifest = Self { bytes, hashes: hashes.to_vec() };
        let whole = fits && bytes.div_ceil(piece_bytes(bytes)) == manifest.hashes.len() as u64;
        (whole && manifest.id() == *pack).then_some(manifest)
    }

    /// The name of the pack.
    pub fn id(&self) -> PackId {
        PackId(Context::SharedPack.hash(&[&self.bytes.to_le_bytes(), &self.hashes()]))
    }

    /// The hashes of its pieces, one behind the other.
    pub fn hashes(&self) -> Vec<u8> {
        self.hashes.as_flattened().to_vec()
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many pieces.
    pub fn pieces(&self) -> u32 {
        // `limits::SHARED_PIECES` at most.
        self.hashes.len() as u32
    }

    /// The length of a piece in bytes, 0 where there is none of that number.
    pub fn piece_len(&self, piece: u32) -> usize {
        self.place(piece).map_or(0, |(_, len)| len)
    }

    /// Where a piece begins, and its length.
    fn place(&self, piece: u32) -> Option<(u64, usize)> {
        let (size, start) = (piece_bytes(self.bytes), u64::from(piece) * piece_bytes(self.bytes));
        (piece < self.pieces()).then(|| (start, self.bytes.saturating_sub(start).min(size) as usize))
    }
}

/// Why a shared pack was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotShared {
    /// The pack cannot be made.
    #[error("{0}")]
    Pack(#[from] PackError),
    /// Its file cannot be written.
    #[error("{0}")]
    File(#[from] PackRefused),
}

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PieceRefused {
    /// It is not what whoever made the pack said.
    #[error("it is not the piece that it should be")]
    NotThePiece,
    /// It cannot be written.
    #[error("it cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// A shared pack, whole or on its way.
pub struct PackPieces {
    manifest: Manifest,
    inner: Mutex<Inner>,
    changed: Condvar,
    _room: Room,
}

struct Inner {
    file: File,
    here: Vec<bool>,
    /// Nothing more comes, for this reason.
    ended: Option<io::ErrorKind>,
}

impl Repository {
    /// Makes a pack as [`Repository::write_pack`] does, to be sent in pieces.
    ///
    /// # Errors
    /// [`NotShared`], also where it has more than [`limits::SHARED_BYTES`].
    pub fn share_pack(&self, want: &[ObjectId], have: &[ObjectId], stop: &AtomicBool) -> Result<PackPieces, NotShared> {
        let (room, mut file) = open(self)?;
        let stats = self.write_pack(want, have, &mut Bounded { file: &mut file, bytes: 0 }, stop)?;
        let reading = PackRefused::io("a shared pack cannot be read");
        let (size, mut hashes) = (piece_bytes(stats.bytes), Vec::new());
        file.rewind().map_err(&reading)?;
        let mut left = stats.bytes;
        let mut piece = Vec::new();
        while left > 0 {
            piece.resize(left.min(size) as usize, 0);
            file.read_exact(&mut piece).map_err(&reading)?;
            hashes.push(*blake3::hash(&piece).as_bytes());
            left -= piece.len() as u64;
        }
        let here = vec![true; hashes.len()];
        Ok(PackPieces::new(room, file, Manifest { bytes: stats.bytes, hashes }, here))
    }

    /// Room for a shared pack that others have.
    ///
    /// # Errors
    /// [`PackRefused`] where it cannot be made.
    pub fn await_pack(&self, manifest: Manifest) -> Result<PackPieces, PackRefused> {
        let (room, file) = open(self)?;
        let here = vec![false; manifest.hashes.len()];
        Ok(PackPieces::new(room, file, manifest, here))
    }
}

fn open(repo: &Repository) -> Result<(Room, File), PackRefused> {
    let room = Room::new(repo)?;
    let path = room.pack_dir().join("pieces");
    let file = File::options().read(true).write(true).create_new(true).open(path);
    Ok((room, file.map_err(PackRefused::io("a shared pack cannot be written"))?))
}

/// Writes no more than a shared pack may have.
struct Bounded<'a> {
    file: &'a mut File,
    bytes: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > limits::SHARED_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to be shared"));
        }
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PackPieces {
    fn new(room: Room, file: File, manifest: Manifest, here: Vec<bool>) -> Self {
        let inner = Mutex::new(Inner { file, here, ended: None });
        Self { manifest, inner, changed: Condvar::new(), _room: room }
    }

    /// What it consists of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A write that panicked marked nothing as here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a piece, if it is what it should be.
    ///
    /// # Errors
    /// [`PieceRefused`]; it is not here then.
    pub fn put(&self, piece: u32, bytes: &[u8]) -> Result<(), PieceRefused> {
        let hash = self.manifest.hashes.get(piece as usize);
        if hash != Some(blake3::hash(bytes).as_bytes()) {
            return Err(PieceRefused::NotThePiece);
        }
        let Some((start, _)) = self.manifest.place(piece) else { return Err(PieceRefused::NotThePiece) };
        let mut inner = self.inner();
        inner.file.seek(SeekFrom::Start(start))?;
        inner.file.write_all(bytes)?;
        inner.here[piece as usize] = true;
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// A piece that is here.
    ///
    /// # Errors
    /// Those of reading, and `NotFound` where it is not here.
    pub fn get(&self, piece: u32) -> io::Result<Vec<u8>> {
        self.get_from(&mut self.inner(), piece)
    }

    fn get_from(&self, inner: &mut Inner, piece: u32) -> io::Result<Vec<u8>> {
        let place = self.manifest.place(piece).filter(|_| inner.here[piece as usize]);
        let (start, len) = place.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; len];
        inner.file.seek(SeekFrom::Start(start))?;
        inner.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Nothing more comes: whoever reads gets this error after what is here.
    pub fn end(&self, why: io::ErrorKind) {
        self.inner().ended.get_or_insert(why);
        self.changed.notify_all();
    }

    /// Why nothing more comes, if that was said.
    pub fn ended(&self) -> Option<io::ErrorKind> {
        self.inner().ended
    }

    /// Reads the pack in its order; waits for what is not here yet.
    pub fn reader(self: &Arc<Self>) -> impl BufRead + Send + use<> {
        PiecesReader { pieces: self.clone(), next: 0, piece: Vec::new(), at: 0 }
    }
}

struct PiecesReader {
    pieces: Arc<PackPieces>,
    next: u32,
    piece: Vec<u8>,
    at: usize,
}

impl Read for PiecesReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let amount = bytes.len().min(out.len());
        out[..amount].copy_from_slice(&bytes[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl BufRead for PiecesReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() && self.next < self.pieces.manifest.pieces() {
            let mut inner = self.pieces.inner();
            while !inner.here[self.next as usize] {
                if let Some(why) = inner.ended {
                    return Err(why.into());
                }
                inner = self.pieces.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            (self.piece, self.at) = (self.pieces.get_from(&mut inner, self.next)?, 0);
            self.next += 1;
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.piece.len().min(self.at + amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::Fixture;

    fn manifest(bytes: &[u8]) -> Manifest {
        let size = piece_bytes(bytes.len() as u64) as usize;
        let hashes = bytes.chunks(size).map(|piece| *blake3::hash(piece).as_bytes()).collect();
        Manifest { bytes: bytes.len() as u64, hashes }
    }

    #[test]
    fn pieces_are_few_and_none_is_large() {
        for bytes in [1, limits::PIECE_BYTES, 200 << 20, (200 << 20) + 1, 1 << 30, limits::SHARED_BYTES] {
            let size = piece_bytes(bytes);
            let pieces = bytes.div_ceil(size);
            assert!(pieces <= u64::from(limits::SHARED_PIECES), "{pieces} pieces of {bytes}");
            assert!((limits::PIECE_BYTES..=8 << 20).contains(&size), "{size} of {bytes}");
        }
        assert_eq!(piece_bytes(200 << 20), 1 << 20);
    }

    #[test]
    fn what_is_told_of_a_pack_is_held_against_its_name() {
        let all = manifest(&vec![7; 1 << 20]);
        let (id, hashes) = (all.id(), all.hashes());
        assert_eq!(Manifest::read(&id, 1 << 20, &hashes), Some(all));
        assert_eq!(Manifest::read(&id, (1 << 20) - 1, &hashes), None);
        assert_eq!(Manifest::read(&id, 1 << 20, &hashes[..96]), None);
        assert_eq!(Manifest::read(&id, 1 << 20, &hashes[..97]), None);
        let short = Manifest { bytes: 1 << 20, hashes: vec![[1; 32]; 2] };
        assert_eq!(Manifest::read(&short.id(), 1 << 20, &short.hashes()), None, "too few for its length");
        let long = Manifest { bytes: u64::MAX, hashes: vec![[1; 32]] };
        assert_eq!(Manifest::read(&long.id(), u64::MAX, &long.hashes()), None);
        let none = Manifest { bytes: 0, hashes: Vec::new() };
        assert_eq!(Manifest::read(&none.id(), 0, &[]), None);
    }

    #[test]
    fn pieces_come_in_any_order_and_are_read_in_theirs() {
        let fixture = Fixture::new();
        let content: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let manifest = manifest(&content);
        let size = piece_bytes(content.len() as u64) as usize;
        let pieces = Arc::new(fixture.repo().await_pack(manifest).expect("there is room"));
        let mut reader = pieces.reader();
        let read = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        let chunks: Vec<&[u8]> = content.chunks(size).collect();
        let at = |piece: usize| chunks[piece % chunks.len()];
        assert!(matches!(pieces.put(0, at(1)), Err(PieceRefused::NotThePiece)));
        assert!(matches!(pieces.put(9_999, at(1)), Err(PieceRefused::NotThePiece)));
        assert_eq!(pieces.get(1).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
        for piece in (0..chunks.len()).rev() {
            pieces.put(piece as u32, at(piece)).expect("it is the piece");
            assert_eq!(pieces.get(piece as u32).expect("it is here"), at(piece));
        }
        assert!(read.join().expect("it ends").expect("all is here") == content);
    }

    #[test]
    fn a_pack_that_does_not_come_to_its_end_ends_with_an_error_behind_what_is_here() {
        let fixture = Fixture::new();
        let content = vec![3; 600_000];
        let pieces = Arc::new(fixture.repo().await_pack(manifest(&content)).expect("there is room"));
        pieces.put(0, &content[..256 << 10]).expect("it is the piece");
        pieces.end(io::ErrorKind::ConnectionAborted);
        let mut read = Vec::new();
        let ended = pieces.reader().read_to_end(&mut read);
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionAborted));
        assert_eq!(read.len(), 256 << 10);
    }

    #[test]
    fn a_pack_is_made_as_others_are_and_leaves_nothing() {
        let fixture = Fixture::new();
        let tip = fixture.commit("a", "1");
        let repo = fixture.repo();
        let stop = AtomicBool::new(false);
        let mut whole = Vec::new();
        repo.write_pack(&[tip], &[], &mut whole, &stop).expect("a pack");
        let shared = Arc::new(repo.share_pack(&[tip], &[], &stop).expect("a pack"));
        let mut read = Vec::new();
        shared.reader().read_to_end(&mut read).expect("all is here");
        assert!(read == whole);
        let quarantine = repo.lansync_dir().join("quarantine");
        assert_eq!(std::fs::read_dir(&quarantine).expect("it is there").count(), 1);
        drop(shared);
        assert_eq!(std::fs::read_dir(&quarantine).expect("it is there").count(), 0);
        let missing = repo.share_pack(&[ObjectId::Sha1([9; 20])], &[], &stop);
        assert!(matches!(missing, Err(NotShared::Pack(PackError::Missing(_)))));
    }
}
