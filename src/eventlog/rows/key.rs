//! Keys of rows in memory: nearly all are short, and are compared far more often than they are made.

use std::cmp::Ordering;
use std::fmt;

/// Bytes of a key that lie in itself.
const SHORT: usize = 30;

/// A key, in the order of its bytes.
#[derive(Clone)]
pub(super) enum Key {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Key {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(len) if key.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short(len, bytes)
            }
            _ => Self::Long(key.into()),
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Of a length that is known, so that no function is called: what follows the shorter one's bytes is zeros, and
            // where the other has zeros there as well its length tells.
            (Self::Short(len, one), Self::Short(other_len, other)) => one.cmp(other).then(len.cmp(other_len)),
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_their_bytes(one in prop::collection::vec(0u8..3, 0..40), other in prop::collection::vec(0u8..3, 0..40)) {
            let (a, b) = (Key::from(one.as_slice()), Key::from(other.as_slice()));
            prop_assert_eq!(a.as_slice(), &one);
            prop_assert_eq!(a.cmp(&b), one.cmp(&other), "{:?} {:?}", a, b);
            prop_assert_eq!(a == b, one == other);
        }
    }
}
