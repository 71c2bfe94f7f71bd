//! A thousand corrupted, truncated and hostile packs: none is taken, nothing breaks, and memory stays bounded.
//!
//! Each is made from a good pack, with and without deltas, thin ones too, by a numbered stream of chance, so that a
//! failure can be seen again. A test of its own process: what it measures is what packs took.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests print figures and fail at once")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use lansync::git::{PackLimits, Repository};
use lansync::id::ObjectId;

const PACKS: usize = 1_000;
/// What one object may inflate to here, and all of a pack.
const LIMITS: PackLimits =
    PackLimits { objects: 10_000, bytes: 8 << 20, object_bytes: 8 << 20, all_object_bytes: 32 << 20, depth: 60 };
/// What the process may take more than before, in KiB: an object and its base, twice, for two threads, and the pack.
const MEMORY: u64 = 96 << 10;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ana").env(format!("GIT_{role}_EMAIL"), "ana@example.org");
        command.env(format!("GIT_{role}_DATE"), "1700000000 +0000");
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git runs");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn rev(dir: &Path, name: &str) -> ObjectId {
    String::from_utf8(git(dir, &["rev-parse", "--verify", name], b"")).unwrap().trim().parse().unwrap()
}

/// Puts the right checksum at the end.
fn seal(pack: &mut Vec<u8>) {
    let mut hash = gix::hash::hasher(gix::hash::Kind::Sha1);
    hash.update(pack);
    pack.extend_from_slice(hash.try_finalize().unwrap().as_bytes());
}

/// One entry of a pack: its type's number, the size that its header says, what stands before its bytes, its bytes.
fn entry(kind: u8, size: u64, base: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![kind << 4 | (size & 15) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        *out.last_mut().unwrap() |= 0x80;
        out.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.extend_from_slice(base);
    let mut deflate = gix::zlib::stream::deflate::Write::new(out, gix::zlib::Compression::DEFAULT);
    deflate.write_all(data).and_then(|()| deflate.flush()).unwrap();
    deflate.into_inner()
}

fn pack(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut pack = [b"PACK".as_slice(), &2u32.to_be_bytes(), &count.to_be_bytes(), &entries.concat()].concat();
    seal(&mut pack);
    pack
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// How far back the base of a delta is.
fn distance(mut back: u64) -> Vec<u8> {
    let mut out = vec![(back & 0x7f) as u8];
    while back > 0x7f {
        back = (back >> 7) - 1;
        out.insert(0, (back & 0x7f) as u8 | 0x80);
    }
    out
}

const BLOB: u8 = 3;
const OFFSET: u8 = 6;
const NAMED: u8 = 7;

/// A pack that nobody writes by mistake.
fn crafted(dice: &mut Dice, held: &[u8]) -> Vec<u8> {
    let blob = |data: &[u8]| entry(BLOB, data.len() as u64, b"", data);
    let text = vec![b'a' + dice.below(26) as u8; 100 + dice.below(5_000)];
    let base = blob(&text);
    let built = |back: u64, delta: &[u8]| entry(OFFSET, delta.len() as u64, &distance(back), delta);
    let delta = |from: u64, to: u64, rest: &[u8]| [varint(from), varint(to), rest.to_vec()].concat();
    let (len, back) = (text.len() as u64, base.len() as u64);
    let named = |id: &[u8], delta: &[u8]| entry(NAMED, delta.len() as u64, id, delta);
    match dice.below(20) {
        // Zeros that inflate to more than is allowed, plain, by a delta, and by many.
        0 => pack(1, &[blob(&vec![0; (8 << 20) + 1 + dice.below(1 << 20)])]),
        1 => {
            let zeros = vec![0; 1 << 20];
            let base = blob(&zeros);
            let copies = [0xb0, 0xff, 0xff].repeat(200 + dice.below(2_000));
            let size = copies.len() as u64 / 3 * 0xffff;
            let bomb = built(base.len() as u64, &delta(1 << 20, size, &copies));
            pack(2, &[base, bomb])
        }
        2 => {
            let entries: Vec<Vec<u8>> = (0..40u8).map(|at| blob(&vec![at; 1 << 20])).collect();
            pack(40, &entries)
        }
        // A chain that is too long, in which every object is another.
        3 => {
            let mut entries = vec![base];
            for at in 0..70u8 {
                let back = entries.last().unwrap().len() as u64;
                let from = if at == 0 { len } else { 6 };
                entries.push(built(back, &delta(from, 6, &[0x90, 5, 1, at])));
            }
            pack(71, &entries)
        }
        // Deltas that copy what is not there, say another size, hold nothing or what is reserved, or end early.
        4 => pack(2, &[base, built(back, &delta(len, 10, &[0x91, 200, 10]))]),
        5 => pack(2, &[base, built(back, &delta(len + 1, 5, &[0x90, 5]))]),
        6 => pack(2, &[base, built(back, &delta(len, 500, &[0x90, 5]))]),
        7 => pack(2, &[base, built(back, &delta(len, 5, &[0]))]),
        8 => pack(2, &[base, built(back, &delta(len, 50, &[50, 1, 2]))]),
        9 => pack(2, &[base, built(back, &[0xff; 12])]),
        10 => pack(2, &[base, built(back, b"")]),
        // Bases that are nowhere: within another entry, before the pack, itself, one that comes later.
        11 => pack(2, &[base, built(back - 1, &delta(len, 5, &[0x90, 5]))]),
        12 => pack(2, &[base, built(back + 1_000, &delta(len, 5, &[0x90, 5]))]),
        13 => pack(2, &[base, built(0, &delta(len, 5, &[0x90, 5]))]),
        14 => pack(2, &[built(u64::MAX / 4, &delta(len, 5, &[0x90, 5])), base]),
        15 => pack(1, &[named(&[dice.below(256) as u8; 20], &delta(len, 5, &[0x90, 5]))]),
        // Built on what is held, and wrong; what is held comes too; types that do not exist.
        16 => pack(1, &[named(held, &delta(1 << 40, 1 << 50, &[0x90, 5]))]),
        17 => pack(2, &[base.clone(), base]),
        18 => pack(1, &[entry([0, 5][dice.below(2)], 5, b"", b"hello")]),
        // A size of its own that is a lie, by a little or by all.
        _ => pack(1, &[entry(BLOB, [0, 4, 6, 1 << 40, u64::MAX][dice.below(5)], b"", b"hello")]),
    }
}

/// A good pack made bad, its checksum right or not.
fn damaged(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    let mut bad = good[..good.len() - 20].to_vec();
    let mut sealed = true;
    match dice.below(9) {
        0 => bad.truncate(12 + dice.below(bad.len() - 12)),
        1 => {
            bad.truncate(dice.below(bad.len()));
            sealed = false;
        }
        2 => {
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bad.len());
                bad[at] ^= 1 << dice.below(8);
            }
            sealed = false;
        }
        3 => {
            // Types, sizes and distances stand at the start of entries, and the first entry at 12.
            let at = 12 + dice.below(3);
            bad[at] ^= 1 << dice.below(8);
        }
        4 => {
            let from = 12 + dice.below(bad.len() - 12);
            let upto = (from + 1 + dice.below(40)).min(bad.len());
            bad.drain(from..upto);
        }
        5 => {
            let at = 12 + dice.below(bad.len() - 12);
            let junk: Vec<u8> = (0..1 + dice.below(40)).map(|_| dice.below(256) as u8).collect();
            bad.splice(at..at, junk);
        }
        6 => {
            let count = [0, 1, 9_999, 10_001, u32::MAX][dice.below(5)];
            bad[8..12].copy_from_slice(&count.to_be_bytes());
        }
        7 => bad[4 + dice.below(4)] ^= 1 << dice.below(8),
        _ => {
            let rest = bad.split_off(bad.len() / 2);
            bad.extend((0..rest.len()).map(|_| dice.below(256) as u8));
        }
    }
    if sealed {
        seal(&mut bad);
    } else {
        bad.extend_from_slice(&good[good.len() - 20..]);
    }
    if dice.below(20) == 0 {
        bad.extend_from_slice(&good[..1 + dice.below(good.len())]);
    }
    bad
}

/// The most that this process has held in memory, in KiB; 0 where that cannot be seen.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn none_of_a_thousand_bad_packs_is_taken_and_memory_is_bounded() {
    let top = tempfile::tempdir().unwrap();
    let (from, to) = (top.path().join("from"), top.path().join("to"));
    for dir in [&from, &to] {
        std::fs::create_dir(dir).unwrap();
        git(dir, &["init", "-q", "-b", "main"], b"");
    }
    let text: String = (0..300).map(|line| format!("line {line} of {}\n", line * 7919 % 997)).collect();
    for at in 0..12 {
        std::fs::create_dir_all(from.join(format!("d{}", at % 3))).unwrap();
        std::fs::write(from.join(format!("d{}/f", at % 3)), text.replace("line 9", &format!("change {at}"))).unwrap();
        git(&from, &["add", "-A"], b"");
        git(&from, &["commit", "-q", "-m", "c"], b"");
    }
    let source = Repository::discover(&from).unwrap();
    let repo = Repository::discover(&to).unwrap();
    let (tip, parent) = (rev(&from, "main"), rev(&from, "main~5"));
    let (stop, limits) = (AtomicBool::new(false), LIMITS);
    let written = |want: ObjectId, have: &[ObjectId]| {
        let mut pack = Vec::new();
        source.write_pack(&[want], have, &mut pack, &stop).unwrap();
        pack
    };
    let take = |mut pack: &[u8], have: &[ObjectId]| repo.receive_pack(&mut pack, &[tip], have, &limits, &|_| {}, &stop);
    // What is held: the parent. Then good packs: all of it, one of git's with deltas, and a thin one.
    let mut first = written(parent, &[]);
    let held = repo.receive_pack(&mut first.as_slice(), &[parent], &[], &limits, &|_| {}, &stop).unwrap();
    held.adopt().unwrap().release();
    first.clear();
    let ids = format!("{tip}\n");
    let with_deltas = git(&from, &["pack-objects", "-q", "--revs", "--stdout", "--delta-base-offset"], ids.as_bytes());
    let good = [(written(tip, &[]), vec![]), (with_deltas, vec![]), (written(tip, &[parent]), vec![parent])];
    for (pack, have) in &good {
        drop(take(pack, have).expect("it is good"));
    }
    let base = rev(&from, "main~5:d0/f");
    let before = (files(&to.join(".git/objects")), peak());
    let (mut dice, mut same) = (Dice(20_261_128), 0);
    let mut tried = 0;
    while tried < PACKS {
        let (pack, have) = &good[dice.below(good.len())];
        let (bad, have) = if dice.below(3) == 0 {
            (crafted(&mut dice, base.as_bytes()), vec![parent])
        } else {
            (damaged(&mut dice, pack), have.clone())
        };
        match take(&bad, &have) {
            Err(why) => {
                assert!(why.is_peers_fault(), "pack {tried}: {why}");
                tried += 1;
            }
            // A bit of a compressed stream may mean nothing: then every object is the same, and it is no bad pack.
            Ok(taken) => {
                assert_eq!(bad.len(), pack.len(), "pack {tried} was taken");
                assert_eq!(taken.objects(), u64::from(u32::from_be_bytes(pack[8..12].try_into().unwrap())));
                same += 1;
            }
        }
    }
    assert!(same < 20, "{same} of the packs were no bad ones");
    assert_eq!(files(&to.join(".git/objects")), before.0, "nothing came in");
    assert_eq!(files(&to.join(".git/lansync/quarantine")), Vec::<PathBuf>::new(), "nothing stayed");
    let more = peak().saturating_sub(before.1);
    println!("{tried} packs refused, {same} were the same in other bytes; {} MiB more at the most", more >> 10);
    assert!(more < MEMORY, "{more} KiB more than before");
    for (pack, have) in &good {
        drop(take(pack, have).expect("it is still good"));
    }
}
