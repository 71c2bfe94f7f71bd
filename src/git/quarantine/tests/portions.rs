//! Packs of which several send a portion each.

use std::io::Read;

use super::*;
use crate::git::{Form, Portion, Skip};

/// One of so many portions of a pack without these objects, and what was said of it.
fn portion(fixture: &Fixture, tip: ObjectId, skip: &Skip, sources: u8) -> (Vec<u8>, Option<Portion>) {
    let (mut pack, mut said, stop) = (Vec::new(), None, AtomicBool::new(false));
    let mut tell = |portion| assert!(said.replace(portion).is_none(), "it is said once");
    let told = Skip::decode(&skip.encode()).expect("it is encoded here");
    let written = fixture.repo().write_portion(&[tip], &[], told, sources, &mut tell, &mut pack, Form::Trimmed, &stop);
    let objects = written.expect("a pack").objects;
    assert!(said.as_ref().is_none_or(|said| said.names.len() as u64 == objects));
    (pack, said)
}

/// The portions of these sources, each asked for what none of those before sends.
fn portions(sources: &[&Fixture], tip: ObjectId) -> Vec<(Vec<u8>, Option<Portion>)> {
    let mut named = Skip::default();
    let one = |(at, source): (usize, &&Fixture)| {
        let (pack, said) = portion(source, tip, &named, (sources.len() - at) as u8);
        if let Some(said) = &said {
            named.extend(&said.names);
        }
        (pack, said)
    };
    sources.iter().enumerate().map(one).collect()
}

fn receive(gathering: &Gathering, input: &mut dyn BufRead, said: Option<&Portion>) -> Result<(), PackRefused> {
    gathering.receive(input, said, &PackLimits::default(), &|_, _| {}, &AtomicBool::new(false))
}

/// The same history, once more.
fn history() -> (Fixture, Fixture, ObjectId) {
    let (from, other) = (many(24_000, 300), Fixture::new());
    from.git(&["repack", "-adfq"]);
    let tip = from.rev("main");
    // Packed in another way.
    other.git(&["fetch", "-q", &from.dir().to_string_lossy(), "+main:refs/heads/main", "--update-head-ok"]);
    other.git(&["repack", "-adfq", "--window=3", "--depth=5"]);
    (from, other, tip)
}

/// All is here, and only what is in the packs that were adopted.
fn is_whole(to: &Fixture, gathering: Gathering, tip: ObjectId, packs: usize) {
    let adopted = gathering.finish(&[tip], &AtomicBool::new(false)).unwrap().adopt().unwrap();
    assert_eq!(adopted.packs.len(), packs);
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    assert_eq!(adopted.objects, to.reachable(&["main"]).len() as u64, "nothing came twice");
    adopted.release();
    to.fsck();
    assert_eq!(files(&to.dir().join(".git/lansync/quarantine")), Vec::<PathBuf>::new());
}

#[test]
fn each_sends_a_portion_and_nothing_comes_twice() {
    let (from, other, tip) = history();
    let all = pack_from(&from, &[tip], &[]).len();
    for (sources, most) in [
        (vec![&from, &from], 101),
        (vec![&from, &other], 125),
        (vec![&other, &from, &from], 125),
        (vec![&from, &other, &from, &other], 130),
    ] {
        let to = Fixture::new();
        let sent = portions(&sources, tip);
        let bytes: Vec<usize> = sent.iter().map(|(pack, _)| pack.len()).collect();
        say(&format!("{bytes:?} bytes of {all}"));
        assert!(bytes.iter().sum::<usize>() * 100 <= all * most, "{bytes:?} of {all}");
        let fair = all / sources.len();
        assert!(bytes[0] * 10 <= fair * 11 && bytes[0] * 11 >= fair * 9, "{bytes:?}");
        assert!(sent.iter().rev().skip(1).all(|(_, said)| said.is_some()) && sent.last().unwrap().1.is_none());
        let objects = from.reachable(&["main"]).len() as u32;
        assert_eq!(sent[0].1.as_ref().unwrap().objects, objects);
        let gathering = to.repo().gather(None, &[]).unwrap();
        // All at once.
        std::thread::scope(|scope| {
            for (pack, said) in &sent {
                let gathering = &gathering;
                scope.spawn(move || receive(gathering, &mut pack.as_slice(), said.as_ref()).unwrap());
            }
        });
        is_whole(&to, gathering, tip, sources.len());
    }
    // What is small is sent by one.
    let (small, said) = portion(&many(200, 5), many(200, 5).rev("main"), &Skip::default(), 4);
    assert!(said.is_none() && small.len() < limits::SMALL_PACK);
    let (_, said) = portion(&from, tip, &Skip::default(), 1);
    assert!(said.is_none(), "nobody else sends any of it");
}

#[test]
fn what_of_one_came_before_it_broke_off_is_not_sent_again() {
    let (from, other, tip) = history();
    let (to, stop) = (Fixture::new(), AtomicBool::new(false));
    let all = pack_from(&from, &[tip], &[]).len();
    // Of a first one, alone, some came; then one of two that divide the rest broke off.
    let (alone, _) = portion(&from, tip, &Skip::default(), 1);
    let begun = alone.len() / 3;
    let cut = to.repo().gather(None, &[]).unwrap();
    receive(&cut, &mut super::resume::Breaks(&alone[..begun]), None).unwrap_err();
    let kept = cut.into_kept().expect("enough came");
    let gathering = to.repo().gather(Some(kept), &[]).unwrap();
    let mut named = gathering.skip();
    let (first, said) = portion(&from, tip, &named, 2);
    let said = said.expect("it is a portion");
    named.extend(&said.names);
    let (second, none) = portion(&other, tip, &named, 1);
    assert!(none.is_none());
    receive(&gathering, &mut super::resume::Breaks(&first[..first.len() / 2]), Some(&said)).unwrap_err();
    receive(&gathering, &mut second.as_slice(), None).unwrap();
    // Killed now, or not, it is the same that lacks.
    let left = gathering.skip();
    let kept = gathering.into_kept().expect("much came");
    assert!(kept.prefix().is_none(), "no pack begins like that");
    drop(kept);
    let kept = to.repo().kept_pack(0).expect("it is found again");
    let kept = kept.recover(&to.repo(), &PackLimits::default(), &stop).expect("nothing of it is damaged");
    assert_eq!(kept.skip(), left);
    let gathering = to.repo().gather(Some(kept), &[]).unwrap();
    let (rest, _) = portion(&other, tip, &gathering.skip(), 1);
    let sent = begun + first.len() / 2 + second.len() + rest.len();
    say(&format!("{sent} bytes of {all}"));
    assert!(sent * 100 <= all * 125, "{sent} of {all}");
    receive(&gathering, &mut rest.as_slice(), None).unwrap();
    is_whole(&to, gathering, tip, 4);
}

/// Waits, before its first byte, until another was read.
struct After<'a>(&'a std::sync::Barrier, bool, &'a [u8]);

impl Read for After<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.2.read(out)
    }
}

impl BufRead for After<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if !std::mem::replace(&mut self.1, true) {
            self.0.wait();
        }
        Ok(self.2)
    }

    fn consume(&mut self, amount: usize) {
        self.2.consume(amount);
    }
}

#[test]
fn one_that_lies_is_found_out_and_what_others_sent_is_of_use() {
    let (from, other, tip) = history();
    let to = Fixture::new();
    let mut sent = portions(&[&from, &other], tip);
    let (last, _) = sent.pop().unwrap();
    let (first, said) = sent.pop().unwrap();
    let said = said.unwrap();

    // It names more than it brings: nobody would be asked for that.
    let mut more = said.clone();
    more.names.extend(&Skip::of([id_of(Kind::Blob, b"never")].iter().filter_map(to_gix), usize::MAX));
    let gathering = to.repo().gather(None, &[]).unwrap();
    let both = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let good = scope.spawn(|| receive(&gathering, &mut After(&both, false, &last), None));
        let bad = receive(&gathering, &mut After(&both, false, &first), Some(&more)).unwrap_err();
        assert!(bad.is_peers_fault(), "{bad}");
        good.join().unwrap().unwrap();
    });
    let (rest, _) = portion(&other, tip, &gathering.skip(), 1);
    assert!(rest.len() < first.len() * 2, "what came is not asked for again");
    receive(&gathering, &mut rest.as_slice(), None).unwrap();
    is_whole(&to, gathering, tip, 2);

    // It brings nothing of what it names.
    let to = Fixture::new();
    let gathering = to.repo().gather(None, &[]).unwrap();
    assert!(receive(&gathering, &mut raw_pack(0, &[]).as_slice(), Some(&said)).unwrap_err().is_peers_fault());
    drop(gathering);
    // It says that there are many more objects, or fewer, than there are: that changes nothing.
    for objects in [1, u32::MAX] {
        let gathering = to.repo().gather(None, &[]).unwrap();
        let portion = Portion { objects, ..said.clone() };
        receive(&gathering, &mut first.as_slice(), Some(&portion)).unwrap();
        receive(&gathering, &mut last.as_slice(), None).unwrap();
        gathering.finish(&[tip], &AtomicBool::new(false)).unwrap();
    }
    // What the last one leaves out is missed, in any order.
    let (short, _) = portion(&from, tip, &said.names, 2);
    for swap in [false, true] {
        let gathering = to.repo().gather(None, &[]).unwrap();
        let mut packs = [(&first, Some(&said)), (&short, None)];
        packs[swap as usize..].reverse();
        for (pack, said) in packs {
            receive(&gathering, &mut pack.as_slice(), said).unwrap();
        }
        let missed = gathering.finish(&[tip], &AtomicBool::new(false)).err().unwrap();
        assert!(matches!(missed, PackRefused::MissingObject(_)), "{missed}");
    }
    assert_eq!(files(&to.dir().join(".git/lansync/quarantine")), Vec::<PathBuf>::new());
}

#[test]
fn nothing_that_is_refused_in_one_pack_comes_in_by_two() {
    let to = Fixture::new();
    let blob = id_of(Kind::Blob, b"x\n");
    let bad = tree_of(&[("100644", ".git", blob)]);
    let tree = id_of(Kind::Tree, &bad);
    let commit = commit_of(tree, &[]);
    let tip = id_of(Kind::Commit, &commit);
    let packs = [pack_of(&[(Kind::Commit, commit), (Kind::Blob, b"x\n".to_vec())]), pack_of(&[(Kind::Tree, bad)])];
    let gathering = to.repo().gather(None, &[]).unwrap();
    receive(&gathering, &mut packs[0].as_slice(), None).unwrap();
    let refused = receive(&gathering, &mut packs[1].as_slice(), None).unwrap_err();
    assert!(matches!(refused, PackRefused::BadTree { why: BadTree::DotGit, .. }), "{refused}");
    let missed = gathering.finish(&[tip], &AtomicBool::new(false)).err().unwrap();
    assert!(matches!(missed, PackRefused::MissingObject(id) if id == tree), "{missed}");
}
