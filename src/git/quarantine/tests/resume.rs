//! Packs that were cut, and what is made of that.

use std::io::Read;

use super::*;
use crate::git::{Form, PackError, Part, Prefix, Skip};

/// Gives some bytes, and then breaks off as a connection does.
pub(super) struct Breaks<'a>(pub(super) &'a [u8]);

impl Read for Breaks<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let amount = self.fill_buf()?.len().min(out.len());
        out[..amount].copy_from_slice(&self.0[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl BufRead for Breaks<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.0.is_empty() {
            Err(std::io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(&self.0[..self.0.len().min(5_000)])
        }
    }

    fn consume(&mut self, amount: usize) {
        self.0 = &self.0[amount..];
    }
}

/// A pack as it is sent.
fn whole(fixture: &Fixture, want: &[ObjectId], have: &[ObjectId]) -> Vec<u8> {
    let mut pack = Vec::new();
    let stop = AtomicBool::new(false);
    fixture.repo().write_part(want, have, &Part::Whole, &mut pack, Form::Trimmed, &stop).expect("a pack");
    pack
}

fn go_on(
    repo: &Repository,
    kept: Option<Kept>,
    input: &mut dyn BufRead,
    wants: &[ObjectId],
    haves: &[ObjectId],
) -> Result<Quarantined, Interrupted> {
    let stop = AtomicBool::new(false);
    repo.resume_pack(kept, input, wants, haves, &PackLimits::default(), &|_| {}, &stop)
}

/// Receives only a part.
fn cut(repo: &Repository, kept: Option<Kept>, part: &[u8], wants: &[ObjectId], haves: &[ObjectId]) -> Kept {
    let interrupted = go_on(repo, kept, &mut Breaks(part), wants, haves).err().expect("it was cut");
    assert_eq!(interrupted.why.blame(), Blame::Local, "a cut is nobody's fault");
    *interrupted.kept.expect("there is something to go on with")
}

/// The rest, as a peer sends it that is told what is here; and how many bytes it took to tell.
fn rest(fixture: &Fixture, kept: &Kept, want: &[ObjectId], have: &[ObjectId]) -> (Vec<u8>, usize) {
    let told = kept.skip().encode();
    let part = Part::Without(Skip::decode(&told).expect("it is encoded above"));
    let mut pack = Vec::new();
    fixture.repo().write_part(want, have, &part, &mut pack, Form::Trimmed, &AtomicBool::new(false)).expect("a pack");
    (pack, told.len())
}

#[test]
fn a_clone_that_was_cut_asks_only_for_the_rest() {
    let (from, other) = (many(8_000, 200), Fixture::new());
    from.git(&["repack", "-adfq"]);
    let tip = from.rev("main");
    // The same history, packed in another way.
    other.git(&["fetch", "-q", &from.dir().to_string_lossy(), "+main:refs/heads/main", "--update-head-ok"]);
    other.git(&["repack", "-adfq", "--window=3", "--depth=5"]);
    let whole = whole(&from, &[tip], &[]);
    let half = whole.len() / 2;

    let to = Fixture::new();
    let repo = to.repo();
    let kept = cut(&repo, None, &whole[..half], &[tip], &[]);
    assert!(kept.bytes() > half as u64 * 99 / 100, "{} of {half} bytes were kept", kept.bytes());
    assert!(!repo.has(&tip), "git sees nothing of it");
    let (pack, told) = rest(&from, &kept, &[tip], &[]);
    let sent = half + told + pack.len();
    say(&format!("{} bytes in one go; cut at half {sent}, of them {told} to tell what is here", whole.len()));
    // Nothing is sent twice. What is here is told in some 6 bytes an object, and deltas against it are not made: these objects
    // are tiny, so that is more here than of files that people write.
    assert!(sent <= whole.len() + whole.len() / 12, "{sent} bytes, {} in one go", whole.len());
    let adopted = go_on(&repo, Some(kept), &mut pack.as_slice(), &[tip], &[]).map_err(|cut| cut.why).unwrap();
    let adopted = adopted.adopt().unwrap();
    assert_eq!((adopted.objects, adopted.packs.len()), (from.reachable(&["main"]).len() as u64, 2));
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    adopted.release();
    to.fsck();
    assert_eq!(to.reachable(&["main"]), from.reachable(&["main"]));

    // From a peer that packed it differently, and cut a second time.
    let to = Fixture::new();
    let repo = to.repo();
    let kept = cut(&repo, None, &whole[..half], &[tip], &[]);
    let (second, told) = rest(&other, &kept, &[tip], &[]);
    let upto = second.len() * 2 / 3;
    let kept = cut(&repo, Some(kept), &second[..upto], &[tip], &[]);
    let (third, told_again) = rest(&from, &kept, &[tip], &[]);
    say(&format!("cut twice, of two peers: {} bytes", half + told + upto + told_again + third.len()));
    go_on(&repo, Some(kept), &mut third.as_slice(), &[tip], &[])
        .map_err(|cut| cut.why)
        .unwrap()
        .adopt()
        .unwrap()
        .release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
    assert_eq!(files(&to.dir().join(".git/lansync/quarantine")), Vec::<PathBuf>::new());
}

/// What follows what is here in the very pack that was cut, or `None` where that is another by now.
fn following(fixture: &Fixture, kept: &Kept, want: &[ObjectId], have: &[ObjectId]) -> Option<Vec<u8>> {
    let part = Part::After(kept.prefix().expect("it is the beginning of one pack"));
    let mut pack = Vec::new();
    match fixture.repo().write_part(want, have, &part, &mut pack, Form::Trimmed, &AtomicBool::new(false)) {
        Ok(_) => Some(pack),
        Err(PackError::Differs) => {
            assert!(pack.is_empty(), "nothing of another pack is sent");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn nothing_is_sent_twice_where_the_pack_is_the_same_still() {
    let from = many(8_000, 200);
    from.git(&["repack", "-adfq"]);
    let (tip, stop) = (from.rev("main"), AtomicBool::new(false));
    let [plain, whole] = [Form::Plain, Form::Trimmed].map(|form| {
        let mut pack = Vec::new();
        from.repo().write_part(&[tip], &[], &Part::Whole, &mut pack, form, &stop).expect("a pack");
        pack
    });
    let half = whole.len() / 2;
    let to = Fixture::new();
    let repo = to.repo();
    // Cut at half, killed in the rest of that, and cut once more.
    let mut kept = cut(&repo, None, &whole[..half], &[tip], &[]);
    let second = following(&from, &kept, &[tip], &[]).expect("it is the same pack");
    kept.goes_on();
    let upto = second.len() / 2;
    killed(&to, Some(kept), &second[..upto], &[tip], &[]);
    let mut kept = found(&repo, now()).expect("it is here");
    let third = following(&from, &kept, &[tip], &[]).expect("it is the same pack");
    kept.goes_on();
    let more = third.len() / 2;
    let mut kept = cut(&repo, Some(kept), &third[..more], &[tip], &[]);
    let fourth = following(&from, &kept, &[tip], &[]).expect("it is the same pack");
    kept.goes_on();
    let sent = half + upto + more + fourth.len();
    let once = (sent - whole.len()) as f64 * 100.0 / whole.len() as f64;
    say(&format!("cut three times: {sent} bytes, {} in one go: {once:.2} % more", whole.len()));
    assert!(sent <= whole.len() + whole.len() / 100, "{sent} bytes, {} in one go", whole.len());
    let taken = go_on(&repo, Some(kept), &mut fourth.as_slice(), &[tip], &[]).map_err(|cut| cut.why).unwrap();
    let adopted = taken.adopt().unwrap();
    assert_eq!(adopted.packs.len(), 1);
    assert!(std::fs::read(&adopted.packs[0]).unwrap() == plain, "it is the pack that would have come in one go");
    adopted.release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
    assert_eq!(files(&to.dir().join(".git/lansync/quarantine")), Vec::<PathBuf>::new());
}

#[test]
fn what_is_another_pack_by_now_is_not_gone_on_with() {
    let from = many(8_000, 200);
    from.git(&["repack", "-adfq"]);
    let (tip, before) = (from.rev("main"), from.rev("main~1"));
    let whole = pack_from(&from, &[tip], &[]);
    let to = Fixture::new();
    let repo = to.repo();
    let mut kept = cut(&repo, None, &whole[..whole.len() / 2], &[tip], &[]);
    assert!(following(&from, &kept, &[tip], &[]).is_some());
    assert!(following(&from, &kept, &[before], &[]).is_none(), "another commit");
    from.git(&["repack", "-adfq", "--window=3", "--depth=5"]);
    assert!(following(&from, &kept, &[tip], &[]).is_none(), "packed in another way");
    let beyond = Part::After(Prefix { bytes: u64::MAX, sha1: [0; 20] });
    let written = from.repo().write_part(&[tip], &[], &beyond, &mut Vec::new(), Form::Plain, &AtomicBool::new(false));
    assert!(matches!(written, Err(PackError::Differs)), "longer than the pack is");
    // A peer that goes on with another pack all the same is to blame, and what came before may be good.
    let (wrong, _) = rest(&from, &kept, &[tip], &[]);
    kept.goes_on();
    let refused = go_on(&repo, Some(kept), &mut wrong.as_slice(), &[tip], &[]).err().unwrap();
    assert!(refused.why.is_peers_fault(), "{}", refused.why);
    let kept = *refused.kept.expect("what came before");
    let (rest, _) = rest(&from, &kept, &[tip], &[]);
    go_on(&repo, Some(kept), &mut rest.as_slice(), &[tip], &[]).map_err(|cut| cut.why).unwrap();
}

#[test]
fn an_increment_that_was_cut_goes_on_too() {
    let (from, to) = (many(4_000, 0), Fixture::new());
    let before = from.rev("main");
    from.git(&["reset", "-q", "--hard"]);
    for file in 0..600 {
        let path = format!("d{}/e{}/f{file}", file % 50, file / 50 % 20);
        from.write(
            &path,
            &(0..300).map(|line| format!("{:x}", (line + file) as u64 * 7_919_377 % 999_983)).collect::<String>(),
        );
    }
    let tip = from.commit("new", "1\n");
    let repo = to.repo();
    take(&repo, &pack_from(&from, &[before], &[]), &[before], &[]).unwrap().adopt().unwrap().release();
    let whole = whole(&from, &[tip], &[before]);
    let upto = whole.len() * 9 / 10;
    assert!(upto as u64 > limits::KEPT_BYTES, "{upto}");
    let kept = cut(&repo, None, &whole[..upto], &[tip], &[before]);
    let follows = following(&from, &kept, &[tip], &[before]).expect("it is the same pack");
    assert!(follows.len() * 5 < whole.len(), "{} of {}", follows.len(), whole.len());
    let (pack, _) = rest(&from, &kept, &[tip], &[before]);
    assert!(pack.len() * 5 < whole.len(), "{} of {}", pack.len(), whole.len());
    let taken = go_on(&repo, Some(kept), &mut pack.as_slice(), &[tip], &[before]).map_err(|cut| cut.why).unwrap();
    taken.adopt().unwrap().release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
}

#[test]
fn what_was_kept_proves_nothing_and_does_not_stay() {
    let (from, to) = (many(6_000, 50), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let whole = pack_from(&from, &[tip], &[]);
    let before = files(&to.dir().join(".git/objects"));
    // A pack that merely ends early is a broken one.
    let ended = go_on(&repo, None, &mut &whole[..whole.len() / 2], &[tip], &[]).err().unwrap();
    assert!(ended.why.is_peers_fault() && ended.kept.is_none());
    // Too little to be worth anything.
    assert!(go_on(&repo, None, &mut Breaks(&whole[..5_000]), &[tip], &[]).err().unwrap().kept.is_none());
    // A rest that lacks something, and one that is damaged.
    let kept = cut(&repo, None, &whole[..whole.len() * 2 / 3], &[tip], &[]);
    let nothing = raw_pack(0, &[]);
    let lacking = go_on(&repo, Some(kept), &mut nothing.as_slice(), &[tip], &[]).err().unwrap();
    assert!(matches!(lacking.why, PackRefused::MissingObject(_)) && lacking.kept.is_none());
    let kept = cut(&repo, None, &whole[..whole.len() * 2 / 3], &[tip], &[]);
    let (mut damaged, _) = rest(&from, &kept, &[tip], &[]);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let refused = go_on(&repo, Some(kept), &mut damaged.as_slice(), &[tip], &[]).err().unwrap();
    assert!(refused.why.is_peers_fault());
    refused.kept.expect("what came before may be good").discard();
    // What came damaged before the cut is not kept.
    let mut bad = whole[..whole.len() * 2 / 3].to_vec();
    bad[whole.len() / 3] ^= 0x10;
    let cut_off = go_on(&repo, None, &mut Breaks(&bad), &[tip], &[]).err().unwrap();
    assert!(cut_off.kept.is_none() || !cut_off.why.is_peers_fault());
    if let Some(kept) = cut_off.kept {
        kept.discard();
    }
    untouched(&to, &before);
}

/// The wall clock of these tests, in milliseconds: what files are said to be from is the machine's own.
fn now() -> u64 {
    let probe = tempfile::NamedTempFile::new().unwrap();
    let time = probe.as_file().metadata().unwrap().modified().unwrap();
    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

const DAY: u64 = 24 * 3600 * 1000;

/// Gives some bytes, and then does something before it breaks off.
struct Until<'a, F: FnMut()>(Breaks<'a>, F);

impl<F: FnMut()> Read for Until<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out)
    }
}

impl<F: FnMut()> BufRead for Until<'_, F> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.0.0.is_empty() {
            (self.1)();
        }
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

/// The quarantine as it is found by a process that starts after one was killed that had received so much.
fn killed(to: &Fixture, kept: Option<Kept>, part: &[u8], wants: &[ObjectId], haves: &[ObjectId]) {
    let (repo, all) = (to.repo(), to.dir().join(".git/lansync/quarantine"));
    let aside = tempfile::tempdir().unwrap();
    let copy = || {
        let from = std::fs::read_dir(&all).unwrap().next().expect("it is being received").unwrap().path();
        assert!(
            std::process::Command::new("cp")
                .arg("-r")
                .arg(from)
                .arg(aside.path().join("1-0"))
                .status()
                .unwrap()
                .success()
        );
    };
    let mut input = Until(Breaks(part), copy);
    go_on(&repo, kept, &mut input, wants, haves).err().expect("it was cut").kept.expect("enough came").discard();
    assert_eq!(files(&all), Vec::<PathBuf>::new());
    std::fs::rename(aside.path().join("1-0"), all.join("1-0")).unwrap();
}

/// As the service does at its start.
fn found(repo: &Repository, now: u64) -> Option<Kept> {
    let kept = repo.kept_pack(now);
    repo.clean_quarantine();
    kept?.recover(repo, &PackLimits::default(), &AtomicBool::new(false))
}

#[test]
fn what_a_killed_process_received_is_gone_on_with() {
    let (from, to) = (many(8_000, 200), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let whole = pack_from(&from, &[tip], &[]);
    let half = whole.len() / 2;
    killed(&to, None, &whole[..half], &[tip], &[]);
    // Other things that a crash leaves.
    let quarantine = to.dir().join(".git/lansync/quarantine");
    std::fs::create_dir_all(quarantine.join("2-0/pack")).unwrap();
    std::fs::write(quarantine.join("2-0/pack/incoming-0.pack"), &whole[..half]).unwrap();
    std::fs::write(quarantine.join("1-0/pack/incoming-7.idx"), "half an index").unwrap();

    let kept = found(&repo, now()).expect("half of it is here");
    assert_eq!(kept.haves(), []);
    assert!(kept.bytes() > half as u64 * 9 / 10, "{} of {half}", kept.bytes());
    assert!(!quarantine.join("2-0").exists() && !quarantine.join("1-0/pack/incoming-7.idx").exists());
    // Stopped in an orderly way, and started again.
    let objects = kept.objects();
    drop(kept);
    let kept = found(&repo, now() + 13 * DAY).expect("it is still here");
    assert_eq!(kept.objects(), objects);
    // Killed again, in the middle of the rest.
    let (second, _) = rest(&from, &kept, &[tip], &[]);
    killed(&to, Some(kept), &second[..second.len() * 2 / 3], &[tip], &[]);
    let kept = found(&repo, now()).expect("most of it is here");
    assert!(kept.objects() > objects, "{} after {objects}", kept.objects());
    let (third, _) = rest(&from, &kept, &[tip], &[]);
    let adopted = go_on(&repo, Some(kept), &mut third.as_slice(), &[tip], &[]).map_err(|cut| cut.why).unwrap();
    assert_eq!(adopted.objects(), from.reachable(&["main"]).len() as u64, "nothing came twice");
    adopted.adopt().unwrap().release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
    assert_eq!(files(&quarantine), Vec::<PathBuf>::new());
}

#[test]
fn what_is_left_is_damaged_old_or_not_said_to_be_whole_and_does_no_harm() {
    let (from, to) = (many(8_000, 200), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let whole = pack_from(&from, &[tip], &[]);
    let quarantine = to.dir().join(".git/lansync/quarantine");
    let (pack, record) = (quarantine.join("1-0/pack/incoming-0.pack"), quarantine.join("1-0/kept"));
    let before = files(&to.dir().join(".git/objects"));
    let again = || killed(&to, None, &whole[..whole.len() * 9 / 10], &[tip], &[]);
    again();
    assert!(found(&repo, now() + 15 * DAY).is_none(), "it is old");
    untouched(&to, &before);
    again();
    let said = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, said.replacen("pack 0 ", "pack 0 1", 1)).unwrap();
    assert!(found(&repo, now()).is_none(), "its record is damaged");
    untouched(&to, &before);
    for content in [Vec::new(), vec![0; 600_000], b"PACK\0\0\0\x02\xff\xff\xff\xff".repeat(50_000)] {
        again();
        std::fs::write(&pack, content).unwrap();
        assert!(found(&repo, now()).is_none(), "nothing of it can be read");
        untouched(&to, &before);
    }
    // Damaged somewhere: what lies before may be used, and what comes in the end is what it should be.
    for part in 1..10 {
        again();
        let mut bytes = std::fs::read(&pack).unwrap();
        let at = bytes.len() * part / 10;
        bytes[at..at + 3].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&pack, bytes).unwrap();
        let Some(kept) = found(&repo, now()) else { continue };
        assert!(kept.bytes() <= at as u64 + 64, "nothing behind the damage counts");
        let (pack, _) = rest(&from, &kept, &[tip], &[]);
        let taken = go_on(&repo, Some(kept), &mut pack.as_slice(), &[tip], &[]).map_err(|cut| cut.why).unwrap();
        assert_eq!(taken.objects(), from.reachable(&["main"]).len() as u64);
    }
    untouched(&to, &before);
}

#[test]
fn what_a_pack_was_completed_with_does_not_count_as_received_after_a_restart() {
    let (from, to) = (many(4_000, 0), Fixture::new());
    let before = from.rev("main");
    from.git(&["reset", "-q", "--hard"]);
    for file in 0..600 {
        let path = format!("d{}/e{}/f{file}", file % 50, file / 50 % 20);
        let old = std::fs::read_to_string(from.dir().join(&path)).unwrap_or_default();
        let lines = (0..300).map(|line| format!("{:x}", (line + file) as u64 * 7_919_377 % 999_983));
        from.write(&path, &format!("{old}{}", lines.collect::<String>()));
    }
    let tip = from.commit("new", "1\n");
    let repo = to.repo();
    take(&repo, &pack_from(&from, &[before], &[]), &[before], &[]).unwrap().adopt().unwrap().release();
    let whole = whole(&from, &[tip], &[before]);
    let upto = whole.len() * 9 / 10;
    assert!(upto as u64 > limits::KEPT_BYTES, "{upto}");
    let kept = cut(&repo, None, &whole[..upto], &[tip], &[before]);
    let (objects, bases) = (kept.objects(), kept.packs.iter().map(|pack| pack.bases.len()).sum::<usize>());
    assert!(bases > 0, "it builds on what is here");
    drop(kept);
    let kept = found(&repo, now()).expect("it is here");
    assert_eq!(kept.haves(), [before]);
    assert_eq!((kept.objects(), kept.packs[0].bases.len()), (objects, bases));
    let (pack, _) = rest(&from, &kept, &[tip], &[before]);
    let follows = following(&from, &kept, &[tip], &[before]).expect("bases are no part of it");
    let mut kept = cut(&repo, Some(kept), &pack[..20], &[tip], &[before]);
    kept.goes_on();
    let taken = go_on(&repo, Some(kept), &mut follows.as_slice(), &[tip], &[before]).map_err(|cut| cut.why).unwrap();
    taken.adopt().unwrap().release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
}
