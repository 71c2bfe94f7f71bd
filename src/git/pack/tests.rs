//! Packs as git reads them.

mod inventory;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::git::testing::{Fixture, many, say};

/// Writes a pack, and has git index it where nothing is but what `have` reaches: the ids of what is in it.
fn packed(fixture: &Fixture, want: &[ObjectId], have: &[ObjectId]) -> (PackStats, BTreeSet<String>) {
    let pack = pack_of(fixture, want, have);
    let other = Fixture::new();
    let known = have.iter().filter(|have| fixture.repo().has(have)).map(ToString::to_string).collect::<Vec<_>>();
    if !known.is_empty() {
        let revisions = known.join("\n");
        let held = fixture.git_with(&["pack-objects", "-q", "--revs", "--stdout"], revisions.as_bytes());
        assert!(other.git_with(&["index-pack", "--stdin"], &held.stdout).status.success());
    }
    let ids = listed(&other, &pack);
    let objects = u32::from_be_bytes(pack[8..12].try_into().unwrap()).into();
    assert_eq!(ids.len() as u64, objects);
    (PackStats { objects, bytes: pack.len() as u64 }, ids)
}

fn pack_of(fixture: &Fixture, want: &[ObjectId], have: &[ObjectId]) -> Vec<u8> {
    let mut pack = Vec::new();
    let stats = fixture.repo().write_pack(want, have, &mut pack, &AtomicBool::new(false)).expect("a pack");
    let objects = u32::from_be_bytes(pack[8..12].try_into().unwrap()).into();
    assert_eq!(stats, PackStats { objects, bytes: pack.len() as u64 });
    pack
}

/// What came in a pack, which git completes from what `other` has: it puts the bases of deltas behind all else.
fn listed(other: &Fixture, pack: &[u8]) -> BTreeSet<String> {
    let said = other.git_with(&["index-pack", "--strict", "--fix-thin", "--stdin"], pack);
    assert!(said.status.success(), "{said:?}");
    let name = String::from_utf8(said.stdout).unwrap();
    let name = name.split_whitespace().next_back().unwrap();
    let index = other.dir().join(format!(".git/objects/pack/pack-{name}.idx"));
    let lines = other.git(&["verify-pack", "-v", index.to_str().unwrap()]);
    let is_object = |line: &&str| line.split(' ').nth(1).is_some_and(|kind| "commit tree blob tag".contains(kind));
    let mut objects: Vec<(u64, String)> = lines
        .lines()
        .filter(is_object)
        .map(|line| (line.split_whitespace().nth(4).unwrap().parse().unwrap(), line[..40].to_owned()))
        .collect();
    objects.sort();
    objects.truncate(u32::from_be_bytes(pack[8..12].try_into().unwrap()) as usize);
    objects.into_iter().map(|(_, id)| id).collect()
}

/// A history with what histories have: merges, moved and restored files, modes, links, submodules, tags.
fn ordinary() -> Fixture {
    let fixture = Fixture::new();
    fixture.commit("a", "1\n");
    fixture.commit("dir/sub/b", "1\n");
    fixture.commit("dir.c", "1\n");
    fixture.git(&["checkout", "-q", "-b", "side"]);
    fixture.commit("dir/sub/b", "2\n");
    fixture.git(&["mv", "dir/sub", "moved"]);
    fixture.commit("new/deep/er/file", "x\n");
    fixture.git(&["checkout", "-q", "main"]);
    fixture.commit("a", "2\n");
    fixture.git(&["merge", "-q", "-m", "Merge side", "side"]);
    fixture.commit("a", "1\n");
    fixture.git(&["update-index", "--chmod=+x", "a"]);
    fixture.git(&["update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,module"]);
    fixture.git(&["commit", "-q", "-m", "Modes"]);
    let target = fixture.object("blob", b"a");
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("120000,{target},link")]);
    fixture.git(&["commit", "-q", "-m", "Link"]);
    fixture.git(&["tag", "-a", "-m", "One", "one", "HEAD~2"]);
    fixture.git(&["tag", "-a", "-m", "Of one", "two", "one"]);
    fixture.git(&["checkout", "-q", "--orphan", "other"]);
    fixture.commit("z", "z\n");
    fixture.git(&["commit", "-q", "--allow-empty", "-m", "Nothing"]);
    fixture
}

#[test]
fn full_packs_hold_what_rev_list_says() {
    let fixture = ordinary();
    for packed_first in [false, true] {
        if packed_first {
            fixture.git(&["repack", "-adq"]);
        }
        for want in ["main", "side", "two", "other", "main~3"] {
            let (_, ids) = packed(&fixture, &[fixture.rev(want)], &[]);
            assert_eq!(ids, fixture.reachable(&[want]), "{want}");
        }
        let all = [fixture.rev("main"), fixture.rev("other"), fixture.rev("two"), fixture.rev("one")];
        let (_, ids) = packed(&fixture, &all, &[]);
        assert_eq!(ids, fixture.reachable(&["main", "other", "two"]));
    }
}

#[test]
fn increments_hold_everything_new_and_nothing_unasked_for() {
    let fixture = ordinary();
    let commits: Vec<String> = fixture.git(&["rev-list", "--all"]).lines().map(str::to_owned).collect();
    for want in &commits {
        for have in &commits {
            let (_, ids) = packed(&fixture, &[fixture.rev(want)], &[fixture.rev(have)]);
            let needed = fixture.reachable(&[want, &format!("^{have}")]);
            assert!(needed.is_subset(&ids), "{want} without {have} lacks {:?}", needed.difference(&ids));
            assert!(ids.is_subset(&fixture.reachable(&[want])), "{want} without {have}");
            // A file that was brought back or moved may come along; nothing else.
            assert!(ids.len() <= needed.len() + 2, "{want} without {have}: {:?}", ids.difference(&needed));
        }
    }
}

#[test]
fn wrong_clocks_leave_nothing_out() {
    let fixture = Fixture::new();
    // Newest, oldest, in between: no order of the commits agrees with their times.
    let times = [9_000, 10, 8_000, 5_000, 20, 7_000, 1, 6_000];
    for (at, time) in times.into_iter().enumerate() {
        fixture.commit_at(&format!("d{}/f{}", at % 3, at % 2), &format!("{at}\n"), time + 1_000_000_000);
        if at == 3 {
            fixture.git(&["branch", "side"]);
        }
    }
    fixture.git(&["checkout", "-q", "side"]);
    fixture.commit_at("d1/side", "s\n", 1_000_000_002);
    fixture.git(&["merge", "-q", "-m", "m", "main"]);
    let commits: Vec<String> = fixture.git(&["rev-list", "--all"]).lines().map(str::to_owned).collect();
    for want in &commits {
        let (_, ids) = packed(&fixture, &[fixture.rev(want)], &[]);
        assert_eq!(ids, fixture.reachable(&[want]));
        for have in &commits {
            let (_, ids) = packed(&fixture, &[fixture.rev(want)], &[fixture.rev(have)]);
            let needed = fixture.reachable(&[want, &format!("^{have}")]);
            assert!(needed.is_subset(&ids), "{want} without {have} lacks {:?}", needed.difference(&ids));
        }
    }
}

#[test]
fn moved_directories_are_not_sent_again() {
    let fixture = many(3_000, 0);
    let before = fixture.rev("main");
    fixture.git(&["reset", "-q", "--hard"]);
    std::fs::create_dir(fixture.dir().join("new")).unwrap();
    let dirs: Vec<String> = (0..50).map(|at| format!("d{at}")).collect();
    let args: Vec<&str> = ["mv"].into_iter().chain(dirs.iter().map(String::as_str)).chain(["new"]).collect();
    fixture.git(&args);
    let tip = fixture.commit("other", "1\n");
    let (_, ids) = packed(&fixture, &[tip], &[before]);
    assert_eq!(ids, fixture.reachable(&["main", "^main~1"]));
}

#[test]
fn what_is_had_already_makes_the_pack_of_nothing() {
    let fixture = ordinary();
    let unknown = ObjectId::Sha1([9; 20]);
    let (stats, _) = packed(&fixture, &[fixture.rev("side")], &[unknown, fixture.rev("main")]);
    assert_eq!(stats, PackStats { objects: 0, bytes: 32 });
    let (_, ids) = packed(&fixture, &[fixture.rev("side")], &[unknown, fixture.rev("main^{tree}")]);
    assert_eq!(ids, fixture.reachable(&["side"]), "haves that are no commits are ignored");
}

#[test]
fn replaced_objects_are_sent_as_they_are() {
    let fixture = ordinary();
    let before = fixture.reachable(&["main"]);
    fixture.git(&["replace", "main~1", "other"]);
    assert_ne!(fixture.reachable(&["main"]), before, "git itself follows the replacement");
    assert_eq!(packed(&fixture, &[fixture.rev("main")], &[]).1, before);
}

#[test]
fn a_missing_object_is_an_error_and_no_pack() {
    for (object, many_files) in [("HEAD:dir/f1", 2), ("HEAD:dir", 2), ("HEAD~1", 2), ("HEAD:dir/f1", 600)] {
        let fixture = Fixture::new();
        for at in 0..many_files {
            fixture.write(&format!("dir/f{at}"), &format!("{at}\n"));
        }
        fixture.commit("first", "1\n");
        fixture.commit("second", "2\n");
        let (want, gone) = (fixture.rev("HEAD"), fixture.rev(object));
        std::fs::remove_file(fixture.loose(&gone)).unwrap();
        let mut pack = Vec::new();
        let result = fixture.repo().write_pack(&[want], &[], &mut pack, &AtomicBool::new(false));
        match result {
            Err(PackError::Missing(id)) => assert_eq!(id, gone),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn writing_ends_when_asked_or_when_nobody_listens() {
    struct Deaf;
    impl Write for Deaf {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for files in [3, 2_000] {
        let fixture = many(files, 1);
        let (repo, want) = (fixture.repo(), fixture.rev("main"));
        let result = repo.write_pack(&[want], &[], &mut Vec::new(), &AtomicBool::new(true));
        assert!(matches!(result, Err(PackError::Stopped)), "{result:?}");
        let result = repo.write_pack(&[want], &[], &mut Deaf, &AtomicBool::new(false));
        assert!(matches!(result, Err(PackError::Write(_))), "{result:?}");
    }
}

#[test]
fn an_increment_costs_what_changed_and_not_what_is_there() {
    let fixture = many(40_000, 300);
    fixture.git(&["repack", "-adq"]);
    let repo = fixture.repo();
    let (tip, before) = (fixture.rev("main"), fixture.rev("main~1"));
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let full = repo.write_pack(&[tip], &[], &mut std::io::sink(), &stop).unwrap();
    let full_took = started.elapsed();
    let started = Instant::now();
    let mut pack = Vec::new();
    let one = repo.write_pack(&[tip], &[before], &mut pack, &stop).unwrap();
    let one_took = started.elapsed();
    say(&format!("full: {full:?} in {full_took:?}; one commit: {one:?} in {one_took:?}"));
    assert_eq!(one.objects, 5, "a commit, three trees, a file");
    assert_eq!(packed(&fixture, &[tip], &[before]).1, fixture.reachable(&["main", "^main~1"]));
    assert!(one_took * 10 < full_took, "one commit took {one_took:?}, all {full_took:?}");
}

#[test]
fn an_increment_has_no_more_bytes_than_gits_own() {
    let fixture = many(20_000, 30);
    fixture.git(&["repack", "-adq"]);
    fixture.git(&["reset", "-q", "--hard"]);
    let before = fixture.rev("main");
    for file in 0..10 {
        let path = format!("d{}/e{}/f{}", file % 50, file / 50 % 20, file);
        let text = std::fs::read_to_string(fixture.dir().join(&path)).unwrap();
        fixture.write(&path, &text.replace("line 7", "another line"));
    }
    let tip = fixture.commit("d0/new", "one more\n");
    let git = |want: ObjectId, have: ObjectId| {
        let revisions = format!("{want}\n^{have}\n");
        let args = ["pack-objects", "-q", "--thin", "--delta-base-offset", "--revs", "--stdout"];
        fixture.git_with(&args, revisions.as_bytes()).stdout.len()
    };
    // One commit; thirty, each on top of the other; and one that turns files back to what they were.
    for (what, want, have) in [
        ("10 files", tip, before),
        ("30 commits", before, fixture.rev("main~31")),
        ("both", tip, fixture.rev("main~31")),
    ] {
        let (ours, ids) = packed(&fixture, &[want], &[have]);
        let theirs = git(want, have);
        say(&format!("{what}: {} objects, {} bytes, git {theirs}", ids.len(), ours.bytes));
        assert!(ours.bytes <= theirs as u64, "{what}: {} bytes, git {theirs}", ours.bytes);
    }
}

#[test]
fn chains_of_deltas_are_bounded() {
    let fixture = Fixture::new();
    let text: String = (0..400).map(|line| format!("line {line} {}\n", line * 7919 % 997)).collect();
    let first = fixture.commit("f", &text);
    // One import: two hundred commits by hand take their time.
    let mut script = String::from("feature done\n");
    for at in 0..200 {
        let text = text.replace("line 200 ", &format!("change {at} "));
        let from = if at == 0 { format!("from {first}\n") } else { String::new() };
        let time = 1_700_000_100 + at;
        script += &format!("commit refs/heads/main\ncommitter A <a@a> {time} +0000\ndata 1\nc\n{from}");
        script += &format!("M 100644 inline f\ndata {}\n{text}\n", text.len());
    }
    assert!(fixture.git_with(&["fast-import", "--quiet", "--done"], (script + "done\n").as_bytes()).status.success());
    let tip = fixture.rev("main");
    let (stats, ids) = packed(&fixture, &[tip], &[first]);
    assert_eq!((stats.objects, ids), (600, fixture.reachable(&["main", &format!("^{first}")])));
    let other = Fixture::new();
    let held = pack_of(&fixture, &[first], &[]);
    assert!(other.git_with(&["index-pack", "--stdin"], &held).status.success());
    let said = other.git_with(&["index-pack", "--fix-thin", "--stdin"], &pack_of(&fixture, &[tip], &[first])).stdout;
    let name = String::from_utf8(said).unwrap().split_whitespace().next_back().unwrap().to_owned();
    let index = other.dir().join(format!(".git/objects/pack/pack-{name}.idx"));
    let chains = other.git(&["verify-pack", "-s", index.to_str().unwrap()]);
    let longest = chains.lines().filter_map(|line| line.strip_prefix("chain length = ")?.split(':').next()).next_back();
    let longest: u32 = longest.unwrap().parse().unwrap();
    assert!((10..=50).contains(&longest), "{chains}");
}

#[test]
fn a_long_history_is_gone_through_by_threads_and_nothing_is_left_out() {
    let fixture = Fixture::new();
    let mut script = String::from("feature done\n");
    for at in 0..2_600 {
        let time = 1_700_000_000 + at;
        // Files change, come and go, and are brought back as they were a thousand commits ago.
        script += &format!("commit refs/heads/main\ncommitter A <a@a> {time} +0000\ndata 1\nc\n");
        script += &format!("M 100644 inline d{}/f{}\ndata 4\n{:04}\n", at % 7, at % 31, at % 1_000);
        if at % 3 == 0 {
            script += &format!("D d{}/f{}\n", (at + 3) % 7, (at + 5) % 31);
        }
    }
    assert!(fixture.git_with(&["fast-import", "--quiet", "--done"], (script + "done\n").as_bytes()).status.success());
    fixture.git(&["tag", "-a", "-m", "Old", "old", "main~2000"]);
    let (_, ids) = packed(&fixture, &[fixture.rev("main"), fixture.rev("old")], &[]);
    assert_eq!(ids, fixture.reachable(&["main", "old"]));
    // One that is missing is missed.
    let gone = fixture.rev("main~2500^{tree}");
    let packs = fixture.dir().join(".git/objects/pack");
    let pack = std::fs::read_dir(&packs).unwrap().flatten().map(|entry| entry.path());
    let pack = pack.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "pack")).unwrap();
    let bytes = std::fs::read(&pack).unwrap();
    let tip = fixture.rev("main");
    for file in std::fs::read_dir(&packs).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    assert!(fixture.git_with(&["unpack-objects", "-q"], &bytes).status.success());
    std::fs::remove_file(fixture.loose(&gone)).unwrap();
    let result = fixture.repo().write_pack(&[tip], &[], &mut Vec::new(), &AtomicBool::new(false));
    assert!(matches!(result, Err(PackError::Missing(id)) if id == gone), "{result:?}");
}
