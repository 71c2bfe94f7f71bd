//! Opening a repository, and refusing in one line those that cannot be shared.
//!
//! gix opens reftable repositories, partial clones and unknown extensions without complaint, so what is known to
//! work is listed here and everything else is refused. Nothing of the environment counts: the service may have been
//! started from anywhere.

use std::path::{Path, PathBuf};

use gix::open::{Options, Permissions, permissions};
use gix::sec::Permission;

use super::Repository;
use super::objects::chain;
use crate::id::BranchName;

/// Why a repository cannot be shared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No repository at this place or above it.
    #[error("{} is not in a Git repository", .0.display())]
    NotARepository(PathBuf),
    /// It has no work tree.
    #[error("the repository is bare: lansync shares repositories that people work in")]
    Bare,
    /// Its history was cut off by `git clone --depth`.
    #[error("the repository is shallow: `git fetch --unshallow` completes its history")]
    Shallow,
    /// Its history is bent by `.git/info/grafts`, which others would not see.
    #[error("the repository has grafts (.git/info/grafts): others would see another history")]
    Grafts,
    /// It leaves objects on a server.
    #[error("the repository is a partial clone: objects are missing that others may need")]
    Partial,
    /// Its objects are named by SHA-256.
    #[error("the repository uses SHA-256, which is not supported yet")]
    Sha256,
    /// Its refs are not files.
    #[error("the repository keeps its refs in a reftable: `git refs migrate --ref-format=files` changes that")]
    RefTable,
    /// Its index leaves out files.
    #[error("the repository has a sparse index: `git sparse-checkout reapply --no-sparse-index` changes that")]
    SparseIndex,
    /// It needs something of Git that is not known here.
    #[error("the repository uses an extension of Git that lansync does not know: {0}")]
    UnknownExtension(String),
    /// There is a repository already where a new one should be.
    #[error("{} is a Git repository already", .0.display())]
    Exists(PathBuf),
    /// It cannot be read or written.
    #[error("the repository at {} cannot be opened: {source}", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: ReadFailed,
    },
}

/// What went wrong while reading, as gix or the system says it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailed(String);

/// Extensions under which everything here is still true.
const KNOWN_EXTENSIONS: [&str; 5] = ["noop", "noop-v1", "preciousobjects", "worktreeconfig", "relativeworktrees"];

/// Packs that can be open at once. gix fixes it when a repository is opened, and every arrival is a pack.
const PACK_SLOTS: u16 = 8_192;

impl Repository {
    /// Opens the repository that `dir` is in: its top, a directory below, or a linked worktree.
    ///
    /// # Errors
    /// [`OpenError`] where there is none or it cannot be shared.
    pub fn discover(dir: &Path) -> Result<Self, OpenError> {
        let none = || OpenError::NotARepository(dir.to_owned());
        let dir = std::fs::canonicalize(dir).map_err(|_| none())?;
        let (found, _trust) = gix::discover::upwards(&dir).map_err(|_| none())?;
        let (git_dir, _) = found.into_repository_and_work_tree_directories();
        Self::open(&git_dir)
    }

    /// Opens the repository with this git directory.
    fn open(git_dir: &Path) -> Result<Self, OpenError> {
        let unreadable =
            |source: String| OpenError::Unreadable { path: git_dir.to_owned(), source: ReadFailed(source) };
        let common = common_dir(git_dir).map_err(|error| unreadable(error.to_string()))?;
        check_config(&common)?;
        let inner = shared().open(git_dir).map_err(|error| unreadable(chain(&error)))?;
        if inner.work_tree.is_none() {
            return Err(OpenError::Bare);
        }
        let repo = Self::from(inner);
        check_whole(&repo)?;
        Ok(repo)
    }

    /// Makes a repository without commits in `dir`, which is created where it is missing; HEAD names `branch`.
    ///
    /// # Errors
    /// [`OpenError::Exists`] where one is there, [`OpenError::Unreadable`] where it cannot be made.
    pub fn init(dir: &Path, branch: &BranchName) -> Result<Self, OpenError> {
        if dir.join(".git").symlink_metadata().is_ok() {
            return Err(OpenError::Exists(dir.to_owned()));
        }
        let unreadable = |source: String| OpenError::Unreadable { path: dir.to_owned(), source: ReadFailed(source) };
        std::fs::create_dir_all(dir).map_err(|error| unreadable(error.to_string()))?;
        let create = gix::create::Options { destination_must_be_empty: Some(false), ..Default::default() };
        let options = options(isolated()).config_overrides([format!("init.defaultBranch={branch}")]);
        gix::ThreadSafeRepository::init_opts(dir, gix::create::Kind::WithWorktree, create, options)
            .map_err(|error| unreadable(chain(&error)))?;
        Self::discover(dir)
    }

    /// The top of the work tree that this repository was opened in.
    pub fn work_dir(&self) -> Option<&Path> {
        self.work_tree.as_deref()
    }

    /// The work trees of this repository, the main one first, as far as they are there.
    ///
    /// # Errors
    /// [`OpenError::Unreadable`] where they cannot be listed.
    pub fn worktrees(&self) -> Result<Vec<PathBuf>, OpenError> {
        let unreadable =
            |source: String| OpenError::Unreadable { path: self.common_dir().to_owned(), source: ReadFailed(source) };
        let local = self.local();
        let mut paths = Vec::new();
        let main = local.main_repo().map_err(|error| unreadable(chain(&error)))?;
        paths.extend(main.workdir().map(Path::to_owned));
        for linked in local.worktrees().map_err(|error| unreadable(chain(&error)))? {
            paths.extend(linked.base().ok().filter(|path| path.is_dir()));
        }
        Ok(paths)
    }

    /// The value of a setting as `git config` would give it now, from the repository's and the user's files.
    pub fn config(&self, key: &str) -> Option<String> {
        let local = self.with_user_config()?;
        local.config_snapshot().string(key).map(|value| value.to_string())
    }

    /// A yes-or-no setting; `None` where it is not set, or neither.
    pub fn config_bool(&self, key: &str) -> Option<bool> {
        self.with_user_config()?.config_snapshot().boolean(key)
    }

    /// The repository with all configuration files, read afresh.
    fn with_user_config(&self) -> Option<gix::Repository> {
        let config = permissions::Config { system: true, git: true, user: true, includes: true, ..isolated().config };
        // `GIT_CONFIG_GLOBAL` and `GIT_CONFIG_NOSYSTEM` count, as everywhere in Git.
        let env = permissions::Environment {
            home: Permission::Allow,
            xdg_config_home: Permission::Allow,
            git_prefix: Permission::Allow,
            ..isolated().env
        };
        let allowed = Permissions { config, env, ..isolated() };
        options(allowed).open(self.git_dir()).ok().map(gix::ThreadSafeRepository::into)
    }
}

fn isolated() -> Permissions {
    Permissions::isolated()
}

/// Whose repository it is does not matter: nothing it names is run.
fn options(permissions: Permissions) -> Options {
    Options::default().permissions(permissions).with(gix::sec::Trust::Full).open_path_as_is(true)
}

/// As a repository is opened that is shared.
fn shared() -> Options {
    options(isolated()).object_store_slots(gix::odb::store::init::Slots::Given(PACK_SLOTS))
}

/// A repository that was opened before, with no pack open.
pub(super) fn again(git_dir: &Path) -> Result<gix::ThreadSafeRepository, String> {
    shared().open(git_dir).map_err(|error| chain(&error))
}

/// The directory that all worktrees share.
fn common_dir(git_dir: &Path) -> std::io::Result<PathBuf> {
    match gix::discover::path::from_plain_file(&git_dir.join("commondir")) {
        None => Ok(git_dir.to_owned()),
        Some(path) => Ok(git_dir.join(path?)),
    }
}

/// Looks at the configuration before gix does, whose complaints would be less clear.
fn check_config(common: &Path) -> Result<(), OpenError> {
    let path = common.join("config");
    let unreadable = |source: String| OpenError::Unreadable { path: common.to_owned(), source: ReadFailed(source) };
    let config = gix::config::File::from_path_no_includes(path, gix::config::Source::Local)
        .map_err(|error| unreadable(chain(&error)))?;
    for section in config.sections_by_name("extensions").into_iter().flatten() {
        for name in section.value_names() {
            let value = section.value(&name).unwrap_or_default().to_string().to_ascii_lowercase();
            let name = name.to_ascii_lowercase();
            match (name.as_str(), value.as_str()) {
                ("objectformat", "sha1") | ("refstorage", "files") => {}
                ("objectformat", "sha256") => return Err(OpenError::Sha256),
                ("refstorage", "reftable") => return Err(OpenError::RefTable),
                ("partialclone", _) => return Err(OpenError::Partial),
                (name, _) if KNOWN_EXTENSIONS.contains(&name) => {}
                _ => return Err(OpenError::UnknownExtension(name)),
            }
        }
    }
    if let Ok(Some(version)) = config.integer("core.repositoryformatversion")
        && version > 1
    {
        return Err(OpenError::UnknownExtension(format!("core.repositoryFormatVersion {version}")));
    }
    for section in config.sections_by_name("remote").into_iter().flatten() {
        let promisor = section.value("promisor").map(|value| value.to_string().to_ascii_lowercase());
        let said = promisor.is_some_and(|value| !["false", "no", "off", "0"].contains(&value.as_str()));
        if said || section.value_names().any(|name| name.eq_ignore_ascii_case("partialclonefilter")) {
            return Err(OpenError::Partial);
        }
    }
    if matches!(config.boolean("core.bare"), Ok(Some(true))) && !is_linked(common) {
        return Err(OpenError::Bare);
    }
    Ok(())
}

/// Has a bare repository worktrees to work in?
fn is_linked(common: &Path) -> bool {
    common.join("worktrees").is_dir()
}

/// Is anything left out of it?
fn check_whole(repo: &Repository) -> Result<(), OpenError> {
    let common = repo.common_dir();
    if std::fs::metadata(common.join("shallow")).is_ok_and(|file| file.len() > 0) {
        return Err(OpenError::Shallow);
    }
    let grafts = std::fs::read_to_string(common.join("info").join("grafts")).unwrap_or_default();
    if grafts.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        return Err(OpenError::Grafts);
    }
    let promisor = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|name| name == "promisor");
    let packs = std::fs::read_dir(common.join("objects").join("pack"));
    if packs.into_iter().flatten().flatten().any(promisor) {
        return Err(OpenError::Partial);
    }
    let local = repo.local();
    let config = local.config_snapshot();
    let on = |key: &str| config.boolean(key) == Some(true);
    if on("index.sparse") && on("core.sparseCheckout") {
        return Err(OpenError::SparseIndex);
    }
    Ok(())
}

/// A setting of this person, where there is no repository to ask: git's system and global configuration.
pub fn global_config(key: &str) -> Option<String> {
    let file = gix::config::File::from_globals().ok()?;
    file.string(key).map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::Head;
    use crate::git::testing::{Fixture, branch, git_in};

    #[test]
    fn a_repository_is_found_from_anywhere_in_it() {
        let fixture = Fixture::new();
        fixture.commit("dir/sub/a", "1\n");
        let linked = fixture.beside("linked");
        fixture.git(&["worktree", "add", "-q", "-b", "work", linked.to_str().unwrap()]);
        let common = std::fs::canonicalize(fixture.dir().join(".git")).unwrap();
        for dir in [fixture.dir().to_owned(), fixture.dir().join("dir/sub"), linked.clone(), linked.join("dir")] {
            let repo = Repository::discover(&dir).unwrap();
            assert_eq!(std::fs::canonicalize(repo.common_dir()).unwrap(), common, "{}", dir.display());
            assert_eq!(repo.lansync_dir(), repo.common_dir().join("lansync"));
            let top = if dir.starts_with(&linked) { &linked } else { fixture.dir() };
            assert_eq!(repo.work_dir(), Some(std::fs::canonicalize(top).unwrap().as_path()));
            let worktrees = repo.worktrees().unwrap();
            let worktrees: Vec<_> = worktrees.iter().map(|path| std::fs::canonicalize(path).unwrap()).collect();
            assert_eq!(worktrees, [fixture.dir(), &linked].map(|path| std::fs::canonicalize(path).unwrap()));
        }
        assert!(matches!(Repository::discover(&fixture.beside("nowhere")), Err(OpenError::NotARepository(_))));
        assert!(matches!(Repository::discover(Path::new("/")), Err(OpenError::NotARepository(_))));
    }

    /// What is said about a repository after this was done to it.
    fn refused(spoil: impl Fn(&Fixture)) -> OpenError {
        let fixture = Fixture::new();
        fixture.commit("a", "1\n");
        spoil(&fixture);
        match Repository::discover(fixture.dir()) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error,
        }
    }

    fn refused_with(settings: &[(&str, &str)]) -> OpenError {
        refused(|fixture| {
            for (key, value) in settings {
                fixture.git(&["config", key, value]);
            }
        })
    }

    #[test]
    fn what_cannot_be_shared_is_refused_by_name() {
        assert!(matches!(refused_with(&[("core.bare", "true")]), OpenError::Bare));
        assert!(matches!(refused_with(&[("remote.origin.promisor", "true")]), OpenError::Partial));
        let filter = [("remote.origin.partialCloneFilter", "blob:none")];
        assert!(matches!(refused_with(&filter), OpenError::Partial));
        let version = [("extensions.fromTheFuture", "true"), ("core.repositoryFormatVersion", "1")];
        assert!(matches!(refused_with(&version), OpenError::UnknownExtension(name) if name == "fromthefuture"));
        assert!(matches!(refused_with(&[("core.repositoryFormatVersion", "2")]), OpenError::UnknownExtension(_)));
        let sparse = [("index.sparse", "true"), ("core.sparseCheckout", "true")];
        assert!(matches!(refused_with(&sparse), OpenError::SparseIndex));
        let promisor = refused(|fixture| {
            std::fs::write(fixture.dir().join(".git/objects/pack/pack-1.promisor"), "").unwrap();
        });
        assert!(matches!(promisor, OpenError::Partial));
        let grafts = refused(|fixture| {
            let id = fixture.rev("HEAD");
            std::fs::write(fixture.dir().join(".git/info/grafts"), format!("# bent\n{id}\n")).unwrap();
        });
        assert!(matches!(grafts, OpenError::Grafts));
        let broken = refused(|fixture| std::fs::write(fixture.dir().join(".git/config"), "[core").unwrap());
        assert!(matches!(broken, OpenError::Unreadable { .. }));
    }

    #[test]
    fn clones_that_lack_something_are_refused() {
        let fixture = Fixture::new();
        fixture.commit("a", "1\n");
        fixture.commit("a", "2\n");
        fixture.git(&["config", "uploadpack.allowFilter", "true"]);
        let url = format!("file://{}", fixture.dir().display());
        fixture.git(&["clone", "-q", "--depth=1", &url, "../shallow"]);
        fixture.git(&["clone", "-q", "--filter=blob:none", &url, "../partial"]);
        fixture.git(&["clone", "-q", "--bare", &url, "../bare"]);
        fixture.git(&["clone", "-q", &url, "../whole"]);
        assert!(matches!(Repository::discover(&fixture.beside("shallow")), Err(OpenError::Shallow)));
        assert!(matches!(Repository::discover(&fixture.beside("partial")), Err(OpenError::Partial)));
        assert!(matches!(Repository::discover(&fixture.beside("bare")), Err(OpenError::Bare)));
        assert!(Repository::discover(&fixture.beside("whole")).is_ok());
        git_in(&fixture.beside("bare"), &["worktree", "add", "-q", "../linked", "main"]);
        assert!(Repository::discover(&fixture.beside("linked")).is_ok(), "a worktree of a bare repository is one");
    }

    #[test]
    fn other_formats_are_refused() {
        let fixture = Fixture::new();
        fixture.git(&["init", "-q", "--object-format=sha256", "../sha256"]);
        fixture.git(&["init", "-q", "--ref-format=reftable", "../reftable"]);
        assert!(matches!(Repository::discover(&fixture.beside("sha256")), Err(OpenError::Sha256)));
        assert!(matches!(Repository::discover(&fixture.beside("reftable")), Err(OpenError::RefTable)));
        fixture.git(&["config", "core.repositoryFormatVersion", "1"]);
        fixture.git(&["config", "extensions.worktreeConfig", "true"]);
        fixture.git(&["config", "extensions.objectFormat", "sha1"]);
        assert!(Repository::discover(fixture.dir()).is_ok());
    }

    #[test]
    fn a_new_repository_is_one_for_git_too() {
        let fixture = Fixture::new();
        let dir = fixture.beside("new/one");
        let repo = Repository::init(&dir, &branch("trunk/x")).unwrap();
        assert_eq!(repo.head().unwrap(), Head::Unborn(branch("trunk/x")));
        assert_eq!(git_in(&dir, &["symbolic-ref", "HEAD"]), "refs/heads/trunk/x");
        assert_eq!(git_in(&dir, &["status", "--porcelain"]), "");
        assert!(matches!(Repository::init(&dir, &branch("main")), Err(OpenError::Exists(_))));
        let main = fixture.beside("main");
        assert_eq!(Repository::init(&main, &branch("main")).unwrap().head().unwrap(), Head::Unborn(branch("main")));
    }

    #[test]
    fn settings_are_read_afresh() {
        let fixture = Fixture::new();
        let repo = fixture.repo();
        assert_eq!(repo.config("lansync.handle"), None);
        fixture.git(&["config", "lansync.handle", "ana"]);
        fixture.git(&["config", "user.name", "Ana María"]);
        fixture.git(&["config", "lansync.joining", "no"]);
        assert_eq!(repo.config("lansync.handle").as_deref(), Some("ana"));
        assert_eq!(repo.config("user.name").as_deref(), Some("Ana María"));
        assert_eq!(repo.config_bool("lansync.joining"), Some(false));
        assert_eq!(repo.config_bool("lansync.other"), None);
        fixture.git(&["config", "lansync.joining", "perhaps"]);
        assert_eq!(repo.config_bool("lansync.joining"), None);
    }
}
