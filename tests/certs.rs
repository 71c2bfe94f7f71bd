//! The keys of `certs/`: right ones are read, wrong ones are not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

use std::path::Path;

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;

fn pem(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn right_keys_are_read() {
    for (name, seed) in [("right/ana.pem", 0xa1), ("right/bo.pem", 0xb0)] {
        assert_eq!(SigningKey::from_pkcs8_pem(&pem(name)).unwrap().to_bytes(), [seed; 32], "{name}");
    }
}

#[test]
fn wrong_keys_are_refused() {
    for name in [
        "wrong/p256.pem",
        "wrong/rsa.pem",
        "wrong/x509-of-ana.pem",
        "wrong/x509-of-p256.pem",
        "wrong/encrypted.pem",
        "wrong/truncated.pem",
        "wrong/trailing-der.pem",
    ] {
        assert!(SigningKey::from_pkcs8_pem(&pem(name)).is_err(), "{name}");
    }
}

#[test]
fn what_stands_behind_a_key_is_never_read_as_part_of_it() {
    if let Ok(key) = SigningKey::from_pkcs8_pem(&pem("wrong/trailing.pem")) {
        assert_eq!(key.to_bytes(), [0xa1; 32]);
    }
}
