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
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn put(dir: &tempfile::TempDir, contents: &[u8]) -> PathBuf {
        let path = dir.path().join("identity.key");
        let _ = fs::remove_file(&path);
        modes::create_new(&path).unwrap().write_all(contents).unwrap();
        path
    }

    fn fault(dir: &tempfile::TempDir, contents: &str) -> KeyFileError {
        load(&put(dir, contents.as_bytes())).unwrap_err()
    }

    #[test]
    fn a_key_is_made_once_and_read_ever_after() {
        let dir = dir();
        let path = dir.path().join("deep/identity.key");
        assert!(matches!(load(&path), Err(KeyFileError::Missing { .. })));
        let made = load_or_create(&path).unwrap();
        assert!(made.created);
        let read = load_or_create(&path).unwrap();
        assert!(!read.created);
        assert_eq!(made.secret.seed(), read.secret.seed());
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["identity.key"], "nothing is left beside it");
    }

    #[test]
    fn many_at_once_get_one_key() {
        let dir = dir();
        let path = dir.path().join("identity.key");
        let loaded: Vec<Loaded> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(loaded.iter().filter(|one| one.created).count(), 1);
        assert!(loaded.iter().all(|one| one.secret.seed() == loaded[0].secret.seed()));
    }

    #[test]
    fn the_file_is_what_rfc_8410_says() {
        let seed: [u8; 32] = crate::id::unhex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
            .unwrap()
            .try_into()
            .unwrap();
        // The example of RFC 8410, section 10.3.
        let expected = "-----BEGIN PRIVATE KEY-----\n\
                        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                        -----END PRIVATE KEY-----\n";
        assert_eq!(encode(seed).as_ref(), expected.as_bytes());
        let dir = dir();
        for text in [expected.to_owned(), expected.replace('\n', "\r\n"), format!("\n{expected}\n\n")] {
            assert_eq!(load(&put(&dir, text.as_bytes())).unwrap().seed(), seed, "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_one_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = dir();
        let path = dir.path().join("identity.key");
        load_or_create(&path).unwrap();
        assert_eq!(modes::mode(&fs::metadata(&path).unwrap()), Some(0o600));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::TooOpen { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
            assert_eq!(error.hint(), format!("chmod 600 {}", path.display()));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        load(&path).unwrap();
    }

    #[test]
    fn what_is_no_key_is_said_and_left_as_it_is() {
        let dir = dir();
        let good = String::from_utf8(encode([7; 32]).as_ref().to_vec()).unwrap();
        let cut = good.replace("MC4CAQ", "MC4CA");
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", &cut, &good[..40]] {
            assert!(matches!(fault(&dir, text), KeyFileError::NotAKey { .. }), "{text:?}");
        }
        let path = put(&dir, b"hello");
        assert!(load_or_create(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert!(matches!(load(&put(&dir, &[0xff; 100])), Err(KeyFileError::NotAKey { .. })));
        assert!(matches!(load(&put(&dir, &[b' '; 5000])), Err(KeyFileError::NotAKey { .. })));
    }

    #[test]
    fn more_than_a_key_is_refused() {
        let dir = dir();
        let good = String::from_utf8(encode([7; 32]).as_ref().to_vec()).unwrap();
        for text in [format!("{good}x"), format!("{good}{good}"), format!("a note\n{good}")] {
            assert!(matches!(fault(&dir, &text), KeyFileError::TrailingGarbage { .. }), "{text:?}");
        }
    }

    #[test]
    fn other_kinds_of_keys_are_named() {
        let dir = dir();
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(matches!(fault(&dir, encrypted), KeyFileError::Encrypted { .. }));
        // X25519: the same bytes under another algorithm.
        let x25519 = "-----BEGIN PRIVATE KEY-----\n\
                      MC4CAQAwBQYDK2VuBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                      -----END PRIVATE KEY-----\n";
        let error = fault(&dir, x25519);
        assert!(matches!(&error, KeyFileError::OtherAlgorithm { found, .. } if found == "an X25519 key"), "{error}");
        for kind in ["OPENSSH PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let error = fault(&dir, &format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n"));
            assert!(matches!(&error, KeyFileError::OtherAlgorithm { found, .. } if found.contains(kind)), "{error}");
        }
    }

    #[test]
    fn an_identity_goes_behind_a_passphrase_and_back() {
        let dir = dir();
        let path = dir.path().join("identity.key");
        let Kept::Open(secret) = load_identity(&path).unwrap() else { panic!("a new one has no passphrase") };
        let plain = fs::read(&path).unwrap();
        write_identity(&path, &secret, Some(b"correct horse")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-----BEGIN LANSYNC SEALED IDENTITY KEY-----\n"), "{text}");
        let kept = load_identity(&path).unwrap();
        assert!(matches!(kept, Kept::Sealed(_)));
        assert_eq!(kept.public(), secret.public());
        assert!(kept.open(b"wrong").is_none());
        let opened = kept.open(b"correct horse").unwrap();
        assert_eq!(opened.seed(), secret.seed());
        // Damaged, it is no key, and it is left as it is.
        fs::write(&path, text.replace("-----END", "x-----END")).unwrap();
        assert!(matches!(load_identity(&path), Err(KeyFileError::NotAKey { .. })));
        fs::write(&path, &text).unwrap();
        write_identity(&path, &opened, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), plain);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_directory_is_no_key() {
        let dir = dir();
        assert!(matches!(load_or_create(dir.path()), Err(KeyFileError::NotAFile { .. })));
    }
}
