//! Shared packs: one pack that several want at once is made once and cut into pieces, which they pass on to each other.
//!
//! [`Given`] decides which piece a server gives next, [`Taking`] whom a receiver asks for which. Whoever serves a shared
//! pack is asked for *one of* some pieces and chooses: so each piece leaves the machine that made the pack once, before
//! any leaves it twice. A piece is known by its BLAKE3, which whoever made the pack told; so it can be had from anybody,
//! and passed on as soon as it is here.

mod given;
mod message;
mod taking;

pub use given::Given;
pub use message::{PieceReply, PieceRequest};
pub use taking::{AskPiece, Taking};

use serde::{Deserialize, Serialize};

use crate::limits;

/// Some pieces of a shared pack, by their numbers from 0: a bit for each, the lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceSet(Vec<u8>);

impl PieceSet {
    /// All of `total` pieces.
    pub fn all(total: u32) -> Self {
        let mut all = Self::default();
        (0..total).for_each(|piece| all.insert(piece));
        all
    }

    /// With one more.
    pub fn insert(&mut self, piece: u32) {
        let at = piece as usize / 8;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0[at] |= 1 << (piece % 8);
    }

    /// Without one.
    pub fn remove(&mut self, piece: u32) {
        if let Some(byte) = self.0.get_mut(piece as usize / 8) {
            *byte &= !(1 << (piece % 8));
        }
    }

    /// Is this one among them?
    pub fn contains(&self, piece: u32) -> bool {
        self.0.get(piece as usize / 8).is_some_and(|byte| byte & 1 << (piece % 8) != 0)
    }

    /// Their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let bits = |(at, byte): (usize, &u8)| {
            let (at, byte) = (u32::try_from(at).unwrap_or(u32::MAX / 8), *byte);
            (0..8).filter(move |bit| byte & 1 << bit != 0).map(move |bit| at * 8 + bit)
        };
        self.0.iter().enumerate().flat_map(bits)
    }

    /// How many.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Are there no more bytes than a set of so many pieces as a shared pack can have?
    fn is_bounded(&self) -> bool {
        self.0.len() <= limits::SHARED_PIECES as usize / 8
    }
}

#[cfg(test)]
mod simulated;
