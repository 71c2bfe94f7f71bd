//! Packs as they travel between members: trimmed.

use super::*;
use crate::git::{Form, Part};

fn written(fixture: &Fixture, want: ObjectId, have: &[ObjectId], form: Form) -> Vec<u8> {
    let mut pack = Vec::new();
    let written = fixture.repo().write_part(&[want], have, &Part::Whole, &mut pack, form, &AtomicBool::new(false));
    let objects = u32::from_be_bytes(pack[8..12].try_into().unwrap());
    assert_eq!(written.expect("a pack").objects, u64::from(objects));
    pack
}

#[test]
fn a_trimmed_pack_is_stored_as_the_plain_one_that_it_stands_for() {
    let from = many(400, 20);
    from.git(&["repack", "-adfq"]);
    let tip = from.rev("main");
    let [plain, trimmed] = [Form::Plain, Form::Trimmed].map(|form| written(&from, tip, &[], form));
    let objects = u32::from_be_bytes(plain[8..12].try_into().unwrap()) as usize;
    assert_eq!(trimmed.len() + 6 * objects, plain.len());
    let to = Fixture::new();
    let adopted = take(&to.repo(), &trimmed, &[tip], &[]).unwrap().adopt().unwrap();
    assert_eq!((adopted.objects, adopted.bytes), (objects as u64, plain.len() as u64));
    assert!(std::fs::read(&adopted.packs[0]).unwrap() == plain, "every byte is back");
    adopted.release();
    to.git(&["update-ref", "refs/heads/main", &tip.to_string()]);
    to.fsck();
}

#[test]
fn increments_and_large_files_travel_trimmed() {
    let from = many(300, 3);
    let before = from.rev("main");
    from.git(&["checkout", "-q", "-f", "main"]);
    // Larger than what is kept until it is built.
    let mut text = String::new();
    (0..300_000u64).for_each(|line| text += &format!("{:016x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let tip = from.commit("large", &text);
    let to = Fixture::new();
    for (want, have) in [(before, vec![]), (tip, vec![before])] {
        let pack = written(&from, want, &have, Form::Trimmed);
        take(&to.repo(), &pack, &[want], &have).unwrap().adopt().unwrap().release();
        to.git(&["update-ref", "refs/heads/main", &want.to_string()]);
        to.fsck();
    }
    assert_eq!(to.git(&["cat-file", "-s", "main:large"]), (300_000 * 17).to_string());
}

#[test]
fn no_damaged_trimmed_pack_is_taken() {
    let (from, to) = (history(), Fixture::new());
    let (repo, tip) = (to.repo(), from.rev("main"));
    let pack = written(&from, tip, &[], Form::Trimmed);
    let before = files(&to.dir().join(".git/objects"));
    for at in (0..pack.len()).step_by(3) {
        let mut bad = pack.clone();
        bad[at] ^= 1 << (at % 8);
        let result = take(&repo, &bad, &[tip], &[]);
        assert!(result.is_err_and(|why| why.is_peers_fault()), "byte {at}");
        let result = take(&repo, &pack[..at], &[tip], &[]);
        assert!(matches!(result, Err(PackRefused::BadPack(_))), "cut at {at}");
    }
    for tail in [b"x".as_slice(), &pack] {
        let result = take(&repo, &[&pack, tail].concat(), &[tip], &[]);
        assert!(matches!(result, Err(PackRefused::TrailingBytes)));
    }
    untouched(&to, &before);
    take(&repo, &pack, &[tip], &[]).expect("undamaged it is fine");
    let nothing = written(&from, tip, &[tip], Form::Trimmed);
    take(&from.repo(), &nothing, &[tip], &[tip]).expect("as is the pack of nothing");
}
