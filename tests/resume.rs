//! A fetch that is cut in the middle goes on where it was, also from somebody else.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests print figures and fail at once")]

#[path = "common/hostile.rs"]
mod hostile;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use hostile::{Clone, Raw, Session, git, keys, offer, rev, run, until};
use lansync::eventlog::Role;
use lansync::git::{Repository, Skip};
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
            let skipped = Skip::decode(&skip).unwrap();
            let mut pack = Vec::new();
            let stop = AtomicBool::new(false);
            repo.write_rest(&request.want, &request.have, &skipped, &mut pack, &stop).unwrap();
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

async fn session(member: &mut Raw, ana: &Clone) -> Session {
    let mut session = member.session(ana).await;
    let certificate = member.certificate();
    session.send(&[&certificate]).await;
    session.say(&Message::Frontier { entries: vec![], last: true }).await;
    session
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
        hers.write_pack(&[tip], &[main], &mut whole, &stop).unwrap();

        let answers = Arc::new(Mutex::new(Vec::new()));
        let mut first = session(&mut mallory, &ana).await;
        serve(&first, hers, 0.5, answers.clone());
        let revision = mallory.write(offer("big", tip), vec![]);
        first.send(&[&revision]).await;
        let is_gone = || async { first.connection.close_reason().is_some() };
        until("the first is cut", is_gone).await;

        let mut second = session(&mut eve, &ana).await;
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
