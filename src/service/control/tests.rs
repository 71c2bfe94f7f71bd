//! The socket from both sides.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::api::{CONTROL_VERSION, Envelope, Pong, Refusal, Reply, Request, codes};
use crate::service::home::Home;

/// Nothing here takes more than milliseconds; this only ends a test that hangs.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("this takes milliseconds")
}

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(&dir.path().join("home")).unwrap();
    (dir, home)
}

fn pong() -> Pong {
    Pong { v: CONTROL_VERSION, version: "0".to_owned(), pid: 7, port: 7483, repositories: vec![] }
}

/// Answers pings, and everything else with the number of members that there are none of.
async fn serve(mut server: Server) {
    loop {
        let (envelope, session) = server.accept().await;
        tokio::spawn(async move {
            match envelope.request {
                Request::Ping => session.done(&pong()).await,
                Request::Clone { .. } => {
                    session.send(Reply::Confirm { by: "ana".to_owned() }).await.unwrap();
                    let answer = session.answer().await;
                    session.done(&answer).await
                }
                Request::Watch => {
                    session.send(Reply::Line { value: 1.into() }).await.unwrap();
                    session.closed().await;
                    Ok(())
                }
                _ => session.refuse(Refusal::new(codes::NOT_UP, "this is not shared", "lansync up")).await,
            }
        });
    }
}

async fn ask(home: &Home, request: Request) -> Replies {
    Control::connect(home).await.unwrap().request(home.dir(), request).await.unwrap()
}

fn clone_request() -> Request {
    Request::Clone { project: "payroll".to_owned(), into: PathBuf::from("/x"), up: true }
}

#[tokio::test]
async fn a_request_and_its_replies_go_round() {
    let (_dir, home) = home();
    assert!(matches!(ping(&home).await, Err(ControlError::NotRunning)));
    let serving = tokio::spawn(serve(Server::bind(&home).await.unwrap()));
    assert_eq!(soon(ping(&home)).await.unwrap(), pong());

    let mut replies = soon(ask(&home, Request::Status)).await;
    let refusal = Refusal::new(codes::NOT_UP, "this is not shared", "lansync up");
    assert_eq!(soon(replies.next()).await.unwrap(), Some(Reply::Error(refusal)));
    assert_eq!(soon(replies.next()).await.unwrap(), None, "that was the last");
    serving.abort();
}

#[tokio::test]
async fn questions_are_answered_on_the_same_connection_and_others_are_served_meanwhile() {
    let (_dir, home) = home();
    let serving = tokio::spawn(serve(Server::bind(&home).await.unwrap()));
    let mut first = soon(ask(&home, clone_request())).await;
    assert_eq!(soon(first.next()).await.unwrap(), Some(Reply::Confirm { by: "ana".to_owned() }));
    let mut second = soon(ask(&home, clone_request())).await;
    soon(second.next()).await.unwrap();
    soon(second.answer(false)).await.unwrap();
    assert_eq!(soon(second.next()).await.unwrap(), Some(Reply::Done { value: false.into() }));
    soon(first.answer(true)).await.unwrap();
    assert_eq!(soon(first.next()).await.unwrap(), Some(Reply::Done { value: true.into() }));
    serving.abort();
}

#[tokio::test]
async fn hanging_up_is_noticed_from_both_sides() {
    let (_dir, home) = home();
    let mut server = Server::bind(&home).await.unwrap();
    let replies = soon(ask(&home, clone_request())).await;
    let (_, session) = soon(server.accept()).await;
    assert!(tokio::time::timeout(Duration::ZERO, session.closed()).await.is_err(), "still there");
    drop(replies);
    soon(session.closed()).await;
    assert_eq!(soon(session.answer()).await, None);

    let mut replies = soon(ask(&home, Request::Watch)).await;
    let (_, session) = soon(server.accept()).await;
    drop(session);
    assert!(matches!(soon(replies.next()).await, Err(ControlError::HungUp)));
}

#[tokio::test]
async fn a_second_service_is_refused_while_the_first_lives_and_takes_over_once_it_is_dead() {
    let (_dir, home) = home();
    let serving = tokio::spawn(serve(Server::bind(&home).await.unwrap()));
    let second = soon(Server::bind(&home)).await;
    assert!(matches!(second.err(), Some(BindError::AlreadyRunning { pid: Some(7) })));
    serving.abort();
    let _ = serving.await;
    assert!(!home.socket().exists(), "the socket goes with its service");
    drop(soon(Server::bind(&home)).await.unwrap());
}

#[cfg(unix)]
#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced_and_other_files_are_not() {
    let (_dir, home) = home();
    home.create().unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.socket()).unwrap());
    assert!(home.socket().exists());
    assert!(matches!(ping(&home).await, Err(ControlError::NotRunning)));
    let serving = tokio::spawn(serve(soon(Server::bind(&home)).await.unwrap()));
    assert_eq!(soon(ping(&home)).await.unwrap(), pong());
    serving.abort();
    let _ = serving.await;

    std::fs::write(home.socket(), "notes").unwrap();
    assert!(matches!(soon(Server::bind(&home)).await.err(), Some(BindError::Io { .. })));
    assert_eq!(std::fs::read(home.socket()).unwrap(), b"notes");
}

#[cfg(unix)]
#[tokio::test]
async fn a_service_that_takes_connections_and_says_nothing_counts_as_alive() {
    let (_dir, home) = home();
    home.create().unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(home.socket()).unwrap();
    assert!(matches!(soon(Server::bind(&home)).await.err(), Some(BindError::AlreadyRunning { pid: None })));
}

#[tokio::test]
async fn many_that_start_at_once_leave_one() {
    let (_dir, home) = home();
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let home = home.clone();
            tokio::spawn(async move {
                let server = Server::bind(&home).await.ok()?;
                Some(tokio::spawn(serve(server)))
            })
        })
        .collect();
    let mut started = Vec::new();
    for one in starting {
        started.extend(soon(one).await.unwrap());
    }
    assert_eq!(started.len(), 1);
    assert_eq!(soon(ping(&home)).await.unwrap(), pong());
    started[0].abort();
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_reach_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, home) = home();
    let _server = Server::bind(&home).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.socket()), 0o600);
    assert_eq!(mode(home.socket().parent().unwrap()), 0o700);
}

async fn send(home: &Home, v: u32, request: Request) -> Option<Reply> {
    let envelope = Envelope { v, version: "9.9.9".to_owned(), dir: home.dir().to_owned(), request };
    let mut replies = Control::connect(home).await.unwrap().send(envelope).await.unwrap();
    soon(replies.next()).await.unwrap()
}

#[tokio::test]
async fn another_version_can_ping_and_end_the_service_and_nothing_else() {
    let (_dir, home) = home();
    let serving = tokio::spawn(serve(Server::bind(&home).await.unwrap()));
    let other = CONTROL_VERSION + 1;
    assert!(matches!(send(&home, other, Request::Ping).await, Some(Reply::Done { .. })));
    // The service of this test refuses it in its own words, so it got there.
    let down = send(&home, other, Request::Down { all: true }).await;
    assert!(matches!(&down, Some(Reply::Error(refusal)) if refusal.code == codes::NOT_UP), "{down:?}");
    for request in [Request::Down { all: false }, Request::Status] {
        let Some(Reply::Error(refusal)) = send(&home, other, request).await else { panic!("not refused") };
        assert_eq!(refusal.code, codes::OTHER_VERSION);
        assert_eq!(refusal.hint.as_deref(), Some("lansync down --all"));
        assert!(refusal.message.contains("9.9.9"), "{}", refusal.message);
    }
    serving.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn lines_that_are_too_long_or_no_request_are_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (_dir, home) = home();
    let serving = tokio::spawn(serve(Server::bind(&home).await.unwrap()));
    let envelope = |request: &str| format!("{{\"v\":1,\"version\":\"0\",\"dir\":\"/\",\"request\":{request}}}\n");
    let cases = [
        "hello\n".to_owned(),
        "{\"v\":1}\n".to_owned(),
        envelope("{\"do\":\"fly\"}"),
        // What a later version may ask is refused for its version.
        envelope("{\"do\":\"fly\"}").replace("\"v\":1", "\"v\":2"),
        format!("{}\n", "x".repeat(REQUEST_BYTES + 1)),
    ];
    for case in cases {
        let mut stream = tokio::net::UnixStream::connect(home.socket()).await.unwrap();
        // The service may hang up before it has read all of a line that is too long.
        let _ = soon(stream.write_all(case.as_bytes())).await;
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        let reply: Reply = serde_json::from_slice(&answer).unwrap();
        let Reply::Error(refusal) = reply else { panic!("{reply:?}") };
        let code = if case.contains("\"v\":2") { codes::OTHER_VERSION } else { codes::BAD_REQUEST };
        assert_eq!(refusal.code, code, "{}", refusal.message);
    }
    assert_eq!(soon(ping(&home)).await.unwrap(), pong(), "and the service goes on");
    serving.abort();
}
