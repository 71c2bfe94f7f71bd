//! Keys and signatures: Ed25519, strict verification, one context for each thing that is signed.
//!
//! Signatures are made over a 32 byte BLAKE3 hash in derive-key mode, whose context string keeps what was
//! signed for one purpose from being read as another. Batch verification is never used: it may accept what
//! single verification refuses, and then two honest peers would differ.

use std::collections::HashMap;
use std::fmt;

use ed25519_dalek::{Signer, SigningKey, Verifier as _, VerifyingKey};
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
    PublicKey::read(key)?.verify(hash, signature)
}

/// A public key read from its bytes, which takes a square root in the field: worth doing once for many signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// [`BadSignature`] where they are no point of the curve, or one by which nearly everything can be signed.
    pub fn read(key: &[u8; 32]) -> Result<Self, BadSignature> {
        match VerifyingKey::from_bytes(key) {
            Ok(key) if !key.is_weak() => Ok(Self(key)),
            _ => Err(BadSignature),
        }
    }

    /// As [`verify`] by the bytes of this key.
    ///
    /// What the library calls strict reads the signature's point as well, to see that it is none of the eight small ones. Here
    /// its bytes are compared with theirs: a signature that holds has the only bytes which a point has in RFC 8032, so the
    /// outcome is the same.
    ///
    /// # Errors
    /// [`BadSignature`] where it does not hold.
    pub fn verify(&self, hash: &[u8; 32], signature: &Signature) -> Result<(), BadSignature> {
        let small = SMALL.iter().any(|point| signature.0[..32] == *point);
        let holds = || self.0.verify(hash, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok();
        if !small && holds() { Ok(()) } else { Err(BadSignature) }
    }
}

/// The points of the curve whose order divides 8, as RFC 8032 writes them: of order 1, 2, 4 and 8.
const SMALL: [[u8; 32]; 8] = {
    let (mut one, mut minus_one) = ([0; 32], [0xff; 32]);
    one[0] = 1;
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    [one, minus_one, [0; 32], negative([0; 32]), EIGHTH[0], negative(EIGHTH[0]), EIGHTH[1], negative(EIGHTH[1])]
};

/// Two points of order 8.
const EIGHTH: [[u8; 32]; 2] = [
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
];

/// The point with the other sign, which the last bit is.
const fn negative(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

/// Verifies many signatures by few keys, each of which it reads once.
#[derive(Debug, Default)]
pub struct Verifier(HashMap<[u8; 32], PublicKey>);

/// Keys that a [`Verifier`] keeps, some 250 bytes each: the feeds of a large team.
const KEPT_KEYS: usize = 512;

impl Verifier {
    /// As [`verify`].
    ///
    /// # Errors
    /// [`BadSignature`] where it does not hold.
    pub fn verify(&mut self, key: &[u8; 32], hash: &[u8; 32], signature: &Signature) -> Result<(), BadSignature> {
        let read = match self.0.get(key) {
            Some(read) => *read,
            None => {
                let read = PublicKey::read(key)?;
                if self.0.len() >= KEPT_KEYS {
                    self.0.clear();
                }
                self.0.insert(*key, read);
                read
            }
        };
        read.verify(hash, signature)
    }
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
    use proptest::prelude::*;

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

    /// What [`verify`] was first: the library's own strict verification.
    fn strict(key: &[u8; 32], hash: &[u8; 32], signature: &Signature) -> bool {
        let key = VerifyingKey::from_bytes(key);
        key.is_ok_and(|key| key.verify_strict(hash, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok())
    }

    #[test]
    fn the_small_points_are_those_of_the_curve() {
        let distinct: std::collections::BTreeSet<_> = SMALL.into_iter().collect();
        assert_eq!(distinct.len(), 8, "there are no more");
        for point in SMALL {
            assert!(VerifyingKey::from_bytes(&point).unwrap().is_weak());
            assert_eq!(PublicKey::read(&point), Err(BadSignature));
        }
    }

    #[test]
    fn small_points_sign_nothing_though_the_equation_holds() {
        let secret = Secret::from_seed([1; 32]);
        // With s = 0 the equation is R = -kA: for a small A some R among the small points fits each hash.
        let (mut loose, mut keys) = (0, SMALL.to_vec());
        keys.push(secret.public());
        for (key, point) in keys.iter().flat_map(|key| SMALL.map(|point| (key, point))) {
            let mut signature = Signature([0; 64]);
            signature.0[..32].copy_from_slice(&point);
            for n in 0..8 {
                let hash = Context::Event.hash_whole(&[n]);
                let library = VerifyingKey::from_bytes(key).unwrap();
                loose += u32::from(library.verify(&hash, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok());
                assert!(!strict(key, &hash, &signature));
                assert_eq!(verify(key, &hash, &signature), Err(BadSignature));
            }
        }
        assert!(loose > 8, "the equation alone held {loose} times");
    }

    proptest! {
        /// Keys and signatures with some bytes changed, and with points that have a second way to be written.
        #[test]
        fn verification_is_as_strict_as_that_of_the_library(
            seed in any::<[u8; 32]>(),
            hash in any::<[u8; 32]>(),
            change in prop::option::of((0usize..128, any::<u8>())),
            point in prop::option::of((any::<bool>(), 0usize..8, 0u8..19)),
        ) {
            let secret = Secret::from_seed(seed);
            let (mut key, mut signature) = (secret.public(), secret.sign(&hash));
            if let Some((of_key, at, low)) = point {
                let mut bytes = SMALL[at];
                if low > 0 {
                    // Of p + low - 1, which is no canonical number.
                    bytes = [0xff; 32];
                    (bytes[0], bytes[31]) = (0xec + low, 0x7f | bytes[31] & 0x80);
                }
                if of_key { key = bytes } else { signature.0[..32].copy_from_slice(&bytes) }
            }
            match change {
                Some((at, to)) if at < 32 => key[at] = to,
                Some((at, to)) if at < 96 => signature.0[at - 32] = to,
                _ => {}
            }
            let mut verifier = Verifier::default();
            for _ in 0..2 {
                let holds = verify(&key, &hash, &signature).is_ok();
                prop_assert_eq!(holds, strict(&key, &hash, &signature));
                prop_assert_eq!(verifier.verify(&key, &hash, &signature).is_ok(), holds);
            }
        }
    }

    #[test]
    fn a_verifier_keeps_a_bounded_number_of_keys() {
        let mut verifier = Verifier::default();
        for n in 0..2 * KEPT_KEYS as u64 {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            let secret = Secret::from_seed(seed);
            let signature = secret.sign(&[9; 32]);
            assert_eq!(verifier.verify(&secret.public(), &[9; 32], &signature), Ok(()));
            assert!(verifier.0.len() <= KEPT_KEYS);
        }
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
