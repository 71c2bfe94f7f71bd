//! Who owns a file and who may read it: the one place where platforms differ in this.
//!
//! On Windows a profile's directories are private by their inherited access lists, so modes are not looked at there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Does this belong to the person who runs this process? Links are followed.
pub(crate) fn is_ours(path: &Path) -> io::Result<bool> {
    gix::sec::identity::is_path_owned_by_current_user(&fs::canonicalize(path)?)
}

/// The permission bits of a file or directory; `None` where the platform has none.
pub(crate) fn mode(metadata: &fs::Metadata) -> Option<u32> {
    imp::mode(metadata)
}

/// The number of the person who owns it; `None` where the platform has none.
pub(crate) fn owner(metadata: &fs::Metadata) -> Option<u32> {
    imp::owner(metadata)
}

/// Which file it is, whatever its name; `None` where the platform does not tell.
pub(crate) fn file_number(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    imp::file_number(metadata)
}

/// Makes a directory, and those above it, that nobody else can enter. One that exists is left as it is.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    imp::private_dir(&mut builder);
    builder.create(path)
}

/// Makes a file that nobody else can read, and fails where one exists.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    imp::private_file(&mut options);
    options.open(path)
}

/// Opens a file for appending, made so that nobody else can read it.
pub(crate) fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    imp::private_file(&mut options);
    options.open(path)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    imp::sync_dir(path)
}

#[cfg(unix)]
mod imp {
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    pub(super) fn mode(metadata: &Metadata) -> Option<u32> {
        Some(metadata.mode() & 0o7777)
    }

    pub(super) fn owner(metadata: &Metadata) -> Option<u32> {
        Some(metadata.uid())
    }

    pub(super) fn file_number(metadata: &Metadata) -> Option<(u64, u64)> {
        Some((metadata.dev(), metadata.ino()))
    }

    pub(super) fn private_dir(builder: &mut DirBuilder) {
        builder.mode(0o700);
    }

    pub(super) fn private_file(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::{DirBuilder, Metadata, OpenOptions};
    use std::io;
    use std::path::Path;

    pub(super) fn mode(_: &Metadata) -> Option<u32> {
        None
    }

    pub(super) fn owner(_: &Metadata) -> Option<u32> {
        None
    }

    pub(super) fn file_number(_: &Metadata) -> Option<(u64, u64)> {
        None
    }

    pub(super) fn private_dir(_: &mut DirBuilder) {}

    pub(super) fn private_file(_: &mut OpenOptions) {}

    pub(super) fn sync_dir(_: &Path) -> io::Result<()> {
        Ok(())
    }
}
