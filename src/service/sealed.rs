//! An identity key behind a passphrase: Argon2id gives a key, XChaCha20-Poly1305 with it hides the seed.
//!
//! The public half stands beside it in the clear, so that a service starts without being told the passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::keys::Secret;

/// The label of the PEM block.
pub(super) const LABEL: &str = "LANSYNC SEALED IDENTITY KEY";
/// The first byte.
const FORMAT: u8 = 1;
/// All before the hidden part: format, public key, cost, salt, nonce.
const HEAD: usize = 1 + 32 + 12 + 16 + 24;
/// The seed, and what shows that it is whole.
const HIDDEN: usize = 32 + 16;

/// What a try of a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// KiB of memory.
    memory: u32,
    /// Passes over it.
    passes: u32,
    /// Lanes of it.
    lanes: u32,
}

impl Cost {
    /// The second of the two that RFC 9106 recommends (section 4): 64 MiB, for machines that have other things to do.
    pub(super) const USUAL: Self = Self { memory: 64 << 10, passes: 3, lanes: 4 };
    /// The most that a file may ask for: 1 GiB, and some seconds.
    const MOST: Self = Self { memory: 1 << 20, passes: 16, lanes: 16 };

    fn fits(self) -> bool {
        let Self { memory, passes, lanes } = Self::MOST;
        self.memory <= memory && self.passes <= passes && self.lanes <= lanes
    }
}

/// A key behind a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    public: [u8; 32],
    cost: Cost,
    salt: [u8; 16],
    nonce: [u8; 24],
    hidden: [u8; HIDDEN],
}

/// The passphrase is not the one, or the file was changed: nobody can tell which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong;

impl Sealed {
    /// Hides a key. Salt and nonce are fresh random bytes.
    pub(super) fn seal(
        secret: &Secret,
        passphrase: &[u8],
        cost: Cost,
        salt: [u8; 16],
        nonce: [u8; 24],
    ) -> Result<Self, Wrong> {
        let mut sealed = Self { public: secret.public(), cost, salt, nonce, hidden: [0; HIDDEN] };
        let seed = Zeroizing::new(secret.seed());
        let hidden = sealed
            .cipher(passphrase)?
            .encrypt(&XNonce::from(nonce), Payload { msg: &*seed, aad: &sealed.head() })
            .map_err(|_| Wrong)?;
        sealed.hidden = hidden.try_into().map_err(|_| Wrong)?;
        Ok(sealed)
    }

    /// The key, by its passphrase.
    pub(super) fn open(&self, passphrase: &[u8]) -> Result<Secret, Wrong> {
        let payload = Payload { msg: &self.hidden, aad: &self.head() };
        let seed = self.cipher(passphrase)?.decrypt(&XNonce::from(self.nonce), payload).map_err(|_| Wrong)?;
        let seed = Zeroizing::new(seed);
        let secret = Secret::from_seed(seed.as_slice().try_into().map_err(|_| Wrong)?);
        if secret.public() == self.public { Ok(secret) } else { Err(Wrong) }
    }

    /// The public half.
    pub(super) fn public(&self) -> [u8; 32] {
        self.public
    }

    fn cipher(&self, passphrase: &[u8]) -> Result<XChaCha20Poly1305, Wrong> {
        let Cost { memory, passes, lanes } = self.cost;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| Wrong)?;
        let mut key = Zeroizing::new([0; 32]);
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(passphrase, &self.salt, &mut *key).map_err(|_| Wrong)?;
        Ok(XChaCha20Poly1305::new(&Key::from(*key)))
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = Vec::with_capacity(HEAD);
        head.push(FORMAT);
        head.extend(self.public);
        for number in [self.cost.memory, self.cost.passes, self.cost.lanes] {
            head.extend(number.to_le_bytes());
        }
        head.extend(self.salt);
        head.extend(self.nonce);
        head.try_into().expect("the lengths add up")
    }

    /// Its bytes, as in docs/format.md.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.head()[..], &self.hidden].concat()
    }

    /// From its bytes; `None` where they are something else, or of a later format.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (public, rest) = rest.split_first_chunk::<32>()?;
        let mut numbers = [0; 3];
        let (cost, rest) = rest.split_first_chunk::<12>()?;
        for (number, bytes) in numbers.iter_mut().zip(cost.chunks_exact(4)) {
            *number = u32::from_le_bytes(bytes.try_into().ok()?);
        }
        let [memory, passes, lanes] = numbers;
        let cost = Cost { memory, passes, lanes };
        let (salt, rest) = rest.split_first_chunk::<16>()?;
        let (nonce, rest) = rest.split_first_chunk::<24>()?;
        let hidden: [u8; HIDDEN] = rest.try_into().ok()?;
        let known = *format == FORMAT && cost.fits();
        known.then_some(Self { public: *public, cost, salt: *salt, nonce: *nonce, hidden })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small, since a test is no attacker.
    const CHEAP: Cost = Cost { memory: 64, passes: 1, lanes: 1 };

    fn sealed(cost: Cost) -> Sealed {
        Sealed::seal(&Secret::from_seed([7; 32]), b"correct horse", cost, [1; 16], [2; 24]).unwrap()
    }

    #[test]
    fn only_the_passphrase_opens_it() {
        let sealed = sealed(CHEAP);
        assert_eq!(sealed.open(b"correct horse").unwrap().seed(), [7; 32]);
        for wrong in [&b""[..], b"correct hors", b"correct horse "] {
            assert_eq!(sealed.open(wrong).unwrap_err(), Wrong);
        }
        assert_eq!(Sealed::decode(&sealed.encode()), Some(sealed));
    }

    #[test]
    fn every_byte_is_checked() {
        let good = sealed(CHEAP).encode();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            // What costs more is still bounded; a bit of the memory's size may be of no effect, but it is authenticated.
            let opened = Sealed::decode(&bytes).map(|sealed| sealed.open(b"correct horse"));
            assert!(matches!(opened, None | Some(Err(Wrong))), "byte {at}");
        }
        for bytes in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), b""] {
            assert_eq!(Sealed::decode(bytes), None);
        }
    }

    #[test]
    fn a_file_asks_for_no_more_than_is_bounded() {
        let mut bytes = sealed(CHEAP).encode();
        bytes[33..37].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Sealed::decode(&bytes), None);
    }

    /// The bytes never change: a key that was sealed must open for ever.
    #[test]
    fn golden() {
        let expected = include_str!("../../tests/data/sealed-key.txt");
        let bytes = sealed(Cost::USUAL).encode();
        if std::env::var_os("LANSYNC_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sealed-key.txt");
            std::fs::write(path, format!("{}\n", crate::id::hex(&bytes))).unwrap();
        }
        assert_eq!(crate::id::hex(&bytes), expected.trim());
        let kept = Sealed::decode(&crate::id::unhex(expected.trim()).unwrap()).unwrap();
        assert_eq!(kept.open(b"correct horse").unwrap().seed(), [7; 32]);
    }
}
