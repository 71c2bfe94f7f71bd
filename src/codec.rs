//! Canonical bytes: postcard, decoded only if encoding again gives the same bytes; and bounded frames.
//!
//! postcard 1 accepts `[0x81, 0x00]` as 1 and ignores trailing bytes (measured); both would let two peers
//! disagree on what an event is, so both are refused here.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not of the form at all.
    #[error("malformed")]
    Malformed,
    /// The same value has a shorter or other encoding, or bytes follow it.
    #[error("not canonical")]
    NotCanonical,
    /// Over the limit, so it was not looked at.
    #[error("too large: {len} bytes, at most {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// The canonical bytes of `value`.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let out = Growing(Vec::with_capacity(USUAL));
    postcard::serialize_with_flavor(value, out).expect("our types have no unsized or failing part, and a Vec grows")
}

/// Bytes that most values need at most.
const USUAL: usize = 64;

/// A Vec that begins with room, as most of the time of growing one goes into its first bytes.
struct Growing(Vec<u8>);

impl Flavor for Growing {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Compares what is encoded with bytes that are there.
struct Same<'a>(&'a [u8]);

impl Flavor for Same<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

/// For a field of bytes: taken as a whole, with the encoding that they have one by one.
pub(crate) mod whole {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// Reads canonical bytes of at most `limit`.
///
/// # Errors
/// [`DecodeError`] where they are malformed, too large, or not the canonical encoding of the value.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { len: bytes.len(), limit });
    }
    let value: T = postcard::from_bytes(bytes).map_err(|_| DecodeError::Malformed)?;
    let same = postcard::serialize_with_flavor(&value, Same(bytes)).unwrap_or(false);
    if same { Ok(value) } else { Err(DecodeError::NotCanonical) }
}

/// Lower-case RFC 4648 base32 without padding: safe in a DNS label, readable aloud.
pub fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(DIGITS[(buffer >> bits & 31) as usize] as char);
        }
    }
    if bits > 0 {
        text.push(DIGITS[(buffer << (5 - bits) & 31) as usize] as char);
    }
    text
}

/// Reads base32 of either case; `None` where a character does not belong or spare bits are not zero.
pub fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0u32, 0);
    for c in text.bytes() {
        let digit = match c.to_ascii_lowercase() {
            c @ b'a'..=b'z' => c - b'a',
            c @ b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        buffer = buffer << 5 | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    (buffer == 0 && bits < 5).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_bytes_decode() {
        assert_eq!(decode::<u64>(&[1], 16), Ok(1));
        assert_eq!(decode::<u64>(&[0x81, 0x00], 16), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<u64>(&[1, 0], 16), Err(DecodeError::NotCanonical));
        assert_eq!(decode::<u64>(&[0x80], 16), Err(DecodeError::Malformed));
        assert_eq!(decode::<u64>(&[1, 2, 3], 2), Err(DecodeError::TooLarge { len: 3, limit: 2 }));
    }

    #[test]
    fn base32_reads_back() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37)).collect();
            assert_eq!(unbase32(&base32(&bytes)), Some(bytes));
        }
        assert_eq!(unbase32("a1"), None);
        assert_eq!(unbase32("ab"), None, "spare bits set");
    }
}
