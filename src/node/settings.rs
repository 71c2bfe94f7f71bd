//! Settings of one repository: git config keys `lansync.*`, read afresh at each start.

use crate::git::Repository;
use crate::id::{BranchName, Handle};

/// Branches that never leave unless the user says otherwise.
const PRIVATE: [&str; 2] = ["private/*", "wip/*"];

/// What `lansync.*` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `lansync.handle`, else a slug of `user.name`, else of the login name.
    pub handle: Handle,
    /// `user.name`, for the others to read.
    pub name: String,
    /// `lansync.name`, else the name of the work tree's directory.
    pub project: String,
    /// `lansync.joining`: may strangers on this network ask to join? Default yes.
    pub joining: bool,
    /// `lansync.private`: patterns of branches that never leave, separated by commas or spaces.
    pub private: Vec<String>,
    /// `lansync.peer`: addresses that are always dialled, separated by commas or spaces.
    pub peers: Vec<String>,
}

impl Settings {
    /// Reads those of a repository.
    pub fn of(repo: &Repository) -> Self {
        let directory = repo.work_dir().and_then(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
        Self::read(|key| repo.config(key), directory)
    }

    /// Reads the person's own, for a repository that is still to be made in `dir`.
    pub fn before(dir: &std::path::Path) -> Self {
        let directory = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        Self::read(crate::git::global_config, directory)
    }

    fn read(config: impl Fn(&str) -> Option<String>, directory: Option<String>) -> Self {
        let list = |key: &str| -> Option<Vec<String>> {
            let text = config(key)?;
            let parts = text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
            Some(parts.map(str::to_owned).collect())
        };
        let login = || std::env::var("USER").or_else(|_| std::env::var("USERNAME")).ok();
        let name = config("user.name").or_else(login).unwrap_or_default();
        let chosen = config("lansync.handle").and_then(|handle| Handle::new(handle).ok());
        let handle = chosen.or_else(|| Handle::slug(&name)).or_else(|| Handle::slug(&login()?));
        let flag = |text: String| !matches!(text.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "0");
        Self {
            handle: handle.unwrap_or_else(|| Handle::new("somebody").expect("a slug")),
            name: clip(&name),
            project: clip(&config("lansync.name").or(directory).unwrap_or_else(|| "project".to_owned())),
            joining: config("lansync.joining").is_none_or(flag),
            private: list("lansync.private").unwrap_or_else(|| PRIVATE.map(str::to_owned).to_vec()),
            peers: list("lansync.peer").unwrap_or_default(),
        }
    }

    /// Does a pattern keep this branch here? `*` at the end of a pattern stands for anything.
    pub fn is_private(&self, branch: &BranchName) -> bool {
        self.private.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => branch.as_str().starts_with(start),
            None => branch.as_str() == pattern,
        })
    }
}

/// Without characters that a terminal would act on, and not longer than a title.
pub(crate) fn clip(text: &str) -> String {
    let mut clean: String =
        text.chars().filter(|c| !c.is_control() && !crate::id::is_bidi_override(*c)).collect::<String>();
    while clean.len() > crate::limits::TITLE_BYTES {
        clean.pop();
    }
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_patterns_keep_branches_here() {
        let settings = Settings {
            handle: Handle::new("ana").unwrap(),
            name: String::new(),
            project: "p".to_owned(),
            joining: true,
            private: vec!["wip/*".to_owned(), "secret".to_owned()],
            peers: vec![],
        };
        let is_private = |name: &str| settings.is_private(&BranchName::new(name).unwrap());
        assert!(is_private("wip/x") && is_private("secret"));
        assert!(!is_private("wipe") && !is_private("secrets") && !is_private("main"));
    }

    #[test]
    fn texts_of_others_are_cleaned() {
        assert_eq!(clip("a\u{1b}[31mb\u{202e}c\n"), "a[31mbc");
    }
}
