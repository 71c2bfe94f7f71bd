//! What is said about pieces, on streams of their own.

use serde::{Deserialize, Serialize};

use super::PieceSet;
use crate::codec::{self, DecodeError};
use crate::id::PackId;
use crate::sync::MessageError;
use crate::sync::message::tagged;

/// Asks for one piece of a shared pack, as the first frame of a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceRequest {
    /// Of which pack.
    pub pack: PackId,
    /// Any of these.
    pub of: PieceSet,
}

/// What is said before the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceReply {
    /// The piece of this number follows.
    Piece(u32),
    /// None of these can be given now: each is on its way to others, is not here yet, or too much is being sent.
    Later,
    /// That pack is not here.
    NotHere,
}

/// The longest of the two, in bytes.
const LIMIT: usize = 512;

impl PieceRequest {
    /// The byte that begins its frame.
    pub const TAG: u8 = 20;

    /// Its frame.
    pub fn encode(&self) -> Vec<u8> {
        tagged(Self::TAG, self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no request, or asks for more pieces than there can be.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [Self::TAG, rest @ ..] => {
                let request: Self = codec::decode(rest, LIMIT)?;
                request.of.is_bounded().then_some(request).ok_or(MessageError(DecodeError::Malformed))
            }
            _ => Err(MessageError(DecodeError::Malformed)),
        }
    }
}

impl PieceReply {
    /// Its frame.
    pub fn encode(self) -> Vec<u8> {
        tagged(21, &self)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`MessageError`] where it is no reply.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [21, rest @ ..] => Ok(codec::decode(rest, LIMIT)?),
            _ => Err(MessageError(DecodeError::Malformed)),
        }
    }
}
