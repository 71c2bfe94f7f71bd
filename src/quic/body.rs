//! Long bodies, such as packs, between blocking code and a stream.
//!
//! On the wire a body is chunks of `u32` length, little-endian, and that many bytes; a length of 0 ends it, and
//! nothing follows. A stream that ends in any other way gives an error, so a part is never taken for the whole.
//!
//! Git's code reads and writes synchronously, so it runs in `spawn_blocking` with one end of a short queue of
//! chunks, while `run` moves them between the queue and the stream. A slow side slows the other down.

use std::io::{self, BufRead, Read, Write};

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::conn::CloseCode;
use super::stream::{FrameError, RecvStream, SendStream};
use crate::limits;

/// Bytes in a chunk that we send.
const CHUNK: usize = 128 * 1024;
/// Bytes in a chunk that we take.
const CHUNK_LIMIT: usize = 256 * 1024;
/// Chunks that wait between the stream and blocking code.
const QUEUE: usize = 4;

/// Why a body did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The stream ended before the body did: what came is not all of it.
    #[error("the stream ended before the body did")]
    Truncated,
    /// Bytes follow the end of the body.
    #[error("something follows the body")]
    Trailing,
    /// Nothing of it moved for `limits::BODY_STALLED`.
    #[error("nothing of it moved for too long")]
    Stalled,
    /// The code that wrote the body left before it was complete.
    #[error("the body was given up on this side")]
    Unfinished,
    /// The stream or the connection failed.
    #[error("{0}")]
    Stream(FrameError),
}

impl From<FrameError> for BodyError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Truncated => Self::Truncated,
            error => Self::Stream(error),
        }
    }
}

impl From<BodyError> for io::Error {
    fn from(error: BodyError) -> Self {
        let kind = match &error {
            BodyError::Truncated => io::ErrorKind::UnexpectedEof,
            BodyError::Trailing | BodyError::Stream(FrameError::TooLarge { .. }) => io::ErrorKind::InvalidData,
            BodyError::Unfinished => io::ErrorKind::BrokenPipe,
            BodyError::Stalled => io::ErrorKind::TimedOut,
            BodyError::Stream(_) => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

/// What blocking code hands over.
enum Piece {
    /// A chunk with its length before it.
    Chunk(Vec<u8>),
    End,
    /// It does not come to its end, for this reason.
    GivenUp(CloseCode),
}

/// Sends one body. Give [`BodyWriter::blocking`] to the code that writes it and run this beside it.
#[derive(Debug)]
pub struct BodyWriter {
    send: SendStream,
    pieces: Option<mpsc::Receiver<Piece>>,
}

impl BodyWriter {
    /// The body follows what was written to the stream before, and ends it.
    pub fn new(send: SendStream) -> Self {
        Self { send, pieces: None }
    }

    /// The end for blocking code. A second one takes the place of the first, whose writes then fail.
    pub fn blocking(&mut self) -> BlockingWriter {
        let (sender, pieces) = mpsc::channel(QUEUE);
        self.pieces = Some(pieces);
        BlockingWriter { sender, chunk: empty_chunk() }
    }

    /// Sends what is written until the writer finishes and the other side has acknowledged all of it.
    ///
    /// # Errors
    /// [`BodyError`] where the writer left before it was done, in which case the other side is told, or where
    /// the other side or the connection left.
    pub async fn run(mut self) -> Result<(), BodyError> {
        let mut pieces = self.pieces.take().ok_or(BodyError::Unfinished)?;
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                // Noticed at once, and not only when the next chunk is ready.
                error = self.send.unwanted() => return Err(BodyError::Stream(error)),
            };
            match piece {
                Some(Piece::Chunk(chunk)) => match timeout(limits::BODY_STALLED, self.send.write(chunk)).await {
                    Ok(written) => written?,
                    Err(_) => {
                        self.send.reset(CloseCode::TooLate);
                        return Err(BodyError::Stalled);
                    }
                },
                Some(Piece::End) => {
                    self.send.write(empty_chunk()).await?;
                    return Ok(self.send.finish().await?);
                }
                Some(Piece::GivenUp(code)) => {
                    self.send.reset(code);
                    return Err(BodyError::Unfinished);
                }
                None => {
                    self.send.reset(CloseCode::Internal);
                    return Err(BodyError::Unfinished);
                }
            }
        }
    }
}

/// A chunk without content: room for the length, which is 0 as it stands.
fn empty_chunk() -> Vec<u8> {
    vec![0; 4]
}

/// Blocking code writes a body here. It counts only once [`BlockingWriter::finish`] was called.
#[derive(Debug)]
pub struct BlockingWriter {
    sender: mpsc::Sender<Piece>,
    /// Starts with room for its length.
    chunk: Vec<u8>,
}

impl BlockingWriter {
    /// Ends the body.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody takes it any more.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_over()?;
        self.sender.blocking_send(Piece::End).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Ends it before its end, and tells the other side why.
    pub fn give_up(self, code: CloseCode) {
        // Where nobody takes it any more nobody need be told.
        let _ = self.sender.blocking_send(Piece::GivenUp(code));
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let len = self.chunk.len() - 4;
        if len == 0 {
            return Ok(());
        }
        let mut next = Vec::with_capacity(4 + CHUNK);
        next.extend_from_slice(&[0; 4]);
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        let len = u32::try_from(len).expect("a chunk is handed over when it has CHUNK bytes");
        chunk[..4].copy_from_slice(&len.to_le_bytes());
        self.sender.blocking_send(Piece::Chunk(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == 4 + CHUNK {
            self.hand_over()?;
        }
        let taken = bytes.len().min(4 + CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}

/// Receives one body. Give [`BodyReader::blocking`] to the code that reads it and run this beside it.
#[derive(Debug)]
pub struct BodyReader {
    recv: RecvStream,
    chunks: Option<mpsc::Sender<Result<Vec<u8>, BodyError>>>,
}

impl BodyReader {
    /// The body is what follows on the stream.
    pub fn new(recv: RecvStream) -> Self {
        Self { recv, chunks: None }
    }

    /// The end for blocking code. A second one takes the place of the first, whose reads then fail.
    pub fn blocking(&mut self) -> BlockingReader {
        let (sender, chunks) = mpsc::channel(QUEUE);
        self.chunks = Some(sender);
        BlockingReader { chunks, chunk: Vec::new(), at: 0, ended: false }
    }

    /// Hands on what comes until the body has ended, or until the reader does not want any more, in which case
    /// the other side is told.
    ///
    /// # Errors
    /// [`BodyError`] where the body did not come whole; the reader gets the same error.
    pub async fn run(mut self) -> Result<(), BodyError> {
        let Some(chunks) = self.chunks.take() else { return Ok(()) };
        loop {
            let chunk = tokio::select! {
                chunk = Self::next(&mut self.recv) => chunk,
                () = chunks.closed() => {
                    self.recv.stop(CloseCode::Bye);
                    return Ok(());
                }
            };
            let failed = chunk.as_ref().err().cloned();
            let ended = chunk.as_ref().is_ok_and(Vec::is_empty);
            // A reader that is gone is seen above.
            let _ = chunks.send(chunk).await;
            match failed {
                Some(error) => {
                    self.recv.stop(CloseCode::Protocol);
                    return Err(error);
                }
                None if ended => return Ok(()),
                None => {}
            }
        }
    }

    /// The next chunk; an empty one is the end, with nothing behind it.
    async fn next(recv: &mut RecvStream) -> Result<Vec<u8>, BodyError> {
        let frame = timeout(limits::BODY_STALLED, recv.read_frame(CHUNK_LIMIT)).await;
        let chunk = frame.map_err(|_| BodyError::Stalled)??.ok_or(BodyError::Truncated)?;
        if chunk.is_empty() && !recv.ended().await? { Err(BodyError::Trailing) } else { Ok(chunk) }
    }
}

/// Blocking code reads a body here. The end of the body is seen only if all of it came.
#[derive(Debug)]
pub struct BlockingReader {
    chunks: mpsc::Receiver<Result<Vec<u8>, BodyError>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl BufRead for BlockingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.chunk.len() && !self.ended {
            self.chunk = self.chunks.blocking_recv().unwrap_or(Err(BodyError::Truncated))?;
            self.at = 0;
            self.ended = self.chunk.is_empty();
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.chunk.len().min(self.at + amount);
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(buf.len());
        buf[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}
