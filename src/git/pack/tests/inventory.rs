//! What is written down of a history, and packs made with it.

use std::path::PathBuf;

use super::*;

/// Of 5,000 files and 300 commits, so that it is written down.
fn history() -> (Fixture, PathBuf) {
    let fixture = many(5_000, 300);
    fixture.git(&["tag", "-a", "-m", "Old", "old", "main~200"]);
    fixture.git(&["tag", "blob", "main:d0/e0/f0"]);
    fixture.git(&["branch", "before", "main~100"]);
    let written = fixture.dir().join(".git/lansync/inventory");
    (fixture, written)
}

fn list(fixture: &Fixture, want: &[&str]) -> BTreeSet<String> {
    let ids: Vec<ObjectId> = want.iter().map(|name| fixture.rev(name)).collect();
    let mut pack = Vec::new();
    fixture.repo().write_pack(&ids, &[], &mut pack, &AtomicBool::new(false)).expect("a pack");
    listed(&Fixture::new(), &pack)
}

#[test]
fn what_is_written_down_changes_no_pack() {
    let (fixture, written) = history();
    assert!(!written.exists());
    assert_eq!(list(&fixture, &["before"]), fixture.reachable(&["before"]));
    let first = std::fs::read(&written).expect("it was written down");
    // With what came since, with tags, from an older commit of which more is written down, and that again.
    fixture.commit("more/file", "new\n");
    for want in [&["main"][..], &["main", "old"], &["before", "old"], &["main~150"], &["main"], &["blob", "main"]] {
        assert_eq!(list(&fixture, want), fixture.reachable(want), "{want:?}");
    }
    let second = std::fs::read(&written).expect("it was written down");
    assert_ne!(first, second, "an older commit was asked for, so that was written down");
    // Damaged, it is as if it were not there.
    std::fs::write(&written, &second[..second.len() - 1]).expect("written");
    assert_eq!(list(&fixture, &["main"]), fixture.reachable(&["main"]));
    assert_ne!(std::fs::read(&written).expect("anew").len(), second.len() - 1);
}

#[test]
fn what_is_not_worth_it_is_not_written_down() {
    let fixture = ordinary();
    assert_eq!(list(&fixture, &["main"]), fixture.reachable(&["main"]));
    assert!(!fixture.dir().join(".git/lansync/inventory").exists());
    // What only a tag of a file holds is not part of what commits reach.
    let (fixture, written) = history();
    assert_eq!(list(&fixture, &["main", "blob"]), fixture.reachable(&["main", "blob"]));
    assert!(!written.exists());
}

#[test]
fn a_look_at_the_history_writes_it_down() {
    let (fixture, written) = history();
    let tip = fixture.rev("main");
    fixture.repo().check_history(&[tip], &[], &AtomicBool::new(false)).expect("nothing is wrong with it");
    let looked = std::fs::read(&written).expect("it was written down");
    std::fs::remove_file(&written).expect("removed");
    assert_eq!(list(&fixture, &["main"]), fixture.reachable(&["main"]));
    assert_eq!(std::fs::read(&written).expect("it was written down"), looked);
}

#[test]
fn an_object_that_went_since_is_missed() {
    let (fixture, _) = history();
    list(&fixture, &["main"]);
    let gone = fixture.rev("main:d3/e3");
    let packs = fixture.dir().join(".git/objects/pack");
    let files: Vec<PathBuf> = std::fs::read_dir(&packs).unwrap().flatten().map(|entry| entry.path()).collect();
    let pack = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap();
    let bytes = std::fs::read(pack).unwrap();
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert!(fixture.git_with(&["unpack-objects", "-q"], &bytes).status.success());
    std::fs::remove_file(fixture.loose(&gone)).unwrap();
    let result = fixture.repo().write_pack(&[fixture.rev("main")], &[], &mut Vec::new(), &AtomicBool::new(false));
    assert!(matches!(result, Err(PackError::Missing(id)) if id == gone), "{result:?}");
}
