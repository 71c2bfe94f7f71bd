//! Secret keys in files: PKCS#8 PEM as other tools read it, for the owner's eyes only.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::{self, LineEnding};
use ed25519_dalek::pkcs8::{self, DecodePrivateKey as _, EncodePrivateKey as _};

use super::modes;
use super::sealed::{Cost, LABEL, Sealed};
use crate::keys::Secret;
use zeroize::Zeroizing;

/// A key file has about 120 bytes; this leaves room for line ends and spaces, and stops at devices.
const FILE_BYTES: u64 = 4 * 1024;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A key that was read, or made.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub secret: Secret,
    /// It did not exist before.
    pub created: bool,
}

/// Why a key cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key in {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others may read or write it: it is no secret any more.
    #[error("the key in {} is open to others (mode {mode:04o})", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the key in {} belongs to somebody else", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a device or a pipe.
    #[error("{} is no file", path.display())]
    NotAFile {
        /// What it should have been.
        path: PathBuf,
    },
    /// It holds something else than a private key in PKCS#8 PEM.
    #[error("{} does not hold a private key in PEM (PKCS#8)", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is encrypted.
    #[error("the key in {} is encrypted by another program", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// It is a key of another kind.
    #[error("the key in {} is {found}, not an Ed25519 key", path.display())]
    OtherAlgorithm {
        /// The file.
        path: PathBuf,
        /// What it is, as the file names it.
        found: String,
    },
    /// There is more than the key.
    #[error("there is more than a key in {}", path.display())]
    TrailingGarbage {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the key in {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write a new key to {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bytes for a key: {0}")]
    Random(getrandom::Error),
}

impl KeyFileError {
    /// Stable, for docs/json.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "key-missing",
            Self::TooOpen { .. } => "key-too-open",
            Self::NotOurs { .. } => "key-not-ours",
            Self::NotAFile { .. } | Self::NotAKey { .. } => "key-not-a-key",
            Self::Encrypted { .. } => "key-encrypted",
            Self::OtherAlgorithm { .. } => "key-other-algorithm",
            Self::TrailingGarbage { .. } => "key-trailing-garbage",
            Self::Unreadable { .. } => "key-unreadable",
            Self::Unwritable { .. } | Self::Random(_) => "key-unwritable",
        }
    }

    /// What to type or do.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { .. } => "`lansync up` makes one".to_owned(),
            Self::TooOpen { path, .. } => format!("chmod 600 {}", path.display()),
            Self::NotOurs { path } => format!("ls -l {}", path.display()),
            Self::NotAFile { path }
            | Self::NotAKey { path }
            | Self::TrailingGarbage { path }
            | Self::OtherAlgorithm { path, .. } => {
                format!("put the right key back, or move this file away for a new one: mv {0} {0}.old", path.display())
            }
            Self::Encrypted { path } => format!("openssl pkey -in {0} -out {0}.plain", path.display()),
            Self::Unreadable { path, .. } => format!("ls -l {}", path.display()),
            Self::Unwritable { .. } => "set LANSYNC_HOME to a directory that you can write to".to_owned(),
            Self::Random(_) => "try again once the machine has started fully".to_owned(),
        }
    }
}

/// Reads the key in `path`, or makes one there: a new file appears whole, durable and private, or not at all.
/// Where two processes do this at once, both get the same key.
///
/// # Errors
/// [`KeyFileError`]; a file that is there is never replaced.
pub fn load_or_create(path: &Path) -> Result<Loaded, KeyFileError> {
    match load(path) {
        Ok(secret) => return Ok(Loaded { secret, created: false }),
        Err(KeyFileError::Missing { .. }) => {}
        Err(other) => return Err(other),
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyFileError::Random)?;
    let written = write_new(path, &encode(seed));
    match written {
        Ok(()) => Ok(Loaded { secret: Secret::from_seed(seed), created: true }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(Loaded { secret: load(path)?, created: false })
        }
        Err(source) => Err(KeyFileError::Unwritable { path: path.to_owned(), source }),
    }
}

/// Writes a key that was made before its place was known.
///
/// # Errors
/// [`KeyFileError::Unwritable`], also where a file is there already.
pub fn create(path: &Path, secret: &Secret) -> Result<(), KeyFileError> {
    let written = write_new(path, &encode(secret.seed()));
    written.map_err(|source| KeyFileError::Unwritable { path: path.to_owned(), source })
}

/// An identity key as it lies on disk.
#[derive(Debug)]
pub enum Kept {
    /// For whoever reads the file.
    Open(Secret),
    /// Behind a passphrase.
    Sealed(Sealed),
}

impl Kept {
    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        match self {
            Self::Open(secret) => secret.public(),
            Self::Sealed(sealed) => sealed.public(),
        }
    }

    /// The key; `None` where the passphrase is not the one. One that needs none takes any.
    pub fn open(&self, passphrase: &[u8]) -> Option<Secret> {
        match self {
            Self::Open(secret) => Some(secret.clone()),
            Self::Sealed(sealed) => sealed.open(passphrase).ok(),
        }
    }
}

/// Reads the identity key in `path`, or makes one there without a passphrase.
///
/// # Errors
/// [`KeyFileError`]; a file that is there is never replaced.
pub fn load_identity(path: &Path) -> Result<Kept, KeyFileError> {
    let bytes = match read(path) {
        Err(KeyFileError::Missing { .. }) => return load_or_create(path).map(|loaded| Kept::Open(loaded.secret)),
        read => read?,
    };
    if !bytes.starts_with(format!("-----BEGIN {LABEL}-----").as_bytes()) {
        return decode(path, &bytes).map(Kept::Open);
    }
    let found = pem::decode_vec(&bytes).ok().filter(|(label, _)| *label == LABEL);
    let sealed = found.and_then(|(_, bytes)| Sealed::decode(&bytes));
    sealed.map(Kept::Sealed).ok_or_else(|| KeyFileError::NotAKey { path: path.to_owned() })
}

/// Writes the identity key again in place of what is in `path`, behind a passphrase or without one: durable when this
/// returns, and at no time is there none.
///
/// # Errors
/// [`KeyFileError`]; the file is then as it was.
pub fn write_identity(path: &Path, secret: &Secret, passphrase: Option<&[u8]>) -> Result<(), KeyFileError> {
    let unwritable = |source: io::Error| KeyFileError::Unwritable { path: path.to_owned(), source };
    let contents = match passphrase {
        None => Zeroizing::new(encode(secret.seed()).as_ref().to_vec()),
        Some(passphrase) => {
            let (mut salt, mut nonce) = ([0; 16], [0; 24]);
            getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut nonce)).map_err(KeyFileError::Random)?;
            let sealed = Sealed::seal(secret, passphrase, Cost::USUAL, salt, nonce);
            let sealed = sealed.map_err(|_| unwritable(io::Error::other("the key cannot be sealed")))?;
            let text = pem::encode_string(LABEL, LineEnding::LF, &sealed.encode());
            Zeroizing::new(text.map_err(|error| unwritable(io::Error::other(error)))?.into_bytes())
        }
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(KeyFileError::Random)?;
    let beside = dir.join(format!(".new-key-{}", crate::id::hex(&suffix)));
    let replace = || {
        let mut file = modes::create_new(&beside)?;
        file.write_all(&contents)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, path)?;
        modes::sync_dir(dir)
    };
    replace().map_err(|source| {
        let _ = fs::remove_file(&beside);
        unwritable(source)
    })
}

/// Reads the key in `path`.
///
/// # Errors
/// [`KeyFileError`].
pub fn load(path: &Path) -> Result<Secret, KeyFileError> {
    decode(path, &read(path)?)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let unreadable = |source: io::Error| KeyFileError::Unreadable { path: path.to_owned(), source };
    // Looked at before it is opened: opening a pipe would wait.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(KeyFileError::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyFileError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(unreadable(error)),
    }
    if !modes::is_ours(path).map_err(unreadable)? {
        return Err(KeyFileError::NotOurs { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    match modes::mode(&file.metadata().map_err(unreadable)?) {
        Some(mode) if mode & 0o077 != 0 => return Err(KeyFileError::TooOpen { path: path.to_owned(), mode }),
        _ => {}
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES as usize + 1));
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn encode(seed: [u8; 32]) -> impl AsRef<[u8]> {
    // Without the public key beside it: version 1 of PKCS#8, which every tool reads.
    let key = pkcs8::KeypairBytes { secret_key: seed, public_key: None };
    let text = key.to_pkcs8_pem(LineEnding::LF).expect("32 bytes always encode");
    // Wiped from memory when dropped.
    struct Wiped<T>(T);
    impl<T: std::ops::Deref<Target = String>> AsRef<[u8]> for Wiped<T> {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Wiped(text)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Secret, KeyFileError> {
    let path = || path.to_owned();
    let not_a_key = || KeyFileError::NotAKey { path: path() };
    let text = std::str::from_utf8(bytes).ok().filter(|_| bytes.len() as u64 <= FILE_BYTES).ok_or_else(not_a_key)?;
    let text = text.trim();
    let first = text.lines().next().unwrap_or_default().trim_end();
    if first != BEGIN {
        let kind = first.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        return Err(match kind {
            Some("ENCRYPTED PRIVATE KEY") => KeyFileError::Encrypted { path: path() },
            Some(kind) if kind.ends_with("PRIVATE KEY") && kind.len() < 40 => {
                KeyFileError::OtherAlgorithm { path: path(), found: format!("in the format {kind}") }
            }
            _ if text.contains(BEGIN) => KeyFileError::TrailingGarbage { path: path() },
            _ => not_a_key(),
        });
    }
    let end = text.find(END).ok_or_else(not_a_key)? + END.len();
    if end != text.len() {
        return Err(KeyFileError::TrailingGarbage { path: path() });
    }
    match SigningKey::from_pkcs8_pem(text) {
        Ok(key) => Ok(Secret::from_seed(key.to_bytes())),
        Err(pkcs8::Error::PublicKey(pkcs8::spki::Error::OidUnknown { oid })) => {
            Err(KeyFileError::OtherAlgorithm { path: path(), found: algorithm(&oid.to_string()) })
        }
        Err(pkcs8::Error::ParametersMalformed) => {
            Err(KeyFileError::OtherAlgorithm { path: path(), found: "of an unknown kind".to_owned() })
        }
        Err(_) => Err(not_a_key()),
    }
}

fn algorithm(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.1" => "an RSA key".to_owned(),
        "1.2.840.10045.2.1" => "an ECDSA key".to_owned(),
        "1.3.101.110" => "an X25519 key".to_owned(),
        "1.3.101.113" => "an Ed448 key".to_owned(),
        oid => format!("of the algorithm {oid}"),
    }
}

/// Writes beside `path`, makes it durable, and gives it the name unless that is taken.
fn write_new(path: &Path, contents: &impl AsRef<[u8]>) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    modes::create_dir(dir)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let beside = dir.join(format!(".new-key-{}", crate::id::hex(&suffix)));
    let written = write_and_name(&beside, path, contents.as_ref());
    if let Err(error) = fs::remove_file(&beside)
        && written.is_ok()
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    written?;
    modes::sync_dir(dir)
}

fn write_and_name(beside: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = modes::create_new(beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    drop(file);
    // A link fails where the name is taken; a rename would replace a key that another process has just made.
    match fs::hard_link(beside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => fs::rename(beside, path),
        other => other,
    }
}

#[cfg(test)]
mod tests;
