//! Is git keeping house here right now?
//!
//! Git's own housekeeping takes packs away and prunes, and what it does not expect to vanish meanwhile makes it fail.
//! It says little of itself: `git gc` and `git maintenance` leave a lock, all of them temporary files while they
//! write. On Linux the processes are looked at too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::git::Repository;

/// A lock that is older was left by a process that is gone: git thinks so too.
const LOCK_OLD: Duration = Duration::from_secs(12 * 60 * 60);
/// A temporary file that nothing was written to for this long is nobody's any more.
const FILE_OLD: Duration = Duration::from_secs(10 * 60);

impl Repository {
    /// Who keeps house in this repository at this moment, as far as it shows: the file or the process.
    pub fn housekeeper(&self) -> Option<String> {
        let common = self.common_dir();
        let objects = common.join("objects");
        if is_gc_locked(&common.join("gc.pid")) {
            return Some("gc.pid".to_owned());
        }
        let lock = objects.join("maintenance.lock");
        if is_younger(&lock, LOCK_OLD) {
            return Some("maintenance.lock".to_owned());
        }
        let writing = std::fs::read_dir(objects.join("pack")).into_iter().flatten().flatten().find(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let temporary = name.starts_with("tmp_") || name.starts_with(".tmp-") || name.ends_with(".lock");
            temporary && !name.starts_with(super::TEMPORARY) && is_younger(&entry.path(), FILE_OLD)
        });
        if let Some(entry) = writing {
            return Some(entry.file_name().to_string_lossy().into_owned());
        }
        let mut places: Vec<PathBuf> = vec![common.to_owned()];
        places.extend(self.worktrees().unwrap_or_default());
        process(&places)
    }
}

/// `gc.pid` says which process on which machine; one of this machine that is gone holds nothing.
fn is_gc_locked(path: &Path) -> bool {
    if !is_younger(path, LOCK_OLD) {
        return false;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut words = text.split_whitespace();
    let pid = words.next().and_then(|pid| pid.parse::<u32>().ok());
    match (pid, words.next(), this_machine()) {
        (Some(pid), Some(there), Some(here)) if there == here => Path::new("/proc").join(pid.to_string()).exists(),
        _ => true,
    }
}

/// This machine's name, where processes can be asked for.
fn this_machine() -> Option<String> {
    Some(std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned())
}

fn is_younger(path: &Path, age: Duration) -> bool {
    let Ok(modified) = path.metadata().and_then(|metadata| metadata.modified()) else { return false };
    // A time in the future is young.
    modified.elapsed().map_or(true, |elapsed| elapsed < age)
}

/// What git runs to keep house; `rev-list` and the like only read.
#[cfg(target_os = "linux")]
const HOUSEKEEPING: [&str; 7] =
    ["gc", "maintenance", "repack", "pack-objects", "prune", "prune-packed", "multi-pack-index"];

/// A process of git's that keeps house in one of these directories.
#[cfg(target_os = "linux")]
fn process(places: &[PathBuf]) -> Option<String> {
    let places: Vec<PathBuf> = places.iter().filter_map(|place| place.canonicalize().ok()).collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(words) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let mut words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let program = words.next().unwrap_or_default();
        if program.rsplit('/').next().is_none_or(|name| !name.starts_with("git")) {
            continue;
        }
        // Options that stand before the command are passed over.
        let Some(command) = words.find(|word| HOUSEKEEPING.contains(&word.as_ref())) else { continue };
        // Those of other people, and those that are ending, cannot be asked.
        let Ok(at) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        if places.iter().any(|place| at.starts_with(place)) {
            return Some(format!("git {command}"));
        }
    }
    None
}

#[cfg(not(target_os = "linux"))]
fn process(_places: &[PathBuf]) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::Fixture;

    #[test]
    fn locks_and_temporary_files_are_seen_until_their_owner_is_gone() {
        let fixture = Fixture::new();
        fixture.commit("a", "1\n");
        let repo = fixture.repo();
        assert_eq!(repo.housekeeper(), None);
        let objects = fixture.dir().join(".git/objects");
        let files =
            [objects.join("maintenance.lock"), objects.join("pack/tmp_pack_abc"), objects.join("pack/.tmp-1-pack-2")];
        for file in &files {
            std::fs::write(file, "").unwrap();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(repo.housekeeper(), Some(name));
            let long_ago = std::fs::metadata(file).unwrap().modified().unwrap() - 2 * LOCK_OLD;
            std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
            assert_eq!(repo.housekeeper(), None, "left long ago");
        }
        let pid = fixture.dir().join(".git/gc.pid");
        std::fs::write(&pid, "1 another-machine").unwrap();
        assert_eq!(repo.housekeeper().as_deref(), Some("gc.pid"));
        if let Some(here) = this_machine() {
            std::fs::write(&pid, format!("{} {here}", std::process::id())).unwrap();
            assert_eq!(repo.housekeeper().as_deref(), Some("gc.pid"));
            std::fs::write(&pid, format!("4294967295 {here}")).unwrap();
            assert_eq!(repo.housekeeper(), None, "no such process");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_repack_that_only_reads_as_yet_is_seen() {
        use std::process::{Command, Stdio};
        let fixture = Fixture::new();
        fixture.commit("a", "1\n");
        let (repo, other) = (fixture.repo(), Fixture::new());
        // It waits for names of objects, and has written nothing.
        let mut packing = Command::new("git");
        packing.args(["-c", "pack.threads=1", "pack-objects", "--stdout"]).current_dir(fixture.dir());
        let mut packing = packing.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = std::time::Instant::now();
        while repo.housekeeper().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not seen");
            std::thread::yield_now();
        }
        assert_eq!(repo.housekeeper().as_deref(), Some("git pack-objects"));
        assert_eq!(other.repo().housekeeper(), None, "it is in another repository");
        drop(packing.stdin.take());
        packing.wait().unwrap();
        assert_eq!(repo.housekeeper(), None);
    }
}
