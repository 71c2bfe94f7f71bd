//! A fetch that is cut in the middle goes on where it was, also from somebody else, and after the service was killed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{LONG, Person, lan_or_skip, wait_for};
use hostile::{Clone, Raw, Session, git, keys, offer, rev, run, until};
use lansync::eventlog::Role;
use lansync::git::{Form, Part, Repository, Skip};
use lansync::limits;
use lansync::quic::CloseCode;
use lansync::sync::{FetchReply, FetchRequest, Message};

/// What somebody was asked for: the bytes that say what need not be sent, and those of the pack that were sent.
#[derive(Debug, Clone, Copy)]
struct Answer {
    skip: usize,
    sent: usize,
}

/// Serves as an honest node does, but of each pack only so much, and then breaks the stream off.
fn serve(session: &Session, repo: Repository, part: f64, answers: Arc<Mutex<Vec<Answer>>>) {
    let connection = session.connection.clone();
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let Ok(Some(request)) = recv.read_frame(limits::FRAME_BYTES).await else { return };
            let request = FetchRequest::decode(&request).unwrap();
            send.write_frame(&FetchReply::Pack.encode()).await.unwrap();
            let mut skip = Vec::new();
            while skip.len() < request.skip as usize {
                skip.extend(recv.read_frame(limits::FRAME_BYTES).await.unwrap().unwrap());
            }
            let skipped = Part::Without(Skip::decode(&skip).unwrap());
            let mut pack = Vec::new();
            let stop = AtomicBool::new(false);
            repo.write_part(&request.want, &request.have, &skipped, &mut pack, Form::Trimmed, &stop).unwrap();
            let upto = (pack.len() as f64 * part) as usize;
            answers.lock().unwrap().push(Answer { skip: skip.len(), sent: upto });
            for frame in pack[..upto].chunks(100_000) {
                send.write_frame(frame).await.unwrap();
            }
            if upto == pack.len() {
                send.write_frame(&[]).await.unwrap();
            }
            // Waits until all of it has come.
            send.finish().await.unwrap();
            if upto < pack.len() {
                connection.close(CloseCode::Bye, "cut");
                return;
            }
        }
    });
}

#[test]
fn a_fetch_that_is_cut_at_half_goes_on_from_another_peer_and_little_is_sent_twice() {
    run(async {
        let (mallory, eve) = (keys("mallory", 2), keys("eve", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&mallory, Role::Contributor), (&eve, Role::Contributor)]).await;
        let (mut mallory, mut eve) = (Raw::new(mallory, &ana), Raw::new(eve, &ana));
        // Text that does not compress well, in many files.
        let mut number = 1u64;
        for file in 0..60 {
            let mut text = String::new();
            for _ in 0..4_000 {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{:x}", number >> 20));
            }
            std::fs::write(mallory.dir.join(format!("file-{file}")), text).unwrap();
        }
        git(&mallory.dir, &["switch", "-q", "-c", "big"]);
        git(&mallory.dir, &["add", "-A"]);
        git(&mallory.dir, &["commit", "-q", "-m", "Sixty files"]);
        let tip = rev(&mallory.dir, "big");
        git(&eve.dir, &["fetch", "-q", &mallory.dir.to_string_lossy(), "big"]);

        let mut whole = Vec::new();
        let (hers, stop) = (Repository::discover(&mallory.dir).unwrap(), AtomicBool::new(false));
        let main = rev(&mallory.dir, "main");
        hers.write_part(&[tip], &[main], &Part::Whole, &mut whole, Form::Trimmed, &stop).unwrap();

        let answers = Arc::new(Mutex::new(Vec::new()));
        let mut first = mallory.joined(&ana).await;
        serve(&first, hers, 0.5, answers.clone());
        let revision = mallory.write(offer("big", tip), vec![]);
        first.send(&[&revision]).await;
        let is_gone = || async { first.connection.close_reason().is_some() };
        until("the first is cut", is_gone).await;

        let mut second = eve.joined(&ana).await;
        serve(&second, Repository::discover(&eve.dir).unwrap(), 1.0, answers.clone());
        second.say(&Message::Objects(vec![tip])).await;
        let name = "refs/remotes/lansync/@mallory/big";
        let came = || async { ana.dir.join(".git").join(name).exists() };
        until("all of it is here", came).await;
        assert_eq!(rev(&ana.dir, name), tip);
        ana.fsck();

        let answers = answers.lock().unwrap().clone();
        println!("{} bytes in one go; cut: {answers:?}", whole.len());
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert_eq!((answers[0].skip, answers[0].sent), (0, whole.len() / 2));
        let all: usize = answers.iter().map(|answer| answer.skip + answer.sent).sum();
        assert!(all <= whole.len() + whole.len() / 20, "{all} bytes instead of {}: {answers:?}", whole.len());
        assert!(ana.notices().iter().all(|notice| notice.notice != "problem"), "nobody is to blame");
    });
}

/// Text that does not compress well.
fn content(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(len + 16);
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:x}\n"));
    }
    text
}

/// The largest pack in quarantine.
fn coming(git: &Path) -> Option<(PathBuf, u64)> {
    let dirs = fs::read_dir(git.join("lansync/quarantine")).into_iter().flatten().flatten();
    let files = dirs.flat_map(|dir| fs::read_dir(dir.path().join("pack")).into_iter().flatten().flatten());
    files.filter_map(|file| Some((file.path(), file.metadata().ok()?.len()))).max_by_key(|(_, len)| *len)
}

#[test]
fn a_clone_whose_service_is_killed_goes_on_where_it_was_and_what_is_damaged_comes_again() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let ana = Person::on(&on_ana, "ana");
    ana.repo("payroll");
    for file in 0..120 {
        ana.write(&format!("d{}/file-{file}", file % 10), &content(file + 1, 150_000));
    }
    let _ = ana.git(&["add", "-A"]);
    ana.commit("pay.txt", "one\n", "Many files");
    let _ = ana.git(&["repack", "-adfq"]);
    let _ = ana.up();
    if let Err(why) = on_ana.shape(20) {
        println!("skipped: {why}");
        return;
    }
    let mut sent = Vec::new();
    for (name, damage) in [("bo", None), ("cy", None), ("di", Some(10)), ("eva", Some(90))] {
        // The first is not killed: what a clone takes.
        let new = Person::on(&on_bo, name);
        let before = on_ana.sent();
        let clone = new.start(&["--yes", "clone", "payroll"]);
        ana.accept(&clone, "contributor");
        let inside = new.home().join("payroll");
        let git = inside.join(".git");
        if name != "bo" {
            let comes = || coming(&git).is_some_and(|(_, len)| len > 6 << 20);
            wait_for("some of it has come", Duration::from_secs(60), comes);
            new.kill();
            let _ = clone.wait();
            let (pack, len) = coming(&git).expect("it stays");
            if let Some(percent) = damage {
                let mut bytes = fs::read(&pack).unwrap();
                let at = len as usize * percent / 100;
                bytes[at..at + 64].fill(0x55);
                fs::write(&pack, bytes).unwrap();
            }
            new.go("payroll");
            let _ = new.up();
        } else {
            let _ = clone.wait().ok();
            new.go("payroll");
        }
        let main = ana.rev("main");
        wait_for("main is checked out", Duration::from_secs(90), || new.try_rev("main").as_ref() == Some(&main));
        wait_for("with its files", LONG, || new.git(&["status", "--porcelain"]).is_empty());
        sent.push(on_ana.sent() - before);
        new.fsck();
        assert_eq!(coming(&git), None, "nothing stays in quarantine");
        assert!(new.status()["problems"].as_array().is_none_or(Vec::is_empty), "{}", new.status());
        new.down();
    }
    println!("bytes that left the one that has it: {sent:?}, of which the first in one go");
    let [whole, killed, early, late] = sent.try_into().unwrap();
    // What was on its way when it was killed, and the file that was not whole: the same for a clone of any size.
    let again = 5 << 18;
    assert!(killed <= whole + again, "{killed} bytes instead of {whole}");
    // What lies before the damage is of use.
    assert!(late <= whole + again + (6 << 20) / 5, "{late} bytes instead of {whole}");
    assert!(early <= whole + (8 << 20), "{early} bytes instead of {whole}");
}
