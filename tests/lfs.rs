//! Git LFS, with the real `git-lfs`: the files that commits refer to travel with them, checked, and stand in the work tree
//! with their content.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{LONG, Person, content, lan_or_skip, wait_for, wait_until_equal};

/// How long a large file may take on a machine under load.
const LARGE: Duration = Duration::from_secs(60);

/// As `git lfs install` sets a person up.
fn install(who: &Person<'_>) {
    let installed = who.try_git(&["lfs", "install", "--skip-repo"]);
    assert!(installed.status.success(), "scripts/setup installs git-lfs: {installed:?}");
}

/// A project whose `*.bin` are kept by LFS, with one of them on main.
fn found(who: &Person<'_>, first: &[u8]) {
    install(who);
    who.repo("payroll");
    let _ = who.git(&["lfs", "track", "*.bin"]);
    let _ = who.git(&["add", ".gitattributes"]);
    commit(who, "logo.bin", first);
    assert_eq!(who.up()["how"], "founded");
}

fn commit(who: &Person<'_>, path: &str, bytes: &[u8]) -> String {
    fs::write(who.dir().join(path), bytes).expect("a writable file");
    let _ = who.git(&["add", path]);
    let _ = who.git(&["commit", "--quiet", "-m", &format!("Change {path}")]);
    who.rev("HEAD")
}

fn commit_on(who: &Person<'_>, branch: &str, path: &str, bytes: &[u8]) -> String {
    let _ = who.git(&["switch", "--quiet", "-c", branch, "main"]);
    let commit = commit(who, path, bytes);
    let _ = who.git(&["switch", "--quiet", "main"]);
    commit
}

/// All media files that git-lfs sees, by id.
fn media(who: &Person<'_>) -> Vec<String> {
    fn walk(dir: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), names);
            } else {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    let mut names = Vec::new();
    walk(&who.dir().join(".git/lfs/objects"), &mut names);
    names.sort();
    names
}

/// Where git-lfs keeps the media of a file of a commit.
fn stored(who: &Person<'_>, rev: &str, path: &str) -> PathBuf {
    let pointer = who.git(&["cat-file", "blob", &format!("{rev}:{path}")]);
    let id = pointer.lines().find_map(|line| line.strip_prefix("oid sha256:")).expect("a pointer");
    who.dir().join(".git/lfs/objects").join(&id[..2]).join(&id[2..4]).join(id)
}

/// The file holds this, git sees nothing to do, and git-lfs finds nothing wrong.
#[track_caller]
fn assert_checked_out(who: &Person<'_>, path: &str, bytes: &[u8]) {
    let found = fs::read(who.dir().join(path)).expect("it is checked out");
    assert!(found == bytes, "{} of {} has {} bytes", path, who.name, found.len());
    assert_eq!(who.git(&["status", "--porcelain"]), "");
    // Also where git does not trust what it remembers of the files.
    let _ = fs::remove_file(who.dir().join(".git/index"));
    let _ = who.git(&["reset", "--quiet"]);
    assert_eq!(who.git(&["status", "--porcelain"]), "");
    let _ = who.git(&["lfs", "fsck"]);
    who.fsck();
}

#[test]
fn the_files_travel_with_the_commits_and_are_checked_out() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo, on_cy) = (lan.host("ana"), lan.host("bo"), lan.host("cy"));
    let (ana, bo, cy) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"), Person::on(&on_cy, "cy"));
    let (first, second) = (content(1, 3_000_000), content(2, 2_000_000));
    found(&ana, &first);
    install(&bo);
    bo.join(&ana, "payroll", "contributor");
    assert_checked_out(&bo, "logo.bin", &first);

    // Before it lands the proposal's file is with whoever is to approve it.
    let tip = commit_on(&bo, "fix", "logo.bin", &second);
    wait_for("the proposal", LONG, || ana.has("bo/fix", &tip));
    wait_for("its file", LONG, || stored(&ana, &tip, "logo.bin").is_file());
    let main = ana.land("bo/fix");
    for who in [&ana, &bo] {
        wait_for("the clean local main moves", LONG, || who.rev("main") == main);
        assert_checked_out(who, "logo.bin", &second);
    }

    // A third has all of it from one who did not make it, and nothing of what is history.
    bo.down();
    install(&cy);
    cy.join(&ana, "payroll", "contributor");
    assert_checked_out(&cy, "logo.bin", &second);
    assert_eq!(media(&cy).len(), 1, "older files come when they are asked for");
    let fetched = cy.lansync(&["--json", "lfs", "HEAD~1"]).json();
    assert_eq!((&fetched["files"], &fetched["fetched"], &fetched["missing"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(fetched["bytes"], 3_000_000);
    let _ = cy.git(&["checkout", "--quiet", "--detach", "HEAD~1"]);
    assert_checked_out(&cy, "logo.bin", &first);
    let again = cy.lansync(&["--json", "lfs", "--all", "main"]).json();
    assert_eq!((&again["files"], &again["fetched"]), (&2.into(), &0.into()));
}

#[test]
fn from_whoever_has_them_and_nothing_moves_before() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo, on_cy) = (lan.host("ana"), lan.host("bo"), lan.host("cy"));
    let (ana, bo, cy) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"), Person::on(&on_cy, "cy"));
    let (first, second) = (content(3, 200_000), content(4, 300_000));
    found(&ana, &first);
    for who in [&bo, &cy] {
        install(who);
        who.join(&ana, "payroll", "contributor");
    }
    bo.down();
    let before = bo.rev("main");
    let tip = commit_on(&ana, "new", "logo.bin", &second);
    wait_for("cy has the proposal", LONG, || cy.has("ana/new", &tip));
    wait_for("cy has its file", LONG, || stored(&cy, &tip, "logo.bin").is_file());
    let main = ana.land("ana/new");
    assert_eq!(wait_until_equal(&[&ana, &cy]), main);
    // Cy's is damaged, as a disk would: of the right length, one bit is wrong.
    let (at_cy, whole) = (stored(&cy, &tip, "logo.bin"), second.clone());
    let mut damaged = second.clone();
    damaged[150_000] ^= 1;
    let replace = |path: &Path, bytes: &[u8]| {
        let _ = fs::remove_file(path);
        fs::write(path, bytes).expect("writable");
    };
    replace(&at_cy, &damaged);
    ana.down();
    let watch = {
        let _ = bo.up();
        bo.start(&["--json", "up"])
    };
    wait_for("bo is told that it was refused", LONG, || watch.stdout().contains("is not what its pointer says"));
    wait_for("lansync/main has moved", LONG, || bo.canonical().as_ref() == Some(&main));
    wait_for("why main stays is said", LONG, || {
        bo.branch("main")["not_pulled"].as_str().is_some_and(|why| why.contains("logo.bin"))
    });
    assert_eq!(bo.rev("main"), before);
    assert!(!stored(&bo, &tip, "logo.bin").exists());
    assert_checked_out(&bo, "logo.bin", &first);
    // Somebody who has it whole comes back.
    let _ = ana.up();
    wait_for("main moves when its file has come", LONG, || bo.rev("main") == main);
    assert_checked_out(&bo, "logo.bin", &whole);
}

#[test]
fn killed_in_the_middle_nothing_is_half_there() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    found(&ana, &content(5, 1_000));
    install(&bo);
    bo.join(&ana, "payroll", "contributor");
    let large = content(6, 100_000_000);
    let tip = commit_on(&ana, "large", "film.bin", &large);
    let halves = bo.dir().join(".git/lansync/media");
    let half = || -> Option<u64> {
        let entry = fs::read_dir(&halves).ok()?.flatten().next()?;
        Some(entry.metadata().ok()?.len()).filter(|len| *len > 0)
    };
    wait_for("a part of it has come", LARGE, || half().is_some());
    bo.kill();
    let came = half();
    println!("killed with {came:?} of {} bytes", large.len());
    assert!(came.is_some_and(|len| len < large.len() as u64), "it was to be killed in the middle: {came:?}");
    assert_eq!(media(&bo).len(), 1, "git-lfs sees nothing of it");
    let _ = bo.git(&["lfs", "fsck"]);

    let _ = bo.up();
    wait_for("the proposal", LONG, || bo.has("ana/large", &tip));
    wait_for("the rest has come", LARGE, || media(&bo).len() == 2);
    assert_eq!(half(), None);
    let main = ana.land("ana/large");
    wait_for("the clean local main moves", LARGE, || bo.rev("main") == main);
    assert_checked_out(&bo, "film.bin", &large);
}
