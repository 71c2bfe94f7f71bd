//! Noticing that refs moved, as the file system tells it.
//!
//! A sign says only "look again": events get lost and come twice, so nothing is read out of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{CreateKind, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::Repository;
use crate::limits::WATCH_DEBOUNCE;

/// A new directory is only watched once its creation was heard of, and a ref may be in it by then: another look
/// follows, this much later, and one more.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Why a repository cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The system watches no more directories for this user.
    #[error("too many directories are watched already (on Linux: fs.inotify.max_user_watches)")]
    TooMany,
    /// The system does not watch these.
    #[error("{0}")]
    System(#[source] notify::Error),
    /// No thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<notify::Error> for WatchError {
    fn from(error: notify::Error) -> Self {
        match error.kind {
            notify::ErrorKind::MaxFilesWatch => Self::TooMany,
            _ => Self::System(error),
        }
    }
}

/// Watches a repository's refs until it is dropped.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    thread: Option<JoinHandle<()>>,
}

/// What an event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    /// Refs may have moved.
    Moved,
    /// There is a new directory below `refs`.
    NewDir,
}

impl Watch {
    /// Calls `on_move`, on a thread of its own, soon after refs or a HEAD may have moved, in whichever worktree.
    ///
    /// # Errors
    /// [`WatchError`] where the file system does not tell.
    pub fn start(repo: &Repository, on_move: impl Fn() + Send + 'static) -> Result<Self, WatchError> {
        // Some systems name what changed by its real path.
        let common = std::fs::canonicalize(repo.common_dir()).unwrap_or_else(|_| repo.common_dir().to_owned());
        let (signs, told) = channel();
        let filter = Filter { common: common.clone() };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let sign = match event {
                Ok(event) => filter.sign(&event),
                // Whatever was lost may have been a move.
                Err(_) => Some(Sign::Moved),
            };
            if let Some(sign) = sign {
                send(&signs, sign);
            }
        })?;
        watcher.watch(&common, RecursiveMode::NonRecursive)?;
        watcher.watch(&common.join("refs"), RecursiveMode::Recursive)?;
        let worktrees = common.join("worktrees");
        if worktrees.is_dir() {
            watcher.watch(&worktrees, RecursiveMode::Recursive)?;
        }
        let thread = std::thread::Builder::new().name("lansync-watch".to_owned());
        let thread = thread.spawn(move || run(&told, &on_move)).map_err(WatchError::Thread)?;
        Ok(Self { watcher: Some(watcher), thread: Some(thread) })
    }
}

/// The other end is gone only while everything ends.
fn send(signs: &Sender<Sign>, sign: Sign) {
    let _ = signs.send(sign);
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Ends the channel, and with it the thread.
        drop(self.watcher.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Gathers signs, and calls once for those that come together.
fn run(told: &Receiver<Sign>, on_move: &impl Fn()) {
    let mut due: Vec<Instant> = Vec::new();
    loop {
        let sign = match due.iter().min() {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next) => told.recv_timeout(next.saturating_duration_since(Instant::now())),
        };
        let now = Instant::now();
        match sign {
            Ok(sign) => {
                if !due.iter().any(|at| *at <= now + WATCH_DEBOUNCE) {
                    due.push(now + WATCH_DEBOUNCE);
                }
                if sign == Sign::NewDir {
                    due.retain(|at| *at <= now + WATCH_DEBOUNCE);
                    due.extend(LOOK_AGAIN.map(|wait| now + wait));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                due.retain(|at| *at > now);
                on_move();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Tells events about refs from all others.
struct Filter {
    common: PathBuf,
}

impl Filter {
    fn sign(&self, event: &Event) -> Option<Sign> {
        if event.need_rescan() {
            return Some(Sign::Moved);
        }
        if matches!(event.kind, EventKind::Access(_)) || !event.paths.iter().any(|path| self.is_ref(path)) {
            return None;
        }
        let is_dir = match event.kind {
            EventKind::Create(CreateKind::File) => false,
            EventKind::Create(_) => event.paths.iter().any(|path| path.is_dir()),
            _ => false,
        };
        Some(if is_dir { Sign::NewDir } else { Sign::Moved })
    }

    /// May a change of this path move a ref?
    fn is_ref(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.common) else { return false };
        if path.extension() == Some(OsStr::new("lock")) {
            return false;
        }
        let mut names = below.iter();
        match names.next().and_then(OsStr::to_str) {
            Some("refs") => true,
            Some("HEAD" | "packed-refs") => names.next().is_none(),
            // The HEAD of a linked worktree.
            Some("worktrees") => below.file_name() == Some(OsStr::new("HEAD")),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
