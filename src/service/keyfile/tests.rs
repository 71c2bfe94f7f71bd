//! The file with the identity key.

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
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
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
