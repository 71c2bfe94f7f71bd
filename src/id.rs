//! Newtypes for every id: what a thing is called is never a bare array or number.
//!
//! Ids print as lower-case hex. In logs and on screens they are shortened by the caller; a whole id is
//! always accepted where a unique prefix is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Writes `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Reads hex of either case; `None` where a character is no hex digit or the length is odd.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    text.as_bytes().chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

/// A text that is not the id it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {expected} hex digits")]
pub struct BadId {
    /// How many hex digits the id has.
    pub expected: usize,
}

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The id's bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hex digits, for people to read.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bytes = unhex(text).ok_or(BadId { expected: 64 })?;
                Ok(Self(bytes.try_into().map_err(|_| BadId { expected: 64 })?))
            }
        }
    };
}

id32! {
    /// A project: the BLAKE3 hash of its genesis payload, so it holds no clock.
    ProjectId
}
id32! {
    /// An event: the BLAKE3 hash of its body under the context `lansync event v1`.
    EventId
}
id32! {
    /// One clone's Ed25519 public key. Every connection is authenticated by it, and it names a feed.
    PeerId
}
id32! {
    /// The Ed25519 public key of one person on one machine, which members are granted rights to.
    IdentityId
}
id32! {
    /// A member: the BLAKE3 hash of the member's first identity key. A handle may change, this does not.
    MemberId
}
id32! {
    /// A landing, known by its content: equal landings made by different peers are one.
    Lid
}
id32! {
    /// A media file of Git LFS: the SHA-256 of its content, as its pointer names it.
    MediaId
}
id32! {
    /// A pack that is made once for several and sent in pieces: the hash of its length and of the hashes of its pieces.
    PackId
}

/// What a pointer of Git LFS names: a media file and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Media {
    /// What its content hashes to.
    pub id: MediaId,
    /// How many bytes it has.
    pub size: u64,
}

/// The id of a Git object, with its kind of hash (a SHA-256 id is understood and refused by `git`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectId {
    /// SHA-1, 20 bytes.
    Sha1([u8; 20]),
    /// SHA-256, 32 bytes.
    Sha256([u8; 32]),
}

impl ObjectId {
    /// The id's bytes, without the kind of hash.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    /// The first seven hex digits, as git shows them.
    pub fn short(&self) -> String {
        self.to_string()[..7].to_owned()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.as_bytes()))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({})", self.short())
    }
}

impl FromStr for ObjectId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bytes = unhex(text).ok_or(BadId { expected: 40 })?;
        match bytes.len() {
            20 => Ok(Self::Sha1(bytes.try_into().map_err(|_| BadId { expected: 40 })?)),
            32 => Ok(Self::Sha256(bytes.try_into().map_err(|_| BadId { expected: 64 })?)),
            _ => Err(BadId { expected: 40 }),
        }
    }
}

/// The name of a local branch without `refs/heads/`, such as `main` or `fix/rounding`.
///
/// Only names that git itself accepts, in valid UTF-8 and without control or bidirectional-override
/// characters, ever become one (`BranchName::new`), so it can be shown and used in a ref as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchName(String);

/// Why a text is no branch name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a branch name that can be shared")]
pub struct BadBranchName;

impl BranchName {
    /// Checks `name` by the rules of `git check-ref-format --branch`, and that it is NFC.
    ///
    /// # Errors
    /// [`BadBranchName`] where git would refuse it, it is over 200 bytes, not NFC, or cannot be shown safely.
    pub fn new(name: impl Into<String>) -> Result<Self, BadBranchName> {
        use unicode_normalization::is_nfc;
        let name = name.into();
        let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c) || is_bidi_override(c) || c == '\u{feff}';
        let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
        if name.is_empty()
            || name.len() > 200
            || name == "@"
            || name == "HEAD"
            || name.starts_with('-')
            || name.ends_with('.')
            || name.contains("..")
            || name.contains("@{")
            || name.chars().any(bad_char)
            || name.split('/').any(bad_part)
            || !is_nfc(&name)
        {
            return Err(BadBranchName);
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that change the order in which others are shown (Unicode TR 9), a way to spoof names.
pub fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl TryFrom<String> for BranchName {
    type Error = BadBranchName;

    fn try_from(name: String) -> Result<Self, BadBranchName> {
        Self::new(name)
    }
}

impl From<BranchName> for String {
    fn from(name: BranchName) -> Self {
        name.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A member's name: an ASCII slug of lower-case letters, digits and inner hyphens, at most 32 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handle(String);

/// Why a text is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a handle: lower-case letters, digits and hyphens, at most 32, starting with a letter")]
pub struct BadHandle;

impl Handle {
    /// Checks that `text` is a slug.
    ///
    /// # Errors
    /// [`BadHandle`] where it is not.
    pub fn new(text: impl Into<String>) -> Result<Self, BadHandle> {
        let text = text.into();
        let fits = text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if fits { Ok(Self(text)) } else { Err(BadHandle) }
    }

    /// A slug of a person's name: accents are dropped, everything else becomes a hyphen.
    /// `Ana María Núñez` gives `ana-maria-nunez`; a name without any Latin letter gives `None`.
    pub fn slug(name: &str) -> Option<Self> {
        use unicode_normalization::UnicodeNormalization;
        let mut slug = String::new();
        for c in name.nfkd() {
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if (c.is_whitespace() || c.is_ascii_punctuation()) && !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
            if slug.len() == 32 {
                break;
            }
        }
        let slug = slug.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
        Self::new(slug).ok()
    }

    /// The handle as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Handle {
    type Error = BadHandle;

    fn try_from(text: String) -> Result<Self, BadHandle> {
        Self::new(text)
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        handle.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_hex_and_read_back() {
        let id = EventId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("abc".parse::<EventId>(), Err(BadId { expected: 64 }));
        let oid = ObjectId::Sha1([0x4f; 20]);
        assert_eq!(oid.to_string().parse(), Ok(oid));
    }

    #[test]
    fn handles_are_slugs() {
        assert_eq!(Handle::slug("Ana María Núñez").unwrap().as_str(), "ana-maria-nunez");
        assert_eq!(Handle::slug("  2nd Bo!  ").unwrap().as_str(), "nd-bo");
        assert_eq!(Handle::slug("安娜"), None);
        assert!(Handle::new("Ana").is_err());
        assert!(Handle::new("ana-").is_err());
        assert!(Handle::new("a/b").is_err());
    }

    #[test]
    fn branch_names_follow_git_and_never_spoof() {
        for good in ["main", "fix/rounding", "übung", "a@b"] {
            assert!(BranchName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a..b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a b",
            "a~1",
            "-a",
            "@",
            "a@{1",
            "a\u{202e}b",
            "a\nb",
            "u\u{308}bung",
            "HEAD",
            "a.",
        ] {
            assert!(BranchName::new(bad).is_err(), "{bad:?}");
        }
    }
}
