//! A stranger gets nothing, whatever it sends; a member gets what was published and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common {
    pub mod hostile;
}

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::hostile::{AnyName, CODE, Clone, Keys, Raw, Session, commit, git, keys, rev, run, soon, until};
use lansync::discovery;
use lansync::eventlog::Role;
use lansync::git::{PackLimits, Repository};
use lansync::id::ObjectId;
use lansync::limits;
use lansync::node::discovery_key;
use lansync::quic::{CloseCode, Connection, DialFailure, Endpoint, FrameError};
use lansync::sync::{Asker, FetchReply, FetchRequest, JoinMessage, JoinRefusal};

/// Bytes without meaning.
fn garbage(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn nobody(seed: u8) -> (Keys, Endpoint) {
    let keys = keys("nobody", seed);
    let endpoint = Endpoint::bind(0, Arc::new(AnyName(keys.feed.clone()))).expect("a port is free");
    (keys, endpoint)
}

/// Says one frame on a new stream and gives everything that comes back, and how it ended.
async fn say(connection: &Connection, frame: &[u8]) -> (Vec<Vec<u8>>, FrameError) {
    let (mut send, mut recv) = connection.open_bi().await.expect("it is open");
    send.write_frame(frame).await.expect("it is open");
    let mut heard = Vec::new();
    loop {
        match soon("the end", recv.read_frame(limits::FRAME_BYTES)).await {
            Ok(Some(frame)) => heard.push(frame),
            Ok(None) => return (heard, FrameError::Ended),
            Err(error) => return (heard, error),
        }
    }
}

fn code(error: &FrameError) -> Option<CloseCode> {
    match error {
        FrameError::Lost(closed) => closed.code,
        _ => None,
    }
}

fn asking(keys: &Keys, connection: &Connection) -> JoinMessage {
    let exporter = connection.exporter(b"lansync join", b"");
    let (me, other) = (keys.peer(), connection.peer());
    Asker::begin(me, other, &keys.identity, exporter, [1; 16], keys.handle.to_string(), String::new()).1
}

#[test]
fn garbage_on_the_port_changes_nothing() {
    run(async {
        let (bo, eve) = (keys("bo", 2), nobody(9));
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor)]).await;
        let bo = Clone::join(&bo, &ana).await;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        for seed in 0..2_000u64 {
            let mut datagram = garbage(seed, 1 + (seed as usize * 37) % 1_400);
            if seed % 2 == 0 {
                // As the start of a QUIC handshake would be.
                datagram.splice(..datagram.len().min(6), [0xc3, 0, 0, 0, 1, 8]);
            }
            let _ = socket.send_to(&datagram, ana.addr());
        }
        // And inside of connections that are in order.
        for seed in 0..8 {
            let name = discovery::join_name(&CODE);
            let connection = eve.1.dial(&eve.0.feed, None, &name, &[ana.addr()]).await.expect("it answers");
            let (heard, end) = say(&connection, &garbage(seed, 600)).await;
            assert_eq!((heard.len(), code(&end)), (0, Some(CloseCode::Protocol)), "{end}");
        }
        ana.works_with(&bo).await;
    });
}

#[test]
fn a_name_that_is_not_known_is_refused_in_the_handshake() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let (eve, endpoint) = nobody(9);
        let key = discovery_key(&ana.project());
        let mut wrong_key = key;
        wrong_key[0] ^= 1;
        for name in [
            "example.org".to_owned(),
            discovery::join_name(&discovery::JoinCode([8; 8])),
            discovery::member_name(&wrong_key, &ana.keys.peer(), [1; 8]),
            discovery::member_name(&key, &eve.peer(), [1; 8]),
        ] {
            let error = endpoint.dial(&eve.feed, None, &name, &[ana.addr()]).await.expect_err("nobody is at home");
            assert_eq!(error.failures(), [(ana.addr(), DialFailure::NoSuchDoor)]);
        }
    });
}

#[test]
fn who_knows_the_name_and_is_no_member_hears_not_one_byte() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let eve = Raw::new(keys("eve", 9), &ana);
        let project = ana.project();
        let mut stolen = eve.hello(&project);
        stolen.certificate = ana.keys.identity.certify(&project, &ana.keys.peer());
        let mut other_project = eve.hello(&project);
        other_project.certificate = eve.keys.identity.certify(&lansync::id::ProjectId([1; 32]), &eve.keys.peer());
        for (hello, why) in [
            (eve.hello(&project), "it is not a member"),
            (stolen, "its certificate does not hold"),
            (other_project, "its certificate does not hold"),
        ] {
            let connection = eve.dial(&ana).await;
            let (heard, end) = say(&connection, &hello.encode()).await;
            assert!(heard.is_empty(), "{heard:?}");
            let FrameError::Lost(closed) = end else { panic!("{end}") };
            assert_eq!((closed.code, closed.why.as_str()), (Some(CloseCode::NotAMember), why));
        }
        // Nor by asking for objects at once, on a stream of its own.
        let tip = rev(&ana.dir, "main");
        let connection = eve.dial(&ana).await;
        let (heard, end) = say(
            &connection,
            &FetchRequest { want: vec![tip], have: vec![], also: vec![], prefix: None, skip: 0, sources: 1 }.encode(),
        )
        .await;
        assert_eq!((heard.len(), code(&end)), (0, Some(CloseCode::Protocol)), "{end}");
        // Nor while a proper hello is still being judged: the second stream is never looked at.
        let connection = eve.dial(&ana).await;
        let (mut hello, _recv) = connection.open_bi().await.expect("it is open");
        let _ = hello.write_frame(&eve.hello(&project).encode()).await;
        let (heard, _) = say(
            &connection,
            &FetchRequest { want: vec![tip], have: vec![], also: vec![], prefix: None, skip: 0, sources: 1 }.encode(),
        )
        .await;
        assert!(heard.is_empty());
        assert_eq!(ana.status().await.peers.iter().filter(|peer| peer.connected).count(), 0);
    });
}

#[test]
fn a_first_frame_that_is_no_hello_closes_the_connection_with_the_reason() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let eve = Raw::new(keys("eve", 9), &ana);
        // Too large: what follows is not even waited for.
        let connection = eve.dial(&ana).await;
        let (heard, end) = say(&connection, &vec![1; limits::STRANGER_FRAME_BYTES + 1]).await;
        assert_eq!((heard.len(), code(&end)), (0, Some(CloseCode::TooLarge)), "{end}");
        assert!(end.to_string().contains("a frame of 4097 bytes is too large, at most 4096 are taken"), "{end}");
        // Malformed.
        for frame in [vec![], vec![1], vec![1; 100], vec![32, 200], garbage(1, 300)] {
            let (heard, end) = say(&eve.dial(&ana).await, &frame).await;
            assert_eq!((heard.len(), code(&end)), (0, Some(CloseCode::Protocol)), "{end}");
        }
        // A stream that ends before anything was said.
        let connection = eve.dial(&ana).await;
        let (mut send, _recv) = connection.open_bi().await.expect("it is open");
        let _ = send.finish().await;
        let closed = soon("it is closed", connection.closed()).await;
        assert_eq!((closed.code, closed.why.as_str()), (Some(CloseCode::Protocol), "it said nothing"));
        // Never sent.
        let silent = eve.dial(&ana).await;
        let closed = soon("silence is not waited for", silent.closed()).await;
        assert_eq!((closed.code, closed.why.as_str()), (Some(CloseCode::TooLate), "no hello in time"));
    });
}

#[test]
fn asks_beyond_the_rate_are_told_to_come_later() {
    run(async {
        let ana = Clone::found(&keys("ana", 1), &[]).await;
        let name = discovery::join_name(&CODE);
        let mut held = Vec::new();
        for n in 0..limits::ASKS_PER_MINUTE + 3 {
            let (eve, endpoint) = nobody(20 + n as u8);
            let connection = endpoint.dial(&eve.feed, None, &name, &[ana.addr()]).await.expect("it answers");
            let (mut send, mut recv) = connection.open_bi().await.expect("it is open");
            send.write_frame(&asking(&eve, &connection).encode()).await.expect("it is open");
            let frame = soon("an answer", recv.read_frame(4_096)).await.expect("it is open").expect("it is open");
            let said = JoinMessage::decode(&frame).expect("in order");
            if n < limits::ASKS_PER_MINUTE {
                assert!(matches!(said, JoinMessage::Nonce { .. }), "{said:?}");
            } else {
                assert_eq!(said, JoinMessage::Refused { why: JoinRefusal::Busy });
            }
            held.push((endpoint, connection, send, recv));
        }
        // Nobody of them showed that it can be read out by a human: none is shown to Ana.
        assert_eq!(ana.members().await, ["ana"]);
        drop(held);
        until("nobody asks", || async { ana.status().await.asking.is_empty() }).await;
    });
}

#[test]
fn where_joining_is_closed_nobody_is_at_home_and_asks_are_refused() {
    run(async {
        let top = tempfile::tempdir().expect("a temporary directory");
        let ana = Clone::found_in(top, &keys("ana", 1), &[], false).await;
        let eve = Raw::new(keys("eve", 9), &ana);
        let name = discovery::join_name(&CODE);
        let error = eve.endpoint.dial(&eve.keys.feed, None, &name, &[ana.addr()]).await.expect_err("closed");
        assert_eq!(error.failures(), [(ana.addr(), DialFailure::NoSuchDoor)]);
        // By the name that only members know.
        let connection = eve.dial(&ana).await;
        let (mut send, mut recv) = connection.open_bi().await.expect("it is open");
        send.write_frame(&asking(&eve.keys, &connection).encode()).await.expect("it is open");
        let frame = soon("an answer", recv.read_frame(4_096)).await.expect("it is open").expect("it is open");
        let said = JoinMessage::decode(&frame).expect("in order");
        assert_eq!(said, JoinMessage::Refused { why: JoinRefusal::Closed });
        assert!(ana.status().await.asking.is_empty());
    });
}

async fn is_not_here(session: &Session, want: &[ObjectId]) {
    let (reply, mut recv) = session.fetch(want).await;
    assert_eq!(reply, FetchReply::NotHere);
    assert_eq!(soon("nothing follows", recv.read_frame(limits::FRAME_BYTES)).await, Ok(None));
}

#[test]
fn a_member_gets_what_was_published_and_nothing_else() {
    run(async {
        let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&mallory, Role::Contributor)]).await;
        let main = rev(&ana.dir, "main");
        let mut own = Vec::new();
        for name in ["private/plans", "wip/mess"] {
            git(&ana.dir, &["switch", "-q", "-c", name, "main"]);
            own.push(commit(&ana.dir, "secret", name));
        }
        let tree = rev(&ana.dir, "wip/mess^{tree}");
        let blob = rev(&ana.dir, "wip/mess:secret");
        git(&ana.dir, &["switch", "-q", "--detach", "main"]);
        let dangling = commit(&ana.dir, "lost", "it was a mistake");
        git(&ana.dir, &["switch", "-q", "main"]);
        git(&ana.dir, &["switch", "-q", "-c", "fix", "main"]);
        let fix = commit(&ana.dir, "fix", "1");
        ana.told("proposal", "ana offers ana/fix").await;

        let mut session = Raw::new(mallory, &ana).session(&ana).await;
        for want in own.iter().chain([&tree, &blob, &dangling, &ObjectId::Sha1([9; 20]), &ObjectId::Sha256([9; 32])]) {
            is_not_here(&session, &[*want]).await;
            is_not_here(&session, &[fix, *want]).await;
        }
        // Ana offered this one, so the same session can have it.
        until("the offer is served", || async { session.fetch(&[fix]).await.0 == FetchReply::Pack }).await;
        let (reply, mut recv) = session.fetch(&[main, fix]).await;
        assert_eq!(reply, FetchReply::Pack);
        let mut all = Vec::new();
        while let Ok(Some(chunk)) = soon("the pack", recv.read_frame(limits::FRAME_BYTES)).await {
            all.extend(chunk);
        }
        let eve = tempfile::tempdir().expect("a temporary directory");
        git(eve.path(), &["init", "-q"]);
        let (hers, stop) = (Repository::discover(eve.path()).expect("it is one"), AtomicBool::new(false));
        let limits = PackLimits::default();
        let received = hers.receive_pack(&mut all.as_slice(), &[main, fix], &[], &limits, &|_| {}, &stop);
        received.and_then(|received| received.adopt()).expect("it is whole").release();
        assert_eq!(git(eve.path(), &["cat-file", "-t", &fix.to_string()]), "commit");
        for id in own.iter().chain([&tree, &blob, &dangling]) {
            let mut look = std::process::Command::new("git");
            look.arg("-C").arg(eve.path()).args(["cat-file", "-e", &id.to_string()]);
            assert!(!look.output().expect("git runs").status.success(), "{id} came along");
        }

        // More than a request may hold, and more than a frame may: closed, and Bo does not notice.
        let bo = Clone::join(&bo, &ana).await;
        session.frame(&vec![3; limits::FRAME_BYTES + 1]).await;
        let closed = session.closed().await;
        assert_eq!(closed.code, Some(CloseCode::TooLarge), "{closed}");
        ana.works_with(&bo).await;
    });
}

#[test]
fn a_member_that_takes_all_and_reads_nothing_is_left_and_leaves_room_for_others() {
    run(async {
        let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&mallory, Role::Contributor)]).await;
        // Larger than the window of a stream between the two.
        git(&ana.dir, &["switch", "-q", "-c", "big"]);
        let mut tip = rev(&ana.dir, "main");
        for part in 1..=12 {
            let big: String = garbage(part, 1 << 20).iter().map(|byte| char::from(byte % 94 + 32)).collect();
            tip = commit(&ana.dir, &format!("big-{part}"), &big);
        }
        ana.told("proposal", "ana offers ana/big").await;
        let session = Raw::new(mallory, &ana).session(&ana).await;
        let mut unread = Vec::new();
        for _ in 0..limits::SERVED_STREAMS {
            let (reply, recv) = session.fetch(&[tip]).await;
            unread.push((reply, recv));
        }
        let served = unread.iter().filter(|(reply, _)| *reply == FetchReply::Pack).count();
        assert_eq!(served, limits::HEAVY_TO_ONE, "the rest hear that she is busy");
        // What is small has room of its own.
        let main = rev(&ana.dir, "main");
        until("main is served", || async { session.fetch(&[main]).await.0 == FetchReply::Pack }).await;
        let bo = Clone::join(&bo, &ana).await;
        ana.works_with(&bo).await;
        drop(unread);
    });
}
