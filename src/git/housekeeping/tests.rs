//! Many small packs become few, beside real git.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::git::PackLimits;
use crate::git::testing::{Fixture, git_in, say};
use crate::id::ObjectId;

fn sizes(objects: &[u64]) -> Vec<Size> {
    objects.iter().map(|objects| Size { objects: *objects, bytes: 100 * objects }).collect()
}

#[test]
fn few_packs_and_large_ones_are_left_as_they_are() {
    assert_eq!(decide(&sizes(&[3; limits::PACKS_LEFT])), [] as [usize; 0]);
    assert_eq!(decide(&sizes(&[3; limits::PACKS_LEFT + 1])).len(), limits::PACKS_LEFT + 1);
    // What is twice as large as all that are smaller stays.
    let mut many = vec![3; limits::PACKS_LEFT + 1];
    many.insert(5, 1_000);
    assert!(!decide(&sizes(&many)).contains(&5));
    many[5] = 60;
    assert!(decide(&sizes(&many)).contains(&5));
    let mut many = sizes(&many);
    many[0].bytes = limits::CONSOLIDATED_PACK + 1;
    assert!(!decide(&many).contains(&0));
    let large = vec![Size { objects: 5, bytes: limits::CONSOLIDATED_PACK }; 40];
    assert_eq!(decide(&large).len() as u64, limits::CONSOLIDATED_BYTES / limits::CONSOLIDATED_PACK);
}

#[test]
fn an_object_is_copied_as_often_as_their_number_can_be_halved() {
    let (mut packs, mut copied, mut most) = (Vec::new(), 0, 0);
    let arrivals = 10_000;
    for _ in 0..arrivals {
        packs.push(4);
        let chosen = decide(&sizes(&packs));
        if !chosen.is_empty() {
            let together: u64 = chosen.iter().map(|at| packs[*at]).sum();
            copied += together;
            let mut at = 0;
            packs.retain(|_| {
                at += 1;
                !chosen.contains(&(at - 1))
            });
            packs.push(together);
        }
        most = most.max(packs.len());
    }
    let objects: u64 = packs.iter().sum();
    assert_eq!(objects, 4 * arrivals);
    let times = copied as f64 / objects as f64;
    say(&format!("{arrivals} packs: {most} at most, each object copied {times:.1} times"));
    assert!(most <= limits::PACKS_LEFT + 1 && times < 10.0, "{most} {times}");
}

/// A repository that has received `count` packs of one commit each.
fn received(count: usize) -> (Fixture, Fixture, Vec<ObjectId>) {
    let (author, reader) = (Fixture::new(), Fixture::new());
    let mut tips = vec![author.commit("a", "0\n")];
    let repo = reader.repo();
    for number in 0..count {
        tips.push(author.commit("a", &format!("{number}\n{}", "line\n".repeat(number))));
    }
    for at in 0..tips.len() {
        let (want, have) = ([tips[at]], &tips[..at]);
        let mut pack = Vec::new();
        author.repo().write_pack(&want, have, &mut pack, &AtomicBool::new(false)).unwrap();
        let (stop, limits) = (AtomicBool::new(false), PackLimits::default());
        let quarantined = repo.receive_pack(&mut pack.as_slice(), &want, have, &limits, &|_| {}, &stop).unwrap();
        quarantined.adopt().unwrap().release();
    }
    reader.git(&["update-ref", "refs/heads/main", &tips.last().unwrap().to_string()]);
    (author, reader, tips)
}

fn packs(fixture: &Fixture) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(fixture.dir().join(".git/objects/pack")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "pack")).collect()
}

fn run(repo: &Repository) -> Consolidated {
    repo.consolidate(&AtomicBool::new(false)).unwrap()
}

#[test]
fn many_arrivals_become_one_pack_and_nothing_is_lost() {
    let (_author, reader, tips) = received(40);
    let repo = reader.repo();
    let all = reader.reachable(&["main"]);
    // Has the indices in memory, and no pack open.
    let before = repo.local();
    assert!(repo.has(&tips[3]));
    assert_eq!(packs(&reader).len(), 41);
    let begun = std::time::Instant::now();
    assert_eq!(run(&repo), Consolidated::Packs { packs: 41, objects: all.len() as u64 });
    say(&format!("41 packs, {} objects: {:?}", all.len(), begun.elapsed()));
    assert_eq!(packs(&reader).len(), 1);
    reader.fsck();
    assert_eq!(reader.reachable(&["main"]), all);
    // Who had the repository open goes on.
    for id in &all {
        assert!(before.find_object(gix::ObjectId::from_hex(id.as_bytes()).unwrap()).is_ok(), "{id}");
    }
    // The next ones come beside it.
    assert_eq!(run(&repo), Consolidated::Nothing);
    assert!(!reader.dir().join(".git/lansync/quarantine").read_dir().unwrap().any(|_| true), "nothing is left there");
}

#[test]
fn what_is_open_while_packs_go_is_read_to_its_end() {
    let (_author, reader, tips) = received(60);
    let repo = reader.repo();
    let all = reader.reachable(&["main"]).len() as u64;
    let want = [*tips.last().unwrap()];
    let mut cat = std::process::Command::new("git");
    cat.args(["cat-file", "--batch-check"]).current_dir(reader.dir());
    let (to, from) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let mut cat = cat.stdin(to).stdout(from).spawn().unwrap();
    let (mut ask, mut told) = (cat.stdin.take().unwrap(), std::io::BufReader::new(cat.stdout.take().unwrap()));
    let mut look = |tip: &ObjectId| {
        use std::io::{BufRead as _, Write as _};
        writeln!(ask, "{tip}").unwrap();
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        line
    };
    assert!(look(&tips[1]).contains("commit"));
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            for _ in 0..20 {
                let stats = repo.write_pack(&want, &[], &mut std::io::sink(), &AtomicBool::new(false));
                assert_eq!(stats.unwrap().objects, all);
            }
        });
        assert!(matches!(run(&repo), Consolidated::Packs { packs: 61, .. }));
        serving.join().unwrap();
    });
    // Git opened its packs before.
    for tip in &tips {
        assert!(look(tip).contains("commit"), "{tip}");
    }
    drop(ask);
    cat.wait().unwrap();
}

#[test]
fn packs_of_git_and_of_people_are_left_alone() {
    let (author, reader, _) = received(30);
    // The user's own: fetched by git, and one of ours that they want kept.
    author.commit("b", "1\n");
    reader.git(&["-c", "fetch.unpackLimit=1", "fetch", "-q", author.dir().to_str().unwrap(), "main:theirs"]);
    let noted = fs::read_dir(reader.dir().join(".git/lansync/packs")).unwrap();
    let noted: BTreeSet<_> = noted.map(|entry| entry.unwrap().file_name()).collect();
    let (ours, theirs): (Vec<PathBuf>, Vec<PathBuf>) =
        packs(&reader).into_iter().partition(|pack| noted.contains(pack.file_stem().unwrap()));
    assert_eq!((ours.len(), theirs.len()), (31, 1));
    fs::write(ours[7].with_extension("keep"), "mine").unwrap();
    assert!(matches!(run(&reader.repo()), Consolidated::Packs { packs: 30, .. }));
    let left = packs(&reader);
    assert!(left.contains(&ours[7]) && left.contains(&theirs[0]) && left.len() == 3, "{left:?}");
    reader.fsck();
}

#[test]
fn git_that_keeps_house_is_not_disturbed() {
    let (_author, reader, _) = received(30);
    let repo = reader.repo();
    let lock = reader.dir().join(".git/gc.pid");
    fs::write(&lock, "1 another-machine").unwrap();
    assert_eq!(run(&repo), Consolidated::Waits("gc.pid".to_owned()));
    assert_eq!(packs(&reader).len(), 31);
    fs::remove_file(&lock).unwrap();
    // An index of several packs is git's to keep.
    reader.git(&["multi-pack-index", "write"]);
    assert_eq!(run(&repo), Consolidated::Nothing);
    reader.git(&["repack", "-q", "-a", "-d"]);
    assert_eq!(run(&repo), Consolidated::Nothing);
    assert!(!reader.dir().join(".git/lansync/packs").read_dir().unwrap().any(|_| true), "what is gone is forgotten");
}

#[test]
fn killed_in_between_every_object_is_there_and_the_next_run_ends_it() {
    let (_author, reader, _) = received(30);
    let repo = reader.repo();
    let all = reader.reachable(&["main"]);
    let saved = reader.beside("saved");
    fs::create_dir(&saved).unwrap();
    let old: Vec<PathBuf> = packs(&reader).into_iter().collect();
    let both = |pack: &PathBuf| [pack.clone(), pack.with_extension("idx")];
    for file in old.iter().flat_map(both) {
        fs::copy(&file, saved.join(file.file_name().unwrap())).unwrap();
    }
    run(&repo);
    // Killed after the first ones went: the rest is there beside the new one, one without its index.
    for file in old[10..].iter().flat_map(both) {
        fs::copy(saved.join(file.file_name().unwrap()), &file).unwrap();
        repo.note_pack(&file);
    }
    fs::remove_file(old[10].with_extension("idx")).unwrap();
    reader.fsck();
    repo.clean_quarantine();
    assert!(matches!(run(&repo), Consolidated::Packs { .. }));
    assert_eq!(reader.reachable(&["main"]), all);
    assert!(packs(&reader).len() <= 3);
    reader.fsck();
}

#[test]
fn beside_a_git_that_repacks_without_end_nothing_is_lost() {
    let (author, reader, mut tips) = received(30);
    let repo = reader.repo();
    let commands: [&[&str]; 5] = [
        &["gc", "-q", "--prune=now"],
        &["repack", "-q", "-a", "-d"],
        &["repack", "-q", "--geometric=2", "-d"],
        &["repack", "-q", "--cruft", "-d"],
        &["prune", "--expire=now"],
    ];
    std::thread::scope(|scope| {
        let git = scope.spawn(|| {
            for round in 0..3 {
                for command in commands {
                    git_in(reader.dir(), command);
                }
                say(&format!("round {round} of git is over"));
            }
        });
        let mut ours = 0;
        while !git.is_finished() {
            for number in 0..limits::PACKS_LEFT {
                let have = tips.clone();
                tips.push(author.commit("a", &format!("{ours} {number}\n")));
                let want = [*tips.last().unwrap()];
                let mut pack = Vec::new();
                author.repo().write_pack(&want, &have, &mut pack, &AtomicBool::new(false)).unwrap();
                let (stop, limits) = (AtomicBool::new(false), PackLimits::default());
                let quarantined = repo.receive_pack(&mut pack.as_slice(), &want, &have, &limits, &|_| {}, &stop);
                let adopted = quarantined.unwrap().adopt().unwrap();
                reader.git(&["update-ref", "refs/heads/main", &want[0].to_string()]);
                adopted.release();
            }
            ours += usize::from(matches!(repo.consolidate(&AtomicBool::new(false)), Ok(Consolidated::Packs { .. })));
        }
        git.join().unwrap();
        say(&format!("{} arrivals, {ours} times made one", tips.len()));
    });
    reader.fsck();
    assert_eq!(reader.reachable(&["main"]).len(), author.reachable(&["main"]).len());
}
