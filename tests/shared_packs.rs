//! What several want at once leaves the author's machine little more than once: they pass it on to each other.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what is skipped is said, and figures are printed")]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{LONG, Person, content, lan_or_skip, wait_for};
use hostile::{Clone, Raw, Session, git, keys, offer, rev, run, until};
use lansync::eventlog::Role;
use lansync::git::{PackPieces, Repository};
use lansync::id::ObjectId;
use lansync::limits;
use lansync::sync::{FetchReply, Message, PieceReply, PieceRequest};

/// How long a large fetch may take on a machine under load.
const LARGE: Duration = Duration::from_secs(120);

#[test]
fn what_four_want_at_once_leaves_the_author_less_than_twice() {
    const FILES: u64 = 24;
    const BYTES: usize = 1 << 20;
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy", "di", "eva"].map(|name| lan.host(name));
    let [ana, others @ ..] = ["ana", "bo", "cy", "di", "eva"].each_ref().map(|name| {
        let host = hosts.iter().find(|host| host.name() == *name).expect("one of them");
        Person::on(host, name)
    });
    ana.found("payroll");
    for other in &others {
        other.join(&ana, "payroll", "contributor");
    }
    let connected = |who: &Person<'_>| {
        who.status()["peers"]
            .as_array()
            .map_or(0, |peers| peers.iter().filter(|peer| peer["connected"] == true).count())
    };
    wait_for("everybody is connected with everybody", LONG, || others.iter().all(|who| connected(who) == 4));
    for host in &hosts {
        if let Err(why) = host.shape(100) {
            println!("skipped: {why}");
            return;
        }
    }
    let _ = ana.git(&["switch", "--quiet", "-c", "big"]);
    for file in 0..FILES {
        fs::write(ana.dir().join(format!("file-{file}")), content(file + 1, BYTES)).expect("a writable file");
    }
    let _ = ana.git(&["add", "-A"]);
    let before = hosts[0].sent();
    let _ = ana.git(&["commit", "--quiet", "-m", "Many files"]);
    let tip = ana.rev("HEAD");
    let took = wait_for("everybody has it", LARGE, || {
        others.iter().all(|who| who.try_rev("refs/remotes/lansync/@ana/big").as_deref() == Some(tip.as_str()))
    });
    let sent = hosts[0].sent() - before;
    let size = FILES * BYTES as u64;
    println!("{sent} bytes for {size} to four, in {took:?}");
    assert!(sent >= size, "it comes from nowhere else");
    assert!(sent < 2 * size, "{sent} bytes left the author for {size}; git sends {}", 4 * size);
    others.iter().for_each(Person::fsck);
    // Nothing is left of it in quarantine.
    let left = |who: &Person<'_>| fs::read_dir(who.dir().join(".git/lansync/quarantine")).map_or(0, Iterator::count);
    wait_for("its pieces are cleaned away", LARGE, || others.iter().chain([&ana]).all(|who| left(who) == 0));
}

/// Serves everything by this shared pack, but for pieces gives what is none, of the right length; counts those.
fn lie(session: &Session, shared: Arc<PackPieces>, given: Arc<AtomicUsize>) {
    let connection = session.connection.clone();
    tokio::spawn(async move {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let Ok(Some(frame)) = recv.read_frame(limits::FRAME_BYTES).await else { return };
            let manifest = shared.manifest();
            let mut frames = match PieceRequest::decode(&frame) {
                Err(_) => {
                    let reply = FetchReply::Shared { pack: manifest.id(), bytes: manifest.bytes() };
                    vec![reply.encode(), manifest.hashes()]
                }
                Ok(request) => {
                    given.fetch_add(1, Ordering::Relaxed);
                    let piece = request.of.iter().next().expect("it asks for some");
                    let mut frames = vec![PieceReply::Piece(piece).encode()];
                    frames.extend(vec![7; manifest.piece_len(piece)].chunks(100_000).map(<[u8]>::to_vec));
                    frames.push(vec![]);
                    frames
                }
            };
            for frame in frames.drain(..) {
                if send.write_frame(&frame).await.is_err() {
                    break;
                }
            }
            let _ = send.finish().await;
        }
    });
}

/// Serves a pack as one does who serves nobody else.
fn serve(session: &Session, repo: Repository, tip: ObjectId, main: ObjectId) {
    let mut pack = Vec::new();
    repo.write_pack(&[tip], &[main], &mut pack, &AtomicBool::new(false)).expect("a pack");
    session.serve(hostile::body(&pack));
}

#[test]
fn who_gives_what_is_no_piece_costs_an_ask_elsewhere() {
    run(async {
        let (mallory, eve) = (keys("mallory", 2), keys("eve", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&mallory, Role::Contributor), (&eve, Role::Contributor)]).await;
        let (mut mallory, mut eve) = (Raw::new(mallory, &ana), Raw::new(eve, &ana));
        fs::write(mallory.dir.join("big"), content(1, 2 << 20)).expect("a writable file");
        git(&mallory.dir, &["switch", "-q", "-c", "big"]);
        git(&mallory.dir, &["add", "-A"]);
        git(&mallory.dir, &["commit", "-q", "-m", "One large file"]);
        let (tip, main) = (rev(&mallory.dir, "big"), rev(&mallory.dir, "main"));
        git(&eve.dir, &["fetch", "-q", &mallory.dir.to_string_lossy(), "big"]);
        let repo = Repository::discover(&mallory.dir).expect("a repository");
        let shared = repo.share_pack(&[tip], &[main], &AtomicBool::new(false)).expect("a pack");

        let given = Arc::new(AtomicUsize::new(0));
        let mut first = mallory.joined(&ana).await;
        lie(&first, Arc::new(shared), given.clone());
        let revision = mallory.write(offer("big", tip), vec![]);
        first.send(&[&revision]).await;
        until("she asked for a piece", || async { given.load(Ordering::Relaxed) > 0 }).await;

        let mut second = eve.joined(&ana).await;
        serve(&second, Repository::discover(&eve.dir).expect("a repository"), tip, main);
        second.say(&Message::Objects(vec![tip])).await;
        let name = "refs/remotes/lansync/@mallory/big";
        until("all of it is here", || async { ana.dir.join(".git").join(name).exists() }).await;
        assert_eq!(rev(&ana.dir, name), tip);
        ana.fsck();
        let left = || async { fs::read_dir(ana.dir.join(".git/lansync/quarantine")).map_or(0, Iterator::count) == 0 };
        until("nothing is left of the pieces", left).await;
    });
}
