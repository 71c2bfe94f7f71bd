//! Keys and signatures: Ed25519, strict verification, one context for each thing that is signed.
//!
//! Signatures are made over a 32 byte BLAKE3 hash in derive-key mode, whose context string keeps what was
//! signed for one purpose from being read as another. Batch verification is never used: it may accept what
//! single verification refuses, and then two honest peers would differ.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::id::{IdentityId, MemberId, PeerId, ProjectId};

/// What is hashed or signed. The strings are part of the format (docs/format.md) and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// An event's body: gives its id, over which it is signed.
    Event,
    /// A genesis payload: gives the id of the project.
    Project,
    /// An identity's statement that a feed is its own: over project and feed.
    FeedCertificate,
    /// The pairing transcript: gives the words.
    Pairing,
    /// The commitment to a nonce and keys in a pairing.
    PairingCommit,
    /// An asker's proof that it holds its identity key, bound to the connection.
    JoinProof,
    /// The redeeming of a ticket, bound to the connection.
    Ticket,
    /// The key by which members recognise each other's announcements.
    Discovery,
    /// A landing's content.
    Landing,
    /// A frontier, for comparing two logs.
    Frontier,
    /// A log and what it says, for comparing two states.
    State,
    /// A further identity's proof that it wants to be one of a member's.
    Link,
    /// The root commits of a repository, in an announcement while joining is open.
    Roots,
    /// A shared pack: its length and the hashes of its pieces give its id.
    SharedPack,
}

impl Context {
    fn text(self) -> &'static str {
        match self {
            Self::Event => "lansync event v1",
            Self::Project => "lansync project v1",
            Self::FeedCertificate => "lansync feed certificate v1",
            Self::Pairing => "lansync pairing words v1",
            Self::PairingCommit => "lansync pairing commitment v1",
            Self::JoinProof => "lansync join proof v1",
            Self::Ticket => "lansync ticket v1",
            Self::Discovery => "lansync discovery key v1",
            Self::Landing => "lansync landing v1",
            Self::Frontier => "lansync frontier v1",
            Self::State => "lansync state v1",
            Self::Link => "lansync identity link v1",
            Self::Roots => "lansync root commits v1",
            Self::SharedPack => "lansync shared pack v1",
        }
    }

    /// The hash of `parts`, each preceded by its length, under this context.
    pub fn hash(self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(self.text());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// The hash of one byte string under this context, without a length before it.
    pub fn hash_whole(self, bytes: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new_derive_key(self.text()).update(bytes).finalize().as_bytes()
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", crate::id::hex(&self.0[..4]))
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (low, high) = self.0.split_at(32);
        (<[u8; 32]>::try_from(low).expect("half of 64"), <[u8; 32]>::try_from(high).expect("half of 64"))
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (low, high) = <([u8; 32], [u8; 32])>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&low);
        bytes[32..].copy_from_slice(&high);
        Ok(Self(bytes))
    }
}

/// A signature that does not hold, or a key that is no point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

/// Checks `signature` by `key` over `hash`, strictly (RFC 8032 with the small-order points refused).
///
/// # Errors
/// [`BadSignature`] where it does not hold.
pub fn verify(key: &[u8; 32], hash: &[u8; 32], signature: &Signature) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    key.verify_strict(hash, &ed25519_dalek::Signature::from_bytes(&signature.0)).map_err(|_| BadSignature)
}

/// A secret key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct Secret(SigningKey);

impl Secret {
    /// The key of a 32 byte seed, which the caller takes from the operating system's randomness.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed, for storing it.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key's bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a hash made under a [`Context`].
    pub fn sign(&self, hash: &[u8; 32]) -> Signature {
        Signature(self.0.sign(hash).to_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(of {})", crate::id::hex(&self.public()[..4]))
    }
}

/// The key of one clone: it authenticates connections and signs its feed.
#[derive(Debug, Clone)]
pub struct FeedKey(pub Secret);

impl FeedKey {
    /// The public half: what others call this clone.
    pub fn peer(&self) -> PeerId {
        PeerId(self.0.public())
    }
}

/// The key of one person on one machine.
#[derive(Debug, Clone)]
pub struct IdentityKey(pub Secret);

impl IdentityKey {
    /// The public half: what members are granted rights to.
    pub fn identity(&self) -> IdentityId {
        IdentityId(self.0.public())
    }

    /// States that `feed` is this identity's in `project`.
    pub fn certify(&self, project: &ProjectId, feed: &PeerId) -> Certificate {
        Certificate { identity: self.identity(), signature: self.0.sign(&Certificate::hash(project, feed)) }
    }
}

/// An identity's statement that a feed is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose feed it is.
    pub identity: IdentityId,
    /// By that identity, over project and feed.
    pub signature: Signature,
}

impl Certificate {
    fn hash(project: &ProjectId, feed: &PeerId) -> [u8; 32] {
        Context::FeedCertificate.hash(&[&project.0, &feed.0])
    }

    /// Checks that it speaks of this project and feed.
    ///
    /// # Errors
    /// [`BadSignature`] where it does not.
    pub fn verify(&self, project: &ProjectId, feed: &PeerId) -> Result<(), BadSignature> {
        verify(&self.identity.0, &Self::hash(project, feed), &self.signature)
    }
}

impl MemberId {
    /// The member whose first identity is `identity`.
    pub fn of(identity: &IdentityId) -> Self {
        Self(*blake3::hash(&identity.0).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_speaks_of_one_feed_of_one_project() {
        let identity = IdentityKey(Secret::from_seed([1; 32]));
        let feed = FeedKey(Secret::from_seed([2; 32])).peer();
        let project = ProjectId([3; 32]);
        let certificate = identity.certify(&project, &feed);
        assert_eq!(certificate.verify(&project, &feed), Ok(()));
        assert_eq!(certificate.verify(&ProjectId([4; 32]), &feed), Err(BadSignature));
        assert_eq!(certificate.verify(&project, &PeerId([4; 32])), Err(BadSignature));
    }

    #[test]
    fn contexts_keep_purposes_apart() {
        let secret = Secret::from_seed([1; 32]);
        let signature = secret.sign(&Context::Event.hash_whole(b"x"));
        assert_eq!(verify(&secret.public(), &Context::Event.hash_whole(b"x"), &signature), Ok(()));
        assert_eq!(verify(&secret.public(), &Context::Project.hash_whole(b"x"), &signature), Err(BadSignature));
        assert_ne!(Context::Event.hash(&[b"ab", b"c"]), Context::Event.hash(&[b"a", b"bc"]));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let printed = format!("{:?}", FeedKey(Secret::from_seed([7; 32])));
        assert!(!printed.contains(&crate::id::hex(&[7; 4])), "{printed}");
    }
}
