//! Where packs lie: in linked work trees, with alternates, and what a killed process leaves.

use super::*;

#[test]
fn linked_worktrees_and_alternates_work() {
    let (from, lender) = (history(), Fixture::new());
    let (tip, middle) = (from.rev("main"), from.rev("main~2"));
    take(&lender.repo(), &pack_from(&from, &[middle], &[]), &[middle], &[]).unwrap().adopt().unwrap().release();
    lender.git(&["update-ref", "refs/heads/main", &middle.to_string()]);
    let to = Fixture::new();
    let alternates = to.dir().join(".git/objects/info/alternates");
    std::fs::write(alternates, format!("{}\n", lender.dir().join(".git/objects").display())).unwrap();
    to.git(&["update-ref", "refs/heads/main", &middle.to_string()]);
    let linked = to.beside("linked");
    to.git(&["worktree", "add", "-q", "-b", "work", linked.to_str().unwrap(), "main"]);
    let repo = Repository::discover(&linked).unwrap();
    assert!(repo.connected(&[middle], &[]).unwrap());
    let pack = pack_from(&from, &[tip], &[middle]);
    take(&repo, &pack, &[tip], &[middle]).unwrap().adopt().unwrap().release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
    let back = pack_from(&to, &[tip], &[]);
    take(&Fixture::new().repo(), &back, &[tip], &[]).expect("what is borrowed is served too");
}

#[test]
fn a_start_cleans_up_what_a_killed_process_left() {
    let (from, to) = (history(), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let pack = pack_from(&from, &[tip], &[]);
    let in_hand = take(&repo, &pack, &[tip], &[]).unwrap();
    let adopted = take(&repo, &pack_from(&from, &[from.rev("main~1")], &[]), &[from.rev("main~1")], &[]).unwrap();
    let adopted = adopted.adopt().unwrap();
    let kept = adopted.packs[0].clone().with_extension("keep");
    let left = to.dir().join(".git/lansync/quarantine/1-1/pack");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("incoming.pack"), b"half").unwrap();
    let packs = to.dir().join(".git/objects/pack");
    let ours = std::fs::read(&kept).unwrap();
    for (name, text) in [("pack-1.keep", ours.as_slice()), ("pack-1.pack", b"half"), ("pack-2.keep", b"mine")] {
        std::fs::write(packs.join(name), text).unwrap();
    }
    repo.clean_quarantine();
    assert!(!left.exists() && !packs.join("pack-1.keep").exists() && !packs.join("pack-1.pack").exists());
    assert!(packs.join("pack-2.keep").exists(), "somebody else's");
    assert!(kept.exists(), "still needed");
    adopted.release();
    drop(in_hand.adopt().expect("still there"));
}
