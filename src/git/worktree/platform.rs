//! What differs between operating systems when files are made.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Makes a new file, executable by all whom the umask lets.
#[cfg(unix)]
pub(super) fn create(path: &Path, executable: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mode = if executable { 0o777 } else { 0o666 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Makes a new file. There is no executable bit.
#[cfg(not(unix))]
pub(super) fn create(path: &Path, _executable: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Tells the file at `path` from one that is made there later; `None` where that is not possible.
pub(super) fn identity(path: &Path) -> Option<String> {
    Some(format!("{}-{}", made(path)?, number(&path.symlink_metadata().ok()?)))
}

/// When the file at `path` was made, in nanoseconds since 1970, where the file system knows.
pub(super) fn made(path: &Path) -> Option<u128> {
    let made = path.symlink_metadata().ok()?.created().ok()?;
    Some(made.duration_since(UNIX_EPOCH).ok()?.as_nanos())
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.ino()
}

#[cfg(not(unix))]
fn number(_metadata: &Metadata) -> u64 {
    0
}

/// Whether the owner may execute the file; what git looks at.
#[cfg(unix)]
pub(super) fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

/// There is no executable bit.
#[cfg(not(unix))]
pub(super) fn is_executable(_metadata: &Metadata) -> bool {
    false
}

/// Asks the disk to keep the file at `path`, where that can be asked; a ref in `packed-refs` has none.
pub(super) fn sync(path: &Path) {
    if let Ok(file) = File::open(path) {
        drop(file.sync_all());
    }
}
