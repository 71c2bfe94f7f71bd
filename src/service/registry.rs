//! The repositories that this person shares, so that a service that starts again shares them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::ProjectId;
use crate::node::place::write_whole;

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// Directory (a work tree) to whether it is shared now.
    repositories: BTreeMap<PathBuf, bool>,
    /// Projects that this identity was admitted to, in hex: joining them again needs no question.
    #[serde(default)]
    projects: Vec<String>,
}

/// The list, on disk after each change. Losing it loses nothing but convenience.
#[derive(Debug)]
pub(super) struct Registry {
    path: PathBuf,
    file: File,
}

impl Registry {
    /// Reads it; one that cannot be read is begun afresh.
    pub(super) fn load(path: PathBuf) -> Self {
        let read = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, file: read.unwrap_or_default() }
    }

    fn save(&self) {
        let written = serde_json::to_vec_pretty(&self.file)
            .map_err(std::io::Error::other)
            .and_then(|bytes| write_whole(&self.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "the list of repositories could not be written");
        }
    }

    /// Repositories to share when the service starts.
    pub(super) fn shared(&self) -> Vec<PathBuf> {
        self.file.repositories.iter().filter(|(_, shared)| **shared).map(|(dir, _)| dir.clone()).collect()
    }

    pub(super) fn set(&mut self, dir: &Path, shared: bool) {
        if self.file.repositories.insert(dir.to_owned(), shared) != Some(shared) {
            self.save();
        }
    }

    pub(super) fn forget(&mut self, dir: &Path) {
        if self.file.repositories.remove(dir).is_some() {
            self.save();
        }
    }

    pub(super) fn knows(&self, project: &ProjectId) -> bool {
        self.file.projects.contains(&project.to_string())
    }

    pub(super) fn admitted(&mut self, project: &ProjectId) {
        if !self.knows(project) {
            self.file.projects.push(project.to_string());
            self.save();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_and_survives_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry");
        let mut registry = Registry::load(path.clone());
        registry.set(Path::new("/a"), true);
        registry.set(Path::new("/b"), true);
        registry.set(Path::new("/b"), false);
        registry.admitted(&ProjectId([7; 32]));
        let again = Registry::load(path.clone());
        assert_eq!(again.shared(), [PathBuf::from("/a")]);
        assert!(again.knows(&ProjectId([7; 32])) && !again.knows(&ProjectId([8; 32])));
        std::fs::write(&path, b"not json").unwrap();
        assert!(Registry::load(path).shared().is_empty());
    }
}
