//! A frame that comes in pieces, without the stream that it comes on: a `u32` length, little-endian, and that many
//! bytes.

/// Memory taken for a frame before any of it has come; more is taken as more comes.
const STEP: usize = 64 * 1024;

/// A frame is longer than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge {
    /// Its length in bytes.
    pub(crate) len: usize,
}

/// What has come of a frame. Ask for [`Coming::room`], fill a part of it, say with [`Coming::filled`] how much; a
/// room that was not filled does no harm. Once the room is empty the frame is whole.
#[derive(Debug, Default)]
pub(crate) struct Coming {
    header: [u8; 4],
    header_len: usize,
    /// What has come, and room behind it.
    frame: Vec<u8>,
    frame_len: usize,
}

impl Coming {
    /// Has nothing of a frame come yet?
    pub(crate) fn is_empty(&self) -> bool {
        self.header_len == 0
    }

    /// Where the next bytes go.
    ///
    /// # Errors
    /// [`TooLarge`] where the frame has more than `limit` bytes; no memory is taken for it.
    pub(crate) fn room(&mut self, limit: usize) -> Result<&mut [u8], TooLarge> {
        if self.header_len < self.header.len() {
            return Ok(&mut self.header[self.header_len..]);
        }
        let len = usize::try_from(u32::from_le_bytes(self.header)).unwrap_or(usize::MAX);
        if len > limit {
            return Err(TooLarge { len });
        }
        self.frame.resize(len.min(self.frame_len + STEP), 0);
        Ok(&mut self.frame[self.frame_len..])
    }

    /// The first `bytes` of the room have come.
    pub(crate) fn filled(&mut self, bytes: usize) {
        if self.header_len < self.header.len() {
            self.header_len += bytes;
        } else {
            self.frame_len += bytes;
        }
    }

    /// The whole frame; what comes next is another one.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_comes_in_pieces_takes_memory_as_it_comes() {
        let mut coming = Coming::default();
        for byte in 200_000u32.to_le_bytes() {
            coming.room(200_000).unwrap()[0] = byte;
            coming.filled(1);
        }
        assert_eq!(coming.room(199_999), Err(TooLarge { len: 200_000 }));
        assert_eq!(coming.frame.capacity(), 0);
        let mut came = 0;
        loop {
            let room = coming.room(200_000).unwrap();
            assert!(room.len() <= STEP);
            let Some(byte) = room.first_mut() else { break };
            *byte = 7;
            // Room that was asked for and not filled does no harm.
            coming.room(200_000).unwrap();
            let piece = coming.room(200_000).unwrap().len().min(50_000);
            coming.filled(piece);
            came += piece;
        }
        assert_eq!((came, coming.take().len()), (200_000, 200_000));
        assert!(coming.is_empty());
    }
}
