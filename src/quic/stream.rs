//! Frames on a stream: a `u32` length, little-endian, and that many bytes.

use quinn::{ReadError, WriteError};

use super::conn::{CloseCode, Closed};
use super::frame::Coming;

/// Why a frame could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is longer than is allowed. No memory was taken, and the stream is of no more use.
    #[error("a frame of {len} bytes is too large, at most {limit} are taken")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// The other side gave the stream up, or does not want any more of it.
    #[error("the other side gave the stream up")]
    GivenUp(Option<CloseCode>),
    /// This side has ended the stream already.
    #[error("the stream was ended on this side")]
    Ended,
    /// The connection is gone.
    #[error("{0}")]
    Lost(#[from] Closed),
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::GivenUp(CloseCode::of(code)),
            ReadError::ConnectionLost(error) => Self::Lost(Closed::of(error)),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => Self::Ended,
        }
    }
}

impl From<WriteError> for FrameError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::GivenUp(CloseCode::of(code)),
            WriteError::ConnectionLost(error) => Self::Lost(Closed::of(error)),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Ended,
        }
    }
}

/// The sending half of a stream. Dropped, it ends the stream as [`SendStream::finish`] does, without waiting.
#[derive(Debug)]
pub struct SendStream(quinn::SendStream);

impl SendStream {
    pub(super) fn new(stream: quinn::SendStream) -> Self {
        Self(stream)
    }

    /// Writes one frame; waits where the other side is slow. Not cancel-safe: part of the frame may be sent.
    ///
    /// # Errors
    /// [`FrameError`] where the stream or the connection is gone, or a length does not fit 32 bits.
    pub async fn write_frame(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let limit = u32::MAX as usize;
        let len = u32::try_from(bytes.len()).map_err(|_| FrameError::TooLarge { len: bytes.len(), limit })?;
        let mut frame = Vec::with_capacity(4 + bytes.len());
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(bytes);
        self.write(frame).await
    }

    /// Writes bytes as they are.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), FrameError> {
        Ok(self.0.write_chunk(bytes.into()).await?)
    }

    /// Ends the stream and waits until the other side has acknowledged all of it, or does not want it.
    ///
    /// # Errors
    /// [`FrameError`] where it did not get everything, as far as is known here.
    pub async fn finish(&mut self) -> Result<(), FrameError> {
        self.0.finish().map_err(|_| FrameError::Ended)?;
        match self.unwanted().await {
            FrameError::Ended => Ok(()),
            error => Err(error),
        }
    }

    /// What waits on other streams of this connection leaves before what waits on this one.
    pub fn yields(&self) {
        // Ended: then nothing waits.
        let _ = self.0.set_priority(-1);
    }

    /// Gives the stream up: what the other side has not read yet it will not get.
    pub fn reset(&mut self, code: CloseCode) {
        // Ended or reset before: then there is nothing to give up.
        let _ = self.0.reset(code.number());
    }

    /// Waits until the other side does not want any more of this stream, and says why; `Ended` where it was
    /// ended on this side and the other has all of it.
    pub(super) async fn unwanted(&self) -> FrameError {
        match self.0.stopped().await {
            Ok(Some(code)) => FrameError::GivenUp(CloseCode::of(code)),
            Err(quinn::StoppedError::ConnectionLost(error)) => FrameError::Lost(Closed::of(error)),
            Ok(None) | Err(quinn::StoppedError::ZeroRttRejected) => FrameError::Ended,
        }
    }
}

/// The receiving half of a stream. Dropped, it tells the other side that no more is wanted.
#[derive(Debug)]
pub struct RecvStream {
    quinn: quinn::RecvStream,
    coming: Coming,
}

impl RecvStream {
    pub(super) fn new(quinn: quinn::RecvStream) -> Self {
        Self { quinn, coming: Coming::default() }
    }

    /// Reads one frame of at most `limit` bytes; `None` where the stream has ended between frames.
    ///
    /// Cancel-safe: dropped before it is done, the next call goes on where this one was.
    ///
    /// # Errors
    /// [`FrameError`] where the frame is too large or broken off, or the stream or the connection is gone.
    pub async fn read_frame(&mut self, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            let room = self.coming.room(limit).map_err(|large| FrameError::TooLarge { len: large.len, limit })?;
            if room.is_empty() {
                return Ok(Some(self.coming.take()));
            }
            match self.quinn.read(room).await? {
                Some(read) => self.coming.filled(read),
                None if self.coming.is_empty() => return Ok(None),
                None => return Err(FrameError::Truncated),
            }
        }
    }

    /// Did the stream end here? Reads at most one byte, which is lost if it is there.
    pub(super) async fn ended(&mut self) -> Result<bool, FrameError> {
        let mut byte = [0];
        Ok(self.coming.is_empty() && self.quinn.read(&mut byte).await?.is_none())
    }

    /// Tells the other side that no more of this stream is wanted.
    pub fn stop(&mut self, code: CloseCode) {
        // Ended before: then there is nothing to stop.
        let _ = self.quinn.stop(code.number());
    }
}
