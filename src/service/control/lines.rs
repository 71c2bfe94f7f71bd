//! Lines of bounded length, read so that nothing is lost when the reader is cancelled.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Why no line came.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// It is longer than it may be.
    #[error("a line of more than {limit} bytes")]
    TooLong {
        /// The most bytes that it may have.
        limit: usize,
    },
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The lines of a stream.
pub(super) struct Lines<R> {
    stream: R,
    limit: usize,
    part: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(stream: R, limit: usize) -> Self {
        Self { stream, limit, part: Vec::new() }
    }

    /// The stream, for writing.
    pub(super) fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The next line without its end; `None` at the end of the stream, where an unfinished line is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            // The only wait, and it takes nothing from the stream: cancelling it loses nothing.
            let bytes = self.stream.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let (take, whole) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at, true),
                None => (bytes.len(), false),
            };
            if self.part.len() + take > self.limit {
                return Err(LineError::TooLong { limit: self.limit });
            }
            self.part.extend_from_slice(&bytes[..take]);
            self.stream.consume(take + usize::from(whole));
            if whole {
                return Ok(Some(std::mem::take(&mut self.part)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_long_ones_do_not() {
        let mut lines = Lines::new(&b"one\n\nthree\nfour"[..], 5);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"three");
        assert_eq!(lines.next().await.unwrap(), None);
        let mut lines = Lines::new(&b"sixsix\n"[..], 5);
        assert!(matches!(lines.next().await, Err(LineError::TooLong { limit: 5 })));
    }
}
