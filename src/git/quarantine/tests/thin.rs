//! Packs whose deltas are against what is here.

use gix_pack::data::entry::Header;

use super::*;

/// A delta that copies the first bytes of a base of less than 16 KiB, and puts a text behind them.
fn delta(base: usize, copied: u8, text: &[u8]) -> Vec<u8> {
    let size = |size: usize| [(size & 0x7f) as u8 | 0x80, (size >> 7) as u8];
    let mut delta = [size(base), size(usize::from(copied) + text.len())].concat();
    delta.extend([0x90, copied]);
    if !text.is_empty() {
        delta.push(text.len() as u8);
        delta.extend_from_slice(text);
    }
    delta
}

fn against(id: &ObjectId) -> Header {
    Header::RefDelta { base_id: to_gix(id).expect("SHA-1") }
}

fn history() -> Fixture {
    let fixture = Fixture::new();
    let text: String = (0..200).map(|line| format!("line {line} {}\n", line * 7919 % 997)).collect();
    for at in 0..12 {
        fixture.commit(&format!("d{}/f", at % 3), &text.replace("line 9", &format!("{at}")));
    }
    fixture
}

#[test]
fn a_thin_pack_is_completed_and_git_agrees() {
    let (from, to) = (history(), Fixture::new());
    let repo = to.repo();
    let mut have: Vec<ObjectId> = Vec::new();
    for revision in ["main~8", "main~7", "main~1", "main"] {
        let want = from.rev(revision);
        let pack = pack_from(&from, &[want], &have);
        let quarantined = take(&repo, &pack, &[want], &have).expect("a good pack");
        let count = quarantined.objects();
        let adopted = quarantined.adopt().unwrap();
        // What came, not what it was completed with.
        let said = u32::from_be_bytes(pack[8..12].try_into().unwrap());
        assert_eq!((count, adopted.objects, adopted.bytes), (said.into(), said.into(), pack.len() as u64));
        let file = adopted.packs[0].clone();
        let stored = std::fs::read(&file).unwrap();
        let kept = u32::from_be_bytes(stored[8..12].try_into().unwrap());
        assert_eq!(kept > said, !have.is_empty(), "{kept} objects of {said}");
        // It stands by itself.
        let alone = Fixture::new();
        assert!(alone.git_with(&["index-pack", "--stdin"], &stored).status.success());
        to.git(&["update-ref", "refs/heads/main", &want.to_string()]);
        adopted.release();
        to.fsck();
        have = vec![want];
    }
    assert_eq!(to.reachable(&["main"]), from.reachable(&["main"]));
    to.git(&["gc", "-q", "--prune=now"]);
    to.fsck();
}

/// A commit of one file that is a delta against a base, and a pack of it.
fn built_on(base: &ObjectId, base_len: usize, made: &[u8], delta: &[u8], parent: ObjectId) -> (Vec<u8>, ObjectId) {
    let file = id_of(Kind::Blob, made);
    let tree = tree_of(&[("100644", "taken", file)]);
    let commit = commit_of(id_of(Kind::Tree, &tree), &[parent]);
    let tip = id_of(Kind::Commit, &commit);
    assert!(base_len < 1 << 14);
    let entries =
        [raw_entry(&against(base), delta), raw_entry(&Header::Tree, &tree), raw_entry(&Header::Commit, &commit)];
    (raw_pack(3, &entries.concat()), tip)
}

#[test]
fn nothing_is_built_on_what_is_here_and_was_never_shared() {
    let (from, to) = (history(), Fixture::new());
    let repo = to.repo();
    let parent = from.rev("main~3");
    take(&repo, &pack_from(&from, &[parent], &[]), &[parent], &[]).unwrap().adopt().unwrap().release();
    let text = b"a password of the owner, which nobody should learn by guessing at the rest of it\n";
    let private = to.object("blob", text);
    let made = [&text[..60], b"!"].concat();
    let (pack, tip) = built_on(&private, text.len(), &made, &delta(text.len(), 60, b"!"), parent);
    let refused = |haves: &[ObjectId]| match take(&repo, &pack, &[tip], haves) {
        Err(PackRefused::BadPack(why)) => why,
        other => panic!("{:?}", other.err()),
    };
    let why = refused(&[parent]);
    assert_eq!(refused(&[]), why, "the same as what is nowhere");
    let (nowhere, tip_of_it) = built_on(&ObjectId::Sha1([3; 20]), 90, b"x", &delta(90, 1, b""), parent);
    match take(&repo, &nowhere, &[tip_of_it], &[parent]) {
        Err(PackRefused::BadPack(said)) => assert_eq!(said, why, "nobody learns what is here"),
        other => panic!("{:?}", other.err()),
    }
    // What a have reaches may be built upon, wherever it stood.
    let old = from.rev("main~3:d1/f");
    let content = from.git_with(&["cat-file", "blob", &old.to_string()], b"").stdout;
    let made = [&content[..60], b"!"].concat();
    let (pack, tip) = built_on(&old, content.len(), &made, &delta(content.len(), 60, b"!"), parent);
    take(&repo, &pack, &[tip], &[parent]).expect("it is held");
    let older = from.rev("main~6:d2/f");
    assert_ne!(from.rev("main~3:d2/f"), older);
    let content = from.git_with(&["cat-file", "blob", &older.to_string()], b"").stdout;
    let made = [&content[..60], b"!"].concat();
    let (pack, tip) = built_on(&older, content.len(), &made, &delta(content.len(), 60, b"!"), parent);
    take(&repo, &pack, &[tip], &[parent]).expect("it is part of what is held");
}

#[test]
fn what_a_pack_was_completed_with_did_not_come_in_it() {
    let (from, to) = (history(), Fixture::new());
    let repo = to.repo();
    let parent = from.rev("main~3");
    take(&repo, &pack_from(&from, &[parent], &[]), &[parent], &[]).unwrap().adopt().unwrap().release();
    // The private file stands in the commit offered, and an entry is built on it, so that it lies in the pack here.
    let text = b"a password of the owner\n";
    let private = to.object("blob", text);
    let tree = tree_of(&[("100644", "taken", private)]);
    let commit = commit_of(id_of(Kind::Tree, &tree), &[parent]);
    let tip = id_of(Kind::Commit, &commit);
    let entries = [
        raw_entry(&against(&private), &delta(text.len(), 5, b"")),
        raw_entry(&Header::Tree, &tree),
        raw_entry(&Header::Commit, &commit),
    ];
    let result = take(&repo, &raw_pack(3, &entries.concat()), &[tip], &[parent]);
    assert!(matches!(result, Err(PackRefused::MissingObject(id)) if id == private), "{:?}", result.err());
}

#[test]
fn doubled_packs_and_bases_that_come_too_are_refused() {
    let (from, to) = (history(), Fixture::new());
    let (repo, parent) = (to.repo(), from.rev("main~3"));
    take(&repo, &pack_from(&from, &[parent], &[]), &[parent], &[]).unwrap().adopt().unwrap().release();
    let doubled = crate::git::testing::pack_of(&[(Kind::Blob, b"x".to_vec()), (Kind::Blob, b"x".to_vec())]);
    let result = take(&repo, &doubled, &[parent], &[]);
    assert!(matches!(result, Err(PackRefused::BadPack(_))), "{:?}", result.err());
    let base = from.rev("main~3:d0/f");
    let content = from.git_with(&["cat-file", "blob", &base.to_string()], b"").stdout;
    let entries =
        [raw_entry(&Header::Blob, &content), raw_entry(&against(&base), &delta(content.len(), 60, b"!"))].concat();
    let result = take(&repo, &raw_pack(2, &entries), &[parent], &[parent]);
    assert!(matches!(result, Err(PackRefused::BadPack(_))), "{:?}", result.err());
    // A base that is named by id and is nowhere but in the pack itself.
    let entries = [raw_entry(&Header::Blob, b"0123456789"), {
        let id = id_of(Kind::Blob, b"0123456789");
        raw_entry(&against(&id), &delta(10, 5, b"!"))
    }];
    let result = take(&repo, &raw_pack(2, &entries.concat()), &[parent], &[parent]);
    assert!(matches!(result, Err(PackRefused::BadPack(_))), "{:?}", result.err());
}

#[test]
fn a_chain_of_deltas_is_bounded_and_so_is_what_a_thin_pack_grows_to() {
    let to = Fixture::new();
    let repo = to.repo();
    let mut entries = raw_entry(&Header::Blob, &[b'a'; 200]);
    let mut before = entries.len();
    for at in 0..20u8 {
        let entry = raw_entry(&Header::OfsDelta { base_distance: before as u64 }, &delta(200, 199, &[at]));
        before = entry.len();
        entries.extend(entry);
    }
    let pack = raw_pack(21, &entries);
    let tip = ObjectId::Sha1([1; 20]);
    let taken =
        |depth| take_with(&repo, &mut pack.as_slice(), &[tip], &[], &PackLimits { depth, ..Default::default() });
    let result = taken(19);
    let expected = |why: &PackRefused| matches!(why, PackRefused::TooLarge { what: Large::Depth, size: 20, limit: 19 });
    assert!(result.as_ref().is_err_and(expected), "{:?}", result.err());
    assert!(matches!(taken(20), Err(PackRefused::MissingObject(_))), "20 are allowed, and only the commit is missing");
    // Entries of a few bytes that are built on large objects: those count too.
    let parent = to.commit("large", &"0123456789".repeat(100_000));
    let base = to.rev("main:large");
    let size = 1_000_000usize;
    let made: Vec<u8> =
        vec![(size & 0x7f) as u8 | 0x80, (size >> 7 & 0x7f) as u8 | 0x80, (size >> 14) as u8, 5, 0x90, 5];
    let pack = raw_pack(1, &raw_entry(&against(&base), &made));
    let limits = PackLimits { all_object_bytes: 500_000, ..Default::default() };
    let result = take_with(&repo, &mut pack.as_slice(), &[parent], &[parent], &limits);
    let expected = |why: &PackRefused| matches!(why, PackRefused::TooLarge { what: Large::AllObjectBytes, .. });
    assert!(result.as_ref().is_err_and(expected), "{:?}", result.err());
}

#[test]
fn no_damaged_thin_pack_is_taken() {
    let (from, to) = (history(), Fixture::new());
    let (repo, tip, parent) = (to.repo(), from.rev("main"), from.rev("main~3"));
    take(&repo, &pack_from(&from, &[parent], &[]), &[parent], &[]).unwrap().adopt().unwrap().release();
    let pack = pack_from(&from, &[tip], &[parent]);
    let mut refused = 0;
    for at in (0..pack.len() - 20).step_by(3) {
        let mut bad = pack[..pack.len() - 20].to_vec();
        bad[at] ^= 1 << (at % 8);
        crate::git::testing::seal(&mut bad);
        match take(&repo, &bad, &[tip], &[parent]) {
            Err(why) => {
                assert!(why.is_peers_fault(), "byte {at}: {why}");
                refused += 1;
            }
            // The same objects in other bytes.
            Ok(_) => assert_eq!(bad.len(), pack.len()),
        }
    }
    assert!(refused > pack.len() / 3 * 9 / 10, "{refused} of {}", pack.len() / 3);
    say(&format!("{refused} damaged thin packs of {} refused", pack.len() / 3));
}
