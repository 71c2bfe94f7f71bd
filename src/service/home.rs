//! Where everything that is per person lies: the identity, the list of repositories, the control socket.
//!
//! `LANSYNC_HOME` moves all of it into one directory; otherwise it lies where the platform keeps such things.
//! Finding out makes nothing; [`Home::create`] does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use super::modes;

/// Longest path of a Unix socket, in bytes: `sun_path` has 108 with the closing zero on Linux, 104 on macOS.
const SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

const SOCKET_NAME: &str = "control.sock";

/// Why the directories of a person cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `LANSYNC_HOME` nor a home directory is known.
    #[error("your home directory is not known")]
    Unknown,
    /// It belongs to somebody else.
    #[error("{} belongs to somebody else", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// Others could put files of theirs there, or read what must stay private.
    #[error("{} is open to others (mode {mode:04o})", path.display())]
    TooOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Something else than a directory is in the way.
    #[error("{} is no directory", path.display())]
    NotADirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// No place for the control socket has a path that is short enough.
    #[error("the path of the control socket is too long: {}", path.display())]
    TooDeep {
        /// The shortest path found.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HomeError {
    /// Stable, for docs/json.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "home-unknown",
            Self::NotOurs { .. } => "home-not-ours",
            Self::TooOpen { .. } => "home-too-open",
            Self::NotADirectory { .. } | Self::Io { .. } => "home-unusable",
            Self::TooDeep { .. } => "home-too-deep",
        }
    }

    /// What to type.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown => "set LANSYNC_HOME to a directory of yours".to_owned(),
            Self::NotOurs { .. } | Self::NotADirectory { .. } | Self::Io { .. } => {
                "set LANSYNC_HOME to a directory that you can write to".to_owned()
            }
            Self::TooOpen { path, wanted, .. } => format!("chmod {wanted:o} {}", path.display()),
            Self::TooDeep { .. } => "set XDG_RUNTIME_DIR to a directory with a short path".to_owned(),
        }
    }
}

/// The directories of one person on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    moved: bool,
}

impl Home {
    /// As the environment says: `LANSYNC_HOME`, else the platform's directories. Nothing is made.
    ///
    /// # Errors
    /// [`HomeError::Unknown`] without a home directory, [`HomeError::TooDeep`] where no socket fits.
    pub fn from_env() -> Result<Self, HomeError> {
        if let Some(dir) = std::env::var_os("LANSYNC_HOME").filter(|dir| !dir.is_empty()) {
            return Self::at(Path::new(&dir));
        }
        let base = etcetera::choose_base_strategy().map_err(|_| HomeError::Unknown)?;
        let data = base.data_dir().join("lansync");
        let socket = place_of_socket(&data, &runtime_dir())?;
        Ok(Self {
            config: base.config_dir().join("lansync"),
            state: base.state_dir().map_or_else(|| data.clone(), |dir| dir.join("lansync")),
            data,
            socket,
            moved: false,
        })
    }

    /// All of it in one directory, as with `LANSYNC_HOME`. Nothing is made.
    ///
    /// # Errors
    /// [`HomeError::TooDeep`] where no socket fits, [`HomeError::Io`] without a current directory.
    pub fn at(dir: &Path) -> Result<Self, HomeError> {
        let dir = std::path::absolute(dir).map_err(|source| HomeError::Io { path: dir.to_owned(), source })?;
        let socket = place_of_socket(&dir, &runtime_dir())?;
        Ok(Self { config: dir.clone(), data: dir.clone(), state: dir, socket, moved: true })
    }

    /// The directory of what must not be lost: the identity.
    pub fn dir(&self) -> &Path {
        &self.config
    }

    /// The directory of what the service keeps for itself: its list of repositories, addresses remembered.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The identity key of this person on this machine (PKCS#8 PEM).
    pub fn identity_key(&self) -> PathBuf {
        self.config.join("identity.key")
    }

    /// The service's list of the repositories that it shares.
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// What a detached service writes.
    pub fn service_log(&self) -> PathBuf {
        self.state.join("service.log")
    }

    /// The control socket (on Windows the name of the pipe follows from this path).
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The variables that lead another process to the same home.
    pub fn environment(&self) -> Option<(&'static str, OsString)> {
        self.moved.then(|| ("LANSYNC_HOME", self.config.clone().into_os_string()))
    }

    /// Makes the directories, private to this person, and checks those that exist.
    ///
    /// # Errors
    /// [`HomeError`] where one cannot be made, belongs to somebody else or is open to others.
    pub fn create(&self) -> Result<(), HomeError> {
        for dir in [&self.config, &self.data, &self.state] {
            modes::create_dir(dir).map_err(|source| io_error(dir, source))?;
            check(dir, 0o022)?;
        }
        let place = self.socket_dir();
        modes::create_dir(place).map_err(|source| io_error(place, source))?;
        self.check_socket_dir()
    }

    /// Checks that nobody else can put a socket where ours is looked for. A directory that is missing passes.
    ///
    /// # Errors
    /// [`HomeError`] where somebody could.
    pub fn check_socket_dir(&self) -> Result<(), HomeError> {
        let place = self.socket_dir();
        // In a shared place (the temporary directory) nothing but 0700 will do.
        let forbidden = if place == self.data { 0o022 } else { 0o077 };
        match check(place, forbidden) {
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn socket_dir(&self) -> &Path {
        self.socket.parent().expect("a socket's path is a directory and a name")
    }
}

fn io_error(path: &Path, source: io::Error) -> HomeError {
    let in_the_way = matches!(source.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory);
    if in_the_way {
        HomeError::NotADirectory { path: path.to_owned() }
    } else {
        HomeError::Io { path: path.to_owned(), source }
    }
}

/// A directory of ours, in whose mode no bit of `forbidden` is set.
fn check(path: &Path, forbidden: u32) -> Result<(), HomeError> {
    let metadata = fs::metadata(path).map_err(|source| io_error(path, source))?;
    if !metadata.is_dir() {
        return Err(HomeError::NotADirectory { path: path.to_owned() });
    }
    if !modes::is_ours(path).map_err(|source| io_error(path, source))? {
        return Err(HomeError::NotOurs { path: path.to_owned() });
    }
    match modes::mode(&metadata) {
        Some(mode) if mode & forbidden != 0 => Err(HomeError::TooOpen { path: path.to_owned(), mode, wanted: 0o700 }),
        _ => Ok(()),
    }
}

fn runtime_dir() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    runtime.unwrap_or_else(std::env::temp_dir)
}

/// In `dir` where the path is short enough, else in a directory of `runtime` named after `dir`.
fn place_of_socket(dir: &Path, runtime: &Path) -> Result<PathBuf, HomeError> {
    let fits = |path: &Path| path.as_os_str().len() <= SOCKET_PATH_BYTES;
    let inside = dir.join(SOCKET_NAME);
    if fits(&inside) {
        return Ok(inside);
    }
    let name = crate::id::hex(&blake3::hash(dir.as_os_str().as_encoded_bytes()).as_bytes()[..8]);
    let outside = runtime.join(format!("lansync-{name}")).join(SOCKET_NAME);
    if fits(&outside) { Ok(outside) } else { Err(HomeError::TooDeep { path: outside }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_moves_with_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(&dir.path().join("a")).unwrap();
        for path in [home.identity_key(), home.registry(), home.service_log(), home.socket().to_owned()] {
            assert_eq!(path.parent(), Some(dir.path().join("a").as_path()));
        }
        assert!(!home.dir().exists(), "finding out makes nothing");
        home.check_socket_dir().unwrap();
        home.create().unwrap();
        home.create().unwrap();
        assert!(home.dir().is_dir());
    }

    #[test]
    fn a_deep_home_has_its_socket_elsewhere_and_two_homes_never_the_same() {
        let runtime = Path::new("/run/user/1000");
        let short = place_of_socket(Path::new("/home/ana/.local/share/lansync"), runtime).unwrap();
        assert_eq!(short, Path::new("/home/ana/.local/share/lansync/control.sock"));
        let deep = |name: &str| PathBuf::from(format!("/{}/{name}", "d".repeat(100)));
        let one = place_of_socket(&deep("one"), runtime).unwrap();
        assert!(one.starts_with(runtime) && one.as_os_str().len() <= SOCKET_PATH_BYTES, "{one:?}");
        assert_ne!(one, place_of_socket(&deep("two"), runtime).unwrap());
        assert!(matches!(place_of_socket(&deep("one"), &deep("run")), Err(HomeError::TooDeep { .. })));
    }

    #[test]
    fn a_path_of_exactly_the_limit_still_fits() {
        let dir = |len: usize| PathBuf::from(format!("/{}", "d".repeat(len - 1)));
        let name = SOCKET_NAME.len() + 1;
        let last = place_of_socket(&dir(SOCKET_PATH_BYTES - name), Path::new("/run")).unwrap();
        assert_eq!(last.as_os_str().len(), SOCKET_PATH_BYTES);
        let next = place_of_socket(&dir(SOCKET_PATH_BYTES - name + 1), Path::new("/run")).unwrap();
        assert!(next.starts_with("/run/"), "{next:?}");
    }

    #[cfg(unix)]
    #[test]
    fn directories_are_private_and_open_ones_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let home = Home::at(&dir.path().join("a/b")).unwrap();
        home.create().unwrap();
        assert_eq!(modes::mode(&fs::metadata(home.dir()).unwrap()), Some(0o700));
        set(home.dir(), 0o755);
        home.create().unwrap();
        set(home.dir(), 0o770);
        let error = home.create().unwrap_err();
        assert!(matches!(error, HomeError::TooOpen { mode: 0o770, .. }), "{error}");
        assert_eq!(error.hint(), format!("chmod 700 {}", home.dir().display()));

        let deep = Home { socket: dir.path().join("run/control.sock"), ..home };
        set(deep.dir(), 0o700);
        deep.create().unwrap();
        set(&dir.path().join("run"), 0o755);
        assert!(matches!(deep.check_socket_dir(), Err(HomeError::TooOpen { mode: 0o755, .. })));
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "x").unwrap();
        for path in ["a", "a/b"] {
            let error = Home::at(&dir.path().join(path)).unwrap().create().unwrap_err();
            assert!(matches!(error, HomeError::NotADirectory { .. }), "{error}");
        }
    }
}
