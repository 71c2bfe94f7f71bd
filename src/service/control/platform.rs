//! What differs between platforms: the name of the socket, who may connect, and what a dead service leaves behind.

use std::io;
use std::path::Path;

use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::{ListenerOptions, Name};

pub(super) use imp::{connect_kind, is_allowed, remove_if_same, remove_stale};

use crate::service::modes;

/// What a try to connect found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was ever there.
    Nothing,
    /// A socket that nobody listens on.
    Stale,
    /// It cannot be reached for another reason.
    Barred,
}

/// Connects to the service whose socket is at `path`.
pub(super) async fn connect(path: &Path) -> io::Result<Stream> {
    Stream::connect(imp::name(path)?).await
}

/// Listens at `path`, for this person only.
pub(super) fn listen(path: &Path) -> io::Result<Listener> {
    imp::private(path)
}

/// Which socket file is at `path` now.
pub(super) fn file_number(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().and_then(|metadata| modes::file_number(&metadata))
}

/// The file is removed by its service, which looks whether it is still its own.
fn options(name: Name<'_>) -> ListenerOptions<'_> {
    ListenerOptions::new().name(name).reclaim_name(false)
}

#[cfg(unix)]
mod imp {
    use super::*;
    use interprocess::local_socket::GenericFilePath;
    use interprocess::os::unix::local_socket::ListenerOptionsExt as _;

    pub(super) fn name(path: &Path) -> io::Result<Name<'_>> {
        path.to_fs_name::<GenericFilePath>()
    }

    pub(super) fn private(path: &Path) -> io::Result<Listener> {
        match options(name(path)?).mode(0o600).create_tokio() {
            // Not every system can do this; the owner of each connection is looked at as well.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => options(name(path)?).create_tokio(),
            other => other,
        }
    }

    pub(in super::super) fn connect_kind(error: &io::Error) -> Found {
        match error.kind() {
            io::ErrorKind::NotFound => Found::Nothing,
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Found::Stale,
            _ => Found::Barred,
        }
    }

    pub(in super::super) fn is_allowed(stream: &Stream, owner: Option<u32>) -> bool {
        stream.peer_creds().is_ok_and(|peer| peer.euid().is_some() && peer.euid() == owner)
    }

    pub(in super::super) fn remove_stale(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::FileTypeExt as _;
        let metadata = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is in its place"));
        }
        std::fs::remove_file(path)
    }

    pub(in super::super) fn remove_if_same(path: &Path, number: Option<(u64, u64)>) {
        if number.is_some() && file_number(path) == number {
            // Best effort: a socket that stays is found stale by the next service.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(windows)]
mod imp {
    use super::*;
    use interprocess::local_socket::GenericNamespaced;

    pub(super) fn name(path: &Path) -> io::Result<Name<'static>> {
        let hash = blake3::hash(path.as_os_str().as_encoded_bytes());
        let name = format!("lansync-{}", crate::id::hex(&hash.as_bytes()[..16]));
        std::ffi::OsString::from(name).to_ns_name::<GenericNamespaced>().map(|name| name.into_owned())
    }

    // A pipe's default access list lets only its owner, administrators and the system write to it.
    pub(super) fn private(path: &Path) -> io::Result<Listener> {
        options(name(path)?).create_tokio()
    }

    pub(in super::super) fn connect_kind(error: &io::Error) -> Found {
        if error.kind() == io::ErrorKind::NotFound { Found::Nothing } else { Found::Barred }
    }

    pub(in super::super) fn is_allowed(_: &Stream, _: Option<u32>) -> bool {
        true
    }

    pub(in super::super) fn remove_stale(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(in super::super) fn remove_if_same(_: &Path, _: Option<(u64, u64)>) {}
}
