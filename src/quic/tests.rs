//! Endpoints on the loopback interface: who gets in, what a connection gives, and bodies whole or not at all.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use tokio::time::timeout;

use super::tls::{AnyPeer, Expectation};
use super::*;
use crate::keys::{FeedKey, Secret};

struct House(BTreeMap<String, FeedKey>);

impl Doors for House {
    fn open(&self, server_name: &str) -> Option<FeedKey> {
        self.0.get(server_name).cloned()
    }
}

fn key(seed: u8) -> FeedKey {
    FeedKey(Secret::from_seed([seed; 32]))
}

/// An endpoint at which `seed`'s key answers to `NAME`.
fn at_home(seed: u8) -> Endpoint {
    Endpoint::bind(0, Arc::new(House(BTreeMap::from([(NAME.to_owned(), key(seed))])))).unwrap()
}

const NAME: &str = "mabc.lansync.invalid";
const ALPN: &[u8] = b"lansync/1";

fn addr(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.local_port()))
}

/// Waits for what must come, with a bound.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("within ten seconds")
}

/// Ana (seed 1) dials Bo (seed 2).
async fn pair() -> (Endpoint, Endpoint, Connection, Connection) {
    let (ana, bo) = (at_home(1), at_home(2));
    let dialled = soon(ana.dial(&key(1), Some(key(2).peer()), NAME, &[addr(&bo)])).await.unwrap();
    let accepted = soon(bo.accept()).await.unwrap();
    (ana, bo, dialled, accepted)
}

/// A stream from the first to the second; the first frame has been read.
async fn stream(from: &Connection, to: &Connection) -> (SendStream, RecvStream) {
    let (mut send, _) = from.open_bi().await.unwrap();
    send.write_frame(b"hello").await.unwrap();
    let (_, mut recv) = soon(to.accept_bi()).await.unwrap();
    assert_eq!(soon(recv.read_frame(16)).await, Ok(Some(b"hello".to_vec())));
    (send, recv)
}

#[tokio::test]
async fn both_know_who_is_at_the_other_end() {
    let (_ana, bo, dialled, accepted) = pair().await;
    assert_eq!((dialled.peer(), dialled.dialled(), dialled.server_name()), (key(2).peer(), true, None));
    assert_eq!((accepted.peer(), accepted.dialled(), accepted.server_name()), (key(1).peer(), false, Some(NAME)));
    assert_eq!(dialled.remote_addr(), addr(&bo));
    assert!(accepted.remote_addr().is_ipv4(), "not the mapped form");
}

#[tokio::test]
async fn without_an_expected_peer_anybody_may_answer_and_is_named() {
    let (ana, bo) = (at_home(1), at_home(2));
    let dialled = soon(ana.dial(&key(1), None, NAME, &[addr(&bo)])).await.unwrap();
    assert_eq!(dialled.peer(), key(2).peer());
}

#[tokio::test]
async fn another_peer_than_the_expected_one_is_refused_and_named() {
    let (ana, bo) = (at_home(1), at_home(2));
    let error = soon(ana.dial(&key(1), Some(key(3).peer()), NAME, &[addr(&bo)])).await.unwrap_err();
    assert_eq!(error.failures(), [(addr(&bo), DialFailure::WrongPeer(key(2).peer()))]);
}

#[tokio::test]
async fn an_unknown_name_gets_no_answer_of_substance() {
    let (ana, bo) = (at_home(1), at_home(2));
    let error = soon(ana.dial(&key(1), None, "mxyz.lansync.invalid", &[addr(&bo)])).await.unwrap_err();
    assert_eq!(error.failures(), [(addr(&bo), DialFailure::NoSuchDoor)]);
}

#[tokio::test]
async fn a_dead_address_does_not_hold_up_a_live_one() {
    let (ana, bo) = (at_home(1), at_home(2));
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, bo.local_port()));
    let began = Instant::now();
    let addrs = [silent.local_addr().unwrap(), addr(&bo), six];
    let dialled = soon(ana.dial(&key(1), Some(key(2).peer()), NAME, &addrs)).await.unwrap();
    assert!(addrs[1..].contains(&dialled.remote_addr()));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(matches!(ana.dial(&key(1), None, NAME, &[]).await, Err(DialError::NoAddress)));
}

#[tokio::test]
async fn a_port_in_use_is_told_apart() {
    let ana = at_home(1);
    let again = Endpoint::bind(ana.local_port(), Arc::new(House(BTreeMap::new())));
    assert!(matches!(again, Err(BindError::InUse(port)) if port == ana.local_port()));
}

#[tokio::test]
async fn the_exporter_is_one_for_both_ends_and_differs_between_connections() {
    let (ana, bo, dialled, accepted) = pair().await;
    let secret = dialled.exporter(b"EXPORTER-lansync", b"join");
    assert_eq!(secret, accepted.exporter(b"EXPORTER-lansync", b"join"));
    assert_ne!(secret, dialled.exporter(b"EXPORTER-lansync", b"other"));
    let second = soon(ana.dial(&key(1), None, NAME, &[addr(&bo)])).await.unwrap();
    assert_ne!(secret, second.exporter(b"EXPORTER-lansync", b"join"));
    assert_ne!(dialled.stable_id(), second.stable_id());
}

#[tokio::test]
async fn two_who_dial_each_other_keep_the_same_connection() {
    let (ana, bo) = (at_home(1), at_home(2));
    let (ana_key, bo_key) = (key(1), key(2));
    let (ana_addr, bo_addr) = ([addr(&ana)], [addr(&bo)]);
    let (to_bo, to_ana) = soon(async {
        tokio::join!(
            ana.dial(&ana_key, Some(bo_key.peer()), NAME, &bo_addr),
            bo.dial(&bo_key, Some(ana_key.peer()), NAME, &ana_addr)
        )
    })
    .await;
    let (to_bo, to_ana) = (to_bo.unwrap(), to_ana.unwrap());
    let (from_bo, from_ana) = (soon(ana.accept()).await.unwrap(), soon(bo.accept()).await.unwrap());
    let kept = |me: &FeedKey, connection: &Connection| {
        keep_dialled_by_lower(&me.peer(), &connection.peer(), connection.dialled())
    };
    assert_ne!(kept(&ana_key, &to_bo), kept(&ana_key, &from_bo));
    assert_eq!(kept(&ana_key, &to_bo), kept(&bo_key, &from_ana));
    assert_eq!(kept(&ana_key, &from_bo), kept(&bo_key, &to_ana));
}

#[tokio::test]
async fn a_close_tells_the_other_side_why() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    dialled.close(CloseCode::NotAMember, "you are\u{1b}[2J no member");
    let there = soon(accepted.closed()).await;
    assert_eq!((there.end, there.by_peer, there.code), (End::Closed, true, Some(CloseCode::NotAMember)));
    assert_eq!(there.why, "you are[2J no member", "without control characters");
    let here = soon(dialled.closed()).await;
    assert_eq!((here.end, here.by_peer, here.code), (End::Closed, false, Some(CloseCode::NotAMember)));
    dialled.close(CloseCode::Bye, &"ä".repeat(150));
    assert_eq!(dialled.close_reason().and_then(|closed| closed.code), Some(CloseCode::NotAMember), "the first counts");
}

#[tokio::test]
async fn an_endpoint_that_closes_says_goodbye_to_all() {
    let (ana, bo, dialled, accepted) = pair().await;
    soon(bo.close()).await;
    let closed = soon(dialled.closed()).await;
    assert_eq!((closed.by_peer, closed.code), (true, Some(CloseCode::Bye)));
    assert!(!accepted.closed().await.by_peer);
    assert!(soon(bo.accept()).await.is_none());
    drop(ana);
}

#[tokio::test]
async fn a_stranger_has_two_streams_until_it_is_admitted() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(soon(dialled.open_bi()).await.unwrap());
    }
    assert!(timeout(Duration::from_millis(100), dialled.open_bi()).await.is_err());
    accepted.admit();
    for _ in 0..8 {
        held.push(soon(dialled.open_bi()).await.unwrap());
    }
}

#[tokio::test]
async fn frames_come_as_they_were_sent() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    accepted.admit();
    let (mut send, mut recv) = stream(&dialled, &accepted).await;
    let frames: Vec<Vec<u8>> = [0, 1, 65_535, 65_536, 300_000].map(|len| vec![7; len]).to_vec();
    let sent = frames.clone();
    let sender = tokio::spawn(async move {
        for frame in &sent {
            send.write_frame(frame).await.unwrap();
        }
        send.finish().await
    });
    for frame in frames {
        assert_eq!(soon(recv.read_frame(300_000)).await, Ok(Some(frame)));
    }
    assert_eq!(soon(recv.read_frame(300_000)).await, Ok(None));
    assert_eq!(soon(sender).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_by_its_length_alone() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (mut send, mut recv) = stream(&dialled, &accepted).await;
    send.write(u32::MAX.to_le_bytes().to_vec()).await.unwrap();
    let len = u32::MAX as usize;
    assert_eq!(soon(recv.read_frame(4096)).await, Err(FrameError::TooLarge { len, limit: 4096 }));
}

#[tokio::test]
async fn a_frame_that_breaks_off_is_an_error_and_a_dropped_read_loses_nothing() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (mut send, mut recv) = stream(&dialled, &accepted).await;
    send.write([&10u32.to_le_bytes()[..], b"01234"].concat()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), recv.read_frame(4096)).await.is_err());
    send.write(b"56789".to_vec()).await.unwrap();
    assert_eq!(soon(recv.read_frame(4096)).await, Ok(Some(b"0123456789".to_vec())));
    send.write([&10u32.to_le_bytes()[..], b"01234"].concat()).await.unwrap();
    drop(send);
    assert_eq!(soon(recv.read_frame(4096)).await, Err(FrameError::Truncated));
}

/// Sends a body of these bytes from one thread and reads it in another.
async fn carry(bytes: Arc<Vec<u8>>) -> Result<Vec<u8>, std::io::Error> {
    let (_ana, _bo, dialled, accepted) = pair().await;
    dialled.admit();
    accepted.admit();
    let (send, recv) = stream(&dialled, &accepted).await;
    let (mut writer, mut reader) = (BodyWriter::new(send), BodyReader::new(recv));
    let (mut out, mut input) = (writer.blocking(), reader.blocking());
    let write = tokio::task::spawn_blocking(move || {
        for part in bytes.chunks(10_007) {
            out.write_all(part)?;
        }
        out.finish()
    });
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        input.read_to_end(&mut all).map(|_| all)
    });
    let (sent, received) = soon(async { tokio::join!(writer.run(), reader.run()) }).await;
    assert_eq!((sent, received), (Ok(()), Ok(())));
    write.await.unwrap()?;
    read.await.unwrap()
}

#[tokio::test]
async fn a_body_comes_whole() {
    for len in [0usize, 1, 128 * 1024, 128 * 1024 + 1, 3_000_000] {
        let bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let bytes = Arc::new(bytes);
        assert_eq!(carry(bytes.clone()).await.unwrap(), *bytes, "{len}");
    }
}

/// What the reader of a body gets if these bytes are all that is on the stream.
async fn body_of(bytes: &[u8]) -> (Result<(), BodyError>, std::io::Result<Vec<u8>>) {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (mut send, recv) = stream(&dialled, &accepted).await;
    send.write(bytes.to_vec()).await.unwrap();
    drop(send);
    let mut reader = BodyReader::new(recv);
    let mut input = reader.blocking();
    let read = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        input.read_to_end(&mut all).map(|_| all)
    });
    (soon(reader.run()).await, read.await.unwrap())
}

#[tokio::test]
async fn a_body_that_is_not_whole_is_an_error() {
    let whole = [&3u32.to_le_bytes()[..], b"abc", &[0; 4]].concat();
    let (result, read) = body_of(&whole).await;
    assert_eq!((result, read.unwrap()), (Ok(()), b"abc".to_vec()));
    for len in 0..whole.len() {
        let (result, read) = body_of(&whole[..len]).await;
        assert_eq!((result, read.unwrap_err().kind()), (Err(BodyError::Truncated), std::io::ErrorKind::UnexpectedEof));
    }
    let (result, read) = body_of(&[&whole[..], b"x"].concat()).await;
    assert_eq!(result, Err(BodyError::Trailing));
    assert!(read.is_err());
    let (result, read) = body_of(&(300 * 1024u32).to_le_bytes()).await;
    assert!(matches!(result, Err(BodyError::Stream(FrameError::TooLarge { .. }))));
    assert!(read.is_err());
}

#[tokio::test]
async fn a_writer_that_leaves_is_an_error_on_both_sides() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (send, recv) = stream(&dialled, &accepted).await;
    let (mut writer, mut reader) = (BodyWriter::new(send), BodyReader::new(recv));
    let (mut out, mut input) = (writer.blocking(), reader.blocking());
    let write = tokio::task::spawn_blocking(move || out.write_all(b"half of it").and_then(|()| out.flush()));
    let read = tokio::task::spawn_blocking(move || input.read_to_end(&mut Vec::new()));
    let (sent, received) = soon(async { tokio::join!(writer.run(), reader.run()) }).await;
    assert_eq!(sent, Err(BodyError::Unfinished));
    assert_eq!(received, Err(BodyError::Stream(FrameError::GivenUp(Some(CloseCode::Internal)))));
    write.await.unwrap().unwrap();
    assert!(read.await.unwrap().is_err());
}

#[tokio::test]
async fn a_reader_that_leaves_stops_the_writer() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (send, recv) = stream(&dialled, &accepted).await;
    let (mut writer, mut reader) = (BodyWriter::new(send), BodyReader::new(recv));
    let (mut out, mut input) = (writer.blocking(), reader.blocking());
    // Endless, but for the other side's refusal.
    let write = tokio::task::spawn_blocking(move || {
        loop {
            if let Err(error) = out.write_all(&[7; 4096]) {
                return error.kind();
            }
        }
    });
    let read = tokio::task::spawn_blocking(move || {
        let had = input.fill_buf().unwrap().len();
        input.consume(had);
        had
    });
    let (sent, received) = soon(async { tokio::join!(writer.run(), reader.run()) }).await;
    assert_eq!(received, Ok(()), "no fault of the stream");
    assert_eq!(sent, Err(BodyError::Stream(FrameError::GivenUp(Some(CloseCode::Bye)))));
    assert_eq!(soon(write).await.unwrap(), std::io::ErrorKind::BrokenPipe);
    assert!(read.await.unwrap() > 0);
}

#[tokio::test]
async fn a_connection_that_ends_within_a_body_is_an_error_on_both_sides() {
    let (_ana, _bo, dialled, accepted) = pair().await;
    let (send, recv) = stream(&dialled, &accepted).await;
    let (mut writer, mut reader) = (BodyWriter::new(send), BodyReader::new(recv));
    let (_out, mut input) = (writer.blocking(), reader.blocking());
    let read = tokio::task::spawn_blocking(move || input.read_to_end(&mut Vec::new()));
    dialled.close(CloseCode::Bye, "enough");
    let (sent, received) = soon(async { tokio::join!(writer.run(), reader.run()) }).await;
    assert!(matches!(sent, Err(BodyError::Stream(FrameError::Lost(_)))), "{sent:?}");
    assert!(matches!(received, Err(BodyError::Stream(FrameError::Lost(_)))), "{received:?}");
    assert!(read.await.unwrap().is_err());
}

#[tokio::test]
async fn garbage_disturbs_nobody() {
    let (ana, bo, dialled, accepted) = pair().await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in [0usize, 1, 20, 1200, 1472, 9000] {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xff] {
            let mut bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0].wrapping_mul(151)).collect();
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            socket.send_to(&bytes, addr(&bo)).unwrap();
        }
    }
    let (_send, _recv) = stream(&dialled, &accepted).await;
    soon(ana.dial(&key(1), Some(key(2).peer()), NAME, &[addr(&bo)])).await.unwrap();
    assert_eq!(soon(bo.accept()).await.unwrap().peer(), key(1).peer());
}

// Keys and certificates that are none of ours; see certs/README.md.

fn certs(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name)
}

fn private(name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(certs(name)).unwrap()
}

/// A key as a raw public key.
fn raw(name: &str) -> Arc<CertifiedKey> {
    let signing = ring::sign::any_supported_type(&private(name)).unwrap();
    let public = signing.public_key().unwrap().as_ref().to_vec();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], signing))
}

fn certificate(name: &str) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_file(certs(name)).unwrap()]
}

type ClientBuilder = rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>;

/// Dials `to` as a program that is not lansync would, with the client authentication that `dress` gives it.
/// Says how it ended.
async fn dial_as(to: &Endpoint, alpn: &[u8], dress: impl FnOnce(ClientBuilder) -> rustls::ClientConfig) -> Closed {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Expectation::new(None)));
    let mut config = dress(builder);
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let from = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = from.connect_with(quinn::ClientConfig::new(Arc::new(config)), addr(to), NAME).unwrap();
    match soon(connecting).await {
        // A dialler is done before the other side has judged it.
        Ok(connection) => Closed::of(soon(connection.closed()).await),
        Err(error) => Closed::of(error),
    }
}

#[tokio::test]
async fn who_dials_with_anything_but_a_raw_ed25519_key_is_refused() {
    let bo = at_home(2);
    let raw_key = |name| {
        move |builder: ClientBuilder| {
            builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw(name))))
        }
    };
    let x509 = |cert, key| {
        move |builder: ClientBuilder| builder.with_client_auth_cert(certificate(cert), private(key)).unwrap()
    };
    let refused = [
        dial_as(&bo, ALPN, ClientBuilder::with_no_client_auth).await,
        dial_as(&bo, ALPN, raw_key("wrong/p256.pem")).await,
        dial_as(&bo, ALPN, raw_key("wrong/rsa.pem")).await,
        dial_as(&bo, ALPN, x509("wrong/x509-of-ana.pem", "right/ana.pem")).await,
        dial_as(&bo, ALPN, x509("wrong/x509-of-p256.pem", "wrong/p256.pem")).await,
    ];
    for closed in refused {
        assert_eq!((closed.end, closed.by_peer), (End::Broken, true), "{closed:?}");
    }
    // The right key in the same clothes gets in, and is the first that does.
    let dialling = tokio::spawn({
        let bo = bo.clone();
        async move { dial_as(&bo, ALPN, raw_key("right/ana.pem")).await }
    });
    let accepted = soon(bo.accept()).await.unwrap();
    assert_eq!(accepted.peer(), key(0xa1).peer());
    accepted.close(CloseCode::Bye, "");
    assert_eq!(soon(dialling).await.unwrap().code, Some(CloseCode::Bye));
}

#[tokio::test]
async fn who_answers_with_anything_but_a_raw_ed25519_key_is_refused() {
    let builder = || {
        rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyPeer))
    };
    let raw_key = |name| builder().with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw(name))));
    let x509 = |cert, key| builder().with_single_cert(certificate(cert), private(key)).unwrap();
    let ana = at_home(1);
    for (mut config, right) in [
        (raw_key("right/bo.pem"), true),
        (raw_key("wrong/p256.pem"), false),
        (raw_key("wrong/rsa.pem"), false),
        (x509("wrong/x509-of-ana.pem", "right/ana.pem"), false),
        (x509("wrong/x509-of-p256.pem", "wrong/p256.pem"), false),
    ] {
        config.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let there = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let answering = tokio::spawn({
            let there = there.clone();
            async move { there.accept().await.unwrap().await }
        });
        let dialled = soon(ana.dial(&key(1), None, NAME, &[there.local_addr().unwrap()])).await;
        assert_eq!(soon(answering).await.unwrap().is_ok(), right);
        match dialled {
            Ok(connection) => assert!(right && connection.peer() == key(0xb0).peer()),
            Err(error) => assert!(!right && matches!(error.failures(), [(_, DialFailure::Closed(_))]), "{error}"),
        }
    }
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let bo = at_home(2);
    let closed = dial_as(&bo, b"lansync/2", |builder| {
        builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw("right/ana.pem"))))
    });
    assert_eq!(closed.await.end, End::Broken);
}

#[tokio::test]
async fn a_crowd_at_the_gate_gets_in_one_after_the_other() {
    let (ana, bo) = (at_home(1), at_home(2));
    let dials: Vec<_> = (0..40)
        .map(|_| {
            let (ana, to) = (ana.clone(), addr(&bo));
            tokio::spawn(async move { ana.dial(&key(1), None, NAME, &[to]).await })
        })
        .collect();
    let mut held = Vec::new();
    for dial in dials {
        held.push(soon(dial).await.unwrap().unwrap());
        held.push(soon(bo.accept()).await.unwrap());
    }
}

#[test]
fn a_key_of_small_order_is_no_key() {
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let certificate = CertificateDer::from([&prefix[..], &point].concat());
        assert!(super::tls::peer_of(&certificate, &[]).is_err());
    }
}
