//! Packs from friends and from others.

mod forms;
mod fsck;
mod order;
mod places;
mod portions;
mod resume;
mod thin;

use std::path::Path;
use std::time::Instant;

use gix::objs::Kind;

use super::*;
use crate::git::testing::{Fixture, commit_of, id_of, many, pack_of, raw_entry, raw_pack, say, seal, tree_of};

fn take(
    repo: &Repository,
    mut pack: &[u8],
    wants: &[ObjectId],
    haves: &[ObjectId],
) -> Result<Quarantined, PackRefused> {
    take_with(repo, &mut pack, wants, haves, &PackLimits::default())
}

fn take_with(
    repo: &Repository,
    pack: &mut dyn BufRead,
    wants: &[ObjectId],
    haves: &[ObjectId],
    limits: &PackLimits,
) -> Result<Quarantined, PackRefused> {
    repo.receive_pack(pack, wants, haves, limits, &|_| {}, &AtomicBool::new(false))
}

fn pack_from(fixture: &Fixture, want: &[ObjectId], have: &[ObjectId]) -> Vec<u8> {
    let mut pack = Vec::new();
    fixture.repo().write_pack(want, have, &mut pack, &AtomicBool::new(false)).expect("a pack");
    pack
}

/// Files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Nothing came in and nothing stayed in quarantine.
fn untouched(fixture: &Fixture, before: &[PathBuf]) {
    let mut now = files(&fixture.dir().join(".git/objects"));
    now.sort();
    let mut before = before.to_vec();
    before.sort();
    assert_eq!(now, before);
    assert_eq!(files(&fixture.dir().join(".git/lansync/quarantine")), Vec::<PathBuf>::new());
}

fn history() -> Fixture {
    let fixture = Fixture::new();
    for at in 0..6 {
        fixture.commit(&format!("d{}/f", at % 3), &format!("content {at}\n").repeat(40));
    }
    fixture
}

#[test]
fn what_is_adopted_is_whole_and_git_agrees() {
    let (from, to) = (history(), Fixture::new());
    let (tip, middle) = (from.rev("main"), from.rev("main~2"));
    let repo = to.repo();
    for (want, have) in [(middle, vec![]), (tip, vec![middle])] {
        let pack = pack_from(&from, &[want], &have);
        let quarantined = take(&repo, &pack, &[want], &have).expect("a good pack");
        assert!(!repo.has(&want) && !to.repo().has(&want), "nothing shows before it is adopted");
        assert!(!to.git_with(&["cat-file", "-e", &want.to_string()], b"").status.success());
        let count = quarantined.objects();
        let adopted = quarantined.adopt().expect("it can be moved");
        assert_eq!((adopted.objects, adopted.bytes), (count, pack.len() as u64));
        let path = adopted.packs[0].clone();
        assert!(path.with_extension("keep").exists() && path.with_extension("idx").exists());
        assert!(repo.has(&want), "an open repository sees it");
        to.git(&["update-ref", "refs/heads/main", &want.to_string()]);
        adopted.release();
        assert!(!path.with_extension("keep").exists());
        to.fsck();
    }
    assert_eq!(to.reachable(&["main"]), from.reachable(&["main"]));
    assert!(repo.connected(&[tip], &[]).unwrap());
    to.git(&["gc", "-q", "--prune=now"]);
    to.fsck();
    assert!(repo.has(&tip), "also after git packed everything anew");
}

#[test]
fn the_same_pack_may_come_twice() {
    let (from, to) = (history(), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let pack = pack_from(&from, &[tip], &[]);
    let first = take(&repo, &pack, &[tip], &[]).unwrap().adopt().unwrap();
    let second = take(&repo, &pack, &[tip], &[tip]).unwrap().adopt().unwrap();
    assert_ne!(first.packs, second.packs, "a git that runs may be about to take the first away");
    second.release();
    assert!(first.packs[0].with_extension("keep").exists(), "the first still needs it");
    let again = take(&repo, &pack_from(&from, &[tip], &[from.rev("main~1")]), &[tip], &[from.rev("main~1")]).unwrap();
    drop(again.adopt().unwrap());
    drop(first);
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
}

#[test]
fn an_open_repository_sees_every_pack_that_comes() {
    // More than gix has room for unless it is told.
    let (from, to) = (Fixture::new(), Fixture::new());
    let repo = to.repo();
    let mut before = Vec::new();
    for at in 0..80 {
        let tip = from.commit("a", &format!("{at}\n"));
        let pack = pack_from(&from, &[tip], &before);
        take(&repo, &pack, &[tip], &before).unwrap().adopt().unwrap().release();
        assert!(repo.has(&tip), "pack {at}");
        before = vec![tip];
    }
    assert!(repo.connected(&before, &[]).unwrap());
}

#[test]
fn no_damaged_pack_is_taken() {
    let (from, to) = (history(), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    from.git(&["repack", "-adfq", "--depth=50"]);
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
    let with_deltas = files(&from.dir().join(".git/objects/pack")).into_iter().find(is_pack).unwrap();
    let packs = [std::fs::read(with_deltas).unwrap(), pack_from(&from, &[tip], &[])];
    let before = files(&to.dir().join(".git/objects"));
    let (mut refused, mut equal) = (0, 0);
    for pack in packs {
        for at in (0..pack.len()).step_by(11) {
            {
                let bit = at % 8;
                let mut bad = pack.clone();
                bad[at] ^= 1 << bit;
                let result = take(&repo, &bad, &[tip], &[]);
                assert!(result.is_err_and(|why| why.is_peers_fault()), "byte {at}, bit {bit}");
                refused += 1;
                if at >= pack.len() - 20 {
                    continue;
                }
                // Whoever damages it on purpose makes the checksum right again.
                bad.truncate(bad.len() - 20);
                seal(&mut bad);
                match take(&repo, &bad, &[tip], &[]) {
                    Err(why) => {
                        assert!(why.is_peers_fault(), "byte {at}, bit {bit}: {why}");
                        refused += 1;
                    }
                    // The same bytes can be compressed in more than one way. Then git has to agree.
                    Ok(taken) => {
                        let other = Fixture::new();
                        drop(taken);
                        take(&other.repo(), &bad, &[tip], &[]).unwrap().adopt().unwrap().release();
                        other.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
                        other.fsck();
                        equal += 1;
                    }
                }
            }
            let result = take(&repo, &pack[..at], &[tip], &[]);
            assert!(matches!(result, Err(PackRefused::BadPack(_))), "cut at {at}");
        }
        for tail in [b"x".as_slice(), b"PACK", &pack] {
            let result = take(&repo, &[&pack, tail].concat(), &[tip], &[]);
            assert!(matches!(result, Err(PackRefused::TrailingBytes)));
        }
        untouched(&to, &before);
        take(&repo, &pack, &[tip], &[]).expect("undamaged it is fine");
    }
    say(&format!("{refused} damaged packs refused; {equal} said the same in other bytes"));
}

#[test]
fn a_slow_sender_is_no_bad_sender() {
    struct Drops<'a>(&'a [u8]);
    impl std::io::Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let amount = out.len().min(1);
            self.0.read(&mut out[..amount])
        }
    }
    impl BufRead for Drops<'_> {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            Ok(&self.0[..self.0.len().min(1)])
        }
        fn consume(&mut self, amount: usize) {
            self.0 = &self.0[amount..];
        }
    }
    let (from, to) = (history(), Fixture::new());
    let tip = from.rev("main");
    let pack = pack_from(&from, &[tip], &[]);
    take_with(&to.repo(), &mut Drops(&pack), &[tip], &[], &PackLimits::default()).expect("one byte at a time");
}

#[test]
fn the_pack_of_nothing_is_fine_where_nothing_is_needed() {
    let fixture = history();
    let (repo, tip) = (fixture.repo(), fixture.rev("main"));
    let nothing = pack_of(&[]);
    let adopted = take(&repo, &nothing, &[tip], &[tip]).unwrap().adopt().unwrap();
    assert_eq!((adopted.objects, adopted.packs.len()), (0, 0));
    adopted.release();
    // That it happens to lie here is not that it came from there: it may be a private commit.
    assert!(matches!(take(&repo, &nothing, &[tip], &[]), Err(PackRefused::MissingObject(_))));
    let unknown = ObjectId::Sha1([3; 20]);
    assert!(matches!(take(&repo, &nothing, &[unknown], &[]), Err(PackRefused::MissingObject(id)) if id == unknown));
    let mut bad = nothing.clone();
    bad[31] ^= 1;
    assert!(matches!(take(&repo, &bad, &[tip], &[]), Err(PackRefused::BadPack(_))));
    assert!(matches!(take(&repo, &[&nothing, b"x".as_slice()].concat(), &[tip], &[]), Err(PackRefused::TrailingBytes)));
}

/// A pack of one commit with this tree, and a file; with the commit.
fn one_commit(tree: &[u8]) -> (Vec<u8>, ObjectId) {
    let tree_id = id_of(Kind::Tree, tree);
    let commit = commit_of(tree_id, &[]);
    let id = id_of(Kind::Commit, &commit);
    (pack_of(&[(Kind::Blob, b"x".to_vec()), (Kind::Tree, tree.to_vec()), (Kind::Commit, commit)]), id)
}

#[test]
fn hostile_trees_are_refused() {
    let to = Fixture::new();
    let (repo, file) = (to.repo(), id_of(Kind::Blob, b"x"));
    let before = files(&to.dir().join(".git/objects"));
    let hostile = [
        (vec![("100644", ".git", file)], BadTree::DotGit),
        (vec![("100644", ".GiT", file)], BadTree::DotGit),
        (vec![("100644", "git~1", file)], BadTree::DotGit),
        (vec![("100644", ".g\u{200c}it", file)], BadTree::DotGit),
        (vec![("100644", "..", file)], BadTree::Dots),
        (vec![("100644", "a/../../b", file)], BadTree::Slash),
        (vec![("120000", ".gitmodules", file)], BadTree::GitModulesLink),
        (vec![("100644", "a", file), ("100644", "a", file)], BadTree::Duplicate),
        (vec![("100644", "b", file), ("100644", "a", file)], BadTree::Order),
        (vec![("104000", "a", file)], BadTree::Mode),
    ];
    for (entries, why) in hostile {
        let (pack, tip) = one_commit(&tree_of(&entries));
        match take(&repo, &pack, &[tip], &[]) {
            Err(PackRefused::BadTree { why: found, .. }) => assert_eq!(found, why),
            other => panic!("{why:?}: {:?}", other.err()),
        }
        // Also deep inside.
        let inner = tree_of(&entries);
        let inner_id = id_of(Kind::Tree, &inner);
        let outer = tree_of(&[("40000", "sub", inner_id)]);
        let (outer_pack, tip) = one_commit(&outer);
        assert!(matches!(take(&repo, &outer_pack, &[tip], &[]), Err(PackRefused::MissingObject(id)) if id == inner_id));
    }
    untouched(&to, &before);
    let inner = tree_of(&[("100644", ".git", file)]);
    let inner_id = to.object("tree", &inner);
    let (pack, tip) = one_commit(&tree_of(&[("40000", "sub", inner_id)]));
    let result = take(&repo, &pack, &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::MissingObject(id)) if id == inner_id), "it only lies here");
}

#[test]
fn trees_nested_without_end_are_refused() {
    let to = Fixture::new();
    let mut objects = vec![(Kind::Blob, b"x".to_vec())];
    let mut tree = tree_of(&[("100644", "f", id_of(Kind::Blob, b"x"))]);
    for _ in 0..5_000 {
        let id = id_of(Kind::Tree, &tree);
        objects.push((Kind::Tree, tree));
        tree = tree_of(&[("40000", "d", id)]);
    }
    let commit = commit_of(id_of(Kind::Tree, &tree), &[]);
    let tip = id_of(Kind::Commit, &commit);
    objects.extend([(Kind::Tree, tree), (Kind::Commit, commit)]);
    let result = take(&to.repo(), &pack_of(&objects), &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::BadTree { why: BadTree::TooDeep, .. })), "{:?}", result.err());
}

#[test]
fn every_object_has_to_be_there_and_be_what_it_is_used_as() {
    let to = Fixture::new();
    let repo = to.repo();
    let (file, gone) = (id_of(Kind::Blob, b"x"), ObjectId::Sha1([5; 20]));
    let missing = |pack: (Vec<u8>, ObjectId)| match take(&repo, &pack.0, &[pack.1], &[]) {
        Err(PackRefused::MissingObject(id)) => id,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(missing(one_commit(&tree_of(&[("100644", "a", gone)]))), gone);
    assert_eq!(missing(one_commit(&tree_of(&[("40000", "a", gone)]))), gone);
    let tree = tree_of(&[("100644", "a", file)]);
    let tree_id = id_of(Kind::Tree, &tree);
    let orphan = commit_of(tree_id, &[gone]);
    let orphan_id = id_of(Kind::Commit, &orphan);
    let pack = pack_of(&[(Kind::Blob, b"x".to_vec()), (Kind::Tree, tree.clone()), (Kind::Commit, orphan)]);
    assert_eq!(missing((pack, orphan_id)), gone);
    // Files as directories, directories as files, both, trees as commits.
    let confused = [
        tree_of(&[("40000", "a", file)]),
        tree_of(&[("100644", "a", file), ("40000", "b", file)]),
        tree_of(&[("40000", "a", file), ("100644", "b", file)]),
    ];
    for tree in confused {
        let (pack, tip) = one_commit(&tree);
        let result = take(&repo, &pack, &[tip], &[]);
        assert!(matches!(result, Err(PackRefused::BadObject { .. })), "{:?}", result.err());
    }
    let outer = tree_of(&[("100644", "a", tree_id)]);
    let outer_commit = commit_of(id_of(Kind::Tree, &outer), &[]);
    let tip = id_of(Kind::Commit, &outer_commit);
    let objects = [(Kind::Blob, b"x".to_vec()), (Kind::Tree, tree), (Kind::Tree, outer), (Kind::Commit, outer_commit)];
    let result = take(&repo, &pack_of(&objects), &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::BadObject { id, .. }) if id == tree_id), "{:?}", result.err());
    let child = commit_of(tree_id, &[tree_id]);
    let child_id = id_of(Kind::Commit, &child);
    let pack = pack_of(&[objects[0].clone(), objects[1].clone(), (Kind::Commit, child)]);
    let result = take(&repo, &pack, &[child_id], &[]);
    assert!(matches!(result, Err(PackRefused::BadObject { id, .. }) if id == tree_id), "{:?}", result.err());
    let broken = format!("tree {tree_id}\nauthor nobody\n\n").into_bytes();
    let broken_id = id_of(Kind::Commit, &broken);
    let pack = pack_of(&[objects[0].clone(), objects[1].clone(), (Kind::Commit, broken)]);
    let result = take(&repo, &pack, &[broken_id], &[]);
    assert!(matches!(result, Err(PackRefused::BadObject { id, .. }) if id == broken_id), "{:?}", result.err());
}

#[test]
fn a_pack_that_names_more_than_it_holds_is_gone_through_and_refused() {
    let to = Fixture::new();
    let names: Vec<String> = (0..30).map(|at| format!("f{at:02}")).collect();
    let gone = |at: usize| ObjectId::Sha1([at as u8 + 1; 20]);
    let entries: Vec<_> = names.iter().enumerate().map(|(at, name)| ("100644", name.as_str(), gone(at))).collect();
    let (pack, tip) = one_commit(&tree_of(&entries));
    let result = take(&to.repo(), &pack, &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::MissingObject(id)) if id == gone(0)), "{:?}", result.err());
}

#[test]
fn leftovers_in_the_object_store_prove_nothing() {
    let (from, to) = (history(), Fixture::new());
    let repo = to.repo();
    let (tip, before) = (from.rev("main"), from.rev("main~1"));
    // The parent and its tree lie here, but not what is in the tree.
    for (kind, id) in [("commit", before), ("tree", from.rev("main~1^{tree}"))] {
        let data = from.git_with(&["cat-file", kind, &id.to_string()], b"").stdout;
        assert_eq!(to.object(kind, &data), id);
    }
    // Not thin: that these are here is not asked of deltas' bases.
    let revisions = format!("{tip}\n^{before}\n");
    let increment = from.git_with(&["pack-objects", "-q", "--revs", "--stdout"], revisions.as_bytes()).stdout;
    let result = take(&repo, &increment, &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::MissingObject(_))), "{:?}", result.err());
    assert!(!repo.connected(&[before], &[]).unwrap());
    // Where the caller vouches for what is not so, it is this repository that is damaged.
    let tree = from.rev("main~1^{tree}");
    std::fs::remove_file(to.loose(&tree)).unwrap();
    match take(&to.repo(), &increment, &[tip], &[before]) {
        Err(why @ PackRefused::Damaged { .. }) => assert_eq!(why.blame(), Blame::Local),
        other => panic!("{:?}", other.err()),
    }
    // With everything there they still do not count, unless the caller says that it holds them: a member who offers
    // the id of a commit that is private here would have it served.
    take(&repo, &pack_from(&from, &[before], &[]), &[before], &[]).unwrap().adopt().unwrap().release();
    let result = take(&repo, &increment, &[tip], &[]);
    assert!(matches!(result, Err(PackRefused::MissingObject(_))), "{:?}", result.err());
    take(&repo, &increment, &[tip], &[before]).expect("the rest is held");
}

#[test]
fn tags_are_followed() {
    let (from, to) = (history(), Fixture::new());
    from.git(&["tag", "-a", "-m", "One", "one", "main~1"]);
    from.git(&["tag", "-a", "-m", "Two", "two", "one"]);
    from.git(&["tag", "-a", "-m", "Tree", "tree", "main^{tree}"]);
    let (two, tree) = (from.rev("two"), from.rev("tree"));
    let pack = pack_from(&from, &[two, tree], &[]);
    take(&to.repo(), &pack, &[two, tree], &[]).unwrap().adopt().unwrap().release();
    for (name, id) in [("two", two), ("tree", tree)] {
        to.git(&["update-ref", &format!("refs/tags/{name}"), &id.to_string()]);
    }
    to.fsck();
    let lonely = from.git_with(&["cat-file", "tag", "two"], b"").stdout;
    let pack = pack_of(&[(Kind::Tag, lonely)]);
    let result = take(&Fixture::new().repo(), &pack, &[two], &[]);
    assert!(matches!(result, Err(PackRefused::MissingObject(id)) if id == from.rev("one")), "{:?}", result.err());
}

#[test]
fn packs_over_a_limit_are_refused() {
    use gix_pack::data::entry::Header;
    let (from, to) = (history(), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let pack = pack_from(&from, &[tip], &[]);
    let whole = PackLimits::default();
    let limits = [
        (Large::Objects, PackLimits { objects: 5, ..whole }),
        (Large::Bytes, PackLimits { bytes: 500, ..whole }),
        (Large::ObjectBytes, PackLimits { object_bytes: 300, ..whole }),
        (Large::AllObjectBytes, PackLimits { all_object_bytes: 1_000, ..whole }),
    ];
    for (expected, limits) in limits {
        match take_with(&repo, &mut pack.as_slice(), &[tip], &[], &limits) {
            Err(PackRefused::TooLarge { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected:?}: {:?}", other.err()),
        }
    }
    // A few bytes that stand for a thousand times as many, twice over: zeros, and a delta that repeats them.
    let zeros = vec![0; 1 << 20];
    let mut entries = raw_entry(&Header::Blob, &zeros);
    let distance = entries.len() as u64;
    let mut delta = vec![0x80, 0x80, 0x40, 0x80, 0x80, 0x80, 0x20];
    delta.extend([0xb0u8, 0xff, 0xff].repeat(1_024));
    entries.extend(raw_entry(&Header::OfsDelta { base_distance: distance }, &delta));
    let bomb = raw_pack(2, &entries);
    assert!(bomb.len() < 10_000);
    let limits = PackLimits { object_bytes: 16 << 20, ..whole };
    let result = take_with(&repo, &mut bomb.as_slice(), &[tip], &[], &limits);
    let expected = |size| matches!(size, Err(PackRefused::TooLarge { what: Large::ObjectBytes, size: 67_108_864, .. }));
    assert!(expected(result));
    // A header that promises more objects than there are takes no memory for them.
    let mut liar = pack.clone();
    liar[8..12].copy_from_slice(&whole.objects.to_be_bytes());
    assert!(matches!(take(&repo, &liar, &[tip], &[]), Err(PackRefused::BadPack(_))));
}

#[test]
fn receiving_ends_when_asked() {
    let (from, to) = (history(), Fixture::new());
    let tip = from.rev("main");
    let pack = pack_from(&from, &[tip], &[]);
    let before = files(&to.dir().join(".git/objects"));
    let stop = AtomicBool::new(true);
    let result = to.repo().receive_pack(&mut pack.as_slice(), &[tip], &[], &PackLimits::default(), &|_| {}, &stop);
    assert!(matches!(result, Err(PackRefused::Stopped)), "{:?}", result.err());
    untouched(&to, &before);
}

#[test]
fn progress_ends_at_the_whole() {
    let from = many(3_000, 10);
    let tip = from.rev("main");
    let pack = pack_from(&from, &[tip], &[]);
    let told = std::cell::RefCell::new(Vec::new());
    let stop = AtomicBool::new(false);
    let tell = |progress: PackProgress| told.borrow_mut().push(progress);
    let to = Fixture::new();
    let received = to.repo().receive_pack(&mut pack.as_slice(), &[tip], &[], &PackLimits::default(), &tell, &stop);
    let objects = received.unwrap().objects();
    let told = told.into_inner();
    assert!(told.len() > 3 && told.is_sorted_by_key(|progress| progress.bytes));
    let whole = PackProgress { objects_done: objects, objects_total: objects, bytes: pack.len() as u64 };
    assert_eq!(told.last(), Some(&whole));
}

#[test]
fn receiving_many_objects_and_then_one_commit() {
    let from = many(40_000, 300);
    from.git(&["repack", "-adq"]);
    let (tip, before) = (from.rev("main"), from.rev("main~1"));
    let (first, second) = (pack_from(&from, &[before], &[]), pack_from(&from, &[tip], &[before]));
    let to = Fixture::new();
    let repo = to.repo();
    let started = Instant::now();
    let first = take(&repo, &first, &[before], &[]).unwrap();
    let checked = started.elapsed();
    let objects = first.objects();
    first.adopt().unwrap().release();
    say(&format!("{objects} objects received and checked in {checked:?}, adopted after {:?}", started.elapsed()));
    let started = Instant::now();
    let second = take(&repo, &second, &[tip], &[before]).unwrap();
    let checked = started.elapsed();
    let objects = second.objects();
    second.adopt().unwrap().release();
    say(&format!("{objects} objects received and checked in {checked:?}, adopted after {:?}", started.elapsed()));
    let started = Instant::now();
    assert!(repo.connected(&[tip], &[]).unwrap());
    say(&format!("connected in {:?}", started.elapsed()));
}
